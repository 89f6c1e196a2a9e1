"""An activation near 0: its Taylor series on either side, and the kernel recursion that follows as K → 0.

With σ = Σ_j s_j^± z^j/j! and μ_k = ⟨|u|^k⟩_1, and half of the Gaussian on each side,

    ⟨σ²⟩  = Σ_k ½μ_k (α_k⁺ + (−1)^k α_k⁻) K^{k/2},   α_k the coefficients of σ²,
    ⟨σ′²⟩ = Σ_k ½μ_k (β_k⁺ + (−1)^k β_k⁻) K^{k/2},   β_k those of σ′².

For σ(0) = 0 and C_W = 1/A₂, A₂ = (s₁⁺² + s₁⁻²)/2, the flow is K′ = K(1 + cK^½ + a₁K + …) and
χ⊥ = 1 + cK^½ + b₁K + …, with

    c = √(2/π) (s₁⁺s₂⁺ − s₁⁻s₂⁻)/A₂,   a₁ = (¾s₂² + s₁s₃)/A₂,   b₁ = (s₂² + s₁s₃)/A₂,

where a₁ and b₁ are averaged over the two sides. If σ is smooth, c = 0 (PDLT chapter 5).
"""

import math
from typing import NamedTuple

import numpy as np

DISTANCES = (0.0, 1e-14, 1e-12, 1e-10, 1e-8, 1e-6)
"""Distances from 0 at which σ and its derivatives are evaluated; the first stands for a tiny number."""

EVEN_SLOPE = 1e-60
"""σ′ at the smallest |z|, relative to the other derivatives, up to which σ′(0) = 0 (an even σ)."""

LIMIT_TOLERANCE, MAX_DRIFT = 1e-6, 1e-3
"""Relative change of σ′ if it has a limit, and what σ″ may add to that change, relative to the largest σ′."""

POWER_SPREAD = 1e-2
"""Spread of the powers measured between neighbouring distances if σ′ follows one power of |z|."""

NEGLIGIBLE_DERIVATIVE = 1e-9
"""A derivative this much smaller than the others, in units of the length they set, is round-off error."""


Triple = tuple[float, float, float]


class Origin(NamedTuple):
    """σ near 0; pairs are (below, above).

    `value`: σ(0∓).
    `slope`: σ′(0∓); nan if it has no limit.
    `A2`: the mean of σ′² over both sides: C_W = 1/A₂ is critical at K = 0.
    `parallel`: c, a₁ and the coefficient of K^{3/2} in K′/K − 1.
    `perp`: likewise in χ⊥ − 1.
    `sigma2`: the mean of σ″ over both sides.
    `growth`: p if σ′ ~ |z|^{p−1} instead of having a limit, else nan.
    `distance`: |z| at which the derivatives were taken: the smallest at which they are finite.
    """

    value: tuple[float, ...]
    slope: tuple[float, ...]
    A2: float
    parallel: Triple
    perp: Triple
    sigma2: float
    growth: float
    distance: float


def origin(derivatives, tiny: float) -> Origin:
    """The record for z → (σ, σ′, σ″, σ‴, σ⁗); one-sided values at 0 are taken at ∓`tiny`."""
    distances = np.array([tiny, *DISTANCES[1:]])
    z = np.concatenate([-distances, distances])
    s = np.stack([np.asarray(d, float) for d in derivatives(z)]).reshape(5, 2, len(distances))
    value = s[0, :, 0]
    finite = np.isfinite(s).all(axis=(0, 1))
    first = int(finite.argmax())
    s0 = s[:, :, first]  # (order, side)
    settled = finite.any() and _settles(s[1:3], distances, first)
    if not settled:
        unknown = np.nan, np.nan, np.nan
        return Origin(
            _pair(value), unknown[:2], np.nan, unknown, unknown, np.nan, _growth(s[1], distances), np.nan
        )
    s0 = _without_rounding(s0)
    A2 = float(np.mean(s0[1] ** 2))
    parallel, perp = _series(s0, A2)
    curvature = float(np.mean(s0[2]))
    return Origin(_pair(value), _pair(s0[1]), A2, parallel, perp, curvature, np.nan, float(distances[first]))


def _pair(values) -> tuple[float, float]:
    below, above = values
    return float(below), float(above)


def _series(s: np.ndarray, A2: float) -> tuple[Triple, Triple]:
    """The coefficients of K^½, K, K^{3/2} in C_W⟨σ²⟩/K − 1 and C_W⟨σ′²⟩ − 1 for σ(0) = 0; nan if A₂ = 0."""
    factorial = np.array([1.0, 1.0, 2.0, 6.0, 24.0])
    sums = np.zeros((2, 3))
    for side, sign in ((0, -1.0), (1, 1.0)):
        sigma = s[:, side] / factorial
        sigma[0] = 0.0
        slope = sigma[1:] * np.arange(1, 5)
        alpha, beta = np.convolve(sigma, sigma), np.convolve(slope, slope)
        for j in (1, 2, 3):
            sums[0, j - 1] += alpha[2 + j] * sign**j * _mu(2 + j) / 2
            sums[1, j - 1] += beta[j] * sign**j * _mu(j) / 2
    (a, b, c), (d, e, f) = (sums / A2 if A2 else np.full((2, 3), np.nan)).tolist()
    return (a, b, c), (d, e, f)


def _mu(k: int) -> float:
    """⟨|u|^k⟩ of a standard Gaussian."""
    return 2 ** (k / 2) * math.gamma((k + 1) / 2) / math.sqrt(math.pi)


def _without_rounding(s: np.ndarray) -> np.ndarray:
    """The derivatives, with those that are round-off error set to 0."""
    size = np.max(np.abs(s), axis=1)
    if size[1] <= EVEN_SLOPE * np.max(size):
        return s * (np.arange(5) != 1)[:, None]
    inverse_length = max((size[j] / size[1]) ** (1 / (j - 1)) for j in (2, 3, 4))
    floor = np.array([0.0, *(NEGLIGIBLE_DERIVATIVE * size[1] * inverse_length**j for j in range(4))])
    kept = np.where(np.abs(s) <= floor[:, None], 0.0, s)
    # sides that agree up to round-off belong to one smooth function
    gap = np.abs(kept[:, 0] - kept[:, 1])
    same = gap <= NEGLIGIBLE_DERIVATIVE * size
    kept[:, 0] = np.where(same, kept[:, 1], kept[:, 0])
    return kept


def _settles(s: np.ndarray, distances: np.ndarray, first: int) -> bool:
    """Whether σ′ at the first usable rung agrees with σ′ two rungs farther out, on both sides of 0."""
    near, next_ = s[0, :, first], s[0, :, min(first + 2, len(distances) - 1)]
    drift = 4 * distances[min(first + 2, len(distances) - 1)] * np.max(np.abs(s[1, :, first]))
    largest = np.max(np.abs(s[0, :, first:]))
    return bool(
        np.all(
            np.abs(next_ - near) <= LIMIT_TOLERANCE * np.max(np.abs(near)) + min(drift, MAX_DRIFT * largest)
        )
    )


def _growth(slope: np.ndarray, distances: np.ndarray) -> float:
    """p if σ′ follows |z|^{p−1} over all rungs but the first; else nan."""
    size = np.max(np.abs(slope[:, 1:]), axis=0)
    with np.errstate(all="ignore"):
        powers = np.diff(np.log(size)) / np.diff(np.log(distances[1:]))
    if np.isfinite(powers).all() and np.ptp(powers) < POWER_SPREAD:
        return 1 + float(np.mean(powers))
    return float("nan")
