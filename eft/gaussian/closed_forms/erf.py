"""The error function, σ = erf z."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from eft.activations.derivatives import Array
from eft.activations.one_sided import numpy_of
from eft.gaussian.closed_forms.base import ClosedForms, Kernel, determinant, exact, lost
from eft.gaussian.records import Moments, PairForm
from eft.gaussian.series import times
from eft.gaussian.tangents import with_derivatives_of


class ErfForms(ClosedForms):
    """⟨σ⁴⟩ is that of the table: the probability of an orthant in four dimensions has no closed form."""

    uses_table = True

    def moments(self, K: Array, by_table: Moments | None) -> Moments:
        """g = (2/π) arcsin(2K/(1+2K)),  ⟨σ′²⟩ = (4/π)/√(1+4K),  g′ = ⟨σ′²⟩/(1+2K).

        The arcsine is computed as the arctangent of K/√(K+¼), which stays accurate as K → ∞.
        """
        assert by_table is not None
        xp = numpy_of(K)
        root = xp.sqrt(K + 0.25)
        slope2 = 2 / math.pi / root
        dg = slope2 / (1 + 2 * K)
        return exact(
            K,
            2 / math.pi * xp.arctan(K / root),
            by_table.g4,
            by_table.var,
            dg,
            slope2,
            -dg * (2 / (1 + 2 * K) + 2 / (1 + 4 * K)),
        )

    def first_cumulant(self, K: jax.Array, count: int) -> jax.Array:
        """ĉ_1j, from the binomial series of both factors, with w = 2K/(1+2K) and v = 4K/(1+4K):

        g(K(1+x)) = g + (4/π) K/((1+2K)√(1+4K)) ∫₀ˣ dy (1+wy)⁻¹ (1+vy)^{−1/2}
        """
        w, v = 2 * K / (1 + 2 * K), 4 * K / (1 + 4 * K)
        k = range(count - 1)
        halves = np.cumprod([1.0, *(-(i + 0.5) / (i + 1) for i in k[:-1])])  # C(−½, k)
        first = jnp.stack([(-w) ** i for i in k])
        second = jnp.stack([float(halves[i]) * v**i for i in k])
        root = jnp.sqrt(K + 0.25)
        over_g = K / root / ((1 + 2 * K) * jnp.arctan(K / jnp.where(K > 0, root, 1.0)))
        over_g = jnp.where(K > 0, over_g, 1.0)
        j = np.arange(1, count, dtype=K.dtype)[:, None]
        return jnp.concatenate([jnp.ones_like(K)[None], over_g[None] * times(first, second) / j])

    def pair(self, kernel: Kernel, a, b, difference, gap, rest) -> PairForm:
        """With w = 2K/(1+2K), v = 1 − w and sin φ = ρ√(w₁w₂),

            ⟨σ₁σ₂⟩ = (2/π) φ,     ⟨σ′₁σ′₂⟩ = (4/π)√(v₁v₂)/cos φ,     ⟨(σ₁−σ₂)²⟩ = (4/π)(m − φ)

        where m is the mean of arcsin w₁ and arcsin w₂. For close variables m − φ is computed from

            sin(m+φ) sin(m−φ) = (cos 2φ − cos 2m)/2 = 4v₁v₂d² + w₁w₂(1−ρ²),  d = (K₁−K₂)/(√(1+4K₁)+√(1+4K₂))
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
            return PairForm(product, slopes, distance, lost(product, distance, *roots))

        def smooth(kernel, a, b, difference, gap, rest):
            K1, K2, K12 = kernel
            root = jnp.sqrt(1 + 2 * (K1 + K2) + 4 * determinant(kernel, gap, rest))
            product = 2 / math.pi * jnp.arctan2(2 * K12, root)
            g1, g2 = (2 / math.pi * jnp.arctan2(2 * K, jnp.sqrt(1 + 4 * K)) for K in (K1, K2))
            return PairForm(product, 4 / math.pi / root, g1 + g2 - 2 * product, jnp.zeros_like(product))

        return with_derivatives_of(smooth, accurate)(kernel, a, b, difference, gap, rest)
