"""Homogeneous activations, σ = a₊zᵖ for z > 0 and a₋|z|ᵖ for z < 0: ReLU, leaky ReLU, RePU, steps, linear."""

import functools
import math
from fractions import Fraction
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from eft.activations.derivatives import Array
from eft.activations.one_sided import numpy_of
from eft.gaussian.closed_forms.base import PARALLEL, ClosedForms, Kernel, determinant, exact
from eft.gaussian.records import Moments, PairForm, SlopeMoments
from eft.gaussian.series import Cumulants, cumulants_of, last, odd_factorial
from eft.gaussian.tangents import with_derivatives_of

SERIES_ANGLE, SERIES_TERMS = 0.7, 8
"""θ below which sin θ − θ cos θ is a series, and its terms: 1e-17 is left; above, rounding grows by 6."""

# fmt: off
ANGLE = (
    2.193245422464302, 0.22515372984798854, 0.038446411433299334, 0.00804238326807016,
    0.0018761901930736346, 0.0004684613967577248, 0.00012251475814017466, 3.313495464668311e-05,
    9.192524728716312e-06, 2.6016194093537407e-06, 7.482355065048167e-07, 2.180434647740536e-07,
    6.4175594039631e-08, 1.908561533859214e-08, 5.819007053225595e-09, 1.7576916253248074e-09,
    4.5158246421477443e-10, 1.3748845681415564e-10, 8.093598934627533e-11, 2.5037157603353945e-11,
)
# fmt: on
"""θ²/(1 − cos θ) in powers of x = 1 − 2 cos θ, |x| ≤ 1: the Chebyshev fit, with an error of 2e-17."""


class StepForms(ClosedForms):
    """Degree p = 0; and, with A_k = (a₊ᵏ + a₋ᵏ)/2, the powers of K that are common to every degree."""

    def moments(self, K: Array, by_table: Moments | None) -> Moments:
        """g = A₂(2p−1)!! Kᵖ,  ⟨σ⁴⟩ = A₄(4p−1)!! K²ᵖ,  ⟨σ′²⟩ = A₂p²(2p−3)!! Kᵖ⁻¹; for p = 0 (a jump) inf."""
        p, A2, A4 = self._sizes()
        c2, c4, xp = A2 * odd_factorial(p), A4 * odd_factorial(2 * p), numpy_of(K)

        def power(c, k):
            # factor by factor: this underflows or overflows only where c Kᵏ does
            return functools.reduce(lambda product, _: product * K, range(k), xp.full_like(K, c))

        slope2 = power(A2 * p**2 * odd_factorial(p - 1), p - 1) if p else jnp.inf
        return exact(
            K,
            power(c2, p),
            power(c4, 2 * p),
            power(c4 - c2**2, 2 * p),
            power(p * c2, p - 1),
            slope2,
            power(p * (p - 1) * c2, p - 2),
        )

    def _sizes(self) -> tuple[int, float, float]:
        """p, A₂, A₄."""
        p, plus, minus = self.family.degree, self.family.plus, self.family.minus
        return p, (plus**2 + minus**2) / 2, (plus**4 + minus**4) / 2


class HomogeneousForms(StepForms):
    """Degree p ≥ 2."""

    def slopes(self, K: jax.Array) -> SlopeMoments:
        """⟨S⟩ = A₂p²(2p−3)!! Kᵖ⁻¹,  ⟨S²⟩ = A₄p⁴(4p−5)!! K²ᵖ⁻²,  ⟨FS⟩ = A₄p²(4p−3)!! K²ᵖ⁻¹,
        ⟨σσ′²σ″⟩ = A₄p³(p−1)(4p−5)!! K²ᵖ⁻²."""
        p, A2, A4 = self._sizes()
        g, s = A2 * odd_factorial(p), A2 * p**2 * odd_factorial(p - 1)
        s4, cross = A4 * p**4 * odd_factorial(2 * p - 2), A4 * p**2 * odd_factorial(2 * p - 1)

        def power(c, k):
            if not c:
                return jnp.zeros_like(K)
            return functools.reduce(lambda product, _: product * K, range(k), jnp.full_like(K, c))

        return SlopeMoments(
            power(s, p - 1),
            power(s4, 2 * p - 2),
            power(s4 - s * s, 2 * p - 2),
            power((p - 1) * s, max(p - 2, 0)),
            power((p - 1) * (p - 2) * s, max(p - 3, 0)),
            power(cross, 2 * p - 1),
            power(cross - g * s, 2 * p - 1),
            power(s4 * (p - 1) / p, 2 * p - 2),
            jnp.full_like(K, jnp.finfo(K.dtype).eps),
        )


