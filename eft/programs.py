"""Compiled programs that are kept, a bounded number of them.

`jax.jit` keeps what it compiled for every value of a static argument, as an activation is one, and for every
shape, thousands of them. Each maps some hundred pieces of memory, and Linux allows a process 65,530.
"""

import functools
import threading
from collections.abc import Callable, Hashable
from typing import Any

import jax
import numpy as np

KEPT = 64
"""Programs: the one that was not used for longest is let go, and its memory with it."""

_LOCK = threading.Lock()


def call(body: Callable, about: Hashable, *arrays: Any, donated: tuple[int, ...] = ()) -> Any:
    """body(about, *arrays), compiled for this `about` and these shapes.

    `donated`: which of the arrays, counted from 0, are used up.
    """
    shapes = tuple((np.shape(a), getattr(a, "dtype", type(a))) for a in jax.tree.leaves(arrays))
    with _LOCK:  # devices ask at the same time, and are to get one
        program = _program(body, about, shapes, donated)
    return program(*arrays)


def compiled(*static: int) -> Callable[[Callable], Callable]:
    """A decorator: `jax.jit` with these static arguments, by position, of which so many programs are kept."""

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


@functools.lru_cache(maxsize=KEPT)
def _program(body: Callable, about: Hashable, shapes: tuple, donated: tuple[int, ...]) -> Callable:
    return jax.jit(functools.partial(precise(body), about), donate_argnums=donated)


def precise(body: Callable) -> Callable:
    """The same, with every product of matrices in full precision.

    Of float32 an accelerator would otherwise use as few as 10 bits.
    """

    @functools.wraps(body)
    def run(*args):
        with jax.default_matmul_precision("highest"):
            return body(*args)

    return run
