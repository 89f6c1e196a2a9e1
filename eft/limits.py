"""One-sided limits of a function and its derivatives at a kink, and their jumps.

A function is not to be looked at right next to its kink c: `clip(z + 1, 0, 2)` rounds z + 1, and has its
kink a few numbers away from z = 1. It is looked at two distances h that are large beside the rounding and
small beside everything else, and continued to c by its Taylor series:

    f⁽ᵏ⁾(c^±) = Σ_j (∓h)ʲ/j! f⁽ᵏ⁺ʲ⁾(c ± h)

There is a limit where the two distances agree. Where the numbers next to c agree too, they are exact.
"""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from eft.derivatives import Function

DISTANCE = 1e-10
"""h/max(|c|, 1) in float64: a hundred thousand times what a sum of numbers near 10 rounds by."""

CLOSER = 32
"""How many times smaller the other distance is."""

FARTHER = (1e3, 1e6)
"""How many times larger the distances are at which a power law must hold as well, to be no rounding."""

FLOOR = 1e-10
"""What is left of a function by cancellation, relative to its size at some distance."""

ROUNDED = 1e-3
"""The smallest jump, in units of that."""

AGREEMENT = 1e-3
"""The relative difference up to which the two distances have one limit; √h and log h are far from it."""


class Points(NamedTuple):
    """Where a function is looked at near its kinks: next to them, at h, h/32, 10³h, 10⁶h; below and above."""

    z: np.ndarray  # (5, 2, kinks)
    step: np.ndarray  # (5, 2, kinks) z less the kink


class Limits(NamedTuple):
    """f, f′, … at the kinks; fields of shape (orders, kinks)."""

    below: Any
    above: Any
    noise: Any  # what of f_above − f_below may be rounding
    exists: Any  # whether there is a limit on both sides

    @property
    def jumps(self) -> Any:
        """[f⁽ᵏ⁾]_c, 0 where rounding explains it or there is no limit."""
        step = self.above - self.below
        xp = numpy_of(step)
        return xp.where((xp.abs(step) > self.noise) & self.exists, step, 0.0)


def numpy_of(*arrays) -> Any:
    """NumPy for its own arrays, jax.numpy where one is JAX's."""
    return np if all(isinstance(a, np.ndarray | np.generic) for a in arrays) else jnp


def aligned(a, like) -> Any:
    """a with axes of length 1 before its own, as many as `like` has more: JAX may be told not to add them."""
    return a.reshape((1,) * (np.ndim(like) - np.ndim(a)) + np.shape(a))


def sides(c: float, dtype) -> tuple[np.ndarray, np.ndarray]:
    """The numbers next to c, below and above (next to 0: the smallest normal ones)."""
    if c == 0:
        tiny = np.asarray(jnp.finfo(dtype).tiny, dtype)
        return -tiny, tiny
    return tuple(np.nextafter(np.asarray(c, dtype), np.asarray(end, dtype)) for end in (-np.inf, np.inf))  # type: ignore[return-value]


def points(kinks: np.ndarray, resolution: Any = np.float64) -> Points:
    """For ascending kinks, which may be closer together than h; `resolution`: the precision of f."""
    dtype = kinks.dtype
    narrow = min(jnp.finfo(dtype).bits, jnp.finfo(resolution).bits) < 64
    share = 1e-3 if narrow else DISTANCE
    between = np.diff(kinks, prepend=-np.inf, append=np.inf)
    h = np.minimum(share * np.maximum(np.abs(kinks), 1.0), 1e-3 * np.minimum(between[:-1], between[1:]))
    h = np.maximum(h, 4 * np.spacing(np.abs(kinks))).astype(dtype)
    next_to = np.array([sides(c, dtype) for c in kinks]).T
    far = [np.minimum(factor * h, np.minimum(between[:-1], between[1:]) / 4) for factor in FARTHER]
    z = np.stack([next_to, *(np.stack([kinks - d, kinks + d]) for d in (h, h / CLOSER, *far))])
    return Points(z.astype(dtype), (z - kinks).astype(dtype))


