"""The four-point vertex of several inputs, and the first 1/n correction of their kernel."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Bool, Float

from eft import arguments
from eft.activations.analysis import analysed
from eft.activations.definition import ActivationLike
from eft.activations.derivatives import Array
from eft.activations.one_sided import numpy_of
from eft.activations.programs import compiled
from eft.arguments import ArgumentError
from eft.finite_width.input_products import rules_for
from eft.finite_width.layer_expectations import (
    fixed_products,
    layer_moments,
    pair_index,
    pair_places,
)
from eft.finite_width.layer_scan import ACCURACY, along_layers, by_rules
from eft.finite_width.residual_gram import (
    GramKernels,
    Here,
    no_signal,
    residual_inputs,
    signal_step,
)
from eft.flows.block import WITH_NORM, check_widths, checked_block, fixed_shares, refuse
from eft.flows.gram import checked_inputs, checked_number, first_layer, mean_of_squares
from eft.flows.kernel import KernelFlow, flow_and_moments
from eft.flows.residual import Kernels
from eft.gaussian.bivariate import PairSource, pair_source
from eft.gaussian.layer_products import LayerGrams
from eft.records import METHODS

MAX_INPUTS = 8
"""The largest number of different inputs: eight take 70 integrals over four variables per layer."""


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

    K: Float[jax.Array, "depth n n"]
    V: Float[jax.Array, "depth pairs pairs"]
    G1: Float[jax.Array, "depth n n"]
    valid: Bool[jax.Array, "depth"]
    error: Float[jax.Array, "depth"]

    __repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS


@arguments.also_named(x="X")
@arguments.untraced
def vertex_flow(
    act: ActivationLike,
    cw: ArrayLike,
    depth: int,
    X: ArrayLike,
    *,
    cb: ArrayLike = 0.0,
    K1: ArrayLike | None = None,
    widths: Sequence[int] | None = None,
    skip: ArrayLike = 0.0,
    norm: None = None,
    weights: str = "gaussian",
    readout: bool = False,
) -> VertexFlow:
    """K, V and G1 at several inputs, for every layer of a fully connected network at initialization.

        K_12′ = C_b + C_W⟨σ₁σ₂⟩,                                         K_12¹ = C_b + C_W x₁·x₂/n₀
        V_(12)(34)′ = C_W²[⟨σ₁σ₂σ₃σ₄⟩ − ⟨σ₁σ₂⟩⟨σ₃σ₄⟩] + r J_(12)(ab) V_(ab)(cd) J_(34)(cd),      V¹ = 0
        G1_12′ = r [J_(12)(ab) G1_ab + ½ C_W ∂²⟨σ₁σ₂⟩/∂K_ab∂K_cd V_(ab)(cd)],                   G1¹ = 0

    with J_(12)(ab) = C_W ∂⟨σ₁σ₂⟩/∂K_ab, r = n_l/n_{l−1}, and sums over unordered pairs (PDLT chapter 4; V and
    G1 are scaled by the width). No inverse of K is taken: inputs may repeat, or be linearly dependent.

    `X`: inputs of shape (n, n₀), at most 8 different ones. `cw`, `cb`: numbers ≥ 0. `K1`, one too: the first
    layer has no bias, and K_12¹ = K1 x₁·x₂/n₀. `depth` = L: layers of pre-activations, including the output.
    `widths` = (n₁, …, n_{L−1}) if they differ; default: equal.

    `skip`, a number, `weights`, `readout`: as for `kernel_flow`, and V_(12)(34) = n Cov(z_i1 z_i2, z_j3 z_j4)
    of two neurons i ≠ j. Orthogonal weights take κ C_W²(⟨σ₁σ₃⟩⟨σ₂σ₄⟩ + ⟨σ₁σ₄⟩⟨σ₂σ₃⟩) from V′. A skip needs
    the memory of all layers before (docs/residual.md), and is for at most 4 different inputs, and if there
    are several, for σ with a continuous derivative.

    In float64 the relative error is about 1e-9 for one or two different inputs. For integrals over three and
    four variables it is 1e-8 or less for K ≤ 10, however close the inputs, 1e-6 for K ≤ 100, and always at
    most `error`. For piecewise linear σ with its kink at 0, as ReLU, it is 1e-13 for all inputs. On two cores
    a layer of eight inputs takes 0.03 s for tanh and 0.15 s for GELU, as long as K ≤ 2; 0.1 s for tanh at
    K = 8; and 4 ms for ReLU. Beyond K = 10 if σ is not piecewise linear, and if σ has other kinks, every set
    of four inputs takes a third of a second, or half a second if there are two kinks.

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
    refuse("vertex_flow", WITH_NORM, norm=norm)
    block, gamma = checked_block(skip, None, weights, readout)

    x = jax.device_put(inputs)
    cw_, cb_ = arguments.converted(cw_, x.dtype), arguments.converted(cb_, x.dtype)
    first = first_layer(cw_, cb_, K1)
    if block.residual:
        check_widths(block, widths, depth)
        known = residual_inputs(act, cw_, depth, block, gamma, cb_, x, first, with_slopes=False)
        single, K = known.single, known.gram.K
        haar, of_layers = block.weights == "orthogonal", (known.kernels, known.gram, known.past, known.skips)

        def flow_by(rules):
            return arguments.host_arrays(*_residual_flow(rules, haar, known.pairs, *of_layers, x, cw_))

        V, G1, error = by_rules(flow_by, known.rules)
    else:
        single, m = flow_and_moments(act, cw_, depth, cb=cb_, **first.single(mean_of_squares(x)))
        by_layer = ratios.astype(x.dtype), fixed_shares(block, widths, depth).astype(x.dtype)
        settings = pair_source(act, x.dtype), single.K, m, x, cw_, first.scale, by_layer

        def flow_by(rules):
            return arguments.host_arrays(*_flow((rules, block.weights), *settings))

        K, V, G1, error = by_rules(flow_by, rules_for(act, largest_kernel(single)))
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


