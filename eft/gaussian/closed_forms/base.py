"""What a family of activations may have in closed form."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import lax

from eft.gaussian.records import Moments

PARALLEL = 1e-8
"""sin θ up to which variables count as parallel: the cusp of ⟨σ′₁σ′₂⟩ there is given the derivative 0."""


@dataclasses.dataclass(frozen=True)
class ClosedForms:
    """The closed forms of a family. What is None is left to quadrature.

    `moments`: (K, moments from the table) → Moments; the table is made only if `uses_table`.
    `slopes`: K → SlopeMoments.
    `pair`: expectations at two variables. Takes the kernel (K₁, K₂, K₁₂), with respect to which it is
        differentiated, and coordinates of full accuracy, from which its value is computed: a = √K₁, b = √K₂,
        a − b, 1 − ρ and 1 + ρ. Returns a PairForm.
    `series`: (order, dtype) → a pytree that is called as (K, Moments, order) and returns Cumulants.
    `first_cumulant`: (K, count) → ĉ_1j for j < count, if only these are known.
    """

    family: Any
    uses_table: ClassVar[bool] = False
    moments: ClassVar[Any] = None
    slopes: ClassVar[Any] = None
    pair: ClassVar[Any] = None
    series: ClassVar[Any] = None
    first_cumulant: ClassVar[Any] = None


def exact(K: jax.Array, *moments) -> Moments:
    """Moments with the error of a closed form, one unit of round-off."""
    return Moments._make(jnp.broadcast_to(m, K.shape) for m in (*moments, jnp.finfo(K.dtype).eps))


def determinant(kernel, gap, rest):
    """K₁K₂ − K₁₂², with the more accurate value K₁K₂(1−ρ)(1+ρ)."""
    K1, K2, K12 = kernel
    plain = K1 * K2 - K12 * K12
    return plain + lax.stop_gradient(K1 * K2 * gap * rest - plain)


def lost(product, distance, root_1, root_2):
    """√(g₁g₂) − ⟨σ₁σ₂⟩, from the distance if the two are close."""
    size = root_1 * root_2
    close = (distance - (root_1 - root_2) ** 2) / 2
    return jnp.maximum(jnp.where(distance < size, close, size - product), 0.0)
