"""The measurement of an ensemble during training."""

from typing import Any, NamedTuple

import numpy as np

from eft.records import METHODS
from nets.statistics import estimators
from nets.statistics.estimators import Estimate


class TrainingRun(NamedTuple):
    """The measurement of an ensemble at S snapshots; layer axes have length depth, index 0 is layer 1.

    Averages are over networks, at each of the m probe inputs; Ĝ, χ̂∥, χ̂⊥ are defined with the initial C_W and
    C_b. Networks that have overflowed are excluded.

    `steps`: (S,) steps done before each snapshot. `loss`: (S, n_nets) over all data, of every network.
    `alive`: (S, n_nets) bool: all values have been finite so far. `n_overflowed`: (S,) networks excluded.

    Estimates of shape (S, depth, m): `K`: K̂^l = (1/n_l) Σ z_i². `G`: Ĝ^{l+1} = C_b + (C_W/n_l) Σ σ(z_i)²; Ĝ¹
    is the initial one. `V`: n_{l−1} Var(Ĝ^l) over networks. `chi_parallel`: (C_W/n_l) Σ zσσ′/K̂^l.
    `chi_perp`: (C_W/n_l) Σ σ′².

    `K_inputs`: (S, depth, n_nets) K̂^l of one network, averaged over the probe inputs.
    `outputs`, `outputs_variance`: (S, m_test, n_L) mean and variance of z^L over networks.
    `widths`: (depth + 1,) n₀, n₁, …, n_L. `parameters`: at the end,
    {"layers": {0: {"kernel": (n_nets, n₀, n₁), "bias": …}, …}}. `seconds`: wall-clock time of the training.
    """

    steps: np.ndarray
    loss: np.ndarray
    alive: np.ndarray
    n_overflowed: np.ndarray
    K: Estimate
    G: Estimate
    V: Estimate
    chi_parallel: Estimate
    chi_perp: Estimate
    K_inputs: np.ndarray
    outputs: Estimate
    outputs_variance: Estimate
    widths: np.ndarray
    parameters: dict[str, Any]
    seconds: float

    __repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS


def statistics(
    marks: tuple[int, ...],
    sizes: tuple[int, ...],
    snapshots: list[dict[str, np.ndarray]],
    first: np.ndarray,
    parameters: Any,
    seconds: float,
) -> TrainingRun:
    """The measurement of the ensemble from those of every network at each snapshot, arrays (n_nets, …).

    `first`: Ĝ¹ at the probe inputs, which does not fluctuate; it replaces the values with the networks'
    round-off.
    """
    alive = np.array([_whole(each) for each in snapshots])
    n_in = np.array(sizes[:-1])[:, None]
    snapshots = [{**each, "G": _with_first(each["G"], first)} for each in snapshots]

    def stacked(estimate, name):
        estimates = [
            estimate(np.asarray(each[name], np.float64)[kept])
            for each, kept in zip(snapshots, alive, strict=True)
        ]
        return Estimate(*map(np.array, zip(*estimates, strict=True)))

    V = stacked(estimators.variance, "G")
    return TrainingRun(
        steps=np.array(marks),
        loss=np.array([each["loss"] for each in snapshots], np.float64),
        alive=alive,
        n_overflowed=(~alive).sum(axis=1),
        K=stacked(estimators.mean, "K"),
        G=stacked(estimators.mean, "G"),
        V=estimators.scaled(V, n_in),
        chi_parallel=stacked(estimators.mean, "chi_parallel"),
        chi_perp=stacked(estimators.mean, "chi_perp"),
        K_inputs=np.array([np.moveaxis(each["K"].astype(np.float64).mean(-1), 0, -1) for each in snapshots]),
        outputs=stacked(estimators.mean, "outputs"),
        outputs_variance=stacked(estimators.variance, "outputs"),
        widths=np.array(sizes),
        parameters=parameters,
        seconds=seconds,
    )


def _with_first(G: np.ndarray, first: np.ndarray) -> np.ndarray:
    G = np.array(G, np.float64)
    G[:, 0] = first
    return G


def _whole(each: dict[str, np.ndarray]) -> np.ndarray:
    """Which networks are alive and have finite measurements only."""
    finite = [np.isfinite(a).reshape(len(a), -1).all(axis=1) for name, a in each.items() if name != "alive"]
    return np.all([each["alive"], *finite], axis=0)
