"""Cumulants, and power series in the kernel.

With F = σ², z ~ N(0, K(1+x)) and c_r the r-th cumulant of F,

    c_r/gʳ = Σ_j ĉ_rj xʲ,   g = ⟨F⟩_K,   so that ĉ_10 = 1.

To order n^{−p} only j ≤ 2(p−r+1) contribute.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float


class Cumulants(NamedTuple):
    """The series of the cumulants of σ², of shape (p+1, 2p+1) + K's shape.

    `c`: ĉ_rj for r = 1 … p+1 and j = 0 … 2p, set to 0 if not needed. `error`: estimated round-off error,
    absolute. `valid`: bool, K's shape: whether K is in the range where the series is accurate.
    """

    c: Float[jax.Array, "orders powers *K"]
    error: Float[jax.Array, "orders powers *K"]
    valid: Bool[jax.Array, "*K"]


def last(order: int, r: int) -> int:
    """The highest j that contributes to ĉ_r at order n^{−p}."""
    return 2 * (order - r + 1)


def needed(order: int, dtype) -> np.ndarray:
    """1 where ĉ_rj contributes, else 0; shape (p+1, 2p+1, 1)."""
    j = np.arange(2 * order + 1)
    return np.stack([j <= last(order, r) for r in range(1, order + 2)])[..., None].astype(dtype)


def odd_factorial(n: int) -> int:
    """(2n−1)!! = ⟨u²ⁿ⟩_1."""
    return math.prod(range(1, 2 * n, 2))


def cumulants_of(moments: list) -> list:
    """κ_r = μ_r − Σ_{i<r} C(r−1, i−1) κ_i μ_{r−i}, for r = 1 … len(moments), of any type that multiplies."""
    kappa: list = []
    for r, moment in enumerate(moments, start=1):
        lower = (math.comb(r - 1, i - 1) * (kappa[i - 1] * moments[r - i - 1]) for i in range(1, r))
        kappa.append(moment - sum(lower))
    return kappa


def times(a: jax.Array, b: jax.Array) -> jax.Array:
    """The product of power series along the leading axis, as long as b; the other axes broadcast."""
    still = [(0, 0)] * (b.ndim - 1)
    return sum(a[i : i + 1] * jnp.pad(b[: len(b) - i], [(i, 0), *still]) for i in range(min(len(a), len(b))))  # type: ignore
