"""Kinks that nobody declared: where a function or one of its first three derivatives jumps or has no limit.

Between two nodes a smooth function keeps to the trapezoidal rule,
d_k(b) − d_k(a) = ½h(d_{k+1}(a) + d_{k+1}(b)), up to O(h³). Every interval is halved, always towards
the larger misfit, until its ends are neighbouring numbers. Where the one-sided limits differ there, or do
not exist, is a kink; a smooth function has nothing left.
"""

import functools
import math
import operator
from typing import NamedTuple

import numpy as np

from eft.derivatives import Sampler
from eft.limits import points

NODES = 2048
"""Of the grid z = sinh t: 0.014 apart at |z| < 1 and 1.4 % of |z| far out."""

REACH = 1e6
"""The largest |z| that is searched."""

ORDERS = 4
"""Jumps of σ, σ′, σ″ and σ‴ are found; later ones hardly matter to an expectation."""

SIGNIFICANT = 1e-9
"""The smallest jump, on the length 1 + |z|, in units of the largest |σ| that is as near to 0."""

ROUNDING = 1e-11
"""A jump that is smaller, relative to the derivative itself, is its rounding."""

NOISE = 1e-14
"""What a derivative rounds by where |σ| is large and bounded, in units of |σ|."""

SAME = 1e-12
"""Places nearer to each other than that, relative to 1 + |z|, are one."""

MOST = 24
"""Kinks that are looked after, the nearest to 0."""

HALVINGS = 4
"""After so many halvings of the grid a function that varies on its scale keeps to the trapezoidal rule."""

STEEP = 1e-5
"""The misfit then, in units of the largest |σ| at |z| ≤ 2|c| + 1, of one that varies twenty times faster."""

FEW = 6
"""Steep places that are looked after; a function with more of them oscillates."""


class Kinks(NamedTuple):
    """What was found."""

    places: tuple[float, ...]  # kinks, ascending, 0 left out
    reach: float  # |z| up to which these are all, or inf
    steep: tuple[float, ...]  # where σ is smooth, but varies on a scale far below 1 and |z|


class _Found(NamedTuple):
    """One search of the cells."""

    cell: np.ndarray  # (hits,) in which cell something jumps; at most one place in each
    below: np.ndarray  # (hits,) the numbers on its two sides
    above: np.ndarray
    misfit: np.ndarray  # (cells,) that of σ after `HALVINGS`
    middle: np.ndarray  # (cells,) where it was largest


def find_kinks(sampler: Sampler) -> Kinks:
    """Where σ, σ′, σ″ or σ‴ jumps, the `MOST` places that are nearest to 0; and where σ is steep.

    A kink under oscillations finer than the grid goes unseen: the error of the moments then shows it.
    """
    t = np.linspace(-np.arcsinh(REACH), np.arcsinh(REACH), NODES + 1)
    z = np.sinh(t + 1e-3 * (t[1] - t[0]))  # round numbers, where kinks like to be, are not nodes
    low, high = z[:-1], z[1:]
    kinks: tuple[float, ...] = ()
    reach, steep = np.inf, ()
    with np.errstate(all="ignore"):
        scale = _scale(z, sampler.raw(z)[0])
        for turn in range(MOST):
            found = _search(sampler, low, high, scale)
            if not turn:
                steep = _steep(found, scale)
            kinks = apart((*kinks, *(_rounded(c) for c in found.above if abs(c) > SAME)))
            if len(kinks) > MOST:
                distances = np.sort(np.abs(kinks))
                reach = min(reach, float(distances[MOST]))
                kinks = tuple(c for c in kinks if abs(c) < reach)
            # a cell with one kink may hold another, on either side of it
            low = np.concatenate([low[found.cell], found.above])
            high = np.concatenate([found.below, high[found.cell]])
            wide = high - low > np.maximum(1e-9 * np.abs(low), SAME)  # next to 0 rounding never ends
            wide &= np.minimum(np.abs(low), np.abs(high)) < reach
            low, high = low[wide], high[wide]
            if not len(low):
                break
    steep = tuple(c for c in steep if all(abs(c - k) > 1e-4 * (1 + abs(c)) for k in kinks))
    return Kinks(kinks, reach, steep)


