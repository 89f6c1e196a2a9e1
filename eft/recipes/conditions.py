"""Conditions on an activation σ̂(z) = γ(σ(αz + β) + δ) at C_W = 1, C_b = 0, solved for α, β, γ and δ.

With s = σ(αz + β), m = ⟨s⟩ and z ~ N(0, K), three of the four conditions are solved in closed form for γ, δ
and one more; what remains are two equations in α and β, whose roots are located on a grid and refined.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy import optimize

from eft.activations.analysis import sampler_of
from eft.activations.definition import Activation
from eft.recipes.affine import Affine, ShiftedMoments, moments_on_plane, shifted_moments

EPS = np.finfo(float).eps

SCALES = (1e-4, 30.0, 80)
"""Smallest and largest α√K of the grid, and how many."""

MAX_SHIFT, SHIFTS = 10.0, 81
"""The largest |β| of the grid, and how many β; they are uniform in arsinh β."""

OFF_ZERO = 1e-3
"""Offset of the grid in β, in units of arsinh β, since β = 0 is often an exact root of one equation."""

CENTRED_SHIFT = 1.0
"""β of a homogeneous σ, of which only β/α matters."""

FINER = 40
"""How many times as many β where only derivatives of σ at β are needed."""

MAX_CALLS, MAX_STARTS = 80, 24
"""Evaluations of the moments for one root, and cells searched: those of smallest |β|."""

SOLVED = 1e-10
"""The largest residual of a solution."""

SAME_SHIFT = 1e-9
"""|β| that differ by less are those of mirror images, of which the one with β > 0 is taken."""


class Equations(NamedTuple):
    """Two equations in α and β.

    `residuals`: (moments, α, β) → what must vanish, in natural units: the relative errors of two conditions.
    `affine`: (moments, α, β) → δ and γ.
    """

    residuals: Callable[[ShiftedMoments, Any, Any], tuple[Any, Any]]
    affine: Callable[[ShiftedMoments, float, float], Affine]


class Search(NamedTuple):
    """The solution with the smallest |β|, or the nearest miss.

    `affine`: the parameters.
    `error`: the larger of the two residuals; inf if the moments are not finite.
    """

    affine: Affine
    error: float


def dks_equations(K: float, chi_perp: float) -> Equations:
    """⟨σ̂⟩ = 0 and ⟨σ̂²⟩ = K give δ = −m and γ² = K/⟨(s − m)²⟩. There remain

    χ∥ = (γ²α/K)⟨z(s − m)σ′⟩ = 1,     χ⊥ = γ²α²⟨σ′²⟩ = χ.
    """
    unit = chi_perp - 1

    def residuals(m, alpha, beta):
        gamma2 = K / m.variance
        return (gamma2 * alpha * m.parallel / K - 1) / unit, (gamma2 * alpha**2 * m.slope2 - chi_perp) / unit

    def affine(m, alpha, beta):
        return Affine(alpha, beta, -float(m.mean), math.sqrt(K / m.variance))

    return Equations(residuals, affine)


def tat_equations(K: float, curvature: float, side: float) -> Equations:
    """χ⊥ = 1 gives γ² = 1/α²⟨σ′²⟩, and ⟨σ̂²⟩ = K gives (m + δ)² = K/γ² − ⟨(s − m)²⟩, which is ≥ 0 for
    every σ. There remain

    χ∥ = (γ²α/K)(⟨z(s − m)σ′⟩ + (m + δ)⟨zσ′⟩) = 1,     C″(1) = Kα²⟨σ″²⟩/⟨σ′²⟩ = c.

    `side`: the sign of m + δ.
    """

    def mean(m, alpha):
        return side * np.sqrt(np.maximum(K * alpha**2 * m.slope2 - m.variance, 0.0))

    def residuals(m, alpha, beta):
        parallel = (m.parallel + mean(m, alpha) * m.tilt) / (K * alpha * m.slope2)
        return (parallel - 1) / curvature, K * alpha**2 * m.curvature2 / m.slope2 / curvature - 1

    def affine(m, alpha, beta):
        return Affine(alpha, beta, float(mean(m, alpha) - m.mean), 1 / (alpha * math.sqrt(m.slope2)))

    return Equations(residuals, affine)


def solution(act: Activation, K: float, equations: Equations) -> Search:
    """The solution with the smallest |β|; at equal |β| that with β > 0."""
    low, high, count = SCALES
    alphas = np.geomspace(low, high, count) / math.sqrt(K)
    betas = _shifts(SHIFTS)
    alpha, beta = np.meshgrid(alphas, betas, indexing="ij")
    with np.errstate(all="ignore"):
        f = np.stack(equations.residuals(moments_on_plane(act, K, alpha, beta), alpha, beta))
    f = np.where(np.isfinite(f), f, np.nan)
    cells = np.argwhere(_changes_sign(f[0]) & _changes_sign(f[1]))
    nearest = np.minimum(np.abs(betas[cells[:, 1]]), np.abs(betas[cells[:, 1] + 1]))
    best: Search | None = None
    roots: list[float] = []
    for i, j in cells[np.argsort(nearest, kind="stable")][:MAX_STARTS]:
        if best is not None and min(abs(betas[j]), abs(betas[j + 1])) > abs(best.affine.beta) + SAME_SHIFT:
            break
        if any(betas[max(j - 1, 0)] <= beta <= betas[min(j + 2, SHIFTS - 1)] for beta in roots):
            continue
        start = math.sqrt(alphas[i] * alphas[i + 1]), float(betas[j] + betas[j + 1]) / 2
        found = _refined(act, K, equations, *start)
        if found.error <= SOLVED:
            roots.append(found.affine.beta)
            if best is None or _preferred(found.affine, best.affine):
                best = found
    if best is not None:
        return best
    worse = np.where(np.isnan(f), np.inf, np.abs(f)).max(0)
    i, j = np.unravel_index(worse.argmin(), worse.shape)
    return _refined(act, K, equations, float(alphas[i]), float(betas[j]))


def _shifts(count: int) -> np.ndarray:
    end = np.arcsinh(MAX_SHIFT)
    return np.sinh(np.linspace(-end, end, count) + OFF_ZERO)


def preferred(searches: list[Search]) -> Search:
    """That with the smallest |β|; at equal |β| that with β > 0."""
    best = searches[0]
    for each in searches[1:]:
        if _preferred(each.affine, best.affine):
            best = each
    return best


def _root(f: Callable[..., Any], low: float, high: float, *args: Any) -> float:
    """The root of f to round-off; f has different signs at both ends."""
    found: Any = optimize.brentq(f, low, high, args=args, xtol=1e-16, rtol=4 * EPS)
    return float(found)


def _changes_sign(f: np.ndarray) -> np.ndarray:
    """Whether f has both signs at the corners of each cell of the grid."""
    corners = np.stack([f[:-1, :-1], f[1:, :-1], f[:-1, 1:], f[1:, 1:]])
    return (corners.min(0) <= 0) & (corners.max(0) >= 0)


def _preferred(one: Affine, other: Affine) -> bool:
    if abs(abs(one.beta) - abs(other.beta)) <= SAME_SHIFT:
        return one.beta > other.beta
    return abs(one.beta) < abs(other.beta)


def _refined(act: Activation, K: float, equations: Equations, alpha: float, beta: float) -> Search:
    """Newton's method (Powell's hybrid) in log α and β, moments to round-off; the best point on its way."""
    visited = [(math.inf, Affine(alpha, beta, math.nan, math.nan))]

    def residuals(x):
        alpha, beta = (
            math.exp(np.clip(x[0], -50.0, 50.0)),
            float(np.clip(x[1], -2 * MAX_SHIFT, 2 * MAX_SHIFT)),
        )
        m = shifted_moments(act, K, alpha, beta)
        with np.errstate(all="ignore"):
            f = np.array(equations.residuals(m, alpha, beta), float)
            if np.isfinite(f).all():
                visited.append((float(np.abs(f).max()), equations.affine(m, alpha, beta)))
        return np.where(np.isfinite(f), f, 1e6)

    optimize.root(residuals, [math.log(alpha), beta], options={"xtol": 1e-15, "maxfev": MAX_CALLS})
    error, affine = min(visited, key=lambda each: each[0])
    return Search(affine, error)


def centred_solution(act: Activation, K: float, chi_perp: float) -> Affine | None:
    """⟨σ̂⟩ = 0, ⟨σ̂²⟩ = K and χ⊥ = Kα²⟨σ′²⟩/⟨(s − m)²⟩ at β = `CENTRED_SHIFT`: the smallest α, or None."""
    beta = CENTRED_SHIFT

    def excess(log_alpha: float) -> float:
        m = shifted_moments(act, K, math.exp(log_alpha), beta)
        return float(K * math.exp(2 * log_alpha) * m.slope2 / m.variance) / chi_perp - 1

    low, high, count = SCALES
    logs = np.log(np.geomspace(low, high, count) / math.sqrt(K))
    with np.errstate(all="ignore"):
        values = np.array([excess(x) for x in logs])
    for i in np.flatnonzero(values[:-1] * values[1:] <= 0):
        alpha = math.exp(_root(excess, logs[i], logs[i + 1]))
        m = shifted_moments(act, K, alpha, beta)
        return Affine(alpha, beta, -float(m.mean), math.sqrt(K / m.variance))
    return None


# --- K* = 0 -------------------------------------------------------------------------------------


def origin_solution(act: Activation, a1: float, b1: float) -> Affine | None:
    """σ̂(0) = 0, σ̂′(0) = 1, and with σ_k the derivatives at β

        a₁ = α²(σ₃/σ₁ + ¾(σ₂/σ₁)²),     b₁ = α²(σ₃/σ₁ + (σ₂/σ₁)²).

    Hence σ₂/σ₁ = ±r(−σ₃/σ₁)^{1/2} with r² = 4(b₁ − a₁)/(3b₁ − 4a₁), an equation for β where σ₃/σ₁ < 0, and
    α² = (4a₁ − 3b₁)/(σ₃/σ₁). The root with the smallest |β|, and β > 0 at equal |β|; None if there is none.
    """
    sampler = sampler_of(act)
    ratio = math.sqrt(max(4 * (b1 - a1) / (3 * b1 - 4 * a1), 0.0))
    grid = _shifts(FINER * SHIFTS)
    cuts = np.searchsorted(grid, act.kinks)

    def gap(beta: np.ndarray, sign: float) -> np.ndarray:
        with np.errstate(all="ignore"):
            _, s1, s2, s3 = sampler(beta)[:4]
            third = s3 / s1
            return np.where(third < 0, s2 / s1 - sign * ratio * np.sqrt(np.maximum(-third, 0.0)), np.nan)

    def gap_at(beta: float, sign: float) -> float:
        return float(gap(np.array([beta]), sign)[0])

    roots: list[float] = []
    for sign in (1.0, -1.0) if ratio else (1.0,):
        values = gap(grid, sign)
        for i in np.flatnonzero(values[:-1] * values[1:] <= 0):
            if i + 1 not in cuts:
                try:
                    root = _root(gap_at, grid[i], grid[i + 1], sign)
                except ValueError:  # a1 ≥ 0 in between
                    continue
                roots.append(root if abs(root) > EPS else 0.0)
    best: Affine | None = None
    for beta in roots:
        value, s1, _, s3 = (float(d[0]) for d in sampler(np.array([beta]))[:4])
        square = (4 * a1 - 3 * b1) * s1 / s3 if s3 else 0.0
        if not (0 < square < math.inf):  # the top of an even bump, where σ′ = 0
            continue
        alpha = math.sqrt(square)
        found = Affine(alpha, beta, -value, 1 / (alpha * s1))
        if best is None or _preferred(found, best):
            best = found
    return best


def stable_ratios(act: Activation) -> np.ndarray:
    """b₁/a₁ at those β of a grid where a₁ < 0."""
    with np.errstate(all="ignore"):
        _, s1, s2, s3 = sampler_of(act)(_shifts(FINER * SHIFTS))[:4]
        a1, b1 = (s3 / s1 + share * (s2 / s1) ** 2 for share in (0.75, 1.0))
        return (b1 / a1)[a1 < 0]


# --- leaky ReLU ---------------------------------------------------------------------------------


def leaky_dks(chi_perp: float) -> float:
    """The slope a at z < 0 with χ⊥ = A/(A − (1 − a)²/2π), A = (1 + a²)/2; nan if there is none.

    Of the leaky ReLU less its mean; χ∥ = 1 holds for every a.
    """
    return _slope(lambda a: _share(a) / (2 * math.pi - _share(a)) - (chi_perp - 1))


def leaky_tat(C0: float, layers: int) -> float:
    """The slope a at z < 0 with C(C(…C(0))) = C0 in so many layers, if there is one; else nan:

    C(c) = c + (1 − a)²/(π(1 + a²)) (√(1 − c²) − c arccos c).
    """

    def excess(a):
        c = 0.0
        for _ in range(layers):
            c += _share(a) / (2 * math.pi) * (math.sqrt(1 - c * c) - c * math.acos(c))
            c = min(c, 1.0)
        return c - C0

    return _slope(excess)


def _share(a: float) -> float:
    """(1 − a)²/A, which falls from 4 at a = −1 to 0 at a = 1."""
    return (1 - a) ** 2 / ((1 + a * a) / 2)


def _slope(excess: Callable[[float], float]) -> float:
    if excess(-1.0) * excess(1.0) > 0:
        return math.nan
    return _root(excess, -1.0, 1.0)
