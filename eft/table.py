"""An activation at the nodes of the Gaussian quadrature, made once, and the moments at any K from it.

The nodes do not depend on K: an expectation at any number of K is one exponential a node and a
product of matrices, and costs the same for every activation.
"""

import functools
import math
import operator
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.custom_derivatives import SymbolicZero

from eft.gaussian import OFFSETS, WINDOW, Function, combined, derivative, half_line, jump, sides
from eft.moments import Moments

Array = jax.Array | np.ndarray
HIGHEST = jax.lax.Precision.HIGHEST

RUN = 32
"""Terms that are summed one after the other in float32."""


class Table(NamedTuple):
    """An activation at the nodes of one rule, and what its kinks add; a leading axis over rules."""

    z: Array  # (nodes,) on the half line
    v: Array  # (nodes,) weights
    columns: Array  # (nodes, 11): f(z) + f(−z) for the integrands f of `_integrands`
    bounded: Array  # () smallest |z| at which an integrand is not finite, or inf
    kinks: Array  # (kinks,) 0 and where σ or a derivative jumps
    jumps: Array  # (kinks, 4) [F]_c, [F′]_c, [F″]_c, [F‴]_c
    discontinuous: Array  # () 1 if σ itself jumps, else 0
    edges: Array  # (2, 6, 4): q, a, b and misfit of `_leading_powers`, at either end of the window
    centres: Array  # (2,) F₀ = F(0), and F_∞ where F has a limit far out (else F₀)
    centred: Array  # (nodes, 2, 2) F less either centre, at −z and at z


class Sampled(Protocol):
    """What a table is made from."""

    @property
    def kinks(self) -> tuple[float, ...]: ...
    @property
    def resolved(self) -> bool: ...
    def derivatives(self, z: jax.Array, /) -> tuple[jax.Array, ...]: ...


def leibniz(a: tuple, b: tuple) -> tuple:
    """(ab)⁽ᵏ⁾ = Σ_j C(k, j) a⁽ʲ⁾ b⁽ᵏ⁻ʲ⁾ for k = 0 … 4."""
    terms = ([math.comb(k, j) * a[j] * b[k - j] for j in range(k + 1)] for k in range(5))
    return tuple(functools.reduce(operator.add, row) for row in terms)


def nested_derivatives(fn: Function, z: jax.Array) -> tuple[jax.Array, ...]:
    """σ, σ′, σ″, σ‴, σ⁗ at z by nested forward differentiation."""
    orders = [fn]
    for _ in range(4):
        orders.append(derivative(orders[-1]))
    return tuple(f(z) for f in orders)


def table(act: Sampled, dtype) -> Table:
    """The table of an activation: by one rule where that is known to resolve it, else by three.

    It is made in float64 where that is switched on, also for use in float32, and by NumPy, so that
    nothing but the activation itself is compiled; by JAX where the activation closes over traced values.
    """
    widest = jnp.result_type(float)
    offsets = OFFSETS[:1] if act.resolved else OFFSETS
    kinks = np.array(sorted({0.0, *act.kinks}), widest)
    below, above = np.array([sides(c, widest) for c in kinks]).T
    rows = []
    for offset in offsets:
        z, v = (a.astype(widest) for a in half_line(act.kinks, offset))
        with jax.ensure_compile_time_eval():
            s = jax.jit(act.derivatives)(np.concatenate([below, above, -z, z]))
        if not any(isinstance(d, Tracer) for d in s):
            s = tuple(map(np.asarray, s))
        with np.errstate(all="ignore"):
            rows.append(_assemble(z, v, s, kinks, above - below, dtype))
    fields = zip(*rows, strict=True)
    return Table(*(jnp.asarray(_numpy_of(field[0]).stack(field), dtype) for field in fields))


def _numpy_of(array) -> Any:
    """NumPy for its own arrays, jax.numpy for JAX's."""
    return np if isinstance(array, np.ndarray | np.generic) else jnp


