"""Infinitely wide networks in training agree with matrix exponentials, loops of steps, and cases by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import expm

import eft

RNG = np.random.default_rng(0)
X, X_TEST = RNG.normal(size=(6, 3)), RNG.normal(size=(4, 3))
Y, Y_TEST = RNG.normal(size=(6, 2)), RNG.normal(size=(4, 2))
SETTINGS = {"act": "erf", "cw": 1.5, "depth": 3, "cb": 0.1, "lambda_w": 0.7, "lambda_b": 0.3}
TIGHT = 1e-9


@functools.cache
def kernels() -> tuple[np.ndarray, np.ndarray]:
    """K and Θ of data and test together."""
    both = eft.gram_flow(X=np.concatenate([X, X_TEST]), **SETTINGS)
    return np.asarray(both.K), np.asarray(both.Theta)


def trained(K=None, Theta=None, Y=Y, *, t, **more) -> eft.TrainFlow:
    K0, Theta0 = kernels()
    K, Theta = (K0 if K is None else K), (Theta0 if Theta is None else Theta)
    return eft.train_flow_from_kernels(K, Theta, Y, t=t, **{"covariance": True} | more)


def by_linear_map(M: np.ndarray, K: np.ndarray, n: int, Y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of z = z0 + M (z0_D − Y), z0 ~ N(0, K)."""
    whole = np.eye(len(K))
    whole[:, :n] += M
    return -M @ Y, whole @ K @ whole.T


def check(flow: eft.TrainFlow, i: int, M: np.ndarray, K, Y=Y, rtol=TIGHT) -> None:
    n = len(Y)
    mean, covariance = by_linear_map(M, K, n, Y)
    for outputs, part in ((flow.train, slice(0, n)), (flow.test, slice(n, None))):
        np.testing.assert_allclose(outputs.mean[i], mean[part], rtol=rtol, atol=rtol)
        np.testing.assert_allclose(outputs.covariance[i], covariance[part, part], rtol=rtol, atol=rtol)
        variance = np.diag(covariance)[part]
        np.testing.assert_allclose(outputs.variance[i], variance, rtol=rtol, atol=rtol)
    loss = (np.mean((mean[:n] - Y) ** 2) + np.mean(np.diag(covariance)[:n])) / 2
    np.testing.assert_allclose(flow.train.loss[i], loss, rtol=rtol, atol=rtol)


def test_two_points_by_hand():
    """K = Θ with eigenvalues 3 and 1: one target is learned at the rates 3/2 and 1/2."""
    K = np.array([[2.0, 1.0], [1.0, 2.0]])
    t = np.array([0.0, 0.7, 3.0])
    flow = eft.train_flow_from_kernels(K, K, [1.0, 0.0], t=t, covariance=True)
    fast, slow = np.exp(-1.5 * t), np.exp(-0.5 * t)
    np.testing.assert_allclose(flow.train.mean[:, 0], 1 - (fast + slow) / 2, atol=1e-14)
    np.testing.assert_allclose(flow.train.mean[:, 1], (slow - fast) / 2, atol=1e-14)
    np.testing.assert_allclose(flow.train.variance[:, 0], (3 * fast**2 + slow**2) / 2, rtol=1e-13)
    np.testing.assert_allclose(flow.train.covariance[:, 0, 1], (3 * fast**2 - slow**2) / 2, rtol=1e-12)
    assert flow.test is None
    assert flow.rank == 2
    assert flow.max_rate == np.inf
    # the control: rates that are not divided by the number of samples
    assert abs(flow.train.mean[1, 0] - (1 - (fast**2 + slow**2) / 2)[1]) > 0.1


