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
from eft.activations.programs import INDEX
from eft.finite_width.input_products import (
    Products,
    Rules,
    covering_pairs,
    value_and_slope_products,
    value_products,
)
from eft.gaussian.bivariate import PairSource, pair_moments
from eft.gaussian.kernel_derivatives import KernelDerivatives, pair_derivatives
from eft.gaussian.piecewise_pairs import angles, cross_moments, distance_of_signs, parts
from eft.gaussian.planes import correlated, plane
from eft.gaussian.records import Moments, SlopeMoments
from eft.gaussian.smooth_pairs import OfOne, Pairs, pair_sums


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
    return np.array([[where[tuple(sorted((*p, *q)))] for q in pairs] for p in pairs], INDEX)


class LayerMoments(NamedTuple):
    """Expectations at one layer, for P pairs of inputs.

    `g`: (P,) ⟨σ₁σ₂⟩.
    `distance`: (P,) ⟨(σ₁−σ₂)²⟩.
    `fourth`: (P, P) ⟨σ₁σ₂σ₃σ₄⟩.
    `J`: (P, P) ∂⟨σ₁σ₂⟩/∂K.
    `second_order`: V → ½ Σ ∂²⟨σ₁σ₂⟩/∂K∂K V, (P,).
    `error`: bound on their relative error.
    `doubt`: the part of it that careful rules would remove.
    """

    g: Float[jax.Array, "pairs"]
    distance: Float[jax.Array, "pairs"]
    fourth: Float[jax.Array, "pairs pairs"]
    J: Float[jax.Array, "pairs pairs"]
    second_order: Callable[[jax.Array], jax.Array]
    error: Float[jax.Array, ""]
    doubt: Float[jax.Array, ""]


class _Kernel(NamedTuple):
    """The kernel at n inputs, (n, n); √K; pairs of different inputs, I < J, and their 1 − ρ."""

    matrix: jax.Array
    root: jax.Array
    I: np.ndarray  # noqa: E741
    J: np.ndarray
    gap: jax.Array

    @property
    def pairs(self) -> tuple[jax.Array, jax.Array, jax.Array]:
        """√K₁, √K₂ and 1 − ρ."""
        return self.root[self.I], self.root[self.J], self.gap


def _kernel(K, K_diagonal, distance) -> _Kernel:
    n = len(K_diagonal)
    I, J = np.array(list(itertools.combinations(range(n), 2)), int).reshape(-1, 2).T  # noqa: E741
    root = jnp.sqrt(K_diagonal)
    a, b = root[I], root[J]
    size = jnp.where(a * b > 0, a * b, 1.0)
    gap = jnp.clip((distance[pair_index(n)[I, J]] - (a - b) ** 2) / (2 * size), 0.0, 2.0)
    return _Kernel(K[pair_index(n)], root, I, J, gap)


class _Twos(NamedTuple):
    """Of pairs of different inputs: ⟨(σ₁−σ₂)²⟩, the derivatives of ⟨σ₁σ₂⟩, and the relative error.

    `doubt`: the part of it that careful rules would remove.
    """

    distance: jax.Array
    derivatives: KernelDerivatives
    error: jax.Array
    doubt: jax.Array


def layer_moments(pairs: PairSource, rules: Rules, K, K_diagonal, distance, m: Moments) -> LayerMoments:
    """The expectations at one layer.

    From K_αα and the moments there, (n,), and from K_αβ and the distance K_αα + K_ββ − 2K_αβ of pairs, (P,).
    """
    kernel = _kernel(K, K_diagonal, distance)
    if rules.pairs is None or len(K_diagonal) == 1:
        two = _by_quadrature(pairs, kernel, m)
    else:
        smooth = pair_sums(pairs.act, _smooth(kernel), rules.pairs, slopes=False)
        two = _checked(pairs, kernel, m, smooth.of[0], smooth.error)
    return _assembled(m, kernel, two, value_products(pairs.act, rules, kernel.matrix, m))


class LayerSlopes(NamedTuple):
    """`values`, `slopes`: the moments of σ, and of σ′ as an activation of its own.

    `cross`: (P, P) ⟨σ₁σ₂σ′₃σ′₄⟩. `error`, `doubt`: the largest of all.
    """

    values: LayerMoments
    slopes: LayerMoments
    cross: jax.Array
    error: jax.Array
    doubt: jax.Array


