"""Gaussian expectations of an activation's slope, by itself and beside its value: S = σ′² and F = σ².

The NTK at finite width needs them. Those of S alone are the moments of σ′ as an activation of its own; those
of F and S together stand on the same nodes.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from eft.gaussian import OFFSETS, combined, half_line, jump, sides
from eft.moments import odd_factorial
from eft.table import (
    Array,
    Sampled,
    Table,
    differences,
    edges,
    everywhere,
    in_blocks,
    leibniz,
    product,
    table,
    table_moments,
    weights,
)


class SlopeMoments(NamedTuple):
    """Expectations in z ~ N(0, K), each of K's shape. With F = σ² and S = σ′²:"""

    s: jax.Array  # ⟨S⟩ = χ⊥/C_W
    s4: jax.Array  # ⟨S²⟩
    var: jax.Array  # ⟨S²⟩ − ⟨S⟩²
    ds: jax.Array  # d⟨S⟩/dK
    d2s: jax.Array  # d²⟨S⟩/dK²
    cross: jax.Array  # ⟨FS⟩
    cov: jax.Array  # ⟨FS⟩ − ⟨F⟩⟨S⟩
    bend: jax.Array  # ⟨σσ′²σ″⟩
    error: (
        jax.Array
    )  # estimated relative error of the worst (d2s in units of s/K², cov of ⟨FS⟩, bend of ⟨S²⟩)


class CrossTable(NamedTuple):
    """F and S at the nodes of one rule; a leading axis over rules."""

    z: Array  # (nodes,) on the half line
    v: Array  # (nodes,) weights
    columns: Array  # (nodes, 9): FS, f, s, fs for f = F−F₀, s = S−S₀, and for F−F_∞, S−S_∞, ¼F′S′, S²
    bounded: Array  # () smallest |z| at which one of them is not finite, or inf
    kinks: Array  # (kinks,)
    kicks: Array  # (kinks,) σ[σ′³]/3 at the kinks: what σσ′²σ″ = σ(σ′³)′/3 contains of δ(z−c)
    edges: Array  # (2, 4, 4) as in `Table`


class SlopeTable(NamedTuple):
    """What `slope_moments` needs besides K."""

    slope: Table  # of σ′
    cross: CrossTable


@dataclasses.dataclass(frozen=True, eq=False)
class _Slope:
    """σ′ as an activation."""

    of: Sampled

    @property
    def kinks(self) -> tuple[float, ...]:
        return self.of.kinks

    @property
    def resolved(self) -> bool:
        return self.of.resolved

    def derivatives(self, z: jax.Array, /) -> tuple[jax.Array, ...]:
        return six_derivatives(self.of, z)[1:]


def six_derivatives(act: Sampled, z: jax.Array) -> tuple[jax.Array, ...]:
    """σ, σ′, …, σ⁗, σ⁽⁵⁾ at z."""
    d, more = jax.jvp(act.derivatives, (z,), (jnp.ones_like(z),))
    return *d, more[-1]


def slope_table(act: Sampled, dtype) -> SlopeTable:
    """The table of an activation; made in float64 where that is switched on, as `eft.table.table`."""
    widest = jnp.result_type(float)
    kinks = np.array(sorted({0.0, *act.kinks}), widest)
    ends = np.array([sides(c, widest) for c in kinks]).T
    rows = []
    for offset in OFFSETS[:1] if act.resolved else OFFSETS:
        z, v = (a.astype(widest) for a in half_line(act.kinks, offset))
        with jax.ensure_compile_time_eval():
            s = jax.jit(functools.partial(six_derivatives, act))(np.concatenate([*ends, -z, z]))
        if not any(isinstance(d, Tracer) for d in s):
            s = tuple(map(np.asarray, s))
        with np.errstate(all="ignore"):
            rows.append(_cross_table(z, v, s, kinks, ends[1] - ends[0], dtype))
    cross = CrossTable(*(_stacked(field, dtype) for field in zip(*rows, strict=True)))
    return SlopeTable(table(_Slope(act), dtype), cross)


def _numpy_of(array) -> Any:
    return np if isinstance(array, np.ndarray | np.generic) else jnp


def _stacked(field, dtype) -> jax.Array:
    return jnp.asarray(_numpy_of(field[0]).stack(field), dtype)


def _cross_table(z, v, s, kinks, gap, dtype) -> CrossTable:
    """One rule's, from σ, …, σ⁽⁵⁾ just below 0 and the kinks, above them, at −z and at z."""
    xp = _numpy_of(s[0])
    F, S = leibniz(s[:5], s[:5]), leibniz(s[1:], s[1:])
    cuts = np.cumsum([len(kinks), len(kinks), len(z)])
    zero = int(np.abs(kinks).argmin())

    def parts(F):
        """F, F′, … below the kinks, above them, at −z, and at z."""
        return tuple(zip(*(xp.split(d, cuts) for d in F), strict=True))

    def apart(F):
        below, above, left, right = parts(F)
        below, above = (tuple(d[zero] for d in side) for side in (below, above))
        return differences(z, below, above, left, right, gap[zero])

    columns = 0
    for (f0, f1), (s0, s1), (F0, F1, *_), (S0, S1, *_) in zip(
        apart(F), apart(S), parts(F)[2:], parts(S)[2:], strict=True
    ):
        columns = columns + xp.stack([F0 * S0, f0, s0, f0 * s0, f1, s1, f1 * s1, F1 * S1 / 4, S0 * S0], -1)
    finite = xp.all(xp.abs(columns) <= float(jnp.finfo(dtype).max), axis=1)
    columns = xp.where(finite[:, None], columns, 0.0)
    (cube, slope, *_), (cube_above, slope_above, *_) = parts(leibniz(S, s[1:]))[:2]
    kicks = parts(s)[0][0] * jump(cube, cube_above, slope, slope_above, gap) / 3
    bounded = xp.min(xp.where(finite, np.inf, z))
    made = CrossTable(z, v, columns, bounded, kinks, kicks, np.zeros((2, 4, 4), z.dtype))
    return made._replace(edges=edges(_cross_sums, made))


