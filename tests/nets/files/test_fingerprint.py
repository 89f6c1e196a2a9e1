"""Two runs are one only if they compute the same: whatever a function captures is part of what it is."""

import os
import subprocess
import sys
from pathlib import Path

import captures
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from captures import CAPTURES, closure, digest_of

import nets
from nets.files import digests
from nets.paper import pinn

X = np.random.default_rng(0).uniform(-1, 1, (8, 2))
NEXT = float(np.nextafter(np.float32(1.5), np.float32(2)))


@pytest.mark.promotes
@pytest.mark.parametrize("name", CAPTURES)
def test_a_captured_number_is_part_of_it(name):
    """One ulp of float32 tells two functions apart. The control: made again with the same number."""
    make = CAPTURES[name]
    first = digest_of(make(1.5))
    assert digest_of(make(NEXT)) != first
    assert digest_of(make(1.5)) == first


@pytest.mark.more
def test_the_same_in_every_process():
    """With another seed of Python's hashes, and other addresses."""
    job = Path(captures.__file__).with_name("identity_job.py")
    found = [
        subprocess.run(
            [sys.executable, str(job)],
            capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONHASHSEED": seed, "JAX_PLATFORMS": "cpu"},
        ).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert found[0] == found[1] and found[0].count("\n") == len(CAPTURES)


def test_functions_that_differ_in_what_they_do():
    """Operations, their parameters, their order, and which operand is which. The control: the names."""
    functions = [
        jnp.sin,
        lambda z: jnp.sin(z) + z,
        lambda z: z - jnp.sin(z),
        lambda z: jnp.sin(z) - z,
        lambda z: jnp.sin(z) + 0 * z + z,
        lambda z: jnp.cumsum(z),
        lambda z: jnp.cumsum(z[::-1]),
    ]
    assert len(set(map(digest_of, functions))) == len(functions)
    assert digest_of(lambda z: jnp.sin(z) + z) == digest_of(lambda other: jnp.sin(other) + other)


def test_what_cannot_be_seen_is_refused():
    def calls_python(z):
        return jax.pure_callback(np.sin, z, z)

    def prints(z):
        jax.debug.print("{}", z)
        return jnp.sin(z)

    with pytest.raises(ValueError, match=r"checkpoint must be left out.*pure_callback"):
        digests.digest(jax.make_jaxpr(calls_python)(jnp.ones(3)))
    assert digests.digest(jax.make_jaxpr(prints)(jnp.ones(3)))


# --- checkpoints of another run --------------------------------------------------------------------


def slope(a):
    return closure(a, lambda a: jnp.full((), a, jnp.float32))


def loss(a):
    weight = jnp.full((), a, jnp.float32)
    return lambda output, target: weight * (output - target) ** 2


def rate_in_the_state(a):
    """The rate is a number of the optimizer's state, not of its step."""
    return optax.inject_hyperparams(optax.sgd)(learning_rate=0.01 * a)


def rate_at_a_step(a):
    rates = jnp.array([0.01, 0.01 * a])
    return optax.sgd(lambda count: rates[count])


@pytest.mark.promotes
@pytest.mark.parametrize(
    ("name", "make"),
    [("act", slope), ("loss", loss), ("optimizer", rate_in_the_state), ("optimizer", rate_at_a_step)],
)
def test_another_run_s_checkpoint_is_refused_for_what_it_captures(name, make, tmp_path):
    """The control: what is made again with the same number goes on."""

    def train(a):
        given = {"act": "tanh", name: make(a)}
        return nets.train(given.pop("act"), 1.2, 2, 4, 3, (X, X[:, 0]), steps=2, checkpoint=tmp_path, **given)

    first = train(1.5)
    np.testing.assert_array_equal(train(1.5).loss, first.loss)
    with pytest.raises(ValueError, match=f"checkpoint must be a folder of its own.*{name}"):
        train(1.6)


@pytest.mark.promotes
def test_so_with_burgers_equation(tmp_path):
    settings = {"hidden": 2, "width": 8, "interior": 20, "boundary": 10, "steps": 2, "grid": (5, 4)}
    pinn.train(slope(1.5), 1.0, 2, checkpoint=tmp_path, **settings)
    pinn.train(slope(1.5), 1.0, 2, checkpoint=tmp_path, **settings)
    with pytest.raises(ValueError, match=r"checkpoint must be a folder of its own.*activation"):
        pinn.train(slope(1.6), 1.0, 2, checkpoint=tmp_path, **settings)
