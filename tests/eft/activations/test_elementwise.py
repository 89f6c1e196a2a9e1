"""Functions whose value depends on other elements of the array are refused; elementwise ones are accepted."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eft
from eft.activations import elementwise

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)

COLLECTIVE = {
    "sign of the sum": lambda z: jax.nn.relu(z) * jnp.sign(jnp.sum(z)),
    "centred": lambda z: z - jnp.mean(z),
    "little of the mean": lambda z: jnp.tanh(z) + 1e-9 * jnp.mean(z),
    "layer norm": lambda z: (z - z.mean()) / jnp.sqrt(z.var() + 1e-5),
    "largest": lambda z: z / jnp.max(jnp.abs(z)),
    "softmax": lambda z: jnp.exp(z) / jnp.sum(jnp.exp(z)),
    "softmax of rows": lambda z: jax.nn.softmax(z, axis=-1) if z.ndim else jnp.ones_like(z),
    "norm of columns": lambda z: (
        z / (1 + jnp.linalg.norm(z, axis=0)) if z.ndim == 2 else z / (1 + jnp.abs(z))
    ),
    "sort": lambda z: jnp.sort(z.ravel()).reshape(z.shape),
    "reversed": lambda z: z.ravel()[::-1].reshape(z.shape),
    "shifted": lambda z: jnp.roll(z, 1),
    "cumulative": lambda z: jnp.cumsum(z).reshape(z.shape),
    "dropout": lambda z: jnp.where(jax.random.bernoulli(KEY, 0.9, z.shape), z / 0.9, 0.0),
    "noise": lambda z: z + 0.01 * jax.random.normal(KEY, z.shape),
    "noise of NumPy": lambda z: z + RNG.normal(size=z.shape),
    "by size": lambda z: z / z.size,
}
HONEST = {
    "tanh": jnp.tanh,
    "gelu": jax.nn.gelu,
    "floor": jnp.floor,
    "stairs": lambda z: jnp.round(16 * z) / 16,
    "oscillating": lambda z: jnp.sin(1e6 * z),
    "growing": lambda z: jnp.exp(z * z / 2),
    "cancelling": lambda z: (1e6 + z) - 1e6,
    "compiled": jax.jit(lambda z: z * z * z - 1.2345 * z * z + jnp.sin(37 * z)),
    "naive swish": lambda z: z / (1 + jnp.exp(-z)),
    "sum of bumps": lambda z: sum(math.sin(i) * jnp.exp(-((z - i) ** 2)) for i in range(5)),
    "noise that all share": lambda z: z * jax.random.normal(KEY),
    "modulus of a complex number": lambda z: jnp.abs(z * (1 + 1j)),
    "nowhere 0": lambda z: jnp.where(z > 0, jnp.sqrt(jnp.abs(z)), jnp.cbrt(z)),
}


@pytest.mark.promotes
@pytest.mark.parametrize("name", COLLECTIVE)
def test_functions_of_other_elements_are_refused(name):
    for call in (eft.Activation, lambda f: eft.gaussian_expectation(f, 1.0)):
        with pytest.raises(ValueError, match="must be elementwise"):
            call(COLLECTIVE[name])


@pytest.mark.promotes
@pytest.mark.parametrize("name", COLLECTIVE)
def test_in_float32_too(name):
    with jax.enable_x64(False):
        if name != "little of the mean":  # is rounding there
            with pytest.raises(ValueError, match="must be elementwise"):
                eft.Activation(COLLECTIVE[name])


@pytest.mark.promotes
@pytest.mark.parametrize("name", HONEST)
def test_elementwise_functions_are_accepted(name):
    eft.Activation(HONEST[name])
    with jax.enable_x64(False):
        eft.Activation(HONEST[name])


def test_domains_and_pytrees_are_accepted():
    found = eft.gaussian_expectation(lambda z: jnp.where(z > -30, jnp.log(z + 30), jnp.nan), 1e-3)
    assert np.isclose(found, math.log(30), rtol=1e-5)
    with pytest.warns(eft.QuadratureWarning):
        eft.gaussian_expectation(jnp.log, 1.0)  # NaN for z < 0
    tree = eft.gaussian_expectation(lambda z: {"a": z, "b": (z * z, jnp.cos(z))}, 1.0)
    np.testing.assert_allclose(tree["b"][0], 1.0, rtol=1e-12)
    with pytest.raises(ValueError, match="must be elementwise"):
        eft.gaussian_expectation(lambda z: {"a": z, "b": (z * jnp.sum(z), jnp.cos(z))}, 1.0)


def test_functions_that_close_over_traced_values():
    def last(c, f=lambda c, z: jnp.tanh(c * z)):
        return eft.kernel_flow(lambda z: f(c, z), 1.0, 3).K[-1]

    np.testing.assert_allclose(jax.jit(last)(1.0), last(1.0), rtol=1e-12)
    # what closes over nothing is looked at, also while something else is traced
    with pytest.raises(ValueError, match="must be elementwise"):
        jax.jit(lambda cw: eft.kernel_flow(lambda z: z - jnp.mean(z), cw, 3).K)(1.0)


@pytest.mark.promotes
@pytest.mark.parametrize("name", HONEST)
def test_pointwise_programs_are_not_evaluated(name, monkeypatch):
    """Their operations are elementwise. A function that uses its shape, or random numbers, is evaluated."""
    compared = []
    monkeypatch.setattr(elementwise, "_compare", lambda *_: compared.append(name))
    elementwise.checked_function(HONEST[name], np.float64)
    assert bool(compared) == (name == "noise that all share")


@pytest.mark.promotes
@pytest.mark.parametrize("name", COLLECTIVE)
def test_the_list_of_operations_has_no_others(name):
    programs = [
        elementwise.operations(jax.make_jaxpr(lambda z: COLLECTIVE[name](z))(np.zeros(shape)))
        for shape in ((), (2, 3))
    ]
    assert programs[0] is None or programs[0] != programs[1]


@pytest.mark.parametrize(
    ("fn", "said"),
    [
        (np.tanh, r"use jnp\.tanh in place of np\.tanh"),
        (math.tanh, r"use jnp\.tanh"),
        (math.erf, r"use jnp\.erf"),
        (lambda z: np.tanh(z), r"jnp\.tanh in place of np\.tanh"),
        (lambda z: math.tanh(z), r"jnp\.tanh in place of np\.tanh or math\.tanh"),
        (lambda z: z if z > 0 else 0 * z, r"jnp\.where in place of if"),
        (lambda z: (z, z), "must return one array; it returned a tuple"),
        (lambda z: {"a": z}, "must return one array; it returned a dict"),
        (lambda z: [z], "must return one array; it returned a list"),
    ],
)
def test_functions_outside_jax(fn, said):
    for call in (lambda: eft.Activation(fn), lambda: eft.kernel_flow(fn, 1.0, 2)):
        with pytest.raises(TypeError, match=said):
            call()


@pytest.mark.promotes
def test_a_callable_without_weak_references():
    class Slotted:
        __slots__ = ()

        def __call__(self, z):
            return jnp.tanh(z) - 1j * z

    with pytest.raises(TypeError, match="must return real"):
        eft.Activation(Slotted())


@pytest.mark.parametrize("name", [np.array(["a", "b"]), np.ones(2), 3, None, b"a", ["a"]])
def test_a_name_is_text(name):
    with pytest.raises(TypeError, match="name must be text"):
        eft.Activation(jnp.tanh, (), name)
