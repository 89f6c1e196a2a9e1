"""Rules for ∫dx f(x) e^{−x²/2}/√2π where f has kinks or jumps at known places: the cuts.

Cuts are on the last axis and may vary from point to point of an outer integral. Those beyond REACH are
clipped to it, where they no longer matter.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from eft.activations.one_sided import aligned
from eft.activations.programs import INDEX

PANEL_HALF_WIDTH = 10.0
"""|x| at which the Gaussian is cut off; it is e^{−50} there."""

ENDS = (-3.2, 0.0, 3.2)
"""Ends of panels that are short enough for the Gaussian not to be narrow within one."""

LOG_STEP = 0.125
"""Step of `graded` in the log of the distance to the nearest cut: relative error about 1e-14."""

TURN, TAIL = 2.5, 3.7
"""Distances in t of a rule that is double exponential below t = τ.

τ lies `TURN` below the log of the smallest distance that the rule resolves, where e^{τ−t} = 0.08 is small.
The first node lies `TAIL` below τ, where e^{−e^{τ−t}} = e^{−40} is below round-off.
"""

UNGRADED_SHARE = 0.2
"""Share of a panel from which on a rule is double exponential towards an end that is no cut."""

MIN_DISTANCE = 1e-10
"""The smallest distance to a cut that `graded` resolves, relative to the distance between cuts."""


@functools.cache
def _unit_rule(graded_left: bool, graded_right: bool) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights on [0, 1], uniformly spaced in the log of the distance to each graded end.

    log ξ/(1−ξ) = t − e^{τ−t} + e^{t−τ′}, with the trapezoidal rule in t; the weights fall off double
    exponentially at the ends.
    """
    left, right = (
        math.log(MIN_DISTANCE if graded else UNGRADED_SHARE) for graded in (graded_left, graded_right)
    )
    left, right = left - TURN, TURN - right
    t = np.arange(left - TAIL, right + TAIL, LOG_STEP)
    down, up = np.exp(left - t), np.exp(t - right)
    y = t - down + up
    share, rest = 1 / (1 + np.exp(-y)), 1 / (1 + np.exp(y))
    return share, LOG_STEP * share * rest * (1 + down + up)


def graded(cuts: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Nodes and weights uniformly spaced in the log of the distance to every cut, where f may be singular."""
    cuts = jnp.sort(jnp.clip(cuts, -PANEL_HALF_WIDTH, PANEL_HALF_WIDTH), axis=-1)
    panels = cuts.shape[-1] + 1
    return _composite(cuts, [_unit_rule(i > 0, i < panels - 1) for i in range(panels)])


def legendre(cuts: jax.Array, count: int, more: tuple[float, ...] = ()) -> tuple[jax.Array, jax.Array]:
    """Gauss–Legendre with `count` nodes between neighbouring cuts, for f analytic between them.

    `more`: cuts that are the same at every point.
    """
    same = aligned(jnp.asarray(more, cuts.dtype), cuts)
    cuts = jnp.concatenate([cuts, jnp.broadcast_to(same, (*cuts.shape[:-1], len(more)))], -1)
    x, w = np.polynomial.legendre.leggauss(count)
    edges = _edges(jnp.sort(jnp.clip(cuts, -PANEL_HALF_WIDTH, PANEL_HALF_WIDTH), axis=-1))
    panels = cuts.shape[-1] + 1
    panel = np.repeat(np.arange(panels, dtype=INDEX), count)
    low, high = edges[..., panel], edges[..., panel + 1]
    share, weight = (aligned(jnp.asarray(np.tile(a, panels), low.dtype), low) for a in ((x + 1) / 2, w / 2))
    nodes = low + (high - low) * share
    return nodes, (high - low) * weight * _density(nodes)


def even(step: float, dtype) -> tuple[jax.Array, jax.Array]:
    """Nodes and weights of the trapezoidal rule, the best one if f is analytic and there are no cuts."""
    count = math.ceil(PANEL_HALF_WIDTH / step)
    x = jnp.asarray(step * np.arange(-count, count + 1), dtype)
    return x, step * _density(x)


def _composite(cuts: jax.Array, units: list) -> tuple[jax.Array, jax.Array]:
    edges = _edges(cuts)
    x, w = [], []
    for i, unit in enumerate(units):
        share, weight = (jnp.asarray(a, cuts.dtype).reshape(*(1,) * (cuts.ndim - 1), -1) for a in unit)
        low, high = edges[..., i : i + 1], edges[..., i + 1 : i + 2]
        x.append(low + (high - low) * share)
        w.append((high - low) * weight)
    nodes, weights = jnp.concatenate(x, -1), jnp.concatenate(w, -1)
    return nodes, weights * _density(nodes)


def _edges(cuts: jax.Array) -> jax.Array:
    ends = jnp.full_like(cuts[..., :1], PANEL_HALF_WIDTH)
    return jnp.concatenate([-ends, cuts, ends], -1)


def _density(x: jax.Array) -> jax.Array:
    return jnp.exp(-x * x / 2) / math.sqrt(2 * math.pi)
