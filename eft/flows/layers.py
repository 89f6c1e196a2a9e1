"""Layers that are not plain: skip connections, and normalization before the activation.

    z^{l+1} = γz^l + b^{l+1} + W^{l+1}σ(ẑ^l),    ẑ = z, or z/√(mean of z² over the layer's neurons)

At infinite width the mean is K, with or without the mean of z subtracted first: σ acts on variables of unit
variance and of correlation ρ_ab = K_ab/√(K_aa K_bb). Orthogonal weights have the limit of Gaussian ones.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from eft import arguments
from eft.activations.analysis import analysed
from eft.activations.definition import ActivationLike
from eft.arguments import ArgumentTypeError
from eft.flows.kernel import saturated, warn
from eft.gaussian.expectation import tolerance
from eft.gaussian.sources import Source, source
from eft.programs import compiled

NORMS = (None, "rms", "layer")
"""Kinds of normalization; the last two are the same at infinite width."""

WEIGHTS = ("gaussian", "orthogonal")
"""Kinds of weights, the same at infinite width."""


def checked_kind(norm: object, weights: object, readout: object) -> tuple[bool, bool]:
    """Whether the layers are normalized, and whether the last one has no skip."""
    arguments.one_of("weights", weights, WEIGHTS)
    if not isinstance(readout, bool | np.bool_):
        raise ArgumentTypeError(f"readout must be True or False; got {arguments.shown(readout)}")
    return arguments.one_of("norm", norm, NORMS) is not None, bool(readout)


def has_skip(skip: object) -> bool:
    """Whether there is a skip connection: not if `skip` is the Python number 0."""
    return not (isinstance(skip, int | float) and skip == 0)


def is_plain(skip: object, norm: str | None) -> bool:
    """Whether the layers are z′ = b + Wσ(z)."""
    return norm is None and not has_skip(skip)


def skip_squares(skip: jax.Array, depth: int, readout: bool) -> jax.Array:
    """γ² of the step from each layer to the next, (depth, …); 0 into layer L if that has no skip."""
    squares = jnp.broadcast_to((skip * skip)[None], (depth, *skip.shape))
    return squares.at[max(depth - 2, 0) :].set(0) if readout else squares


class Diagonal(NamedTuple):
    """The flow of one input at infinite width. Every field has shape batch + (depth,).

    `K`: the kernel.
    `g`: ⟨σ²⟩ at K, or at unit variance.
    `chi_parallel`, `chi_perp`: χ∥ and χ⊥.
    `valid`: bool, whether the moments are accurate and K in range, here and at every layer before.
    `error`: estimated relative error of the moments.
    """

    K: jax.Array
    g: jax.Array
    chi_parallel: jax.Array
    chi_perp: jax.Array
    valid: jax.Array
    error: jax.Array


def diagonal(
    act: ActivationLike, cw: object, depth: int, *, cb: object = 0.0, x2: object = 1.0, K1: object = None,
    skip: object = 0.0, norm: str | None = None, readout: bool = False,
) -> Diagonal:  # fmt: skip
    """K and the susceptibilities of one input; arguments as for `kernel_flow` and `pair_flow`.

    K′ = γ²K + C_b + C_W g(K),  χ∥ = γ² + C_W g′(K),  χ⊥ = γ² + C_W⟨σ′²⟩_K
    K′ = γ²K + C_b + C_W g(1),  χ∥ = γ²,              χ⊥ = γ² + C_W⟨σ′²⟩_1/K   if normalized

    An input of K = 0 cannot be normalized, and is not valid.
    """
    act, normalized = analysed(act), norm is not None
    given = {"cw": cw, "cb": cb, "skip": skip} | ({"x2": x2} if K1 is None else {"K1": K1})
    checked = {name: arguments.nonnegative(name, value) for name, value in given.items()}
    cw_, cb_, gamma, first = arguments.broadcast(checked)
    first = cb_ + cw_ * first if K1 is None else first
    skips = skip_squares(gamma, depth, readout) if has_skip(skip) else None
    flow = _diagonal(normalized, depth, source(act, cw_.dtype), cw_, cb_, first, skips)
    warn(flow._replace(K=jnp.ones_like(flow.K)) if normalized else flow, act)
    return flow


@compiled(0, 1)
def _diagonal(normalized: bool, depth: int, moments: Source, cw, cb, K1, skips) -> Diagonal:
    def layer(now, skip2):
        K, valid = now
        m = moments(jnp.ones_like(K) if normalized else K)
        size = jnp.where(K > 0, K, jnp.inf) if normalized else 1.0
        parallel = jnp.zeros_like(K) if normalized else saturated(cw * m.dg)
        jumps = jnp.isinf(m.slope2) & jnp.isfinite(m.g) & (cw > 0)
        perp = jnp.where(jumps, jnp.inf, saturated(cw * m.slope2) / size)
        after = cb + cw * m.g
        if skips is not None:
            parallel, perp, after = parallel + skip2, perp + skip2, after + skip2 * K
        valid = valid & (m.error <= tolerance(K.dtype)) & ((K > 0) | (not normalized))
        record = Diagonal(K, m.g, parallel, perp, valid, m.error)
        still = (after == 0) & ((K == 0) | (cw == 0))
        return (saturated(after), valid & (_in_range(after) | still)), record

    start = saturated(K1), _in_range(K1) | (K1 == 0)
    _, flow = lax.scan(layer, start, skips, length=depth)
    return jax.tree.map(lambda a: jnp.moveaxis(a, 0, -1), flow)


def _in_range(K: jax.Array) -> Any:
    """Whether K is a normal float > 0."""
    info = jnp.finfo(K.dtype)
    return (info.tiny <= K) & (info.max >= K)
