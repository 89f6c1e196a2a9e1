"""Closed forms of the expectations of one activation at two Gaussian variables.

A form takes the kernel (K₁, K₂, K₁₂), with respect to which it is differentiated, and coordinates of full
accuracy, from which its value is computed: a = √K₁, b = √K₂, a − b, 1 − ρ and 1 + ρ. It returns a `PairForm`.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from eft.gaussian.tangents import with_derivatives_of

PARALLEL = 1e-8
"""sin θ up to which variables count as parallel: the cusp of ⟨σ′₁σ′₂⟩ there is given the derivative 0."""


class PairForm(NamedTuple):
    """Expectations at z₁, z₂, each of the broadcast shape of the arguments."""

    product: jax.Array  # ⟨σ₁σ₂⟩
    slopes: jax.Array  # ⟨σ′₁σ′₂⟩
    distance: jax.Array  # ⟨(σ₁−σ₂)²⟩
    lost: jax.Array  # √(⟨σ₁²⟩⟨σ₂²⟩) − ⟨σ₁σ₂⟩, constant under differentiation


Form = Callable[..., PairForm]


def _determinant(kernel, gap, rest):
    """K₁K₂ − K₁₂², with the more accurate value K₁K₂(1−ρ)(1+ρ)."""
    K1, K2, K12 = kernel
    plain = K1 * K2 - K12 * K12
    return plain + lax.stop_gradient(K1 * K2 * gap * rest - plain)


# --- piecewise linear ---------------------------------------------------------------------------


def piecewise_linear(plus: float, minus: float) -> Form:
    """σ = a₊z for z > 0, a₋z for z < 0; with α = (a₊+a₋)/2, β = (a₊−a₋)/2 it is αz + β|z|, and with ρ = cos θ

    ⟨|z₁z₂|⟩ = (2/π)√(K₁K₂) (sin θ + (π/2 − θ) cos θ),      ⟨sign z₁ sign z₂⟩ = 1 − 2θ/π
    """
    alpha2, beta2 = (plus + minus) ** 2 / 4, (plus - minus) ** 2 / 4
    both, bent = alpha2 + beta2, 2 / math.pi * beta2

    def accurate(a, b, difference, gap, rest):
        turn = 2 * jnp.arcsin(jnp.sqrt(jnp.minimum(gap, rest) / 2))
        theta, sine = jnp.where(gap <= rest, turn, math.pi - turn), jnp.sqrt(gap * rest)
        rho = 1 - gap
        t2 = theta * theta
        # sin θ − θ cos θ, by its series where the two terms would cancel
        series = (
            theta * t2 / 3 * (1 - t2 / 10 * (1 - t2 / 28 * (1 - t2 / 54 * (1 - t2 / 88 * (1 - t2 / 130)))))
        )
        curved = jnp.where(theta < 0.7, series, sine - theta * rho)
        lost = a * b * jnp.maximum(both * gap - bent * curved, 0.0)
        return PairForm(
            a * b * (alpha2 * rho + bent * (sine + (math.pi / 2 - theta) * rho)),
            alpha2 + beta2 * (1 - 2 / math.pi * theta),
            both * difference**2 + 2 * lost,
            lost,
        )

    def smooth(kernel, a, b, difference, gap, rest):
        K1, K2, K12 = kernel
        flat = (a * b == 0) | (gap * rest < PARALLEL**2)
        root = jnp.sqrt(jnp.where(flat, 1.0, _determinant(kernel, gap, rest)))
        angle = jnp.arctan2(jnp.where(flat, 0.0, K12), root)  # π/2 − θ
        constant = alpha2 + jnp.where(a * b == 0, 0.0, beta2 * jnp.sign(1 - gap))
        product = jnp.where(flat, constant * K12, alpha2 * K12 + bent * (root + K12 * angle))
        slopes = jnp.where(flat, constant, alpha2 + bent * angle)
        return PairForm(product, slopes, both * (K1 + K2) - 2 * product, jnp.zeros_like(K1))

    return with_derivatives_of(smooth, accurate)


# --- sine ---------------------------------------------------------------------------------------


def sine(frequency: float) -> Form:
    """σ = sin ωz: with D = ω²⟨(z₁−z₂)²⟩ and S = ω²⟨(z₁+z₂)²⟩, ⟨σ₁σ₂⟩ = ½(e^{−D/2} − e^{−S/2})."""

    def accurate(a, b, difference, gap, rest):
        a, b, difference = frequency * a, frequency * b, frequency * difference
        D = difference**2 + 2 * a * b * gap
        S = (a - b) ** 2 + 2 * a * b * rest
        near, far = jnp.exp(-D / 2), jnp.exp(-S / 2)
        # |e^{−K₁} − e^{−K₂}|
        unlike = jnp.exp(-(jnp.minimum(a, b) ** 2)) * -jnp.expm1(-jnp.abs(difference) * (a + b))
        excess = a * b * (rest - gap)  # (S − D)/2
        product = jnp.sign(excess) * jnp.maximum(near, far) * -jnp.expm1(-jnp.abs(excess)) / 2
        distance = -jnp.expm1(-D / 2) * (1 + far) - unlike**2 / 2
        roots = [jnp.sqrt(-jnp.expm1(-2 * r * r) / 2) for r in (a, b)]
        return PairForm(product, frequency**2 * (near + far) / 2, distance, _lost(product, distance, *roots))

    def smooth(kernel, *_):
        K1, K2, K12 = (frequency**2 * K for K in kernel)
        near, far = jnp.exp(K12 - (K1 + K2) / 2), jnp.exp(-K12 - (K1 + K2) / 2)
        product = (near - far) / 2
        g1, g2 = (-jnp.expm1(-2 * K) / 2 for K in (K1, K2))
        return PairForm(
            product, frequency**2 * (near + far) / 2, g1 + g2 - 2 * product, jnp.zeros_like(product)
        )

    return with_derivatives_of(smooth, accurate)


def _lost(product, distance, root_1, root_2):
    """√(g₁g₂) − ⟨σ₁σ₂⟩, from the distance if the two are close."""
    size = root_1 * root_2
    close = (distance - (root_1 - root_2) ** 2) / 2
    return jnp.maximum(jnp.where(distance < size, close, size - product), 0.0)


# --- the error function -------------------------------------------------------------------------


def error_function() -> Form:
    """σ = erf z: with w = 2K/(1+2K), v = 1 − w and sin φ = ρ√(w₁w₂),

        ⟨σ₁σ₂⟩ = (2/π) φ,     ⟨σ′₁σ′₂⟩ = (4/π)√(v₁v₂)/cos φ,     ⟨(σ₁−σ₂)²⟩ = (4/π)(m − φ)

    where m is the mean of arcsin w₁ and arcsin w₂. For close variables m − φ is computed from

        sin(m+φ) sin(m−φ) = (cos 2φ − cos 2m)/2 = 4v₁v₂d² + w₁w₂(1−ρ²),     d = (K₁−K₂)/(√(1+4K₁) + √(1+4K₂))
    """

    def accurate(a, b, difference, gap, rest):
        v1, v2 = (1 / (1 + 2 * r * r) for r in (a, b))
        size = 2 * (a * jnp.sqrt(v1)) * (b * jnp.sqrt(v2))  # √(w₁w₂)
        sine, cosine = (1 - gap) * size, jnp.sqrt(v1 + v2 - v1 * v2 + size * size * gap * rest)
        root_1, root_2 = (jnp.sqrt(1 + 4 * r * r) for r in (a, b))
        angles = [jnp.arctan2(2 * r * r, root) for r, root in ((a, root_1), (b, root_2))]
        left = [jnp.arctan2(root, 2 * r * r) for r, root in ((a, root_1), (b, root_2))]  # π/2 minus those
        phi, mean = jnp.arctan2(sine, cosine), (angles[0] + angles[1]) / 2
        # sin(m+φ), from the complements if the sum is near π
        below, above = phi + mean, jnp.arctan2(cosine, sine) + (left[0] + left[1]) / 2
        total = jnp.sin(jnp.where(below < math.pi / 2, below, above))
        total = jnp.where(total > 0, total, 1.0)
        d = 2 * jnp.sqrt(v1 * v2) * difference * ((a + b) / (root_1 + root_2))
        step = size * jnp.sqrt(gap * rest)
        quotient = d * (d / total) + step * (step / total)
        close = (sine > 0) & (quotient < 0.5)
        apart = jnp.where(close, jnp.arcsin(jnp.where(close, quotient, 0.0)), mean - phi)
        product, distance = 2 / math.pi * phi, 4 / math.pi * apart
        roots = [jnp.sqrt(2 / math.pi * A) for A in angles]
        slopes = 4 / math.pi * jnp.sqrt(v1 * v2) / cosine
        return PairForm(product, slopes, distance, _lost(product, distance, *roots))

    def smooth(kernel, a, b, difference, gap, rest):
        K1, K2, K12 = kernel
        root = jnp.sqrt(1 + 2 * (K1 + K2) + 4 * _determinant(kernel, gap, rest))
        product = 2 / math.pi * jnp.arctan2(2 * K12, root)
        g1, g2 = (2 / math.pi * jnp.arctan2(2 * K, jnp.sqrt(1 + 4 * K)) for K in (K1, K2))
        return PairForm(product, 4 / math.pi / root, g1 + g2 - 2 * product, jnp.zeros_like(product))

    return with_derivatives_of(smooth, accurate)
