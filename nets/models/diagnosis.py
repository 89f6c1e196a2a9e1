"""The record of a diagnosis, and how it reads."""

import math
import textwrap
from typing import Any, NamedTuple

import eft
from eft.records import METHODS
from nets.models.advice import Setting
from nets.models.theory import Prediction
from nets.statistics.estimators import Estimate


class LayerReport(NamedTuple):
    """One linear layer and its pre-activations, measured.

    `number`: from 1. `path`: of the weights in params. `kind`: "dense" or "convolution". `source`: the
    number of the layer upstream, 0 for the input, None for several. `before`: what stands between.
    `gamma`: γ of the skip connection that ends here, 0 without, NaN if it is not a number; `skip`: the number
    of the layer where it starts. `fan_in`, `width`: terms of each sum, and neurons.
    `cw` = fan_in·mean(W²), `cb` = mean(b²), with the standard error of a sample of independent numbers.
    `K`: K̂ = mean z², its error from the spread of the neurons. `rho`: the mean correlation of two inputs.
    `chi_perp`, `chi_parallel`: of the step from `source` to here; errors from the probes and the neurons.
    `chi_block`: χ⊥ from the start of the skip to here, where it passes over several layers.
    `gradient`: ‖∂(v·f)/∂z‖²/‖v‖², v random: all steps from here to the output together.
    `flat`, `dead`: parts of its entries where the activation that follows has next to no slope, and of its
    neurons where that slope is 0 at all inputs. `finite`: the part of its entries that is finite.
    `V`: n Var(Ĝ) over networks, where there are several. `theory`: what is predicted.
    What could not be measured is NaN.
    """

    number: int
    path: str
    kind: str
    source: int | None
    before: str
    gamma: float
    skip: int | None
    fan_in: int
    width: int
    cw: Estimate
    cb: Estimate
    K: Estimate
    rho: float
    chi_perp: Estimate
    chi_parallel: Estimate
    chi_block: Estimate
    gradient: float
    flat: float
    dead: float
    finite: float
    V: Estimate
    theory: Prediction

    __repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS

    @property
    def score(self) -> float:
        """(K̂ − K)/spread; the spread of one network of this width, or the measured error of several."""
        spread = self.theory.K_spread if math.isnan(float(self.V.mean)) else float(self.K.stderr)
        known = spread > 0 and not self.theory.started
        return (float(self.K.mean) - self.theory.K) / spread if known else math.nan


class Verdict(NamedTuple):
    """One finding.

    `kind`: "critical", "ordered", "chaotic", "vanishing", "exploding", "gain", "bias variance",
    "no critical point", "dead", "saturated", "overflow" or "nan". `layer`: the number of the layer at fault,
    or the first of those that the finding is about. `words`: the finding, and how to mend it. `setting`: the
    network whose recipe mends it; None where there is none.
    """

    kind: str
    layer: int
    words: str
    setting: Setting | None = None


class Diagnosis(NamedTuple):
    """What was found in a model; str() is a table and the verdicts.

    `layers`: in order. `verdicts`: faults first. `notes`: what was not understood, or is worth knowing.
    `n_inputs`, `n_nets`: the numbers of inputs and of networks.
    """

    layers: tuple[LayerReport, ...]
    verdicts: tuple[Verdict, ...]
    notes: tuple[str, ...]
    n_inputs: int
    n_nets: int

    __repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS

    @property
    def summary(self) -> str:
        """The number of layers and the faults, in a line."""
        faults = [f"{verdict.kind} (layer {verdict.layer})" for verdict in self.verdicts]
        return f"{len(self.layers)} layers: {'; '.join(faults) or 'nothing found'}"

    @property
    def healthy(self) -> bool:
        """Whether no fault was found."""
        return all(verdict.kind == "critical" for verdict in self.verdicts)

    @property
    def setting(self) -> Setting | None:
        """That of the first verdict that has one."""
        return next((verdict.setting for verdict in self.verdicts if verdict.setting is not None), None)

    def recipe(self) -> eft.Recipe | None:
        """How to initialize the network instead, by the first verdict that has a recipe; None without one."""
        return None if self.setting is None else self.setting.recipe()

    def __str__(self) -> str:
        networks = f", {self.n_nets} networks" if self.n_nets > 1 else ""
        title = f"{len(self.layers)} layers, {self.n_inputs} input{'s' * (self.n_inputs != 1)}{networks}"
        blocks = [title, _weights(self.layers), _signals(self.layers, self.n_nets > 1)]
        verdicts = [_wrapped(f"{verdict.kind}: {verdict.words}") for verdict in self.verdicts]
        notes = [_wrapped(f"note: {note}") for note in self.notes]
        mend = [] if self.setting is None else [_wrapped(f"recipe(): how to initialize {self.setting}")]
        return "\n\n".join([*blocks, "\n".join([*verdicts, *notes, *mend])])


