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

MAX_PROGRAMS = 64
"""Programs in the cache; the least recently used one is dropped, and its memory freed."""

_LOCK = threading.Lock()


def call(body: Callable, about: Hashable, *arrays: Any, donated: tuple[int, ...] = ()) -> Any:
    """body(about, *arrays), compiled for this `about`, these shapes and the static parts of the arguments.

    `donated`: the positions, from 0, of the arrays that are used up, so that their memory can be reused.
    """
    leaves, structure = jax.tree.flatten(arrays)
    shapes = tuple((np.shape(a), getattr(a, "dtype", type(a))) for a in leaves)
    with _LOCK:  # several devices may ask at once, and should get the same program
        program = _program(body, about, structure, shapes, donated)
    return program(*leaves)


def compiled(*static: int) -> Callable[[Callable], Callable]:
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
            return call(body, tuple(args[i] for i in static), *arrays)

        return run

    return decorate


@functools.lru_cache(maxsize=MAX_PROGRAMS)
def _program(
    body: Callable, about: Hashable, structure: Any, shapes: tuple, donated: tuple[int, ...]
) -> Callable:
    """The program, a function of the leaves alone.

    JAX keeps the structures of arguments in caches of its own: it must not see activations in them.
    """
    each = structure.unflatten(range(len(shapes)))
    used_up = tuple(leaf for place in donated for leaf in jax.tree.leaves(each[place]))

    def run(*leaves):
        return precise(body)(about, *structure.unflatten(leaves))

    run.__name__ = getattr(body, "__name__", "program")
    return jax.jit(run, donate_argnums=used_up)


def precise(body: Callable) -> Callable:
    """The same function, with every matrix product in full precision.

    Otherwise an accelerator may use as few as 10 bits of float32.
    """

    @functools.wraps(body)
    def run(*args):
        with jax.default_matmul_precision("highest"):
            return body(*args)

    return run
