"""Expectations of products of up to four derivatives of σ, at up to four Gaussian variables: ⟨σ″₁σ′₂σ′₃σ₄⟩, ….

σ is analytic, so that the trapezoidal rule converges exponentially: z = F x with F Fᵀ = K, and x on the points
of a cubic lattice within a ball. No inverse of K is taken: variables may be dependent.
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
from eft.gaussian.covariance import covariance_factor

RADIUS = 8.5
"""|x| beyond which the Gaussian, at most 2e-16 there, is cut off."""

STEPS = {1: (0.1, 0.02), 2: (0.1, 0.04), 3: (0.25, 0.12), 4: (0.4, 0.3)}
"""By the number of variables: the spacing of the nodes for K ≤ 1, and the finest, for large K."""

CHUNK = 4096
"""Points that are summed at once."""


class DerivativeProducts(NamedTuple):
    """Expectations in z ~ N(0, K) of n variables; index a stands for σ or a derivative at z_a.

    `two`: ⟨σ⁽ᵖ⁾_a σ⁽ᵠ⁾_b⟩ at [p, q, a, b], p and q from 0 to 3.
    `d1100`, `d1111`, `d2110`, `d2211`, `d3111`: at [a, b, c, d], with the orders of the derivatives at
        a, b, c, d in the name: `d2110` is ⟨σ″_a σ′_b σ′_c σ_d⟩.
    `error`: the largest difference from sums over fewer nodes, beside the largest entry of each field.
    """

    two: Float[jax.Array, "4 4 n n"]
    d1100: Float[jax.Array, "n n n n"]
    d1111: Float[jax.Array, "n n n n"]
    d2110: Float[jax.Array, "n n n n"]
    d2211: Float[jax.Array, "n n n n"]
    d3111: Float[jax.Array, "n n n n"]
    error: Float[jax.Array, ""]


def lattice_step(variables: int, largest_K: float) -> float:
    """The spacing of nodes that resolves σ(√K x), from few values, so that few programs are compiled."""
    step, finest = STEPS[variables]
    doublings = math.ceil(math.log2(max(1.0, largest_K)))
    return max(finest, step / 2 ** (doublings / 2))


def derivative_products(act: Activation, K: jax.Array, step: float) -> DerivativeProducts:
    """The expectations in z ~ N(0, K), K of shape (n, n), n ≤ 4, with nodes `step` apart."""
    F = covariance_factor(K)[0]
    fine, rough = (_sums(act, F, h) for h in (step, 1.2 * step))

    def difference(a, b):
        size = jnp.max(jnp.abs(a))
        return jnp.max(jnp.abs(a - b)) / jnp.where(size > 0, size, 1.0)

    error = functools.reduce(jnp.maximum, map(difference, fine, rough))
    return DerivativeProducts(*fine, error)


@functools.lru_cache(maxsize=16)
def _lattice(variables: int, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Points x and weights, in chunks; those that fill the last chunk have weight 0."""
    count = int(RADIUS / step)
    ticks = step * np.arange(-count, count + 1)
    x = np.stack(np.meshgrid(*variables * [ticks], indexing="ij"), -1).reshape(-1, variables)
    square = np.sum(x * x, 1)
    x, square = x[square <= RADIUS**2], square[square <= RADIUS**2]
    w = np.exp(-square / 2)
    w = w / w.sum()
    filling = -len(x) % CHUNK
    x, w = np.pad(x, ((0, filling), (0, 0))), np.pad(w, (0, filling))
    return x.reshape(-1, CHUNK, variables), w.reshape(-1, CHUNK)


def _sums(act: Activation, F: jax.Array, step: float) -> tuple[jax.Array, ...]:
    n = len(F)
    x, w = (jnp.asarray(a, F.dtype) for a in _lattice(n, step))

    def chunk(total, at):
        x, w = at
        s = jnp.stack(act.derivatives(F @ x.T)[:4])  # σ⁽ᵖ⁾ at [p, a, point]
        flat = s.reshape(4 * n, -1)

        def pair(p, q):
            return (s[p][:, None] * s[q][None]).reshape(n * n, -1)

        left, right = jnp.concatenate([pair(2, 1), pair(1, 0)]), jnp.concatenate([pair(1, 1), pair(3, 1)])
        sums = flat @ (w[None] * flat).T, left @ (w[None] * left).T, right @ (w[None] * right[: n * n]).T
        return jax.tree.map(jnp.add, total, sums), None

    m = n * n
    shapes = (4 * n, 4 * n), (2 * m, 2 * m), (2 * m, m)
    (two, a, b), _ = lax.scan(chunk, tuple(jnp.zeros(shape, F.dtype) for shape in shapes), (x, w))
    four = (n, n, n, n)
    crossed = (0, 2, 1, 3)
    return (
        jnp.transpose(two.reshape(4, n, 4, n), crossed),
        jnp.transpose(a[m:, m:].reshape(four), crossed),
        b[:m].reshape(four),
        a[:m, m:].reshape(four),
        jnp.transpose(a[:m, :m].reshape(four), crossed),
        b[m:].reshape(four),
    )
