"""Every activation is in its class, with published numbers; predicted exponents are those of flows."""

import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from user_functions import user_function

import eft
from eft.criticality.candidates import FLAT, HALF_INTEGER, HALF_STABLE, KINDS, NONE, SCALE_INVARIANT, ZERO
from eft.criticality.universality import CriticalPoint, classify, critical_point

PUBLISHED = 1e-10
"""Relative error of published numbers, where their digits are known."""

DEPTH = 100_000
"""Depth of the flows that must show the exponents: corrections fall as log(l)/l."""

CLASSES = {
    "perceptron": NONE,
    "sigmoid": NONE,
    "tanh": ZERO,
    "sin": ZERO,
    "relu": SCALE_INVARIANT,
    "leaky_relu": SCALE_INVARIANT,
    "prelu": SCALE_INVARIANT,
    "softplus": NONE,
    "swish": HALF_STABLE,
    "gelu": HALF_STABLE,
    "elu": HALF_INTEGER,
    "selu": HALF_INTEGER,
    "erf": ZERO,
    "mish": HALF_STABLE,
    "softsign": HALF_INTEGER,
    "arctan": ZERO,
    "hard_tanh": FLAT,
    "linear": SCALE_INVARIANT,
    "repu": NONE,
    "mrepu": ZERO,
    "squared_relu": NONE,
    "relu6": FLAT,
    "hard_sigmoid": NONE,
    "hard_swish": HALF_STABLE,
    "soft_shrink": NONE,
    "hard_shrink": NONE,
    "sparse_plus": NONE,
    "sparse_sigmoid": NONE,
    "celu": HALF_INTEGER,
    "squareplus": NONE,
    "quick_gelu": HALF_STABLE,
    "gelu_tanh": HALF_STABLE,
    "log_sigmoid": NONE,
    "snake": HALF_STABLE,
}
UNDERFLOWS = {"soft_shrink"}
"""χ∥ and χ⊥ underflow as K → 0, so that it is not known whether their ratio stays below 1."""

# name, field, value: PDLT ch. 5; for ELU, softsign and SELU from the one-sided Taylor series
NUMBERS = [
    ("tanh", "a1", -2.0),
    ("tanh", "b1", -2.0),
    ("sin", "a1", -1.0),
    ("sin", "b1", -1.0),
    ("erf", "cw", np.pi / 4),
    ("mrepu", "a1", 18.0),
    ("mrepu", "b1", 22.0),
    ("gelu", "K", (3 + np.sqrt(17)) / 2),
    ("gelu", "cw", 1.983058257437552),
    ("gelu", "cb", 0.172922390756069),
    ("swish", "K", 14.32017361802575),
    ("swish", "cw", 1.988004678269498),
    ("swish", "cb", 0.555143170721529),
    ("elu", "c", -np.sqrt(2 / np.pi)),
    ("softsign", "c", -4 * np.sqrt(2 / np.pi)),
    ("selu", "c", -np.sqrt(8 / np.pi) / (1 + 1 / 1.6732632423543772**2)),
    ("selu", "cw", 2 / (1.0507009873554805**2 * (1 + 1.6732632423543772**2))),
    ("relu", "cw", 2.0),
    ("leaky_relu", "cw", 2 / 1.0001),
    ("linear", "cw", 1.0),
]


@pytest.mark.sweep
def test_the_catalogue_is_classified(compilations):
    """Each activation is in its class; few programs are compiled for each."""
    found, compiled = {}, {}
    for name in eft.activation_names():
        compiled[name] = compilations(lambda name=name: found.update({name: classify(name)}))
    assert {name: u.kind for name, u in found.items()} == CLASSES
    assert {name for name, u in found.items() if not u.sure} == UNDERFLOWS
    assert all(u.reason and u.advice for u in found.values())
    assert all(u.kind in KINDS for u in found.values())
    del compiled["perceptron"]  # the first, for which what all share is compiled
    assert max(compiled.values()) < 30 and sum(compiled.values()) < 300


@pytest.mark.parametrize(("name", "field", "value"), NUMBERS)
def test_published_numbers(name, field, value):
    np.testing.assert_allclose(getattr(classify(name), field), value, rtol=PUBLISHED)


def test_snake_in_closed_form():
    """χ∥ = χ⊥ where 1 + q − q⁴ = 1 + (1 − q⁴)/2, q = e^{−2K}."""
    q = min(r.real for r in np.roots([1, 0, 0, -2, 1]) if abs(r.imag) < 1e-12 and 0 < r.real < 0.99)
    np.testing.assert_allclose(classify("snake").K, -np.log(q) / 2, rtol=1e-10)


