"""Expectations of one activation at two Gaussian variables: ⟨σ(z₁)σ(z₂)⟩, ⟨σ′(z₁)σ′(z₂)⟩, ⟨(σ(z₁)−σ(z₂))²⟩.

For a pair of close inputs what matters is 1 − ρ, which cannot be recovered from ρ as a float; the argument is
therefore `gap` = 1 − ρ. Derivatives are with respect to the kernel K₁, K₂, K₁₂, and are finite even if ρ = ±1
or a variable is 0:

    ∂⟨σ₁σ₂⟩/∂K₁₂ = ⟨σ′₁σ′₂⟩,     ∂⟨σ₁σ₂⟩/∂K₁ = ½⟨σ″₁σ₂⟩
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Float

from eft import arguments
from eft.activations.analysis import analysed
from eft.activations.definition import Activation, ActivationLike
from eft.activations.one_sided import jump_at, sides
from eft.activations.programs import compiled
from eft.arguments import ArgumentError
from eft.gaussian.closed_forms import closed_forms
from eft.gaussian.closed_forms.base import PARALLEL, ClosedForms
from eft.gaussian.kernel_derivatives import at_both, at_kinks
from eft.gaussian.planes import Plane, correlated, plane
from eft.gaussian.records import Moments
from eft.gaussian.sources import Source, source
from eft.gaussian.tangents import attached, constant, undifferentiated
from eft.records import METHODS

SERIES_RANGE = 1e-3
"""|z₁−z₂| below which σ(z₁) − σ(z₂) is computed from derivatives."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PairSource:
    """The source of expectations at two variables: closed forms, or the activation itself on a plane.

    `moments`: the source of those at one variable.
    """

    act: Activation = dataclasses.field(metadata={"static": True})
    moments: Source

    @property
    def forms(self) -> ClosedForms:
        return closed_forms(self.act)


def pair_source(act: Activation, dtype) -> PairSource:
    """The source of the activation's expectations at two variables, in this precision."""
    return PairSource(act, source(act, dtype))


class PairMoments(NamedTuple):
    """Expectations in (z₁, z₂) ~ N(0, [[K₁, K₁₂], [K₁₂, K₂]]), each of the arguments' shape.

    `product`: ⟨σ(z₁)σ(z₂)⟩.
    `slopes`: ⟨σ′(z₁)σ′(z₂)⟩; if σ jumps, without the contribution of the jump.
    `distance`: ⟨(σ(z₁)−σ(z₂))²⟩.
    `error`: |⟨σ₁²⟩ + ⟨σ₂²⟩ − 2⟨σ₁σ₂⟩ − ⟨(σ₁−σ₂)²⟩|/(⟨σ₁²⟩ + ⟨σ₂²⟩), with ⟨σ²⟩ from the one-variable rule.
    """

    product: Float[jax.Array, "*pairs"]
    slopes: Float[jax.Array, "*pairs"]
    distance: Float[jax.Array, "*pairs"]
    error: Float[jax.Array, "*pairs"]

    __repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS


def pair_expectation(act: ActivationLike, K1: ArrayLike, K2: ArrayLike, gap: ArrayLike) -> PairMoments:
    """⟨σ₁σ₂⟩, ⟨σ′₁σ′₂⟩ and ⟨(σ₁−σ₂)²⟩ for z₁, z₂ of variances K₁, K₂ and correlation ρ = 1 − gap.

    `act`: a name, an Activation or a function. `K1`, `K2` ≥ 0 and `gap` in [0, 2] broadcast.

    In float64, for K in [1e-6, 1e4]: ⟨σ₁σ₂⟩ and ⟨σ′₁σ′₂⟩ are accurate to 1e-12 of √(⟨σ₁²⟩⟨σ₂²⟩) and its
    analogue for σ′, at every ρ including ±1; ⟨(σ₁−σ₂)²⟩ has a relative error of 1e-9 down to gap = 1e-12 and
    below. In float32 they are accurate to about 1e-5. `error` compares two of the integrals with known
    one-variable ones. Undeclared kinks are searched for. Piecewise linear activations, sine, erf and
    GELU have closed forms; all others need about 0.2 million function values per pair.

    Whatever `gap`, a variable of variance 0 counts as independent of any other, and as identical to another
    of variance 0; σ′ at 0 then takes the values of both sides, each with weight ½: ⟨σ′σ′⟩ of ReLU is ¼ and ½.

    Differentiable in K1, K2, gap and in the values that `act` closes over: once, or twice if σ has no kinks;
    higher derivatives are NaN.

    Raises TypeError or ValueError for a bad argument.

    >>> pair = eft.pair_expectation("relu", 1.0, 0.5, 1.0)
    >>> print(pair.product.round(6), pair.slopes.round(6))
    0.11254 0.25
    """
    act = analysed(act)
    given = {
        name: arguments.nonnegative(name, value) for name, value in (("K1", K1), ("K2", K2), ("gap", gap))
    }
    K1_, K2_, gap_ = arguments.broadcast(given)
    if not isinstance(gap_, Tracer) and (np.asarray(gap_) > 2).any():
        raise ArgumentError(f"gap = 1 − ρ must be ≥ 0 and ≤ 2; got {float(gap_.max())}")
    return _expectation(pair_source(act, K1_.dtype), K1_, K2_, gap_)


