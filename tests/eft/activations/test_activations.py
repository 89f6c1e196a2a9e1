"""Every activation of the catalogue has the right values, derivatives, kinks and degree."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from people_verdicts import relative_errors, table

import eft
from eft.activations.catalogue import as_activation
from eft.activations.derivatives import nested_derivatives
from eft.gaussian.expectation import tolerance

NAMES = eft.activation_names()
EXPECTED = (
    "perceptron sigmoid tanh sin relu leaky_relu prelu softplus swish gelu elu selu erf mish softsign arctan "
    "hard_tanh linear repu mrepu squared_relu relu6 hard_sigmoid hard_swish soft_shrink hard_shrink "
    "sparse_plus sparse_sigmoid celu squareplus quick_gelu gelu_tanh log_sigmoid snake"
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
        "squared_relu": np.maximum(z, 0) ** 2,
        "relu6": np.clip(z, 0, 6),
        "hard_sigmoid": np.clip(z + 3, 0, 6) / 6,
        "hard_swish": z * np.clip(z + 3, 0, 6) / 6,
        "soft_shrink": np.sign(z) * np.maximum(np.abs(z) - 0.5, 0),
        "hard_shrink": np.where(np.abs(z) > 0.5, z, 0),
        "sparse_plus": np.where(z < 1, np.maximum(z + 1, 0) ** 2 / 4, z),
        "sparse_sigmoid": np.clip(z + 1, 0, 2) / 2,
        "celu": np.where(z > 0, z, np.exp(np.minimum(z, 0)) - 1),
        "squareplus": (z + np.sqrt(z * z + 4)) / 2,
        "quick_gelu": z / (1 + np.exp(-1.702 * z)),
        "gelu_tanh": z * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3))) / 2,
        "log_sigmoid": -np.log1p(np.exp(-z)),
        "snake": z + np.sin(z) ** 2,
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
    assert jnp.isinf(eft.moments(step, jnp.asarray(1.0)).slope2)


def test_a_function_is_wrapped_once():
    f = lambda z: jnp.tanh(z)  # noqa: E731
    assert as_activation(f) is as_activation(f)
    assert as_activation("tanh") is eft.activation("tanh")
    assert as_activation(f).name == "<lambda>"


SHIPPED = {
    "relu": jax.nn.relu,
    "relu6": jax.nn.relu6,
    "sigmoid": jax.nn.sigmoid,
    "softplus": jax.nn.softplus,
    "sparse_plus": jax.nn.sparse_plus,
    "sparse_sigmoid": jax.nn.sparse_sigmoid,
    "soft_sign": jax.nn.soft_sign,
    "silu": jax.nn.silu,
    "swish": jax.nn.swish,
    "log_sigmoid": jax.nn.log_sigmoid,
    "leaky_relu": jax.nn.leaky_relu,
    "hard_sigmoid": jax.nn.hard_sigmoid,
    "hard_silu": jax.nn.hard_silu,
    "hard_swish": jax.nn.hard_swish,
    "hard_tanh": jax.nn.hard_tanh,
    "elu": jax.nn.elu,
    "celu": jax.nn.celu,
    "selu": jax.nn.selu,
    "gelu_tanh": jax.nn.gelu,
    "squareplus": jax.nn.squareplus,
    "mish": jax.nn.mish,
    "identity": jax.nn.identity,
    "tanh": jax.nn.tanh,
}


@pytest.mark.parametrize("name", SHIPPED)
def test_functions_of_jax_have_their_names(name):
    """Values agree at every z, and so do the derivatives that are written by hand."""
    z = jnp.linspace(-9.03, 9.01, 501)
    act = eft.activation(name)
    # 1 + tanh in jax.nn.gelu cancels far to the left
    for value in (act(z), act.derivatives(z)[0]):
        np.testing.assert_allclose(value, SHIPPED[name](z), rtol=1e-13, atol=5e-15)


def test_gelu_is_the_exact_one():
    z = jnp.linspace(-4.0, 4.0, 801)
    apart = jnp.abs(eft.activation("gelu")(z) - jax.nn.gelu(z))
    assert 4e-4 < apart.max() < 5e-4
    assert as_activation(jax.nn.gelu) is eft.activation("gelu_tanh")


@pytest.mark.parametrize(
    ("text", "name", "parameters"),
    [
        ("mrepu:p=2", "mrepu", {"p": 2}),
        ("sin: frequency = 0.5", "sin", {"frequency": 0.5}),
        ("Hard-Tanh", "hard_tanh", {}),
        ("tanh:", "tanh", {}),
    ],
)
def test_parameters_in_the_text(text, name, parameters):
    """The same object as by keywords, and wherever an activation is given as text."""
    assert eft.activation(text) is as_activation(text) is eft.activation(name, **parameters)


def test_functions_of_users_as_text(tmp_path, monkeypatch):
    (tmp_path / "mine_by_name.py").write_text("import jax.numpy as jnp\ndef f(z):\n    return jnp.tanh(z)\n")
    monkeypatch.syspath_prepend(tmp_path)
    for text in ("mine_by_name:f", f"{tmp_path}/mine_by_name.py:f"):
        assert float(eft.activation(text)(0.5)) == float(jnp.tanh(0.5))


@pytest.mark.parametrize(
    ("text", "parameters", "words"),
    [
        ("mrepu:p", {}, "one with numbers"),
        ("mrepu:p=2,p=3", {}, "one with numbers"),
        ("mrepu:p=x", {}, "one with numbers"),
        ("mrepu:p=2", {"p": 3}, "p must be given once"),
        ("tanh:p=2", {}, "takes no parameters"),
        ("tnah:p=2", {}, "did you mean tanh"),
        ("no.such.module:f", {}, "cannot be imported"),
        ("jax.numpy:tanh", {"p": 1}, "takes no parameters"),
    ],
)
def test_bad_text(text, parameters, words):
    with pytest.raises((ValueError, TypeError), match=words):
        eft.activation(text, **parameters)


@pytest.mark.parametrize("name", ["glu", "SwiGLU", "softmax", "log-softmax", "maxout"])
def test_functions_that_are_not_elementwise_are_refused_by_name(name):
    with pytest.raises(ValueError, match=f"{name}.*each entry alone"):
        eft.activation(name)


@pytest.mark.parametrize(
    ("name", "parameter"),
    [("celu", "alpha"), ("soft_shrink", "lam"), ("hard_shrink", "lam"), ("squareplus", "b"), ("snake", "a")],
)
def test_parameters_are_positive(name, parameter):
    for value in (0, -1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match=parameter):
            eft.activation(name, **{parameter: value})
    z = jnp.array([-3.0, -0.6, 0.3, 2.0])
    act = eft.activation(name, **{parameter: 0.7})
    assert "0.7" in act.name
    assert not np.allclose(act(z), eft.activation(name)(z))
    for given_, nested in zip(act.derivatives(z), nested_derivatives(act.fn, z), strict=True):
        np.testing.assert_allclose(given_, nested, rtol=1e-9, atol=1e-11)


SAME = (
    "hard_swish hard_sigmoid relu6 squared_relu soft_shrink hard_shrink squareplus quick_gelu gelu_tanh snake"
)
NAMED = {name: (name, {}) for name in SAME.split()} | {
    "celu": ("celu", {"alpha": 2.0}),
    "snake_5": ("snake", {"a": 5}),
}


@pytest.mark.parametrize("key", NAMED)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_moments_of_named_activations(key, dtype):
    """Against `people.csv`, at all K at once, from closed forms and from tables."""
    name, parameters = NAMED[key]
    moments = eft.moments(eft.activation(name, **parameters), jnp.asarray(table()[key]["K"], dtype))
    for q, field in {"g": "g", "var": "var", "dg": "dg", "s2": "slope2", "d2g": "d2g"}.items():
        assert relative_errors(key, q, getattr(moments, field), dtype).max() <= tolerance(dtype), q
    assert (moments.error <= tolerance(dtype)).all()


@pytest.mark.parametrize("family", ["sine", [1], eft.Activation])
def test_an_unknown_family_is_refused(family):
    with pytest.raises(TypeError, match="family must be one of"):
        eft.Activation(jnp.sin, family=family)
