"""Sums of the 1/n series at a width: `converges` is right where networks disprove or confirm the sum."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eft
import nets
from nets.statistics import estimators

RELU6 = eft.Activation(lambda z: jnp.clip(z, 0.0, 6.0), (0.0, 6.0), "relu6")
DEPTH, N_NETS = 10, 40_000
WIDTHS = (8, 16, 64)
CASES = {"relu6": (RELU6, 2.0, 0.0), "tanh": ("tanh", 1.3, 0.0), "swish": ("swish", 2.0, 0.1)}


@pytest.fixture(scope="module", params=CASES)
def measured(request):
    """An expansion of order 3, and mean and variance of Ĝ of networks of each width."""
    act, cw, cb = CASES[request.param]
    found = []
    for n in WIDTHS:
        seen = nets.measure(act, cw, DEPTH, n, N_NETS, seed=n, cb=cb, K1=1.0, method="metric", progress=False)
        # where log Ĝ is wide, rare networks carry the moments, and 40,000 lack them
        with np.errstate(invalid="ignore"):
            known = (seen.n_overflowed == 0) & (np.asarray(seen.log_G).std(0) < 1)
        found.append((n, known, estimators.mean(seen.G), estimators.variance(seen.G)))
    return eft.expand(act, cw, DEPTH, 3, cb=cb, K1=1.0), found


@pytest.mark.more
def test_sums_that_converge_are_right(measured):
    """Within 4 standard errors plus the last term, at orders 2 and 3 in every layer; E[Ĝ] at order 1 too."""
    e, found = measured
    believed = 0
    for order in (1, 2, 3):
        for n, known, *estimates in found:
            total = eft.at_width(e.truncated(order), n)
            for r, seen in enumerate(estimates, start=1):
                if r > order:  # one term is all that it has
                    continue
                marks = np.asarray(total.converges)[:, r] & known & (seen.stderr > 0)
                off = np.abs(seen.mean - np.asarray(total.value)[:, r])
                assert (off <= 4 * seen.stderr + np.abs(total.last)[:, r])[marks].all(), (order, n, r)
                believed += marks.sum()
    assert believed > 25  # of 150; for tanh 135


@pytest.mark.more
def test_sums_that_are_right_converge(measured):
    """The mean and variance of the first layers at n = 64 and order 3, where networks confirm them."""
    e, found = measured
    n, _, *estimates = found[-1]
    total = eft.at_width(e, n)
    assert np.asarray(total.converges)[:4, 1:3].all()
    for r, seen in enumerate(estimates, start=1):
        off = np.abs(seen.mean - np.asarray(total.value)[:, r])[1:4]
        assert (off <= 4 * seen.stderr[1:4] + np.abs(total.last)[1:4, r]).all()


@pytest.mark.parametrize("order", [1, 2, 3])
def test_convergence_of_a_mean_takes_the_variance_into_account(order):
    """σ = min(max(z, 0), 6): g is linear at K = 1, E[Ĝ] has no corrections, and is 12 % off."""
    e = eft.expand(RELU6, 2.0, DEPTH, 3, K1=1.0).truncated(order)
    assert not np.asarray(eft.at_width(e, 16).converges)[-1, 1:3].any()
    wide = eft.at_width(e, 4096)  # the control
    assert np.asarray(wide.converges)[-1, 1:3].all()
    np.testing.assert_allclose(wide.value[-1, 1], eft.at_width(e.G, 4096).value[-1])
    if order == 2:  # what the corrections alone can say: they grow by 118 from order to order
        assert not bool(eft.at_width(e.G, 16).converges[-1])


def test_negligible_is_measured_by_the_leading_term():
    """Series whose last term passes through 0, and those of the variance and cumulants, whose s_0 is 0."""
    series = [0.0, 1.0, 1e-7, 2e-6, 1e-5]
    assert bool(eft.at_width(series, 1).converges)
    assert bool(eft.at_width([0.0, *series], 1).converges)
    assert bool(eft.at_width([1.0, 0.0, 1e-12, 1e-12], 1).converges)  # rounding
    assert not bool(eft.at_width([1.0, 0.0, 1e-5, 9e-4], 1).converges)  # the control: the next is 8 %
    assert not bool(eft.at_width([0.0, 1.0, 0.1, 0.3], 1).converges)


def test_sums_of_an_expansion_are_those_of_its_series():
    e = eft.expand("tanh", [1.0, 1.5], 6, 3, cb=0.1, widths=(64, 32, 64, 64, 48))
    total = eft.at_width(e, e.n)
    assert total.value.shape == (2, 6, 5)
    for r, series in ((1, e.G), (2, e.V), (3, e.cumulants[..., 3, :])):
        one = eft.at_width(series, e.n)
        np.testing.assert_allclose(total.value[..., r], one.value, rtol=1e-12)
        np.testing.assert_allclose(total.last[..., r], one.last, rtol=1e-12)
    assert eft.at_width(e, np.full((3, 1, 1), 9)).value.shape == (3, 2, 6, 5)
    with pytest.raises(ValueError, match="n must broadcast against the layers"):
        eft.at_width(e, np.ones(5))
    with pytest.raises(ValueError, match=re.escape("each of these widths is to be (3, 1, 1)")):
        eft.at_width(e, np.full(3, 9))


def test_truncated():
    e, low = (eft.expand("tanh", [1.0, 1.5], 6, p) for p in (3, 1))
    np.testing.assert_allclose(e.truncated(1).M, low.M, rtol=1e-12, atol=1e-14)
    assert e.truncated(2).cumulants.shape == (2, 6, 4, 3)
    with pytest.raises(ValueError, match="order must be an integer ≥ 1 and ≤ 3; got 4"):
        e.truncated(4)


def test_scale_does_not_matter():
    """`converges` is that of Ĝ/K also at K = 1e-300 and 1e300."""
    for cw in (1e-60, 1e60):
        e = eft.expand("relu", cw, 6, 3)
        like = eft.expand("relu", 2.0, 6, 3)
        np.testing.assert_array_equal(eft.at_width(e, 512).converges, eft.at_width(like, 512).converges)


@pytest.mark.more
@pytest.mark.parametrize("x64", [True, False])
def test_under_strict_promotion(x64):
    """The numbers are the same whether or not JAX may promote ranks and dtypes."""
    with jax.enable_x64(x64):
        cw = np.array([1.3, 2.0], np.float64 if x64 else np.float32)
        call = lambda act: eft.expand(act, cw, 3, 2, cb=0.1, widths=(4, 8))  # noqa: E731
        plain = [call(act) for act in ("relu", "sin", "mrepu")]
        with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
            strict = [call(act) for act in ("relu", "sin", "mrepu")]
            for e, other in zip(strict, plain, strict=True):
                np.testing.assert_array_equal(e.M, other.M)
                total = eft.at_width(e, np.full((2, 1, 1), 8))
                assert total.value.dtype == eft.at_width(e.V, 8).value.dtype == cw.dtype
                eft.correlator(e, (2, 4))
                eft.couplings(e, 3)
                assert e.digits_lost.shape == e.M.shape
            eft.Activation(lambda z: jnp.tanh(z) * 2.0)
