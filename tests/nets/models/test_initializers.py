"""Critical initializers: the right variance in every layout, Gaussian tails, and K and χ⊥ as predicted."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.nn.initializers import lecun_normal, variance_scaling
from measured_layers import (
    DEPTH,
    N0,
    N_OUT,
    WIDTH,
    compared,
    expected,
    first_kernel,
    input_of,
    observed,
)

import eft
import nets
from eft.arguments import ArgumentError, ArgumentTypeError

critical, critical_bias = nets.initializers.critical, nets.initializers.critical_bias
KEY = jax.random.key(0)
N_NETS = 1000
SIZES = (N0, *[WIDTH] * (DEPTH - 1), N_OUT)
LAYERS = ("first", *["hidden"] * (DEPTH - 2), "output")


@pytest.mark.parametrize(
    ("act", "gain"),
    [
        ("tanh", 1.0),
        ("sin", 1.0),
        ("linear", 1.0),
        ("relu", math.sqrt(2)),
        (eft.activation("leaky_relu", slope=0.2), math.sqrt(2 / (1 + 0.2**2))),
        ("selu", math.sqrt(2 / (1.0507009873554805**2 * (1 + 1.6732632423543772**2)))),
        ("gelu", math.sqrt(1.983058257437552)),
    ],
)
def test_gain(act, gain):
    """√C_W of every layer, except the first one of GELU, C_W = (K* − C_b)/x2."""
    for layer in ("hidden", "output"):
        assert abs(critical(act, layer).gain / gain - 1) < 1e-11
    first = critical(act, "first", x2=2.0).gain
    if act == "gelu":
        K, cb = (3 + math.sqrt(17)) / 2, 0.172922390756069
        assert abs(first**2 / ((K - cb) / 2) - 1) < 1e-11
        assert abs(critical_bias(act).cb / cb - 1) < 1e-11
    else:
        assert abs(first / gain - 1) < 1e-11
        assert all(critical_bias(act, layer).cb == 0 for layer in ("first", "hidden", "output"))


def test_selu_by_its_number():
    assert abs(critical("selu").cw - 0.476771) < 5e-7


def test_first_kernel():
    """K1 sets it, for any activation; a plain first layer is "hidden"."""
    assert critical("mrepu", "first", K1=1e-3, x2=0.5).cw == pytest.approx(2e-3, rel=1e-14)
    assert critical("softplus", "first", K1=0.7, cb=0.2).cw == pytest.approx(0.5, rel=1e-14)
    assert critical("gelu", "first", cw=1.5).cw == 1.5
    assert critical("gelu", "hidden", x2=3.0) == critical("gelu")


def test_skip():
    """Hidden layers are scaled by 1 − γ²; no skip runs into the others."""
    for layer, share in {"hidden": 1 - 0.6**2, "first": 1, "output": 1}.items():
        with_skip, plain = critical("gelu", layer, skip=0.6), critical("gelu", layer)
        assert with_skip.cw == pytest.approx(share * plain.cw, rel=1e-12)
        bias = critical_bias("gelu", layer, skip=0.6)
        assert bias.cb == pytest.approx(share * critical_bias("gelu").cb, rel=1e-12)


@pytest.mark.parametrize(
    ("shape", "axes", "fan_in"),
    [
        ((300, 200), {}, 300),
        ((200, 300), {"in_axis": -1, "out_axis": -2}, 300),  # Equinox, PyTorch
        ((3, 5, 40, 100), {}, 600),  # a convolution of Flax or Haiku
        ((100, 40, 3, 5), {"in_axis": 1, "out_axis": 0}, 600),  # of Equinox or PyTorch
        ((10, 30, 100), {"in_axis": (0, 1)}, 300),
    ],
)
def test_variance(shape, axes, fan_in):
    """2/fan_in within 5 standard errors, 2 Var² / size."""
    W = np.asarray(critical("relu", **axes)(KEY, shape, jnp.float64))
    assert W.shape == shape
    error = math.sqrt(2 / W.size)
    assert abs(W.var() * fan_in / 2 - 1) < 5 * error
    for wrong in (W.size // fan_in, fan_in * 1.05**2):
        assert abs(W.var() * wrong / 2 - 1) > 5 * error


def kurtosis(init, dtype) -> tuple[float, float]:
    """E[W⁴]/E[W²]² and its standard error for a Gaussian, √(24/size)."""
    W = np.asarray(init(KEY, (1000, 1000), dtype), float)
    return (W**4).mean() / (W**2).mean() ** 2, math.sqrt(24 / W.size)


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32, jnp.bfloat16, jnp.float16])
def test_gaussian_tails(dtype):
    """The kurtosis is 3. The controls: truncated weights, and those drawn with 16 bits."""
    measured, error = kurtosis(critical("tanh"), dtype)
    rounding = 1e-3 if jnp.finfo(dtype).bits < 32 else 0.0
    assert abs(measured - 3) < 4 * error + rounding
    assert kurtosis(lecun_normal(), jnp.float32)[0] < 2.4


def test_sixteen_bits_need_their_tails():
    """The largest of a million numbers is beyond 4.2 standard deviations; not if drawn with 16 bits."""
    largest = [
        float(jnp.abs(init(KEY, (1000, 1000), jnp.bfloat16)).max()) * math.sqrt(1000)
        for init in (critical("tanh"), variance_scaling(1.0, "fan_in", "normal"))
    ]
    assert largest[0] > 4.2 > 3.5 > largest[1]


@pytest.mark.parametrize("shape", [(8, 8), (9, 4), (4, 9), (7, 1)])
@pytest.mark.parametrize("transposed", [False, True])
def test_orthogonal(shape, transposed):
    """Columns of length √C_W, or rows of √(C_W n/n_in), at right angles."""
    axes = {"in_axis": -1, "out_axis": -2} if transposed else {}
    W = critical("relu", weights="orthogonal", **axes)(KEY, shape[:: -1 if transposed else 1], jnp.float64)
    W = W.T if transposed else W
    n_in, n = shape
    gram, length2 = (W.T @ W, 2.0) if n <= n_in else (W @ W.T, 2.0 * n / n_in)
    np.testing.assert_allclose(gram, length2 * np.eye(len(gram)), atol=1e-13)
    assert abs(W[0] @ W[0] - length2).max() > 1e-3 or n >= n_in


def test_orthogonal_of_several_axes():
    W = critical("tanh", weights="orthogonal", in_axis=(0, 2), out_axis=1)(KEY, (2, 3, 4, 1), jnp.float64)
    matrix = jnp.transpose(W[..., 0], (0, 2, 1)).reshape(8, 3)
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(3), atol=1e-13)
    assert critical("tanh", weights="orthogonal")(KEY, (4, 4), jnp.bfloat16).dtype == jnp.bfloat16


BAD = [
    ({"act": "sigmoid"}, ArgumentError, ["cw", "sigmoid", "no critical point", "angles survive"]),
    ({"act": "softplus", "layer": "first", "K1": 0.5}, ArgumentError, ["cb", "softplus", "χ∥ > χ⊥"]),
    ({"act": "mrepu", "layer": "first"}, ArgumentError, ["K1", "mrepu", "unstable", "depth"]),
    ({"act": "gelu", "layer": "first", "K1": 0.1}, ArgumentError, ["K1", "0.1", "C_b = 0.17"]),
    ({"K1": 1.0}, ArgumentError, ["K1", "hidden", "1.0"]),
    ({"K1": 0.0, "layer": "first"}, ArgumentError, ["K1", "0", "> 0"]),
    ({"layer": "last"}, ArgumentError, ["layer", "last", "first, hidden, output"]),
    ({"weights": "uniform"}, ArgumentError, ["weights", "uniform", "orthogonal"]),
    ({"x2": 0.0}, ArgumentError, ["x2", "> 0"]),
    ({"cw": -1.0}, ArgumentError, ["cw", "-1.0"]),
    ({"cb": "1"}, ArgumentTypeError, ["cb", "'1'"]),
    ({"skip": 1.0}, ArgumentError, ["skip", "< 1", "1"]),
    ({"act": 3}, ArgumentTypeError, ["act", "3"]),
    ({"in_axis": 1.5}, ArgumentTypeError, ["in_axis", "1.5"]),
    ({"out_axis": ()}, ArgumentTypeError, ["out_axis", "()"]),
]


@pytest.mark.promotes
@pytest.mark.parametrize(("changes", "error", "says"), BAD)
def test_bad_argument(changes, error, says):
    with pytest.raises(error) as caught:
        critical(**{"act": "tanh"} | changes)
    assert all(part in str(caught.value) for part in says), caught.value


@pytest.mark.parametrize(
    ("settings", "call", "error", "says"),
    [
        ({}, {"shape": (3,)}, ArgumentError, ["shape", "(3,)", "in_axis"]),
        ({"in_axis": -1}, {"shape": (3, 4)}, ArgumentError, ["shape", "in_axis=-1"]),
        ({}, {"shape": (3, 4), "dtype": jnp.int32}, ArgumentTypeError, ["dtype", "int32"]),
        (
            {"weights": "orthogonal"},
            {"shape": (3, 3, 4, 4)},
            ArgumentError,
            ["shape", "(3, 3, 4, 4)", "delta"],
        ),
        (
            {"weights": "orthogonal"},
            {"shape": (4, 4), "out_sharding": jax.P()},
            ArgumentError,
            ["out_sharding"],
        ),
    ],
)
def test_bad_shape(settings, call, error, says):
    with pytest.raises(error) as caught:
        critical("tanh", **settings)(KEY, **call)
    assert all(part in str(caught.value) for part in says), caught.value


def test_equal_initializers_are_equal():
    """So that a module that holds one is compiled once."""
    assert critical("tanh") == critical("sin") != critical("relu")
    assert (
        len({nn.Dense(3, kernel_init=critical("tanh"), bias_init=critical_bias(a)) for a in ("tanh", "sin")})
        == 1
    )


def test_found_while_tracing():
    """A critical point that is not yet known is found inside jit and vmap, without a trace left in tables."""

    def sigma(z):
        return jnp.tanh(2 * z)

    drawn = jax.jit(jax.vmap(lambda key: critical(sigma)(key, (400, 300), jnp.float64)))(
        jax.random.split(KEY)
    )
    assert abs(float(drawn.var()) * 1600 - 1) < 5 * math.sqrt(1 / 120_000)
    assert critical(sigma).cw == pytest.approx(0.25, rel=1e-12)


# --- networks -----------------------------------------------------------------------------------


def plain_layers(act, weights, biases, key):
    """The pre-activations of a network in plain JAX; `weights` and `biases`: layer ↦ initializer."""
    s, layers = input_of(N0), []
    for i, layer in enumerate(LAYERS):
        kernel_key, bias_key = jax.random.split(jax.random.fold_in(key, i))
        W = weights(layer)(kernel_key, SIZES[i : i + 2], jnp.float32)
        layers.append(jnp.matmul(s, W) + biases(layer)(bias_key, SIZES[i + 1 : i + 2], jnp.float32))
        s = act(layers[-1]).astype(jnp.float32)
    return layers


def nnx_layers(act, weights, biases, key):
    """The same by Flax's NNX."""
    rngs, s, layers = nnx.Rngs(key), input_of(N0), []
    for i, layer in enumerate(LAYERS):
        inits = {"kernel_init": weights(layer), "bias_init": biases(layer)}
        layers.append(nnx.Linear(SIZES[i], SIZES[i + 1], **inits, rngs=rngs)(s))
        s = act(layers[-1]).astype(jnp.float32)
    return layers


