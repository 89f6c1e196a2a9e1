"""Normalization over the neurons of a layer, before the activation."""

import jax
import jax.numpy as jnp
from jax import lax


def normalized(norm: str | None, z: jax.Array) -> jax.Array:
    """N(z), over the last axis.

        None: z,   "rms": z/√(mean z²),   "layer": y/√(mean y²) with y = z − mean z

    Without learned scale or shift, and without an ε below the root, for which the formulas of theory would
    not be exact: what is normalized is first divided by its largest element, so that no square overflows or
    underflows, and 0 stays 0.
    """
    if norm is None:
        return z
    y = _centred(norm, z)
    y = y / lax.stop_gradient(_or_one(jnp.max(jnp.abs(y), -1, keepdims=True)))  # N(y) = N(y/a) for any a > 0
    return y / _root_mean_square(y)


def slope_squares(norm: str | None, z: jax.Array) -> jax.Array:
    """|∂N_i/∂z|² = Σ_j (∂N_i/∂z_j)², with the shape of z.

    None: 1,   "rms": (1 − N_i²/n)/r²,   "layer": (1 − 1/n − N_i²/n)/r²,   N = y/r
    """
    if norm is None:
        return jnp.ones_like(z)
    n, N, r = z.shape[-1], normalized(norm, z), _root_mean_square(_centred(norm, z))
    return (1 - (norm == "layer") / n - N * N / n) / (r * r)


def _centred(norm: str, z: jax.Array) -> jax.Array:
    return z - jnp.mean(z, -1, keepdims=True) if norm == "layer" else z


def _root_mean_square(y: jax.Array) -> jax.Array:
    return jnp.sqrt(_or_one(jnp.mean(y * y, -1, keepdims=True)))


def _or_one(a: jax.Array) -> jax.Array:
    return jnp.where(a == 0, 1, a)