def test_mish_to_the_published_digits():
    found = classify("mish")
    np.testing.assert_allclose((found.K, found.cw, found.cb), (1.670169, 2.013524, 0.094522), atol=5e-7)


@pytest.mark.parametrize(
    ("name", "parameters", "says"),
    [
        ("perceptron", {}, "jumps at z = 0"),
        ("sigmoid", {}, "C_b = -4 < 0"),
        ("softplus", {}, "χ∥ > χ⊥ at every K"),
        ("repu", {"p": 2}, "χ∥/χ⊥ = 1.5"),
        ("repu", {"p": 3}, "χ∥/χ⊥ = 1.66667"),
        ("repu", {"p": 5}, "χ∥/χ⊥ = 1.8"),
    ],
)
def test_none_and_why(name, parameters, says):
    act = eft.activation(name, **parameters)
    found = classify(act)
    assert found.kind == NONE and says in found.reason and found.sure
    assert critical_point(act) is None
    assert np.isnan([found.K, found.cw, found.cb]).all() and not found.candidates


@pytest.mark.parametrize(
    ("name", "stability"),
    [
        ("tanh", "stable"),
        ("sin", "stable"),
        ("elu", "stable"),
        ("hard_tanh", "stable"),
        ("mrepu", "unstable"),
        ("relu", "neutral"),
        ("gelu", "from above"),
        ("swish", "from below"),
        ("mish", "from below"),
    ],
)
def test_stability_is_that_of_the_flow(name, stability):
    """One step from 1 % below and above K*, or from K = 0.02 where K* = 0."""
    found = classify(name)
    assert found.stability == stability
    K = found.K * np.array([0.99, 1.01]) if found.K else np.array([0.02])
    step = found.cb + found.cw * np.asarray(eft.moments(eft.activation(name), jnp.asarray(K)).g) - K
    inward = [bool(i) for i in np.sign(step) == np.sign(found.K - K)]
    expected = {
        "stable": [True],
        "unstable": [False],
        "from above": [False, True],
        "from below": [True, False],
    }
    if stability == "neutral":
        np.testing.assert_allclose(step, 0, atol=1e-16)
    else:
        assert inward == expected[stability]


def test_all_points_are_listed_and_the_stable_one_preferred():
    for name in ("gelu", "swish", "mish"):
        kinds = [(p.kind, p.stability) for p in classify(name).candidates]
        assert kinds[0][0] == HALF_STABLE and kinds[1:] == [(ZERO, "unstable")]
    # a stable K* = 0 comes first, whatever else there is
    found = classify(eft.Activation(lambda z: jnp.tanh(z) + 0.1 * jnp.maximum(z - 1e-3, 0), (1e-3,)))
    assert found.kind == ZERO and found.stable and len(found.candidates) > 1
    assert 0 < found.basin[1] < 1e-6
    assert critical_point("tanh") == CriticalPoint(0.0, 1.0, 0.0)


@pytest.mark.sweep("tanh", "elu", "hard_tanh", "mrepu", "gelu")
@pytest.mark.parametrize("name", [n for n, kind in CLASSES.items() if kind not in (NONE, SCALE_INVARIANT)])
def test_critical_means_critical(name):
    """At every candidate K* is a fixed point with χ∥ = χ⊥ = 1, by a different quadrature."""
    act = eft.activation(name)
    for point in classify(name).candidates:
        K = point.K or 1e-12
        g, slope2 = (
            float(eft.gaussian_expectation(f, K, act.kinks))
            for f in (lambda z: act(z) ** 2, lambda z: act.derivatives(z)[1] ** 2)
        )
        np.testing.assert_allclose(point.cb + point.cw * g, K, rtol=1e-5 if point.K == 0 else 1e-13)
        np.testing.assert_allclose(point.cw * slope2, 1, rtol=1e-5 if point.K == 0 else 1e-13)


@pytest.mark.parametrize("name", ["gelu", "swish", "mish"])
def test_expansion_about_a_half_stable_point(name):
    """a₁ and b₁ against differences of K′ and χ⊥ over ±δ."""
    point = classify(name).candidates[0]
    delta = 1e-3 * point.K
    m = eft.moments(eft.activation(name), point.K + delta * jnp.array([-1.0, 0.0, 1.0]))
    bend = point.cw * (m.g[0] - 2 * m.g[1] + m.g[2]) / (2 * delta**2)
    np.testing.assert_allclose(point.a1, bend, rtol=1e-2)
    np.testing.assert_allclose(point.b1, point.cw * (m.slope2[2] - m.slope2[0]) / (2 * delta), rtol=1e-5)


