"""Compiled programs that are kept, a bounded number of them."""

import contextlib
import functools
import threading
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

KEPT = 48
"""Programs: each maps some hundred pieces of memory, and Linux allows a process 65,530."""

_LOCK = threading.Lock()


def call(body: Callable, about: Hashable, *arrays: Any, donated: tuple[int, ...] = ()) -> Any:
    """body(about, *arrays), compiled; the oldest of `KEPT` programs is let go, and its memory with it.

    `donated`: which of the arrays, counted from 0, are used up.
    """
    shapes = tuple((jnp.shape(a), jnp.result_type(a)) for a in jax.tree.leaves(arrays))
    with _LOCK:  # devices ask at the same time, and are to get one
        program = _program(body, about, shapes, donated)
    return program(*arrays)


@contextlib.contextmanager
def usual_promotion() -> Iterator[None]:
    """For code of others that counts on it, such as optimizers, whatever this process has told JAX."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@functools.lru_cache(maxsize=KEPT)
def _program(body: Callable, about: Hashable, shapes: tuple, donated: tuple[int, ...]) -> Callable:
    return jax.jit(functools.partial(body, about), donate_argnums=donated)
