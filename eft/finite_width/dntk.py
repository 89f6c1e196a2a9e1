"""The differentials of the neural tangent kernel at several inputs: how it moves in training."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Bool, Float

from eft import arguments
from eft.activations.analysis import analysed
from eft.activations.definition import Activation, ActivationLike
from eft.activations.derivatives import Array
from eft.activations.programs import compiled
from eft.arguments import ArgumentError
from eft.finite_width.layer_scan import ACCURACY
from eft.finite_width.ntk_gram import NTKGramFlow, at_places, ntk_gram_flow
from eft.flows.gram import checked_inputs, checked_number
from eft.gaussian.lattice import STEPS, Lattice, derivative_products, lattices
from eft.records import METHODS

GOOD = {8: 1e-6, 4: 1e-5}
"""Relative error of the expectations up to which no more nodes are taken, by bytes per number."""


class DNTKFlow(NamedTuple):
    """The flow of n inputs; index 0 of the layer axis is layer 1, and 0, 1, 2, 3 stand for neuron and input.

    With z the pre-activations, n = n_{l−1} the width of the layer before, and the sums over parameters of

        dΘ̂_012 = Σ λ_μλ_ν ∂²_μν z_0 ∂_μ z_1 ∂_ν z_2
        ddΘ̂ᴵ_0123 = Σ λ_μλ_νλ_ρ ∂³_μνρ z_0 ∂_μ z_1 ∂_ν z_2 ∂_ρ z_3
        ddΘ̂ᴵᴵ_0123 = Σ λ_μλ_νλ_ρ ∂²_μν z_0 ∂²_νρ z_1 ∂_μ z_2 ∂_ρ z_3

    where δ_03 is 1 if neurons 0 and 3 are the same, and P_0123 stands at [layer, 0, 1, 2, 3] of P with the
    four inputs, up to O(1/n²):

        E[dΘ̂_012 z_3] = (δ_03 δ_12 P_0123 + δ_01 δ_23 Q_0123 + δ_02 δ_13 Q_0213)/n
        E[ddΘ̂ᴵ_0123] = (δ_01 δ_23 R_0123 + δ_02 δ_13 R_0213 + δ_03 δ_12 R_0312)/n
        E[ddΘ̂ᴵᴵ_0123] = (δ_01 δ_23 S_0123 + δ_02 δ_13 T_0123 + δ_03 δ_12 U_0123)/n

    `P`, `Q`, `R`, `S`, `T`, `U`: (depth, n, n, n, n).
    `dTheta`, `ddTheta`: (depth, n, n, n, n), of one and the same neuron, such as the only output, at inputs
        a, b, c, d: E[D_cΘ̂_ab z_d] = dTheta_abcd/n and E[D_dD_cΘ̂_ab] = ddTheta_abcd/n, D_c = Σ λ_μ ∂_μz_c ∂_μ.
    `ntk`: the record of `ntk_gram_flow` at the same inputs.
    `valid`: bool, (depth,), whether all are finite and `error` ≤ 1e-4 (float32: 1e-3), and `ntk.valid`, here
        and at every layer before.
    `error`: (depth,) difference of the expectations at this layer from those with fewer nodes, relative.
    """

    P: Float[jax.Array, "depth n n n n"]
    Q: Float[jax.Array, "depth n n n n"]
    R: Float[jax.Array, "depth n n n n"]
    S: Float[jax.Array, "depth n n n n"]
    T: Float[jax.Array, "depth n n n n"]
    U: Float[jax.Array, "depth n n n n"]
    dTheta: Float[jax.Array, "depth n n n n"]
    ddTheta: Float[jax.Array, "depth n n n n"]
    ntk: NTKGramFlow
    valid: Bool[jax.Array, "depth"]
    error: Float[jax.Array, "depth"]

    __repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS


@arguments.also_named(x="X")
@arguments.untraced
def dntk_flow(
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
) -> DNTKFlow:
    """P, Q, R, S, T, U of the first and second differentials of the NTK at several inputs, for every layer.

    With Ω_ab = λ_W σ_aσ_b + C_W Θ_ab σ′_aσ′_b, s_ab = C_W⟨σ′_aσ′_b⟩, r = n_l/n_{l−1}, derivatives ∂_a of σ_a
    alone, not of σ_b even if a = b, Θ held fixed, B and F of `ntk_gram_flow`, and sums over the inputs e, f,

        ω_abe = (δ_ea ∂_a + δ_eb ∂_b) ⟨∂_aΩ_ab⟩,   κ_abe = C_W (δ_ea ∂_a + δ_eb ∂_b) ⟨σ′_aσ_b⟩

        P_abcd′ = C_W²⟨σ″_aσ′_bσ′_cσ_d⟩Θ_abΘ_ac + r s_bc [C_W⟨σ″_aσ_d⟩B_aabc + κ_ade P_abce]
        Q_abcd′ = C_W⟨∂_aΩ_ab σ′_cσ_d⟩Θ_ac + r κ_cdf [ω_abe F_eafc + s_ab Q_abcf]
        R_abcd′ = C_W⟨∂_a²Ω_ab σ′_cσ′_d⟩Θ_acΘ_ad + r s_cd [⟨∂_a²Ω_ab⟩B_aacd + ω_abe P_acde + s_ab R_abcd]
        S_abcd′ = C_W⟨∂_a∂_bΩ_ab σ′_cσ′_d⟩Θ_acΘ_bd + r s_cd [⟨∂_a∂_bΩ_ab⟩B_abcd + s_ab S_abcd]
        T_abcd′ = ⟨∂_aΩ_ac ∂_bΩ_bd⟩Θ_ab + r [ω_ace ω_bdf F_eafb + s_bd ω_ace Q_bdae + s_ac ω_bdf Q_acbf
                    + s_ac s_bd T_abcd]
        U_abcd′ = C_W²⟨σ″_aσ″_bσ′_cσ′_d⟩Θ_abΘ_acΘ_bd + r s_ad s_bc U_abcd

    and all six are 0 at layer 1 (PDLT chapter 11, scaled by the width, for several inputs; docs/ntk.md). At
    one input P and Q are those of `ntk_flow`.

    `X`: inputs of shape (n, n₀), at most 4 different ones, which may repeat. σ must be smooth: its third
    derivative is taken. The other arguments are those of `ntk_gram_flow`; the network is a plain one. The
    expectations are accurate to `error` at worst: for tanh at K = 1 1e-14 at up to two different inputs, 1e-8
    at three, 1e-6 at four. Four inputs take some 20 times as long as three.

    Raises TypeError or ValueError for a bad argument, and if σ has a kink.

    >>> flow = eft.dntk_flow("tanh", 1.0, 3, [[1.0]])
    >>> print(flow.R[:, 0, 0, 0, 0].round(4), flow.S[:, 0, 0, 0, 0].round(4))
    [  0.      -4.2253 -13.2947] [0.     2.4471 7.0188]
    """
    act = checked_smooth(analysed(act))
    rows = checked_inputs("X", X)
    inputs, place = np.unique(np.asarray(rows), axis=0, return_inverse=True)
    place = place.ravel()
    ntk = ntk_gram_flow(
        act, cw, depth, inputs, cb=cb, K1=K1, lambda_w=lambda_w, lambda_b=lambda_b, widths=widths
    )
    dtype = ntk.K.dtype
    K, sound = arguments.host_arrays(ntk.K, ntk.valid)
    K = np.where(sound[:, None, None], K, 0.0)
    ratios = jnp.asarray(arguments.width_ratios(widths, int(depth)), dtype)
    given = checked_number("cw", cw), checked_number("lambda_w", lambda_w)
    settings = [arguments.converted(a, dtype) for a in given]

    def computed(step):
        found = _flow(act, lattices(K, step), (ntk.K, ntk.Theta, ntk.B, ntk.F, ratios), *settings)
        return arguments.host_arrays(*found)

    coarse, fine = STEPS[len(inputs)]
    *tensors, error = computed(coarse)
    if not error[sound].max(initial=0.0) <= GOOD[dtype.itemsize]:
        *tensors, error = computed(fine)
    four = (slice(None), *np.ix_(place, place, place, place))
    fields = [a[four] for a in tensors]
    fields += [first_differential(*fields[:2]), second_differential(*fields[2:])]
    good = sound & (error <= ACCURACY[error.dtype.itemsize])
    for a in fields:
        good = good & np.isfinite(a.reshape(len(a), -1)).all(1)
    valid = np.cumprod(good).astype(bool)
    at_inputs = at_places(arguments.host_arrays(*ntk), place)
    return jax.device_put(DNTKFlow._make([*fields, at_inputs, valid, error]))


def first_differential(P: Array, Q: Array) -> Array:
    """That of Θ̂_ab along z_c, D_cΘ̂_ab = dΘ̂_abc + dΘ̂_bac, of one neuron with its z_d."""
    half = P + Q + Q.swapaxes(2, 3)
    return half + half.swapaxes(1, 2)


def second_differential(R: Array, S: Array, T: Array, U: Array) -> Array:
    """D_dD_cΘ̂_ab of one neuron, D_d dΘ̂_abc = ddΘ̂ᴵ_abcd + ddΘ̂ᴵᴵ_abcd + ddΘ̂ᴵᴵ_acbd and the same of dΘ̂_bac."""
    first = R + R.swapaxes(2, 3) + R.transpose(0, 1, 3, 4, 2)
    second = S + T + U
    half = first + second + second.swapaxes(2, 3)
    return half + half.swapaxes(1, 2)


def checked_smooth(act: Activation) -> Activation:
    """The activation; raise if a derivative jumps somewhere."""
    if act.kinks:
        raise ArgumentError(
            f"act must be smooth, as the second differential of the NTK takes three derivatives; "
            f"{act.name} has a kink at {act.kinks[0]:g}"
        )
    return act


@compiled(0)
def _flow(act: Activation, nodes: tuple[Lattice, Lattice], fields, cw, lw):
    n = fields[0].shape[-1]
    one = jnp.eye(n, dtype=fields[0].dtype)
    sum_ = jnp.einsum

    def layer(now, at):
        P, Q, R, S, T, U, _ = now
        K, Theta, B, F, r = at
        m = derivative_products(act, K, nodes)
        two = m.two
        c = cw * Theta
        s, k = cw * two[1, 1], cw * two[2, 0]
        bent = lw * two[2, 0] + c * two[3, 1]  # ⟨∂_a²Ω_ab⟩
        mixed = lw * two[1, 1] + c * two[2, 2]  # ⟨∂_a∂_bΩ_ab⟩
        omega = sum_("ab,ae->abe", bent, one) + sum_("ab,be->abe", mixed, one)
        kappa = sum_("ab,ae->abe", k, one) + sum_("ab,be->abe", s, one)
        double = sum_("abcd,ab,ac,bd->abcd", m.d2211, c, c, Theta)
        triple = sum_("abcd,ab,ac->abcd", m.d2110, c, c)
        after = (
            triple
            + r * sum_("bc,abcd->abcd", s, sum_("ad,aabc->abcd", k, B) + sum_("ade,abce->abcd", kappa, P)),
            triple
            + lw * sum_("acbd,ac->abcd", m.d1100, c)
            + r
            * sum_("cdf,abcf->abcd", kappa, sum_("abe,eafc->abcf", omega, F) + sum_("ab,abcf->abcf", s, Q)),
            sum_("abcd,ab,ac,ad->abcd", m.d3111, c, c, Theta)
            + lw * sum_("acdb,ac,ad->abcd", m.d2110, c, Theta)
            + r
            * sum_(
                "cd,abcd->abcd",
                s,
                sum_("ab,aacd->abcd", bent, B)
                + sum_("abe,acde->abcd", omega, P)
                + sum_("ab,abcd->abcd", s, R),
            ),
            double
            + lw * sum_("abcd,ac,bd->abcd", m.d1111, c, Theta)
            + r * sum_("cd,abcd->abcd", s, sum_("ab,abcd->abcd", mixed, B) + sum_("ab,abcd->abcd", s, S)),
            double
            + lw * lw * sum_("abcd,ab->abcd", m.d1100, Theta)
            + lw * sum_("badc,bd,ab->abcd", m.d2110, c, Theta)
            + lw * sum_("abcd,ac,ab->abcd", m.d2110, c, Theta)
            + r
            * (
                sum_("ace,bdf,eafb->abcd", omega, omega, F)
                + sum_("bd,ace,bdae->abcd", s, omega, Q)
                + sum_("ac,bdf,acbf->abcd", s, omega, Q)
                + sum_("ac,bd,abcd->abcd", s, s, T)
            ),
            double + r * sum_("ad,bc,abcd->abcd", s, s, U),
        )
        return (*after, m.error), now

    zero = jnp.zeros((n,) * 4, fields[0].dtype)
    return lax.scan(layer, (*(6 * (zero,)), jnp.zeros((), zero.dtype)), fields)[1]
