"""The observables of a layer of one network, computed from its pre-activations."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from eft.activations.definition import Activation


class Observables(NamedTuple):
    """One network's layers: every field has shape (depth,), or () for a single layer.

    `G`: Ĝ^l, the metric that layer l was drawn with; Ĝ¹ = K¹. `log_G`: log Ĝ^l. `K`: K̂^l = (1/n_l) Σ z².
    `shape`: (1/n_l) Σ z⁴/(K̂^l)²; 0 if K̂ = 0. `chi_parallel`: χ̂∥ = (C_W/n_l) Σ zσσ′/K̂^l; 0 if K̂ = 0.
    `chi_perp`: χ̂⊥ = (C_W/n_l) Σ σ′².
    """

    G: jax.Array
    log_G: jax.Array
    K: jax.Array
    shape: jax.Array
    chi_parallel: jax.Array
    chi_perp: jax.Array


def activate(act: Activation, z: jax.Array) -> jax.Array:
    """σ(z) in the precision of z, whatever the precision of the constants inside σ."""
    return act.fn(z).astype(z.dtype)


def value_and_slope(act: Activation, z: jax.Array) -> tuple[jax.Array, jax.Array]:
    """σ(z) and σ′(z), likewise."""
    return jax.jvp(functools.partial(activate, act), (z,), (jnp.ones_like(z),))


def observe(
    act: Activation, z: jax.Array, G: jax.Array, log_G: jax.Array, cw: jax.Array, cb: jax.Array
) -> tuple[Observables, jax.Array]:
    """The observables of pre-activations z (last axis: neurons) that were drawn with the metric G,
    and the next metric Ĝ^{l+1} = C_b + (C_W/n_l) Σ σ²."""
    s, s1 = value_and_slope(act, z)
    z2 = z * z
    K = jnp.mean(z2, -1)
    scale = jnp.where(K == 0, 1, K)
    layer = Observables(
        G=G,
        log_G=log_G,
        K=K,
        shape=jnp.mean((z2 / scale[..., None]) ** 2, -1),
        chi_parallel=cw * jnp.mean(z * s * s1, -1) / scale,
        chi_perp=cw * jnp.mean(s1 * s1, -1),
    )
    return layer, cb + cw * jnp.mean(s * s, -1)


def observe_layers(
    act: Activation, preactivations: Sequence[jax.Array], G: jax.Array, cw: jax.Array, cb: jax.Array
) -> Observables:
    """The observables of all layers z¹, …, z^L of a network with Ĝ¹ = G, stacked along a leading axis."""
    layers = []
    for z in preactivations:
        layer, G = observe(act, z, G, jnp.log(G), cw, cb)
        layers.append(layer)
    return jax.tree.map(lambda *a: jnp.stack(a), *layers)


class NTKObservables(NamedTuple):
    """The NTK of one network at one input: every field has shape (depth,), or () for a single layer.

    Averages over the weights of layer l, given layer l−1, are exact; n = n_{l−1}, sums run over its neurons.

    `H`: E[Θ̂_ii^l | l−1] = λ_b + (λ_W/n) Σ σ_k² + (C_W/n) Σ σ′_k² Θ̂_kk. `Theta_hat`: (1/n_l) Σ_i Θ̂_ii^l, with
    the network's actual weights. `B`: n E[(Θ̂_ij^l)² | l−1] = (C_W²/n) Σ_km σ′_k² σ′_m² Θ̂_km², i ≠ j.
    `F`: n E[z_i z_j Θ̂_ij^l | l−1] = (C_W²/n) Σ_km σ_kσ′_k σ_mσ′_m Θ̂_km, i ≠ j.
    """

    H: jax.Array
    Theta_hat: jax.Array
    B: jax.Array
    F: jax.Array


class GramObservables(NamedTuple):
    """One network at n_D inputs.

    `G`: (depth, n_D, n_D) Ĝ^l_αβ, the metric that layer l was drawn with. `Theta`: (n_D, n_D) the empirical
    NTK of the output; None if it is not measured.
    """

    G: jax.Array
    Theta: jax.Array | None


def overlap(s: jax.Array) -> jax.Array:
    """P_αβ = (1/n) Σ_j s_αj s_βj of s with shape (n_D, n); exactly symmetric."""
    P = jnp.matmul(s, s.T, precision="highest") / s.shape[-1]
    return (P + P.T) / 2
