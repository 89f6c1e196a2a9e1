"""The network: its weights are Gaussian of the stated variances, and its layers are the recursion."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from nets import FCN


def network(key=0, n0=3, widths=(5, 7), n_out=2, **settings):
    return FCN(
        n0, widths, n_out, **{"act": "tanh", "cw": 1.5, "cb": 0.2, "rngs": jax.random.key(key), **settings}
    )


def kurtosis(w):
    w = np.asarray(w, float).ravel()
    return (w**4).mean() / (w**2).mean() ** 2


def test_layers_are_the_recursion():
    net = network()
    x = jax.random.normal(jax.random.key(1), (4, 3), jnp.float32)
    z = net.preactivations(x)
    assert [a.shape for a in z] == [(4, 5), (4, 7), (4, 2)]
    expected = np.asarray(x)
    for i, layer in enumerate(net.layers):
        expected = np.tanh(expected) if i else expected
        expected = expected @ np.asarray(layer.kernel[...]) + np.asarray(layer.bias[...])
        np.testing.assert_allclose(z[i], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(net(x), z[-1])


KINDS = [
    {"skip": 0.7},
    {"skip": 0.7, "readout": False, "n_out": 5},
    {"norm": "rms"},
    {"norm": "layer", "skip": 1.5, "weights": "orthogonal"},
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_layers_that_are_not_plain_are_the_recursion(kind):
    """z′ = γz + b + Wσ(N(z)), by hand. The control: without γ and N it is another network."""
    net = network(widths=(5, 5), dtype=jnp.float64, **kind)
    x = jax.random.normal(jax.random.key(1), (4, 3))
    z = np.asarray(x)
    for i, layer in enumerate(net.layers):
        W, b = (np.asarray(a[...]) for a in (layer.kernel, layer.bias))
        y = z - z.mean(1, keepdims=True) if kind.get("norm") == "layer" else z
        y = y / np.sqrt((y**2).mean(1, keepdims=True)) if "norm" in kind else y
        skips = i == 1 or (i == 2 and not net.readout)
        z = (kind.get("skip", 0) * z if skips else 0) + (np.tanh(y) if i else z) @ W + b
        np.testing.assert_allclose(net.preactivations(x)[i], z, rtol=1e-12, atol=1e-13)
    plain = network(widths=(5, 5), dtype=jnp.float64, n_out=kind.get("n_out", 2), weights=net.weights)
    np.testing.assert_array_equal(plain.layers[1].kernel[...], net.layers[1].kernel[...])
    assert abs(plain(x) - net(x)).max() > 0.01


def test_gamma_is_no_parameter():
    """It is traced and has a derivative, but is none of the `nnx.Param`; 0 as a number is no skip at all."""
    net = network(widths=(5, 5), skip=0.7)
    assert set(nnx.to_pure_dict(nnx.state(net, nnx.Param))) == {"layers"}
    x = jnp.ones(3, jnp.float32)
    made = jax.jit(lambda skip: network(widths=(5, 5), skip=skip)(x))(jnp.float32(0.7))
    np.testing.assert_allclose(made, net(x), rtol=1e-5)
    assert network(widths=(5, 7), skip=0).skip is None is network(widths=(5, 7), skip=0.0).skip


def test_variances_and_gaussianity_of_the_draws():
    net = network(n0=50, widths=(400, 600), n_out=200)
    for layer, n in zip(net.layers, (50, 400, 600), strict=True):
        w = np.asarray(layer.kernel[...], float)
        assert w.shape[0] == n
        assert abs(w.var() * n / 1.5 - 1) < 4 * np.sqrt(2 / w.size)
        assert abs(kurtosis(w) - 3) < 4 * np.sqrt(24 / w.size)
    b = np.concatenate([np.asarray(layer.bias[...], float) for layer in net.layers])
    assert abs(b.var() / 0.2 - 1) < 4 * np.sqrt(2 / b.size)


def test_another_distribution_of_the_weights_is_told_apart():
    def truncated(key, shape):
        return jax.random.truncated_normal(key, -2, 2, shape, jnp.float32) / 0.8796256610342398

    w = network(n0=50, widths=(400,), normal=truncated).layers[0].kernel[...]
    assert abs(w.var() * 50 / 1.5 - 1) < 0.05
    assert kurtosis(w) < 2.5


def test_first_layer_with_its_own_kernel():
    x = jnp.array([0.3, -2.0], jnp.float32)
    net = network(n0=2, widths=(40_000,), K1=1e-3, x2=float(jnp.mean(x * x)))
    assert net.layers[0].bias is None and net.layers[1].bias is not None
    z = np.asarray(net.preactivations(x)[0], float)
    assert abs((z**2).mean() / 1e-3 - 1) < 4 * np.sqrt(2 / z.size)


def test_without_bias_variance_the_biases_are_zero():
    assert all(not layer.bias[...].any() for layer in network(cb=0).layers)


def test_draws_do_not_depend_on_the_precision_of_the_parameters():
    single, double = network(dtype=jnp.float32), network(dtype=jnp.float64)
    for a, b in zip(single.layers, double.layers, strict=True):
        assert b.kernel[...].dtype == jnp.float64
        np.testing.assert_allclose(a.kernel[...], b.kernel[...], rtol=1e-6)


def test_keys_and_rngs():
    a, b = network(), network(rngs=nnx.Rngs(jax.random.key(0)))
    np.testing.assert_array_equal(a.layers[1].kernel[...], b.layers[1].kernel[...])
    assert not np.array_equal(a.layers[1].kernel[...], network(key=1).layers[1].kernel[...])


def test_a_network_is_a_pytree():
    x = jnp.ones(3, jnp.float32)
    gradient = jax.jit(jax.grad(lambda net: net(x).sum()))(network())
    np.testing.assert_allclose(gradient.layers[-1].bias[...], 1)
    keys = jax.random.split(jax.random.key(0), 4)
    stacked = jax.vmap(lambda key: network(rngs=key))(keys)
    assert jax.vmap(lambda net: net(x))(stacked).shape == (4, 2)


def test_no_hidden_layer():
    assert network(widths=())(jnp.ones(3, jnp.float32)).shape == (2,)


@pytest.mark.parametrize(
    ("bad", "error", "words"),
    [
        ({"n0": 0}, ValueError, "n0 must be an integer ≥ 1; got 0"),
        ({"n_out": 1.5}, ValueError, "n_out must be an integer ≥ 1; got 1.5"),
        ({"widths": (5, 0)}, ValueError, r"widths\[1\] must be an integer ≥ 1 .*got 0"),
        ({"cw": -1}, ValueError, "cw must be finite and ≥ 0; got -1"),
        ({"cb": float("nan")}, ValueError, "cb must be finite and ≥ 0; got nan"),
        ({"K1": -1}, ValueError, "K1 must be finite and ≥ 0; got -1"),
        ({"K1": 1, "x2": 0}, ValueError, "x2 must be finite and > 0; got 0"),
        ({"skip": -1, "widths": (5, 5)}, ValueError, "skip must be finite and ≥ 0; got -1"),
        ({"skip": 1.0}, ValueError, r"skip needs equal hidden widths; got \(5, 7\)"),
        ({"norm": "batch"}, ValueError, "norm must be one of None, rms, layer; got 'batch'"),
        (
            {"norm": "rms", "widths": (5, 1)},
            ValueError,
            r"norm needs hidden widths ≥ 2; got 'rms' and \(5, 1\)",
        ),
        ({"weights": "haar"}, ValueError, "weights must be one of gaussian, orthogonal; got 'haar'"),
        ({"weights": "orthogonal", "widths": (1,)}, ValueError, r"needs hidden widths ≥ 2; got \(1,\)"),
        ({"readout": False}, ValueError, "readout=False needs as many outputs .* 7; got 2"),
        ({"readout": "no"}, TypeError, "readout must be True or False; got 'no'"),
        ({"act": "tnah"}, ValueError, "tanh"),
        ({"act": 3}, TypeError, "act must be .* got 3"),
    ],
)
def test_bad_arguments(bad, error, words):
    with pytest.raises(error, match=words):
        network(**bad)
