"""The empirical neural tangent kernel of a network."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from eft.arguments import ArgumentError
from nets.network.fcn import FCN
from nets.network.observables import NTKObservables, overlap, value_and_slope


def output_ntk(
    net: FCN, x: jax.Array, lambda_w: jax.Array | float = 1.0, lambda_b: jax.Array | float = 1.0
) -> jax.Array:
    """Θ̂_αβ of a network with one output at inputs x of shape (n_D, n₀): an array (n_D, n_D).

        Θ̂_αβ = Σ_l [λ_b Σ_i ∂z_α/∂b_i^l ∂z_β/∂b_i^l + (λ_W/n_{l−1}) Σ_ij ∂z_α/∂W_ij^l ∂z_β/∂W_ij^l],  z = z^L
             = Σ_l (λ_b + λ_W P^l_αβ) D^l_αβ,   P^l = (1/n_{l−1}) Σ_j s_αj s_βj,   D^l = Σ_i δ_αi δ_βi

    with s = x at l = 1 and σ(N(z^{l−1})) above, δ^L = 1, and δ^l = δ^{l+1} ∂z^{l+1}/∂z^l, which in a plain
    network is σ′(z^l) (δ^{l+1} W^{l+1}). A layer without biases has no λ_b. Derivatives are taken with
    respect to the weights themselves, whose variance is C_W/n_{l−1} (PDLT chapters 8 and 9).

    Raises ValueError if the network has more than one output.
    """
    if net.layers[-1].out_features != 1:
        raise ArgumentError(f"net must have one output; got {net.layers[-1].out_features}")
    return mean_ntk(net, x, lambda_w, lambda_b)


def mean_ntk(
    net: FCN, x: jax.Array, lambda_w: jax.Array | float = 1.0, lambda_b: jax.Array | float = 1.0
) -> jax.Array:
    """The mean of Θ̂_αβ over the outputs i of z = z_i^L, an array (n_D, n_D); as in `output_ntk`."""
    outputs = net.layers[-1].out_features
    s, pulls = [x], []
    for layer, z in enumerate(net.preactivations(x)[:-1], start=1):
        s.append(net.activated(z))
        pulls.append(_pull(net, layer, z))
    if outputs == 1:
        delta = jnp.ones((len(x), 1), x.dtype)
    else:  # of all outputs, which are independent directions like the neurons that δ is summed over
        delta = jnp.broadcast_to(jnp.eye(outputs, dtype=x.dtype)[:, None], (outputs, len(x), outputs))
        pulls = [jax.vmap(pull) for pull in pulls]
    Theta = jnp.zeros((len(x), len(x)), x.dtype)
    for layer in reversed(net.layers):
        P, D = overlap(s.pop()), _squares(delta)
        Theta = Theta + ((0 if layer.bias is None else lambda_b) + lambda_w * P) * D
        if pulls:
            delta = pulls.pop()(delta)
    return Theta


def _squares(delta: jax.Array) -> jax.Array:
    """D_αβ = Σ_i δ_αi δ_βi of δ with shape (n_D, n), or the mean over outputs of (outputs, n_D, n)."""
    if delta.ndim == 2:
        return overlap(delta) * delta.shape[-1]
    flat = jnp.swapaxes(delta, 0, 1).reshape(delta.shape[1], -1)
    return overlap(flat) * delta.shape[-1]


def _pull(net: FCN, layer: int, z: jax.Array) -> Callable[[jax.Array], jax.Array]:
    """δ^{l+1} ↦ δ^l, the derivative of z^{l+1} by z^l = z from the left; l = `layer`."""
    if net.plain:
        slope, W = value_and_slope(net.act, z)[1], net.layers[layer].kernel[...]
        return lambda delta: slope * jnp.matmul(delta, W.T, precision="highest")
    pull = jax.vjp(functools.partial(net.propagate, layer), z)[1]
    return lambda delta: pull(delta)[0]


def layer_ntks(
    net: FCN, x: jax.Array, cw: jax.Array, lambda_w: jax.Array | float, lambda_b: jax.Array | float
) -> NTKObservables:
    """The observables of the NTK of every layer of a plain network at one input x, (n₀,), by recursion.

        Θ̂_ij^{l+1} = δ_ij (λ_b + (λ_W/n_l) Σ_k σ_k²) + Σ_km W_ik W_jm σ′_k σ′_m Θ̂_km^l
        Θ̂_ij¹ = δ_ij (λ_b + λ_W‖x‖²/n₀)

    with Θ̂_ij^l the sum of ∂z_i^l ∂z_j^l over the parameters, weighted as in `output_ntk`.
    """
    rates = [0 if layer.bias is None else lambda_b for layer in net.layers]
    mean, zero = rates[0] + lambda_w * jnp.mean(x * x), jnp.zeros((), x.dtype)
    layers = [NTKObservables(mean, mean, zero, zero)]
    z = net.preactivations(x)
    Theta = mean * jnp.eye(z[0].shape[-1], dtype=x.dtype)
    for z_l, layer, rate in zip(z, net.layers[1:], rates[1:], strict=False):
        s, s1 = value_and_slope(net.act, z_l)
        n, W = len(s), layer.kernel[...]
        inner, fresh = s1[:, None] * Theta * s1[None], rate + lambda_w * jnp.mean(s * s)
        back = jnp.matmul(W.T, jnp.matmul(inner, W, precision="highest"), precision="highest")
        Theta = fresh * jnp.eye(W.shape[1], dtype=x.dtype) + back
        layers.append(
            NTKObservables(
                H=fresh + cw * jnp.trace(inner) / n,
                Theta_hat=jnp.trace(Theta) / W.shape[1],
                B=cw * (cw / n * jnp.sum(inner * inner)),
                F=cw * (cw / n * jnp.sum(s * jnp.matmul(inner, s, precision="highest"))),
            )
        )
    return jax.tree.map(lambda *a: jnp.stack(a), *layers)
