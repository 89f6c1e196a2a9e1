"""Undeclared kinks: places where a function or one of its first three derivatives jumps or has no limit.

Between two nodes a smooth function satisfies the trapezoidal rule,
d_k(b) − d_k(a) = ½h(d_{k+1}(a) + d_{k+1}(b)), up to O(h³). Every interval is bisected, each time keeping the
half with the larger residual, until its ends are neighbouring floating-point numbers. If the one-sided limits
differ there, or do not exist, it is a kink; for a smooth function nothing is left.
"""

import functools
import math
import operator
from typing import NamedTuple

import numpy as np

from eft.activations.derivatives import Sampler
from eft.activations.one_sided import points

INTERVALS = 2048
"""Intervals of the grid z = sinh t: its nodes are 0.014 apart at |z| < 1, and 1.4 % of |z| at large |z|."""

MAX_Z = 1e6
"""The largest |z| searched."""

ORDERS = 4
"""Jumps of σ, σ′, σ″ and σ‴ are found; those of higher derivatives hardly affect an expectation."""

SIGNIFICANT_JUMP = 1e-9
"""The smallest jump, in units of (1 + |z|)⁻ᵏ for σ⁽ᵏ⁾ times the largest |σ| at points no farther from 0."""

RELATIVE_ROUNDING = 1e-11
"""A jump smaller than this, relative to the derivative itself, is round-off error."""

ABSOLUTE_ROUNDING = 1e-14
"""Round-off error of a derivative where |σ| is large and bounded, in units of |σ|."""

MIN_DISTANCE = 1e-12
"""Places closer together than this, relative to 1 + |z|, are taken as one."""

MAX_KINKS = 24
"""The largest number of kinks taken into account, those nearest to 0."""

OFFSET = 1e-3
"""Offset of the grid, in steps, which keeps its nodes off round numbers, where kinks are common."""

MIN_CELL = 1e-9
"""Relative width of a cell below which it is not searched further; near 0 it is `MIN_DISTANCE`."""

NEAR_KINK, NEAR_STEEP = 1e-4, 0.1
"""Distance, relative to 1 + |z|, within which a steep place belongs to a kink, or to another steep place."""

ROUNDING_OF_Z = 1e-2
"""Share of |z| whose round-off may remain in σ after a cancellation."""

MIN_GROWTH, GROWTH_SPREAD = 1.1, 1.5
"""A derivative grows like a power of the distance if each step inwards multiplies it by a factor above the
first, and these factors differ by less than the second.
"""

HALVINGS = 4
"""Halvings of the grid after which a function that varies on its scale satisfies the trapezoidal rule."""

STEEP_RESIDUAL = 1e-5
"""Residual then, in units of the largest |σ| at |z| ≤ 2|c| + 1, of one that varies twenty times faster."""

MAX_STEEP = 6
"""The largest number of steep places taken into account; a function with more of them oscillates."""


class Kinks(NamedTuple):
    """The result of the search.

    `places`: kinks in ascending order, without 0.
    `reach`: |z| up to which the list is complete, or inf.
    `steep`: where σ is smooth, but varies on a scale far below 1 and |z|.
    """

    places: tuple[float, ...]
    reach: float
    steep: tuple[float, ...]


class _Hits(NamedTuple):
    """The result of one search of the cells.

    `cell`: (hits,) cells that contain a jump; at most one is found in each.
    `below`: (hits,) the floating-point number below the jump.
    `above`: (hits,) that above it.
    `residual`: (cells,) residual of σ after `HALVINGS`.
    `middle`: (cells,) where the residual was largest.
    """

    cell: np.ndarray
    below: np.ndarray
    above: np.ndarray
    residual: np.ndarray
    middle: np.ndarray


