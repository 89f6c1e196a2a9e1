"""A cache of compiled programs, of bounded size.

`jax.jit` keeps the programs compiled for every value of a static argument, such as an activation, and for
every shape, thousands of them. Each takes about a hundred memory maps, and Linux allows a process 65,530.
"""

import functools
import threading
from collections.abc import Callable, Hashable
from typing import Any

import jax
import numpy as np
from jax.extend.core import find_top_trace

INDEX = np.int32
"""Type of arrays of indices that are kept between calls: JAX 0.10 remembers which type it gave an array, and
for 64 bits that depends on whether float64 was switched on when it first saw it."""

MAX_PROGRAMS = 64
"""Programs in the cache; the least recently used one is dropped, and its memory freed."""

Options = tuple[tuple[str, bool | int], ...]

QUICK: Options = (("xla_cpu_use_fusion_emitters", False),)
"""Options with which XLA compiles the flows for a CPU in about two thirds of the time; they run as fast."""

QUICKEST: Options = (*QUICK, ("xla_backend_optimization_level", 0))
"""In a third of the time; they run several times slower. For what runs only a few times."""

_LOCK = threading.Lock()
with jax.ensure_compile_time_eval():
    _CONCRETE = find_top_trace(())


def call(
    body: Callable, about: Hashable, *arrays: Any, donated: tuple[int, ...] = (), how: Options = ()
) -> Any:
    """body(about, *arrays), compiled for this `about`, these shapes and the static parts of the arguments.

    `donated`: the positions, from 0, of the arrays that are used up, so that their memory can be reused.
    `how`: XLA's options, which apply if this is a program of its own rather than a part of a larger one.
    """
    leaves, structure = jax.tree.flatten(arrays)
    shapes = tuple((np.shape(a), getattr(a, "dtype", type(a))) for a in leaves)
    how = how if find_top_trace(leaves) is _CONCRETE else ()
    with _LOCK:  # several devices may ask at once, and should get the same program
        program = _program(body, about, structure, shapes, donated, how)
    return program(*leaves)


def compiled(*static: int, how: Options = QUICK) -> Callable[[Callable], Callable]:
    """A decorator: `jax.jit` with these static arguments, by position, and a bounded number of programs."""

    def decorate(function: Callable) -> Callable:
        def body(about, *arrays):
            args = list(arrays)
            for place, value in zip(static, about, strict=True):
                args.insert(place, value)
            return function(*args)

        body.__name__ = function.__name__

        @functools.wraps(function)
        def run(*args):
            arrays = (a for i, a in enumerate(args) if i not in static)
            return call(body, tuple(args[i] for i in static), *arrays, how=how)

        return run

    return decorate


@functools.lru_cache(maxsize=MAX_PROGRAMS)
def _program(
    body: Callable, about: Hashable, structure: Any, shapes: tuple, donated: tuple[int, ...], how: Options
) -> Callable:
    """The program, a function of the leaves alone.

    JAX keeps the structures of arguments in caches of its own: it must not see activations in them.
    """
    each = structure.unflatten(range(len(shapes)))
    used_up = tuple(leaf for place in donated for leaf in jax.tree.leaves(each[place]))

    def run(*leaves):
        return precise(body)(about, *structure.unflatten(leaves))

    run.__name__ = getattr(body, "__name__", "program")
    return jax.jit(run, donate_argnums=used_up, compiler_options=options(how))


def options(how: Options) -> dict[str, Any] | None:
    """Those options by name that this version of XLA knows, if it compiles for a CPU."""
    return {name: value for name, value in how if _known(name, value)} or None


@functools.cache
def _known(name: str, value: bool | int) -> bool:
    if jax.default_backend() != "cpu":
        return False
    try:
        jax.jit(lambda: 0, compiler_options={name: value})()
    except (RuntimeError, ValueError):
        return False
    return True


def precise(body: Callable) -> Callable:
    """The same function, with every matrix product in full precision.

    Otherwise an accelerator may use as few as 10 bits of float32.
    """

    @functools.wraps(body)
    def run(*args):
        with jax.default_matmul_precision("highest"):
            return body(*args)

    return run
