"""A record as a figure: theory as lines, measurements as points with error bars, on one pair of axes."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from eft.arguments import ArgumentError, ArgumentTypeError
from eft.figures.curves import Curve, curves_of, image, what
from eft.figures.style import COLOURS, DASHES, MARKERS
from eft.records.arrays import SETTINGS, chosen, named
from eft.records.descriptions import Column, columns

SPECIAL: dict[str, Callable] = {}
"""Records whose default figure is a special one: (record, axes, properties of lines, own arguments)."""

ALIASES = {"c", "lw", "ls", "ms", "mec", "mew", "mfc", "aa", "ds"}
"""Short names of properties of matplotlib's lines."""

THEORY, MEASURED = "theory", "measured"

OURS, BENEATH = "eft", "beneath"
"""The groups of lines drawn here, so that the next ones look different, and of those in the same colours."""

WIDE = 1e4
"""The ratio of largest to smallest from which an axis is logarithmic."""
MANY = 12
"""Points of a line from which only some have markers."""


def draw(
    record: Any,
    ax: Any = None,
    *,
    field: Any = None,
    x: Any = None,
    theory: Any = None,
    **more: Any,
) -> Axes:
    """The method `plot` of every record."""
    if ax is not None and not isinstance(ax, Axes):
        raise ArgumentTypeError(f"ax must be matplotlib Axes; got {type(ax).__name__}")
    special = SPECIAL.get(type(record).__name__) if field is None and x is None else None
    extra = set(inspect.signature(special).parameters) - {"record", "ax", "line"} if special else set()
    own = {name: more.pop(name) for name in extra & more.keys()}
    coordinates, picked, line = _sorted(record, more, extra)
    if special is not None and not (coordinates or picked):
        if theory is not None:
            raise ArgumentError(f"theory must be left out: {type(record).__name__} is drawn without")
        named(record, {})  # numbers, not traced
        return _special(special, record, ax, line, own)
    if own:
        raise ArgumentError(f"{next(iter(own))} must be left out where field, x or a coordinate is given")
    content = named(record, coordinates)
    fields = what(record, content, field)
    if (picture := image(content, fields, x, picked)) is not None:
        return _coloured(picture, current(ax))
    pictures = [curves_of(content, column, x, picked, len(fields)) for column in fields]
    if not any(np.isfinite(curve.y).any() for picture in pictures for curve in picture.curves):
        raise ArgumentError(
            f"{fields[0].name} of {type(record).__name__} has no number that is valid: nothing to draw"
        )
    beneath = [[]] * len(fields) if theory is None else _beneath(record, theory, fields, x, picked)
    ax = current(ax)
    for lines, picture in zip(beneath, pictures, strict=True):
        together = len(picture.curves) > 1
        for each in lines[-1:] if together else lines:
            put(ax, each, {"zorder": 2, "marker": ""}, stay=together)
        named_here = [c._replace(label=c.label or MEASURED) for c in picture.curves]
        put(ax, named_here if lines else picture.curves, line)
    finish(ax, pictures[0].xlabel, pictures[0].ylabel if len(fields) == 1 else "")
    return ax


def _special(special: Callable, record: Any, ax: Axes | None, line: dict, own: dict) -> Axes:
    """A special figure; where there is nothing to draw, no empty one is left behind."""
    before = pyplot_module().get_fignums()
    drawn = current(ax)
    try:
        special(record, drawn, line, **own)
    except ArgumentError:
        if pyplot_module().get_fignums() != before:
            pyplot_module().close(drawn.figure)
        raise
    return drawn


def _sorted(record: Any, more: Mapping[str, Any], extra: set[str]) -> tuple[dict, dict, dict]:
    """Coordinates, entries picked along axes, and properties of lines."""
    axes = {axis for column in columns(record) for axis in column.axes}
    coordinates, picked, line = {}, {}, {}
    for name, value in more.items():
        if name in axes and (np.ndim(value) == 0):
            picked[name] = value
        elif name in axes or name in SETTINGS:
            coordinates[name] = value
        elif name in ALIASES or hasattr(Line2D, f"set_{name}"):
            line[name] = value
        else:
            raise ArgumentError(
                f"{name} must be an axis ({', '.join(sorted(axes)) or 'none'}), a setting "
                f"({', '.join(SETTINGS)}), {''.join(f'{each}, ' for each in sorted(extra))}or a property of "
                "matplotlib's lines"
            )
    return coordinates, picked, line


def _beneath(record: Any, theory: Any, fields, x, picked) -> list[list[list[Curve]]]:
    """Of each field, the curves of the theory: at infinite width, and of K with the 1/n correction.

    Raises ArgumentError if the theory has no such field.
    """
    if not hasattr(theory, "_fields"):
        raise ArgumentTypeError(f"theory must be a record; got {type(theory).__name__}")
    known = named(theory, {})
    drawn = []
    for field in fields:
        (column,) = chosen(known.columns, [field.name], "theory")
        versions = {THEORY: column}
        finite = _at_width(theory, getattr(record, "widths", None)) if field.name == "K" else None
        if finite is not None:
            versions = {f"{THEORY}, infinite width": column, f"{THEORY} with $1/n$": finite}
        there = {axis: value for axis, value in picked.items() if axis in column.axes}
        lines = []
        for words, version in versions.items():
            found = curves_of(known, version, x, there, len(fields)).curves
            lines.append([c._replace(label=words if i == 0 else "") for i, c in enumerate(found)])
        drawn.append(lines)
    return drawn


