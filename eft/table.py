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
from jax.custom_derivatives import SymbolicZero

from eft.accuracy import (
    BEYOND,
    EDGE,
    GRID,
    SETTLED,
    SLOPE,
    Accuracy,
    error_at,
    measured,
    share,
    slope_mismatch,
)
from eft.derivatives import Array, Function, Sampler, is_traced, leibniz
from eft.gaussian import WINDOW, half_line
from eft.limits import DISTANCE, Limits, Points, exponent, limits, numpy_of, points
from eft.moments import Moments

Derivatives = Callable[[Any], tuple[Any, ...]]

HIGHEST = jax.lax.Precision.HIGHEST

RUN = 32
"""Terms that are summed one after the other in float32."""

PAD = 256
"""The nodes of a function of the user's are filled up to a multiple of it, so that few shapes are compiled."""

HALF = 0.4999
"""a of σ ~ |z−c|^{−a} from which on σ² cannot be integrated."""

USED = ((0,), (1,), (1, 2, 3, 4, 5), (7, 9), (6,), (8, 10))
"""The columns on which g, ⟨σ⁴⟩, var, g′, ⟨σ′²⟩ and g″ stand."""


class Table(NamedTuple):
    """An activation at the nodes, and what its kinks add. The mean over the rules is taken."""

    z: Array  # (rules, nodes) on the half line
    v: Array  # (rules, nodes) weights
    columns: Array  # (rules, nodes, 11): f(z) + f(−z) for the integrands f of `_integrands`, 0 if not finite
    bounded: Array  # (6,) for each moment the smallest |z| at which an integrand is not finite, or inf
    last: Array  # (6,) the largest weight × integrand just before
    kinks: Array  # (kinks,) 0 and where σ or a derivative jumps
    jumps: Array  # (kinks, 4) [F]_c, [F′]_c, [F″]_c, [F‴]_c
    infinite: Array  # (6,) 1 for each moment that is infinite at every K, else 0
    near: Array  # (2,) the K below which g′ and g″ are taken from F″ and F⁗
    rough: Array  # () 1 if F′ has no limit at some kink, so that F″ cannot be integrated, else 0
    edges: Array  # (2, 6, 4): q, a, b and misfit of `_leading_powers`, at either end of the window
    centres: Array  # (2,) F₀ = F(0), and F_∞ where F has a limit far out (else F₀)
    centred: Array  # (rules, nodes, 2, 2) F less either centre, at −z and at z
    accuracy: Accuracy  # the relative error at every scale, and its cause

    PER_RULE = ("z", "v", "columns", "centred")

    def part(self, mask: np.ndarray) -> "Table":
        """What some of the nodes contribute at most."""
        columns = numpy_of(self.columns).abs(self.columns)
        return self._replace(
            v=self.v * mask, columns=columns, jumps=0 * self.jumps, bounded=np.full(len(USED), np.inf)
        )


class Sampled(Protocol):
    """What a table is made from."""

    @property
    def kinks(self) -> tuple[float, ...]: ...
    @property
    def resolved(self) -> bool: ...
    @property
    def reach(self) -> float: ...
    @property
    def fn(self) -> Function: ...
    def derivatives(self, z: jax.Array, /) -> tuple[jax.Array, ...]: ...


class Nodes(NamedTuple):
    """Where an activation is looked at, and what it gives there."""

    z: np.ndarray  # (rules, nodes)
    v: np.ndarray
    at_kinks: Points
    kinks: np.ndarray  # (kinks,) 0 among them
    zero: int  # which of them is 0
    kink_values: Any  # (orders, 3, 2, kinks)
    left: Any  # (orders, rules, nodes) at −z
    right: Any  # at z

    @property
    def size(self) -> Any:
        """The largest |σ| at |z| ≤ 1, but for next to 0."""
        xp = numpy_of(self.left)
        near = (self.z > 0.1) & (self.z <= 1.0)
        values = xp.where(near, xp.maximum(xp.abs(self.left[0]), xp.abs(self.right[0])), 0.0)
        return xp.max(xp.where(xp.isfinite(values), values, 0.0))


