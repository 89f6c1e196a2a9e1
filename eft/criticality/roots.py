"""Roots of a function of log K known up to round-off: where it changes sign, and where it only touches 0.

The sign of a value is decided if the value exceeds its error. Roots lie between values of opposite decided
sign; a range over which the function is 0 up to round-off, as χ∥ − χ⊥ is for K → 0, by itself is not a root.
"""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.polynomial import Chebyshev

from eft.criticality.moment_grid import BLOCK_SIZE, NODES_PER_DECADE

DEGREE = 20
"""Degree of the polynomial in a bracket: exact up to round-off on 16 grid cells, or half a decade of K."""

MAX_BRACKET = 8 * np.log(10) / NODES_PER_DECADE
"""Width in log K above which a bracket is too wide for one polynomial."""

Sampled = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""log K → (value, error of the value)."""


class Root(NamedTuple):
    """A root of f, or a point where f touches 0 (then the signs on the two sides are equal).

    `x`: log K.
    `error`: error of x due to round-off in f.
    `below`: sign of f below the root.
    `above`: sign of f above the root.
    """

    x: float
    error: float
    below: int
    above: int


def signs(value: np.ndarray, error: np.ndarray) -> np.ndarray:
    """The decided sign of each value, −1 or 1; 0 where it is not decided."""
    with np.errstate(invalid="ignore"):
        return np.where(np.abs(value) > error, np.sign(value), 0.0).astype(int)


def find_roots(f: Sampled, x: np.ndarray) -> list[Root]:
    """All roots of f that the grid x resolves, and the points between its nodes where f touches 0."""
    value, error = f(x)
    s = signs(value, error)
    return [root for i, j in _suspects(x, value, s) for root in _between(f, x[i], x[j], int(s[i]), int(s[j]))]


def _suspects(x: np.ndarray, value: np.ndarray, s: np.ndarray) -> list[tuple[int, int]]:
    """Separate pairs of nodes between which f changes sign or may touch 0."""
    size, n = np.abs(value), len(x)
    decided = np.flatnonzero(s)
    pairs = [(int(i), int(j)) for i, j in itertools.pairwise(decided) if s[i] != s[j]]
    # a point where f touches 0 may lie right beside a change of sign
    wider = [(i - int(i > 0 and s[i - 1] != 0), j + int(j < n - 1 and s[j + 1] != 0)) for i, j in pairs]
    pairs = [
        wide if x[wide[1]] - x[wide[0]] <= MAX_BRACKET else pair
        for wide, pair in zip(wider, pairs, strict=True)
    ]
    with np.errstate(invalid="ignore"):
        dips = 1 + np.flatnonzero((size[1:-1] <= size[:-2]) & (size[1:-1] <= size[2:]))
        for i in dips:
            # the parabola through the three nodes shows whether the dip may reach 0
            curvature = abs(value[i + 1] - 2 * value[i] + value[i - 1])
            slope = value[i + 1] - value[i - 1]
            shallow = curvature * (16 * size[i] - 8 * max(size[i - 1], size[i + 1])) >= slope**2
            if s[i - 1] == s[i + 1] != 0 and not shallow and x[i + 1] - x[i - 1] <= MAX_BRACKET:
                pairs.append((int(i) - 1, int(i) + 1))
    merged: list[tuple[int, int]] = []
    for i, j in sorted(pairs):
        if merged and i < merged[-1][1] and x[max(j, merged[-1][1])] - x[merged[-1][0]] <= MAX_BRACKET:
            i, j = merged[-1][0], max(j, merged.pop()[1])
        merged.append((i, j))
    return merged


def _fitted(f: Sampled, low: float, high: float) -> tuple[Chebyshev, float]:
    """The polynomial fitted to f at `BLOCK_SIZE` Chebyshev points, and the error of its values."""
    x = (low + high) / 2 + (high - low) / 2 * np.cos(np.pi * (np.arange(BLOCK_SIZE) + 0.5) / BLOCK_SIZE)
    value, error = f(x)
    good = np.isfinite(value)
    fit = Chebyshev.fit(x[good], value[good], DEGREE, domain=[low, high])
    rounding = np.sqrt(np.mean((fit(x[good]) - value[good]) ** 2))
    # the fit averages out the round-off errors of many values; the part they have in common remains
    return fit, float(rounding * np.sqrt(DEGREE / BLOCK_SIZE) + np.median(error[good]) / 16)


def _between(f: Sampled, low: float, high: float, below: int, above: int) -> list[Root]:
    """The roots between two points where the signs of f are known."""
    while high - low > MAX_BRACKET:
        x = np.linspace(low, high, BLOCK_SIZE)
        s = signs(*f(x))
        j = int(np.flatnonzero(s == above)[0])
        i = int(np.flatnonzero(s[:j] == below)[-1])
        if x[j] - x[i] > (high - low) / 2:  # f is 0 up to round-off in between
            return [Root(float(x[i] + x[j]) / 2, float(x[j] - x[i]) / 2, below, above)]
        low, high = x[i], x[j]
    margin = (high - low) / 2
    fit, error = _fitted(f, low - margin, high + margin)
    tolerance = 4 * float(np.max(f(np.full(BLOCK_SIZE, (low + high) / 2))[1])) + 16 * error
    # f is monotone between its turning points
    turns = [x for x in _real_roots(fit.deriv()) if low < x < high]
    ends = np.array([low, *turns, high])
    heights = fit(ends)
    s = np.array([below, *np.where(np.abs(heights[1:-1]) > tolerance, np.sign(heights[1:-1]), 0), above], int)
    roots, n = [], 1
    while n < len(ends):
        if s[n] * s[n - 1] < 0:
            x = _bisected(fit, ends[n - 1], ends[n])
            roots.append(Root(x, error / max(abs(fit.deriv()(x)), 1e-300), int(s[n - 1]), int(s[n])))
        elif s[n] == 0:
            last = n + int(np.flatnonzero(s[n:])[0]) - 1  # turning points where f is indistinguishable from 0
            width = np.sqrt(2 * tolerance / max(abs(fit.deriv(2)(ends[n])), 1e-300))
            x, half = (ends[n] + ends[last]) / 2, (ends[last] - ends[n]) / 2
            roots.append(
                Root(float(x), float(min(half + width, high - low)), int(s[n - 1]), int(s[last + 1]))
            )
            n = last + 1
        n += 1
    return roots


def _real_roots(p: Chebyshev) -> list[float]:
    roots = p.roots()
    return sorted(roots.real[np.abs(roots.imag) < 1e-7 * (p.domain[1] - p.domain[0])])


def _bisected(p: Chebyshev, low: float, high: float) -> float:
    rising = p(high) > 0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if (p(middle) > 0) == rising else (middle, high)
    return float(low + high) / 2