def test_linear_network_by_hand():
    """One layer: Θ = (λ_b + λ_W x²), K = C_W x², one sample: z = xw, and everything is one exponential."""
    x, y, cw, lw, lb = 0.8, 1.3, 2.0, 0.5, 0.2
    flow = eft.train_flow("linear", cw, 1, [[x]], [y], [[2 * x]], t=2.0, lambda_w=lw, lambda_b=lb)
    p = np.exp(-2 * (lb + lw * x * x))
    ratio = (lb + 2 * lw * x * x) / (lb + lw * x * x)
    np.testing.assert_allclose(flow.train.mean, [(1 - p) * y], rtol=1e-12)
    np.testing.assert_allclose(flow.train.variance, [p * p * cw * x * x], rtol=1e-12)
    np.testing.assert_allclose(flow.test.mean, [ratio * (1 - p) * y], rtol=1e-12)
    np.testing.assert_allclose(flow.test.variance, [cw * x * x * (2 - ratio * (1 - p)) ** 2], rtol=1e-12)
    assert flow.t.shape == ()


def test_gradient_flow_by_matrix_exponential():
    K, Theta = kernels()
    t = np.array([[0.0, 1.0], [30.0, 200.0]])
    flow = trained(t=t, covariance=True, Y_test=Y_TEST)
    assert flow.train.mean.shape == (2, 2, 6, 2)
    assert flow.test.covariance.shape == (2, 2, 4, 4)
    assert flow.valid.all()
    flat = jax.tree.map(lambda a: a.reshape(4, *a.shape[2:]), (flow.train, flow.test))
    flow = flow._replace(train=flat[0], test=flat[1])
    for i, time in enumerate(t.ravel()):
        left = expm(-time * Theta[:6, :6] / 12)
        M = Theta[:, :6] @ np.linalg.solve(Theta[:6, :6], left - np.eye(6))
        check(flow, i, M, K)
        mean, covariance = by_linear_map(M, K, 6, Y)
        loss = (np.mean((mean[6:] - Y_TEST) ** 2) + np.mean(np.diag(covariance)[6:])) / 2
        np.testing.assert_allclose(flow.test.loss[i], loss, rtol=TIGHT)
    short = trained(t=t, covariance=False)
    assert short.train.covariance is None
    np.testing.assert_allclose(short.test.variance.reshape(4, 4), flow.test.variance, rtol=TIGHT)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_steps_one_by_one(momentum):
    """The loop: u ← βu + z_D − Y, z ← z − ηΘu/(n n_L); beyond the largest rate too."""
    K, Theta = kernels()
    largest = float(eft.max_learning_rate(Theta[:6, :6], outputs=2, momentum=momentum))
    steps = np.array([0, 2, 17, 150])
    for share in (0.01, 0.6, 0.999, 1.1):
        eta = share * largest
        M, u, loop = np.zeros((10, 6)), np.zeros((6, 6)), {}
        for k in range(151):
            loop[k] = M.copy()
            u = momentum * u + np.eye(6) + M[:6]
            M = M - eta * Theta[:, :6] @ u / 12
        flow = trained(t=steps, learning_rate=eta, momentum=momentum, covariance=True)
        for i, k in enumerate(steps):
            check(flow, i, loop[k], K)
        np.testing.assert_allclose(flow.max_rate, largest, rtol=1e-12)
        assert flow.stable == (share < 1)
        # the control: one step more
        assert abs(by_linear_map(loop[3], K, 6, Y)[0][:6] - flow.train.mean[1]).max() > 1e-6


def test_small_steps_are_gradient_flow():
    times = np.array([0, 5, 20, 80])
    flow, steps = trained(t=times), trained(t=1000 * times, learning_rate=1e-3)
    heavy = trained(t=1000 * times, learning_rate=1e-4, momentum=0.9)
    for a in (steps, heavy):
        np.testing.assert_allclose(a.test.mean, flow.test.mean, atol=2e-3)
        assert abs(a.test.mean - flow.test.mean).max() > 1e-7


