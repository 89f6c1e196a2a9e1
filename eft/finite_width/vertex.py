"""The four-point vertex of several inputs, and the first 1/n correction of their kernel."""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from eft import arguments
from eft.activations.analysis import analysed
from eft.activations.definition import ActivationLike
from eft.activations.derivatives import Array
from eft.activations.one_sided import numpy_of
from eft.arguments import ArgumentError
from eft.flows.gram import checked_inputs, checked_number, mean_of_squares
from eft.flows.kernel import KernelFlow, flow_and_moments
from eft.gaussian.bivariate import PairSource, pair_moments, pair_source
from eft.gaussian.kernel_derivatives import pair_derivatives
from eft.gaussian.multivariate import Grid, grid, products
from eft.gaussian.records import Moments
from eft.programs import compiled

MAX_INPUTS = 8
"""The largest number of different inputs: eight take 70 integrals over four variables per layer."""

ACCURACY = {8: 1e-4, 4: 1e-3}
"""Estimated relative error of the expectations up to which a layer counts as valid, by bytes per number."""


class VertexFlow(NamedTuple):
    """The flow of n inputs; index 0 of the layer axis is layer 1.

    There are P = n(n+1)/2 unordered pairs (αβ), α ≤ β, in the order of `np.triu_indices(n)`.

    `K`: (depth, n, n) kernel at infinite width.
    `V`: (depth, P, P) four-point vertex, Cov(Ĝ_12^l, Ĝ_34^l) = V_(12)(34)^l/n_{l−1} + O(1/n²).
    `G1`: (depth, n, n) first correction of the mean, E[Ĝ_αβ^l] = K_αβ^l + G1_αβ^l/n_{l−1} + O(1/n²).
    `valid`: bool, (depth,), whether K is in range and `error` ≤ 1e-4 (float32: 1e-3), here and at every layer
        before.
    `error`: (depth,) bound on the relative error of the expectations ⟨σσσσ⟩ at this layer.
    """

    K: jax.Array
    V: jax.Array
    G1: jax.Array
    valid: jax.Array
    error: jax.Array


def vertex_flow(
    act: ActivationLike,
    cw: object,
    depth: int,
    X: object,
    *,
    cb: object = 0.0,
    widths: Sequence[int] | None = None,
) -> VertexFlow:
    """K, V and G1 at several inputs, for every layer of a fully connected network at initialization.

        K_12′ = C_b + C_W⟨σ₁σ₂⟩,                                         K_12¹ = C_b + C_W x₁·x₂/n₀
        V_(12)(34)′ = C_W²[⟨σ₁σ₂σ₃σ₄⟩ − ⟨σ₁σ₂⟩⟨σ₃σ₄⟩] + r J_(12)(ab) V_(ab)(cd) J_(34)(cd),      V¹ = 0
        G1_12′ = r [J_(12)(ab) G1_ab + ½ C_W ∂²⟨σ₁σ₂⟩/∂K_ab∂K_cd V_(ab)(cd)],                   G1¹ = 0

    with J_(12)(ab) = C_W ∂⟨σ₁σ₂⟩/∂K_ab, r = n_l/n_{l−1}, and sums over unordered pairs (PDLT chapter 4; V and
    G1 are scaled by the width). No inverse of K is taken: inputs may repeat, or be linearly dependent.

    `X`: inputs of shape (n, n₀), at most 8 different ones. `cw`, `cb`: numbers ≥ 0. `depth` = L: layers of
    pre-activations, including the output. `widths` = (n₁, …, n_{L−1}) if they differ; default: equal.

    In float64 the relative error is about 1e-9 for one or two different inputs. For integrals over three and
    four variables it is 1e-6 or less for K ≤ 10 and correlations up to 0.9, and always at most `error`. A
    layer takes several seconds for eight inputs, or for four if σ has several kinks.

    Raises TypeError or ValueError for a bad argument, or if σ jumps.

    >>> flow = eft.vertex_flow("tanh", 1.5, 3, [[1.0, 0.0], [0.5, 1.0]])
    >>> print(flow.V[-1].round(4))
    [[0.1924 0.1018 0.0295]
     [0.1018 0.3201 0.1017]
     [0.0295 0.1017 0.2023]]
    """
    act = analysed(act)
    if any(act.jumps):
        raise ArgumentError(f"act must be continuous; {act.name} jumps, and V of equal inputs diverges")
    depth = arguments.positive_int("depth", depth, maximum=10_000)
    cw_, cb_ = (checked_number(name, value) for name, value in (("cw", cw), ("cb", cb)))
    given = checked_inputs("X", X)
    inputs, place = np.unique(np.asarray(given), axis=0, return_inverse=True)
    if len(inputs) > MAX_INPUTS:
        raise ArgumentError(f"X must hold at most {MAX_INPUTS} different inputs; got {len(inputs)}")
    ratios = arguments.width_ratios(widths, depth)

    x = jax.device_put(inputs)
    cw_, cb_ = arguments.converted(cw_, x.dtype), arguments.converted(cb_, x.dtype)
    single, m = flow_and_moments(act, cw_, depth, cb=cb_, x2=mean_of_squares(x))
    grids = tuple(grid(act, r, largest_kernel(single)) for r in (3, 4))
    flow = _flow(grids, pair_source(act, x.dtype), single.K, m, x, cw_, cb_, ratios.astype(x.dtype))
    K, V, G1, error = arguments.host_arrays(*flow)
    pairs = pair_places(place.ravel(), len(inputs))
    a, b = np.triu_indices(len(place.ravel()))
    index = np.zeros((len(given), len(given)), int)
    index[a, b] = index[b, a] = pairs
    valid = valid_layers(single, error, V, G1)
    return jax.device_put(VertexFlow(K[:, index], V[:, pairs][:, :, pairs], G1[:, index], valid, error))


