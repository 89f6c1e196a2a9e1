"""The method `plot` of the records of `nets`: measurements, and the theory beneath them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from eft.arguments import ArgumentError
from eft.figures.curves import Curve
from eft.figures.drawing import SPECIAL, draw, finish, put
from eft.figures.style import GREY
from nets.comparison.comparison import Comparison
from nets.comparison.in_training import TrainingComparison
from nets.models.diagnosis import Diagnosis
from nets.training.coordinates import CoordinateCheck

Line = Mapping[str, Any]
NETWORKS, THEORY = "networks", "theory"

__all__ = ["draw"]


def comparison(record: Comparison, ax: Axes, line: Line, quantity: str = "K") -> None:
    """K, or V, of the networks with error bars, and theory at infinite and at this width.

    `quantity`: "K" or "V".
    """
    if quantity not in ("K", "V"):
        raise ArgumentError(f"quantity must be 'K' or 'V'; got {quantity!r:.40}")
    measured = getattr(record, f"{quantity}_measured")
    leading, finite = (
        np.where(record.valid, a, np.nan)
        for a in (getattr(record, quantity), getattr(record, f"{quantity}_finite"))
    )
    beneath = [Curve(record.layer, leading, "theory, leading order")]
    if not np.array_equal(leading, finite, equal_nan=True):
        beneath.append(Curve(record.layer, finite, "theory at this width"))
    put(ax, beneath, {"marker": ""})
    put(ax, [Curve(record.layer, measured.mean, NETWORKS, measured.stderr)], line)
    words = "kernel $K$" if quantity == "K" else "four-point vertex $V$"
    finish(ax, "layer $\\ell$", words)


def in_training(record: TrainingComparison, ax: Axes, line: Line) -> None:
    """The mean loss of the networks, and that of infinitely wide ones."""
    curve = record.curve
    put(
        ax,
        [Curve(np.asarray(curve.t), np.asarray(curve.train.loss), "infinitely wide (theory)")],
        {"marker": ""},
    )
    put(ax, [Curve(record.run.steps, record.loss.mean, NETWORKS, record.loss.stderr)], line)
    ax.set_yscale("log")
    ax.set_xscale("symlog", linthresh=1)
    ax.set_xlim(left=-0.2)
    finish(ax, "steps of training", "mean loss")


def coordinates(record: CoordinateCheck, ax: Axes, line: Line, layers: Any = None) -> None:
    """The change of each layer against the width, and the powers that theory expects, fitted in height.

    `layers`: those that are drawn, from 1; default: the first, the last, and some between.
    """
    n, depth = np.asarray(record.widths, float), len(record.change_exponent)
    if layers is None:
        layers = np.unique(np.linspace(1, depth, min(depth, 4)).round().astype(int))
    for layer in np.atleast_1d(layers):
        if layer not in range(1, depth + 1):
            raise ArgumentError(f"layers must be between 1 and {depth}; got {layer!r:.40}")
        mean, error = (np.asarray(a)[:, int(layer) - 1] for a in record.change)
        exponent = float(record.change_exponent[int(layer) - 1])
        (color,) = put(ax, [Curve(n, mean, f"layer {layer}: $n^{{{exponent:g}}}$ expected", error)], line)
        power = n**exponent
        height = np.average(mean / power, weights=(power / np.where(error > 0, error, np.inf)) ** 2 + 1e-300)
        ax.plot(n, height * power, color=color, lw=1.2, ls="--", zorder=1)
    ax.set_yscale("log")
    finish(ax, "width $n$", f"change of $z$ by {record.steps} step{'s' * (record.steps > 1)}")


def diagnosis(record: Diagnosis, ax: Axes, line: Line, quantity: str = "K") -> None:
    """K, χ⊥, χ∥ or the correlation of inputs in every layer: measured as points, predicted as lines.

    `quantity`: "K", "chi_perp", "chi_parallel" or "rho".
    """
    labels = {
        "K": ("kernel $\\hat K$", "K_spread"),
        "chi_perp": ("$\\chi_\\perp$ of the step into the layer", "chi_spread"),
        "chi_parallel": ("$\\chi_\\parallel$ of the step into the layer", ""),
        "rho": ("correlation of inputs", ""),
    }
    if quantity not in labels:
        raise ArgumentError(f"quantity must be one of {', '.join(labels)}; got {quantity!r:.40}")
    if not record.layers:
        raise ArgumentError("Diagnosis has no layers: nothing to draw")
    words, spread = labels[quantity]
    layer = np.array([each.number for each in record.layers])
    expected = np.array([getattr(each.theory, quantity) for each in record.layers], float)
    band = None
    if spread:
        width = np.array([getattr(each.theory, spread) for each in record.layers], float)
        band = expected - width, expected + width
    put(
        ax,
        [Curve(layer, expected, "theory, ± spread of one network" if spread else THEORY, band=band)],
        {"marker": ""},
    )
    values = [getattr(each, quantity) for each in record.layers]
    if quantity == "rho":
        mean, error = np.array(values, float), np.zeros(len(values))
    else:
        mean, error = np.array([(float(e.mean), float(e.stderr)) for e in values]).T
    put(ax, [Curve(layer, mean, "measured", error)], line)
    if quantity.startswith("chi"):
        ax.axhline(1, color=GREY, lw=0.9, zorder=0)
    finish(ax, "layer $\\ell$", words)


SPECIAL |= {
    "Comparison": comparison,
    "TrainingComparison": in_training,
    "CoordinateCheck": coordinates,
    "Diagnosis": diagnosis,
}
