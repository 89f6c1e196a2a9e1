"""Inference from kernels agrees with `regress`, with conditioning, and with SciPy's Gaussian density."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

import eft

RNG = np.random.default_rng(0)
X, X_TEST, Y = RNG.normal(size=(8, 3)), RNG.normal(size=(4, 3)), RNG.normal(size=(8, 2))
SETTINGS = {"act": "erf", "cw": 1.5, "depth": 3, "cb": 0.1}


@functools.cache
def kernels() -> tuple[np.ndarray, np.ndarray]:
    both = eft.gram_flow(X=np.concatenate([X, X_TEST]), **SETTINGS)
    return np.asarray(both.K), np.asarray(both.Theta)


def test_as_regress():
    """The mean, and the diagonal of the covariance."""
    K, Theta = kernels()
    found = eft.gp_inference(K, Y, Theta=Theta, noise=0.2)
    for a, b in zip(found, eft.regress(X=X, Y=Y, X_test=X_TEST, noise=0.2, **SETTINGS), strict=True):
        np.testing.assert_allclose(a.mean, b.mean, rtol=1e-9)
        np.testing.assert_allclose(np.diag(a.covariance), b.variance, rtol=1e-8)
        assert a.valid
        assert a.jitter == 0
    assert abs(found.nngp.mean - found.ntk.mean).max() > 1e-3  # the control: they are not the same


def test_covariance_by_conditioning():
    """That of the NNGP by the joint precision matrix; that of the NTK as the end of `train_flow`."""
    K, Theta = kernels()
    found = eft.gp_inference(K, Y, Theta=Theta, noise=0.2)
    noisy = K + np.diag([0.2] * 8 + [0.0] * 4)
    np.testing.assert_allclose(
        found.nngp.covariance, np.linalg.inv(np.linalg.inv(noisy)[8:, 8:]), rtol=1e-9, atol=1e-12
    )
    end = eft.train_flow_from_kernels(K, Theta, Y, t=[np.inf], covariance=True).test
    np.testing.assert_allclose(found.ntk.covariance, end.covariance[0], rtol=1e-8, atol=1e-11)
    np.testing.assert_allclose(found.ntk.mean, end.mean[0], rtol=1e-9)
    alone = eft.gp_inference(K, Y[:, 0])
    assert alone.ntk is None
    assert alone.nngp.mean.shape == (4,)
    # the control: the noise matters
    assert abs(alone.nngp.covariance - found.nngp.covariance).max() > 1e-3


def test_singular_kernels():
    """Inputs that repeat: jitter, and finite. A matrix that is no kernel: not valid."""
    K, Theta = kernels()
    place = [0, 0, *range(1, 8), 8, 9, 10, 11]
    K2, Theta2 = (a[np.ix_(place, place)] for a in (K, Theta))
    twice = eft.gp_inference(K2, np.concatenate([Y[:1], Y]), Theta=Theta2)
    for a, b in zip(twice, eft.gp_inference(K, Y, Theta=Theta), strict=True):
        assert a.jitter > 0
        assert a.valid
        np.testing.assert_allclose(a.mean, b.mean, rtol=1e-4, atol=1e-5)
    assert not eft.gp_inference(-K, Y).nngp.valid


def evidence(cw=1.5, cb=0.1, noise=0.2, act="erf", X=X, Y=Y):
    return eft.log_marginal_likelihood(act, cw, 3, X, Y, cb=cb, noise=noise)


def test_evidence_by_the_density():
    K = kernels()[0][:8, :8] + 0.2 * np.eye(8)
    exact = sum(multivariate_normal(cov=K).logpdf(y) for y in Y.T)
    found = evidence()
    np.testing.assert_allclose(found.value, exact, rtol=1e-10)
    assert found.valid
    assert 0.5 < found.condition / np.linalg.cond(K) < 1 + 1e-9
    one = evidence(Y=Y[:, 0]).value
    np.testing.assert_allclose(one, multivariate_normal(cov=K).logpdf(Y[:, 0]), rtol=1e-10)
    assert abs(evidence(noise=0.3).value - exact) > 0.1  # the control


def check_gradient(value, at):
    at, h = jnp.asarray(at), 1e-5
    slope = jax.grad(value)(at)
    for i, step in enumerate(np.eye(len(at)) * h):
        difference = (value(at + step) - value(at - step)) / (2 * h)
        np.testing.assert_allclose(slope[i], difference, rtol=1e-5)
    assert (abs(slope) > 1e-2).all()


def test_gradients_of_the_evidence():
    """With respect to C_W, C_b and the noise, against differences."""
    check_gradient(lambda p: evidence(p[0], p[1], p[2]).value, [1.5, 0.1, 0.2])


@pytest.mark.more
@pytest.mark.promotes
def test_gradient_by_a_parameter_of_the_activation():
    check_gradient(lambda p: evidence(act=lambda z: jnp.sin(p[0] * z)).value, [0.9])


def test_singular_evidence_is_announced():
    """Inputs that repeat have no density without noise: jitter, a finite value that is not valid."""
    twice = evidence(X=np.concatenate([X[:1], X[:7]]), noise=0.0)
    assert twice.jitter > 0
    assert jnp.isfinite(twice.value)
    assert not twice.valid
    assert evidence(X=np.concatenate([X[:1], X[:7]]), noise=0.1).valid
    assert not evidence(cw=1e200, act="relu").valid


def test_float32():
    K, Theta = (a.astype(np.float32) for a in kernels())
    single = eft.gp_inference(K, Y.astype(np.float32), Theta=Theta, noise=0.2).nngp
    assert single.mean.dtype == jnp.float32
    np.testing.assert_allclose(single.mean, eft.gp_inference(kernels()[0], Y, noise=0.2).nngp.mean, atol=1e-4)
    value = evidence(X=X.astype(np.float32)).value
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, evidence().value, rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Y": np.ones(12)}, "Y must have a row for each training input, fewer than the 12 inputs of K"),
        ({"Y": np.ones(13)}, r"K must have shape \(N, N\), N ≥ 13"),
        ({"Theta": np.eye(3)}, r"Theta must have shape \(12, 12\); got \(3, 3\)"),
        ({"noise": -1.0}, "noise must be finite and ≥ 0"),
    ],
)
def test_bad_arguments(change, message):
    with pytest.raises(ValueError, match=message):
        eft.gp_inference(**{"K": kernels()[0], "Y": Y} | change)
    with pytest.raises(ValueError, match=r"Y must have shape \(8,\)"):
        evidence(Y=Y[:5])
