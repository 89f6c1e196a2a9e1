"""The six Gaussian expectations of an activation on which every one-input flow rests.

They depend on K alone, not on C_W or C_b. In closed form where there is one. Else from a table of
what the activation is at the nodes of `gaussian`, made once: an expectation at any number of K is
then one exponential a node and a product of matrices.
"""

import functools
import math
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero

from eft.gaussian import OFFSETS, WINDOW, Function, combined, density, derivative, half_line, jump, sides


class Moments(NamedTuple):
    """Expectations in z ~ N(0, K), each of K's shape. With F = σ² and g(K) = ⟨F⟩_K:"""

    g: jax.Array  # ⟨σ²⟩
    g4: jax.Array  # ⟨σ⁴⟩
    var: jax.Array  # ⟨σ⁴⟩ − ⟨σ²⟩²
    dg: jax.Array  # g′(K) = χ∥/C_W
    slope2: jax.Array  # ⟨σ′²⟩ = χ⊥/C_W; inf where σ jumps
    d2g: jax.Array  # g″(K)
    error: jax.Array  # estimated relative error of the worst of them (d2g in units of g/K²)


class Table(NamedTuple):
    """An activation at the nodes of one rule, and what its kinks add; a leading axis over rules."""

    z: jax.Array  # (nodes,) on the half line
    v: jax.Array  # (nodes,) weights
    columns: jax.Array  # (nodes, 11): f(z) + f(−z) for the integrands f of `_integrands`
    bounded: jax.Array  # () smallest |z| at which an integrand is not finite, or inf
    kinks: jax.Array  # (kinks,) 0 and where σ or a derivative jumps
    jumps: jax.Array  # (kinks, 4) [F]_c, [F′]_c, [F″]_c, [F‴]_c
    discontinuous: jax.Array  # () 1 if σ itself jumps, else 0
    edges: jax.Array  # (2, 6, 4): q, a, b and misfit of `_leading_powers`, at either end of the window


class Sampled(Protocol):
    """What a table is made from."""

    @property
    def kinks(self) -> tuple[float, ...]: ...
    @property
    def resolved(self) -> bool: ...
    def derivatives(self, z: jax.Array, /) -> tuple[jax.Array, ...]: ...


