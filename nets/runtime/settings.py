"""Checks of the settings that all ensembles share: seed, precision, progress."""

import operator
from numbers import Real
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from eft import arguments
from eft.arguments import ArgumentError, ArgumentTypeError

MAX_NETS = 2**31
"""The largest ensemble."""

MAX_SEED = 2**32 - 1


def check_representable(dtype: np.dtype, numbers: dict[str, float]) -> None:
    largest = float(np.finfo(dtype).max)
    bad = [f"{name} {value:g}" for name, value in numbers.items() if not value <= largest]
    if bad:
        raise ArgumentError(f"{', '.join(numbers)} must be finite in {dtype}; got {', '.join(bad)}")


def checked_seed(seed: Any) -> int:
    """An integer from 0 to 2³² − 1, or the two words of a key of jax.random as one integer: s for key(s)."""
    allowed = f"seed must be an integer from 0 to {MAX_SEED:,}, or one key of jax.random"
    if isinstance(seed, Tracer):
        raise ArgumentTypeError(f"{allowed}, known before tracing; got {seed}")
    if isinstance(seed, jax.Array | np.ndarray) and (
        jnp.issubdtype(seed.dtype, jax.dtypes.prng_key) or seed.ndim
    ):
        return _seed_of_key(seed, allowed)
    try:
        number = operator.index(seed)
    except TypeError:
        kind = ArgumentError if isinstance(seed, Real) else ArgumentTypeError
        raise kind(f"{allowed}; got {arguments.shown(seed)}") from None
    if isinstance(seed, bool | np.bool_):
        raise ArgumentTypeError(f"{allowed}; got {seed}")
    if not 0 <= number <= MAX_SEED:
        raise ArgumentError(f"{allowed}; got {number:,}")
    return number


def _seed_of_key(key: Any, allowed: str) -> int:
    typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    if key.ndim if typed else (key.shape != (2,) or key.dtype != np.uint32):
        raise ArgumentError(f"{allowed}; got an array {key.dtype} of shape {key.shape}")
    words = jax.random.key_data(key) if typed else key
    if np.shape(words) != (2,):  # another generator than Threefry: draw two words with it
        words = jax.random.bits(key, (2,), jnp.uint32)
    high, low = map(int, np.asarray(words))
    return high << 32 | low


def checked_progress(progress: Any) -> bool | None:
    if progress is None or isinstance(progress, bool | np.bool_):
        return None if progress is None else bool(progress)
    raise ArgumentTypeError(f"progress must be True, False or None; got {arguments.shown(progress)}")


def float_dtype(dtype: Any) -> np.dtype:
    try:
        kind = np.dtype(dtype)
    except TypeError:
        kind = np.dtype(object)
    if kind not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise ArgumentError(f"dtype must be float32 or float64; got {arguments.shown(dtype)}")
    if jax.dtypes.canonicalize_dtype(kind) != kind:
        raise ArgumentError('dtype float64 needs jax.config.update("jax_enable_x64", True) first')
    return kind
