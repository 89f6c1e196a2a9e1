"""What may be wrong with a figure: text that is cut or covered, legends upon data, series of one look.

Each function returns a list of complaints in words, empty for a good figure.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import Collection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.transforms import Bbox

BEHIND = 2
"""Lines of a lower z-order are context, in light grey, and no series."""

NONE = ("", "None", "none", " ", None)


def complaints(figure: Figure) -> list[str]:
    """All that is wrong with it."""
    FigureCanvasAgg(figure).draw()
    return [*cut(figure), *overlapping(figure), *covered(figure), *alike(figure)]


def cut(figure: Figure) -> list[str]:
    """Whatever reaches beyond the figure."""
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    beyond = {"left": -box.x0, "below": -box.y0, "right": box.x1 - width, "above": box.y1 - height}
    return [f"{by:.2f} inches are cut {side}" for side, by in beyond.items() if by > 0.01]


def overlapping(figure: Figure) -> list[str]:
    """Texts and legends upon one another."""
    boxes = list(_texts(figure))
    return [
        f"{one!r} and {other!r} overlap"
        for (one, a), (other, b) in itertools.combinations(boxes, 2)
        if _padded(a, -1.0).overlaps(_padded(b, -1.0))
    ]


def covered(figure: Figure) -> list[str]:
    """Legends, and texts within axes, upon curves or points."""
    found = []
    boxes = [("a legend", each.get_window_extent()) for each in _legends(figure)]
    boxes += [(text.get_text(), text.get_window_extent()) for axes in figure.axes for text in _said(axes)]
    for axes in figure.axes:
        points = _points(axes)
        for name, box in boxes:
            if len(points) and box.overlaps(axes.bbox):
                within = (points > (box.x0, box.y0)).all(1) & (points < (box.x1, box.y1)).all(1)
                if within.any():
                    found.append(f"{name!r} covers {within.sum()} points of {axes.get_title()!r}")
    return found


def alike(figure: Figure) -> list[str]:
    """Series of one pair of axes, or entries of one legend, that only their colours tell apart."""
    found = []
    for axes in figure.axes:
        looks: dict[Any, str] = {}
        for line in _series(axes):
            look, colour = _look(line), _colour(line)
            if looks.setdefault(look, colour) != colour:
                found.append(f"two series of {axes.get_title()!r} both look like {look}")
    for legend in _legends(figure):
        looks = {}
        for handle, text in zip(legend.legend_handles, legend.get_texts(), strict=True):
            if (
                isinstance(handle, Line2D)
                and looks.setdefault((_look(handle), _pale(handle)), text) is not text
            ):
                found.append(f"{text.get_text()!r} looks like another entry of the legend: {_look(handle)}")
    return found


def _series(axes: Axes) -> Iterator[Line2D]:
    """Lines in data coordinates but for the caps of error bars, and for what lies behind."""
    caps = {cap for bars in axes.containers if hasattr(bars, "lines") for cap in bars.lines[1]}
    for line in axes.get_lines():
        if line not in caps and line.get_transform() == axes.transData and line.get_zorder() >= BEHIND:
            yield line


def _look(line: Line2D) -> tuple[Any, ...]:
    """Marker, whether it is filled, and dashes."""
    marker = None if line.get_marker() in NONE else line.get_marker()
    dashes = None if line.get_linestyle() in NONE else _dashes(line)
    filled = marker and str(line.get_markerfacecolor()) not in ("white", "none", "w")
    return marker, bool(filled), dashes


def _dashes(line: Line2D) -> tuple[float, ...]:
    return tuple(line._unscaled_dash_pattern[1] or ())


def _colour(line: Line2D) -> tuple[float, ...]:
    return to_rgb(line.get_color())


def _pale(line: Line2D) -> bool:
    """Whether it is light in greyscale too: context, not a series."""
    return min(_colour(line)) > 0.7


def _legends(figure: Figure) -> list[Legend]:
    return figure.findobj(Legend)


def _said(axes: Axes) -> list[Text]:
    return [text for text in axes.texts if text.get_visible() and text.get_text().strip()]


def _texts(figure: Figure) -> Iterator[tuple[str, Bbox]]:
    """Everything that is written, and where."""
    own = [part._suptitle for part in (figure, *figure.subfigs) if part._suptitle is not None]
    for axes in figure.axes:
        own += [axes.title, axes._left_title, axes._right_title, axes.xaxis.label, axes.yaxis.label]
        own += _said(axes)
        if axes.axison:
            for axis in (axes.xaxis, axes.yaxis):
                for tick in axis._update_ticks():
                    own += [label for label in (tick.label1, tick.label2) if label.get_visible()]
                own.append(axis.offsetText)
    for text in own:
        if text.get_visible() and text.get_text().strip():
            yield text.get_text(), Text.get_window_extent(text)
    for legend in _legends(figure):
        yield "a legend", legend.get_window_extent()


def _points(axes: Axes) -> np.ndarray:
    """Points along all lines and on all scattered marks, on the screen, as far as they are in the frame."""
    found = [_along(line.get_transform().transform(_data(line)), line) for line in _series(axes)]
    for each in axes.collections:
        if isinstance(each, Collection) and len(offsets := np.ma.filled(each.get_offsets(), np.nan)) > 1:
            found.append(axes.transData.transform(offsets))
    points = np.concatenate(found) if found else np.zeros((0, 2))
    box = axes.bbox
    inside = (points >= (box.x0, box.y0)).all(1) & (points <= (box.x1, box.y1)).all(1)
    return points[inside]


def _data(line: Line2D) -> np.ndarray:
    return np.stack(np.broadcast_arrays(*(np.asarray(a, float) for a in line.get_data(orig=False))), -1)


def _along(points: np.ndarray, line: Line2D) -> np.ndarray:
    """The points and, where a line joins them, forty between each two."""
    if line.get_linestyle() in NONE or len(points) < 2:
        return points
    t = np.linspace(0, 1, 41)[:, None, None]
    return ((1 - t) * points[:-1] + t * points[1:]).reshape(-1, 2)


def _padded(box: Bbox, by: float) -> Bbox:
    return Bbox.from_extents(box.x0 - by, box.y0 - by, box.x1 + by, box.y1 + by)
