"""The critical points of an activation: K* = 0 from its Taylor series, K* > 0 from sign changes of χ∥ − χ⊥.

Near a critical point, with δ = K − K*, the flow is δ′ = δ + a δ^{1+m} and χ⊥ = 1 + b δ^m. If the point is
attractive, then at large depth l

    δ ~ (m|a|l)^{−1/m},   K_[2] ~ l^{−b/(ma)}   (PDLT ch. 5 for m = 1).
"""

from typing import NamedTuple

import numpy as np
from numpy.polynomial import Chebyshev

from eft.activations.analysis import sampler_of
from eft.criticality.basins import EPS, RELIABLE_ERROR
from eft.criticality.moment_grid import BLOCK_SIZE, NODES_PER_DECADE, MomentGrid, sampled
from eft.criticality.near_zero import DISTANCES, Origin
from eft.criticality.phases import NEGLIGIBLE_CB, ROOT_MARGIN, fixed_points_of
from eft.criticality.roots import Root, find_roots, signs
from eft.gaussian.expectation import WINDOW
from eft.records import METHODS

SCALE_INVARIANT = "scale-invariant"  # σ = a₊z for z > 0, a₋z for z < 0: every K is critical
ZERO = "K* = 0"  # K′ = K + a₁K² + …
HALF_INTEGER = "K* = 0, half-integer"  # σ′ or σ″ jumps at 0: K′ = K + cK^{3/2} + …
FLAT = "K* = 0, flat"  # σ is linear near 0: K′ − K is smaller than any power of K
HALF_STABLE = "half-stable"  # K* > 0, attractive from one side: δ′ = δ + a₁δ² + …
POSITIVE = "K* > 0"  # a K* > 0 with a₁ = 0
NONE = "none"
KINDS = (SCALE_INVARIANT, ZERO, HALF_INTEGER, FLAT, HALF_STABLE, POSITIVE, NONE)

NAN, INF = float("nan"), float("inf")

ROUNDING_ERROR = 4 * EPS
"""Estimated error of the moments up to which it is round-off, which is allowed for separately."""

GAP_ROUNDING = 64 * EPS
"""Round-off error of (χ∥ − χ⊥)/√(χ∥² + χ⊥²), of sums over thousands of nodes."""

FAST_GROWTH = 0.3
"""(χ∥ − χ⊥)/√(χ∥² + χ⊥²) at the last finite K from which χ∥ > χ⊥ beyond it too, if σ overflows there."""

FIT_HALF_WIDTH, FIT_DEGREE = 0.1, 12
"""Range in log K and degree of the polynomial that is differentiated for dχ⊥/dK."""

SAME_FIXED_POINT = 1e-4
"""Relative distance within which a fixed point is K* itself: a double root is known only to about √error."""

ZERO_ROUNDING = 8 * EPS
"""|σ(0)|, in units of the largest |σ| at |z| ≤ 1, up to which it is the round-off error of 0."""

EXCESS_ROUNDING = 8 * EPS
"""Round-off error of K′/K − 1 and χ⊥ − 1, per unit of 2 + |log K|, as of a power of K."""

STRAIGHT_ROUNDING = 1e3 * EPS
"""Relative deviation from a straight line on either side of 0 that round-off inside σ may cause."""

CHECKED_TERMS = np.array([1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10])
"""Sizes of the series' leading term at which the series and the kernel are compared, from the largest on."""

SERIES_TOLERANCE = 0.02
"""Relative difference allowed there: as K → 0 omitted terms fall below it, unlike a wrong coefficient."""

SERIES_NOISE = 0.1
"""Share of the series above which the allowed difference is too large for agreement to mean anything."""

FIT_EXCESS = 1e-7
"""|K′/K − 1| from which a power is fitted to it: seven digits above round-off."""

FIT_DECADES = np.array([0.0, 0.25, 0.5])
"""Decades above the first such K at which the excess is taken; its two slopes must agree for a power law."""

FIT_START = 0.5
"""Decades above the smallest K at which the sign of the excess is decided: below, round-off distorts it."""

STEADY_SLOPE = 0.05
"""Difference up to which the two slopes agree."""

HALF_INTEGER_SLOPE = 0.1
"""Twice the slope may deviate from an integer by this much to be rounded to it."""

MIN_SLOPE, FLAT_SLOPE = 0.1, 2.0
"""Powers below the first are not told from 0; an excess steeper than the second, and steepening, is flat."""


