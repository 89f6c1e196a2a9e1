"""The sampler through the stochastic metric: exact at every width, against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eft
from nets import measure
from nets.network.metric import covariance_factor, sample

CLOSED_FORMS = {  # E[Ĝ²]/E[Ĝ]² of a layer after hidden widths n: Π(1 + c/n), at the critical C_W
    "linear": (1.0, 2),
    "relu": (2.0, 5),
}


def one(act, widths=(16, 16, 4, 1), K1=1.0, cw=1.0, cb=0.0, key=0, **settings):
    numbers = (jnp.asarray(a, jnp.float32) for a in (K1, cw, cb))
    return sample(jax.random.key(key), eft.activation(act), widths, *numbers, **settings)


@pytest.mark.parametrize("act", CLOSED_FORMS)
@pytest.mark.parametrize("widths", [(8,) * 4, (32, 8, 8, 16)], ids=["equal", "unequal"])
def test_moments_at_small_width_are_exact(act, widths):
    cw, c = CLOSED_FORMS[act]
    m = measure(act, cw, 5, None, 40_000, widths=widths, method="metric", seed=1)
    product = np.cumprod([1.0, *(1 + c / n for n in widths)])
    variance = m.K.mean[0] ** 2 * (product - 1)
    fan_in = np.array([2, *widths])
    z_K = (m.K.mean - m.K.mean[0])[1:] / m.K.stderr[1:]
    z_V = (m.V.mean / fan_in - variance)[1:] / (m.V.stderr / fan_in)[1:]
    assert abs(z_K).max() < 4 and abs(z_V).max() < 4


def test_unequal_widths_are_not_taken_for_equal():
    """The negative control of the test above: the same widths in another order."""
    m = measure("relu", 2.0, 5, None, 40_000, widths=(32, 8, 8, 16), method="metric", seed=1)
    wrong = np.cumprod([1.0, *(1 + 5 / n for n in (16, 8, 8, 32))])[1:4] - 1
    fan_in = np.array([32, 8, 8])
    assert (abs(m.V.mean[1:4] / fan_in - 4 * wrong) > 10 * m.V.stderr[1:4] / fan_in)[0]


def test_the_first_metric_is_given_and_the_next_follow_the_neurons():
    seen = one("tanh", K1=0.7, cw=1.3, cb=0.1)
    assert seen.G.shape == (4,) and float(seen.G[0]) == np.float32(0.7)
    np.testing.assert_allclose(seen.log_G, np.log(seen.G), rtol=1e-6)
    assert (np.asarray(seen.G[1:]) > 0.1).all() and (np.asarray(seen.G[1:]) < 1.4).all()


@pytest.mark.parametrize("act", ["relu", "linear", "repu"])
def test_the_log_domain_is_the_same_flow(act):
    plain, log = one(act), one(act, log_domain=True)
    for a, b, name in zip(plain, log, plain._fields, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5 * (name == "log_G"), err_msg=name)


def test_homogeneous_activations_beyond_the_float_range():
    """log Ĝ′ = 2 log Ĝ + log s, with s of the same distribution in every layer."""
    n, N, depth = 32, 4000, 40  # not narrower: 2^−n of the layers die, and log Ĝ = −∞
    m = measure(eft.activation("repu", p=2), 1.0, depth, n, N, method="metric")
    assert np.isfinite(m.log_G).all() and abs(m.log_G[:, -1]).min() > 1e5
    assert m.n_overflowed[-1] > 0 and m.n_nets[-1] + m.n_overflowed[-1] == N
    s = m.log_G[:, 1:12] - 2 * m.log_G[:, :11]
    expected, error = s[:, 0].mean(), s[:, 0].std() / np.sqrt(N)
    assert abs(s[:, 1:].mean(axis=0) - expected).max() < 4 * np.sqrt(2) * error


def test_runs_of_one_width_are_one_loop():
    def size(depth):
        return len(str(jax.make_jaxpr(lambda: one("tanh", (16,) * depth))()))

    assert size(400) < size(5) + 200


def gram(X, cb=0.0, dtype=jnp.float32):
    return jnp.asarray(cb + X @ X.T / X.shape[1], dtype)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("cb", [0.0, 0.1])
@pytest.mark.parametrize("n_D", [1, 6, 64])
def test_the_factor_of_a_singular_metric(n_D, cb, dtype):
    """Fewer dimensions than inputs; the first six: repeated, opposite, collinear, zero, and small."""
    X = np.random.default_rng(n_D).normal(size=(n_D, 12))
    X[1:6] = (np.array([1, -1, 2, 0, 1e-3])[:, None] * X[0])[: n_D - 1]
    G = gram(X, cb, dtype)
    F = np.asarray(covariance_factor(G)[0], np.float64)
    G = np.asarray(G, np.float64)
    size, eps = np.sqrt(np.diag(G)), float(jnp.finfo(dtype).eps)
    scale = np.where(size > 0, size, 1)
    assert abs((F @ F.T - G) / np.outer(scale, scale)).max() < 50 * eps
    assert F.any(axis=0).sum() <= (min(n_D, 13) if dtype == jnp.float64 else n_D)
    if n_D > 1:
        np.testing.assert_allclose(F[1], F[0], atol=10 * eps * size[0])
        if cb == 0:
            np.testing.assert_allclose(F[2], -F[0], atol=10 * eps * size[0])
            np.testing.assert_allclose(F[5], 1e-3 * F[0], atol=10e-3 * eps * size[0])
            assert not F[4].any()


def test_the_factor_of_a_metric_beyond_the_float_range():
    assert np.isnan(covariance_factor(jnp.array([[jnp.inf, 1.0], [1.0, 1.0]]))[0]).all()
