"""An activation under affine maps of its input and its output, σ̂(z) = γ(σ(αz + β) + δ), and its moments."""

import functools
import math
from typing import Any, NamedTuple

import numpy as np

from eft.activations.analysis import sampler_of
from eft.activations.definition import Activation
from eft.gaussian.expectation import MAX_U, density, half_line

MADE = 128
"""Activations that are cached."""

KINK_U = 12.0
"""|z|/√K beyond which a kink no longer matters: the Gaussian is e^{−72} there."""

ROUGH_U, ROUGH_NODES = 8.0, 129
"""Range of z/√K, and nodes, of the rule for many α and β: exact to round-off for smooth σ and α ≲ 1."""


class Affine(NamedTuple):
    """σ̂(z) = γ(σ(αz + β) + δ).

    `alpha`: α, the input scale.
    `beta`: β, the input shift.
    `delta`: δ, the output shift.
    `gamma`: γ, the output scale.
    """

    alpha: float
    beta: float
    delta: float
    gamma: float


class ShiftedMoments(NamedTuple):
    """Expectations in z ~ N(0, K) of s = σ(y), σ′(y) and σ″(y) at y = αz + β, each of the shape of α and β.

    `mean`: m = ⟨s⟩.
    `variance`: ⟨(s − m)²⟩.
    `slope2`: ⟨σ′²⟩.
    `curvature2`: ⟨σ″²⟩.
    `parallel`: ⟨z(s − m)σ′⟩.
    `tilt`: ⟨zσ′⟩.
    """

    mean: Any
    variance: Any
    slope2: Any
    curvature2: Any
    parallel: Any
    tilt: Any


def shifted_moments(act: Activation, K: float, alpha: float, beta: float) -> ShiftedMoments:
    """The moments to round-off. The nodes approach every kink of σ(αz + β), and −β/α, where y = 0."""
    centres = {(c - beta) / alpha for c in (*act.kinks, 0.0)}
    z, v = half_line(tuple(sorted(c for c in centres if abs(c) < KINK_U * math.sqrt(K))))
    near = z < MAX_U * math.sqrt(K)
    z, v = z[near], v[near]
    w = v * density(z, K)
    return _moments(act, np.concatenate([-z, z]), np.tile(w, 2), np.array(alpha), np.array(beta))


def moments_on_plane(act: Activation, K: float, alpha: np.ndarray, beta: np.ndarray) -> ShiftedMoments:
    """The moments for many α and β at once, by one rule that overlooks kinks: good to a few digits."""
    u = np.linspace(-ROUGH_U, ROUGH_U, ROUGH_NODES)
    w = np.exp(-u * u / 2)
    return _moments(act, math.sqrt(K) * u, w / w.sum(), alpha, beta)


def _moments(act: Activation, z, w, alpha: np.ndarray, beta: np.ndarray) -> ShiftedMoments:
    with np.errstate(all="ignore"):
        s, d, c = sampler_of(act)(alpha[..., None] * z + beta[..., None])[:3]
        mean = (w * s).sum(-1)
        apart = s - mean[..., None]
        return ShiftedMoments(mean, *((w * f).sum(-1) for f in (apart**2, d**2, c**2, z * apart * d, z * d)))


@functools.lru_cache(maxsize=MADE)
def transformed(act: Activation, affine: Affine, name: str) -> Activation:
    """σ̂. Its kinks are those of σ, moved to (c − β)/α."""
    alpha, beta, delta, gamma = affine

    def taylor(z):
        value, *slopes = act.derivatives(alpha * z + beta)
        return gamma * (value + delta), *(gamma * alpha**k * s for k, s in enumerate(slopes, start=1))

    return Activation(
        lambda z: gamma * (act.fn(alpha * z + beta) + delta),
        tuple((c - beta) / alpha for c in act.kinks),
        name,
        reach=(act.reach - abs(beta)) / alpha,
        taylor=taylor if act.taylor else None,
    )