def layer_slopes(
    sources: tuple[PairSource, PairSource],
    rules: Rules,
    kernel: tuple,
    m: Moments,
    q: Moments,
    p: SlopeMoments,
) -> LayerSlopes:
    """The same for σ, σ′ and both together.

    `sources`: those of σ and σ′. `kernel`: K, K_diagonal and distance, as for `layer_moments`. `m`, `q`, `p`:
    the moments of σ, those of σ′, and those of both at each input.
    """
    at, act = _kernel(*kernel), sources[0].act
    if rules.pairs is None or len(at.root) == 1:
        twos = [_by_quadrature(source, at, each) for source, each in zip(sources, (m, q), strict=True)]
        cross_two = _cross_of_twos(act, at)
    else:
        smooth = pair_sums(act, _smooth(at), rules.pairs, slopes=True)
        of = zip(sources, (m, q), smooth.of, strict=True)
        twos = [_checked(source, at, each, found, smooth.error) for source, each, found in of]
        cross_two = jnp.pad(smooth.cross, ((1, 1), (0, 0))).T.ravel()  # of one variable: known
    acts = act, sources[1].act
    of_values, of_slopes, both = value_and_slope_products(acts, rules, at.matrix, (m, q), p)
    values, slopes = _assembled(m, at, twos[0], of_values), _assembled(q, at, twos[1], of_slopes)
    cross = jnp.concatenate([p.cross, cross_two, both.three.ravel(), both.four.ravel()])
    errors = values.error, slopes.error, jnp.max(p.error), jnp.max(both.errors, initial=0.0)
    doubt = jnp.maximum(values.doubt, slopes.doubt)
    return LayerSlopes(values, slopes, cross[_cross_places(len(at.root))], jnp.max(jnp.stack(errors)), doubt)


def _assembled(m: Moments, kernel: _Kernel, two: _Twos, several: Products) -> LayerMoments:
    n = len(kernel.root)
    P, index = n * (n + 1) // 2, pair_index(n)
    own, I, J = np.diag(index), kernel.I, kernel.J  # noqa: E741
    at = np.stack([own[I], own[J], index[I, J]], -1)
    g = jnp.zeros(P, m.g.dtype).at[own].set(m.g).at[at[:, 2]].set((m.g[I] + m.g[J] - two.distance) / 2)
    apart = jnp.zeros_like(g).at[at[:, 2]].set(two.distance)
    Jacobian = jnp.zeros((P, P), g.dtype).at[own, own].set(m.dg)
    Jacobian = Jacobian.at[at[:, 2:], at].set(two.derivatives.gradient)
    fourth = jnp.concatenate(
        [m.g4, two.derivatives.fourth.ravel(), several.three.ravel(), several.four.ravel()]
    )

    def second_order(V):
        total = jnp.zeros_like(g).at[own].set(m.d2g * V[own, own] / 2)
        corner = V[at[:, :, None], at[:, None]]
        return total.at[at[:, 2]].set(jax.vmap(lambda each, V: each.second_order(V))(two.derivatives, corner))

    error = jnp.max(jnp.concatenate([m.error, two.error, several.errors]))
    doubt = jnp.max(two.doubt, initial=0.0)
    return LayerMoments(g, apart, fourth[_fourth_moments(n)], Jacobian, second_order, error, doubt)


# --- two inputs ---------------------------------------------------------------------------------


def _moments_of_pairs(pairs: PairSource, kernel: _Kernel, m: Moments):
    a, b, gap = kernel.pairs
    both = jax.tree.map(lambda x: x[kernel.I], m), jax.tree.map(lambda x: x[kernel.J], m)
    return pair_moments(pairs, a, b, a - b, gap, moments=both)


def _by_quadrature(pairs: PairSource, kernel: _Kernel, m: Moments) -> _Twos:
    if not len(kernel.I):
        empty = jnp.zeros(0, m.g.dtype)
        shapes = {"jacobian": (3, 3), "polar_hessian": (3, 3), "curvature": (3, 3, 3)}
        fields = (jnp.zeros((0, *shapes.get(name, (3,))), m.g.dtype) for name in KernelDerivatives._fields)
        return _Twos(empty, KernelDerivatives(*fields), empty, empty)
    distance, error = _distances(pairs, kernel, m)
    derivatives = lax.map(lambda each: pair_derivatives(pairs.act, *each), kernel.pairs)
    return _Twos(distance, derivatives, error, jnp.zeros_like(error))


