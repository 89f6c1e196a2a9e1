"""What a family of activations may have in closed form."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from eft.activations.derivatives import Array
from eft.activations.one_sided import numpy_of
from eft.gaussian.records import Moments, PairForm, SlopeMoments
from eft.gaussian.series import Cumulants

Kernel = tuple[Any, Any, Any]
"""K₁, K₂, K₁₂."""

PARALLEL = 1e-8
"""sin θ up to which variables count as parallel: the cusp of ⟨σ′₁σ′₂⟩ there is given the derivative 0."""


@dataclasses.dataclass(frozen=True)
class ClosedForms:
    """The closed forms of a family: the methods that its class defines; all else is left to quadrature.

    `uses_table`: some of `moments` come from the table, which is made and given to it.
    """

    family: Any
    uses_table: ClassVar[bool] = False

    def has(self, form: str) -> bool:
        """Whether the class of the family defines this method."""
        return getattr(type(self), form) is not getattr(ClosedForms, form)

    def moments(self, K: Array, by_table: Moments | None) -> Moments:
        """The moments at K, a JAX or a NumPy array; `by_table`: those of the table, if it is used."""
        raise NotImplementedError

    def slopes(self, K: jax.Array) -> SlopeMoments:
        """The slope moments at K."""
        raise NotImplementedError

    def pair(self, kernel: Kernel, a, b, difference, gap, rest) -> PairForm:
        """The expectations at two variables.

        They are differentiated with respect to the kernel (K₁, K₂, K₁₂), and computed from coordinates of
        full accuracy: a = √K₁, b = √K₂, a − b, 1 − ρ and 1 + ρ.
        """
        raise NotImplementedError

    def series(self, order: int, dtype) -> Callable[[jax.Array, Moments, int], Cumulants]:
        """A pytree that is called as (K, moments at K, order)."""
        raise NotImplementedError

    def first_cumulant(self, K: jax.Array, count: int) -> jax.Array:
        """ĉ_1j for j < count, if only these of the series are known."""
        raise NotImplementedError


def exact(K: Array, *moments) -> Moments:
    """Moments with the error of a closed form, one unit of round-off."""
    xp = numpy_of(K)
    return Moments._make(xp.broadcast_to(m, K.shape) for m in (*moments, np.finfo(K.dtype).eps))


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
