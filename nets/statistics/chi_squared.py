"""The χ² of several correlated quantities at once."""

import math
from typing import NamedTuple

import numpy as np
from scipy import special


class ChiSquared(NamedTuple):
    """χ² = dᵀ C⁻¹ d, d = measured − expected, C the covariance of the measured values.

    `value`: χ². `dof`: the number of independent directions in which the measured values fluctuate. `p`: the
    probability of a larger χ², by Hotelling's T² distribution; nan if `dof` is 0.
    """

    value: float
    dof: int
    p: float


def hotelling(difference: np.ndarray, deviations: np.ndarray) -> ChiSquared:
    """χ² = dᵀ C⁻¹ d with C = Σ_i e_i e_iᵀ, from deviations e of shape (N, k), as of `estimators`.

    Linear combinations that do not fluctuate, to rounding, carry no information and are excluded.
    p: T² = χ², (N − k) T²/(k(N − 1)) ~ F(k, N − k) for k = dof.
    """
    N = len(deviations)
    if not difference.size or N < 2:
        return ChiSquared(0.0, 0, math.nan)
    scale = np.sqrt((deviations**2).sum(axis=0))
    eigenvalues, vectors = np.linalg.eigh((deviations / scale).T @ (deviations / scale))
    kept = eigenvalues > 1e-10 * eigenvalues[-1]
    projected = (vectors.T @ (difference / scale))[kept]
    value, dof = float((projected**2 / eigenvalues[kept]).sum()), int(kept.sum())
    p = float(special.fdtrc(dof, N - dof, value * (N - dof) / (dof * (N - 1)))) if dof < N else math.nan
    return ChiSquared(value, dof, p)
