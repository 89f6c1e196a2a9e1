"""An ensemble at several inputs: the Gram matrix of every layer, its four-point vertex, and the NTK."""

from typing import NamedTuple

import numpy as np

from eft.records import METHODS
from nets.initialization import neuron_pairs
from nets.initialization.drawing import Program
from nets.network.architecture import Settings
from nets.network.observables import GramObservables
from nets.statistics import estimators
from nets.statistics.estimators import Estimate

MAX_INPUTS = 64
"""Largest number of inputs in one ensemble: the vertex of 64 inputs has 2080² numbers per layer."""


class GramMeasurement(NamedTuple):
    """The measurement of an ensemble at n_D inputs; index 0 of a layer axis is layer 1.

    P = n_D(n_D+1)/2 unordered pairs (αβ), α ≤ β, in the order of `np.triu_indices(n_D)`.

    `K`: (depth, n_D, n_D) E[Ĝ^l_αβ]; Ĝ¹ = K¹ exactly. `V`: (depth, P, P)
    V_(12)(34) = n_{l−1} Cov(Ĝ^l_12, Ĝ^l_34); 0 ± 0 at layer 1. `Theta`: (n_D, n_D) E[Θ̂_αβ] of the output,
    with `ntk=True`. `n_nets`: (depth,) networks that the estimates at this layer average over.
    `n_overflowed`: (depth,) networks excluded: a value was not finite, here or before. `widths`: (depth + 1,)
    n₀, n₁, …, n_L. `G`: (n_nets, depth, n_D, n_D) Ĝ^l of every network, float64; not finite where it
    overflowed. `Theta_hat`: (n_nets, n_D, n_D) Θ̂ of every network, with `ntk=True`. `seconds`: wall-clock
    time of the drawing, without compilation.

    With skip or orthogonal weights `K` is E[z_iα z_iβ] and `V` the connected
    n_{l−1}(E[z_i1 z_i2 z_j3 z_j4] − E[z_i1 z_i2]E[z_j3 z_j4]), i ≠ j, both averaged exactly over the weights
    of layer l (`neuron_pairs`); Ĝ, and `G`, is then the metric of Wσ + b alone, without the skip. `Theta` is
    the mean over the outputs.
    """

    K: Estimate
    V: Estimate
    Theta: Estimate | None
    n_nets: np.ndarray
    n_overflowed: np.ndarray
    widths: np.ndarray
    G: np.ndarray
    Theta_hat: np.ndarray | None
    seconds: float

    __repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS


def statistics(
    program: Program, settings: Settings, observables: GramObservables, K1: np.ndarray, seconds: float
) -> GramMeasurement:
    """The measurement from the observables of every network: G (n_nets, depth, n_D, n_D), Theta or None.

        K_αβ^l = mean of Ĝ_αβ^l,   V_(12)(34)^l = n_{l−1}·(unbiased covariance of Ĝ_12^l and Ĝ_34^l)

    A network whose Ĝ^l is not finite is excluded from layer l on, and one whose Θ̂ is not finite from layer L.
    Ĝ¹ = K1 does not fluctuate; K1 replaces the values with the networks' round-off.
    """
    G = np.asarray(observables.G)
    G[:, 0] = K1
    architecture = program.architecture
    whole = np.array(np.isfinite(G).all(axis=(2, 3)))
    M, z2, spread = neuron_pairs.means(architecture, settings, G), G, None
    if observables.K is not None:
        K_hat, spread = np.asarray(observables.K), np.asarray(observables.spread)
        whole &= np.isfinite(K_hat).all(axis=(2, 3)) & np.isfinite(spread).all(axis=(2, 3))
        z2 = neuron_pairs.second_moments(architecture, settings, G, K_hat)
    if observables.Theta is not None:
        whole[:, -1] &= np.isfinite(observables.Theta).all(axis=(1, 2))
    whole = np.logical_and.accumulate(whole, axis=1)
    a, b = np.triu_indices(program.n_inputs)
    K, V = [], []
    for layer, n_in in enumerate(architecture.sizes[:-1]):
        used, excess = whole[:, layer], None
        pairs = z2[used, layer][:, a, b]
        if architecture.remembers and layer:
            before = None if spread is None else spread[used, layer - 1]
            excess = neuron_pairs.gram_excess(architecture, settings, layer + 1, G[used, layer], before)
        K.append(_symmetric(estimators.mean(M[used, layer][:, a, b]), program.n_inputs))
        V.append(estimators.scaled(estimators.covariance_matrix(pairs, excess), n_in))
    Theta = None
    if observables.Theta is not None:
        Theta = _symmetric(
            estimators.mean(np.asarray(observables.Theta)[whole[:, -1]][:, a, b]), program.n_inputs
        )
    return GramMeasurement(
        *(Estimate(*map(np.array, zip(*layers, strict=True))) for layers in (K, V)),
        Theta=Theta,
        n_nets=whole.sum(axis=0),
        n_overflowed=(~whole).sum(axis=0),
        widths=np.array(architecture.sizes),
        G=G,
        Theta_hat=None if observables.Theta is None else np.asarray(observables.Theta),
        seconds=seconds,
    )


def result_bytes(program: Program, n_nets: int) -> int:
    """Bytes of what is stored for every network, of the estimates, and of the work on one layer."""
    depth, n_D = program.architecture.depth, program.n_inputs
    P = n_D * (n_D + 1) // 2
    kept = n_nets * (depth + program.ntk) * n_D**2 + 4 * depth * P**2
    work = n_nets * (n_D**2 + 5 * P) + 4 * P**2
    if program.architecture.remembers:
        work += 5 * n_nets * P**2
    if program.architecture.skip:
        kept += n_nets * depth * (2 * n_D**2 + P**2)
    return 8 * (kept + work)


def _symmetric(pairs: Estimate, n_D: int) -> Estimate:
    """The symmetric matrix (n_D, n_D) from its unordered pairs."""
    index = np.zeros((n_D, n_D), int)
    index[np.triu_indices(n_D)] = np.arange(n_D * (n_D + 1) // 2)
    index = np.maximum(index, index.T)
    return Estimate(pairs.mean[index], pairs.stderr[index])
