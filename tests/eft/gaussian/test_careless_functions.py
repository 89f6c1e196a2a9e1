"""Moments of functions written without regard to rounding or derivatives are right, or marked as inaccurate.

In each case several quadrature rules agree with each other although they may be wrong.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate

import eft
from eft.activations.analysis import analysed

FLOAT64, FLOAT32 = 1e-12, 2e-6
K = np.array([1e-3, 0.07, 0.9, 11.0])


def moments(fn, K, dtype=np.float64, kinks=()):
    return eft.moments(analysed(eft.Activation(fn, kinks)), jnp.asarray(K, dtype))


def test_a_constant_is_added_before_the_kinks():
    """Near −0.7 and 1.7, z + 100 rounds by 1.4e-14: each kink is found once, and the moments are right."""
    clipped = lambda z: jnp.clip(z + 100, 99.3, 101.7) - 100  # noqa: E731
    assert np.allclose(analysed(clipped).kinks, (-0.7, 1.7), atol=2e-14)
    found = eft.kernel_flow(clipped, 1.0, 3, K1=0.9)
    plain = eft.kernel_flow(eft.Activation(lambda z: jnp.clip(z, -0.7, 1.7), (-0.7, 1.7)), 1.0, 3, K1=0.9)
    for a, b in zip(found[:5], plain[:5], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11)


def test_no_derivative_at_all():
    """Without a derivative in JAX χ⊥ would be 0, and every check of σ² against itself would agree."""
    assert (moments(lambda z: jax.lax.stop_gradient(jnp.tanh(z)), K).error == np.inf).all()
    assert (moments(jnp.tanh, K).error <= FLOAT64).all(), "the control"


def test_a_derivative_that_is_wrong_by_a_cubic():
    """⟨z He₃⟩_1 = 0, so that ⟨zσ⟩ does not reveal it at K = 1, but does nearby."""
    lie = lambda z: z + jax.lax.stop_gradient(0.1 * (z**3 - 3 * z))  # noqa: E731
    assert (moments(lie, [1.0]).error > 1e-2).all()


def test_only_reverse_derivatives():
    """A `custom_vjp` has no forward derivative: the slope is taken from values."""

    @jax.custom_vjp
    def quantized(z):
        return jnp.tanh(z)

    quantized.defvjp(lambda z: (jnp.tanh(z), z), lambda z, g: (g,))
    found, exact = moments(quantized, K), moments(jnp.tanh, K)
    for field in ("g", "g4", "var", "dg", "slope2"):
        np.testing.assert_allclose(getattr(found, field), getattr(exact, field), rtol=1e-10, err_msg=field)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_float32_inside(dtype):
    """A function that casts to float32 has steps of 6e-8, and its moments the accuracy of float32.

    `error` bounds the errors of all moments; that of g″ at K = 11 is 2e-6.
    """
    found = moments(lambda z: jnp.tanh(z.astype(jnp.float32)), K, dtype)
    exact = moments(jnp.tanh, K)
    for field in ("g", "g4", "dg", "slope2"):
        off = np.abs(np.asarray(getattr(found, field), float) / getattr(exact, field) - 1)
        assert (off <= np.minimum(FLOAT32, np.asarray(found.error) + np.finfo(dtype).eps)).all(), field
    assert (found.error <= FLOAT32).all() and (found.error >= 1e-8).all()


def even_moment(square, k, power):
    """⟨F^power⟩_K of an even F = σ², by an adaptive rule."""
    root = np.sqrt(k)
    weighted = lambda u: square(root * u) ** power * np.exp(-u * u / 2)  # noqa: E731
    places = [1e-3 / root] if root > 1e-4 else None
    whole, _ = scipy.integrate.quad(weighted, 0, 12, epsabs=0, epsrel=1e-13, limit=400, points=places)
    return 2 * whole / np.sqrt(2 * np.pi)


@pytest.mark.parametrize("k", [7.45e-9, 1e-4, 1e-2])
def test_structure_next_to_zero(k):
    """σ = log(|z| + 1e-3): a Taylor series about 0 describes σ² on a scale of 1e-3 only."""
    mean, fourth = (even_moment(lambda z: np.log(abs(z) + 1e-3) ** 2, k, power) for power in (1, 2))
    found = moments(lambda z: jnp.log(jnp.abs(z) + 1e-3), [k])
    assert abs(found.var[0] - (fourth - mean**2)) <= 1e-11 * fourth
    assert found.error[0] <= FLOAT64


def test_kinks_that_cancel_in_float32():
    """|z − 1e-8| − |z + 1e-8|: g″ is a difference of terms that are 10⁷ times larger."""
    found = moments(lambda z: jnp.abs(z - 1e-8) - jnp.abs(z + 1e-8), [1e-4, 1e-2], np.float32)
    assert (found.error > FLOAT32).all()
    apart = moments(lambda z: jnp.abs(z - 1) - jnp.abs(z + 1), [1e-2, 1.1], np.float32)
    assert (apart.error <= FLOAT32).all(), "the control"


def test_a_jump_of_a_large_value():
    found = moments(lambda z: 1e12 + jnp.where(z > 0.5, 1.0, 0.0), [1.0], kinks=(0.5,))
    assert found.slope2[0] == np.inf


def test_the_search_for_kinks_ends():
    """The derivatives of √z² are dominated by rounding near 0, at every scale."""
    found = moments(lambda z: jnp.sqrt(z**2) + 0.3 * z, K)
    np.testing.assert_allclose(found.g, 1.09 * K, rtol=FLOAT64)
    assert (found.error <= FLOAT64).all()


def parameter_flow(a):
    return eft.kernel_flow(lambda z: jnp.tanh(a * z), 1.0, 3, K1=0.8)


@pytest.mark.more
def test_a_traced_parameter():
    """The flow and its derivative by a parameter of the activation, under jit."""

    def last(a):
        flow = parameter_flow(a)
        return flow.V[-1], flow[:5]

    (_, by_jit), found = jax.jit(jax.value_and_grad(last, has_aux=True))(1.3)
    for traced, plain in zip(by_jit, parameter_flow(1.3)[:5], strict=True):
        np.testing.assert_allclose(traced, plain, rtol=FLOAT64)
    slope = (last(1.3001)[0] - last(1.2999)[0]) / 2e-4
    np.testing.assert_allclose(found, slope, rtol=1e-6)


@pytest.mark.more
def test_a_parameter_under_vmap():
    mapped = jax.vmap(lambda a: parameter_flow(a).V)(jnp.array([1.0, 1.3]))
    np.testing.assert_allclose(mapped[1], parameter_flow(1.3).V, rtol=FLOAT64)


@pytest.mark.more
def test_kinks_are_found_for_several_inputs():
    """An undeclared jump at 1.1, in the kernels of two inputs."""
    fn = lambda z: jnp.sign(z - 1.1) + z  # noqa: E731
    X = np.array([[1.0, 0.5], [0.3, -1.0]])
    found, declared = (eft.gram_flow(act, 1.0, 3, X).K for act in (fn, eft.Activation(fn, (1.1,))))
    np.testing.assert_array_equal(found, declared)
    np.testing.assert_allclose(found[0, 1], eft.pair_flow(fn, 1.0, 3, *X).K_ab[-1], rtol=1e-9)
