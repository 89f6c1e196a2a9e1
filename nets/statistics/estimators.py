"""Unbiased estimates from independent samples, with standard errors.

All arithmetic is float64 on the host, whatever JAX's precision. Samples run along the first axis.

The error of an estimate follows from its *deviations* e_i, one per sample, as stderr² = Σ e_i². They are
those of the delete-one jackknife, computed in closed form and hence in O(N). The same e_i give the covariance
of several estimates, Σ e_i e_iᵀ.
"""

import math
from collections.abc import Sequence

import numpy as np

from eft.arguments import ArgumentError
from nets.statistics.estimate import Estimate

ROUNDING = 4e-6
"""Relative round-off error of a kernel in float32 arithmetic: the tolerance where nothing fluctuates."""

MAX_LOG = 300.0
"""Largest logarithm of numbers whose squares can be summed without overflow."""


def stacked(rows: Sequence[Sequence[Estimate]]) -> list[Estimate]:
    """Estimates of several quantities with a leading axis, from a row of all quantities for each index."""
    return [Estimate(*map(np.array, zip(*column, strict=True))) for column in zip(*rows, strict=True)]


def mean(samples: np.ndarray) -> Estimate:
    """x̄, with the error √(s²/N). If all samples are equal, their value, with an error of exactly 0."""
    x, first = _centred_at_first(samples)
    value = first + x.mean(axis=0) if len(x) else np.full(x.shape[1:], np.nan)
    return Estimate(value, _stderr(mean_deviations(samples), needed=2))


def mean_deviations(samples: np.ndarray) -> np.ndarray:
    """e_i = (x_i − x̄)/√(N(N−1)), with the shape of the samples."""
    x, _ = _centred_at_first(samples)
    N = len(x)
    return (x - _mean(x)) / np.sqrt(max(N * (N - 1), 1))