def apart(places) -> tuple[float, ...]:
    """The places in ascending order, of those that cannot be told apart the first that was given."""
    kept: list[float] = []
    for c in places:
        if all(abs(c - d) > SAME * (1 + abs(c)) for d in kept):
            kept.append(c)
    return tuple(sorted(kept))


def _scale(z, value):
    """c → the largest |σ| that is as near to 0, and |σ| is a number."""
    outward = np.argsort(np.abs(z))
    size = np.abs(value)[outward]
    size = np.maximum.accumulate(np.where(np.isfinite(size), size, 0.0))
    return lambda c: np.interp(np.abs(c), np.abs(z[outward]), size)


def _search(sampler: Sampler, low, high, scale) -> _Found:
    """At most one kink in each cell."""
    d = np.stack(sampler.raw(np.concatenate([low, high])))
    a, b = np.tile(low, (ORDERS, 1)), np.tile(high, (ORDERS, 1))
    d_a, d_b = (np.tile(ends[:, None], (1, ORDERS, 1)) for ends in np.split(d, 2, axis=1))
    misfit = np.zeros(len(low))
    for halving in range(64):
        middle = (a + b) / 2
        d_m = np.stack(sampler.raw(middle))
        left = _misfit(a, d_a, middle, d_m) >= _misfit(middle, d_m, b, d_b)
        a, b = np.where(left, a, middle), np.where(left, middle, b)
        d_a, d_b = np.where(left, d_a, d_m), np.where(left, d_m, d_b)
        if halving == HALVINGS - 1:
            misfit = _misfit(a, d_a, b, d_b)[0]
        if np.all((b - a) <= 2 * np.spacing(np.abs(a))):
            break
    at = (a[0] + b[0]) / 2
    row, cell = np.nonzero(_jumps(a, d_a, b, d_b, SIGNIFICANT * scale(b)))
    a, b = a[row, cell], b[row, cell]
    real = _real(sampler, b, scale) if len(cell) else np.zeros(0, bool)
    # the orders may end on either of two neighbouring numbers
    cell, first = np.unique(cell[real], return_index=True)
    smooth = ~np.isin(np.arange(len(misfit)), cell) & np.isfinite(misfit)
    return _Found(cell, a[real][first], b[real][first], np.where(smooth, misfit, 0.0), at)


def _real(sampler: Sampler, places, scale) -> np.ndarray:
    """Whether some derivative has different limits on the two sides of each place, or grows without bound."""
    order = np.argsort(places)
    first = np.diff(places[order], prepend=-np.inf) > SAME * (1 + np.abs(places[order]))
    kinks = places[order][first]
    outer = points(kinks)
    z = kinks + (outer.z[1] - kinks) * DISTANCES[:, None, None]
    d = np.stack(sampler.between(z, kinks))  # (orders, distances, sides, kinks)
    steps = z - kinks
    unit, least = 1 + np.abs(kinks), SIGNIFICANT * scale(kinks)
    real = np.zeros(len(kinks), bool)
    for k in range(ORDERS):
        # each distance's value of the limit, by the Taylor series
        terms = (d[k + i] * (-steps) ** i / math.factorial(i) for i in range(ORDERS + 1 - k))
        limit = functools.reduce(operator.add, terms)
        noise = np.ptp(limit, axis=0).sum(0)
        step = np.abs(limit[-1, 1] - limit[-1, 0])
        size = np.abs(limit[-1]).max(0)
        if k == 0:
            size = size + 1e-2 * np.abs(kinks)  # what z itself rounds by may be left after a cancellation
        enough = least / unit**k + ROUNDING * size + (k > 0) * NOISE * scale(kinks)
        real |= (step > 4 * noise) & (step > enough)
        real |= np.any(_grows(np.abs(d[k])) & (np.abs(d[k, -1]) > enough), axis=0)
    return np.any(np.abs(places[:, None] - kinks[real]) <= SAME * (1 + np.abs(places[:, None])), axis=1)


