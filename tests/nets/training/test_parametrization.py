"""Parametrizations: the same training written another way, and how far layers move against the width."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import nets
from nets.training import parametrization

X = np.random.default_rng(0).normal(size=(4, 6))
Y = np.sin(X[:, :1])
RUN = {"steps": 3, "snapshots": (0, 3), "progress": False, "dtype": jnp.float64}


def trained(name: str, optimizer: optax.GradientTransformation):
    return nets.train("tanh", 1.3, 3, 16, 2, (X, Y), cb=0.1, optimizer=optimizer, parametrization=name, **RUN)


def by_hand(optimizer, scales, multipliers, output_scale=1.0):
    """Training of W = scale × θ, whose updates have multipliers of their own, in a loop."""
    start = nets.train("tanh", 1.3, 3, 16, 2, (X, Y), cb=0.1, **{**RUN, "steps": 1, "snapshots": (0,)},
                       optimizer=optax.sgd(0.0)).parameters  # fmt: skip
    layers = [jax.tree.map(lambda a: jnp.asarray(a[0]), start["layers"][i]) for i in range(3)]
    layers[-1]["kernel"] *= output_scale
    theta = [{"kernel": p["kernel"] / s, "bias": p["bias"]} for p, s in zip(layers, scales, strict=True)]

    def loss(theta):
        z = jnp.asarray(X)
        for layer, (p, s) in enumerate(zip(theta, scales, strict=True)):
            z = (jnp.tanh(z) if layer else z) @ (s * p["kernel"]) + p["bias"][None]
        return jnp.mean((z - Y) ** 2) / 2

    state = optimizer.init(theta)
    for _ in range(3):
        value, grad = jax.value_and_grad(loss)(theta)
        more = {"value": value, "grad": grad, "value_fn": loss}
        change, state = optax.with_extra_args_support(optimizer).update(grad, state, theta, **more)
        change = [
            {"kernel": m[0] * c["kernel"], "bias": m[1] * c["bias"]}
            for m, c in zip(multipliers, change, strict=True)
        ]
        theta = optax.apply_updates(theta, change)
    return [scale * np.asarray(p["kernel"]) for p, scale in zip(theta, scales, strict=True)]


@pytest.mark.sweep("sgd")
@pytest.mark.promotes
@pytest.mark.parametrize(
    "optimizer",
    [optax.sgd(0.1), optax.adam(0.01), optax.adamw(0.01, weight_decay=0.5), optax.lbfgs()],
    ids=["sgd", "adam", "weight decay", "line search"],
)
def test_that_of_the_ntk_trains_weights_of_unit_size(optimizer):
    expected = by_hand(optimizer, [6**-0.5, 0.25, 0.25], [(1.0, 1.0)] * 3)
    layers = trained("ntk", optimizer).parameters["layers"]
    other = trained("standard", optimizer).parameters["layers"]
    for i, kernel in enumerate(expected):
        np.testing.assert_allclose(layers[i]["kernel"][0], kernel, rtol=1e-9, atol=1e-12)
        assert np.abs(other[i]["kernel"][0] - kernel).max() > 1e-4


@pytest.mark.sweep("adam")
@pytest.mark.promotes
@pytest.mark.parametrize("optimizer", [optax.sgd(0.1), optax.adam(0.01)], ids=["sgd", "adam"])
def test_rates_of_each_layer(optimizer):
    """The updates are multiplied; the control: other rates."""
    rates = [(0.5, 2.0), (3.0, 0.25), (1.5, 1.0)]
    given = {"optimizer": optimizer, "parametrization": "ntk", "cb": 0.1, **RUN}
    expected = by_hand(optimizer, [6**-0.5, 0.25, 0.25], rates)

    def kernels(layer_rates):
        run = nets.train("tanh", 1.3, 3, 16, 2, (X, Y), layer_rates=layer_rates, **given)
        return [run.parameters["layers"][i]["kernel"][0] for i in range(3)]

    found, other = kernels(tuple(zip(*rates, strict=True))), kernels((np.ones(3), np.ones(3)))
    for kernel, control, want in zip(found, other, expected, strict=True):
        np.testing.assert_allclose(kernel, want, rtol=1e-9, atol=1e-12)
        assert np.abs(control - want).max() > 1e-5
    with pytest.raises(ValueError, match=r"layer_rates\[1\] must be > 0"):
        kernels((np.ones(3), np.zeros(3)))


@pytest.mark.promotes
def test_mup_has_the_rates_of_gradient_descent_and_of_adam():
    cases = {
        optax.sgd(0.1): [(16.0, 16.0), (1.0, 16.0), (1 / 16, 1.0)],
        optax.adam(0.01, eps=0.0): [(1.0, 1.0), (1 / 16, 1.0), (1 / 16, 1.0)],
    }
    for optimizer, multipliers in cases.items():
        expected = by_hand(optimizer, [1.0] * 3, multipliers, output_scale=0.25)
        layers = trained("mup", optimizer).parameters["layers"]
        for i, kernel in enumerate(expected):
            np.testing.assert_allclose(layers[i]["kernel"][0], kernel, rtol=1e-9, atol=1e-12)


@pytest.mark.sweep("mup")
@pytest.mark.parametrize("name", ["standard", "mup"])
def test_gradient_descent_moves_the_output_as_expected(name):
    check = nets.coordinate_check(
        "tanh", 1.0, 3, (X, Y), parametrization=name, learning_rate=1e-4, steps=1, widths=(32, 128), n_nets=40
    )
    assert abs(check.exponent.mean - check.change_exponent)[-1] < 4 * check.exponent.stderr[-1] + 0.1
    assert abs(check.exponent.mean[-1] - (0.0 if name == "standard" else 1.0)) > 0.5
    assert check.transfers == (name == "mup")
    assert f"{name}, sgd" in str(check)


@pytest.mark.long
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("name", parametrization.NAMES)
def test_every_layer_moves_as_expected(name, optimizer):
    rate = 1e-4 if name == "standard" else 1e-2
    check = nets.coordinate_check(
        "gelu", 1.98, 4, (X, Y), cb=0.17, parametrization=name, optimizer=optimizer, steps=2, n_nets=32,
        learning_rate=rate / (10 if optimizer == "adam" else 1), widths=(128, 256, 512), dtype=jnp.float64,
    )  # fmt: skip
    # with Adam the first layer and the biases add what does not grow: the power is reached slowly
    slow = 0.2 if optimizer == "adam" and name == "ntk" else 0.08
    np.testing.assert_array_less(
        abs(check.exponent.mean - check.change_exponent), 4 * check.exponent.stderr + slow
    )
    size = np.log(check.size.mean[-1] / check.size.mean[0]) / np.log(4)
    error = np.hypot(*(check.size.stderr / check.size.mean)[[0, -1]]) / np.log(4)
    np.testing.assert_array_less(abs(size - check.size_exponent), 4 * error + 0.05)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"parametrization": "spectral"}, "parametrization must be one of"),
        ({"optimizer": "lion"}, "optimizer must be one of"),
        ({"widths": 32}, "widths must be a sequence"),
        ({"widths": (32, 32)}, "at least two different"),
        ({"widths": (32, 0)}, r"widths\[1\] must be"),
        ({"steps": 0}, "steps must be"),
        ({"learning_rate": 0.0}, "learning_rate must be > 0"),
        ({"n_nets": 1}, "n_nets must be ≥ 2"),
    ],
)
def test_bad_arguments(given, message):
    with pytest.raises((ValueError, TypeError), match=message):
        nets.coordinate_check("tanh", 1.0, 3, (X, Y), **given)


@pytest.mark.parametrize("size", [1.0, 1e6], ids=["after a step", "at once, and are kept as they were"])
def test_networks_that_overflow_are_not_measured(size):
    with pytest.raises(ValueError, match="networks overflow at width 16"):
        nets.coordinate_check(
            "relu", 2.0, 3, (X, size * Y), learning_rate=1e30 * size, widths=(16, 32), n_nets=2
        )


def test_a_parametrization_of_train_is_checked():
    with pytest.raises(ValueError, match="parametrization must be one of"):
        trained("spectral", optax.sgd(0.1))
