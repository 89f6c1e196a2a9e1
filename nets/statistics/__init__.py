"""Estimates from independent samples, with standard errors."""

from nets.statistics.chi_squared import ChiSquared, hotelling
from nets.statistics.estimators import (
    Estimate,
    covariance,
    covariance_matrix,
    mean,
    positive_variance_interval,
    scaled,
    variance,
    variance_interval,
    z_score,
)

__all__ = [
    "ChiSquared",
    "Estimate",
    "covariance",
    "covariance_matrix",
    "hotelling",
    "mean",
    "positive_variance_interval",
    "scaled",
    "variance",
    "variance_interval",
    "z_score",
]
