"""Families of activations whose Gaussian expectations have closed forms: what σ is, no integral."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Homogeneous:
    """σ = a₊zᵖ for z > 0 and a₋|z|ᵖ for z < 0."""

    degree: int
    plus: float = 1.0
    minus: float = 0.0


@dataclasses.dataclass(frozen=True)
class Sine:
    """σ = sin ωz."""

    frequency: float


@dataclasses.dataclass(frozen=True)
class Snake:
    """σ = z + sin²(az)/a."""

    a: float


@dataclasses.dataclass(frozen=True)
class Erf:
    """σ = erf z."""


@dataclasses.dataclass(frozen=True)
class GELU:
    """σ = zΦ(z), Φ the distribution function of N(0, 1)."""


@dataclasses.dataclass(frozen=True)
class MRePU:
    """σ = z·max(0, z+1)ᵖ."""

    power: int


Family = Homogeneous | Sine | Snake | Erf | GELU | MRePU