def nodes(act: Sampled, derivatives: Derivatives, rules: int) -> Nodes:
    """σ, σ′, … at the nodes and at the kinks. `derivatives` is a `Sampler`, unless σ closes over traced values."""
    dtype = np.dtype(np.float64 if isinstance(derivatives, Sampler) else jnp.result_type(float))
    kinks = np.array(sorted({0.0, *act.kinks}), dtype)
    finer = 1.0 if act.resolved else FINER
    each = _equally_long([half_line(act.kinks, k / rules, finer) for k in range(rules)])
    z, v = (np.stack(rows).astype(dtype) for rows in zip(*each, strict=True))
    at_kinks = points(kinks)
    where = np.concatenate([at_kinks.z.ravel(), -z.ravel(), z.ravel()])
    found = derivatives(where if isinstance(derivatives, Sampler) else jnp.asarray(where))
    s = numpy_of(found[0]).stack(found)
    cuts = np.cumsum([at_kinks.z.size, z.size])
    parts = numpy_of(s).split(s, cuts, axis=1)
    shapes = at_kinks.z.shape, z.shape, z.shape
    values, left, right = (part.reshape(-1, *shape) for part, shape in zip(parts, shapes, strict=True))
    return Nodes(z, v, at_kinks, kinks, int(np.abs(kinks).argmin()), values, left, right)


FINER = 1e-4
"""A function of the user's may have structure at a kink, or in its place, down to 1e-7 of the kink."""

RULES = (6, 24)
"""How many rules are tried, unless one is known to resolve the activation."""


class Kind(NamedTuple):
    """What a table is made for."""

    assemble: Callable  # (nodes, resolved, largest number) → table
    sums: Callable  # (table, K) → expectations
    units: Callable  # (expectations, K) → what their errors are relative to
    doubts: Callable  # (activation, nodes, table) → [(cause, error)]


def built(act: Sampled, derivatives: Derivatives, kind: Kind, dtype) -> Any:
    """A table by one rule where that resolves the activation, else by as many as are needed.

    It is made in float64, whatever the precision wanted, and by NumPy, so that nothing but the activation
    itself is compiled; by JAX where the activation closes over traced values.
    """
    traced = is_traced(act.fn)
    sample = derivatives if traced else Sampler(derivatives, act.kinks)
    with np.errstate(all="ignore"):
        # more rules do not help against kinks that are not known
        tried = (1,) if act.resolved else RULES[:1] if traced or act.reach < np.inf else RULES
        for rules in tried:
            at = nodes(act, sample, rules)
            made = kind.assemble(at, act.resolved, float(jnp.finfo(dtype).max))
            if act.resolved:
                break
            doubts = functools.partial(kind.doubts, act, at)
            found = measured(made, kind.sums, kind.units, doubts, last=rules == tried[-1])
            if found is not None:
                made = found
                break
        made = made._replace(edges=edges(kind.sums, made))
        return jax.tree.map(
            lambda a: jnp.asarray(a if isinstance(a, jax.Array) else np.asarray(a, dtype)), made
        )


def _equally_long(rules: list) -> list:
    """The rules, the shorter ones with more nodes of weight 0."""
    longest = max(len(z) for z, _ in rules)
    longest += -longest % PAD if len(rules) > 1 else 0
    return [
        (np.pad(z, (0, longest - len(z)), mode="edge"), np.pad(v, (0, longest - len(v)))) for z, v in rules
    ]


def table(act: Sampled, dtype) -> Table:
    """The table of an activation."""
    return built(act, act.derivatives, Kind(_assemble, _sums, _units, _doubts), dtype)


