"""Several inputs in residual networks, z′ = γz + b + Wσ(z): the four-point vertex and the NTK at order 1/n.

The relations of `eft.flows.residual` and `eft.finite_width.residual` with matrices in place of numbers: δK
and δθ have an entry for each pair of inputs, and with X = γ² + C_W ∂⟨F⟩/∂K, Y = γ² + C_W⟨S⟩, a diagonal one,

    δK′ = X δK + C_W ξ_F,     δθ′ = Y δθ + ω δK + ξ_Ω,     ω = ∂⟨Ω⟩/∂K

(docs/residual.md).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from eft.activations.definition import Activation
from eft.activations.programs import compiled
from eft.arguments import ArgumentError
from eft.finite_width.input_products import Rules, rules_for
from eft.finite_width.layer_expectations import (
    LayerMoments,
    fixed_products,
    gaussian_pairs,
    inputs_of,
    layer_moments,
    pair_index,
    slope_jacobian,
)
from eft.finite_width.layer_scan import MAX_DOUBT
from eft.flows.block import Block
from eft.flows.gram import FirstLayer
from eft.flows.kernel import KernelFlow, residual_flow
from eft.flows.residual import Kernels, between_layers, earlier_layers, remembered
from eft.gaussian.bivariate import PairSource, pair_source
from eft.gaussian.layer_pairs import Rule, curvature_jumps, jumps_of_products
from eft.gaussian.layer_products import LayerGrams, layer_grams
from eft.gaussian.multivariate import Grid
from eft.gaussian.records import Moments, SlopeMoments
from eft.gaussian.sources import evaluated, slope_source

MAX_INPUTS = 4
"""The largest number of different inputs where there is a skip."""

QUICK = 1e-5
"""Relative error up to which quick integrals are accepted in float32; in float64 they never are."""

SMALL = 1e-3
"""Part of the means that covariances between layers are not expected to be known more exactly than."""


class GramKernels(NamedTuple):
    """The infinite-width flow, each (L, P).

    `K`, `distance`: K_αβ and K_αα + K_ββ − 2K_αβ. `g`, `s`: ⟨F⟩ and ⟨S⟩.
    """

    K: jax.Array
    distance: jax.Array
    g: jax.Array
    s: jax.Array


@compiled(0)
def gram_kernels(
    rules, pairs: PairSource, K_single, m_single: Moments, x, scale, cw, skips
) -> tuple[GramKernels, jax.Array]:
    """K′ = γ²K + C_b + C_W⟨F⟩ of pairs, from K_single of the inputs, (L, n), and the moments there.

    And the error of the expectations, (L,).
    """
    a, b = np.triu_indices(len(x))
    own = jnp.asarray(a == b)

    def layer(distance, at):
        K_diagonal, m, gamma = at
        K = (K_diagonal[a] + K_diagonal[b] - distance) / 2
        moments = layer_moments(pairs, rules, K, K_diagonal, distance, m)
        s = jnp.where(own, m.slope2[a], jnp.diag(moments.J))
        here = GramKernels(K, distance, moments.g, s), moments.doubt
        return gamma**2 * distance + cw * moments.distance, here

    return lax.scan(layer, scale * jnp.mean((x[a] - x[b]) ** 2, -1), (K_single, m_single, skips))[1]


@compiled(0, 1)
def several_in_layers(act: Activation, grid: Grid, k: GramKernels, skips) -> LayerGrams:
    """The expectations of every pair of layers, leading axes (L, L), [l, p]; zero unless p < l."""
    depth = len(k.K)
    later, p = earlier_layers(depth)
    carry = remembered(skips, jnp.zeros_like(skips)).carry
    values = lax.map(lambda at: _two_layers(act, grid, k, carry, *at), (jnp.asarray(later), jnp.asarray(p)))

    def dense(a):
        return jnp.zeros((depth, depth, *a.shape[1:]), a.dtype).at[later, p].set(a)

    return jax.tree.map(dense, values)


def _two_layers(act: Activation, grid: Grid, k: GramKernels, carry, later, p) -> LayerGrams:
    index = pair_index(inputs_of(k.K.shape[1]))
    return layer_grams(act, grid, k.K[p][index], k.K[later][index], carry[later, p], k.g[later], k.s[later])


@compiled(0, 1)
def unresolved(act: Activation, grid: Grid, k: GramKernels, skips) -> jax.Array:
    """The relative change of the expectations with fewer nodes, at the layer of largest K and that before.

    Of covariances that are next to nothing beside the means, as for tiny skips, relative to `SMALL` of these.
    """
    sizes = jnp.max(jnp.where(jnp.isfinite(k.K), k.K, 0.0), 1)
    later = jnp.maximum(jnp.argmax(sizes[:-1]), 1)
    g, s = jnp.max(k.g[later]), jnp.max(k.s[later])
    root = jnp.sqrt(g * s)
    means = jnp.stack([g * g, g * s, g * s, s * s, g * s, s * s, g * s, root * s])  # as in `LayerGrams`
    carry = remembered(skips, jnp.zeros_like(skips)).carry
    whole, fewer = (_two_layers(act, g, k, carry, later, later - 1)[:-1] for g in (grid, grid.coarser()))
    largest = jnp.maximum(jnp.stack([jnp.max(jnp.abs(a)) for a in whole]), SMALL * means)
    change = jnp.stack([jnp.max(jnp.abs(a - b)) for a, b in zip(whole, fewer, strict=True)])
    return jnp.max(jnp.where(change > 0, change / jnp.where(largest > 0, largest, 1.0), 0.0))


@compiled(0, 1)
def one_in_layers(act: Activation, rule: Rule, k: Kernels, p: SlopeMoments | None, skips) -> LayerGrams:
    """The same for one input, whose K has shape (1, L); σ may have any kinks."""
    m = k.moments
    means = (m.g, m.dg) if p is None else (m.g, m.dg, p.s, p.ds)
    memory = remembered(skips[:, None], k.H.T)
    signal, slopes = between_layers(act, rule, k.K, memory, means)
    zero = jnp.zeros_like(signal.cov)
    rest = 5 * (zero,) if slopes is None else slopes[:5]
    error = signal.error if slopes is None else jnp.maximum(signal.error, slopes.error)
    FS, SF, SS, S2, uS1 = (a[0] for a in rest)
    FF, F2, uu = (a[0] for a in signal[:3])
    pair = FF, FS, SF, SS
    fields = [a[..., None, None] for a in pair] + [a[..., None, None, None] for a in (F2, S2)]
    fields += [a[..., None, None, None, None] for a in (uu, uS1)]
    return LayerGrams._make([*fields, error[0]])


class Inputs(NamedTuple):
    """What is known of a residual network at infinite width and of its memory, for different inputs.

    `single`: the flow of each input, (n, L). `kernels`: the same with the moments. `gram`: of pairs. `past`:
    of pairs of layers. `pairs`, `rules`: for expectations at one layer. `skips`: γ, (L,).
    """

    single: KernelFlow
    kernels: Kernels
    gram: GramKernels
    past: LayerGrams
    pairs: PairSource
    rules: Rules
    skips: jax.Array


def residual_inputs(
    act: Activation,
    cw,
    depth: int,
    block: Block,
    skip,
    cb,
    x: jax.Array,
    first: FirstLayer,
    *,
    with_slopes: bool,
) -> Inputs:
    """All of it for the different inputs x, (n, n₀); raise where it cannot be computed."""
    n = len(x)
    if skip.shape:
        raise ArgumentError(f"skip must be one number for several inputs; got shape {skip.shape}")
    if n > MAX_INPUTS:
        raise ArgumentError(
            f"X must hold at most {MAX_INPUTS} different inputs where there is a skip; got {n}"
        )
    if n > 1 and any(jumps_of_products(act)):
        raise ArgumentError(
            f"act must have a continuous derivative where X holds different inputs and there is a skip; that "
            f"of {act.name} jumps"
        )
    if n > 1 and with_slopes and curvature_jumps(act):
        raise ArgumentError(
            f"act must have a continuous second derivative where X holds different inputs and there is a "
            f"skip; that of {act.name} jumps, and only vertex_flow takes it"
        )
    single, k, rule = residual_flow(act, cw, depth, block, skip, cb=cb, **first.single(jnp.mean(x * x, -1)))
    largest = float(jnp.max(jnp.where(single.valid, single.K, 0.0)))
    rules = rules_for(act, largest)
    pairs = pair_source(act, x.dtype)
    skips = block.by_layer(skip.astype(x.dtype), depth)
    m = jax.tree.map(jnp.transpose, k.moments)
    of_flow = pairs, k.K.T, m, x, first.scale, cw, skips
    gram, off = gram_kernels(rules, *of_flow)
    if rules.pairs is not None and not jnp.max(off) <= MAX_DOUBT[x.dtype.itemsize]:
        rules = rules.careful()
        gram, _ = gram_kernels(rules, *of_flow)
    if n == 1:
        p = evaluated(slope_source(act, x.dtype), k.K) if with_slopes else None
        past = one_in_layers(act, rule, k, p, skips)
    else:
        past = several_between(act, rules.grids[1], gram, skips)
    return Inputs(single, k, gram, past, pairs, rules, skips)


def several_between(act: Activation, grid: Grid, gram: GramKernels, skips: jax.Array) -> LayerGrams:
    """The expectations of every pair of layers; `error` is also that of derivatives and differences, up to
    1e5 times that of the means. In float32 by few nodes, if they will do."""
    if len(gram.K) < 3:  # none is needed
        return several_in_layers(act, grid, gram, skips)
    of_pairs = jnp.tri(len(gram.K), k=-1, dtype=gram.K.dtype)

    def by(grid: Grid) -> LayerGrams:
        past = several_in_layers(act, grid, gram, skips)
        return past._replace(error=jnp.maximum(past.error, unresolved(act, grid, gram, skips) * of_pairs))

    if gram.K.dtype.itemsize == 4:
        past = by(grid.quick())
        if jnp.max(past.error) <= QUICK:
            return past
    return by(grid)


class Signal(NamedTuple):
    """The state of the signal at a layer, besides K.

    `U`: (P, P) n Cov(δK, δK). `G1`: (P,). `own`: (P, P) Σ_p v_p Cov(F_p, z z), a neuron's memory of itself.
    `v`: (L, P, P) the response of δK to F in every earlier layer.
    """

    U: jax.Array
    G1: jax.Array
    own: jax.Array
    v: jax.Array


class Tangents(NamedTuple):
    """The state of the NTK at a layer.

    `Theta`, `Theta1`: (P,). `A`: (P, P) n Cov(δθ, δθ). `D`: (P, P) n Cov(δK, δθ). `phi`, `b`: (n, n, n, n),
    the parts of F and B that are not memory. `own_D`: (P, P), `own_F`, `own_B`: (n, n, n, n), half of what
    is. `w_F`, `w_S`: (L, P, P) the response of δθ to F and S of earlier layers. `tau`: (L, n, n, n) that of
    z_j Θ̂_ij to u_ed, [d, e, b]. `beta`: (L, P) that of Θ̂_ij² to S. `Thetas`, `slopes`: (L, P) Θ and ⟨S⟩ of
    earlier layers.
    """

    Theta: jax.Array
    Theta1: jax.Array
    A: jax.Array
    D: jax.Array
    phi: jax.Array
    b: jax.Array
    own_D: jax.Array
    own_F: jax.Array
    own_B: jax.Array
    w_F: jax.Array
    w_S: jax.Array
    tau: jax.Array
    beta: jax.Array
    Thetas: jax.Array
    slopes: jax.Array


class Here(NamedTuple):
    """One layer: its index, K (n, n), γ, the moments of σ and σ′, ⟨FS⟩ (P, P), and the past, axis p first."""

    at: jax.Array
    K: jax.Array
    gamma: jax.Array
    m: LayerMoments
    p: LayerMoments
    cross: jax.Array
    past: LayerGrams


def over_layers(path: jax.Array, values: jax.Array) -> jax.Array:
    return jnp.einsum("pij,pjk->ik", path, values)


def no_signal(depth: int, P: int, dtype) -> Signal:
    """The state at layer 1, which does not fluctuate."""
    matrix = jnp.zeros((P, P), dtype)
    return Signal(matrix, matrix[0], matrix, jnp.zeros((depth, P, P), dtype))


def no_tangents(depth: int, Theta: jax.Array, n: int) -> Tangents:
    """The state at layer 1, from Θ there."""
    P, dtype = len(Theta), Theta.dtype
    matrix, four = jnp.zeros((P, P), dtype), jnp.zeros((n, n, n, n), dtype)
    path, vectors = jnp.zeros((depth, P, P), dtype), jnp.zeros((depth, P), dtype)
    return Tangents(
        Theta, matrix[0], matrix, matrix, four, four, matrix, four, four, path, path,
        jnp.zeros((depth, n, n, n), dtype), vectors, vectors, vectors,
    )  # fmt: skip


def signal_step(haar: bool, now: Signal, here: Here, cw) -> tuple[Signal, jax.Array, jax.Array]:
    """The state of the signal at the next layer, and X, M[F].

    U′ = X U Xᵀ + C_W² Cov(F, F) + C_W (X⟨δK ξ_F⟩ + transposed),     G1′ = γ² G1 + C_W M[F]
    M[f] = ∂⟨f⟩/∂K G1 + ½ ∂²⟨f⟩/∂K∂K U + Σ_p v_p Cov(F_p, ∂f/∂K)
    """
    (U, G1, own, v), (at, K, gamma, m, _, _, past) = now, here
    eye = jnp.eye(len(U), dtype=U.dtype)
    X = gamma**2 * eye + cw * m.J
    moved = cw * X @ over_layers(v, past.FF)
    fresh = m.fourth - jnp.outer(m.g, m.g)
    fresh = cw * cw * (fresh - fixed_products(m.g) if haar else fresh)
    mean = m.J @ G1 + m.second_order(U) + jnp.einsum("pec,pcae->a", v, past.F2)
    after = Signal(
        X @ U @ X.T + fresh + moved + moved.T,
        gamma**2 * G1 + cw * mean,
        gamma**2 * (X @ own + cw * m.J @ gaussian_pairs(K)),
        jnp.einsum("ij,pjk->pik", X, v).at[at].set(cw * eye),
    )
    return after, X, mean


def tangent_step(haar: bool, signal: Signal, now: Tangents, here: Here, X, mean_F, rates) -> Tangents:
    """The state of the NTK at the next layer; `mean_F` = M[F], `rates` = C_W, λ_W, λ_b."""
    (U, G1, own_K, v), (at, K, gamma, m, p, cross, past) = signal, here
    cw, lw, lb = rates
    n, P = len(K), len(U)
    index, eye = pair_index(n), jnp.eye(P, dtype=U.dtype)
    i, j = np.triu_indices(n)
    c, s = cw * now.Theta, p.g
    Thetas, slopes = now.Thetas.at[at].set(now.Theta), now.slopes.at[at].set(s)
    Y = gamma**2 + cw * s
    omega = lw * m.J + c[:, None] * p.J
    FF, FS = m.fourth - jnp.outer(m.g, m.g), cross - jnp.outer(m.g, s)
    SS = p.fourth - jnp.outer(s, s)
    F_O = lw * FF + FS * c[None]
    O_O = lw * F_O + c[:, None] * (lw * FS.T + SS * c[None])

    K_F, K_S = over_layers(v, past.FF), over_layers(v, past.FS)
    T_F = over_layers(now.w_F, past.FF) + over_layers(now.w_S, past.SF)
    T_S = over_layers(now.w_F, past.FS) + over_layers(now.w_S, past.SS)
    K_O, T_O = lw * K_F + K_S * c[None], lw * T_F + T_S * c[None]
    mixed = Y[:, None] * (now.D.T @ omega.T + T_O) + omega @ K_O

    # Θ̂_ij z_i z_j: neuron i carries (a, c), neuron j (b, d)
    jacobian = slope_jacobian(m.J, s, index)  # ⟨∂_b(σ_e σ′_d)⟩ at [e, d, b]
    X_R = gamma**2 * jnp.eye(n, dtype=U.dtype)[None] + cw * jnp.transpose(jacobian, (1, 2, 0))  # [d, b, e]
    T, T_p = now.Theta[index], Thetas[:, index]
    moved = jnp.einsum("pcd,pdeb,dbf->pcdef", T_p, now.tau, X_R)
    from_i = jnp.einsum("pedac,pcdeb->acbd", past.uu, moved)
    new_F = cross[index][:, :, index]
    new_B = p.fourth[index][:, :, index]
    if haar:
        new_F = new_F - m.g[index][:, :, None, None] * s[index][None, None]
        new_B = new_B - s[index][:, :, None, None] * s[index][None, None]
    z_u = jnp.einsum("fa,edf->eda", K, jacobian)  # ⟨u_ed z_a⟩
    # Θ̂_ij;12 Θ̂_ij;34: neuron i carries (1, 3), neuron j (2, 4)
    S_S = past.SS + slopes[:, :, None] * s[None, None]
    both_p = jnp.einsum("pab,pcd->pabcd", T_p, T_p)
    moved_B = (Y[None] * now.beta)[:, index]
    B_from_i = jnp.einsum("pabcd,pbd,pbdac->acbd", both_p, moved_B, S_S[:, index][:, :, :, index])
    s_pairs, Y_pairs = s[index], Y[index]
    both = jnp.einsum("ab,cd->acbd", T, T)

    mean_S = p.J @ G1 + p.second_order(U) + jnp.einsum("pec,pcae->a", v, past.S2)
    paired = now.phi[i[:, None], i, j[:, None], j] + now.phi[i[:, None], j, j[:, None], i]
    pairs = np.arange(P)
    u_S = sum(
        jnp.einsum("pq,pqeb,qpeb->q", Thetas, now.tau[:, x], past.uS1[:, :, x, :, pairs]) for x in (i, j)
    )
    with_theta = jnp.sum(p.J * (now.D + paired).T, 1) + jnp.diag(T_S) + u_S

    own_T = Y[:, None] * now.own_D + omega @ own_K + omega @ gaussian_pairs(K)
    new_tau = jnp.broadcast_to(gamma * cw * jnp.eye(n, dtype=U.dtype), (n, n, n))
    return Tangents(
        lb + lw * m.g + Y * now.Theta,
        Y * now.Theta1 + lw * mean_F + c * mean_S + cw * with_theta,
        Y[:, None] * now.A * Y[None] + omega @ U @ omega.T + O_O + mixed + mixed.T,
        X @ (now.D * Y[None] + U @ omega.T + K_O) + cw * (T_F.T * Y[None] + K_F.T @ omega.T + F_O),
        jnp.einsum("cax,dby,acbd->xcyd", X_R, X_R, now.phi)
        + cw * (from_i + jnp.transpose(from_i, (2, 3, 0, 1)) + cw * jnp.einsum("abcd,cd->acbd", new_F, T)),
        jnp.einsum("ac,bd,acbd->acbd", Y_pairs, Y_pairs, now.b)
        + cw * (B_from_i + jnp.transpose(B_from_i, (2, 3, 0, 1)))
        + cw * cw * both * jnp.transpose(new_B, (0, 2, 1, 3)),
        gamma**2 * own_T,
        gamma**2 * (jnp.einsum("acbd,dbe->aced", now.own_F, X_R) + cw * jnp.einsum("cd,bda->acbd", T, z_u)),
        gamma**2 * (now.own_B * Y_pairs[None, None] + cw * both * s_pairs[None, None]),
        (Y[None, :, None] * now.w_F + omega @ v).at[at].set(lw * eye),
        (Y[None, :, None] * now.w_S).at[at].set(jnp.diag(c)),
        (gamma * jnp.einsum("pdeb,dbf->pdef", now.tau, X_R)).at[at].set(new_tau),
        (gamma**2 * Y[None] * now.beta).at[at].set(gamma**2 * cw),
        Thetas,
        slopes,
    )
