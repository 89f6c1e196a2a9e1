"""Posteriors of infinitely wide networks agree with those from independent calculations."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import DotProduct

import eft
from eft.flows import regression

RNG = np.random.default_rng(0)
X, X_TEST = RNG.normal(size=(12, 5)), RNG.normal(size=(7, 5))
Y = RNG.normal(size=(12, 2))
SETTINGS = {"act": "tanh", "cw": 1.5, "depth": 4, "cb": 0.1, "lambda_w": 0.7, "lambda_b": 0.3}


@functools.cache
def kernels():
    """K and Θ of data and test together."""
    both = eft.gram_flow(X=np.concatenate([X, X_TEST]), **SETTINGS)
    return np.asarray(both.K), np.asarray(both.Theta)


def regress(X=X, Y=Y, X_test=X_TEST, **changes):
    return eft.regress(X=X, Y=Y, X_test=X_test, **SETTINGS | changes)


def test_bayes_by_conditioning():
    """The joint Gaussian's precision matrix, block by block: no Cholesky, no Schur complement."""
    K, _ = kernels()
    noisy = K + np.diag([0.2] * 12 + [0.0] * 7)
    precision = np.linalg.inv(noisy)[12:, 12:]
    mean = -np.linalg.solve(precision, np.linalg.inv(noisy)[12:, :12] @ Y)
    found = regress(noise=0.2).nngp
    np.testing.assert_allclose(found.mean, mean, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(found.variance, np.diag(np.linalg.inv(precision)), rtol=1e-9)
    assert found.valid
    assert found.jitter == 0
    assert found.clipped == 0
    # the control: without the noise
    assert abs(regress().nngp.mean - mean).max() > 1e-2


def test_deep_linear_is_bayesian_ridge_regression():
    """K = C_b (1 + C_W + C_W²) + C_W³ x·x′/n₀: linear regression on the features x and 1.

    Compared with ridge regression on the features, and with scikit-learn's regressor for that kernel.
    """
    cw, cb, n0, s2 = 1.3, 0.2, X.shape[1], 0.1
    bias = cb * (1 + cw + cw**2)
    features, features_test = (
        np.column_stack([np.sqrt(cw**3 / n0) * x, np.full(len(x), np.sqrt(bias))]) for x in (X, X_TEST)
    )
    covariance = s2 * np.linalg.inv(features.T @ features + s2 * np.eye(n0 + 1))
    ridge = features_test @ covariance @ features.T @ Y / s2
    variance = np.einsum("mi,ij,mj->m", features_test, covariance, features_test)
    kernel = cw**3 / n0 * DotProduct(sigma_0=np.sqrt(bias * n0 / cw**3), sigma_0_bounds="fixed")
    peer = GaussianProcessRegressor(kernel, alpha=s2, optimizer=None).fit(X, Y)
    mean, spread = peer.predict(X_TEST, return_std=True)
    found = eft.regress("linear", cw, 3, X, Y, X_TEST, cb=cb, noise=s2).nngp
    for m, v in ((ridge, variance), (mean, spread[:, 0] ** 2)):
        np.testing.assert_allclose(found.mean, m, rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(found.variance, v, rtol=1e-6)
    # the control: ridge regression without the constant feature
    bare = features[:, :-1]
    wrong = features_test[:, :-1] @ np.linalg.solve(bare.T @ bare + s2 * np.eye(n0), bare.T @ Y)
    assert abs(found.mean - wrong).max() > 1e-2


def test_gradient_descent_step_by_step():
    """Euler steps of df = −Θ (f − Y) dt on data and test inputs, from random initial f."""
    K, Theta = kernels()
    data, rng = slice(0, 12), np.random.default_rng(1)
    begin = np.linalg.cholesky(K + 1e-12 * np.eye(19)) @ rng.standard_normal((19, 20_000))
    y = Y[:, :1]
    values, vectors = np.linalg.eigh(Theta[data, data])
    rate = 1 / values.max()
    steps = int(40 / (rate * values.min()))
    # (1 − rate Θ)^steps by its eigenvalues: that many Euler steps at once
    left = vectors @ np.diag((1 - rate * values) ** steps) @ vectors.T
    moved = np.linalg.solve(Theta[data, data], np.eye(12) - left)
    end = begin[12:] + Theta[12:, data] @ moved @ (y - begin[data])
    found = regress(Y=y).ntk
    mean, spread = end.mean(1), end.var(1, ddof=1)
    error = np.sqrt(spread / end.shape[1])
    assert (abs(found.mean[:, 0] - mean) < 4 * error).all()
    assert (abs(found.variance / spread - 1) < 4 * np.sqrt(2 / end.shape[1])).all()
    # the controls: the Bayesian posterior, and the variance without its cross term
    bayes = regress(Y=y).nngp
    assert (abs(bayes.mean[:, 0] - mean) > 4 * error).any()
    assert (abs(bayes.variance / spread - 1) > 4 * np.sqrt(2 / end.shape[1])).any()
    A = np.linalg.solve(Theta[data, data], Theta[data, 12:]).T
    uncrossed = np.diag(K)[12:] + np.einsum("mi,ij,mj->m", A, K[data, data], A)
    assert (abs(uncrossed / spread - 1) > 0.1).all()


def test_the_data_are_interpolated():
    """Without noise both means equal the targets at the data; variances vanish there but not elsewhere."""
    for posterior, elsewhere in zip(regress(X_test=X[5:]), regress(), strict=True):
        np.testing.assert_allclose(posterior.mean, Y[5:], rtol=1e-8, atol=1e-9)
        assert (posterior.variance < 1e-10).all()
        assert (elsewhere.variance > 1e-3).all()


def test_inputs_that_repeat():
    """The kernel is singular: jitter is added, and the posterior is that of the inputs given once.

    The control, targets ±Y at the same inputs: with noise the posterior mean is their mean, 0.
    """
    twice = regress(X=np.concatenate([X, X]), Y=np.concatenate([Y, Y]))
    once = regress()
    torn = regress(X=np.concatenate([X, X]), Y=np.concatenate([Y, -Y]), noise=0.1).nngp
    for a, b in zip(twice, once, strict=True):
        assert a.valid
        assert 0 < a.jitter < 1e-10
        assert b.jitter == 0
        assert a.condition > 1e12 > b.condition
        np.testing.assert_allclose(a.mean, b.mean, rtol=1e-4, atol=1e-5)
    assert torn.jitter == 0
    assert abs(torn.mean).max() < 1e-12
    assert abs(once.nngp.mean).max() > 0.1


def test_inputs_that_depth_makes_indistinguishable():
    """Ordered and deep: all entries of the kernel are equal up to rounding, as jitter and condition show.

    This holds even if Cholesky would succeed by itself: 1 plus noise of a few ε may be positive definite.
    """
    deep = regress(cw=0.25, depth=(4, 60))
    for posterior in deep:
        assert posterior.mean.shape == (2, 7, 2)
        assert posterior.jitter[0] == 0
        assert posterior.jitter[1] > 0
        assert posterior.condition[1] > 1e14 > posterior.condition[0]
    noise = np.random.default_rng(0).uniform(0, 2**-50, (7, 7))
    K = 1 + np.diag(noise[0] + 2**-51)
    assert np.isfinite(np.linalg.cholesky(K)).all()
    assert posterior_of(K, K, np.ones((1, 7)), np.ones((1, 7)), [1.0]).nngp.jitter > 0


def posterior_of(K, Theta, K_cross, Theta_cross, K_test, Y=None, **more):
    def flow(K, Theta):
        return eft.GramFlow(*map(jnp.asarray, (K, Theta, np.zeros(K.shape), np.ones(K.shape, bool))))

    Y = np.ones(K.shape[-1]) if Y is None else Y
    return regression.posterior(flow(K, Theta), flow(K_cross, Theta_cross), K_test, Y, **more)


def test_kernels_at_hand():
    """`posterior` of the kernels is `regress` of the inputs, one depth or several."""
    together = regress(depth=(1, 4, 2), noise=0.2)
    one = regress(depth=4, noise=0.2)
    K, Theta = kernels()
    blocks = [a[s, :12] for s in (slice(0, 12), slice(12, None)) for a in (K, Theta)]
    given = posterior_of(*blocks, np.diag(K)[12:], Y, noise=0.2)
    for a, b, c in zip(together, one, given, strict=True):
        for field in ("mean", "variance"):
            np.testing.assert_allclose(getattr(a, field)[1], getattr(b, field), rtol=1e-9, atol=1e-11)
            np.testing.assert_allclose(getattr(c, field), getattr(b, field), rtol=1e-9, atol=1e-11)
        assert abs(a.mean[0] - a.mean[1]).max() > 1e-2
    for matrix, found in ((K[:12, :12] + 0.2 * np.eye(12), one.nngp), (Theta[:12, :12], one.ntk)):
        assert 0.5 < found.condition / np.linalg.cond(matrix) < 1 + 1e-9


def test_impossible_kernels_are_not_valid():
    """An indefinite matrix; zeros; a negative posterior variance. The control: a positive definite matrix."""
    one, cross, prior = np.eye(3), 0.1 * np.ones((2, 3)), np.ones(2)
    for posterior in posterior_of(one, one, cross, cross, prior):
        assert posterior.valid
    for K in (-one, 1 - 2 * one, 0 * one):
        found = posterior_of(K, one, cross, cross, prior)
        assert not found.nngp.valid
        found = posterior_of(one, K, cross, cross, prior)
        assert not found.ntk.valid
    found = posterior_of(one, one, 10 * cross, cross, prior).nngp  # K_** − v·v = 1 − 3
    assert found.clipped == pytest.approx(2)
    assert (found.variance == 0).all()
    assert not found.valid
    for exploded in eft.regress("relu", 1e100, 5, X, Y, X_TEST):
        assert not exploded.valid


@pytest.mark.more
def test_shapes_and_float32():
    assert regress(Y=Y[:, 0]).nngp.mean.shape == (7,)
    single = eft.regress(
        X=X.astype(np.float32),
        Y=Y.astype(np.float32),
        X_test=X_TEST.astype(np.float32),
        noise=0.1,
        **SETTINGS,
    )
    assert single.nngp.mean.dtype == jnp.float32
    np.testing.assert_allclose(single.nngp.mean, regress(noise=0.1).nngp.mean, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Y": Y[:5]}, r"Y must have shape \(12,\) or \(12, outputs\)"),
        ({"Y": np.full(12, np.inf)}, r"Y must be finite; got inf at index \(0,\)"),
        ({"Y": np.zeros((12, 2, 2))}, "Y must have shape"),
        ({"X": X[:, :3]}, "X and X_test must have the same n0"),
        ({"X_test": X_TEST[0]}, "X_test must be inputs of shape"),
        ({"noise": -0.1}, "noise must be finite and ≥ 0; got -0.1"),
        ({"noise": [0.1, 0.2]}, "noise must be one number"),
        ({"memory_budget": 10}, "memory_budget must be at least"),
        ({"depth": 0}, "depth must be an integer ≥ 1"),
        ({"depth": ()}, "depth must be an integer ≥ 1 or a sequence of them"),
        ({"depth": (3, 0)}, "depth must be an integer ≥ 1"),
    ],
)
def test_bad_arguments(change, message):
    with pytest.raises(ValueError, match=message):
        regress(**change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"K": np.ones((3, 2))}, "train must hold kernels of shape"),
        ({"K_cross": np.ones((2, 4))}, r"cross must hold kernels of shape \('m', 3\)"),
        ({"K_test": [1.0]}, r"K_test must have shape \(2,\)"),
        ({"K_test": [1.0, -1.0]}, "K_test must be ≥ 0; got -1.0"),
        ({"Y": np.ones(4)}, "Y must have shape"),
        ({"noise": -1.0}, "noise must be finite and ≥ 0"),
    ],
)
def test_bad_kernels(change, message):
    kernels = {"K": np.eye(3), "Theta": np.eye(3), "K_cross": np.ones((2, 3)), "K_test": [1.0, 1.0]}
    with pytest.raises(ValueError, match=message):
        posterior_of(**{"Theta_cross": np.ones((2, 3))} | kernels | change)
    with pytest.raises(TypeError, match="train must be a GramFlow"):
        regression.posterior(np.eye(3), np.eye(3), [1.0], np.ones(3))


def test_digits():
    """Of 300 images of digits most are classified correctly. The control: with shuffled targets few are."""
    images, labels = load_digits(return_X_y=True)
    images = images / np.sqrt(np.mean(images**2))
    targets = np.eye(10)[labels[:300]] - 0.1
    settings = {
        "act": "relu",
        "cw": 2.0,
        "depth": 4,
        "X": images[:300],
        "X_test": images[300:600],
        "noise": 1e-3,
    }
    for posterior in eft.regress(Y=targets, **settings):
        assert (np.argmax(posterior.mean, 1) == labels[300:600]).mean() > 0.85
    shuffled = eft.regress(Y=np.random.default_rng(0).permutation(targets), **settings)
    for posterior in shuffled:
        assert (np.argmax(posterior.mean, 1) == labels[300:600]).mean() < 0.25
