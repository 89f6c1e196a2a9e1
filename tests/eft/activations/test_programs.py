"""Equal computations share one compiled program, and a bounded number of programs is kept."""

import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import nets
from eft.activations import programs
from eft.activations.catalogue import as_activation

X = np.random.default_rng(0).uniform(-1, 1, (10, 2))
Y = np.sin(3 * X[:, 0])


def train(**changes):
    settings = {"act": "tanh", "cw": 1.2, "depth": 2, "width": 4, "n_nets": 3, "data": (X, Y)}
    return nets.train(**settings | {"steps": 2, "snapshots": (0, 2), "progress": False} | changes)


def measure_inputs(**changes):
    settings = {"act": "tanh", "cw": 1.2, "depth": 2, "width": 4, "n_nets": 3, "X": X}
    return nets.measure_inputs(**settings | changes)


@pytest.mark.parametrize(
    ("call", "first", "others", "control"),
    [
        (train, {}, [{"cw": 1.3, "cb": 0.2, "seed": 5}, {"learning_rate": 0.1}], {"width": 5}),
        (train, {"K1": 0.1}, [{"K1": 0.2, "x2": 0.5}], {"K1": 0.1, "width": 5}),
        (train, {"optimizer": optax.adam(1e-2)}, [{"optimizer": optax.adam(1e-2)}],
         {"optimizer": optax.adam(2e-2)}),
        (train, {"act": lambda z: jnp.sin(z) + z}, [{"act": lambda z: jnp.sin(z) + z}],
         {"act": lambda z: jnp.sin(z) + 2 * z}),
        (measure_inputs, {"cb": 0.1}, [{"cb": 0.2, "cw": 1.3, "seed": 5}], {"width": 5}),
        (measure_inputs, {"K1": 0.1}, [{"K1": 0.2, "x2": 0.5}], {"K1": 0.1, "width": 5}),
    ],
)  # fmt: skip
def test_compiled_once(call, first, others, control, compilations):
    """Other numbers, and new functions that are equal, compile nothing. The control does."""
    call(**first)
    for other in others:
        as_activation(other.get("act", "tanh"))  # its analysis compiles programs of its own
        assert compilations(lambda other=other: call(**other)) == 0
    assert compilations(lambda: call(**control)) > 0


def test_equal_programs_are_not_confused():
    """Functions with equal code but other constants; optimizers that differ only in their initial state."""
    slopes = np.array(1.0), np.array(1.5)
    runs = [train(act=lambda z, a=a: jnp.tanh(jnp.asarray(a, z.dtype) * z)) for a in slopes]
    assert (runs[0].loss != runs[1].loss).all()
    starts = [train(optimizer=optax.adagrad(0.1, initial_accumulator_value=a)) for a in (0.1, 0.3)]
    assert (starts[0].loss[1] != starts[1].loss[1]).all()
    np.testing.assert_array_equal(train(act=lambda z: jnp.tanh(z)).loss, train().loss)


GROWTH = """
import gc, sys
import jax.numpy as jnp, numpy as np
import nets
from eft.activations import programs
programs._program.cache_clear()
X = np.random.default_rng(0).uniform(-1, 1, (6, 2))
def maps():
    return open("/proc/self/maps").read().count("\\n")
def call(i):
    act = lambda z: jnp.tanh(z) + 0.001 * i * z
    nets.train(act, 1.0, 2, 3, 2, (X, X[:, 0]), steps=1, snapshots=(1,), progress=False)
for i in range(2):
    call(i)
kept = maps()
for i in range(2, 6):
    call(i)
gc.collect()
print(kept, maps())
"""


@pytest.mark.more
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_maps_of_memory_are_bounded():
    """Once the cache is full, new functions take no more memory maps. The control: an unbounded cache."""
    found = {}
    for kept in (6, 10_000):
        text = f"import functools\nfrom eft.activations import programs\n{GROWTH}".replace(
            "programs._program.cache_clear()",
            f"programs._program = functools.lru_cache({kept})(programs._program.__wrapped__)",
        )
        done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=500)
        assert done.returncode == 0, done.stderr
        before, after = map(int, done.stdout.split())
        found[kept] = after - before
    assert found[6] < 0.3 * found[10_000]


def test_the_number_kept_is_bounded():
    assert programs._program.cache_parameters()["maxsize"] == programs.MAX_PROGRAMS <= 64


def test_options_that_the_compiler_does_not_know():
    """They are left out, as for another version of XLA; the control: those that it knows are not."""
    unknown = ("xla_cpu_no_such_option", True)
    assert programs.options((*programs.QUICKEST, unknown))["xla_backend_optimization_level"] == 0
    assert unknown[0] not in programs.options((*programs.QUICKEST, unknown))
    assert programs.options((unknown,)) is None
