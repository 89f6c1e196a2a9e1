"""Networks with skip or orthogonal weights at initialization, sampled exactly, at any width, without weights.

Given layer l, the branch W^{l+1}σ + b^{l+1} of layer l+1 depends on the metric of σ alone,

    Gaussian weights:     z^{l+1} = γz^l + √Ĝ u,                     Ĝ = C_b + (C_W/n_l) Σ_j σ(N(z^l)_j)²
    orthogonal weights:   z^{l+1} = γz^l + √(Ĝ − C_b) û + √C_b v,    û = √m u/‖u‖

u, v ~ N(0, 1), of which û keeps the first n_{l+1} of m = max(n_l, n_{l+1}) elements: W turns σ to a direction
that is uniformly distributed. Layer 1 is Gaussian. The neurons of a layer are carried on to the next one,
which costs as many numbers as they are.
"""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from eft.gaussian.covariance import covariance_factor
from nets.network.architecture import Architecture, Settings
from nets.network.normalization import normalized
from nets.network.normals import standard_normal
from nets.network.observables import (
    GramObservables,
    Observables,
    activate,
    observe,
    overlap,
    pair_spread,
)
from nets.network.weights import orthonormal_columns


def sample(key: jax.Array, architecture: Architecture, settings: Settings, K1: jax.Array) -> Observables:
    """The layers of one network with Ĝ¹ = K1, in the dtype of K1."""
    act, norm, cb = architecture.act, architecture.norm, settings.cb

    def branch(key, G, g, n_in, n):
        if architecture.weights == "gaussian":
            return jnp.sqrt(G) * _normal(key, K1, n)
        u = _normal(key, K1, max(n_in, n))
        turned = jnp.sqrt(g) * (u / jnp.sqrt(jnp.mean(u * u)))[:n]
        return turned + jnp.sqrt(cb) * _normal(jax.random.fold_in(key, 1), K1, n)

    def observed(z, G, gamma):
        layer, G_next = observe(act, z, G, jnp.log(G), settings.cw, cb, norm=norm, gamma=gamma)
        return layer, G_next, G_next - cb

    z = jnp.sqrt(K1) * _normal(_layer_key(key, 0), K1, architecture.sizes[1])
    return _layers(key, architecture, settings.skip, (z, K1), branch, observed)


def sample_gram(
    key: jax.Array, architecture: Architecture, settings: Settings, K1: jax.Array
) -> GramObservables:
    """The layers of one network at n_D inputs with the first metric K1, (n_D, n_D), in the dtype of K1.

    With F Fᵀ = Ĝ, or Ĝ − C_b for orthogonal weights, the branch is

        F u,  u ~ N(0, 1)^{n_D×n},   or   √m F Q + √C_b v,

    with Q, (k, n), the first n columns of k ≤ m orthonormal rows of dimension m, Haar. F has the rank of σ,
    at most k = min(n_D, n_l), and only its first k columns are not 0.
    """
    act, norm, cb, n_D = architecture.act, architecture.norm, settings.cb, len(K1)

    def branch(key, G, g, n_in, n):
        if architecture.weights == "gaussian":
            return _product(covariance_factor(G)[0], _normal(key, K1, n_D, n))
        m, k = max(n_in, n), min(n_D, n_in)
        Q = orthonormal_columns(_normal(key, K1, m, k)).T[:, :n]
        turned = jnp.sqrt(jnp.asarray(m, K1.dtype)) * _product(covariance_factor(g)[0][:, :k], Q)
        return turned + jnp.sqrt(cb) * _normal(jax.random.fold_in(key, 1), K1, 1, n)

    def observed(z, G, gamma):
        layer = GramObservables(G, None)
        if architecture.skip:
            layer = layer._replace(K=overlap(z), spread=pair_spread(z))
        g = settings.cw * overlap(activate(act, normalized(norm, z)))
        return layer, cb + g, g

    z = _product(covariance_factor(K1)[0], _normal(_layer_key(key, 0), K1, n_D, architecture.sizes[1]))
    return _layers(key, architecture, settings.skip, (z, K1), branch, observed)


def _layers(
    key: jax.Array,
    architecture: Architecture,
    gamma: jax.Array | None,
    first: tuple[jax.Array, jax.Array],
    branch: Callable,
    observed: Callable,
) -> Any:
    """What is observed of all layers, from z and Ĝ of the first one; equal steps are one loop.

    `branch(key, Ĝ, Ĝ − C_b, n_in, n)`: a draw of the branch. `observed(z, Ĝ, γ)`: the observables of a layer,
    and Ĝ, Ĝ − C_b of the next.
    """
    (z, G), runs, layer = first, [], 1
    steps = [
        (*widths, architecture.skips(layer))
        for layer, widths in enumerate(itertools.pairwise(architecture.sizes[1:]), start=2)
    ]
    for (n_in, n, skips), run in itertools.groupby(steps):
        count = len(list(run))

        def step(carry, number, n_in=n_in, n=n, gamma=gamma if skips else None):
            z, G = carry
            seen, G_next, g = observed(z, G, gamma)
            z_next = branch(_layer_key(key, number), G_next, g, n_in, n)
            return (z_next if gamma is None else gamma * z + z_next, G_next), seen

        numbers = jnp.arange(layer, layer + count, dtype=jnp.uint32)
        if n_in == n:
            (z, G), seen = lax.scan(step, (z, G), numbers)
        else:
            (z, G), seen = step((z, G), numbers[0])
            seen = jax.tree.map(lambda a: a[None], seen)
        runs.append(seen)
        layer += count
    last, *_ = observed(z, G, gamma)
    runs.append(jax.tree.map(lambda a: a[None], last))
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *runs)


def _layer_key(key: jax.Array, layer: int | jax.Array) -> jax.Array:
    return jax.random.fold_in(key, jnp.asarray(layer, jnp.uint32))


def _normal(key: jax.Array, like: jax.Array, *shape: int) -> jax.Array:
    return standard_normal(key, shape).astype(like.dtype)


def _product(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.matmul(a, b, precision="highest")
