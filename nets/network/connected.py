"""The NTK of every layer of networks with skip, norm or orthogonal weights: connected two-neuron parts."""

import jax
import jax.numpy as jnp

from nets.network.fcn import FCN
from nets.network.observables import NTKObservables


def layer_ntks(
    net: FCN, x: jax.Array, cw: jax.Array, lambda_w: jax.Array | float, lambda_b: jax.Array | float
) -> NTKObservables:
    """The observables of the NTK at one input x of shape (n₀,), by recursion over the layers.

        Θ̂′ = (λ_b + (λ_W/n) Σ_k s_k²) 1 + JΘ̂Jᵀ,   J = γ1 + WS,   s = σ(N(z)),   S = ∂s/∂z,   n = n_l

    Means over the weights of layer l+1 are exact, given layer l, and i ≠ j; w = C_W/n, M = SΘ̂Sᵀ:

        H_i                   = λ_b + (λ_W/n) Σ s² + γ²Θ̂_ii + w tr M
        E[Θ̂′_iiΘ̂′_jj]        = H_i H_j + κ_A
        E[z′_i²Θ̂′_jj]        = (γ²z_i² + Ĝ′) H_j + κ_D
        E[Θ̂′_ij²]            = γ⁴Θ̂_ij² + γ²w Σ_k[(SΘ̂)_ki² + (SΘ̂)_kj²] + w² tr M² + κ_B
        E[z′_i z′_jΘ̂′_ij]    = γ⁴z_i z_jΘ̂_ij + γ²w Σ_k[z_i s_k(SΘ̂)_ki + z_j s_k(SΘ̂)_kj] + w² sᵀMs + κ_F

    κ = 0 for Gaussian weights. For orthogonal ones, with m = max(n_l, n_{l+1}) and q = (m−1)(m+2), from the
    fourth moments of a Haar matrix (m, m),

        κ_A = (2w²/q)[(tr M)² − m tr M²],    κ_B = (w²/q)[(2−m) tr M² − m (tr M)²]
        κ_D = (2w²/q)[s² tr M − m sᵀMs],     κ_F = (w²/q)[(2−m) sᵀMs − m s² tr M]
    """
    rates = [0 if layer.bias is None else lambda_b for layer in net.layers]
    mean, zero = rates[0] + lambda_w * jnp.mean(x * x), jnp.zeros((), x.dtype)
    layers = [NTKObservables(mean, mean, zero, zero, zero, zero)]
    z = net.preactivations(x)
    Theta = mean * jnp.eye(z[0].shape[-1], dtype=x.dtype)
    for number, rate in enumerate(rates[1:], start=1):
        z_l, gamma, W = z[number - 1], net.gamma(number), net.layers[number].kernel[...].T
        s, push = jax.linearize(net.activated, z_l)
        columns = jax.vmap(push, 1, 1)
        n, w, SΘ = len(s), cw / len(s), columns(Theta)
        M, fresh = columns(SΘ.T), rate + lambda_w * jnp.mean(s * s)
        sMs, M2, T, s2 = s @ M @ s, jnp.sum(M * M), jnp.trace(M), s @ s
        H, B, F = fresh + w * T, w * w * M2, w * w * sMs
        A_excess = D_excess = zero
        new = fresh * jnp.eye(len(W), dtype=x.dtype) + W @ M @ W.T
        if gamma is not None:
            square, own = gamma * gamma, jnp.diagonal(Theta)
            H = H + square * jnp.mean(own)
            A_excess = square**2 * _covariance(own, own) / (n - 1)
            D_excess = square**2 * _covariance(z_l * z_l, own) / (n - 1)
            of_pairs = (jnp.sum(Theta * Theta) - jnp.sum(own * own)) / (n * (n - 1))
            B = B + square**2 * of_pairs + 2 * square * w * jnp.sum(SΘ * SΘ) / n
            of_pairs = (z_l @ Theta @ z_l - jnp.sum(z_l * z_l * own)) / (n * (n - 1))
            F = F + square**2 * of_pairs + 2 * square * w * (s @ SΘ @ z_l) / n
            cross = gamma * (W @ SΘ)
            new = new + square * Theta + cross + cross.T
        if net.weights == "orthogonal":
            m = max(W.shape)
            unit = w * w / ((m - 1) * (m + 2))
            A_excess = A_excess - 2 * unit * (T * T - m * M2)
            D_excess = D_excess - 2 * unit * (s2 * T - m * sMs)
            B = B + unit * ((2 - m) * M2 - m * T * T)
            F = F + unit * ((2 - m) * sMs - m * s2 * T)
        Theta = new
        own = jnp.mean(jnp.diagonal(Theta))
        layers.append(NTKObservables(H, own, n * B, n * F, A_excess, D_excess))
    return jax.tree.map(lambda *a: jnp.stack(a), *layers)


def _covariance(a: jax.Array, b: jax.Array) -> jax.Array:
    """(1/n) Σ δa_i δb_i over the neurons."""
    return jnp.mean((a - jnp.mean(a)) * (b - jnp.mean(b)))
