"""⟨σ(z₁)σ(z₂)⟩ and ⟨σ′(z₁)σ′(z₂)⟩ of all pairs from two sets of variables, by Mehler's series in ρ.

With g_ij = ⟨σ⁽ⁱ⁾(z₁)σ⁽ʲ⁾(z₂)⟩, derivatives in the kernel are series of the same kind, to any order:

    ∂g_ij/∂K₁₂ = g_{i+1,j+1},     ∂g_ij/∂K₁ = ½ g_{i+2,j}

The Hermite coefficients of σ⁽ⁱ⁾ are √((k+i)!/k!) a_{k+i}/K^{i/2}.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero

from eft.gaussian.hermite import Expansion
from eft.gaussian.tangents import constant, linear

RUN_LENGTH = 8
"""Coefficients added at a time, before checking whether more are needed."""


class Shape(NamedTuple):
    """Static properties of σ.

    `odd`: only e_1, e_3, … are stored; the others are 0.
    `smooth`: σ has derivatives at 0.
    """

    odd: bool
    smooth: bool


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def pair_series(shape: Shape, kernel: tuple, left: Expansion, right: Expansion, runs) -> tuple:
    """⟨σ₁σ₂⟩ and ⟨σ′₁σ′₂⟩, (n, m), for `kernel` = (K₁ (n,), K₂ (m,), K₁₂ (n, m)).

    `runs`: how many times `RUN_LENGTH` terms are summed. Where a variable is 0, ρ is taken as 0.
    """
    rho = correlation(kernel)
    t = rho * rho if shape.odd else rho

    def run(r, sums):
        value, slope = sums
        first = (runs - 1 - r) * RUN_LENGTH
        e_1, e_2 = (lax.dynamic_slice_in_dim(side.e, first, RUN_LENGTH, axis=1) for side in (left, right))
        for i in reversed(range(RUN_LENGTH)):
            slope = slope * t + value
            value = value * t + e_1[:, i : i + 1] * e_2[None, :, i]
        return value, slope

    zero = jnp.zeros_like(rho)
    value, slope = lax.fori_loop(0, runs, run, (zero, zero))
    product = left.mean[:, None] * right.mean[None] + kernel[2] * value
    return product, value + (2 * t if shape.odd else t) * slope


def correlation(kernel: tuple) -> jax.Array:
    """ρ, and 0 where a variable is 0."""
    K1, K2, K12 = kernel
    size = jnp.sqrt(K1)[:, None] * jnp.sqrt(K2)[None]
    return jnp.where(size > 0, jnp.clip(K12 / jnp.where(size > 0, size, 1.0), -1.0, 1.0), 0.0)


@functools.partial(pair_series.defjvp, symbolic_zeros=True)
def _pair_series_jvp(shape, primals, tangents):
    kernel, left, right, runs = primals
    product, slopes = pair_series(shape, kernel, left, right, runs)
    both = kernel, left, right
    rows = (
        _changed(shape, 0, 0, both, tangents, product, slopes),
        _changed(shape, 1, 1, both, tangents, slopes, _mean(shape, 2, 2, *both)),
    )
    return (rows[0][0], rows[1][0]), (rows[0][1], rows[1][1])


def _changed(shape: Shape, i: int, j: int, both: tuple, tangents: tuple, value, by_K12) -> tuple:
    """g_ij and its tangent; g_ij is linear in each of the two expansions."""
    kernel, left, right = both
    (d1, d2, d12), d_left, d_right = tangents[:3]
    change, moved = jnp.zeros_like(value), constant(value)

    def by_kernel(change, moved, gradient, d, variable):
        return change + gradient * d, linear(moved, (gradient,), (variable,))

    def by_expansion(change, moved, of, d, side):
        if all(isinstance(part, SymbolicZero) for part in d):
            return change, moved
        return change + of(_filled(d, side)), moved + of(jax.tree.map(lambda a: a - constant(a), side))

    if not isinstance(d12, SymbolicZero):
        change, moved = by_kernel(change, moved, by_K12, d12, kernel[2])
    if not isinstance(d1, SymbolicZero):
        half = _mean(shape, i + 2, j, *both) / 2
        change, moved = by_kernel(change, moved, half, d1[:, None], kernel[0][:, None])
    if not isinstance(d2, SymbolicZero):
        half = _mean(shape, i, j + 2, *both) / 2
        change, moved = by_kernel(change, moved, half, d2[None], kernel[1][None])
    of_left, of_right = (
        lambda side: _mean(shape, i, j, kernel, side, right),
        lambda side: _mean(shape, i, j, kernel, left, side),
    )
    change, moved = by_expansion(change, moved, of_left, d_left, left)
    change, moved = by_expansion(change, moved, of_right, d_right, right)
    return moved, change


def _filled(tangent: Expansion, primal: Expansion) -> Expansion:
    pairs = zip(tangent, primal, strict=True)
    return Expansion(*(jnp.zeros_like(p) if isinstance(d, SymbolicZero) else d for d, p in pairs))


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def _mean(shape: Shape, i: int, j: int, kernel: tuple, left: Expansion, right: Expansion) -> jax.Array:
    """g_ij from all the coefficients."""
    K1, K2, _ = kernel
    rho = correlation(kernel)
    a, b = _of_derivative(shape, i, K1, left), _of_derivative(shape, j, K2, right)
    runs = -(-a.shape[1] // RUN_LENGTH)
    a, b = (
        jnp.pad(c, ((0, 0), (0, runs * RUN_LENGTH - c.shape[1])))
        .reshape(len(c), runs, RUN_LENGTH)
        .swapaxes(0, 1)
        for c in (a, b)
    )

    def run(value, terms):
        a, b = terms
        for k in reversed(range(RUN_LENGTH)):
            value = value * rho + a[:, k : k + 1] * b[None, :, k]
        return value, None

    return lax.scan(run, jnp.zeros_like(rho), (a, b), reverse=True)[0]


@functools.partial(_mean.defjvp, symbolic_zeros=True)
def _mean_jvp(shape, i, j, primals, tangents):
    value = _mean(shape, i, j, *primals)
    return _changed(shape, i, j, primals, tangents, value, _mean(shape, i + 1, j + 1, *primals))


def _of_derivative(shape: Shape, i: int, K: jax.Array, expansion: Expansion) -> jax.Array:
    """The Hermite coefficients of σ⁽ⁱ⁾, (n, count + 1); where K is small, from σ's derivatives at 0."""
    e = expansion.e
    if shape.odd:
        e = jnp.stack([e, jnp.zeros_like(e)], -1).reshape(len(e), -1)
    root = jnp.sqrt(K)[:, None]
    if i == 0:
        return jnp.concatenate([expansion.mean[:, None], root * e], 1)
    count = e.shape[1]
    k = np.arange(max(count + 1 - i, 0))
    factor = np.sqrt(np.prod([k + n for n in range(1, i + 1)], axis=0, dtype=float))
    power = jnp.where(root > 0, root, 1.0) ** (i - 1)
    c = e[:, i - 1 :] * jnp.asarray(factor, e.dtype)[None] / power
    c = jnp.pad(c, ((0, 0), (0, count + 1 - c.shape[1])))
    if i == 1:
        return c
    small = jnp.finfo(K.dtype).eps ** 0.5 if shape.smooth else 0.0
    f = [expansion.origin[:, i + n] if i + n < 5 else jnp.zeros_like(K) for n in range(3)]
    near = [f[0] + K * f[2] / 2, root[:, 0] * f[1], K * f[2] / math.sqrt(2)]
    near = jnp.pad(jnp.stack(near, 1), ((0, 0), (0, count - 2)))
    return jnp.where((small >= K)[:, None], near, c)
