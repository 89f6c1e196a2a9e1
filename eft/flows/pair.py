"""The flow of two inputs with depth: does the network bring them together, or drive them apart?"""

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
from eft.activations.definition import ActivationLike
from eft.activations.programs import compiled
from eft.arguments import ArgumentError
from eft.flows.block import Block, checked_block
from eft.flows.kernel import diagonal, kernel_flow
from eft.gaussian.bivariate import PairSource, pair_moments, pair_source
from eft.gaussian.expectation import tolerance
from eft.gaussian.planes import correlated
from eft.gaussian.sources import evaluated, source
from eft.gaussian.tangents import attached, constant
from eft.records import METHODS

CLOSE_SIZES = 0.05
"""|K_parallel|/(K_aa + K_bb) below which g(K_aa) − g(K_bb) would cancel, and is computed as ∫g′dK."""


class PairFlow(NamedTuple):
    """The flow of two inputs a and b. Every field has shape (depth,) or batch + (depth,); index 0 is layer 1.

    `K_aa`, `K_ab`, `K_bb`: the kernel at infinite width.
    `K_mid`: (K_aa + K_bb + 2K_ab)/4, the kernel of the midpoint.
    `K_parallel`: (K_aa − K_bb)/2, the difference in size.
    `K_perp`: (K_aa + K_bb − 2K_ab)/4, a quarter of the squared distance, to relative accuracy.
    `gap`: 1 − ρ, ρ = K_ab/√(K_aa K_bb); to relative accuracy, unless the sizes differ far more than that.
    `valid`: bool, whether the quadrature is accurate and K in range, here and at every layer before.

        [[K_aa, K_ab], [K_ab, K_bb]] = K_mid [[1, 1], [1, 1]] + K_parallel [[1, 0], [0, −1]]
                                       + K_perp [[1, −1], [−1, 1]]

    K_mid, K_parallel and K_perp are K_[0], K_[1] and K_[2] of PDLT chapter 5. `K0`, `K1`, `K2` are their
    former names, kept for one release.
    """

    K_aa: Float[jax.Array, "*batch depth"]
    K_ab: Float[jax.Array, "*batch depth"]
    K_bb: Float[jax.Array, "*batch depth"]
    K_mid: Float[jax.Array, "*batch depth"]
    K_parallel: Float[jax.Array, "*batch depth"]
    K_perp: Float[jax.Array, "*batch depth"]
    gap: Float[jax.Array, "*batch depth"]
    valid: Bool[jax.Array, "*batch depth"]

    __repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS

    @property
    def K0(self) -> jax.Array:
        """The former name of `K_mid`."""
        return self.K_mid

    @property
    def K1(self) -> jax.Array:
        """The former name of `K_parallel`."""
        return self.K_parallel

    @property
    def K2(self) -> jax.Array:
        """The former name of `K_perp`."""
        return self.K_perp


class ExpandedPairFlow(NamedTuple):
    """The flow of two inputs to leading order in their separation δ; shapes as in `PairFlow`.

    `K_mid`: the kernel of the midpoint, which follows the flow of one input; error O(δ²).
    `K_parallel`: the difference in size; error O(δ³).
    `K_perp`: a quarter of the squared distance; error O(δ⁴).
    `chi_parallel`, `chi_perp`: χ∥ and χ⊥ at K_mid.
    `h`: ½ dχ⊥/dK at K_mid.
    `valid`: as in `PairFlow`.

    `K0`, `K1`, `K2` are the former names of the first three, kept for one release.
    """

    K_mid: Float[jax.Array, "*batch depth"]
    K_parallel: Float[jax.Array, "*batch depth"]
    K_perp: Float[jax.Array, "*batch depth"]
    chi_parallel: Float[jax.Array, "*batch depth"]
    chi_perp: Float[jax.Array, "*batch depth"]
    h: Float[jax.Array, "*batch depth"]
    valid: Bool[jax.Array, "*batch depth"]

    __repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS

    @property
    def K0(self) -> jax.Array:
        """The former name of `K_mid`."""
        return self.K_mid

    @property
    def K1(self) -> jax.Array:
        """The former name of `K_parallel`."""
        return self.K_parallel

    @property
    def K2(self) -> jax.Array:
        """The former name of `K_perp`."""
        return self.K_perp


