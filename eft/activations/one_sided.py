"""One-sided limits of a function and its derivatives at a kink, and their jumps.

A function must not be evaluated right next to its kink c: `clip(z + 1, 0, 2)` rounds z + 1, and has its
kink a few floating-point numbers away from z = 1. It is evaluated at two distances h, large compared with
the round-off and small compared with everything else, and continued to c by its Taylor series:

    f⁽ᵏ⁾(c^±) = Σ_j (∓h)ʲ/j! f⁽ᵏ⁺ʲ⁾(c ± h)

The limit exists if the two distances agree. If the values right next to c agree too, these are exact.
"""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from eft.activations.derivatives import Array, Function, Scalar, is_traced, program

DISTANCE = 1e-10
"""h/max(|c|, 1) in float64: a hundred thousand times the round-off error of a sum of numbers near 10."""

DISTANCE_FLOAT32 = 1e-3
"""The same for functions that treat z in float32 or less."""

KINK_SHARE = 1e-3
"""The largest h, relative to the distance to the nearest other kink."""

SUM_ROUNDING = 64
"""Round-off of f and of a sum of its series, in machine epsilons."""

SAME_LIMIT = 1e-6
"""Relative difference up to which the value next to the kink is the limit, more exact than that at h/32."""

MIN_GROWTH = 1.2
"""Ratio of |f| at h/32 to that at h from which on f has no limit; h^{−1/20} has this ratio."""

CLOSER = 32
"""Ratio of h to the other, smaller distance."""

FARTHER = (1e3, 1e6)
"""Ratios to h of the larger distances at which a power law must hold too, not to be due to round-off."""

FLOOR = 1e-10
"""Round-off left by cancellation in a function, relative to its size at some distance from the kink."""

ROUNDED = 1e-3
"""The smallest jump, in units of that round-off."""

AGREEMENT = 1e-3
"""The relative difference up to which the two distances agree on a limit; √h and log h are far from that."""


class Points(NamedTuple):
    """Where a function is evaluated near its kinks: next to, at h, h/32, 10³h, 10⁶h; below and above.

    `z`: (5, 2, kinks) the points.
    `step`: (5, 2, kinks) z minus the kink.
    """

    z: Float[np.ndarray, "5 2 kinks"]
    step: Float[np.ndarray, "5 2 kinks"]


class Limits(NamedTuple):
    """f, f′, … at the kinks; fields of shape (orders, kinks).

    `below`: from below.
    `above`: from above.
    `noise`: bound on the round-off in f_above − f_below.
    `exists`: whether the limits exist on both sides.
    """

    below: Float[Array, "orders kinks"]
    above: Float[Array, "orders kinks"]
    noise: Float[Array, "orders kinks"]
    exists: Bool[Array, "orders kinks"]

    @property
    def jumps(self) -> Any:
        """[f⁽ᵏ⁾]_c; 0 where round-off explains the difference or a limit does not exist."""
        step = self.above - self.below
        xp = numpy_of(step)
        return xp.where((xp.abs(step) > self.noise) & self.exists, step, 0.0)


def numpy_of(*arrays) -> Any:
    """NumPy if all arrays are NumPy's, jax.numpy if any is JAX's."""
    return np if all(isinstance(a, np.ndarray | np.generic) for a in arrays) else jnp


def aligned(a, like) -> Any:
    """a with leading axes of length 1, to the rank of `like`: JAX may be set not to promote ranks itself."""
    return a.reshape((1,) * (np.ndim(like) - np.ndim(a)) + np.shape(a))


def sides(c: float, dtype) -> tuple[Scalar, Scalar]:
    """The floating-point numbers next to c, below and above (for c = 0 the smallest normal ones)."""
    if c == 0:
        tiny = np.asarray(jnp.finfo(dtype).tiny, dtype)
        return -tiny, tiny
    return tuple(np.nextafter(np.asarray(c, dtype), np.asarray(end, dtype)) for end in (-np.inf, np.inf))  # type: ignore[return-value]


def points(kinks: np.ndarray, resolution: Any = np.float64) -> Points:
    """The points for ascending kinks, which may be closer than h; `resolution`: the precision of f."""
    dtype = kinks.dtype
    narrow = min(jnp.finfo(dtype).bits, jnp.finfo(resolution).bits) < 64
    share = DISTANCE_FLOAT32 if narrow else DISTANCE
    between = np.diff(kinks, prepend=-np.inf, append=np.inf)
    h = np.minimum(share * np.maximum(np.abs(kinks), 1.0), KINK_SHARE * np.minimum(between[:-1], between[1:]))
    h = np.maximum(h, 4 * np.spacing(np.abs(kinks))).astype(dtype)
    next_to = np.array([sides(float(c), dtype) for c in kinks]).T
    far = [np.minimum(factor * h, np.minimum(between[:-1], between[1:]) / 4) for factor in FARTHER]
    z = np.stack([next_to, *(np.stack([kinks - d, kinks + d]) for d in (h, h / CLOSER, *far))])
    return Points(z.astype(dtype), (z - kinks).astype(dtype))