def variance(samples: np.ndarray, noise: np.ndarray | None = None) -> Estimate:
    """The unbiased variance s² = Σ (x_i − x̄)²/(N−1) or, with `noise`, the variance without the noise.

    With `noise`: x_i = X_i + (an error of mean 0), and noise_i is an unbiased estimate of the variance of
    this error given X_i. Then s² − mean(noise) is unbiased for Var(X). It may be negative.
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

    This is −√((N−1)/N) (δ_i − mean δ), with δ_i the change of the estimate if sample i is left out.
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


def variance_interval(
    samples: np.ndarray, level: float, rng: np.random.Generator, resamples: int = 499
) -> tuple[float, float]:
    """A bootstrap-t interval for the variance, from N samples, with coverage probability `level`.

    Resamples with replacement give t* = (log s*² − log s²)/σ*, σ the jackknife error of log s²; the interval
    is log s² − t*_{1−α/2} σ … log s² − t*_{α/2} σ, α = 1 − level. For heavy tails a jackknife error alone is
    too small too often, because it is small whenever s² is.
    """
    x = np.asarray(samples, np.float64).ravel()
    N = len(x)
    if N < 3 or not 0 < level < 1:
        raise ArgumentError(f"samples must be at least 3 and level between 0 and 1; got {N} and {level}")
    x = x - x.mean()
    log_variance, error = _log_variance(x[None], np.ones((1, N)))
    t = np.empty(resamples)
    for i in range(0, resamples, 50):
        counts = rng.multinomial(N, np.full(N, 1 / N), size=len(t[i : i + 50])).astype(np.float64)
        log_v, e = _log_variance(x[None], counts)
        t[i : i + 50] = (log_v - log_variance) / e
    low, high = np.quantile(t, [(1 - level) / 2, (1 + level) / 2])
    return float(np.exp(log_variance[0] - high * error[0])), float(np.exp(log_variance[0] - low * error[0]))


N_DRAWS, MAX_DRAWN = 2_000_000, 10_000
"""The number of lognormal numbers for the quantiles of t, in 1000 to 4000 ensembles; the largest ensemble."""


def positive_variance_interval(samples: np.ndarray, level: float = 0.95) -> np.ndarray:
    """Intervals for the variances of the columns of positive samples (N, …), of shape (2, …): low, high.

        log s² − t_{(1+level)/2} σ … log s² − t_{(1−level)/2} σ,   σ the jackknife error of log s²

    with the quantiles of t = (log s² − log Var)/σ in ensembles of N lognormal numbers whose logarithms have
    the same standard deviation as those of the samples. A kernel is a product of factors from many layers,
    and close to lognormal. With 50 or more such samples the 95 % interval covers 94 to 95.5 %, whatever their
    spread, and with 20 at least 91 %; the 68 % interval covers 64 to 71 %. The interval is 0 … 0 if all
    samples are equal, and 0 … ∞ if there are fewer than 4.

    Raises ValueError if a sample is negative or not finite, or level is not between 0 and 1.
    """
    x = np.asarray(samples, np.float64)
    if not (np.isfinite(x) & (x >= 0)).all():
        raise ArgumentError("samples must be finite and ≥ 0")
    if not 0 < level < 1:
        raise ArgumentError(f"level must be between 0 and 1; got {level}")
    N, columns = len(x), x.reshape(len(x), math.prod(x.shape[1:]))
    if N < 4:
        return np.stack([np.zeros(x.shape[1:]), np.full(x.shape[1:], np.inf)])
    varies = (columns != columns[0]).any(axis=0)
    spread = np.array([_spread(column) for column in columns.T])
    interval = np.zeros((2, columns.shape[1]))
    if varies.any():
        t = _lognormal_t(N, spread[varies], [(1 + level) / 2, (1 - level) / 2])
        log_variance, error = _log_variance_jackknife(columns[:, varies])
        with np.errstate(over="ignore"):
            interval[:, varies] = np.exp(log_variance - t * error)
    return interval.reshape(2, *x.shape[1:])


def _spread(x: np.ndarray) -> float:
    """The standard deviation of log x over positive x; nan if there are fewer than two."""
    kept = x[x > 0]
    return float(np.std(np.log(kept), ddof=1)) if len(kept) > 1 else math.nan


def _lognormal_t(N: int, spread: np.ndarray, probabilities: list[float]) -> np.ndarray:
    """Quantiles of (log s² − log Var)/σ of N numbers e^{su}, u ~ N(0, 1): (probabilities, spreads)."""
    rng, size = np.random.default_rng(0), min(N, MAX_DRAWN)
    ensembles = int(np.clip(N_DRAWS // size, 1000, 4000))
    t = np.empty((ensembles, len(spread)))
    for i in range(0, ensembles, 100):
        u = rng.standard_normal((size, len(t[i : i + 100])))
        for j, s in enumerate(spread):
            # e^{su} − 1 has the same variance as e^{su} and loses no digits for small s
            log_s2, error = _log_variance_jackknife(np.expm1(np.minimum(s * u, MAX_LOG)))
            t[i : i + 100, j] = (log_s2 - (2 * s**2 + np.log(-np.expm1(-(s**2))))) / error
    return np.quantile(t, probabilities, axis=0)


def _log_variance_jackknife(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log s² of each column, and √((N−1)/N Σ (L_i − L̄)²), L_i = log s² without sample i."""
    N = len(x)
    scale = np.abs(x).max(axis=0)
    d2 = (x / scale - (x / scale).mean(axis=0)) ** 2
    total = d2.sum(axis=0)
    # s_i² (N − 2) = Σd² − d_i² N/(N − 1), bounded from below by the round-off error of Σd²
    L = np.log1p(-np.minimum(d2 / total * N / (N - 1), 1 - np.finfo(float).eps))
    return np.log(total / (N - 1)) + 2 * np.log(scale), np.sqrt(
        (N - 1) / N * ((L - L.mean(axis=0)) ** 2).sum(axis=0)
    )


