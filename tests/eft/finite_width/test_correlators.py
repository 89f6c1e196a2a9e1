"""Correlators, couplings and sums of the 1/n series agree with each other and with exact densities."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

import eft
from eft.gaussian.series import times

EXACT = 1e-12


def test_correlators():
    e = eft.expand("gelu", 1.5, 6, 3, cb=0.1)
    full, four = eft.correlator(e, (2, 2)), eft.correlator(e, (2, 2), connected=True)
    G2 = times(jnp.moveaxis(e.G, -1, 0), jnp.moveaxis(e.G, -1, 0))
    np.testing.assert_allclose(full, four + jnp.moveaxis(G2, 0, -1), rtol=EXACT)
    np.testing.assert_allclose(eft.correlator(e, (4,)), 3 * full, rtol=EXACT)
    np.testing.assert_array_equal(four, e.V)
    np.testing.assert_array_equal(eft.correlator(e, (6,), connected=True), 15 * e.cumulants[..., 3, :])
    np.testing.assert_array_equal(eft.correlator(e, (4, 2, 2), connected=True), 3 * e.cumulants[..., 4, :])
    np.testing.assert_array_equal(eft.correlator(e, (12,), connected=True), 0)
    np.testing.assert_array_equal(eft.correlator(e, (1, 3)), 0)
    np.testing.assert_allclose(eft.correlator(e, (20,))[..., 0], 654729075 * e.K**10, rtol=EXACT)


def test_couplings_at_leading_order():
    e = eft.expand("tanh", 1.5, 6, 3, cb=0.1)
    K, V, G1 = e.K, e.V[..., 1], e.G[..., 1]
    for m in (1, 4):
        action = eft.couplings(e, m)
        np.testing.assert_allclose(action.v[..., 1], V / K**4, rtol=EXACT)
        np.testing.assert_allclose(action.g[..., 0], 1 / K, rtol=EXACT)
        np.testing.assert_allclose(
            action.g[..., 1], -G1 / K**2 + (1 + m / 2) * V / K**3, rtol=1e-11, atol=1e-13
        )


@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_action_is_minus_the_log_of_the_density(order):
    """Two layers of a linear network: Ĝ = χ²_n/n, and the density of m neurons is an integral over it."""
    m, R = 2, np.array([0.5, 1.5])
    e = eft.expand("linear", 1.0, 2, 3).truncated(order)
    s = eft.couplings(e, m).s[-1]
    left, widths = [], np.array([100, 200, 400])
    for n in widths:

        def density(r, n=n):
            f = lambda G: stats.chi2.pdf(n * G, n) * n * (2 * np.pi * G) ** (-m / 2) * np.exp(-r / 2 / G)  # noqa: E731
            return integrate.quad(f, 1e-3, 5, epsabs=0, epsrel=1e-13, limit=200, points=[0.7, 1.0, 1.4])[0]

        true = np.log(density(R[0]) / density(R[1]))
        powers = R[1] ** np.arange(order + 2) - R[0] ** np.arange(order + 2)
        left.append(true - float(powers @ np.asarray(eft.at_width(s, n).value)))
    slope = np.polyfit(np.log(widths), np.log(np.abs(left)), 1)[0]
    assert abs(slope + order + 1) < 0.1 * (order + 1)


@pytest.mark.promotes
def test_sums_mark_where_they_diverge():
    V = eft.expand("relu", 2.0, 100, 3).V
    fine = np.asarray(eft.at_width(V, 4096).converges)
    assert fine.all()
    marks = np.asarray(eft.at_width(V, 16).converges)
    assert marks[1] and not marks[10:].any()
    total = eft.at_width(V, [[8], [512]])
    assert total.value.shape == (2, 100)
    np.testing.assert_allclose(total.last, V[:, 3] / np.array([[8.0], [512.0]]) ** 3)


def test_width_one_is_finite_and_marked():
    e = eft.expand("tanh", 1.3, 6, 3, widths=(1,) * 5)
    assert np.isfinite(eft.at_width(e.G, e.n).value).all()
    assert not eft.at_width(e.V, 1).converges[-1]  # the last term is larger than the sum
    relu = eft.expand("relu", 2.0, 6, 3, widths=(1,) * 5)
    total = eft.at_width(relu.V, relu.n)
    assert np.isfinite(total.value).all() and not np.asarray(total.converges)[3:].any()


@pytest.mark.parametrize(
    ("call", "kind", "said"),
    [
        (lambda: eft.at_width(jnp.ones((4, 3)), 0), ValueError, r"n must be ≥ 1; got 0"),
        (lambda: eft.at_width(jnp.ones((4, 3)), jnp.ones(3)), ValueError, r"n must broadcast"),
        (lambda: eft.at_width(1.0, 3), ValueError, r"series"),
        (lambda: eft.correlator(eft.expand("relu", 2.0, 3, 1), ()), TypeError, r"powers"),
        (lambda: eft.correlator(eft.expand("relu", 2.0, 3, 1), (2, 0)), ValueError, r"powers\[1\]"),
        (lambda: eft.couplings(eft.expand("relu", 2.0, 3, 1), 0), ValueError, r"neurons"),
    ],
)  # fmt: skip
def test_bad_input(call, kind, said):
    with pytest.raises(kind, match=said):
        call()
