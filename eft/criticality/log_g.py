"""log g(K) as a function of log K, interpolated between the nodes of a grid of moments."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from eft.criticality.moment_grid import MomentGrid

MAX_LOG = 1e3
"""Stands for the log of 0 and of infinity in the interpolation of log g; that of a float is at most 745."""


class LogG(NamedTuple):
    """log g as a function of log K: quintics that match the value and two derivatives at the nodes.

    `x`: (nodes,) log K.
    `c`: coefficients in t = (log K − x_i)/(x_{i+1} − x_i), each (nodes − 1,).
    """

    x: Float[np.ndarray, "nodes"]
    c: tuple[Float[np.ndarray, "nodes-1"], ...]

    def __call__(self, cell: np.ndarray, t: np.ndarray) -> np.ndarray:
        total = np.zeros_like(t)
        for c in self.c[::-1]:
            total = total * t + c[cell]
        return total


def interpolated(grid: MomentGrid) -> LogG:
    """log g of the activation, from g, g′ and g″ at the nodes."""
    x, m = grid.x, grid.moments
    with np.errstate(all="ignore"):
        K = np.exp(x)
        y = np.log(m.g)
        slope = K * m.dg / m.g
        curvature = K * K * m.d2g / m.g + slope - slope**2
    y = np.nan_to_num(y, nan=MAX_LOG, posinf=MAX_LOG, neginf=-MAX_LOG)
    slope, curvature = (np.where(np.isfinite(a) & (np.abs(y) < MAX_LOG), a, 0.0) for a in (slope, curvature))
    at = y[:-1], slope[:-1], curvature[:-1], y[1:], slope[1:], curvature[1:]
    return LogG(x, _quintic(at, np.diff(x)))


def _quintic(at: tuple[np.ndarray, ...], h: np.ndarray) -> tuple[np.ndarray, ...]:
    """Coefficients in t of the quintic with these values, first and second derivatives at t = 0 and 1."""
    y0, d0, b0, y1, d1, b1 = (a * h**k for a, k in zip(at, (0, 1, 2, 0, 1, 2), strict=True))
    jump = y1 - y0
    return (
        y0,
        d0,
        b0 / 2,
        10 * jump - 6 * d0 - 4 * d1 - 1.5 * b0 + 0.5 * b1,
        -15 * jump + 8 * d0 + 7 * d1 + 1.5 * b0 - b1,
        6 * jump - 3 * d0 - 3 * d1 - 0.5 * b0 + 0.5 * b1,
    )
