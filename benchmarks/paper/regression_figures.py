"""The figures of R9 and R10: every network's final loss and error of the derivative, losses, functions."""

import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from regression import ACTIVATIONS, quantiles

from eft.figures import GREY, Drawing
from nets.paper.targets import Regression
from nets.plots.panels import BLACK, COLORS, PALE, Panel, Series, below, figure, show, typeset

CHOSEN = dict(zip(ACTIVATIONS, COLORS, strict=False))
"""The colour of each activation."""

KINDS = {
    "fan_out": ("C_W/n₁", "o", COLORS[0], "line"),
    "below": ("below the threshold", "s", COLORS[1], "line"),
    "fan_in": ("C_W/n₀", "^", COLORS[2], "line"),
}
"""Of each kind of first layer, its name, marker, colour and style."""

LANE = 0.3
"""The share of a dot plot, at its right, that is for networks beyond the axis."""
ROW = 0.27
"""Inches of a row of a dot plot."""

Cells = Mapping[tuple[str, str], Mapping[str, Any]]


def pictures(
    title: str, args, known: Mapping[str, Regression], drawn: Mapping[str, Cells]
) -> dict[str, Figure]:
    """All targets; each of them with its losses during training; functions of one variable, derivatives."""
    made = {"": overview(f"{title}: {args.nets} networks each, after training", known, drawn)}
    for name, cells in drawn.items():
        made[f"_{name}"] = of_target(f"{title}: {known[name].formula}, {args.nets} networks each", cells)
    curves = {name: cells for name, cells in drawn.items() if known[name].n0 == 1}
    if curves:
        words = "networks of median error; grey: the target"
        made["_functions"] = small(f"{title}: {words}", curves, "u", known, "f")
        made["_derivatives"] = small(f"{title}: derivatives of the {words}", curves, "slope", known, "f′")
    return made


# --- final losses and errors -----------------------------------------------------------------------


def overview(title: str, known: Mapping[str, Regression], drawn: Mapping[str, Cells]) -> Figure:
    """A dot plot of the losses for each target, and beside it one of the errors of the derivative."""
    rows = [len(cells) for cells in drawn.values()]
    made = Drawing(figsize=(10.2, 1.2 + sum(ROW * n + 0.95 for n in rows)), layout="constrained")
    axes = made.subplots(len(rows), 2, squeeze=False, height_ratios=[n + 1.5 for n in rows])
    for (name, cells), pair in zip(drawn.items(), axes, strict=True):
        both(cells, pair, short(known[name]))
    explained(made, axes[0, 0], drawn)
    made.suptitle(title)
    return made


def short(target: Regression) -> str:
    return target.formula.split(" = ")[0]


def both(cells: Cells, axes: Any, words: str = "") -> None:
    """Losses and errors of the derivative of one target."""
    constant = float(next(iter(cells.values()))["variance"])
    dots(axes[0], cells, "final", constant, "best constant")
    dots(axes[1], cells, "slope error", 1.0, "of f′ = 0")
    axes[1].tick_params(labelleft=False)
    before = f"{words}: " if words else ""
    axes[0].set_title(f"{before}final loss, mean square", fontsize=10)
    axes[1].set_title(f"{before}relative error of the derivative", fontsize=10)


def dots(axis: Axes, cells: Cells, what: str, level: float, words: str) -> None:
    """A row for each cell: a median, a line from 16 % to 84 %, all networks; at the right, what lies beyond.

    `level`: a value to compare with. Beyond the axis are the networks that overflowed, and those that are
    more than a hundred times worse than it.
    """
    values = {cell: np.asarray(found[what], float) for cell, found in ordered(cells).items()}
    first, edge, end = extent(np.concatenate(list(values.values())), level)
    heights = places(values)
    top = min(heights.values())
    axis.set_xscale("log")
    axis.set(xlim=(10**first, 10**end), ylim=(max(heights.values()) + 0.6, top - 1.1))
    for (label, kind), each in values.items():
        row(axis, heights[label, kind], each, 10**edge, KINDS[kind][1], CHOSEN[label], 10 ** (end - edge))
    axis.axvline(level, color=GREY, lw=1.0, ls=(0, (1, 1.5)), zorder=1)
    right = 2 * (np.log10(level) - first) < edge - first  # the words stand where there is room
    name = f" {words}" if right else f"{words} "
    place = {"ha": "left" if right else "right", "va": "center", "fontsize": 8, "color": "#444444"}
    axis.text(level, top - 0.72, name, **place)
    if end > edge:
        axis.axvline(10**edge, color=GREY, lw=0.8, zorder=1)
    shown = [t for t in ticks(first, edge) if 10**first <= t <= 10**edge]
    axis.set_xticks(shown, [exponent(t) if powers(first, edge).size > 2 else f"{t:g}" for t in shown])
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_yticks(
        list(heights.values()), [typeset(f"{label}, {KINDS[kind][0]}") for label, kind in heights]
    )
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="y", alpha=0.25, lw=0.6)
    axis.spines[["top", "right"]].set_visible(False)


