"""Linearized networks agree with steps of Runge and Kutta, and samples of them with the ensemble."""

import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import eft

RNG = np.random.default_rng(0)
LABELS = np.array([0, 2, 1, 0, 1])
Y = RNG.normal(size=(5, 3))
Z0 = RNG.normal(size=(4, 7, 3))
STEPS = 10_000
TIGHT = 1e-9


@functools.cache
def kernels() -> tuple[np.ndarray, np.ndarray]:
    """K and Θ of five training and two test inputs."""
    both = eft.gram_flow("erf", 1.5, 3, np.random.default_rng(1).normal(size=(7, 3)), cb=0.1)
    return np.asarray(both.K), np.asarray(both.Theta)


def entropy(outputs, labels):
    return optax.softmax_cross_entropy_with_integer_labels(outputs, labels)


def runge_kutta(z: np.ndarray, slope, t: float) -> np.ndarray:
    """10⁴ steps of fourth order."""
    h = t / STEPS
    for _ in range(STEPS):
        a = slope(z)
        b = slope(z + h / 2 * a)
        c = slope(z + h / 2 * b)
        z = z + h / 6 * (a + 2 * b + 2 * c + slope(z + h * c))
    return z


def test_cross_entropy_by_small_steps():
    """Outputs of all inputs move by −Θ_·D (softmax − one-hot)/n; times need not be in order."""
    _, Theta = kernels()
    one_hot = np.eye(3)[LABELS]

    def slope(z):
        weights = np.exp(z[..., :5, :])
        return -Theta[:, :5] @ (weights / weights.sum(-1, keepdims=True) - one_hot) / 5

    flow = eft.linearized_flow(Theta, LABELS, Z0, t=[10.0, 0.0], loss=entropy)
    end = runge_kutta(Z0, slope, 10.0)
    assert flow.train.shape == (2, 4, 5, 3)
    assert flow.test.shape == (2, 4, 2, 3)
    np.testing.assert_allclose(flow.train[0], end[:, :5], rtol=TIGHT, atol=TIGHT)
    np.testing.assert_allclose(flow.test[0], end[:, 5:], rtol=TIGHT, atol=TIGHT)
    np.testing.assert_array_equal(np.concatenate([flow.train[1], flow.test[1]], 1), Z0)
    losses = [np.mean(entropy(jnp.asarray(z[:5]), jnp.asarray(LABELS))) for z in end]
    np.testing.assert_allclose(flow.loss[0], losses, rtol=TIGHT)
    assert flow.valid.all()
    # the control: the mean square leads elsewhere
    other = eft.linearized_flow(Theta, one_hot, Z0, t=[10.0, 0.0])
    assert abs(other.train[0] - end[:, :5]).max() > 0.1


def test_the_square_by_the_solver():
    """Half the square as a loss of the user's own is the closed form, per network and per sample."""
    _, Theta = kernels()
    t = [[0.0, 3.0], [40.0, 1.0]]
    flow = eft.linearized_flow(Theta, Y, Z0[0], t=t)
    solved = eft.linearized_flow(Theta, Y, Z0[0], t=t, loss=optax.l2_loss)
    summed = eft.linearized_flow(Theta, Y, Z0[0], t=t, loss=lambda z, y: jnp.sum(optax.l2_loss(z, y), -1))
    assert flow.train.shape == (2, 2, 5, 3)
    for name in ("train", "test", "loss"):
        found, exact = getattr(solved, name), getattr(flow, name)
        np.testing.assert_allclose(found, exact, rtol=TIGHT, atol=TIGHT)
    # the control: a loss that is summed over outputs trains three times as fast
    assert abs(summed.train - flow.train).max() > 0.1


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_steps_one_by_one(momentum):
    _, Theta = kernels()
    z, u, found = Z0[1].copy(), np.zeros((5, 3)), {}
    for k in range(61):
        found[k] = z.copy()
        u = momentum * u + z[:5] - Y
        z = z - 0.3 * Theta[:, :5] @ u / 15
    flow = eft.linearized_flow(Theta, Y, Z0[1], t=[0, 1, 60], learning_rate=0.3, momentum=momentum)
    for i, k in enumerate((0, 1, 60)):
        np.testing.assert_allclose(flow.train[i], found[k][:5], rtol=TIGHT, atol=TIGHT)
        np.testing.assert_allclose(flow.test[i], found[k][5:], rtol=TIGHT, atol=TIGHT)
        np.testing.assert_allclose(flow.loss[i], np.mean((found[k][:5] - Y) ** 2) / 2, rtol=TIGHT)
    assert abs(flow.train[1] - found[2][:5]).max() > 1e-3  # the control: one step more
    assert flow.stable


def test_mean_over_samples_is_the_ensemble():
    """Of 4000 initial outputs drawn from the prior; and the mean of all is what starts from 0."""
    K, Theta = kernels()
    z0 = eft.initial_outputs(K, 4000, seed=3)
    t = [0.0, 5.0, np.inf]
    samples = eft.linearized_flow(Theta, Y[:, 0], z0, t=t)
    ensemble = eft.train_flow_from_kernels(K, Theta, Y[:, 0], t=t)
    assert samples.train.shape == (3, 4000, 5, 1)
    for found, exact in ((samples.train, ensemble.train), (samples.test, ensemble.test)):
        mean, variance = found[..., 0].mean(1), found[..., 0].var(1)
        error = np.sqrt(exact.variance / 4000)
        assert (abs(mean - exact.mean) <= 4.5 * error + 1e-12).all()
        assert (abs(variance - exact.variance) <= 4.5 * np.sqrt(2 / 4000) * exact.variance + 1e-12).all()
    np.testing.assert_allclose(samples.loss.mean(1)[:2], ensemble.train.loss[:2], rtol=0.1)
    zero = eft.linearized_flow(Theta, Y[:, 0], np.zeros(7), t=t)
    np.testing.assert_allclose(zero.test, ensemble.test.mean, rtol=TIGHT, atol=1e-12)
    # the control: the prior's variance is not that of the trained networks
    assert (abs(samples.test[1].var(0)[:, 0] - np.diag(K)[5:]) > 0.1).any()


