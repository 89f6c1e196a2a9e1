"""The flow of one input with depth: kernel, susceptibilities, four-point vertex, first 1/n correction."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Bool, Float

from eft import arguments
from eft.activations.analysis import analysed
from eft.activations.catalogue import as_activations
from eft.activations.definition import Activation, ActivationLike
from eft.activations.programs import compiled
from eft.arguments import ArgumentError, warn_user
from eft.flows.block import PLAIN, Block, check_widths, checked_block, fixed_shares
from eft.flows.layers import Diagonal, Kernels, in_range, kernels, saturated, susceptibilities
from eft.flows.residual import fluctuations
from eft.gaussian.accuracy import Accuracy, cause_at
from eft.gaussian.expectation import QuadratureWarning, tolerance
from eft.gaussian.layer_pairs import GRADED, Rule, quick_rule
from eft.gaussian.records import Moments
from eft.gaussian.sources import Source, source, source_for
from eft.gaussian.tabulated import moment_table
from eft.records import METHODS

MAX_NUMBERS = 2**28
"""The largest layers × batch of one flow: 2 GiB per field in float64."""


MAX_LAYER_PAIRS = 2**21
"""The largest depth² × batch with a skip: a million integrals over two variables, at least ten minutes."""


class KernelFlow(NamedTuple):
    """The flow of one input. Every field has shape batch + (depth,); index 0 is layer 1.

    `K`: the kernel at infinite width.
    `chi_parallel`: χ∥(K^l), the factor that multiplies a small change of K from layer l to l+1.
    `chi_perp`: χ⊥(K^l), likewise for a small angle between two inputs; inf if σ jumps.
    `V`: the four-point vertex, Var(Ĝ^l) = V^l/n_{l−1} + O(1/n²).
    `G1`: the first correction of the mean, E[Ĝ^l] = K^l + G1^l/n_{l−1} + O(1/n²).
    `log_K`: log K; for homogeneous σ right even where K leaves the range of floating-point numbers.
    `valid`: bool, whether K and the quadrature are accurate at this and every earlier layer.
    `error`: estimated relative error of the Gaussian expectations at this layer.
    """

    K: Float[jax.Array, "*batch depth"]
    chi_parallel: Float[jax.Array, "*batch depth"]
    chi_perp: Float[jax.Array, "*batch depth"]
    V: Float[jax.Array, "*batch depth"]
    G1: Float[jax.Array, "*batch depth"]
    log_K: Float[jax.Array, "*batch depth"]
    valid: Bool[jax.Array, "*batch depth"]
    error: Float[jax.Array, "*batch depth"]

    __repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS


def kernel_flow(
    act: ActivationLike,
    cw: ArrayLike,
    depth: int,
    *,
    cb: ArrayLike = 0.0,
    x2: ArrayLike = 1.0,
    K1: ArrayLike | None = None,
    widths: Sequence[int] | None = None,
    skip: ArrayLike = 0.0,
    norm: str | None = None,
    weights: str = "gaussian",
    readout: bool = False,
) -> KernelFlow:
    """K, χ∥, χ⊥, V and G1 of every layer of a fully connected network at initialization.

        K′ = C_b + C_W g(K),  g(K) = ⟨σ²⟩_K,      K¹ = C_b + C_W x2, or K1
        χ∥ = C_W g′(K),  χ⊥ = C_W⟨σ′²⟩_K
        V′ = C_W²(⟨σ⁴⟩ − ⟨σ²⟩²) + (n_l/n_{l−1}) χ∥² V,                V¹ = 0
        G1′ = (n_l/n_{l−1}) [χ∥ G1 + ½ C_W g″ V],                     G1¹ = 0

    (PDLT chapters 4 and 5, with V and G1 scaled by the width.) Networks that are not plain:

    `skip` = γ ≥ 0: residual, z′ = γz + b + Wσ(z), from layer 1 on, with equal widths; `readout`: the last
    layer has no skip, as in a network whose output has another width. Then K′ = γ²K + C_b + C_W g and
    χ = γ² + C_W(…); V and G1 remember all layers before (docs/residual.md). A branch scale α,
    z′ = γz + α(b + Wσ(z)), is C_W → α²C_W, C_b → α²C_b.
    `norm`: "rms" or "layer", σ acts on z/√(mean z²) over the neurons of its layer, or on z less its mean,
    over its standard deviation. Then ⟨·⟩ is taken at unit variance, χ∥ = γ², and χ⊥ = γ² + C_W⟨σ′²⟩_1/K.
    `weights`: "orthogonal", √C_W times a random (semi-)orthogonal matrix from the second layer on, the first
    being Gaussian: V′ has C_W²(⟨σ⁴⟩ − ⟨σ²⟩² − 2κ⟨σ²⟩²) with κ = n_l/max(n_l, n_{l+1}); the output is taken
    to be no wider than the last hidden layer.
    In all of these V/n is E[z_i²z_j²] − E[z_i²]², i ≠ j, which is Var(Ĝ) only in a plain network.

    `act`: a name, an Activation, or any elementwise function. `cw` = C_W, `cb` = C_b,
    and `x2` = ‖x‖²/n₀ or the first kernel itself, `K1`: all ≥ 0; they broadcast to the batch axes of
    the result. `depth` = L: the number of layers of pre-activations, including the output.
    `widths` = (n₁, …, n_{L−1}): the hidden widths, for V and G1 if they differ; default: equal.

    In float64 the expectations are accurate to 1e-12 (float32: 2e-6) for K in [1e-12, 1e12]. Beyond the
    float range K saturates, at the largest float or at 0, and `valid` becomes false; V and G1 saturate
    at the largest float. For homogeneous σ (ReLU, RePU, linear, …) `log_K` stays accurate until log K
    itself overflows.

    For a user-defined function, undeclared kinks are found, and derivatives that JAX returns as NaN are
    computed from values. The error of its moments is measured when its table is made, in float64 whatever
    the precision in use: where it exceeds the bound, `error` says by how much, `valid` becomes false and,
    unless values are traced, a QuadratureWarning states the reason. A function that closes over traced values
    cannot be searched for kinks, but its error is measured. See docs/accuracy.md.

    Differentiable in cw, cb, x2, K1 and in the values that the activation closes over, as long as these do
    not move a kink. Compiled once for each depth and batch shape; all activations with tables of the same
    size share one program.

    Raises ArgumentError or ArgumentTypeError (a ValueError and a TypeError) for a bad argument, such as a
    function that is not elementwise. The values of traced arguments cannot be inspected: instead,
    `valid` is false from the first layer on if K¹ is negative or NaN.

    >>> flow = eft.kernel_flow("tanh", 1.0, depth=4)
    >>> print(flow.K.round(4), flow.V.round(4))
    [1.     0.3943 0.2365 0.1667] [0.     0.0975 0.0678 0.0501]
    >>> grid = eft.kernel_flow("gelu", jnp.linspace(1, 3, 1000), depth=50)
    >>> grid.K.shape
    (1000, 50)
    """
    block, gamma = checked_block(skip, norm, weights, readout)
    if not block.remembers:
        act, depth, cw_, cb_, first, _ = _checked(act, cw, depth, cb, x2, K1)
        return _plain(act, depth, block, cw_, cb_, first, widths, moments=False)[0]
    return residual_flow(act, cw, depth, block, gamma, cb=cb, x2=x2, K1=K1, widths=widths)[0]


def flow_and_moments(
    act: ActivationLike,
    cw: ArrayLike,
    depth: Any,
    *,
    cb: ArrayLike = 0.0,
    x2: ArrayLike = 1.0,
    K1: ArrayLike | None = None,
    widths: Any = None,
    weights: str = "gaussian",
) -> tuple[KernelFlow, Moments]:
    """`kernel_flow` without a skip, and the moments at the K of every layer; fields of the shape of K."""
    act, depth, cw_, cb_, first, _ = _checked(act, cw, depth, cb, x2, K1)
    return _plain(act, depth, PLAIN._replace(weights=weights), cw_, cb_, first, widths, moments=True)


def residual_flow(
    act: ActivationLike, cw: ArrayLike, depth: Any, block: Block, skip: ArrayLike, *, cb: ArrayLike = 0.0,
    x2: ArrayLike = 1.0, K1: ArrayLike | None = None, widths: Any = None,
) -> tuple[KernelFlow, Kernels, Rule]:  # fmt: skip
    """`kernel_flow` with a skip or a normalization, its kernels and moments, and the rule that did."""
    act, depth, cw_, cb_, first, skip_ = _checked(act, cw, depth, cb, x2, K1, skip)
    return _with_memory(act, depth, block, skip_, cw_, cb_, first, widths)


def diagonal(
    act: ActivationLike, cw: ArrayLike, depth: Any, block: Block, skip: ArrayLike, *, cb: ArrayLike = 0.0,
    x2: ArrayLike = 1.0, K1: ArrayLike | None = None,
) -> Diagonal:  # fmt: skip
    """The infinite-width part of `kernel_flow` with a skip or a normalization, which needs no memory."""
    sigma, depth, cw_, cb_, first, skip_ = _checked(act, cw, depth, cb, x2, K1, skip)
    k = kernels(block, depth, source(sigma, cw_.dtype), skip_, cw_, cb_, first)
    flow = susceptibilities(block, k, skip_, cw_)
    warn(flow._replace(K=jnp.ones_like(flow.K)) if block.norm else flow, sigma)
    return flow


def _checked(act, cw, depth, cb, x2, K1, skip: ArrayLike = 0.0) -> tuple:
    """The activation, depth, C_W, C_b, K¹ and γ."""
    act = analysed(act)
    depth = arguments.positive_int("depth", depth, maximum=arguments.MAX_DEPTH)
    given: dict[str, Any] = {"cw": arguments.nonnegative("cw", cw), "cb": arguments.nonnegative("cb", cb)}
    if K1 is None:
        given["x2"] = arguments.nonnegative("x2", x2)
    else:
        given["K1"] = arguments.nonnegative("K1", K1)
    if isinstance(skip, jax.Array | np.ndarray):
        given["skip"] = skip
    cw_, cb_, first, *skips = arguments.broadcast(given)
    if cw_.size * depth > MAX_NUMBERS:
        raise ArgumentError(
            f"depth × batch must be ≤ {MAX_NUMBERS:,}; got {depth:,} × {cw_.size:,}, "
            f"which needs {8 * depth * cw_.size * cw_.dtype.itemsize / 2**30:.1f} GiB"
        )
    with np.errstate(all="ignore"):
        first = cb_ + cw_ * first if K1 is None else first
    return act, depth, cw_, cb_, first, skips[0] if skips else None


def _plain(act, depth, block: Block, cw, cb, K1, widths, *, moments: bool) -> tuple[KernelFlow, Any]:
    """The flow without skip and normalization."""
    ratios, fixed = arguments.width_ratios(widths, depth), fixed_shares(block, widths, depth)
    by_layer = ratios.astype(cw.dtype), np.asarray(fixed, cw.dtype)
    traced = any(isinstance(a, Tracer) for a in (cw, cb, K1))
    by_K = source_for(act, cw.dtype, 0 if traced else cw.size * depth)
    flow, m = _flow(moments, act.degree, block.weights, by_K, cw, cb, K1, by_layer)
    warn(flow, act)
    return flow, m


def kernel_flows(acts: Sequence[ActivationLike], cw: ArrayLike, depth: int, **settings) -> KernelFlow:
    """The flows of several activations, with a leading axis over them; arguments as for `kernel_flow`.

    To give each activation its own C_W, stack the results of `kernel_flow` instead.

    >>> flows = eft.kernel_flows(["tanh", "relu"], 1.0, depth=4)
    >>> print(flows.chi_perp[:, -1].round(4))
    [0.7818 0.5   ]
    """
    flows = [kernel_flow(act, cw, depth, **settings) for act in as_activations(acts)]
    return KernelFlow(*map(jnp.stack, zip(*flows, strict=True)))


class _Layer(NamedTuple):
    """The state passed from one layer to the next."""

    K: jax.Array
    log_K: jax.Array
    V: jax.Array
    G1: jax.Array
    valid: jax.Array


@compiled(0, 1, 2)
def _flow(
    keep: bool, degree: int | None, weights: str, moments: Source, cw, cb, K1, by_layer
) -> tuple[KernelFlow, Any]:
    """The flow of a network without skips; and, if they are to be kept, the moments at every layer."""
    start = _Layer(
        saturated(K1),
        jnp.log(jnp.maximum(saturated(K1), 0.0)),
        jnp.zeros_like(K1),
        jnp.zeros_like(K1),
        in_range(K1) | (K1 == 0),
    )

    log_c: Any = None
    if degree is not None:  # log K′ = log(C_b + C_W c Kᵖ), with c = ⟨σ²⟩_1
        log_c = jnp.log(cw) + jnp.log(moments(jnp.ones((), K1.dtype)).g)

    biased = jnp.any(cb != 0)

    def log_next(K_next, log_K):
        if degree is None:
            return jnp.log(saturated(K_next))
        from_g = log_c + (degree * log_K if degree else 0.0)
        # log(C_b + K′) ≈ log K′ + C_b/K′ has the derivative at C_b = 0 too
        unbiased = from_g + cb / jnp.maximum(saturated(K_next), jnp.finfo(cb.dtype).tiny)

        def summed():
            some = cb != 0
            return jnp.where(some, jnp.logaddexp(jnp.log(jnp.where(some, cb, 1.0)), from_g), unbiased)

        return jax.lax.cond(biased, summed, lambda: unbiased)

    def layer(now: _Layer, at):
        (ratio, fixed), m = at, moments(now.K)
        K, log_K, V, G1, valid = now
        var = m.var if weights == "gaussian" else m.var - 2 * fixed * m.g**2
        chi_parallel = saturated(cw * m.dg)
        chi_perp = saturated(cw * m.slope2)
        chi_perp = jnp.where(jnp.isinf(m.slope2) & jnp.isfinite(m.g) & (cw > 0), jnp.inf, chi_perp)
        valid = valid & (m.error <= tolerance(K.dtype))
        record = KernelFlow(K, chi_parallel, chi_perp, V, G1, log_K, valid, m.error)

        K_next = cb + cw * m.g
        after = _Layer(
            saturated(K_next),
            log_next(K_next, log_K),
            saturated(cw * (cw * var) + ratio * (chi_parallel * (chi_parallel * V))),
            saturated(ratio * (chi_parallel * G1 + cw * saturated(m.d2g) * V / 2)),
            valid & (in_range(K_next) | ((K_next == 0) & ((K == 0) | (cw == 0)))),
        )
        return after, (record, m if keep else None)

    _, flow = jax.lax.scan(layer, start, by_layer)
    return jax.tree.map(lambda a: jnp.moveaxis(a, 0, -1), flow)


def _with_memory(act, depth, block: Block, skip, cw, cb, K1, widths) -> tuple[KernelFlow, Kernels, Rule]:
    """The flow of a network with skips or a normalization."""
    check_widths(block, widths, depth)
    if block.residual and any(act.jumps):
        raise ArgumentError(f"act must be continuous where there is a skip; {act.name} jumps")
    if cw.size * depth * depth > MAX_LAYER_PAIRS:
        raise ArgumentError(
            f"depth² × batch must be ≤ {MAX_LAYER_PAIRS:,} with a skip or a normalization, where V and G1 "
            f"remember all layers before; got {depth:,}² × {cw.size:,}. pair_flow gives K at any depth"
        )
    k = kernels(block, depth, source(act, cw.dtype), skip, cw, cb, K1)
    tracing = any(isinstance(a, Tracer) for a in (k.K, skip, cw))
    largest = 1.0 if block.norm else math.inf if tracing else float(jnp.max(k.K))
    rule = quick_rule(act, largest)
    V, G1, pair_error = fluctuations(act, rule, block, k, skip, cw)
    if not tracing and rule is not GRADED and not jnp.max(pair_error) <= tolerance(cw.dtype):
        rule = GRADED
        V, G1, pair_error = fluctuations(act, rule, block, k, skip, cw)
    wide = susceptibilities(block, k, skip, cw)
    error = jnp.maximum(wide.error, pair_error)
    good = wide.valid & (error <= tolerance(cw.dtype)) & jnp.isfinite(V) & jnp.isfinite(G1)
    valid = jax.lax.cumprod(good.astype(jnp.int32), axis=good.ndim - 1).astype(bool)
    V, G1 = saturated(V), saturated(G1)
    flow = KernelFlow(k.K, wide.chi_parallel, wide.chi_perp, V, G1, jnp.log(k.K), valid, error)
    warn(flow, act)
    return flow, k, rule


def warn(flow: Any, act: Activation, *accuracies: Accuracy) -> None:
    """Warn where the quadrature is not accurate, and why, unless the values are traced."""
    if act.resolved:
        return
    error, kernel = jax.lax.stop_gradient((flow.error, flow.K))
    if isinstance(error, Tracer) or isinstance(kernel, Tracer):
        return
    error, kernel = np.asarray(error), np.asarray(kernel)
    bad = error > tolerance(error.dtype)
    if bad.any():
        where = np.argwhere(bad)[0]
        K = float(kernel[tuple(where)])
        worst = float(np.max(error[bad]))
        accuracy = f"known only to {worst:.1e}" if np.isfinite(worst) else "not known"
        cause = cause_at(K, *(accuracies or (moment_table(act, error.dtype).accuracy,)))
        warn_user(
            f"{act.name}: from layer {where[-1] + 1} (K = {K:.4g}) on the Gaussian expectations are "
            f"{accuracy}: {cause}",
            QuadratureWarning,
        )
