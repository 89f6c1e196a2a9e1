"""Sine, σ = sin ωz, and snake, σ = z + sin²(az)/a."""

import functools
import math
from fractions import Fraction
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from eft.activations.derivatives import Array
from eft.activations.one_sided import numpy_of
from eft.gaussian.closed_forms.base import ClosedForms, Kernel, exact, lost
from eft.gaussian.records import Moments, PairForm, SlopeMoments
from eft.gaussian.series import Cumulants, cumulants_of, needed, times
from eft.gaussian.tangents import with_derivatives_of


class SineForms(ClosedForms):
    """σ = sin ωz; q = e^{−2ω²K}."""

    def moments(self, K: Array, by_table: Moments | None) -> Moments:
        """g = (1−q)/2,  ⟨σ⁴⟩ = (1−q)²(3+2q+q²)/8,  ⟨σ′²⟩ = ω²(1+q)/2."""
        a, xp = 2 * self.family.frequency**2, numpy_of(K)
        q, r = xp.exp(-a * K), -xp.expm1(-a * K)
        return exact(
            K,
            r / 2,
            r**2 * (3 + 2 * q + q * q) / 8,
            (r * (1 + q)) ** 2 / 8,
            a * q / 2,
            a * (1 + q) / 4,
            -(a**2) * q / 2,
        )

    def slopes(self, K: jax.Array) -> SlopeMoments:
        """S = ω²(1−F), σσ″ = −ω²F:  ⟨S⟩ = ω²(1+q)/2,  ⟨FS⟩ = ω²(1−q⁴)/8,  Var F = (1−q²)²/8."""
        w2 = self.family.frequency**2
        a = 2 * w2
        q, r = jnp.exp(-a * K), -jnp.expm1(-a * K)
        s, var_F = w2 * (1 + q) / 2, (r * (1 + q)) ** 2 / 8
        return SlopeMoments(
            s,
            w2**2 * (3 + 4 * q + q**4) / 8,
            w2**2 * var_F,
            -w2 * a * q / 2,
            w2 * a**2 * q / 2,
            w2 * -jnp.expm1(-4 * a * K) / 8,
            -w2 * var_F,
            w2**2 * jnp.expm1(-4 * a * K) / 8,
            jnp.full_like(K, jnp.finfo(K.dtype).eps),
        )

    def pair(self, kernel: Kernel, a, b, difference, gap, rest) -> PairForm:
        """With D = ω²⟨(z₁−z₂)²⟩ and S = ω²⟨(z₁+z₂)²⟩, ⟨σ₁σ₂⟩ = ½(e^{−D/2} − e^{−S/2})."""
        frequency = self.family.frequency

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
            slopes = frequency**2 * (near + far) / 2
            return PairForm(product, slopes, distance, lost(product, distance, *roots))

        def smooth(kernel, *_):
            K1, K2, K12 = (frequency**2 * K for K in kernel)
            near, far = jnp.exp(K12 - (K1 + K2) / 2), jnp.exp(-K12 - (K1 + K2) / 2)
            product = (near - far) / 2
            g1, g2 = (-jnp.expm1(-2 * K) / 2 for K in (K1, K2))
            slopes = frequency**2 * (near + far) / 2
            return PairForm(product, slopes, g1 + g2 - 2 * product, jnp.zeros_like(product))

        return with_derivatives_of(smooth, accurate)(kernel, a, b, difference, gap, rest)

    def series(self, order: int, dtype) -> "SineSeries":
        rows = tuple(jnp.asarray(row[::-1], dtype) for row in _polynomials(order + 1))
        return SineSeries(jnp.asarray(self.family.frequency, dtype), rows)


