"""The critical points of activations and the effect of depth there: the universality classes.

A kernel K* is critical if K* = C_b + C_W g(K*) is a fixed point and χ∥ = χ⊥ = 1: neither the size of a
signal nor the angle between two grows or decays exponentially with depth (PDLT ch. 5). The condition
χ∥ = χ⊥ is independent of C_W, so K* is found first; then

    C_W = 1/⟨σ′²⟩_{K*},   C_b = K* − C_W g(K*) ≥ 0.

With a skip connection γ < 1, K* is the same, and C_W, C_b and the coefficients of the flow near K* are those
of the plain network times 1 − γ², so that the powers of the depth are the same.
"""

import functools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from eft.activations.analysis import analysed, sampler_of
from eft.activations.definition import Activation, ActivationLike
from eft.activations.one_sided import jumps_at
from eft.criticality.basins import RELIABLE_ERROR
from eft.criticality.candidates import (
    FLAT,
    HALF_INTEGER,
    NAN,
    NONE,
    SCALE_INVARIANT,
    AtZero,
    Candidate,
    at_zero,
    gap,
    inside,
)
from eft.criticality.contraction import one_contraction
from eft.criticality.moment_grid import MomentGrid, in_float64, moments_on_grid, sampled
from eft.criticality.near_zero import Origin, origin
from eft.criticality.phases import curve_of
from eft.criticality.roots import signs
from eft.gaussian.accuracy import cause_at
from eft.gaussian.expectation import WINDOW
from eft.records import METHODS

NO_ADVICE = (
    "none: signals grow or decay exponentially with depth for all C_W and C_b; keep the network shallow"
)
UNKNOWN_ADVICE = "not known, see the notes"

MIN_GROWTH = 0.5 + 1e-6
"""p up to which ⟨σ′²⟩ is infinite for σ ~ |z|^p at 0, with the error of a measured power."""


class CriticalPoint(NamedTuple):
    """Where to initialize: at this C_W and C_b the kernel K* is a fixed point with χ∥ = χ⊥ = 1.

    `K`: K*.
    `cw`, `cb`: C_W and C_b.
    """

    K: float
    cw: float
    cb: float

    __repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS


class Universality(NamedTuple):
    """The universality class of an activation: its preferred critical point, and all others.

    `name`: the name of the activation.
    `best`: the preferred critical point; a Candidate of kind "none" if there is none.
    `reason`: why it is of this kind, or why there is no critical point.
    `advice`: which initialization to use.
    `candidates`: all critical points, the preferred one first.
    `decided`: whether everything that could change the kind was decided.
    `notes`: further findings, and what remains unknown.

    The fields of `best` are attributes of this record too: `kind`, `K` = K*, `cw` = C_W, `cb` = C_b, `a1`,
    `b1`, `c`, `stability`, `exponent_K`, `exponent_K2`, `basin`.
    """

    name: str
    best: Candidate
    reason: str
    advice: str
    candidates: tuple[Candidate, ...]
    decided: bool
    notes: tuple[str, ...]

    __repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS

    @property
    def kind(self) -> str:
        return self.best.kind

    @property
    def K(self) -> float:
        return self.best.K

    @property
    def cw(self) -> float:
        return self.best.cw

    @property
    def cb(self) -> float:
        return self.best.cb

    @property
    def a1(self) -> float:
        return self.best.a1

    @property
    def b1(self) -> float:
        return self.best.b1

    @property
    def c(self) -> float:
        return self.best.c

    @property
    def stability(self) -> str:
        return self.best.stability

    @property
    def stable(self) -> bool:
        """Whether no K near K* leaves it."""
        return self.best.stability in ("stable", "neutral")

    @property
    def exponent_K(self) -> float:
        return self.best.exponent_K

    @property
    def exponent_K2(self) -> float:
        return self.best.exponent_K2

    @property
    def basin(self) -> tuple[float, float]:
        return self.best.basin

    @property
    def sure(self) -> bool:
        """The former name of `decided`."""
        return self.decided


NO_CANDIDATE = Candidate._make((NONE, *3 * (NAN,), NONE, *8 * (NAN,), (NAN, NAN), NAN))