def limits(at: Points, f: Any, size: Any) -> Limits:
    """From f, f′, … at the points, shape (orders, 5, 2, kinks). `size`: |f| at some distance from the kinks.

    What is smaller than 1e-10 of that, on the length 1, is what sums and differences inside of f round by.
    """
    xp = numpy_of(f)
    orders, eps = len(f), np.finfo(at.z.dtype).eps
    powers = [(-at.step[1:3]) ** j / math.factorial(j) for j in range(orders)]
    terms = [[f[k + j, 1:3] * powers[j] for j in range(orders - k)] for k in range(orders)]
    far, close = xp.moveaxis(xp.stack([sum(row) for row in terms]), 1, 0)
    rounding = xp.stack([sum(map(xp.abs, row)) for row in terms])[:, 1] * (64 * eps)
    difference = xp.abs(far - close)
    settled = difference <= AGREEMENT * xp.abs(close) + rounding
    largest = [xp.max(xp.where(xp.isfinite(d), xp.abs(d), 0.0)) for d in close]
    floor = FLOOR * (size + xp.stack([functools.reduce(xp.maximum, largest[: k + 1]) for k in range(orders)]))
    grows = ~settled & ~(xp.abs(close) <= 1.2 * xp.abs(far)) & ~(xp.abs(close) <= floor[:, None, None])
    next_to = f[:, 0]
    exact = xp.abs(next_to - close) <= 1e-6 * xp.abs(close) + rounding
    limit = xp.where(exact, next_to, close)
    error = xp.where(exact, 0.0, difference + rounding)
    steep = xp.concatenate([xp.abs(f[1:, 2]), xp.zeros_like(f[:1, 2])])
    gap = at.step[0, 1] - at.step[0, 0]
    slope = 4 * gap[None, None] * xp.where(exact, steep, 0.0)
    noise = 64 * eps * xp.max(xp.abs(limit), axis=1) + xp.max(slope, axis=1) + xp.sum(error, axis=1)
    noise = noise + ROUNDED * floor[:, None]
    good = xp.all(~grows & xp.isfinite(limit), axis=1)
    return Limits(limit[:, 0], limit[:, 1], xp.where(xp.isfinite(noise), noise, 0.0), good)


def exponent(at: Points, f: Any, size: Any) -> Any:
    """a of |f| ~ h^{−a} next to the kink where it is largest; 0 where f is regular.

    The law must hold from the largest distance to the smallest: rounding grows near the kink only.
    """
    xp = numpy_of(f)
    order = [4, 3, 1, 2]  # from far to near
    f, steps = xp.abs(f[np.array(order)]), np.abs(at.step[order])
    found = []
    for far, close, d_far, d_close in zip(f, f[1:], steps, steps[1:], strict=False):
        seen = (far > 0) & (close > FLOOR * size) & (far > FLOOR * size)
        ratio = xp.where(seen, close / xp.where(seen, far, 1.0), 1.0)
        apart = d_far > 1.5 * d_close
        power = xp.log(ratio) / np.log(np.where(apart, d_far / d_close, np.e))
        found.append(xp.where(apart, power, np.inf))
    least = functools.reduce(xp.minimum, found)
    return xp.max(xp.where(xp.isfinite(least), least, 0.0))


def jump_at(f: Function, c: float, dtype) -> Any:
    """[f]_c = f(c⁺) − f(c⁻), for a pytree of functions; 0 where f has no limit."""
    at = points(np.array([c], dtype))
    z = jnp.asarray(at.z)
    value, slope = jax.jvp(f, (z,), (jnp.ones_like(z),))

    def jump(value, slope):
        slope = jnp.where(jnp.isfinite(slope), slope, 0.0)
        return limits(at, jnp.stack([value, slope]), jnp.max(jnp.abs(value))).jumps[0, 0]

    return jax.tree.map(jump, value, slope)
