"""Products of ReLU and its like at several variables agree with exact values and independent integrals."""

import functools
import itertools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

import eft
from eft.activations.definition import Activation
from eft.finite_width.input_products import Rules, rules_for, value_and_slope_products, value_products
from eft.finite_width.ntk_gram import slope_of
from eft.gaussian import piecewise_linear
from eft.gaussian.bivariate import pair_source
from eft.gaussian.kernel_derivatives import pair_derivatives
from eft.gaussian.piecewise_pairs import angles, cross_moments, distance_of_signs, parts

SLOPES = {"relu": (1.0, 0.0), "leaky_relu": (1.0, -0.3), "abs": (1.0, -1.0), "scaled": (0.4, 1.7)}
"""σ′ for z > 0 and for z < 0."""

ALL = list(itertools.product((0, 1), repeat=4))
EVEN = [order for order in ALL if sum(order) % 2 == 0]
"""Which of the four factors are slopes."""

ROUNDING = 2e-14
"""Of products of unit variables."""


@functools.cache
def program(slopes: tuple, with_slopes: bool = True):
    return jax.jit(lambda K: piecewise_linear.means(slopes, K, with_slopes))


def computed(slopes: tuple, K: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Products of four variables, (2, 2, 2, 2), and their errors."""
    value, error = program(slopes)(jnp.asarray(K))
    return tuple(np.asarray(each.four).reshape(2, 2, 2, 2) for each in (value, error))


def sigma(slopes: tuple, z, order: int):
    plus, minus = slopes
    slope = np.where(z > 0, plus, minus)
    return slope if order else slope * z


# --- exact values -------------------------------------------------------------------------------


def test_orthants():
    """Variables with correlations ½: all four are positive with probability 1/5. The control: 0.4."""
    K = 0.5 + 0.5 * np.eye(4)
    value, error = computed(SLOPES["relu"], K)
    assert value[1, 1, 1, 1] == pytest.approx(1 / 5, abs=1e-14)
    assert error[1, 1, 1, 1] < 1e-13
    assert abs(computed(SLOPES["relu"], 0.4 + 0.6 * np.eye(4))[0][1, 1, 1, 1] - 0.2) > 0.01


@pytest.mark.parametrize("name", SLOPES)
def test_equal_opposite_and_independent_variables(name):
    plus, minus = SLOPES[name]
    mean = (plus - minus) / np.sqrt(2 * np.pi)
    powers = [(plus**k + minus**k) / 2 for k in range(5)]
    value, error = computed(SLOPES[name], np.ones((4, 4)))
    for order in EVEN:
        k = 4 - sum(order)
        assert value[order] == pytest.approx(powers[4] * {4: 3, 2: 1, 0: 1}[k], rel=1e-14)
        assert error[order] < 1e-6 * max(plus, abs(minus)) ** 4
    assert error[0, 0, 0, 0] < 1e-13 * max(plus, abs(minus)) ** 4
    value, error = computed(SLOPES[name], np.eye(4))
    for order in EVEN:
        expected = np.prod([powers[1] if slope else mean for slope in order])
        assert value[order] == pytest.approx(expected, abs=1e-14)
        assert error[order] < 1e-13 * max(plus, abs(minus)) ** 4
    signs = np.array([1.0, -1, 1, -1])
    value, error = computed(SLOPES[name], np.outer(signs, signs))
    assert value[0, 0, 0, 0] == pytest.approx(3 * (plus * minus) ** 2, abs=1e-14)
    assert value[1, 1, 1, 1] == pytest.approx((plus * minus) ** 2, abs=1e-14)


def on_a_circle(slopes: tuple, turns: np.ndarray, order: tuple) -> float:
    """⟨Π f(z_i)⟩ of z_i = r cos(θ − angle_i), r² of two degrees of freedom, by exact pieces in θ."""
    cuts = np.unique(np.concatenate([np.mod(turns + shift, 2 * np.pi) for shift in (np.pi / 2, -np.pi / 2)]))
    cuts = np.append(cuts, cuts[0] + 2 * np.pi)
    x, w = np.polynomial.legendre.leggauss(16)
    half = np.diff(cuts) / 2
    theta = (cuts[:-1] + half)[:, None] + half[:, None] * x
    f = np.prod([sigma(slopes, np.cos(theta - a), o) for a, o in zip(turns, order, strict=True)], 0)
    return {4: 8, 2: 2, 0: 1}[4 - sum(order)] * np.sum(half[:, None] * w * f) / (2 * np.pi)


CIRCLES = {
    "apart": [0.1, 0.9, 2.3, 4.0],
    "close": [0.1, 0.1 + 1e-3, 0.9, 0.9 - 1e-6],
    "closer": [0.1, 0.1 + 1e-6, 0.1 - 2e-6, 0.1 + np.pi - 3e-6],
    "two alike": [0.3, 0.3, 1.2, 2.5],
    "two opposite": [0.3, 0.3 + np.pi, 1.2, 1.2 + 1e-5],
    "orthogonal": [0.0, np.pi / 2, np.pi, np.pi / 4],
}


@pytest.mark.parametrize("name", ["relu", "leaky_relu"])
@pytest.mark.parametrize("circle", CIRCLES)
def test_rank_two(circle, name):
    """Any three are dependent. The control, for leaky ReLU: one of them turned by 1e-2."""
    turns, slopes = np.array(CIRCLES[circle]), SLOPES[name]
    v = np.stack([np.cos(turns), np.sin(turns)], -1)
    value, error = computed(slopes, v @ v.T)
    for order in EVEN:
        expected = on_a_circle(slopes, turns, order)
        assert abs(value[order] - expected) <= error[order] + ROUNDING, order
        if order == (0, 0, 0, 0):
            assert value[order] == pytest.approx(expected, abs=ROUNDING)
        assert error[order] < 1e-6
    if name == "relu":  # it may vanish
        return
    turned = on_a_circle(slopes, turns + np.array([0, 0.01, 0, 0]), (0, 0, 0, 0))
    assert abs(value[0, 0, 0, 0] - turned) > 1e-5


# --- independent integrals ----------------------------------------------------------------------


def given_mean(slopes: tuple, m, s, order: int):
    """⟨f(m + s y)⟩, y ~ N(0, 1), s > 0, by mpmath."""
    plus, minus = slopes
    upper = mpmath.ncdf(m / s)
    if order:
        return plus * upper + minus * (1 - upper)
    return m * (plus * upper + minus * (1 - upper)) + (plus - minus) * s * mpmath.npdf(m / s)


def one_factor(slopes: tuple, loads: list, order: tuple):
    """Of z_i = λ_i x + √(1−λ_i²) y_i, to 25 digits."""
    loads = [mpmath.mpf(each) for each in loads]

    def f(x):
        factors = (given_mean(slopes, a * x, mpmath.sqrt(1 - a * a), o) for a, o in zip(loads, order))  # noqa: B905
        return mpmath.npdf(x) * mpmath.fprod(factors)

    widths = [mpmath.sqrt(1 - a * a) for a in loads]
    near = sorted({float(12 * w) * sign for w in widths for sign in (1, -1)} | {0.0, -13.0, 13.0})
    return mpmath.quad(f, [x for x in near if abs(x) <= 13])


LOADS = {
    "equal": [0.5, 0.5, 0.5, 0.5],
    "of both signs": [0.9, -0.7, 0.3, -0.99],
    "close": [0.9999, 0.999, -0.99999, 0.9],
    "small": [1e-3, 0.2, -1e-6, 0.6],
}


@pytest.mark.sweep("equal-relu", "small-leaky_relu")
@pytest.mark.parametrize(
    ("loads", "name"),
    [("equal", "relu"), ("of both signs", "relu"), ("close", "scaled"), ("small", "leaky_relu")],
)
def test_one_factor(loads, name):
    """Against one smooth integral of 30 digits. The control: a load of the wrong sign."""
    a, slopes = np.array(LOADS[loads]), SLOPES[name]
    K = np.outer(a, a)
    np.fill_diagonal(K, 1.0)
    value, error = computed(slopes, K)
    with mpmath.workdps(30):
        exact = {order: float(one_factor(slopes, LOADS[loads], order)) for order in EVEN}
        wrong = float(one_factor(slopes, [-a[0], *a[1:]], (1, 1, 1, 1)))
    size = max(map(abs, slopes)) ** 4
    for order in EVEN:
        assert value[order] == pytest.approx(
            exact[order], abs=ROUNDING * size * (1 if not any(order) else 100)
        )
        assert abs(value[order] - exact[order]) <= error[order] + ROUNDING * size
        assert error[order] < 1e-10 * size
    assert abs(value[1, 1, 1, 1] - wrong) > 1e-5


def two_factors(slopes: tuple, loads: np.ndarray, order: tuple) -> float:
    """Of z_i = λ_i·x + √(1−|λ_i|²) y_i with two x, by the trapezoidal rule."""
    x = np.arange(-9, 9.01, 0.1)
    w = np.exp(-x * x / 2) * 0.1 / np.sqrt(2 * np.pi)
    total = w[:, None] * w
    plus, minus = slopes
    for (a, b), o in zip(loads, order, strict=True):
        s = np.sqrt(1 - a * a - b * b)
        m = a * x[:, None] + b * x
        upper = np.asarray(jax.scipy.stats.norm.cdf(m / s))
        mean = plus * upper + minus * (1 - upper)
        bump = (plus - minus) * s * np.exp(-((m / s) ** 2) / 2) / np.sqrt(2 * np.pi)
        total = total * (mean if o else m * mean + bump)
    return float(np.sum(total))


@pytest.mark.parametrize("seed", range(4))
def test_two_factors(seed):
    """Covariances that are as general as any; each entry of the products has its own place."""
    rng = np.random.default_rng(seed)
    loads = rng.normal(size=(4, 2))
    loads *= (rng.uniform(0.3, 0.85, 4) / np.linalg.norm(loads, axis=1))[:, None]
    K = loads @ loads.T
    np.fill_diagonal(K, 1.0)
    value, error = computed(SLOPES["leaky_relu"], K)
    exact = np.array([two_factors(SLOPES["leaky_relu"], loads, order) for order in EVEN])
    found = np.array([value[order] for order in EVEN])
    np.testing.assert_allclose(found, exact, atol=ROUNDING)
    assert max(error[order] for order in EVEN) < 1e-12
    assert np.min(np.abs(exact[1:7] - np.roll(exact[1:7], 1))) > 1e-6  # the control: no two are alike
    assert not any(value[order] for order in ALL if order not in EVEN)


def test_three_with_one_doubled():
    """In one plane. The control: another one doubled."""
    turns, slopes = np.array([0.3, 1.2, 2.9]), SLOPES["leaky_relu"]
    v = np.stack([np.cos(turns), np.sin(turns)], -1)
    value, error = program(slopes)(jnp.asarray(v @ v.T))
    for i in range(3):
        others = [e for e in range(3) if e != i]
        four = turns[[i, i, *others]]
        for p, own in enumerate([(0, 0), (0, 1), (1, 1)]):
            for q, rest in enumerate(itertools.product((0, 1), repeat=2)):
                if sum(own + rest) % 2 == 0:
                    exact = on_a_circle(slopes, four, own + rest)
                    assert abs(value.three[0, i, p, q] - exact) <= error.three[0, i, p, q] + ROUNDING
                    wrong = on_a_circle(slopes, turns[[others[0], others[0], i, others[1]]], own + rest)
                    assert abs(exact - wrong) > 1e-6


@pytest.mark.more
def test_nested_sums():
    """All that a layer of four inputs needs, in its places. The control: ReLU, which differs in all of it."""
    act = eft.activation("leaky_relu", slope=0.3)
    acts = act, slope_of(act)
    rules = rules_for(act, 1.0)
    x = np.random.default_rng(3).normal(size=(4, 3))
    K = jnp.asarray(x @ x.T / 3 + 0.2)

    def of(rules):
        @jax.jit
        def run(K):
            single = jnp.diagonal(K)
            moments = [pair_source(each, K.dtype).moments(single) for each in acts]
            return value_and_slope_products(acts, rules, K, tuple(moments), eft.slopes(act, single))

        return run(K)

    closed, nested, relu = (
        of(each) for each in (rules, Rules(rules.grids), rules._replace(linear=(1.0, 0.0)))
    )
    for a, b, c in zip(closed, nested, relu, strict=True):
        for field in ("three", "four"):
            found, expected, wrong = (np.asarray(getattr(each, field)) for each in (a, b, c))
            np.testing.assert_allclose(found, expected, atol=1e-6)
            assert np.min(np.abs(found - wrong)) > 1e-3
        assert np.max(a.errors) < 1e-12
    alone = jax.jit(lambda K: value_products(act, rules, K, eft.moments(act, jnp.diagonal(K))))(K)
    np.testing.assert_allclose(alone.four, closed[0].four, atol=ROUNDING)
    np.testing.assert_allclose(alone.three, closed[0].three, atol=ROUNDING)


# --- pairs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("apart", [1.3, 1e-4, 3.0])
@pytest.mark.parametrize("name", SLOPES)
def test_pairs(name, apart):
    """Fourth moments of σ, of σ′ and of both. The control: the other variable taken for the one."""
    plus, minus = SLOPES[name]
    act = Activation(lambda z: jnp.where(z > 0, plus * z, minus * z), (0.0,), degree=1)
    turns, a, b = np.array([0.2, 0.2 + apart]), 1.5, 0.7
    gap = jnp.asarray(2 * np.sin(apart / 2) ** 2)
    size = {0: a, 1: b}

    def exact(variables, order=(0, 0, 0, 0)):
        root = np.prod([1.0 if o else size[v] for v, o in zip(variables, order, strict=True)])
        return root * on_a_circle(SLOPES[name], turns[list(variables)], order)

    at = jnp.asarray(a), jnp.asarray(b), gap
    sets = [(0, 0, 1, 1), (0, 0, 0, 1), (0, 1, 1, 1)]
    fourth = pair_derivatives(act, *at).fourth
    np.testing.assert_allclose(fourth, [exact(v) for v in sets], rtol=1e-12, atol=1e-14)
    assert name == "abs" or abs(fourth[1] - exact((0, 1, 1, 1))) > 1e-6
    fourth = pair_derivatives(slope_of(act), *at).fourth
    np.testing.assert_allclose(fourth, [exact(v, (1, 1, 1, 1)) for v in sets], rtol=1e-12, atol=1e-14)
    twos = [(0, 0), (0, 1), (1, 1)]
    expected = [[exact(f + h, (0, 0, 1, 1)) for h in twos] for f in twos]
    found = cross_moments(parts(act, gap.dtype), angles(*at), *at[:2])
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("gap", [0.0, 1e-12, 0.3, 2.0])
def test_distance_of_signs(gap):
    """(8/π) arcsin√(gap/2) = (4/π) arccos(1 − gap)."""
    with mpmath.workdps(30):
        exact = float(4 / mpmath.pi * mpmath.acos(1 - mpmath.mpf(gap)))
    assert distance_of_signs(jnp.asarray(gap)) == pytest.approx(exact, rel=1e-14)


# --- range, error -------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_scales(scale):
    """Each factor σ goes as √K; inputs of different sizes too."""
    x = np.random.default_rng(1).normal(size=(4, 3))
    size = np.sqrt(scale) * np.array([1.0, 1e-5, 1.0, 1e4])
    one, of_one = computed(SLOPES["relu"], x @ x.T)
    value, error = computed(SLOPES["relu"], x @ x.T * np.outer(size, size))
    for order in EVEN:
        unit = np.prod(size ** (1 - np.array(order)))
        assert value[order] == pytest.approx(unit * one[order], rel=1e-11)
        assert error[order] == pytest.approx(unit * of_one[order], rel=0.5)


def test_a_zero_is_independent():
    K = np.zeros((4, 4))
    K[:3, :3] = 0.5 + 0.5 * np.eye(3)
    value, _ = computed(SLOPES["relu"], K)
    assert value[0, 0, 0, 0] == 0
    # P(three are positive) = 1/4 at correlations ½
    assert value[1, 1, 1, 1] == pytest.approx(1 / 8, abs=1e-14)


@pytest.mark.parametrize("step", [0.25, 0.5])
def test_the_error_tells_of_a_coarse_rule(step, monkeypatch):
    K = np.random.default_rng(2).normal(size=(4, 3))
    K = K @ K.T
    exact = computed(SLOPES["relu"], K)[0]
    monkeypatch.setattr(piecewise_linear, "STEP", step)
    value, error = jax.jit(lambda K: piecewise_linear.means(SLOPES["relu"], K, True))(jnp.asarray(K))
    value, error = (np.asarray(each.four).reshape(2, 2, 2, 2) for each in (value, error))
    assert np.max(np.abs(value - exact)) > 1e-10
    assert np.all(np.abs(value - exact) <= error + ROUNDING)


@pytest.mark.parametrize("circle", CIRCLES)
def test_float32(circle):
    """Slopes of inputs that are close are known to 1e-3."""
    turns, slopes = np.array(CIRCLES[circle]), SLOPES["relu"]
    v = np.stack([np.cos(turns), np.sin(turns)], -1)
    value, error = computed(slopes, (v @ v.T).astype(np.float32))
    assert value.dtype == error.dtype == np.float32
    for order in EVEN:
        assert abs(value[order] - on_a_circle(slopes, turns, order)) <= error[order] + 1e-6
        assert error[order] < (1e-5 if sum(order) == 0 else 1e-3)


def test_random_inputs_of_rank_two():
    """The error is never too small. The control: without it, some values are wrong by more than rounding."""
    rng, slopes, worst = np.random.default_rng(7), SLOPES["leaky_relu"], 0.0
    for _ in range(200):
        turns = rng.uniform(0, 6, 4)
        for k in (1, 2, 3):
            if rng.random() < 0.6:
                near = turns[rng.integers(k)] + rng.choice([0, np.pi])
                turns[k] = near + rng.choice([-1, 1]) * 10 ** rng.uniform(-9, -1)
        v = np.stack([np.cos(turns), np.sin(turns)], -1)
        value, error = computed(slopes, v @ v.T)
        for order in EVEN:
            off = abs(value[order] - on_a_circle(slopes, turns, order))
            assert off <= error[order]
            if sum(order) == 0:
                assert off < ROUNDING
            worst = max(worst, off)
    assert worst > 100 * ROUNDING


def test_fewer_inputs_have_no_products():
    for n in (1, 2):
        value, error = program(SLOPES["relu"])(jnp.eye(n))
        assert value.three.shape == (0, 3, 3, 4) and error.four.shape == (0, 4, 4)
