"""To which fixed point the kernel flows, from the nodes of a grid of moments."""

import numpy as np

from eft.criticality.log_g import LogG
from eft.criticality.moment_grid import MomentGrid

EPS = float(np.finfo(float).eps)

RELIABLE_ERROR = 1e-9
"""Relative error up to which the moments tell K′ > K from K′ < K, and χ∥ = χ⊥ from χ∥ ≠ χ⊥."""

BISECTION_ERROR = 1e-11
"""Relative error of the interpolated K′, within which K¹ is itself a fixed point."""

LAST_STEP = 1e-8
"""Newton's step, in units of a cell, whose square is below round-off."""

MAX_COLUMNS = 64
"""Values of C_W at a time: so few that the maxima stay in cache."""


def brackets(grid: MomentGrid, log_g: LogG, cw, cb, start) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each flow the node below the fixed point it tends to, how it ends, and whether it is lost.

    `cw`: (cw,); the flows, `cb` and `start`, are (…, cw). It ends with 0 at a fixed point above that node,
    −1 at K = 0, 1 at K → ∞, and 2 where K¹ is a fixed point itself. It is lost if it comes to a K where the
    moments do not decide its direction.
    """
    x, nodes, K = grid.x, len(grid.x), np.exp(grid.x)
    rounding = 16 * EPS * (2 + np.abs(x)) * K
    column = np.broadcast_to(np.arange(len(cw)), start.shape)
    if len(cw) > MAX_COLUMNS:
        parts = (slice(i, i + MAX_COLUMNS) for i in range(0, len(cw), MAX_COLUMNS))
        blocks = (brackets(grid, log_g, cw[part], cb[..., part], start[..., part]) for part in parts)
        return tuple(np.concatenate(each, -1) for each in zip(*blocks, strict=True))  # type: ignore
    with np.errstate(all="ignore"):
        # the C_b at which a node is a fixed point
        fixed = K - np.where(cw[:, None] > 0, cw[:, None] * grid.moments.g, 0.0)
        cell = np.clip(np.searchsorted(x, np.log(start)) - 1, 0, nodes - 2)
        t = np.clip((np.log(start) - x[cell]) / np.diff(x)[cell], 0, 1)
        step = cb + cw * np.exp(log_g(cell, t)) - start

    def sign(i):
        with np.errstate(all="ignore"):
            step = cb - fixed[column, i]
            return np.where(np.abs(step) > rounding[i], np.sign(step), 0.0).astype(int)

    at_low, at_high = sign(cell), sign(cell + 1)
    way = np.where(
        at_low == at_high, at_low, np.where(np.abs(step) > BISECTION_ERROR * start, np.sign(step), 0)
    ).astype(int)
    # K rises, or falls, from node to node until the step changes sign
    node, up, down = np.where(way > 0, cell, cell + 1), way > 0, way < 0
    node[up] = first_above(fixed - rounding, column[up], node[up] + 1, cb[up])
    node[down] = (
        nodes - 1 - first_above(-(fixed + rounding)[:, ::-1], column[down], nodes - node[down], -cb[down])
    )
    ending = np.where(way == 0, 2, np.where(node < 0, -1, np.where(node >= nodes, 1, 0)))
    lost = _lost(grid, fixed, column, cb, np.stack([cell, cell + 1, node]))
    return np.clip(np.where(up, node - 1, node), 0, nodes - 2), ending, lost


def first_above(a: np.ndarray, row: np.ndarray, start: np.ndarray, level: np.ndarray) -> np.ndarray:
    """The first i ≥ start with a[row, i] > level, or the number of columns: by halves, from the maxima of 2ᵏ.

    >>> first_above(np.array([[1, 3, 2]]), np.array([0, 0, 0]), np.array([0, 2, 0]), np.array([2, 2, 0]))
    array([1, 3, 0])
    """
    columns = a.shape[1]
    maxima = [np.full((len(a), columns + 1), np.inf)]  # of 2ᵏ columns from each; inf beyond the last one
    maxima[0][:, :-1] = np.where(np.isnan(a), -np.inf, a)
    for k in range(columns.bit_length() - 1 if row.size else 0):
        maxima.append(np.full_like(maxima[0], np.inf))
        np.maximum(maxima[k][:, : -(2**k)], maxima[k][:, 2**k :], out=maxima[k + 1][:, : -(2**k)])
    at = row * (columns + 1) + start
    for k in range(len(maxima) - 1, -1, -1):
        at += (maxima[k].ravel()[at] <= level) << k
    return at - row * (columns + 1)


def _lost(grid: MomentGrid, fixed, column, cb, visited: np.ndarray) -> np.ndarray:
    """Whether a flow comes to a node that does not decide its direction, of those between visited ones."""
    error = np.where(grid.moments.error <= RELIABLE_ERROR, 0.0, grid.moments.error)
    lost, low, high = np.zeros(cb.shape, bool), visited.min(0), visited.max(0)
    for i in np.flatnonzero(error):
        at = (low <= i) & (high >= i)
        with np.errstate(all="ignore"):
            step = cb[at] - fixed[column[at], i]
            lost[at] |= np.abs(step) <= error[i] * (np.abs(step + grid.K[i]) + grid.K[i])
    return lost


def bisected(log_g: LogG, cw, cb, cell) -> np.ndarray:
    """The fixed point in each cell, where K rises at the cell's lower end and falls at its upper end.

    By Newton's method for log K′ − log K, and by halves where that leaves the bracket or converges slowly.
    """
    x, h, c = log_g.x[cell], np.diff(log_g.x)[cell], np.stack([c[cell] for c in log_g.c])
    found, of = np.empty(len(cell)), np.arange(len(cell))
    t, low, high, step = (np.full(len(cell), value) for value in (0.5, 0.0, 1.0, 1.0))
    while of.size:
        y, slope = c[-1], np.zeros_like(t)
        for each in c[-2::-1]:
            y, slope = y * t + each, slope * t + y
        with np.errstate(all="ignore"):
            from_g = np.where(cw > 0, cw * np.exp(y), 0.0)
            above = np.log(cb + from_g) - (x + t * h)
            newton = t - above / (from_g / (cb + from_g) * slope - h)
        low, high = np.where(above > 0, t, low), np.where(above > 0, high, t)
        good = (low <= newton) & (newton <= high) & (np.abs(newton - t) <= step / 2)
        after = np.where(good, newton, (low + high) / 2)
        step, t = np.abs(after - t), after
        going = ~(good & (step <= LAST_STEP) | (high - low <= EPS))
        found[of[~going]] = t[~going]
        if not going.all():
            cw, cb, x, h, t, low, high, step, of = (a[going] for a in (cw, cb, x, h, t, low, high, step, of))
            c = c[:, going]
    return np.exp(log_g.x[cell] + found * np.diff(log_g.x)[cell])