def test_start_and_end():
    """At t = 0 the NNGP prior; at t = ∞ the networks of `regress`, whatever the way there."""
    K, _ = kernels()
    both = eft.regress(X=X, Y=Y, X_test=X_TEST, **SETTINGS)
    for more in ({}, {"learning_rate": 0.1}, {"learning_rate": 0.1, "momentum": 0.5}):
        flow = eft.train_flow(X=X, Y=Y, X_test=X_TEST, t=[0.0, np.inf], **SETTINGS, **more)
        assert abs(flow.train.mean[0]).max() == 0
        assert abs(flow.test.mean[0]).max() == 0
        np.testing.assert_allclose(flow.train.variance[0], np.diag(K)[:6], rtol=TIGHT)
        np.testing.assert_allclose(flow.test.variance[0], np.diag(K)[6:], rtol=TIGHT)
        np.testing.assert_allclose(flow.train.mean[1], Y, rtol=TIGHT)
        assert abs(flow.train.variance[1]).max() == 0
        np.testing.assert_allclose(flow.test.mean[1], both.ntk.mean, rtol=TIGHT)
        np.testing.assert_allclose(flow.test.variance[1], both.ntk.variance, rtol=1e-8)
        assert flow.valid.all()
    # the control: the end is not the Bayesian posterior
    assert abs(flow.test.mean[1] - both.nngp.mean).max() > 1e-3


@pytest.mark.sweep("relu")
@pytest.mark.parametrize("act", ["relu", "tanh"])
def test_other_activations_and_layers(act):
    """With a skip and a normalization: the end is that of `regress` with the same settings."""
    layers = {"skip": 0.5, "norm": "rms", "cb": 0.1}
    flow = eft.train_flow(act, 1.5, 3, X, Y[:, 0], X_TEST, t=[1.0, np.inf], **layers)
    both = eft.regress(act, 1.5, 3, X, Y[:, 0], X_TEST, **layers)
    np.testing.assert_allclose(flow.test.mean[1], both.ntk.mean, rtol=1e-8)
    np.testing.assert_allclose(flow.test.variance[1], both.ntk.variance, rtol=1e-7)
    assert flow.test.mean.shape == (2, 4)
    assert flow.valid.all()


def test_inputs_that_repeat():
    """Θ is singular: a pair with different targets learns their mean, and its difference stays as it was."""
    K, Theta = kernels()
    place = [0, 0, 1, 2, 3, 4, 6, 7]
    twice = K[np.ix_(place, place)], Theta[np.ix_(place, place)]
    targets = np.array([1.0, -1.0, 0.5, 0.2, -0.3, 0.8])
    t = [0.0, np.inf]
    flow = trained(*twice, targets, t=t)
    assert flow.rank == 5
    assert flow.valid.all()
    np.testing.assert_allclose(flow.train.mean[1], [0, 0, *targets[2:]], atol=1e-9)
    np.testing.assert_allclose(flow.train.loss[1], 1 / 6, rtol=1e-9)
    once = [0, 1, 2, 3, 4, 6, 7]
    single = trained(K[np.ix_(once, once)], Theta[np.ix_(once, once)], [0.0, *targets[2:]], t=np.inf)
    np.testing.assert_allclose(flow.test.mean[1], single.test.mean, rtol=1e-8)
    np.testing.assert_allclose(flow.test.variance[1], single.test.variance, rtol=1e-8)
    assert single.rank == 5
    # the control: with other targets the test outputs differ
    other = trained(*twice, [1.0, 1.0, *targets[2:]], t=t)
    assert abs(other.test.mean[1] - single.test.mean).max() > 1e-2


def test_divergence_is_announced():
    steps = [0, 10, 10**5, np.inf]
    largest = float(trained(t=steps, learning_rate=1.0).max_rate)
    for momentum in (0.0, 0.9):
        rate = 1.01 * largest * (1 + momentum)
        flow = trained(t=steps, learning_rate=rate, momentum=momentum)
        assert not flow.stable
        assert flow.valid.tolist() == [True, True, False, False]
        assert trained(t=steps, learning_rate=0.99 * rate / 1.01, momentum=momentum).valid.all()
    assert trained(t=steps, learning_rate=0.99 * largest).stable


def test_impossible_kernels_are_not_valid():
    K, Theta = kernels()
    times = [0.0, 1.0, 2.0, np.inf]
    assert not trained(-K, Theta, t=times).valid.any()
    assert not trained(K, -Theta, t=times).valid.any()
    assert trained(K, 0 * Theta, t=times).rank == 0
    exploded = eft.train_flow("relu", 1e200, 3, X, Y[:, 0], X_TEST, t=[1.0, np.inf])
    assert not exploded.valid.any()


