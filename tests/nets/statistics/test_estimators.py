"""Estimates: unbiased at the smallest sample, with errors that cover as often as they say."""

import numpy as np
import pytest
from scipy import stats

from nets.statistics import estimators
from nets.statistics.estimators import Estimate, z_score

RNG = np.random.default_rng
DATA = {  # draws, mean, variance
    "gaussian": (lambda rng, shape: rng.normal(2.0, 3.0, shape), 2.0, 9.0),
    "chi2": (lambda rng, shape: rng.chisquare(4, shape), 4.0, 8.0),
}
REPEATS = 4000


def samples(name, N, seed=0):
    return DATA[name][0](RNG(seed), (N, REPEATS))


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("quantity", ["mean", "variance"])
@pytest.mark.parametrize("nominal", [0.68, 0.95])
def test_coverage(name, quantity, nominal):
    """The intervals of 4000 ensembles of 1000 cover the true value as often as they say.

    Allowed: four binomial errors, and half a percent for the skewness of a variance's estimate.
    """
    estimate = getattr(estimators, quantity)(samples(name, 1000))
    expected = DATA[name][1 if quantity == "mean" else 2]
    covered = (abs(estimate.mean - expected) <= stats.norm.ppf(0.5 + nominal / 2) * estimate.stderr).mean()
    assert abs(covered - nominal) < 4 * np.sqrt(nominal * (1 - nominal) / REPEATS) + 0.005


def test_negative_control_the_gaussian_formula_does_not_cover_for_chi2():
    x = samples("chi2", 1000)
    s2 = x.var(axis=0, ddof=1)
    covered = (abs(s2 - 8.0) <= s2 * np.sqrt(2 / 999)).mean()
    assert covered < 0.55


@pytest.mark.parametrize("name", DATA)
def test_unbiased_at_five_samples(name):
    x = samples(name, 5)
    for estimate, expected in ((estimators.mean(x), DATA[name][1]), (estimators.variance(x), DATA[name][2])):
        spread = estimate.mean.std() / np.sqrt(REPEATS)
        assert abs(estimate.mean.mean() - expected) < 4 * spread


@pytest.mark.parametrize("n", [1, 2, 8])
def test_variance_beneath_noise_is_unbiased(n):
    """Networks of n neurons: z ~ N(0, Ĝ), Ĝ = 1 ± ½; the variance of Ĝ is ¼ whatever n is."""
    rng = RNG(n)
    G = np.where(rng.random((6, REPEATS)) < 0.5, 0.5, 1.5)
    z = np.sqrt(G)[..., None] * rng.normal(size=(*G.shape, n))
    K, fourth = (z**2).mean(-1), (z**4).mean(-1)
    noise = K**2 - fourth / 3 if n == 1 else (fourth - K**2) / (n - 1)
    found = estimators.variance(K, noise).mean
    assert abs(found.mean() - 0.25) < 4 * found.std() / np.sqrt(REPEATS)
    biased = estimators.variance(K).mean
    assert abs(biased.mean() - 0.25) > 10 * biased.std() / np.sqrt(REPEATS)


@pytest.mark.parametrize("with_noise", [False, True])
def test_the_closed_form_is_the_jackknife(with_noise):
    rng = RNG(3)
    x, noise = rng.gamma(2, size=(9, 2)), rng.gamma(1, size=(9, 2)) if with_noise else None
    left_out = [
        estimators.variance(np.delete(x, i, 0), None if noise is None else np.delete(noise, i, 0)).mean
        for i in range(9)
    ]
    expected = np.sqrt(8 / 9 * ((left_out - np.mean(left_out, axis=0)) ** 2).sum(axis=0))
    np.testing.assert_allclose(estimators.variance(x, noise).stderr, expected, rtol=1e-12)