# --- exponents ----------------------------------------------------------------------------------


def exponents(name, cw, cb=0.0, K1=1.0, star=0.0, first=DEPTH // 10):
    """Slopes of log |K − K*| and log K_[2], K_[2]′ = χ⊥K_[2], against log l over the last layers."""
    flow = eft.kernel_flow(name, cw, DEPTH, cb=cb, K1=K1)
    layer = np.arange(1, DEPTH + 1)
    late = layer >= first
    log_K2 = np.concatenate([[0.0], np.cumsum(np.log(flow.chi_perp))[:-1]])
    distance = np.abs(np.asarray(flow.K) - star)
    return [np.polyfit(np.log(layer[late]), y[late], 1)[0] for y in (np.log(distance), log_K2)]


@pytest.mark.parametrize(
    ("name", "rtol"), [("tanh", 0.01), ("sin", 0.01), ("elu", 0.02), ("selu", 0.02), ("softsign", 0.02)]
)
def test_exponents_of_flows(name, rtol):
    found = classify(name)
    expected = found.exponent_K, found.exponent_K2
    assert expected == ((-1, -1) if name in ("tanh", "sin") else (-2, -2))
    np.testing.assert_allclose(exponents(name, found.cw), expected, rtol=rtol)


def test_exponents_of_a_half_stable_flow():
    """2 %: corrections fall as log(l)/l over a₁ = 0.008."""
    found = classify("mish")
    measured = exponents("mish", found.cw, found.cb, found.K / 2, found.K)
    np.testing.assert_allclose(measured, (found.exponent_K, found.exponent_K2), rtol=0.02)


@pytest.mark.parametrize("off", [0.999, 1.001])
def test_off_criticality_there_is_no_power_law(off):
    measured = exponents("tanh", off)
    assert np.all(np.abs(np.array(measured) + 1) > 0.5)


def test_flat_class_falls_slower_than_any_power():
    found = classify("hard_tanh")
    assert (found.a1, found.b1, found.c, found.exponent_K, found.exponent_K2) == (0, 0, 0, 0, 0)
    slope, slope2 = exponents("hard_tanh", found.cw)
    assert -0.15 < slope < 0 and -0.15 < slope2 < 0  # K ~ 1/(2 log l), K_[2] ~ √K
    flow = eft.kernel_flow("hard_tanh", 1.0, DEPTH)
    assert abs(2 * np.log(DEPTH) * float(flow.K[-1]) - 1) < 0.2


def test_mrepu_blows_up_where_a1_says():
    """l* → 1/(a₁K¹) as K¹ → 0; the correction falls as K¹ log K¹."""
    a1 = classify("mrepu").a1
    ratios = []
    for K1 in (1e-3, 1e-4, 1e-5):
        flow = eft.kernel_flow("mrepu", 1.0, int(1.2 / (a1 * K1)) + 20, K1=K1)
        ratios.append(float(np.argmax(np.asarray(flow.K) > 1) + 1) * a1 * K1)
    assert abs(ratios[-1] - 1) < 0.01
    assert ratios[0] > ratios[1] > ratios[2] > 1


# --- functions of the user's --------------------------------------------------------------------


@pytest.mark.more
def test_thirty_functions_with_and_without_declared_kinks():
    """The same answer, or `sure` is False, which is rare."""
    unsure = []
    for seed in range(30):
        name, fn, kinks = user_function(seed)
        told, untold = (classify(eft.Activation(fn, k, name)) for k in (kinks, ()))
        if not untold.sure:
            assert untold.notes, name
            unsure.append(name)
            continue
        assert (told.kind, told.stability, len(told.candidates)) == (
            untold.kind,
            untold.stability,
            len(untold.candidates),
        ), name
        np.testing.assert_allclose(
            (told.K, told.cw, told.cb), (untold.K, untold.cw, untold.cb), rtol=1e-9, err_msg=name
        )
    assert len(unsure) <= 5, unsure


@pytest.mark.sweep("tanh", "mrepu")
@pytest.mark.parametrize("name", ["tanh", "gelu", "elu", "mrepu"])
def test_scaling(name):
    """σ → aσ(bz): K* → K*/b², C_W → C_W/(ab)², C_b → C_b/b², a₁ → b²a₁, c → bc. No hints are given."""
    a, b = 0.7, 2.3
    fn = eft.activation(name).fn
    plain, scaled = classify(name), classify(lambda z: a * fn(b * z))
    assert (scaled.kind, scaled.stability, scaled.sure) == (plain.kind, plain.stability, True)
    found = (scaled.K * b**2, scaled.cw * (a * b) ** 2, scaled.cb * b**2)
    np.testing.assert_allclose(found, (plain.K, plain.cw, plain.cb), rtol=1e-9)
    coefficients = scaled.a1 / b**2, scaled.b1 / b**2, scaled.c / b
    np.testing.assert_allclose(coefficients, (plain.a1, plain.b1, plain.c), rtol=1e-6, atol=1e-9)


def test_later_orders():
    """σ with σ‴(0) = 0: K′ = K + aK³, K ~ l^{−1/2}; and σ = z − |z|^{5/2}/10: K′ = K + aK^{7/4}."""
    later = classify(lambda z: jnp.tanh(z) + z**3 / 3 * jnp.exp(-z * z))
    assert later.kind == ZERO and later.stable and later.sure
    np.testing.assert_allclose((later.candidates[0].order, later.exponent_K), (2, -0.5))
    fraction = classify(lambda z: jnp.arctan(z) - 0.1 * z * jnp.abs(z) ** 1.5)
    np.testing.assert_allclose(fraction.candidates[0].order, 0.75, rtol=0.02)


def test_textbook_formulas_that_overflow():
    """tanh as (e^z − e^−z)/(e^z + e^−z), NaN beyond 710 and noisy at small z: the answer is that of tanh."""
    found = classify(lambda z: (jnp.exp(z) - jnp.exp(-z)) / (jnp.exp(z) + jnp.exp(-z)))
    assert found.kind == ZERO and found.stable and found.sure
    np.testing.assert_allclose((found.cw, found.a1, found.b1), (1, -2, -2), rtol=1e-9)
    assert any("not known" in note for note in found.notes) and found.basin[1] < 1e4


# --- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fn", "says"),
    [
        (lambda z: 0 * z + 1.3, "constant"),
        (lambda z: 0 * z, "constant"),
        (jnp.sign, "jumps at z = 0"),
        (jnp.floor, "jumps"),
        (lambda z: jnp.where(z > 0.7, 2.0, z), "jumps at z = 0.7"),
        (lambda z: jnp.sqrt(jnp.abs(z)), "|z|^0.5"),
    ],
)
def test_functions_without_a_critical_point(fn, says):
    found = classify(fn)
    assert found.kind == NONE and says in found.reason and found.sure