def test_initial_outputs():
    """Their covariance is K, for inputs that repeat too; outputs are independent."""
    K, _ = kernels()
    place = [0, 0, 1]
    z = np.asarray(eft.initial_outputs(K[np.ix_(place, place)], 20_000, outputs=2))
    np.testing.assert_allclose(z[:, 0], z[:, 1], atol=1e-7)
    found = np.einsum("sai,sbj->abij", z, z) / 20_000
    np.testing.assert_allclose(found[..., 0, 0], K[np.ix_(place, place)], atol=0.05 * K[0, 0])
    assert abs(found[..., 0, 1]).max() < 0.05 * K[0, 0]
    assert abs(eft.initial_outputs(K, 3, seed=1) - eft.initial_outputs(K, 3, seed=2)).max() > 0.1
    with pytest.raises(ValueError, match="K must have no negative eigenvalue"):
        eft.initial_outputs(-K, 3)


def test_without_the_solver(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffrax", None)
    _, Theta = kernels()
    assert eft.linearized_flow(Theta, Y, Z0[0], t=[0.0, 1.0, 60.0]).valid.all()
    with pytest.raises(ImportError, match=r"loss needs.*pip install 'eft-nets\[ode\]'"):
        eft.linearized_flow(Theta, LABELS, Z0[0], t=1.0, loss=entropy)


def test_too_stiff_a_problem_is_not_valid(monkeypatch):
    """Where the solver runs out of steps."""
    monkeypatch.setattr("eft.training.linearized.MAX_STEPS", 16)
    flow = eft.linearized_flow(kernels()[1], LABELS, Z0[0], t=[0.1, 1e4], loss=lambda z, y: entropy(z, y))
    assert flow.valid.tolist() == [True, False]


def test_outputs_and_targets_of_any_size(monkeypatch):
    """Against the closed form. The control: an absolute error of the solver that is not of their size."""
    _, Theta = kernels()

    def off(scale):
        start, targets = scale * Z0[0], scale * np.arange(1.0, 1 + len(LABELS))
        square = lambda z, y: 0.5 * (z - y) ** 2 * (1 + 0 * scale)  # noqa: E731
        start = start[:, 0] if start.ndim > 1 else start
        solved = eft.linearized_flow(Theta, targets, start, t=[1.0, 10.0], loss=square)
        known = eft.linearized_flow(Theta, targets, start, t=[1.0, 10.0])
        assert solved.valid.all()
        return float(jnp.max(jnp.abs(solved.train - known.train)) / scale)

    assert max(off(scale) for scale in (1e6, 1.0, 1e-12, 1e-100)) < 1e-9
    monkeypatch.setattr("eft.training.linearized.SMALL", 1e12)
    assert off(1e-11) > 1e-4


def test_a_loss_that_is_no_number_is_not_valid():
    """Also at t = 0, where nothing is solved. The control: the same loss where it is one."""
    for least, valid in ((-10.0, True), (10.0, False)):
        flow = eft.linearized_flow(
            kernels()[1], LABELS, Z0[0], t=0.0, loss=lambda z, y, least=least: jnp.log(z - least)
        )
        assert bool(flow.valid) == bool(jnp.isfinite(flow.loss)) == valid


def test_float32():
    _, Theta = kernels()
    z0 = Z0[0].astype(np.float32)
    double = eft.linearized_flow(Theta, LABELS, Z0[0], t=10.0, loss=entropy)
    with jax.enable_x64(False):
        single = eft.linearized_flow(Theta.astype(np.float32), LABELS, z0, t=10.0, loss=entropy)
    assert single.test.dtype == jnp.float32
    np.testing.assert_allclose(single.test, double.test, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"z0": Z0[0, :6]}, ValueError, r"z0 must have shape \(7, 3\) or \(samples, 7, 3\)"),
        ({"z0": np.zeros(7)}, ValueError, "z0 must have shape"),
        ({"z0": np.full((7, 3), np.inf)}, ValueError, "z0 must be finite"),
        ({"Y": np.ones(8)}, ValueError, "Theta must have shape"),
        ({"loss": 3}, TypeError, "loss must be a function of outputs and targets"),
        ({"loss": lambda z: z}, TypeError, "loss must take outputs of shape"),
        ({"loss": lambda z, y: z > 0}, TypeError, "loss must return an array of real numbers"),
        ({"loss": optax.l2_loss, "t": [np.inf]}, ValueError, "t must be finite where there is a loss"),
        ({"loss": optax.l2_loss, "learning_rate": 0.1, "t": 1}, ValueError, "learning_rate must be None"),
        ({"t": -1.0}, ValueError, "t must be ≥ 0"),
    ],
)
def test_bad_arguments(change, error, message):
    with pytest.raises(error, match=message):
        eft.linearized_flow(**{"Theta": kernels()[1], "Y": Y, "z0": Z0[0], "t": 1.0} | change)
    assert eft.linearized_flow(kernels()[1], Y, Z0[0], t=[0.0, 1.0, 60.0]).valid.all()