def _at_width(theory: Any, widths: Any) -> Column | None:
    """K + G1/n at the widths of the networks, n₀ first; None where it is not known."""
    G1 = getattr(theory, "G1", None)
    if widths is None or G1 is None or np.shape(theory.K)[:1] != (len(widths) - 1,):
        return None
    (K,) = (column for column in columns(theory) if column.name == "K")
    n = np.reshape(np.asarray(widths)[:-1], (-1, *[1] * (np.ndim(G1) - 1)))
    return K._replace(values=np.asarray(theory.K) + np.asarray(G1) / n)


def current(ax: Axes | None) -> Axes:
    """The axes given, or the current ones; new ones leave room for what stands beside them."""
    if ax is not None:
        return ax
    pyplot = pyplot_module()
    if pyplot.get_fignums():
        return pyplot.gca()
    return pyplot.figure(layout="constrained").add_subplot()


def pyplot_module() -> Any:
    """`matplotlib.pyplot`, imported late: the command, which makes figures without it, starts faster."""
    from matplotlib import pyplot

    return pyplot


def put(ax: Axes, drawn: Sequence[Curve], line: Mapping[str, Any], stay: bool = False) -> list[str]:
    """Curves with other colours, dashes and markers than those already there. Returns their colours.

    `stay`: the next ones have the same again.
    """
    used = []
    beside = any(each.get_gid() == BENEATH for each in ax.get_lines())
    start = len({artist.get_gid() for artist in ax.get_children() if str(artist.get_gid()).startswith(OURS)})
    for i, curve in enumerate(drawn):
        number = start + i
        style: dict[str, Any] = {
            "color": COLOURS[number % len(COLOURS)],
            "marker": MARKERS[(number + number // len(MARKERS)) % len(MARKERS)],
            "gid": BENEATH if stay else f"{OURS} {number}",
            "label": curve.label or None,
        }
        if curve.error is None:
            every = max(1, len(curve.y) // 8)
            style |= {
                "ls": DASHES[number % len(DASHES)],
                "lw": 1.8,
                "ms": 5,
                "markevery": (number * every // 3 % every, every) if len(curve.y) > MANY else None,
            }
        else:
            style |= {"ls": "", "ms": 6, "capsize": 3, "elinewidth": 1.3, "zorder": 3}
            if len(drawn) > 1 and not beside:
                curve = curve._replace(x=_beside(curve.x, i - (len(drawn) - 1) / 2))
        for name, value in line.items():
            style.pop(
                {"linestyle": "ls", "linewidth": "lw", "c": "color", "markersize": "ms"}.get(name, ""), 0
            )
            style[name] = value
        if curve.band is not None:
            ax.fill_between(
                curve.x, *curve.band, color=style.get("color", style.get("c")), alpha=0.2, lw=0, zorder=1
            )
        if curve.error is None:
            ax.plot(curve.x, curve.y, **style)
        else:
            ax.errorbar(curve.x, curve.y, curve.error, **style)
        used.append(style.get("color", style.get("c")))
    return used


def _beside(x: np.ndarray, step: float) -> np.ndarray:
    """Places next to these, so that error bars do not cover one another."""
    if x.dtype.kind not in "iuf" or len(x) < 2:
        return x
    return x + 0.07 * step * np.diff(np.sort(x)).min()


def finish(ax: Axes, xlabel: str, ylabel: str) -> None:
    """Names of the axes where they have none, a scale that shows all, and a legend beside the data."""
    if xlabel and not ax.get_xlabel():
        ax.set_xlabel(xlabel)
    if ylabel and not ax.get_ylabel():
        ax.set_ylabel(ylabel)
    lines = [each for each in ax.get_lines() if str(each.get_gid()).startswith(OURS)]
    values = [np.asarray(each.get_ydata(), float) for each in lines]
    every = np.concatenate([v[np.isfinite(v)] for v in values]) if values else np.zeros(0)
    if every.size and every.min() > 0 and every.max() > WIDE * every.min():
        ax.set_yscale("log")
    xs = [each.get_xdata() for each in lines]
    places = [np.asarray(each) for each in xs if np.asarray(each).dtype.kind in "iuf"]
    if places:
        x = np.concatenate(places)
        if xlabel.startswith("width") and x.min() > 0 and x.max() > 3 * x.min():
            ax.set_xscale("log", base=2)
            ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        elif xlabel.startswith("time") and x.min() > 0 and x.max() > 100 * x.min():
            ax.set_xscale("log")
        elif ax.get_xscale() == "linear" and (
            xlabel.startswith(("layer", "steps"))
            or all(np.array_equal(each, np.round(each)) for each in places)
        ):
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
            ax.margins(x=0.03)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y", alpha=0.25, lw=0.6)
    legend(ax)


def legend(ax: Axes) -> None:
    """A legend beside the axes if a layout makes room for it; else where it covers least."""
    handles, labels = ax.get_legend_handles_labels()
    if not labels or (len(labels) == 1 and len(ax.get_lines()) == 1 and not labels[0]):
        return
    figure = ax.get_figure()
    beside = figure is not None and figure.get_layout_engine() is not None
    place: dict[str, Any] = (
        {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0)} if beside else {"loc": "best"}
    )
    ax.legend(handles, labels, frameon=not beside, fontsize=9, handlelength=3.2, **place)


def _coloured(picture: Any, ax: Axes) -> Axes:
    """A field over a plane, as colours that grow lighter with the values."""
    mesh = ax.pcolormesh(picture.x, picture.y, picture.values, cmap="cividis", shading="nearest")
    bar = ax.figure.colorbar(mesh, ax=ax)
    bar.set_label(picture.label)
    ax.set(xlabel=picture.xlabel, ylabel=picture.ylabel)
    for axis, labels in ((ax.xaxis, picture.x), (ax.yaxis, picture.y)):
        if np.array_equal(labels, np.round(labels)):
            axis.set_major_locator(MaxNLocator(integer=True))
    if picture.upright:
        ax.invert_yaxis()
        ax.set_aspect("equal")
    return ax
