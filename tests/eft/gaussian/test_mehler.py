"""Mehler's series has the values of the closed form, and its derivatives to the second order."""

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


def series_of(odd: bool, K):
    """K₁, K₂, K₁₂ ↦ ⟨σ₁σ₂⟩ and ⟨σ′₁σ′₂⟩, by the series whose coefficients are those at K."""
    sides = coefficients(eft.Activation(FORMS[odd][0]), K[:2], 6 * RUN_LENGTH, 4, odd)
    left, right = (jax.tree.map(lambda a, i=i: a[i : i + 1], sides) for i in (0, 1))

    def series(k):
        kernel, runs = (k[:1], k[1:2], k[2].reshape(1, 1)), left.e.shape[1] // RUN_LENGTH
        return jnp.stack(pair_series(Shape(odd, True), kernel, left, right, runs)).ravel()

    return series


def form_of(odd: bool):
    form = FORMS[odd][1]
    return lambda k: jnp.stack([form(k), jax.grad(form)(k)[2]])


@pytest.mark.parametrize("odd", FORMS)
@pytest.mark.parametrize("scale", [1.0, 1e-4, 1e-12])
def test_values(odd, scale):
    """However small K is: ⟨σ₁σ₂⟩ → K₁₂ if σ is odd, else 1. The control: the other σ."""
    K = scale * KERNEL
    found, want, control = series_of(odd, K)(K), form_of(odd)(K), form_of(not odd)(K)
    np.testing.assert_allclose(found, want, rtol=1e-12)
    assert abs(control[0] / want[0] - 1) > 0.1


def second(of):
    return np.asarray(jax.jit(jax.jacfwd(jax.jacfwd(of)))(KERNEL))


@pytest.mark.parametrize("odd", FORMS)
def test_second_derivatives_by_the_kernel(odd):
    """Of ⟨σ₁σ₂⟩, and of ⟨σ′₁σ′₂⟩, its derivative by K₁₂. The control: those of the other σ."""
    found = second(series_of(odd, KERNEL))
    np.testing.assert_allclose(found, second(form_of(odd)), rtol=1e-11, atol=1e-12)
    assert not np.allclose(found, second(form_of(not odd)), rtol=0.1)
