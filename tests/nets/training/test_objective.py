"""Optimizers that use the loss, losses on labels, numbers of another precision inside functions."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import nets

X = np.random.default_rng(0).uniform(-1, 1, (12, 2))
Y = np.sin(3 * X[:, 0])
LABELS = np.arange(12) % 3
CROSS_ENTROPY = optax.softmax_cross_entropy_with_integer_labels


def train(**changes):
    settings = {"act": "tanh", "cw": 1.2, "depth": 2, "width": 4, "n_nets": 3, "data": (X, Y)}
    return nets.train(**settings | {"steps": 4, "snapshots": (0, 4), "progress": False} | changes)


@pytest.mark.sweep("polyak_sgd")
@pytest.mark.promotes
@pytest.mark.parametrize("make", [optax.lbfgs, optax.polyak_sgd])
def test_optimizers_that_use_the_loss(make):
    """Optax by itself on the network of that key, in float64; gradient descent is far behind L-BFGS."""
    run = train(optimizer=make(), seed=7, dtype=np.float64)
    key = jax.random.fold_in(jax.random.key(7), 2)
    net = nets.FCN(2, (4,), 1, act="tanh", cw=1.2, rngs=key, dtype=np.float64)
    graph, parameters = nnx.split(net)
    optimizer = make()
    state = optimizer.init(parameters)

    def loss(parameters):
        return jnp.mean((nnx.merge(graph, parameters)(X)[:, 0] - Y) ** 2) / 2

    @jax.jit
    def step(parameters, state):
        value, slope = jax.value_and_grad(loss)(parameters)
        change, state = optimizer.update(slope, state, parameters, value=value, grad=slope, value_fn=loss)
        return optax.apply_updates(parameters, change), state

    for _ in range(4):
        parameters, state = step(parameters, state)
    assert run.loss[1, 2] == pytest.approx(float(loss(parameters)), rel=1e-9)
    assert (run.loss[1] < 0.5 * train(seed=7, dtype=np.float64).loss[1]).all()


def test_labels():
    """The mean of −log softmax; one-hot targets learn the same. The control: targets one further."""
    run = train(data=(X, LABELS), loss=CROSS_ENTROPY, n_out=3, x_test=X)
    assert run.outputs.mean.shape == (2, 12, 3)
    hot = train(data=(X, np.eye(3)[LABELS]), loss=optax.softmax_cross_entropy)
    np.testing.assert_allclose(run.loss, hot.loss, rtol=1e-5)
    other = train(data=(X, (LABELS + 1) % 3), loss=CROSS_ENTROPY, n_out=3)
    assert (abs(other.loss / run.loss - 1) > 1e-3).all()
    assert np.isfinite(train(data=(X, LABELS), loss=CROSS_ENTROPY, n_out=3, batch_size=5).loss).all()


@pytest.mark.promotes
@pytest.mark.parametrize(
    "changes",
    [
        {"act": lambda z: jnp.tanh(np.float64(1.5) * z)},
        {"act": lambda z: jnp.tanh(np.array(1.5) * z)},
        {"loss": lambda f, y: np.float64(1.0) * optax.l2_loss(f, y)},
        {"optimizer": optax.sgd(np.float64(0.01), momentum=np.float64(0.9))},
    ],
    ids=["act", "array in act", "loss", "optimizer"],
)
def test_float64_numbers_in_a_float32_run(changes):
    run = train(**changes)
    assert run.parameters["layers"][0]["kernel"].dtype == np.float32
    double = train(**changes, dtype=np.float64)
    np.testing.assert_allclose(run.loss, double.loss, rtol=1e-4)


@pytest.mark.promotes
@pytest.mark.parametrize("method", ["networks", "metric"])
def test_float64_numbers_in_an_activation_that_is_measured(method):
    settings = {"depth": 3, "width": 8, "n_nets": 9, "method": method}
    one = nets.measure(lambda z: jnp.tanh(np.float64(1.5) * z), 1.0, **settings)
    other = nets.measure(lambda z: jnp.tanh(1.5 * z), 1.0, **settings)
    np.testing.assert_allclose(one.G, other.G, rtol=1e-6)


@pytest.mark.promotes
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"loss": "mse"}, TypeError, "loss must be a function of outputs and targets.*'mse'"),
        ({"loss": lambda f, y: (f[:, 0] - y) ** 2}, ValueError, r"loss must return shape .*got \(N, N\)"),
        ({"loss": lambda f, y: (f, y)}, TypeError, "loss must return an array"),
        ({"loss": lambda f: f}, TypeError, "loss must take outputs .* raised TypeError"),
        ({"loss": CROSS_ENTROPY, "data": (X, LABELS)}, TypeError, "n_out, the number of classes"),
        ({"loss": CROSS_ENTROPY, "data": (X, LABELS), "n_out": 2}, ValueError, "from 0 to n_out − 1 = 1"),
        ({"n_out": 3}, ValueError, "n_out must be the number of targets"),
        ({"n_out": 0}, ValueError, "n_out must be an integer ≥ 1"),
        ({"optimizer": optax.GradientTransformationExtraArgs(
            lambda p: (), lambda g, s, p, *, hessian: (g, s))}, TypeError, "optimizer must be one .*hessian"),
        ({"steps": 10**53}, ValueError, "steps must be an integer ≥ 1 and ≤ 2,147,483,647"),
        ({"width": 10**30}, ValueError, "width must be ≤ 1,000,000,000,000,000; got 1,000,000"),
        ({"width": 10**12}, ValueError, "memory_budget must be at least"),
        ({"width": None, "widths": (10**30,)}, ValueError, r"widths\[0\] must be an integer ≥ 1 and ≤"),
        ({"seed": -1}, ValueError, "seed must be an integer from 0 to 4,294,967,295, or one key"),
        ({"seed": np.arange(3)}, ValueError, "seed must be .*got an array int64"),
        ({"seed": "1"}, TypeError, "seed must be .*got '1'"),
        ({"progress": np.arange(3)}, TypeError, "progress must be True, False or None"),
        ({"cw": 1e39}, ValueError, "must be finite in float32; got cw 1e"),
        ({"data": (1e39 * X, Y)}, ValueError, "inputs of data must be .* finite in float32"),
    ],
)  # fmt: skip
def test_bad_arguments(change, error, message):
    with pytest.raises(error, match=message):
        train(**change)


def test_a_seed_may_be_a_key():
    """key(s) is s, in every function; the control: another key."""
    calls = {
        "train": lambda seed: train(seed=seed, steps=1, snapshots=(0,)).loss,
        "measure": lambda seed: nets.measure("tanh", 1.0, 2, 4, 3, seed=seed).G,
        "inputs": lambda seed: nets.measure_inputs("tanh", 1.0, 2, 4, 3, X, seed=seed).log_K,
    }
    for call in calls.values():
        number = call(5)
        np.testing.assert_array_equal(call(jax.random.key(5)), number)
        np.testing.assert_array_equal(call(np.asarray([0, 5], np.uint32)), number)
        assert (call(jax.random.fold_in(jax.random.key(5), 0)) != number).any()
        assert np.isfinite(call(jax.random.key(5, impl="rbg"))).all()
    with pytest.raises(ValueError, match="method must be one of"):
        nets.measure("tanh", 1.0, 2, 4, 3, method=np.arange(2))