def _assemble(at: Nodes, resolved: bool, most: float) -> Table:
    xp = numpy_of(at.left)
    F_left, F_right, F_kinks = (
        xp.stack(leibniz(tuple(s), tuple(s))) for s in (at.left, at.right, at.kink_values)
    )
    F, s = limits(at.at_kinks, F_kinks, at.size**2), limits(at.at_kinks, at.kink_values, at.size)
    centre = centres(F, at.zero, F_left, F_right)
    apart = differences(centre, F, at, F_left, F_right)
    rough = ~F.exists & (not resolved)
    columns = _integrands(-at.z, at.left, F_left, apart[0], rough[1].any())
    columns = columns + _integrands(at.z, at.right, F_right, apart[1], rough[1].any())
    columns, bounded, last = finite_columns(columns, at, USED, most)
    a0, a1 = (exponent(at.at_kinks, d, at.size) * (not resolved) for d in at.kink_values[:2])
    jumps = xp.any(s.jumps[0] != 0)
    diverges = xp.stack([a0, 2 * a0, 2 * a0, a0, xp.where(jumps, 1.0, a1), a0]) >= HALF
    near = [_near(at.kinks, rough[: k + 1].any(0)) for k in (1, 3)]
    made = Table(
        at.z, at.v, columns, bounded, last, at.kinks, F.jumps[:4].T, diverges * 1.0, xp.stack(near),
        rough[1].any() * 1.0, np.zeros((2, len(USED), 4)), xp.stack(centre),
        xp.stack([xp.stack(side, -1) for side in apart], -2), Accuracy.exact(),
    )  # fmt: skip
    return made if resolved else made._replace(near=xp.minimum(made.near, _where_forms_cross(made)))


WORSE = 0.1
"""The share of one form's terms, in absolute values, that those of the other must stay below to replace it."""


def _where_forms_cross(made: Table) -> Any:
    """The K from which on ½⟨F″⟩ cancels much more than ⟨zF′⟩/2K, and ¼⟨F⁗⟩ than its other form."""
    xp = numpy_of(made.columns)
    K = GRID.astype(made.z.dtype)
    every = made.part(np.ones(made.z.shape))
    crossed = [other < WORSE * one for one, other in (_slopes(every, K), _bends(every, K))]
    return xp.stack([xp.min(xp.where(c, K, np.inf)) for c in crossed])


def _near(kinks: np.ndarray, rough) -> Any:
    """The K below which a form with F″ or F⁗ holds: 1, or so small that the Gaussian sees no rough kink."""
    xp = numpy_of(rough)
    return xp.min(xp.where(rough, np.minimum(1.0, kinks**2 / 1600), 1.0))


def finite_columns(columns, at: Nodes, used: tuple, most: float) -> tuple[Any, Any, Any]:
    """The columns, 0 where they are not finite; and for each moment, from which |z| on; its last terms before."""
    xp = numpy_of(columns)
    finite = xp.abs(columns) <= most
    columns = xp.where(finite, columns, 0.0)
    # next to a kink a derivative may be infinite: what is left out there is accounted for as an edge
    far = ~_beside_kinks(at.z, at.kinks, DISTANCE)
    bounded, last = [], []
    for indices in used:
        bad = ~finite[..., list(indices)].all(-1) & far
        first = xp.min(xp.where(bad, at.z, np.inf))
        terms = xp.abs(at.v[..., None] * columns[..., list(indices)]).max(-1)
        bounded.append(first)
        late = xp.max(xp.where((at.z < first) & (at.z > LATE * first), terms, 0.0))
        last.append(xp.minimum(late, most))
    return columns, xp.stack(bounded), xp.stack(last)


ROUGHLY = 1e-11
"""The accuracy of a sum, relative to that of the absolute values, when it is no more than a check."""

UNRESOLVED = 2e-14
"""|z−c|/|c| below which floating-point numbers are too coarse for a slope that grows without bound."""

LATE = 0.8
"""Terms at |z| beyond this share of where the integrand ends say whether it has died out by then."""


def _beside_kinks(z: np.ndarray, kinks: np.ndarray, distance: float) -> np.ndarray:
    """The nodes nearer to a kink than that, relative to it; at 0 the innermost ones."""
    places = np.unique(np.abs(kinks))
    return np.any([np.abs(z - c) <= (distance * c if c else 10 * z.min()) for c in places], axis=0)


