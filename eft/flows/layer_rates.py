"""Rates of each layer: λ_W^l and λ_b^l in place of one λ_W and one λ_b."""

from typing import Any

import jax
import jax.numpy as jnp

from eft import arguments
from eft.arguments import ArgumentError, ArgumentTypeError


def checked_rates(value: Any, depth: int) -> tuple[jax.Array, jax.Array]:
    """`layer_rates`: (weights, biases), each of shape (depth,) and ≥ 0."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise ArgumentTypeError(
            "layer_rates must be (rates of weights, rates of biases), each of shape (depth,); got "
            f"{arguments.shown(value)}"
        )
    rates = tuple(arguments.nonnegative(f"layer_rates[{i}]", each) for i, each in enumerate(value))
    for i, each in enumerate(rates):
        if each.shape != (depth,):
            raise ArgumentError(f"layer_rates[{i}] must have shape ({depth},); got shape {each.shape}")
    return rates[0], rates[1]


def first_and_next(rate: jax.Array, depth: int) -> tuple[jax.Array, jax.Array]:
    """λ of layer 1, and of layer l + 1 for l = 1 … L, from one λ or one of each layer.

    That of layer L + 1, which is not computed, is whatever comes last.
    """
    each = jnp.broadcast_to(rate, (depth,))
    return each[0], jnp.roll(each, -1)
