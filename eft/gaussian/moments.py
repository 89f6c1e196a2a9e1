"""The six Gaussian expectations of an activation that determine every one-input flow; their closed forms.

They depend on K alone, not on C_W or C_b.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from eft.gaussian.expectation import density


class Moments(NamedTuple):
    """Expectations in z ~ N(0, K), each of K's shape. With F = σ² and g(K) = ⟨F⟩_K:"""

    g: jax.Array  # ⟨σ²⟩
    g4: jax.Array  # ⟨σ⁴⟩
    var: jax.Array  # ⟨σ⁴⟩ − ⟨σ²⟩²
    dg: jax.Array  # g′(K) = χ∥/C_W
    slope2: jax.Array  # ⟨σ′²⟩ = χ⊥/C_W; inf where σ jumps
    d2g: jax.Array  # g″(K)
    error: jax.Array  # estimated relative error of the worst of them (d2g in units of g/K²)


def odd_factorial(n: int) -> int:
    """(2n−1)!! = ⟨u²ⁿ⟩_1."""
    return math.prod(range(1, 2 * n, 2))


def _exact(K: jax.Array, *moments) -> Moments:
    return Moments._make(jnp.broadcast_to(m, K.shape) for m in (*moments, jnp.finfo(K.dtype).eps))


def homogeneous_moments(K: jax.Array, *, degree: int, plus: float = 1.0, minus: float = 0.0) -> Moments:
    """σ = a₊zᵖ for z > 0 and a₋|z|ᵖ for z < 0, with A_k = (a₊ᵏ + a₋ᵏ)/2:

    g = A₂(2p−1)!! Kᵖ,  ⟨σ⁴⟩ = A₄(4p−1)!! K²ᵖ,  ⟨σ′²⟩ = A₂p²(2p−3)!! Kᵖ⁻¹; for p = 0 (a jump) inf.
    """
    p, A2, A4 = degree, (plus**2 + minus**2) / 2, (plus**4 + minus**4) / 2
    c2, c4 = A2 * odd_factorial(p), A4 * odd_factorial(2 * p)

    def power(c, k):
        # factor by factor: this underflows or overflows only where c Kᵏ does
        return functools.reduce(lambda product, _: product * K, range(k), jnp.full_like(K, c))

    slope2 = power(A2 * p**2 * odd_factorial(p - 1), p - 1) if p else jnp.inf
    return _exact(
        K,
        power(c2, p),
        power(c4, 2 * p),
        power(c4 - c2**2, 2 * p),
        power(p * c2, p - 1),
        slope2,
        power(p * (p - 1) * c2, p - 2),
    )


def sine_moments(K: jax.Array, *, frequency: float = 1.0) -> Moments:
    """σ = sin ωz. With q = e^{−2ω²K}: g = (1−q)/2, ⟨σ⁴⟩ = (1−q)²(3+2q+q²)/8, ⟨σ′²⟩ = ω²(1+q)/2."""
    a = 2 * frequency**2
    q, r = jnp.exp(-a * K), -jnp.expm1(-a * K)
    return _exact(
        K,
        r / 2,
        r**2 * (3 + 2 * q + q * q) / 8,
        (r * (1 + q)) ** 2 / 8,
        a * q / 2,
        a * (1 + q) / 4,
        -(a**2) * q / 2,
    )


_SIN8 = (35, 84, 126, 140, 133, 112, 84, 56, 35, 20, 10, 4, 1)
"""Coefficients of 128⟨sin⁸⟩/(1−q)⁴ in q."""

_VAR_SIN4 = (17, 60, 106, 132, 131, 112, 84, 56, 35, 20, 10, 4, 1)
"""Coefficients of 128 Var(sin⁴)/(1−q)⁴ in q."""