def _doubts(act: Sampled, at: Nodes, made: Table) -> list:
    """What the spread of the rules cannot see."""
    jumps = limits(at.at_kinks, at.kink_values, at.size).jumps[0]
    K = GRID.astype(at.z.dtype)
    moments = _sums(made, K)
    missed = slope_mismatch(at, jumps, moments[4])
    unbounded = exponent(at.at_kinks, at.kink_values[1], at.size) > 0.9  # then ⟨σ′⟩ does not exist
    missed = numpy_of(missed).where(unbounded, 0.0, missed)
    apart = _forms_apart(made, K, _units(moments, K))
    return [(SLOPE, missed), (SLOPE, apart), *edge_doubts(act, at, made, _sums, _units)]


def _forms_apart(made: Table, K, units) -> Any:
    """How far the two forms of g′, and those of g″, are apart beyond noise: F″ misses a kink, zF′ does not."""
    xp = numpy_of(made.columns)
    every = np.ones(made.z.shape)
    missed = []
    for near, form in enumerate((_slopes, _bends)):
        one, other = form(made, K)
        noise = ROUGHLY * sum(form(made.part(every), K))
        size = units[(3, 5)[near]]
        difference = (xp.abs(one - other) - noise) / xp.where(size > 0, size, 1.0)
        # farther out F⁗ is all rounding
        both = (made.near[near] > K) | (made.near[near] >= 1) & ((np.inf, 2.0)[near] >= K)
        missed.append(xp.where((difference > 0) & both & xp.isfinite(size), difference, 0.0))
    return xp.maximum(*missed)


def edge_doubts(act: Sampled, at: Nodes, made: Any, sums: Callable, units: Callable) -> list:
    """What comes from next to the kinks, where z is too coarse, and from beyond the kinks that are known."""
    singular = functools.reduce(
        operator.or_, (exponent(at.at_kinks, d, at.size) > 0.05 for d in at.kink_values[:3])
    )
    beside = _beside_kinks(made.z, made.kinks, UNRESOLVED)
    edge = share(made, beside & singular, sums, units)
    found = [(EDGE, numpy_of(edge).where(edge > SETTLED, edge, 0.0))]
    if act.reach < np.inf:
        found.append((BEYOND, share(made, made.z > act.reach, sums, units)))
    return found


def centres(F: Limits, zero: int, left, right) -> tuple:
    """F₀ and F_∞, from F just below and above 0 and at ∓z; F₀ again where F is large far out."""
    xp = numpy_of(left)
    F0 = (F.below[0, zero] + F.above[0, zero]) / 2
    far_out = (left[0, 0, -1] + right[0, 0, -1]) / 2
    return F0, xp.where(xp.abs(far_out) < 1e3, far_out, F0)


def differences(centre, F: Limits, at: Nodes, left, right) -> tuple[tuple, tuple]:
    """F − F₀ and F − F_∞ at −z, and at z, so that neither cancels where it is small.

    From F, F′, … F⁗ on either side of 0, and at ∓z. F₀ is the mean of both sides, F_∞ that far out.
    """
    xp = numpy_of(left)
    F0, far = centre
    step = F.jumps[0, at.zero] / 2
    regular = F.exists[:4, at.zero].all()
    near = (at.z < np.finfo(at.z.dtype).eps ** 0.2) & (F0 != 0) & regular
    found = []
    for y, values, a0, side in ((-at.z, left[0], -step, F.below), (at.z, right[0], step, F.above)):
        _, a1, a2, a3, a4 = side[:, at.zero]
        y = xp.where(near, y, 0.0)
        # F − F(0) from the series at that side of 0, where the difference would cancel
        series = a0 + y * (a1 + y / 2 * (a2 + y / 3 * (a3 + y / 4 * a4)))
        from_zero = xp.where(near & xp.isfinite(series), series, values - F0)
        found.append((from_zero, xp.where(far == F0, from_zero, values - far)))
    return found[0], found[1]


def _integrands(z, s, F, centred, rough) -> Any:
    """F, F², F−F₀, (F−F₀)², F−F_∞, (F−F_∞)², σ′², ½F″, ¼F⁗, ½zF′, ¼(z²F″−zF′), stacked last.

    The last is ¼z³F′ where F″ cannot be integrated.
    """
    xp = numpy_of(s)
    F, F1, F2, _, F4 = F
    from_zero, from_far = centred
    moments = (F, F * F, from_zero, from_zero**2, from_far, from_far**2, s[1] ** 2)
    slopes = (F2 / 2, F4 / 4, z * F1 / 2, xp.where(rough, z**3 * F1, z * z * F2 - z * F1) / 4)
    return xp.stack(moments + slopes, axis=-1)


