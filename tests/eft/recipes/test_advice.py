"""Recipes: the starting point, depth limits and learning rates, each computed a second way."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eft
from eft.recipes.learning_rates import _layers, contributions
from eft.recipes.start import starting_point

GELU_CW, GELU_CB = 1.983058257437552, 0.172922390756069
X = np.random.default_rng(0).normal(size=(6, 5))


@pytest.mark.parametrize(
    ("act", "gain"),
    [
        ("tanh", 1.0), ("relu", np.sqrt(2)), ("selu", np.sqrt(0.476771)), ("sin", 1.0), ("linear", 1.0),
        (eft.activation("leaky_relu", slope=0.1), np.sqrt(2 / 1.01)), ("gelu", np.sqrt(GELU_CW)),
    ],
)  # fmt: skip
def test_gains(act, gain):
    assert eft.gain(act) == pytest.approx(gain, rel=1e-6 if act == "selu" else 1e-12)


def test_gain_where_nothing_is_critical():
    with pytest.raises(ValueError, match="softplus has none"):
        eft.gain("softplus")


def test_biases_of_gelu():
    found = eft.recipe("gelu", depth=5)
    assert found.bias_std == pytest.approx(np.sqrt(GELU_CB), rel=1e-12)


@pytest.mark.sweep("relu-1.0-27")
@pytest.mark.parametrize(
    ("act", "x2", "limit"),
    [("relu", 1.0, 27), ("gelu", (eft.critical_point("gelu").K - GELU_CB) / GELU_CW, 28), ("tanh", 1.0, 196)],
)
def test_depth_limits_at_width_128(act, x2, limit):
    found = eft.recipe(act, width=128, depth=10, x2=x2)
    flow = eft.kernel_flow(act, found.cw, limit, cb=found.cb, K1=found.K1)
    size = np.asarray(flow.V / flow.K**2) / 128
    assert found.depth_limit == limit
    assert size[-1] >= 1 > size[-2]


def test_the_width_that_a_depth_needs():
    n = eft.recipe("gelu", depth=20).width_needed
    assert eft.recipe("gelu", depth=20, width=n).depth_limit > 20
    assert eft.recipe("gelu", depth=20, width=n - 1).depth_limit <= 20


def test_gelu_is_rescaled_only_where_it_drifts():
    near = eft.recipe("gelu", depth=40)
    assert not near.start.rescaled
    assert pytest.approx(GELU_CB + GELU_CW, rel=1e-12) == near.K1
    ratio = near.flow.K / near.flow.K[0]
    assert ratio.max() < 4 and near.first_gain == pytest.approx(near.gain)
    far = eft.recipe("gelu", depth=40, x2=1e-3)
    assert far.start.rescaled and far.K1 == eft.critical_point("gelu").K
    assert far.first_gain**2 * 1e-3 + far.cb == pytest.approx(far.K1, rel=1e-12)


@pytest.mark.more
def test_an_unstable_point_gets_a_first_layer_small_enough():
    found = eft.recipe(lambda z: jnp.sinh(z), depth=40)
    assert found.start.rescaled
    assert found.flow.K[-1] / found.flow.K[0] == pytest.approx(4, rel=0.2)
    with pytest.warns(eft.QuadratureWarning):  # the control
        assert not eft.kernel_flow(lambda z: jnp.sinh(z), found.cw, 40).valid.all()


def test_sigmoid_starts_on_the_edge_of_chaos():
    found = eft.recipe("sigmoid", depth=10)
    assert found.kind == "edge of chaos"
    np.testing.assert_allclose(found.flow.chi_perp, 1.0, rtol=1e-9)
    np.testing.assert_allclose(found.flow.K, found.K1, rtol=1e-9)


@pytest.mark.sweep
def test_skips_scale_the_branch():
    plain, found = eft.recipe("gelu", depth=6), eft.recipe("gelu", depth=6, skip=0.9)
    assert found.cw == pytest.approx(0.19 * plain.cw) and found.cb == pytest.approx(0.19 * plain.cb)
    assert pytest.approx(plain.K1) == found.K1
    np.testing.assert_allclose(found.flow.K[:-1], plain.K1, rtol=0.05)


@pytest.mark.sweep
def test_a_skip_of_one_keeps_the_kernel_within_a_factor_e():
    for depth in (8, 40):
        K = eft.recipe("relu", depth=depth, skip=1.0).flow.K[:-1]
        assert 2 < K[-1] / K[0] < np.e


@pytest.mark.more
def test_a_skip_of_one_says_that_its_first_layer_is_rescaled():
    found = eft.recipe("gelu", depth=40, skip=1.0, x2=1e-3)
    assert found.start.rescaled and found.K1 == eft.critical_point("gelu").K
    assert "first layer is rescaled" in " ".join(str(found).split())


@pytest.mark.sweep("0.0-tanh", "0.8-gelu")
@pytest.mark.parametrize("act", ["tanh", "gelu", "softplus"])
@pytest.mark.parametrize("skip", [0.0, 0.8])
def test_normalized_networks_keep_gradients_where_they_can(act, skip):
    found = eft.recipe(act, depth=4, norm="rms", skip=skip)
    m = eft.moments(act, 1.0)
    expected = 1.0 if m.slope2 > m.g else skip**2 + (1 - skip**2) * m.slope2 / m.g
    at_one = eft.kernel_flow(act, found.cw, 2, cb=found.cb, K1=1.0, skip=skip, norm="rms")
    np.testing.assert_allclose(at_one.K, 1.0, rtol=1e-12)
    np.testing.assert_allclose(at_one.chi_perp, expected, rtol=1e-12)


SETTINGS = [{}, {"skip": 0.9}, {"norm": "rms"}, {"norm": "rms", "skip": 0.9}]


@pytest.mark.sweep("{'norm': 'rms', 'skip': 0.9}")
@pytest.mark.parametrize("kind", SETTINGS, ids=str)
def test_layers_add_up_to_the_ntk_of_samples(kind):
    act, depth, skip, norm = eft.activation("gelu"), 5, kind.get("skip", 0.0), kind.get("norm")
    start = starting_point(act, depth, 1.0, skip, norm)
    x2 = float((X**2).mean())
    by_weights, by_biases = _layers(act, start, depth, X, x2, skip, norm)
    scale = np.sqrt((start.K1 - start.cb) / (start.cw * x2))
    rates = {"lambda_w": 1.3, "lambda_b": 0.4}
    flow = eft.gram_flow(act, start.cw, depth, scale * X, cb=start.cb, readout=skip > 0, **rates, **kind)
    # there the first layer's weights see the scaled inputs
    parts = 1.3 * by_weights
    parts[0] *= scale**2
    total = parts.sum(0) + 0.4 * by_biases.sum(0)
    np.testing.assert_allclose(total, flow.Theta, rtol=1e-10, atol=1e-12)
    parts[1] *= 1.01
    assert np.abs(parts.sum(0) + 0.4 * by_biases.sum(0) - flow.Theta).max() > 1e-4


@pytest.mark.parametrize("skip", [0.0, 0.7])
def test_layers_add_up_to_the_ntk_of_one_input(skip):
    act = eft.activation("tanh")
    flow = eft.kernel_flow(act, 1.2, 6, cb=0.1, K1=0.8, skip=skip, readout=skip > 0)
    parts = contributions(act, flow, 1.5, None)
    ntk = eft.ntk_flow(
        act, 1.2, 6, cb=0.1, K1=0.8, x2=1.5, lambda_w=1.3, lambda_b=0.4, skip=skip, readout=skip > 0
    )
    # with K1 the first layer of a flow has no bias
    total = 1.3 * parts.weights.sum() + 0.4 * parts.biases[1:].sum()
    assert total == pytest.approx(float(ntk.Theta[-1]), rel=1e-12)


def test_rates_by_layer_contribute_equally():
    found = eft.recipe("gelu", depth=6, width=100)
    parts = contributions(found.act, found.flow, found.x2, None)
    for size, rate in ((parts.weights, found.rates.lambda_w), (parts.biases, found.rates.lambda_b)):
        np.testing.assert_allclose(size * rate, 1 / 12, rtol=1e-12)
    np.testing.assert_allclose(found.rates.weights, 2 * found.rates.lambda_w / 100, rtol=1e-12)


def test_one_sample_is_one_input_and_outputs_divide_the_loss():
    one = eft.recipe("tanh", depth=5, width=64, X=X[:1])
    same = eft.recipe("tanh", depth=5, width=64, x2=float((X[0] ** 2).mean()), n_in=5, n_out=3)
    assert same.rates.sgd == pytest.approx(3 * one.rates.sgd, rel=1e-10)
    np.testing.assert_allclose(same.rates.weights, 3 * one.rates.weights, rtol=1e-10)


def layers_of(key, widths, start, x2):
    """Plain parameters of a network, drawn by the recipe."""
    scales = [np.sqrt((start.K1 - start.cb) / x2), *[np.sqrt(start.cw)] * (len(widths) - 2)]
    keys = jax.random.split(key, len(scales))
    return [
        (
            scale / np.sqrt(m) * jax.random.normal(jax.random.fold_in(k, 0), (m, n), jnp.float64),
            np.sqrt(start.cb) * jax.random.normal(jax.random.fold_in(k, 1), (n,), jnp.float64),
        )
        for k, scale, m, n in zip(keys, scales, widths[:-1], widths[1:], strict=True)
    ]


def output(params, x, sigma):
    for W, b in params[:-1]:
        x = sigma(x @ W + b[None])
    W, b = params[-1]
    return x @ W + b[None]


@pytest.mark.sweep
@pytest.mark.parametrize("act", ["tanh", pytest.param("gelu", marks=pytest.mark.more)])
def test_rates_of_networks(act):
    """The curvature of the loss, and the size of the gradient, of networks 1000 wide."""
    n, depth, samples = 1000, 4, jnp.asarray(X)
    found = eft.recipe(act, depth=depth, width=n, X=X)
    sigma = eft.activation(act).fn

    def curvature(key):
        params = layers_of(key, [5, n, n, n, 1], found.start, found.x2)
        jacobian = jax.jacrev(lambda p: output(p, samples, sigma)[:, 0])(params)
        flat = jnp.concatenate([a.reshape(len(X), -1) for a in jax.tree.leaves(jacobian)], axis=1)
        return jnp.linalg.eigvalsh(flat @ flat.T / len(X))[-1]

    measured = np.array([curvature(jax.random.key(i)) for i in range(8)])
    error = measured.std(ddof=1) / np.sqrt(8)
    assert abs(measured.mean() - 2 / found.rates.sgd) < 4 * error + 0.02 * measured.mean()
    assert abs(measured.mean() - 1.15 * 2 / found.rates.sgd) > 4 * error

    one = eft.recipe(act, depth=depth, width=n, x2=1.0, n_in=5)
    params = layers_of(jax.random.key(9), [5, n, n, n, 1], one.start, 1.0)
    gradient = jax.grad(lambda p: output(p, jnp.ones((1, 5)), sigma)[0, 0])(params)
    size = sum(jnp.abs(a).sum() for a in jax.tree.leaves(gradient))
    assert float(size) == pytest.approx(1 / one.rates.adam, rel=0.1)


@pytest.mark.parametrize(
    "kind",
    [
        {"width": 64, "depth": 25},
        pytest.param({"width": 64, "skip": 0.9, "depth": 8}, marks=pytest.mark.more),
        pytest.param({"norm": "layer", "width": 9, "depth": 8}, marks=pytest.mark.more),
        pytest.param({"x2": 0.01, "depth": 300}, marks=pytest.mark.more),
    ],
    ids=str,
)
def test_the_page_fits_a_terminal(kind):
    page = str(eft.recipe("gelu", **kind))
    assert max(map(len, page.splitlines())) <= 79 and "nan" not in page
    assert "C_W = " in page and "std of weights" in page


def test_the_page_says_what_matters():
    page = str(eft.recipe("relu", width=128, depth=20))
    assert "the limit is 27 layers" in " ".join(page.split()) and "0.125" in page


def test_precision_of_jax_does_not_matter():
    double = eft.recipe("gelu", depth=6, width=32)
    with jax.enable_x64(False):
        single = eft.recipe("gelu", depth=6, width=32)
    assert single.gain == double.gain and single.rates.sgd == double.rates.sgd


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"act": "tanhh"}, "unknown activation"),
        ({"depth": 1}, "depth must be ≥ 2"),
        ({"depth": 9000}, "depth must be"),
        ({"width": 0}, "width must be"),
        ({"x2": 0.0}, "x2 must be > 0"),
        ({"n_out": 0}, "n_out must be"),
        ({"n_in": -1, "width": 4}, "n_in must be"),
        ({"skip": 1.5}, "skip must be ≤ 1"),
        ({"norm": "batch"}, "norm must be"),
        ({"weights": "sparse"}, "weights must be"),
        ({"bound": 0.0}, "bound must be > 0"),
        ({"X": np.zeros((3, 2))}, "X must not be 0"),
        ({"X": np.zeros((2000, 2))}, "X must hold 1 to 1024"),
        ({"X": [[np.nan]]}, "X must be"),
        ({"act": "softplus"}, 'norm="rms"'),
        ({"act": "perceptron"}, r"is infinite$"),
        ({"X": np.ones((3, 2)), "x2": 4.0}, "x2 must be left out where X is given; got 4.0"),
        ({"act": lambda z: 0 * z + 1.0}, "starting point"),
    ],
)
def test_bad_arguments(given, message):
    given = {"act": "tanh", "depth": 3, **given}
    with pytest.raises((ValueError, TypeError), match=message):
        eft.recipe(given.pop("act"), **given)
