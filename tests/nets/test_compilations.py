"""One compilation serves all C_W, C_b, seeds and equal optimizers; another architecture needs another."""

import jax
import numpy as np
import optax
import pytest
from jax import monitoring

import nets

X = np.random.default_rng(0).uniform(-1, 1, (7, 3))
COUNT = {"compilations": 0}


@monitoring.register_event_duration_secs_listener
def count(event, seconds, **_):
    COUNT["compilations"] += event == "/jax/core/compile/backend_compile_duration"


def compiled(call):
    """How many programs the call compiles."""
    before = COUNT["compilations"]
    call()
    return COUNT["compilations"] - before


def train(width=6, **changes):
    settings = {"optimizer": optax.adam(1e-2), "steps": 2, "snapshots": (0, 2), "progress": False}
    return nets.train("gelu", data=(X, X[:, 0]), depth=3, width=width, n_nets=3, **settings | changes)


def measure_inputs(width=6, **changes):
    return nets.measure_inputs("gelu", depth=3, width=width, n_nets=3, X=X, **changes)


@pytest.mark.parametrize("call", [train, measure_inputs])
def test_compiled_once(call):
    """Also for C_b = 0, which draws no other program than C_b > 0. The control: another width."""
    call(cw=1.0, cb=0.1)
    for cw, cb, seed in ((1.5, 0.1, 0), (1.0, 0.0, 3), (0.0, 0.7, jax.random.key(5))):
        assert compiled(lambda cw=cw, cb=cb, seed=seed: call(cw=cw, cb=cb, seed=seed)) == 0
    assert compiled(lambda: call(cw=1.0, cb=0.1, width=5)) > 0


def test_one_program_for_all_skips():
    """Also in training. The control: with a norm it is another program."""
    train(cw=1.0, skip=0.5)
    assert compiled(lambda: train(cw=1.2, skip=0.9)) == 0
    assert compiled(lambda: train(cw=1.2, skip=0.9, norm="rms")) > 0


def test_equal_optimizers_share_their_programs():
    """Built anew for each call. The control: another rate."""
    train(cw=1.0, optimizer=optax.chain(optax.clip(1.0), optax.sgd(0.1)))
    assert compiled(lambda: train(cw=1.2, optimizer=optax.chain(optax.clip(1.0), optax.sgd(0.1)))) == 0
    assert compiled(lambda: train(cw=1.2, optimizer=optax.chain(optax.clip(1.0), optax.sgd(0.2)))) > 0


class Slope:
    """A function of the user's that depends on a number which may change."""

    def __init__(self):
        self.a = 1.0

    def __call__(self, z):
        return jax.numpy.tanh(self.a * z)

    def method(self, z):
        return self(z)


@pytest.mark.parametrize("method", ["networks", "metric", "inputs"])
@pytest.mark.parametrize("part", ["", "method"])
def test_a_function_that_has_changed_is_compiled_anew(method, part):
    """It gives what a new function with the new number gives. The control: unchanged, nothing is compiled."""
    slope = Slope()

    def seen(act):
        if method == "inputs":
            return nets.measure_inputs(act, 1.0, 3, 16, 4, X=X, seed=1).log_K
        return nets.measure(act, 1.0, 3, 16, 50, x2=1.0, seed=1, method=method, progress=False).G

    act = getattr(slope, part) if part else slope
    before = seen(act)
    assert compiled(lambda: seen(act)) == 0
    slope.a = 2.0
    np.testing.assert_array_equal(seen(act), seen(lambda z: jax.numpy.tanh(2.0 * z)))
    assert np.max(np.abs(seen(act) - before)) > 0.01
