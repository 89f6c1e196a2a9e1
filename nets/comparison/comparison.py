"""Comparison of theory and experiment: `eft.kernel_flow` and a `Measurement`, layer by layer."""

import warnings
from typing import NamedTuple

import jax
import numpy as np

import eft
from eft.arguments import ArgumentError
from eft.records import METHODS
from nets.initialization.measurement import Measurement
from nets.statistics import chi_squared, estimators
from nets.statistics.chi_squared import ChiSquared
from nets.statistics.estimators import Estimate, z_score

ACCURACY, EXACT = 1e-12, 1e-11
"""The relative accuracy of theory; relative errors below which what is measured does not fluctuate."""


class Comparison(NamedTuple):
    """Theory compared with experiment. Arrays and estimates have shape (depth,); index 0 is layer 1.

    `layer`: l = 1 … L. `n`: n_{l−1}, by which V and G1 are divided.

    `K`: theory at infinite width. `K_finite`: K^l + G1^l/n_{l−1} + …, to the requested order. `K_last`: its
    last term, about the size of what is missing. `K_measured`: E[Ĝ^l] over networks. `z_K`:
    (measured − K_finite)/stderr; nan where theory is not valid or networks overflowed. Of an ensemble with
    control variates K_measured and V_measured have these, with errors of at least 1e-12 of themselves.

    `V`: the four-point vertex, Var(Ĝ^l) = V^l/n_{l−1} at leading order. `V_measured`: n_{l−1}·Var(Ĝ^l) over
    networks. `V_finite`: n_{l−1} Var(Ĝ^l) to the requested order; V at order 1. `V_last`: its last term.
    `z_V`: (measured − V_finite)/stderr.

    `K_z`, `V_z`: K and V measured from the correlators of the pre-activations, and `z_K_z`, `z_V_z` likewise.

    In networks that are not plain, K and V are those of the pre-activations throughout (see `Measurement`),
    E[z_i² | layer l−1] takes the place of Ĝ^l, and V is not a variance where there is a skip or orthogonal
    weights.

    `spread`: standard deviation of log Ĝ^l; above 1, rare networks dominate the mean of Ĝ. `valid`: bool,
    theory is in range. `converges`: bool, mean and variance of the series both converge. `n_nets`: networks
    used at this layer. `n_overflowed`: networks excluded. `chi2_K`, `chi2_V`: all valid layers without
    overflow at once. `seconds`: wall-clock time of the drawing.
    """

    layer: np.ndarray
    n: np.ndarray
    K: np.ndarray
    K_finite: np.ndarray
    K_last: np.ndarray
    K_measured: Estimate
    z_K: np.ndarray
    V: np.ndarray
    V_measured: Estimate
    V_finite: np.ndarray
    V_last: np.ndarray
    z_V: np.ndarray
    K_z: Estimate
    z_K_z: np.ndarray
    V_z: Estimate
    z_V_z: np.ndarray
    spread: np.ndarray
    valid: np.ndarray
    converges: np.ndarray
    n_nets: np.ndarray
    n_overflowed: np.ndarray
    chi2_K: ChiSquared
    chi2_V: ChiSquared
    seconds: float

    __repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS


