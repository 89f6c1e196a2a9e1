"""Conjugate gradients over blocks of the kernel find the posterior means of `gp_inference`."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

import eft
from eft.training import large

RNG = np.random.default_rng(0)
X, X_TEST = RNG.normal(size=(300, 4)), RNG.normal(size=(20, 4))
Y = np.stack([np.sin(X[:, 0]), X[:, 1] * X[:, 2]], 1)
NOISE = 0.05


@functools.cache
def exact(kernel: str) -> np.ndarray:
    flow = eft.gram_flow("relu", 2.0, 3, np.concatenate([X, X_TEST]))
    K = np.asarray(flow.K if kernel == "nngp" else flow.Theta)
    return K[300:, :300] @ np.linalg.solve(K[:300, :300] + NOISE * np.eye(300), Y)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(large, "BLOCK", 128)


def regress(**more) -> eft.CGRegression:
    settings = {"noise": NOISE, "landmarks": 60, "tolerance": 1e-10}
    return eft.cg_regress("relu", 2.0, 3, **{"X": X, "Y": Y, "X_test": X_TEST} | settings | more)


@pytest.mark.more
@pytest.mark.parametrize("kernel", ["nngp", "ntk"])
@pytest.mark.parametrize("kept", [0.0, 1e-4, 0.5])
def test_means(kernel, kept, monkeypatch):
    """Whether no block of the triangle is kept, one, or all."""
    monkeypatch.setattr(large, "KEPT", kept)
    found = regress(kernel=kernel)
    np.testing.assert_allclose(found.mean, exact(kernel), rtol=1e-7, atol=1e-9)
    assert found.valid
    assert found.residual < 2e-10
    other = exact("ntk" if kernel == "nngp" else "nngp")
    assert abs(found.mean - other).max() > 1e-2  # the control


def test_the_same_as_regress():
    """Without noise too; one output; the whole set in one block."""
    both = eft.regress("relu", 2.0, 3, X, Y[:, 0], X_TEST)
    for kernel, posterior in zip(("nngp", "ntk"), both, strict=True):
        found = regress(Y=Y[:, 0], noise=0.0, kernel=kernel)
        np.testing.assert_allclose(found.mean, posterior.mean, rtol=1e-6, atol=1e-7)


@pytest.mark.sweep
def test_landmarks_save_steps():
    few, many = regress(landmarks=1), regress(landmarks=150)
    assert many.steps < few.steps / 2
    np.testing.assert_allclose(few.mean, many.mean, rtol=1e-7, atol=1e-9)


def test_what_does_not_converge_is_not_valid():
    found = regress(max_steps=2)
    assert found.steps == 2
    assert not found.valid
    assert found.residual > 1e-6
    assert not eft.cg_regress("relu", 1e200, 3, X[:9], Y[:9], X_TEST).valid


@pytest.mark.sweep
def test_float32():
    single = regress(X=X.astype(np.float32), X_test=X_TEST.astype(np.float32), tolerance=1e-5)
    assert single.mean.dtype == jnp.float32
    assert single.valid
    np.testing.assert_allclose(single.mean, exact("nngp"), atol=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kernel": "rbf"}, "kernel must be one of nngp, ntk; got 'rbf'"),
        ({"tolerance": 1.0}, "tolerance must be > 0 and < 1; got 1.0"),
        ({"max_steps": 0}, "max_steps must be an integer ≥ 1"),
        ({"landmarks": 0}, "landmarks must be an integer ≥ 1"),
        ({"Y": Y[:5]}, "Y must have shape"),
        ({"X_test": X_TEST[:, :2]}, "the same n0"),
        ({"noise": -1.0}, "noise must be finite and ≥ 0"),
    ],
)
def test_bad_arguments(change, message):
    with pytest.raises(ValueError, match=message):
        regress(**change)
