"""The response of f = ⟨σ(z₁)σ(z₂)⟩ to a change of the kernel of z₁ and z₂, to second order.

In polar coordinates a = √K₁₁, b = √K₂₂, ρ = K₁₂/ab, no inverse of the kernel is needed. With u_i = z_i/√K_ii:

    f_a = ⟨u₁σ₁′σ₂⟩,   f_ρ = ab⟨σ₁′σ₂′⟩,   f_aa = ⟨u₁²σ₁″σ₂⟩,   f_ab = ⟨u₁u₂σ₁′σ₂′⟩,
    f_aρ = b⟨σ₁′σ₂′⟩ + ab⟨u₁σ₁″σ₂′⟩,   f_ρρ = a²b²⟨σ₁″σ₂″⟩

A kink at c adds to σ₁″ a δ function of strength j = [σ′]_c: it sets z₁ = c, so that the other variable is
Gaussian with mean ρbc/a and variance b²(1−ρ²).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from eft.activations.definition import Activation
from eft.activations.derivatives import derivative
from eft.activations.one_sided import jump_at
from eft.gaussian.expectation import density
from eft.gaussian.piecewise_pairs import (
    TWO_OVER_PI,
    Angles,
    angles,
    fourth_moments,
    fourth_moments_of_slopes,
    parts,
)
from eft.gaussian.planes import plane
from eft.gaussian.rules import graded

COINCIDENT = 1e-14
"""1 − |ρ| up to which two variables count as one: they fluctuate together, and f_ρρ is not needed."""


class KernelDerivatives(NamedTuple):
    """The derivatives for one pair of variables; K stands for (K₁₁, K₂₂, K₁₂).

    `fourth`: (3,) ⟨σ₁²σ₂²⟩, ⟨σ₁³σ₂⟩, ⟨σ₁σ₂³⟩.
    `gradient`: (3,) ∂f/∂K.
    `polar_gradient`: (3,) ∂f/∂(a, b, ρ).
    `polar_hessian`: (3, 3); f_ρρ is 0 where |ρ| = 1.
    `jacobian`: (3, 3) ∂(a, b, ρ)/∂K.
    `curvature`: (3, 3, 3) ∂²(a, b, ρ)/∂K∂K.
    """

    fourth: Float[jax.Array, "3"]
    gradient: Float[jax.Array, "3"]
    polar_gradient: Float[jax.Array, "3"]
    polar_hessian: Float[jax.Array, "3 3"]
    jacobian: Float[jax.Array, "3 3"]
    curvature: Float[jax.Array, "3 3 3"]

    def second_order(self, V: jax.Array) -> jax.Array:
        """½ Σ ∂²f/∂K∂K V for V the covariance of (K₁₁, K₂₂, K₁₂)."""
        polar = self.jacobian @ V @ self.jacobian.T
        return (
            jnp.sum(self.polar_hessian * polar)
            + self.polar_gradient @ jnp.sum(self.curvature * V[None], (1, 2))
        ) / 2


def pair_derivatives(act: Activation, a: jax.Array, b: jax.Array, gap: jax.Array) -> KernelDerivatives:
    """The response at √K₁₁ = a, √K₂₂ = b, ρ = 1 − gap; σ must be continuous, or a step at 0 (degree 0)."""
    if act.degree in (0, 1):
        return (_of_steps, _of_linear_pieces)[act.degree](act, a, b, gap)
    p = plane(act, a, b, gap)
    s1, d1, c1 = act.derivatives(p.z1)[:3]
    s2, d2, c2 = act.derivatives(p.z2)[:3]
    u1 = p.x
    u2 = (1 - gap) * p.x + jnp.sqrt(gap * (2 - gap)) * p.y
    integrals = Integrals._make(
        p.mean(f)
        for f in (
            d1 * d2, u1 * d1 * s2, s1 * u2 * d2, u1 * u1 * c1 * s2, s1 * u2 * u2 * c2, u1 * u2 * d1 * d2,
            u1 * c1 * d2, d1 * u2 * c2, c1 * c2, s1**2 * s2**2, s1**3 * s2, s1 * s2**3,
        )
    )  # fmt: skip
    return from_integrals(act, a, b, gap, integrals)


class Integrals(NamedTuple):
    """⟨φ₁ψ₂⟩ of functions φ of the first variable and ψ of the second, named φ_ψ; s, d, c = σ, σ′, σ″."""

    d_d: jax.Array
    ud_s: jax.Array
    s_ud: jax.Array
    uuc_s: jax.Array
    s_uuc: jax.Array
    ud_ud: jax.Array
    uc_d: jax.Array
    d_uc: jax.Array
    c_c: jax.Array
    ss_ss: jax.Array
    sss_s: jax.Array
    s_sss: jax.Array


def from_integrals(act: Activation, a, b, gap, m: Integrals) -> KernelDerivatives:
    """The derivatives for one pair; what its δ functions contribute is added."""
    f_aa, f_bb, f_rr = m.uuc_s, m.s_uuc, a * a * b * b * m.c_c
    f_ar = b * m.d_d + a * b * m.uc_d
    f_br = a * m.d_d + a * b * m.d_uc
    at_1, at_2 = at_kinks(act, a, b, gap), at_kinks(act, b, a, gap)
    f_aa, f_ar, f_rr = f_aa + at_1[0], f_ar + at_1[1], f_rr + at_1[2]
    f_bb, f_br, f_rr = f_bb + at_2[0], f_br + at_2[1], f_rr + at_2[2] + at_both(act, a, b, gap)
    f_rr = jnp.where(jnp.minimum(gap, 2 - gap) <= COINCIDENT, 0.0, f_rr)

    jacobian, curvature = _coordinates(jnp.stack([a * a, b * b, a * b * (1 - gap)]))
    gradient = jnp.stack([m.ud_s, m.s_ud, a * b * m.d_d])
    hessian = jnp.stack([f_aa, m.ud_ud, f_ar, m.ud_ud, f_bb, f_br, f_ar, f_br, f_rr]).reshape(3, 3)
    fourth = jnp.stack([m.ss_ss, m.sss_s, m.s_sss])
    return KernelDerivatives(fourth, gradient @ jacobian, gradient, hessian, jacobian, curvature)


def _of_linear_pieces(act: Activation, a, b, gap) -> KernelDerivatives:
    """σ = cz + d|z|: ⟨σ₁σ₂⟩ = ab h(ρ) with h = c²ρ + d²⟨|u₁||u₂|⟩, h′ = c² + d²⟨s₁s₂⟩."""
    p, g = parts(act, a.dtype), angles(a, b, gap)
    c2, d2 = p.even[1] ** 2, p.odd[1] ** 2
    h, slope = c2 * g.rho + d2 * g.sizes, c2 + d2 * g.signs
    zero, f_rr = jnp.zeros_like(h), a * b * d2 * _slope_of_signs(g)
    gradient = jnp.stack([b * h, a * h, a * b * slope])
    hessian = jnp.stack([zero, h, b * slope, h, zero, a * slope, b * slope, a * slope, f_rr]).reshape(3, 3)
    jacobian, curvature = _coordinates(jnp.stack([a * a, b * b, a * b * (1 - gap)]))
    fourth = fourth_moments(p, g, a, b)
    return KernelDerivatives(fourth, gradient @ jacobian, gradient, hessian, jacobian, curvature)


def _of_steps(act: Activation, a, b, gap) -> KernelDerivatives:
    """σ = c + ds: ⟨σ₁σ₂⟩ = c² + d²⟨s₁s₂⟩."""
    p, g = parts(act, a.dtype), angles(a, b, gap)
    f_r = p.odd[1] ** 2 * _slope_of_signs(g)
    f_rr = f_r * g.rho / jnp.where(g.sine > 0, g.sine, 1.0) ** 2
    zero = jnp.zeros_like(f_r)
    jacobian, curvature = _coordinates(jnp.stack([a * a, b * b, a * b * (1 - gap)]))
    gradient = jnp.stack([zero, zero, f_r])
    fourth = fourth_moments_of_slopes(p, g)
    hessian = jnp.zeros((3, 3), a.dtype).at[2, 2].set(f_rr)
    return KernelDerivatives(fourth, gradient @ jacobian, gradient, hessian, jacobian, curvature)


def _slope_of_signs(g: Angles) -> jax.Array:
    """d⟨s₁s₂⟩/dρ = (2/π)/√(1−ρ²); 0 where the variables coincide."""
    apart = g.sine * g.sine > 2 * COINCIDENT
    return jnp.where(apart, TWO_OVER_PI / jnp.where(apart, g.sine, 1.0), 0.0)


def _coordinates(K: jax.Array) -> tuple[jax.Array, jax.Array]:
    """First and second derivatives of (a, b, ρ) in (K₁₁, K₂₂, K₁₂); 1 replaces a K₁₁ or K₂₂ that is 0."""

    def polar(K):
        a, b = jnp.sqrt(K[0]), jnp.sqrt(K[1])
        return jnp.stack([a, b, K[2] / (a * b)])

    safe = jnp.where(K[:2] > 0, K[:2], 1.0)
    K = jnp.concatenate([safe, K[2:]])
    return jax.jacfwd(polar)(K), jax.jacfwd(jax.jacfwd(polar))(K)


def at_kinks(act: Activation, a, b, gap) -> tuple:
    """Contributions of the δ functions in σ₁″ to f_aa, f_aρ, f_ρρ."""
    total = jnp.zeros(3, a.dtype)
    safe = jnp.where(a > 0, a, 1.0)
    tiny = jnp.finfo(a.dtype).tiny
    sine = jnp.maximum(jnp.sqrt(gap * (2 - gap)), tiny)
    for c in act.kinks:
        j = jump_at(derivative(act.fn), c, a.dtype)
        u = c / safe
        weight = jnp.where(a > 0, j * density(c, safe * safe), 0.0)
        cuts = jnp.asarray([0.0, *(k for k in act.kinks if k != 0)], a.dtype) / jnp.where(b > 0, b, tiny)
        y, w = graded((cuts - (1 - gap) * u) / sine)
        s, d, curved = (jnp.sum(w * f) for f in act.derivatives(b * ((1 - gap) * u + sine * y))[:3])
        total = total + weight * jnp.stack([u * u * s, a * b * u * d, a * a * b * b * curved])
    return tuple(total)


def at_both(act: Activation, a, b, gap) -> jax.Array:
    """Contribution of products of two δ functions to f_ρρ: a²b² Σ j j′ p(c, c′)."""
    total = jnp.zeros((), a.dtype)
    safe_a, safe_b = (jnp.where(r > 0, r, 1.0) for r in (a, b))
    variance = b * b * gap * (2 - gap)
    for c in act.kinks:
        for k in act.kinks:
            j = jump_at(derivative(act.fn), c, a.dtype) * jump_at(derivative(act.fn), k, a.dtype)
            other = jnp.where(variance > 0, density(k - (1 - gap) * safe_b * c / safe_a, variance), 0.0)
            total = total + j * density(c, safe_a * safe_a) * other
    return a * a * b * b * total
