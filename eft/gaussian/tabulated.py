"""An activation tabulated once at the nodes of the Gaussian quadrature, and its moments at any K from that.

The nodes do not depend on K: expectations at many K take one exponential per node and K and a matrix
product, at the same cost for every activation.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Float

from eft.activations.analysis import sampler_of
from eft.activations.definition import Activation
from eft.activations.derivatives import Array, Scalar, leibniz
from eft.activations.one_sided import aligned, exponent, limits, numpy_of
from eft.gaussian.accuracy import GRID, ROUNDING, SLOPE, Accuracy, error_at
from eft.gaussian.error_sources import edge_errors, rounding_errors, slope_mismatch
from eft.gaussian.expectation import VANISHED_U, WINDOW
from eft.gaussian.half_line import Nodes, centres, differences, finite_columns
from eft.gaussian.records import Moments
from eft.gaussian.tabulation import Kind, Sample, built, kept, sampled
from eft.gaussian.window import everywhere, in_blocks, lost, product, summed, weights, without_lost

DIVERGENCE_EXPONENT = 0.4999
"""Exponent a of σ ~ |z−c|^{−a} from which on σ² is not integrable."""

MEAN_EXPONENT = 0.9
"""Exponent a of σ′ ~ |z−c|^{−a} from which on ⟨σ′⟩ does not exist, or hardly."""

MOMENT_COLUMNS = ((0,), (1,), (1, 2, 3, 4, 5), (7, 9), (6,), (8, 10))
"""The columns from which g, ⟨σ⁴⟩, var, g′, ⟨σ′²⟩ and g″ are computed."""


class Table(NamedTuple):
    """An activation at the nodes, and contributions of its kinks. Expectations are means over the rules.

    `z`: (rules, nodes) on the half line.
    `v`: (rules, nodes) weights.
    `columns`: (rules, nodes, 11): f(z) + f(−z) for the integrands f of `_integrands`, 0 if not finite.
    `overflow_z`: (6,) for each moment the smallest |z| at which an integrand is not finite, or inf.
    `last_terms`: (6,) the largest weight × integrand just below that |z|.
    `kinks`: (kinks,) 0 and where σ or a derivative jumps.
    `jumps`: (kinks, 4) [F]_c, [F′]_c, [F″]_c, [F‴]_c.
    `infinite`: (6,) 1 for each moment that is infinite at every K, else 0.
    `crossover`: (2,) the K below which g′ and g″ are taken from F″ and F⁗.
    `rough`: () 1 if F′ has no limit at some kink, so that F″ is not integrable, else 0.
    `edges`: (2, 6, 4): q, a, b and residual of `_leading_powers`, at either end of the window.
    `centres`: (2,) F₀ = F(0), and F_∞ if F has a limit at large |z| (else F₀).
    `centred`: (rules, nodes, 2, 2) F minus each of the two centres, at −z and at z.
    `curvatures`: (rules, nodes) the absolute values of the terms of ¼F⁗ at −z and z, summed; 0 if not finite.
    `accuracy`: the relative error at every scale, and its cause.
    """

    z: Float[Array, "*rules nodes"]
    v: Float[Array, "*rules nodes"]
    columns: Float[Array, "*rules nodes 11"]
    overflow_z: Float[Array, "6"]
    last_terms: Float[Array, "6"]
    kinks: Float[Array, "kinks"]
    jumps: Float[Array, "kinks 4"]
    infinite: Float[Array, "6"]
    crossover: Float[Array, "2"]
    rough: Float[Scalar, ""]
    edges: Float[Array, "2 6 4"]
    centres: Float[Array, "2"]
    centred: Float[Array, "*rules nodes 2 2"]
    curvatures: Float[Array, "*rules nodes"]
    accuracy: Accuracy

    PER_RULE = ("z", "v", "columns", "centred", "curvatures")

    def part(self, mask: Array) -> "Table":
        """A table whose sums bound the contributions of the nodes in `mask`."""
        columns = numpy_of(self.columns).abs(self.columns)
        return self._replace(
            v=numpy_of(mask).where(mask, self.v, 0.0),
            columns=columns,
            jumps=0 * self.jumps,
            overflow_z=np.full(len(MOMENT_COLUMNS), np.inf),
        )


def moment_table(act: Activation, dtype) -> Table:
    """The table of an activation, made once per dtype."""
    return kept(act, "moments", dtype, lambda: table_of(act, _sample(act), dtype))


def table_of_every_rule(act: Activation, dtype) -> Table:
    """The same with all rules, for powers of σ² above the second; with one if that is known to resolve σ."""
    if act.resolved:
        return moment_table(act, dtype)
    return kept(act, "every rule", dtype, lambda: table_of(act, _sample(act), dtype, every=True))


def _sample(act: Activation) -> Sample:
    return sampled(act, act.derivatives, lambda: sampler_of(act))


def table_of(act: Activation, sample: Sample, dtype, *, every: bool = False) -> Table:
    """The table of a sample of σ, σ′, σ″, σ‴, σ⁗."""
    return built(act, sample, Kind(_assemble, _sums, units, _error_sources), dtype, every=every)


def _assemble(at: Nodes, resolved: bool, largest: float) -> Table:
    xp = numpy_of(at.left)
    values = at.left, at.right, at.kink_values
    F_left, F_right, F_kinks = (xp.stack(leibniz(tuple(s), tuple(s))) for s in values)
    F, s = limits(at.at_kinks, F_kinks, at.size**2), limits(at.at_kinks, at.kink_values, at.size)
    centre = centres(F, at.zero, F_left, F_right, at.size)
    differences_of_F = differences(centre, F, at, F_left, F_right)
    rough = ~F.exists & (not resolved)
    columns = _integrands(-at.z, at.left, F_left, differences_of_F[0], rough[1].any())
    columns = columns + _integrands(at.z, at.right, F_right, differences_of_F[1], rough[1].any())
    columns, overflow_z, last_terms = finite_columns(columns, at, MOMENT_COLUMNS, largest)
    a0, a1 = (exponent(at.at_kinks, d, at.size) * float(not resolved) for d in at.kink_values[:2])
    jumps = xp.any(s.jumps[0] != 0)
    diverges = xp.stack([a0, 2 * a0, 2 * a0, a0, xp.where(jumps, 1.0, a1), a0]) >= DIVERGENCE_EXPONENT
    crossovers = [_crossover(at.kinks, rough[: k + 1].any(0)) for k in (1, 3)]
    table = Table(
        at.z, at.v, columns, overflow_z, last_terms, at.kinks, F.jumps[:4].T, diverges.astype(at.z.dtype),
        xp.stack(crossovers), rough[1].any().astype(at.z.dtype), np.zeros((2, len(MOMENT_COLUMNS), 4)),
        xp.stack(centre), xp.stack([xp.stack(side, -1) for side in differences_of_F], -2),
        _curvature_terms(at.left) + _curvature_terms(at.right), Accuracy.exact(),
    )  # fmt: skip
    return table if resolved else table._replace(crossover=xp.minimum(table.crossover, _crossovers(table)))


def _curvature_terms(s) -> Any:
    """The absolute values of the terms of ¼F⁗, summed; 0 where not finite."""
    xp, sizes = numpy_of(s), tuple(numpy_of(s).abs(s))
    terms = leibniz(sizes, sizes)[4] / 4
    return xp.where(xp.isfinite(terms), terms, 0.0)


CROSSOVER_SHARE = 0.1
"""One form replaces another if its terms sum, in absolute value, to less than this share of the other's."""


