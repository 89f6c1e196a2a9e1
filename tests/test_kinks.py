"""Undeclared kinks are found to the last digit, and smooth functions have none."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from user_functions import user_function

import eft
from eft.kinks import MOST, derivatives_of, find_kinks
from eft.landscape import landscape


def kinks_of(fn):
    return find_kinks(derivatives_of(eft.Activation(fn)))


@pytest.mark.parametrize(
    ("fn", "kinks"),
    [
        (lambda z: jnp.tanh(z) + jnp.maximum(z - 0.3, 0), (0.3,)),
        (lambda z: jnp.tanh(z) + jnp.maximum(z - 1e3, 0), (1e3,)),
        (lambda z: jnp.tanh(z) + 1e-3 * jnp.maximum(z - 1e-3, 0), (1e-3,)),
        (lambda z: jnp.sin(30 * z) + jnp.abs(z - 2.345678), (2.345678,)),
        (lambda z: jnp.where(z > 0.7, 2.0, z), (0.7,)),
        (lambda z: z * jnp.maximum(z + 1, 0) ** 3, (-1.0,)),
        (lambda z: jnp.maximum(z - 0.3, 0) - jnp.maximum(z - 0.301, 0), (0.3, 0.301)),
        (jax.nn.hard_swish, (-3.0, 3.0)),
    ],
)
def test_kinks_are_found(fn, kinks):
    assert kinks_of(fn) == kinks


@pytest.mark.parametrize(
    "fn",
    [
        jax.nn.mish,
        jax.nn.gelu,
        jax.nn.squareplus,
        jnp.cos,
        jnp.sinh,
        lambda z: z * jnp.tanh(z),
        lambda z: jnp.tanh(1e4 * z),
        lambda z: jnp.tanh(1e4 * (z - 0.5)),
        jax.nn.relu,  # 0 is looked after anyway
    ],
)
def test_smooth_functions_have_none(fn):
    assert kinks_of(fn) == ()


def test_thirty_functions():
    for seed in range(0, 30, 3):
        name, fn, kinks = user_function(seed)
        np.testing.assert_array_equal(kinks_of(fn), kinks, err_msg=name)


def test_too_many_are_given_up():
    assert kinks_of(lambda z: jnp.abs(z % 2 - 1)) is None
    assert len(kinks_of(lambda z: sum(jnp.maximum(z - 0.5 * i, 0) for i in range(1, MOST)))) == MOST - 1


def test_what_was_found_is_used_and_said():
    land = landscape(eft.Activation(lambda z: jnp.tanh(z) + jnp.maximum(z - 0.3, 0)))
    assert land.act.kinks == (0.3,) and "0.3" in land.notes[0]
    assert (land.moments.error[100:-100] < 1e-12).all()
