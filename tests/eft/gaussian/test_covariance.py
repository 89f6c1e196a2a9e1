"""The factor of a covariance is a factor, also of a singular one, and keeps the digits of small inputs."""

import jax.numpy as jnp
import numpy as np
import pytest

from eft.gaussian.covariance import covariance_factor

EPS = np.finfo(float).eps


def inputs(kind: str) -> np.ndarray:
    X = np.random.default_rng(0).normal(size=(6, 4))
    if kind == "repeated":
        X[3], X[5] = X[0], -X[1]
    if kind == "small":
        X *= 10.0 ** -np.arange(0, 12, 2)[:, None]
    if kind == "with zeros":
        X[[0, 4]] = 0.0
    if kind == "of rank 1":
        X = np.outer([1.0, -2.0, 0.5, 3.0, -1.0, 1e-8], X[0])
    return X


KINDS = ["random", "repeated", "small", "with zeros", "of rank 1"]


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_a_factor(kind):
    """Of 6 inputs of 4 numbers: rank 4, or less. The control: another covariance."""
    X = inputs(kind)
    G = X @ X.T
    F, pivots = map(np.asarray, covariance_factor(jnp.asarray(G)))
    size = np.sqrt(np.outer(np.diag(G), np.diag(G)))
    off = abs(F @ F.T - G) / np.where(size > 0, size, 1.0)
    assert off.max() <= 100 * EPS
    assert (abs(F @ F.T - 1.01 * G) / np.where(size > 0, size, 1.0)).max() > 1e-3
    assert sorted(pivots) == list(range(6))
    assert not np.triu(F[pivots], 1).any()
    rank = np.linalg.matrix_rank(X / np.maximum(np.linalg.norm(X, axis=1, keepdims=True), 1e-300))
    assert (abs(F).sum(0) > 0).sum() == rank
    assert not F[:, rank:].any()


def test_repeated_inputs_have_equal_rows():
    F, _ = covariance_factor(jnp.asarray(inputs("repeated") @ inputs("repeated").T))
    np.testing.assert_allclose(F[3], F[0], atol=10 * EPS)
    np.testing.assert_allclose(F[5], -F[1], atol=10 * EPS)
    assert abs(F[2] - F[0]).max() > 0.1  # the control


def test_the_first_pivot_is_the_first_of_the_largest_relative_rest():
    """All start with a relative rest of 1: the order is then that of the inputs, whatever their size."""
    assert covariance_factor(jnp.diag(jnp.array([1.0, 1e8, 1e-8])))[1].tolist() == [0, 1, 2]
    close = jnp.array([[1.0, 0.999, 0.0], [0.999, 1.0, 0.0], [0.0, 0.0, 1e-6]])
    assert covariance_factor(close)[1].tolist() == [0, 2, 1]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_has_no_factor(bad):
    G = jnp.eye(3).at[1, 1].set(bad)
    assert np.isnan(covariance_factor(G)[0]).all()
    assert np.isfinite(covariance_factor(jnp.eye(3))[0]).all()
