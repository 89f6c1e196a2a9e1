"""Posteriors of infinitely wide networks, against other routes to the same Gaussians."""

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import DotProduct

import eft

RNG = np.random.default_rng(0)
X, X_TEST = RNG.normal(size=(12, 5)), RNG.normal(size=(7, 5))
Y = RNG.normal(size=(12, 2))
SETTINGS = {"act": "tanh", "cw": 1.5, "depth": 4, "cb": 0.1, "lambda_w": 0.7, "lambda_b": 0.3}


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
    # the control: without the noise
    assert abs(regress().nngp.mean - mean).max() > 1e-2


def test_deep_linear_is_a_gaussian_process_with_a_dot_product():
    """scikit-learn's own regressor on K = C_b′ + c x·x′, with c and C_b′ what three linear layers make."""
    cw, cb, n0 = 1.3, 0.2, X.shape[1]
    bias = cb * (1 + cw + cw**2)
    kernel = cw**3 / n0 * DotProduct(sigma_0=np.sqrt(bias * n0 / cw**3), sigma_0_bounds="fixed")
    peer = GaussianProcessRegressor(kernel, alpha=0.1, optimizer=None).fit(X, Y)
    mean, spread = peer.predict(X_TEST, return_std=True)
    found = eft.regress("linear", cw, 3, X, Y, X_TEST, cb=cb, noise=0.1).nngp
    np.testing.assert_allclose(found.mean, mean, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(found.variance, spread[:, 0] ** 2, rtol=1e-6)


def test_gradient_descent_step_by_step():
    """f(t) on data and test as df = −Θ (f − Y) dt in small steps, from f = 0 and from random beginnings."""
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
    # the controls: what Bayes would make of it, and the variance without its cross term
    bayes = regress(Y=y).nngp
    assert (abs(bayes.mean[:, 0] - mean) > 4 * error).any()
    assert (abs(bayes.variance / spread - 1) > 4 * np.sqrt(2 / end.shape[1])).any()
    A = np.linalg.solve(Theta[data, data], Theta[data, 12:]).T
    uncrossed = np.diag(K)[12:] + np.einsum("mi,ij,mj->m", A, K[data, data], A)
    assert (abs(uncrossed / spread - 1) > 0.1).all()


def test_the_data_are_met():
    """Without noise both go through the targets, and are sure of them; away from them they are not."""
    found = regress(X_test=np.concatenate([X, X_TEST]))
    for posterior in found:
        np.testing.assert_allclose(posterior.mean[:12], Y, rtol=1e-8, atol=1e-9)
        assert (posterior.variance[:12] < 1e-10).all()
        assert (posterior.variance[12:] > 1e-3).all()
    assert (found.nngp.variance >= 0).all()


def test_inputs_that_repeat():
    """A singular kernel: the jitter says so, and the answer is that of the inputs given once."""
    twice = regress(X=np.concatenate([X, X]), Y=np.concatenate([Y, Y]))
    once = regress()
    for a, b in zip(twice, once, strict=True):
        assert a.valid
        assert 0 < a.jitter < 1e-10
        assert b.jitter == 0
        np.testing.assert_allclose(a.mean, b.mean, rtol=1e-4, atol=1e-5)


def test_depth_that_makes_inputs_one():
    """Ordered and deep: every kernel entry is the same number, and it is said that jitter was needed."""
    found = regress(cw=0.5, depth=300)
    assert found.nngp.jitter > 0


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
        ({"Y": np.full(12, np.inf)}, "Y must be finite"),
        ({"Y": np.zeros((12, 2, 2))}, "Y must have shape"),
        ({"X": X[:, :3]}, "must have the same n0"),
        ({"X_test": X_TEST[0]}, "X_test must be inputs of shape"),
        ({"noise": -0.1}, "noise must be finite and ≥ 0; got -0.1"),
        ({"noise": [0.1, 0.2]}, "noise must be one number"),
        ({"memory_budget": 10}, "memory_budget must be at least"),
    ],
)
def test_bad_arguments(change, message):
    with pytest.raises(ValueError, match=message):
        regress(**change)


def test_digits():
    """Real images: most of 300 are read right, and none by more than chance if the targets are shuffled."""
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
