"""The expectations of one layer at several inputs: ⟨σ₁σ₂⟩, ⟨σ₁σ₂σ₃σ₄⟩, ⟨σ₁σ₂σ′₃σ′₄⟩ and derivatives in K."""

import functools
import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float

from eft.activations.definition import Activation
from eft.gaussian.bivariate import PairSource, pair_moments
from eft.gaussian.kernel_derivatives import pair_derivatives
from eft.gaussian.multivariate import Grid, products, slope_products
from eft.gaussian.planes import plane
from eft.gaussian.records import Moments, SlopeMoments


def pair_places(place: np.ndarray, n: int) -> np.ndarray:
    """For each pair of the given inputs, the index of the corresponding pair of different inputs."""
    a, b = (place[i] for i in np.triu_indices(len(place)))
    return pair_index(n)[a, b]


def pair_index(n: int) -> np.ndarray:
    index = np.zeros((n, n), int)
    a, b = np.triu_indices(n)
    index[a, b] = index[b, a] = np.arange(len(a))
    return index


def fixed_products(g: jax.Array) -> jax.Array:
    """⟨σ₁σ₃⟩⟨σ₂σ₄⟩ + ⟨σ₁σ₄⟩⟨σ₂σ₃⟩ at (12), (34), (P, P), from ⟨σ₁σ₂⟩, (P,).

    Orthogonal weights fix the products Σ_i h_i1 h_i2 of h = Wσ, which Gaussian ones let fluctuate by as much.
    """
    matrix = g[pair_index(inputs_of(len(g)))]
    return gaussian_pairs(matrix)


def gaussian_pairs(K: jax.Array) -> jax.Array:
    """K_13 K_24 + K_14 K_23 at (12), (34), (P, P): Cov(z₁z₂, z₃z₄) of Gaussian z."""
    i, j = np.triu_indices(len(K))
    return K[i[:, None], i] * K[j[:, None], j] + K[i[:, None], j] * K[j[:, None], i]


def inputs_of(pairs: int) -> int:
    """n of n(n+1)/2 pairs."""
    return math.isqrt(2 * pairs)


@functools.cache
def _fourth_moments(n: int) -> np.ndarray:
    """(P, P): the place of ⟨σ₁σ₂σ₃σ₄⟩ in the list that `layer_moments` makes."""
    where: dict[tuple[int, ...], int] = {}
    for i in range(n):
        where[(i, i, i, i)] = len(where)
    for i, j in itertools.combinations(range(n), 2):
        for four in ((i, i, j, j), (i, i, i, j), (i, j, j, j)):
            where[four] = len(where)
    for three in itertools.combinations(range(n), 3):
        for i in three:
            where[tuple(sorted((*three, i)))] = len(where)
    for four in itertools.combinations(range(n), 4):
        where[four] = len(where)
    pairs = list(itertools.combinations_with_replacement(range(n), 2))
    return np.array([[where[tuple(sorted((*p, *q)))] for q in pairs] for p in pairs])


class LayerMoments(NamedTuple):
    """Expectations at one layer, for P pairs of inputs.

    `g`: (P,) ⟨σ₁σ₂⟩.
    `distance`: (P,) ⟨(σ₁−σ₂)²⟩.
    `fourth`: (P, P) ⟨σ₁σ₂σ₃σ₄⟩.
    `J`: (P, P) ∂⟨σ₁σ₂⟩/∂K.
    `second_order`: V → ½ Σ ∂²⟨σ₁σ₂⟩/∂K∂K V, (P,).
    `error`: bound on their relative error.
    """

    g: Float[jax.Array, "pairs"]
    distance: Float[jax.Array, "pairs"]
    fourth: Float[jax.Array, "pairs pairs"]
    J: Float[jax.Array, "pairs pairs"]
    second_order: Callable[[jax.Array], jax.Array]
    error: Float[jax.Array, ""]


def layer_moments(
    pairs: PairSource, grids: tuple[Grid, Grid], K, K_diagonal, distance, m: Moments
) -> LayerMoments:
    """The expectations at one layer.

    From K_αα and the moments there, (n,), and from K_αβ and the distance K_αα + K_ββ − 2K_αβ of pairs, (P,).
    """
    n = len(K_diagonal)
    index = pair_index(n)
    act = pairs.act
    g = jnp.zeros_like(K).at[np.diag(index)].set(m.g)
    apart = jnp.zeros_like(K)
    J = jnp.zeros((len(K), len(K)), K.dtype).at[np.diag(index), np.diag(index)].set(m.dg)
    fourth, errors = [m.g4], [m.error]

    I, L = np.array(list(itertools.combinations(range(n), 2)), int).reshape(-1, 2).T  # noqa: E741
    at = np.stack([np.diag(index)[I], np.diag(index)[L], index[I, L]], -1)
    derivatives = None
    if len(I):
        a, b = jnp.sqrt(K_diagonal[I]), jnp.sqrt(K_diagonal[L])
        size = jnp.where(a * b > 0, a * b, 1.0)
        gap = jnp.clip((distance[at[:, 2]] - (a - b) ** 2) / (2 * size), 0.0, 2.0)
        both = jax.tree.map(lambda x: x[I], m), jax.tree.map(lambda x: x[L], m)
        pair = pair_moments(pairs, a, b, a - b, gap, moments=both)
        derivatives = lax.map(lambda each: pair_derivatives(act, *each), (a, b, gap))
        g = g.at[at[:, 2]].set((m.g[I] + m.g[L] - pair.distance) / 2)
        apart = apart.at[at[:, 2]].set(pair.distance)
        J = J.at[at[:, 2:], at].set(derivatives.gradient)
        fourth.append(derivatives.fourth.ravel())
        errors.append(pair.error)
    matrix = K[index]
    for r, rule in zip((3, 4), grids, strict=True):
        chosen = np.array(list(itertools.combinations(range(n), r)), int)
        if len(chosen):
            integral = functools.partial(products, act, grid=rule)
            integrals = lax.map(integral, matrix[chosen[:, :, None], chosen[:, None]])
            fourth.append(integrals.value.ravel())
            size = jnp.prod(m.g4[chosen], 1) ** (1 / r)
            size = jnp.where(size > 0, size, 1.0).reshape(-1, *(1,) * (integrals.error.ndim - 1))
            errors.append((integrals.error / size).ravel())

    def second_order(V):
        total = jnp.zeros_like(K).at[np.diag(index)].set(m.d2g * V[np.diag(index), np.diag(index)] / 2)
        if derivatives is None:
            return total
        corner = V[at[:, :, None], at[:, None]]
        return total.at[at[:, 2]].set(jax.vmap(lambda each, V: each.second_order(V))(derivatives, corner))

    error = jnp.max(jnp.concatenate(errors))
    return LayerMoments(g, apart, jnp.concatenate(fourth)[_fourth_moments(n)], J, second_order, error)


