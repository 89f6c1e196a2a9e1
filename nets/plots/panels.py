"""Figures of several panels: theory as lines and bands, experiment as points with error bars."""

import re
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from eft.figures import COLOURS, GREY, Drawing
from eft.figures.style import MARKERS, MAX_SHOWN

BLACK = "#000000"
COLORS = (*COLOURS, BLACK)
"""The palette of all figures, and black."""

STYLES = {
    "line": {"ls": "-", "lw": 1.6},
    "dashed": {"ls": (0, (4, 2)), "lw": 1.2},
    "dotted": {"ls": ":", "lw": 1.4},
    "points": {"ls": "", "marker": "o", "ms": 4, "capsize": 2.5, "elinewidth": 1.1, "zorder": 3},
    "squares": {
        "ls": "",
        "marker": "s",
        "ms": 4,
        "mfc": "white",
        "capsize": 2.5,
        "elinewidth": 1.1,
        "zorder": 3,
    },
}


class Series(NamedTuple):
    """One curve of a panel. What is not finite, or larger than MAX_SHOWN, is left out.

    `x`, `y`: the points. `style`: one of STYLES, or "band", from y to `error`. `color`, `label`: as in
    matplotlib. `error`: half the length of an error bar.
    """

    x: Any
    y: Any
    style: str
    color: str
    label: str | None = None
    error: Any = None


class Panel(NamedTuple):
    """Axes and what they show.

    `xlabel`, `ylabel`, `title`, `xscale`, `yscale`, `ylim`: as in matplotlib. `series`: the curves. `at`:
    heights of thin horizontal lines, and their labels. `xticks`: the numbers on the horizontal axis, if not
    those of matplotlib.
    """

    xlabel: str
    ylabel: str
    series: Sequence[Series]
    title: str = ""
    xscale: str = "linear"
    yscale: str = "linear"
    ylim: tuple[float, float] | None = None
    at: Sequence[tuple[float, str]] = ()
    xticks: Sequence[float] = ()


def figure(
    title: str, rows: Sequence[Sequence[Panel]], *, legend: str = "below", width: float = 4.2
) -> Figure:
    """Panels in rows. The legend is "below" the figure, with each label once, or in "each" panel."""
    columns = max(map(len, rows))
    drawing = Drawing(figsize=(width * columns + 0.6, 3.5 * len(rows) + 0.6), layout="constrained")
    axes = drawing.subplots(len(rows), columns, squeeze=False)
    shown: dict[str, Any] = {}
    for row, line in zip(rows, axes, strict=True):
        for axis in line[len(row) :]:
            axis.set_axis_off()
        for panel, axis in zip(row, line, strict=False):
            _show(panel, axis)
            own: dict[str, Any] = {}
            for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
                own.setdefault(label, handle)
                shown.setdefault(label, handle)
            if legend == "each" and own:
                axis.legend(list(own.values()), list(own), frameon=False, fontsize=8)
    if legend == "below" and shown:
        drawing.legend(
            list(shown.values()), list(shown), loc="outside lower center", ncols=min(len(shown), columns),
            frameon=False,
        )  # fmt: skip
    drawing.suptitle(textwrap.fill(typeset(title), int(12 * drawing.get_figwidth())))
    return drawing


def typeset(words: str) -> str:
    """The text with C_W and C_b as formulas, unless it contains formulas already."""
    return words if "$" in words else re.sub(r"C_[Wb]\b", r"$\g<0>$", words)


def _show(panel: Panel, axis) -> None:
    for height, words in panel.at:
        axis.axhline(height, color=GREY, lw=0.9)
        axis.annotate(
            words, (0.99, height), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=8
        )
    for s in panel.series:
        style = dict(STYLES.get(s.style, {}))
        if s.style == "points" and s.color in COLORS:  # so that series differ without colours too
            style["marker"] = MARKERS[COLORS.index(s.color) % len(MARKERS)]
        x, y, label = np.asarray(s.x, float), np.asarray(s.y, float), s.label and typeset(s.label)
        y = np.where(abs(y) < MAX_SHOWN, y, np.nan)
        if s.style == "band":
            high = np.asarray(s.error, float)
            high = np.where(abs(high) < MAX_SHOWN, high, np.nan)
            axis.fill_between(x, y, high, color=s.color, alpha=0.2, lw=0, label=label)
        elif s.error is None:
            style = {k: v for k, v in style.items() if k not in ("capsize", "elinewidth")}
            axis.plot(x, y, color=s.color, label=label, **style)
        else:
            error = np.where(np.isfinite(s.error), s.error, np.nan)
            axis.errorbar(x, y, error, color=s.color, label=label, **style)
    axis.set(xlabel=panel.xlabel, ylabel=panel.ylabel)
    axis.set_title(typeset(panel.title), fontsize=10)
    axis.set_xscale(panel.xscale, **({"linthresh": 1} if panel.xscale == "symlog" else {}))
    axis.set_yscale(panel.yscale, **({"linthresh": 1} if panel.yscale == "symlog" else {}))
    if panel.yscale == "linear":
        axis.ticklabel_format(axis="y", scilimits=(-3, 4))
    if panel.xscale == "linear":
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(panel.xticks):
        axis.set_xticks(panel.xticks, [f"{tick:g}" for tick in panel.xticks])
        axis.set_xticks((), minor=True)
    if panel.ylim is not None:
        axis.set_ylim(panel.ylim)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", alpha=0.25, lw=0.6)