def leibniz(a: tuple[jax.Array, ...], b: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    """(ab)⁽ᵏ⁾ = Σ_j C(k, j) a⁽ʲ⁾ b⁽ᵏ⁻ʲ⁾ for k = 0 … 4."""
    return tuple(
        sum((math.comb(k, j) * a[j] * b[k - j] for j in range(k + 1)), jnp.zeros_like(a[0])) for k in range(5)
    )


def nested_derivatives(fn: Function, z: jax.Array) -> tuple[jax.Array, ...]:
    """σ, σ′, σ″, σ‴, σ⁗ at z by nested forward differentiation."""
    orders = [fn]
    for _ in range(4):
        orders.append(derivative(orders[-1]))
    return tuple(f(z) for f in orders)


# --- from a table -------------------------------------------------------------------------------


def table(act: Sampled, dtype) -> Table:
    """The table of an activation: by one rule where that is known to resolve it, else by three.

    It is made in float64 where that is switched on, also for use in float32.
    """
    widest = jnp.result_type(float)
    offsets = OFFSETS[:1] if act.resolved else OFFSETS
    nodes = [half_line(act.kinks, offset) for offset in offsets]
    z, v = (np.stack(a).astype(widest) for a in zip(*nodes, strict=True))
    kinks = np.array(sorted({0.0, *act.kinks}), widest)
    below, above = np.array([sides(c, widest) for c in kinks]).T
    ends = np.concatenate([below, above])
    points = np.concatenate([np.broadcast_to(ends, (len(z), len(ends))), -z, z], axis=1)
    made = _assemble(z, v, jax.jit(act.derivatives)(points), kinks, above - below)
    columns = made.columns.astype(dtype)
    finite = jnp.all(jnp.isfinite(columns), axis=-1, keepdims=True)
    made = made._replace(
        columns=jnp.where(finite, columns, 0.0),
        bounded=jnp.min(jnp.where(finite[..., 0], jnp.inf, z), axis=-1),
    )
    return jax.tree.map(lambda a: a.astype(dtype), made)


@jax.jit
@functools.partial(jax.vmap, in_axes=(0, 0, 0, None, None))
def _assemble(z, v, s, kinks, gap) -> Table:
    """The table, from σ, σ′, …, σ⁗ below 0 and the kinks, above them, at −z and at z."""
    cuts = np.cumsum([len(gap), len(gap), len(z)])
    s_below, s_above, s_left, s_right = zip(*(jnp.split(d, cuts) for d in s), strict=True)
    F_below, F_above, F_left, F_right = (leibniz(s, s) for s in (s_below, s_above, s_left, s_right))
    zero = jnp.argmin(jnp.abs(kinks))
    at_zero = [tuple(d[zero] for d in F) for F in (F_below, F_above)]
    F0 = (at_zero[0][0] + at_zero[1][0]) / 2
    far_out = (F_left[0][-1] + F_right[0][-1]) / 2
    shift = F0, jnp.where(jnp.abs(far_out) < 1e3, far_out, F0)
    columns = _integrands(-z, s_left, F_left, at_zero[0], shift)
    columns += _integrands(z, s_right, F_right, at_zero[1], shift)
    made = Table(
        z,
        v,
        columns,
        jnp.asarray(jnp.inf, z.dtype),
        kinks,
        jnp.stack([jump(F_below[k], F_above[k], F_below[k + 1], F_above[k + 1], gap) for k in range(4)], -1),
        jnp.any(jump(s_below[0], s_above[0], s_below[1], s_above[1], gap) != 0).astype(z.dtype),
        jnp.zeros((2, 6, 4), z.dtype),
    )
    ends, steps = jnp.asarray(WINDOW, z.dtype), jnp.asarray((4.0, 0.25), z.dtype)
    return made._replace(edges=jax.vmap(functools.partial(_leading_powers, made))(ends, steps))


def _integrands(z, s, F, F_at_zero, shift) -> jax.Array:
    """F, F², F−F₀, (F−F₀)², F−F_∞, (F−F_∞)², σ′², ½F″, ¼F⁗, ½zF′, ¼(z²F″−zF′), stacked last."""
    F, F1, F2, _, F4 = F
    near = (jnp.abs(z) < jnp.finfo(z.dtype).eps ** 0.2) & (shift[0] != 0)
    y = jnp.where(near, z, 0.0)
    _, a1, a2, a3, a4 = F_at_zero
    # F − F(0) from the series at that side of 0, where the difference would cancel
    series = y * (a1 + y / 2 * (a2 + y / 3 * (a3 + y / 4 * a4)))
    from_zero = jnp.where(near & jnp.isfinite(series), series, F - shift[0])
    from_far = jnp.where(shift[0] == shift[1], from_zero, F - shift[1])
    rows = (F, F * F, from_zero, from_zero**2, from_far, from_far**2, s[1] ** 2)
    rows += (
        F2 / 2,
        jnp.where(jnp.isfinite(F4), F4, 0.0) / 4,
        z * F1 / 2,
        (z * z * F2 - z * F1) / 4,
    )
    return jnp.stack(rows, axis=-1)


def _at_kinks(table: Table, K: jax.Array) -> tuple[jax.Array, ...]:
    """What the jumps of F, F′, … at the kinks c add to ½⟨F″⟩, ⟨zF′⟩/2K, ¼⟨F⁗⟩ and ⟨z²F″−zF′⟩/4K².

    F⁽ᵏ⁾ contains [F⁽ᵏ⁻¹⁻ʲ⁾]_c δ⁽ʲ⁾(z−c), and ∫δ⁽ʲ⁾p = (−1)ʲp⁽ʲ⁾(c), p′ = −vp, p″ = (v²−1/K)p, … with v = c/K.
    """
    F, F1, F2, F3 = table.jumps.T
    K = K[..., None]
    v, p = table.kinks / K, density(table.kinks, K)
    rows = (
        (F1 + F * v) / 2,
        F * v / 2,
        (F3 + F2 * v + F1 * (v * v - 1 / K) + F * v * (v * v - 3 / K)) / 4,
        (F1 * v * v + F * v * (v * v - 3 / K)) / 4,
    )
    return tuple(jnp.sum(jnp.where(p > 0, row * p, 0.0), -1) for row in rows)


def _sums(table: Table, K: jax.Array) -> jax.Array:
    """g, ⟨σ⁴⟩, var, g′, ⟨σ′²⟩, g″ for K in the window, stacked first.

    g′ = ½⟨F″⟩ = ⟨zF′⟩/2K and g″ = ¼⟨F⁗⟩ = ⟨z²F″ − zF′⟩/4K²: the first form where K < 1, since
    cancels as K → 0, and the second beyond, where the first cancels. The variance is
    ⟨(F−a)²⟩ − ⟨F−a⟩² with the a, F₀ or F_∞, that is nearer to the mean.
    """
    p = density(table.z, K[..., None])
    sums = jnp.matmul(table.v * p, table.columns, precision=jax.lax.Precision.HIGHEST)
    g, g4, d0, q0, d1, q1, slope2, curve, quarter, parallel, bend = jnp.moveaxis(sums, -1, 0)
    var = jnp.where(jnp.abs(d0) <= 2 * jnp.abs(d1), q0 - d0 * d0, q1 - d1 * d1)
    kinks = _at_kinks(table, K)
    near = K < 1
    dg = jnp.where(near, curve + kinks[0], parallel / K + kinks[1])
    d2g = jnp.where(near, quarter + kinks[2], bend / K**2 + kinks[3])
    over = table.bounded < 38 * jnp.sqrt(K)
    slope2 = jnp.where(table.discontinuous > 0, jnp.inf, slope2)
    return jnp.where(over, jnp.inf, jnp.stack([g, g4, var, dg, slope2, d2g]))


def _leading_powers(table: Table, K: jax.Array, step: jax.Array) -> jax.Array:
    """q, a, b of M = x^q (a + b x^{±1/2}), x = K over an end of the window, and the misfit; shape (6, 4).

    One-sided Taylor series at 0 and power laws at infinity have powers q of half an integer.
    """
    x = step ** jnp.arange(3, dtype=table.z.dtype)
    M = _sums(table, K * x)
    fixed = jax.lax.stop_gradient(M)
    # x^{±1/2} is 1, 2, 4 at the three: the first correction to the slope drops out
    slopes = jnp.log(jnp.abs(fixed[:, 1:] / fixed[:, :-1])) / jnp.log(step)
    slope = 2 * slopes[:, 0] - slopes[:, 1]
    q = jnp.round(2 * slope) / 2
    q = jnp.where(jnp.isfinite(slope), jnp.where(jnp.abs(slope - q) < 1e-5, q, slope), 0.0)
    scaled = M / x ** q[:, None]
    b = scaled[:, 1] - scaled[:, 0]
    small = jnp.abs(b) < 1e-3 * jnp.abs(scaled[:, 0])
    a, b = jnp.where(small, scaled[:, 0] - b, M[:, 0]), jnp.where(small, b, 0.0)
    missed = jax.lax.stop_gradient(jnp.stack([scaled[:, 2] - a - 4 * b, a]))
    misfit = jnp.where(missed[0] == 0, 0.0, jnp.abs(missed[0] / missed[1]))
    return jnp.stack([q, a, b, misfit], -1)


def _everywhere(table: Table, K: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`_sums`, outside of the window by the leading powers at its ends; and the relative error of that."""
    low, high = WINDOW
    down, up = jnp.minimum(K, low) / low, jnp.maximum(K, high) / high
    some = jnp.where(down > 0, down, 1.0)
    corrections = jnp.where(down > 0, jnp.sqrt(some), 0.0), 1 / jnp.sqrt(up)

    def outside(x, correction, edge):
        q, a, b, misfit = (edge[:, i].reshape(-1, *(1,) * K.ndim) for i in range(4))
        power = jnp.where(q == 0, 1.0, jnp.where(q == 0, 1.0, x) ** jnp.where(q == 0, 1.0, q))
        # a power of half an integer is exact; another one's error grows with the distance
        distance = jnp.abs(jnp.log(jnp.maximum(x, jnp.finfo(K.dtype).tiny)))
        growth = jnp.where(2 * q == jnp.round(2 * q), (distance > 0) * 1.0, distance)
        return power * (a + b * correction), jnp.max((misfit * growth)[:5], axis=0)

    below, error_below = outside(down, corrections[0], table.edges[0])
    above, error_above = outside(up, corrections[1], table.edges[1])
    inside = _sums(table, jnp.clip(K, low, high))
    return jnp.where(low > K, below, jnp.where(high < K, above, inside)), error_below + error_above


BLOCK = 512
"""Values of K that are integrated at a time: bounds the memory, and keeps it in cache."""


def _from_table(table: Table, K: jax.Array) -> Moments:
    found, extrapolation = jax.vmap(_everywhere, in_axes=(0, None))(table, K)
    error = jnp.maximum(jnp.finfo(K.dtype).eps, jnp.max(extrapolation, axis=0))
    first = found[0]
    if len(found) == 1:
        return Moments(*first, error)
    g, g4 = jnp.abs(first[0]), first[1]
    units = jnp.stack([g, g4, g4, g / K, jnp.zeros_like(g), g / K**2])
    size = jnp.maximum(jnp.abs(first), jnp.where(jnp.isfinite(units), units, 0.0))
    mean, spread = combined(found, size)
    unknown = (spread > 0) & jnp.isfinite(first)
    error = jnp.maximum(error, jnp.max(jnp.where(unknown, spread / size, 0.0), axis=0))
    return Moments(*jnp.where(jnp.isfinite(first), mean, first), error)


@jax.custom_jvp
def table_moments(table: Table, K: jax.Array) -> Moments:
    """The moments at any K ≥ 0 from an activation's table.

    Relative error ≤ 1e-12 in float64 and ≤ 2e-6 in float32 for K in [1e-12, 1e12]; g″ to that times
    g/K². Outside of [1e-16, 1e16] by power laws. With three rules the mean is taken, and their spread
    gives `error`.
    """
    if K.size <= BLOCK:
        return _from_table(table, K)
    blocks = jnp.pad(K.ravel(), (0, -K.size % BLOCK), constant_values=1.0).reshape(-1, BLOCK)
    flat = jax.lax.map(lambda K: _from_table(table, K), blocks)
    return jax.tree.map(lambda a: a.ravel()[: K.size].reshape(K.shape), flat)


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


# --- closed forms -------------------------------------------------------------------------------


def odd_factorial(n: int) -> int:
    """(2n−1)!! = ⟨u²ⁿ⟩_1."""
    return math.prod(range(1, 2 * n, 2))


def _exact(K: jax.Array, *moments) -> Moments:
    return Moments(*(jnp.broadcast_to(m, K.shape) for m in moments), jnp.full_like(K, jnp.finfo(K.dtype).eps))


def homogeneous_moments(K: jax.Array, *, degree: int, plus: float = 1.0, minus: float = 0.0) -> Moments:
    """σ = a₊zᵖ for z > 0 and a₋|z|ᵖ for z < 0, with A_k = (a₊ᵏ + a₋ᵏ)/2:

    g = A₂(2p−1)!! Kᵖ,  ⟨σ⁴⟩ = A₄(4p−1)!! K²ᵖ,  ⟨σ′²⟩ = A₂p²(2p−3)!! Kᵖ⁻¹; for p = 0 (a jump) inf.
    """
    p, A2, A4 = degree, (plus**2 + minus**2) / 2, (plus**4 + minus**4) / 2
    c2, c4 = A2 * odd_factorial(p), A4 * odd_factorial(2 * p)

    def power(c, k):
        # factor by factor: under- or overflows only where c Kᵏ does
        return functools.reduce(lambda product, _: product * K, range(k), jnp.full_like(K, c))

    slope2 = power(A2 * p**2 * odd_factorial(p - 1), p - 1) if p else jnp.inf
    return _exact(
        K,
        power(c2, p),
        power(c4, 2 * p),
        power(c4 - c2**2, 2 * p),
        power(p * c2, p - 1),
        slope2,
        power(p * (p - 1) * c2, p - 2),
    )


def sine_moments(K: jax.Array, *, frequency: float = 1.0) -> Moments:
    """σ = sin ωz. With q = e^{−2ω²K}: g = (1−q)/2, ⟨σ⁴⟩ = (1−q)²(3+2q+q²)/8, ⟨σ′²⟩ = ω²(1+q)/2."""
    a = 2 * frequency**2
    q, r = jnp.exp(-a * K), -jnp.expm1(-a * K)
    return _exact(
        K,
        r / 2,
        r**2 * (3 + 2 * q + q * q) / 8,
        (r * (1 + q)) ** 2 / 8,
        a * q / 2,
        a * (1 + q) / 4,
        -(a**2) * q / 2,
    )


def erf_moments(K: jax.Array, by_table: Moments) -> Moments:
    """σ = erf z: g = (2/π) arcsin(2K/(1+2K)), ⟨σ′²⟩ = (4/π)/√(1+4K), g′ = ⟨σ′²⟩/(1+2K); ⟨σ⁴⟩ from the table.

    The arcsine is taken as an arctangent, of K/√(K+¼), which keeps its digits as K → ∞.
    """
    root = jnp.sqrt(K + 0.25)
    slope2 = 2 / math.pi / root
    dg = slope2 / (1 + 2 * K)
    return _exact(
        K,
        2 / math.pi * jnp.arctan(K / root),
        by_table.g4,
        by_table.var,
        dg,
        slope2,
        -dg * (2 / (1 + 2 * K) + 2 / (1 + 4 * K)),
    )


def truncated_moments(K: jax.Array, count: int) -> list[jax.Array]:
    """M_k = ∫_{−1}^∞ zᵏ p_K(z) dz for k < count: M_k = (k−1)K M_{k−2} − (−1)ᵏ K p_K(1), by parts."""
    root = jnp.sqrt(jnp.where(K > 0, K, 1.0))
    edge = jnp.where(K > 0, root * jnp.exp(-0.5 / root**2) / math.sqrt(2 * math.pi), 0.0)  # K p_K(1)
    tail = jnp.where(K > 0, jax.scipy.special.erfc(1 / (math.sqrt(2) * root)) / 2, 0.0)
    M = [1 - tail, edge]
    for k in range(2, count):
        M.append((k - 1) * K * M[k - 2] + (edge if k % 2 else -edge))
    return M


def mrepu_moments(K: jax.Array, *, power: int) -> Moments:
    """σ = z(z+1)₊ᵖ: polynomials on z > −1, hence sums of truncated moments (all coefficients ≥ 0)."""
    P = np.polynomial.Polynomial
    z, y, p = P([0.0, 1.0]), P([1.0, 1.0]), power
    F = z**2 * y ** (2 * p)
    slope = y ** (p - 1) * (y + p * z)
    M = truncated_moments(K, 4 * p + 5)

    def mean(polynomial):
        return sum(float(c) * M[k] for k, c in enumerate(polynomial.coef) if c != 0)

    safe = jnp.where(K > 0, K, 1.0)
    at_kink = jnp.where(K > 0, density(-1.0, safe), 0.0)
    # [F‴]p − [F″]p′ at the kink; F and F′ are continuous there
    kink = (float(F.deriv(3)(-1.0)) - float(F.deriv(2)(-1.0)) / safe) * at_kink
    g, g4 = mean(F), mean(F**2)
    var = jnp.where(jnp.isfinite(g4), g4 - g * g, g4)
    return _exact(K, g, g4, var, mean(F.deriv(2) / 2), mean(slope**2), mean(F.deriv(4) / 4) + kink / 4)
