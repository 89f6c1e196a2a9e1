"""Elementwise functions z → f(z, a), each of which has the number a from somewhere else."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from nets.files import digests

SETTINGS = {"a": 0.0}
"""A global that a function reads."""


def digest_of(function) -> str:
    return digests.digest(jax.make_jaxpr(jax.value_and_grad(lambda z: jnp.sum(function(z))))(jnp.ones(3)))


class Scaled:
    """An object whose method is the function."""

    def __init__(self, a):
        self.a = jnp.full(3, a)

    def __call__(self, z):
        return jnp.tanh(self.a * z)


class Module(nnx.Module):
    def __init__(self, a):
        self.a = nnx.Param(jnp.full(1, a))

    def __call__(self, z):
        return jnp.where(z > 0, z, self.a[...] * z)


def closure(a, kind):
    captured = kind(a)
    return lambda z: jnp.tanh(captured * z)


def deep(a):
    """A number four functions down, through a jit and a loop."""
    captured = jnp.full(3, a)

    @jax.jit
    def inner(z):
        return jnp.sin(captured * z)

    return lambda z: lax.fori_loop(0, 2, lambda i, y: y + inner(y), z)


def default(a):
    def function(z, a=a):
        return jnp.tanh(a * z)

    return function


def of_global(a):
    SETTINGS["a"] = jnp.full(3, a)
    return lambda z: jnp.tanh(SETTINGS["a"] * z)


def own_derivative(a):
    """The function is the same; its derivative has the number."""

    @jax.custom_jvp
    def function(z):
        return jnp.where(z > 0, 1.0, 0.0)

    function.defjvp(lambda primals, tangents: (function(*primals), tangents[0] * jnp.full(3, a)))
    return function


CAPTURES = {
    "array of JAX": lambda a: closure(a, lambda a: jnp.full(3, a)),
    "array of NumPy": lambda a: closure(a, lambda a: np.full(3, a)),
    "one of many numbers": lambda a: closure(a, lambda a: jnp.zeros((2000, 3)).at[1234, 1].set(a).sum(0)),
    "number": lambda a: closure(a, float),
    "number of NumPy": lambda a: closure(a, np.float32),
    "partial": lambda a: functools.partial(lambda a, z: jnp.tanh(a * z), jnp.full(3, a)),
    "object": Scaled,
    "bound method": lambda a: Scaled(a).__call__,
    "module": Module,
    "nested functions": deep,
    "default": default,
    "global": of_global,
    "own derivative": own_derivative,
}
