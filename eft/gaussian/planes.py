"""Nodes for the integral over two Gaussian variables, z₁ = √K₁ x and z₂ = √K₂ (ρx + √(1−ρ²) y).

The integral over y is split where z₂ is at 0 or a kink, that over x where z₁, or the mean of z₂, is.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from eft.activations.definition import Activation
from eft.gaussian.rules import graded

TINY_ROOT = 1e20
"""√K used in place of 0, in units of the smallest normal number, so that σ′ is that on either side of 0."""


class Plane(NamedTuple):
    """Nodes and weights; x on the leading axis, y on the last.

    `x`: (N, 1).
    `w_x`: (N, 1) weights of x.
    `y`: (N, M).
    `w_y`: (N, M) weights of y.
    `z1`: (N, 1).
    `z2`: (N, M).
    """

    x: Float[jax.Array, "N 1"]
    w_x: Float[jax.Array, "N 1"]
    y: Float[jax.Array, "N M"]
    w_y: Float[jax.Array, "N M"]
    z1: Float[jax.Array, "N 1"]
    z2: Float[jax.Array, "N M"]

    def mean(self, f: jax.Array) -> jax.Array:
        return jnp.sum(self.w_x[:, 0] * jnp.sum(self.w_y * f, -1))


def plane(act: Activation, a, b, gap, between: Callable = graded) -> Plane:
    """The nodes for one pair of √K₁, √K₂ and 1 − ρ; `between`: the rule with cuts."""
    kinks = jnp.asarray([c for c in act.kinks if c != 0], a.dtype)
    tiny = jnp.finfo(a.dtype).tiny
    a, b = (jnp.where(r == 0, TINY_ROOT * tiny, r) for r in (a, b))
    rho = 1 - gap
    sine = jnp.sqrt(gap * (2 - gap))
    mean = jnp.where(rho * b == 0, tiny, rho * b)
    x, w_x = between(jnp.concatenate([jnp.zeros(1, a.dtype), kinks / a, kinks / mean]))
    x, w_x = x[:, None], w_x[:, None]
    zeros = jnp.concatenate([jnp.zeros(1, a.dtype), kinks])
    y, w_y = between(((zeros / b)[None] - rho * x) / jnp.maximum(sine, tiny))
    return Plane(x, w_x, y, w_y, a * x, b * (rho * x + sine * y))


def correlated(a: jax.Array, b: jax.Array, gap: jax.Array) -> jax.Array:
    """1 − ρ where a variable may be 0, taken as the limit of one that is independent of all others.

    So ρ = 1 if both variables are 0, and ρ = 0 if only one is. For ReLU, ⟨σ′σ′⟩ is then ½ for an input 0 with
    itself, the limit K → 0, and ¼ with any other input, the mean over the directions from which the input may
    approach 0. A matrix of such ⟨σ′σ′⟩ has no negative eigenvalue.
    """
    return jnp.where(a * b > 0, gap, jnp.where(a == b, 0.0, 1.0).astype(gap.dtype))
