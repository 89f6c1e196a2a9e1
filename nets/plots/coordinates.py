"""The figure of a coordinate check."""

import numpy as np
from matplotlib.figure import Figure

from nets.plots.panels import COLORS, Panel, Series, figure
from nets.training.coordinates import CoordinateCheck

MAX_LAYERS = 6
"""Layers that are drawn, the first and the last among them: as many as there are colours to tell apart."""

MAX_TICKS = 5
"""Widths named on the axis, or up to twice as many."""


def coordinate_figure(check: CoordinateCheck) -> Figure:
    """Size and change of the pre-activations against the width: points, and lines of the expected power of n.

    The theory gives the powers only; the height of each line is fitted to the larger half of the widths.
    """
    n, depth = np.asarray(check.widths, float), len(check.change_exponent)
    layers = np.unique(np.linspace(0, depth - 1, min(depth, MAX_LAYERS)).round().astype(int))
    wide, ticks = n >= np.median(n), tuple(check.widths)[:: max(1, len(n) // MAX_TICKS)]

    def panel(label: str, measured, exponent: np.ndarray) -> Panel:
        mean, error = np.asarray(measured.mean), np.asarray(measured.stderr)
        series = []
        for color, i in zip(COLORS, layers, strict=False):
            power = n ** exponent[i]
            height = np.average((mean[:, i] / power)[wide], weights=(power / error[:, i])[wide] ** 2)
            series.append(Series(n, height * power, "line", color))
            series.append(Series(n, mean[:, i], "points", color, f"layer {i + 1}", error[:, i]))
        return Panel("width $n$", label, series, xscale="log", yscale="log", xticks=ticks)

    title = (
        f"{check.parametrization} parametrization, {check.optimizer} at rate {check.learning_rate:g}: "
        "points measured, lines the powers of $n$ by theory"
    )
    steps = f"{check.steps} step" + "s" * (check.steps > 1)
    panels = [
        panel(r"size at the start $\sqrt{\langle z^2\rangle}$", check.size, check.size_exponent),
        panel(
            rf"change after {steps} $\sqrt{{\langle(\Delta z)^2\rangle}}$",
            check.change,
            check.change_exponent,
        ),
    ]
    return figure(title, [panels])
