"""Measurements of an ensemble at one input, computed from the observables of its networks."""

import functools
import itertools
from typing import NamedTuple

import numpy as np

from eft.arguments import ArgumentError
from eft.records import METHODS
from nets.initialization import neuron_pairs, ntk_measurement
from nets.initialization.control_variates import ControlledMeasurement
from nets.initialization.drawing import Program
from nets.initialization.ntk_measurement import NTKMeasurement
from nets.network.architecture import Settings
from nets.network.observables import NTKObservables, Observables
from nets.statistics import estimators
from nets.statistics.estimators import Estimate


class Measurement(NamedTuple):
    """The measurement of an ensemble. Estimates have shape (depth,); index 0 is layer 1.

    `K`: E[Ĝ^l], from the metric Ĝ^{l+1} = C_b + (C_W/n_l) Σ σ²; Ĝ¹ = K¹ exactly. `V`: n_{l−1} Var(Ĝ^l); 0 ± 0
    at layer 1. `K_z`: E[z_i²], from the pre-activations. `V_z`: n_{l−1}(E[z_i²z_j²] − E[z_i²]²), i ≠ j; for
    one neuron n_{l−1}(E[z⁴]/3 − E[z²]²). `chi_parallel`: E[(C_W/n_l) Σ zσσ′/K̂^l]. `chi_perp`:
    E[(C_W/n_l) Σ σ′²].

    With skip or orthogonal weights two neurons are not independent given the layer before, and the vertex is
    not Var(Ĝ): there `K` is E[z_i²] and `V` is n_{l−1}(E[z_i²z_j²] − E[z_i²]²), i ≠ j, which may be negative.
    They are K_z and V_z, but averaged exactly over weights (`neuron_pairs`). `z2`: E[z_i² | layer l−1] =
    γ²K̂^{l−1} + Ĝ^l of every network, (n_nets, depth), `z2z2`: E[z_i²z_j² | layer l−1], and `M`: γ²M^{l−1} +
    Ĝ^l, whose mean is K; all None for plain networks, where they are Ĝ, Ĝ² and Ĝ. `G` is then the metric of
    Wσ + b alone, without the skip. χ∥ and χ⊥ contain γ² where there is a skip out of the layer. With a norm
    they are those of σ(N(z)), where the part of χ∥ without γ² is 0, and nan at an output of one neuron, which
    cannot be normalized.

    `n_nets`: (depth,) networks that the estimates at this layer average over. `n_overflowed`: (depth,)
    networks excluded: a value was not finite, here or before. `widths`: (depth + 1,) n₀, n₁, …, n_L.
    `G`: (n_nets, depth) Ĝ^l of every network, float64; not finite where it overflowed. `log_G`:
    (n_nets, depth) log Ĝ^l; never overflows for "metric" with homogeneous σ, C_b = 0. `seconds`: wall-clock
    time of the drawing, without compilation. `ntk`: the NTK, with `ntk=True`; else None. `controlled`: K
    and V with control variates, with `control_variates=True`; else None.

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
    z2: np.ndarray | None = None
    z2z2: np.ndarray | None = None
    M: np.ndarray | None = None
    controlled: ControlledMeasurement | None = None

    __repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS

    def V_interval(self, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """The ends, arrays (depth,), of an interval that contains V at this width with probability `level`.

        Computed by `estimators.positive_variance_interval`; for 20 networks or more. nan where networks
        overflowed, since those that remain are not a random sample.

        Raises ValueError with skip or orthogonal weights, where V is not a variance.
        """
        z2, z2z2 = self.z2, self.z2z2
        if z2 is not None and z2z2 is not None and not np.array_equal(z2z2, z2**2, equal_nan=True):
            raise ArgumentError(
                "V_interval needs Gaussian weights and no skip, where V is a variance; use V.stderr"
            )
        whole = self.n_overflowed == 0
        interval = np.full((2, len(whole)), np.nan)
        interval[:, whole] = estimators.positive_variance_interval(self.G[:, whole], level)
        return tuple(self.widths[:-1] * interval)


def statistics(
    program: Program,
    settings: Settings,
    layers: Observables,
    ntk: NTKObservables | None,
    first: tuple[float, float],
    seconds: float,
) -> Measurement:
    """The measurement from the observables of every network, arrays of shape (n_nets, depth).

    `settings`: C_W, C_b, γ. `first`: Ĝ¹ = K¹ and Θ̂¹, which do not fluctuate; they replace the values with the
    networks' round-off.
    """
    architecture = program.architecture
    sizes = np.array(architecture.sizes)
    G, log_G, K_hat, shape, chi_parallel, chi_perp = (np.asarray(a) for a in layers)
    G[:, 0], log_G[:, 0] = first[0], np.log(first[0]) if first[0] else -np.inf
    if ntk is not None:
        for mean in (np.asarray(ntk.H), np.asarray(ntk.Theta_hat)):
            mean[:, 0] = first[1]
    measured = (G, K_hat, shape, chi_parallel, chi_perp, *(a for a in ntk or () if a is not None))
    finite = map(np.isfinite, measured)
    whole = functools.reduce(np.logical_and, finite)
    whole = np.logical_and.accumulate(whole, axis=1)
    with np.errstate(over="ignore"):
        G = np.exp(log_G) if program.log_domain else G
    M, z2, excess = G, G, None
    if not architecture.plain:
        with np.errstate(over="ignore", invalid="ignore"):
            M = neuron_pairs.means(architecture, settings, G)
            z2 = neuron_pairs.second_moments(architecture, settings, G, K_hat)
            excess = neuron_pairs.excess(architecture, settings, G, K_hat, shape)
    if architecture.norm is not None and architecture.sizes[-1] == 1:
        chi_parallel[:, -1] = chi_perp[:, -1] = np.nan
    rows = []
    for layer, (n_in, n) in enumerate(itertools.pairwise(architecture.sizes)):
        used = whole[:, layer]
        K, z2_l = K_hat[used, layer], z2[used, layer]
        of_V = None if excess is None else excess[used, layer]
        noise = _noise(K, shape[used, layer], n)
        rows.append(
            (
                estimators.mean(M[used, layer]),
                estimators.scaled(estimators.variance(z2_l, of_V), n_in),
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
        ntk=None if ntk is None else ntk_measurement.statistics(sizes, z2, ntk, whole),
        z2=None if excess is None else z2,
        z2z2=None if excess is None else z2**2 - excess,
        M=None if excess is None else M,
    )


def _noise(K: np.ndarray, shape: np.ndarray, n: int) -> np.ndarray:
    """An unbiased estimate of Var(K̂ | Ĝ) for each network: K̂² minus an unbiased estimate of Ĝ².

    The latter is P = Σ_{i≠j} z_i²z_j²/(n(n−1)), which only requires that the neurons are independent, and for
    n = 1 it is z⁴/3, which requires that z is Gaussian. Where the neurons are not independent, both are
    unbiased for E[z_i²z_j²], the latter because the outputs of an orthogonal matrix are isotropic.
    """
    fourth = K**2 * shape
    return K**2 - fourth / 3 if n == 1 else (fourth - K**2) / (n - 1)
