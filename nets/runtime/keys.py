"""The random keys of an ensemble: member i has the key fold_in(key, i)."""

import jax
import numpy as np

GENERATOR = "threefry2x32"
"""The generator of all keys, whatever is JAX's default."""


def words(seed: int) -> np.ndarray:
    """The two words of the ensemble's key: `seed` as a 64-bit integer."""
    return np.array([seed >> 32, seed & (2**32 - 1)], np.uint32)


def of_words(words: jax.Array) -> jax.Array:
    """The key that has these two words."""
    return jax.random.wrap_key_data(words, impl=GENERATOR)


def of_members(key: jax.Array, members: jax.Array) -> jax.Array:
    """The keys of the members with these numbers, uint32."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, members)
