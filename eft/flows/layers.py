"""The kernel of one input at infinite width in layers with a skip or a normalization.

    z^{l+1} = γz^l + b^{l+1} + W^{l+1}σ(ẑ^l),    ẑ = z, or z/√(mean of z² over the layer's neurons)

That mean is K, with or without the mean of z subtracted first: σ acts on variables of unit variance and of
correlation ρ_ab = K_ab/√(K_aa K_bb). Orthogonal weights have the limit of Gaussian ones.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from eft.activations.programs import compiled
from eft.flows.block import Block
from eft.gaussian.expectation import tolerance
from eft.gaussian.records import Moments
from eft.gaussian.sources import Source


class Kernels(NamedTuple):
    """Every field has shape batch + (L,).

    `K`: the kernel. `H`: the part of K that its own layer adds. `moments`: those at K, or at unit variance.
    """

    K: jax.Array
    H: jax.Array
    moments: Moments


@compiled(0, 1)
def kernels(block: Block, depth: int, moments: Source, skip, cw, cb, K1) -> Kernels:
    """K′ = γ²K + H′,  H′ = C_b + C_W g(K); with a normalization, C_b + C_W g(1)."""

    def layer(now, gamma):
        K, H = now
        m = moments(jnp.ones_like(K) if block.norm else K)
        H_next = saturated(cb + cw * m.g)
        return (saturated(gamma * gamma * K + H_next), H_next), (K, H, m)

    _, flow = lax.scan(layer, (saturated(K1), saturated(K1)), block.by_layer(skip, depth))
    return Kernels(*jax.tree.map(lambda a: jnp.moveaxis(a, 0, -1), flow))


class Diagonal(NamedTuple):
    """The flow of one input at infinite width. Every field has shape batch + (L,).

    `K`: the kernel. `g`: ⟨σ²⟩ at K, or at unit variance. `chi_parallel`, `chi_perp`: χ∥ and χ⊥.
    `valid`: bool, whether the moments are accurate and K in range, here and at every layer before.
    `error`: estimated relative error of the moments.
    """

    K: jax.Array
    g: jax.Array
    chi_parallel: jax.Array
    chi_perp: jax.Array
    valid: jax.Array
    error: jax.Array


@compiled(0)
def susceptibilities(block: Block, k: Kernels, skip, cw) -> Diagonal:
    """χ∥ = γ² + C_W g′(K),  χ⊥ = γ² + C_W⟨σ′²⟩_K;  if normalized, χ∥ = γ² and χ⊥ = γ² + C_W⟨σ′²⟩_1/K.

    An input of K = 0 cannot be normalized, and is not valid.
    """
    K, _, m = k
    cw = cw[..., None]
    square = jnp.moveaxis(block.by_layer(skip, K.shape[-1]), 0, -1) ** 2
    size = jnp.where(K > 0, K, jnp.inf) if block.norm else 1.0
    jumps = jnp.isinf(m.slope2) & jnp.isfinite(m.g) & (cw > 0)
    perp = jnp.where(jumps, jnp.inf, saturated(square + saturated(cw * m.slope2) / size))
    parallel = square if block.norm else saturated(square + saturated(cw * m.dg))
    before = jnp.concatenate([jnp.zeros_like(K[..., :1]), K[..., :-1]], -1)
    still = (K == 0) & ((before == 0) | (cw == 0)) & (block.norm is None)
    good = (m.error <= tolerance(K.dtype)) & (in_range(K) & (jnp.finfo(K.dtype).max > K) | still)
    valid = lax.cumprod(good.astype(jnp.int32), axis=K.ndim - 1).astype(bool)
    return Diagonal(K, m.g, parallel, perp, valid, m.error)


def in_range(K: jax.Array) -> jax.Array:
    """Whether K is a normal float > 0."""
    info = jnp.finfo(K.dtype)
    return jnp.logical_and(info.tiny <= K, info.max >= K)


def saturated(a: jax.Array) -> jax.Array:
    """a, limited to the float range, with the largest float in place of the NaN that an overflow leaves."""
    largest = jnp.finfo(a.dtype).max
    return jnp.clip(jnp.where(jnp.isnan(a), largest, a), -largest, largest)