def snake_moments(K: jax.Array, *, frequency: float = 1.0) -> Moments:
    """σ = z + s, s = sin²(az)/a. Odd powers of z drop out; with q = e^{−2a²K} and S = ⟨s²⟩:

    S = (1−q)²(3+2q+q²)/8a², S′ = q − q⁴, g = K + S, ⟨σ⁴⟩ = 3K² + 6KS + 12K²S′ + ⟨s⁴⟩, ⟨σ′²⟩ = 1 + (1−q⁴)/2.
    """
    a = frequency
    q, r = jnp.exp(-2 * a * a * K), -jnp.expm1(-2 * a * a * K)

    def fourth(coefficients):
        # all coefficients are positive, so that nothing cancels
        return (r / a) ** 4 * functools.reduce(lambda sum, c: sum * q + c, reversed(coefficients)) / 128

    S, dS = (r / a) ** 2 * (3 + q * (2 + q)) / 8, q * r * (1 + q * (1 + q))
    return _exact(
        K,
        K + S,
        3 * K * K + 6 * K * S + 12 * K * K * dS + fourth(_SIN8),
        2 * K * K + 4 * K * S + 12 * K * K * dS + fourth(_VAR_SIN4),
        1 + dS,
        1 - jnp.expm1(-8 * a * a * K) / 2,
        -2 * a * a * q * (1 - 4 * q**3),
    )


def erf_moments(K: jax.Array, by_table: Moments) -> Moments:
    """σ = erf z: g = (2/π) arcsin(2K/(1+2K)), ⟨σ′²⟩ = (4/π)/√(1+4K), g′ = ⟨σ′²⟩/(1+2K); ⟨σ⁴⟩ from the table.

    The arcsine is computed as the arctangent of K/√(K+¼), which stays accurate as K → ∞.
    """
    root = jnp.sqrt(K + 0.25)
    slope2 = 2 / math.pi / root
    dg = slope2 / (1 + 2 * K)
    return _exact(
        K,
        2 / math.pi * jnp.arctan(K / root),
        by_table.g4,
        by_table.var,
        dg,
        slope2,
        -dg * (2 / (1 + 2 * K) + 2 / (1 + 4 * K)),
    )


def truncated_moments(K: jax.Array, count: int) -> list[jax.Array]:
    """M_k = ∫_{−1}^∞ zᵏ p_K(z) dz for k < count: M_k = (k−1)K M_{k−2} − (−1)ᵏ K p_K(1), by parts."""
    root = jnp.sqrt(jnp.where(K > 0, K, 1.0))
    edge = jnp.where(K > 0, root * jnp.exp(-0.5 / root**2) / math.sqrt(2 * math.pi), 0.0)  # K p_K(1)
    tail = jnp.where(K > 0, jax.scipy.special.erfc(1 / (math.sqrt(2) * root)) / 2, 0.0)
    M = [1 - tail, edge]
    for k in range(2, count):
        M.append((k - 1) * K * M[k - 2] + (edge if k % 2 else -edge))
    return M


def mrepu_moments(K: jax.Array, *, power: int) -> Moments:
    """σ = z(z+1)₊ᵖ: polynomials on z > −1, hence sums of truncated moments (all coefficients ≥ 0)."""
    P = np.polynomial.Polynomial
    z, y, p = P([0.0, 1.0]), P([1.0, 1.0]), power
    F = z**2 * y ** (2 * p)
    slope = y ** (p - 1) * (y + p * z)
    M = truncated_moments(K, 4 * p + 5)

    def mean(polynomial):
        return sum(float(c) * M[k] for k, c in enumerate(polynomial.coef) if c != 0)

    safe = jnp.where(K > 0, K, 1.0)
    at_kink = jnp.where(K > 0, density(-1.0, safe), 0.0)
    # [F‴]p − [F″]p′ at the kink; F and F′ are continuous there
    kink = (float(F.deriv(3)(-1.0)) - float(F.deriv(2)(-1.0)) / safe) * at_kink
    g, g4 = mean(F), mean(F**2)
    var = jnp.where(jnp.isfinite(g4), g4 - g * g, g4)
    return _exact(K, g, g4, var, mean(F.deriv(2) / 2), mean(slope**2), mean(F.deriv(4) / 4) + kink / 4)
