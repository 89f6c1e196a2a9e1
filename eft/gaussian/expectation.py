"""Gaussian expectations ⟨f⟩_K = E[f(z)], z ~ N(0, K), accurate at every scale.

The nodes z_j do not depend on K. They are uniformly spaced in log|z − c| about 0 and about every kink c of f,
over all relevant scales. One set of values f(z_j) therefore serves every K in a window of 32 decades, and
both the structure of an activation at |z| ~ 1 and the Gaussian at |z| ~ √K are resolved:

    ⟨f⟩_K = Σ_j v_j f(z_j) p_K(z_j),   p_K(z) = e^{−z²/2K}/√(2πK).

The weights v_j are those of the trapezoidal rule in a variable t in which the integrand decays double
exponentially towards a kink and towards infinity; its error decreases roughly as e^{−π²/2h} with the step h.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun
from jax.typing import ArrayLike

from eft import arguments
from eft.activations.derivatives import Array, Function, derivative
from eft.activations.elementwise import checked_function
from eft.activations.one_sided import aligned, jump_at, numpy_of, sides
from eft.arguments import warn_user
from eft.gaussian.accuracy import error_of_six
from eft.gaussian.rules import TAIL, TURN
from eft.records import METHODS

WINDOW = (1e-16, 1e16)
"""The range of K that one set of nodes serves. Outside it the nodes are stretched in proportion to √K."""

STEP = 0.1
"""h: relative error ≤ 1e-14 for every catalogued activation in the window."""

MAX_U = 16.0
"""|z|/√K at which the Gaussian, e^{−128} there, is cut off."""

UNDERFLOW_U, VANISHED_U = 38.0, 40.0
"""|z|/√K at which the Gaussian, e^{−722}, is at the end of the range of float64, and beyond which it is 0."""

OFFSETS = tuple(k / 6 for k in range(6))
"""Offsets of the six rules, in steps. The error at a kink varies with the offset: not all agree by chance."""


class QuadratureWarning(UserWarning):
    """An expectation may not have the accuracy that the quadrature should give."""


class Expectation(NamedTuple):
    """A Gaussian expectation; each field is like f's value, with K's shape.

    `value`: ⟨f⟩_K.
    `error`: estimated absolute error of `value`.
    `magnitude`: ⟨|f|⟩_K.
    """

    value: Any
    error: Any
    magnitude: Any

    __repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS


def tolerance(dtype) -> float:
    """The promised relative error: 1e-12 in float64, 2e-6 in float32."""
    return 1e-12 if jnp.finfo(dtype).bits >= 64 else 2e-6


# --- nodes --------------------------------------------------------------------------------------


def _steps(start: float, end: float, offset: float) -> np.ndarray:
    return start + STEP * (offset + np.arange(int(np.ceil((end - start) / STEP))))


def _outward(c: float, near: float, far: float, offset: float) -> tuple[np.ndarray, np.ndarray]:
    """z = c + e^{t − e^{−(t−τ)}} from c to c + far; uniformly spaced in log(z − c) beyond `near`."""
    tau = np.log(near) - TURN
    t = _steps(tau - TAIL, np.log(far), offset)
    decay = np.exp(tau - t)
    y = np.exp(t - decay)
    return c + y, STEP * y * (1 + decay)


def _between(
    a: float, b: float, near_a: float, near_b: float, offset: float
) -> tuple[np.ndarray, np.ndarray]:
    """z from a to b: log (z−a)/(b−z) = t − e^{−(t−τ_a)} + e^{t−τ_b}, uniformly spaced in t."""
    d = b - a
    tau_a, tau_b = np.log(near_a / d) - TURN, TURN - np.log(near_b / d)
    t = _steps(tau_a - TAIL, tau_b + TAIL, offset)
    left, right = np.exp(tau_a - t), np.exp(t - tau_b)
    y = t - left + right
    from_a, to_b = d / (1 + np.exp(-y)), d / (1 + np.exp(y))
    return np.where(y < 0, a + from_a, b - to_b), STEP * from_a * to_b / d * (1 + left + right)


@functools.lru_cache(maxsize=512)
def half_line(
    kinks: tuple[float, ...], offset: float = 0.0, finer: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights on z > 0: ∫dz p_K f = Σ v (f(z) + f(−z)) p_K(z) for f with these kinks.

    `finer`: how close to kinks c ≠ 0 the nodes go, relative to what a kink requires; less than 1 to resolve
    structure on that scale.
    """
    low, high = np.sqrt(WINDOW)
    cuts = [0.0, *sorted({abs(c) for c in kinks if c != 0})]
    # near a kink c ≠ 0 the Gaussian decays over K/c, which is ≥ c/40² until it vanishes at c = 40√K
    near = [low, *(finer * min(1.0, c / VANISHED_U**2) for c in cuts[1:])]
    parts = [
        _between(a, b, near_a, near_b, offset)
        for a, b, near_a, near_b in zip(cuts, cuts[1:], near, near[1:], strict=False)
    ]
    parts.append(_outward(cuts[-1], near[-1], MAX_U * high, offset))
    z, v = map(np.concatenate, zip(*parts, strict=True))
    return z, v


