"""GELU, σ = zΦ(z), at two variables; its expectations at one variable are taken from the table."""

import math

import jax.numpy as jnp

from eft.gaussian.closed_forms.base import ClosedForms, Kernel, determinant, lost
from eft.gaussian.records import PairForm
from eft.gaussian.tangents import with_derivatives_of


class GELUForms(ClosedForms):
    """With u_i = 1/(1+K_i), Δ = K₁K₂ − K₁₂², D = (1+K₁)(1+K₂) − K₁₂² and tan φ = K₁₂/√D."""

    def pair(self, kernel: Kernel, a, b, difference, gap, rest) -> PairForm:
        """By parts (Stein's lemma), with A = ¼ + φ/2π = ⟨Φ₁Φ₂⟩ and ⟨φ(z₁)φ(z₂)⟩ = 1/2π√D,

            ⟨σ₁σ₂⟩ = K₁₂A + (Δ + K₁₂²(u₁+u₂))/2π√D,     ⟨σ′₁σ′₂⟩ = A + K₁₂(1/D + u₁ + u₂)/2π√D

        in which no terms of opposite sign occur for K₁₂ ≥ 0. The distance is computed without differences of
        nearby numbers, from W = ⟨(z₁−z₂)²⟩/4, N = (K₁−K₂)/4, D_i = 1+2K_i and sin α_i = K_iu_i:

            2π⟨(σ₁−σ₂)²⟩ = 8πW Ā + 2N(α₁−α₂) + 2K₁₂(m−φ) + Σ_i 2u_i(K_i²/√D_i − K₁₂²/√D) − 2Δ/√D

        where m = (α₁+α₂)/2, Ā = ¼ + m/2π, and

            sin(α₁−α₂) = 4N u₁u₂ (K₁+K₂+2K₁K₂)/(K₁√D₂+K₂√D₁)
            sin(m+φ) sin(m−φ) = u₁u₂ (Δ + 8N²/(1+K₁+K₂+√(D₁D₂)))
        """
        return with_derivatives_of(_smooth, _accurate)(kernel, a, b, difference, gap, rest)


def _accurate(a, b, difference, gap, rest):
    # in this order, so that a pair and its transpose agree bit for bit
    a, b, difference = jnp.maximum(a, b), jnp.minimum(a, b), jnp.abs(difference)
    K1, K2, K12 = a * a, b * b, a * b * (1 - gap)
    u1, u2 = 1 / (1 + K1), 1 / (1 + K2)
    # in units in which nothing overflows: r = K₁₂√(u₁u₂), d = D u₁u₂, Δ u₁u₂
    small_1, small_2 = a * jnp.sqrt(u1), b * jnp.sqrt(u2)
    r, delta = small_1 * small_2 * (1 - gap), (small_1 * small_2) ** 2 * gap * rest
    root_d, root_u = jnp.sqrt(u1 + u2 - u1 * u2 + delta), jnp.sqrt(u1) * jnp.sqrt(u2)
    phi = jnp.arctan2(r, root_d)
    arc = jnp.arctan2(root_d, -r)  # 2πA
    product = (K12 * arc + (delta + r * r * (u1 + u2)) / (root_d * root_u)) / (2 * math.pi)
    slopes = (arc + r / root_d * (u1 * u2 / root_d**2 + u1 + u2)) / (2 * math.pi)
    g1, g2 = (_square(K, u) for K, u in ((K1, u1), (K2, u2)))
    near = _distance(K1, K2, K12, u1, u2, (difference**2 + 2 * a * b * gap) / 4, difference * (a + b) / 4,
                     K1 * K2 * gap * rest, phi, jnp.arctan2(root_d, r))  # fmt: skip
    distance = jnp.where(jnp.isfinite(near), near, g1 + g2 - 2 * product)
    return PairForm(product, slopes, distance, lost(product, distance, jnp.sqrt(g1), jnp.sqrt(g2)))


