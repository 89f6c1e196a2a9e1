"""Comparison of theory and experiment: `eft.kernel_flow` and a `Measurement`, layer by layer."""

import ast
import math
import warnings
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy import special

import eft
from eft import arguments
from eft.activations.catalogue import as_activation
from eft.arguments import ArgumentError
from eft.finite_width.expansion import MAX_ORDER
from nets.initialization import ensemble
from nets.initialization.ensemble import Measurement
from nets.statistics import estimators
from nets.statistics.estimators import Estimate, z_score


class ChiSquared(NamedTuple):
    """All layers at once: χ² = dᵀ C⁻¹ d, d = measured − theory, C the covariance between layers."""

    value: float
    dof: int  # number of independent directions in which valid layers without overflow fluctuate
    p: float  # the probability of a larger χ², by Hotelling's T² distribution; nan if dof is 0


class Comparison(NamedTuple):
    """Theory compared with experiment. Arrays and estimates have shape (depth,); index 0 is layer 1."""

    layer: np.ndarray  # l = 1 … L
    n: np.ndarray  # n_{l−1}, by which V and G1 are divided
    K: np.ndarray  # theory at infinite width
    K_finite: np.ndarray  # K^l + G1^l/n_{l−1} + …, to the requested order
    K_last: np.ndarray  # its last term: about the size of what is missing
    K_measured: Estimate  # E[Ĝ^l] over networks
    z_K: np.ndarray  # (measured − K_finite)/stderr; nan where theory is not valid or networks overflowed
    V: np.ndarray  # theory: the four-point vertex, Var(Ĝ^l) = V^l/n_{l−1} at leading order
    V_measured: Estimate  # n_{l−1}·Var(Ĝ^l) over networks
    V_finite: np.ndarray  # n_{l−1} Var(Ĝ^l) to that order; V at order 1
    V_last: np.ndarray
    z_V: np.ndarray  # (measured − V_finite)/stderr
    K_z: Estimate  # K and V measured from the correlators of the pre-activations
    z_K_z: np.ndarray
    V_z: Estimate
    z_V_z: np.ndarray
    spread: np.ndarray  # standard deviation of log Ĝ^l: above 1, rare networks dominate the mean of Ĝ
    valid: np.ndarray  # bool: theory is in range
    converges: np.ndarray  # bool: mean and variance of the series both converge
    n_nets: np.ndarray  # networks used at this layer
    n_overflowed: np.ndarray  # networks excluded
    chi2_K: ChiSquared
    chi2_V: ChiSquared
    seconds: float


def compare(flow: eft.KernelFlow, measured: Measurement, series: eft.Expansion | None = None) -> Comparison:
    """Compare the flow of one input, with the same `widths` as the networks, with an ensemble.

    Theory is K + G1/n and V; the neglected terms are of relative order 1/n² and 1/n. If an ensemble is so
    large that its errors are smaller than these, the z-scores show it. With `series`, the `eft.expand` of the
    same network, theory is the mean and n·variance of Ĝ to the order of the series.

    Raises ValueError if the flow is not that of one network of the same depth.
    """
    K, G1, V, valid = (np.asarray(a, np.float64) for a in (flow.K, flow.G1, flow.V, flow.valid))
    depth = len(measured.n_nets)
    if K.shape != (depth,):
        raise ArgumentError(f"flow must be of one network of depth {depth}: shape ({depth},); got {K.shape}")
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
    G = measured.G

    def score(estimate: Estimate, expected: np.ndarray) -> np.ndarray:
        return np.where(good, z_score(estimate, expected), np.nan)

    def chi2(estimate: Estimate, expected: np.ndarray, deviations) -> ChiSquared:
        used = good & (estimate.stderr > 0) & np.isfinite(estimate.stderr)
        return chi_squared((estimate.mean - expected)[used], deviations(G[:, used]))

    return Comparison(
        layer=np.arange(1, depth + 1),
        n=n,
        K=K,
        K_finite=K_finite,
        K_last=K_last,
        K_measured=measured.K,
        z_K=score(measured.K, K_finite),
        V=V,
        V_measured=measured.V,
        V_finite=V_finite,
        V_last=V_last,
        z_V=score(measured.V, V_finite),
        K_z=measured.K_z,
        z_K_z=score(measured.K_z, K_finite),
        V_z=measured.V_z,
        z_V_z=score(measured.V_z, V_finite),
        spread=_spread(measured.log_G),
        valid=valid,
        converges=converges,
        n_nets=measured.n_nets,
        n_overflowed=measured.n_overflowed,
        chi2_K=chi2(measured.K, K_finite, estimators.mean_deviations),
        chi2_V=chi2(estimators.scaled(measured.V, 1 / n), V_finite / n, estimators.variance_deviations),
        seconds=measured.seconds,
    )


