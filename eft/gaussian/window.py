"""Sums over the nodes at any K: directly in the window that the nodes cover, outside by leading powers."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from eft.activations.one_sided import aligned, numpy_of
from eft.gaussian.expectation import UNDERFLOW_U, WINDOW
from eft.gaussian.half_line import TAIL_SHARE

HIGHEST = jax.lax.Precision.HIGHEST

SUM_LENGTH = 32
"""Terms summed one after another in float32."""

BLOCK_WEIGHTS = 2**20
"""Weights held in memory at a time: enough to occupy all cores, few enough to stay near the cache."""

NEGLIGIBLE_TAIL = 1e-3
"""Size of a term, in units of the sum's round-off, below which it may be left out."""

POWER_TOLERANCE = 1e-5
"""Difference from an integer or half-integer within which a measured power is taken to be that one."""

SMALL_CORRECTION = 1e-3
"""Relative size below which b x^{±1/2} is the first correction to a power law; else it is left out."""

MIN_BLOCK = 512
"""The least number of values of K integrated at a time, whatever the number of nodes."""


def weights(z, K):
    """p_K(z), for NumPy or JAX arrays; z may have fewer axes than K."""
    xp, z = numpy_of(z, K), aligned(z, K)
    return xp.exp(-z * (z / K) / 2) / (math.sqrt(2 * math.pi) * xp.sqrt(K))


def product(a, b):
    """The matrix product in full precision (by default, an accelerator would use less for float32)."""
    if numpy_of(a, b) is np:
        return a @ b
    if jnp.result_type(a, b) == jnp.float32:  # sums of sums: round-off grows with the root of their length
        a, b = (
            jnp.concatenate([c, jnp.zeros_like(c)[..., : -c.shape[-1] % SUM_LENGTH]], -1) for c in (a, b.T)
        )
        parts = jnp.einsum(
            "...rj,krj->...rk", *(c.reshape(*c.shape[:-1], -1, SUM_LENGTH) for c in (a, b)), precision=HIGHEST
        )
        return parts.sum(-2)
    return jnp.matmul(a, b, precision=HIGHEST)


def summed(table: Any, K) -> list:
    """Σ v p_K times each column, over the nodes; the mean over the rules."""
    rules = len(table.z)
    z, v = table.z.reshape(-1), table.v.reshape(-1)
    columns = table.columns.reshape(-1, table.columns.shape[-1])
    w = weights(z, K[..., None])
    sums = product(aligned(v, w) * w, columns)
    # one by one: if the axes were exchanged, XLA would compute the product in an order a third slower
    return [sums[..., k] if rules == 1 else sums[..., k] / rules for k in range(sums.shape[-1])]


def without_lost(table: Any, K, moments, size) -> Any:
    """The moments, set to inf where they diverge or where terms that matter are not finite."""
    xp = numpy_of(moments)
    shape = (-1, *(1,) * K.ndim)
    K = K[None]
    overflow_z, last_terms, infinite = (
        a.reshape(shape) for a in (table.overflow_z, table.last_terms, table.infinite)
    )
    finite = xp.isfinite(overflow_z)
    end = xp.where(finite, overflow_z, 1.0)
    tail = last_terms * xp.where(finite, weights(TAIL_SHARE * end, K), 0.0)
    beyond = (
        finite
        & (end < UNDERFLOW_U * xp.sqrt(K))
        & (tail > NEGLIGIBLE_TAIL * np.finfo(moments.dtype).eps * size)
    )
    return xp.where(beyond | (infinite > 0), np.inf, moments)


def lost(table: Any, moments, K) -> Any:
    """Where a moment in the window is not finite though it should be."""
    xp = numpy_of(K)
    finite = xp.isfinite(moments) | (table.infinite.reshape(-1, *(1,) * K.ndim) > 0)
    return ~xp.all(finite, axis=0) & (WINDOW[0] <= K) & (WINDOW[1] >= K)


