"""Trained networks of finite width have the outputs that the theory of infinite width predicts."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import eft
import nets

RNG = np.random.default_rng(0)
X, X_TEST, Y = RNG.normal(size=(6, 3)), RNG.normal(size=(4, 3)), RNG.normal(size=(6, 2))
NETS, WIDTH = 600, 512
SIGMAS = 4.5
"""Of 16 correlated outputs at three times, two seeds."""


@pytest.mark.long
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_ensembles(momentum):
    """Mean, variance and loss under the loss, the rates and the momentum of `nets.train` and optax.

    Corrections of order 1/512 are below the errors. The control: half the learning rate.
    """
    rate = 0.5 * (1 - momentum)
    sgd = optax.sgd(rate, momentum=momentum or None)
    run = nets.train(
        "erf", 1.5, 3, WIDTH, NETS, (X, Y), optimizer=sgd, steps=40, snapshots=(5, 20, 40), x_test=X_TEST,
        cb=0.1, parametrization="ntk", seed=1, progress=False,
    )  # fmt: skip

    def predicted(rate):
        return eft.train_flow(
            "erf", 1.5, 3, X, Y, X_TEST, t=run.steps, learning_rate=rate, momentum=momentum, cb=0.1
        )

    flow, slow = predicted(rate), predicted(rate / 2)
    assert flow.stable
    away, control = (abs(run.outputs.mean - a.test.mean) / run.outputs.stderr for a in (flow, slow))
    assert (away < SIGMAS).all()
    assert (control.max((1, 2)) > 1.5 * SIGMAS).all()
    spread = run.outputs_variance.mean / np.asarray(flow.test.variance)[..., None]
    assert (abs(spread - 1) < SIGMAS * np.sqrt(2 / NETS)).all()
    error = run.loss.std(1) / np.sqrt(NETS)
    assert (abs(run.loss.mean(1) - flow.train.loss) < SIGMAS * error + 0.02 * flow.train.loss).all()


def test_one_wide_network():
    """A network with one hidden layer of 8192, trained, is its linearization, started where it starts."""
    n, eta, steps = 8192, 1.0, 30
    keys = jax.random.split(jax.random.key(0))
    start = {
        "W": jnp.sqrt(1.5) * jax.random.normal(keys[0], (n, 3)),
        "w": jnp.sqrt(1.5) * jax.random.normal(keys[1], (n,)),
    }
    x, y = np.concatenate([X, X_TEST]), Y[:, 0]

    def outputs(p, x):
        return jax.scipy.special.erf(x @ p["W"].T / np.sqrt(3)) @ p["w"] / np.sqrt(n)

    @jax.jit
    def trained(p):
        def step(_, p):
            slope = jax.grad(lambda p: jnp.mean((outputs(p, X) - y) ** 2) / 2)(p)
            return jax.tree.map(lambda a, b: a - eta * b, p, slope)

        return outputs(jax.lax.fori_loop(0, steps, step, p), x)

    J = jax.jacobian(outputs)(start, x)
    Theta = sum(a.reshape(10, -1) @ a.reshape(10, -1).T for a in J.values())
    flow = eft.linearized_flow(Theta, y, outputs(start, x), t=[steps], learning_rate=eta)
    end = np.asarray(trained(start))
    moved = abs(end - outputs(start, x)).max()
    np.testing.assert_allclose(np.concatenate([flow.train[0], flow.test[0]]), end, atol=0.02 * moved)
    # the control: the mean of all infinitely wide networks
    mean = eft.train_flow("erf", 1.5, 2, X, y, X_TEST, t=[steps], learning_rate=eta, lambda_b=0.0).test.mean
    assert abs(mean[0] - end[6:]).max() > 0.1 * moved
