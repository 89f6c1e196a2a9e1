"""Measurements of an ensemble at one input, computed from the observables of its networks."""

import functools
import itertools
from typing import NamedTuple

import numpy as np

from nets.initialization import ntk_measurement
from nets.initialization.drawing import Program
from nets.initialization.ntk_measurement import NTKMeasurement
from nets.network.observables import NTKObservables, Observables
from nets.statistics import estimators
from nets.statistics.estimators import Estimate


class Measurement(NamedTuple):
    """The measurement of an ensemble. Estimates have shape (depth,); index 0 is layer 1.

    `K`: E[Ĝ^l], from the metric Ĝ^{l+1} = C_b + (C_W/n_l) Σ σ²; Ĝ¹ = K¹ exactly. `V`: n_{l−1} Var(Ĝ^l); 0 ± 0
    at layer 1. `K_z`: E[z_i²], from the pre-activations. `V_z`: n_{l−1}(E[z_i²z_j²] − E[z_i²]²), i ≠ j; for
    one neuron n_{l−1}(E[z⁴]/3 − E[z²]²). `chi_parallel`: E[(C_W/n_l) Σ zσσ′/K̂^l]. `chi_perp`:
    E[(C_W/n_l) Σ σ′²].

    `n_nets`: (depth,) networks that the estimates at this layer average over. `n_overflowed`: (depth,)
    networks excluded: a value was not finite, here or before. `widths`: (depth + 1,) n₀, n₁, …, n_L.
    `G`: (n_nets, depth) Ĝ^l of every network, float64; not finite where it overflowed. `log_G`:
    (n_nets, depth) log Ĝ^l; never overflows for "metric" with homogeneous σ, C_b = 0. `seconds`: wall-clock
    time of the drawing, without compilation. `ntk`: the NTK, with `ntk=True`; else None.

    The errors are jackknife errors, meant for 1000 networks or more: then mean ± 1.96 stderr of V covers 91
    to 94 %. A variance and its error tend to be too small together: with 20 to 100 networks such an interval
    of V covers 58 to 90 %, and `V_interval` should be used.
    """

    K: Estimate
    V: Estimate
    K_z: Estimate
    V_z: Estimate
    chi_parallel: Estimate
    chi_perp: Estimate
    n_nets: np.ndarray
    n_overflowed: np.ndarray
    widths: np.ndarray
    G: np.ndarray
    log_G: np.ndarray
    seconds: float
    ntk: NTKMeasurement | None = None

    def V_interval(self, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """The ends, arrays (depth,), of an interval that contains V at this width with probability `level`.

        Computed by `estimators.positive_variance_interval`; for 20 networks or more. nan where networks
        overflowed, since those that remain are not a random sample.
        """
        whole = self.n_overflowed == 0
        interval = np.full((2, len(whole)), np.nan)
        interval[:, whole] = estimators.positive_variance_interval(self.G[:, whole], level)
        return tuple(self.widths[:-1] * interval)


def statistics(
    program: Program,
    layers: Observables,
    ntk: NTKObservables | None,
    first: tuple[float, float],
    seconds: float,
) -> Measurement:
    """The measurement from the observables of every network, arrays of shape (n_nets, depth).

    `first`: Ĝ¹ = K¹ and Θ̂¹, which do not fluctuate; they replace the values with the networks' round-off.
    """
    sizes = np.array(program.architecture.sizes)
    G, log_G, K_hat, shape, chi_parallel, chi_perp = (np.asarray(a) for a in layers)
    G[:, 0], log_G[:, 0] = first[0], np.log(first[0]) if first[0] else -np.inf
    if ntk is not None:
        for mean in (np.asarray(ntk.H), np.asarray(ntk.Theta_hat)):
            mean[:, 0] = first[1]
    finite = map(np.isfinite, (G, K_hat, shape, chi_parallel, chi_perp, *(ntk or ())))
    whole = functools.reduce(np.logical_and, finite)
    whole = np.logical_and.accumulate(whole, axis=1)
    with np.errstate(over="ignore"):
        G = np.exp(log_G) if program.log_domain else G
    rows = []
    for layer, (n_in, n) in enumerate(itertools.pairwise(program.architecture.sizes)):
        used = whole[:, layer]
        K = K_hat[used, layer]
        noise = _noise(K, shape[used, layer], n)
        rows.append(
            (
                estimators.mean(G[used, layer]),
                estimators.scaled(estimators.variance(G[used, layer]), n_in),
                estimators.mean(K),
                estimators.scaled(estimators.variance(K, noise), n_in),
                estimators.mean(chi_parallel[used, layer]),
                estimators.mean(chi_perp[used, layer]),
            )
        )
    return Measurement(
        *estimators.stacked(rows),
        n_nets=whole.sum(axis=0),
        n_overflowed=(~whole).sum(axis=0),
        widths=sizes,
        G=G,
        log_G=log_G,
        seconds=seconds,
        ntk=None if ntk is None else ntk_measurement.statistics(sizes, G, ntk, whole),
    )


def _noise(K: np.ndarray, shape: np.ndarray, n: int) -> np.ndarray:
    """An unbiased estimate of Var(K̂ | Ĝ) for each network: K̂² minus an unbiased estimate of Ĝ².

    The latter is P = Σ_{i≠j} z_i²z_j²/(n(n−1)), which only requires that the neurons are independent, and for
    n = 1 it is z⁴/3, which requires that z is Gaussian.
    """
    fourth = K**2 * shape
    return K**2 - fourth / 3 if n == 1 else (fourth - K**2) / (n - 1)