class Candidate(NamedTuple):
    """One critical point of an activation, and the flow near it.

    With δ = K − K*, the flow is δ′ = δ + a δ^{1+m} and χ⊥ = 1 + b δ^m to leading order.

    `kind`: one of `KINDS`.
    `K`: K*.
    `cw`, `cb`: C_W and C_b.
    `stability`: "stable", "unstable", "neutral", or attractive only "from below" or "from above".
    `order`: m; inf if δ′ − δ follows no power of δ, nan if it is unknown.
    `a`: the coefficient of δ^{1+m} in δ′.
    `b`: the coefficient of δ^m in χ⊥ − 1.
    `a1`, `b1`: the coefficient of δ² in δ′, and of δ in χ⊥ − 1.
    `c`: the coefficient of δ^{3/2} in δ′, and of δ^½ in χ⊥ − 1.
    `exponent_K`: δ ~ l^exponent_K at large depth l if K* is attractive; 0 if slower than any power; nan if
        repulsive.
    `exponent_K2`: K_[2] ~ l^exponent_K2 there; ±inf if faster than any power.
    `basin`: the interval of K¹ from which the flow tends to K*; (K*, K*) if only K* itself.
    `error`: estimated absolute error of K*.
    """

    kind: str
    K: float
    cw: float
    cb: float
    stability: str
    order: float
    a: float
    b: float
    a1: float
    b1: float
    c: float
    exponent_K: float
    exponent_K2: float
    basin: tuple[float, float]
    error: float

    __repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS


class Law(NamedTuple):
    """The flow near 0: K′/K − 1 = a K^m and χ⊥ − 1 = b K^m as K → 0.

    `m`, `a`, `b`: as above.
    `b_order`, `b_first`: the leading power of K in χ⊥ − 1, which is m or less, and its coefficient.
    `c`, `a1`: the coefficients of K^½ and of K in K′/K − 1.
    `b1`: the coefficient of K in χ⊥ − 1.
    """

    m: float
    a: float
    b: float
    b_order: float
    b_first: float
    c: float
    a1: float
    b1: float


# --- K* > 0 -------------------------------------------------------------------------------------


def gap(grid: MomentGrid):
    """log K → (χ∥ − χ⊥)/√(χ∥² + χ⊥²), which is independent of C_W, and its error."""

    def at(x):
        m = grid.at(x)
        with np.errstate(all="ignore"):
            size = np.hypot(m.dg, m.slope2)
            unit = np.hypot(np.maximum(np.abs(m.dg), m.g / np.exp(x)), m.slope2)
            error = np.where(m.error > ROUNDING_ERROR, m.error, 0.0) * unit / size + GAP_ROUNDING
            return (m.dg - m.slope2) / size, error

    return at


def inside(
    grid: MomentGrid, settled_below: float = -INF
) -> tuple[list[Candidate], list[tuple[float, float]]]:
    """All K* > 0 with χ∥ = χ⊥, even if C_b < 0, and the ranges of K where one may have been missed.

    `settled_below`: log K below which the law at K = 0 is known to hold.
    """
    x = grid.x[(grid.x >= np.log(WINDOW[0])) & (grid.x <= np.log(WINDOW[1]))]
    at = gap(grid)
    roots = find_roots(at, x)
    value, error = at(x)
    m = grid.at(x)
    open_ = (
        (signs(value, error) == 0)
        & (~(m.error <= RELIABLE_ERROR) | ~np.isfinite(value))
        & (x > settled_below)
    )
    for root in roots:
        open_ &= np.abs(x - root.x) > ROOT_MARGIN
    finite = np.exp(x) <= grid.K_known
    if grid.overflows and np.any(value[finite][-1:] > FAST_GROWTH):
        open_ &= finite  # a σ that grows this fast has χ∥ > χ⊥ beyond
    at_open = np.flatnonzero(open_)
    ranges = (
        np.split(at_open, 1 + np.flatnonzero(np.diff(at_open) > NODES_PER_DECADE)) if len(at_open) else []
    )
    ends = [(float(np.exp(x[part[0]])), float(np.exp(x[part[-1]]))) for part in ranges]
    return [_inner(grid, root) for root in roots], ends


def _inner(grid: MomentGrid, root: Root) -> Candidate:
    K = float(np.exp(root.x))
    x = root.x + FIT_HALF_WIDTH * np.cos(np.pi * (np.arange(BLOCK_SIZE) + 0.5) / BLOCK_SIZE)
    slope2 = Chebyshev.fit(x, grid.at(x).slope2, FIT_DEGREE)
    m = sampled(grid.act, np.array([K]))
    cw = float(1 / m.slope2[0])
    cb = float(K - cw * m.g[0])
    cb = 0.0 if abs(cb) <= NEGLIGIBLE_CB * K else cb
    a, b = float(cw * m.d2g[0] / 2), float(cw * slope2.deriv()(root.x) / K)
    basin, stability = (K, K), "neutral"
    if cb >= 0:
        near, below, above = _neighbours(grid, cw, cb, K)
        stability = near
        if abs(a) * K > RELIABLE_ERROR:
            stability = "from below" if a > 0 else "from above"
        basin = (
            below if stability in ("from below", "stable") else K,
            above if stability in ("from above", "stable") else K,
        )
    sided = stability.startswith("from")
    kind = HALF_STABLE if sided else POSITIVE
    exponents = (-1.0, -b / a) if sided else (NAN, NAN)
    error = float(K * root.error)
    return Candidate(kind, K, cw, cb, stability, 1.0, a, b, a, b, 0.0, *exponents, basin, error)


