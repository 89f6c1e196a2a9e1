"""Checks of arguments at the public boundary, and warnings that point at the line that called.

Every error names the argument, the value it got and what is allowed. A value that is
traced by JAX cannot be inspected; it passes the check, and the result itself marks what is invalid.
"""

import functools
import inspect
import math
import numbers
import operator
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer


class ArgumentError(ValueError):
    """An argument has a value that is not allowed: the caller's mistake, found before any computation."""


class ArgumentTypeError(TypeError):
    """An argument has a type that is not allowed: likewise the caller's mistake."""


MAX_DEPTH = 1_000_000
"""The deepest flow that is computed, in minutes at most. A deeper one can be continued from `K1=K[-1]`."""


MAX_WIDTH = 10**15
"""The widest layer: up to it, n and n + 1 are different even as floats."""

KINK_SIZES = (1e-30, 1e30)
"""The allowed |c| of a kink c ≠ 0: its square is a normal number in float64."""


P = ParamSpec("P")
R = TypeVar("R")


def shown(value: object) -> str:
    """`repr` of the value, shortened if it is long; its type if `repr` fails."""
    try:
        text = repr(value)
    except Exception:
        return f"an object of type {type(value).__name__}"
    return text if len(text) <= 80 else text[:77] + "..."


def also_named(**others: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator by which keyword arguments have another name too, as x for X.

    >>> also_named(x="X")(lambda X: X)(x=1)
    1
    """

    def decorated(f: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(f)
        def call(*args: P.args, **given: P.kwargs) -> R:
            for other, name in others.items():
                if other in given:
                    if name in given:
                        raise ArgumentTypeError(f"{name} must be given once; got {name} and {other}")
                    given[name] = given.pop(other)
            return f(*args, **given)

        return call

    return decorated


def untraced(f: Callable[P, R]) -> Callable[P, R]:
    """A decorator by which no argument may be traced, as it is in `jax.jit`, `jax.grad` and `jax.vmap`."""
    names = list(inspect.signature(f).parameters)

    @functools.wraps(f)
    def call(*args: P.args, **given: P.kwargs) -> R:
        for name, value in (*zip(names, args, strict=False), *given.items()):
            if _traced(value):
                raise ArgumentTypeError(f"{name} must be known before tracing; got {shown(value)}")
        return f(*args, **given)

    return call


def _traced(value: object) -> bool:
    return isinstance(value, Tracer) or (isinstance(value, list | tuple) and any(map(_traced, value)))


def positive_int(name: str, value: object, maximum: int | None = None) -> int:
    """The value as an int ≥ 1 (and ≤ maximum). Floats are refused, even integer-valued ones."""
    return integer(name, value, 1, maximum)


def integer(name: str, value: object, minimum: int, maximum: int | None = None) -> int:
    """The value as an int ≥ minimum, likewise."""
    allowed = f"an integer ≥ {minimum}" + ("" if maximum is None else f" and ≤ {maximum:,}")
    if isinstance(value, bool | np.bool_ | Tracer):
        raise ArgumentTypeError(f"{name} must be {allowed}, known before tracing; got {shown(value)}")
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        kind = ArgumentError if isinstance(value, numbers.Real) else ArgumentTypeError
        raise kind(f"{name} must be {allowed}; got {shown(value)}") from None
    if number < minimum or (maximum is not None and number > maximum):
        got = f"{number:,}" if abs(number) < 10**20 else shown(number)
        raise ArgumentError(f"{name} must be {allowed}; got {got}")
    return number


UNITS = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12} | {
    f"{letter}ib": 2 ** (10 * i) for i, letter in enumerate("kmgt", start=1)
}
"""Bytes of each unit of memory."""


def byte_count(name: str, value: object) -> int:
    """Bytes: an integer ≥ 1, or text with a unit, "2GB" = 2·10⁹ or "500 MiB" = 500·2²⁰, in any case.

    >>> byte_count("memory_budget", "2GB"), byte_count("memory_budget", "1.5 KiB")
    (2000000000, 1536)
    """
    if not isinstance(value, str):
        return positive_int(name, value)
    found = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*([a-z]*)\s*", value.lower())
    number = float(found[1]) * UNITS.get(found[2] or "b", 0) if found else 0.0
    if not 1 <= number < 2**63:
        units = "B, kB, MB, GB, TB, KiB, MiB, GiB or TiB"
        raise ArgumentError(
            f'{name} must be an integer ≥ 1 of bytes, or text such as "2GB" or "500 MiB", with a unit of '
            f"{units}; got {shown(value)}"
        )
    return int(number)


def real_array(name: str, value: object) -> jax.Array:
    """The value as a real array of float32 or float64.

    Integers become floats; floats of fewer than 32 bits become float32, in which they are exact, and results
    are float32 too. Complex numbers, text, None, booleans, dates and records are refused.
    """
    if isinstance(value, bool | str | bytes) or value is None:
        raise ArgumentTypeError(f"{name} must be a real number or an array of them; got {shown(value)}")
    try:
        if isinstance(value, int):
            value = float(value)
        with jax.ensure_compile_time_eval():  # values that are not traced can be inspected, even inside jit
            on_host = isinstance(value, float | np.ndarray | np.generic)
            array = jax.device_put(value) if on_host else jnp.asarray(value)  # the former compiles nothing
        whole, real = (jnp.issubdtype(array.dtype, kind) for kind in (jnp.integer, jnp.floating))
    except Exception as error:
        large = isinstance(error, OverflowError)
        kind, allowed = (
            (ArgumentError, "within the float range") if large else (ArgumentTypeError, "a real number")
        )
        raise kind(f"{name} must be {allowed}, or an array of such; got {shown(value)}") from None
    if not (whole or real):
        raise ArgumentTypeError(f"{name} must be real; got {array.dtype}: {shown(value)}")
    if whole:
        return converted(array, jnp.result_type(float))
    return converted(array, jnp.float32) if jnp.finfo(array.dtype).bits < 32 else array


def host_arrays(*arrays: Any) -> tuple[Any, ...]:
    """The arrays as NumPy's, which compile nothing; unchanged if any is traced or bound to a device."""

    def free(array) -> bool:
        return not (isinstance(array, Tracer) or getattr(array, "committed", False))

    return tuple(map(np.asarray, arrays)) if all(map(free, arrays)) else arrays


def converted(array: jax.Array, dtype: Any) -> jax.Array:
    """The array in this precision."""
    (given,) = host_arrays(array)
    with np.errstate(over="ignore"):
        return jax.device_put(given.astype(dtype))


def real_number(name: str, value: object) -> float:
    """The value as one finite real number, known before tracing."""
    array = real_array(name, value)
    if isinstance(array, Tracer):
        raise ArgumentTypeError(f"{name} must be a number, known before tracing; got {shown(value)}")
    number = np.asarray(array)
    if number.ndim or not np.isfinite(number):
        raise ArgumentError(f"{name} must be a finite real number; got {shown(value)}")
    return float(number)


def _ranged(name: str, value: object, holds, allowed: str) -> jax.Array:
    array = real_array(name, value)
    if isinstance(array, Tracer):
        return array
    bad = ~(np.isfinite(array) & holds(np.asarray(array)))
    if bad.any():
        first = np.asarray(array)[bad].flat[0]
        at = "" if array.ndim == 0 else f" at index {tuple(int(i) for i in np.argwhere(bad)[0])}"
        raise ArgumentError(f"{name} must be {allowed}; got {first}{at}")
    return array


def nonnegative(name: str, value: object) -> jax.Array:
    """The value as an array of finite numbers ≥ 0."""
    return _ranged(name, value, lambda a: a >= 0, "finite and ≥ 0")


def positive(name: str, value: object) -> jax.Array:
    """The value as an array of finite numbers > 0."""
    return _ranged(name, value, lambda a: a > 0, "finite and > 0")


def all_finite(name: str, array: jax.Array) -> jax.Array:
    """The array; raises if it is known before tracing, and an entry is not finite."""
    if not isinstance(array, Tracer) and not (finite := np.isfinite(np.asarray(array))).all():
        at = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise ArgumentError(f"{name} must be finite; got {float(array[at])} at index {at}")
    return array


def number(name: str, value: object) -> float:
    """The value as one finite number ≥ 0, known before tracing, with all its digits."""
    array = nonnegative(name, value)
    if isinstance(array, Tracer):
        raise ArgumentTypeError(f"{name} must be finite and ≥ 0, known before tracing; got {shown(value)}")
    if shape := np.shape(array):
        raise ArgumentError(f"{name} must be one number; got shape {shape}")
    return float(value)  # type: ignore[arg-type]


def one_of(name: str, value: object, allowed: Sequence[str | None]) -> str | None:
    """The value, one of the names that are allowed, or None where that is."""
    if (isinstance(value, str) or value is None) and value in allowed:
        return value
    raise ArgumentError(f"{name} must be one of {', '.join(map(str, allowed))}; got {shown(value)}")


def true_or_false(name: str, value: object) -> bool:
    """The value, True or False."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    raise ArgumentTypeError(f"{name} must be True or False; got {shown(value)}")


def host_array(name: str, value: object) -> np.ndarray:
    """The value as a real array on the host in float64, also if float64 is switched off in JAX."""
    real_array(name, value)
    return np.asarray(value, np.float64)


def host_inputs(name: str, value: object, dtype: np.dtype, n0: int | None = None) -> np.ndarray:
    """The value as inputs of shape (m, n₀) on the host in float64, whose numbers are finite in `dtype`."""
    X = host_array(name, value)
    with np.errstate(over="ignore"):
        finite = np.isfinite(X.astype(dtype)).all()
    if X.ndim != 2 or not X.size or (n0 is not None and X.shape[1] != n0) or not finite:
        allowed = f"(m, {'n0' if n0 is None else n0})"
        raise ArgumentError(
            f"{name} must be of shape {allowed}, m and n0 ≥ 1, and finite in {dtype}; got shape {X.shape}"
        )
    return X


def widths_of(widths: object, depth: int) -> tuple[int, ...]:
    """The hidden widths (n₁, …, n_{L−1}) as ints ≥ 1; one for each layer but the last."""
    if (
        isinstance(widths, str | bytes)
        or not isinstance(widths, Sequence | np.ndarray)
        or getattr(widths, "ndim", 1) == 0
    ):
        raise ArgumentTypeError(f"widths must be a sequence of {depth - 1} integers ≥ 1; got {shown(widths)}")
    if len(widths) != depth - 1:
        raise ArgumentError(
            f"widths must hold one integer for each hidden layer, (n_1, ..., n_(L-1)): "
            f"{depth - 1} at depth {depth}; got {len(widths)}: {shown(widths)}"
        )
    return tuple(positive_int(f"widths[{i}]", n, maximum=MAX_WIDTH) for i, n in enumerate(widths))


def hidden_widths(width: object, widths: object, depth: int) -> tuple[int, ...]:
    """(n₁, …, n_{L−1}): `width` for every hidden layer, or `widths` where `width` is None."""
    if widths is not None:
        if width is not None:
            raise ArgumentError(
                f"width must be None where widths is given; got {shown(width)} and {shown(widths)}"
            )
        return widths_of(widths, depth)
    n = positive_int("width", width)
    if n > MAX_WIDTH:
        raise ArgumentError(f"width must be ≤ {MAX_WIDTH:,}; got {n:,}")
    return (n,) * (depth - 1)


def width_ratios(widths: object, depth: int) -> np.ndarray:
    """n_l/n_{l−1} for l = 1 … L; set to 1 at l = 1, where nothing fluctuates yet, and at l = L."""
    ratios = np.ones(depth)
    if widths is not None:
        n = np.array(widths_of(widths, depth), float)
        ratios[1:-1] = n[1:] / n[:-1]
    return ratios


def broadcast(arrays: dict[str, jax.Array]) -> list[Any]:
    """The arrays, broadcast to their common shape and dtype; NumPy's where `host_arrays` makes them such."""
    try:
        shape = jnp.broadcast_shapes(*(a.shape for a in arrays.values()))
    except ValueError:
        shapes = ", ".join(f"{name} {a.shape}" for name, a in arrays.items())
        raise ArgumentError(
            f"the shapes of {', '.join(arrays)} must broadcast together; got {shapes}"
        ) from None
    with jax.numpy_dtype_promotion("standard"):
        dtype = jnp.result_type(*arrays.values())
    given = host_arrays(*arrays.values())
    if all(isinstance(a, np.ndarray) for a in given):
        with np.errstate(over="ignore"):
            return [np.broadcast_to(a, shape).astype(dtype) for a in given]
    return [jnp.broadcast_to(a, shape).astype(dtype) for a in given]


def kink_positions(kinks: object) -> tuple[float, ...]:
    """The kinks as a sorted tuple of distinct floats, each 0 or of a size within `KINK_SIZES`."""
    low, high = KINK_SIZES
    allowed = f"0 or between {low:g} and {high:g} in size"
    if isinstance(kinks, numbers.Real) and not isinstance(kinks, bool):
        kinks = (kinks,)
    try:
        given = [c for c in kinks]  # type: ignore[union-attr]
        if isinstance(kinks, str | bytes) or any(isinstance(c, bool | str | bytes | np.bool_) for c in given):
            raise TypeError
        positions = tuple(sorted({float(c) for c in given}))
    except OverflowError:
        raise ArgumentError(f"kinks must be {allowed}; got {shown(kinks)}") from None
    except Exception:
        raise ArgumentTypeError(
            f"kinks must be a flat sequence of finite real numbers, known before tracing; got {shown(kinks)}"
        ) from None
    if not all(map(math.isfinite, positions)):
        raise ArgumentError(f"kinks must be finite; got {shown(kinks)}")
    if not all(c == 0 or low <= abs(c) <= high for c in positions):
        raise ArgumentError(f"kinks must be {allowed}; got {shown(kinks)}")
    return positions


OURS = ("eft", "nets", "contextlib")
"""Modules skipped in the search for the caller's line: both packages, and `contextlib` between them."""


def warn_user(message: str, category: type[Warning] = UserWarning) -> None:
    """Give a warning that points at the line that called into these packages."""
    frame, level = sys._getframe(), 1
    while frame.f_back and frame.f_globals.get("__name__", "").split(".")[0] in OURS:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
