"""Check that a function is what the theory requires: real and elementwise."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.errors import ConcretizationTypeError, TracerArrayConversionError, TracerBoolConversionError
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from eft import arguments
from eft.arguments import ArgumentError, ArgumentTypeError

LOW, HIGH, POINTS = -7.3, 8.1, 257
"""The points at which a function is evaluated. Not symmetric about 0, where sums and means would vanish."""

COMPANIONS, ROW, ALONE = 128, 16, 6
"""Elements compared in different arrays, the length of a row of them, and those evaluated alone."""

ROUNDING = 64
"""Units of round-off by which an element may differ: compiled code differs between scalars and arrays."""


def checked_function(f: object, dtype, name: str = "f", *, single: bool = False) -> None:
    """Refuse anything but an elementwise real JAX function, before any computation.

    `single`: it must return one array; otherwise a pytree of arrays is allowed too.
    """
    if not callable(f):
        raise ArgumentTypeError(f"{name} must be a function of an array; got {arguments.shown(f)}")
    if isinstance(f, np.ufunc):
        raise ArgumentTypeError(
            f"{name} must be a JAX function of an array; use jnp.{f.__name__} in place of np.{f.__name__}"
        )
    programs = []
    for shape in ((), (2, 3)):
        program, out = _traced(f, shape, dtype, name)
        leaves = jax.tree.leaves(out)
        if single and leaves and not isinstance(out, jax.ShapeDtypeStruct):
            raise ArgumentTypeError(f"{name} must return one array; it returned a {type(out).__name__}")
        if not leaves or any(leaf.shape != shape for leaf in leaves):
            got = [leaf.shape for leaf in leaves]
            raise ArgumentError(f"{name} must be elementwise: an array of shape {shape} gave shape {got}")
        if not all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves):
            got = [str(leaf.dtype) for leaf in leaves]
            raise ArgumentTypeError(f"{name} must return real floating-point numbers; it returned {got}")
        programs.append(operations(program))
    # most functions need not be evaluated, which would compile each of their operations
    if programs[0] is None or programs[0] != programs[1]:
        _compare(f, dtype, name)


def evaluated(f: Callable, z: np.ndarray | np.floating) -> Any:
    """f(z) as concrete values where possible: even within `jax.jit`, if f closes over nothing traced."""
    with jax.ensure_compile_time_eval(), jax.debug_nans(False), jax.debug_infs(False):
        return f(jax.device_put(z))


def _traced(f: Callable, shape: tuple[int, ...], dtype, name: str) -> tuple[ClosedJaxpr, Any]:
    """The operations of f on an array of this shape, and the shapes of its outputs."""
    try:
        # wrapped in a function: JAX cannot handle a callable that does not support weak references
        return jax.make_jaxpr(lambda z: f(z), return_shape=True)(jax.ShapeDtypeStruct(shape, dtype))
    except Exception as error:
        said = (str(error).strip().splitlines() or [""])[0]
        raise ArgumentTypeError(
            f"{name} must be a JAX function of an array{_hint(f, error)}; on a {dtype} array of shape "
            f"{shape} it raised {type(error).__name__}: {said}"
        ) from error


_NAMES = """
    abs acos acosh add add_any and asin asinh atan atan2 atanh bessel_i0e bessel_i1e broadcast_in_dim cbrt
    ceil clamp convert_element_type copy cos cosh digamma div eq erf erf_inv erfc exp exp2 expm1 floor ge
    gt igamma igammac integer_pow is_finite le lgamma log log1p logistic lt max min mul ne neg nextafter
    not or polygamma pow reduce_precision regularized_incomplete_beta rem round rsqrt select_n sign sin
    sinh sqrt square stop_gradient sub tan tanh xor zeta