def test_deviations_give_the_covariance_of_estimates():
    """Two correlated columns: the covariance of their means and of their variances."""
    rng, rho, N = RNG(5), 0.8, 400
    x = rng.normal(size=(N, REPEATS))
    y = rho * x + np.sqrt(1 - rho**2) * rng.normal(size=x.shape)
    for of, of_deviations, expected in (
        (estimators.mean, estimators.mean_deviations, rho),
        (estimators.variance, estimators.variance_deviations, rho**2),
    ):
        seen = np.corrcoef(of(x).mean, of(y).mean)[0, 1]
        e, f = of_deviations(x), of_deviations(y)
        told = ((e * f).sum(0) / np.sqrt((e**2).sum(0) * (f**2).sum(0))).mean()
        assert abs(seen - expected) < 4 / np.sqrt(REPEATS) and abs(told - expected) < 0.01


def pair(name, N, seed=0):
    """x = u + v and y = u + w: their covariance is the variance of u."""
    u, v, w = (samples(name, N, 3 * seed + i) for i in range(3))
    return u + v, u + w


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("nominal", [0.68, 0.95])
def test_coverage_of_a_covariance(name, nominal):
    estimate = estimators.covariance(*pair(name, 1000))
    covered = abs(estimate.mean - DATA[name][2]) <= stats.norm.ppf(0.5 + nominal / 2) * estimate.stderr
    assert abs(covered.mean() - nominal) < 4 * np.sqrt(nominal * (1 - nominal) / REPEATS) + 0.005


def test_negative_control_the_gaussian_formula_does_not_cover_a_covariance_for_chi2():
    x, y = samples("chi2", 1000), samples("chi2", 1000)
    estimate = estimators.covariance(x, y)
    wrong = np.sqrt((x.var(axis=0) * y.var(axis=0) + estimate.mean**2) / 999)
    assert (abs(estimate.mean - 8.0) <= wrong).mean() < 0.55


@pytest.mark.parametrize("name", DATA)
def test_a_covariance_is_unbiased_at_five_samples(name):
    found = estimators.covariance(*pair(name, 5)).mean
    assert abs(found.mean() - DATA[name][2]) < 4 * found.std() / np.sqrt(REPEATS)


def test_the_closed_form_of_a_covariance_is_the_jackknife_and_the_matrix_is_all_pairs():
    x = RNG(3).gamma(2, size=(9, 3))
    matrix = estimators.covariance_matrix(x)
    for a in range(3):
        for b in range(3):
            found = estimators.covariance(x[:, a], x[:, b])
            left_out = [np.cov(np.delete(x[:, [a, b]], i, 0).T)[0, 1] for i in range(9)]
            expected = np.sqrt(8 / 9 * ((left_out - np.mean(left_out)) ** 2).sum())
            np.testing.assert_allclose(found.mean, np.cov(x.T)[a, b], rtol=1e-12)
            np.testing.assert_allclose(found.stderr, expected, rtol=1e-12)
            np.testing.assert_allclose((matrix.mean[a, b], matrix.stderr[a, b]), tuple(found), rtol=1e-12)
    np.testing.assert_allclose(tuple(estimators.covariance(x, x)), tuple(estimators.variance(x)), rtol=1e-12)
    np.testing.assert_array_equal(matrix.mean, matrix.mean.T)


def test_covariances_of_equal_or_too_few_samples():
    equal = estimators.covariance_matrix(np.full((1000, 2), 0.1))
    assert not np.any(tuple(equal))
    for N, known, error_known in ((0, False, False), (1, False, False), (2, True, False), (3, True, True)):
        x = RNG(N).normal(size=(N, 2))
        for estimate in (estimators.covariance_matrix(x), estimators.covariance(x, x)):
            assert np.isfinite(estimate.mean).all() == known
            assert np.isfinite(estimate.stderr).all() == error_known
            assert error_known or np.isinf(estimate.stderr).all()


def test_equal_samples_have_no_spread_at_all():
    x = np.full(1000, 0.1)
    assert estimators.mean(x) == Estimate(0.1, 0.0)
    assert estimators.variance(x) == Estimate(0.0, 0.0)


def test_a_large_offset_costs_no_digits():
    x = RNG(0).normal(size=1000)
    near, far = estimators.variance(x), estimators.variance(x + 2.0**30)
    np.testing.assert_allclose(tuple(far), tuple(near), rtol=1e-5)


