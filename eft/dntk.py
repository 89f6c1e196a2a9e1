"""The differential of the neural tangent kernel, at one input: how Θ̂ begins to move in training."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from eft import arguments
from eft.activations import Activation, as_activation, moments, slopes
from eft.flow import saturated
from eft.gaussian import Function
from eft.ntk import ntk_flow, width_ratios


class DNTKFlow(NamedTuple):
    """dΘ̂_i₀i₁i₂ = Σ_μν λ_μλ_ν ∂²z_i₀/∂θ_μ∂θ_ν ∂z_i₁/∂θ_μ ∂z_i₂/∂θ_ν between neurons of a layer.

    Its mean is 0; it is correlated with the pre-activations, 0 … 3 four neurons:

        E[dΘ̂_012 z_3] = (δ₀₃δ₁₂ P + (δ₀₁δ₂₃ + δ₀₂δ₁₃) Q)/n + O(1/n²)

    Every field has shape batch + (depth,); index 0 is layer 1. n is n_{l−1}.
    """

    K: jax.Array  # kernel at infinite width
    Theta: jax.Array  # NTK at infinite width
    B: jax.Array  # of `ntk_flow`
    F: jax.Array
    P: jax.Array
    Q: jax.Array
    valid: jax.Array  # bool: all of these and the quadrature are right here and at every layer before
    error: jax.Array  # estimated relative error of the Gaussian expectations at this layer


def dntk_flow(
    act: "str | Activation | Function",
    cw: object,
    depth: int,
    *,
    cb: object = 0.0,
    lambda_w: object = 1.0,
    lambda_b: object = 1.0,
    x2: object = 1.0,
    K1: object = None,
    widths: Sequence[int] | None = None,
) -> DNTKFlow:
    """P and Q of every layer of a network at initialization, at one input.

    After a step of gradient descent of size η on a loss ℓ, Θ̂_12 has changed by
    −η Σ_i (dΘ̂_12i + dΘ̂_21i) ∂ℓ/∂z_i. With Ω = λ_W σ² + C_W Θ σ′², ⟨Ω⟩_K at fixed Θ and r = n_l/n_{l−1}:

        P′ = C_W²⟨σσ′²σ″⟩Θ² + r [χ⊥(χ∥ − χ⊥) B + χ∥χ⊥ P]
        Q′ = C_W²⟨σσ′²σ″⟩Θ² + λ_W C_W⟨σ²σ′²⟩Θ + r [χ∥⟨Ω⟩_K F + χ∥χ⊥ Q]

    both 0 at layer 1 (docs/ntk.md; PDLT chapter 11, scaled by the width). Arguments, accuracy, errors and
    differentiability as of `ntk_flow`. P of ReLU and its like is 0.
    """
    act = as_activation(act)
    flow = ntk_flow(act, cw, depth, cb=cb, lambda_w=lambda_w, lambda_b=lambda_b, x2=x2, K1=K1, widths=widths)
    given = {"cw": cw, "lambda_w": lambda_w}
    cw_, lw = (jnp.asarray(arguments.real_array(name, value), flow.K.dtype) for name, value in given.items())
    tables = act.table(flow.K.dtype), act.slope_table(flow.K.dtype)
    ratios = jnp.asarray(width_ratios(widths, depth), flow.K.dtype)
    P, Q, whole = _flow(act.closed_form, act.slope_form, tables, flow, cw_[..., None], lw[..., None], ratios)
    return DNTKFlow(flow.K, flow.Theta, flow.B, flow.F, P, Q, flow.valid & whole, flow.error)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _flow(closed_form, slope_form, tables, flow, cw, lw, ratios) -> tuple[jax.Array, jax.Array, jax.Array]:
    m, p = moments(closed_form, tables[0], flow.K), slopes(slope_form, tables[1], flow.K)
    c = cw * flow.Theta
    parallel, perp = cw * m.dg, cw * p.s
    bend = c * c * p.bend
    fresh = bend, bend + lw * (c * p.cross)
    handed = perp * (parallel - perp) * flow.B, parallel * (lw * m.dg + c * p.ds) * flow.F
    rows = jax.tree.map(lambda a: jnp.moveaxis(a, -1, 0), (fresh, handed, parallel * perp))

    def layer(now, at):
        (fresh, handed, factor), r = at
        after = (saturated(f + r * (h + factor * X)) for f, h, X in zip(fresh, handed, now, strict=True))
        return tuple(after), now

    zero = jnp.zeros_like(rows[2][0])
    _, found = lax.scan(layer, (zero, zero), (rows, ratios))
    P, Q = (jnp.moveaxis(a, 0, -1) for a in found)
    most = jnp.finfo(P.dtype).max
    return P, Q, lax.cummin(((abs(P) < most) & (abs(Q) < most)).astype(jnp.int8), axis=P.ndim - 1) > 0
