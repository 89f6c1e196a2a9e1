"""Initializers of Haiku, which are functions (shape, dtype) → array."""

from collections.abc import Callable, Sequence
from typing import Any

import haiku as hk
import jax


def initializer(init: Callable[..., jax.Array]) -> Callable[[Sequence[int], Any], jax.Array]:
    """`init`, a function (key, shape, dtype) → array, as an initializer of Haiku: the key is its next one.

    >>> init = nets.interop.haiku.initializer
    >>> def forward(x):
    ...     weights, biases = nets.initializers.critical("relu"), nets.initializers.critical_bias("relu")
    ...     return hk.Linear(3, w_init=init(weights), b_init=init(biases))(x)
    >>> hk.transform(forward).init(jax.random.key(0), jnp.ones((1, 5)))["linear"]["w"].shape
    (5, 3)
    """

    def initialize(shape: Sequence[int], dtype: Any) -> jax.Array:
        return init(hk.next_rng_key(), shape, dtype)

    return initialize
