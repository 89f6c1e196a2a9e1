"""The weights of one layer, as initializers of Flax: arrays (n_in, n)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from nets.network.normals import Normal


def gaussian(normal: Normal, variance: jax.Array):
    """Independent numbers from N(0, variance)."""

    def initialize(key, shape, dtype, out_sharding=None):
        return jnp.sqrt(variance).astype(dtype) * normal(key, shape).astype(dtype)

    return initialize


class InTurn:
    """Makes each array depend on the one that was made last, without changing it.

    XLA on CPUs computes what is independent at the same time, and two QR decompositions that do may wait for
    each other's threads forever.
    """

    def __init__(self) -> None:
        self.last: jax.Array | None = None

    def __call__(self, make: Callable[[jax.Array], jax.Array], given: jax.Array) -> jax.Array:
        if self.last is not None:
            given = given + 0 * self.last.ravel()[0]
        self.last = make(given)
        return self.last


def orthogonal(normal: Normal, cw: jax.Array, in_turn: InTurn):
    """√(C_W m/n_in) Q, m = max(n_in, n), with Q the first n_in rows and n columns of an orthogonal matrix
    (m, m) of the Haar measure. An entry has the variance C_W/n_in.

    For n ≤ n_in the columns are orthogonal, of length √C_W; for n > n_in the rows, of length √(C_W n/n_in).
    """

    def initialize(key, shape, dtype, out_sharding=None):
        n_in, n = shape
        m, k = max(shape), min(shape)
        Q = in_turn(orthonormal_columns, normal(key, (m, k)).astype(dtype))
        return jnp.sqrt(cw * m / n_in).astype(dtype) * (Q if n <= n_in else Q.T)

    return initialize


def orthonormal_columns(u: jax.Array) -> jax.Array:
    """Q of u = QR, (m, k) with k ≤ m, the diagonal of R positive: Haar if the elements of u are N(0, 1)."""
    Q, R = jnp.linalg.qr(u)
    return Q * jnp.where(jnp.diagonal(R) < 0, -1, 1).astype(u.dtype)[None]