def test_gradients():
    """Of a test loss with respect to the time, the rate and the targets, against differences."""

    def end(t, y):
        return trained(t=jnp.full(4, t), Y=y, Y_test=Y_TEST).test.loss[0]

    slope = jax.grad(end)(5.0, jnp.asarray(Y))
    difference = (end(5.0 + 1e-4, Y) - end(5.0 - 1e-4, Y)) / 2e-4
    np.testing.assert_allclose(slope, difference, rtol=1e-6)

    def of_rate(eta):
        flow = trained(t=[40] * 4, Y_test=Y_TEST, learning_rate=eta, momentum=0.5)
        return flow.test.loss[0]

    difference = (of_rate(0.5 + 1e-5) - of_rate(0.5 - 1e-5)) / 2e-5
    np.testing.assert_allclose(jax.grad(of_rate)(0.5), difference, rtol=1e-6)


def test_float32():
    K, Theta = (a.astype(np.float32) for a in kernels())
    single, double = (trained(k, th, t=np.array([1.0, 50.0], k.dtype)) for k, th in ((K, Theta), kernels()))
    assert single.test.mean.dtype == jnp.float32
    assert single.valid.all()
    np.testing.assert_allclose(single.test.mean, double.test.mean, atol=1e-4)
    np.testing.assert_allclose(single.test.variance, double.test.variance, atol=1e-4)


def test_max_learning_rate():
    _, Theta = kernels()
    largest = np.linalg.eigvalsh(Theta[:6, :6])[-1]
    np.testing.assert_allclose(eft.max_learning_rate(Theta[:6, :6]), 12 / largest, rtol=1e-12)
    found = eft.max_learning_rate(Theta[:6, :6], outputs=10, momentum=0.9)
    np.testing.assert_allclose(found, 1.9 * 120 / largest, rtol=1e-12)
    assert eft.max_learning_rate(np.zeros((2, 2))) == np.inf


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"t": -1.0}, "t must be ≥ 0; got -1.0"),
        ({"t": [0.0, np.nan]}, r"t must be ≥ 0; got nan at index \(1,\)"),
        ({"t": [1.0, 2.5], "learning_rate": 0.1}, r"t must be a whole number of steps.*2.5 at index \(1,\)"),
        ({"learning_rate": 0.0}, "learning_rate must be finite and > 0"),
        ({"learning_rate": [0.1, 0.2]}, "learning_rate must be one number"),
        ({"momentum": 0.5}, "momentum must be 0 in gradient flow"),
        ({"momentum": 1.0, "learning_rate": 0.1}, "momentum must be < 1; got 1.0"),
        ({"Y": np.ones(11)}, r"Theta must have shape \(N, N\), N ≥ 11"),
        ({"Y": 1.0}, "Y must have shape"),
        ({"Y_test": np.ones((3, 2))}, r"Y_test must have shape \(4, 2\)"),
        ({"K": np.eye(9)}, r"K must have shape \(10, 10\); got \(9, 9\)"),
        ({"Theta": np.ones((10, 9))}, "Theta must have shape"),
        ({"Theta": np.triu(np.ones((10, 10)))}, "Theta must be symmetric; its entries"),
        ({"K": np.full((10, 10), np.nan)}, r"K must be finite; got nan at index \(0, 0\)"),
    ],
)
def test_bad_arguments(change, message):
    with pytest.raises(ValueError, match=message):
        trained(**{"t": 1} | change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Y": Y[:5]}, r"Y must have shape \(6,\) or \(6, outputs\)"),
        ({"X_test": X_TEST[:, :2]}, "X and X_test must have the same n0"),
        ({"X_test": None, "Y_test": Y_TEST}, "X_test must be given where Y_test is"),
        ({"depth": 0}, "depth must be an integer ≥ 1"),
        ({"t": -1.0}, "t must be ≥ 0"),
        ({"memory_budget": 10}, "memory_budget must be at least"),
    ],
)
def test_bad_inputs(change, message):
    with pytest.raises(ValueError, match=message):
        eft.train_flow(**SETTINGS | {"X": X, "Y": Y, "X_test": X_TEST, "t": 1.0} | change)
