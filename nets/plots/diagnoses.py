"""The figure of a diagnosis."""

import numpy as np
from matplotlib.figure import Figure

from eft.figures import BLUE, VERMILLION
from nets.models.diagnosis import Diagnosis
from nets.plots.panels import Panel, Series, figure


def diagnosis_figure(title: str, found: Diagnosis) -> Figure:
    """K, χ⊥, χ∥ and the correlation of inputs in every layer: measured as points, predicted as lines."""
    layer = np.array([report.number for report in found.layers])

    def measured(name: str) -> tuple[np.ndarray, np.ndarray | None]:
        values = [getattr(report, name) for report in found.layers]
        if isinstance(values[0], tuple):
            mean, error = np.array([(float(e.mean), float(e.stderr)) for e in values]).T
            return mean, error
        return np.array(values, float), None

    def panel(name: str, label: str, spread: str | None, scale: str, at) -> Panel:
        mean, error = measured(name)
        theory = np.array([getattr(report.theory, name) for report in found.layers], float)
        series = []
        if spread is not None:
            width = np.array([getattr(report.theory, spread) for report in found.layers], float)
            series.append(Series(layer, theory - width, "band", BLUE, "one network's spread", theory + width))
        series.append(Series(layer, theory, "line", BLUE, "theory"))
        series.append(Series(layer, mean, "points", VERMILLION, "measured", error))
        positive = bool(np.all(np.nan_to_num(mean, nan=1.0) > 0))
        return Panel("layer", label, series, yscale=scale if positive else "linear", at=at)

    one = ((1.0, "1"),)
    panels = [
        panel("K", "kernel $\\hat K$", "K_spread", "log", ()),
        panel("chi_perp", "$\\chi_\\perp$ of the step into the layer", "chi_spread", "linear", one),
        panel("chi_parallel", "$\\chi_\\parallel$", None, "linear", one),
        panel("rho", "correlation of inputs", None, "linear", ()),
    ]
    faults = "; ".join(f"{verdict.kind} (layer {verdict.layer})" for verdict in found.verdicts)
    return figure(f"{title}: {faults}" if faults else title, [panels[:2], panels[2:]])