def compare(flow: eft.KernelFlow, measured: Measurement, series: eft.Expansion | None = None) -> Comparison:
    """Compare the flow of one input, with the same `widths` as the networks, with an ensemble.

    Theory is K + G1/n and V; the neglected terms are of relative order 1/n² and 1/n. If an ensemble is so
    large that its errors are smaller than these, the z-scores show it. With `series`, the `eft.expand` of the
    same network, theory is the mean and n·variance of Ĝ to the order of the series.

    The networks may have a skip, a normalization or orthogonal weights, if the flow has the same.

    Raises ValueError if the flow is not that of one network of the same depth, or if there is a series for
    networks that are not plain.
    """
    K, G1, V, valid = (np.asarray(a, np.float64) for a in (flow.K, flow.G1, flow.V, flow.valid))
    depth = len(measured.n_nets)
    if K.shape != (depth,):
        raise ArgumentError(f"flow must be of one network of depth {depth}: shape ({depth},); got {K.shape}")
    if series is not None and measured.z2 is not None:
        raise ArgumentError(
            "series must be left out for networks that are not plain; expand is of plain ones"
        )
    n = measured.widths[:-1]
    with np.errstate(over="ignore"):
        K_finite, K_last, V_finite, V_last = K + G1 / n, G1 / n, V, V
    valid, converges = valid.astype(bool), np.ones(depth, bool)
    if series is not None:
        cumulants = jax.tree.map(np.asarray, eft.at_width(series, n))
        mean, variance = (jax.tree.map(lambda a, r=r: a[:, r], cumulants) for r in (1, 2))
        with np.errstate(over="ignore"):
            K_finite, K_last, V_finite, V_last = mean.value, mean.last, n * variance.value, n * variance.last
        valid, converges = valid & np.asarray(series.valid), mean.converges & variance.converges
    good = valid & (measured.n_overflowed == 0)
    M, z2, noise = measured.G, measured.G, None
    if measured.M is not None and measured.z2 is not None and measured.z2z2 is not None:
        with np.errstate(over="ignore", invalid="ignore"):
            M, z2, noise = measured.M, measured.z2, measured.z2**2 - measured.z2z2

    known_K, known_V = measured.K, measured.V
    controlled = measured.controlled
    if controlled is not None:
        known_K, known_V = _no_better_than_theory(controlled.K), _no_better_than_theory(controlled.V)

    def score(estimate: Estimate, expected: np.ndarray) -> np.ndarray:
        return np.where(good, z_score(estimate, expected), np.nan)

    def chi2(estimate: Estimate, expected: np.ndarray, deviations, *samples) -> ChiSquared:
        used = good & (estimate.stderr > EXACT * abs(estimate.mean)) & np.isfinite(estimate.stderr)
        of_each = deviations(*(None if a is None else a[:, used] for a in samples))
        return chi_squared.hotelling((estimate.mean - expected)[used], of_each)

    if controlled is None:
        variance = estimators.scaled(known_V, 1 / n)
        chi2_K = chi2(known_K, K_finite, estimators.mean_deviations, M)
        chi2_V = chi2(variance, V_finite / n, estimators.variance_deviations, z2, noise)
    else:
        chi2_K = chi2(known_K, K_finite, estimators.mean_deviations, controlled.K_each)
        chi2_V = chi2(known_V, V_finite, estimators.mean_deviations, controlled.V_each)

    return Comparison(
        layer=np.arange(1, depth + 1),
        n=n,
        K=K,
        K_finite=K_finite,
        K_last=K_last,
        K_measured=known_K,
        z_K=score(known_K, K_finite),
        V=V,
        V_measured=known_V,
        V_finite=V_finite,
        V_last=V_last,
        z_V=score(known_V, V_finite),
        K_z=measured.K_z,
        z_K_z=score(measured.K_z, K_finite),
        V_z=measured.V_z,
        z_V_z=score(measured.V_z, V_finite),
        spread=_spread(measured.log_G if measured.z2 is None else _log(measured.z2)),
        valid=valid,
        converges=converges,
        n_nets=measured.n_nets,
        n_overflowed=measured.n_overflowed,
        chi2_K=chi2_K,
        chi2_V=chi2_V,
        seconds=measured.seconds,
    )


def _no_better_than_theory(estimate: Estimate) -> Estimate:
    """With an error of at least `ACCURACY`, that of theory, where nothing fluctuates."""
    return Estimate(estimate.mean, np.hypot(estimate.stderr, ACCURACY * estimate.mean))


def _log(values: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(values)


def _spread(log_G: np.ndarray) -> np.ndarray:
    """The standard deviation over networks, without those for which Ĝ is 0 or not finite."""
    kept = np.where(np.isfinite(log_G), log_G, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nan_to_num(np.nanstd(kept - np.nanmax(kept, axis=0), axis=0))