def _spread(log_G: np.ndarray) -> np.ndarray:
    """The standard deviation over networks, without those for which Ĝ is 0 or not finite."""
    kept = np.where(np.isfinite(log_G), log_G, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nan_to_num(np.nanstd(kept - np.nanmax(kept, axis=0), axis=0))


def chi_squared(difference: np.ndarray, deviations: np.ndarray) -> ChiSquared:
    """χ² = dᵀ C⁻¹ d with C = Σ_i e_i e_iᵀ, from deviations e of shape (N, layers).

    Linear combinations of layers that do not fluctuate, to rounding, carry no information and are excluded.
    p: T² = χ², (N − k) T²/(k(N − 1)) ~ F(k, N − k) for k = dof.
    """
    N = len(deviations)
    if not difference.size or N < 2:
        return ChiSquared(0.0, 0, math.nan)
    scale = np.sqrt((deviations**2).sum(axis=0))
    eigenvalues, vectors = np.linalg.eigh((deviations / scale).T @ (deviations / scale))
    kept = eigenvalues > 1e-10 * eigenvalues[-1]
    projected = (vectors.T @ (difference / scale))[kept]
    value, dof = float((projected**2 / eigenvalues[kept]).sum()), int(kept.sum())
    p = float(special.fdtrc(dof, N - dof, value * (N - dof) / (dof * (N - 1)))) if dof < N else math.nan
    return ChiSquared(value, dof, p)


# --- cases: settings that theory and experiment share -------------------------------------------


class Case(NamedTuple):
    """One ensemble and its theory: arguments of `eft.kernel_flow` and `nets.measure`; order in 1/n."""

    act: Any
    cw: float
    depth: int = 11
    width: int = 512
    n_nets: int = 1000
    seed: int = 0
    cb: float = 0.0
    x2: float = 1.0
    K1: float | None = None
    method: str = "networks"
    order: int = 1

    @property
    def activation(self) -> eft.Activation:
        """`act`, where text may be "name" or "name:parameter=value,…"."""
        return parse_activation(self.act) if isinstance(self.act, str) else as_activation(self.act)

    @property
    def title(self) -> str:
        """The activation's name, C_W, C_b if it is not 0, and what determines the first kernel."""
        parts = [f"C_W = {self.cw:g}"]
        if self.cb:
            parts.append(f"C_b = {self.cb:g}")
        parts.append(f"‖x‖²/n₀ = {self.x2:g}" if self.K1 is None else f"K¹ = {self.K1:g}")
        return f"{self.activation.name}: {', '.join(parts)}"


def parse_activation(text: str) -> eft.Activation:
    """The activation named by a text such as "tanh", "mrepu:p=2" or "sin:frequency=0.5".

    Raises TypeError or ValueError for an unknown name or parameter, or a bad value.
    """
    name, _, rest = text.partition(":")
    parameters = {}
    for item in filter(None, rest.split(",")):
        key, equals, value = item.partition("=")
        try:
            parameters[key.strip()] = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError):
            equals = ""
        if not equals:
            raise ArgumentError(f'act must be a name, or one with numbers as "mrepu:p=2"; got {text!r}')
    return eft.activation(name, **parameters)


