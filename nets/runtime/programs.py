"""Compilation and caching of programs that draw networks: the same as for those of the theory."""

import contextlib
from collections.abc import Iterator

import jax

from eft.activations.programs import call

__all__ = ["call", "usual_promotion"]


@contextlib.contextmanager
def usual_promotion() -> Iterator[None]:
    """JAX's default promotion of types and ranks, whatever this process has set, for code that relies on it.

    Such code is third-party, for example an optimizer.
    """
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield
