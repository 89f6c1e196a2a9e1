"""Expectations of products of analytic functions at three and four Gaussian variables, over two planes.

A product f of functions of z₁ and z₂ is a function on the plane of two independent u ~ N(0, 1), and a product
g of functions of z₃ and z₄ on that of v. Both planes are rotated so that Cov(u_a, v_b) = δ_ab ρ_a (canonical
correlations), and by Mehler's formula, with f_mn = ⟨f h_m(u₁)h_n(u₂)⟩, h_n = He_n/√n!,

    ⟨f g⟩ = Σ_mn ρ₁ᵐ ρ₂ⁿ f_mn g_mn

The sums over m and n are those of `eft.gaussian.oscillator`, with N²/4 of each in place of mn. This takes N²
values of f and of g and N³ operations, for the N⁴ terms of the sum over four variables. No inverse of a
covariance is taken: variables may be equal, dependent or 0.
"""

import functools
import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from eft.activations.one_sided import aligned
from eft.activations.programs import INDEX
from eft.gaussian.covariance import covariance_factor
from eft.gaussian.oscillator import Basis, bases, expanded, half_for, log_correlation, powers

STEP = 0.25
"""Spacing for K ≤ 1, where the nearest pole of σ(z) is at a distance of 1.5 or more, as for tanh: relative
error 1e-12 for variables that are equal, where the pole is of order four. For larger K, it falls as 1/√K."""

MAX_HALF = 80
"""Half the number of nodes; where K is so large that more were needed, the error tells."""

CHUNK = 16
"""Products that are summed at once, or the largest divisor of their number up to that: 0.1 GB at most."""


class Nodes(NamedTuple):
    """`half`: nodes x > 0. `mirrored`: whether f and g do not change if all variables change their sign."""

    half: int
    mirrored: bool = False


def nodes_for(largest_K: float, mirrored: bool) -> Nodes:
    """For σ that is analytic on the scale 1, up to this K."""
    return Nodes(min(half_for(STEP, largest_K), MAX_HALF), mirrored)


class Means(NamedTuple):
    """Expectations of products of k functions of n variables.

    `three`: (T, 3, k(k+1)/2, k²) for variables a < b < c. At [t, 0, p, q]: the p-th product φφ′ of two
        functions of z_a, φ ≤ φ′, times the q-th product of a function of z_b and one of z_c. At [t, 1] and
        [t, 2] the two functions are of z_b, or z_c, and the other two variables are in ascending order.
    `four`: (Q, k², k²) for a < b < c < d: functions of z_a and z_b times functions of z_c and z_d.
    """

    three: jax.Array
    four: jax.Array


def means(factors: Callable, K: jax.Array, nodes: Nodes) -> tuple[Means, Means]:
    """The expectations in z ~ N(0, K), (n, n), and their absolute differences from those of a coarser rule.

    `factors`: z → the k functions, on a new first axis.
    """
    F = covariance_factor(K)[0]
    both = lax.map(lambda b: _means(factors, F, b, nodes.mirrored), bases(nodes.half, F.dtype))
    return jax.tree.map(lambda a: a[0], both), jax.tree.map(lambda a: jnp.abs(a[0] - a[1]), both)


def _means(factors: Callable, F: jax.Array, b: Basis, mirrored: bool) -> Means:
    n = len(F)
    sides = (1,) if mirrored else (1, -1)
    k = jax.eval_shape(factors, F[:1, 0]).shape[0]

    def of(one, rows, shape):
        count = len(rows)
        if not count:
            return jnp.zeros((0, *shape), F.dtype)
        size = max(d for d in range(1, CHUNK + 1) if count % d == 0)
        chunks = F[rows].reshape(count // size, size, rows.shape[1], n)
        return lax.map(functools.partial(one, factors, b, sides), chunks).reshape(count, *shape)

    threes = list(itertools.combinations(range(n), 3))
    doubled = np.array([(t[i], *t[:i], *t[i + 1 :]) for t in threes for i in range(3)], int).reshape(-1, 3)
    fours = np.array(list(itertools.combinations(range(n), 4)), int).reshape(-1, 4)
    three = of(_doubled, doubled, (k * (k + 1) // 2, k * k))
    return Means(three.reshape(len(threes), 3, *three.shape[1:]), of(_four, fours, (k * k, k * k)))


def _four(factors: Callable, b: Basis, sides: tuple, F: jax.Array) -> jax.Array:
    """⟨f g⟩, (chunk, k², k²), of z = F x, F (chunk, 4, n)."""
    L, Q = _plane(*jnp.moveaxis(F.reshape(-1, 2, 2, F.shape[-1]), 2, 0))  # of z₁ and z₂, and of z₃ and z₄
    left, rho, right = _rotations(jnp.sum(Q[:, 0, :, None] * Q[:, 1, None], -1))
    values = _on_plane(factors, b, sides, _product(L, jnp.stack([left, right], 1)))
    p, q = PARITIES[len(sides)]
    over_j = jnp.swapaxes(expanded(_of_parity(values), b.vectors[q]), -1, -2)
    f, g = jnp.moveaxis(expanded(over_j, b.vectors[p]), 2, 0)  # [class, chunk, k², n, m]
    first, second = (powers(b, c, log_correlation(rho[:, i]), rho[:, i] < 0) for i, c in enumerate((p, q)))
    weighted = (second[..., None] * first[..., None, :])[:, :, None] * f
    return jnp.sum(weighted[:, :, :, None] * g[:, :, None], (0, -2, -1))


PARITIES = {
    1: (np.array([0, 1], INDEX), np.array([0, 1], INDEX)),
    2: (np.array([0, 0, 1, 1], INDEX), np.array([0, 1, 0, 1], INDEX)),
}
"""Parities of m and n, by the number of signs of u₁: the classes of terms; with one sign, m + n is even."""


def _doubled(factors: Callable, b: Basis, sides: tuple, F: jax.Array) -> jax.Array:
    """⟨f g⟩, (chunk, k(k+1)/2, k²), where f is a product of two functions of z₁; F (chunk, 3, n).

    Only u₁ matters then, and v₂, of which it is independent, is integrated out.
    """
    size = jnp.sqrt(jnp.sum(F[:, 0] ** 2, -1))
    unit = F[:, 0] / jnp.where(size > 0, size, 1.0)[:, None]
    L, Q = _plane(F[:, 1], F[:, 2])
    c = jnp.sum(unit[:, None] * Q, -1)
    rho = jnp.sqrt(jnp.sum(c * c, -1))
    angle = jnp.where(rho > 0, jnp.arctan2(c[:, 1], c[:, 0]), 0.0)
    g = _on_plane(factors, b, sides, _product(L, _rotation(angle)))
    g = jnp.sum(jnp.sum(g, 1) * aligned(b.w, g[:, 0]), -1)  # [s, chunk, k², i]
    signs = jnp.asarray(sides, F.dtype)
    s = factors(signs[:, None, None] * size[None, :, None] * b.x[None, None])  # [k, s, chunk, i]
    i, j = np.triu_indices(len(s))
    both = jnp.concatenate([jnp.moveaxis(s[i] * s[j], 0, 2), g], 2)
    if len(sides) == 1:
        both, p = 2 * both, np.array([0])
    else:
        both, p = jnp.stack([both[0] + both[1], both[0] - both[1]]), np.array([0, 1])
    both = expanded(both, b.vectors[p])
    f, g = jnp.split(both, [len(i)], 2)
    weighted = powers(b, p, log_correlation(rho), rho < 0)[:, :, None] * f
    return jnp.sum(weighted[:, :, :, None] * g[:, :, None], (0, -1))


def _on_plane(factors: Callable, b: Basis, sides: tuple, A: jax.Array) -> jax.Array:
    """Products of a function of z₁ and one of z₂, z = A u, at u = (s x_i, t x_j): [s, t, …, k², i, j]."""
    x = aligned(b.x, A)
    first, second = A[..., 0, None, None] * x[..., None], A[..., 1, None, None] * x[..., None, :]
    s, t = (jnp.asarray(signs, A.dtype).reshape(-1, *(1,) * first.ndim) for signs in (sides, (1, -1)))
    values = factors(s[:, None] * first[None, None] + t[None] * second[None, None])
    # [k, s, t, …, variable, i, j]
    both = values[:, None, ..., 0, :, :] * values[None, ..., 1, :, :]
    return jnp.moveaxis(both.reshape(-1, *both.shape[2:]), 0, -3)


def _of_parity(f: jax.Array) -> jax.Array:
    """Σ_st sᵖ tᵠ f for each of the classes, on a new first axis in place of those of s and t."""
    even, odd = f[:, 0] + f[:, 1], f[:, 0] - f[:, 1]
    if len(f) == 1:
        return 2 * jnp.concatenate([even, odd])
    return jnp.stack([even[0] + even[1], odd[0] + odd[1], even[0] - even[1], odd[0] - odd[1]])


def _plane(first: jax.Array, second: jax.Array) -> tuple[jax.Array, jax.Array]:
    """L (…, 2, 2) and Q (…, 2, n) with orthonormal rows, or rows 0, so that the two rows given are L Q."""

    def split(row):
        size = jnp.sqrt(jnp.sum(row * row, -1))
        return size, row / jnp.where(size > 0, size, 1.0)[..., None]

    a, q = split(first)
    c = jnp.sum(second * q, -1)
    rest = second - c[..., None] * q
    rest = rest - jnp.sum(rest * q, -1)[..., None] * q  # the difference may be no more than rounding
    within_rounding = jnp.sum(rest * rest, -1) <= (2 * jnp.finfo(c.dtype).eps * c) ** 2
    d, r = split(jnp.where(within_rounding[..., None], 0.0, rest))
    L = jnp.stack([jnp.stack([a, jnp.zeros_like(a)], -1), jnp.stack([c, d], -1)], -2)
    return L, jnp.stack([q, r], -2)


def _rotations(C: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Rotations U, V and ρ, (…, 2), of any sign, with C = U diag(ρ) Vᵀ."""
    (a, b), (c, d) = (jnp.moveaxis(row, -1, 0) for row in jnp.moveaxis(C, -2, 0))
    large, small = jnp.hypot(a + d, c - b) / 2, jnp.hypot(a - d, c + b) / 2
    sum_, difference = jnp.arctan2(c - b, a + d), jnp.arctan2(c + b, a - d)
    left, right = (difference + sum_) / 2, (difference - sum_) / 2
    return _rotation(left), jnp.stack([large + small, large - small], -1), _rotation(right)


def _rotation(angle: jax.Array) -> jax.Array:
    c, s = jnp.cos(angle), jnp.sin(angle)
    return jnp.stack([jnp.stack([c, -s], -1), jnp.stack([s, c], -1)], -2)


def _product(a: jax.Array, b: jax.Array) -> jax.Array:
    """Products of small matrices, term by term."""
    return jnp.sum(a[..., :, :, None] * b[..., None, :, :], -2)
