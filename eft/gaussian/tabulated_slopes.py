"""Gaussian expectations of an activation's slope, alone and together with its value: S = σ′² and F = σ².

The NTK at finite width needs them. Those of S alone are the moments of σ′ as an activation of its own; those
of F and S together are computed on the same nodes.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from eft.activations.definition import Activation
from eft.activations.derivatives import Array, Sampler, leibniz
from eft.activations.one_sided import aligned, exponent, limits, numpy_of
from eft.gaussian.accuracy import GRID, Accuracy, error_at
from eft.gaussian.error_sources import edge_errors
from eft.gaussian.expectation import WINDOW
from eft.gaussian.half_line import Nodes, centres, differences, finite_columns
from eft.gaussian.records import Moments, SlopeMoments
from eft.gaussian.tabulated import DIVERGENCE_EXPONENT, Table, from_nodes, from_table, table_moments, table_of
from eft.gaussian.tabulation import Kind, built, kept, sampled
from eft.gaussian.window import everywhere, in_blocks, lost, summed, weights, without_lost


class CrossTable(NamedTuple):
    """F and S at the nodes; the fields are those of `Table`.

    `z`: (rules, nodes).
    `v`: (rules, nodes).
    `columns`: (rules, nodes, 9): FS, f, s, fs for f = F−F₀, s = S−S₀, and for F−F_∞, S−S_∞, ¼F′S′, S².
    `overflow_z`: (4,).
    `last_terms`: (4,).
    `kinks`: (kinks,).
    `delta_weights`: (kinks,) σ[σ′³]/3 at the kinks: the coefficient of δ(z−c) in σσ′²σ″ = σ(σ′³)′/3.
    `infinite`: (4,).
    `edges`: (2, 4, 4).
    `accuracy`: the relative error at every scale, and its cause.
    """

    z: Float[Array, "*rules nodes"]
    v: Float[Array, "*rules nodes"]
    columns: Float[Array, "*rules nodes 9"]
    overflow_z: Float[Array, "4"]
    last_terms: Float[Array, "4"]
    kinks: Float[Array, "kinks"]
    delta_weights: Float[Array, "kinks"]
    infinite: Float[Array, "4"]
    edges: Float[Array, "2 4 4"]
    accuracy: Accuracy

    PER_RULE = ("z", "v", "columns")

    def part(self, mask: Array) -> "CrossTable":
        """A table whose sums bound the contributions of the nodes in `mask`."""
        columns = numpy_of(self.columns).abs(self.columns)
        return self._replace(
            v=numpy_of(mask).where(mask, self.v, 0.0),
            columns=columns,
            delta_weights=0 * self.delta_weights,
            overflow_z=np.full(4, np.inf),
        )


CROSS_COLUMNS = ((0,), (0, 1, 2, 3, 4, 5, 6), (7, 8), (8,))
"""The columns from which ⟨FS⟩, the covariance, ⟨σσ′²σ″⟩ and ⟨S²⟩ are computed."""


class SlopeTable(NamedTuple):
    """What `slope_moments` needs besides K.

    `slope`: the table of σ′ as an activation of its own.
    `cross`: that of F and S together.
    """

    slope: Table
    cross: CrossTable


def six_derivatives(act: Activation, z: jax.Array) -> tuple[jax.Array, ...]:
    """σ, σ′, …, σ⁗, σ⁽⁵⁾ at z."""
    d, more = jax.jvp(act.derivatives, (z,), (jnp.ones_like(z),))
    return *d, more[-1]


def slope_table(act: Activation, dtype) -> SlopeTable:
    """The table of an activation, made once per dtype."""
    return kept(act, "slopes", dtype, lambda: _slope_table(act, dtype))


def _slope_table(act: Activation, dtype) -> SlopeTable:
    six = functools.partial(six_derivatives, act)
    sample = sampled(act, six, lambda: Sampler(act.fn, six, act.kinks, orders=5))
    slope = table_of(act, sample.from_order(1), dtype)
    return SlopeTable(slope, built(act, sample, Kind(_assemble, _cross_sums, _units, _error_sources), dtype))


def _assemble(at: Nodes, resolved: bool, largest: float) -> CrossTable:
    xp = numpy_of(at.left)
    left, right, kinks = (
        (xp.stack(leibniz(tuple(s[:5]), tuple(s[:5]))), xp.stack(leibniz(tuple(s[1:]), tuple(s[1:]))))
        for s in (at.left, at.right, at.kink_values)
    )
    differences_of_FS = []
    sizes = at.size**2, xp.max(xp.abs(at.kink_values[1, 1])) ** 2
    for F_left, F_right, F_kinks, size in zip(left, right, kinks, sizes, strict=True):
        F = limits(at.at_kinks, F_kinks, size)
        differences_of_FS.append(
            differences(centres(F, at.zero, F_left, F_right, size**0.5), F, at, F_left, F_right)
        )
    columns = 0
    for side, (F, S) in enumerate((left, right)):
        (f0, f1), (s0, s1) = (parts[side] for parts in differences_of_FS)
        columns = columns + xp.stack(
            [F[0] * S[0], f0, s0, f0 * s0, f1, s1, f1 * s1, F[1] * S[1] / 4, S[0] * S[0]], -1
        )
    columns, overflow_z, last_terms = finite_columns(columns, at, CROSS_COLUMNS, largest)
    cube = xp.stack(leibniz(tuple(kinks[1]), tuple(at.kink_values[1:])))
    cube = limits(at.at_kinks, cube, xp.max(xp.abs(cube[0, 1])))
    s = limits(at.at_kinks, at.kink_values, at.size)
    delta_weights = (s.below[0] + s.above[0]) / 2 * cube.jumps[0] / 3
    a0, a1 = (exponent(at.at_kinks, d, at.size) * float(not resolved) for d in at.kink_values[:2])
    diverges = xp.stack([a0 + a1, a0 + a1, 2 * a1, 2 * a1]) >= DIVERGENCE_EXPONENT
    return CrossTable(
        at.z, at.v, columns, overflow_z, last_terms, at.kinks, delta_weights, diverges.astype(at.z.dtype),
        np.zeros((2, 4, 4)), Accuracy.exact(),
    )  # fmt: skip


def _error_sources(act: Activation, at: Nodes, eps: float, table: CrossTable) -> list:
    """Errors that the spread of the rules does not show; the table of σ checks that σ′ is the slope of σ."""
    K = GRID.astype(table.z.dtype)
    return edge_errors(act, at, table, _cross_sums, _units(_cross_sums(table, K), K))


def _cross_sums(table: CrossTable, K) -> Any:
    """⟨FS⟩, the covariance, ⟨σσ′²σ″⟩, ⟨S²⟩.

    ⟨fs⟩ − ⟨f⟩⟨s⟩ uses the shifts, by the values at 0 or at infinity, that cancel less. 4σσ′²σ″ = F′S′.
    """
    both, f0, s0, q0, f1, s1, q1, cross_slopes, SS = summed(table, K)
    xp = numpy_of(both)
    p = weights(table.kinks, K[..., None])
    cross_slopes = cross_slopes + xp.sum(xp.where(p > 0, aligned(table.delta_weights, p) * p, 0.0), -1)
    cov = xp.where(xp.abs(f0 * s0) <= xp.abs(f1 * s1), q0 - f0 * s0, q1 - f1 * s1)
    moments = xp.stack([both, cov, cross_slopes, SS])
    return without_lost(table, K, moments, _units(moments, K))


def _units(moments, K) -> Any:
    """The units of the errors: ⟨FS⟩ also for the covariance, ⟨S²⟩ also for ⟨σσ′²σ″⟩."""
    return numpy_of(moments).abs(moments[np.array([0, 0, 3, 3])])


def _cross_moments(table: CrossTable, K: Array, sums: Callable = _cross_sums) -> tuple[Any, ...]:
    """⟨FS⟩, the covariance, ⟨σσ′²σ″⟩, and the relative error."""
    xp = numpy_of(K)
    moments, outside = everywhere(sums, table, K)
    error = xp.maximum(error_at(table.accuracy, K), outside)
    return *moments[:3], xp.where(lost(table, moments, K), xp.inf, error)


def slope_moments(table: SlopeTable, K: jax.Array) -> SlopeMoments:
    """The expectations at any K ≥ 0: relative error ≤ 1e-12 (float32: ≤ 2e-6) for K in [1e-12, 1e12].

    For var, d2s, cov and cross_slopes it is in the units given in `SlopeMoments`, unless their terms cancel.
    """
    return _record(table_moments(table.slope, K), in_blocks(_cross_moments, table.cross, K))


def _record(m: Moments, crossed: tuple[Any, ...]) -> SlopeMoments:
    """From the moments of σ′ and those of F and S together."""
    cross, cov, cross_slopes, error = crossed
    error = numpy_of(error).maximum(m.error, error)
    return SlopeMoments(m.g, m.g4, m.var, m.dg, m.d2g, cross, cov, cross_slopes, error)


def slopes_from_values(table: SlopeTable, K: jax.Array, values: jax.Array) -> SlopeMoments:
    """The expectations at any K, from the first eight in the window, (8, K)."""
    s, s4, var, ds, d2s, *cross = values
    of_slope, crossed = jnp.stack([s, s4, var, ds, jnp.zeros_like(s), d2s]), jnp.stack([*cross, s4])
    return _record(
        from_table(table.slope, K, lambda *_: of_slope), _cross_moments(table.cross, K, lambda *_: crossed)
    )


def sampled_slopes(table: SlopeTable) -> Callable[[np.ndarray], tuple]:
    """K → the slope moments, their units and error, as `interpolation` takes them."""

    def sample(K):
        with np.errstate(all="ignore"):
            crossed = _cross_moments(
                table.cross, np.minimum(K, WINDOW[1]), lambda table, _: _cross_sums(table, K)
            )
            *moments, error = _record(from_nodes(table.slope, K), crossed)
            s, s4, _, _, _, cross, *_ = moments
            natural = np.stack([s, s4, s4, s / K, s / K**2, cross, cross, s4])
            return np.stack(moments), np.maximum(np.abs(moments), natural), error[None]

    return sample