def _neighbours(grid: MomentGrid, cw: float, cb: float, K: float) -> tuple[str, float, float]:
    """The stability of the fixed point at K, and the fixed points below and above it (0 and inf if none)."""
    points, *_ = fixed_points_of(grid, cw, cb)  # the undecided ranges are reported by `classify`
    same = [p for p in points if abs(p.K - K) <= SAME_FIXED_POINT * K]
    below = [p.K for p in points if p.K < K * (1 - SAME_FIXED_POINT)]
    above = [p.K for p in points if p.K > K * (1 + SAME_FIXED_POINT)]
    return same[0].stability if same else "neutral", max(below, default=0.0), min(above, default=INF)


# --- K* = 0 -------------------------------------------------------------------------------------


class AtZero(NamedTuple):
    """The result of the search for a critical point at K = 0.

    `points`: the critical point K* = 0, or none.
    `why_not`: why K* = 0 is not critical, if it is not.
    `caveats`: what is uncertain about this result.
    `settled_below`: log K below which the law at K = 0 is known to hold, or −inf.
    """

    points: list[Candidate]
    why_not: str
    caveats: list[str]
    settled_below: float


def at_zero(grid: MomentGrid, near: Origin) -> AtZero:
    """The critical point K* = 0, or why K = 0 is not one."""
    value = max(map(abs, near.value))
    scale = float(np.max(np.abs(sampler_of(grid.act).raw(np.linspace(-1.0, 1.0, 65))[0])))
    if not value <= ZERO_ROUNDING * scale:
        shown = near.value[0] if abs(near.value[0]) == value else near.value[1]
        return AtZero([], f"σ(0) = {shown:.6g} is not 0", [], -INF)
    if np.isnan(near.A2):
        if np.isfinite(near.growth):
            return AtZero([], f"σ′ grows as |z|^{near.growth - 1:.3g} at 0", [], -INF)
        return AtZero([], "σ′ has no limit at 0", ["σ is not differentiable at 0"], -INF)
    if near.A2 == 0:
        return AtZero([], "σ′(0) = 0", [], -INF)
    law, caveats, settled_below = _law(grid, near)
    cw = 1 / near.A2
    kind = {0.0: SCALE_INVARIANT, 0.5: HALF_INTEGER, INF: FLAT}.get(law.m, ZERO)
    stability = "neutral" if law.m == 0 or not law.a else "stable" if law.a < 0 else "unstable"
    _, _, above = _neighbours(grid, cw, 0.0, 0.0)
    basin = {"neutral": (0.0, INF), "stable": (0.0, above)}.get(stability, (0.0, 0.0))
    coefficients = law.m, law.a, law.b, law.a1, law.b1, law.c
    point = Candidate(kind, 0.0, cw, 0.0, stability, *coefficients, *_exponents(law), basin, 0.0)
    return AtZero([point], "", caveats, settled_below if law.m and (1 + law.m) * law.a != law.b else -INF)


def _exponents(law: Law) -> tuple[float, float]:
    if law.m in (0, INF):
        return (0.0, 0.0) if law.a <= 0 else (NAN, NAN)
    if not law.a < 0:
        return NAN, NAN
    if law.b_order < law.m and law.b_first:
        return -1 / law.m, float(np.copysign(INF, law.b_first))
    return -1 / law.m, -law.b / (law.m * law.a)