def _crossovers(table: Table) -> Any:
    """The K above which ½⟨F″⟩ loses far more to cancellation than ⟨zF′⟩/2K, and ¼⟨F⁗⟩ than its other form."""
    xp = numpy_of(table.columns)
    K = GRID.astype(table.z.dtype)
    every = table.part(np.ones(table.z.shape))
    sums = summed(every, K)
    crossed = [
        other < CROSSOVER_SHARE * one for one, other in (_slopes(every, K, sums), _curvatures(every, K, sums))
    ]
    return xp.stack([xp.min(xp.where(c, K, np.inf)) for c in crossed])


def _crossover(kinks: np.ndarray, rough) -> Any:
    """The K below which a form with F″ or F⁗ holds: 1, or so small that no rough kink is within reach."""
    xp = numpy_of(rough)
    return xp.min(xp.where(rough, np.minimum(1.0, kinks**2 / VANISHED_U**2), 1.0))


CHECK_TOLERANCE = 1e-10
"""The tolerance for a sum that serves only as a check, relative to the sum of the absolute values.

For a function evaluated in float32, or a table for float32, it is four machine epsilons of that precision.
"""


BOTH_FORMS_UP_TO = (np.inf, 2.0)
"""The K up to which both forms of g′, and of g″, are accurate for smooth σ; beyond, ¼⟨F⁗⟩ is round-off."""

ERROR_PER_DEVIATION = 2.0
"""The error of one form of g″ in units of its deviation from another one that may be off by as much."""


