"""The NTK of networks whose neurons remember: its fluctuations in residual networks, z′ = γz + b + Wσ(z).

The NTK θ_i = Θ̂_ii of a neuron is, up to terms that vanish with the width, a sum over layers of
λ_b + (1/n) Σ_k Ω_k with Ω = λ_W σ² + C_W Θ σ′², weighted as the metrics are in `eft.flows.residual`; so

    δK′ = χ∥ δK + C_W ξ_F,     δθ′ = χ⊥ δθ + ⟨Ω⟩_K δK + ξ_Ω,     ξ_f = (1/n) Σ_j (f(z_j) − ⟨f⟩)

A neuron i moves all later kernels by v_p F(z_i^p)/n, and NTKs by [w_F,p F(z_i^p) + w_S,p S(z_i^p)]/n.
Its own Θ̂_ij and the product z_i z_j remember z_i^p through σ′²(z_i^p) and σσ′(z_i^p) (docs/residual.md).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from eft.activations.definition import Activation
from eft.activations.programs import compiled
from eft.flows.block import Block
from eft.flows.residual import Kernels, between_layers, remembered
from eft.gaussian.layer_pairs import Rule
from eft.gaussian.records import SlopeMoments
from eft.gaussian.tangents import constant


class Fluctuations(NamedTuple):
    """Fields of `NTKFlow`, batch + (L,), and the relative error of the expectations at two layers."""

    V: jax.Array
    Theta: jax.Array
    Theta1: jax.Array
    A: jax.Array
    B: jax.Array
    D: jax.Array
    F: jax.Array
    error: jax.Array


@compiled(0, 1, 2)
def fluctuations(
    act: Activation, rule: Rule, block: Block, k: Kernels, p: SlopeMoments, skip, cw, lw, lb, first
) -> Fluctuations:
    """The NTK of a residual network.

    With c = C_W Θ, sums over the layers p before, and U, D, φ, b the parts of V, D, F, B that are not memory
    of a neuron's own past:

        U′ = χ∥² U + C_W² Var F + 2C_W χ∥ ⟨ξ_F δK⟩                    ⟨ξ_f δK⟩ = Σ v_p Cov(F_p, f)
        D′ = χ∥χ⊥ D + χ∥⟨Ω⟩_K U + C_W Cov(F, Ω)                       ⟨ξ_f δθ⟩ = Σ w_F,p Cov(F_p, f)
             + C_W [χ⊥⟨ξ_F δθ⟩ + ⟨Ω⟩_K⟨ξ_F δK⟩] + χ∥⟨ξ_Ω δK⟩                     + Σ w_S,p Cov(S_p, f)
        A′ = χ⊥² A + 2χ⊥⟨Ω⟩_K D + ⟨Ω⟩_K² U + Var Ω + 2[χ⊥⟨ξ_Ω δθ⟩ + ⟨Ω⟩_K⟨ξ_Ω δK⟩]
        φ′ = χ∥² φ + C_W²⟨FS⟩Θ + 2C_W χ∥ Σ f_p⟨u_p u⟩
        b′ = χ⊥² b + C_W²⟨S²⟩Θ² + 2C_W χ⊥ Σ b_p⟨S_p S⟩
        v_p′ = χ∥ v_p,  w_F,p′ = χ⊥ w_F,p + ⟨Ω⟩_K v_p,  w_S,p′ = χ⊥ w_S,p,  f_p′ = γχ∥ f_p,  b_p′ = γ²χ⊥ b_p

    with C_W, λ_W, c, γc and γ²cΘ for the layer p = l itself. Then Theta1′ = χ⊥ Theta1 + λ_W M[F] + c M[S]
    + C_W [s′ D + ⟨ξ_S δθ⟩ + 2s′ φ + 2 Σ f_p⟨u_p S′⟩], M[f] = ⟨f⟩′ G1 + ½⟨f⟩″ U + Σ v_p Cov(F_p, ½f″).
    """
    depth = k.K.shape[-1]
    m = k.moments
    skips = block.by_layer(skip, depth)
    memory = remembered(skips, jnp.moveaxis(k.H, -1, 0))
    signal, slopes = between_layers(act, rule, k.K, memory, (m.g, m.dg, p.s, p.ds))
    assert slopes is not None
    products_S = slopes.cov_SS + p.s[..., :, None] * p.s[..., None, :]
    haar = block.weights == "orthogonal"
    new_V, new_B, new_F = (m.var - 2 * m.g**2, p.var, p.cov) if haar else (m.var, p.s4, p.cross)
    pairs = (
        signal.cov, signal.bent, signal.products, slopes.cov_FS, slopes.cov_SF, slopes.cov_SS, slopes.bent,
        slopes.mixed, products_S,
    )  # fmt: skip

    def layer(now, at):
        Theta, Theta1, A, D, U, G1, phi, b, paths, own = now
        v, w_F, w_S, f_p, b_p = paths
        gamma, K, m, p, (new_V, new_B, new_F), pair, now_at = at
        FF, FF2, uu, FS, SF, SS, FS2, uS1, products_S = pair

        def past(path, with_p):
            return jnp.sum(path * with_p, -1)

        c = cw * Theta
        parallel, perp = gamma**2 + cw * m.dg, gamma**2 + cw * p.s
        omega = lw * m.dg + c * p.ds
        var_omega = lw * (lw * m.var) + 2 * lw * c * p.cov + c * (c * p.var)
        F_K, S_K = past(v, FF), past(v, FS)
        F_theta, S_theta = past(w_F, FF) + past(w_S, SF), past(w_F, FS) + past(w_S, SS)
        omega_K, omega_theta = lw * F_K + c * S_K, lw * F_theta + c * S_theta
        mean_F = m.dg * G1 + m.d2g * U / 2 + past(v, FF2)
        mean_S = p.ds * G1 + p.d2s * U / 2 + past(v, FS2)
        with_theta = p.ds * D + S_theta + 2 * (p.ds * phi + past(f_p, uS1))
        paths = tuple(
            path.at[..., now_at].set(new)
            for path, new in (
                (parallel[..., None] * v, cw),
                (perp[..., None] * w_F + omega[..., None] * v, lw),
                (perp[..., None] * w_S, c),
                ((gamma * parallel)[..., None] * f_p, gamma * c),
                ((gamma**2 * perp)[..., None] * b_p, gamma**2 * c * Theta),
            )
        )
        V_own, D_own, F_own, B_own = own
        own = (
            gamma**2 * (parallel * V_own + cw * 2 * K**2 * m.dg),
            gamma**2 * (perp * D_own + omega * V_own + 2 * K**2 * omega),
            gamma**2 * (parallel * F_own + 2 * c * K * m.dg),
            gamma**2 * (perp * B_own + 2 * c * Theta * p.s),
        )
        after = (
            lb + lw * m.g + perp * Theta,
            perp * Theta1 + lw * mean_F + c * mean_S + cw * with_theta,
            perp * (perp * A + 2 * omega * D) + omega**2 * U + var_omega
            + 2 * (perp * omega_theta + omega * omega_K),
            parallel * (perp * D + omega * U + omega_K) + cw * (lw * m.var + c * p.cov)
            + cw * (perp * F_theta + omega * F_K),
            parallel * (parallel * U + 2 * cw * F_K) + cw * (cw * new_V),
            gamma**2 * G1 + cw * mean_F,
            parallel * (parallel * phi + 2 * cw * past(f_p, uu)) + cw * c * new_F,
            perp * (perp * b + 2 * cw * past(b_p, products_S)) + c * c * new_B,
            paths,
            own,
        )  # fmt: skip
        record = U + 2 * V_own, Theta, Theta1, A, b + B_own, D + D_own, phi + F_own
        return after, record

    zero, paths = jnp.zeros_like(first), 5 * (jnp.zeros_like(k.K),)
    start = first, *7 * (zero,), paths, 4 * (zero,)
    one = (k.K, m, p, (new_V, new_B, new_F))
    along = jax.tree.map(lambda a: jnp.moveaxis(a, -1, 0), one)
    past_layers = jax.tree.map(lambda a: jnp.moveaxis(a, -2, 0), pairs)
    _, fields = lax.scan(layer, start, (skips, *along, past_layers, jnp.arange(depth)))
    error = constant(jnp.max(jnp.maximum(signal.error, slopes.error), -1))
    return Fluctuations._make([*(jnp.moveaxis(a, 0, -1) for a in fields), error])