def density(z: Array | float, K: Array | float) -> Any:
    """p_K(z) = e^{−z²/2K}/√(2πK)."""
    # z·(z/K): the nodes round independently; with z/√K they would all share the rounding of √K
    xp = numpy_of(K)
    return xp.exp(-z * (z / K) / 2) / (math.sqrt(2 * math.pi) * xp.sqrt(K))


# --- expectations -------------------------------------------------------------------------------


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 2, 3))
def _integral(f: Callable[..., Any], args: tuple, kinks: tuple[float, ...], offset: float) -> Any:
    """Σ v (f(z, *θ) + f(−z, *θ)) p_K(z) for args = (K, *θ), K > 0; a pytree like f's value."""
    K, *theta = args
    z, v = (jnp.asarray(a, K.dtype) for a in half_line(kinks, offset))
    stretch = jnp.sqrt(K / jnp.clip(K, *WINDOW))[..., None]
    z, v = stretch * aligned(z, stretch), stretch * aligned(v, stretch)
    w = v * density(z, K[..., None])
    z = jnp.where(w > 0, z, 0.0)  # where p_K underflows, f is taken at 0: 0·f must not be 0·∞
    return jax.tree.map(lambda left, right: jnp.sum(w * (left + right), -1), f(-z, *theta), f(z, *theta))


@_integral.defjvp
def _integral_jvp(f, kinks, offset, primals, tangents):
    """d⟨f⟩_K/dK = (⟨z f′⟩ + Σ_c c [f]_c p_K(c))/2K, and ⟨∂f/∂θ⟩ for the values θ that f closes over."""
    (K, *theta), (dK, *dtheta) = primals[0], tangents[0]

    def slope(z, *theta):
        return jax.tree.map(lambda df: z * df, derivative(lambda y: f(y, *theta))(z))

    by_K = _integral(slope, primals[0], kinks, offset)
    for c in kinks:
        if c != 0:
            edge = jump_at(lambda y: f(y, *theta), c, K.dtype)
            by_K = jax.tree.map(lambda d, e, c=c: d + c * e * density(c, K), by_K, edge)
    tangent = jax.tree.map(lambda d: d / (2 * K) * dK, by_K)
    if theta:
        by_theta = _integral(
            lambda z, *both: jax.jvp(lambda *th: f(z, *th), both[: len(theta)], both[len(theta) :])[1],
            (K, *theta, *dtheta),
            kinks,
            offset,
        )
        tangent = jax.tree.map(jnp.add, tangent, by_theta)
    return _integral(f, primals[0], kinks, offset), tangent


def _elementwise(f: Function, dtype) -> tuple[Callable[..., Any], list]:
    """f with the traced values θ that it closes over as arguments, for differentiation by them; and θ."""
    # not `jax.closure_convert`, which caches thousands of functions
    closed, shape = jax.make_jaxpr(lambda z: f(z), return_shape=True)(jnp.zeros((), dtype))
    consts, tree = closed.consts, jax.tree.structure(shape)
    places = [
        i
        for i, a in enumerate(consts)
        if isinstance(a, Tracer) and jnp.issubdtype(jnp.result_type(a), jnp.inexact)
    ]
    theta = [consts[i] for i in places]

    def scalar(z, *theta):
        given = list(consts)
        for i, value in zip(places, theta, strict=True):
            given[i] = value
        return jax.tree.unflatten(tree, jaxpr_as_fun(ClosedJaxpr(closed.jaxpr, given))(z))

    def g(z, *theta):
        over = scalar
        for _ in range(jnp.ndim(z)):
            over = jax.vmap(over, in_axes=(0,) + (None,) * len(theta))
        return over(z, *theta)

    return g, theta


