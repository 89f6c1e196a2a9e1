"""How many rules a table has; the bounds on the round-off of its moments are those of its terms."""

import jax.numpy as jnp
import numpy as np
import pytest

import eft
from eft.activations.analysis import analysed, sampler_of
from eft.gaussian.half_line import nodes
from eft.gaussian.tabulated import _slopes_of_terms, moment_table


@pytest.mark.parametrize(
    ("fn", "rules"),
    [("tanh", 1), (lambda z: jnp.tanh(z), 1), (lambda z: jnp.sin(20 * z), 24)],
    ids=["named", "smooth", "oscillating"],
)
def test_as_many_rules_as_are_needed(fn, rules):
    """One for what is known, or found, to be smooth. The control: 24 for what oscillates."""
    assert len(moment_table(analysed(fn), np.dtype(float)).z) == rules


def test_the_error_due_to_round_off_in_z():
    """The mean of |z f′| for each integrand f: with σ = z² and F = z⁴, those of F, F², F² again and σ′² are
    4z⁴, 8z⁸, 8z⁸ and 8z²; that of ½zF′ is 8z⁴, divided by K; and z³F‴/4 = 6z⁴, divided by K², is that of g″.
    """
    act = eft.Activation(jnp.square, name="square")
    at = nodes(act, sampler_of(act), 1, False, np.dtype(np.float64))
    K = np.array([0.01, 1.0, 30.0])
    square, fourth = 840 * K**4, 12 * K**2
    expected = [fourth, square, square, 24 * K, 8 * K, np.full(3, 18.0)]
    np.testing.assert_allclose(_slopes_of_terms(at, K), expected, rtol=1e-12)


def test_the_error_due_to_underflow():
    """⟨σ⁴⟩ = 3K² of tanh may lose 1000 of the smallest normal float32. The control: nothing at larger K."""
    K = np.array([3e-16, 1e-15, 1e-6], np.float32)
    error = np.asarray(eft.moments(lambda z: jnp.tanh(z), K).error)
    lost = 1000 * np.finfo(np.float32).tiny / (3 * K.astype(float) ** 2)
    np.testing.assert_allclose(error[:2], lost[:2], rtol=1e-3)
    assert error[2] < 2e-6 < lost[1]
