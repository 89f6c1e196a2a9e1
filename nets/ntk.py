"""The neural tangent kernel of a network that was really drawn."""

import jax
import jax.numpy as jnp

from nets.fcn import FCN
from nets.observables import overlap


def empirical_ntk(
    net: FCN, x: jax.Array, lambda_w: jax.Array | float = 1.0, lambda_b: jax.Array | float = 1.0
) -> jax.Array:
    """Θ̂_αβ of a network with one output at inputs x of shape (n_D, n₀): an array (n_D, n_D).

        Θ̂_αβ = Σ_l [λ_b Σ_i ∂z_α/∂b_i^l ∂z_β/∂b_i^l + (λ_W/n_{l−1}) Σ_ij ∂z_α/∂W_ij^l ∂z_β/∂W_ij^l],  z = z^L
             = Σ_l (λ_b + λ_W P^l_αβ) D^l_αβ,   P^l = (1/n_{l−1}) Σ_j s_αj s_βj,   D^l = Σ_i δ_αi δ_βi

    with s = x at l = 1 and σ(z^{l−1}) above, δ^L = 1 and δ^l = σ′(z^l) (δ^{l+1} W^{l+1}). A layer without
    biases has no λ_b. The derivatives are those by the weights themselves, whose variance is C_W/n_{l−1}
    (PDLT chapters 8 and 9).

    Raises ValueError if the network has more than one output.
    """
    if net.layers[-1].out_features != 1:
        raise ValueError(f"net must have one output; got {net.layers[-1].out_features}")
    s, slopes = [x], []
    for z in net.preactivations(x)[:-1]:
        value, slope = jax.jvp(net.act.fn, (z,), (jnp.ones_like(z),))
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
