"""The catalogue: every name works, knows its kinks, its degree and its derivatives."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import eft
from eft.activations import as_activation
from eft.derivatives import nested_derivatives

NAMES = eft.activation_names()
EXPECTED = (
    "perceptron sigmoid tanh sin relu leaky_relu prelu softplus swish gelu elu selu erf mish softsign arctan "
    "hard_tanh linear repu mrepu"
)


def test_the_catalogue_is_complete():
    assert set(NAMES) == set(EXPECTED.split())


@pytest.mark.parametrize("name", NAMES)
def test_derivatives_are_those_of_the_function(name):
    act = eft.activation(name)
    z = jnp.array([-6.3, -2.7, -1.1, -0.6, -0.02, 0.03, 0.4, 0.97, 1.3, 5.2])
    for k, (given_, nested) in enumerate(zip(act.derivatives(z), nested_derivatives(act.fn, z), strict=True)):
        np.testing.assert_allclose(given_, nested, rtol=1e-9, atol=1e-11, err_msg=f"order {k}")


@pytest.mark.parametrize("name", NAMES)
def test_values_of_the_definition(name):
    z = np.array([-3.0, -1.0, -0.5, 0.5, 2.0])
    erf = np.array([eft.activation("erf").fn(jnp.asarray(y)) for y in z])
    sigmoid = 1 / (1 + np.exp(-z))
    softplus = np.log1p(np.exp(z))
    by_hand = {
        "perceptron": np.sign(z),
        "sigmoid": sigmoid,
        "tanh": np.tanh(z),
        "sin": np.sin(z),
        "relu": np.maximum(z, 0),
        "leaky_relu": np.where(z > 0, z, 0.01 * z),
        "prelu": np.where(z > 0, z, 0.25 * z),
        "softplus": softplus,
        "swish": z * sigmoid,
        "gelu": z * (1 + np.array([eft.activation("erf").fn(jnp.asarray(y / np.sqrt(2))) for y in z])) / 2,
        "elu": np.where(z > 0, z, np.exp(np.minimum(z, 0)) - 1),
        "selu": 1.0507009873554805 * np.where(z > 0, z, 1.6732632423543772 * (np.exp(np.minimum(z, 0)) - 1)),
        "erf": erf,
        "mish": z * np.tanh(softplus),
        "softsign": z / (1 + np.abs(z)),
        "arctan": np.arctan(z),
        "hard_tanh": np.clip(z, -1, 1),
        "linear": z,
        "repu": np.maximum(z, 0) ** 2,
        "mrepu": z * np.maximum(z + 1, 0) ** 2,
    }
    np.testing.assert_allclose(eft.activation(name)(jnp.asarray(z)), by_hand[name], rtol=1e-12, atol=1e-15)


@given(
    st.sampled_from([n for n in NAMES if eft.activation(n).degree is not None]),
    st.floats(0.1, 10),
    st.floats(-5, 5),
)
@settings(deadline=None, max_examples=40)
def test_homogeneity(name, scale, z):
    act = eft.activation(name)
    z = jnp.asarray(z)
    np.testing.assert_allclose(act(scale * z), scale**act.degree * act(z), rtol=1e-12, atol=1e-12)


def test_parameters_and_identity():
    assert eft.activation("repu", p=3) is eft.activation("repu", p=3)
    assert eft.activation("repu", p=3) is not eft.activation("repu", p=2)
    assert eft.activation("SiLU") is eft.activation("swish")
    assert eft.activation("hard-tanh") is eft.activation("hard_tanh")
    np.testing.assert_allclose(eft.activation("sin", frequency=2.0)(jnp.asarray(0.3)), np.sin(0.6))
    np.testing.assert_allclose(eft.activation("leaky_relu", slope=0.1)(jnp.asarray(-2.0)), -0.2)


def test_kinks_and_jumps():
    assert eft.activation("hard_tanh").kinks == (-1.0, 1.0)
    assert eft.activation("mrepu").kinks == (-1.0,)
    assert eft.activation("perceptron").jumps == (2.0,)
    assert eft.activation("hard_tanh").jumps == (0.0, 0.0)
    assert eft.activation("elu").jumps == (0.0,)
    step = eft.Activation(lambda z: jnp.where(z > 0.3, 2.0, z), (0.3,))
    np.testing.assert_allclose(step.jumps, 1.7)
    assert jnp.isinf(step.moments(jnp.asarray(1.0)).slope2)


def test_a_function_is_wrapped_once():
    f = lambda z: jnp.tanh(z)  # noqa: E731
    assert as_activation(f) is as_activation(f)
    assert as_activation("tanh") is eft.activation("tanh")
    assert as_activation(f).name == "<lambda>"