def find_kinks(sampler: Sampler) -> Kinks:
    """Places where σ, σ′, σ″ or σ‴ jumps, at most the `MAX_KINKS` nearest to 0; and places where σ is steep.

    A kink among oscillations finer than the grid is missed; the error of the moments then reveals it.
    """
    t = np.linspace(-np.arcsinh(MAX_Z), np.arcsinh(MAX_Z), INTERVALS + 1)
    z = np.sinh(t + OFFSET * (t[1] - t[0]))
    low, high = z[:-1], z[1:]
    kinks: tuple[float, ...] = ()
    reach, steep = np.inf, ()
    with np.errstate(all="ignore"):
        scale = _scale(z, sampler.raw(z)[0])
        for turn in range(MAX_KINKS):
            hits = _search(sampler, low, high, scale)
            if not turn:
                steep = _steep(hits, scale)
            kinks = apart((*kinks, *(_rounded(c) for c in hits.above if abs(c) > MIN_DISTANCE)))
            if len(kinks) > MAX_KINKS:
                distances = np.sort(np.abs(kinks))
                reach = min(reach, float(distances[MAX_KINKS]))
                kinks = tuple(c for c in kinks if abs(c) < reach)
            # a cell with one kink may hold another, on either side of it
            low = np.concatenate([low[hits.cell], hits.above])
            high = np.concatenate([hits.below, high[hits.cell]])
            wide = high - low > np.maximum(MIN_CELL * np.abs(low), MIN_DISTANCE)
            wide &= np.minimum(np.abs(low), np.abs(high)) < reach
            low, high = low[wide], high[wide]
            if not len(low):
                break
    steep = tuple(c for c in steep if all(abs(c - k) > NEAR_KINK * (1 + abs(c)) for k in kinks))
    return Kinks(kinks, reach, steep)


def apart(places) -> tuple[float, ...]:
    """The places in ascending order; of those closer than `MIN_DISTANCE`, only the one given first."""
    kept: list[float] = []
    for c in places:
        if all(abs(c - d) > MIN_DISTANCE * (1 + abs(c)) for d in kept):
            kept.append(c)
    return tuple(sorted(kept))


def _scale(z, value):
    """c → the largest finite |σ| at points no farther from 0 than c."""
    outward = np.argsort(np.abs(z))
    size = np.abs(value)[outward]
    size = np.maximum.accumulate(np.where(np.isfinite(size), size, 0.0))
    return lambda c: np.interp(np.abs(c), np.abs(z[outward]), size)


def _search(sampler: Sampler, low, high, scale) -> _Hits:
    """Search each cell; at most one kink is found in each."""
    d = np.stack(sampler.raw(np.concatenate([low, high])))
    a, b = np.tile(low, (ORDERS, 1)), np.tile(high, (ORDERS, 1))
    d_a, d_b = (np.tile(ends[:, None], (1, ORDERS, 1)) for ends in np.split(d, 2, axis=1))
    residual = np.zeros(len(low))
    for halving in range(64):
        middle = (a + b) / 2
        d_m = np.stack(sampler.raw(middle))
        left = _residual(a, d_a, middle, d_m) >= _residual(middle, d_m, b, d_b)
        a, b = np.where(left, a, middle), np.where(left, middle, b)
        d_a, d_b = np.where(left, d_a, d_m), np.where(left, d_m, d_b)
        if halving == HALVINGS - 1:
            residual = _residual(a, d_a, b, d_b)[0]
        if np.all((b - a) <= 2 * np.spacing(np.abs(a))):
            break
    at = (a[0] + b[0]) / 2
    row, cell = np.nonzero(_jumps(a, d_a, b, d_b, SIGNIFICANT_JUMP * scale(b)))
    a, b = a[row, cell], b[row, cell]
    real = _is_kink(sampler, b, scale) if len(cell) else np.zeros(0, bool)
    # for different orders the bisection may end at different neighbouring numbers
    cell, first = np.unique(cell[real], return_index=True)
    smooth = ~np.isin(np.arange(len(residual)), cell) & np.isfinite(residual)
    return _Hits(cell, a[real][first], b[real][first], np.where(smooth, residual, 0.0), at)


def _is_kink(sampler: Sampler, places, scale) -> np.ndarray:
    """Whether, at each place, some derivative has different one-sided limits or grows without bound."""
    order = np.argsort(places)
    first = np.diff(places[order], prepend=-np.inf) > MIN_DISTANCE * (1 + np.abs(places[order]))
    kinks = places[order][first]
    outer = points(kinks)
    z = kinks + (outer.z[1] - kinks) * DISTANCES[:, None, None]
    d = np.stack(sampler.between(z, kinks))  # (orders, distances, sides, kinks)
    steps = z - kinks
    unit, least = 1 + np.abs(kinks), SIGNIFICANT_JUMP * scale(kinks)
    real = np.zeros(len(kinks), bool)
    for k in range(ORDERS):
        # the limit as extrapolated from each distance by the Taylor series
        terms = (d[k + i] * (-steps) ** i / math.factorial(i) for i in range(ORDERS + 1 - k))
        limit = functools.reduce(operator.add, terms)
        noise = np.ptp(limit, axis=0).sum(0)
        step = np.abs(limit[-1, 1] - limit[-1, 0])
        size = np.abs(limit[-1]).max(0)
        if k == 0:
            size = size + ROUNDING_OF_Z * np.abs(kinks)
        enough = least / unit**k + RELATIVE_ROUNDING * size + (k > 0) * ABSOLUTE_ROUNDING * scale(kinks)
        real |= (step > 4 * noise) & (step > enough)
        real |= np.any(_grows(np.abs(d[k])) & (np.abs(d[k, -1]) > enough), axis=0)
    return np.any(
        np.abs(places[:, None] - kinks[real]) <= MIN_DISTANCE * (1 + np.abs(places[:, None])), axis=1
    )