@in_float64
def critical_point(act: ActivationLike, *, skip: ArrayLike = 0.0) -> CriticalPoint | None:
    """K*, C_W and C_b of the preferred critical point; None if there is none.

    A stable K* is preferred to a half-stable one, and that to an unstable one. See `classify` for the
    arguments, the accuracy and the errors raised.

    >>> point = eft.critical_point("gelu")
    >>> print(f"K = {point.K:.6g}, C_W = {point.cw:.6g}, C_b = {point.cb:.6g}")
    K = 3.56155, C_W = 1.98306, C_b = 0.172922
    """
    result = classify(act, skip=skip)
    return CriticalPoint(result.K, result.cw, result.cb) if result.candidates else None


@in_float64
def classify(act: ActivationLike, *, skip: ArrayLike = 0.0) -> Universality:
    """Every critical point of an activation, and the universality class of the preferred one.

    K* = 0 is read off the one-sided Taylor series at 0 and checked against the kernel at small K.
    K* > 0 are the sign changes of χ∥ − χ⊥, for K from 1e-16 to 1e16, that exceed its round-off error. K*,
    C_W and C_b have a relative error of about 1e-13: all is computed in float64, even if that is disabled.

    `act`: a name, an Activation or any function; undeclared kinks are searched for. If something remains
    undecided, `decided` is false and `notes` say what. `skip` = γ: z′ = γz + b + Wσ(z), with 0 ≤ γ < 1, for
    which C_W, C_b and a₁, b₁, … are 1 − γ² times those of the plain network.

    Raises TypeError or ValueError if `act` is not an activation, or is NaN at some |z| ≤ 40, and for γ ≥ 1,
    where no point is critical.

    >>> found = eft.classify("tanh")
    >>> print(f"{found.kind}: C_W = {found.cw:g}, C_b = {found.cb:g}, a1 = {found.a1:g}")
    K* = 0: C_W = 1, C_b = 0, a1 = -2
    """
    contracted = one_contraction(skip)
    return _classified(analysed(act), contracted)


class _Search(NamedTuple):
    """What `_classified` puts in words: the points of the plain network, even those with C_b < 0."""

    grid: MomentGrid
    near: Origin
    hopeless: str
    zero: AtZero | None
    inner: list[Candidate]
    open_: list[tuple[float, float]]


@functools.lru_cache(maxsize=64)
def _searched(act: Activation) -> _Search:
    grid = moments_on_grid(act)
    near = origin(sampler_of(act), float(np.finfo(float).tiny))
    hopeless = _hopeless(grid, near)
    if hopeless:
        return _Search(grid, near, hopeless, None, [], [])
    zero = at_zero(grid, near)
    return _Search(grid, near, "", zero, *inside(grid, zero.settled_below))


def _contracted(point: Candidate, contracted: float) -> Candidate:
    """The critical point with a skip, where K′ − K and χ − 1 are 1 − γ² times as large."""
    scaled = ("cw", "cb", "a", "b", "a1", "b1", "c")
    return point._replace(**{name: contracted * getattr(point, name) for name in scaled})


