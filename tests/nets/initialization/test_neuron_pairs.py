"""Two neurons of a layer that are not independent: their moments, exactly, and errors that are honest."""

import jax
import numpy as np
import pytest

import nets
from nets.initialization import neuron_pairs
from nets.network.architecture import Architecture, Settings
from nets.network.observables import pair_spread
from nets.network.weights import orthonormal_columns
from nets.statistics import estimators

N, CW, CB, GAMMA = 4, 1.3, 0.2, 0.7
WIDTH, ENSEMBLES = 16, 80
"""Of the networks that are measured; ensembles of 1000, for which errors are meant."""
PAIRS = np.array([(0, 0), (0, 1), (1, 1)])


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
@pytest.mark.parametrize("skip", [False, True])
def test_brute_force(weights, skip):
    """E[z_i1 z_i2 z_j3 z_j4] of layer 2, i ≠ j, for two inputs, over 100,000 draws of its weights.

    The control: the product of the means, as if neurons were independent and alike.
    """
    architecture = Architecture(np.tanh, (2, N, N), skip=skip, weights=weights, readout=False)
    settings = Settings(CW, CB, skip=GAMMA if skip else None)
    z = 2 * np.random.default_rng(1).normal(size=(2, N))
    s = np.tanh(z)
    G, K_hat = CB + CW / N * s @ s.T, z @ z.T / N
    key, other = jax.random.split(jax.random.key(0))
    u, b = np.asarray(jax.random.normal(key, (100_000, N, N))), jax.random.normal(other, (100_000, 1, N))
    W = u * np.sqrt(CW / N)
    if weights == "orthogonal":
        W = np.sqrt(CW) * np.asarray(jax.vmap(orthonormal_columns)(u))
    new = (GAMMA * z if skip else 0) + np.sqrt(CB) * np.asarray(b) + np.swapaxes(W @ s.T, 1, 2)
    products = np.stack([new[:, a] * new[:, b] for a, b in PAIRS], 1)  # (draws, pairs, neurons)
    total = products.sum(2)
    same = np.einsum("dpi,dqi->dpq", products, products)
    samples = (total[:, :, None] * total[:, None] - same) / (N * (N - 1))
    layers = (np.stack([a, a])[None] for a in (G, K_hat))
    z2 = neuron_pairs.second_moments(architecture, settings, *layers)[0, 1]
    mean = z2[PAIRS[:, 0], PAIRS[:, 1]]
    excess = neuron_pairs.gram_excess(architecture, settings, 2, G[None], np.asarray(pair_spread(z))[None])[0]
    error = samples.std(0) / np.sqrt(len(samples))
    product = np.outer(mean, mean)
    assert (abs(samples.mean(0) - (product - excess)) < 4.5 * error).all()
    assert (abs(samples.mean(0) - product) > 8 * error).any() == (skip or weights == "orthogonal")
    for one in (0, 2):  # one input by itself
        a = PAIRS[one, 0]
        shape = np.mean(z[a] ** 4) / K_hat[a, a] ** 2
        alone = neuron_pairs.excess(
            architecture, settings, *(np.full((1, 2), v) for v in (G[a, a], K_hat[a, a], shape))
        )
        np.testing.assert_allclose(alone[0], [0, excess[one, one]], rtol=1e-10, atol=1e-14)


def linear(depth, gamma, weights):
    """K and V of every layer of a linear network, C_b = 0, K¹ = 1, exactly at width N.

        E[R′²] = [(γ² + C_W)² + (4γ²C_W + 2C_W²)/n] E[R²],   R = (1/n) Σ z²,   E[z_i²z_j²] = E[R²] n/(n + 2)

    without 2C_W²/n for orthogonal weights; the last because no direction is preferred.
    """
    n = WIDTH
    square = (gamma**2 + CW) ** 2 + (4 * gamma**2 * CW + 2 * CW**2 * (weights == "gaussian")) / n
    K = (gamma**2 + CW) ** np.arange(depth)
    R2 = (1 + 2 / n) * square ** np.arange(depth)
    return K, np.array([2, *(n,) * (depth - 1)]) * (R2 * n / (n + 2) - K**2)


@pytest.fixture(scope="module", params=["gaussian", "orthogonal"])
def residual(request):
    """A residual linear network, and its exact K and V."""
    weights = request.param
    m = nets.measure(
        "linear", CW, 3, WIDTH, 1000 * ENSEMBLES, method="metric", K1=1.0, skip=GAMMA, weights=weights,
        dtype=np.float64,
    )  # fmt: skip
    return m, *linear(3, GAMMA, weights)