def limits(at: Points, f: Any, size: Any) -> Limits:
    """The limits from f, f′, … at the points, shape (orders, 5, 2, kinks).

    `size`: |f| at some distance from the kinks. Anything below 1e-10 of that, on the length 1, is taken as
    the round-off error of sums and differences inside f.
    """
    xp = numpy_of(f)
    orders, eps = len(f), np.finfo(at.z.dtype).eps
    powers = [(-at.step[1:3]) ** j / math.factorial(j) for j in range(orders)]
    terms = [[f[k + j, 1:3] * powers[j] for j in range(orders - k)] for k in range(orders)]
    far, close = xp.moveaxis(xp.stack([sum(row) for row in terms]), 1, 0)
    rounding = xp.stack([sum(map(xp.abs, row)) for row in terms])[:, 1] * (SUM_ROUNDING * eps)
    difference = xp.abs(far - close)
    settled = difference <= AGREEMENT * xp.abs(close) + rounding
    largest = [xp.max(xp.where(xp.isfinite(d), xp.abs(d), 0.0)) for d in close]
    floor = FLOOR * (size + xp.stack([functools.reduce(xp.maximum, largest[: k + 1]) for k in range(orders)]))
    grows = ~settled & ~(xp.abs(close) <= MIN_GROWTH * xp.abs(far)) & ~(xp.abs(close) <= floor[:, None, None])
    next_to = f[:, 0]
    exact = xp.abs(next_to - close) <= SAME_LIMIT * xp.abs(close) + rounding
    limit = xp.where(exact, next_to, close)
    error = xp.where(exact, 0.0, difference + rounding)
    steep = xp.concatenate([xp.abs(f[1:, 2]), xp.zeros_like(f[:1, 2])])
    gap = at.step[0, 1] - at.step[0, 0]
    slope = 4 * gap[None, None] * xp.where(exact, steep, 0.0)
    noise = SUM_ROUNDING * eps * xp.max(xp.abs(limit), axis=1) + xp.max(slope, axis=1) + xp.sum(error, axis=1)
    noise = noise + ROUNDED * floor[:, None]
    good = xp.all(~grows & xp.isfinite(limit), axis=1)
    return Limits(limit[:, 0], limit[:, 1], xp.where(xp.isfinite(noise), noise, 0.0), good)


def exponent(at: Points, f: Any, size: Any) -> Any:
    """Exponent a of |f| ~ h^{−a} near a kink, the largest over the kinks; 0 where f is regular.

    The law must hold from the largest distance to the smallest, since round-off grows only near the kink.
    """
    xp = numpy_of(f)
    order = [4, 3, 1, 2]  # from far to near
    f, steps = xp.abs(f[np.array(order)]), np.abs(at.step[order])
    powers = []
    for far, close, d_far, d_close in zip(f, f[1:], steps, steps[1:], strict=False):
        significant = (far > 0) & (close > FLOOR * size) & (far > FLOOR * size)
        ratio = xp.where(significant, close / xp.where(significant, far, 1.0), 1.0)
        apart = d_far > 1.5 * d_close
        power = xp.log(ratio) / np.log(np.where(apart, d_far / d_close, np.e))
        powers.append(xp.where(apart, power, np.inf))
    least = functools.reduce(xp.minimum, powers)
    return xp.max(xp.where(xp.isfinite(least), least, 0.0))


def jump_at(f: Function, c: float, dtype) -> Any:
    """[f]_c = f(c⁺) − f(c⁻), for a pytree of functions; 0 where f has no limit."""
    at = points(np.array([c], dtype))
    z = jnp.asarray(at.z)
    value, slope = jax.jvp(f, (z,), (jnp.ones_like(z),))
    return jax.tree.map(functools.partial(_jump, at), value, slope)


def jumps_at(f: Function, kinks: tuple[float, ...], dtype) -> tuple[float, ...]:
    """[f]_c at each c as a number; f is compiled once, and the rest is done by NumPy."""
    if not kinks:
        return ()
    at = [points(np.array([c], dtype)) for c in kinks]
    z = np.stack([each.z for each in at])
    if is_traced(f):
        return tuple(float(jump_at(f, c, dtype)) for c in kinks)
    both = program(lambda z: jax.jvp(f, (z,), (jnp.ones_like(z),)), z.shape, z.dtype)(z)
    with np.errstate(all="ignore"):
        return tuple(float(_jump(*each)) for each in zip(at, *map(np.asarray, both), strict=True))


def _jump(at: Points, value: Any, slope: Any) -> Any:
    xp = numpy_of(value, slope)
    slope = xp.where(xp.isfinite(slope), slope, 0.0)
    return limits(at, xp.stack([value, slope]), xp.max(xp.abs(value))).jumps[0, 0]
