"""Functions that are used once do not accumulate: activations, programs and pieces of memory are bounded."""

import functools
import gc
import subprocess
import sys
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eft
import nets
from eft.activations import analysis, catalogue, programs
from eft.criticality import moment_grid, universality
from eft.finite_width import ntk_gram
from nets.initialization import drawing

pytestmark = pytest.mark.more

X = np.array([[0.5, -1.0], [1.0, 0.3]])
KEPT = 2
"""Size of every cache in these tests, so that a few calls fill it."""

CACHES = (
    (programs, "_program"),
    (catalogue, "_wrapped"),
    (moment_grid, "moments_on_grid"),
    (universality, "_classified"),
    (universality, "_searched"),
    (ntk_gram, "slope_of"),
    (drawing, "compiled"),
)


@pytest.fixture
def few_kept(monkeypatch):
    """Every cache of functions holds `KEPT`."""
    for bound in ("MAX_ACTIVATIONS", "MAX_SAMPLERS"):
        monkeypatch.setattr(analysis, bound, KEPT)
    ours = [m for name, m in sys.modules.items() if name.split(".")[0] in ("eft", "nets")]
    for module, name in CACHES:
        cache = getattr(module, name)
        small = functools.lru_cache(KEPT)(cache.__wrapped__)
        for user in ours:
            for attribute, value in list(vars(user).items()):
                if value is cache:
                    monkeypatch.setattr(user, attribute, small)


def fresh(i):
    slope = 1 + 1e-3 * i
    return lambda z: jnp.tanh(slope * z)


def rectified(i):
    slope = 1 + 1e-3 * i
    return lambda z: jnp.where(z > 0, slope * z, jnp.zeros_like(z))


@functools.partial(jax.jit, static_argnums=0)
def never_released(act, z):
    return act(z)


CALLS = {
    "kernel_flow": lambda f: eft.kernel_flow(f, 1.0, 3),
    "expand": lambda f: eft.expand(f, 1.0, 3, 1),
    "classify": eft.classify,
    "gaussian_expectation": lambda f: eft.gaussian_expectation(f, 1.0),
    "pair_expectation": lambda f: eft.pair_expectation(f, 1.0, 0.5, 1.0),
    "pair_flow": lambda f: eft.pair_flow(f, 1.0, 2, *X),
    "gram_flow": lambda f: eft.gram_flow(f, 1.0, 2, X),
    "vertex_flow": lambda f: eft.vertex_flow(f, 1.0, 2, X[:1]),
    "ntk_gram_flow": lambda f: eft.ntk_gram_flow(f, 1.0, 2, X[:1]),
    "log_flow": lambda f: eft.log_flow(eft.Activation(f, degree=1), 1.0, 3, 8),
    "networks": lambda f: nets.measure(f, 1.0, 3, 4, 8),
    "metric": lambda f: nets.measure(f, 1.0, 3, 4, 8, method="metric"),
    "measure_inputs": lambda f: nets.measure_inputs(f, 1.0, 3, 4, 2, X),
    "control": lambda f: never_released(f, 1.0),
}


def growth(call, make):
    """The number of programs that two calls add, and of functions that are alive after five."""
    seen = []
    for i in range(KEPT + 3):
        f = make(i)
        seen.append(weakref.ref(f))
        call(f)
        del f
        gc.collect()
        if i == KEPT:
            before = len(jax.devices()[0].client.live_executables())
    after = len(jax.devices()[0].client.live_executables())
    return after - before, sum(f() is not None for f in seen)


@pytest.mark.parametrize("name", CALLS)
def test_functions_and_programs_are_released(name, few_kept):
    programs_more, alive = growth(CALLS[name], rectified if name == "log_flow" else fresh)
    if name == "control":
        assert programs_more == 2 and alive == KEPT + 3
    else:
        assert programs_more <= 0 and alive <= KEPT


MANY = """
import functools, gc
import jax, jax.numpy as jnp
import eft
from eft.activations import programs
programs._program = functools.lru_cache({kept})(programs._program.__wrapped__)
def memory():
    gc.collect()
    maps = open("/proc/self/maps").read().count("\\n")
    return maps, len(jax.devices()[0].client.live_executables())
for i in range(300):
    eft.moments(eft.activation("leaky_relu", slope=1e-4 * i), 1.0)
    if i == 99:
        before = memory()
print(*(b - a for a, b in zip(before, memory())))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_hundreds_of_functions():
    """From 100 to 300 functions no memory is added. The control: an unbounded cache grows."""
    found = {}
    for kept in (programs.MAX_PROGRAMS, None):
        done = subprocess.run(
            [sys.executable, "-c", MANY.format(kept=kept)], capture_output=True, text=True, timeout=500
        )
        assert done.returncode == 0, done.stderr
        found[kept] = tuple(map(int, done.stdout.split()))
    maps, executables = found[programs.MAX_PROGRAMS]
    assert executables <= 2 and maps < 100
    assert found[None][1] == 200 and found[None][0] > 3 * max(maps, 100)
