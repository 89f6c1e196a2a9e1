"""The posterior of networks of finite width with one output, to first order in 1/n."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import cho_solve
from jax.typing import ArrayLike
from jaxtyping import Bool, Float

from eft import arguments
from eft.activations.definition import ActivationLike
from eft.activations.programs import compiled
from eft.arguments import ArgumentError
from eft.finite_width.layer_expectations import pair_index
from eft.finite_width.vertex import MAX_INPUTS, vertex_flow
from eft.flows.gram import check_same_n0, checked_inputs, checked_number
from eft.flows.regression import checked_targets, cholesky_with_jitter, condition_number
from eft.records import METHODS
from eft.training.kernels import is_variance


class WidthPosterior(NamedTuple):
    """The posterior of one output at m test inputs, at width n; each field is the sum of its orders.

    `mean`: (m,). `variance`: (m,) of the output, without the noise of the targets.
    `log_likelihood`: () log p(Y), the evidence.
    `mean_shift`, `variance_shift`: (m,), `log_likelihood_shift`: (): the parts of order 1/n; 0 at order 0.
    `jitter`: () what was added to the kernel's diagonal, besides `noise`, for the Cholesky factorization to
        succeed.
    `condition`: () condition number of K_DD + s², estimated from below.
    `valid`: bool, (): everything is finite, the expectations of `vertex_flow` are accurate, there is no
        jitter, on which the evidence would depend, and no variance is negative, as it may be at order 1
        where the width is too small.
    """

    mean: Float[jax.Array, "m"]
    variance: Float[jax.Array, "m"]
    log_likelihood: Float[jax.Array, ""]
    mean_shift: Float[jax.Array, "m"]
    variance_shift: Float[jax.Array, "m"]
    log_likelihood_shift: Float[jax.Array, ""]
    jitter: Float[jax.Array, ""]
    condition: Float[jax.Array, ""]
    valid: Bool[jax.Array, ""]

    __repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS


@arguments.also_named(x="X", x_test="X_test")
@arguments.untraced
def finite_width_posterior(
    act: ActivationLike,
    cw: ArrayLike,
    depth: int,
    X: ArrayLike,
    Y: ArrayLike,
    X_test: ArrayLike,
    *,
    width: int | None = None,
    widths: Sequence[int] | None = None,
    order: int = 1,
    noise: ArrayLike = 0.0,
    cb: ArrayLike = 0.0,
    K1: ArrayLike | None = None,
    skip: ArrayLike = 0.0,
    readout: bool = True,
    weights: str = "gaussian",
) -> WidthPosterior:
    """Bayesian posterior of networks of width n with one output, to first order in 1/n.

    The prior of the outputs at the inputs A is Gaussian with covariance K + G1/n, and its fourth cumulant is
    V_ABCD/n = (V_(AB)(CD) + V_(AC)(BD) + V_(AD)(BC))/n, n = n_{L−1}. With C = K_DD + s², u_D = C⁻¹Y, u_* = 0,
    q_* = 1, q_D = −C⁻¹K_D*, and C⁻¹ taken as 0 at the test input,

        E[z_*|Y]   = K_*D u_D  +  (1/n) q_A [G1_AB u_B + ⅙ V_ABCD (u_B u_C u_D − 3u_B C⁻¹_CD)]
        Var[z_*|Y] = K_** − K_*D C⁻¹ K_D*  +  (1/n) q_A q_B [G1_AB + ½ V_ABCD (u_C u_D − C⁻¹_CD)]
        log p(Y)   = −½ Yᵀu − ½ log det 2πC  +  (1/n) {½ G1_AB (u_A u_B − C⁻¹_AB)
                     + V_ABCD (u_A u_B u_C u_D − 6u_A u_B C⁻¹_CD + 3C⁻¹_AB C⁻¹_CD)/24}

    with sums over repeated inputs. At infinite width the variance does not depend on Y. At finite width it
    does: targets larger than the prior expects say that the kernel of this network is larger than its mean.

    `X`: (n_D, n₀); with `X_test`, (m, n₀), at most 8 different inputs. `Y`: (n_D,) or (n_D, 1). `width`: n of
    all hidden layers, or `widths` = (n₁, …, n_{L−1}). `order`: 0 for infinite width, or 1. `noise` = s² ≥ 0.
    `cb`, `K1`, `skip`, `weights`: as for `vertex_flow`; the last layer has no skip unless `readout` is false.

    The relative error of what is left out is of order 1/n², times powers of depth and of YᵀC⁻¹Y: the shifts
    must be small beside the leading terms. A large `condition` makes them large.

    Raises TypeError or ValueError for a bad argument, or if σ jumps.

    >>> post = eft.finite_width_posterior("linear", 1.0, 3, [[1.0]], [2.0], [[0.5]], width=64, noise=0.1)
    >>> print(post.mean.round(4), post.mean_shift.round(4), post.variance.round(4))
    [0.9106] [0.0015] [0.0232]
    """
    rows, test = checked_inputs("X", X), checked_inputs("X_test", X_test)
    check_same_n0(rows, "X_test", test)
    targets, s2 = checked_targets(Y, len(rows)), checked_number("noise", noise)
    if targets.size != len(rows):
        raise ArgumentError(f"Y must have one output, shape ({len(rows)},); got {targets.shape}")
    depth = arguments.positive_int("depth", depth, maximum=10_000)
    if isinstance(order, bool) or not isinstance(order, int | np.integer) or order not in (0, 1):
        raise ArgumentError(f"order must be 0 or 1; got {arguments.shown(order)}")
    sizes = arguments.hidden_widths(width, widths, depth)
    x = jnp.concatenate([rows, test.astype(rows.dtype)])
    different = len(np.unique(np.asarray(x), axis=0))
    if different > MAX_INPUTS:
        raise ArgumentError(
            f"X and X_test together must hold at most {MAX_INPUTS} different inputs; got {different}. Give "
            "the test inputs a few at a time"
        )
    flow = vertex_flow(
        act, cw, depth, x, cb=cb, K1=K1, widths=sizes, skip=skip, readout=readout, weights=weights
    )
    dtype = flow.K.dtype
    over_n = order / sizes[-1] if sizes else 0.0
    last = (jnp.asarray(a[-1]) for a in (flow.K, flow.V, flow.G1))
    post = _posterior(*last, targets.ravel().astype(dtype), s2.astype(dtype), jnp.asarray(over_n, dtype))
    return post._replace(valid=post.valid & flow.valid[-1])


@compiled()
def _posterior(K, V, G1, Y, s2, over_n) -> WidthPosterior:
    n, N = len(Y), len(K)
    C = K[:n, :n] + s2 * jnp.eye(n, dtype=K.dtype)
    L, jitter = cholesky_with_jitter(C)
    inverse = cho_solve((L, True), jnp.eye(n, dtype=K.dtype))
    u = cho_solve((L, True), Y)
    B = cho_solve((L, True), K[:n, n:]).T
    mean = B @ Y
    variance = jnp.diagonal(K)[n:] - jnp.sum(B * K[n:, :n], 1)
    log_det = 2 * jnp.sum(jnp.log(jnp.diagonal(L)))
    evidence = -(Y @ u + log_det + n * jnp.log(2 * jnp.pi).astype(K.dtype)) / 2

    index = pair_index(N)
    V = V[index][:, :, index]  # V_(AB)(CD)
    V = V + jnp.swapaxes(V, 1, 2) + jnp.transpose(V, (0, 3, 2, 1))
    q = jnp.concatenate([-B, jnp.eye(N - n, dtype=K.dtype)], 1)
    VD = V[:, :, :n, :n]
    pairs = jnp.outer(u, u) - inverse
    seen = jnp.einsum("abcd,cd->ab", VD, pairs)  # V_ABCD (u_C u_D − C⁻¹_CD)
    cubic = jnp.einsum("abcd,cd->ab", VD, jnp.outer(u, u) - 3 * inverse)[:, :n] @ u
    first = q @ (G1[:, :n] @ u + cubic / 6)
    second = jnp.sum((q @ (G1 + seen / 2)) * q, 1)
    VDD = VD[:n, :n]
    quartic = jnp.einsum("abcd,ab,cd->", VDD, jnp.outer(u, u) - 6 * inverse, jnp.outer(u, u))
    quartic = quartic + 3 * jnp.einsum("abcd,ab,cd->", VDD, inverse, inverse)
    third = jnp.sum(G1[:n, :n] * pairs) / 2 + quartic / 24

    shifts = over_n * first, over_n * second, over_n * third
    sums = mean + shifts[0], variance + shifts[1], evidence + shifts[2]
    finite = jnp.isfinite(jnp.concatenate([sums[0], sums[1], sums[2][None]])).all()
    valid = finite & (jitter == 0) & is_variance(sums[1], jnp.diagonal(K))
    return WidthPosterior(*sums, *shifts, jitter, condition_number(C, L), valid)
