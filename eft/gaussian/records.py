"""Records of the Gaussian expectations that the flows need. They depend on K alone, not on C_W or C_b."""

from typing import Any, NamedTuple

import jax
from jaxtyping import Float

from eft.records import METHODS


class Moments(NamedTuple):
    """Expectations in z ~ N(0, K), each of K's shape. With F = σ² and g(K) = ⟨F⟩_K:

    `g`: ⟨σ²⟩.
    `g4`: ⟨σ⁴⟩.
    `var`: ⟨σ⁴⟩ − ⟨σ²⟩².
    `dg`: g′(K) = χ∥/C_W.
    `slope2`: ⟨σ′²⟩ = χ⊥/C_W; inf where σ jumps.
    `d2g`: g″(K).
    `error`: estimated relative error of the least accurate of them (of d2g in units of g/K²).
    """

    # Any: of NumPy where K is
    g: Float[Any, "*K"]
    g4: Float[Any, "*K"]
    var: Float[Any, "*K"]
    dg: Float[Any, "*K"]
    slope2: Float[Any, "*K"]
    d2g: Float[Any, "*K"]
    error: Float[Any, "*K"]

    __repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS


class SlopeMoments(NamedTuple):
    """Expectations in z ~ N(0, K), each of K's shape. With F = σ² and S = σ′²:

    `s`: ⟨S⟩ = χ⊥/C_W.
    `s4`: ⟨S²⟩.
    `var`: ⟨S²⟩ − ⟨S⟩².
    `ds`, `d2s`: d⟨S⟩/dK, d²⟨S⟩/dK².
    `cross`: ⟨FS⟩.
    `cov`: ⟨FS⟩ − ⟨F⟩⟨S⟩.
    `cross_slopes`: ⟨σσ′²σ″⟩ = ¼⟨F′S′⟩.
    `error`: estimated relative error of the least accurate of them (in units of s/K² for d2s, ⟨FS⟩ for cov,
        ⟨S²⟩ for cross_slopes).

    `bend` is the former name of `cross_slopes`, kept for one release.
    """

    s: Float[Any, "*K"]
    s4: Float[Any, "*K"]
    var: Float[Any, "*K"]
    ds: Float[Any, "*K"]
    d2s: Float[Any, "*K"]
    cross: Float[Any, "*K"]
    cov: Float[Any, "*K"]
    cross_slopes: Float[Any, "*K"]
    error: Float[Any, "*K"]

    __repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS

    @property
    def bend(self) -> jax.Array:
        """The former name of `cross_slopes`."""
        return self.cross_slopes


class PairForm(NamedTuple):
    """Expectations at z₁, z₂ in closed form, each of the broadcast shape of the arguments.

    `product`: ⟨σ₁σ₂⟩.
    `slopes`: ⟨σ′₁σ′₂⟩.
    `distance`: ⟨(σ₁−σ₂)²⟩.
    `lost`: √(⟨σ₁²⟩⟨σ₂²⟩) − ⟨σ₁σ₂⟩, constant under differentiation.
    """

    product: Float[jax.Array, "*pairs"]
    slopes: Float[jax.Array, "*pairs"]
    distance: Float[jax.Array, "*pairs"]
    lost: Float[jax.Array, "*pairs"]