def pair_flow(
    act: ActivationLike,
    cw: ArrayLike,
    depth: int,
    xa: ArrayLike,
    xb: ArrayLike,
    *,
    cb: ArrayLike = 0.0,
    K1: ArrayLike | None = None,
    skip: ArrayLike = 0.0,
    readout: bool = False,
    norm: str | None = None,
    weights: str = "gaussian",
) -> PairFlow:
    """The exact flow of the kernel of two inputs at infinite width.

        K_αβ′ = C_b + C_W⟨σ_α σ_β⟩_K,     K_αβ¹ = C_b + C_W x_α·x_β/n₀, or K1 x_α·x_β/n₀

    and, so that the distance of close inputs keeps full relative accuracy,

        K_perp′ = ¼C_W⟨(σ_a − σ_b)²⟩,     K_parallel′ = ½C_W (g(K_aa) − g(K_bb)) = ½C_W ∫ g′ dK

    (PDLT chapter 5). `xa`, `xb`: the inputs, of shape (n₀,). `cw` = C_W, `cb` = C_b and `K1` ≥ 0 broadcast to
    give the batch axes, and so does `skip`. `K1`: the first kernel of an input with ‖x‖²/n₀ = 1; the first
    layer then has no bias. Piecewise linear activations, sine, erf and GELU have closed forms;
    others take about 6 ms per layer, by quadrature. In float64 the error per layer is 1e-12 in K and 1e-9 in
    K_perp, for K from 1e-6 to 1e4.

    `skip` = γ ≥ 0: z′ = γz + b + Wσ(z). To K_αβ′, K_perp′ and K_parallel′ this adds γ² times what they were;
    with `readout` not in the last layer, as where the output has another width.
    `norm` = "rms" or "layer": σ acts on z/√K, so that ⟨σ_α σ_β⟩ is taken at unit variances and the
    correlation 1 − `gap`, and K_parallel′ = γ²K_parallel. If K is 0 it is not defined, and `valid` is false.
    `weights` = "gaussian" or "orthogonal": the same at infinite width.

    Raises TypeError or ValueError for a bad argument.

    >>> flow = eft.pair_flow("tanh", 1.5, 4, [1.0, 0.0], [0.5, 1.0])
    >>> print(flow.K_ab.round(4))
    [0.375  0.2308 0.177  0.15  ]
    """
    block, gamma = checked_block(skip, norm, weights, readout)
    act, depth, cw_, cb_, skips, first = _prepared(act, cw, depth, xa, xb, cb, K1, block, gamma)
    return _exact(depth, block.norm is not None, pair_source(act, cw_.dtype), cw_, cb_, first, skips)


