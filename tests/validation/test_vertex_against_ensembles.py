"""V_(12)(34), G1 and the NTK of several inputs are the limits of ensembles of growing width."""

import numpy as np
import pytest
from scipy.stats import chi2

import eft
import nets
from nets.statistics import estimators

pytestmark = pytest.mark.long

WIDTHS = (32, 64, 128)
N_NETS = 100_000
N_NETS_OF_MEANS = 300_000
"""For E[Ĝ] − K, which is a small difference."""

DEPTH, NTK_DEPTH = 4, 3
X = np.array([[1.0, 0.4], [0.3, -0.8], [1.0, 0.4], [-0.5, 0.6]])  # the first and the third are one
A, B = np.array([(0, 0), (0, 1), (0, 3), (1, 1), (1, 3), (3, 3)]).T
"""The pairs of different inputs."""

PAIRS = [list(zip(*np.triu_indices(len(X)), strict=True)).index(pair) for pair in zip(A, B, strict=True)]
"""Their positions among all pairs."""

CASES = {"tanh": (1.3, 0.1, 1.0), "relu": (2.0, 0.0, 1.0), "mrepu": (0.9, 0.0, 0.1)}  # C_W, C_b, size of x


def at_infinity(samples):
    """The limit n → ∞ of estimates at WIDTHS, with their deviations, by a parabola in 1/n."""
    t = 1 / np.array(WIDTHS)
    shares = [np.prod([u / (u - s) for u in t if u != s]) for s in t]
    value = sum(c * found for c, (found, _) in zip(shares, samples, strict=True))
    covariance = sum(c**2 * e.T @ e for c, (_, e) in zip(shares, samples, strict=True))
    return value, covariance


def probability(value, covariance, expected):
    """p of χ² over all cells with their covariance."""
    scale = np.sqrt(np.diag(covariance))
    d = (value - expected) / scale
    return chi2.sf(d @ np.linalg.solve(covariance / np.outer(scale, scale), d), len(d))


def last_metrics(name, n, n_nets):
    """Ĝ^L of the different inputs, (n_nets, pairs); equal inputs must have equal entries."""
    cw, cb, size = CASES[name]
    settings = {"cb": cb, "x": size * X, "seed": n, "method": "metric", "progress": False}
    seen = nets.measure(name, cw, DEPTH, n, n_nets, **settings)
    assert not seen.n_overflowed.any()
    G = seen.G[:, -1]
    assert (abs(G[:, 0] - G[:, 2]) <= 1e-4 * abs(G).max((1, 2))[:, None]).all()
    return G[:, A, B]


def theory_of(name):
    cw, cb, size = CASES[name]
    theory = eft.vertex_flow(name, cw, DEPTH, size * X, cb=cb)
    assert theory.valid.all()
    return theory


def fresh(name, theory):
    """The vertex due to the last layer alone: that of networks whose layer before has the metric K."""
    L = np.linalg.cholesky(theory.K[-2] + 1e-12 * np.eye(len(X)))
    z = L @ np.random.default_rng(0).standard_normal((len(X), 1_000_000))
    s = np.asarray(eft.activation(name)(z))
    return CASES[name][0] ** 2 * np.cov(s[A] * s[B])


@pytest.mark.parametrize("name", CASES)
def test_vertex(name):
    p, q = np.triu_indices(len(A))
    samples = []
    for n in WIDTHS:
        G = last_metrics(name, n, N_NETS)
        deviations = estimators.covariance_deviations(G[:, p], G[:, q])
        samples.append((n * estimators.covariance(G[:, p], G[:, q]).mean, n * deviations))
    found = at_infinity(samples)
    theory = theory_of(name)
    V = np.asarray(theory.V)[-1][np.ix_(PAIRS, PAIRS)]
    assert probability(*found, V[p, q]) > 1e-3
    # the control: a vertex that is not handed on from layer to layer
    assert probability(*found, fresh(name, theory)[p, q]) < 1e-12


@pytest.mark.parametrize("name", CASES)
def test_correction_of_the_kernel(name):
    theory = theory_of(name)
    K, G1 = (np.asarray(a)[-1, A, B] for a in (theory.K, theory.G1))
    samples = []
    for n in WIDTHS:
        G = last_metrics(name, n, N_NETS_OF_MEANS)
        samples.append((n * (G.mean(0) - K), n * estimators.mean_deviations(G)))
    found = at_infinity(samples)
    assert probability(*found, G1) > 1e-3
    # the control: no correction
    assert probability(*found, 0 * G1) < 1e-6


@pytest.mark.parametrize("name", CASES)
def test_ntk_mean(name):
    cw, cb, size = CASES[name]
    settings = {"cb": cb, "lambda_w": 0.7, "lambda_b": 0.3 if cb else 0.0}  # no biases, no rate for them
    theory = np.asarray(eft.gram_flow(name, cw, NTK_DEPTH, size * X, **settings).Theta)
    means = []
    for n in WIDTHS:
        seen = nets.measure(
            name, cw, NTK_DEPTH, n, N_NETS, x=size * X, seed=n, ntk=True, progress=False, **settings
        )
        assert not seen.n_overflowed.any()
        Theta = seen.Theta_hat[:, A, B]
        means.append((Theta.mean(0), estimators.mean_deviations(Theta)))
    found = at_infinity(means)
    assert probability(*found, theory[A, B]) > 1e-3
    # the control: a rate that is 2 % off
    off = np.asarray(eft.gram_flow(name, cw, NTK_DEPTH, size * X, **settings | {"lambda_w": 0.714}).Theta)
    assert probability(*found, off[A, B]) < 1e-6