def _log_variance(x: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log s² and its jackknife error for samples with the multiplicities `counts`."""
    N = counts.sum(axis=1)
    mean = (counts * x).sum(axis=1) / N
    d2 = (x - mean[:, None]) ** 2
    m2, m4 = (counts * d2).sum(axis=1) / N, (counts * d2 * d2).sum(axis=1) / N
    return np.log(m2 * N / (N - 1)), np.sqrt((m4 / m2**2 - 1) / N)


def covariance(samples: np.ndarray, others: np.ndarray, noise: np.ndarray | None = None) -> Estimate:
    """The unbiased covariance s_xy = Σ (x_i − x̄)(y_i − ȳ)/(N−1), element by element, minus the mean noise.

    `noise`: as for `variance`, unbiased estimates of the covariance of the errors of x_i and y_i.
    """
    d, f = _centred(samples), _centred(others)
    N = len(d)
    product = d * f
    value = product.sum(axis=0) / (N - 1) if N > 1 else np.full(product.shape[1:], np.nan)
    if noise is not None and N > 1:
        value = value - np.asarray(noise, np.float64).mean(axis=0)
    return Estimate(value, _stderr(covariance_deviations(samples, others, noise), needed=3))


def covariance_deviations(
    samples: np.ndarray, others: np.ndarray, noise: np.ndarray | None = None
) -> np.ndarray:
    """e_i = √((N−1)/N) [N/((N−1)(N−2)) (d_i f_i − mean df) − (noise_i − mean noise)/(N−1)].

    d_i = x_i − x̄, f_i = y_i − ȳ. Equal to `variance_deviations` if the two are the same.
    """
    product = _centred(samples) * _centred(others)
    N = len(product)
    if N < 3:
        return np.zeros_like(product)
    e = _jackknife_factor(N) * (product - product.mean(axis=0))
    if noise is not None:
        a = np.asarray(noise, np.float64)
        e = e - np.sqrt((N - 1) / N) * (a - a.mean(axis=0)) / (N - 1)
    return e


def covariance_matrix(samples: np.ndarray, noise: np.ndarray | None = None) -> Estimate:
    """The covariances of all pairs of columns of samples of shape (N, P), as in `covariance`: (P, P).

    With `noise`, of shape (N, P, P), all N P² products are formed. Without it,

        s_ab = Σ d_a d_b/(N−1),   stderr² = (N/((N−1)(N−2)²)) [Σ d_a² d_b² − (Σ d_a d_b)²/N]

    The bracket is Σ (d_a d_b − mean)² multiplied out, so that two matrix products suffice. It loses digits
    only where d_a d_b hardly varies from sample to sample; if round-off makes it negative, it is set to 0.
    """
    if noise is not None:
        x = np.asarray(samples, np.float64)
        return covariance(x[:, :, None], x[:, None], noise)
    d = _centred(samples)
    N, P = d.shape
    if N < 2:
        return Estimate(np.full((P, P), np.nan), np.full((P, P), np.inf))
    product = d.T @ d
    value = (product + product.T) / 2 / (N - 1)
    if N < 3:
        return Estimate(value, np.full((P, P), np.inf))
    d *= d
    squares = d.T @ d
    spread = np.maximum((squares + squares.T) / 2 - ((N - 1) * value) ** 2 / N, 0)
    return Estimate(value, _jackknife_factor(N) * np.sqrt(spread))


def scaled(estimate: Estimate, factor: float | np.ndarray) -> Estimate:
    """factor · estimate."""
    return Estimate(factor * estimate.mean, np.abs(factor) * estimate.stderr)


def z_score(estimate: Estimate, expected: np.ndarray | float, rounding: float = ROUNDING) -> np.ndarray:
    """(estimate − expected)/stderr.

    Where the error is exactly 0: 0 if the two agree to the relative tolerance `rounding`, else ±inf. Where
    the error is unknown, or the expected value is not finite: nan.
    """
    measured, stderr, expected = np.broadcast_arrays(estimate.mean, estimate.stderr, expected)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        difference = measured - expected
        equal = np.abs(difference) <= rounding * np.maximum(np.abs(measured), np.abs(expected))
        z = np.where(stderr == 0, np.where(equal, 0.0, np.copysign(np.inf, difference)), difference / stderr)
    return np.where(np.isfinite(difference) & np.isfinite(stderr), z, np.nan)


def _centred_at_first(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Samples minus the first one, so that the spread of equal samples is exactly 0; and the first sample."""
    x = np.asarray(samples, np.float64)
    if not len(x):
        return x, np.full(x.shape[1:], np.nan)
    return x - x[0], x[0]


def _centred(samples: np.ndarray) -> np.ndarray:
    """d_i = x_i − x̄; exactly 0 if all samples are equal."""
    x, _ = _centred_at_first(samples)
    return x - _mean(x)


def _jackknife_factor(N: int) -> float:
    """√((N−1)/N) N/((N−1)(N−2))."""
    return float(np.sqrt((N - 1) / N) * N / ((N - 1) * (N - 2)))


def _mean(x: np.ndarray) -> np.ndarray:
    return x.mean(axis=0) if len(x) else np.zeros(x.shape[1:])


def _stderr(deviations: np.ndarray, needed: int) -> np.ndarray:
    if len(deviations) < needed:
        return np.full(deviations.shape[1:], np.inf)
    return np.sqrt((deviations**2).sum(axis=0))