def expanded_pair_flow(
    act: ActivationLike,
    cw: ArrayLike,
    depth: int,
    xa: ArrayLike,
    xb: ArrayLike,
    *,
    cb: ArrayLike = 0.0,
    K1: ArrayLike | None = None,
    skip: ArrayLike = 0.0,
    readout: bool = False,
    norm: str | None = None,
    weights: str = "gaussian",
) -> ExpandedPairFlow:
    """The flow of two inputs expanded about their midpoint; arguments as for `pair_flow`.

        K_mid′ = C_b + C_W g(K_mid),   K_parallel′ = χ∥ K_parallel,   K_perp′ = χ⊥ K_perp + h K_parallel²,

    h = ½ dχ⊥/dK (PDLT chapter 5). With δ the separation of the inputs, the errors of K_mid, K_parallel and
    K_perp are O(δ²), O(δ³) and O(δ⁴) if σ is smooth; if it has a kink, that of K_perp is larger.

    With a skip, χ∥ and χ⊥ contain γ², and h does not; with normalization χ∥ = γ², χ⊥ = γ² + C_W⟨σ′²⟩_1/K
    and h = −¼C_W⟨σ′²⟩_1/K².

    >>> flow = eft.expanded_pair_flow("tanh", 1.5, 4, [1.0, 0.0], [0.99, 0.1])
    >>> print(flow.K_perp.round(6))
    [0.001894 0.001469 0.001295 0.001217]
    """
    block, gamma = checked_block(skip, norm, weights, readout)
    act, depth, cw_, cb_, _, first = _prepared(act, cw, depth, xa, xb, cb, K1, block, gamma)
    K_aa, K_bb, K_parallel, K_perp, _ = first
    middle = K_aa / 2 + K_bb / 2 - K_perp
    if not block.remembers:
        flow = kernel_flow(act, cw_, depth, K1=middle, cb=cb_)
    else:
        flow = diagonal(act, cw_, depth, block, gamma, K1=middle, cb=cb_)

    moments = source(act, cw_.dtype)

    def chi_perp(K):
        return cw_[..., None] * evaluated(moments, K).slope2

    if block.norm:
        size = jnp.where(flow.K > 0, flow.K, jnp.inf)
        h = -chi_perp(jnp.ones_like(flow.K)) / size**2 / 4
    else:
        h = jax.jvp(chi_perp, (flow.K,), (jnp.ones_like(flow.K),))[1] / 2
    factors = (flow.chi_parallel, flow.chi_perp, h)
    K_parallel, K_perp = _expanded(K_parallel, K_perp, factors)
    return ExpandedPairFlow(flow.K, K_parallel, K_perp, *factors, flow.valid & jnp.isfinite(K_perp))


@compiled()
def _expanded(K_parallel, K_perp, factors) -> tuple[jax.Array, jax.Array]:
    def layer(now, factors):
        K_parallel, K_perp = now
        chi_parallel, chi_perp, h = factors
        return (chi_parallel * K_parallel, chi_perp * K_perp + h * K_parallel**2), now

    _, (K_parallel, K_perp) = lax.scan(
        layer, (K_parallel, K_perp), jax.tree.map(lambda a: jnp.moveaxis(a, -1, 0), factors)
    )
    return jnp.moveaxis(K_parallel, 0, -1), jnp.moveaxis(K_perp, 0, -1)


def _prepared(act, cw, depth, xa, xb, cb, K1, block: Block, gamma):
    """The checked arguments, γ² of every step, and K_aa, K_bb, K_parallel, K_perp and K_ab of layer 1."""
    act = analysed(act)
    depth = arguments.positive_int("depth", depth, maximum=arguments.MAX_DEPTH)
    a, b = _input("xa", xa), _input("xb", xb)
    if a.shape != b.shape:
        raise ArgumentError(f"xa and xb must have the same shape (n0,); got {a.shape} and {b.shape}")
    given = {"cw": arguments.nonnegative("cw", cw), "cb": arguments.nonnegative("cb", cb)}
    given |= {} if K1 is None else {"K1": arguments.nonnegative("K1", K1)}
    cw_, cb_, *more = arguments.broadcast({**given, "skip": gamma} if block.residual else given)
    own, gammas = (more[:0], more) if K1 is None else (more[:1], more[1:])
    skips = block.by_layer(gammas[0], depth) ** 2 if gammas else None
    cw_, cb_, a, b, *own = arguments.host_arrays(cw_, cb_, a, b, *own)
    scale, offset = (own[0], own[0] * 0) if own else (cw_, cb_)
    a, b = a.astype(cw_.dtype), b.astype(cw_.dtype)
    with np.errstate(all="ignore"):
        products = a * a, b * b, (a - b) * (a + b), (a - b) ** 2, a * b
        aa, bb, parallel, perp, ab = arguments.host_arrays(*map(jnp.mean, products))
        sizes = offset + scale * aa, offset + scale * bb
        first = *sizes, scale * parallel / 2, scale * perp / 4, offset + scale * ab
    return act, depth, cw_, cb_, skips, first


def _input(name: str, value: object) -> jax.Array:
    x = arguments.real_array(name, value)
    if x.ndim != 1 or not x.size or not (isinstance(x, Tracer) or np.isfinite(np.asarray(x)).all()):
        raise ArgumentError(
            f"{name} must be one input of shape (n0,), finite; got shape {x.shape}: {arguments.shown(value)}"
        )
    return x


_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)


