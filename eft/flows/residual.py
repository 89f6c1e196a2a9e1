"""Fluctuations of networks whose neurons remember: residual ones, z′ = γz + b + Wσ(z), normalized or not.

The metrics Ĝ^l of all layers fluctuate together. With H^l = K^l − γ²K^{l−1} the variance that layer l adds,
δK^l = Σ_{p≤l} γ^{2(l−p)} δĜ^p is the fluctuation of the kernel, and to first order

    δĜ′ = C_W [ξ_F + g′ δK],   ξ_F = (1/n) Σ_j (F(z_j) − ⟨F⟩),   F = σ²,     so that   δK′ = χ∥ δK + C_W ξ_F

A neuron i contributes to all later kernels through F(z_i^p), by v_p/n for every unit of F(z_i^p), and it
remembers z_i^p itself. Hence, for two neurons i ≠ j and U = n Var(δK),

    n Cov(f(z_i), h(z_j)) = U ⟨½f″⟩⟨½h″⟩ + Σ_p v_p [Cov(F_p, f) ⟨½h″⟩ + ⟨½f″⟩ Cov(F_p, h)]

(docs/residual.md).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from eft.activations.definition import Activation
from eft.activations.programs import compiled
from eft.flows.block import Block
from eft.flows.layers import Kernels
from eft.gaussian.layer_pairs import Neuron, Rule, TwoLayers, TwoSlopes, two_layers
from eft.gaussian.rules import graded
from eft.gaussian.tangents import constant

MAP_BATCH = 8
"""Pairs of layers that are computed together: enough for the cores, within a few hundred MB."""


class Memory(NamedTuple):
    """What every layer l remembers of an earlier layer p; shape batch + (L, L), indices [l, p], p < l.

    `carry`: Γ = Π γ over the steps from p to l.
    `fresh`: K^l − Γ²K^p, the variance that was added since.
    """

    carry: jax.Array
    fresh: jax.Array


def remembered(skips: jax.Array, H: jax.Array) -> Memory:
    """The memory of layers that add the variances H^l, l = 1 … L, with γ of each rule, both (L, …)."""
    depth = len(H)

    def layer(now, at):
        carry, fresh = now
        (skip, H_next), now_at = at
        after = carry.at[now_at].set(1.0) * skip[None], fresh * skip[None] ** 2
        new = (jnp.arange(depth) <= now_at).reshape(-1, *(1,) * (H.ndim - 1))
        return (after[0], jnp.where(new, after[1] + H_next[None], 0.0)), now

    zero = jnp.zeros_like(H)
    H_next = jnp.concatenate([H[1:], H[:1]])
    _, memory = lax.scan(layer, (zero, zero), ((skips, H_next), jnp.arange(depth)))
    return Memory(*(jnp.moveaxis(a, (0, 1), (-2, -1)) for a in memory))


def earlier_layers(depth: int) -> tuple[np.ndarray, np.ndarray]:
    """(l, p) of the pairs p < l of the layers that have a next one, from 0."""
    return np.tril_indices(depth - 1, -1) if depth > 2 else (np.zeros(0, int), np.zeros(0, int))


def between_layers(
    act: Activation, rule: Rule, K: jax.Array, memory: Memory, means: tuple[jax.Array, ...]
) -> tuple[TwoLayers, TwoSlopes | None]:
    """The expectations of every pair of layers, batch + (L, L), indices [l, p]; zero unless p < l.

    `K`, and the `means` g, g′ and, for those of slopes, s, s′: batch + (L,).
    """
    depth = K.shape[-1]
    later, p = earlier_layers(depth)

    def chosen(a, which):
        return jnp.moveaxis(a[..., which], -1, 0)

    g, dg, *slope_means = means
    s, ds = slope_means or (None, None)
    neurons = Neuron(
        chosen(K, p),
        chosen(K, later),
        jnp.moveaxis(memory.carry[..., later, p], -1, 0),
        jnp.moveaxis(memory.fresh[..., later, p], -1, 0),
        chosen(g, p),
        *(chosen(a, later) for a in (g, dg)),
        *(() if s is None else (chosen(s, p), chosen(s, later), chosen(ds, later))),
    )
    shape = neurons.K.shape
    flat = jax.tree.map(jnp.ravel, neurons)

    def one(neuron):
        return two_layers(act, rule, neuron)

    values = lax.map(jax.checkpoint(one), flat, batch_size=MAP_BATCH)

    def scattered(a):
        dense = jnp.zeros((*shape[1:], depth, depth), a.dtype)
        return dense.at[..., later, p].set(jnp.moveaxis(a.reshape(shape), 0, -1))

    return jax.tree.map(scattered, values)


@compiled(0, 1, 2)
def fluctuations(act: Activation, rule: Rule, block: Block, k: Kernels, skip, cw) -> tuple:
    """V, G1 and the relative error of the expectations at two layers, batch + (L,).

    V = U + Σ_p 2v_p Cov(F_p, z²), and with F̃″ = Σ_p v_p Cov(F_p, ½F″) the memory of a neuron's own past,

        U′ = χ∥² U + C_W² Var F + 2C_W χ∥ Σ_p v_p Cov(F_p, F),     v_p′ = χ∥ v_p,  v_l = C_W at layer l + 1
        G1′ = χ∥ G1 + C_W [½g″ U + Σ_p v_p Cov(F_p, ½F″)]

    With a normalization ẑ = z/√(mean z²), F(ẑ) is replaced by s = F − g′(1)ẑ², less ⟨zF⟩ẑ for "layer", and
    its mean does not respond to δK, so that χ∥ = γ² and V = U:

        G1′ = γ² G1 − C_W g″(1) − (C_W/2K) Σ_p v_p ρ⟨s_p′F′⟩,   ρ = Γ √(K_p/K)
    """
    depth = k.K.shape[-1]
    m = k.moments
    skips = block.by_layer(skip, depth)
    memory = remembered(skips, jnp.moveaxis(k.H, -1, 0))
    if block.norm:
        share = jnp.where(k.K > 0, k.K, 1.0)
        rho = memory.carry * jnp.sqrt(k.K[..., None, :] / share[..., :, None])
        unit = Memory(rho, memory.fresh / share[..., :, None])
        pair, _ = between_layers(act, rule, jnp.ones_like(k.K), unit, (m.g, m.dg))
        odd = _first_hermite(act, k.K) if block.norm == "layer" else jnp.zeros_like(k.K[..., :1])
        quadratic = jnp.tril(2 * m.dg[..., None] ** 2 * rho**2, -1)
        linear = jnp.tril(odd[..., None] ** 2 * rho, -1)
        cov = pair.cov - quadratic - linear
        # ρ⟨s_p′F′⟩ = 4ρ⟨u_p u⟩ less its second and first Hermite components
        own = -(4 * rho * pair.products - 2 * quadratic - linear) / (2 * share[..., :, None])
        var = m.var - 2 * m.dg**2 - odd**2
        response, second, drift = jnp.zeros_like(m.dg), jnp.zeros_like(m.d2g), -m.d2g
    else:
        pair, _ = between_layers(act, rule, k.K, memory, (m.g, m.dg))
        cov, own, var = pair.cov, pair.bent, m.var
        response, second, drift = m.dg, m.d2g, jnp.zeros_like(m.d2g)
    if block.weights == "orthogonal":  # Σ_i of the squares of the new part is fixed
        var = var - 2 * m.g**2
    remembers_z = 4 * k.K**2 * response  # 2 Cov(F, z²)

    def layer(now, at):
        U, y, v, G1 = now
        gamma, cov, own, var, response, second, drift, remembers_z, now_at = at
        chi = gamma**2 + cw * response
        past = jnp.sum(v * cov, -1), jnp.sum(v * own, -1)
        after = (
            chi * (chi * U) + cw * (cw * var) + 2 * cw * chi * past[0],
            gamma**2 * (chi * y + cw * remembers_z),
            (chi[..., None] * v).at[..., now_at].set(cw),
            chi * G1 + cw * (second * U / 2 + past[1] + drift),
        )
        return after, (U + y, G1)

    zero = jnp.zeros_like(k.K[..., 0])
    start = zero, zero, jnp.zeros_like(k.K), zero
    along = [jnp.moveaxis(a, -2, 0) for a in (cov, own)]
    along += [
        jnp.moveaxis(jnp.broadcast_to(a, k.K.shape), -1, 0)
        for a in (var, response, second, drift, remembers_z)
    ]
    _, (V, G1) = lax.scan(layer, start, (skips, *along, jnp.arange(depth)))
    return jnp.moveaxis(V, 0, -1), jnp.moveaxis(G1, 0, -1), constant(jnp.max(pair.error, -1))


def _first_hermite(act: Activation, K: jax.Array) -> jax.Array:
    """⟨zσ²⟩ at unit variance, one number with as many axes as K."""
    z, w = graded(jnp.asarray([0.0, *(c for c in act.kinks if c)], K.dtype))
    return jnp.sum(w * z * act.fn(z) ** 2).reshape((1,) * K.ndim)