def _at_kinks(table: Table, K) -> tuple:
    """What the jumps of F, F′, … at the kinks c add to ½⟨F″⟩, ⟨zF′⟩/2K, ¼⟨F⁗⟩ and ⟨z²F″−zF′⟩/4K².

    F⁽ᵏ⁾ contains [F⁽ᵏ⁻¹⁻ʲ⁾]_c δ⁽ʲ⁾(z−c), and ∫δ⁽ʲ⁾p = (−1)ʲp⁽ʲ⁾(c), p′ = −vp, p″ = (v²−1/K)p, … with v = c/K.
    In the form for rough kinks F″ does not occur, nor [F′].
    """
    xp = np if numpy_of(table.jumps) is np and numpy_of(K) is np else jnp
    F, F1, F2, F3 = table.jumps.T
    K = K[..., None]
    v, p = table.kinks / K, weights(table.kinks, K)
    rows = (
        (F1 + F * v) / 2,
        F * v / 2,
        (F3 + F2 * v + F1 * (v * v - 1 / K) + F * v * (v * v - 3 / K)) / 4,
        (F1 * (1 - table.rough) * v * v + F * v * (v * v - 3 / K)) / 4,
    )
    return tuple(xp.sum(xp.where(p > 0, row * p, 0.0), -1) for row in rows)


def weights(z, K):
    """p_K(z), for NumPy as for JAX."""
    xp = numpy_of(K)
    return xp.exp(-z * (z / K) / 2) / (math.sqrt(2 * math.pi) * xp.sqrt(K))


def product(a, b):
    """The product of matrices in full precision (an accelerator would take less for float32)."""
    if numpy_of(a) is np and numpy_of(b) is np:
        return a @ b
    if jnp.result_type(a, b) == jnp.float32:  # sums of sums: rounding grows with the root of their length
        a, b = (jnp.concatenate([c, jnp.zeros_like(c)[..., : -c.shape[-1] % RUN]], -1) for c in (a, b.T))
        parts = jnp.einsum(
            "...rj,krj->...rk", *(c.reshape(*c.shape[:-1], -1, RUN) for c in (a, b)), precision=HIGHEST
        )
        return parts.sum(-2)
    return jnp.matmul(a, b, precision=HIGHEST)


def summed(made: Any, K) -> Any:
    """Σ v p_K × the columns, the columns first."""
    rules = len(made.z)
    z, v = made.z.reshape(-1), made.v.reshape(-1)
    columns = made.columns.reshape(-1, made.columns.shape[-1])
    sums = product(v * weights(z, K[..., None]), columns)
    xp = numpy_of(sums)
    return xp.moveaxis(sums if rules == 1 else sums / rules, -1, 0)


def without_lost(made: Any, K, moments, size) -> Any:
    """The moments, infinite where they are, or where terms that matter are not finite."""
    xp = numpy_of(moments)
    shape = (-1, *(1,) * K.ndim)
    bounded, last, infinite = (a.reshape(shape) for a in (made.bounded, made.last, made.infinite))
    finite = xp.isfinite(bounded)
    end = xp.where(finite, bounded, 1.0)
    tail = last * xp.where(finite, weights(LATE * end, K), 0.0)
    beyond = finite & (end < 38 * xp.sqrt(K)) & (tail > 1e-3 * np.finfo(moments.dtype).eps * size)
    return xp.where(beyond | (infinite > 0), np.inf, moments)


