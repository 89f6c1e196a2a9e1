"""Compiled programs that are kept, a bounded number of them, and what is known of two that do the same."""

import functools
import hashlib
import re
import threading
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

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


@functools.lru_cache(maxsize=KEPT)
def _program(body: Callable, about: Hashable, shapes: tuple, donated: tuple[int, ...]) -> Callable:
    return jax.jit(functools.partial(body, about), donate_argnums=donated)


def digest(*traced: Any) -> tuple[str, bool]:
    """Of what `jax.make_jaxpr` returns: the programs as JAX writes them, and all numbers in them.

    Equal ones compute the same if the second result is True; it is not where there are calls back to Python,
    which are not seen through.
    """
    found, seen_through = hashlib.sha256(), True
    for program in traced:
        text = str(program)
        seen_through &= "callback" not in text
        found.update(re.sub(r"0x[0-9a-f]+", "", text).encode())
        for constant in map(np.asarray, _constants(program)):
            found.update(f"{constant.dtype}{constant.shape}".encode() + constant.tobytes())
    return found.hexdigest(), seen_through


def _constants(program: Any) -> Iterator[Any]:
    """The arrays that a traced program holds, those of the programs in it included."""
    yield from program.consts
    for equation in program.jaxpr.eqns:
        for part in jax.tree.leaves(equation.params, is_leaf=lambda part: hasattr(part, "eqns")):
            if hasattr(part, "consts"):
                yield from _constants(part)
