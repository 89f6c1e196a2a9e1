"""Unbiased estimates from independent samples, with standard errors.

All arithmetic is float64 on the host, whatever JAX's precision. Samples run along the first axis.

An estimate's error comes from its *deviations* e_i, one a sample, with stderr² = Σ e_i²: those of the
delete-one jackknife, in closed form, so in O(N). The same e_i give the covariance of several
estimates, Σ e_i e_iᵀ.
"""

from typing import NamedTuple

import numpy as np


class Estimate(NamedTuple):
    """A measured quantity; both fields have the shape of the quantity."""

    mean: np.ndarray  # unbiased estimate
    stderr: np.ndarray  # its standard error; inf where the samples are too few to tell


def mean(samples: np.ndarray) -> Estimate:
    """x̄, and √(s²/N). Samples that are all equal give that number and an error of exactly 0."""
    x, first = _centred_at_first(samples)
    value = first + x.mean(axis=0) if len(x) else np.full(x.shape[1:], np.nan)
    return Estimate(value, _stderr(mean_deviations(samples), needed=2))


def mean_deviations(samples: np.ndarray) -> np.ndarray:
    """e_i = (x_i − x̄)/√(N(N−1)), of the samples' shape."""
    x, _ = _centred_at_first(samples)
    N = len(x)
    return (x - _mean(x)) / np.sqrt(max(N * (N - 1), 1))


def variance(samples: np.ndarray, noise: np.ndarray | None = None) -> Estimate:
    """The unbiased variance s² = Σ (x_i − x̄)²/(N−1), or, with `noise`, what lies beneath the noise.

    With `noise`: x_i = X_i + (an error of mean 0), and noise_i an unbiased estimate of that
    error's variance given X_i. Then s² − mean(noise) is unbiased for Var(X). It may come out negative.
    """
    x, _ = _centred_at_first(samples)
    N = len(x)
    value = np.full(x.shape[1:], np.nan)
    if N > 1:
        d = x - x.mean(axis=0)
        value = (d * d).sum(axis=0) / (N - 1)
        if noise is not None:
            value = value - np.asarray(noise, np.float64).mean(axis=0)
    return Estimate(value, _stderr(variance_deviations(samples, noise), needed=3))


def variance_deviations(samples: np.ndarray, noise: np.ndarray | None = None) -> np.ndarray:
    """e_i = √((N−1)/N) [N/((N−1)(N−2)) (d_i² − mean d²) − (noise_i − mean noise)/(N−1)], d_i = x_i − x̄.

    This is √((N−1)/N) times minus what leaving sample i out changes, less its mean over i.
    """
    x, _ = _centred_at_first(samples)
    N = len(x)
    if N < 3:
        return np.zeros_like(x)
    d2 = (x - x.mean(axis=0)) ** 2
    e = N / ((N - 1) * (N - 2)) * (d2 - d2.mean(axis=0))
    if noise is not None:
        a = np.asarray(noise, np.float64)
        e = e - (a - a.mean(axis=0)) / (N - 1)
    return np.sqrt((N - 1) / N) * e


def scaled(estimate: Estimate, factor: float | np.ndarray) -> Estimate:
    """factor · estimate."""
    return Estimate(factor * estimate.mean, np.abs(factor) * estimate.stderr)


def z_score(estimate: Estimate, expected: np.ndarray | float, rounding: float = 0.0) -> np.ndarray:
    """(estimate − expected)/stderr.

    Where the error is exactly 0: 0 if the two agree within `rounding`, relative, else ±inf. Where
    the error is unknown, or what is expected is not finite: nan.
    """
    measured, stderr, expected = np.broadcast_arrays(estimate.mean, estimate.stderr, expected)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        difference = measured - expected
        equal = np.abs(difference) <= rounding * np.maximum(np.abs(measured), np.abs(expected))
        z = np.where(stderr == 0, np.where(equal, 0.0, np.copysign(np.inf, difference)), difference / stderr)
    return np.where(np.isfinite(difference) & np.isfinite(stderr), z, np.nan)


def _centred_at_first(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Samples less the first of them, so that equal ones have no spread at all, and that first one."""
    x = np.asarray(samples, np.float64)
    if not len(x):
        return x, np.full(x.shape[1:], np.nan)
    return x - x[0], x[0]


def _mean(x: np.ndarray) -> np.ndarray:
    return x.mean(axis=0) if len(x) else np.zeros(x.shape[1:])


def _stderr(deviations: np.ndarray, needed: int) -> np.ndarray:
    if len(deviations) < needed:
        return np.full(deviations.shape[1:], np.inf)
    return np.sqrt((deviations**2).sum(axis=0))
