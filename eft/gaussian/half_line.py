"""Where an activation is evaluated: at the nodes of the quadrature, and near its kinks."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from eft.activations.definition import Activation
from eft.activations.derivatives import Array
from eft.activations.one_sided import DISTANCE, Limits, Points, numpy_of, points
from eft.gaussian.expectation import half_line

Derivatives = Callable[[Any], tuple[Any, ...]]

NODE_PADDING = 256
"""The nodes of a user-defined function are padded to a multiple of this, so that few shapes are compiled."""

FINEST_SCALE = 1e-4
"""A user-defined function may have structure at a kink, or in place of one, down to 1e-7 of the kink."""

TAIL_SHARE = 0.8
"""Terms beyond this share of the |z| where the integrand ends show whether it has decayed by there."""

MAX_LIMIT = 1e3
"""|F| at the largest |z| up to which F is taken to have a limit; F minus a large number would lose digits."""

SERIES_POWER = 0.2
"""Below |z| = ε^{1/5} the series of F to z⁴ is exact up to round-off."""

SERIES_ROUNDING = 64
"""Difference, in units of the round-off of F₀, up to which the series and the direct difference agree."""


class Nodes(NamedTuple):
    """The points where an activation is evaluated, and its values there.

    `z`: (rules, nodes) positions on the half line.
    `v`: (rules, nodes) their weights.
    `at_kinks`: the points near the kinks.
    `kinks`: (kinks,) including 0.
    `zero`: index of 0 among the kinks.
    `kink_values`: (orders, 5, 2, kinks) σ, σ′, … at those points.
    `left`: (orders, rules, nodes) σ, σ′, … at −z.
    `right`: the same at z.
    """

    z: Float[np.ndarray, "rules nodes"]
    v: Float[np.ndarray, "rules nodes"]
    at_kinks: Points
    kinks: Float[np.ndarray, "kinks"]
    zero: int
    kink_values: Float[Array, "orders 5 2 kinks"]
    left: Float[Array, "orders rules nodes"]
    right: Float[Array, "orders rules nodes"]

    @property
    def size(self) -> Any:
        """The largest |σ| at 0.1 < |z| ≤ 1."""
        xp = numpy_of(self.left)
        near = (self.z > 0.1) & (self.z <= 1.0)
        values = xp.where(near, xp.maximum(xp.abs(self.left[0]), xp.abs(self.right[0])), 0.0)
        return xp.max(xp.where(xp.isfinite(values), values, 0.0))


def nodes(act: Activation, derivatives: Derivatives, rules: int, traced: bool, resolution: Any) -> Nodes:
    """σ, σ′, … at the nodes and the kinks; by NumPy, or by JAX if σ closes over traced values.

    `resolution`: the precision in which σ treats z.
    """
    dtype = np.dtype(jnp.result_type(float) if traced else np.float64)
    kinks = np.array(sorted({0.0, *act.kinks}), dtype)
    finer = 1.0 if act.resolved else FINEST_SCALE
    each = _equally_long([half_line(act.kinks, k / rules, finer) for k in range(rules)])
    z, v = (np.stack(rows).astype(dtype) for rows in zip(*each, strict=True))
    at_kinks = points(kinks, resolution)
    where = np.concatenate([at_kinks.z.ravel(), -z.ravel(), z.ravel()])
    orders = derivatives(jnp.asarray(where) if traced else where)
    s = numpy_of(orders[0]).stack(orders)
    cuts = np.cumsum([at_kinks.z.size, z.size])
    parts = numpy_of(s).split(s, cuts, axis=1)
    shapes = at_kinks.z.shape, z.shape, z.shape
    values, left, right = (part.reshape(-1, *shape) for part, shape in zip(parts, shapes, strict=True))
    return Nodes(z, v, at_kinks, kinks, int(np.abs(kinks).argmin()), values, left, right)


def _equally_long(rules: list) -> list:
    """The rules, the shorter ones padded with nodes of weight 0."""
    longest = max(len(z) for z, _ in rules)
    longest += -longest % NODE_PADDING if len(rules) > 1 else 0
    return [
        (np.pad(z, (0, longest - len(z)), mode="edge"), np.pad(v, (0, longest - len(v)))) for z, v in rules
    ]


def centres(F: Limits, zero: int, left, right, size) -> tuple:
    """F₀ and F_∞, from F just below and above 0 and at ∓z; F₀ in place of F_∞ if F is large at large |z|.

    `size`: √F at some distance from 0. F₀ is set to 0 if it is far below the round-off of F at that size, or
    if F has no limit at 0.
    """
    xp = numpy_of(left)
    F0 = (F.below[0, zero] + F.above[0, zero]) / 2
    F0 = xp.where((xp.abs(F0) > (np.finfo(F0.dtype).eps * size) ** 2) & F.exists[0, zero], F0, 0.0)
    far_out = (left[0, 0, -1] + right[0, 0, -1]) / 2
    return F0, xp.where(xp.abs(far_out) < MAX_LIMIT, far_out, F0)


def differences(centre, F: Limits, at: Nodes, left, right) -> tuple[tuple, tuple]:
    """F − F₀ and F − F_∞ at −z, and at z, without cancellation where they are small.

    Computed from F, F′, … F⁗ on either side of 0, and F at ∓z. F₀ is the mean of both sides at 0, F_∞ that
    at large |z|.
    """
    xp = numpy_of(left)
    F0, far = centre
    step = F.jumps[0, at.zero] / 2
    regular = F.exists[:4, at.zero].all()
    near = (at.z < np.finfo(at.z.dtype).eps ** SERIES_POWER) & (F0 != 0) & regular
    both_sides = []
    for y, values, a0, side in ((-at.z, left[0], -step, F.below), (at.z, right[0], step, F.above)):
        _, a1, a2, a3, a4 = side[:, at.zero]
        y = xp.where(near, y, 0.0)
        # F − F(0) from the one-sided series at 0, where the difference would suffer from cancellation
        series = a0 + y * (a1 + y / 2 * (a2 + y / 3 * (a3 + y / 4 * a4)))
        direct = values - F0
        same = xp.abs(series - direct) <= SERIES_ROUNDING * np.finfo(at.z.dtype).eps * xp.abs(F0)
        from_zero = xp.where(near & same, series, direct)
        both_sides.append((from_zero, xp.where(far == F0, from_zero, values - far)))
    return both_sides[0], both_sides[1]


def finite_columns(columns, at: Nodes, used: tuple, largest: float) -> tuple[Any, Any, Any]:
    """The columns, 0 where not finite; for each moment the |z| where that begins, and the terms before it."""
    xp = numpy_of(columns)
    finite = xp.abs(columns) <= largest
    columns = xp.where(finite, columns, 0.0)
    # next to a kink a derivative may be infinite: `edge_errors` accounts for what is left out there
    far = ~beside_kinks(at.z, at.kinks, DISTANCE)
    overflow_z, last_terms = [], []
    for indices in used:
        infinite = ~finite[..., list(indices)].all(-1) & far
        first = xp.min(xp.where(infinite, at.z, np.inf))
        terms = xp.abs(at.v[..., None] * columns[..., list(indices)]).max(-1)
        overflow_z.append(first)
        tail = xp.max(xp.where((at.z < first) & (at.z > TAIL_SHARE * first), terms, 0.0))
        last_terms.append(xp.minimum(tail, largest))
    return columns, xp.stack(overflow_z), xp.stack(last_terms)


def beside_kinks(z: np.ndarray, kinks: np.ndarray, distance: float) -> np.ndarray:
    """A mask of the nodes closer to a kink than `distance`, relative to it; at 0, of the innermost ones."""
    places = np.unique(np.abs(kinks))
    return np.any([np.abs(z - c) <= (distance * c if c else 10 * z.min()) for c in places], axis=0)