def _assemble(z, v, s, kinks, gap, dtype) -> Table:
    """One rule's table, from σ, σ′, …, σ⁗ below 0 and the kinks, above them, at −z and at z."""
    xp = _numpy_of(s[0])
    cuts = np.cumsum([len(gap), len(gap), len(z)])
    s_below, s_above, s_left, s_right = zip(*(xp.split(d, cuts) for d in s), strict=True)
    F_below, F_above, F_left, F_right = (leibniz(s, s) for s in (s_below, s_above, s_left, s_right))
    zero = int(np.abs(kinks).argmin())
    below, above = (tuple(d[zero] for d in F) for F in (F_below, F_above))
    left, right = differences(z, below, above, F_left, F_right, gap[zero])
    columns = _integrands(-z, s_left, F_left, left) + _integrands(z, s_right, F_right, right)
    finite = xp.all(xp.abs(columns) <= float(jnp.finfo(dtype).max), axis=1)
    made = Table(
        z,
        v,
        xp.where(finite[:, None], columns, 0.0),
        xp.min(xp.where(finite, np.inf, z)),
        kinks,
        xp.stack([jump(F_below[k], F_above[k], F_below[k + 1], F_above[k + 1], gap) for k in range(4)], -1),
        xp.any(jump(s_below[0], s_above[0], s_below[1], s_above[1], gap) != 0).astype(z.dtype),
        np.zeros((2, 6, 4), z.dtype),
        xp.stack(centres(below, above, F_left, F_right)),
        xp.stack([xp.stack(left, -1), xp.stack(right, -1)], 1),
    )
    return made._replace(edges=edges(_sums, made))


def centres(below, above, left, right) -> tuple:
    """F₀ and F_∞, from F just below and above 0 and at ∓z; F₀ again where F is large far out."""
    xp = _numpy_of(left[0])
    F0 = (below[0] + above[0]) / 2
    far_out = (left[0][-1] + right[0][-1]) / 2
    return F0, xp.where(xp.abs(far_out) < 1e3, far_out, F0)


def differences(z, below, above, left, right, gap) -> tuple[tuple, tuple]:
    """F − F₀ and F − F_∞ at −z, and at z, so that neither cancels where it is small.

    From F, F′, … F⁗ just below and above 0, and at ∓z. F₀ is the mean of both sides, F_∞ that far out.
    """
    xp = _numpy_of(left[0])
    F0, far = centres(below, above, left, right)
    step = jump(below[0], above[0], below[1], above[1], gap) / 2
    near = (np.abs(z) < np.finfo(z.dtype).eps ** 0.2) & (F0 != 0)
    found = []
    for y, F, a0, (_, a1, a2, a3, a4) in ((-z, left[0], -step, below), (z, right[0], step, above)):
        y = xp.where(near, y, 0.0)
        # F − F(0) from the series at that side of 0, where the difference would cancel
        series = a0 + y * (a1 + y / 2 * (a2 + y / 3 * (a3 + y / 4 * a4)))
        from_zero = xp.where(near & xp.isfinite(series), series, F - F0)
        found.append((from_zero, xp.where(far == F0, from_zero, F - far)))
    return found[0], found[1]


def _integrands(z, s, F, centred) -> Any:
    """F, F², F−F₀, (F−F₀)², F−F_∞, (F−F_∞)², σ′², ½F″, ¼F⁗, ½zF′, ¼(z²F″−zF′), stacked last."""
    xp = _numpy_of(s[0])
    F, F1, F2, _, F4 = F
    from_zero, from_far = centred
    F4 = xp.where(xp.isfinite(F4), F4, 0.0)
    moments = (F, F * F, from_zero, from_zero**2, from_far, from_far**2, s[1] ** 2)
    slopes = (F2 / 2, F4 / 4, z * F1 / 2, (z * z * F2 - z * F1) / 4)
    return xp.stack(moments + slopes, axis=-1)


def _at_kinks(table: Table, K) -> tuple:
    """What the jumps of F, F′, … at the kinks c add to ½⟨F″⟩, ⟨zF′⟩/2K, ¼⟨F⁗⟩ and ⟨z²F″−zF′⟩/4K².

    F⁽ᵏ⁾ contains [F⁽ᵏ⁻¹⁻ʲ⁾]_c δ⁽ʲ⁾(z−c), and ∫δ⁽ʲ⁾p = (−1)ʲp⁽ʲ⁾(c), p′ = −vp, p″ = (v²−1/K)p, … with v = c/K.
    """
    xp = np if _numpy_of(table.jumps) is np and _numpy_of(K) is np else jnp
    F, F1, F2, F3 = table.jumps.T
    K = K[..., None]
    v, p = table.kinks / K, weights(table.kinks, K)
    rows = (
        (F1 + F * v) / 2,
        F * v / 2,
        (F3 + F2 * v + F1 * (v * v - 1 / K) + F * v * (v * v - 3 / K)) / 4,
        (F1 * v * v + F * v * (v * v - 3 / K)) / 4,
    )
    return tuple(xp.sum(xp.where(p > 0, row * p, 0.0), -1) for row in rows)


