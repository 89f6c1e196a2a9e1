"""The cumulants of σ² as power series in the kernel, which enter the 1/n series at each layer.

With F = σ², z ~ N(0, K(1+x)) and c_r the r-th cumulant of F, c_r/gʳ = Σ_j ĉ_rj xʲ. Where there is no closed
form the ĉ are computed from the Taylor coefficients of ⟨Fʳ⟩, which need no derivative of σ:

    Kʲ/j! dʲ⟨f⟩_K/dKʲ = ⟨f He_2j(u)⟩/(2ʲ j!) = (−1)ʲ ⟨f L_j^(−1/2)(u²/2)⟩,   u = z/√K,

with L the generalized Laguerre polynomials.
"""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from eft import arguments
from eft.activations.definition import Activation
from eft.activations.programs import compiled
from eft.gaussian.accuracy import SAFETY
from eft.gaussian.closed_forms import closed_forms
from eft.gaussian.closed_forms.base import ClosedForms
from eft.gaussian.closed_forms.homogeneous import constant_series
from eft.gaussian.expectation import UNDERFLOW_U, WINDOW, density
from eft.gaussian.half_line import SERIES_POWER
from eft.gaussian.polynomials import Polynomials, interpolation
from eft.gaussian.records import Moments
from eft.gaussian.series import Cumulants, last, needed, times
from eft.gaussian.tabulated import Table, table_of_every_rule
from eft.gaussian.window import HIGHEST

CUT_DECAY = 60
"""c²/2K from which a kink at c adds less than round-off to the derivatives in K; `error` includes it."""

MAX_HALF_U2 = 800.0
"""Limit of u²/2 in the polynomials: the Gaussian is 0 there, and 0 times a large power must not be NaN."""

EPS = float(np.finfo(float).eps)

ROUNDING = 16 * EPS
"""The error that is stated of ĉ, in units of its terms."""

EXACT_BELOW = EPS ** (2 * SERIES_POWER) / 64
"""K up to which F − F₀ is the series at 0 within eight standard deviations."""

OF_SERIES = (16,)
"""Intervals in an octave: of ĉ_rj ~ Kʲ fewer are too few."""

