"""⟨f⟩_K of any f is exact or warns, and is differentiable to any order."""

import math
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eft
from eft.gaussian.expectation import density, half_line

SCALES = jnp.logspace(-12, 12, 13)


def upper_tail(a):
    return math.erfc(a / math.sqrt(2)) / 2


@pytest.mark.parametrize("k", [0, 1, 2, 3, 4])
def test_even_powers(k):
    exact = math.prod(range(1, 2 * k, 2)) * np.asarray(SCALES) ** k
    np.testing.assert_allclose(eft.gaussian_expectation(lambda z: z ** (2 * k), SCALES), exact, rtol=1e-13)


def test_odd_functions_vanish_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (eft.gaussian_expectation(lambda z: z + z**3, SCALES) == 0).all()


def test_characteristic_function():
    K = jnp.array([1e-8, 0.1, 1.0, 5.0])
    np.testing.assert_allclose(eft.gaussian_expectation(jnp.cos, K), np.exp(-K / 2), rtol=1e-12)
    np.testing.assert_allclose(eft.gaussian_expectation(jnp.exp, K), np.exp(K / 2), rtol=1e-12)


@pytest.mark.parametrize("c", [-1.0, 0.3, 1e3])
@pytest.mark.parametrize("K", [1e-12, 1e-2, 1.0, 40.0, 1e4, 1e7, 1e12])
def test_kinked_ramp(c, K):
    """⟨(z−c)₊⟩ = K p_K(c) − c Q(c/√K), where that does not cancel."""
    found = eft.gaussian_expectation(lambda z: jnp.maximum(z - c, 0.0), K, kinks=(c,))
    a = c / math.sqrt(K)
    exact = float(K * density(c, jnp.asarray(K))) - c * upper_tail(a)
    if a < 2:
        np.testing.assert_allclose(found, exact, rtol=1e-12)
    else:  # the continued fraction of the tail in place of the difference
        b = a
        for m in range(400, 0, -1):
            b = a + m / b
        mills = 1 / b
        tail = float(density(a, jnp.asarray(1.0))) * math.sqrt(K) * (1 - a * mills)
        np.testing.assert_allclose(found, tail, rtol=1e-9)


def test_shape_of_K_and_pytrees():
    K = jnp.ones((2, 3))
    square, (fourth,) = eft.gaussian_expectation(lambda z: (z**2, (z**4,)), K)
    assert square.shape == fourth.shape == (2, 3)
    np.testing.assert_allclose(fourth, 3 * np.ones((2, 3)), rtol=1e-13)


@pytest.mark.parametrize("c", [-1.0, 0.3, 7.0])
def test_undeclared_kink_is_reported(c):
    with pytest.warns(eft.QuadratureWarning, match="kinks="):
        eft.gaussian_expectation(lambda z: jnp.abs(z - c), 4.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        eft.gaussian_expectation(lambda z: jnp.abs(z - c), 4.0, kinks=(c,))


def test_kink_at_zero_need_not_be_declared():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = eft.gaussian_expectation(jnp.abs, SCALES)
    np.testing.assert_allclose(found, np.sqrt(2 * SCALES / np.pi), rtol=1e-13)


def test_error_bounds_the_error():
    """Over random kinks and scales the estimate exceeds the true error, and not by orders of magnitude."""
    rng = np.random.default_rng(0)
    ratios = []
    for _ in range(40):
        c, K = rng.uniform(0.01, 3), 10 ** rng.uniform(-1, 2)
        found = eft.gaussian_expectation(lambda z, c=c: jnp.maximum(z - c, 0.0), K, return_error=True)
        exact = eft.gaussian_expectation(lambda z, c=c: jnp.maximum(z - c, 0.0), K, kinks=(c,))
        ratios.append(float(abs(found.value - exact) / found.error))
    assert max(ratios) < 1
    assert max(ratios) > 1e-3


def test_unresolved_oscillation_is_reported():
    with pytest.warns(eft.QuadratureWarning):
        eft.gaussian_expectation(lambda z: jnp.sin(z) ** 2, 1e6)


def test_traced_error_is_a_value():
    run = jax.jit(lambda K: eft.gaussian_expectation(lambda z: jnp.abs(z - 1), K, return_error=True))
    assert run(1.0).error > 1e-6


def test_zero_variance():
    assert eft.gaussian_expectation(jnp.cos, 0.0) == 1.0
    assert eft.gaussian_expectation(lambda z: jnp.sign(z) ** 2, 0.0, kinks=(0.0,)) == 1.0
    np.testing.assert_allclose(jax.grad(lambda K: eft.gaussian_expectation(jnp.cos, K))(0.0), -0.5)


@pytest.mark.sweep("0.3")
@pytest.mark.parametrize("c", [-1.0, 0.3, 2.0])
def test_derivatives_of_every_order_at_a_kink(c):
    """d/dK⟨(z−c)₊⟩ = ½p_K(c), and its derivative; without the kink declared they are wrong."""

    def mean(K, kinks):
        return eft.gaussian_expectation(lambda z: jnp.maximum(z - c, 0.0), K, kinks, return_error=True).value

    K = 1.7
    p = float(density(c, jnp.asarray(K)))
    first, second = jax.grad(mean), jax.grad(jax.grad(mean))
    np.testing.assert_allclose(first(K, (c,)), p / 2, rtol=1e-12)
    np.testing.assert_allclose(second(K, (c,)), p / 4 * (c * c / K - 1) / K, rtol=1e-11)
    assert abs(second(K, ()) / (p / 4 * (c * c / K - 1) / K) - 1) > 1e-2


def test_derivative_by_a_variable_that_f_closes_over():
    K = 0.9

    def mean(a):
        return eft.gaussian_expectation(lambda z: jnp.cos(a * z), K)

    a = 0.7
    np.testing.assert_allclose(mean(a), math.exp(-a * a * K / 2), rtol=1e-13)
    np.testing.assert_allclose(jax.grad(mean)(a), -a * K * math.exp(-a * a * K / 2), rtol=1e-12)
    np.testing.assert_allclose(jax.vmap(mean)(jnp.array([a]))[0], mean(a), rtol=1e-15)


def test_vmap_and_jit_agree_with_the_plain_call():
    K = jnp.logspace(-3, 3, 7)
    f = lambda z: jnp.tanh(z) ** 2  # noqa: E731
    plain = eft.gaussian_expectation(f, K)
    np.testing.assert_allclose(jax.vmap(lambda K: eft.gaussian_expectation(f, K))(K), plain, rtol=1e-14)
    np.testing.assert_allclose(jax.jit(lambda K: eft.gaussian_expectation(f, K))(K), plain, rtol=1e-14)


def test_float32():
    K = jnp.logspace(-12, 12, 13, dtype=jnp.float32)
    found = eft.gaussian_expectation(lambda z: z**2, K)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, K, rtol=2e-6)


def test_weights_integrate_a_gaussian():
    """Σ 2v p_K = 1 with every kind of cut, at both ends of the window."""
    for kinks in ((), (0.5,), (-3.0, 1e-3, 40.0)):
        z, v = half_line(kinks)
        assert (z >= 0).all() and (v > 0).all()
        for K in (1e-16, 1e-3, 1.0, 1e4, 1e16):
            np.testing.assert_allclose((2 * v * density(z, K)).sum(), 1.0, rtol=1e-13)
