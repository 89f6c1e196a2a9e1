"""A few networks at many inputs."""

import jax
import numpy as np
import pytest

import nets

X = np.random.default_rng(0).uniform(-1, 1, (30, 2))


def by_hand(act, seed, member, **settings):
    key = jax.random.fold_in(jax.random.key(seed), member)
    net = nets.FCN(2, (16, 16, 16), act=act, rngs=key, dtype=np.float64, **settings)
    return np.array([np.mean(np.asarray(z) ** 2, -1) for z in net.preactivations(X)])


@pytest.mark.parametrize(
    ("act", "settings"),
    [("tanh", {"cw": 1.5, "cb": 0.1}), ("repu", {"cw": 0.8}), ("relu", {"cw": 2.0, "K1": 0.1, "x2": 0.5})],
)
def test_layers_of_the_flax_network(act, settings):
    """Also where each layer is divided by its size. The control: another network."""
    seen = nets.measure_inputs(act, depth=4, width=16, n_nets=3, X=X, seed=4, dtype=np.float64, **settings)
    assert seen.log_K.shape == (3, 4, 30)
    np.testing.assert_allclose(seen.x2, (X**2).mean(1))
    for member in range(3):
        np.testing.assert_allclose(
            np.exp(seen.log_K[member]), by_hand(act, 4, member, **settings), rtol=1e-10
        )
    assert (abs(np.exp(seen.log_K[0]) / by_hand(act, 4, 1, **settings) - 1) > 1e-3).any()


def test_the_networks_are_those_of_measure():
    """At one input K̂ averages to the same; and with K1 an input has K1 ‖x‖²/n₀."""
    x = np.array([0.5, -1.0])
    one = nets.measure("tanh", 1.3, 4, 16, 50, x=x, seed=2, progress=False)
    seen = nets.measure_inputs("tanh", 1.3, 4, 16, 50, x[None], seed=2)
    np.testing.assert_allclose(np.exp(seen.log_K).mean(0)[:, 0], one.K_z.mean, rtol=1e-5)
    many = nets.measure_inputs("tanh", 1.3, 2, 2000, 20, X, K1=1e-3, x2=1.0)
    np.testing.assert_allclose(np.exp(many.log_K[:, 0]).mean(0), 1e-3 * many.x2, rtol=0.05)


@pytest.mark.more
def test_out_of_the_float_range():
    """RePU in float32: log K̂ goes on where K̂ would overflow; other σ give nan or inf."""
    seen = nets.measure_inputs("repu", 2.0, 12, 64, 2, X)
    double = nets.measure_inputs("repu", 2.0, 12, 64, 2, X, dtype=np.float64)
    assert np.isfinite(seen.log_K).all() and seen.log_K.max() > 100
    np.testing.assert_allclose(seen.log_K, double.log_K, atol=2e-3 * abs(double.log_K).max())
    exploded = nets.measure_inputs("mrepu", 2.0, 12, 64, 2, 3 * X)
    assert not np.isfinite(exploded.log_K[:, -1]).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"X": X[0]}, r"X must be of shape \(m, n0\), m and n0 ≥ 1, and finite"),
        ({"X": X * np.nan}, r"X must be of shape \(m, n0\), m and n0 ≥ 1, and finite"),
        ({"X": np.ones((2**20, 1)), "width": 2**20}, "X must hold at most 128 inputs"),
        ({"n_nets": 0}, "n_nets must be an integer ≥ 1"),
        ({"cw": -1}, "cw must be finite and ≥ 0"),
        ({"depth": 501}, "depth must be .* ≤ 500"),
    ],
)
def test_bad_arguments(change, message):
    settings = {"act": "tanh", "cw": 1.0, "depth": 3, "width": 8, "n_nets": 2, "X": X}
    with pytest.raises(ValueError, match=message):
        nets.measure_inputs(**settings | change)
