"""K and V with control variates: the same numbers as without, with honest and far smaller errors."""

import jax
import mpmath
import numpy as np
import pytest

import eft
import nets
from nets.initialization import control_variates
from nets.initialization.ensemble import prepare
from nets.network.architecture import Architecture, Settings


def measured(act, cw, depth, width, n_nets, **settings):
    settings = {"method": "metric", "control_variates": True} | settings
    return nets.measure(act, cw, depth, width, n_nets, **settings)


def z_scores(estimate, expected):
    """nan in the layers whose error is 0."""
    error = np.where(estimate.stderr > 0, estimate.stderr, np.nan)
    return (estimate.mean - expected) / error


def plain(act, cb, width, depth):
    sizes = (2, *[width] * (depth - 1), 1)
    return Architecture(eft.activation(act), sizes, False, cb > 0, np.dtype("float32"))


def test_exact_for_homogeneous_functions():
    """E[Ĝ′ | Ĝ] = Ĝ for ReLU at C_W = 2, E[Ĝ′² | Ĝ] = (1 + 5/n)Ĝ²: A fits exactly, and nothing fluctuates."""
    n, depth, K1 = 16, 6, 2.0
    m = measured("relu", 2.0, depth, n, 200)
    V = n * K1**2 * ((1 + 5 / n) ** np.arange(depth) - 1)
    np.testing.assert_allclose(m.controlled.K.mean, K1, rtol=1e-13)
    np.testing.assert_allclose(m.controlled.V.mean[1:], V[1:], rtol=1e-12)
    assert (m.controlled.V.stderr[1:] < 1e-10 * V[1:]).all()
    assert abs(m.V.mean[-1] / V[-1] - 1) > 1e-3  # the control: the same networks, without


def sine_exactly(cw: float, K1: float, n: int) -> tuple[float, float]:
    """E[Ĝ³] and n Var(Ĝ³) for σ = sin, K¹ = K1: ⟨sin²⟩ and ⟨sin⁴⟩ are exponentials of K.

    E[e^{−tĜ²}] = ⟨e^{−t C_W sin²(z)/n}⟩ⁿ, z ~ N(0, K1)
    """
    with mpmath.workdps(30):
        cw_, root = mpmath.mpf(cw), mpmath.sqrt(K1)

        def laplace(t):
            def f(u):
                return mpmath.exp(-t * cw_ * mpmath.sin(root * u) ** 2 / n) * mpmath.npdf(u)

            return mpmath.quad(f, mpmath.linspace(-12, 12, 49)) ** n

        e2, e4, e8 = laplace(2), laplace(4), laplace(8)
        mean = cw_ * (1 - e2) / 2
        g4 = mpmath.mpf(3) / 8 - e2 / 2 + e8 / 8
        g_squared = (1 - 2 * e2 + e4) / 4
        return float(mean), float(cw_**2 * (g4 - g_squared) + n * (cw_**2 * g_squared - mean**2))


@pytest.mark.parametrize("n", [8, 64])
def test_against_quadrature_at_finite_width(n):
    """The third layer of sines, whose mean and variance are one integral each, to n-th powers."""
    K, V = sine_exactly(3.0, 3.0, n)
    m = measured("sin", 3.0, 3, n, 4000)
    c = m.controlled
    assert abs(z_scores(c.K, K)[-1]) < 4 and abs(z_scores(c.V, V)[-1]) < 4
    assert c.K.stderr[-1] < m.K.stderr[-1] / 20 and c.V.stderr[-1] < m.V.stderr[-1] / 5
    leading = eft.kernel_flow("sin", 3.0, 3)  # the controls: infinite width, and V of order 1, are rejected
    assert abs(z_scores(c.K, float(leading.K[-1]))[-1]) > 100
    assert abs(z_scores(c.V, float(leading.V[-1]))[-1]) > 10 or n == 64


@pytest.mark.more
def test_against_the_series_in_the_width():
    """At n = 64 and depth 6 the networks see the second order of K and of V, and none beyond the fifth."""
    n = 64
    m = measured("tanh", 1.0, 6, n, 100_000).controlled

    def z(order):
        exact = eft.at_width(eft.expand("tanh", 1.0, 6, order), n).value
        return abs(np.array([z_scores(m.K, exact[:, 1])[2:], z_scores(m.V, n * exact[:, 2])[2:]])).max(1)

    assert z(5).max() < 4.5
    assert z(1).min() > 10  # the control


@pytest.mark.more
@pytest.mark.parametrize(
    ("act", "cw", "cb", "width"),
    [("tanh", 1.3, 0.1, 64), ("gelu", 1.8, 0.0, 64), ("softplus", 1.0, 0.0, 32)],
)
def test_errors_are_honest(act, cw, cb, width):
    """200 ensembles of 200 networks against one 500 times as large: no bias, and the coverage stated."""
    depth, repeats = 5, 200
    truth = measured(act, cw, depth, width, 100_000, cb=cb, seed=1).controlled
    G = measured(act, cw, depth, width, 200 * repeats, cb=cb, seed=2).G
    about, settings = plain(act, cb, width, depth), Settings(cw, cb)
    found = [control_variates.statistics(about, settings, each) for each in G.reshape(repeats, 200, depth)]
    for name in ("K", "V"):
        exact = getattr(truth, name)
        mean = np.array([getattr(c, name).mean for c in found])[:, 2:]
        stderr = np.array([getattr(c, name).stderr for c in found])[:, 2:]
        off = mean - exact.mean[2:]
        error = np.hypot(off.std(0) / np.sqrt(repeats), exact.stderr[2:])
        assert (abs(off.mean(0)) < 4 * error).all()
        coverage = np.mean(abs(off) < 1.96 * stderr, 0)
        assert ((coverage > 0.83) & (coverage < 0.99)).all(), coverage
        assert (np.mean(abs(off) < 0.7 * stderr, 0) < 0.7).all()  # the control: smaller errors cover less


def test_drawn_networks_have_the_same_controls():
    """Of networks with weights, and in float64, K and V agree with those that are sampled without."""
    settings = {"depth": 4, "width": 32, "n_nets": 2000}
    of = [
        measured("gelu", 1.8, **settings, seed=i, **more).controlled
        for i, more in enumerate(({}, {"method": "networks"}, {"dtype": "float64"}))
    ]
    for name in ("K", "V"):
        first, *others = (getattr(c, name) for c in of)
        for other in others:
            z = (first.mean - other.mean)[2:] / np.hypot(first.stderr, other.stderr)[2:]
            assert abs(z).max() < 4
            assert z_scores(other, 1.01 * first.mean)[2:].max() < -10  # the control: 1 % off


def test_rounding_in_float32_does_not_matter():
    """The same networks in both precisions; without control variates K has the rounding of its samples."""
    single, double = (measured("tanh", 1.0, 6, 128, 2000, dtype=dtype) for dtype in ("float32", "float64"))
    for name in ("K", "V"):
        a, b = (getattr(m.controlled, name) for m in (single, double))
        assert (abs(a.mean - b.mean) <= 1e-2 * a.stderr + 1e-14).all()
    assert (abs(single.controlled.K.mean - double.controlled.K.mean) < 1e-10).all()
    assert abs(single.K.mean - double.K.mean).max() > 1e-9  # the control


def test_the_innovation_shows_other_expectations():
    """Of a C_W that is 2 % off, or another σ, the mean of Ĝ − E[Ĝ | Ĝ before] is not 0."""
    m = measured("tanh", 1.3, 5, 256, 4000)
    assert abs(z_scores(m.controlled.innovation, 0.0)[1:]).max() < 4
    for act, cw in (("tanh", 1.3 * 1.02), ("erf", 1.3)):
        about = plain(act, 0.0, 256, 5)
        other = control_variates.statistics(about, Settings(cw, 0.0), m.G).innovation
        assert abs(z_scores(other, 0.0)[1:]).min() > 10


def test_what_overflowed_has_no_controls():
    """From the first layer on at which a network overflows; before it nothing changes."""
    m = measured("repu:p=3", 1.0, 11, 4, 200, K1=4.0)
    c, lost = m.controlled, ~np.isfinite(m.G).all(0)
    assert lost.any() and not lost.all()
    assert np.isnan(c.K.mean[lost]).all() and np.isinf(c.V.stderr[lost]).all()
    assert np.isfinite(c.K.mean[~lost]).all()


@pytest.mark.parametrize(
    ("act", "cw", "settings", "K", "V"),
    [("sign", 1.0, {}, 1.0, 0.0), ("tanh", 0.0, {"cb": 0.3}, 0.3, 0.0), ("tanh", 1.0, {"K1": 0.0}, 0.0, 0.0)],
)
def test_what_does_not_fluctuate(act, cw, settings, K, V):
    c = measured(act, cw, 4, 16, 200, **settings).controlled
    np.testing.assert_allclose(c.K.mean[1:], K, rtol=1e-14)
    np.testing.assert_allclose(c.V.mean, V, atol=1e-14)
    assert (c.K.stderr[1:] <= 1e-15).all() and np.isnan(c.K_gain).all()


@pytest.mark.parametrize("K1", [1e-12, 1e12])
def test_at_the_ends_of_the_range(K1):
    """Of GELU, which is homogeneous in both limits, with errors that are no larger than rounding."""
    n, cw = 32, 4.0 if K1 < 1 else 2.0
    c = measured("gelu", cw, 4, n, 200, K1=K1).controlled
    F4 = 3 if K1 < 1 else 6  # ⟨σ⁴⟩/⟨σ²⟩² of z/2, and of ReLU
    np.testing.assert_allclose(c.K.mean, K1, rtol=1e-5)
    np.testing.assert_allclose(c.V.mean, n * K1**2 * ((1 + (F4 - 1) / n) ** np.arange(4) - 1), rtol=1e-5)


def test_expectations_that_are_not_accurate_are_in_the_error():
    """A function with more structure than the rules resolve: K has no error that could be stated."""
    c = measured(lambda z: jax.numpy.sin(200 * z), 1.0, 4, 16, 200).controlled
    assert np.isinf(c.K.stderr[1:]).any() and np.isnan(c.K_gain[-1])


def test_without_float64():
    """The expectations are computed in float64 whatever the precision of the caller."""
    with jax.enable_x64(False):
        off = measured("tanh", 1.0, 4, 64, 200).controlled
    on = measured("tanh", 1.0, 4, 64, 200).controlled
    np.testing.assert_array_equal(off.K.mean, on.K.mean)


def test_the_budget_counts_them():
    """Two numbers for each network and layer, beside what is measured anyway."""
    plain, controlled = (
        prepare("tanh", 1.0, 50, 64, 10_000, method="metric", control_variates=wanted).plan.needed
        for wanted in (False, True)
    )
    assert controlled - plain >= 2 * 8 * 10_000 * 50


def test_saved_and_read(tmp_path):
    m = measured("tanh", 1.0, 4, 16, 200)
    m.to_xarray()
    nets.results.save(m, tmp_path / "m.nc")
    read = nets.results.load(tmp_path / "m.nc").result
    for a, b in zip(jax.tree.leaves(m.controlled), jax.tree.leaves(read.controlled), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"control_variates": 2}, "control_variates must be"),
        ({"n_nets": 199}, "n_nets must be at least 200"),
        ({"norm": "layer"}, "control_variates must be False but for plain networks"),
        ({"skip": 0.5}, "control_variates must be False but for plain networks"),
        ({"weights": "orthogonal"}, "control_variates must be False but for plain networks"),
        ({"x": np.eye(2)}, "control_variates must be False but for plain networks"),
    ],
)
def test_bad_arguments(given, words):
    settings = {"n_nets": 200, "control_variates": True} | given
    with pytest.raises((ValueError, TypeError), match=words):
        nets.measure("tanh", 1.0, 4, 16, **settings)
