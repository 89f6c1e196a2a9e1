"""Networks of finite width with one output in training: mean and variance to first order in 1/n."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Bool, Float

from eft import arguments
from eft.activations.analysis import analysed
from eft.activations.definition import ActivationLike
from eft.activations.programs import compiled
from eft.arguments import ArgumentError
from eft.finite_width.dntk import checked_smooth, dntk_flow
from eft.finite_width.layer_expectations import pair_index
from eft.finite_width.ntk_gram import MAX_INPUTS
from eft.finite_width.vertex import vertex_flow
from eft.flows.gram import check_same_n0, checked_inputs
from eft.flows.regression import checked_targets
from eft.records import METHODS
from eft.training.ensemble import trained_ensemble
from eft.training.kernels import Training, checked_training, is_variance, modes
from eft.training.nested import nested_exponentials


class WidthOutputs(NamedTuple):
    """The output at n inputs, over networks drawn independently; `*t` is the shape of the times.

    `mean`, `variance`: (*t, n), each the sum of its orders.
    `mean_shift`, `variance_shift`: (*t, n), their parts of order 1/n; 0 at order 0.
    """

    mean: Float[jax.Array, "*t n"]
    variance: Float[jax.Array, "*t n"]
    mean_shift: Float[jax.Array, "*t n"]
    variance_shift: Float[jax.Array, "*t n"]

    __repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS


class WidthTraining(NamedTuple):
    """An ensemble of networks of finite width in training.

    `t`: the times, of any shape.
    `train`, `test`: the output at the training and test inputs; `test` is None if there are none.
    `valid`: bool, (*t): everything is finite, the kernels and expectations are accurate, and neither an
        eigenvalue of Θ_DD is negative beyond round-off nor a variance, as it may be at order 1 where the
        width is too small.
    """

    t: Float[jax.Array, "*t"]
    train: WidthOutputs
    test: WidthOutputs | None
    valid: Bool[jax.Array, "*t"]

    __repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS


class Kernels(NamedTuple):
    """Of one output f at N inputs: mean and fluctuations at initialization, with O(1/n²) left out.

    With f′ = −Θ̂ε/N_D, D_c = Σ λ_μ ∂_μ f_c ∂_μ and ΔΘ = Θ̂ − Θ:

    `K`, `K1`: (N, N), E[f_a f_b] = K + K1/n. `Theta`, `Theta1`: (N, N), E[Θ̂_ab] = Theta + Theta1/n.
    `pairs`: (N, N, N, N), Cov(Θ̂_ab, Θ̂_cd) = pairs_abcd/n.
    `mixed`: (N, N, N, N), E[f_a f_b ΔΘ_cd] = K_ab Theta1_cd/n + mixed_abcd/n.
    `first`: (N, N, N, N), E[D_cΘ̂_ab f_d] = first_abcd/n.
    `second`: (N, N, N, N), E[D_dD_cΘ̂_ab] = second_abcd/n.
    """

    K: Float[jax.Array, "N N"]
    K1: Float[jax.Array, "N N"]
    Theta: Float[jax.Array, "N N"]
    Theta1: Float[jax.Array, "N N"]
    pairs: Float[jax.Array, "N N N N"]
    mixed: Float[jax.Array, "N N N N"]
    first: Float[jax.Array, "N N N N"]
    second: Float[jax.Array, "N N N N"]


@arguments.also_named(x="X", x_test="X_test")
@arguments.untraced
def finite_width_training(
    act: ActivationLike,
    cw: ArrayLike,
    depth: int,
    X: ArrayLike,
    Y: ArrayLike,
    X_test: ArrayLike | None = None,
    *,
    t: ArrayLike,
    width: int | None = None,
    widths: Sequence[int] | None = None,
    order: int = 1,
    cb: ArrayLike = 0.0,
    K1: ArrayLike | None = None,
    lambda_w: ArrayLike = 1.0,
    lambda_b: ArrayLike = 1.0,
) -> WidthTraining:
    """Mean and variance of one output in gradient flow, over networks of width n, to first order in 1/n.

    With ε = f_D − Y and D_c = Σ λ_μ ∂_μf_c ∂_μ, networks of any width obey, τ = t/n_D,

        df_a/dτ = −Θ̂_ab ε_b,    dΘ̂_ab/dτ = −D_cΘ̂_ab ε_c,    d(D_cΘ̂_ab)/dτ = −D_dD_cΘ̂_ab ε_d,    …

    and what follows is O(1/n²). With ξ = Θ̂ − Θ, D_cΘ̂ and D_dD_cΘ̂ at t = 0, G(τ) the response of the outputs
    to those at t = 0 at infinite width, ε(τ) = Gε(0), integrals over τ > τ₁ > τ₂ > τ₃ > 0, G′ = G(τ−τ₁),
    G″ = G(τ₁−τ₂), and sums over repeated inputs,

        f(τ) = f⁽⁰⁾(τ) − ∫G′ ξ ε(τ₁) + ∫∫G′ ξ G″ ξ ε(τ₂)
                 + ∫∫G′ D_cΘ̂ ε_c(τ₂) ε(τ₁) − ∫∫∫G′ D_dD_cΘ̂ ε_d(τ₃) ε_c(τ₂) ε(τ₁)

    is averaged with E[f f] = K + G1/n, E[ξ] = Θ1/n, E[ξ ξ] from A and B, E[f f ξ] from D and F, and E[D_cΘ̂ f]
    and E[D_dD_cΘ̂] from `dntk_flow`. All integrals are exact (docs/training.md; at t = ∞ PDLT chapter ∞).

    Loss and time are those of `train_flow`: ½(f − Y)² averaged over the n_D samples. `X`: (n_D, n₀), `Y`:
    (n_D,) or (n_D, 1), `X_test`: (m, n₀), any number of them; X holds at most 3 different inputs, or 4
    without other test inputs. `t` ≥ 0, of any shape, ∞ included. `width`: n of all hidden layers, or
    `widths` = (n₁, …, n_{L−1}). `order`: 0 for infinite width, or 1. The rest as for `dntk_flow`: σ must be
    smooth, the network a plain one.

    What is left out is of order 1/n², times powers of depth and of the targets: the shifts must be small
    beside the leading terms. The shifts themselves are as accurate as the expectations, 1e-6 or better, times
    the condition number of Θ_DD.

    Raises TypeError or ValueError for a bad argument, and if σ has a kink.

    >>> settings = {"t": [0.0, 2.0, jnp.inf], "width": 64, "cb": 0.1}
    >>> flow = eft.finite_width_training("erf", 1.5, 3, [[1.0], [-0.3]], [1.0, 0.5], [[0.4]], **settings)
    >>> print(flow.test.mean[:, 0].round(4), flow.test.mean_shift[:, 0].round(4))
    [0.     0.8984 0.9197] [ 0.    -0.005 -0.001]
    >>> print(flow.test.variance[:, 0].round(4), flow.test.variance_shift[:, 0].round(4))
    [0.5978 0.0601 0.0521] [-0.0011 -0.0023 -0.0038]
    """
    act = checked_smooth(analysed(act))
    rows = checked_inputs("X", X)
    test = None if X_test is None else checked_inputs("X_test", X_test)
    if test is not None:
        check_same_n0(rows, "X_test", test)
    targets = checked_targets(Y, len(rows))
    if targets.size != len(rows):
        raise ArgumentError(f"Y must have one output, shape ({len(rows)},); got {targets.shape}")
    training = checked_training(t, None, 0.0, rows.dtype)
    depth = arguments.positive_int("depth", depth, maximum=10_000)
    if isinstance(order, bool) or not isinstance(order, int | np.integer) or order not in (0, 1):
        raise ArgumentError(f"order must be 0 or 1; got {arguments.shown(order)}")
    sizes = arguments.hidden_widths(width, widths, depth)
    groups = _groups(rows, test)
    over_n = jnp.asarray(order / sizes[-1] if sizes else 0.0, rows.dtype)
    settings = {"cb": cb, "K1": K1, "lambda_w": lambda_w, "lambda_b": lambda_b, "widths": sizes}
    Y1 = targets.ravel().astype(rows.dtype)
    found = [_trained(act, cw, depth, x, Y1, training, over_n, settings) for x in groups]
    train = found[0][0]
    tests = [each[1] for each in found]
    joined = (
        None if test is None else WidthOutputs(*(jnp.concatenate(a, -1) for a in zip(*tests, strict=True)))
    )
    valid = functools.reduce(jnp.logical_and, (each[2] for each in found))
    return WidthTraining(training.t, train, joined, valid)


def _groups(rows: jax.Array, test: jax.Array | None) -> list[jax.Array]:
    """The training inputs, each time followed by as many test inputs as the flows allow."""
    different = len(np.unique(np.asarray(rows), axis=0))
    if test is None:
        groups = [rows]
    else:
        count = max(1, MAX_INPUTS - different)
        parts = (test[i : i + count] for i in range(0, len(test), count))
        groups = [jnp.concatenate([rows, part.astype(rows.dtype)]) for part in parts]
    for group in groups:
        if len(np.unique(np.asarray(group), axis=0)) > MAX_INPUTS:
            raise ArgumentError(
                f"X must hold at most {MAX_INPUTS} different inputs, or {MAX_INPUTS - 1} with other test "
                f"inputs; got {different}"
            )
    return groups


def _trained(
    act,
    cw,
    depth,
    x,
    Y,
    training: Training,
    over_n,
    settings,
) -> tuple[WidthOutputs, Any, jax.Array]:
    """At the training inputs, at those after them, and whether both are valid."""
    k, sound = kernels(act, cw, depth, x, **settings)
    wide = trained_ensemble(False, k.K, k.Theta, Y, None, training)
    t = training.t
    mean_shift, variance_shift = (
        (over_n * a).reshape(*t.shape, len(x)) for a in shifts(k, Y, t.ravel() / len(Y))
    )
    n = len(Y)
    train, test = slice(0, n), slice(n, None)

    def outputs(leading, at) -> WidthOutputs:
        shift, spread = mean_shift[..., at], variance_shift[..., at]
        return WidthOutputs(leading.mean + shift, leading.variance + spread, shift, spread)

    first = outputs(wide.train, train)
    second = None if wide.test is None else outputs(wide.test, test)
    finite = jnp.isfinite(mean_shift + variance_shift).all(-1)
    prior = jnp.diagonal(k.K)
    for each, at in ((first, train), (second, test)):
        finite &= True if each is None else is_variance(each.variance, prior[at])
    return first, second, wide.valid & sound & finite


def kernels(
    act: ActivationLike, cw: ArrayLike, depth: int, x: ArrayLike, **settings
) -> tuple[Kernels, jax.Array]:
    """Those of the output, and whether they are valid; `settings` as for `dntk_flow`."""
    flow = dntk_flow(act, cw, depth, x, **settings)
    of_signal = {name: settings[name] for name in ("cb", "K1", "widths") if name in settings}
    vertex = vertex_flow(act, cw, depth, x, **of_signal)
    ntk = jax.tree.map(lambda a: a[-1], flow.ntk)
    index = pair_index(len(ntk.K))
    A, D = (a[index][:, :, index] for a in (ntk.A, ntk.D))

    def crossed(a):
        return jnp.transpose(a, (0, 2, 1, 3)) + jnp.transpose(a, (0, 2, 3, 1))

    found = Kernels(
        ntk.K,
        vertex.G1[-1],
        ntk.Theta,
        ntk.Theta1,
        A + crossed(ntk.B),
        D + crossed(ntk.F),
        flow.dTheta[-1],
        flow.ddTheta[-1],
    )
    return found, flow.valid[-1] & vertex.valid[-1]


@compiled()
def shifts(k: Kernels, Y: jax.Array, times: jax.Array) -> tuple[jax.Array, jax.Array]:
    """n times the corrections of mean and variance at the times τ = t/n_D, (times, N) each; Y: (n_D,)."""
    n = len(Y)
    m = modes((k.Theta[:n, :n] + k.Theta[:n, :n].T) / 2)
    basis = jnp.eye(len(k.K), dtype=k.K.dtype).at[:n, :n].set(m.vectors)
    learned = jnp.ones(len(k.K), k.K.dtype).at[:n].set(m.trained.astype(k.K.dtype))
    y, rotated = m.vectors.T @ Y, _rotated(k, basis, basis * learned[None])
    mean, variance = _moments(rotated, y)

    def at(tau):
        R, *N = responses(rotated.Theta[n:, :n], m.eigenvalues, tau)
        R = R * learned[None] + jnp.diag(1 - learned)
        return basis @ mean(*N), jnp.einsum("ai,ij,aj->a", basis, variance(R, *N), basis)

    return jax.vmap(at)(times)


def _rotated(k: Kernels, basis: jax.Array, moving: jax.Array) -> Kernels:
    """In the eigenbasis of Θ_DD; `moving`: without eigenvectors of λ = 0, of which Θ̂ has round-off alone."""

    def two(a, b):
        return b.T @ a @ b

    def four(a, *axes):
        return jnp.einsum("abcd,ai,bj,ck,dl->ijkl", a, *axes)

    f, t = basis, moving
    return Kernels(
        two(k.K, f), two(k.K1, f), two(k.Theta, t), two(k.Theta1, t), four(k.pairs, t, t, t, t),
        four(k.mixed, f, f, t, t), four(k.first, t, t, t, f), four(k.second, t, t, t, t),
    )  # fmt: skip


def responses(cross: jax.Array, rates: jax.Array, tau: jax.Array) -> list[jax.Array]:
    """R, N¹, N², N³, N⁴ at one time: what a source of f_c has made of f_a, at [a, c, …].

    With eigenvalues λ, the rates, and `cross` = Θ_*D: a source δ(τ) makes R_ac, e^{−λτ} of the eigenvector c;
    one that is e^{−λ_iτ}, N¹_aci; the nested integral with rates (λ_j, λ_k), N²_acjk; with (λ_p, λ_p + λ_q),
    N³_acpq; with (λ_p, λ_p + λ_q, λ_p + λ_q + λ_r), N⁴_acpqr.
    """
    m, n = cross.shape
    p, q, r = rates[:, None, None], rates[None, :, None], rates[None, None]

    def stacked(*each):
        return jnp.stack(jnp.broadcast_arrays(*each), -1)

    def response(chain: jax.Array) -> jax.Array:
        shape = chain.shape[:-1]

        def integral(before):
            """With these rates, (count, …), before those of the chain."""
            lead = before.reshape(len(before), *(1,) * len(shape), -1)
            lead = jnp.broadcast_to(lead, (len(before), *shape, lead.shape[-1]))
            rest = jnp.broadcast_to(chain[None], (len(before), *chain.shape))
            return nested_exponentials(jnp.concatenate([lead, rest], -1), tau)

        zero = jnp.zeros_like(rates)
        train, test = np.arange(n), np.arange(n, n + m)
        found = jnp.zeros((n + m, n + m, *shape), rates.dtype).at[train, train].set(integral(rates[:, None]))
        if m:
            found = found.at[test, test].set(integral(jnp.zeros((1, 1), rates.dtype)))
            coupling = cross.reshape(m, n, *(1,) * len(shape))
            found = found.at[n:, :n].set(-coupling * integral(stacked(zero, rates))[None])
        return found

    chains = (
        jnp.zeros(0, rates.dtype),
        rates[:, None],
        stacked(p[..., 0], q[..., 0]),
        stacked(p[..., 0], (p + q)[..., 0]),
        stacked(p, p + q, p + q + r),
    )
    return [response(chain) for chain in chains]


def _moments(k: Kernels, y: jax.Array) -> tuple[Callable, Callable]:
    """Mean and covariance at order 1/n as functions of the responses; everything in the eigenbasis.

    Averages are those of a Gaussian f of covariance K, and one pair of fluctuations, by Wick's theorem.
    """
    n, sum_ = len(y), jnp.einsum
    D = slice(0, n)
    K, K_D, Theta1 = k.K[D, D], k.K[D], k.Theta1[:, D]
    pairs, first, second = k.pairs[:, D, D, D], k.first[:, D, D], k.second[:, D, D, D]
    E = K + jnp.outer(y, y)  # E[ε_p ε_q]
    squared = sum_("cjjk->cjk", pairs)  # E[ξ_cj ξ_jk]
    inner, outer = sum_("cpqq->cpq", first[..., D]), sum_("cpqp->cpq", first[..., D])
    three = sum_("pq,r->pqr", E, y) + sum_("pr,q->pqr", K, y) + sum_("qr,p->pqr", K, y)  # −E[ε_pε_qε_r]
    with_f = (  # E[ε_pε_qε_r f_d]
        sum_("pd,qr->pqrd", K_D, E) + sum_("qd,pr->pqrd", K_D, E) + sum_("rd,pq->pqrd", K_D, E)
    )
    of_xi = sum_("idci->cid", k.mixed[D, :, :, D]) + sum_("ci,id->cid", Theta1, K_D)  # E[ξ_ci f_i f_d]
    of_first = (  # E[D_qΘ̂_cp ε_q ε_p f_d]
        sum_("cpqd,pq->cpqd", first, E) + sum_("cpq,pd->cpqd", inner, K_D) + sum_("cpq,qd->cpqd", outer, K_D)
    )

    def mean(N1, N2, N3, N4):
        return (
            sum_("aci,ci,i->a", N1, Theta1, y)
            - sum_("acjk,cjk,k->a", N2, squared, y)
            - sum_("acpq,cpq,p->a", N3, inner, y)
            - sum_("acpq,cpq,q->a", N3, outer, y)
            + sum_("acpqr,cpqr,pqr->a", N4, second, three)
        )

    def variance(R, N1, N2, N3, N4):
        with_start = (
            sum_("acjk,cjk,kd->ad", N2, squared, K_D)
            - sum_("aci,cid->ad", N1, of_xi)
            + sum_("acpq,cpqd->ad", N3, of_first)
            - sum_("acpqr,cpqr,pqrd->ad", N4, second, with_f)
        ) @ R.T
        own = sum_("aci,bej,ciej,ij->ab", N1, N1, k.pairs[:, D, :, D], E)
        return R @ k.K1 @ R.T + with_start + with_start.T + own

    return mean, variance
