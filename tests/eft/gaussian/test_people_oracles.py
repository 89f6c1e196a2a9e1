"""The table `people.csv` agrees with closed forms, a second quadrature rule and derivatives."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from people_exact import EXACT
from people_functions import MAXSIG, PEOPLE
from people_oracles import K_GRID, LONG, expectations
from people_verdicts import relative_errors, table
from scipy.special import ndtr

CLOSE = 1e-14
"""Round-off error of the closed forms; the table has 16 digits or more."""

EXTENDED = np.finfo(LONG).eps < 1e-18
SAMPLE = ("hard_swish", "masked_log", "abs_1.5_beyond", "naive_mish", "steep_tanh", "cubic_spline")


def floor_moment(K, p):
    """⟨⌊z⌋ᵖ⟩ = Σ nᵖ P(n < z < n + 1), each P from the smaller tails."""
    n = np.arange(-40, 40)
    low, high = ndtr(n / math.sqrt(K)), ndtr((n + 1) / math.sqrt(K))
    upper = ndtr(-n / math.sqrt(K)) - ndtr(-(n + 1) / math.sqrt(K))
    return np.sum(n.astype(float) ** p * np.where(n < 0, high - low, upper))


GAMMA = 0.57721566490153286
CLOSED = {
    ("squared_relu", "g"): lambda K: 1.5 * K**2,
    ("squared_relu", "s2"): lambda K: 2 * K,
    ("abs", "var"): lambda K: 2 * K**2,
    ("step", "g"): lambda K: 0.5,
    ("step", "s2"): lambda K: np.inf,
    ("hard_shrink", "s2"): lambda K: np.inf,
    ("exp", "g"): lambda K: math.exp(2 * K),
    ("exp", "d2g"): lambda K: 4 * math.exp(2 * K),
    ("gaussian", "g"): lambda K: (1 + 4 * K) ** -0.5,
    ("gaussian", "dg"): lambda K: -2 * (1 + 4 * K) ** -1.5,
    ("gaussian", "s2"): lambda K: 4 * K * (1 + 4 * K) ** -1.5,
    ("hermite_3", "g"): lambda K: 15 * K**3 - 18 * K**2 + 9 * K,
    ("hermite_3", "dg"): lambda K: 45 * K**2 - 36 * K + 9,
    ("hermite_3", "s2"): lambda K: 9 * (3 * K**2 - 2 * K + 1),
    ("half_square", "g4"): lambda K: 105 / 16 * K**4 + 6 * 15 / 4 * K**3 + 3 * K**2,
    ("gcu", "g"): lambda K: K * (1 + (1 - 4 * K) * math.exp(-2 * K)) / 2,
    ("gcu", "s2"): lambda K: (1 + K + (1 - 5 * K + 4 * K**2) * math.exp(-2 * K)) / 2,
    ("snake", "s2"): lambda K: 1.5 - math.exp(-8 * K) / 2,
    ("snake", "g"): lambda K: K + math.expm1(-2 * K) ** 2 * (3 + 2 * math.exp(-2 * K) + math.exp(-4 * K)) / 8,
    ("snake", "dg"): lambda K: 1 + math.exp(-2 * K) - math.exp(-8 * K),
    ("cos", "g"): lambda K: (1 + math.exp(-2 * K)) / 2,
    ("fourier_features", "s2"): lambda K: sum(
        (math.exp(-((j - k) ** 2) * K / 2) + math.exp(-((j + k) ** 2) * K / 2)) / 2
        for j in (1, 2, 3)
        for k in (1, 2, 3)
    ),
    ("relu_1.5", "g"): lambda K: math.sqrt(2 / math.pi) * K**1.5,
    ("relu_1.5", "s2"): lambda K: 9 / 8 * math.sqrt(2 * K / math.pi),
    ("power_1.5", "dg"): lambda K: 3 * math.sqrt(2 * K / math.pi),
    ("signed_sqrt", "g"): lambda K: math.sqrt(2 * K / math.pi),
    ("signed_sqrt", "s2"): lambda K: np.inf,
    ("cube_root", "g"): lambda K: (2 * K) ** (1 / 3) * math.gamma(5 / 6) / math.sqrt(math.pi),
    ("masked_sqrt", "g"): lambda K: math.sqrt(K / 2 / math.pi),
    ("masked_log", "g"): lambda K: ((math.log(K / 2) - GAMMA) ** 2 / 4 + math.pi**2 / 8) / 2,
    ("soft_shrink", "s2"): lambda K: math.erfc(0.5 / math.sqrt(2 * K)),
    ("threshold_relu", "s2"): lambda K: np.inf,
    ("far_relu", "s2"): lambda K: math.erfc(5 / math.sqrt(2 * K)) / 2,
    ("min_max_hard_tanh", "s2"): lambda K: math.erf(1 / math.sqrt(2 * K)),
    ("shifted_hard_tanh", "dg"): lambda K: (
        math.erf(1 / math.sqrt(2 * K)) - 2 * math.exp(-1 / (2 * K)) / math.sqrt(2 * math.pi * K)
    ),
    ("shifted_step", "dg"): lambda K: 3 * math.exp(-9 / (2 * K)) / math.sqrt(2 * math.pi * K) / (2 * K),
    ("sign_beyond", "g"): lambda K: 1.0,
    ("sign_beyond", "var"): lambda K: 0.0,
    ("flip", "var"): lambda K: 2 * K**2,
    ("round", "s2"): lambda K: np.inf,
    ("floor", "g"): lambda K: floor_moment(K, 2),
    ("floor", "g4"): lambda K: floor_moment(K, 4),
}


def test_the_table_is_complete():
    assert len(PEOPLE) >= 66
    assert set(table()) == set(PEOPLE) == set(EXACT)
    for name, columns in table().items():
        np.testing.assert_array_equal(columns["K"], K_GRID, err_msg=name)
        assert not any(np.isnan(column).any() for column in columns.values()), name


@pytest.mark.parametrize(("name", "q"), CLOSED)
def test_closed_forms(name, q):
    K = K_GRID[: -5 if name == "floor" else None]
    exact = np.array([_finite(CLOSED[name, q], k) for k in K])
    # differences of these forms cancel as K → 0
    unit = {"dg": table()[name]["g"] / K_GRID, "d2g": table()[name]["g"] / K_GRID**2}.get(q, 0 * K_GRID)
    found = table()[name][q][: len(K)]
    same = (found == exact) | (np.abs(exact) < 1e-300)
    unit = np.maximum(np.abs(exact), np.maximum(unit[: len(K)], 1e-300))
    with np.errstate(invalid="ignore"):
        error = np.where(same, 0.0, np.abs(found - exact) / unit)
    assert error.max() <= 100 * CLOSE


def _finite(form, K):
    try:
        return form(K)
    except OverflowError:
        return np.inf


@pytest.mark.skipif(not EXTENDED, reason="NumPy has no extended precision on this machine")
@pytest.mark.parametrize("name", SAMPLE)
def test_a_second_rule_gives_the_same(name):
    for i in (0, 5, 7, 10):
        again = expectations(name, K_GRID[i], "other")
        for q in ("g", "g4", "dg", "s2"):
            value = table()[name][q][i]
            assert value == float(again[q]) or abs(float(again[q]) / value - 1) < CLOSE, (q, K_GRID[i])


@pytest.mark.parametrize("name", PEOPLE)
def test_exact_forms_are_those_of_the_functions(name):
    """σ and σ′ in NumPy are those of the JAX code."""
    z = np.linspace(-7.013, 8.17, 301)
    fn, (exact, slope) = PEOPLE[name].fn, EXACT[name]
    value, tangent = jax.jvp(fn, (jnp.asarray(z),), (jnp.ones_like(z),))
    np.testing.assert_allclose(value, np.asarray(exact(z.astype(LONG)), float), rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(tangent, np.asarray(slope(z.astype(LONG)), float), rtol=1e-11, atol=1e-12)


def test_the_kinks_are_kinks():
    """At each declared kink a difference of order 1 to 4 is far larger than nearby."""
    for name, person in PEOPLE.items():
        for c in person.kinks:
            h = 1e-2 if abs(c) != 1e-6 else 1e-7
            rough = [_roughness(name, c, h, k) > 5 * _roughness(name, c + 6 * h, h, k) for k in (1, 2, 3, 4)]
            assert any(rough), (name, c)


def _roughness(name, c, h, order):
    """max |Δᵏσ| around c."""
    z = LONG(c) + h * np.arange(-order - 0.5, order + 1, dtype=LONG)
    return float(np.max(np.abs(np.diff(EXACT[name][0](z), order))))


def test_where_maxsig_bends():
    assert abs(MAXSIG - 1 / (1 + math.exp(-MAXSIG))) < 2e-16


def test_the_measure_of_errors():
    """An error of 1e-9 is detected, and so is an infinity; a saturated overflow counts as right."""
    exact = table()["exp"]
    off = np.where(exact["K"] == 1, exact["g"] * (1 + 1e-9), exact["g"])
    wrong = relative_errors("exp", "g", off, np.float64)
    assert np.count_nonzero(wrong) == 1 and abs(wrong.max() / 1e-9 - 1) < 1e-6
    assert np.isinf(relative_errors("cos", "g", np.full(13, np.inf), np.float64)).all()
    assert relative_errors("exp", "g", np.full(13, np.finfo(float).max), np.float64)[-1] == 0
