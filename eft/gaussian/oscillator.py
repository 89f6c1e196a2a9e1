"""The operator whose expectation is that of a product at two correlated Gaussian variables, on uniform nodes.

For u and v ~ N(0, 1) with correlation ρ, and f_n = ⟨f h_n⟩, h_n = He_n/√n!, Mehler's formula is

    ⟨f(u) g(v)⟩ = Σ_n ρⁿ f_n g_n

The functions h_n(x) e^{−x²/4} are the eigenvectors, with eigenvalues n, of H = −∂² + x²/4 − ½. In their place
stand the eigenvectors of H on N uniformly spaced nodes: at ρ = 1 the sum is then the trapezoidal rule, whose
error falls as e^{−cN} for analytic f g, where that of N Hermite polynomials falls as e^{−c√N}; and for every
other ρ, it is as accurate.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from eft.activations.derivatives import Array

REACH = 9.0
"""|x| beyond which the Gaussian is cut off; it is 1e-18 there."""

COARSER = 1.2
"""Factor of the spacing, and of the reach, of the rule to compare with."""


class Basis(NamedTuple):
    """The eigenvectors of H on the nodes, even ones and odd ones; arrays of one rule, or of several.

    `x`: (N/2,) the nodes x > 0. `w`: (N/2,) weights of the trapezoidal rule. `eigenvalues`: (2, N/2).
    `vectors`: (2, N/2, N/2) their values at the nodes x > 0, on axis 1, times √w.
    """

    x: Float[Array, "*rules half"]
    w: Float[Array, "*rules half"]
    eigenvalues: Float[Array, "*rules 2 half"]
    vectors: Float[Array, "*rules 2 half half"]


def bases(half: int, dtype) -> Basis:
    """The rule with this many nodes x > 0, and a coarser one with as many, on a new first axis."""
    return jax.tree.map(lambda a: jnp.asarray(a, dtype), _bases(half))


@functools.cache
def _bases(half: int) -> Basis:
    rules = [_basis(half, reach) for reach in (REACH, COARSER * REACH)]
    return Basis(*map(np.stack, zip(*rules, strict=True)))


def _basis(half: int, reach: float) -> tuple:
    """∂² is that of band-limited functions: −2(−1)^{i−j}/(h(i−j))², and −π²/3h² for i = j."""
    h = reach / half
    places = np.arange(2 * half)
    x = h * (places - half + 0.5)
    apart = np.subtract.outer(places, places)
    squared = np.where(apart == 0, np.pi**2 / 3, 2 * (-1.0) ** apart / np.where(apart == 0, 1, apart) ** 2)
    H = squared / h**2 + np.diag(x * x / 4 - 0.5)
    own, across = H[half:, half:], H[half:, half - 1 :: -1]
    found = [np.linalg.eigh(own + sign * across) for sign in (1, -1)]
    eigenvalues = np.stack([values for values, _ in found])
    eigenvalues[0, 0] = 0.0  # to the last bit: ρ⁰ = 1 at ρ = 0
    w = h * np.exp(-(x[half:] ** 2) / 2) / math.sqrt(2 * math.pi)
    return x[half:], w, eigenvalues, np.stack([v for _, v in found]) * np.sqrt(w / 2)[:, None]


def half_for(step: float, largest_K: float) -> int:
    """Nodes for a spacing of `step` in z for K ≥ 1; few values, so that few programs are compiled."""
    doublings = math.ceil(2 * math.log2(max(1.0, largest_K))) / 2
    return math.ceil(REACH / step * 2 ** (doublings / 2))


def log_correlation(rho: jax.Array) -> jax.Array:
    """log |ρ|, and a large negative number for ρ = 0."""
    return jnp.log(jnp.clip(jnp.abs(rho), jnp.finfo(rho.dtype).tiny, 1.0))


def powers(b: Basis, parities: np.ndarray, log: jax.Array, negative: jax.Array) -> jax.Array:
    """ρⁿ for the eigenvalues n of each of these parities, (parities, *ρ, N/2), from log |ρ| and the sign."""
    n = b.eigenvalues[parities].reshape(len(parities), *(1,) * log.ndim, -1)
    odd = (parities == 1).reshape(-1, *(1,) * (log.ndim + 1))
    sizes = jnp.exp(n * log[None, ..., None])
    return jnp.where(jnp.asarray(odd) & negative[None, ..., None], -sizes, sizes)


def expanded(f: jax.Array, vectors: Array) -> jax.Array:
    """f times a matrix on its last axis, another one for each index of its first."""
    return jnp.matmul(f.reshape(len(f), -1, f.shape[-1]), vectors).reshape(*f.shape[:-1], -1)
