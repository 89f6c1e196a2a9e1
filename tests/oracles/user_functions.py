"""Thirty random activations with undeclared kinks: random scales, shifts and positions."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

BASES = {
    "tanh": jnp.tanh,
    "sin": jnp.sin,
    "gelu": lambda z: jax.nn.gelu(z, approximate=False),
    "swish": jax.nn.swish,
    "softplus": jax.nn.softplus,
    "elu": jax.nn.elu,
    "arctan": jnp.arctan,
    "sigmoid": jax.nn.sigmoid,
    "relu": jax.nn.relu,
    "linear": lambda z: z,
}
KINKS = {
    "corner": lambda z: jnp.maximum(z, 0.0),
    "vee": jnp.abs,
    "bend": lambda z: jnp.maximum(z, 0.0) ** 2 / (1 + z * z),
    "step": lambda z: jnp.where(z > 0, 1.0, 0.0),
}


class UserFunction(NamedTuple):
    name: str
    fn: object
    kinks: tuple[float, ...]  # of this function, 0 left out


def user_function(seed: int) -> UserFunction:
    """σ(z) = a f(b(z − s)) + Σ_i w_i k_i(z − c_i), for every other seed less its value at 0."""
    rng = np.random.default_rng(seed)
    base = list(BASES)[seed % len(BASES)]
    a, b = rng.uniform(0.5, 2.0, 2)
    shift = round(float(rng.choice([0.0, rng.normal()])), 3)
    count = rng.integers(1, 4)
    places = [round(float(c), 3) for c in rng.normal(0.0, 2.0, count)]
    names = rng.choice(list(KINKS)[: 4 if seed % 10 == 7 else 3], count)
    weights = rng.uniform(-0.8, 0.8, count)

    def raw(z):
        value = a * BASES[base](b * (z - shift))
        for name, w, c in zip(names, weights, places, strict=True):
            value = value + w * KINKS[name](z - c)
        return value

    at_zero = raw(jnp.zeros(())) if seed % 2 else 0.0
    moved = (shift,) if base in ("elu", "relu") else ()
    kinks = tuple(sorted({c for c in (*places, *moved) if c != 0}))
    return UserFunction(f"{seed}: {base}", lambda z: raw(z) - at_zero, kinks)
