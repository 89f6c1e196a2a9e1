"""Expectations of products of derivatives of σ, at up to four Gaussian variables: ⟨σ″₁σ′₂σ′₃σ₄⟩, ….

σ is smooth, and the trapezoidal rule converges exponentially where it is analytic: z = F x with F Fᵀ = K, and
x on the points of a cubic lattice within a ball. No inverse of K is taken: variables may be dependent.
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
from eft.activations.programs import compiled
from eft.gaussian.covariance import covariance_factor

RADIUS = {1: 8.5, 2: 8.5, 3: 8.5, 4: 7.0}
"""|x| beyond which the Gaussian is cut off, by the number of variables: of its mass 6e-10 for four, 1e-14 for
fewer."""

LARGEST_STEP = 0.7
"""Spacing of the nodes along an x on which no z depends: the error of a Gaussian alone is 6e-18."""

STEPS = {1: (0.1, 0.05), 2: (0.15, 0.1), 3: (0.22, 0.14), 4: (0.35, 0.25)}
"""By the number of variables: the spacing in z of the nodes at first, and where that was not enough."""

MAX_POINTS = 3e6
"""Points of a lattice, about; where K is so large that more were needed, the error tells."""

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


class Lattice(NamedTuple):
    """`x`: (chunks, CHUNK, n) points; `w`: (chunks, CHUNK) weights, which sum to 1."""

    x: Float[jax.Array, "chunks chunk n"]
    w: Float[jax.Array, "chunks chunk"]


def lattices(K: np.ndarray, step: float) -> tuple[Lattice, Lattice]:
    """For all the K, (layers, n, n): nodes at most `step` apart in every z, and fewer, to measure the error.

    Spacings are powers of 2^{1/4}, so that few programs are compiled.
    """
    F = np.abs(_factors(jnp.asarray(K)))
    sizes = np.max(np.where(np.isfinite(F), F, 0.0), axis=(0, 1), initial=0.0).astype(float)
    steps = step / np.maximum(sizes, step / LARGEST_STEP)
    n = len(steps)
    log_points = n * math.log(2 * RADIUS[n]) - np.sum(np.log(steps))
    steps = steps * math.exp(max(0.0, log_points - math.log(MAX_POINTS)) / n)
    steps = LARGEST_STEP / 2 ** (np.ceil(4 * np.log2(LARGEST_STEP / steps) - 1e-9) / 4)
    return _lattice(steps, K.dtype), _lattice(1.2 * steps, K.dtype)


@compiled()
def _factors(K: jax.Array) -> jax.Array:
    return jax.vmap(lambda K: covariance_factor(K)[0])(K)


def _lattice(steps: np.ndarray, dtype: np.dtype) -> Lattice:
    """Points within the ball; those that fill the last chunk have weight 0."""
    radius = RADIUS[len(steps)]
    ticks = [h * np.arange(-int(radius / h), int(radius / h) + 1) for h in steps.tolist()]
    square = functools.reduce(np.add.outer, [t * t for t in ticks])
    at = np.nonzero(square <= radius**2)
    x, w = np.stack([t[i] for t, i in zip(ticks, at, strict=True)], -1), np.exp(-square[at] / 2)
    filling = -len(x) % CHUNK
    x, w = np.pad(x, ((0, filling), (0, 0))), np.pad(w / w.sum(), (0, filling))
    x, w = x.reshape(-1, CHUNK, len(steps)), w.reshape(-1, CHUNK)
    return Lattice(jnp.asarray(x, dtype), jnp.asarray(w, dtype))


def derivative_products(act: Activation, K: jax.Array, nodes: tuple[Lattice, Lattice]) -> DerivativeProducts:
    """The expectations in z ~ N(0, K), K of shape (n, n), n ≤ 4, on the `lattices` of K."""
    F = covariance_factor(K)[0]
    fine, rough = (_sums(act, F, each) for each in nodes)

    def difference(a, b):
        size = jnp.max(jnp.abs(a))
        return jnp.max(jnp.abs(a - b)) / jnp.where(size > 0, size, 1.0)

    error = functools.reduce(jnp.maximum, map(difference, fine, rough))
    return DerivativeProducts._make([*fine, error])


def _sums(act: Activation, F: jax.Array, nodes: Lattice) -> tuple[jax.Array, ...]:
    n = len(F)

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
    (two, a, b), _ = lax.scan(chunk, tuple(jnp.zeros(shape, F.dtype) for shape in shapes), nodes)
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
