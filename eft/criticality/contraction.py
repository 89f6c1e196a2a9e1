"""Skip connections: a network with a skip γ < 1 is a plain one whose steps are 1 − γ² as long.

    K′ − K = C_b + C_W g(K) − (1 − γ²)K,    χ = γ² + C_W g′(K) or γ² + C_W⟨σ′²⟩

Divided by 1 − γ² these are K′ − K and χ − 1 of the plain network with C_W/(1 − γ²) and C_b/(1 − γ²). Fixed
points, critical points, exponents and phases are the same; depths are 1/(1 − γ²) times as large.
"""

import numpy as np
from jax.typing import ArrayLike

from eft import arguments
from eft.arguments import ArgumentError


def contractions(skip: ArrayLike) -> np.ndarray | np.floating:
    """1 − γ², of the shape of γ = `skip`, which must be < 1."""
    gamma = np.asarray(arguments.nonnegative("skip", skip), float)
    if (gamma >= 1).any():
        raise ArgumentError(
            f"skip must be < 1; got {gamma.max():g}: then K never falls, nor does a distance (χ∥, χ⊥ ≥ 1), "
            "and there is no critical point, nor a fixed point except K = 0. To train deep networks with "
            "skip = 1, scale the branch: C_W → α²C_W and C_b → α²C_b with α ~ 1/√depth, for which K stays of "
            "order 1, or with α ~ 1/depth, for which it hardly changes"
        )
    return (1 - gamma) * (1 + gamma)


def one_contraction(skip: ArrayLike) -> float:
    """1 − γ² of a single number γ < 1."""
    found = contractions(skip)
    if found.ndim:
        raise ArgumentError(f"skip must be one number ≥ 0; got an array of shape {found.shape}")
    return float(found)


def with_skip(chi, contracted: float):
    """χ∥ or χ⊥, 1 + (1 − γ²)(χ − 1), from that of the plain network."""
    return chi if contracted == 1 else 1 - contracted + contracted * chi
