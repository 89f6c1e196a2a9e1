"""To which fixed point the kernel flows, from the nodes of a grid of moments."""

import numpy as np

from eft.criticality.log_g import LogG
from eft.criticality.moment_grid import MomentGrid

EPS = float(np.finfo(float).eps)

RELIABLE_ERROR = 1e-9
"""Relative error up to which the moments tell K′ > K from K′ < K, and χ∥ = χ⊥ from χ∥ ≠ χ⊥."""

BISECTION_ERROR = 1e-11
"""Relative error of the interpolated K′, within which K¹ is itself a fixed point."""


def brackets(grid: MomentGrid, log_g: LogG, cw, cb, start) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each flow the node below the fixed point it tends to, how it ends, and whether it is lost.

    It ends with 0 at a fixed point above that node, −1 at K = 0, 1 at K → ∞, and 2 where K¹ is a fixed point
    itself. It is lost if it comes to a K where the moments do not decide its direction.
    """
    x, nodes, K, g = grid.x, len(grid.x), np.exp(grid.x), grid.moments.g
    error = np.where(grid.moments.error <= RELIABLE_ERROR, 0.0, grid.moments.error)
    lost = np.zeros(len(cw), bool)
    rounding = 16 * EPS * (2 + np.abs(x))

    def sign(i, of):
        with np.errstate(all="ignore"):
            step = cb[of] + np.where(cw[of] > 0, cw[of] * g[i], 0.0) - K[i]
            unknown = np.abs(step) <= error[i] * (np.abs(step + K[i]) + K[i])
            lost[of] |= unknown & (error[i] > 0)
            return np.where(np.abs(step) > rounding[i] * K[i], np.sign(step), 0.0).astype(int)

    with np.errstate(all="ignore"):
        cell = np.clip(np.searchsorted(x, np.log(start)) - 1, 0, nodes - 2)
        t = np.clip((np.log(start) - x[cell]) / np.diff(x)[cell], 0, 1)
        step = cb + cw * np.exp(log_g(cell, t)) - start
    everywhere = np.arange(len(cw))
    at_low, at_high = sign(cell, everywhere), sign(cell + 1, everywhere)
    way = np.where(
        at_low == at_high, at_low, np.where(np.abs(step) > BISECTION_ERROR * start, np.sign(step), 0)
    ).astype(int)
    # K rises, or falls, from node to node until the step changes sign
    node, moving = np.where(way > 0, cell, cell + 1), np.flatnonzero(way)
    while moving.size:
        node[moving] += way[moving]
        moving = moving[(node[moving] >= 0) & (node[moving] < nodes)]
        moving = moving[sign(node[moving], moving) != -way[moving]]
    ending = np.where(way == 0, 2, np.where(node < 0, -1, np.where(node >= nodes, 1, 0)))
    return np.clip(np.where(way > 0, node - 1, node), 0, nodes - 2), ending, lost


def bisected(log_g: LogG, cw, cb, cell) -> np.ndarray:
    """The fixed point in each cell, where K rises at the cell's lower end and falls at its upper end."""
    x, h = log_g.x[cell], np.diff(log_g.x)[cell]
    low, high = np.zeros(len(cell)), np.ones(len(cell))
    for _ in range(52):
        t = (low + high) / 2
        with np.errstate(over="ignore"):
            rises = cb + cw * np.exp(log_g(cell, t)) > np.exp(x + t * h)
        low, high = np.where(rises, t, low), np.where(rises, high, t)
    return np.exp(x + (low + high) / 2 * h)