def linen_layers(act, weights, biases, key):
    """The same by Flax's Linen."""

    class Network(nn.Module):
        @nn.compact
        def __call__(self, s):
            layers = []
            for n, layer in zip(SIZES[1:], LAYERS, strict=True):
                layers.append(nn.Dense(n, kernel_init=weights(layer), bias_init=biases(layer))(s))
                s = act(layers[-1]).astype(jnp.float32)
            return layers

    return Network().init_with_output(key, input_of(N0))[0]


def measured(network, act, weights, biases, seed=0):
    """K̂ and χ̂⊥ of N_NETS networks, χ̂⊥ with the critical C_W."""
    cw = eft.classify(act).cw

    def of(key):
        return observed(act, cw, network(eft.activation(act), weights, biases, key))

    keys = jax.random.split(jax.random.key(seed), N_NETS)
    return np.asarray(jax.vmap(of)(keys))  # compiled as a whole it would take longer


def own(act, **settings):
    """The initializers of `act`: layer ↦ weights, layer ↦ biases."""

    def weights(layer):
        return critical(act, layer, **(settings if layer == "first" else {}))

    return weights, lambda layer: critical_bias(act, layer)


def theory(act, **settings):
    point = eft.classify(act)
    return expected(act, point.cw, point.cb, settings.get("K1") or first_kernel(act), WIDTH)


