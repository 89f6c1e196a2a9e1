"""The figure of networks in training beside infinitely wide ones."""

import numpy as np
from matplotlib.figure import Figure

from nets.comparison.in_training import TrainingComparison
from nets.plots.panels import BLACK, COLORS, Panel, Series, figure

INPUTS = 4
"""Test inputs whose outputs are drawn."""


def training_comparison_figure(title: str, found: TrainingComparison) -> Figure:
    """Mean loss, and mean and standard deviation over networks of the first outputs, against the steps."""
    run, curve = found.run, found.curve
    steps, dense = np.asarray(run.steps, float), np.asarray(curve.t, float)
    theory = curve.train if curve.test is None else curve.test
    shape = (len(dense), *run.outputs.mean.shape[1:])
    mean, deviation = np.reshape(theory.mean, shape)[..., 0], np.sqrt(np.asarray(theory.variance))
    shown = np.unique(np.linspace(0, shape[1] - 1, min(shape[1], INPUTS)).round().astype(int))
    label = "infinitely wide (theory)"
    loss = [
        Series(dense, curve.train.loss, "line", BLACK, label),
        Series(steps, found.loss.mean, "points", COLORS[1], "networks", found.loss.stderr),
    ]
    means, spreads = [], []
    for color, i in zip(COLORS, shown, strict=False):
        name = f"test input {i + 1}"
        means.append(Series(dense, mean[:, i], "line", color))
        means.append(
            Series(steps, run.outputs.mean[:, i, 0], "points", color, name, run.outputs.stderr[:, i, 0])
        )
        measured = np.sqrt(run.outputs_variance.mean[:, i, 0])
        error = run.outputs_variance.stderr[:, i, 0] / (2 * np.where(measured > 0, measured, 1.0))
        spreads.append(Series(dense, deviation[:, i], "line", color))
        spreads.append(Series(steps, measured, "points", color, name, error))
    panels = [
        Panel("steps", "mean loss", loss, xscale="symlog", yscale="log"),
        Panel("steps", "mean output", means, xscale="symlog"),
        Panel("steps", "standard deviation of the output", spreads, xscale="symlog"),
    ]
    return figure(f"{title}: lines theory at infinite width, points networks", [panels])