"""
POINTWISE = frozenset(_NAMES.split())
"""JAX operations that act elementwise on scalars and arrays of one shape."""

CALLS = frozenset({"jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call", "checkpoint", "remat"})
"""JAX operations that run a program of their own."""


def operations(program: ClosedJaxpr | Jaxpr) -> tuple | None:
    """The operations and constants of a program; the same for every array shape unless it depends on it.

    None unless all operations are pointwise and act on scalars and inputs only: then so does the program.
    """
    jaxpr = program.jaxpr if isinstance(program, ClosedJaxpr) else program
    if any(getattr(var.aval, "shape", ()) for var in jaxpr.constvars):
        return None
    names: list[str] = []
    numbers: list[Any] = list(program.consts) if isinstance(program, ClosedJaxpr) else []
    written: list[str] = []
    for equation in jaxpr.eqns:
        kind = equation.primitive.name
        inner = [part for part in equation.params.values() if isinstance(part, ClosedJaxpr | Jaxpr)]
        if kind in CALLS and len(inner) == 1:
            inner_operations = operations(inner[0])
            if inner_operations is None:
                return None
            names += inner_operations[0]
            written += inner_operations[1]
        elif kind not in POINTWISE:
            return None
        elif kind != "broadcast_in_dim":
            names.append(kind)
            numbers += [part for part in equation.params.values() if isinstance(part, int | float)]
        numbers += [var.val for var in equation.invars if isinstance(var, Literal)]
    if any(np.ndim(number) for number in numbers):
        return None
    written += [repr(np.asarray(number).item()) for number in numbers if not isinstance(number, Tracer)]
    return names, sorted(written)


def _hint(f: Callable, error: Exception) -> str:
    """A hint at what to write instead."""
    called, module = getattr(f, "__name__", None), getattr(f, "__module__", None) or ""
    if module in ("math", "cmath") or module.split(".")[0] == "numpy":
        return f", and {called} is not one: use jnp.{called}"
    if isinstance(error, TracerBoolConversionError):
        return ", which cannot ask for the value of its argument: use jnp.where in place of if, and, or"
    if isinstance(error, ConcretizationTypeError | TracerArrayConversionError):
        return (
            ", which does not need the value of its argument: use jnp.tanh in place of np.tanh or math.tanh"
        )
    return ""


def _compare(f: Callable, dtype, name: str) -> None:
    """Refuse f unless f of an array is f of each element, whatever its position and the rest of the array."""
    z = np.linspace(LOW, HIGH, POINTS).astype(dtype)
    order = np.random.default_rng(0).permutation(POINTS)
    mixed = z[order]
    mixed[COMPANIONS:] = z[: POINTS - COMPANIONS] * z.dtype.type(0.37) - z.dtype.type(1.9)
    unit = 8 * np.finfo(dtype).eps
    near = [z * z.dtype.type(1 + step) for step in (-unit, unit)]
    many = [evaluated(f, a) for a in (z, *near, mixed, mixed[:COMPANIONS].reshape(-1, ROW))]
    alone = [evaluated(f, each) for each in mixed[:ALONE]]
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves([many, alone])):
        return
    columns, single = (zip(*map(jax.tree.leaves, outputs), strict=True) for outputs in (many, alone))
    for (value, below, above, again, rows), each in zip(columns, single, strict=True):
        value, below, above = (np.asarray(a)[order[:COMPANIONS]] for a in (value, below, above))
        for other in (np.asarray(again)[:COMPANIONS], np.ravel(rows), np.stack(each)):
            k = len(other)
            same = _same(value[:k], other, below[:k], above[:k])
            if not same.all():
                i = int(np.argmin(same))
                raise ArgumentError(
                    f"{name} must be elementwise, so that f of an array is f of each element; at "
                    f"z = {mixed[i]:.6g} it gave {value[i]:.12g} in one array and {other[i]:.12g} "
                    "in another. A mean, a norm, a sort or a random mask over an array is no activation."
                )


def _same(a, b, below, above) -> np.ndarray:
    """Whether a and b are equal up to round-off, including that of f's argument as f propagates it."""
    info = np.finfo(a.dtype)
    with np.errstate(all="ignore"):
        spread = np.maximum(np.abs(below - a), np.abs(above - a))
        size = ROUNDING * (info.eps * np.maximum(np.abs(a), np.abs(b)) + info.tiny)
        close = ~(np.abs(a - b) > size + 4 * spread)
    return np.where(np.isfinite(a) & np.isfinite(b), close, (a == b) | (np.isnan(a) & np.isnan(b)))