def _sums(table: Table, K) -> Any:
    """g, ⟨σ⁴⟩, var, g′, ⟨σ′²⟩, g″ for K in the window, stacked first.

    g′ = ½⟨F″⟩ = ⟨zF′⟩/2K and g″ = ¼⟨F⁗⟩ = ⟨z²F″ − zF′⟩/4K²: the first form where K < 1, since the
    second cancels as K → 0, and the second beyond, where the first cancels. g″ = ⟨z³F′/K − 3zF′⟩/4K² where F′
    has no limit at a kink. The variance is ⟨(F−a)²⟩ − ⟨F−a⟩² with the a, F₀ or F_∞, that is nearer to the mean.
    """
    sums = summed(table, K)
    xp = numpy_of(sums)
    g, g4, d0, q0, d1, q1, slope2, *_ = sums
    var = xp.where(xp.abs(d0) <= 2 * xp.abs(d1), q0 - d0 * d0, q1 - d1 * d1)
    slopes, bends = _slopes(table, K, sums), _bends(table, K, sums)
    dg, d2g = (xp.where(near > K, *forms) for near, forms in zip(table.near, (slopes, bends), strict=True))
    moments = xp.stack([g, g4, var, dg, slope2, d2g])
    return without_lost(table, K, moments, _units(moments, K))


def _slopes(table: Table, K, sums: Any = None) -> tuple[Any, Any]:
    """g′ = ½⟨F″⟩ and ⟨zF′⟩/2K."""
    sums = summed(table, K) if sums is None else sums
    kinks = _at_kinks(table, K)
    return sums[7] + kinks[0], sums[9] / K + kinks[1]


def _bends(table: Table, K, sums: Any = None) -> tuple[Any, Any]:
    """g″ = ¼⟨F⁗⟩ and ⟨z²F″ − zF′⟩/4K², or ⟨z³F′/K − 3zF′⟩/4K²."""
    sums = summed(table, K) if sums is None else sums
    xp, kinks = numpy_of(sums), _at_kinks(table, K)
    bend = xp.where(table.rough > 0, sums[10] / K - 1.5 * sums[9], sums[10])
    return sums[8] + kinks[2], bend / K**2 + kinks[3]


def _units(moments, K) -> Any:
    """What the errors of the moments are relative to: |g|, ⟨σ⁴⟩, ⟨σ⁴⟩, g/K, ⟨σ′²⟩, g/K², or more."""
    xp = numpy_of(moments)
    g, g4 = xp.abs(moments[0]), moments[1]
    units = xp.stack([g, g4, g4, g / K, xp.zeros_like(g), g / K**2])
    return xp.maximum(xp.abs(moments), xp.where(xp.isfinite(units), units, 0.0))


def edges(sums: Callable, made: Any) -> Any:
    """`_leading_powers` at either end of the window."""
    ends = zip(WINDOW, (4.0, 0.25), strict=True)
    found = [_leading_powers(sums, made, K, step) for K, step in ends]
    return numpy_of(found[0]).stack(found)


def _leading_powers(sums: Callable, made: Any, K: float, step: float) -> Any:
    """q, a, b of M = x^q (a + b x^{±1/2}), x = K over an end of the window, and the misfit; shape (…, 4).

    One-sided Taylor series at 0 and power laws at infinity have powers q of half an integer.
    """
    x = step ** np.arange(3, dtype=made.z.dtype)
    M = sums(made, K * x)
    xp = numpy_of(M)
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
        misfit = jnp.where(growth > 0, misfit, 0.0)
        return power * (a + b * correction), jnp.max((misfit * growth)[:5], axis=0)

    below, error_below = outside(down, corrections[0], table.edges[0])
    above, error_above = outside(up, corrections[1], table.edges[1])
    inside = sums(table, jnp.clip(K, low, high))
    return jnp.where(low > K, below, jnp.where(high < K, above, inside)), error_below + error_above


BLOCK = 512
"""Values of K that are integrated at a time: bounds the memory, and keeps it in cache."""


def _from_table(table: Table, K: jax.Array) -> Moments:
    moments, extrapolation = everywhere(_sums, table, K)
    error = jnp.maximum(error_at(table.accuracy, K), extrapolation)
    return Moments._make([*moments, jnp.where(lost(table, moments, K), jnp.inf, error)])


def lost(made: Any, moments: jax.Array, K: jax.Array) -> jax.Array:
    """Where a moment in the window is no number though it should be."""
    finite = jnp.isfinite(moments) | (made.infinite.reshape(-1, *(1,) * K.ndim) > 0)
    return ~jnp.all(finite, axis=0) & (WINDOW[0] <= K) & (WINDOW[1] >= K)


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