def chord_angle(gap: jax.Array) -> jax.Array:
    """θ = 2 arcsin √(gap/2), where gap = 1 − cos θ ≤ 1, to relative round-off.

    It is √(gap P), with a polynomial P, since XLA calls the C library for every arcsine on a CPU. The root
    comes last because XLA repeats a polynomial in everything that uses it, but computes a root once.
    """
    P = jnp.zeros_like(gap)
    for c in reversed(ANGLE):
        P = P * (2 * gap - 1) + c
    return jnp.sqrt(gap * P)


class PiecewiseLinearForms(HomogeneousForms):
    """Degree 1. With α = (a₊−a₋)/2, β = (a₊+a₋)/2 it is αz + β|z|."""

    def pair(self, kernel: Kernel, a, b, difference, gap, rest) -> PairForm:
        """With ρ = cos θ:

        ⟨|z₁z₂|⟩ = (2/π)√(K₁K₂) (sin θ + (π/2 − θ) cos θ),      ⟨sign z₁ sign z₂⟩ = 1 − 2θ/π
        """
        plus, minus = self.family.plus, -self.family.minus
        alpha2, beta2 = (plus + minus) ** 2 / 4, (plus - minus) ** 2 / 4
        both, bent = alpha2 + beta2, 2 / math.pi * beta2

        def accurate(a, b, difference, gap, rest):
            turn = chord_angle(jnp.minimum(gap, rest))
            theta, sine = jnp.where(gap <= rest, turn, math.pi - turn), jnp.sqrt(gap * rest)
            rho = 1 - gap
            t2 = theta * theta
            # sin θ − θ cos θ, by its series where the two terms would cancel
            terms = jnp.ones_like(t2)
            for k in range(SERIES_TERMS, 0, -1):
                terms = 1 - t2 / (2 * k * (2 * k + 3)) * terms
            series = theta * t2 / 3 * terms
            curved = jnp.where(theta < SERIES_ANGLE, series, sine - theta * rho)
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
            root = jnp.sqrt(jnp.where(flat, 1.0, determinant(kernel, gap, rest)))
            angle = jnp.arctan2(jnp.where(flat, 0.0, K12), root)  # π/2 − θ
            constant = alpha2 + jnp.where(a * b == 0, 0.0, beta2 * jnp.sign(1 - gap))
            product = jnp.where(flat, constant * K12, alpha2 * K12 + bent * (root + K12 * angle))
            slopes = jnp.where(flat, constant, alpha2 + bent * angle)
            return PairForm(product, slopes, both * (K1 + K2) - 2 * product, jnp.zeros_like(K1))

        return with_derivatives_of(smooth, accurate)(kernel, a, b, difference, gap, rest)


class ConstantSeries(NamedTuple):
    """The series of the cumulants, which do not depend on K; `c` has shape (p+1, 2p+1)."""

    c: Array

    def __call__(self, K: jax.Array, _: Moments, order: int) -> Cumulants:
        c = jnp.broadcast_to(self.c[..., None], (*self.c.shape, *K.shape))
        return Cumulants(c, jnp.finfo(K.dtype).eps * jnp.abs(c), jnp.ones(K.shape, bool))


def constant_series(degree: int, squares: tuple[Any, Any], order: int, dtype) -> ConstantSeries:
    """⟨Fʳ⟩ = ½(F₊ʳ + F₋ʳ)(2pr−1)!! K^{pr}, so that c_r(K(1+x)) = c_r(K) Σ_j C(pr, j) xʲ.

    `squares`: F₊ and F₋, the values of σ² at ±1.
    """
    p = degree
    known = not any(isinstance(F, Tracer) for F in squares)
    plus, minus = [Fraction(float(F)) if known else F for F in squares]
    g = (plus + minus) / 2 * odd_factorial(p)
    if known and not g:
        return ConstantSeries(jnp.zeros((order + 1, 2 * order + 1), dtype))
    moments = [(plus**r + minus**r) / 2 * odd_factorial(p * r) / g**r for r in range(1, order + 2)]
    rows = [
        [c * math.comb(p * r, j) if j <= last(order, r) else 0 for j in range(2 * order + 1)]
        for r, c in enumerate(cumulants_of(moments), start=1)
    ]
    if known:
        return ConstantSeries(np.array([[float(c) for c in row] for row in rows], dtype))
    return ConstantSeries(jnp.asarray([[jnp.asarray(c, dtype) for c in row] for row in rows]))
