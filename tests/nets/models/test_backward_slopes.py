"""What counts as dead, and what χ⊥ measures, is what the model's backward pass multiplies by."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from faulty_models import inputs, mlp, weights

import nets

pytestmark = pytest.mark.promotes


def straight_through(z):
    return z + jax.lax.stop_gradient(jnp.sign(z) - z)


def diagnosed(act):
    return nets.diagnose(mlp(act), weights([1.0] * 6), inputs(), n_probes=4)


def test_a_straight_through_estimator_has_slopes():
    """The control: its function alone, through which no gradient goes."""
    slopes, none = diagnosed(straight_through), diagnosed(jnp.sign)
    assert [layer.dead for layer in slopes.layers[:-1]] == [0.0] * 5
    assert [layer.dead for layer in none.layers[:-1]] == [1.0] * 5
    assert {verdict.kind for verdict in none.verdicts} == {"dead"}
    assert "has a slope at all" in none.verdicts[0].words
    (verdict,) = slopes.verdicts
    assert verdict.kind == "critical" and "by measurement alone" in verdict.words
    for layer in slopes.layers[1:]:  # C_W·1², within the spread of networks of this width
        assert float(layer.chi_perp.mean) == pytest.approx(1.0, abs=0.3)
        assert layer.theory.chi_perp == np.inf


@pytest.mark.parametrize(("act", "said"), [(straight_through, True), (jnp.sign, True), (jnp.tanh, False)])
def test_that_the_activation_jumps_is_said(act, said):
    assert ("jumps" in " ".join(diagnosed(act).notes)) == said


def test_a_derivative_that_is_clipped():
    """Slope 0 beyond ±1/2, where 62 % of entries of unit variance lie. The control: not clipped."""

    @jax.custom_vjp
    def clipped(z):
        return z

    clipped.defvjp(lambda z: (z, z), lambda z, v: (jnp.where(jnp.abs(z) < 0.5, v, 0.0),))
    expected = 2 * 0.3085
    for act, flat in ((lambda z: jnp.tanh(clipped(z)), expected), (jnp.tanh, 0.0)):
        found = nets.diagnose(mlp(act), weights([1.0] * 2), inputs(), n_probes=1)
        assert found.layers[0].flat == pytest.approx(flat, abs=0.03)