PRESETS = {
    "paper": (
        Case("tanh", cw=1.0, seed=0),
        Case("relu", cw=2.0, seed=1),
        Case("mrepu:p=2", cw=1.0, K1=1e-3, seed=2),
    )
}
"""Three activations at their critical C_W, ten hidden layers of width 512, 1000 networks.

MRePU starts at K¹ = 1e-3: with an input of size 1 its kernel explodes within a few layers."""


class Prepared(NamedTuple):
    """A case whose arguments have been checked, with its theory; only the networks remain to be drawn."""

    case: Case
    flow: eft.KernelFlow
    series: eft.Expansion | None  # if the order is above 1
    job: ensemble.Job


def prepare(case: Case, **settings) -> Prepared:
    """The theory of a case, and its ensemble ready to be drawn; `settings` as for `nets.measure`.

    Raises TypeError or ValueError for a bad argument.
    """
    act, given = case.activation, {"cb": case.cb, "x2": case.x2, "K1": case.K1}
    flow = eft.kernel_flow(act, case.cw, case.depth, **given)
    order = arguments.positive_int("order", case.order, maximum=MAX_ORDER)
    series = eft.expand(act, case.cw, case.depth, order, **given) if order > 1 else None
    job = ensemble.prepare(
        act, case.cw, case.depth, case.width, case.n_nets,
        seed=case.seed, method=case.method, **given, **settings,
    )  # fmt: skip
    return Prepared(case, flow, series, job)


def run(prepared: Prepared, *, progress: bool | None = None) -> Comparison:
    """Draw the networks of a prepared case and compare them with its theory."""
    return compare(prepared.flow, ensemble.run(prepared.job, progress=progress), prepared.series)


# --- as text --------------------------------------------------------------------------------------

COLUMNS = (
    "layer", "n", "K", "K_finite", "K_last", "K_measured", "K_stderr", "z_K",
    "V", "V_finite", "V_last", "V_measured", "V_stderr", "z_V",
    "K_z", "K_z_stderr", "z_K_z", "V_z", "V_z_stderr", "z_V_z",
    "spread", "valid", "converges", "n_nets", "n_overflowed",
)  # fmt: skip


def rows(comparison: Comparison) -> list[dict[str, Any]]:
    """One dictionary per layer, with the keys of `COLUMNS` and plain Python numbers."""
    c = comparison
    columns = dict.fromkeys(COLUMNS)
    for name in COLUMNS:
        if name.endswith("_stderr"):
            stem = name.removesuffix("_stderr")
            estimate = getattr(c, stem if stem.endswith("_z") else f"{stem}_measured")
            columns[name] = estimate.stderr
        else:
            value = getattr(c, name)
            columns[name] = value.mean if isinstance(value, Estimate) else value
    lists = [np.asarray(columns[name]).tolist() for name in COLUMNS]
    return [dict(zip(COLUMNS, row, strict=True)) for row in zip(*lists, strict=True)]


def csv_rows(compared: Iterable[tuple[Case, Comparison]]) -> list[dict[str, Any]]:
    """A row for each case and layer, which begins with the settings of the case."""
    return [
        {**{name: value for name, value in _settings(case).items() if name != "n_nets"}, **row}
        for case, comparison in compared
        for row in rows(comparison)
    ]


def json_value(compared: Iterable[tuple[Case, Comparison]]) -> dict[str, Any]:
    """{"cases": [{settings, chi2_K, chi2_V, seconds, layers}]}."""
    cases = [
        {
            "settings": _settings(case),
            "chi2_K": c.chi2_K._asdict(),
            "chi2_V": c.chi2_V._asdict(),
            "seconds": c.seconds,
            "layers": rows(c),
        }
        for case, c in compared
    ]
    return {"cases": cases}


def _settings(case: Case) -> dict[str, Any]:
    return {**case._asdict(), "act": case.activation.name}
