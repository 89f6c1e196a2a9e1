"""The neural tangent kernel of several inputs at finite width: its mean and its fluctuations."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Bool, Float

from eft import arguments
from eft.activations.analysis import analysed
from eft.activations.definition import Activation, ActivationLike
from eft.activations.families import Homogeneous
from eft.activations.programs import compiled
from eft.arguments import ArgumentError
from eft.finite_width.input_products import rules_for
from eft.finite_width.layer_expectations import (
    fixed_products,
    layer_slopes,
    pair_index,
    pair_places,
    slope_jacobian,
)
from eft.finite_width.layer_scan import along_layers, by_rules
from eft.finite_width.ntk import checked_continuous
from eft.finite_width.residual_gram import (
    GramKernels,
    Here,
    no_signal,
    no_tangents,
    residual_inputs,
    signal_step,
    tangent_step,
)
from eft.finite_width.vertex import largest_kernel, valid_layers
from eft.flows.block import WITH_NORM, check_widths, checked_block, fixed_shares, refuse
from eft.flows.gram import checked_inputs, checked_number, first_layer, mean_of_squares
from eft.flows.kernel import flow_and_moments
from eft.flows.residual import Kernels
from eft.gaussian.bivariate import PairSource, pair_source
from eft.gaussian.layer_products import LayerGrams
from eft.gaussian.records import Moments
from eft.gaussian.sources import SlopeSource, slope_source
from eft.gaussian.tabulated_slopes import six_derivatives
from eft.records import METHODS

MAX_INPUTS = 4
"""The largest number of different inputs."""


class NTKGramFlow(NamedTuple):
    """The flow of n inputs; index 0 of the layer axis is layer 1.

    There are P = n(n+1)/2 unordered pairs (αβ), α ≤ β, in the order of `np.triu_indices(n)`. With neurons
    i, j, k, m and inputs 1 … 4, z the pre-activations, ΔΘ = Θ̂ − E[Θ̂], and n_{l−1} the width of the layer
    before:

        E[ΔΘ_ij;12 ΔΘ_km;34] = (δ_ij δ_km A_(12)(34) + δ_ik δ_jm B_1324 + δ_im δ_jk B_1423)/n_{l−1}
        E[z_i;1 z_j;2 ΔΘ_km;34] = (δ_ij δ_km D_(12)(34) + δ_ik δ_jm F_1324 + δ_im δ_jk F_1423)/n_{l−1}

    `K`: (depth, n, n) kernel at infinite width.
    `V`: (depth, P, P) four-point vertex.
    `Theta`: (depth, n, n) NTK at infinite width.
    `Theta1`: (depth, n, n) its first correction, E[Θ̂_αβ] = Θ_αβ + Theta1_αβ/n_{l−1} + O(1/n²).
    `A`: (depth, P, P).
    `B`: (depth, n, n, n, n), B_1324 at [1, 3, 2, 4].
    `D`: (depth, P, P), the pair of the z first, that of Θ̂ second.
    `F`: (depth, n, n, n, n), F_1324 at [1, 3, 2, 4].
    `valid`: bool, (depth,), whether all are in range and `error` ≤ 1e-4 (float32: 1e-3), here and at every
        layer before.
    `error`: (depth,) bound on the relative error of the expectations at this layer.
    """

    K: Float[jax.Array, "depth n n"]
    V: Float[jax.Array, "depth pairs pairs"]
    Theta: Float[jax.Array, "depth n n"]
    Theta1: Float[jax.Array, "depth n n"]
    A: Float[jax.Array, "depth pairs pairs"]
    B: Float[jax.Array, "depth n n n n"]
    D: Float[jax.Array, "depth pairs pairs"]
    F: Float[jax.Array, "depth n n n n"]
    valid: Bool[jax.Array, "depth"]
    error: Float[jax.Array, "depth"]

    __repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS


@arguments.also_named(x="X")
@arguments.untraced
def ntk_gram_flow(
    act: ActivationLike,
    cw: ArrayLike,
    depth: int,
    X: ArrayLike,
    *,
    cb: ArrayLike = 0.0,
    K1: ArrayLike | None = None,
    lambda_w: ArrayLike = 1.0,
    lambda_b: ArrayLike = 1.0,
    widths: Sequence[int] | None = None,
    skip: ArrayLike = 0.0,
    norm: None = None,
    weights: str = "gaussian",
    readout: bool = False,
) -> NTKGramFlow:
    """Θ, its first correction, and A, B, D, F at several inputs, for every layer at initialization.

    With Ω_12 = λ_W σ₁σ₂ + C_W Θ_12 σ′₁σ′₂, J_(12)(ab) = ∂⟨Ω_12⟩/∂K_ab at fixed Θ, s_12 = C_W⟨σ′₁σ′₂⟩,
    I_(12)(ab) = C_W ∂⟨σ₁σ₂⟩/∂K_ab, r = n_l/n_{l−1}, and sums over unordered pairs (ab), (cd):

        Θ_12′ = λ_b + ⟨Ω_12⟩,   Θ_12¹ = λ_b + λ_W x₁·x₂/n₀; with K1, λ_W x₁·x₂/n₀
        Theta1_12′ = r [J_(12)(ab) G1_ab + ½ ∂²⟨Ω_12⟩/∂K_ab∂K_cd V_(ab)(cd)
                        + ∂s_12/∂K_ab (D_(ab)(12) + F_a1b2 + F_a2b1) + s_12 Theta1_12]
        A_(12)(34)′ = ⟨Ω_12Ω_34⟩ − ⟨Ω_12⟩⟨Ω_34⟩ + r [J_(12)(ab) V_(ab)(cd) J_(34)(cd)
                        + J_(12)(ab) D_(ab)(34) s_34 + s_12 D_(ab)(12) J_(34)(ab) + s_12 s_34 A_(12)(34)]
        B_1324′ = C_W²⟨σ′₁σ′₂σ′₃σ′₄⟩Θ_12Θ_34 + r s_13 s_24 B_1324
        D_(12)(34)′ = C_W(⟨σ₁σ₂Ω_34⟩ − ⟨σ₁σ₂⟩⟨Ω_34⟩)
                        + r [I_(12)(ab) V_(ab)(cd) J_(34)(cd) + I_(12)(ab) D_(ab)(34) s_34]
        F_1324′ = C_W²⟨σ₁σ₂σ′₃σ′₄⟩Θ_34 + r C_W² Σ_{a∈{1,3}} Σ_{b∈{2,4}} ⟨∂_a(σ₁σ′₃)⟩⟨∂_b(σ₂σ′₄)⟩ F_a3b4

    (PDLT chapter 8, scaled by the width; Theta1: docs/ntk.md.) `X`: inputs of shape (n, n₀), at most 4
    different ones, which may repeat. `K1`: as for `gram_flow`. The rest as for `ntk_flow`, but single
    numbers. The accuracy is that of `vertex_flow`. For ReLU it is 1e-13 too, but falls to 1e-7, in float32 to
    1e-3, as different inputs become parallel or opposite, where ⟨σ′₁σ′₂⟩ has a cusp. On two cores a layer of
    four different inputs takes 4 ms if σ has no kink and K ≤ 10, less than 1 ms for ReLU, and several seconds
    if σ″ jumps.

    Raises TypeError or ValueError for a bad argument; if σ jumps; and, with different inputs, if σ′ jumps,
    unless σ is piecewise linear with its kink at 0 (such as ReLU).

    >>> flow = eft.ntk_gram_flow("relu", 2.0, 3, [[1.0, 0.0]])
    >>> print(flow.Theta[:, 0, 0].round(4), flow.Theta1[:, 0, 0].round(4))
    [1.5 3.  4.5] [0. 0. 0.]
    """
    act = checked_continuous(analysed(act))
    depth = arguments.positive_int("depth", depth, maximum=10_000)
    given = {"cw": cw, "cb": cb, "lambda_w": lambda_w, "lambda_b": lambda_b}
    numbers = [checked_number(name, value) for name, value in given.items()]
    rows = checked_inputs("X", X)
    inputs, place = np.unique(np.asarray(rows), axis=0, return_inverse=True)
    place = place.ravel()
    if len(inputs) > MAX_INPUTS:
        raise ArgumentError(f"X must hold at most {MAX_INPUTS} different inputs; got {len(inputs)}")
    slope = slope_of(act)
    if len(inputs) > 1 and slope.degree is None and any(slope.jumps):
        raise ArgumentError(
            f"act must have a continuous derivative where X holds different inputs, or be piecewise linear "
            f"with its kink at 0; the derivative of {act.name} jumps"
        )
    ratios = arguments.width_ratios(widths, depth)
    refuse("ntk_gram_flow", WITH_NORM, norm=norm)
    block, gamma = checked_block(skip, None, weights, readout)
    x = jax.device_put(inputs)
    settings = [arguments.converted(number, x.dtype) for number in numbers]
    start = first_layer(settings[0], settings[1], K1)
    begin = start.scale, settings[3] if start.bias else jnp.zeros_like(settings[3])
    known = None
    if block.residual:
        check_widths(block, widths, depth)
        known = residual_inputs(
            act, settings[0], depth, block, gamma, settings[1], x, start, with_slopes=True
        )
        single, m = known.single, known.kernels.moments
    else:
        single, m = flow_and_moments(
            act, settings[0], depth, cb=settings[1], **start.single(mean_of_squares(x))
        )
    rules = rules_for(act, largest_kernel(single)) if known is None else known.rules
    sources = pair_source(act, x.dtype), pair_source(slope, x.dtype), slope_source(act, x.dtype)

    def flow_by(rules):
        if known is not None:
            of_layers = known.kernels, known.gram, known.past, known.skips
            flow = _residual_flow(rules, weights == "orthogonal", *sources, *of_layers, x, begin, *settings)
        else:
            by_layer = ratios.astype(x.dtype), fixed_shares(block, widths, depth).astype(x.dtype)
            flow = _flow((rules, weights), *sources, single.K, m, x, by_layer, begin, *settings)
        return arguments.host_arrays(*flow)

    K, V, Theta, Theta1, A, B, D, F, error = by_rules(flow_by, rules)
    valid = valid_layers(single, error, V, Theta, Theta1, A, B, D, F)
    index = pair_index(len(inputs))
    return at_places((K[:, index], V, Theta[:, index], Theta1[:, index], A, B, D, F, valid, error), place)


def at_places(fields: Sequence[Any], place: np.ndarray) -> NTKGramFlow:
    """The record of the inputs at these places of a list of different ones, from its fields on the host."""
    K, V, Theta, Theta1, A, B, D, F, valid, error = fields
    n = K.shape[-1]
    pairs, two, four = pair_places(place, n), np.ix_(place, place), np.ix_(place, place, place, place)
    K, Theta, Theta1 = (a[:, *two] for a in (K, Theta, Theta1))
    V, A, D = (a[:, pairs][:, :, pairs] for a in (V, A, D))
    B, F = (a[:, *four] for a in (B, F))
    return jax.device_put(NTKGramFlow(K, V, Theta, Theta1, A, B, D, F, valid, error))


@functools.lru_cache(maxsize=64)
def slope_of(act: Activation) -> Activation:
    """σ′ as an activation of its own; for piecewise linear σ with its moments in closed form."""
    if act.degree == 1:
        plus, minus = float(act(jnp.asarray(1.0))), -float(act(jnp.asarray(-1.0)))
        step = lambda z: jnp.where(z > 0, plus, minus).astype(z.dtype)  # noqa: E731
        family = Homogeneous(0, plus, minus)
        return Activation(step, act.kinks, f"slope of {act.name}", resolved=True, family=family)
    taylor = lambda z: six_derivatives(act, z)[1:]  # noqa: E731
    fn = lambda z: act.derivatives(z)[1]  # noqa: E731
    return Activation(fn, act.kinks, f"slope of {act.name}", resolved=act.resolved, taylor=taylor)


@compiled(0)
def _flow(
    about: tuple,
    pairs: PairSource,
    slope_pairs: PairSource,
    slopes: SlopeSource,
    K_single,
    m_single: Moments,
    x,
    by_layer,
    begin,
    cw,
    cb,
    lw,
    lb,
):
    rules, weights = about
    n = len(x)
    I, J = np.triu_indices(n)  # noqa: E741
    index = pair_index(n)
    apart = jnp.mean((x[I] - x[J]) ** 2, -1)
    P = len(I)

    def record(now, at):
        distance, V, _, *fields = now
        return (at[0][I] + at[0][J] - distance) / 2, V, *fields

    def layer(now, at):
        distance, V, G1, Theta, Theta1, A, B, D, F, *_ = now
        K_diagonal, m_diagonal, slope_diagonal, p_diagonal, (r, fixed) = at
        kernel = record(now, at)[0], K_diagonal, distance
        here = layer_slopes((pairs, slope_pairs), rules, kernel, m_diagonal, slope_diagonal, p_diagonal)
        m, p, cross, *errors = here
        s, c = cw * p.g, cw * Theta
        var, cov = m.fourth - jnp.outer(m.g, m.g), cross - jnp.outer(m.g, p.g)
        square = p.fourth - jnp.outer(p.g, p.g)
        linear, bent = cw * m.J, lw * m.J + c[:, None] * p.J
        moved = bent @ D * s[None]
        mixed = cov * c[None]
        fresh = lw * lw * var + lw * (mixed + mixed.T) + jnp.outer(c, c) * square
        # F_a1b2 + F_a2b1 with pairs (ab), (12)
        paired = F[I[:, None], I, J[:, None], J] + F[I[:, None], J, J[:, None], I]
        s_pairs, jacobian = p.g[index], slope_jacobian(m.J, p.g, index)
        new_V, new_B, new_F = var, p.fourth, cross
        if weights == "orthogonal":
            new_V = var - fixed * fixed_products(m.g)
            new_B, new_F = p.fourth - fixed * jnp.outer(p.g, p.g), cross - fixed * jnp.outer(m.g, p.g)
        new_B, new_F = (a[index][:, :, index] for a in (new_B, new_F))  # at [1, 2, 3, 4]
        return (
            cw * m.distance,
            cw * cw * new_V + r * linear @ V @ linear.T,
            r * (linear @ G1 + cw * m.second_order(V)),
            lb + lw * m.g + c * p.g,
            r
            * (
                bent @ G1
                + lw * m.second_order(V)
                + c * p.second_order(V)
                + cw * jnp.sum(p.J * (D + paired).T, 1)
                + s * Theta1
            ),
            fresh + r * (bent @ V @ bent.T + moved + moved.T + jnp.outer(s, s) * A),
            cw * cw * jnp.einsum("ijkl,ij,kl->ikjl", new_B, Theta[index], Theta[index])
            + r * cw * cw * jnp.einsum("ik,jl,ikjl->ikjl", s_pairs, s_pairs, B),
            cw * (lw * var + mixed) + r * (linear @ V @ bent.T + linear @ D * s[None]),
            cw * cw * jnp.einsum("ijkl,kl->ikjl", new_F, Theta[index])
            + r * cw * cw * jnp.einsum("ika,jlb,akbl->ikjl", jacobian, jacobian, F),
            *errors,
        )

    matrix, four = jnp.zeros((P, P), x.dtype), jnp.zeros((n, n, n, n), x.dtype)
    vector, zero = jnp.zeros(P, x.dtype), jnp.zeros((), x.dtype)
    scale, first_bias = begin
    first = first_bias + lw * jnp.mean(x[I] * x[J], -1)
    start = scale * apart, matrix, vector, first, vector, matrix, four, matrix, four, zero, zero
    K = K_single.T
    along = K, jax.tree.map(jnp.transpose, m_single), slope_pairs.moments(K), slopes(K), by_layer
    return along_layers(layer, record, start, along)


@compiled(0, 1)
def _residual_flow(
    rules, haar: bool, pairs: PairSource, slope_pairs: PairSource, slopes: SlopeSource, k: Kernels,
    gram: GramKernels, past: LayerGrams, skips, x, begin, cw, cb, lw, lb,
):  # fmt: skip
    """The fields for different inputs in a residual network."""
    depth, P = gram.K.shape
    n = len(x)
    index = pair_index(n)
    I, J = np.triu_indices(n)  # noqa: E741

    def layer(now, at):
        signal, tangents, *_ = now
        K_diagonal, K, distance, m_diagonal, slope_diagonal, p_diagonal, gamma, past, number = at
        kernel = K, K_diagonal, distance
        of_layer = layer_slopes((pairs, slope_pairs), rules, kernel, m_diagonal, slope_diagonal, p_diagonal)
        m, p, cross, error, off = of_layer
        here = Here(number, K[index], gamma, m, p, cross, past)
        next_signal, X, mean_F = signal_step(haar, signal, here, cw)
        next_tangents = tangent_step(haar, signal, tangents, here, X, mean_F, (cw, lw, lb))
        return next_signal, next_tangents, jnp.maximum(error, jnp.max(past.error)), off

    def record(now, at):
        signal, t, *errors = now
        swapped = (2, 3, 0, 1)
        return (
            at[1],
            signal.U + signal.own + signal.own.T,
            t.Theta,
            t.Theta1,
            t.A,
            t.b + t.own_B + jnp.transpose(t.own_B, swapped),
            t.D + t.own_D.T,
            t.phi + t.own_F + jnp.transpose(t.own_F, swapped),
            *errors,
        )

    first, zero = begin[1] + lw * jnp.mean(x[I] * x[J], -1), jnp.zeros((), x.dtype)
    start = no_signal(depth, P, x.dtype), no_tangents(depth, first, n), zero, zero
    K = k.K.T
    single = jax.tree.map(jnp.transpose, k.moments), slope_pairs.moments(K), slopes(K)
    by_layer = K, gram.K, gram.distance, *single, skips, past, jnp.arange(depth)
    return along_layers(layer, record, start, by_layer)
