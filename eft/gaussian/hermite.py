"""Hermite coefficients of an activation, a_k(K) = E[σ(√K u) h_k(u)], u ~ N(0, 1), h_k = He_k/√k!.

With them, an expectation at two Gaussian variables is a power series in their correlation (Mehler):

    ⟨σ(z₁)σ(z₂)⟩ = Σ_k a_k(K₁) a_k(K₂) ρᵏ,     ⟨σ′(z₁)σ′(z₂)⟩ = Σ_k k e_k(K₁) e_k(K₂) ρᵏ⁻¹,     e_k = a_k/√K

The truncation error of the first series, with terms k < M, is at most √(T₁T₂)|ρ|ᴹ, where
T = ⟨σ²⟩ − Σ_{k<M} a_k² is known. As K → 0, e_1 tends to σ′(0) and the other e_k to 0; so the e_k are stored,
computed from the slope of σ's chord to 0.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float

from eft.activations.definition import Activation
from eft.activations.derivatives import Array
from eft.activations.one_sided import aligned, sides
from eft.gaussian.planes import TINY_ROOT

PANEL_HALF_WIDTH = 12
"""|u| at which the Gaussian is cut off; it is e^{−72} there."""

SERIES_RANGE = 1e-3
"""|z| below which the slope of the chord to 0 is computed from the derivatives at 0."""

CANCELLATION_RANGE = 1e-2
"""√K below which a_k/√K loses digits to cancellation."""

PANEL_NODES = 24
"""Gauss–Legendre nodes on panels of width 1: enough for h_k to k = 512."""


@functools.cache
def _edges(halvings: int) -> np.ndarray:
    """Edges of the panels; those at 0 are halved repeatedly, since σ(√K u) is steep there for large K."""
    right = np.concatenate([0.5 ** np.arange(halvings, 0, -1), np.arange(1.0, PANEL_HALF_WIDTH + 1)])
    return np.concatenate([-right[::-1], [0.0], right])


def _nodes(kinks: jax.Array, halvings: int, odd: bool) -> tuple[jax.Array, jax.Array]:
    """Nodes u and weights for E[f(u)]; the kinks of f(u) are panel edges too. `odd`: f is even, and u > 0."""
    edges = jnp.asarray(_edges(halvings), kinks.dtype)
    if odd:
        edges, kinks = edges[len(edges) // 2 :], jnp.abs(kinks)
    if kinks.size:
        edges = jnp.sort(jnp.concatenate([edges, jnp.clip(kinks, -PANEL_HALF_WIDTH, PANEL_HALF_WIDTH)]))
    x, w = (jnp.asarray(a, kinks.dtype) for a in np.polynomial.legendre.leggauss(PANEL_NODES))
    middle, half = (edges[1:] + edges[:-1])[:, None] / 2, (edges[1:] - edges[:-1])[:, None] / 2
    u = (middle + half * x[None]).ravel()
    return u, (1 + odd) * (half * w[None]).ravel() * jnp.exp(-u * u / 2) / math.sqrt(2 * math.pi)


def hermite_polynomials(u: jax.Array, count: int) -> jax.Array:
    """h_0 … h_{count−1} at u, on a new last axis: h_{k+1} = (u h_k − √k h_{k−1})/√(k+1)."""

    def step(pair, k):
        below, h = pair
        return (h, (u * h - jnp.sqrt(k) * below) / jnp.sqrt(k + 1)), h

    k = jnp.arange(count, dtype=u.dtype)
    _, values = lax.scan(step, (jnp.zeros_like(u), jnp.ones_like(u)), k)
    return jnp.moveaxis(values, 0, -1)


class Expansion(NamedTuple):
    """The expansion of σ at one K or many, on the leading axes.

    `mean`: (…) a_0.
    `e`: (…, count) e_1 … e_count.
    `origin`: (…, 5) σ and its derivatives at 0, the mean of both sides.
    """

    mean: Float[Array, "*K"]
    e: Float[Array, "*K count"]
    origin: Float[Array, "*K 5"]


def _chord(act: Activation, z: jax.Array, at_zero: jax.Array) -> jax.Array:
    """(σ(z) − σ(0))/z for z ≠ 0; near 0 from the one-sided derivatives there, `at_zero` (2, 5)."""
    below, above = ([s[k] for k in range(5)] for s in at_zero)
    zero = (below[0] + above[0]) / 2
    f0, f1, f2, f3, f4 = (jnp.where(z < 0, b, a) for b, a in zip(below, above, strict=True))
    direct = (act(z) - zero) / z
    series = (f0 - zero) / z + f1 + z / 2 * (f2 + z / 3 * (f3 + z / 4 * f4))
    short = min([SERIES_RANGE, *(abs(c) for c in act.kinks if c != 0)])
    return jnp.where((jnp.abs(z) < short) & jnp.isfinite(series), series, direct)


def coefficients(act: Activation, K: jax.Array, count: int, halvings: int, odd: bool = False) -> Expansion:
    """The expansion up to e_count at each K of a vector, which is not differentiated.

    `odd`: σ is odd; a_0 is then 0, and only e_1, e_3, … are returned, from integrals over u > 0.

    Exact up to round-off for count ≤ 512, K ≤ 4^halvings and σ smooth on the scale 1 between its kinks.
    """
    speck = TINY_ROOT * jnp.finfo(K.dtype).tiny
    root = jnp.where(K > 0, jnp.sqrt(lax.stop_gradient(K)), speck)
    ends = jnp.stack([jnp.asarray(c, K.dtype) for c in sides(0.0, K.dtype)])
    at_zero = jnp.stack(act.derivatives(ends), -1)
    kinks = jnp.asarray(sorted({abs(c) if odd else c for c in act.kinks if c != 0}), K.dtype)

    def product(f, h):
        return jnp.matmul(f, h, precision=lax.Precision.HIGHEST)

    def moments(root, u, h):
        u = aligned(u, root)

        def large(root):
            a = product(act(root * u), h)
            return (jnp.zeros_like(a[..., 0]), a / root) if odd else (a[..., 0], a[..., 1:] / root)

        def any_size(root):
            z = root * u
            e = product(_chord(act, z, at_zero) * u, h if odd else h[:, 1:])
            return jnp.zeros_like(e[..., 0]) if odd else product(act(z), h[:, :1])[..., 0], e

        return lax.cond(jnp.all(root > CANCELLATION_RANGE), large, any_size, root)

    def weighted(kinks):
        u, w = _nodes(kinks, halvings, odd)
        h = hermite_polynomials(u, count + 1)
        return u, w[:, None] * (h[:, 1::2] if odd else h)

    if kinks.size:

        def row(root):
            return moments(root, *weighted(kinks / root))

        mean, e = lax.map(row, root)
    else:
        u, h = weighted(kinks)
        blocks = jnp.pad(root, (0, -K.size % 256), constant_values=1.0).reshape(-1, 256, 1)
        mean, e = lax.map(lambda b: moments(b, u, h), blocks)
    origin = jnp.mean(at_zero, 0)
    origin = jnp.where(jnp.isfinite(origin), origin, 0.0)
    mean, e = mean.reshape(-1)[: K.size], e.reshape(-1, e.shape[-1])[: K.size]
    return Expansion(mean, e, jnp.broadcast_to(origin, (K.size, 5)))
