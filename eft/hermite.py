"""Hermite coefficients of an activation, a_k(K) = E[σ(√K u) h_k(u)], u ~ N(0, 1), h_k = He_k/√k!.

They make the expectation at two Gaussian variables a power series in their correlation (Mehler):

    ⟨σ(z₁)σ(z₂)⟩ = Σ_k a_k(K₁) a_k(K₂) ρᵏ,     √(K₁K₂) ⟨σ′(z₁)σ′(z₂)⟩ = Σ_k k a_k(K₁) a_k(K₂) ρᵏ⁻¹

What is left out after k < M is at most √(T₁T₂)|ρ|ᴹ, T = ⟨σ²⟩ − Σ_{k<M} a_k², and T is known.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from eft.activations import Activation
from eft.programs import compiled

REACH = 12
"""|u| at which the Gaussian, then e^{−72}, is cut off."""

ORDER = 24
"""Gauss–Legendre nodes on panels of width 1: enough for h_k to k = 512."""


@functools.cache
def _edges(halvings: int) -> np.ndarray:
    """Edges of the panels; the two at 0 are halved towards it, where σ(√K u) is steep for large K."""
    right = np.concatenate([0.5 ** np.arange(halvings, 0, -1), np.arange(1.0, REACH + 1)])
    return np.concatenate([-right[::-1], [0.0], right])


def _nodes(kinks: jax.Array, halvings: int) -> tuple[jax.Array, jax.Array]:
    """Nodes u and weights for E[f(u)]; the kinks, of f(u), are edges too."""
    edges = jnp.asarray(_edges(halvings), kinks.dtype)
    edges = jnp.sort(jnp.concatenate([edges, jnp.clip(kinks, -REACH, REACH)]))
    x, w = (jnp.asarray(a, kinks.dtype) for a in np.polynomial.legendre.leggauss(ORDER))
    middle, half = (edges[1:] + edges[:-1])[:, None] / 2, (edges[1:] - edges[:-1])[:, None] / 2
    u = (middle + half * x).ravel()
    return u, (half * w).ravel() * jnp.exp(-u * u / 2) / math.sqrt(2 * math.pi)


def hermite(u: jax.Array, count: int) -> jax.Array:
    """h_0 … h_{count−1} at u, on a new last axis: h_{k+1} = (u h_k − √k h_{k−1})/√(k+1)."""

    def step(pair, k):
        below, h = pair
        return (h, (u * h - jnp.sqrt(k) * below) / jnp.sqrt(k + 1)), h

    k = jnp.arange(count, dtype=u.dtype)
    _, values = jax.lax.scan(step, (jnp.zeros_like(u), jnp.ones_like(u)), k)
    return jnp.moveaxis(values, 0, -1)


@compiled(0, 2, 3)
def coefficients(act: Activation, K: jax.Array, count: int, halvings: int) -> jax.Array:
    """a_0 … a_{count−1} at each of a vector of K, shape (K.size, count).

    To rounding for count ≤ 512, K ≤ 4^halvings and σ smooth on the scale 1 between its kinks.
    """
    kinks = jnp.asarray([c for c in act.kinks if c != 0], K.dtype)
    if kinks.size:

        def row(root):
            u, w = _nodes(kinks / jnp.where(root > 0, root, 1.0), halvings)
            return jnp.matmul(act(root * u) * w, hermite(u, count), precision=jax.lax.Precision.HIGHEST)

        return jax.lax.map(row, jnp.sqrt(K))

    u, w = _nodes(kinks, halvings)
    h = w[:, None] * hermite(u, count)
    blocks = jnp.pad(jnp.sqrt(K), (0, -K.size % 256)).reshape(-1, 256, 1)
    rows = jax.lax.map(lambda b: jnp.matmul(act(b * u), h, precision=jax.lax.Precision.HIGHEST), blocks)
    return rows.reshape(-1, count)[: K.size]