def weights(z, K):
    """p_K(z), for NumPy as for JAX."""
    xp = _numpy_of(K)
    return xp.exp(-z * (z / K) / 2) / (math.sqrt(2 * math.pi) * xp.sqrt(K))


def product(a, b):
    """The product of matrices in full precision (an accelerator would take less for float32)."""
    if _numpy_of(a) is np and _numpy_of(b) is np:
        return a @ b
    if jnp.result_type(a, b) == jnp.float32:  # sums of sums: rounding grows with the root of their length
        a, b = (jnp.concatenate([c, jnp.zeros_like(c)[..., : -c.shape[-1] % RUN]], -1) for c in (a, b.T))
        parts = jnp.einsum(
            "...rj,krj->...rk", *(c.reshape(*c.shape[:-1], -1, RUN) for c in (a, b)), precision=HIGHEST
        )
        return parts.sum(-2)
    return jnp.matmul(a, b, precision=HIGHEST)


def _sums(table: Table, K) -> Any:
    """g, ⟨σ⁴⟩, var, g′, ⟨σ′²⟩, g″ for K in the window, stacked first.

    g′ = ½⟨F″⟩ = ⟨zF′⟩/2K and g″ = ¼⟨F⁗⟩ = ⟨z²F″ − zF′⟩/4K²: the first form where K < 1, since the
    second cancels as K → 0, and the second beyond, where the first cancels. The variance is
    ⟨(F−a)²⟩ − ⟨F−a⟩² with the a, F₀ or F_∞, that is nearer to the mean.
    """
    sums = product(table.v * weights(table.z, K[..., None]), table.columns)
    xp = _numpy_of(sums)
    g, g4, d0, q0, d1, q1, slope2, curve, quarter, parallel, bend = xp.moveaxis(sums, -1, 0)
    var = xp.where(xp.abs(d0) <= 2 * xp.abs(d1), q0 - d0 * d0, q1 - d1 * d1)
    kinks = _at_kinks(table, K)
    near = K < 1
    dg = xp.where(near, curve + kinks[0], parallel / K + kinks[1])
    d2g = xp.where(near, quarter + kinks[2], bend / K**2 + kinks[3])
    slope2 = xp.where(table.discontinuous > 0, np.inf, slope2)
    overflow = table.bounded < 38 * xp.sqrt(K)
    return xp.where(overflow, np.inf, xp.stack([g, g4, var, dg, slope2, d2g]))


def edges(sums: Callable, made: Any) -> Any:
    """`_leading_powers` at either end of the window."""
    ends = zip(WINDOW, (4.0, 0.25), strict=True)
    found = [_leading_powers(sums, made, K, step) for K, step in ends]
    return _numpy_of(found[0]).stack(found)


def _leading_powers(sums: Callable, made: Any, K: float, step: float) -> Any:
    """q, a, b of M = x^q (a + b x^{±1/2}), x = K over an end of the window, and the misfit; shape (…, 4).

    One-sided Taylor series at 0 and power laws at infinity have powers q of half an integer.
    """
    x = step ** np.arange(3, dtype=made.z.dtype)
    M = sums(made, K * x)
    xp = _numpy_of(M)
    fixed = M if xp is np else jax.lax.stop_gradient(M)
    # x^{±1/2} is 1, 2, 4 at the three: the first correction to the slope drops out
    slopes = xp.log(xp.abs(fixed[:, 1:] / fixed[:, :-1])) / math.log(step)
    slope = 2 * slopes[:, 0] - slopes[:, 1]
    q = xp.round(2 * slope) / 2
    q = xp.where(xp.isfinite(slope), xp.where(xp.abs(slope - q) < 1e-5, q, slope), 0.0)
    scaled = M / x ** q[:, None]
    b = scaled[:, 1] - scaled[:, 0]
    small = xp.abs(b) < 1e-3 * xp.abs(scaled[:, 0])
    a, b = xp.where(small, scaled[:, 0] - b, M[:, 0]), xp.where(small, b, 0.0)
    missed = xp.stack([scaled[:, 2] - a - 4 * b, a])
    missed = missed if xp is np else jax.lax.stop_gradient(missed)
    # an expectation that is 0, or infinite, is so everywhere
    misfit = xp.where((missed[0] == 0) | ~xp.isfinite(M[:, 0]), 0.0, xp.abs(missed[0] / missed[1]))
    return xp.stack([q, a, b, misfit], -1)