def _error_sources(act: Activation, at: Nodes, eps: float, table: Table) -> list:
    """Errors that the spread of the rules does not show."""
    jumps = limits(at.at_kinks, at.kink_values, at.size).jumps[0]
    K = GRID.astype(at.z.dtype)
    every = table.part(np.ones(table.z.shape))
    sums, sizes = summed(table, K), summed(every, K)
    moments = _sums(table, K, sums)
    violation = slope_mismatch(at, jumps, moments[4])
    unbounded = exponent(at.at_kinks, at.kink_values[1], at.size) > MEAN_EXPONENT
    violation = numpy_of(violation).where(unbounded, 0.0, violation)
    noise, size = max(CHECK_TOLERANCE, 4 * eps), units(moments, K)
    form_errors = [
        _form_error(table, K, form(table, K, sums), form(every, K, sizes), which, size[unit], noise)
        for which, (form, unit) in enumerate(((_slopes, 3), (_curvatures, 5)))
    ]
    magnitudes = _magnitudes(table, K, sizes)
    rounding = rounding_errors(magnitudes, size, eps)
    of_z = rounding_errors(_slopes_of_terms(at, K), size, float(np.finfo(at.z.dtype).eps) / 2)
    sources = [
        (SLOPE, violation),
        *((SLOPE, form) for form in form_errors),
        (ROUNDING, rounding),
        (ROUNDING, of_z),
    ]
    noises = noise, 4 * eps * magnitudes[5]
    sources.append((SLOPE, _curvature_error(at, table, K, moments[5], size[5], noises)))
    return [*sources, *edge_errors(act, at, table, _sums, size)]


def _curvature_error(at: Nodes, table: Table, K, d2g, size, noise: tuple) -> Any:
    """The excess over noise of the deviation of g″ from ⟨z³F′/K − 3zF′⟩/4K², which needs no F″."""
    xp = numpy_of(at.left)
    z, v = at.z.reshape(-1), at.v.reshape(-1) / len(at.z)
    slopes = [(side[0] * side[1]).reshape(-1) * 2 for side in (at.left, at.right)]
    odd_slope = slopes[1] - slopes[0]  # F′(z) − F′(−z), times z an even function
    odd_slope = xp.where(xp.isfinite(odd_slope), odd_slope, 0.0)
    p = v * weights(z, K[..., None])
    columns = xp.stack([z**3 * odd_slope, z * odd_slope], -1)
    (third, first), (third_size, first_size) = ((p @ c).T for c in (columns, xp.abs(columns)))
    jumps = _at_kinks(table._replace(rough=1.0 + 0 * table.rough), K)[3]
    without_curvature = (third / K - 3 * first) / (4 * K**2) + jumps
    tolerance, rounding = noise  # relative to the terms of the other form; of g″ itself
    allowed = tolerance * (third_size / K + 3 * first_size) / (4 * K**2) + rounding
    excess = (xp.abs(d2g - without_curvature) - allowed) / xp.where(size > 0, size, 1.0)
    return xp.where((excess > 0) & xp.isfinite(size), ERROR_PER_DEVIATION * excess, 0.0)


def _form_error(table: Table, K, forms: tuple, sizes: tuple, which: int, size, tolerance: float) -> Any:
    """The excess over noise of the difference of the forms of g′, or g″: F″ misses a kink, zF′ does not."""
    xp = numpy_of(table.columns)
    difference = xp.abs(forms[0] - forms[1]) - tolerance * sum(sizes)
    both_hold = (table.crossover[which] > K) | (table.crossover[which] >= 1) & (BOTH_FORMS_UP_TO[which] >= K)
    decided = (difference > 0) & both_hold & xp.isfinite(size)
    return xp.where(decided, difference / xp.where(size > 0, size, 1.0), 0.0)


def _integrands(z, s, F, centred, rough) -> Any:
    """F, F², F−F₀, (F−F₀)², F−F_∞, (F−F_∞)², σ′², ½F″, ¼F⁗, ½zF′, ¼(z²F″−zF′), on a new last axis.

    If F″ is not integrable, ¼z³F′ takes the place of ¼(z²F″−zF′).
    """
    xp = numpy_of(s)
    F, F1, F2, _, F4 = F
    from_zero, from_far = centred
    moments = (F, F * F, from_zero, from_zero**2, from_far, from_far**2, s[1] ** 2)
    slopes = (F2 / 2, F4 / 4, z * F1 / 2, xp.where(rough, z**3 * F1, z * z * F2 - z * F1) / 4)
    return xp.stack(moments + slopes, axis=-1)


