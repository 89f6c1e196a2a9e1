"""Figures of several panels: theory as lines and bands, experiment as points with error bars."""

import re
import textwrap
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from eft.arguments import ArgumentError, shown
from eft.figures import COLOURS, GREY, Drawing
from eft.figures.style import DASHES, MARKERS, MAX_SHOWN

BLACK, PALE = "#000000", "#c4c4c4"
COLORS = (*COLOURS, BLACK)
"""The palette of all figures, and black. Each colour has dashes and a marker of its own."""

ERRORS = {"ls": "", "ms": 5, "capsize": 2.5, "elinewidth": 1.1, "zorder": 3}
STYLES = {
    "line": {"lw": 1.6},
    "marked": {"lw": 1.2, "ms": 5},
    "solid": {"ls": "-", "lw": 1.6},
    "dashed": {"ls": (0, (4, 2)), "lw": 1.2},
    "dotted": {"ls": ":", "lw": 1.4},
    "behind": {"ls": "-", "lw": 0.9, "zorder": 1},
    "beneath": {"ls": "-", "lw": 4.5, "zorder": 1, "solid_capstyle": "butt"},
    "points": {"marker": "o", **ERRORS},
    "squares": {"marker": "s", "mfc": "white", **ERRORS},
}
"""A "line" has the dashes of its colour, a "marked" one its marker too; "solid", "dashed" and "dotted" ones
are alike in all colours. "behind": what other panels are about, thin. "beneath": what others are drawn on,
broad. "points" have the marker of their colour, "squares" another one, open."""


