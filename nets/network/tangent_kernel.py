"""The empirical neural tangent kernel of a network."""

import jax
import jax.numpy as jnp

from eft.arguments import ArgumentError
from nets.network.fcn import FCN
from nets.network.observables import NTKObservables, overlap, value_and_slope


def empirical_ntk(
    net: FCN, x: jax.Array, lambda_w: jax.Array | float = 1.0, lambda_b: jax.Array | float = 1.0
) -> jax.Array:
    """Θ̂_αβ of a network with one output at inputs x of shape (n_D, n₀): an array (n_D, n_D).

        Θ̂_αβ = Σ_l [λ_b Σ_i ∂z_α/∂b_i^l ∂z_β/∂b_i^l + (λ_W/n_{l−1}) Σ_ij ∂z_α/∂W_ij^l ∂z_β/∂W_ij^l],  z = z^L
             = Σ_l (λ_b + λ_W P^l_αβ) D^l_αβ,   P^l = (1/n_{l−1}) Σ_j s_αj s_βj,   D^l = Σ_i δ_αi δ_βi

    with s = x at l = 1 and σ(z^{l−1}) above, δ^L = 1 and δ^l = σ′(z^l) (δ^{l+1} W^{l+1}). A layer without
    biases has no λ_b. Derivatives are taken with respect to the weights themselves, whose variance is
    C_W/n_{l−1} (PDLT chapters 8 and 9).

    Raises ValueError if the network has more than one output.
    """
    if net.layers[-1].out_features != 1:
        raise ArgumentError(f"net must have one output; got {net.layers[-1].out_features}")
    s, slopes = [x], []
    for z in net.preactivations(x)[:-1]:
        value, slope = value_and_slope(net.act, z)
        s.append(value)
        slopes.append(slope)
    delta = jnp.ones((len(x), 1), x.dtype)
    Theta = jnp.zeros((len(x), len(x)), x.dtype)
    for layer in reversed(net.layers):
        P, D = overlap(s.pop()), overlap(delta) * delta.shape[-1]
        Theta = Theta + ((0 if layer.bias is None else lambda_b) + lambda_w * P) * D
        if slopes:
            delta = slopes.pop() * jnp.matmul(delta, layer.kernel[...].T, precision="highest")
    return Theta


def layer_ntks(
    net: FCN, x: jax.Array, cw: jax.Array, lambda_w: jax.Array | float, lambda_b: jax.Array | float
) -> NTKObservables:
    """The observables of the NTK of every layer at one input x of shape (n₀,), by recursion over the layers.

        Θ̂_ij^{l+1} = δ_ij (λ_b + (λ_W/n_l) Σ_k σ_k²) + Σ_km W_ik W_jm σ′_k σ′_m Θ̂_km^l
        Θ̂_ij¹ = δ_ij (λ_b + λ_W‖x‖²/n₀)

    with Θ̂_ij^l the sum of ∂z_i^l ∂z_j^l over the parameters, weighted as in `empirical_ntk`.
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