@compiled(0, 1)
def _exact(depth: int, normalized: bool, pairs: PairSource, cw, cb, first, skips) -> PairFlow:
    def moments(K_aa, K_bb, K_parallel):
        """Those at K_aa and K_bb, and g(K_aa) − g(K_bb), for close K as ∫g′dK by Gauss–Legendre."""
        start, change = constant((K_bb, K_parallel))
        share, w = (
            jnp.asarray(a / 2, K_aa.dtype).reshape(-1, *K_aa.ndim * (1,)) for a in (_NODES + 1, _WEIGHTS)
        )
        between = start[None] + 2 * change[None] * share
        m = pairs.moments(jnp.concatenate([K_aa[None], K_bb[None], between]))
        m_a, m_b, slopes = (jax.tree.map(lambda a, i=i: a[i], m) for i in (0, 1, slice(2, None)))
        near = jnp.abs(K_parallel) < CLOSE_SIZES * (K_aa + K_bb)
        direct = constant(m_a.g) - constant(m_b.g)
        difference = jnp.where(near, 2 * constant(K_parallel) * constant(jnp.sum(slopes.dg * w, 0)), direct)
        return m_a, m_b, attached(difference, (m_a.dg, -m_b.dg), (K_aa, K_bb))

    def at_unit_variance(K_ab, size, gap):
        """g(1), and the expectations at the correlation K_ab/√(K_aa K_bb) = 1 − gap."""
        one = jnp.ones_like(gap)
        m = pairs.moments(one)
        pair = pair_moments(pairs, one, one, jnp.zeros_like(one), gap, (one, one, K_ab / size), (m, m))
        return m, m, jnp.zeros_like(one), pair

    def layer(now, skip2):
        K_aa, K_bb, K_parallel, K_perp, K_ab, valid = now
        M = (K_aa + K_bb) / 2
        a, b = (jnp.sqrt(jnp.where(K > 0, K, 1.0)) for K in (K_aa, K_bb))
        a, b = jnp.where(K_aa > 0, a, 0.0), jnp.where(K_bb > 0, b, 0.0)
        size = jnp.where(a * b > 0, a * b, 1.0)
        difference = 2 * K_parallel / jnp.where(a + b > 0, a + b, 1.0)
        # for close inputs K_ab is computed from the distance, for others the distance from K_ab
        close = a * b >= 4 * K_perp
        K_ab = jnp.where(close, M - 2 * K_perp, K_ab)
        K_perp = jnp.where(close, K_perp, (M - K_ab) / 2)
        gap = jnp.where(close, (4 * K_perp - difference**2) / (2 * size), 1 - K_ab / size)
        gap = correlated(a, b, jnp.clip(gap, 0.0, 2.0))
        if normalized:
            m_a, m_b, change, pair = at_unit_variance(K_ab, size, gap)
            valid = valid & (a * b > 0)
        else:
            m_a, m_b, change = moments(K_aa, K_bb, K_parallel)
            pair = pair_moments(pairs, a, b, difference, gap, (K_aa, K_bb, K_ab), (m_a, m_b))
        after = (
            cb + cw * m_a.g,
            cb + cw * m_b.g,
            cw * change / 2,
            cw * pair.distance / 4,
            cb + cw * pair.product,
        )
        if skips is not None:
            before = K_aa, K_bb, K_parallel, K_perp, K_ab
            after = tuple(skip2 * K + K_next for K, K_next in zip(before, after, strict=True))
        error = jnp.maximum(pair.error, jnp.maximum(m_a.error, m_b.error))
        record = PairFlow(
            K_aa, K_ab, K_bb, M - K_perp, K_parallel, K_perp, gap, valid & (error <= tolerance(M.dtype))
        )
        sound = jnp.isfinite(after[0] + after[1]) & (after[0] >= 0) & (after[1] >= 0)
        return (*after, record.valid & sound), record

    valid = jnp.isfinite(first[0] + first[1]) & jnp.isfinite(first[3])
    _, flow = lax.scan(layer, (*first, valid), skips, length=depth)
    return jax.tree.map(lambda a: jnp.moveaxis(a, 0, -1), flow)