DISTANCES = 4.0 ** -np.arange(6)
"""From a place, in units of h, at which its limits are compared."""


def _grows(size) -> np.ndarray:
    """Whether it grows by the same factor, more or less, from each distance to the next smaller one."""
    growth = size[1:] / size[:-1]
    return np.all(growth > 1.1, axis=0) & (growth.max(0) < 1.5 * growth.min(0))


def _steep(found: _Found, scale) -> tuple[float, ...]:
    """The places of the largest misfits; none if they are many."""
    size = scale(2 * np.abs(found.middle) + 1)
    share = np.where(size > 0, found.misfit / np.where(size > 0, size, 1.0), 0.0)
    steep: list[float] = []
    for i in np.argsort(-share):
        if not share[i] > STEEP or len(steep) > FEW:
            break
        c = float(found.middle[i])
        if all(abs(c - other) > 0.1 * (1 + abs(c)) for other in (0.0, *steep)):
            steep.append(c)
    return tuple(sorted(steep)) if len(steep) <= FEW else ()


def _misfit(a, d_a, b, d_b) -> np.ndarray:
    """m_k + h m_{k+1} in row k, m_k = |d_k(b) − d_k(a) − ½h(d_{k+1}(a) + d_{k+1}(b))|, h = b − a.

    A kink in the middle of an interval keeps to the rule in one order, but then not in the next. Between a
    place where the derivatives are numbers and one where they are not it is infinite.
    """
    rows, h = np.arange(ORDERS), b - a
    step = np.abs(d_b - d_a - h / 2 * (np.roll(d_a, -1, 0) + np.roll(d_b, -1, 0)))
    step[ORDERS] = np.abs(d_b[ORDERS] - d_a[ORDERS])
    misfit = step[rows, rows] + h * step[rows + 1, rows]
    edge = _known(d_a) != _known(d_b)
    return np.where(edge, np.inf, np.where(np.isfinite(misfit), misfit, 0.0))


def _known(d) -> np.ndarray:
    """Whether the derivatives that a row looks at are numbers; (ORDERS, cells)."""
    rows = np.arange(ORDERS)
    last = np.minimum(rows + 2, ORDERS)
    return np.stack([np.isfinite(d[: last[k] + 1, k]).all(0) for k in rows])


def _jumps(a, d_a, b, d_b, least) -> np.ndarray:
    """Where one of the derivatives jumps between a and b, beyond slope and significance; like a, in shape."""
    gap, unit = b - a, 1 + np.abs(b)
    hit = np.zeros(a.shape, bool)
    for k in range(ORDERS):
        slope = np.minimum(np.abs(d_a[k + 1]), np.abs(d_b[k + 1]))  # one side's may be infinite
        size = np.maximum(np.abs(d_a[k]), np.abs(d_b[k]))
        if k == 0:
            size = size + 1e-2 * np.abs(b)  # what z itself rounds by may be left after a cancellation
        hit |= np.abs(d_b[k] - d_a[k]) > 4 * gap * slope + least / unit**k + ROUNDING * size
    return hit & np.isfinite(d_a).all(0) & np.isfinite(d_b).all(0) | (_known(d_a) != _known(d_b))


def _rounded(c: float) -> float:
    """The shortest decimal number within a few units in the last place: 0.3 for 0.30000000000000004."""
    for digits in range(1, 16):
        short = float(f"{c:.{digits}g}")
        if abs(short - c) <= 4 * np.spacing(1 + abs(c)):
            return short
    return float(c)