def everywhere(sums: Callable, table: Any, K: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`sums`, outside of the window by the leading powers at its ends; and the relative error of that."""
    low, high = WINDOW
    down, up = jnp.minimum(K, low) / low, jnp.maximum(K, high) / high
    some = jnp.where(down > 0, down, 1.0)
    corrections = jnp.where(down > 0, jnp.sqrt(some), 0.0), 1 / jnp.sqrt(up)

    def outside(x, correction, edge):
        q, a, b, misfit = (edge[:, i].reshape(-1, *(1,) * K.ndim) for i in range(4))
        log_x = jnp.log(jnp.where(x > 0, x, 1.0))
        power = jnp.where((x > 0) | (q == 0), jnp.exp(q * log_x), jnp.where(q > 0, 0.0, jnp.inf))
        # a power of half an integer is exact; another one's error grows with the distance
        distance = jnp.abs(log_x)
        growth = jnp.where(2 * q == jnp.round(2 * q), (distance > 0) * 1.0, distance)
        return power * (a + b * correction), jnp.max((misfit * growth)[:5], axis=0)

    below, error_below = outside(down, corrections[0], table.edges[0])
    above, error_above = outside(up, corrections[1], table.edges[1])
    inside = sums(table, jnp.clip(K, low, high))
    return jnp.where(low > K, below, jnp.where(high < K, above, inside)), error_below + error_above


BLOCK = 512
"""Values of K that are integrated at a time: bounds the memory, and keeps it in cache."""


def _from_table(table: Table, K: jax.Array) -> Moments:
    found, extrapolation = jax.vmap(functools.partial(everywhere, _sums), in_axes=(0, None))(table, K)
    error = jnp.maximum(jnp.finfo(K.dtype).eps, jnp.max(extrapolation, axis=0))
    first = found[0]
    if len(found) == 1:
        return Moments._make([*first, error])
    g, g4 = jnp.abs(first[0]), first[1]
    units = jnp.stack([g, g4, g4, g / K, jnp.zeros_like(g), g / K**2])
    size = jnp.maximum(jnp.abs(first), jnp.where(jnp.isfinite(units), units, 0.0))
    mean, spread = combined(found, size)
    unknown = (spread > 0) & jnp.isfinite(first)
    error = jnp.maximum(error, jnp.max(jnp.where(unknown, spread / size, 0.0), axis=0))
    return Moments._make([*jnp.where(jnp.isfinite(first), mean, first), error])


def in_blocks(moments: Callable, table: Any, K: jax.Array) -> Any:
    """moments(table, K), a block of K at a time."""
    if K.size <= BLOCK:
        return moments(table, K)
    blocks = jnp.pad(K.ravel(), (0, -K.size % BLOCK), constant_values=1.0).reshape(-1, BLOCK)
    flat = jax.lax.map(lambda K: moments(table, K), blocks)
    return jax.tree.map(lambda a: a.ravel()[: K.size].reshape(K.shape), flat)


@jax.custom_jvp
def table_moments(table: Table, K: jax.Array) -> Moments:
    """The moments at any K ≥ 0 from an activation's table.

    Relative error ≤ 1e-12 in float64 and ≤ 2e-6 in float32 for K in [1e-12, 1e12]; g″ to that times
    g/K². Outside of [1e-16, 1e16] by power laws. With three rules the mean is taken, and their spread
    gives `error`.
    """
    return in_blocks(_from_table, table, K)


@functools.partial(table_moments.defjvp, symbolic_zeros=True)
def _table_moments_jvp(primals, tangents):
    """∂g/∂K = g′ and ∂g′/∂K = g″; the rest by differentiating the Gaussian, to about 1e-16/K while K < 1."""
    (table, K), (dtable, dK) = primals, tangents
    M = table_moments(table, K)
    tangent = jax.tree.map(jnp.zeros_like, M)
    if not isinstance(dK, SymbolicZero):
        by_K = jax.jvp(lambda K: _from_table(table, K), (K,), (dK,))[1]
        tangent = by_K._replace(g=M.dg * dK, dg=M.d2g * dK, error=tangent.error)
    if not all(isinstance(d, SymbolicZero) for d in dtable):
        dtable = jax.tree.map(
            lambda d, a: jnp.zeros_like(a) if isinstance(d, SymbolicZero) else d, dtable, table
        )
        by_table = jax.jvp(lambda table: _from_table(table, K), (table,), (dtable,))[1]
        tangent = jax.tree.map(jnp.add, tangent, by_table)
    return M, tangent
