"""Standard normal numbers from a key: float32, reproducible, and cheap enough to draw every weight.

The bits are those of Threefry-2x32 with 20 rounds, JAX's own generator, with the rounds written
out, so that the compiler fuses bits and normals into one loop; both words of a pair are used.
"""

import functools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Normal = Callable[[jax.Array, Sequence[int]], jax.Array]
"""(key, shape) → numbers of mean 0 and variance 1."""

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = 0x1BD11BDA


def threefry_2x32(key: jax.Array, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Threefry-2x32-20 of the counters (x, y) under a key of two words; all uint32.

    J. Salmon et al., Parallel random numbers: as easy as 1, 2, 3 (2011).
    """
    k = (key[0], key[1], key[0] ^ key[1] ^ np.uint32(PARITY))
    x, y = x + k[0], y + k[1]
    for group in range(5):
        for r in ROTATIONS[group % 2]:
            x = x + y
            y = x ^ ((y << np.uint32(r)) | (y >> np.uint32(32 - r)))
        x, y = x + k[(group + 1) % 3], y + k[(group + 2) % 3] + np.uint32(group + 1)
    return x, y


def box_muller(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Two independent standard normals from two words of 32 random bits.

        (r cos φ, r sin φ),  r = √(−2 log u),  u = (⌊a/2⌋ + ½)/2³¹

    The lower 30 bits of b give θ ∈ [−π/4, π/4]; the two highest bits decide whether θ is reflected in the
    diagonal and through the origin to give φ. sin θ and cos θ by their Taylor series, to 3e-8.
    |normal| ≤ 6.6.
    """
    u = ((a >> np.uint32(1)).astype(jnp.int32).astype(jnp.float32) + np.float32(0.5)) * np.float32(2.0**-31)
    r = jnp.sqrt(np.float32(-2) * jnp.log(u))
    theta = lax.bitcast_convert_type(b << np.uint32(2), jnp.int32).astype(jnp.float32)
    theta = theta * np.float32(math.pi / 2**33)
    q = theta * theta
    sin = theta * _polynomial(q, [(-1) ** k / math.factorial(2 * k + 1) for k in range(5)])
    cos = _polynomial(q, [(-1) ** k / math.factorial(2 * k) for k in range(5)])
    sign = b & np.uint32(1 << 31)
    r = lax.bitcast_convert_type(lax.bitcast_convert_type(r, jnp.uint32) ^ sign, jnp.float32)
    reflected = (b & np.uint32(1 << 30)) != 0
    return r * jnp.where(reflected, sin, cos), r * jnp.where(reflected, cos, sin)


def _polynomial(q: jax.Array, coefficients: Sequence[float]) -> jax.Array:
    value = jnp.full_like(q, coefficients[-1])
    for c in coefficients[-2::-1]:
        value = value * q + np.float32(c)
    return value


def standard_normal(key: jax.Array, shape: Sequence[int]) -> jax.Array:
    """Independent N(0, 1) numbers of that shape, float32 whatever JAX's precision is.

    The upper and the lower half of a matrix hold the two normals of each Box–Muller pair, made from the words
    of counters (0, i), with i along the rows of a half; for a vector or a single row, these are the left and
    the right half. `key`: a JAX key; one of another generator than Threefry draws two words that are the key.
    """
    return _standard_normal(key, tuple(shape))


@functools.partial(jax.jit, static_argnums=1)
def _standard_normal(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    words = jax.random.key_data(key)
    if words.shape != (2,):
        words = jax.random.bits(key, (2,), jnp.uint32)
    columns = shape[-1] if shape else 1
    rows = math.prod(shape[:-1])
    axis = 1 if rows == 1 else 0
    half = (rows, -(-columns // 2)) if axis else (-(-rows // 2), columns)
    # A matrix of counters, concatenated as matrices: the compiler turns one long vector into a slow loop.
    count = lax.broadcasted_iota(jnp.uint32, half, 0) * np.uint32(half[1]) + lax.broadcasted_iota(
        jnp.uint32, half, 1
    )
    pair = box_muller(*threefry_2x32(words, jnp.zeros_like(count), count))
    return jnp.concatenate(pair, axis)[:rows, :columns].reshape(shape)