def _cross_sums(made: CrossTable, K) -> Any:
    """⟨FS⟩, the covariance, ⟨σσ′²σ″⟩, ⟨S²⟩.

    ⟨fs⟩ − ⟨f⟩⟨s⟩ is taken by the shifts, to 0 or to infinity, that cancel less. 4σσ′²σ″ = F′S′.
    """
    sums = product(made.v * weights(made.z, K[..., None]), made.columns)
    xp = _numpy_of(sums)
    both, f0, s0, q0, f1, s1, q1, bend, SS = xp.moveaxis(sums, -1, 0)
    p = weights(made.kinks, K[..., None])
    bend = bend + xp.sum(xp.where(p > 0, made.kicks * p, 0.0), -1)
    cov = xp.where(xp.abs(f0 * s0) <= xp.abs(f1 * s1), q0 - f0 * s0, q1 - f1 * s1)
    return xp.where(made.bounded < 38 * xp.sqrt(K), np.inf, xp.stack([both, cov, bend, SS]))


def _cross_moments(made: CrossTable, K: jax.Array) -> tuple[jax.Array, ...]:
    """⟨FS⟩, the covariance, ⟨σσ′²σ″⟩, and the relative error."""
    found, outside = jax.vmap(functools.partial(everywhere, _cross_sums), in_axes=(0, None))(made, K)
    error = jnp.maximum(jnp.finfo(K.dtype).eps, jnp.max(outside, axis=0))
    mean = found[0]
    if len(found) > 1:
        size = jnp.abs(found[0][np.array([0, 0, 3, 3])])
        known, spread = combined(found, size)
        unknown = (spread > 0) & jnp.isfinite(mean)
        error = jnp.maximum(error, jnp.max(jnp.where(unknown, spread / size, 0.0), axis=0))
        mean = jnp.where(jnp.isfinite(mean), known, mean)
    return *mean[:3], error


def slope_moments(made: SlopeTable, K: jax.Array) -> SlopeMoments:
    """At any K ≥ 0: relative error ≤ 1e-12 in float64 and ≤ 2e-6 in float32 for K in [1e-12, 1e12].

    For var, d2s, cov and bend that is in the units of the record, and as long as no digits cancel in them.
    """
    m = table_moments(made.slope, K)
    cross, cov, bend, error = in_blocks(_cross_moments, made.cross, K)
    return SlopeMoments(m.g, m.g4, m.var, m.dg, m.d2g, cross, cov, bend, jnp.maximum(m.error, error))


# --- closed forms -------------------------------------------------------------------------------


def homogeneous_slopes(K: jax.Array, *, degree: int, plus: float = 1.0, minus: float = 0.0) -> SlopeMoments:
    """σ = a₊zᵖ for z > 0 and a₋|z|ᵖ for z < 0, p ≥ 1; with A_k = (a₊ᵏ + a₋ᵏ)/2:

    ⟨S⟩ = A₂p²(2p−3)!! Kᵖ⁻¹,  ⟨S²⟩ = A₄p⁴(4p−5)!! K²ᵖ⁻²,  ⟨FS⟩ = A₄p²(4p−3)!! K²ᵖ⁻¹,
    ⟨σσ′²σ″⟩ = A₄p³(p−1)(4p−5)!! K²ᵖ⁻².
    """
    p, A2, A4 = degree, (plus**2 + minus**2) / 2, (plus**4 + minus**4) / 2
    g, s = A2 * odd_factorial(p), A2 * p**2 * odd_factorial(p - 1)
    s4, cross = A4 * p**4 * odd_factorial(2 * p - 2), A4 * p**2 * odd_factorial(2 * p - 1)

    def power(c, k):
        return (
            functools.reduce(lambda made, _: made * K, range(k), jnp.full_like(K, c))
            if c
            else jnp.zeros_like(K)
        )

    return SlopeMoments(
        power(s, p - 1),
        power(s4, 2 * p - 2),
        power(s4 - s * s, 2 * p - 2),
        power((p - 1) * s, max(p - 2, 0)),
        power((p - 1) * (p - 2) * s, max(p - 3, 0)),
        power(cross, 2 * p - 1),
        power(cross - g * s, 2 * p - 1),
        power(s4 * (p - 1) / p, 2 * p - 2),
        jnp.full_like(K, jnp.finfo(K.dtype).eps),
    )


def sine_slopes(K: jax.Array, *, frequency: float) -> SlopeMoments:
    """σ = sin ωz, S = ω²(1−F), σσ″ = −ω²F; with q = e^{−2ω²K}:

    ⟨S⟩ = ω²(1+q)/2,  ⟨FS⟩ = ω²(1−q⁴)/8,  Var F = (1−q²)²/8.
    """
    w2 = frequency**2
    a = 2 * w2
    q, r = jnp.exp(-a * K), -jnp.expm1(-a * K)
    s, var_F = w2 * (1 + q) / 2, (r * (1 + q)) ** 2 / 8
    return SlopeMoments(
        s,
        w2**2 * (3 + 4 * q + q**4) / 8,
        w2**2 * var_F,
        -w2 * a * q / 2,
        w2 * a**2 * q / 2,
        w2 * -jnp.expm1(-4 * a * K) / 8,
        -w2 * var_F,
        w2**2 * jnp.expm1(-4 * a * K) / 8,
        jnp.full_like(K, jnp.finfo(K.dtype).eps),
    )
