"""Expectations of two variables agree with closed forms and with the rule for one variable."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

import eft

SIZES = (1e-6, 1e-2, 1.0, 1e2, 1e4)
GAPS = (2.0, 1.99, 1.5, 1.0, 0.7, 0.1, 1e-4, 1e-10, 0.0)
GRID = [jnp.array(a) for a in zip(*itertools.product(SIZES, SIZES, GAPS), strict=True)]
NAMES = ("tanh", "elu", "repu")


def erf_in_closed_form(K1, K2, gap):
    """(2/π) arcsin(2K₁₂/√((1+2K₁)(1+2K₂))), and (4/π)/√((1+2K₁)(1+2K₂) − 4K₁₂²) free of cancellation."""
    K12 = (1 - gap) * jnp.sqrt(K1 * K2)
    root = 1 + 2 * (K1 + K2) + 4 * K1 * K2 * gap * (2 - gap)
    return 2 / jnp.pi * jnp.arctan2(2 * K12, jnp.sqrt(root)), 4 / jnp.pi / jnp.sqrt(root)


def test_erf_everywhere():
    found = eft.pair_expectation("erf", *GRID)
    product, slopes = erf_in_closed_form(*GRID)
    g = [eft.moments(eft.activation("erf"), K).g for K in GRID[:2]]
    assert float(jnp.max(jnp.abs(found.product - product) / jnp.sqrt(g[0] * g[1]))) < 1e-12
    assert float(jnp.max(jnp.abs(found.slopes / slopes - 1))) < 1e-11


@pytest.mark.more
@pytest.mark.parametrize("name", NAMES)
def test_correlations_0_and_1(name):
    """At ρ = 1 with K₁ = K₂, and ρ = 0, one variable is left; the identity that `error` uses holds."""
    act = eft.activation(name)
    found = eft.pair_expectation(act, *GRID)
    assert float(found.error.max()) < 1e-13
    K1, K2, gap = map(np.asarray, GRID)
    m = eft.moments(act, jnp.asarray(K1))
    one = (gap == 0) & (K1 == K2)
    np.testing.assert_allclose(found.product[one], m.g[one], rtol=1e-13)
    np.testing.assert_allclose(found.slopes[one], m.slope2[one], rtol=1e-12)
    assert (np.asarray(found.distance)[one] <= 1e-28 * np.asarray(m.g)[one]).all()
    mean = jnp.stack([eft.gaussian_expectation(act, K, act.kinks) for K in (K1, K2)])
    scale = np.sqrt(np.asarray(m.g * eft.moments(act, jnp.asarray(K2)).g))
    zero = gap == 1
    assert (np.abs(found.product - mean[0] * mean[1])[zero] <= 1e-13 * scale[zero]).all()


@pytest.mark.sweep("elu", "gelu", "tanh")
@pytest.mark.parametrize("name", ["gelu", "elu", "hard_tanh", "tanh"])
def test_distance_of_close_inputs(name):
    """⟨(σ₁−σ₂)²⟩ → 2K(1−ρ)⟨σ′²⟩ as ρ → 1, to first order in θ: at 1−ρ = 1e-12 θ is 1.4e-6."""
    act = eft.activation(name)
    K = jnp.array([1e-2, 1.0, 1e2])
    gap = 1e-12
    found = eft.pair_expectation(act, K, K, gap)
    between = eft.pair_expectation(act, K, K, gap / 4)
    # d = 2K∫⟨σ′σ′⟩ dρ, with a term ∝ θ in ⟨σ′σ′⟩ where σ′ jumps: two gaps give it
    slope = np.asarray(between.slopes * 2 - found.slopes)
    np.testing.assert_allclose(slope, eft.moments(act, K).slope2, rtol=1e-10)
    linear = (found.slopes - slope) * 2 / 3  # ∫₀^θ θ′² dθ′ against θ·θ²/2
    np.testing.assert_allclose(found.distance, 2 * K * gap * (slope + linear), rtol=1e-8)
    assert np.abs(np.asarray(found.distance / (4 * K * gap * slope) - 1)).min() > 0.1


def test_undeclared_kink_is_found():
    hidden = eft.Activation(lambda z: jnp.tanh(z) + jnp.maximum(z - 0.3, 0.0))
    told = eft.Activation(hidden.fn, kinks=(0.3,))
    args = (jnp.array([1.0]), jnp.array([2.0]), jnp.array([0.4]))
    found, known = eft.pair_expectation(hidden, *args), eft.pair_expectation(told, *args)
    assert float(known.error[0]) < 1e-13
    for a, b in zip(found, known, strict=True):
        np.testing.assert_array_equal(a, b)


def test_sines():
    """⟨sin z₁ sin z₂⟩ = e^{−(K₁+K₂)/2} sinh K₁₂, and its derivative by the gap. The control: another gap."""
    K1, K2, gap = 0.7, 1.3, 0.4
    root, scale = np.sqrt(K1 * K2), np.exp(-(K1 + K2) / 2)
    found = eft.pair_expectation("sin", K1, K2, gap)
    by_gap = jax.grad(lambda gap: eft.pair_expectation("sin", K1, K2, gap).product)(gap)
    values = np.array([found.product, found.slopes, by_gap])
    exact, control = (
        scale * np.array([np.sinh(K12), np.cosh(K12), -root * np.cosh(K12)])
        for K12 in (root * (1 - gap), root)
    )
    np.testing.assert_allclose(values, exact, rtol=1e-13)
    assert (np.abs(values / control - 1) > 0.1).all()


def test_derivatives_with_a_kink():
    """By K₁, K₂ and the gap, against fourth-order differences. The control: those at another gap."""
    y, step = np.array([0.7, 1.3, 0.4]), 1e-3
    shifts = step * np.array([1, -1, 2, -2])[:, None, None] * np.eye(3)
    around = eft.pair_expectation("elu", *np.moveaxis(y + shifts, -1, 0))
    by_parts = jax.jit(jax.jacfwd(lambda y: eft.pair_expectation("elu", *y)[:2]))
    found, control = by_parts(jnp.asarray(y)), by_parts(jnp.asarray(y) * jnp.array([1, 1, 1.2]))
    for of, other, values in zip(found, control, around[:2], strict=True):
        differences = (8 * (values[0] - values[1]) - (values[2] - values[3])) / (12 * step)
        np.testing.assert_allclose(of, differences, rtol=1e-7)
        assert np.max(np.abs(other / of - 1)) > 0.01


@pytest.mark.more
@pytest.mark.parametrize("slope", [0.0, 0.3, -1.0])
def test_piecewise_linear_against_quadrature(slope):
    closed = eft.activation("leaky_relu", slope=slope)
    general = eft.Activation(closed.fn, kinks=(0.0,))
    found, exact = (eft.pair_expectation(act, *GRID) for act in (general, closed))
    scale = np.sqrt(np.asarray(GRID[0] * GRID[1]))
    assert np.max(np.abs(found.product - exact.product) / scale) < 1e-13
    np.testing.assert_allclose(found.slopes, exact.slopes, atol=1e-12)
    assert (np.abs(found.distance - exact.distance) <= 1e-9 * exact.distance + 1e-15 * scale).all()


@pytest.mark.more
def test_sine_against_quadrature():
    closed = eft.activation("sin", frequency=0.7)
    K = jnp.array([1e-4, 0.1, 1.0, 9.0])
    args = (K[:, None, None], K[:, None], jnp.array(GAPS))
    general = eft.pair_expectation(eft.Activation(closed.fn), *args)
    for a, b in zip(eft.pair_expectation(closed, *args)[:3], general[:3], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-13)


def test_float32():
    args = (jnp.float32(1.3), jnp.float32(0.4), jnp.float32(1e-4))
    found = eft.pair_expectation("tanh", *args)
    exact = eft.pair_expectation("tanh", *(jnp.float64(a) for a in args))
    assert found.product.dtype == jnp.float32
    np.testing.assert_allclose(found.product, exact.product, rtol=1e-5)
    np.testing.assert_allclose(found.distance, exact.distance, rtol=1e-4)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ((1.0, 1.0, 2.1), "gap"),
        ((-1.0, 1.0, 0.1), "K1"),
        ((1.0, jnp.inf, 0.1), "K2"),
        ((jnp.ones(2), jnp.ones(3), 0.1), "broadcast"),
    ],
)
def test_bad_input(args, says):
    with pytest.raises(ValueError, match=says):
        eft.pair_expectation("tanh", *args)


def test_under_jit_and_vmap():
    K = jnp.array([0.5, 2.0])
    plain = eft.pair_expectation("elu", K, 1.0, 0.1)
    jitted = jax.jit(lambda K: eft.pair_expectation("elu", K, 1.0, 0.1))(K)
    mapped = jax.vmap(lambda K: eft.pair_expectation("elu", K, 1.0, 0.1))(K)
    for a, b, c in zip(plain[:3], jitted[:3], mapped[:3], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-14)
        np.testing.assert_allclose(a, c, rtol=1e-14)


@pytest.mark.more
def test_erf_in_closed_form_keeps_the_distance():
    """Against quadrature where that is accurate, and against mpmath at close variables."""
    closed = eft.activation("erf")
    general = dataclasses.replace(closed, family=None)
    found, expected = (eft.pair_expectation(act, *GRID) for act in (closed, general))
    g = eft.moments(closed, GRID[0]).g + eft.moments(closed, GRID[1]).g
    for a, b in zip(found[:2], expected[:2], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-15)
    assert (np.abs(found.distance - expected.distance) <= 1e-9 * expected.distance + 1e-15 * g).all()
    with mpmath.workdps(60):
        for K1, K2, gap in itertools.product((1e-8, 1.0, 1e8), (1.0, 1 + 2.0**-20), (1e-14, 1e-6, 0.3)):
            K2 *= K1
            pair = eft.pair_expectation(closed, K1, K2, gap)
            k1, k2 = mpmath.mpf(K1), mpmath.mpf(K2)
            k12 = (1 - mpmath.mpf(gap)) * mpmath.sqrt(k1 * k2)
            sizes, product = (
                [mpmath.asin(2 * p / mpmath.sqrt((1 + 2 * q) * (1 + 2 * r))) for p, q, r in rows]
                for rows in ([(k1, k1, k1), (k2, k2, k2)], [(k12, k1, k2)])
            )
            distance = 2 / mpmath.pi * (sizes[0] + sizes[1] - 2 * product[0])
            # √K₁ − √K₂ is known to rounding of √K₁
            assert float(pair.distance) == pytest.approx(float(distance), rel=1e-9), (K1, K2, gap)
            naive = float(2 / mpmath.pi * (sizes[0] + sizes[1])) - 2 * float(pair.product)
            assert gap > 1e-10 or abs(naive / float(distance) - 1) > 1e-9