DISTANCES = 4.0 ** -np.arange(6)
"""Distances from a place, in units of h, from which its one-sided limits are compared."""


def _grows(size) -> np.ndarray:
    """Whether `size` grows by roughly the same factor from each distance to the next smaller one."""
    growth = size[1:] / size[:-1]
    return np.all(growth > MIN_GROWTH, axis=0) & (growth.max(0) < GROWTH_SPREAD * growth.min(0))


def _steep(hits: _Hits, scale) -> tuple[float, ...]:
    """The places of the largest residuals; none if there are more than `MAX_STEEP`."""
    size = scale(2 * np.abs(hits.middle) + 1)
    share = np.where(size > 0, hits.residual / np.where(size > 0, size, 1.0), 0.0)
    steep: list[float] = []
    for i in np.argsort(-share):
        if not share[i] > STEEP_RESIDUAL or len(steep) > MAX_STEEP:
            break
        c = float(hits.middle[i])
        if all(abs(c - other) > NEAR_STEEP * (1 + abs(c)) for other in (0.0, *steep)):
            steep.append(c)
    return tuple(sorted(steep)) if len(steep) <= MAX_STEEP else ()


def _residual(a, d_a, b, d_b) -> np.ndarray:
    """m_k + h m_{k+1} in row k, m_k = |d_k(b) − d_k(a) − ½h(d_{k+1}(a) + d_{k+1}(b))|, h = b − a.

    A kink in the middle of an interval may satisfy the rule at one order, but then not at the next. The
    residual is infinite between a point where the derivatives are finite and one where they are not.
    """
    rows, h = np.arange(ORDERS), b - a
    step = np.abs(d_b - d_a - h / 2 * (np.roll(d_a, -1, 0) + np.roll(d_b, -1, 0)))
    step[ORDERS] = np.abs(d_b[ORDERS] - d_a[ORDERS])
    residual = step[rows, rows] + h * step[rows + 1, rows]
    edge = _finite(d_a) != _finite(d_b)
    return np.where(edge, np.inf, np.where(np.isfinite(residual), residual, 0.0))


def _finite(d) -> np.ndarray:
    """Whether the derivatives that enter a row are finite; (ORDERS, cells)."""
    rows = np.arange(ORDERS)
    last = np.minimum(rows + 2, ORDERS)
    return np.stack([np.isfinite(d[: last[k] + 1, k]).all(0) for k in rows])


def _jumps(a, d_a, b, d_b, least) -> np.ndarray:
    """Where a derivative jumps between a and b by a significant amount not due to its slope; shape of a."""
    gap, unit = b - a, 1 + np.abs(b)
    hit = np.zeros(a.shape, bool)
    for k in range(ORDERS):
        slope = np.minimum(np.abs(d_a[k + 1]), np.abs(d_b[k + 1]))  # that on one side may be infinite
        size = np.maximum(np.abs(d_a[k]), np.abs(d_b[k]))
        if k == 0:
            size = size + ROUNDING_OF_Z * np.abs(b)
        hit |= np.abs(d_b[k] - d_a[k]) > 4 * gap * slope + least / unit**k + RELATIVE_ROUNDING * size
    return hit & np.isfinite(d_a).all(0) & np.isfinite(d_b).all(0) | (_finite(d_a) != _finite(d_b))


def _rounded(c: float) -> float:
    """The shortest decimal number within a few units in the last place: 0.3 for 0.30000000000000004."""
    for digits in range(1, 16):
        short = float(f"{c:.{digits}g}")
        if abs(short - c) <= 4 * np.spacing(1 + abs(c)):
            return short
    return float(c)