def slope_jacobian(J: jax.Array, slopes: jax.Array, index: np.ndarray) -> jax.Array:
    """⟨∂(σ_iσ′_k)/∂z_a⟩ at [i, k, a]: ⟨σ′_iσ′_k⟩ from a = i, and ⟨σ_iσ″_k⟩ = 2 ∂⟨σ_iσ_k⟩/∂K_kk from a = k."""
    n = len(index)
    own = np.diag(index)
    i, k = np.arange(n)[:, None], np.arange(n)
    from_k = 2 * J[index, own[None, :]]
    from_k = from_k.at[np.arange(n), np.arange(n)].set(J[own, own] - slopes[own])
    return jnp.zeros((n, n, n), J.dtype).at[i, k, i].add(slopes[index]).at[i, k, k].add(from_k)


@functools.cache
def _cross_places(n: int) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """(P, P): the place of ⟨σ₁σ₂σ′₃σ′₄⟩ in the list of `cross_moments`; and the products of r variables."""
    pairs = list(itertools.combinations_with_replacement(range(n), 2))
    where: dict[tuple, int] = {(p, p): i for i, p in enumerate((i, i) for i in range(n))}
    for i, j in itertools.combinations(range(n), 2):
        for a in ((i, i), (i, j), (j, j)):
            for b in ((i, i), (i, j), (j, j)):
                where.setdefault((a, b) if len({*a, *b}) == 2 else (a, b, i, j), len(where))
    powers = {}
    for r in (3, 4):
        local = list(itertools.combinations_with_replacement(range(r), 2))
        covering = [(a, b) for a in local for b in local if len({*a, *b}) == r]
        powers[r] = np.array([[(a.count(i), b.count(i)) for i in range(r)] for a, b in covering])
        for chosen in itertools.combinations(range(n), r):
            for a, b in covering:
                where[tuple(chosen[i] for i in a), tuple(chosen[i] for i in b)] = len(where)
    return np.array([[where[a, b] for b in pairs] for a in pairs]), powers


def cross_moments(act: Activation, p: SlopeMoments, grids: tuple[Grid, Grid], K, K_diagonal, distance):
    """⟨σ₁σ₂σ′₃σ′₄⟩, (P, P), and a bound on its relative error; arguments as for `layer_moments`.

    `p`: the slope moments at K_diagonal.
    """
    n = len(K_diagonal)
    index = pair_index(n)
    values, errors = [p.cross], [p.error]
    I, J = np.array(list(itertools.combinations(range(n), 2)), int).reshape(-1, 2).T  # noqa: E741

    def of_two(each):
        a, b, gap = each
        q = plane(act, a, b, gap)
        (s1, d1), (s2, d2) = act.derivatives(q.z1)[:2], act.derivatives(q.z2)[:2]
        return jnp.stack(
            [q.mean(f * h) for f in (s1 * s1, s1 * s2, s2 * s2) for h in (d1 * d1, d1 * d2, d2 * d2)]
        )

    if len(I):
        a, b = jnp.sqrt(K_diagonal[I]), jnp.sqrt(K_diagonal[J])
        size = jnp.where(a * b > 0, a * b, 1.0)
        gap = jnp.clip((distance[index[I, J]] - (a - b) ** 2) / (2 * size), 0.0, 2.0)
        values.append(lax.map(of_two, (a, b, gap)).ravel())
    places, powers = _cross_places(n)
    matrix = K[index]
    for r, fine in zip((3, 4), grids, strict=True):
        chosen = np.array(list(itertools.combinations(range(n), r)), int)
        if len(chosen):
            blocks = matrix[chosen[:, :, None], chosen[:, None]]
            value, error = lax.map(lambda K, r=r, fine=fine: slope_products(act, K, fine, powers[r]), blocks)
            values.append(value.ravel())
            size = jnp.prod(jnp.maximum(p.cross[chosen], jnp.finfo(K.dtype).tiny), 1) ** (1 / r)
            errors.append((error / size[:, None]).ravel())
    return jnp.concatenate(values)[places], jnp.max(jnp.concatenate(errors))
