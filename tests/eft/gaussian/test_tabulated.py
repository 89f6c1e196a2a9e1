"""The bounds on the round-off of a table's moments are those of its terms."""

import jax.numpy as jnp
import numpy as np

import eft
from eft.activations.analysis import sampler_of
from eft.gaussian.half_line import nodes
from eft.gaussian.tabulated import _slopes_of_terms


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
