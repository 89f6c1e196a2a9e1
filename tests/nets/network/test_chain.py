"""The sampler of networks that are not plain: equal to the networks in distribution."""

import functools

import numpy as np
import pytest
from scipy import stats

from nets import measure

KINDS = {
    "skip": {"skip": 0.8},
    "another skip": {"skip": 0.9},
    "readout": {"skip": 0.8, "readout": True},
    "orthogonal": {"weights": "orthogonal", "width": None, "widths": (6, 4, 6)},
    "rms": {"norm": "rms"},
    "all": {"skip": 0.8, "weights": "orthogonal", "norm": "layer"},
}
OTHER = {
    "skip": "another skip",
    "readout": "skip",
    "orthogonal": "all",
    "rms": "skip",
    "all": "skip",
}
"""The control of each: another kind, which is told apart."""
SHARED = {"act": "tanh", "cw": 1.5, "cb": 0.1, "depth": 4, "width": 6}
X = np.array([[1.0, -0.5, 0.3], [0.2, 0.8, -1.1], [1.0, -0.5, 0.3]])
"""Three inputs, two of them the same."""


@functools.cache
def measured(kind, method, several=False):
    n_nets, seed = (3000, 1) if method == "networks" else (12_000, 2)
    x = X if several else None
    return measure(**{**SHARED, **KINDS[kind], "method": method, "x": x, "n_nets": n_nets, "seed": seed})


def scores(a, b, names):
    """z of the differences, where both are known, from layer 2 on."""
    for name in names:
        one, two = getattr(a, name), getattr(b, name)
        difference = (one.mean - two.mean)[1:]
        known = np.isfinite(difference)
        error = np.hypot(one.stderr, two.stderr)[1:]
        yield name, (abs(difference) - 1e-6)[known] / np.maximum(error, 1e-12)[known]


@pytest.mark.more
@pytest.mark.parametrize("kind", OTHER)
def test_networks_and_sampler_agree_in_distribution(kind):
    """Ĝ and E[z² | the layer before] of the last layer, and all estimates; the control is told apart."""
    networks, metric = measured(kind, "networks"), measured(kind, "metric")
    assert networks.widths.tolist() == metric.widths.tolist()
    for a, b in ((networks.G, metric.G), (networks.z2, metric.z2)):
        assert stats.ks_2samp(a[:, -1], b[:, -1]).pvalue > 1e-3
    for name, z in scores(networks, metric, ("K", "V", "K_z", "V_z", "chi_parallel", "chi_perp")):
        assert z.max() < 4.5, name
    control = measured(OTHER[kind], "metric")
    assert stats.ks_2samp(networks.z2[:, -1], control.z2[:, -1]).pvalue < 1e-6


@pytest.mark.sweep("all")
@pytest.mark.parametrize("kind", ["skip", "orthogonal", "all"])
def test_several_inputs(kind):
    """K and V of all pairs, Ĝ of the last layer; the control is told apart."""
    networks, metric = measured(kind, "networks", True), measured(kind, "metric", True)
    for m in (networks, metric):
        np.testing.assert_allclose(m.G[:, :, 0], m.G[:, :, 2], rtol=1e-4, atol=1e-5)
    for name, z in scores(networks, metric, ("K", "V")):
        assert z.max() < 4.5, name
    for i, j in ((0, 0), (0, 1)):
        assert stats.ks_2samp(networks.G[:, -1, i, j], metric.G[:, -1, i, j]).pvalue > 1e-3
    for name, z in scores(networks, measured(OTHER[kind], "metric", True), ("K", "V")):
        assert z.max() > 8, name


@pytest.mark.sweep("orthogonal")
@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
def test_more_inputs_than_neurons(weights):
    """Nine inputs and four neurons, the metric singular: its rank is that of the networks, and its law."""
    x = np.random.default_rng(0).normal(size=(9, 3))
    shared = {"x": x, "cw": 1.5, "depth": 3, "width": 4, "weights": weights, "dtype": np.float64}
    networks, metric = (
        measure("tanh", n_nets=2000, seed=i, method=method, **shared)
        for i, method in enumerate(("networks", "metric"))
    )
    for m in (networks, metric):
        rank = [np.linalg.matrix_rank(G, hermitian=True, tol=1e-7) for G in m.G[:50, -1]]
        assert set(rank) == {4}
    assert stats.ks_2samp(networks.G[:, -1, 0, 8], metric.G[:, -1, 0, 8]).pvalue > 1e-3


@pytest.mark.parametrize("method", ["networks", "metric"])
def test_same_bits_whatever_the_number_of_networks(method):
    few = measure(**SHARED, **KINDS["all"], n_nets=20, seed=1 + (method == "metric"), method=method)
    np.testing.assert_array_equal(few.z2, measured("all", method).z2[:20])
    assert len(np.unique(measured("all", method).z2[:, -1])) > 2990


def test_gamma_is_traced_and_equal_layers_are_one_loop(compilations):
    """Deeper than may be written out; one program for all γ. The control: without skip it is another one."""

    def call(skip):
        return measure(**{**SHARED, "depth": 600}, n_nets=8, method="metric", skip=skip)

    call(0.5)
    assert compilations(lambda: call(0.7)) == 0
    assert compilations(lambda: call(0.0)) > 0