@pytest.mark.sweep
def test_functions_not_differentiable_at_zero_are_marked():
    wild = classify(lambda z: jnp.where(z == 0, 0.0, z * jnp.sin(1 / jnp.where(z == 0, 1.0, z))))
    assert wild.kind == NONE and not wild.sure and "no limit" in wild.reason
    nowhere = classify(lambda z: sum(0.5**n * jnp.sin(4.0**n * z) for n in range(12)))
    assert not nowhere.sure and nowhere.notes


@pytest.mark.sweep
def test_unresolved_structure_is_marked():
    assert not classify(lambda z: jnp.tanh(z - 100.0)).sure
    assert not classify(lambda z: jnp.abs(z % 2 - 1)).sure


@pytest.mark.parametrize(
    ("act", "error", "says"),
    [
        (lambda z: jnp.where(z > 10, jnp.nan, jnp.tanh(z)), ValueError, "NaN at z = 10"),
        (lambda z: z * jnp.sin(1 / z), ValueError, "finite"),
        (lambda z: jnp.sum(z), ValueError, "elementwise"),
        ("tanhh", ValueError, "tanh"),
        (3, TypeError, "act"),
    ],
)
def test_bad_input(act, error, says):
    with pytest.raises(error, match=says):
        classify(act)


@pytest.mark.sweep
def test_float32():
    """Without float64 the classes are the same; K* > 0 only to 1 %, since χ∥ − χ⊥ is flat there."""
    code = (
        "from eft import classify\n"
        "for name in ('tanh', 'elu', 'relu', 'sigmoid', 'gelu'):\n"
        "    u = classify(name)\n"
        "    print(name, u.kind, u.K, sep=';')\n"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    for line in run.stdout.splitlines():
        name, kind, K = line.split(";")
        assert kind == CLASSES[name], line
        if kind == HALF_STABLE:
            np.testing.assert_allclose(float(K), classify(name).K, rtol=1e-2)
