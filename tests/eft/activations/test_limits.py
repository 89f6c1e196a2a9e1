"""Limits at kinks, derivatives that evaluate to NaN, and functions written carelessly in float32 are handled.

The reference in each test is the same function in a numerically stable form.
"""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eft
from eft.activations import formulas
from eft.activations.derivatives import Sampler, derivative, nested_derivatives
from eft.activations.one_sided import exponent, jump_at, points, sides


def careless_swish(z):
    """Swish as it is often written: its derivative is ∞/∞² at large negative z."""
    return z / (1 + jnp.exp(-z))


@pytest.mark.parametrize("c", [1e-3, 1.0, 3.0, 100.0])
def test_jumps_next_to_rounding(c):
    """`where(z + 1 > c + 1, …)` has its kink a few floating-point numbers away from c."""
    step = lambda z: jnp.where(z + 1 > c + 1, 1.0 + z, z)  # noqa: E731
    ramp = lambda z: jnp.maximum(z + 1, c + 1) - 1  # noqa: E731
    assert jump_at(step, c, jnp.float64) == pytest.approx(1.0, rel=1e-12)
    assert jump_at(derivative(ramp), c, jnp.float64) == pytest.approx(1.0, rel=1e-12)
    assert jump_at(ramp, c, jnp.float64) == 0.0


def test_neighbours_of_c_are_on_one_side():
    """The control of the above: the two numbers next to c lie on the same side of the kink."""
    below, above = sides(1.0, np.float64)
    step = lambda z: jnp.where(z + 1 > 2, 1.0, 0.0)  # noqa: E731
    assert step(jnp.asarray(above)) == step(jnp.asarray(below))
    assert jump_at(step, 1.0, jnp.float64) == 1.0


@pytest.mark.parametrize("power", [0.25, 0.5, 0.75])
def test_a_slope_without_a_limit_is_no_jump(power):
    """σ = |z − 1|^a: σ′ ~ |z − 1|^{a−1} has no limit; its exponent is measured between two distances."""
    at = points(np.array([1.0]))
    slope = power * np.sign(at.z - 1) * np.abs(at.z - 1) ** (power - 1)
    assert exponent(at, slope, 1.0) == pytest.approx(1 - power, rel=1e-3)
    assert jump_at(derivative(lambda z: jnp.abs(z - 1) ** power), 1.0, jnp.float64) == 0.0


def test_derivatives_that_are_nan_are_taken_from_values():
    z = np.array([-900.0, -720.0, -400.0, -1.0, 0.5, 30.0])
    naive = Sampler(careless_swish, lambda z: nested_derivatives(careless_swish, z))
    assert not np.isfinite(np.stack(naive.raw(z))).all(), "the control: JAX's are not"
    for k, (found, exact) in enumerate(zip(naive(z), formulas.swish(jnp.asarray(z)), strict=True)):
        np.testing.assert_allclose(found, exact, rtol=1e-9, atol=1e-9, err_msg=str(k))


@pytest.mark.sweep("careless_swish-swish-10000.0")
@pytest.mark.parametrize(
    ("fn", "name", "K1"),
    [
        (careless_swish, "swish", 1e4),
        (lambda z: 1 / (1 + jnp.exp(-z)), "sigmoid", 1e4),
        (lambda z: jnp.clip(z + 1, 0, 2) - 1, "hard_tanh", 0.9),
    ],
)
def test_careless_formulas(fn, name, K1):
    """The flow is that of the stable form, in float64 and in float32 with float64 switched off."""
    careful = eft.kernel_flow(name, 1.0, 4, K1=K1)
    for x64, rtol in ((True, 1e-11), (False, 1e-5)):
        with jax.enable_x64(x64):
            found = eft.kernel_flow(fn, jnp.ones(()), 4, K1=K1)
            assert found.K.dtype == (jnp.float64 if x64 else jnp.float32) and found.valid.all()
        for field in ("K", "chi_parallel", "chi_perp", "V"):
            np.testing.assert_allclose(
                getattr(found, field), getattr(careful, field), rtol=rtol, err_msg=field
            )


def test_the_careless_form_fails_in_float32():
    """The control: in float32 JAX's derivative of the careless form is NaN below z = −89."""
    assert not jnp.isfinite(derivative(careless_swish)(jnp.float32(-100.0)))


def test_a_slope_that_grows_without_bound_is_marked():
    """Elsewhere than at 0 the spacing of floating-point numbers is too coarse to resolve it."""
    with pytest.warns(eft.QuadratureWarning, match="layer 1"):
        flow = eft.kernel_flow(lambda z: jnp.abs(z - 1) ** 0.2, 1.0, 2)
    assert not flow.valid.any()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert eft.kernel_flow(lambda z: jnp.abs(z) ** 0.2, 1.0, 2).valid.all(), "the control"


@pytest.mark.sweep
def test_unknown_phases_are_marked():
    with pytest.warns(eft.QuadratureWarning, match="whether K′ = K somewhere at K from .* is not known"):
        (point,) = eft.fixed_points(jnp.floor, 0.5)
    np.testing.assert_allclose(point.K, 0.3352608924, rtol=1e-9)
    with pytest.warns(eft.QuadratureWarning, match="the threshold at .* is not known"):
        assert np.isnan(eft.threshold(jnp.floor, 0.5))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert eft.threshold(careless_swish, 1.9, 0.1) == np.inf == eft.threshold("swish", 1.9, 0.1)
        # a logarithm beyond the window is not known, but certainly below K
        for name in ("softsign", "arctan", "log_sigmoid"):
            assert eft.threshold(name, 1.0) == np.inf and eft.fixed_points(name, 1.0)