@functools.lru_cache(maxsize=64)
def _classified(act: Activation, contracted: float) -> Universality:
    grid, near, hopeless, zero, inner, open_ = _searched(act)
    if zero is None:
        rough = ["σ is not differentiable at 0"] if np.isnan(near.A2) and np.isnan(near.growth) else []
        return _universality(grid, [], hopeless, rough, [], NO_ADVICE)
    inner = [_contracted(point, contracted) for point in inner]
    at_origin = [_contracted(point, contracted) for point in zero.points]
    points = sorted([*at_origin, *(point for point in inner if point.cb >= 0)], key=_rank)
    caveats, notes = [*zero.caveats], [*_kinks_note(act)]
    if not sampled(act, np.ones(1)).error[0] <= RELIABLE_ERROR:
        caveats.append(f"the Gaussian expectations are not known: {cause_at(1.0, grid.accuracy)}")
    if act.reach < np.inf:
        caveats.append(
            f"{act.name} has too many kinks; only those with |z| < {act.reach:.4g} are taken into account"
        )
    if open_:
        # a critical point at larger K could not displace a stable one, but it may end its basin
        points = [point._replace(basin=_known_basin(point, open_)) for point in points]
        safe = points and _rank(points[0])[0] == 0 and open_[0][0] > points[0].K
        ranges = ", ".join(f"from {low:.2g} to {high:.2g}" for low, high in open_[:3])
        (notes if safe else caveats).append(
            f"whether χ∥ = χ⊥ somewhere at K {ranges} is not known: the Gaussian expectations are not "
            "accurate there (oscillations, a kink or structure far from 0, not declared?)"
        )
    if points:
        return _universality(grid, points, _why(points[0], near), caveats, notes, _advice(points[0]))
    why_none = _why_none(grid, near, zero.why_not, inner, contracted)
    advice = UNKNOWN_ADVICE if caveats else _second_best(grid, contracted)
    return _universality(grid, [], why_none, caveats, notes, advice)


def _kinks_note(act: Activation) -> list[str]:
    """A note on undeclared kinks, if any were found."""
    if not act.found:
        return []
    return [f"kinks found at z = {', '.join(f'{c:.6g}' for c in act.found)}"]


def _known_basin(point: Candidate, open_: list[tuple[float, float]]) -> tuple[float, float]:
    """The basin, cut off where the moments are not known."""
    low, high = point.basin
    below = max((end for _, end in open_ if end < point.K), default=0.0)
    above = min((start for start, _ in open_ if start > point.K), default=np.inf)
    return max(low, below), min(high, above)


def _rank(point: Candidate) -> tuple[int, float]:
    order = {"stable": 0, "neutral": 0, "from below": 1, "from above": 1, "unstable": 2}
    return order[point.stability], point.K


def _universality(grid: MomentGrid, candidates, reason, caveats, notes, advice) -> Universality:
    best = candidates[0] if candidates else NO_CANDIDATE
    every = tuple(candidates)
    return Universality(grid.act.name, best, reason, advice, every, not caveats, (*notes, *caveats))


# --- in words -----------------------------------------------------------------------------------


def _hopeless(grid: MomentGrid, near: Origin) -> str:
    """Why no C_W can make χ⊥ = 1, if none can."""
    m = grid.moments
    finite = np.isfinite(m.g)
    if not finite.any():
        return ""
    if not np.any(m.slope2[finite]):
        value = float(np.asarray(grid.act.fn(jnp.zeros(()))))
        return f"σ is constant, {value:.6g}: χ⊥ = 0, every input becomes the same"
    if near.growth <= MIN_GROWTH:
        return f"σ ~ |z|^{near.growth:.3g} at 0: ⟨σ′²⟩, and with it χ⊥, is infinite"
    if np.isinf(m.slope2[finite]).all():
        places = tuple(sorted({0.0, *grid.act.kinks}))
        jumps = jumps_at(grid.act.fn, places, grid.x.dtype)
        if any(jumps):
            where = ", ".join(f"{c:.6g}" for c, jump in zip(places, jumps, strict=True) if jump)
            return f"σ jumps at z = {where}: ⟨σ′²⟩, and with it χ⊥, is infinite"
    return ""


def _why(point: Candidate, near: Origin) -> str:
    if point.kind == SCALE_INVARIANT:
        below, above = near.slope
        return f"σ = {above:.6g} z for z > 0, {below:.6g} z for z < 0: K′ = K at every K"
    if point.kind == HALF_INTEGER:
        what = "σ′" if near.slope[0] != near.slope[1] else "σ″"
        return f"{what} jumps at 0: K′ = K + cK^(3/2), c = {point.c:.6g}"
    if point.kind == FLAT:
        way = {"stable": "falls", "unstable": "grows"}.get(point.stability, "does not move")
        return f"σ is linear next to 0, all coefficients vanish: K {way}, slower than any power of depth"
    if point.K == 0 and point.order == 1:
        return f"σ(0) = 0, σ′(0) ≠ 0: K′ = K + a₁K², a₁ = {point.a1:.6g}"
    if point.K == 0:
        return f"σ(0) = 0, σ′(0) ≠ 0, a₁ = 0: K′ = K + a K^{1 + point.order:.3g}, a = {point.a:.6g}"
    return f"χ∥ = χ⊥ at K* = {point.K:.6g}, with C_b ≥ 0"