WIDTH = 100
"""Columns of the report."""


def _weights(layers: tuple[LayerReport, ...]) -> str:
    rows = [("l", "weights", "from", "what stands between", "fan-in", "C_W", "", "C_b", "")]
    for r in layers:
        before = f"{r.before}; skip{_gamma(r)}" if r.gamma else r.before
        place = (str(r.number), _cut(r.path, 30), _source(r), _cut(before, 24), str(r.fan_in))
        rows.append((*place, _number(r.cw.mean), _error(r.cw), _number(r.cb.mean), _error(r.cb)))
    return _table(rows, left={1, 3})


def _signals(layers: tuple[LayerReport, ...], ensemble: bool) -> str:
    head = ("l", "K", "", "theory", "z", "χ⊥", "", "theory", "χ∥", "theory", "ρ", "theory")
    last = ("V", "theory") if ensemble else ("flat", "dead")
    rows: list[tuple[str, ...]] = [(*head, *last)]
    for r in layers:
        t = r.theory
        size = (_number(r.K.mean), _error(r.K), "start" if t.started else _number(t.K), _score(r))
        chi = (_number(r.chi_perp.mean, 3), _error(r.chi_perp), _number(t.chi_perp, 3))
        chi += (_number(r.chi_parallel.mean, 3), _number(t.chi_parallel, 3))
        rho = (_number(r.rho, 2), "" if t.started else _number(t.rho, 2))
        tail = (float(r.V.mean), t.V) if ensemble else (r.flat, r.dead)
        rows.append((str(r.number), *size, *chi, *rho, *(_number(a, 2) for a in tail)))
    return _table(rows, left=set())


def _score(r: LayerReport) -> str:
    z = r.score
    return "" if math.isnan(z) else f"{z:+.1f}" if abs(z) < 100 else f"{z:+.0e}"


def _source(r: LayerReport) -> str:
    return "several" if r.source is None else "x" if r.source == 0 else str(r.source)


def _gamma(r: LayerReport) -> str:
    start = "" if r.skip == r.source else f" from {r.skip or 'x'}"
    return start if r.gamma == 1 else f"{start} γ={r.gamma:.3g}"


def _number(value: Any, digits: int = 4) -> str:
    value = float(value)
    if math.isnan(value):
        return "–"
    return f"{value:.{digits}g}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.1e}"


def _error(estimate: Estimate) -> str:
    value, error = float(estimate.mean), float(estimate.stderr)
    if not (math.isfinite(value) and math.isfinite(error)) or error == 0:
        return ""
    return f"±{error:.0f}" if 1 <= error < 1e4 else f"±{_number(error, 1)}"


def _cut(words: str, length: int) -> str:
    return words if len(words) <= length else "…" + words[-(length - 1) :]


def _table(rows: list[tuple[str, ...]], left: set[int]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = (
            cell.ljust(n) if i in left else cell.rjust(n)
            for i, (cell, n) in enumerate(zip(row, widths, strict=True))
            if n
        )
        lines.append(" ".join(cells).rstrip())
    return "\n".join(lines)


def _wrapped(words: str) -> str:
    return textwrap.fill(
        words, WIDTH - 2, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )
