"""The 1/n series is that of the exact moments at finite width, order by order, and marks where it fails."""

import dataclasses
import math
from fractions import Fraction

import exact_metric
import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

import eft
from eft.activations import programs
from eft.finite_width.expansion import BLOCK_SIZE
from eft.flows.kernel import MAX_NUMBERS
from eft.gaussian.cumulants import cumulant_source
from eft.gaussian.polynomials import MANY

EXACT = 1e-12
POLYNOMIALS = {
    "quadratic": (lambda z: z + z * z / 4, [0, 1, Fraction(1, 4)]),
    "cubic": (lambda z: z - z**3 / 6, [0, 1, 0, Fraction(-1, 6)]),
}
CW, CB, K1 = Fraction(1), Fraction(1, 8), Fraction(1, 4)


def coefficients(series, order):
    return np.array([float(series.get(q, 0)) for q in range(order + 1)])


def close(found, expected, rtol=EXACT):
    """Equal to a tolerance relative to each coefficient or, where that is 0, to the largest."""
    found, expected = np.asarray(found), np.asarray(expected)
    scale = np.where(expected == 0, np.max(abs(expected)), abs(expected))
    assert np.max(abs(found - expected) / np.where(scale == 0, 1.0, scale)) <= rtol, (found, expected)


# --- homogeneous σ: products --------------------------------------------------------------------


def unit_moments(plus, minus, degree, count):
    """E[sᵏ], k = 0 … count, as polynomials in 1/n; s is the mean of F/⟨F⟩ over n unit Gaussian neurons."""
    double = [math.prod(range(1, 2 * degree * r, 2)) for r in range(count + 1)]
    g = Fraction(plus**2 + minus**2, 2) * double[1]
    mu = [Fraction(plus ** (2 * r) + minus ** (2 * r), 2) * double[r] / g**r for r in range(1, count + 1)]
    kappa = exact_metric.cumulants_from_moments(mu, lambda a, b, c=1: a + c * b, lambda a, b: a * b)
    series = [{r - 1: c} for r, c in enumerate(kappa, start=1)]
    out = [{0: Fraction(1)}]
    for s in range(1, count + 1):
        total = {}
        for i in range(1, s + 1):
            for q, c in exact_metric.product(series[i - 1], out[s - i]).items():
                total[q] = total.get(q, 0) + math.comb(s - 1, i - 1) * c
        out.append(total)
    return out


@pytest.mark.sweep("leaky_relu-parameters2-1-minus2-1-2", "repu-parameters3-1-0-2-3")
@pytest.mark.parametrize(
    ("name", "parameters", "plus", "minus", "degree", "order"),
    [
        ("relu", {}, 1, 0, 1, 5),
        ("linear", {}, 1, 1, 1, 4),
        ("leaky_relu", {"slope": 0.25}, 1, Fraction(1, 4), 1, 2),
        ("repu", {"p": 2}, 1, 0, 2, 3),
    ],
)
def test_homogeneous_networks_are_products(name, parameters, plus, minus, degree, order):
    """log Ĝ′ = log C_W + p log Ĝ + log s with s independent: E[(Ĝ/K)^k] = Π_l E[s^{k p^{L−1−l}}]."""
    depth = 4
    act = eft.activation(name, **parameters)
    e = eft.expand(act, 1.7, depth, order)
    assert bool(e.valid.all())
    most = 2 * order * degree ** (depth - 2)
    s = unit_moments(plus, minus, degree, most)
    raw = []
    for k in range(2 * order + 1):
        total = {0: Fraction(1)}
        for layer in range(1, depth):
            total = exact_metric.product(total, s[k * degree ** (depth - 1 - layer)])
        raw.append(total)
    for k in range(2 * order + 1):
        central = sum(
            (-1) ** (k - i) * math.comb(k, i) * np.array([raw[i].get(q, 0) for q in range(order + 1)])
            for i in range(k + 1)
        )
        close(e.M[-1, k], [float(c) for c in central])


@pytest.mark.promotes
def test_deep_linear_networks_of_unequal_widths():
    widths = (5, 9, 4, 30)
    e = eft.expand("linear", 1.0, 5, 4, widths=widths)
    found = eft.at_width(e.M[:, 2], e.n)
    product = np.cumprod([1.0, *(1 + 2 / np.array(widths))]) - 1
    np.testing.assert_allclose(found.value, product, rtol=EXACT)  # four factors: nothing is left out
    np.testing.assert_allclose(
        e.V[1:, 1] / np.array(widths), [0.4, *(0.4 + 2 * np.cumsum([1 / 9, 1 / 4, 1 / 30]))]
    )


def test_relu_of_theory():
    """M₂ = 25/n + 250/n² + 1250/n³ after five layers."""
    close(eft.expand("relu", 2.0, 6, 3).M[-1, 2], [0, 25, 250, 1250])


# --- polynomials: exact sums --------------------------------------------------------------------


@pytest.fixture(scope="module")
def exact():
    """κ_1, κ_2 (and more in shallow networks) by σ and depth: {power of 1/n: coefficient}."""
    out = {}
    for name, (_, sigma) in POLYNOMIALS.items():
        for depth in (2, 3, 4):
            count = 2 if depth == 4 else 4
            moments = exact_metric.metric_moments(sigma, CW, CB, K1, depth, count)
            out[name, depth] = exact_metric.cumulants(moments)
    return out


def test_the_oracle_on_a_deep_linear_network():
    moments = exact_metric.metric_moments([0, 1], Fraction(1), Fraction(0), Fraction(1), 4, 2)
    expected = (1 + Fraction(2, 7)) ** 3
    assert exact_metric.at(moments[2], 7) == expected and exact_metric.at(moments[1], 7) == 1


@pytest.mark.sweep("cubic-5")
@pytest.mark.parametrize("order", [*(pytest.param(p, marks=pytest.mark.more) for p in (1, 2, 3, 4)), 5])
@pytest.mark.parametrize("name", POLYNOMIALS)
def test_every_coefficient_is_that_of_the_exact_sum(name, order, exact):
    e = eft.expand(POLYNOMIALS[name][0], float(CW), 4, order, cb=float(CB), K1=float(K1))
    assert bool(e.valid.all())
    for depth in (2, 3, 4):
        for r, series in enumerate(exact[name, depth][: order + 1], start=1):
            close(e.cumulants[depth - 1, r], coefficients(series, order), 5 * EXACT)


def slope(residual, widths):
    return np.polyfit(np.log(widths), np.log(np.abs(residual)), 1)[0]


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("name", POLYNOMIALS)
def test_the_residual_falls_with_the_next_power(name, order, exact):
    """|exact − series| ~ n^{−(p+1)}, p = 1 … 4, n ≥ 3e4, unless it is 0.

    It is far below the rounding of float64, so each coefficient is checked and replaced by its exact value.
    """
    widths = [30_000, 60_000, 120_000]
    e = eft.expand(POLYNOMIALS[name][0], float(CW), 4, 5, cb=float(CB), K1=float(K1)).truncated(order)
    for depth in (3, 4):
        for r, series in enumerate(exact[name, depth][:2], start=1):
            found = np.asarray(e.cumulants)[depth - 1, r]
            kept = {}
            for q, c in enumerate(found.tolist()):
                true = series.get(q, Fraction(0))
                assert abs(c - float(true)) <= 5 * EXACT * max(abs(float(true)), found[min(1, r - 1)] * 1e-3)
                kept[q] = true
            left = [exact_metric.at(series, n) - exact_metric.at(kept, n) for n in widths]
            if max((q for q, c in series.items() if c), default=0) <= order:
                assert left == [0, 0, 0]  # as the mean of z + z²/4 at three layers
                continue
            assert abs(slope([float(a) for a in left], widths) + order + 1) < 0.1 * (order + 1)
            # the control: a coefficient that is 5 % off leaves a residual of its own power
            kept[order] *= Fraction(21, 20)
            if kept[order]:
                off = [float(exact_metric.at(series, n) - exact_metric.at(kept, n)) for n in widths]
                assert abs(slope(off, widths) + order) < 0.1 * order


def test_the_mean_of_the_quadratic_ends(exact):
    assert max(q for q, c in exact["quadratic", 3][0].items() if c) == 1


@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_residual_in_float64(order):
    """At widths where float64 resolves it, the residual of the sum itself falls as n^{−(p+1)}."""
    widths = np.array([40, 80, 160]) * (4 if order == 1 else 1)
    moments = exact_metric.metric_moments(POLYNOMIALS["quadratic"][1], CW, Fraction(0), Fraction(1, 50), 4, 2)
    variance = exact_metric.cumulants(moments)[1]
    e = eft.expand(POLYNOMIALS["quadratic"][0], 1.0, 4, 5, K1=0.02).truncated(order)
    true = np.array([float(exact_metric.at(variance, int(n))) for n in widths])
    left = true - np.asarray(eft.at_width(e.V[-1], widths).value)
    assert abs(slope(left, widths) + order + 1) < 0.1 * (order + 1)


# --- other routes -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["tanh", "gelu", "softplus", "sin", "erf", "mrepu", "relu", "elu", "hard_tanh"]
)
@pytest.mark.parametrize("widths", [None, (16, 64, 8, 8, 100)])
def test_order_one_is_the_kernel_flow(name, widths):
    settings = {"cb": 0.05, "K1": 0.02 if name == "mrepu" else 0.8, "widths": widths}
    flow = eft.kernel_flow(name, [0.9, 1.4], 6, **settings)
    e = eft.expand(name, [0.9, 1.4], 6, 1, **settings)
    np.testing.assert_allclose(e.V[..., 1], flow.V, rtol=EXACT)
    np.testing.assert_allclose(e.G[..., 1], flow.G1, rtol=EXACT, atol=1e-15)
    np.testing.assert_allclose(e.G[..., 0], flow.K, rtol=1e-15)


def test_a_higher_order_changes_no_lower_one():
    settings = {"cb": 0.05, "K1": 0.8, "widths": (16, 64, 8, 8, 100)}
    low, high = (eft.expand("tanh", [0.9, 1.4], 6, order, **settings) for order in (1, 3))
    np.testing.assert_allclose(high.M[..., :3, :2], low.M, rtol=EXACT, atol=1e-15)


def cumulants(act, K, order, count=0):
    source = cumulant_source(act, order, K.dtype, count)
    return jax.jit(lambda K, m: source(K, m, order))(K, eft.moments(act, K))


def test_closed_forms_against_quadrature():
    """Homogeneous σ and the sine: cumulants by quadrature agree with the closed forms."""
    for name, K in (("relu", [1e-6, 1.0, 1e4]), ("sin", [1e-3, 0.05]), ("erf", [1e-2, 1.0, 1e3])):
        act = eft.activation(name)
        nodes = dataclasses.replace(act, family=None, degree=None)
        K = jnp.array(K)
        closed, found = (cumulants(source, K, 4) for source in (act, nodes))
        size = np.max(abs(closed.c), axis=1, keepdims=True)
        assert np.max(abs(found.c - closed.c) / size) < 1e-10


@pytest.mark.more
@pytest.mark.parametrize("count", [0, MANY])
def test_taylor_coefficients_in_fifty_digits(count):
    """ĉ_2 of tanh from ⟨σ²⟩ and ⟨σ⁴⟩ at K(1+x), by mpmath; from the nodes and by polynomials."""
    K, order = 0.7, 2
    act = eft.activation("tanh")
    found = cumulants(act, jnp.array([K]), order, count)
    with mpmath.workdps(30):

        def mean(power, at):
            root = mpmath.sqrt(at)
            f = lambda u: mpmath.tanh(root * u) ** power * mpmath.npdf(u)  # noqa: E731
            return 2 * mpmath.quad(f, [0, 1, 2, 4, 8, 14])

        g = mean(2, K)
        c1 = mpmath.taylor(lambda y: mean(2, K * (1 + y)) / g, 0, 4)
        c2 = mpmath.taylor(lambda y: (mean(4, K * (1 + y)) - mean(2, K * (1 + y)) ** 2) / g**2, 0, 2)
    np.testing.assert_allclose(found.c[0, :, 0], [float(a) for a in c1], rtol=1e-11)
    np.testing.assert_allclose(found.c[1, :3, 0], [float(a) for a in c2], rtol=1e-11)


def test_the_error_is_an_upper_bound():
    """As K → 0 digits are lost, no more than `error` states; and `error` stays small."""
    for K in (Fraction(1, 10**6), Fraction(1, 1000), Fraction(1, 4)):
        moments = exact_metric.metric_moments(POLYNOMIALS["cubic"][1], CW, Fraction(0), K, 3, 4)
        true = [coefficients(c, 3) for c in exact_metric.cumulants(moments)]
        e = eft.expand(POLYNOMIALS["cubic"][0], 1.0, 3, 3, K1=float(K))
        for k in (1, 2):
            mistake = np.abs(np.asarray(e.cumulants)[-1, k] - true[k - 1])[1:] / float(e.K[-1]) ** k
            assert (mistake <= np.asarray(e.error)[-1, k, 1:] + 1e-16).all()
        assert np.max(np.asarray(e.error)[-1, :3]) < 1e-9
        assert np.max(np.asarray(e.digits_lost)[-1, 2, :3]) < 5
        assert np.max(np.asarray(e.digits_lost)[-1, 2]) < 10  # a coefficient of 6e-5 beside some of 4


# --- networks -----------------------------------------------------------------------------------
# benchmarks/finite_width.py does this for five activations at three widths with a million networks.


@pytest.mark.sweep
@pytest.mark.parametrize(
    ("name", "cw", "cb", "K1"),
    [
        ("tanh", 1.3, 0.0, 1.0),
        pytest.param("sin", 1.3, 0.0, 1.0, marks=pytest.mark.more),
        pytest.param("softplus", 1.0, 0.1, 1.0, marks=pytest.mark.more),
    ],
)
def test_networks_of_width_16(name, cw, cb, K1):
    import nets
    from nets.statistics import estimators

    n, n_nets = 16, 400_000
    seen = nets.measure(name, cw, 6, n, n_nets, seed=7, cb=cb, K1=K1, method="metric", progress=False)
    e = eft.expand(name, cw, 6, 3, cb=cb, K1=K1)
    G = seen.G[:, -1]
    mean, variance = estimators.mean(G), estimators.variance(G)
    for found, series in ((mean, e.G[-1]), (variance, e.V[-1])):
        total = eft.at_width(series, n)
        assert bool(total.converges)
        missing = abs(float(total.last)) if abs(total.last) > found.stderr else 0.0
        assert abs(found.mean - float(total.value)) < 4 * found.stderr + missing
    # the controls: the leading order alone, and a coefficient that is 5 % off
    leading = eft.at_width(e.V[-1, :2], n).value
    assert abs(variance.mean - float(leading)) > 5 * variance.stderr
    off = eft.at_width(e.V[-1] * np.array([1, 1.05, 1, 1]), n).value
    assert abs(variance.mean - float(off)) > 5 * variance.stderr


# --- marks, transformations, bad input ----------------------------------------------------------


@pytest.mark.sweep("repu-3.0", "gelu-1e+40")
@pytest.mark.parametrize(("name", "cw"), [("mrepu", 1.5), ("repu", 3.0), ("gelu", 1e40)])
def test_overflow_is_marked(name, cw):
    e = eft.expand(name, cw, 60, 2)
    assert bool(e.valid[0]) and not bool(e.valid[-1])
    for field in (e.K, e.log_K, e.M, e.error, e.G, e.V, e.cumulants, e.digits_lost, *eft.couplings(e)):
        assert not np.isnan(field).any()
    assert (np.diff(np.asarray(e.valid).astype(int)) <= 0).all()
    assert not np.isnan(eft.at_width(e.V, 64).value).any()


def test_homogeneous_series_outlive_the_kernel():
    """M does not depend on K: it is right also where K underflows or overflows."""
    M = eft.expand("relu", 2.0, 60, 3).M
    for cw in (1e30, 1e-30):
        np.testing.assert_allclose(eft.expand("relu", cw, 60, 3).M, M, rtol=1e-12)


@pytest.mark.sweep("softplus-3", "sin-2")
@pytest.mark.parametrize(("name", "order"), [("tanh", 3), ("softplus", 3), ("relu", 2), ("sin", 2)])
def test_zero_kernel(name, order):
    e = eft.expand(name, [0.0, 1.0], 6, order, K1=0.0)
    for field in (e.M, e.error, e.G, e.V):
        assert np.isfinite(field).all()
    np.testing.assert_array_equal(np.asarray(e.V)[0], 0.0)


def test_batches_and_no_recompilation():
    cw = jnp.array([0.8, 1.3, 2.0])
    batch = eft.expand("tanh", cw, 6, 2, cb=0.1)
    one = eft.expand("tanh", 1.3, 6, 2, cb=0.1)
    np.testing.assert_allclose(batch.M[1], one.M, rtol=1e-9, atol=1e-13)
    mapped = jax.vmap(lambda c: eft.expand("tanh", c, 6, 2, cb=0.1).M)(cw)
    np.testing.assert_allclose(mapped, batch.M, rtol=1e-9, atol=1e-13)
    blocks = eft.expand("tanh", jnp.resize(cw, BLOCK_SIZE + 1), 6, 2, cb=0.1).M
    np.testing.assert_allclose(blocks, batch.M[np.arange(BLOCK_SIZE + 1) % 3], rtol=1e-9, atol=1e-13)

    before = programs._program.cache_info().misses
    for name in ("gelu", "arctan", "sigmoid"):
        eft.expand(name, 1.1 * cw, 6, 2, cb=0.2)
    assert programs._program.cache_info().misses == before


@pytest.mark.more
@pytest.mark.parametrize(
    ("name", "order"),
    [("sin", 1), ("sin", 2), *(pytest.param("tanh", order, marks=pytest.mark.more) for order in (1, 2))],
)
def test_gradients(name, order):
    def last(c):
        e = eft.expand(name, c, 6, order, cb=0.1)
        return jnp.stack([e.G[-1, -1], e.V[-1, -1]])

    np.testing.assert_allclose(jax.jacrev(last)(1.3), (last(1.3 + 1e-5) - last(1.3 - 1e-5)) / 2e-5, rtol=1e-6)


def test_the_program_does_not_grow_with_depth():
    sizes = [
        len(jax.jit(lambda c, d=d: eft.expand("tanh", c, d, 2).M).lower(1.0).compile().as_text())
        for d in (20, 2000)
    ]
    assert sizes[1] < 1.02 * sizes[0]


@pytest.mark.more
def test_undeclared_kinks_are_found():
    hidden = eft.Activation(lambda z: jnp.tanh(z) + jnp.maximum(z - 0.3, 0.0), (), "hidden")
    declared = eft.Activation(hidden.fn, (0.3,), "declared")
    found, known = eft.expand(hidden, 1.0, 3, 2), eft.expand(declared, 1.0, 3, 2)
    np.testing.assert_array_equal(found.M, known.M)
    assert bool(found.valid.all())
    with pytest.warns(eft.QuadratureWarning, match="more kinks than are taken into account"):
        assert not bool(eft.expand(lambda z: jnp.abs(z % 2 - 1), 1.0, 3, 2, K1=100.0).valid[-1])


@pytest.mark.parametrize(
    ("call", "kind", "said"),
    [
        (lambda: eft.expand("tanh", 1.0, 3, 0), ValueError, r"order must be an integer ≥ 1 and ≤ 5; got 0"),
        (lambda: eft.expand("tanh", 1.0, 3, -1), ValueError, r"order .* got -1"),
        (lambda: eft.expand("tanh", 1.0, 3, 50), ValueError, r"order .* got 50"),
        (lambda: eft.expand("tanh", 1.0, 3, 2.0), ValueError, r"order .* got 2\.0"),
        (lambda: eft.expand("tanh", -1.0, 3, 2), ValueError, r"cw .* -1\.0"),
        (lambda: eft.expand("tanh", 1.0, 3, 2, widths=(0, 3)), ValueError, r"widths\[0\]"),
        (lambda: eft.expand("tanh", 1.0, 10**6, 5, x2=np.ones(9)), ValueError, r"order 5"),
    ],
)  # fmt: skip
def test_bad_input(call, kind, said):
    with pytest.raises(kind, match=said):
        call()


def test_too_large_a_series_is_refused_before_any_work():
    """At order 3 a layer has 4 cumulants times 7 coefficients."""
    most = MAX_NUMBERS // (4 * 7)
    words = rf"depth × batch must be ≤ {most:,} at order 3; got 1,000,000,000"
    with pytest.raises(ValueError, match=words):
        eft.expand("tanh", np.ones(1_000_000), 1000, 3)