def _at_kinks(table: Table, K, absolute: bool = False) -> tuple:
    """Boundary terms of ½⟨F″⟩, ⟨zF′⟩/2K, ¼⟨F⁗⟩ and ⟨z²F″−zF′⟩/4K² from jumps of F, F′, … at the kinks c.

    F⁽ᵏ⁾ contains [F⁽ᵏ⁻¹⁻ʲ⁾]_c δ⁽ʲ⁾(z−c), and ∫δ⁽ʲ⁾p = (−1)ʲp⁽ʲ⁾(c), p′ = −vp, p″ = (v²−1/K)p, … with v = c/K.
    The form for rough kinks contains neither F″ nor [F′]. `absolute`: with the absolute value of each term.
    """
    xp = numpy_of(table.jumps, K)
    size = xp.abs if absolute else lambda a: a
    K = K[..., None]
    F, F1, F2, F3 = (size(aligned(jump, K)) for jump in table.jumps.T)
    kinks = aligned(table.kinks, K)
    v, p, sign = size(kinks / K), weights(table.kinks, K), 1 if absolute else -1
    rows = (
        (F1 + F * v) / 2,
        F * v / 2,
        (F3 + F2 * v + F1 * (v * v + sign / K) + F * v * (v * v + sign * 3 / K)) / 4,
        (F1 * (1 - table.rough) * v * v + F * v * (v * v + sign * 3 / K)) / 4,
    )
    return tuple(xp.sum(xp.where(p > 0, row * p, 0.0), -1) for row in rows)


def _sums(table: Table, K, sums: Any = None) -> Any:
    """g, ⟨σ⁴⟩, var, g′, ⟨σ′²⟩, g″ for K in the window, on a new first axis.

    g′ = ½⟨F″⟩ = ⟨zF′⟩/2K and g″ = ¼⟨F⁗⟩ = ⟨z²F″ − zF′⟩/4K²: the first form for K < 1, since the second
    suffers from cancellation as K → 0, and the second for larger K, where the first does. If F′ has no limit
    at a kink, g″ = ⟨z³F′/K − 3zF′⟩/4K². The variance is ⟨(F−a)²⟩ − ⟨F−a⟩², where a is F₀ or F_∞, whichever
    is clearly nearer to the mean.
    """
    sums = summed(table, K) if sums is None else sums
    xp = numpy_of(sums[0])
    g, g4, d0, q0, d1, q1, slope2, *_ = sums
    var = xp.where(xp.abs(d0) <= 2 * xp.abs(d1), q0 - d0 * d0, q1 - d1 * d1)
    kinks = _at_kinks(table, K)
    slopes, curvatures = _slopes(table, K, sums, kinks), _curvatures(table, K, sums, kinks)
    dg, d2g = (
        xp.where(crossover > K, *forms)
        for crossover, forms in zip(table.crossover, (slopes, curvatures), strict=True)
    )
    moments = xp.stack([g, g4, var, dg, slope2, d2g])
    return without_lost(table, K, moments, units(moments, K))


def _slopes(table: Table, K, sums, kinks: Any = None) -> tuple[Any, Any]:
    """g′ = ½⟨F″⟩ and ⟨zF′⟩/2K."""
    kinks = kinks or _at_kinks(table, K)
    return sums[7] + kinks[0], sums[9] / K + kinks[1]


def _curvatures(table: Table, K, sums, kinks: Any = None) -> tuple[Any, Any]:
    """g″ = ¼⟨F⁗⟩ and ⟨z²F″ − zF′⟩/4K², or ⟨z³F′/K − 3zF′⟩/4K²."""
    xp, kinks = numpy_of(sums[0]), kinks or _at_kinks(table, K)
    curvature = xp.where(table.rough > 0, sums[10] / K - 1.5 * sums[9], sums[10])
    return sums[8] + kinks[2], curvature / K**2 + kinks[3]


def _magnitudes(table: Table, K, sums) -> Any:
    """For each moment the sum of the absolute values of its terms: its error in units of the round-off."""
    xp = numpy_of(sums[0])
    g, g4, d0, q0, d1, q1, slope2, *_ = sums
    kinks = _at_kinks(table, K, absolute=True)
    var = xp.where(xp.abs(d0) <= 2 * xp.abs(d1), q0 + d0 * d0, q1 + d1 * d1)
    curvature = xp.where(table.rough > 0, sums[10] / K + 1.5 * sums[9], sums[10])
    dg = xp.where(table.crossover[0] > K, sums[7] + kinks[0], sums[9] / K + kinks[1])
    d2g = xp.where(table.crossover[1] > K, sums[8] + kinks[2], curvature / K**2 + kinks[3])
    return xp.stack([g, g4, var, dg, slope2, d2g])