def gaussian_expectation(
    f: Function, K: ArrayLike, kinks: Sequence[float] = (), *, return_error: bool = False
) -> Any:
    """⟨f⟩_K = ∫ dz f(z) e^{−z²/2K}/√(2πK).

    `f`: any elementwise JAX function of an array, or one that returns a pytree of such arrays;
    it may grow like a power of z (or as e^{|z|} while √K ≲ 5). `K`: variance, any shape, ≥ 0;
    ⟨f⟩_0 is f(0), or the mean of both one-sided limits if 0 is a kink. `kinks`: the points where f or one
    of its derivatives jumps, and the centre of any structure far from 0.
    Returns an array of K's shape (for a pytree, a pytree of such arrays).

    Relative error ≤ 1e-12 in float64 and ≤ 2e-6 in float32 for K in [1e-12, 1e12] and an f that is
    smooth on the scale 1 between its kinks, as computed in K's precision. Undeclared kinks are not searched
    for, but they are noticed, since six rules are compared. With `return_error=True` the result is
    `Expectation(value, error, magnitude)`; without it, a `QuadratureWarning` is issued where the error may
    exceed that bound times ⟨|f|⟩ (not while K is traced: use `return_error=True` there).
    Structure that all rules miss, such as a narrow bump far from 0 and from every kink, goes unnoticed.

    Differentiable in K to any order, including the contributions of jumps of f at the kinks, and in the
    values that f closes over: d⟨f⟩_K/dK = ½⟨f″⟩_K.

    Raises ArgumentError or ArgumentTypeError (a ValueError and a TypeError) if f is not elementwise or not
    real, or if K is negative or not finite. A traced K < 0 gives NaN.

    >>> print(eft.gaussian_expectation(lambda z: z**4, 2.0).round(10))
    12.0
    >>> print(eft.gaussian_expectation(jnp.abs, jnp.array([1.0, 4.0]), kinks=(0.0,)).round(6))
    [0.797885 1.595769]
    """
    K = arguments.nonnegative("K", K)
    positions = arguments.kink_positions(kinks)
    checked_function(f, K.dtype)
    expectation = _expectation(f, K, positions)
    if return_error:
        return expectation
    leaves = map(jax.tree.leaves, jax.lax.stop_gradient(expectation[1:]))
    for each in zip(
        *leaves, [jax.lax.stop_gradient(K)] * len(jax.tree.leaves(expectation.value)), strict=True
    ):
        if not any(isinstance(a, Tracer) for a in each):
            warn_of_error(*map(np.asarray, each))
    return expectation.value


def _expectation(f: Function, K: jax.Array, kinks: tuple[float, ...]) -> Expectation:
    """⟨f⟩_K by six rules; at K = 0 it is f(0)."""
    g, theta = _elementwise(f, K.dtype)
    is_zero = K == 0
    args = (jnp.where(is_zero, 1.0, K), *theta)
    values = [_integral(g, args, kinks, offset) for offset in OFFSETS]
    size = _integral(lambda *a: jax.tree.map(jnp.abs, g(*a)), jax.lax.stop_gradient(args), kinks, 0.0)

    def whole(at_zero, size, *values):
        value, error = combined(jnp.stack(values), size)
        return Expectation(
            jnp.where(is_zero, at_zero, value),
            jnp.where(is_zero, 0.0, error),
            jnp.where(is_zero, jnp.abs(at_zero), size),
        )

    rows = jax.tree.map(whole, _at_zero(g, theta, K, kinks), size, *values)
    return jax.tree.transpose(jax.tree.structure(values[0]), jax.tree.structure(Expectation(0, 0, 0)), rows)


def _at_zero(g, theta, K, kinks):
    """f(0) + ½K f″(0), which at K = 0 has the value of ⟨f⟩_K and its derivative in K."""
    zero = jnp.zeros((), K.dtype)
    f = lambda z: g(z, *theta)  # noqa: E731
    if 0.0 in kinks:
        return jax.tree.map(
            lambda below, above: (below + above) / 2, *(f(jnp.asarray(y)) for y in sides(0.0, K.dtype))
        )
    curvature = derivative(derivative(f))(zero)
    return jax.tree.map(lambda f0, f2: f0 + jnp.where(jnp.isfinite(f2), f2, 0) * K / 2, f(zero), curvature)


def combined(values: jax.Array, magnitude: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The mean of the results of the six rules (the leading axis), and its estimated error."""
    value = jnp.mean(values, axis=0)
    error = error_of_six(jax.lax.stop_gradient(values))
    error = jnp.maximum(error, 8 * jnp.finfo(values.dtype).eps * magnitude)
    return value, jnp.where(jnp.isfinite(error), error, jnp.inf)


def warn_of_error(error: np.ndarray, magnitude: np.ndarray, K: np.ndarray) -> None:
    """Warn if the estimated error exceeds the promised one."""
    promised = tolerance(error.dtype)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where(error > 0, error / magnitude, 0.0)
    relative = np.where(np.isnan(relative), np.inf, relative)
    if relative.max(initial=0.0) > promised:
        worst = np.unravel_index(relative.argmax(), relative.shape)
        warn_user(
            f"the Gaussian expectation at K = {K[worst]:.6g} is known only to a relative error of about "
            f"{relative[worst]:.1e} (promised: {promised:.0e}). Does the function have a kink, "
            "a jump or structure far from 0 that is not declared? Pass kinks=(...).",
            QuadratureWarning,
        )
