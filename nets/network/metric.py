"""Networks at initialization, sampled through the stochastic metric: exact at any width, and without weights.

Of networks with Gaussian weights and without skip: given layer l, the neurons of layer l+1 are independent
N(0, Ĝ^{l+1}) with Ĝ^{l+1} = C_b + (C_W/n_l) Σ_j σ(N(z)_j)². Sampling them takes n_l random numbers per layer
in place of n_l n_{l+1}. For n_D inputs Ĝ is their Gram matrix, and it takes n_l n_D.
"""

import functools
import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from eft.activations.definition import Activation
from eft.gaussian.covariance import covariance_factor
from nets.network.normalization import normalized
from nets.network.normals import standard_normal
from nets.network.observables import GramObservables, Observables, activate, observe, overlap


def sample(
    key: jax.Array,
    act: Activation,
    widths: Sequence[int],
    K1: jax.Array,
    cw: jax.Array,
    cb: jax.Array,
    *,
    log_domain: bool = False,
    norm: str | None = None,
) -> Observables:
    """The layers of one network with `widths` = (n₁, …, n_L), including the output.

        z_j = √Ĝ u_j,  u_j ~ N(0, 1),  Ĝ′ = C_b + (C_W/n) Σ σ(N(z)_j)²,  Ĝ¹ = K1

    With `log_domain` (σ positive-homogeneous of degree p ≥ 1, C_b = 0, no norm)

        log Ĝ′ = p log Ĝ + log[(C_W/n) Σ σ(u_j)²]

    so that `log_G` is correct beyond the float range, where G saturates at 0 or inf. Consecutive layers of
    equal width are one loop of the compiled program. The results have the dtype of K1.
    """
    step = _log_step if log_domain else functools.partial(_step, norm)

    def layer(key, n, carry):
        return step(act, standard_normal(key, (n,)).astype(K1.dtype), carry, cw, cb)

    return _layers(key, widths, jnp.log(K1) if log_domain else K1, layer)


def sample_gram(
    key: jax.Array,
    act: Activation,
    widths: Sequence[int],
    K1: jax.Array,
    cw: jax.Array,
    cb: jax.Array,
    *,
    norm: str | None = None,
) -> GramObservables:
    """The layers of one network at n_D inputs, given `widths` = (n₁, …, n_L) and the first metric, K1.

        z_j = F u_j,  F Fᵀ = Ĝ,  u_j ~ N(0, 1)^{n_D},  Ĝ′ = C_b + (C_W/n) Σ_j σ(N_j) σ(N_j)ᵀ,  Ĝ¹ = K1

    N = N(z), for each input by itself.

    K1 has shape (n_D, n_D); `G` of the result has shape (depth, n_D, n_D) and the dtype of K1.
    """

    def layer(key, n, G):
        u = standard_normal(key, (len(K1), n)).astype(K1.dtype)
        z = jnp.matmul(covariance_factor(G)[0], u, precision="highest")
        return cb + cw * overlap(activate(act, normalized(norm, z))), G

    return GramObservables(_layers(key, widths, K1, layer), None)


def _layers(key: jax.Array, widths: Sequence[int], carry, layer):
    """(carry, observed) = layer(key_l, n_l, carry), l = 1 … L; all `observed`. Equal widths are one loop."""
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(len(widths), dtype=jnp.uint32))
    runs, start = [], 0
    for n, run in itertools.groupby(widths):
        stop = start + len(list(run))

        def step(carry, key, n=n):
            return layer(key, n, carry)

        carry, observed = lax.scan(step, carry, keys[start:stop])
        runs.append(observed)
        start = stop
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *runs)


def _step(norm: str | None, act: Activation, u, G, cw, cb):
    observed, G_next = observe(act, jnp.sqrt(G) * u, G, jnp.log(G), cw, cb, norm=norm)
    return G_next, observed


def _log_step(act: Activation, u, log_G, cw, cb):
    p = act.degree or 0
    G = jnp.exp(log_G)
    unit, s = observe(act, u, G, log_G, cw, cb)
    factor = jnp.exp((p - 1) * log_G) if p > 1 else jnp.ones_like(G)
    observed = unit._replace(
        K=G * unit.K, chi_parallel=factor * unit.chi_parallel, chi_perp=factor * unit.chi_perp
    )
    return p * log_G + jnp.log(s), observed