RANGE_SHARE = 0.9
"""Share of the exponent range of floating-point numbers that the highest power of F may fill."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TabulatedSeries:
    """The series from the table, or from polynomials.

    `first`: the closed forms in which the first cumulant is known, if it is.
    """

    table: Table
    polynomials: Polynomials | None = None
    first: ClosedForms | None = dataclasses.field(default=None, metadata={"static": True})

    def __call__(self, K: jax.Array, m: Moments, order: int) -> Cumulants:
        within = jnp.clip(K, *WINDOW)
        if self.polynomials is None:
            by_table = _from_nodes(self.table, within, order)
        else:
            by_table = _from_polynomials(self.polynomials, within, order)
        some, g = jnp.where(K > 0, K, 1.0), jnp.where(m.g > 0, m.g, 1.0)
        c, error = by_table.c, by_table.error
        c = c.at[0, 0].set(1.0).at[0, 1].set(some * (m.dg / g)).at[0, 2].set(some * (some * (m.d2g / g)) / 2)
        c = c.at[1, 0].set(m.var / g / g)
        if self.first is not None:
            closed = self.first.first_cumulant(K, 2 * order + 1)
            c, error = c.at[0].set(closed), error.at[0].set(16 * jnp.finfo(K.dtype).eps * jnp.abs(closed))
        low, high = WINDOW
        inside = ((low <= K) | (self.table.centres[0] == 0)) & (high >= K)
        some = (K > 0)[None, None]
        return Cumulants(jnp.where(some, c, 0.0), jnp.where(some, error, 0.0), by_table.valid & inside)


CumulantSource = Callable[[jax.Array, Moments, int], Cumulants]
"""A pytree that is called as (K, moments at K, order)."""


def cumulant_source(act: Activation, order: int, dtype, count: int = 0) -> CumulantSource:
    """(K, Moments at K, order) → Cumulants of the activation; K is a vector.

    `count`: for so many K, none of them traced; if there are many, they are interpolated by polynomials.
    Of the moments, g, var, g′ and g″ are used. One compiled program serves all activations that are
    homogeneous, one all sines, and one all that have tables.
    """
    if act.degree is not None:
        values = arguments.host_arrays(*(act.fn(jax.device_put(np.asarray(z, dtype))) for z in (1.0, -1.0)))
        above, below = (value**2 for value in values)
        return constant_series(act.degree, (above, below), order, dtype)
    forms = closed_forms(act)
    if forms.has("series"):
        return forms.series(order, dtype)
    table, first = table_of_every_rule(act, dtype), forms if forms.has("first_cumulant") else None

    def sampler(table):
        return lambda K: _sampled(_evaluated(order, table, K), order)

    kind = f"the series of order {order}"
    by_polynomials = interpolation(act, kind, table, sampler, count, octave=OF_SERIES, relative=False)
    return TabulatedSeries(table, by_polynomials, first)


@compiled(0)
def _evaluated(order: int, table: Table, K: jax.Array) -> Cumulants:
    return _from_nodes(table, K, order)


def _sampled(series: Cumulants, order: int) -> tuple:
    """The ĉ that are needed, their units and errors, as `interpolation` takes them; inf where not valid."""
    some = needed(order, float)[..., 0] > 0
    values, errors = (np.asarray(a)[some] for a in (series.c, series.error))
    return values, errors / ROUNDING, np.where(series.valid, errors, np.inf)


def _from_polynomials(by_polynomials: Polynomials, K: jax.Array, order: int) -> Cumulants:
    """ĉ from polynomials, which are made only where all of the series is valid."""
    places = np.nonzero(needed(order, float)[..., 0])
    none = jnp.zeros((order + 1, 2 * order + 1, *K.shape), K.dtype)
    c, error = (none.at[places].set(a) for a in by_polynomials(K))
    return Cumulants(c, error, jnp.ones(K.shape, bool))


def _from_nodes(table: Table, K: jax.Array, order: int) -> Cumulants:
    """ĉ from each rule of the table; for several rules their mean, with their spread as the error."""
    per_rule = {name: getattr(table, name) for name in Table.PER_RULE}
    rules = jax.vmap(lambda rule: _rule(table._replace(**rule), K, order))(per_rule)
    if len(table.z) == 1:
        c, error, valid = jax.tree.map(lambda a: a[0], rules)
        # no spread of rules shows how coarse the nodes are for Fʳ times polynomials of degree j in u²
        r, j = (np.arange(1, n, dtype=K.dtype) for n in (order + 2, 2 * order + 2))
        growth = (1 + r[:, None]) ** (j - 1) / j
        return Cumulants(c, error * growth[..., None], valid)
    c, error, valid = rules
    constant = jax.lax.stop_gradient(c)
    spread = SAFETY * (constant.max(0) - constant.min(0))
    return Cumulants(c.mean(0), jnp.maximum(error.max(0), spread), valid.all(0))


def _rule(table: Table, K: jax.Array, order: int) -> Cumulants:
    """ĉ from the moments of F minus F₀ or F_∞, whichever is clearly nearer to ⟨F⟩.

    If σ is smooth on the scale of √K, K² d²⟨F⟩/dK² = K²⟨F⁗⟩/4 is differentiated in place of ⟨F⟩, so that ĉ_1j
    keeps its relative accuracy as K → 0.
    """
    info = jnp.finfo(K.dtype)
    limit = float(info.max) ** (RANGE_SHARE / (order + 1))
    large = jnp.any(jnp.abs(table.centred) > limit, axis=(1, 2)) | (table.z >= table.overflow_z[1])
    D = jnp.where(large[:, None, None], 0.0, table.centred)
    powers = [jnp.sum(D**r, 1) for r in range(1, order + 2)]  # (nodes, centres)
    quarter = table.columns[:, 8:9]  # ¼F⁗
    z = jnp.asarray(table.z)[None]
    half_u2 = jnp.minimum(z * (z / K[:, None]) / 2, MAX_HALF_U2)
    weight, below = table.v[None] * density(z, K[:, None]), jnp.zeros_like(half_u2)
    moments: list = [[] for _ in powers]
    curvatures, first_weight = [], weight
    for j in range(2 * order + 1):
        columns = powers[: order + 1 - (j + 1) // 2] + ([quarter] if j < 2 * order - 1 else [])
        sums = jnp.matmul(weight, jnp.concatenate(columns, 1), precision=HIGHEST)
        for r in range(len(columns) - (j < 2 * order - 1)):
            moments[r].append(sums[:, 2 * r : 2 * r + 2])
        if j < 2 * order - 1:
            curvatures.append(sums[:, -1])
        # −(j+1) h_{j+1} = (2j + ½ − u²/2) h_j + (j − ½) h_{j−1}, h_j = (−1)ʲ L_j
        weight, below = -((2 * j + 0.5 - half_u2) * weight + (j - 0.5) * below) / (j + 1), weight
    means = jnp.abs(moments[0][0])
    far = means[:, 0] > 2 * means[:, 1]
    mu = [jnp.stack([jnp.where(far, a[:, 1], a[:, 0]) for a in row]) for row in moments]  # (j, K)
    g = mu[0][0] + jnp.where(far, table.centres[1], table.centres[0])
    unit = jnp.where(g > 0, g, 1.0)
    scaled, power = [], jnp.ones_like(unit)
    for row in mu:
        power = power / unit
        scaled.append(row * power[None])
    c = [scaled[0].at[0].add(1 - scaled[0][0])]
    for r in range(2, order + 2):
        length = last(order, r) + 1
        lower = [scaled[0], *c[1:]]
        parts = (
            math.comb(r - 1, i - 1) * times(lower[i - 1], scaled[r - i - 1][:length]) for i in range(1, r)
        )
        c.append(scaled[r - 1] - sum(parts))

    kinked = jnp.any(table.jumps != 0, -1)
    cut = jnp.min(jnp.where(kinked, jnp.abs(table.kinks), jnp.inf))
    smooth = jnp.minimum(table.crossover[1], cut**2 / (2 * CUT_DECAY)) > K
    j = np.arange(2, 2 * order + 1, dtype=K.dtype)[:, None]
    curved = (K * (K / unit))[None] * jnp.stack(curvatures) / (j * (j - 1))
    c[0] = c[0].at[2:].set(jnp.where(smooth[None], curved, c[0][2:]))
    size = jnp.stack([jnp.abs(row[0]) ** (1 / r) for r, row in enumerate(scaled, 1)]).max(0)
    # F − F₀ has the round-off of F, unless all that matters of it is the series at 0
    coarse = jnp.where(K > EXACT_BELOW, EPS * jnp.abs(table.centres[0]) / unit, 0.0)
    error = [
        math.factorial(r - 1) * size ** (r - 1) * (16 * info.eps * size + coarse) for r in range(1, order + 2)
    ]
    growing = np.arange(1, 2 * order + 2, dtype=K.dtype)[None, :, None]
    error = jnp.stack(error)[:, None] * growing * needed(order, K.dtype)
    # ⟨|F⁗h|⟩² ≤ ⟨F⁗²⟩⟨h²⟩, and ⟨h_j²⟩ ≤ 1
    terms = jnp.minimum(table.curvatures, float(info.max) ** 0.4)
    curvature = K * (K / unit) * jnp.sqrt(jnp.matmul(first_weight, terms**2, precision=HIGHEST))
    of_terms = 16 * info.eps * curvature[None] / (j - 1) + _of_kinks(table, K, j) / unit[None]
    fine = jnp.where(smooth[None], of_terms, error[0, 2:])
    error = error.at[0, 2:].set(fine).at[0, :2].set(16 * info.eps * jnp.abs(c[0][:2]))
    overflow_z = jnp.min(jnp.where(large, table.z, jnp.inf))
    whole = [jnp.pad(row, ((0, 2 * order + 1 - len(row)), (0, 0))) for row in c]
    return Cumulants(jnp.stack(whole), jax.lax.stop_gradient(error), overflow_z > UNDERFLOW_U * jnp.sqrt(K))


def _of_kinks(table: Table, K: jax.Array, j: np.ndarray) -> jax.Array:
    """An upper limit of what kinks far out add to Kʲ/j! dʲ⟨F⟩/dKʲ, (j, K), and ¼⟨F⁗h⟩ leaves out.

    The jump of F⁽ᵏ⁾ at c adds Kʲ/(2ʲj!) p⁽²ʲ⁻¹⁻ᵏ⁾(c), and |p⁽ᵐ⁾(c)| < (c/K)ᵐ p(c) beyond the zeros of He_m.
    """
    c = jnp.abs(table.kinks)[None]
    x = jnp.where(c > 0, c * (c / K[:, None]) / 2, jnp.inf)  # (K, kinks)
    sizes = [jnp.abs(jump)[None] * c**k * (2 * x) ** -(k + 0.5) for k, jump in enumerate(table.jumps.T)]
    jumps = jnp.stack(sizes).sum(0)
    reached, j = x < MAX_HALF_U2, j[..., None]
    some = jnp.where(reached, x, 1.0)[None]
    each = jumps[None] * jnp.exp(j * jnp.log(some) - some - jax.lax.lgamma(j + 1))
    return jnp.sum(jnp.where(reached[None], each, 0.0), -1) / math.sqrt(2 * math.pi)
