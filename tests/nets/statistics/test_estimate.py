"""Arithmetic with an estimate: exact where it is linear, to first order where it is smooth, else refused.

Linear operations are compared with the estimate of the transformed samples, functions with finite differences
and, where errors are small, with transformed samples. The control: what a tuple would have done.
"""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from eft.arguments import ArgumentTypeError
from nets import Estimate
from nets.statistics import estimators
from nets.statistics.estimate import DERIVATIVES

SAMPLES = 2.0 + 0.01 * np.random.default_rng(0).normal(size=(400, 3))
K = estimators.mean(SAMPLES)
A = np.array([2.0, -3.0, 0.5])

LINEAR = {
    "2·K": (lambda x: 2 * x),
    "K·2": (lambda x: x * 2),
    "a·K": (lambda x: A * x),
    "K·a": (lambda x: x * A),
    "K/a": (lambda x: x / A),
    "K − a": (lambda x: x - A),
    "a − K": (lambda x: A - x),
    "K + a": (lambda x: x + A),
    "a + K": (lambda x: A + x),
    "−K": (lambda x: -x),
    "+K": (lambda x: +x),
    "np.negative": np.negative,
    "np.float64": (lambda x: np.float64(3) * x - np.int32(1)),
    "a list": (lambda x: x * [1.0, 2.0, 3.0]),
}


@pytest.mark.parametrize("name", LINEAR)
def test_linear_operations_are_exact(name):
    """Of the estimate and of every sample, the same. The control: one of another factor."""
    f = LINEAR[name]
    expected = estimators.mean(np.array([f(x) for x in SAMPLES]) if name == "a list" else f(SAMPLES))
    found = f(K)
    assert type(found) is Estimate
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-13)
    np.testing.assert_allclose(found.stderr, expected.stderr, rtol=1e-10)
    assert not np.allclose(f(K * 1.001).stderr, expected.stderr, rtol=1e-6)


def test_lists_are_arrays():
    """The control: Python repeats a list."""
    found = 1 - 2 * Estimate([1.0, 2.0], [0.1, 0.3]) / 4
    np.testing.assert_allclose(tuple(found), ([0.5, 0.0], [0.05, 0.15]))
    assert 2 * [1.0, 2.0] == [1.0, 2.0, 1.0, 2.0]


def test_arrays_of_jax():
    a = jnp.asarray(A)
    for found, expected in ((a * K, A * K), (a - K, A - K), (K / a, K / A), (a / K, A / K)):
        np.testing.assert_allclose(tuple(found), tuple(expected), rtol=1e-15)


POWERS = {
    "K²": lambda x: x**2,
    "√K": lambda x: x**0.5,
    "1/K": lambda x: 1 / x,
    "a/K": lambda x: A / x,
    "K⁻³": lambda x: x**-3,
    "K⁰": lambda x: x**0,
    "np.power": lambda x: np.power(x, 2.5),
}


@pytest.mark.parametrize(
    "f", [*DERIVATIVES, *POWERS.values()], ids=[*(f.__name__ for f in DERIVATIVES), *POWERS]
)
def test_smooth_functions_to_first_order(f):
    """|f′|·stderr by central differences; and the jackknife of f of the mean. The control: 1 % more."""
    found, h = f(K), 1e-5
    slope = (f(K.mean + h) - f(K.mean - h)) / (2 * h)
    np.testing.assert_allclose(found.mean, f(K.mean), rtol=1e-14)
    np.testing.assert_allclose(found.stderr, np.abs(slope) * K.stderr, rtol=1e-7, atol=1e-18)
    N = len(SAMPLES)
    left_out = f((SAMPLES.sum(axis=0) - SAMPLES) / (N - 1)) + 0 * SAMPLES
    jackknife = np.sqrt((N - 1) / N * ((left_out - left_out.mean(axis=0)) ** 2).sum(axis=0))
    np.testing.assert_allclose(found.stderr, jackknife, rtol=1e-3, atol=1e-12)
    assert (jackknife == 0).all() or not np.allclose(1.01 * found.stderr, jackknife, rtol=1e-3)


