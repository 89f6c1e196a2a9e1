"""Errors that the agreement of several rules does not show: wrong slopes, missing jumps, round-off, edges."""

import functools
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from eft.activations.definition import Activation
from eft.activations.one_sided import exponent, numpy_of
from eft.gaussian.accuracy import BEYOND, EDGE, GRID, SAFETY, UNKNOWN
from eft.gaussian.half_line import Nodes, beside_kinks

UNRESOLVED = 2e-14
"""|z−c|/|c| below which floating-point numbers are too coarse for a slope that grows without bound."""

SINGULAR_EXPONENT = 0.05
"""Exponent a of |z−c|^{−a} from which on a derivative counts as growing without bound at c."""


def slope_mismatch(at: Any, jumps: Any, unit: Any) -> Any:
    """Violation of ⟨zσ⟩ = K⟨σ′⟩ + KΣ[σ]p and ⟨(z²−K)σ⟩ = K⟨zσ′⟩ + KΣc[σ]p beyond round-off; (grid,).

    `jumps`: [σ]_c; `unit`: ⟨σ′²⟩, to whose square root the first is relative. Both identities hold if σ′ is
    the slope of σ and every jump is known, and only then. σ² may not show a jump, as for sign(z − 1).
    """
    xp = numpy_of(at.left)
    K = GRID.astype(at.z.dtype)[:, None]
    z, v = at.z.ravel(), at.v.ravel() / len(at.z)
    left, right = (side[:2].reshape(2, -1) for side in (at.left, at.right))
    good = xp.isfinite(left).all(0) & xp.isfinite(right).all(0)
    left, right = (xp.where(good, side, 0.0) for side in (left, right))
    p = v * np.exp(-z * (z / K) / 2) / np.sqrt(2 * np.pi * K)
    at_kinks = np.exp(-at.kinks * (at.kinks / K) / 2) / np.sqrt(2 * np.pi * K)
    K, root = K[:, 0], np.sqrt(K[:, 0])
    jump = at_kinks @ jumps
    both = right[0] - left[0], right[1] + left[1]
    odd = p @ (z * both[0]) / K - p @ both[1] - jump
    even = (p @ (z * z * (right[0] + left[0])) - K * (p @ (right[0] + left[0]))) / K
    even = (even - p @ (z * (right[1] - left[1])) - at_kinks @ (at.kinks * jumps)) / root
    size = xp.abs(right[0]) + xp.abs(left[0])
    # the relative round-off of p is z²/K units
    rough = p * (64 + 4 * z * z / K[:, None])
    rounding = rough @ (z * size) / K + (rough @ (z * z * size) / K + rough @ size) / root
    rounding = rounding + 4 * np.abs(at_kinks * at.kinks**2 / K[:, None]) @ xp.abs(jumps)
    rounding = np.finfo(at.z.dtype).eps * rounding
    root_unit = xp.where(xp.isfinite(unit), xp.sqrt(xp.where(xp.isfinite(unit), unit, 0.0)), 0.0)
    scale = xp.maximum(root_unit, p @ (xp.abs(left[1]) + xp.abs(right[1])) + xp.abs(jump))
    # if a slope grows without bound at a kink, the contribution from next to it is missing
    beside = beside_kinks(at.z, at.kinks, UNRESOLVED).ravel()
    rounding = rounding + 10 * (p[:, beside] @ (xp.abs(left[1]) + xp.abs(right[1]))[beside])
    violation = xp.maximum(xp.abs(odd), xp.abs(even)) - rounding
    return _with_neighbours(
        xp.where(violation > 0, SAFETY * violation / xp.where(scale > 0, scale, 0.0), 0.0)
    )


def _with_neighbours(error: Any) -> Any:
    """The maximum of each error and its two neighbours: ⟨zσ⟩ may agree with ⟨σ′⟩ by chance at a single K."""
    xp = numpy_of(error)
    wider = xp.concatenate([error[:1], error, error[-1:]])
    return xp.max(xp.stack([wider[:-2], wider[1:-1], wider[2:]]), axis=0)


def rounding_errors(magnitudes: Any, size: Any, eps: float) -> Any:
    """The relative round-off error of the sums: the largest among the moments, (grid,)."""
    xp = numpy_of(magnitudes)
    relative = eps / 2 * magnitudes / xp.where(size > 0, size, np.inf)
    return xp.max(xp.where(xp.isfinite(relative), relative, 0.0), axis=0)


def share(table: Any, mask: Any, sums: Callable, size: Any) -> Any:
    """Bound on the relative contribution of the nodes in `mask` to the expectations; the largest, (grid,)."""
    xp = numpy_of(table.columns)
    if xp is np and not mask.any():
        return np.zeros(len(GRID))
    part = sums(table.part(mask), GRID.astype(table.z.dtype))
    relative = xp.where((size > 0) & xp.isfinite(size), part / xp.where(size > 0, size, 1.0), 0.0)
    return xp.max(xp.where(xp.isfinite(relative), relative, 0.0), axis=0)


def edge_errors(act: Activation, at: Nodes, table: Any, sums: Callable, size: Any) -> list:
    """Errors from next to the kinks, where z is too coarse, and from beyond the kinks that are known.

    `sums`: (table, K) → expectations; `size`: what their errors are relative to, (…, grid).
    """
    singular = functools.reduce(
        operator.or_, (exponent(at.at_kinks, d, at.size) > SINGULAR_EXPONENT for d in at.kink_values[:3])
    )
    beside = beside_kinks(table.z, table.kinks, UNRESOLVED)
    edge = share(table, beside & singular, sums, size)
    sources = [(EDGE, edge)]
    if act.reach < np.inf:
        beyond = share(table, table.z > act.reach, sums, size)
        sources.append((BEYOND, numpy_of(beyond).where(beyond > UNKNOWN, np.inf, SAFETY * beyond)))
    return sources
