"""Nested integrals of exponentials over time, ∫_{t>s₁>…>s_k>0} e^{−a₀(t−s₁) − a₁(s₁−s₂) − … − a_k s_k}."""

import math

import jax
import jax.numpy as jnp

TERMS = 22
"""Terms of the series where (a_j − a_i) t ≤ 1: the first one left out is 1/22! of the sum."""


def nested_exponentials(rates: jax.Array, t: jax.Array) -> jax.Array:
    """The integral over the k times between t and 0, for rates a₀ … a_k ≥ 0 on the last axis of `rates`.

        I[a_i … a_j] = (I[a_i … a_{j−1}] − I[a_{i+1} … a_j])/(a_j − a_i),    I[a_i] = e^{−a_i t}

    are (−1)^k times the divided differences of e^{−at}, symmetric in the rates, here in ascending order.
    Where (a_j − a_i) t ≤ 1 that would cancel, and the series in t is summed instead, with h_m the complete
    homogeneous symmetric polynomials:

        I[a_i … a_j] = t^k e^{−a_i t} Σ_m (−t)^m h_m(0, a_{i+1} − a_i, …, a_j − a_i)/(m + k)!

    Relative accuracy 1e-13 for k ≤ 4, whatever the rates: equal ones, and 0, are allowed. At t = ∞, 0 if all
    rates are positive, Π 1/a over the others if one is 0, and ∞ if several are.

    >>> print(nested_exponentials(jnp.array([0.0, 1.0, 1.0]), jnp.array(jnp.inf)))
    1.0
    """
    a = jnp.moveaxis(jnp.sort(rates, -1), -1, 0)
    endless = jnp.isinf(t)
    time = jnp.where(endless, 1.0, t)
    row = [jnp.exp(-x * time) for x in a]
    for k in range(1, len(a)):
        row = [_wider(a[i : i + k + 1], row[i], row[i + 1], time) for i in range(len(a) - k)]
    end = jnp.where(a[0] > 0, 0.0, jnp.prod(1 / a[1:], 0))
    return jnp.where(endless, end, row[0])


def _wider(a: jax.Array, lower: jax.Array, upper: jax.Array, t: jax.Array) -> jax.Array:
    """I of the rates a, ascending, from those without the last and without the first."""
    k = len(a) - 1
    gap = a[-1] - a[0]
    close = gap * t <= 1
    x = jnp.where(close[None], (a[1:] - a[:1]) * t, 0.0)
    h = [jnp.ones_like(gap), *(TERMS - 1) * [jnp.zeros_like(gap)]]
    for one in x:
        for m in range(1, TERMS):
            h[m] = h[m] + one * h[m - 1]
    series = sum((-1) ** m / math.factorial(m + k) * h[m] for m in range(TERMS))
    return jnp.where(close, t**k * jnp.exp(-a[0] * t) * series, (lower - upper) / jnp.where(close, 1.0, gap))