def _distances(pairs: PairSource, kernel: _Kernel, m: Moments) -> tuple[jax.Array, jax.Array]:
    """⟨(σ₁−σ₂)²⟩ and the relative error; of a step at 0 in closed form."""
    if pairs.act.degree != 0:
        found = _moments_of_pairs(pairs, kernel, m)
        return found.distance, found.error
    a, b, gap = kernel.pairs
    jump = parts(pairs.act, gap.dtype).odd[1]
    distance = jump**2 * distance_of_signs(correlated(a, b, gap))
    return distance, jnp.full_like(gap, jnp.finfo(gap.dtype).eps)


def _smooth(kernel: _Kernel) -> Pairs:
    return Pairs(kernel.root, kernel.I, kernel.J, kernel.gap)


def _checked(pairs: PairSource, kernel: _Kernel, m: Moments, smooth: OfOne, error) -> _Twos:
    """The error is also that of ⟨σ₁²⟩ + ⟨σ₂²⟩, which are known from one input. Closed forms are used."""
    if pairs.forms.has("pair"):
        known = _moments_of_pairs(pairs, kernel, m)
        off, distance = known.error, known.distance
    else:
        sizes, distance = m.g[kernel.I] + m.g[kernel.J], smooth.distance
        off = jnp.abs(sizes - 2 * smooth.product - distance) / jnp.where(sizes > 0, sizes, 1.0)
    doubt = jnp.maximum(off - m.error[kernel.I] - m.error[kernel.J], error)
    return _Twos(distance, smooth.derivatives, jnp.maximum(off, error), doubt)


def _cross_of_twos(act: Activation, kernel: _Kernel) -> jax.Array:
    """⟨f h⟩ for f = σ₁², σ₁σ₂, σ₂² and h = σ′₁², σ′₁σ′₂, σ′₂², of one pair after the other."""

    def of_one(each):
        if act.degree == 1:
            a, b, gap = each
            return cross_moments(parts(act, a.dtype), angles(a, b, gap), a, b).ravel()
        q = plane(act, *each)
        (s1, d1), (s2, d2) = act.derivatives(q.z1)[:2], act.derivatives(q.z2)[:2]
        products = itertools.product((s1 * s1, s1 * s2, s2 * s2), (d1 * d1, d1 * d2, d2 * d2))
        return jnp.stack([q.mean(f * h) for f, h in products])

    return lax.map(of_one, kernel.pairs).ravel() if len(kernel.I) else jnp.zeros(0, kernel.root.dtype)


def slope_jacobian(J: jax.Array, slopes: jax.Array, index: np.ndarray) -> jax.Array:
    """⟨∂(σ_iσ′_k)/∂z_a⟩ at [i, k, a]: ⟨σ′_iσ′_k⟩ from a = i, and ⟨σ_iσ″_k⟩ = 2 ∂⟨σ_iσ_k⟩/∂K_kk from a = k."""
    n = len(index)
    own = np.diag(index)
    i, k = np.arange(n)[:, None], np.arange(n)
    from_k = 2 * J[index, own[None, :]]
    from_k = from_k.at[np.arange(n), np.arange(n)].set(J[own, own] - slopes[own])
    return jnp.zeros((n, n, n), J.dtype).at[i, k, i].add(slopes[index]).at[i, k, k].add(from_k)


@functools.cache
def _cross_places(n: int) -> np.ndarray:
    """(P, P): the place of ⟨σ₁σ₂σ′₃σ′₄⟩ in the list that `layer_slopes` makes."""
    pairs = list(itertools.combinations_with_replacement(range(n), 2))
    where: dict[tuple, int] = {(p, p): i for i, p in enumerate((i, i) for i in range(n))}
    for i, j in itertools.combinations(range(n), 2):
        for a in ((i, i), (i, j), (j, j)):
            for b in ((i, i), (i, j), (j, j)):
                where.setdefault((a, b) if len({*a, *b}) == 2 else (a, b, i, j), len(where))
    for r in (3, 4):
        for chosen in itertools.combinations(range(n), r):
            for a, b in covering_pairs(r):
                where[tuple(chosen[i] for i in a), tuple(chosen[i] for i in b)] = len(where)
    return np.array([[where[a, b] for b in pairs] for a in pairs], INDEX)