@compiled()
def _expectation(pairs: PairSource, K1, K2, gap) -> PairMoments:
    a, b = constant((jnp.sqrt(K1), jnp.sqrt(K2)))
    there = a * b > 0
    size = jnp.where(there, jnp.sqrt(jnp.where(there, K1, 1.0)) * jnp.sqrt(jnp.where(there, K2, 1.0)), 0.0)
    return pair_moments(pairs, a, b, a - b, gap, (K1, K2, size * (1 - gap)))


def pair_moments(
    pairs: PairSource,
    a: jax.Array,
    b: jax.Array,
    difference: jax.Array,
    gap: jax.Array,
    kernel: tuple | None = None,
    moments: tuple[Moments, Moments] | None = None,
) -> PairMoments:
    """The same from √K₁, √K₂ and their difference, which close inputs need more precisely.

    `kernel` = (K₁, K₂, K₁₂), with respect to which the result is differentiated; default: a constant.
    `moments`: those at K₁ and K₂, if they are known.
    """
    a, b, difference, gap = constant(jnp.broadcast_arrays(a, b, difference, gap))
    gap = correlated(a, b, gap)
    kernel = kernel or (a * a, b * b, a * b * (1 - gap))
    if moments is None:
        both = pairs.moments(jnp.stack(jnp.broadcast_arrays(*kernel[:2])))
        moments = jax.tree.map(lambda m: m[0], both), jax.tree.map(lambda m: m[1], both)
    m1, m2 = moments
    if pairs.forms.has("pair"):
        product, slopes, distance, _ = pairs.forms.pair(kernel, a, b, difference, gap, 2 - gap)
    else:
        each = jax.checkpoint(lambda args: _by_quadrature(pairs.act, *args))
        args = kernel, m1.dg, m2.dg, a, b, difference, gap
        integrals = jax.lax.map(each, jax.tree.map(jnp.ravel, args))
        product, slopes, distance = (m.reshape(a.shape) for m in integrals)
    sizes = m1.g + m2.g
    error = jnp.abs(sizes - 2 * product - distance) / jnp.where(sizes > 0, sizes, 1.0)
    return PairMoments(product, slopes, distance, constant(error))


# --- quadrature ---------------------------------------------------------------------------------


def _by_quadrature(act: Activation, kernel, slopes_1, slopes_2, a, b, difference, gap):
    """⟨σ₁σ₂⟩, ⟨σ′₁σ′₂⟩, ⟨(σ₁−σ₂)²⟩ for one pair; `slopes_1` and `slopes_2` are g′ of the two variables."""
    p = plane(act, a, b, gap)
    sine = jnp.sqrt(gap * (2 - gap))
    apart = (difference + b * gap) * p.x - b * sine * p.y
    first, second = act.derivatives(p.z1), act.derivatives(p.z2)
    d = _difference(act, p.z1, p.z2, first[0] - second[0], apart)
    product, slopes, *by_size = _differentiable(act, p, first, second, kernel, a, b, gap)
    # the number that stands in for a variable that is 0 must not show in the result
    stand_in = (a * b == 0) & (jnp.abs(product) < jnp.sqrt(jnp.finfo(a.dtype).tiny))
    product = product - constant(jnp.where(stand_in, product, 0.0))
    gradients = slopes_1 - 2 * by_size[0], slopes_2 - 2 * by_size[1], -2 * slopes
    return product, slopes, attached(p.mean(d * d), gradients, kernel)