SURELY = 1e-6
"""p below which networks are not those that were predicted; above 1e-3 they may be."""


@pytest.mark.sweep("relu-plain_layers")
@pytest.mark.parametrize(
    ("act", "network"), [("tanh", nnx_layers), ("gelu", linen_layers), ("relu", plain_layers)]
)
def test_networks_are_those_of_the_theory(act, network):
    weights, biases = own(act)
    good = measured(network, act, weights, biases)
    assert compared(good, theory(act))[0].p > 1e-3

    def off(layer):  # the control: a gain that is 5 % off
        return critical(act, layer, cw=1.05**2 * weights(layer).cw)

    assert compared(measured(plain_layers, act, off, biases), theory(act))[0].p < SURELY


@pytest.mark.parametrize("act", ["tanh", pytest.param("gelu", marks=pytest.mark.long)])
def test_common_initializers_are_not(act):
    """LeCun's normal weights: C_W = 1, critical for tanh, but truncated; and no biases."""
    samples = measured(plain_layers, act, lambda _: lecun_normal(), lambda _: nn.initializers.zeros)
    assert compared(samples, theory(act))[0].p < SURELY


ACTS = (
    *("tanh", "sin", "relu", "leaky_relu", "prelu", "swish", "gelu", "elu", "selu", "erf", "mish"),
    *("softsign", "arctan", "hard_tanh", "linear", "relu6", "hard_swish", "celu", "quick_gelu", "snake"),
    *("gelu_tanh", "mrepu"),
)


@pytest.mark.long
def test_networks_of_every_activation():
    """22 activations: no χ² is unlikely, their p are uniform, and standard errors cover what they promise.

    The control: errors that are 30 % too small or too large.
    """
    p, z = [], []
    for seed, act in enumerate(ACTS):
        settings = {"K1": 0.003} if act == "mrepu" else {}
        samples = measured(nnx_layers, act, *own(act, **settings), seed=seed)
        chi2, distances = compared(samples, theory(act, **settings))
        p.append(chi2.p)
        z.append(distances)
    assert min(p) > 1e-3, dict(zip(ACTS, p, strict=True))
    assert kolmogorov(p) > 0.01
    within = np.abs(np.concatenate(z))
    coverage = np.array([(within < c).mean() for c in (1.0, 1.96)])
    assert (abs(coverage - [0.683, 0.95]) < [0.1, 0.05]).all(), coverage
    for scale in (0.7, 1.3):
        wrong = np.array([(within < c * scale).mean() for c in (1.0, 1.96)])
        assert (abs(wrong - [0.683, 0.95]) > [0.1, 0.05]).any(), (scale, wrong)


def kolmogorov(p) -> float:
    from scipy import stats

    return float(stats.kstest(p, "uniform").pvalue)
