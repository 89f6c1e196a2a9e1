"""Functions smoothed by a Gaussian of any width, or none, are those of closed forms, near cuts and far."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import ndtr

from eft.gaussian import smoothing
from eft.gaussian.smoothing import smoothed

SIZE = 1.3
WIDTHS = (1.0, 0.3, 1e-2, 1e-4, 1e-6, 0.0)


def density(x):
    return np.exp(-x * x / 2) / np.sqrt(2 * np.pi)


def functions(z):
    """A kink at 0.5, a jump at −1, and e^z."""
    return jnp.stack([jnp.maximum(z - 0.5, 0), jnp.where(z > -1, 1.0, 0.0), jnp.exp(z)])


def exact(m, s):
    kink, jump = ((m - c) / max(s, 1e-30) for c in (0.5, -1.0))
    return np.stack([(m - 0.5) * ndtr(kink) + s * density(kink), ndtr(jump), np.exp(m + s * s / 2)])


def near_and_far():
    d = np.geomspace(1e-8, 5.0, 200)
    return np.concatenate([c + side * d for c in (-1.0, 0.0, 0.5) for side in (-1, 1)])


@pytest.mark.parametrize("s", WIDTHS)
def test_closed_forms(s):
    f = smoothed(functions, jnp.asarray(s), jnp.asarray(SIZE), (-1.0, 0.5), 28, smoothing.POINTS)
    m = near_and_far()
    off = np.abs(f(jnp.asarray(m)) - exact(m, s)) / np.stack([np.ones_like(m), np.ones_like(m), np.exp(m)])
    rounding = np.finfo(float).eps / max(s, 1e-9)  # of m, next to a jump
    assert (off.max(1) < [1e-13, 1e-13 + rounding, 1e-11]).all()
    few = smoothed(functions, jnp.asarray(s), jnp.asarray(SIZE), (-1.0, 0.5), 28, 4)
    assert np.max(np.abs(few(jnp.asarray(m)) - exact(m, s))) > 1e-9  # the control: four polynomials


def test_cuts_that_are_left_out_show():
    """The control of what the cuts are for."""
    f = smoothed(functions, jnp.asarray(1e-4), jnp.asarray(SIZE), (), 28, smoothing.POINTS)
    m = near_and_far()
    assert np.max(np.abs(f(jnp.asarray(m)) - exact(m, 1e-4))[:2]) > 1e-4


def test_a_variable_that_is_0():
    """Then m is 0 and no other number."""
    f = smoothed(functions, jnp.asarray(0.0), jnp.asarray(0.0), (0.0,), 28, smoothing.POINTS)
    np.testing.assert_allclose(f(jnp.zeros(3)), np.array([[0.0], [1.0], [1.0]]) * np.ones(3), atol=1e-14)