REFUSED = {
    "K + K": (lambda: K + K, "covariance"),
    "K − K": (lambda: K - K, "covariance"),
    "K·K": (lambda: K * K, "covariance"),
    "K/K": (lambda: K / K, "covariance"),
    "K**K": (lambda: K**K, "covariance"),
    "np.multiply": (lambda: np.multiply(K, K), "multiply"),
    "asarray": (lambda: np.asarray(K), "conversion to an array"),
    "array": (lambda: np.array([K, K]), "conversion to an array"),
    "jnp.asarray": (lambda: jnp.asarray(K), "conversion to an array"),
    "float": (lambda: float(K), "conversion to a number"),
    "mean": (lambda: np.mean(K), "mean"),
    "sum": (lambda: np.sum(K), "sum"),
    "abs": (lambda: np.abs(K), "absolute"),
    "where": (lambda: np.where(A > 0, K, 0), "where"),
    "allclose": (lambda: np.allclose(K, A), "allclose"),
    "a == K": (lambda: A == K, "equal"),
    "a < K": (lambda: A < K, "less"),
    "K < 1": (lambda: K < 1, "comparison"),
    "K ≥ 1": (lambda: K >= 1, "comparison"),
    "K == 1": (lambda: K == 1.0, "comparison"),
    "K != a": (lambda: K != A, "comparison"),
    "a @ K": (lambda: A @ K, "matmul"),
    "2**K": (lambda: np.power(2.0, K), "exponent"),
    "add.reduce": (lambda: np.add.reduce(K), "add.reduce"),
    "out": (lambda: np.log(K, out=np.zeros(3)), "log"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_else_is_refused_with_a_word(name):
    """It names both fields; a tuple of the same arrays would have gone on."""
    call, word = REFUSED[name]
    with pytest.raises(ArgumentTypeError, match=r"\.mean and \.stderr") as found:
        call()
    assert word in str(found.value)


def test_the_control_a_tuple_goes_on_in_silence():
    pair = tuple(K)
    assert len(pair * 2) == 4 and np.log(pair).shape == (2, 3) and np.asarray(pair).shape == (2, 3)


@pytest.mark.parametrize("bad", ["a", None, True, b"1", np.array(["a"]), np.array([True])])
def test_what_is_no_number_is_refused(bad):
    for call in (lambda: K * bad, lambda: K + bad, lambda: K - bad, lambda: K / bad, lambda: K**bad):
        with pytest.raises(ArgumentTypeError, match=r"an Estimate can be .* numbers only"):
            call()


def test_it_comes_apart():
    mean, stderr = K
    assert mean is K.mean and stderr is K.stderr and K == K and len(K) == 2
    assert Estimate(1.0, 0.1) * 2 == Estimate(2.0, 0.2)


@pytest.mark.filterwarnings("error")
def test_at_zero():
    """What has no error has none where the slope is infinite; an error is then unknown."""
    assert np.sqrt(Estimate(0.0, 0.0)) == Estimate(0.0, 0.0) == Estimate(0.0, 0.0) ** 0.5
    assert np.sqrt(Estimate(0.0, 0.1)) == Estimate(0.0, np.inf)
    assert 1 / Estimate(0.0, 0.0) == Estimate(np.inf, np.inf) == 1 / Estimate(0.0, 0.1)
    assert np.log(Estimate(0.0, 0.0)) == Estimate(-np.inf, np.inf)
    roots = np.sqrt(Estimate(np.array([0.0, 4.0]), np.array([0.0, 0.1])))
    np.testing.assert_array_equal(roots.stderr, [0.0, 0.025])


def test_shapes_and_what_is_not_known():
    """An array of another shape broadcasts both; an unknown error stays unknown."""
    wide = Estimate(np.ones(3), np.full(3, np.inf)) + np.zeros((2, 3))
    assert wide.mean.shape == wide.stderr.shape == (2, 3) and np.isposinf(wide.stderr).all()
    assert math.isinf(float((2 * Estimate(1.0, np.inf)).stderr))
    assert np.isnan(np.log(Estimate(np.array(-1.0), np.array(0.1))).mean)
