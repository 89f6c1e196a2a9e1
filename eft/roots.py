"""Roots of a function of log K that is known to a rounding error: what changes sign, and what only touches.

A value counts as decided where it exceeds its own error. Roots lie between decided values of opposite
sign; that a function is 0 to rounding over a range, as χ∥ − χ⊥ is for K → 0, makes none.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from numpy.polynomial import Chebyshev

from eft.activations import Activation
from eft.moments import Moments

BLOCK = 512
"""Values of K that are evaluated at a time: one shape, so that one compilation serves every search."""

DEGREE = 12
"""Of the polynomial through a bracket. On three cells of the grid, 0.17 in log K, it is exact to rounding."""

CELLS = 42
"""Nodes of a grid for each decade of K."""

Sampled = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""log K → (value, error of the value)."""


class Root(NamedTuple):
    """A root of f, or a point where f touches 0 (then the signs on both sides are equal)."""

    x: float  # log K
    error: float  # of x, from the rounding of f
    below: int  # sign of f below the root
    above: int  # sign of f above the root


def sampled(act: Activation, K: np.ndarray) -> Moments:
    """The moments at any number of K as NumPy arrays."""
    flat = np.ravel(K)
    blocks = np.pad(flat, (0, -flat.size % BLOCK), constant_values=1.0).reshape(-1, BLOCK)
    rows = [act.moments(jnp.asarray(block)) for block in blocks]
    whole = (np.concatenate(field)[: flat.size].reshape(np.shape(K)) for field in zip(*rows, strict=True))
    return Moments(*whole)  # type: ignore[arg-type]


def log_grid(low: float, high: float) -> np.ndarray:
    """x = log K from log `low` to log `high`, a whole number of blocks, at least `CELLS` a decade."""
    n = int(np.ceil(np.log10(high / low) * CELLS / BLOCK)) * BLOCK
    return np.linspace(np.log(low), np.log(high), n)


def signs(value: np.ndarray, error: np.ndarray) -> np.ndarray:
    """−1, 1, or 0 where the value is not decided."""
    with np.errstate(invalid="ignore"):
        return np.where(np.abs(value) > error, np.sign(value), 0.0).astype(int)


def find_roots(f: Sampled, x: np.ndarray) -> list[Root]:
    """All roots of f that the grid x can show, and the points between its nodes where f touches 0."""
    value, error = f(x)
    s = signs(value, error)
    decided = np.flatnonzero(s)
    brackets = [(i, j) for i, j in zip(decided, decided[1:], strict=False) if s[i] != s[j]]
    size = np.abs(value)
    with np.errstate(invalid="ignore"):
        dips = 1 + np.flatnonzero((size[1:-1] <= size[:-2]) & (size[1:-1] <= size[2:]))
    roots = []
    for i, j in brackets:
        roots += _polished(f, x[i], x[j], s[i], s[j])
    for i in dips:
        inside = any(a <= i <= b for a, b in brackets)
        # a parabola through the three nodes says whether the dip may reach 0
        bottom = value[i] - (value[i + 1] - value[i - 1]) ** 2 / 8 / (value[i + 1] - 2 * value[i] + value[i - 1])
        if not inside and s[i - 1] == s[i + 1] != 0 and abs(bottom) < 0.5 * max(size[i - 1], size[i + 1]):
            roots += _touching(f, x[i - 1], x[i + 1], s[i - 1])
    return sorted(roots)


def _fitted(f: Sampled, low: float, high: float) -> tuple[Chebyshev, float]:
    """The polynomial through f on `BLOCK` Chebyshev points, and the error of its values."""
    x = (low + high) / 2 + (high - low) / 2 * np.cos(np.pi * (np.arange(BLOCK) + 0.5) / BLOCK)
    value, error = f(x)
    good = np.isfinite(value)
    fit = Chebyshev.fit(x[good], value[good], DEGREE, domain=[low, high])
    rounding = np.sqrt(np.mean((fit(x[good]) - value[good]) ** 2))
    # the fit averages the rounding of many values; the part of it that they share remains
    return fit, float(rounding * np.sqrt(DEGREE / BLOCK) + np.median(error[good]) / 16)


def _polished(f: Sampled, low: float, high: float, below: int, above: int) -> list[Root]:
    while high - low > 8 / CELLS:
        x = np.linspace(low, high, BLOCK)
        s = signs(*f(x))
        before = np.flatnonzero(s == below)
        i = before[before < np.flatnonzero(s == above)[0]][-1]
        j = i + 1 + np.flatnonzero(s[i + 1 :])[0]
        if x[j] - x[i] > (high - low) / 2:  # f is 0 to rounding in between
            return [Root((x[i] + x[j]) / 2, (x[j] - x[i]) / 2, below, above)]
        low, high = x[i], x[j]
    margin = max(high - low, 1e-2)
    fit, error = _fitted(f, low - margin, high + margin)
    found = _real_roots(fit, low, high)
    if not found:
        return [Root((low + high) / 2, (high - low) / 2, below, above)]
    slope = fit.deriv()
    return [Root(x, error / abs(slope(x)), int(-np.sign(slope(x))), int(np.sign(slope(x)))) for x in found]


def _touching(f: Sampled, low: float, high: float, side: int) -> list[Root]:
    margin = (high - low) / 2
    fit, error = _fitted(f, low - margin, high + margin)
    bend = fit.deriv(2)
    bottoms = [x for x in _real_roots(fit.deriv(), low, high) if side * bend(x) > 0]
    if not bottoms:
        return []
    bottom = min(bottoms, key=lambda x: side * fit(x))
    tolerance = max(64 * error, 8 * float(np.median(f(np.full(BLOCK, bottom))[1])))
    if side * fit(bottom) > tolerance:
        return []
    if side * fit(bottom) >= -tolerance:
        return [Root(bottom, float(np.sqrt(2 * tolerance / abs(bend(bottom)))), side, side)]
    slope = fit.deriv()
    return [
        Root(x, error / abs(slope(x)), int(-np.sign(slope(x))), int(np.sign(slope(x))))
        for x in _real_roots(fit, low, high)
    ]


def _real_roots(p: Chebyshev, low: float, high: float) -> list[float]:
    roots = p.roots()
    real = roots.real[np.abs(roots.imag) < 1e-8 * (high - low)]
    slope = p.deriv()
    found = []
    for x in sorted(real[(real >= low - 1e-9) & (real <= high + 1e-9)]):
        for _ in range(3):
            step = p(x) / slope(x) if slope(x) else 0.0
            x -= step if abs(step) < 1e-6 else 0.0
        found.append(float(x))
    return found
