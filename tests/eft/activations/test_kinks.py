"""Undeclared kinks are located to the last digit, and none are found in smooth functions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from user_functions import user_function

import eft
from eft.activations.analysis import analysed
from eft.activations.derivatives import Sampler, nested_derivatives
from eft.activations.kinks import MAX_KINKS, find_kinks
from eft.criticality.moment_grid import moments_on_grid


def found_in(fn, declared=()):
    return find_kinks(Sampler(fn, lambda z: nested_derivatives(fn, z), declared))


def kinks_of(fn):
    return found_in(fn).places


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
        # a constant is added first: next to the kink z + 1 rounds
        (lambda z: jnp.clip(z + 1, 0, 2) - 1, (-1.0, 1.0)),
        (lambda z: jnp.where(z + 3 > 6, 1.0, 0.0), (3.0,)),
        (lambda z: jnp.maximum(z + 1, 1 + 1e-6), (1e-6,)),
        # σ² is smooth where σ jumps
        (lambda z: jnp.sign(z - 1.1), (1.1,)),
        (lambda z: jnp.where(z < 1.1, z, -z), (1.1,)),
        # a derivative grows without bound, or is not a number on one side
        (lambda z: jnp.abs(z - 1) ** 1.5, (1.0,)),
        (lambda z: jnp.sqrt(jnp.abs(z - 1)), (1.0,)),
        (lambda z: jnp.maximum(z - 1, 0) ** 1.5, (1.0,)),
        (lambda z: jnp.where(z > 0.5, jnp.log(z - 0.5), 0.0), (0.5,)),
        (lambda z: jnp.where(z > 0.5, jnp.sqrt(z - 0.5), 0.0), (0.5,)),
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
        lambda z: z / (1 + jnp.exp(-z)),  # its derivatives are no numbers far out
        lambda z: jnp.maximum(z, 0) ** 1.5,
        lambda z: z + jax.lax.stop_gradient(jnp.sign(z) - z),  # the derivative is not the slope
    ],
)
def test_smooth_functions_have_none(fn):
    assert kinks_of(fn) == ()


@pytest.mark.sweep
def test_thirty_functions():
    for seed in range(0, 30, 3):
        name, fn, kinks = user_function(seed)
        np.testing.assert_array_equal(kinks_of(fn), kinks, err_msg=name)


@pytest.mark.parametrize(
    ("fn", "places"), [(lambda z: jnp.abs(z % 2 - 1), np.arange(-12, 13)), (jnp.round, np.arange(-11.5, 12))]
)
def test_of_many_kinks_the_nearest_are_used(fn, places):
    found = found_in(fn)
    assert len(found.places) == MAX_KINKS == 24
    np.testing.assert_allclose(found.places, places[places != 0], atol=1e-12)
    assert abs(found.reach - (places[-1] + 1)) < 1e-12


def test_of_few_kinks_all_are_used():
    found = found_in(lambda z: sum(jnp.maximum(z - 0.5 * i, 0) for i in range(1, MAX_KINKS)))
    assert len(found.places) == MAX_KINKS - 1 and found.reach == np.inf


@pytest.mark.parametrize("width", [1e-2, 1e-3, 1e-4])
def test_steep_places_are_found(width):
    (place,) = found_in(lambda z: jnp.tanh((z - 1.1) / width)).steep
    assert abs(place - 1.1) < 2 * width
    assert found_in(lambda z: jnp.tanh(z - 1.1)).steep == (), "the control: it is not steep"
    assert found_in(lambda z: jnp.sin(50 * z)).steep == (), "steep everywhere: it oscillates"


def test_kinks_that_are_found_are_used_and_reported():
    fn = lambda z: jnp.tanh(z) + jnp.maximum(z - 0.3, 0)  # noqa: E731
    act = analysed(fn)
    assert act.kinks == (0.3,) == act.found and analysed(fn) is act
    assert (moments_on_grid(act).moments.error[100:-100] < 1e-12).all()
    assert "kinks found at z = 0.3" in eft.classify(fn).notes
    assert analysed(eft.Activation(fn, (0.3,))).found == ()


def test_one_of_two_declared():
    """Undeclared kinks are found also if others are declared."""
    clipped = lambda z: jnp.clip(z, -1, 1)  # noqa: E731
    assert analysed(eft.Activation(clipped, (-1.0,))).kinks == (-1.0, 1.0)
    half, named = (
        eft.kernel_flow(a, 1.0, 3, K1=0.9) for a in (eft.Activation(clipped, (-1.0,)), "hard_tanh")
    )
    for a, b in zip(half, named, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13)


def test_a_function_whose_state_changed_is_analysed_again():
    """A module whose parameters change, and a function that reads a global variable when called."""

    class Module:
        slope = 0.25

        def __call__(self, z):
            return jnp.where(z > 0, z, self.slope * z)

    module = Module()
    before = eft.kernel_flow(module, 1.0, 3).K
    module.slope = 0.75
    np.testing.assert_allclose(
        eft.kernel_flow(module, 1.0, 3).K,
        eft.kernel_flow("prelu", 1.0, 3).K * 0 + ((1 + 0.75**2) / 2) ** np.arange(3),
        rtol=1e-12,
    )
    module.slope = 0.25
    np.testing.assert_array_equal(eft.kernel_flow(module, 1.0, 3).K, before)


def test_a_function_is_not_taken_for_one_that_computed_the_same_once():
    """Two functions, equal when they were analysed, the first of which has changed. The control: that one."""
    number = [0.25]
    first = lambda z: jnp.tanh(number[0] * z)  # noqa: E731
    analysed(first)
    number[0] = 0.75
    second = analysed(lambda z: jnp.tanh(0.25 * z))
    assert second.fn(1.0) == jnp.tanh(0.25) != analysed(first).fn(1.0)
    analysed(lambda z: jnp.tanh(number[0] * z))
    number[0] = None  # type: ignore[call-overload]
    assert analysed(lambda z: jnp.tanh(0.75 * z)).fn(1.0) == jnp.tanh(0.75)


def test_equal_functions_share_one_analysis():
    assert analysed(lambda z: jnp.tanh(2 * z)) is analysed(lambda z: jnp.tanh(2 * z))
    assert analysed(lambda z: jnp.tanh(2 * z)) is not analysed(lambda z: jnp.tanh(2.0000001 * z))
