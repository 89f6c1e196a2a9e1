"""Networks of finite width with one output in training: mean and variance to first order in 1/n."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Bool, Float

from eft import arguments
from eft.activations.definition import ActivationLike
from eft.arguments import ArgumentError
from eft.finite_width.dntk import dntk_flow
from eft.finite_width.layer_expectations import pair_index
from eft.finite_width.ntk_gram import MAX_INPUTS
from eft.finite_width.vertex import vertex_flow
from eft.flows.gram import check_same_n0, checked_inputs
from eft.flows.regression import checked_targets
from eft.programs import compiled
from eft.training.kernels import checked_training, modes
from eft.training.nested import nested_exponentials


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


@compiled()
def shifts(k: Kernels, Y: jax.Array, times: jax.Array) -> tuple[jax.Array, jax.Array]:
    """n times the corrections of mean and variance at every time, (times, N) each; Y: (N_D,).

    In the basis of the eigenvectors of Θ_DD, where C_abcd is the covariance of Θ̂_ab and Θ̂_cd.
    """
    m = modes((k.Theta[: len(Y), : len(Y)] + k.Theta[: len(Y), : len(Y)].T) / 2)
    n, N = len(Y), len(k.K)
    basis = jnp.eye(N, dtype=k.K.dtype).at[:n, :n].set(m.vectors)
    learned = jnp.concatenate([m.trained, jnp.ones(N - n, bool)]).astype(k.K.dtype)
    moving = basis * learned[None]  # of what an eigenvector with λ = 0 has none of, but for round-off
    K, G1 = (basis.T @ a @ basis for a in (k.K, k.K1))
    Theta, Theta1 = (moving.T @ a @ moving for a in (k.Theta, k.Theta1))
    still = (basis, basis, moving, moving), (moving, moving, moving, basis)
    pairs, mixed, first, second = (
        jnp.einsum("abcd,ai,bj,ck,dl->ijkl", a, *axes)
        for a, axes in zip(k[4:], (4 * (moving,), *still, 4 * (moving,)), strict=True)
    )
    y, rate = m.vectors.T @ Y, m.eigenvalues
    D, sum_ = slice(0, n), jnp.einsum
    E = K[D, D] + jnp.outer(y, y)  # E[ε_aε_b] at t = 0
    head = K[D]
    covariance, first, second = pairs[:, D, D, D], first[:, D, D], second[:, D, D, D]
    along = sum_("cjjk->cjk", covariance)
    repeated = sum_("cpqq->cpq", first[..., D]), sum_("cpqp->cpq", first[..., D])
    cubic = sum_("p,q,r->pqr", y, y, y)
    cubic = cubic + sum_("pq,r->pqr", K[D, D], y) + sum_("pr,q->pqr", K[D, D], y) + sum_("qr,p->pqr", K[D, D], y)
    three = sum_("pd,qr->pqrd", head, E) + sum_("qd,pr->pqrd", head, E) + sum_("rd,pq->pqrd", head, E)
    of_f = sum_("idci->cid", mixed[D, :, :, D]) + sum_("ci,id->cid", Theta1[:, D], head)
    of_first = first * E[None, :, :, None] + sum_("cpq,pd->cpqd", repeated[0], head)
    of_first = of_first + sum_("cpq,qd->cpqd", repeated[1], head)

    def chain_of(*rates: jax.Array) -> jax.Array:
        return jnp.stack(jnp.broadcast_arrays(*rates), -1)

    p, q, r = rate[:, None, None], rate[None, :, None], rate[None, None]
    none, one, two = jnp.zeros(0, K.dtype), chain_of(rate), chain_of(p[..., 0], q[..., 0])
    grown, twice = chain_of(p[..., 0], (p + q)[..., 0]), chain_of(p, p + q, p + q + r)

    @jax.vmap
    def at(time):
        def response(chain: jax.Array) -> jax.Array:
            """Of f_a to f_c′ = I, the nested integral with the rates on the last axis: at [a, c, …]."""
            shape = chain.shape[:-1]

            def integral(before):
                lead = jnp.reshape(before, (len(before), *(1,) * len(shape), -1))
                lead = jnp.broadcast_to(lead, (len(before), *shape, lead.shape[-1]))
                rest = jnp.broadcast_to(chain[None], (len(before), *chain.shape))
                return nested_exponentials(jnp.concatenate([lead, rest], -1), time)

            train, test = jnp.arange(n), jnp.arange(n, N)
            zero = jnp.zeros_like(rate)
            found = jnp.zeros((N, N, *shape), K.dtype).at[train, train].set(integral(one))
            if n < N:
                found = found.at[test, test].set(integral(jnp.zeros((1, 1), K.dtype)))
                coupling = jnp.reshape(Theta[n:, D], (N - n, n, *(1,) * len(shape)))
                found = found.at[n:, D].set(-coupling * integral(chain_of(zero, rate))[None])
            return found

        R, N1, N2, N3, N4 = map(response, (none, one, two, grown, twice))
        R = R * learned[None] + jnp.diag(1 - learned)
        mean = sum_("aci,ci,i->a", N1, Theta1[:, D], y) - sum_("acjk,cjk,k->a", N2, along, y)
        mean = mean - sum_("acpq,cpq,p->a", N3, repeated[0], y) - sum_("acpq,cpq,q->a", N3, repeated[1], y)
        mean = mean + sum_("acpqr,cpqr,pqr->a", N4, second, cubic)
        crossed = sum_("acjk,cjk,kd->ad", N2, along, head) - sum_("aci,cid->ad", N1, of_f)
        crossed = crossed + sum_("acpq,cpqd->ad", N3, of_first) - sum_("acpqr,cpqr,pqrd->ad", N4, second, three)
        crossed = crossed @ R.T
        own = sum_("aci,bej,ciej,ij->ab", N1, N1, pairs[:, D, :, D], E)
        total = R @ G1 @ R.T + crossed + crossed.T + own
        return basis @ mean, sum_("ai,ij,aj->a", basis, total, basis)

    return at(times)


def kernels(act, cw, depth, x, *, cb, lambda_w, lambda_b, widths):
    flow = dntk_flow(act, cw, depth, x, cb=cb, lambda_w=lambda_w, lambda_b=lambda_b, widths=widths)
    vertex = vertex_flow(act, cw, depth, x, cb=cb, widths=widths)
    n = flow.ntk
    index = pair_index(len(x))
    A, B, D, F = n.A[-1][index][:, :, index], n.B[-1], n.D[-1][index][:, :, index], n.F[-1]
    swapped = lambda a: jnp.einsum("acbd->abcd", a) + jnp.einsum("adbc->abcd", a)
    return Kernels(n.K[-1], vertex.G1[-1], n.Theta[-1], n.Theta1[-1], A + swapped(B), D + swapped(F), flow.dTheta[-1], flow.ddTheta[-1])