def test_too_few_samples_are_marked():
    for N, mean_known, variance_known in ((0, False, False), (1, True, False), (2, True, True)):
        mean, variance = estimators.mean(np.ones((N, 2))), estimators.variance(np.ones((N, 2)))
        assert np.isfinite(mean.mean).all() == mean_known
        assert np.isfinite(variance.mean).all() == variance_known
        assert np.isinf(variance.stderr).all()
        assert np.isinf(mean.stderr).all() == (N < 2)


@pytest.mark.parametrize(
    ("mean", "stderr", "expected", "z"),
    [
        (1.3, 0.1, 1.0, 3.0),
        (1.0, 0.0, 1.0, 0.0),
        (1.0 + 1e-7, 0.0, 1.0, 0.0),  # equal to rounding
        (1.1, 0.0, 1.0, np.inf),
        (0.9, 0.0, 1.0, -np.inf),
        (0.0, 0.0, 0.0, 0.0),
        (1.0, np.inf, 1.0, np.nan),
        (1.0, 0.1, np.inf, np.nan),
        (np.nan, 0.1, 1.0, np.nan),
    ],
)
def test_z_score(mean, stderr, expected, z):
    found = z_score(Estimate(np.array(mean), np.array(stderr)), expected, rounding=1e-6)
    np.testing.assert_allclose(found, z, rtol=1e-9)


def test_z_scores_of_gaussian_data_are_standard_normal():
    z = z_score(estimators.mean(samples("gaussian", 200)), 2.0)
    assert stats.kstest(z, stats.t(199).cdf).pvalue > 1e-3


# --- few samples -----------------------------------------------------------------------------------

KERNELS = {  # of ensembles: draws, the variance
    "relu": (lambda rng, shape: np.exp(0.9 * rng.normal(size=shape)), (np.exp(0.81) - 1) * np.exp(0.81)),
    "relu, gamma": (
        lambda rng, shape: rng.gamma(4.0, 0.25, shape) * rng.gamma(4.0, 0.25, shape),
        1.25**2 - 1,
    ),
    "tanh": (lambda rng, shape: 1 + 0.2 * rng.normal(size=shape).clip(-4.5), 0.04),
}


@pytest.mark.sweep("20-relu", "100-tanh")
@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("N", [20, 50, 100])
def test_the_interval_of_a_positive_variance_covers_at_few_samples(name, N):
    """As the docstring says, within four binomial errors; mean ± stderr does not where tails are heavy."""
    draw, expected = KERNELS[name]
    x = draw(RNG(N), (N, 200))
    naive = estimators.variance(draw(RNG(N + 1), (N, 20_000)))
    for level, least, most in ((0.95, 0.91, 0.965), (0.68, 0.64, 0.72)):
        low, high = estimators.positive_variance_interval(x, level)
        error = 4 * np.sqrt(level * (1 - level) / 200)
        covered = ((low <= expected) & (expected <= high)).mean()
        assert least - error < covered < most + error
        z = stats.norm.ppf(0.5 + level / 2)
        by_stderr = (abs(naive.mean - expected) <= z * naive.stderr).mean()
        assert name == "tanh" or by_stderr < level - 0.03


def test_intervals_of_equal_few_and_bad_samples():
    np.testing.assert_array_equal(estimators.positive_variance_interval(np.full((9, 2), 0.1)), 0)
    np.testing.assert_array_equal(
        estimators.positive_variance_interval(np.ones((3, 2))), [[0, 0], [np.inf] * 2]
    )
    x = RNG(0).gamma(2, size=(30, 1))
    np.testing.assert_allclose(
        estimators.positive_variance_interval(1e30 * x), 1e60 * estimators.positive_variance_interval(x)
    )
    for bad, level in ((-x, 0.9), (np.inf * x, 0.9), (x, 1.0)):
        with pytest.raises(ValueError, match="must be"):
            estimators.positive_variance_interval(bad, level)


def test_rounding_alone_is_no_deviation():
    """What does not fluctuate and is right to float32 has z = 0; 1e-4 off is told."""
    assert z_score(Estimate(np.array(2 + 4e-9), np.array(0.0)), 2.0) == 0
    assert z_score(Estimate(np.array(2.0002), np.array(0.0)), 2.0) == np.inf
