"""Values with derivatives more accurate than those obtained by differentiating their computation.

A Gaussian expectation at two variables is a smooth function of their kernel, K₁₁, K₂₂ and K₁₂, even where
the coordinates in which it is computed, √K₁₁, √K₂₂ and the angle, have infinite derivatives: where a
variable is 0 and where the two variables are equal.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


@jax.custom_jvp
def attached(value: jax.Array, gradients: tuple, variables: tuple) -> jax.Array:
    """`value`, with the derivatives `gradients` in `variables` added to those that it already has."""
    return value


@attached.defjvp
def _attached_jvp(primals, tangents):
    value, gradients, variables = primals
    tangent, _, changes = tangents
    for gradient, change in zip(gradients, changes, strict=True):
        tangent = tangent + gradient * change
    return linear(value, gradients, variables), tangent


def linear(value: jax.Array, gradients: tuple, variables: tuple) -> jax.Array:
    """The same by plain arithmetic, right for the first derivative only.

    A rule returns this as its value, since JAX drops the rules within a scan when it differentiates the
    backward pass: `jax.hessian` would be silently wrong.
    """
    pairs = zip(gradients, variables, strict=True)
    return value + sum(constant(gradient) * (variable - constant(variable)) for gradient, variable in pairs)


def constant(x: Any) -> Any:
    """x as a constant, for values whose derivatives are attached."""
    return jax.tree.map(lax.stop_gradient, x)


def undifferentiated(x: jax.Array, *variables: jax.Array) -> jax.Array:
    """x, whose derivative in the variables is not known, and comes out as NaN or inf, by way of √0."""
    still = sum(jnp.sqrt(jnp.abs(variable - constant(variable))) for variable in variables)
    return x + jnp.where(jnp.isnan(still), 0.0, still)


def with_derivatives_of(smooth: Callable, accurate: Callable) -> Callable:
    """(kernel, *coordinates) → accurate(*coordinates), with the derivatives of `smooth` in the kernel.

    `smooth` takes all the arguments; without round-off it would be the same function.
    """

    @jax.custom_jvp
    def joined(kernel, *coordinates):
        return accurate(*coordinates)

    @joined.defjvp
    def _(primals, tangents):
        kernel, *coordinates = primals

        def by_kernel(kernel):
            return smooth(jnp.broadcast_arrays(*kernel), *coordinates)

        value, change = jax.jvp(by_kernel, (kernel,), (tangents[0],))
        exact = accurate(*coordinates)
        return jax.tree.map(lambda e, v: e + (v - constant(v)), exact, value), change

    return joined
