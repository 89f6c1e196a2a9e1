"""Mean and variance of log Ĝ of homogeneous activations agree with chi-squared laws and with networks."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import digamma, polygamma

import eft
import nets
from eft.finite_width.homogeneous import log_mean_of_squares
from nets.statistics import estimators
from nets.statistics.chi_squared import hotelling


@pytest.mark.parametrize("n", [1, 2, 3, 8, 64, 512, 10**6])
def test_linear_is_chi_squared(n):
    """s = χ²_n/n."""
    mean, variance = log_mean_of_squares(eft.activation("linear"), n)
    assert mean == pytest.approx(digamma(n / 2) + math.log(2 / n), rel=1e-9, abs=1e-12)
    assert variance == pytest.approx(polygamma(1, n / 2), rel=1e-11)


@pytest.mark.parametrize("p", [1, 2, 3])
def test_one_neuron(p):
    """At n = 1, given that the neuron is active, log s = p log ξ² − log g₁."""
    act = eft.activation("repu", p=p)
    g1 = float(eft.moments(act, jnp.ones(())).g)
    mean, variance = log_mean_of_squares(act, 1)
    assert mean == pytest.approx(p * (digamma(0.5) + math.log(2)) - math.log(g1), rel=1e-12)
    assert variance == pytest.approx(p**2 * math.pi**2 / 2, rel=1e-12)


def test_two_neurons_of_which_one_may_be_inactive():
    """Given that one of two ReLU neurons is active, both are with probability 1/3: χ²_1 and χ²_2 mixed."""
    mean, variance = log_mean_of_squares(eft.activation("relu"), 2)
    one, both = digamma(0.5) + math.log(2), digamma(1.0) + math.log(2)
    expected = (2 * one + both) / 3
    squares = (2 * (polygamma(1, 0.5) + one**2) + polygamma(1, 1.0) + both**2) / 3
    assert mean == pytest.approx(expected, rel=1e-12)  # g₁ = ½, n = 2
    assert variance == pytest.approx(squares - expected**2, rel=1e-12)


@pytest.mark.sweep("1-2.0-widths0")
@pytest.mark.parametrize(
    ("p", "cw", "widths"), [(1, 2.0, (32, 8, 64)), (2, 0.5, (64,) * 5), (3, 0.1, (128,) * 3)]
)
def test_against_sampled_networks(p, cw, widths):
    """Mean and variance over 40,000 networks at all layers. The control: another width."""
    depth = len(widths) + 1
    act = eft.activation("repu", p=p)
    seen = nets.measure(act, cw, depth, None, 40_000, widths=widths, method="metric", progress=False)
    flow = eft.log_flow(act, cw, depth, widths=widths)
    other = eft.log_flow(act, cw, depth, widths=tuple(round(0.9 * n) for n in widths))
    L = seen.log_G[np.isfinite(seen.log_G).all(1), 1:]  # those that are not dead
    mean, variance = estimators.mean(L).mean, estimators.variance(L).mean
    for found, name, deviations in (
        (mean, "mean", estimators.mean_deviations(L)),
        (variance, "variance", estimators.variance_deviations(L)),
    ):
        p_of = [hotelling(found - np.asarray(getattr(f, name))[1:], deviations).p for f in (flow, other)]
        assert p_of[0] > 1e-3 and p_of[1] < 1e-6, name


def test_batches_and_the_first_kernel():
    flow = eft.log_flow("relu", jnp.array([1.0, 2.0]), 4, 10, K1=jnp.array([[0.5], [1.0], [2.0]]))
    assert flow.mean.shape == flow.variance.shape == (3, 2, 4)
    one = eft.log_flow("relu", 2.0, 4, 10, x2=0.25)
    np.testing.assert_allclose(flow.mean[0, 1], one.mean, rtol=1e-14)
    assert (np.asarray(one.variance)[1:] > 0).all() and one.variance[0] == 0


@pytest.mark.parametrize(("p", "x2"), [(1, 0.3), (2, 1.0), (2, 0.4), (3, 2.0)])
def test_threshold(p, x2):
    """At the threshold K is constant; for 1 % more or less C_W it grows or decays."""
    act = eft.activation("repu", p=p)
    cw = eft.threshold_cw(act, x2)
    K = eft.kernel_flow(act, cw, 6, x2=x2).K
    np.testing.assert_allclose(K, cw * x2, rtol=1e-12)
    low, high = (
        eft.kernel_flow(act, share * cw, 6, x2=x2).K[-1] / (share * cw * x2) for share in (0.99, 1.01)
    )
    assert low < 1 < high
    if p == 2:
        assert cw == pytest.approx(math.sqrt(2 / (3 * x2)), rel=1e-14)


def test_beyond_the_float_range_it_is_infinite():
    flow = eft.log_flow("repu", 3.0, 1200, 64)
    assert not np.isnan(flow.mean).any() and not np.isnan(flow.variance).any()
    assert flow.variance[-1] == np.inf and np.isinf(flow.mean[-1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"act": "tanh"}, "act must be homogeneous"),
        ({"act": "perceptron"}, r"act must be homogeneous.* must be an eft.Activation\(fn, degree=…\)"),
        ({"width": None}, "one of width and widths must be given"),
        ({"widths": (3, 3)}, "one of width and widths must be given"),
        ({"width": 0}, "width must be an integer ≥ 1"),
        ({"cw": 0.0}, "cw must be finite and > 0"),
        ({"K1": -1.0}, "K1 must be finite and > 0"),
    ],
)
def test_bad_arguments(change, message):
    with pytest.raises(ValueError, match=message):
        eft.log_flow(**{"act": "relu", "cw": 2.0, "depth": 3, "width": 8, **change})