class Series(NamedTuple):
    """One curve of a panel. What is not finite, or larger than MAX_SHOWN, is left out.

    `x`, `y`: the points. `style`: one of STYLES, or "band", from y to `error`. `color`, `label`: as in
    matplotlib; curves of one label share an entry of the legend. `error`: half the length of an error bar, or
    (2, points) its lengths below and above.
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
    title: str,
    rows: Sequence[Sequence[Panel]],
    *,
    legend: str = "below",
    width: float = 4.2,
    height: float = 3.5,
    share: Literal["all", "row", "none"] = "none",
) -> Figure:
    """Panels in rows. `legend`: "below" the figure, with each label once, below "each" panel, or "none".

    `width`, `height`: of a panel, in inches. `share`: whether "all" panels, or those of each "row", have axes
    of one scale, which is named at the left and below only.

    Raises ArgumentError for another word, or a style that is none of STYLES.
    """
    _checked("legend", legend, ("below", "each", "none"))
    _checked("share", share, ("all", "row", "none"))
    for series in (each for row in rows for panel in row for each in panel.series):
        _checked("style", series.style, (*STYLES, "band"))
    columns = max(map(len, rows))
    size = width * columns + 0.6, height * len(rows) + 0.6
    drawing = Drawing(figsize=size, layout="constrained")
    axes = drawing.subplots(len(rows), columns, squeeze=False, sharex=share, sharey=share)
    for row, line in zip(rows, axes, strict=True):
        for axis in line[len(row) :]:
            axis.set_axis_off()
        for panel, axis in zip(row, line, strict=False):
            show(panel, axis)
            if legend == "each":
                handles, labels, maps = entries([axis])
                if labels:
                    place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.6 / height)}
                    style = {"frameon": False, "ncols": max(1, int(width // 1.7)), "handlelength": 3.2}
                    axis.legend(handles, labels, handler_map=maps, fontsize=8, **style, **place)
    if share != "none":
        for axis in axes.flat:
            axis.label_outer()
    if legend == "below":
        below(drawing, list(axes.flat), columns)
    drawing.suptitle(textwrap.fill(typeset(title), int(11 * size[0])))
    return drawing


def _checked(name: str, value: Any, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ArgumentError(f"{name} must be one of {', '.join(allowed)}; got {shown(value)}")


def below(drawing: Figure, axes: Sequence[Axes], columns: int) -> None:
    """One legend for all axes, below them."""
    handles, labels, maps = entries(axes)
    if labels:
        drawing.legend(
            handles, labels, handler_map=maps, loc="outside lower center", ncols=min(len(labels), columns),
            frameon=False, handlelength=3.2,
        )  # fmt: skip


def entries(axes: Sequence[Axes]) -> tuple[list[Any], list[str], dict[Any, HandlerTuple]]:
    """Handles and labels of a legend, each label once, and how those of several curves are drawn.

    Of a label that a line and its points share they are drawn on one another; points alone, side by side.
    """
    found: dict[str, dict[Any, Artist]] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            found.setdefault(label, {}).setdefault(_look(handle), handle)
    handles, maps = [], {}
    for looks in found.values():
        several = tuple(looks.values())
        handles.append(several if len(several) > 1 else next(iter(looks.values())))
        if len(several) > 1 and all(look[1] in ("", "None", "none") for look in looks):
            maps[several] = HandlerTuple(ndivide=None)
    return handles, list(found), maps


def _look(handle: Any) -> tuple[Any, ...]:
    """Marker, dashes, and fill of what a legend shows."""
    if isinstance(handle, PolyCollection):
        return "band", "-", tuple(np.ravel(handle.get_facecolor()))
    line = handle if isinstance(handle, Line2D) else next(iter(handle))
    return line.get_marker(), line.get_linestyle(), line.get_markerfacecolor(), line.get_color()


def typeset(words: str) -> str:
    """The text with C_W and C_b as formulas, unless it contains formulas already."""
    return words if "$" in words else re.sub(r"C_[Wb]\b", r"$\g<0>$", words)


def show(panel: Panel, axis: Axes) -> None:
    """The panel on these axes, without a legend."""
    for height, words in panel.at:
        axis.axhline(height, color=GREY, lw=0.9)
        place = {"xycoords": ("axes fraction", "data"), "ha": "left", "va": "center", "fontsize": 8}
        axis.annotate(typeset(words), (1.01, height), **place)
    for series in panel.series:
        _draw(series, axis)
    axis.set(xlabel=typeset(panel.xlabel), ylabel=typeset(panel.ylabel))
    axis.set_title(typeset(panel.title), fontsize=10)
    axis.set_xscale(panel.xscale, **({"linthresh": 1} if panel.xscale == "symlog" else {}))
    axis.set_yscale(panel.yscale, **({"linthresh": 1} if panel.yscale == "symlog" else {}))
    if panel.yscale == "linear":
        axis.ticklabel_format(axis="y", scilimits=(-3, 4))
    elif panel.yscale == "log" and panel.ylim is None:
        _within_a_decade(axis)
    if panel.xscale == "linear":
        few = int(np.clip(axis.get_window_extent().width / 60, 2, 6))
        axis.xaxis.set_major_locator(MaxNLocator(few, integer=True, steps=[1, 2, 5, 10]))
    if len(panel.xticks):
        axis.set_xticks(panel.xticks, [f"{tick:g}" for tick in panel.xticks])
        axis.set_xticks((), minor=True)
    if panel.ylim is not None:
        axis.set_ylim(panel.ylim)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", alpha=0.25, lw=0.6)


def _within_a_decade(axis: Axes) -> None:
    """Where a logarithmic axis shows no two powers of ten, numbers as on a linear one."""
    low, high = axis.get_ylim()
    if high < 10 * low and 1e-3 < low < 1e4:
        axis.yaxis.set_major_locator(MaxNLocator(5))
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.yaxis.set_minor_locator(NullLocator())


def _draw(s: Series, axis: Axes) -> None:
    style = look(s.style, s.color)
    x, y, label = np.asarray(s.x, float), np.asarray(s.y, float), s.label and typeset(s.label)
    y = np.where(abs(y) < MAX_SHOWN, y, np.nan)
    if s.style == "band":
        high = np.asarray(s.error, float)
        high = np.where(abs(high) < MAX_SHOWN, high, np.nan)
        axis.fill_between(x, y, high, label=label, **style)
    elif s.error is None:
        style = {k: v for k, v in style.items() if k not in ("capsize", "elinewidth")}
        axis.plot(x, y, label=label, **style)
    else:
        error = np.where(np.isfinite(s.error), s.error, np.nan)
        axis.errorbar(x, y, error, label=label, **style)


def look(style: str, color: str) -> dict[str, Any]:
    """The properties of matplotlib of a curve of this style and colour: series differ without colours too."""
    at = COLORS.index(color) if color in COLORS else 0
    dashes = DASHES[at] if at < len(DASHES) else "-"
    if style == "band":
        return {"facecolor": (color, 0.18), "edgecolor": (color, 0.7), "lw": 0.8, "ls": dashes}
    own: dict[str, Any] = {"ls": dashes} if style in ("line", "marked") else {}
    if style == "points" or style == "marked":
        own["marker"] = MARKERS[at % len(MARKERS)]
    elif style == "squares":
        own["marker"] = MARKERS[(at + 1) % len(MARKERS)]
    return {"color": color, **STYLES[style], **own}
