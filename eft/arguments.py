"""Checks of arguments at the public boundary.

Every error names the argument, the value it got and what is allowed. A value that is being
traced by JAX cannot be looked at; such a value passes, and the result's own marks take over.
"""

import math
import numbers
import operator
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

MAX_DEPTH = 1_000_000
"""The deepest flow that is computed: minutes at most. Deeper ones are continued from `K1=K[-1]`."""


def shown(value: object) -> str:
    """`repr` of the value, cut where it gets long."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def positive_int(name: str, value: object, maximum: int | None = None) -> int:
    """The value as an int ≥ 1 (and ≤ maximum). Floats are refused, also whole ones."""
    allowed = "an integer ≥ 1" + ("" if maximum is None else f" and ≤ {maximum:,}")
    if isinstance(value, bool | np.bool_ | Tracer):
        raise TypeError(f"{name} must be {allowed}, known before tracing; got {shown(value)}")
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        kind = ValueError if isinstance(value, numbers.Real) else TypeError
        raise kind(f"{name} must be {allowed}; got {shown(value)}") from None
    if number < 1 or (maximum is not None and number > maximum):
        raise ValueError(f"{name} must be {allowed}; got {number:,}")
    return number


def real_array(name: str, value: object) -> jax.Array:
    """The value as a real floating-point array; complex numbers, text and None are refused."""
    if isinstance(value, bool | str | bytes) or value is None:
        raise TypeError(f"{name} must be a real number or an array of them; got {shown(value)}")
    try:
        with jax.ensure_compile_time_eval():  # what is not traced can be looked at, also inside of jit
            array = jnp.asarray(value)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"{name} must be a real number or an array of them; got {shown(value)}") from None
    if jnp.issubdtype(array.dtype, jnp.complexfloating) or array.dtype == jnp.bool_:
        raise TypeError(f"{name} must be real; got {array.dtype}: {shown(value)}")
    if not jnp.issubdtype(array.dtype, jnp.floating):
        array = array.astype(jnp.result_type(float))
    return array


def _ranged(name: str, value: object, holds, allowed: str) -> jax.Array:
    array = real_array(name, value)
    if isinstance(array, Tracer):
        return array
    bad = ~(np.isfinite(array) & holds(np.asarray(array)))
    if bad.any():
        first = np.asarray(array)[bad].flat[0]
        at = "" if array.ndim == 0 else f" at index {tuple(int(i) for i in np.argwhere(bad)[0])}"
        raise ValueError(f"{name} must be {allowed}; got {first}{at}")
    return array


def nonnegative(name: str, value: object) -> jax.Array:
    """The value as an array of finite numbers ≥ 0."""
    return _ranged(name, value, lambda a: a >= 0, "finite and ≥ 0")


def positive(name: str, value: object) -> jax.Array:
    """The value as an array of finite numbers > 0."""
    return _ranged(name, value, lambda a: a > 0, "finite and > 0")


def widths_of(widths: object, depth: int) -> tuple[int, ...]:
    """The hidden widths (n₁, …, n_{L−1}) as ints ≥ 1; one for each layer but the last."""
    if isinstance(widths, str) or not isinstance(widths, Sequence | np.ndarray):
        raise TypeError(f"widths must be a sequence of {depth - 1} integers ≥ 1; got {shown(widths)}")
    if len(widths) != depth - 1:
        raise ValueError(
            f"widths must hold one integer for each hidden layer, (n_1, ..., n_(L-1)): "
            f"{depth - 1} at depth {depth}; got {len(widths)}: {shown(widths)}"
        )
    return tuple(positive_int(f"widths[{i}]", n) for i, n in enumerate(widths))


def broadcast(arrays: dict[str, jax.Array]) -> list[jax.Array]:
    """The arrays at their common shape and dtype."""
    try:
        shape = jnp.broadcast_shapes(*(a.shape for a in arrays.values()))
    except ValueError:
        shapes = ", ".join(f"{name} {a.shape}" for name, a in arrays.items())
        raise ValueError(f"the shapes of {', '.join(arrays)} must broadcast together; got {shapes}") from None
    dtype = jnp.result_type(*arrays.values())
    return [jnp.broadcast_to(a, shape).astype(dtype) for a in arrays.values()]


def kink_positions(kinks: object) -> tuple[float, ...]:
    """The kinks as a sorted tuple of distinct finite floats."""
    if isinstance(kinks, numbers.Real):
        kinks = (kinks,)
    try:
        positions = tuple(sorted({float(c) for c in kinks}))  # type: ignore[union-attr]
    except (TypeError, ValueError):
        raise TypeError(f"kinks must be a sequence of finite real numbers; got {shown(kinks)}") from None
    if not all(map(math.isfinite, positions)):
        raise ValueError(f"kinks must be finite; got {shown(kinks)}")
    return positions