def _differentiable(act: Activation, p: Plane, first, second, kernel, a, b, gap) -> tuple:
    """⟨σ₁σ₂⟩, ⟨σ′₁σ′₂⟩, ½⟨σ″₁σ₂⟩ and ½⟨σ₁σ″₂⟩ with their derivatives in the kernel."""
    if act.kinks:
        return _with_kinks(act, p, first, second, kernel, a, b, gap)

    @functools.cache
    def mean(i: int, j: int) -> jax.Array:
        value = p.mean(first[i] * second[j])
        if i + j > 2:
            return undifferentiated(value, *kernel)
        return attached(value, (mean(i + 2, j) / 2, mean(i, j + 2) / 2, mean(i + 1, j + 1)), kernel)

    return mean(0, 0), mean(1, 1), mean(2, 0) / 2, mean(0, 2) / 2


def _with_kinks(act: Activation, p: Plane, first, second, kernel, a, b, gap) -> tuple:
    """The same if σ has kinks. By parts, a⟨σ″₁f₂⟩ = ⟨uσ′₁f₂⟩ − bρ⟨σ′₁f′₂⟩, which needs no δ function.

    At ρ = ±1, where a jump of σ′ gives ⟨σ′₁σ′₂⟩ a cusp, its derivative omits the contribution of the jump.
    """
    rho, sine = 1 - gap, jnp.sqrt(gap * (2 - gap))
    u1, u2 = p.x, rho * p.x + sine * p.y
    (s1, d1, c1), (s2, d2, c2) = first[:3], second[:3]
    there = a * b > 0
    safe_a, safe_b = (jnp.where(there, r, 1.0) for r in (a, b))

    def by_size(direct, moved, across, own, other):
        return jnp.where(there, (moved - other * rho * across) / own, direct) / 2

    slopes = p.mean(d1 * d2)
    size_1 = by_size(p.mean(c1 * s2), p.mean(u1 * d1 * s2), slopes, safe_a, safe_b)
    size_2 = by_size(p.mean(s1 * c2), p.mean(s1 * u2 * d2), slopes, safe_b, safe_a)
    deltas_1, deltas_2 = at_kinks(act, safe_a, safe_b, gap), at_kinks(act, safe_b, safe_a, gap)
    apart = there & (sine > PARALLEL)

    def delta_terms(k):
        return jnp.where(apart, k, 0.0)

    ab = safe_a * safe_b
    curvature = (
        p.mean(c1 * c2) + delta_terms(deltas_1[2] + deltas_2[2] + at_both(act, safe_a, safe_b, gap)) / ab**2
    )
    turned_1 = p.mean(u1 * c1 * d2) + delta_terms(deltas_1[1]) / ab
    turned_2 = p.mean(d1 * u2 * c2) + delta_terms(deltas_2[1]) / ab
    gradient = (
        by_size(p.mean(first[3] * d2), turned_1, curvature, safe_a, safe_b),
        by_size(p.mean(d1 * second[3]), turned_2, curvature, safe_b, safe_a),
        curvature,
    )
    slopes = attached(slopes, tuple(undifferentiated(g, *kernel) for g in gradient), kernel)
    sizes = [undifferentiated(size, *kernel) for size in (size_1, size_2)]
    return attached(p.mean(s1 * s2), (*sizes, slopes), kernel), slopes, *sizes


def _difference(act: Activation, z1, z2, direct, apart):
    """σ(z₁) − σ(z₂): for close points wσ′ + w³σ‴/24 at their midpoint, in two steps across a kink."""

    def step(middle, w):
        s = act.derivatives(middle)
        return w * s[1] + w**3 / 24 * s[3]

    def leg(c, w, below, above):
        """σ(c+w) − σ(c), with the midpoint kept on its own side of c."""
        return step(jnp.where(w > 0, jnp.maximum(c + w / 2, above), jnp.minimum(c + w / 2, below)), w)

    short = step(z2 + apart / 2, apart)
    for c in act.kinks:
        up, down, jump = z1 - c, z2 - c, jump_at(act.fn, c, z1.dtype)
        ends = tuple(map(jnp.asarray, sides(c, z1.dtype)))
        over = leg(c, up, *ends) - leg(c, down, *ends) + jnp.where(up > 0, jump, -jump)
        short = jnp.where(up * down < 0, over, short)
    return jnp.where(jnp.abs(apart) < SERIES_RANGE, short, direct)