def test_a_residual_linear_network(residual):
    """K, V, K_z, V_z within 4 errors; conditional means have the smaller ones. The control: no excess."""
    m, K, V = residual
    for name, expected in (("K", K), ("V", V), ("K_z", K), ("V_z", V)):
        found = getattr(m, name)
        assert (abs(found.mean - expected) <= 4 * found.stderr).all(), name
    assert (m.V.stderr[1:] < 0.8 * m.V_z.stderr[1:]).all()
    assert (m.K.stderr[1:] < 0.8 * m.K_z.stderr[1:]).all()
    assert abs(WIDTH * m.z2[:, 1].var() - V[1]) > 5 * m.V.stderr[1]
    with pytest.raises(ValueError, match="V_interval needs Gaussian weights and no skip"):
        m.V_interval()


def test_errors_are_honest(residual):
    """Of 80 ensembles of 1000 networks mean ± 1.96 stderr covers K as often as it should, V nearly so."""
    m, K, V = residual
    M = GAMMA**2 * (GAMMA**2 + m.G[:, 1]) + m.G[:, 2]  # K¹ = 1
    np.testing.assert_allclose(m.M[:, 2], M, rtol=1e-12)
    np.testing.assert_allclose(M.mean(), m.K.mean[2], rtol=1e-12)
    M, z2, excess = (a.reshape(ENSEMBLES, -1) for a in (M, m.z2[:, 2], (m.z2**2 - m.z2z2)[:, 2]))
    covered = {"K": 0, "V": 0}
    for mean, x, noise in zip(M, z2, excess, strict=True):
        for name, found, exact in (
            ("K", estimators.mean(mean), K[2]),
            ("V", estimators.scaled(estimators.variance(x, noise), WIDTH), V[2]),
        ):
            covered[name] += abs(found.mean - exact) < 1.96 * found.stderr
    assert 68 <= covered["K"] <= 80 and 64 <= covered["V"] <= 80


def test_a_covariance_without_its_noise():
    """Two noisy copies of correlated numbers; the jackknife deviations are those of leaving one out."""
    rng = np.random.default_rng(0)
    x, y, noise = rng.normal(size=(3, 50, 2))
    found = estimators.covariance(x, y, noise)
    np.testing.assert_allclose(
        found.mean, [np.cov(x[:, i], y[:, i])[0, 1] - noise[:, i].mean() for i in (0, 1)]
    )
    left_out = np.array(
        [estimators.covariance(*(np.delete(a, i, 0) for a in (x, y, noise))).mean for i in range(50)]
    )
    jackknife = np.sqrt(49 / 50 * ((left_out - left_out.mean(0)) ** 2).sum(0))
    np.testing.assert_allclose(found.stderr, jackknife, rtol=1e-10)
    same = estimators.covariance(x, x, noise)
    np.testing.assert_allclose(tuple(same), tuple(estimators.variance(x, noise)), rtol=1e-12)
    matrix = estimators.covariance_matrix(x, np.zeros((50, 2, 2)))
    np.testing.assert_allclose(tuple(matrix), tuple(estimators.covariance_matrix(x)), rtol=1e-9)


@pytest.mark.parametrize(
    ("bad", "error", "words"),
    [
        ({"skip": -0.1}, ValueError, "skip must be finite and ≥ 0; got -0.1"),
        (
            {"skip": 0.5, "width": None, "widths": (3, 4)},
            ValueError,
            r"skip needs equal hidden widths; got \(3, 4\)",
        ),
        ({"skip": 0.5, "width": 1}, ValueError, "skip needs hidden widths ≥ 2"),
        ({"norm": "batch"}, ValueError, "norm must be one of None, rms, layer; got 'batch'"),
        ({"norm": "rms", "width": 1}, ValueError, "norm needs hidden widths ≥ 2; got 'rms'"),
        ({"weights": "uniform"}, ValueError, "weights must be one of gaussian, orthogonal; got 'uniform'"),
        ({"weights": "orthogonal", "width": 1}, ValueError, "weights='orthogonal' needs hidden widths ≥ 2"),
        ({"readout": 1}, TypeError, "readout must be True or False; got 1"),
        ({"skip": 1e39}, ValueError, "skip must be finite in float32"),
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["networks", "metric"])
def test_bad_arguments(bad, error, words, method):
    with pytest.raises(error, match=words):
        nets.measure(
            **{"act": "tanh", "cw": 1.0, "depth": 3, "width": 4, "n_nets": 4, "method": method, **bad}
        )
