"""A factor of a covariance that may be singular."""

import jax
import jax.numpy as jnp
from jax import lax

ROUNDING_UNITS = 8
"""Relative remainder of a variance or covariance, in units of round-off, up to which it counts as 0."""


def covariance_factor(G: jax.Array) -> tuple[jax.Array, jax.Array]:
    """F with F Fᵀ = G, both (n, n), for any positive semidefinite G, and the pivots p_k, k = 0 … n−1.

        F_αk = c_α/√r_p,  c_α = G_αp − Σ_{m<k} F_αm F_pm,  r_α = G_αα − Σ_{m<k} F_αm²,  p = argmax r_α/G_αα

    This is the Cholesky factor with pivoting. The remaining columns are 0 once r_p/G_pp is within round-off
    (`ROUNDING_UNITS` units), and F_αk = 0 where both r_α and c_α are. Repeated inputs therefore have equal
    rows, and opposite inputs opposite rows, up to round-off; zero inputs have zero rows; and a small input
    keeps its digits next to a large one. The rows of F, in the order of the pivots, are lower triangular.
    F Fᵀ is G to 1e-5 of √(G_αα G_ββ) in float32 at n = 64. nan if G is not finite.
    """
    size = jnp.diagonal(G)
    unit = jnp.where(size > 0, size, 1)
    rounding = ROUNDING_UNITS * jnp.finfo(G.dtype).eps

    def column(k, carry):
        F, rest, pivots = carry  # r_α/G_αα; −∞ for the pivots so far
        p = jnp.argmax(rest)
        c = G[:, p] - jnp.sum(F * F[p][None], -1)
        significant = (jnp.abs(c) > rounding * jnp.sqrt(unit * unit[p])) & (rest > -jnp.inf)
        kept = ((rest > rounding) | significant) & (rest[p] > rounding)
        f = jnp.where(kept, c / jnp.sqrt(jnp.where(kept[p], rest[p] * unit[p], 1)), 0)
        return F.at[:, k].set(f), (rest - f * f / unit).at[p].set(-jnp.inf), pivots.at[k].set(p)

    start = jnp.zeros_like(G), size / unit, jnp.zeros(len(G), int)
    F, _, pivots = lax.fori_loop(0, len(G), column, start)
    return jnp.where(jnp.isfinite(G).all(), F, jnp.nan), pivots
