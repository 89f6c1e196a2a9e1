"""Nested integrals of exponentials are right to 1e-12, whether rates are equal, close, far apart or zero."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from eft.training.nested import nested_exponentials

PROMISE = 1e-12


def exact(rates, t) -> float:
    """The corner of e^{tM}, M with −a on the diagonal and 1 above it, in 60 digits."""
    with mpmath.workdps(60):
        M = mpmath.diag([-t * mpmath.mpf(float(a)) for a in rates])
        for i in range(len(rates) - 1):
            M[i, i + 1] = mpmath.mpf(t)
        return float(mpmath.expm(M)[0, len(rates) - 1])


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_against_matrix_exponentials(count):
    rng = np.random.default_rng(count)
    found = jax.jit(nested_exponentials)
    choices = [0.0, 0.01, 0.5, 1.0, 1.0 + 1e-9, 1.01, 2.0, 3.3, 10.0]
    for _ in range(25):
        rates, t = rng.choice(choices, count), rng.choice([1e-3, 0.1, 1.0, 3.0, 20.0])
        np.testing.assert_allclose(found(jnp.asarray(rates), jnp.asarray(t)), exact(rates, t), rtol=PROMISE)


def test_divided_differences_alone_lose_their_digits():
    """The control: the recursion without the series, of rates that are close."""
    a = jnp.asarray([1.0, 1.0 + 1e-5, 1.0 + 2e-5])
    row = [jnp.exp(-x) for x in a]
    row = [(row[i] - row[i + 1]) / (a[i + 1] - a[i]) for i in range(2)]
    plain = (row[0] - row[1]) / (a[2] - a[0])
    assert abs(plain / exact(a, 1.0) - 1) > 1e-8
    np.testing.assert_allclose(nested_exponentials(a, jnp.asarray(1.0)), exact(a, 1.0), rtol=PROMISE)


def test_the_end_of_time():
    t = jnp.asarray(jnp.inf)
    assert nested_exponentials(jnp.asarray([0.5, 2.0]), t) == 0
    assert nested_exponentials(jnp.asarray([2.0, 0.0, 0.5]), t) == 1
    assert jnp.isinf(nested_exponentials(jnp.asarray([0.0, 1.0, 0.0]), t))
    assert nested_exponentials(jnp.zeros(1), t) == 1