class SineSeries(NamedTuple):
    """c_r(sin² ωz) = (1−q)ʳ P_r(q); `polynomials`: 2ʳ P_r by falling power, r = 1 … p+1."""

    frequency: Array
    polynomials: tuple[Array, ...]

    def __call__(self, K: jax.Array, _: Moments, order: int) -> Cumulants:
        """ĉ_r(x) = 2ʳ P_r(q(x)) ((1−q(x))/(1−q))ʳ with q(x) = q e^{−yx}, y = 2ω²K."""
        y = jnp.minimum(2 * self.frequency**2 * K, 700.0)  # above that, q is 0
        q, rest = jnp.exp(-y), -jnp.expm1(-y)
        j = np.arange(2 * order + 1)
        factorial = np.array([math.factorial(k) for k in j], K.dtype)[:, None]
        sign = ((-1.0) ** j)[:, None].astype(K.dtype)
        Y = jnp.stack([y**k for k in range(len(j))])
        # (1 − q e^{−yx})/(1−q); q yʲ/(1−q) is finite as y → 0
        odds = jnp.where(y > 0, q * y / jnp.where(y > 0, rest, 1.0), 1.0)
        slope = -sign[1:] * Y[:-1] / factorial[1:] * odds[None]
        grown = jnp.concatenate([jnp.ones_like(y)[None], slope])
        power, rows = jnp.zeros_like(grown).at[0].set(1.0), []
        for polynomial in self.polynomials:
            power = times(power, grown)
            d = np.arange(len(polynomial))[::-1]
            weights = polynomial[:, None] * jnp.stack([q**k for k in d.tolist()])
            terms = sign[None] * (d[:, None] ** j).astype(K.dtype)[..., None] * Y[None]
            rows.append(times(jnp.sum(weights[:, None] * terms, 0) / factorial, power))
        c = jnp.stack(rows) * needed(order, K.dtype)
        error = 8 * jnp.finfo(K.dtype).eps * jnp.max(jnp.abs(c), 1, keepdims=True) * needed(order, K.dtype)
        return Cumulants(c, error, K >= 0)


def _polynomials(count: int) -> list[list[Fraction]]:
    """2ʳ P_r by rising power, in exact arithmetic.

    4ʳ sin²ʳ y = C(2r, r) + 2 Σ_m (−1)ᵐ C(2r, r−m) cos 2my and ⟨cos 2mωz⟩ = q^{m²}; (1−q)ʳ divides c_r.
    """
    moments = []
    for r in range(1, count + 1):
        coefficients = [Fraction(0)] * (r * r + 1)
        coefficients[0] = Fraction(math.comb(2 * r, r), 4**r)
        for k in range(1, r + 1):
            coefficients[k * k] += Fraction(2 * (-1) ** k * math.comb(2 * r, r - k), 4**r)
        moments.append(np.polynomial.Polynomial(np.array(coefficients, object)))
    rows = []
    for r, c in enumerate(cumulants_of(moments), start=1):
        row = list(c.coef)
        for _ in range(r):  # division by 1 − q gives the partial sums
            row = list(np.cumsum(np.array(row, object)))[:-1]
        rows.append([2**r * a for a in row])
    return rows


_SIN8 = (35, 84, 126, 140, 133, 112, 84, 56, 35, 20, 10, 4, 1)
"""Coefficients of 128⟨sin⁸⟩/(1−q)⁴ in q."""

_VAR_SIN4 = (17, 60, 106, 132, 131, 112, 84, 56, 35, 20, 10, 4, 1)
"""Coefficients of 128 Var(sin⁴)/(1−q)⁴ in q."""


class SnakeForms(ClosedForms):
    """σ = z + s, s = sin²(az)/a; q = e^{−2a²K}. Odd powers of z drop out."""

    def moments(self, K: Array, by_table: Moments | None) -> Moments:
        """With S = ⟨s²⟩ = (1−q)²(3+2q+q²)/8a²,  S′ = q − q⁴:

        g = K + S,  ⟨σ⁴⟩ = 3K² + 6KS + 12K²S′ + ⟨s⁴⟩,  ⟨σ′²⟩ = 1 + (1−q⁴)/2.
        """
        a, xp = self.family.a, numpy_of(K)
        q, r = xp.exp(-2 * a * a * K), -xp.expm1(-2 * a * a * K)

        def fourth(coefficients):
            # all coefficients are positive, so that nothing cancels
            return (r / a) ** 4 * functools.reduce(lambda sum, c: sum * q + c, reversed(coefficients)) / 128

        S, dS = (r / a) ** 2 * (3 + q * (2 + q)) / 8, q * r * (1 + q * (1 + q))
        return exact(
            K,
            K + S,
            3 * K * K + 6 * K * S + 12 * K * K * dS + fourth(_SIN8),
            2 * K * K + 4 * K * S + 12 * K * K * dS + fourth(_VAR_SIN4),
            1 + dS,
            1 - xp.expm1(-8 * a * a * K) / 2,
            -2 * a * a * q * (1 - 4 * q**3),
        )
