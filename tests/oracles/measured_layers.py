"""K̂ and χ̂⊥ of the layers of networks of any framework, beside the theory at their width.

E[K̂^l] = K + G1/n,   E[χ̂⊥^l] = C_W (S + S′ G1/n + ½ S″ V/n),   S(K) = ⟨σ′²⟩_K,   up to order 1/n²
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

import eft
from nets.network.observables import value_and_slope
from nets.statistics import estimators
from nets.statistics.chi_squared import ChiSquared, hotelling

DEPTH, WIDTH, N0, N_OUT = 5, 64, 3, 8


def input_of(n0: int) -> jax.Array:
    """An input of unequal elements with ‖x‖²/n₀ = 1, float32."""
    x = np.linspace(-1.0, 2.0, n0)
    return jnp.asarray(x / np.sqrt(np.mean(x * x)), jnp.float32)


def first_kernel(act) -> float:
    """K¹ of a critical network at ‖x‖²/n₀ = 1."""
    point = eft.classify(act)
    return point.K if point.K > 0 else point.cw


def observed(act, cw: float, layers: Sequence[jax.Array]) -> np.ndarray:
    """K̂ of all layers, then χ̂⊥ of the hidden ones, of pre-activations (…, n_l): (…, 2L − 1)."""
    K = [jnp.mean(z * z, -1) for z in layers]
    slopes = (value_and_slope(eft.activation(act), z)[1] for z in layers[:-1])
    return jnp.stack([*K, *(cw * jnp.mean(s * s, -1) for s in slopes)], -1)


def expected(act, cw: float, cb: float, K1: float, width: int, skip: float = 0.0) -> np.ndarray:
    """Their means at equal hidden widths; (2L − 1,)."""
    flow = eft.kernel_flow(act, cw, DEPTH, cb=cb, K1=K1, skip=skip, readout=bool(skip))
    at = eft.slopes(act, flow.K[:-1])
    G1, V = flow.G1 / width, flow.V / width
    chi_perp = cw * (at.s + at.ds * G1[:-1] + at.d2s * V[:-1] / 2)
    return np.concatenate([flow.K + G1, chi_perp])


def compared(samples: np.ndarray, means: np.ndarray) -> tuple[ChiSquared, np.ndarray]:
    """χ² of the means of samples (N, k), and how many standard errors each is away."""
    samples = np.asarray(samples, np.float64)
    average, deviations = samples.mean(0), estimators.mean_deviations(samples)
    moving = deviations.any(0)  # χ̂⊥ of linear networks does not fluctuate
    difference = average - means
    np.testing.assert_allclose(average[~moving], means[~moving], rtol=1e-5)
    return hotelling(difference[moving], deviations[:, moving]), (
        difference[moving] / np.sqrt((deviations[:, moving] ** 2).sum(0))
    )
