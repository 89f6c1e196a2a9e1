"""What remains of a deviation after t steps agrees with the recursion in 60 digits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mpmath import mp, mpf

import eft
from eft.training.decay import gradient_descent, gradient_flow, heavy_ball

TIGHT = 1e-9
"""Relative error; β = 0.99 is 1e-5 away from a double root at several of the rates."""

STEPS = (0, 1, 2, 7, 100, 1001)


def rates(beta: float) -> list[float]:
    """Those at which a formula changes, their neighbours, and those of divergence."""
    s = beta**0.5
    first, last = (1 - s) ** 2, (1 + s) ** 2
    edges = [first * 0.4999, first * 0.5001, first, first * (1 + 1e-9), last, last * (1 - 1e-12)]
    ends = [1.99 * (1 + beta), 2 * (1 + beta), 2.01 * (1 + beta)]
    return [1e-14, 1e-9, 1e-5, 1e-3, *edges, 0.1, 0.49, 0.5, 0.9, 1.0, 1.05, 1 + beta, *ends]


def recursion(a: float, beta: float, steps: int) -> tuple[mpf, mpf]:
    """e and 1 − e."""
    with mp.workdps(60):
        e, u = mpf(1), mpf(0)
        for _ in range(steps):
            u = mpf(beta) * u + e
            e = e - mpf(a) * u
        return e, 1 - e


def computed(a: list[float], beta: float, t: float) -> tuple[np.ndarray, np.ndarray]:
    given = jnp.asarray(a), jnp.asarray(float(t)), jnp.asarray(t % 2 == 1)
    both = heavy_ball(given[0], jnp.asarray(beta), *given[1:]) if beta else gradient_descent(*given)
    return tuple(map(np.asarray, both))  # type: ignore[return-value]


@pytest.mark.parametrize("beta", [0.0, 0.3, 0.81, 0.99])
def test_recursion(beta):
    for t in STEPS:
        a = [rate for rate in rates(beta) if rate > 0]
        p, gone = computed(a, beta, t)
        for i, rate in enumerate(a):
            e, rest = recursion(rate, beta, t)
            assert abs(p[i] - e) <= TIGHT * max(1, abs(e)), (rate, t)
            near = min(abs(rest), 1) if rate < 1e-2 else 1  # small rates: relative accuracy
            assert abs(gone[i] - rest) <= TIGHT * max(near, abs(rest)), (rate, t)
    # the control: momentum matters
    assert abs(computed([0.1], beta, 7)[0] - float(recursion(0.1, 0.5, 7)[0])) > 1e-2


def test_many_steps_of_small_rates():
    """After 10⁹ steps at rate 1e-9, e^{−1} up to 1e-9; with momentum ½ e^{−2}."""
    np.testing.assert_allclose(computed([1e-9], 0.0, 1e9)[0], np.exp(-1), rtol=1e-8)
    np.testing.assert_allclose(computed([1e-9], 0.5, 1e9)[0], np.exp(-2), rtol=1e-7)
    p, gone = gradient_flow(jnp.asarray([1e-20, 1.0]), jnp.asarray(1.0))
    np.testing.assert_allclose(p, [1, np.exp(-1)], rtol=1e-15)
    np.testing.assert_allclose(gone, [1e-20, 1 - np.exp(-1)], rtol=1e-15)


@pytest.mark.parametrize("beta", [0.0, 0.3])
def test_the_end(beta):
    """The limit t → ∞ exists below 2(1 + β) only."""
    p, gone = computed([1e-9, 1.0, 1.999 * (1 + beta), 2 * (1 + beta), 5.0], beta, np.inf)
    np.testing.assert_array_equal(p, [0, 0, 0, np.nan, np.nan])
    np.testing.assert_array_equal(gone, [1, 1, 1, np.nan, np.nan])


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_gradients_where_training_has_ended(momentum):
    """The outputs at t = ∞ do not depend on the rate. The control: at t = 3 they do."""
    Theta = np.array([[2.0, 1.0], [1.0, 2.0]])

    def trained(rate, t):
        settings = {"t": t, "learning_rate": rate, "momentum": momentum}
        flow = eft.train_flow_from_kernels(Theta, Theta, [1.0, 0.0], **settings)
        return jnp.sum(flow.train.mean)

    assert float(jax.grad(trained)(0.3, jnp.inf)) == 0.0
    assert abs(float(jax.grad(trained)(0.3, 3.0))) > 1e-3
