"""An architecture is static and hashable, its settings are traced; a network is built from both."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import eft
import nets
from nets.network import fcn
from nets.network.architecture import Architecture, Settings, checked_settings

TANH = eft.activation("tanh")
SMALL = Architecture(TANH, (3, 5, 4, 2))


def test_static():
    """Equal ones are one key of a dictionary. The control: any other field is another key."""
    same = Architecture(TANH, (3, 5, 4, 2))
    assert same == SMALL and hash(same) == hash(SMALL)
    changes = {"sizes": (3, 5, 2), "own_K1": True, "biased": False, "dtype": np.dtype(np.float64)}
    changes |= {"skip": True, "norm": "rms", "weights": "orthogonal", "readout": False}
    others = [dataclasses.replace(SMALL, **{name: value}) for name, value in changes.items()]
    assert len({SMALL, same, *others}) == 1 + len(others)
    assert SMALL.depth == 3 and SMALL.n_weights == 15 + 20 + 8


def test_settings_are_traced():
    """One trace for all numbers; the network is that of the constructor."""
    key, traces = jax.random.key(0), []

    @jax.jit
    def output(settings):
        traces.append(settings)
        return fcn.drawn(SMALL, settings, key)(jnp.ones(3, jnp.float32))

    for cw, cb in ((1.5, 0.2), (0.7, 0.0)):
        net = nets.FCN(3, (5, 4), 2, act=TANH, cw=cw, cb=cb, rngs=key)
        found = output(Settings(cw, cb).cast(SMALL.dtype))
        np.testing.assert_allclose(found, net(jnp.ones(3, jnp.float32)), rtol=1e-5)
    assert len(traces) == 1


@pytest.mark.parametrize("own_K1", [False, True])
def test_parameters_go_out_and_in(own_K1):
    architecture = dataclasses.replace(SMALL, own_K1=own_K1)
    settings = checked_settings(1.5, 0.2, 0.3 if own_K1 else None, 0.5, architecture.dtype)
    net = fcn.drawn(architecture, settings, jax.random.key(1))
    again = fcn.with_parameters(architecture, nnx.to_pure_dict(nnx.state(net)))
    x = jnp.ones((2, 3), jnp.float32)
    np.testing.assert_array_equal(again(x), net(x))
    for layer, n in enumerate(SMALL.sizes[:-1]):
        s = jnp.ones((2, n), jnp.float32)
        np.testing.assert_allclose(net.shifted(layer, net.linear(layer, s)), net.affine(layer, s), rtol=1e-6)


def test_gamma_goes_out_and_in():
    """It is no parameter, and is given anew. The control: another γ."""
    architecture = dataclasses.replace(SMALL, sizes=(3, 5, 5, 2), skip=True, norm="rms")
    settings = checked_settings(1.5, 0.2, None, 1.0, architecture.dtype, 0.7)
    net = fcn.drawn(architecture, settings, jax.random.key(1))
    parameters, x = nnx.to_pure_dict(nnx.state(net, nnx.Param)), jnp.ones((2, 3), jnp.float32)
    same, other = (fcn.with_parameters(architecture, parameters, np.float32(skip)) for skip in (0.7, 0.8))
    np.testing.assert_array_equal(same(x), net(x))
    assert (other(x) != net(x)).all()


def test_first_kernel():
    """C_b + C_W‖x‖²/n₀, or in proportion to K1."""
    x2 = np.array([0.5, 2.0])
    np.testing.assert_allclose(Settings(1.5, 0.2).first_kernel(x2), 0.2 + 1.5 * x2)
    np.testing.assert_allclose(Settings(1.5, 0.2, 0.3, 0.5).first_kernel(x2), 0.3 * x2 / 0.5)
