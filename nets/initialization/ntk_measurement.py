"""The measured NTK of every layer of an ensemble at one input."""

from typing import NamedTuple

import numpy as np

from eft.records import METHODS
from nets.network.observables import NTKObservables
from nets.statistics import estimators
from nets.statistics.estimators import Estimate


class NTKMeasurement(NamedTuple):
    """The NTK Θ̂_ij^l between neurons i, j of a layer; index 0 of a layer axis is layer 1.

    Estimates of shape (depth,), with i ≠ j: `Theta`: E[Θ̂_ii^l], from the conditional means given the layers
    before. `A`: n_{l−1} Cov(Θ̂_ii^l, Θ̂_jj^l); 0 ± 0 at layer 1. `B`: n_{l−1} E[(Θ̂_ij^l)²].
    `D`: n_{l−1} Cov(z_i², Θ̂_jj^l). `F`: n_{l−1} E[z_i z_j Θ̂_ij^l]. With skip, conditional means are also
    means over i, or over i ≠ j.

    Of every network, float64 arrays of shape (n_nets, depth): `H`: E[Θ̂_ii^l | layer l−1].
    `B_hat`: n_{l−1} E[(Θ̂_ij^l)² | layer l−1]. `F_hat`: n_{l−1} E[z_i z_j Θ̂_ij^l | layer l−1].
    `Theta_hat`: (1/n_l) Σ_i Θ̂_ii^l.
    """

    Theta: Estimate
    A: Estimate
    B: Estimate
    D: Estimate
    F: Estimate
    H: np.ndarray
    B_hat: np.ndarray
    F_hat: np.ndarray
    Theta_hat: np.ndarray

    __repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS


def statistics(sizes: np.ndarray, z2: np.ndarray, ntk: NTKObservables, whole: np.ndarray) -> NTKMeasurement:
    """The measurement from arrays of shape (n_nets, depth).

    `z2`: E[z_i² | layer l−1], Ĝ in a plain network. `whole`: which networks count at which layer. In a plain
    network two neurons are independent given the layers before, so the covariance of Θ̂_ii and Θ̂_jj is the
    variance of their common conditional mean H, and the covariance of z_i² and Θ̂_jj is that of Ĝ and H. In
    others the excess is subtracted.
    """
    H, B, F, Theta_hat = (np.asarray(a) for a in (ntk.H, ntk.B, ntk.F, ntk.Theta_hat))
    rows = []
    for layer, n in enumerate(sizes[:-1]):
        used = whole[:, layer]
        z2_l, H_l = z2[used, layer], H[used, layer]
        of_A, of_D = (None if a is None else np.asarray(a)[used, layer] for a in (ntk.A_excess, ntk.D_excess))
        rows.append(
            (
                estimators.mean(H_l),
                estimators.scaled(estimators.variance(H_l, of_A), n),
                estimators.mean(B[used, layer]),
                estimators.scaled(estimators.covariance(z2_l, H_l, of_D), n),
                estimators.mean(F[used, layer]),
            )
        )
    return NTKMeasurement(*estimators.stacked(rows), H=H, B_hat=B, F_hat=F, Theta_hat=Theta_hat)
