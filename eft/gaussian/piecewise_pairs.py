"""Expectations of σ(z) = cz + d|z| and its slope at two Gaussian variables, in closed form.

σ = z(c + ds) with s = sign z, so that σᵐσ′ⁿ = zᵐ(c + ds)ᵐ⁺ⁿ = zᵐ(e_k + o_k s) with k = m + n, and with
u_i = z_i/√K_ii every product is a sum of

    ⟨s₁s₂⟩ = (2/π) α,   ⟨|u₁||u₂|⟩ = (2/π)(S + ρα),   ⟨u₁|u₁|s₂⟩ = (2/π)(α + ρS)
    ⟨u₁|u₁|u₂|u₂|⟩ = (2/π)((1+2ρ²)α + 3ρS),   ⟨|u₁|³|u₂|⟩ = (2/π)((2+ρ²)S + 3ρα)

with ρ = sin α and S = cos α.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from eft.activations.definition import Activation
from eft.gaussian.planes import correlated

TWO_OVER_PI = 2 / math.pi


class Parts(NamedTuple):
    """(c + ds)ᵏ = even[k] + odd[k] s, k = 0 … 4."""

    even: list
    odd: list


class Angles(NamedTuple):
    """Of two variables of variance 1.

    `rho`: ρ. `sine`: √(1−ρ²). `signs`: ⟨s₁s₂⟩. `sizes`: ⟨|u₁||u₂|⟩. `square_sign`: ⟨u₁|u₁|s₂⟩.
    `squares`: ⟨u₁|u₁|u₂|u₂|⟩. `cube_size`: ⟨|u₁|³|u₂|⟩.
    """

    rho: jax.Array
    sine: jax.Array
    signs: jax.Array
    sizes: jax.Array
    square_sign: jax.Array
    squares: jax.Array
    cube_size: jax.Array


def parts(act: Activation, dtype) -> Parts:
    """Of σ, of degree 1, or of its slope c + ds, of degree 0."""
    right, left = (act(jnp.asarray(sign, dtype)) for sign in (1.0, -1.0))
    left = -left if act.degree == 1 else left
    powers = [(right**k, left**k) for k in range(5)]
    return Parts([(a + b) / 2 for a, b in powers], [(a - b) / 2 for a, b in powers])


def angles(a: jax.Array, b: jax.Array, gap: jax.Array) -> Angles:
    """Of variables with √K₁₁ = a, √K₂₂ = b and the correlation 1 − gap, or none if one of them is 0."""
    gap = correlated(a, b, gap)
    rho, sine = 1 - gap, jnp.sqrt(gap * (2 - gap))
    alpha = jnp.arctan2(rho, sine)
    sums = (
        alpha,
        sine + rho * alpha,
        alpha + rho * sine,
        (1 + 2 * rho * rho) * alpha + 3 * rho * sine,
        (2 + rho * rho) * sine + 3 * rho * alpha,
    )
    return Angles(rho, sine, *(TWO_OVER_PI * each for each in sums))


def distance_of_signs(gap: jax.Array) -> jax.Array:
    """⟨(s₁ − s₂)²⟩."""
    return 4 * TWO_OVER_PI * jnp.arcsin(jnp.sqrt(gap / 2))


def fourth_moments(p: Parts, g: Angles, a: jax.Array, b: jax.Array) -> jax.Array:
    """⟨σ₁²σ₂²⟩, ⟨σ₁³σ₂⟩, ⟨σ₁σ₂³⟩ for a = √K₁₁, b = √K₂₂."""
    squares = p.even[2] ** 2 * (1 + 2 * g.rho**2) + p.odd[2] ** 2 * g.squares
    cube = 3 * p.even[3] * p.even[1] * g.rho + p.odd[3] * p.odd[1] * g.cube_size
    return a * b * jnp.stack([a * b * squares, a * a * cube, b * b * cube])


def fourth_moments_of_slopes(p: Parts, g: Angles) -> jax.Array:
    """⟨σ′₁²σ′₂²⟩, ⟨σ′₁³σ′₂⟩, ⟨σ′₁σ′₂³⟩."""
    squares = p.even[2] ** 2 + p.odd[2] ** 2 * g.signs
    cube = p.even[3] * p.even[1] + p.odd[3] * p.odd[1] * g.signs
    return jnp.stack([squares, cube, cube])


def cross_moments(p: Parts, g: Angles, a: jax.Array, b: jax.Array) -> jax.Array:
    """(3, 3): ⟨fh⟩ of f = σ₁², σ₁σ₂, σ₂² and h = σ′₁², σ′₁σ′₂, σ′₂²."""
    same = p.even[4]
    other = p.even[2] ** 2 + p.odd[2] ** 2 * g.square_sign
    one_each = p.even[3] * p.even[1] + p.odd[3] * p.odd[1] * g.square_sign
    mixed = p.even[3] * p.even[1] * g.rho + p.odd[3] * p.odd[1] * g.sizes
    both = p.even[2] ** 2 * g.rho + p.odd[2] ** 2 * g.sizes
    rows = [[same, one_each, other], [mixed, both, mixed], [other, one_each, same]]
    found = jnp.stack([jnp.stack(jnp.broadcast_arrays(g.rho, *row)[1:]) for row in rows])
    return found * jnp.stack([a * a, a * b, b * b])[:, None]
