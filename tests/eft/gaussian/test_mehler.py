"""Mehler's series has the derivatives of the closed form, to the second order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eft
from eft.gaussian.hermite import coefficients
from eft.gaussian.mehler import RUN_LENGTH, Shape, pair_series

KERNEL = jnp.array([0.7, 1.3, 0.4])
"""K₁, K₂ and K₁₂."""

FORMS = {
    False: (lambda z: jnp.sin(z) + jnp.cos(z), lambda k: jnp.exp(k[2] - (k[0] + k[1]) / 2)),
    True: (jnp.sin, lambda k: jnp.exp(-(k[0] + k[1]) / 2) * jnp.sinh(k[2])),
}
"""Whether σ is odd: σ, and ⟨σ₁σ₂⟩."""


def second(of):
    return np.asarray(jax.jit(jax.jacfwd(jax.jacfwd(of)))(KERNEL))


@pytest.mark.parametrize("odd", FORMS)
def test_second_derivatives_by_the_kernel(odd):
    """Of ⟨σ₁σ₂⟩, and of ⟨σ′₁σ′₂⟩, its derivative by K₁₂. The control: those of the other σ."""
    fn, form = FORMS[odd]
    sides = coefficients(eft.Activation(fn), KERNEL[:2], 6 * RUN_LENGTH, 4, odd)
    left, right = (jax.tree.map(lambda a, i=i: a[i : i + 1], sides) for i in (0, 1))

    def series(k):
        kernel, runs = (k[:1], k[1:2], k[2].reshape(1, 1)), left.e.shape[1] // RUN_LENGTH
        return jnp.stack(pair_series(Shape(odd, True), kernel, left, right, runs)).ravel()

    def both(form):
        return lambda k: jnp.stack([form(k), jax.grad(form)(k)[2]])

    found = second(series)
    np.testing.assert_allclose(found, second(both(form)), rtol=1e-11, atol=1e-12)
    assert not np.allclose(found, second(both(FORMS[not odd][1])), rtol=0.1)
