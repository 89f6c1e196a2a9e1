"""Gaussian expectations of an activation's slope, alone and together with its value: S = σ′² and F = σ².

The NTK at finite width needs them. Those of S alone are the moments of σ′ as an activation of its own; those
of F and S together are computed on the same nodes.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from eft.activations.derivatives import Array, Sampler, leibniz
from eft.activations.one_sided import aligned, exponent, limits, numpy_of
from eft.gaussian.accuracy import GRID, Accuracy, error_at
from eft.gaussian.building import Kind, built, sampled
from eft.gaussian.doubts import edge_doubts
from eft.gaussian.half_line import Nodes, Sampled, centres, differences, finite_columns
from eft.gaussian.moments import odd_factorial
from eft.gaussian.table import HALF, Table, table_moments, table_of
from eft.gaussian.window import everywhere, in_blocks, lost, summed, weights, without_lost


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
    )  # estimated relative error of the worst (in units of s/K² for d2s, ⟨FS⟩ for cov, ⟨S²⟩ for bend)


class CrossTable(NamedTuple):
    """F and S at the nodes; the fields are those of `Table`."""

    z: Array  # (rules, nodes)
    v: Array  # (rules, nodes)
    columns: Array  # (rules, nodes, 9): FS, f, s, fs for f = F−F₀, s = S−S₀, and for F−F_∞, S−S_∞, ¼F′S′, S²
    bounded: Array  # (4,)
    last: Array  # (4,)
    kinks: Array  # (kinks,)
    kicks: Array  # (kinks,) σ[σ′³]/3 at the kinks: the coefficient of δ(z−c) in σσ′²σ″ = σ(σ′³)′/3
    infinite: Array  # (4,)
    edges: Array  # (2, 4, 4)
    accuracy: Accuracy

    PER_RULE = ("z", "v", "columns")

    def part(self, mask: np.ndarray) -> "CrossTable":
        """A table whose sums bound the contributions of the nodes in `mask`."""
        columns = numpy_of(self.columns).abs(self.columns)
        return self._replace(
            v=numpy_of(mask).where(mask, self.v, 0.0),
            columns=columns,
            kicks=0 * self.kicks,
            bounded=np.full(4, np.inf),
        )


CROSS_USED = ((0,), (0, 1, 2, 3, 4, 5, 6), (7, 8), (8,))
"""The columns from which ⟨FS⟩, the covariance, ⟨σσ′²σ″⟩ and ⟨S²⟩ are computed."""


class SlopeTable(NamedTuple):
    """What `slope_moments` needs besides K."""

    slope: Table  # of σ′
    cross: CrossTable


def six_derivatives(act: Sampled, z: jax.Array) -> tuple[jax.Array, ...]:
    """σ, σ′, …, σ⁗, σ⁽⁵⁾ at z."""
    d, more = jax.jvp(act.derivatives, (z,), (jnp.ones_like(z),))
    return *d, more[-1]


def slope_table(act: Sampled, dtype) -> SlopeTable:
    """The table of an activation."""
    six = functools.partial(six_derivatives, act)
    sample = sampled(act, six, lambda: Sampler(act.fn, six, act.kinks, orders=5))
    slope = table_of(act, sample.from_order(1), dtype)
    return SlopeTable(slope, built(act, sample, Kind(_assemble, _cross_sums, _units, _doubts), dtype))


def _assemble(at: Nodes, resolved: bool, most: float) -> CrossTable:
    xp = numpy_of(at.left)
    left, right, kinks = (
        (xp.stack(leibniz(tuple(s[:5]), tuple(s[:5]))), xp.stack(leibniz(tuple(s[1:]), tuple(s[1:]))))
        for s in (at.left, at.right, at.kink_values)
    )
    apart = []
    sizes = at.size**2, xp.max(xp.abs(at.kink_values[1, 1])) ** 2
    for F_left, F_right, F_kinks, size in zip(left, right, kinks, sizes, strict=True):
        F = limits(at.at_kinks, F_kinks, size)
        apart.append(differences(centres(F, at.zero, F_left, F_right, size**0.5), F, at, F_left, F_right))
    columns = 0
    for side, (F, S) in enumerate((left, right)):
        (f0, f1), (s0, s1) = (parts[side] for parts in apart)
        columns = columns + xp.stack(
            [F[0] * S[0], f0, s0, f0 * s0, f1, s1, f1 * s1, F[1] * S[1] / 4, S[0] * S[0]], -1
        )
    columns, bounded, last = finite_columns(columns, at, CROSS_USED, most)
    cube = xp.stack(leibniz(tuple(kinks[1]), tuple(at.kink_values[1:])))
    cube = limits(at.at_kinks, cube, xp.max(xp.abs(cube[0, 1])))
    s = limits(at.at_kinks, at.kink_values, at.size)
    kicks = (s.below[0] + s.above[0]) / 2 * cube.jumps[0] / 3
    a0, a1 = (exponent(at.at_kinks, d, at.size) * float(not resolved) for d in at.kink_values[:2])
    diverges = xp.stack([a0 + a1, a0 + a1, 2 * a1, 2 * a1]) >= HALF
    return CrossTable(
        at.z, at.v, columns, bounded, last, at.kinks, kicks, diverges.astype(at.z.dtype),
        np.zeros((2, 4, 4)), Accuracy.exact(),
    )  # fmt: skip


def _doubts(act: Sampled, at: Nodes, eps: float, made: CrossTable) -> list:
    """Errors that the spread of the rules does not show; the table of σ checks that σ′ is the slope of σ."""
    K = GRID.astype(made.z.dtype)
    return edge_doubts(act, at, made, _cross_sums, _units(_cross_sums(made, K), K))


def _cross_sums(made: CrossTable, K) -> Any:
    """⟨FS⟩, the covariance, ⟨σσ′²σ″⟩, ⟨S²⟩.

    ⟨fs⟩ − ⟨f⟩⟨s⟩ uses the shifts, by the values at 0 or at infinity, that cancel less. 4σσ′²σ″ = F′S′.
    """
    both, f0, s0, q0, f1, s1, q1, bend, SS = summed(made, K)
    xp = numpy_of(both)
    p = weights(made.kinks, K[..., None])
    bend = bend + xp.sum(xp.where(p > 0, aligned(made.kicks, p) * p, 0.0), -1)
    cov = xp.where(xp.abs(f0 * s0) <= xp.abs(f1 * s1), q0 - f0 * s0, q1 - f1 * s1)
    moments = xp.stack([both, cov, bend, SS])
    return without_lost(made, K, moments, _units(moments, K))


def _units(moments, K) -> Any:
    """The units of the errors: ⟨FS⟩ also for the covariance, ⟨S²⟩ also for ⟨σσ′²σ″⟩."""
    return numpy_of(moments).abs(moments[np.array([0, 0, 3, 3])])


def _cross_moments(made: CrossTable, K: jax.Array) -> tuple[jax.Array, ...]:
    """⟨FS⟩, the covariance, ⟨σσ′²σ″⟩, and the relative error."""
    moments, outside = everywhere(_cross_sums, made, K)
    error = jnp.maximum(error_at(made.accuracy, K), outside)
    return *moments[:3], jnp.where(lost(made, moments, K), jnp.inf, error)


def slope_moments(made: SlopeTable, K: jax.Array) -> SlopeMoments:
    """The expectations at any K ≥ 0: relative error ≤ 1e-12 (float32: ≤ 2e-6) for K in [1e-12, 1e12].

    For var, d2s, cov and bend it is in the units given in `SlopeMoments`, unless their terms cancel.
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