def extent(every: np.ndarray, level: float) -> tuple[float, float, float]:
    """Where the axis begins, up to where values have a place, and where it ends, as powers of ten."""
    shown = every[(every <= 100 * level) & (every > 0)]
    low, high = (np.log10(f(shown, initial=level)) for f in (np.min, np.max))
    first, edge = low - 0.04 * (high - low) - 0.1, high + 0.06 * (high - low) + 0.1
    beyond = (every > 10**edge).any()
    return first, edge, first + (edge - first) / (1 - LANE) if beyond else edge


def ticks(first: float, edge: float) -> np.ndarray:
    """Powers of ten, some of them where there are many; 1, 2 and 5 times them where there are few."""
    found = powers(first, edge)
    if len(found) < 3:
        return np.outer(10.0 ** np.arange(np.floor(first), np.ceil(edge)), [1, 2, 5]).ravel()
    return 10.0 ** found[:: -(-len(found) // 6)]


def powers(first: float, edge: float) -> np.ndarray:
    """The whole numbers between them."""
    return np.arange(np.ceil(first), np.floor(edge) + 1)


def exponent(tick: float) -> str:
    return f"$10^{{{round(np.log10(tick))}}}$"


def row(
    axis: Axes, at: float, values: np.ndarray, edge: float, marker: str, colour: str, lane: float
) -> None:
    """`edge`: up to where values have a place; `lane`: by which factor the axis goes on."""
    inside = values <= edge
    i = np.arange(len(values))
    beside = 0.26 * np.where(i % 2, 1, -1) * (0.4 + 0.15 * (i % 5))
    axis.scatter(values[inside], (at + beside)[inside], s=7, color="#a0a0a0", lw=0, zorder=2)
    low, middle, high = quantiles(values)
    if low <= edge:
        axis.plot([low, min(high, edge)], [at, at], color=BLACK, lw=1.8, zorder=3, solid_capstyle="butt")
    if middle <= edge:
        axis.plot(middle, at, marker, color=BLACK, mfc=colour, ms=7, mew=1.2, ls="", zorder=4)
    lost, far = int((~np.isfinite(values)).sum()), int((np.isfinite(values) & ~inside).sum())
    said = [f"{lost} overflowed"] * (lost > 0) + [f"{far} larger"] * (far > 0)
    if said:
        axis.plot(edge * lane**0.09, at, "x", ms=5, mew=1.4, color=BLACK, ls="", zorder=4)
        axis.text(edge * lane**0.18, at, ", ".join(said), fontsize=8, ha="left", va="center")


def ordered(cells: Cells) -> Cells:
    """By activation, then by kind of first layer."""
    order = [(label, kind) for label in ACTIVATIONS for kind in KINDS]
    return {cell: cells[cell] for cell in order if cell in cells}


def places(cells: Mapping[tuple[str, str], Any]) -> dict[tuple[str, str], float]:
    """A height for each cell, with room between activations."""
    found: dict[tuple[str, str], float] = {}
    before, at = None, 0.0
    for label, kind in cells:
        at += 0.0 if before is None else 1.0 if label == before else 1.35
        found[label, kind], before = at, label
    return found


def explained(made: Any, axis: Axes, drawn: Mapping[str, Cells]) -> None:
    """The legend of dot plots."""
    kinds = [kind for kind in KINDS if any(kind in cell for cells in drawn.values() for cell in cells)]
    style = {"color": BLACK, "ls": "", "ms": 7, "mfc": PALE, "mew": 1.2}
    handles = [axis.plot([], [], KINDS[kind][1], **style)[0] for kind in kinds]
    labels = [typeset(f"median, first layer {KINDS[kind][0]}") for kind in kinds]
    handles.append(axis.plot([], [], color=BLACK, lw=1.8)[0])
    handles.append(axis.plot([], [], ".", ms=5, color="#a0a0a0")[0])
    handles.append(axis.plot([], [], "x", ms=5, mew=1.4, color=BLACK, ls="")[0])
    labels += ["16 % to 84 % of the networks", "single networks", "beyond the axis"]
    made.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=9)


# --- one target ------------------------------------------------------------------------------------


def of_target(title: str, cells: Cells) -> Figure:
    """Final losses and errors of the derivative above; below, the loss against the step."""
    top = ROW * len(cells) + 2.0
    made = Drawing(figsize=(11.0, top + 3.4), layout="constrained")
    above, under = made.subfigures(2, 1, height_ratios=[top, 2.9])
    axes = above.subplots(1, 2)
    both(cells, axes)
    explained(above, axes[0], {"": cells})
    labels = [label for label in ACTIVATIONS if any(label == name for name, _ in cells)]
    panels = under.subplots(1, len(labels), squeeze=False, sharex=True, sharey=True)[0]
    constant = float(next(iter(cells.values()))["variance"])
    lowest = min(np.min(cell["loss"]) for cell in cells.values())
    limits = 0.3 * float(lowest), 100 * constant
    for label, axis in zip(labels, panels, strict=True):
        show(losses(label, cells, constant, limits), axis)
        axis.label_outer()
    below(under, list(panels), 2)
    under.suptitle(
        "loss against the step; curves that leave the frame above: larger, or overflowed", fontsize=10
    )
    made.suptitle(textwrap.fill(title, 110))
    return made


def losses(label: str, cells: Cells, constant: float, limits: tuple[float, float]) -> Panel:
    """The losses of one activation, the medians of the others behind."""
    series = []
    for (other, _), cell in cells.items():
        if other != label:
            middle = np.minimum(quantiles(cell["loss"])[1], 1e3 * limits[1])
            series.append(Series(cell["steps"], middle, "behind", PALE, "medians of the other activations"))
    for kind, (words, _, color, style) in KINDS.items():
        if (label, kind) in cells:
            cell = cells[label, kind]
            low, middle, high = np.minimum(quantiles(cell["loss"]), 1e3 * limits[1])
            named = f"median and 16 % to 84 %, first layer {words}"
            series.append(Series(cell["steps"], low, "band", color, None, high))
            series.append(Series(cell["steps"], middle, style, color, named))
    series.append(
        Series([0, cells[label, "fan_out"]["steps"][-1]], [constant] * 2, "dotted", BLACK, "best constant")
    )
    return Panel("step", "mean square", series, label, yscale="log", ylim=limits)


# --- functions of one variable ---------------------------------------------------------------------


def small(
    title: str, drawn: Mapping[str, Cells], what: str, known: Mapping[str, Regression], ylabel: str
) -> Figure:
    """A row for each target, a column for each activation: the network of median error, on the target."""
    rows = []
    for name, cells in drawn.items():
        target, x = known[name], next(iter(cells.values()))["x"]
        true = target.fn(x) if what == "u" else target.gradient(x)[:, 0]
        found = {label: learned(label, cells, what) for label in ACTIVATIONS}
        limits = frame(true, found)
        formula = short(target)
        titles = {label: f"{title_of(label, cells)}\n{formula}" for label in ACTIVATIONS}
        rows.append(
            [one(titles[label], x[:, 0], true, found[label], ylabel, limits) for label in ACTIVATIONS]
        )
    return figure(title, rows, width=2.4, height=2.4, share="row", legend="none")


def kind_of(label: str, cells: Cells) -> str:
    return "below" if (label, "below") in cells else "fan_out"


def title_of(label: str, cells: Cells) -> str:
    return f"{label}, {KINDS['below'][0]}" if kind_of(label, cells) == "below" else label


def learned(label: str, cells: Cells, what: str) -> np.ndarray | None:
    """What the network of median error makes of the target; None if that one overflowed."""
    cell = cells[label, kind_of(label, cells)]
    middle = np.argsort(cell["error"])[len(cell["error"]) // 2]
    return (
        cell[what][middle].reshape(len(cell["x"]), -1)[:, 0] if np.isfinite(cell["error"][middle]) else None
    )


def frame(true: np.ndarray, found: Mapping[str, np.ndarray | None]) -> tuple[float, float]:
    """All of the curves, but for what is further from the target than the target is high."""
    curves = np.concatenate([true, *(curve for curve in found.values() if curve is not None)])
    height = np.ptp(true)
    low, high = max(curves.min(), true.min() - height), min(curves.max(), true.max() + height)
    return low - 0.05 * (high - low), high + 0.05 * (high - low)


def one(
    title: str, x: np.ndarray, true: np.ndarray, found: np.ndarray | None, ylabel: str,
    limits: tuple[float, float],
) -> Panel:  # fmt: skip
    series = [Series(x, true, "beneath", PALE)]
    if found is not None:
        series.append(Series(x, found, "solid", BLACK))
    return Panel("x", ylabel, series, title, ylim=limits)
