"""Burgers' equation with a sine as its initial condition, and the solution of Cole and Hopf.

    u_t + u u_x = ν u_xx on −1 ≤ x ≤ 1, 0 ≤ t ≤ 1;  u(x, 0) = −sin πx,  u(±1, t) = 0,  ν = 0.01/π

The wave steepens to a front at x = 0, whose slope at t ≈ 0.5 is −152.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from eft import arguments
from eft.arguments import ArgumentError

VISCOSITY = 0.01 / np.pi
S_MAX, NODES, STEP = 13.0, 801, 0.25
"""The rule in s, |s| ≤ S_MAX: the tails weigh less than e^{100 − 169}; NODES nodes per STEP of √(4νt)."""
MAX_NU_T = 1000.0
"""Largest νt; u is 0 to rounding long before that."""


class Wave(NamedTuple):
    """The solution at the points: u and its slope."""

    u: np.ndarray
    u_x: np.ndarray


def solution(x: Any, t: Any, viscosity: float = VISCOSITY) -> Wave:
    """u(x, t), to 1e-12, and its slope for x and t that broadcast, −1 ≤ x ≤ 1, t ≥ 0, ν ≥ 0.01/π.

        u = −⟨sin πy⟩,  u_x = −π⟨cos πy⟩ − Var(sin πy)/2ν,  y = x − s√(4νt)
        ⟨·⟩ the average over s with the weight exp(−s² − (cos πy)/2πν)

    The integrands are entire functions of s that decay as e^{−s²}, so the trapezoidal rule is exact to
    rounding. The weight is divided by its largest value, so that nothing overflows.

    Raises ValueError for t < 0, |x| > 1, ν < 0.01/π or νt > 1000.
    """
    if np.any(np.asarray(arguments.nonnegative("t", t)) < 0) or not viscosity >= VISCOSITY * (1 - 1e-12):
        raise ArgumentError(f"viscosity must be ≥ 0.01/π; got {viscosity}")
    x, t = np.broadcast_arrays(np.asarray(x, np.float64), np.asarray(t, np.float64))
    if not np.all(np.abs(x) <= 1):
        raise ArgumentError(f"x must lie in [−1, 1]; got {np.abs(x).max()}")
    longest = float(np.max(t, initial=0.0))
    if not viscosity * longest <= MAX_NU_T:
        raise ArgumentError(f"viscosity × t must be ≤ {MAX_NU_T:g}; got {viscosity} × {longest}")
    pieces = max(1, math.ceil(math.sqrt(4 * viscosity * longest) / STEP))
    s = np.linspace(-S_MAX, S_MAX, NODES * pieces)
    points = max(1, 4096 // pieces)
    u, slope = np.empty(x.size), np.empty(x.size)
    for first in range(0, x.size, points):
        part = slice(first, first + points)
        y = np.pi * (x.ravel()[part, None] - s * np.sqrt(4 * viscosity * t.ravel()[part, None]))
        sin, cos = np.sin(y), np.cos(y)
        exponent = -(s**2) - cos / (2 * np.pi * viscosity)
        weight = np.exp(exponent - exponent.max(1, keepdims=True))
        weight /= weight.sum(1, keepdims=True)
        mean = np.sum(weight * sin, 1)
        variance = np.sum(weight * (sin - mean[:, None]) ** 2, 1)
        u[part] = -mean
        slope[part] = -np.pi * np.sum(weight * cos, 1) - variance / (2 * viscosity)
    return Wave(u.reshape(x.shape), slope.reshape(x.shape))
