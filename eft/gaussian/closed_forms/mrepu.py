"""MRePU, σ = z·max(0, z+1)ᵖ."""

import math
from typing import Any

import jax
import numpy as np

from eft.activations.derivatives import Array
from eft.activations.one_sided import numpy_of
from eft.gaussian.closed_forms.base import ClosedForms, exact
from eft.gaussian.expectation import density
from eft.gaussian.records import Moments


class MRePUForms(ClosedForms):
    """Polynomials on z > −1, hence sums of truncated moments (all coefficients ≥ 0)."""

    def moments(self, K: Array, by_table: Moments | None) -> Moments:
        xp, P = numpy_of(K), np.polynomial.Polynomial
        z, y, p = P([0.0, 1.0]), P([1.0, 1.0]), self.family.power
        F = z**2 * y ** (2 * p)
        slope = y ** (p - 1) * (y + p * z)
        M = truncated_moments(K, 4 * p + 5)

        def mean(polynomial):
            return sum(float(c) * M[k] for k, c in enumerate(polynomial.coef) if c != 0)

        safe = xp.where(K > 0, K, 1.0)
        at_kink = xp.where(K > 0, density(-1.0, safe), 0.0)
        # [F‴]p − [F″]p′ at the kink; F and F′ are continuous there
        kink = (float(F.deriv(3)(-1.0)) - float(F.deriv(2)(-1.0)) / safe) * at_kink
        g, g4 = mean(F), mean(F**2)
        var = xp.where(xp.isfinite(g4), g4 - g * g, g4)
        return exact(K, g, g4, var, mean(F.deriv(2) / 2), mean(slope**2), mean(F.deriv(4) / 4) + kink / 4)


def truncated_moments(K: Array, count: int) -> list[Any]:
    """M_k = ∫_{−1}^∞ zᵏ p_K(z) dz for k < count: M_k = (k−1)K M_{k−2} − (−1)ᵏ K p_K(1), by parts."""
    xp = numpy_of(K)
    erfc = np.vectorize(math.erfc, otypes=[float]) if xp is np else jax.scipy.special.erfc
    root = xp.sqrt(xp.where(K > 0, K, 1.0))
    edge = xp.where(K > 0, root * xp.exp(-0.5 / root**2) / math.sqrt(2 * math.pi), 0.0)  # K p_K(1)
    tail = xp.where(K > 0, erfc(1 / (math.sqrt(2) * root)) / 2, 0.0)
    M = [1 - tail, edge]
    for k in range(2, count):
        M.append((k - 1) * K * M[k - 2] + (edge if k % 2 else -edge))
    return M
