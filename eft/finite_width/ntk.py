"""The neural tangent kernel of one input at finite width: its mean, fluctuations and change in training."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Bool, Float

from eft import arguments
from eft.activations.analysis import analysed
from eft.activations.definition import Activation, ActivationLike
from eft.activations.programs import compiled
from eft.arguments import ArgumentError
from eft.finite_width.residual import fluctuations
from eft.flows.block import WITH_NORM, Block, checked_block, fixed_shares, refuse
from eft.flows.kernel import KernelFlow, flow_and_moments, residual_flow, saturated, warn
from eft.flows.layer_rates import checked_rates, first_and_next
from eft.gaussian.expectation import tolerance
from eft.gaussian.layer_pairs import GRADED
from eft.gaussian.records import Moments
from eft.gaussian.sources import SlopeSource, accuracies, evaluated, slope_source
from eft.records import METHODS


class NTKFlow(NamedTuple):
    """The flow of one input's NTK. Every field has shape batch + (depth,); index 0 is layer 1.

    Θ̂_ij is the NTK of neurons i, j of layer l in one network, ΔΘ = Θ̂ − E[Θ̂], z are the pre-activations,
    n = n_{l−1}, and dΘ̂ is the differential of the NTK, as in `ntk_flow`. Each relation holds up to O(1/n²).

    `K`: the kernel at infinite width.
    `V`: the four-point vertex, Var(Ĝ) = V/n.
    `Theta`, `Theta1`: the NTK at infinite width and its first correction, E[Θ̂_ij] = δ_ij (Θ + Theta1/n).
    `A`, `B`: E[ΔΘ_12 ΔΘ_34] = (δ₁₂δ₃₄ A + (δ₁₃δ₂₄ + δ₁₄δ₂₃) B)/n.
    `D`, `F`: E[z₁z₂ ΔΘ_34] = (δ₁₂δ₃₄ D + (δ₁₃δ₂₄ + δ₁₄δ₂₃) F)/n.
    `P`, `Q`: E[dΘ̂_012 z₃] = (δ₀₃δ₁₂ P + (δ₀₁δ₂₃ + δ₀₂δ₁₃) Q)/n.
    `valid`: bool, whether these fields and the quadrature are accurate here and at every layer before.
    `error`: estimated relative error of the Gaussian expectations at this layer.
    """

    K: Float[jax.Array, "*batch depth"]
    V: Float[jax.Array, "*batch depth"]
    Theta: Float[jax.Array, "*batch depth"]
    Theta1: Float[jax.Array, "*batch depth"]
    A: Float[jax.Array, "*batch depth"]
    B: Float[jax.Array, "*batch depth"]
    D: Float[jax.Array, "*batch depth"]
    F: Float[jax.Array, "*batch depth"]
    P: Float[jax.Array, "*batch depth"]
    Q: Float[jax.Array, "*batch depth"]
    valid: Bool[jax.Array, "*batch depth"]
    error: Float[jax.Array, "*batch depth"]

    __repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS


def ntk_flow(
    act: ActivationLike,
    cw: ArrayLike,
    depth: int,
    *,
    cb: ArrayLike = 0.0,
    lambda_w: ArrayLike = 1.0,
    lambda_b: ArrayLike = 1.0,
    layer_rates: tuple[ArrayLike, ArrayLike] | None = None,
    x2: ArrayLike = 1.0,
    K1: ArrayLike | None = None,
    widths: Sequence[int] | None = None,
    skip: ArrayLike = 0.0,
    norm: None = None,
    weights: str = "gaussian",
    readout: bool = False,
) -> NTKFlow:
    """Θ, its first correction, A, B, D, F, P and Q of every layer at initialization, at one input.

    With Ω = λ_W σ² + C_W Θ σ′², derivatives of ⟨Ω⟩_K in K at fixed Θ, and r = n_l/n_{l−1}:

        Θ′ = λ_b + ⟨Ω⟩,                                       Θ¹ = λ_b + λ_W x2; with K1, λ_W x2
        Theta1′ = r [⟨Ω⟩_K G1 + ½⟨Ω⟩_KK V + C_W⟨σ′²⟩_K (D + 2F) + χ⊥ Theta1]
        A′ = ⟨Ω²⟩ − ⟨Ω⟩² + r [⟨Ω⟩_K² V + 2χ⊥⟨Ω⟩_K D + χ⊥² A]
        B′ = C_W²⟨σ′⁴⟩Θ² + r χ⊥² B
        D′ = C_W(⟨σ²Ω⟩ − ⟨σ²⟩⟨Ω⟩) + r [χ∥⟨Ω⟩_K V + χ∥χ⊥ D]
        F′ = C_W²⟨σ²σ′²⟩Θ + r χ∥² F
        P′ = C_W²⟨σσ′²σ″⟩Θ² + r [χ⊥(χ∥ − χ⊥) B + χ∥χ⊥ P]
        Q′ = C_W²⟨σσ′²σ″⟩Θ² + λ_W C_W⟨σ²σ′²⟩Θ + r [χ∥⟨Ω⟩_K F + χ∥χ⊥ Q]

    where all but Θ are zero at layer 1 (PDLT chapters 8 and 11, scaled by the width; docs/ntk.md). P and Q
    give the first change of Θ̂ in training: a gradient descent step of size η on a loss ℓ changes Θ̂_12 by
    −η Σ_i (dΘ̂_12i + dΘ̂_21i) ∂ℓ/∂z_i, with dΘ̂_012 = Σ_μν λ_μλ_ν ∂²z_0/∂θ_μ∂θ_ν ∂z_1/∂θ_μ ∂z_2/∂θ_ν.

    Θ̂ is the sum of ∂z ∂z over the parameters, a bias weighted by λ_b and a weight of layer l by λ_W/n_{l−1};
    if `K1` is given, the first layer has no bias, as in `nets.FCN`.

    `skip`, `weights`, `readout`: as for `kernel_flow`. With a skip the fluctuations remember all layers
    before (docs/residual.md), and P and Q, which are not known, are nan. With orthogonal weights B′ has
    C_W²(⟨σ′⁴⟩ − κ⟨σ′²⟩²)Θ² and F′ has C_W²(⟨σ²σ′²⟩ − κ⟨σ²⟩⟨σ′²⟩)Θ. In either, A, B, D and F are defined by
    two neurons, i ≠ j: n Cov(Θ̂_ii, Θ̂_jj), n E[Θ̂_ij²], n Cov(z_i², Θ̂_jj) and n E[z_i z_j Θ̂_ij].

    `lambda_w` = λ_W, `lambda_b` = λ_b ≥ 0; the rest as for `kernel_flow`, and all broadcast together.
    `layer_rates`: (weights, biases), (depth,) each, by which λ_W and λ_b of layer l are multiplied, without a
    skip. σ must be continuous: if it jumps, ⟨σ′²⟩ and Θ are infinite. Kinks are allowed.

    The expectations are accurate to 1e-12 in float64 (float32: 2e-6) for K in [1e-12, 1e12]. A value beyond
    the floating-point range saturates, and `valid` becomes false.

    Differentiable in cw, cb, lambda_w, lambda_b, x2, K1. Compiled once for each depth and batch shape,
    jointly for all activations without a closed form.
    Raises TypeError or ValueError for a bad argument, and for σ that jumps.

    >>> flow = eft.ntk_flow("tanh", 1.0, depth=4)
    >>> print(flow.Theta.round(4), flow.Theta1.round(4))
    [2.     2.3231 2.7152 3.1399] [0.     0.     0.0038 0.0266]
    """
    act = checked_continuous(analysed(act))
    depth = arguments.positive_int("depth", depth, maximum=arguments.MAX_DEPTH)
    given = {
        "cw": arguments.nonnegative("cw", cw),
        "cb": arguments.nonnegative("cb", cb),
        "lambda_w": arguments.nonnegative("lambda_w", lambda_w),
        "lambda_b": arguments.nonnegative("lambda_b", lambda_b),
        "x2": arguments.nonnegative("x2", x2),
    }
    refuse("ntk_flow", WITH_NORM, norm=norm)
    block, given["skip"] = checked_block(skip, None, weights, readout)
    if K1 is not None:
        given["K1"] = arguments.nonnegative("K1", K1)
    cw_, cb_, lw, lb, x2_, skip_, *own = arguments.broadcast(given)
    rates = None if layer_rates is None else checked_rates(layer_rates, depth)
    if rates is not None and block.residual:
        raise ArgumentError(
            "layer_rates must be left out of ntk_flow with a skip; without, and in gram_flow, it may be given"
        )
    first_w, first_b = (1.0, 1.0) if rates is None else (a[0] for a in rates)
    start = {"cb": cb_, "x2": x2_, "K1": own[0] if own else None, "widths": widths}
    with np.errstate(all="ignore"):
        first = lw * x2_ * first_w + (0.0 if own else lb * first_b)
    if block.residual:
        ntk = _with_skip(act, depth, block, skip_, cw_, lw, lb, first, start)
    else:
        flow, m = flow_and_moments(act, cw_, depth, **start, weights=weights)
        ratios = arguments.width_ratios(widths, depth).astype(cw_.dtype)
        fixed = np.asarray(fixed_shares(block, widths, depth), cw_.dtype)
        of_each = (jnp.ones(depth),) * 2 if rates is None else rates
        by_layer = ratios, fixed, *(first_and_next(a.astype(cw_.dtype), depth)[1] for a in of_each)
        count = 0 if isinstance(flow.K, Tracer) else flow.K.size
        ntk = _flow(weights, slope_source(act, cw_.dtype, count), flow, m, cw_, lw, lb, first, by_layer)
    warn(ntk, act, *accuracies(act, cw_.dtype))
    return ntk


def checked_continuous(act: Activation) -> Activation:
    """The activation; raise if it jumps."""
    if any(act.jumps):
        raise ArgumentError(
            f"act must be continuous; {act.name} jumps, and its NTK is infinite from layer 2 on"
        )
    return act


def _with_skip(act, depth, block: Block, skip, cw, lw, lb, first, start) -> NTKFlow:
    """The flow of a residual network."""
    flow, k, rule = residual_flow(act, cw, depth, block, skip, **start)
    p = evaluated(slope_source(act, cw.dtype), flow.K)
    arrays = k, p, skip, cw, lw, lb, first
    found = fluctuations(act, rule, block, *arrays)
    rough = not isinstance(found.error, Tracer) and not jnp.max(found.error) <= tolerance(cw.dtype)
    if rough and rule is not GRADED:
        found = fluctuations(act, GRADED, block, *arrays)
    V, *fields, pair_error = found
    error = jnp.maximum(jnp.maximum(flow.error, p.error), pair_error)
    good = flow.valid & (error <= tolerance(error.dtype)) & jnp.isfinite(sum(fields))
    valid = lax.cumprod(good.astype(jnp.int32), axis=good.ndim - 1).astype(bool)
    unknown = jnp.full_like(V, jnp.nan)
    return NTKFlow._make([flow.K, V, *map(saturated, fields), unknown, unknown, valid, error])


@compiled(0)
def _flow(
    weights: str, slopes: SlopeSource, flow: KernelFlow, m: Moments, cw, lambda_w, lambda_b, first, by_layer
) -> NTKFlow:
    p = slopes(flow.K)
    error = jnp.maximum(m.error, p.error)
    known = (flow.V, flow.G1, flow.chi_parallel, flow.chi_perp, m, p)
    known = jax.tree.map(lambda a: jnp.moveaxis(a, -1, 0), known)

    def layer(now, at):
        Theta, Theta1, A, B, D, F, P, Q = now
        (V, G1, chi_parallel, chi_perp, m, p), (r, fixed, of_weights, of_biases) = at
        lw, lb = lambda_w * of_weights, lambda_b * of_biases
        s4, cross_FS = p.s4, p.cross
        if weights == "orthogonal":
            s4, cross_FS = p.var + (1 - fixed) * p.s**2, p.cov + (1 - fixed) * m.g * p.s
        c = cw * Theta
        mean, mean_K, mean_KK = lw * m.g + c * p.s, lw * m.dg + c * p.ds, lw * m.d2g + c * p.d2s
        square = lw * (lw * m.var) + 2 * lw * c * p.cov + c * (c * p.var)  # ⟨Ω²⟩ − ⟨Ω⟩²
        cross = lw * m.var + c * p.cov  # ⟨σ²Ω⟩ − ⟨σ²⟩⟨Ω⟩
        cross_slopes, both = c * c * p.cross_slopes, chi_parallel * chi_perp
        after = (
            lb + mean,
            r * (mean_K * G1 + mean_KK * V / 2 + cw * p.ds * (D + 2 * F) + chi_perp * Theta1),
            square + r * (mean_K**2 * V + 2 * chi_perp * mean_K * D + chi_perp**2 * A),
            c * c * s4 + r * chi_perp**2 * B,
            cw * cross + r * (chi_parallel * mean_K * V + both * D),
            cw * c * cross_FS + r * chi_parallel**2 * F,
            cross_slopes + r * (chi_perp * (chi_parallel - chi_perp) * B + both * P),
            cross_slopes + lw * c * p.cross + r * (chi_parallel * mean_K * F + both * Q),
        )
        return tuple(map(saturated, after)), (now, _within(now))

    zero = jnp.zeros_like(first)
    start = (saturated(first), *(7 * (zero,)))
    _, (fields, whole) = lax.scan(layer, start, (known, by_layer))
    fields = [jnp.moveaxis(a, 0, -1) for a in fields]
    good = flow.valid & jnp.moveaxis(whole, 0, -1) & (error <= tolerance(error.dtype))
    valid = lax.cumprod(good.astype(jnp.int32), axis=good.ndim - 1).astype(bool)
    return NTKFlow._make([flow.K, flow.V, *fields, valid, error])


def _within(numbers) -> jax.Array:
    """Whether none of the numbers is saturated."""
    most = jnp.finfo(numbers[0].dtype).max
    return functools.reduce(jnp.logical_and, (jnp.abs(a) < most for a in numbers))