def edges(sums: Callable, table: Any) -> Any:
    """`_leading_powers` at either end of the window."""
    ends = zip(WINDOW, (4.0, 0.25), strict=True)
    powers = [_leading_powers(sums, table, K, step) for K, step in ends]
    return numpy_of(powers[0]).stack(powers)


def _leading_powers(sums: Callable, table: Any, K: float, step: float) -> Any:
    """q, a, b of M = x^q (a + b x^{±1/2}), x = K over an end of the window, and the residual; shape (…, 4).

    One-sided Taylor series at 0, and power laws at infinity, give integer or half-integer powers q.
    """
    x = step ** np.arange(3, dtype=table.z.dtype)
    M = sums(table, K * x)
    xp = numpy_of(M)
    fixed = M if xp is np else jax.lax.stop_gradient(M)
    # x^{±1/2} is 1, 2, 4 at the three points: the first correction to the slope drops out
    slopes = xp.log(xp.abs(fixed[:, 1:] / fixed[:, :-1])) / math.log(step)
    slope = 2 * slopes[:, 0] - slopes[:, 1]
    q = xp.round(2 * slope) / 2
    q = xp.where(xp.isfinite(slope), xp.where(xp.abs(slope - q) < POWER_TOLERANCE, q, slope), 0.0)
    scaled = M / x[None] ** q[:, None]
    b = scaled[:, 1] - scaled[:, 0]
    small = xp.abs(b) < SMALL_CORRECTION * xp.abs(scaled[:, 0])
    a, b = xp.where(small, scaled[:, 0] - b, M[:, 0]), xp.where(small, b, 0.0)
    deviation = xp.stack([scaled[:, 2] - a - 4 * b, a])
    deviation = deviation if xp is np else jax.lax.stop_gradient(deviation)
    # an expectation that is 0 or infinite at one K is so at all K
    residual = xp.where((deviation[0] == 0) | ~xp.isfinite(M[:, 0]), 0.0, xp.abs(deviation[0] / deviation[1]))
    return xp.stack([q, a, b, residual], -1)


def everywhere(sums: Callable, table: Any, K) -> tuple[Any, Any]:
    """`sums` at any K, outside the window by the leading powers at its ends, and the relative error there."""
    xp = numpy_of(K)
    low, high = WINDOW
    down, up = xp.minimum(K, low) / low, xp.maximum(K, high) / high
    some = xp.where(down > 0, down, 1.0)
    corrections = xp.where(down > 0, xp.sqrt(some), 0.0), 1 / xp.sqrt(up)

    def outside(x, correction, edge):
        x, correction = x[None], correction[None]
        q, a, b, residual = (edge[:, i].reshape(-1, *(1,) * K.ndim) for i in range(4))
        log_x = xp.log(xp.where(x > 0, x, 1.0))
        power = xp.where((x > 0) | (q == 0), xp.exp(q * log_x), xp.where(q > 0, 0.0, xp.inf))
        # integer and half-integer powers are exact; the error of any other grows with the distance
        distance = xp.abs(log_x)
        growth = xp.where(2 * q == xp.round(2 * q), (distance > 0).astype(distance.dtype), distance)
        residual = xp.where(growth > 0, residual, 0.0)
        return power * (a + b * correction), xp.max((residual * growth)[:5], axis=0)

    below, error_below = outside(down, corrections[0], table.edges[0])
    above, error_above = outside(up, corrections[1], table.edges[1])
    inside = sums(table, xp.clip(K, low, high))
    below_it, above_it = (low > K)[None], (high < K)[None]
    return xp.where(below_it, below, xp.where(above_it, above, inside)), error_below + error_above


def in_blocks(moments: Callable, table: Any, K: jax.Array) -> Any:
    """moments(table, K), evaluated one block of K at a time."""
    block = max(MIN_BLOCK, BLOCK_WEIGHTS // table.z.size)
    if K.size <= block:
        return moments(table, K)
    blocks = jnp.pad(K.ravel(), (0, -K.size % block), constant_values=1.0).reshape(-1, block)
    flat = jax.lax.map(lambda K: moments(table, K), blocks)
    return jax.tree.map(lambda a: a.ravel()[: K.size].reshape(K.shape), flat)
