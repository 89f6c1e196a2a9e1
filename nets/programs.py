"""How programs that draw networks are compiled and kept: as those of the theory are."""

import contextlib
from collections.abc import Iterator

import jax

from eft.programs import call

__all__ = ["call", "usual_promotion"]


@contextlib.contextmanager
def usual_promotion() -> Iterator[None]:
    """For code of others that counts on it, such as optimizers, whatever this process has told JAX."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield
