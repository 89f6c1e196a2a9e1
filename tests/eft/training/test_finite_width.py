"""The posterior to order 1/n agrees with the exact one of deep linear networks, and with sampled networks.

Given the layers before the last, the outputs of a deep linear network without biases are Gaussian with the
kernel sK, s = Π_l χ²_{n_l}/n_l: its posterior at any width is an integral over s.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import gammaln

import eft

X, Y = np.array([[1.0, 0.2], [-0.3, 0.8]]), np.array([1.2, -0.5])
X_TEST = np.array([[0.5, 0.5]])
CW, NOISE = 1.3, 0.1
WIDTHS = (16, 64, 256, 1024)


def sizes(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights for χ²_n/n, by Gauss and Legendre in its logarithm."""
    nodes, weights = np.polynomial.legendre.leggauss(400)
    spread = np.sqrt(2 / n)
    low, high = -14 * spread, min(10 * spread, 6)
    y = (high - low) / 2 * nodes + (high + low) / 2
    density = np.exp(n / 2 * np.log(n / 2) - gammaln(n / 2) + n / 2 * (y - np.exp(y)))
    return np.exp(y), weights * (high - low) / 2 * density


def exact(n: int, depth: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean and variance at the test inputs, and log p(Y); depth 2 or 3."""
    s, weights = sizes(n)
    if depth == 3:
        s, weights = np.outer(s, s).ravel(), np.outer(weights, weights).ravel()
    x = np.vstack([X, X_TEST])
    K = s[:, None, None] * (CW**depth * x @ x.T / 2)
    inverse = np.linalg.inv(K[:, :2, :2] + NOISE * np.eye(2))
    likelihood = weights * np.exp(-(Y @ inverse @ Y) / 2) * np.sqrt(np.linalg.det(inverse)) / (2 * np.pi)
    B = K[:, 2:, :2] @ inverse
    means = B @ Y
    variances = np.diagonal(K, axis1=1, axis2=2)[:, 2:] - np.einsum("sma,sma->sm", B, K[:, 2:, :2])
    evidence = likelihood.sum()
    mean = likelihood @ means / evidence
    return mean, likelihood @ (variances + means**2) / evidence - mean**2, np.log(evidence)


@functools.cache
def posterior(n: int, depth: int, order: int = 1) -> eft.WidthPosterior:
    found = eft.finite_width_posterior("linear", CW, depth, X, Y, X_TEST, width=n, order=order, noise=NOISE)
    assert found.valid
    return found


def errors(n: int, depth: int, order: int = 1) -> np.ndarray:
    """Of the mean, the variance and the evidence."""
    found = posterior(n, depth, order)
    mine = [*found.mean, *found.variance, found.log_likelihood]
    mean, variance, evidence = exact(n, depth)
    return np.abs(np.array(mine) - np.array([*mean, *variance, evidence]))


@pytest.mark.parametrize("depth", [pytest.param(2, marks=pytest.mark.more), 3])
def test_deep_linear_networks(depth):
    """What is left falls as 1/n². The control: at order 0, as 1/n."""
    left = np.array([errors(n, depth) for n in WIDTHS])
    order = -np.log(left[1:] / left[:-1]) / np.log(4)
    assert (abs(order[-1] - 2) < 0.1).all()
    zero = np.array([errors(n, depth, order=0) for n in WIDTHS])
    assert (abs(-np.log(zero[-1] / zero[-2]) / np.log(4) - 1) < 0.1).all()
    assert (left[-1] < 0.03 * zero[-1]).all()


def test_without_V_the_order_is_lost(monkeypatch):
    """The control: what is left falls as 1/n."""
    from eft.training import finite_width

    def without(*args, **more):
        flow = eft.vertex_flow(*args, **more)
        return flow._replace(V=0 * flow.V)

    monkeypatch.setattr(finite_width, "vertex_flow", without)
    wrong = [
        eft.finite_width_posterior("linear", CW, 3, X, Y, X_TEST, width=n, noise=NOISE).mean
        for n in (256, 1024)
    ]
    left = [abs(np.asarray(a) - exact(n, 3)[0]) for a, n in zip(wrong, (256, 1024), strict=True)]
    assert (abs(-np.log(left[1] / left[0]) / np.log(4) - 1) < 0.1).all()


@pytest.mark.more
def test_infinite_width_is_regress():
    both = eft.regress("erf", 1.5, 3, X[:1], Y[:1], X_TEST, cb=0.1, noise=NOISE).nngp
    evidence = eft.log_marginal_likelihood("erf", 1.5, 3, X[:1], Y[:1], cb=0.1, noise=NOISE)
    settings = {"width": 32, "cb": 0.1, "noise": NOISE}
    zero = eft.finite_width_posterior("erf", 1.5, 3, X[:1], Y[:1], X_TEST, order=0, **settings)
    one = eft.finite_width_posterior("erf", 1.5, 3, X[:1], Y[:1, None], X_TEST, **settings)
    np.testing.assert_allclose(zero.mean, both.mean, rtol=1e-9)
    np.testing.assert_allclose(zero.variance, both.variance, rtol=1e-8)
    np.testing.assert_allclose(zero.log_likelihood, evidence.value, rtol=1e-9)
    assert abs(zero.mean_shift).max() == 0
    np.testing.assert_allclose(one.mean - one.mean_shift, both.mean, rtol=1e-9)
    assert abs(one.mean_shift).max() > 1e-5
    shallow = eft.finite_width_posterior("linear", CW, 1, X, Y, X_TEST, width=4, noise=NOISE)
    assert abs(shallow.mean_shift).max() == 0  # one layer is Gaussian at any width


THREE, THREE_Y = np.array([[1.0, 0.2], [-0.3, 0.8], [-0.9, -0.7]]), np.array([1.2, -0.5, 0.3])


@pytest.mark.long
@pytest.mark.parametrize(
    ("act", "sigma", "X", "Y"), [("erf", jax.scipy.special.erf, X, Y), ("tanh", jnp.tanh, THREE, THREE_Y)]
)
def test_networks_of_finite_width(act, sigma, X, Y):
    """Depth 3, n = 32: 2,000,000 networks sampled exactly, weighted by the likelihood of the data."""
    n, count, D = 32, 50_000, len(X)
    x = np.concatenate([X, X_TEST])

    @jax.jit
    def sums(key):
        G = jnp.broadcast_to(0.1 + 1.5 * x @ x.T / 2, (count, D + 1, D + 1))
        for _ in range(2):
            key, one = jax.random.split(key)
            L = jnp.linalg.cholesky(G + 1e-12 * jnp.eye(D + 1)[None])
            s = sigma(L @ jax.random.normal(one, (count, D + 1, n)))
            G = 0.1 + 1.5 * s @ jnp.swapaxes(s, 1, 2) / n
        inverse = jnp.linalg.inv(G[:, :D, :D] + NOISE * jnp.eye(D)[None])
        w = jnp.exp(-jnp.einsum("a,sab,b->s", Y, inverse, Y) / 2) * jnp.sqrt(jnp.linalg.det(inverse))
        f = jnp.einsum("sma,sab,b->sm", G[:, D:, :D], inverse, Y)
        return jnp.concatenate([jnp.mean(w)[None], jnp.mean(w[:, None] * f, 0)])

    each = np.array([sums(jax.random.key(i)) for i in range(40)])
    total = each.mean(0)
    mean = total[1:] / total[0]
    error = np.std(each[:, 1:] / each[:, :1], axis=0, ddof=1) / np.sqrt(len(each))
    found = eft.finite_width_posterior(act, 1.5, 3, X, Y, X_TEST, width=n, cb=0.1, noise=NOISE)
    left = abs(mean - found.mean)
    assert (left < 4 * error + 0.2 * abs(found.mean_shift)).all()
    # the control: infinite width
    assert (abs(mean - (found.mean - found.mean_shift)) > 4 * error + 0.2 * abs(found.mean_shift)).any()


def test_a_negative_variance_is_marked():
    """The width is too small for order 1. The control: a larger one."""
    x, y, x_test = np.array([[1.0, 0.0, 0.3], [0.5, 1.0, -0.2]]), np.array([0.01, -0.005]), [[-1.0, 0.2, 0.4]]
    for width, right in ((2, False), (200, True)):
        found = eft.finite_width_posterior("relu", 2.0, 8, x, y, x_test, width=width, noise=0.01)
        assert (float(found.variance[0]) > 0) == right == bool(found.valid)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Y": np.ones((2, 2))}, r"Y must have one output, shape \(2,\)"),
        ({"Y": np.ones(3)}, "Y must have shape"),
        ({"X_test": np.arange(14.0).reshape(7, 2)}, "at most 8 different inputs; got 9"),
        ({"X_test": [[1.0]]}, "the same n0"),
        ({"width": None}, "width must be an integer"),
        ({"width": 0}, "width must be an integer ≥ 1"),
        ({"widths": (4,)}, "width must be None where widths is given"),
        ({"order": 2}, "order must be 0 or 1; got 2"),
        ({"order": True}, "order must be 0 or 1"),
        ({"noise": -1.0}, "noise must be finite and ≥ 0"),
    ],
)
def test_bad_arguments(change, message):
    settings = {"act": "linear", "cw": CW, "depth": 2, "X": X, "Y": Y, "X_test": X_TEST, "width": 8}
    with pytest.raises((ValueError, TypeError), match=message):
        eft.finite_width_posterior(**settings | change)


def test_the_input_0_without_biases_is_known():
    """Its outputs are 0 whatever the network. The control: another input has a variance."""
    found = eft.finite_width_posterior(
        "tanh", 1.5, 3, [[0.5]], [0.3], [[0.0], [0.7]], width=64, noise=0.01, cb=0.0
    )
    assert found.valid
    np.testing.assert_allclose(found.mean[0], 0.0, atol=1e-15)
    np.testing.assert_allclose(found.variance[0], 0.0, atol=1e-15)
    assert found.variance[1] > 1e-5