def largest_kernel(single: KernelFlow) -> float:
    """The largest valid K of the flows of single inputs."""
    K, valid = arguments.host_arrays(single.K, single.valid)
    xp = numpy_of(K, valid)
    return float(xp.max(xp.where(valid, K, 0.0)))


def valid_layers(single: KernelFlow, error: Array, *fields: Array) -> Any:
    """Whether this layer and every earlier one is accurate, and all fields are finite; (depth,)."""
    K, valid, error, *others = arguments.host_arrays(single.K, single.valid, error, *fields)
    xp = numpy_of(K, error, *others)
    good = (error <= ACCURACY[error.dtype.itemsize]) & (valid | (K == 0)).all(0)
    for a in others:
        good = good & xp.isfinite(a.reshape(len(a), -1)).all(1)
    return xp.cumprod(good).astype(bool)


def pair_places(place: np.ndarray, n: int) -> np.ndarray:
    """For each pair of the given inputs, the index of the corresponding pair of different inputs."""
    a, b = (place[i] for i in np.triu_indices(len(place)))
    return pair_index(n)[a, b]


def pair_index(n: int) -> np.ndarray:
    index = np.zeros((n, n), int)
    a, b = np.triu_indices(n)
    index[a, b] = index[b, a] = np.arange(len(a))
    return index


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


@compiled(0)
def _flow(grids: tuple[Grid, Grid], pairs: PairSource, K_single, m_single, x, cw, cb, ratios):
    """K (depth, P), V, G1 (depth, P) and the error of different inputs."""
    n = len(x)
    I, J = np.triu_indices(n)  # noqa: E741
    apart = jnp.mean((x[I] - x[J]) ** 2, -1)

    def layer(now, at):
        distance, V, G1, error = now
        K_diagonal, m, ratio = at
        K = (K_diagonal[I] + K_diagonal[J] - distance) / 2
        moments = layer_moments(pairs, grids, K, K_diagonal, distance, m)
        fresh = cw * cw * (moments.fourth - jnp.outer(moments.g, moments.g))
        linear = cw * moments.J
        V_next = fresh + ratio * linear @ V @ linear.T
        V_next = (V_next + V_next.T) / 2
        G1_next = ratio * (linear @ G1 + cw * moments.second_order(V))
        return (cw * moments.distance, V_next, G1_next, moments.error), (K, V, G1, error)

    P = len(I)
    zero = jnp.zeros((), x.dtype)
    start = cw * apart, jnp.zeros((P, P), x.dtype), jnp.zeros(P, x.dtype), zero
    _, flow = lax.scan(layer, start, (*jax.tree.map(jnp.transpose, (K_single, m_single)), ratios))
    return flow


class LayerMoments(NamedTuple):
    """Expectations at one layer, for P pairs of inputs.

    `g`: (P,) ⟨σ₁σ₂⟩.
    `distance`: (P,) ⟨(σ₁−σ₂)²⟩.
    `fourth`: (P, P) ⟨σ₁σ₂σ₃σ₄⟩.
    `J`: (P, P) ∂⟨σ₁σ₂⟩/∂K.
    `second_order`: V → ½ Σ ∂²⟨σ₁σ₂⟩/∂K∂K V, (P,).
    `error`: bound on their relative error.
    """

    g: jax.Array
    distance: jax.Array
    fourth: jax.Array
    J: jax.Array
    second_order: Callable[[jax.Array], jax.Array]
    error: jax.Array


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