def _law(grid: MomentGrid, near: Origin) -> tuple[Law, list[str], float]:
    """The flow to leading order as K → 0: by the Taylor series if it agrees with the kernel, else by a fit.

    Also returns the doubts about it, and the log K up to which the law and the kernel were found to agree.
    """

    def excess(x):
        """K′/K − 1, χ⊥ − 1 and the round-off error of both."""
        m = grid.at(x)
        with np.errstate(all="ignore"):
            noise = EXCESS_ROUNDING * (2 + np.abs(x)) + np.where(m.error > ROUNDING_ERROR, m.error, 0.0)
            return m.g / (near.A2 * np.exp(x)) - 1, m.slope2 / near.A2 - 1, noise

    # derivatives taken away from 0 are not those of the series
    orders = [j for j in (0, 1, 2) if (near.parallel[j] or near.perp[j]) and near.distance < DISTANCES[1]]
    for j in orders:
        agreed = _agreed(excess, near, j)
        first = next((i for i in orders if i >= j and near.parallel[i]), None)
        if np.isnan(agreed) or first is None:
            continue
        a, b = near.parallel, near.perp
        law = Law((first + 1) / 2, a[first], b[first], (j + 1) / 2, b[j], a[0] * (j == 0), a[1], b[1])
        unchecked = ["the law at K = 0 holds only at K too small to be checked"] if agreed == -INF else []
        return law, unchecked, agreed
    x = grid.x[(grid.x >= np.log(WINDOW[0])) & (grid.x <= np.log(min(WINDOW[1], grid.K_known)))]
    r, q, noise = excess(x)
    decided = np.flatnonzero(signs(r, noise) | signs(q, noise))
    caveats = ["the Taylor series at 0 does not describe the kernel at small K"] if orders else []
    if len(decided):
        return _fitted_law(excess, x, r, decided, caveats)
    z = np.geomspace(1e-6, 1e6, 65)
    straight = [side * z * slope for side, slope in zip((-1, 1), near.slope, strict=True)]
    value = [sampler_of(grid.act).raw(side * z)[0] for side in (-1, 1)]
    if np.allclose(value, straight, rtol=STRAIGHT_ROUNDING, atol=0):
        return Law(0.0, *(0.0,) * 7), [], -INF
    caveats.append("K′ = K wherever it is known, yet σ is not homogeneous")
    return Law(INF, 0.0, 0.0, INF, *(0.0,) * 4), caveats, -INF


def _agreed(excess, near: Origin, j: int) -> float:
    """The largest log K at which the series from its j-th term on agrees with K′/K − 1 and χ⊥ − 1; else nan.

    −inf if they would have to be compared below every K that can be computed.
    """
    powers = np.arange(3) / 2 + 0.5
    coefficients = [np.array(c) * (np.arange(3) >= j) for c in (near.parallel, near.perp)]
    size = max(abs(c[j]) for c in coefficients)
    x = (np.log(CHECKED_TERMS) - np.log(size)) / powers[j]
    if x[0] < np.log(WINDOW[0]):
        return -INF
    x = x[(x > np.log(WINDOW[0])) & (x < np.log(WINDOW[1]))]
    if not len(x):
        return NAN
    r, q, noise = excess(x)
    series = [np.exp(np.multiply.outer(x, powers)) @ c for c in coefficients]
    allowed = SERIES_TOLERANCE * np.maximum(*np.abs(series)) + 4 * noise
    good = (np.abs(r - series[0]) <= allowed) & (np.abs(q - series[1]) <= allowed)
    good &= allowed < SERIES_NOISE * np.maximum(*np.abs(series))
    return float(x[good][0]) if good.any() else NAN


def _fitted_law(excess, x, r, decided, caveats) -> tuple[Law, list[str], float]:
    """The leading power of K′/K − 1 as K → 0, by a fit; a flat law if it falls faster than any power."""
    large = decided[np.abs(r[decided]) > FIT_EXCESS]
    first = max(x[decided[0]] + FIT_START * np.log(10), x[large[0]] if len(large) else -INF)
    start = first + np.log(10) * FIT_DECADES
    R, Q, _ = excess(start)
    sign = float(np.sign(r[decided[min(4, len(decided) - 1)]]))
    with np.errstate(all="ignore"):
        slopes = np.diff(np.log(np.abs(R))) / np.diff(start)
    steady = np.isfinite(slopes).all() and abs(slopes[0] - slopes[1]) < STEADY_SLOPE
    if steady and slopes[0] > MIN_SLOPE:
        half_integer = abs(2 * slopes[0] - round(2 * slopes[0])) < HALF_INTEGER_SLOPE
        m = round(2 * slopes[0]) / 2 if half_integer else float(slopes[0])
        a, b = float(R[0] / np.exp(m * start[0])), float(Q[0] / np.exp(m * start[0]))
        c, a1, b1 = (v if m == n else 0.0 if m > n else NAN for v, n in ((a, 0.5), (a, 1), (b, 1)))
        return Law(m, a, b, m, b, c, a1, b1), [], float(start[0])
    if not steady and slopes[0] > slopes[1] and slopes[0] > FLAT_SLOPE:
        return Law(INF, sign, 0.0, INF, *(0.0,) * 4), caveats, -INF
    unknown = Law(NAN, sign, NAN, NAN, 0.0, NAN, NAN, NAN)
    return unknown, [*caveats, "how fast K′ − K falls as K → 0 is not known"], -INF