def _why_none(
    grid: MomentGrid, near: Origin, no_zero: str, negative: list[Candidate], contracted: float
) -> str:
    m = grid.moments
    window = np.abs(grid.x) <= np.log(WINDOW[1])
    reliable = window & np.isfinite(m.dg) & (m.error <= RELIABLE_ERROR)
    with np.errstate(all="ignore"):
        ratio = (m.dg / m.slope2)[reliable]
    ratio = ratio[np.isfinite(ratio)]
    s = signs(*(a[reliable] for a in gap(grid)(grid.x)))
    reasons = []
    if no_zero.startswith("σ(0)") and near.sigma2 == 0 and near.A2 > 0 and near.slope[0] == near.slope[1]:
        cw, cb = (contracted * c for c in (1 / near.A2, -(near.value[1] ** 2) / near.A2))
        reasons.append(f"χ∥ = χ⊥ at K = 0, but there C_W = {cw:.6g} and C_b = {cb:.6g} < 0")
    for point in negative:
        reasons.append(f"χ∥ = χ⊥ at K = {point.K:.6g}, but there C_b = {point.cb:.6g} < 0")
    if not negative and len(ratio):
        which = "χ∥ > χ⊥" if s.sum() > 0 else "χ∥ < χ⊥"
        low, high = np.min(ratio), np.max(ratio)
        same = high - low < RELIABLE_ERROR * abs(high)
        span = f"= {low:.6g}" if same else f"between {low:.3g} and {high:.3g}"
        where = " > 0" if reasons else "" if reliable[window].all() else " that could be examined"
        reasons.append(f"{which} at every K{where} (χ∥/χ⊥ {span})")
    if no_zero:
        reasons.append(f"K* = 0 is not critical, since {no_zero}")
    return "; ".join(reasons)


def _second_best(grid: MomentGrid, contracted: float) -> str:
    """Advice if there is no critical point: where χ⊥ = 1, so that angles survive, although sizes do not."""
    edge = curve_of(grid, contracted)
    good = np.flatnonzero(np.abs(edge.chi_parallel) < 1)
    if not len(good):
        return NO_ADVICE
    i = good[np.abs(edge.chi_parallel[good]).argmax()]
    return (
        f"no critical point; at C_W = {edge.cw[i]:.4g}, C_b = {edge.cb[i]:.4g} angles survive (χ⊥ = 1) "
        f"while sizes are forgotten (χ∥ = {edge.chi_parallel[i]:.3g})"
    )


def _advice(point: Candidate) -> str:
    """Which initialization to use, for the last column of a table."""
    at = f"C_W = {point.cw:.6g}, C_b = {point.cb:.6g}"
    low, high = point.basin
    if point.kind == SCALE_INVARIANT:
        return f"{at}; any size of the input, which every layer keeps"
    if point.K == 0 and point.stability == "unstable":
        power = "K¹" if point.order == 1 else f"(K¹)^{point.order:.3g}"
        finite = 0 < point.order < np.inf
        limit = f"depth ≪ {1 / (point.order * point.a):.3g}/{power}" if finite else "little depth"
        return f"{at}, only with a first layer scaled to small K¹: {limit}; beyond that K diverges"
    if point.K == 0:
        within = "any K¹" if high == np.inf else f"K¹ < {high:.3g}"
        fall = f"as l^{point.exponent_K:.3g}" if point.exponent_K < 0 else "slower than any power of depth"
        return f"{at}; {within}, K falls {fall}"
    start = f"{at}, with a first layer scaled to K¹ = {point.K:.6g}"
    if point.stability == "unstable":
        return f"{start} exactly"
    if point.stability == "from above" and high == np.inf:
        return f"{start} or more: K returns to it from above only"
    return f"{start}: K returns to it from {low:.4g} < K¹ < {high:.4g} only"