def _square(K, u):
    """⟨σ²⟩ = K(¼ + α/2π) + K²u/π√(1+2K)."""
    root = jnp.sqrt(1 + 2 * K)
    return K * (math.pi / 2 + jnp.arctan2(K, root)) / (2 * math.pi) + K * (K * u) / (math.pi * root)


def _distance(K1, K2, K12, u1, u2, W, N, delta, phi, phi_left):
    """⟨(σ₁−σ₂)²⟩; `phi_left` = π/2 − φ."""
    D = 1 + K1 + K2 + delta
    root, root_1, root_2 = jnp.sqrt(D), jnp.sqrt(1 + 2 * K1), jnp.sqrt(1 + 2 * K2)
    alpha_1, alpha_2 = jnp.arctan2(K1, root_1), jnp.arctan2(K2, root_2)
    left = (jnp.arctan2(root_1, K1) + jnp.arctan2(root_2, K2)) / 2
    m = (alpha_1 + alpha_2) / 2

    # α₁ − α₂
    ends = K1 * root_2 + K2 * root_1
    turn = 4 * N * u1 * u2 * (K1 + K2 + 2 * K1 * K2) / jnp.where(ends > 0, ends, 1.0)
    turn = jnp.where(jnp.abs(turn) < 0.5, jnp.arcsin(jnp.clip(turn, -0.5, 0.5)), alpha_1 - alpha_2)

    # m − φ, with sin(m+φ) from the complements if the sum is near π
    total = jnp.sin(jnp.where(m + phi < math.pi / 2, m + phi, left + phi_left))
    total = jnp.where(total > 0, total, 1.0)
    step = u1 * u2 * (delta + 8 * N * (N / (1 + K1 + K2 + root_1 * root_2))) / total
    close = (K12 > 0) & (step < 0.5)
    apart = jnp.where(close, jnp.arcsin(jnp.where(close, step, 0.0)), m - phi)

    # Σ_i 2u_i (K_i² − K₁₂²)/√D_i with K_i − K₁₂ = 2W ± 2N: the terms in N are a difference of φ_i
    f1, f2 = (K1 + K12) * u1 / root_1, (K2 + K12) * u2 / root_2
    over = -8 * N / (root_1 * root_2 * (root_1 + root_2))  # 1/√D₁ − 1/√D₂
    f_apart = 4 * N * u1 / root_1 - (K2 + K12) * (4 * N * u1 * u2) / root_1 + (K2 + K12) * u2 * over
    first = 4 * W * (f1 + f2) + 4 * N * f_apart

    # Σ_i 2u_i K₁₂² (1/√D_i − 1/√D) with D − D_i = Δ ∓ 4N
    h1, h2 = u1 / (root_1 * (root + root_1)), u2 / (root_2 * (root + root_2))
    bend = -8 * N / ((root_1 + root_2) * (root + root_1) * (root + root_2))
    h_apart = (-4 * N * u1 * u2 / root_1 + u2 * over) / (root + root_1) + u2 / root_2 * bend
    second = 2 * K12 * (K12 / root) * (delta * (h1 + h2) - 4 * N * h_apart)

    arcs = 4 * W * (math.pi / 2 + m) + 2 * N * turn + 2 * K12 * apart
    return (arcs + first + second - 2 * delta / root) / (2 * math.pi)


def _smooth(kernel, a, b, difference, gap, rest):
    K1, K2, K12 = kernel
    u1, u2 = 1 / (1 + K1), 1 / (1 + K2)
    delta = determinant(kernel, gap, rest)
    D = 1 + K1 + K2 + delta
    root = jnp.sqrt(D)
    arc = jnp.arctan2(root, -K12)
    product = (K12 * arc + (delta + K12 * K12 * (u1 + u2)) / root) / (2 * math.pi)
    slopes = (arc + K12 / root * (1 / D + u1 + u2)) / (2 * math.pi)
    return PairForm(product, slopes, _square(K1, u1) + _square(K2, u2) - 2 * product, jnp.zeros_like(product))