def _slopes_of_terms(at: Nodes, K) -> Any:
    """The same for z times the derivative of each term: the error due to round-off in z."""
    xp = numpy_of(at.left)
    terms = 0
    for z, s in ((-at.z, at.left), (at.z, at.right)):
        F, F1, F2, F3, _ = leibniz(tuple(s), tuple(s))
        of_square = 2 * z * F * F1
        each = (z * F1, of_square, of_square, (F1 + z * F2) * z / 2, 2 * z * s[1] * s[2], z**3 * F3 / 4)
        terms = terms + xp.stack([xp.where(xp.isfinite(term), xp.abs(term), 0.0) for term in each], -1)
    p = at.v.reshape(-1) / len(at.z) * weights(at.z.reshape(-1), K[..., None])
    powers = np.array([0, 0, 0, 1, 0, 2])[:, None]
    return xp.moveaxis(product(p, terms.reshape(-1, len(powers))), -1, 0) / K**powers


def units(moments, K) -> Any:
    """The units of the moments' errors: |g|, ⟨σ⁴⟩, ⟨σ⁴⟩, g/K, ⟨σ′²⟩, g/K², or the moment if larger."""
    xp = numpy_of(moments)
    g, g4 = xp.abs(moments[0]), moments[1]
    natural = xp.stack([g, g4, g4, g / K, xp.zeros_like(g), g / K**2])
    return xp.maximum(xp.abs(moments), xp.where(xp.isfinite(natural), natural, 0.0))


def from_table(table: Table, K: Array, sums: Callable = _sums) -> Moments:
    """The moments at any K, from `sums` in the window."""
    xp = numpy_of(K)
    moments, extrapolation = everywhere(sums, table, K)
    error = xp.maximum(error_at(table.accuracy, K), extrapolation)
    error = xp.maximum(error, xp.where(WINDOW[0] <= K, _underflow_error(table, moments[1]), 0.0))
    return Moments._make([*moments, xp.where(lost(table, moments, K), xp.inf, error)])


def from_nodes(table: Table, K: np.ndarray) -> Moments:
    """The moments at K in the window, and a little above its end, all from the nodes, by NumPy."""
    return from_table(table, np.minimum(K, WINDOW[1]), lambda table, _: _sums(table, K))


def sampled_moments(table: Table) -> Callable[[np.ndarray], tuple]:
    """K → the moments, their units and error, as `interpolation` takes them."""

    def sample(K):
        with np.errstate(all="ignore"):
            *moments, error = from_nodes(table, K)
            return np.stack(moments), units(np.stack(moments), K), error[None]

    return sample


UNDERFLOW_LOSS = 1e3
"""What ⟨σ⁴⟩ may lose to terms that underflow, in units of the smallest normal number."""


def _underflow_error(table: Table, g4: Array) -> Any:
    """The relative error of ⟨σ⁴⟩ due to terms that underflow, where ⟨σ⁴⟩ itself does not."""
    xp, tiny = numpy_of(g4), np.finfo(g4.dtype).tiny
    g4 = g4 if xp is np else jax.lax.stop_gradient(g4)
    return xp.where(
        g4 >= tiny, table.accuracy.measured * (UNDERFLOW_LOSS * tiny) / xp.where(g4 >= tiny, g4, 1.0), 0.0
    )


@jax.custom_jvp
def table_moments(table: Table, K: jax.Array) -> Moments:
    """The moments at any K ≥ 0 from an activation's table.

    Relative error ≤ 1e-12 in float64 and ≤ 2e-6 in float32 for K in [1e-12, 1e12]; g″ to that times
    g/K². Outside of [1e-16, 1e16] the moments are continued by power laws.
    """
    return in_blocks(from_table, table, K)


@functools.partial(table_moments.defjvp, symbolic_zeros=True)
def _table_moments_jvp(primals, tangents):
    """∂g/∂K = g′, ∂g′/∂K = g″; others by differentiating the Gaussian, with error about 1e-16/K at K < 1."""
    (table, K), (dtable, dK) = primals, tangents
    M = table_moments(table, K)
    tangent = jax.tree.map(jnp.zeros_like, M)
    if not isinstance(dK, SymbolicZero):
        by_K = jax.jvp(lambda K: from_table(table, K), (K,), (dK,))[1]
        tangent = by_K._replace(g=M.dg * dK, dg=M.d2g * dK, error=tangent.error)
    if not all(isinstance(d, SymbolicZero) for d in dtable):
        dtable = jax.tree.map(
            lambda d, a: jnp.zeros_like(a) if isinstance(d, SymbolicZero) else d, dtable, table
        )
        by_table = jax.jvp(lambda table: from_table(table, K), (table,), (dtable,))[1]
        tangent = jax.tree.map(jnp.add, tangent, by_table)
    return M, tangent
