"""Normalization is that of Flax where Flax is exact, and goes on where its squares overflow or vanish."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from nets.network.normalization import normalized, slope_squares

Z = np.random.default_rng(0).normal(1.0, 2.0, (4, 6))
FLAX = {"rms": nnx.RMSNorm, "layer": nnx.LayerNorm}


@pytest.mark.promotes
@pytest.mark.parametrize("norm", FLAX)
def test_the_module_of_flax(norm):
    """To rounding. The control: the other norm."""
    more = {"use_bias": False, "use_fast_variance": False} if norm == "layer" else {}
    module = FLAX[norm](6, epsilon=0.0, use_scale=False, dtype=jnp.float64, rngs=nnx.Rngs(0), **more)
    np.testing.assert_allclose(normalized(norm, jnp.asarray(Z)), module(Z), rtol=1e-13)
    other = normalized({"rms": "layer", "layer": "rms"}[norm], jnp.asarray(Z))
    assert abs(other - module(Z)).max() > 0.1


@pytest.mark.parametrize("norm", FLAX)
@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_any_size(norm, scale):
    """In float32, whose squares would leave its range."""
    found = normalized(norm, jnp.asarray(scale * Z, jnp.float32))
    np.testing.assert_allclose(found, normalized(norm, jnp.asarray(Z)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("norm", FLAX)
def test_zero_stays_zero_with_a_finite_derivative(norm):
    zero = jnp.zeros(5)
    assert not normalized(norm, zero).any()
    assert jnp.isfinite(jax.jacobian(lambda z: normalized(norm, z))(zero)).all()


@pytest.mark.parametrize("norm", [None, *FLAX])
def test_slopes(norm):
    """Σ_j (∂N_i/∂z_j)² against the Jacobian, which is 0 along z."""
    z = jnp.asarray(Z[0])
    J = jax.jacobian(lambda z: normalized(norm, z))(z)
    np.testing.assert_allclose(slope_squares(norm, z), (J**2).sum(1), rtol=1e-12)
    assert (abs(J @ z).max() < 1e-14) == (norm is not None)