@compiled(0)
def _flow(about: tuple, pairs: PairSource, K_single, m_single, x, cw, scale, by_layer):
    """K (depth, P), V, G1 (depth, P) and the error of different inputs."""
    rules, weights = about
    n = len(x)
    I, J = np.triu_indices(n)  # noqa: E741
    apart = jnp.mean((x[I] - x[J]) ** 2, -1)

    def record(now, at):
        distance, *fields = now
        return (at[0][I] + at[0][J] - distance) / 2, *fields

    def layer(now, at):
        distance, V, G1, *_ = now
        K_diagonal, m, (ratio, fixed) = at
        moments = layer_moments(pairs, rules, record(now, at)[0], K_diagonal, distance, m)
        fresh = moments.fourth - jnp.outer(moments.g, moments.g)
        if weights == "orthogonal":
            fresh = fresh - fixed * fixed_products(moments.g)
        fresh = cw * cw * fresh
        linear = cw * moments.J
        V_next = fresh + ratio * linear @ V @ linear.T
        V_next = (V_next + V_next.T) / 2
        G1_next = ratio * (linear @ G1 + cw * moments.second_order(V))
        return cw * moments.distance, V_next, G1_next, moments.error, moments.doubt

    P = len(I)
    zero = jnp.zeros((), x.dtype)
    start = scale * apart, jnp.zeros((P, P), x.dtype), jnp.zeros(P, x.dtype), zero, zero
    return along_layers(layer, record, start, (*jax.tree.map(jnp.transpose, (K_single, m_single)), by_layer))


@compiled(0, 1)
def _residual_flow(
    rules, haar: bool, pairs: PairSource, k: Kernels, gram: GramKernels, past: LayerGrams, skips, x, cw,
):  # fmt: skip
    """V, G1 (depth, P) and the error of different inputs in a residual network."""
    depth, P = gram.K.shape
    index = pair_index(len(x))

    def layer(now, at):
        K_diagonal, K, distance, m_single, gamma, past, number = at
        signal, *_ = now
        m = layer_moments(pairs, rules, K, K_diagonal, distance, m_single)
        here = Here(number, K[index], gamma, m, m, m.fourth, past)
        after, _, _ = signal_step(haar, signal, here, cw)
        return after, jnp.maximum(m.error, jnp.max(past.error)), m.doubt

    def record(now, _):
        signal, *errors = now
        return signal.U + signal.own + signal.own.T, signal.G1, *errors

    zero = jnp.zeros((), x.dtype)
    start = no_signal(depth, P, x.dtype), zero, zero
    by_layer = k.K.T, gram.K, gram.distance, jax.tree.map(jnp.transpose, k.moments), skips, past
    return along_layers(layer, record, start, (*by_layer, jnp.arange(depth)))
