"""Records as text: a few lines, a table by layer of at most 80 columns, and the same table in HTML."""

import html
import math
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.core import Tracer

from eft.records.arrays import Named, chosen, leading_axes, named, spread
from eft.records.descriptions import Column, columns, description

LINE = 80
MAX_ROWS = 12
"""Rows of a table; of more layers than that, the first, the last, and some between are shown."""
MAIN_AXES = ("layer", "snapshot", "width", "t", "point", "condition", "test_input", "input")
"""The first of these axes that a record has is the one along which it reads."""
MEMBER = "member"
"""The axis of the networks of an ensemble; a table shows the smallest and the largest of them."""
LONGEST = 28
"""Characters of a word in a table."""


def number(value: Any, digits: int = 4) -> str:
    """A number, a truth value or a word, short."""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value if len(value) <= LONGEST else value[: LONGEST - 1] + "…"
    if isinstance(value, int | np.integer):
        return f"{value:,}" if abs(value) < 1e9 else f"{value:.{digits}g}"
    return f"{float(value):.{digits}g}"


def measured(mean: Any, error: Any) -> str:
    """mean ± stderr, with as many digits as the error leaves."""
    mean, error = float(mean), float(error)
    if not (math.isfinite(mean) and math.isfinite(error)) or error == 0 or mean == 0:
        return f"{number(mean)} ± {number(error, 2)}"
    places = 1 - math.floor(math.log10(error))
    if 1e-3 <= abs(mean) < 1e5 and 0 <= places <= 8:
        return f"{mean:.{places}f} ± {error:.{places}f}"
    digits = max(2, min(9, places + 1 + math.floor(math.log10(abs(mean)))))
    return f"{number(mean, digits)} ± {number(error, 2)}"


# --- a few lines --------------------------------------------------------------------------------


def short(record: Any) -> str:
    """What it is, its sizes, and its main fields in the first layers and the last; for any content.

    JAX fills the fields of pytrees with anything, and shows them in messages: then they are named only.
    """
    try:
        return _short(record)
    except Exception:
        content = (f"{name}={_placeholder(value)}" for name, value in record._asdict().items())
        return f"{type(record).__name__}({', '.join(content)})"


def _placeholder(value: Any) -> str:
    try:
        if (
            np.ndim(value) == 0
            and not isinstance(value, Tracer)
            and isinstance(value, np.ndarray | jax.Array)
        ):
            return number(value.item())
        if hasattr(value, "shape") and hasattr(value, "dtype"):
            return f"{value.dtype}[{','.join(map(str, value.shape))}]"
        words = type(value).__name__ if isinstance(value, tuple) else repr(value)
    except Exception:
        words = f"<{type(value).__name__}>"
    return number(words)


def _short(record: Any) -> str:
    about, found = description(type(record)), columns(record)
    name = type(record).__name__
    if not any(c.axes for c in found) and not any(c.traced or c.error is not None for c in found):
        content = ", ".join(f"{c.name}={_plain(c.values)}" for c in found)
        return f"{name}({content})"
    sizes = {axis: size for c in found for axis, size in zip(c.axes, np.shape(c.values), strict=True)}
    main = [c for each in about.main for c in found if c.name == each] or found[:4]
    axes = leading_axes(found, about.main)
    shape = " × ".join(f"{axis} {sizes[axis]:,}" for axis in axes)
    title = f"{name}: {about.title.format(record)}" + (f" ({shape})" if shape else "")
    lines = textwrap.wrap(title, LINE, subsequent_indent="  ")
    along = next((axis for axis in MAIN_AXES if axis in axes), axes[0] if axes else "")
    if any(c.traced for c in main):
        traced = (f"{c.name} {_placeholder(c.values)}" for c in main)
        return "\n".join([*lines, f"  traced: {', '.join(traced)}"])
    if along:
        shown = sorted({0, 1, sizes[along] - 1} & set(range(sizes[along])))
        labels = next((c.labels[along] for c in found if along in c.labels), None)
        first = 1 if along == "layer" else 0
        heads = [number(labels[i]) if labels is not None else number(i + first) for i in shown]
        rows = [[f"  {along}", *heads]]
        rows += [[f"  {c.name}", *_cells(c, along, shown)] for c in main]
        lines += _aligned(rows, "<" + ">" * (len(rows[0]) - 1))
    else:
        lines += [f"  {c.name}  {_cells(c, '', [0])[0]}" for c in main]
    lines += [f"  {c.name}: {_holds(np.asarray(c.values))}" for c in found if c.name == "valid"]
    return "\n".join(line[:LINE] for line in lines)


def _plain(value: Any) -> str:
    return repr(value.item() if hasattr(value, "item") else value)


def _cells(c: Column, along: str, shown: Sequence[int]) -> list[str]:
    """The entries at these places along an axis; where there are other axes, smallest to largest."""
    values = np.asarray(c.values)
    error = None if c.error is None else np.asarray(c.error)
    if along not in c.axes:
        return [_range(values, error), *[""] * (len(shown) - 1)]
    values = np.moveaxis(values, c.axes.index(along), 0)
    error = None if error is None else np.moveaxis(error, c.axes.index(along), 0)
    return [_range(np.asarray(values[i]), None if error is None else np.asarray(error[i])) for i in shown]


def _range(values: np.ndarray, error: np.ndarray | None) -> str:
    if values.size == 0:
        return "none"
    if values.size == 1:
        value = values.reshape(-1)[0]
        return number(value) if error is None else measured(value, error.reshape(-1)[0])
    if values.dtype.kind not in "fiu":
        return _holds(values) if values.dtype.kind == "b" else f"{number(str(values.reshape(-1)[0]))} …"
    known = values[~np.isnan(values)] if values.dtype.kind == "f" else values
    if not known.size:
        return "nan"
    low, high = number(known.min(), 3), number(known.max(), 3)
    return low if low == high else f"{low} … {high}"


def _holds(values: np.ndarray) -> str:
    true = int(np.count_nonzero(values))
    return "yes" if true == values.size else "no" if not true else f"{true:,} of {values.size:,}"


def _aligned(rows: Sequence[Sequence[str]], sides: str) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(f"{cell:{side}{n}}" for cell, side, n in zip(row, sides, widths, strict=True)).rstrip()
        for row in rows
    ]


# --- tables -------------------------------------------------------------------------------------


class Table(NamedTuple):
    """`title`, `head`, `rows`: cells. `numbers`: how many of the first columns number the rows.

    `scalars`: fields without an axis, as "name = value".
    """

    title: str
    head: list[str]
    rows: list[list[str]]
    numbers: int
    scalars: list[str]


def rows_of(record: Any, fields: Sequence[str], coordinates: Any, rows: int) -> Table:
    """The table of a record: as `to_pandas`, with at most `rows` rows."""
    about, content = description(type(record)), named(record, coordinates)
    title = f"{type(record).__name__}: {about.title.format(record)}"
    if fields:
        shown = chosen(content.columns, fields)
        axes = max((c.axes for c in shown), key=len)
    else:
        axes = tuple(a for a in leading_axes(content.columns, about.main) if a != MEMBER)
        first = [c for name in about.main for c in content.columns if c.name == name]
        rest = [c for c in content.columns if c.name not in about.main]
        rest.sort(key=lambda c: c.name != "valid")
        known = {*axes, MEMBER} if axes else set()
        shown = [c for c in [*first, *rest] if set(c.axes) <= known and (c.axes or not axes)]
    if not axes:
        return Table(title, ["", ""], [[c.name, _entry(c, ())] for c in shown], 1, [])
    scalars = [f"{c.name} = {_entry(c, ())}" for c in content.columns if not (c.axes or fields)]
    shown = [c for c in shown if c.axes != (c.name,)]
    return _numbered(title, content, axes, shown, rows)._replace(scalars=scalars)


def _numbered(title: str, content: Named, axes: tuple[str, ...], shown: list[Column], rows: int) -> Table:
    sizes = [len(content.labels[axis]) for axis in axes]
    places = np.stack(np.meshgrid(*_places(axes, sizes, rows), indexing="ij"), -1).reshape(-1, len(axes))
    settings = [
        (name, spread(values, own, axes, sizes))
        for name, (own, values) in content.settings.items()
        if own and set(own) <= set(axes)
    ]
    filled = [_filled(c, axes, sizes) for c in shown]
    body = []
    for place in places:
        at = tuple(int(i) for i in place)
        cells = [number(content.labels[axis][i]) for axis, i in zip(axes, at, strict=True)]
        cells += [number(values[at]) for _, values in settings]
        body.append([*cells, *(_entry(c, at) for c in filled)])
    head = [*axes, *(name for name, _ in settings), *(c.name for c in shown)]
    return Table(title, head, body, len(axes) + len(settings), [])


def _filled(c: Column, axes: tuple[str, ...], sizes: list[int]) -> Column:
    """The column at all rows; the networks of an ensemble remain as a last axis."""
    if MEMBER in c.axes and MEMBER not in axes:
        axes, sizes = (*axes, MEMBER), [*sizes, np.shape(c.values)[c.axes.index(MEMBER)]]
    error = None if c.error is None else spread(c.error, c.axes, axes, sizes)
    return c._replace(values=spread(c.values, c.axes, axes, sizes), error=error)


def _places(axes: Sequence[str], sizes: Sequence[int], rows: int) -> list[np.ndarray]:
    """The entries that are shown along each axis: close together at first, where most changes."""
    order = sorted(range(len(axes)), key=lambda i: sizes[i])
    places, left = [np.arange(0)] * len(axes), max(rows, 1)
    for done, i in enumerate(order):
        count = max(1, math.floor(left ** (1 / (len(axes) - done)) + 1e-9))
        places[i] = _some(sizes[i], count)
        left = max(1, left // max(len(places[i]), 1))
    return places


def _some(size: int, count: int) -> np.ndarray:
    if size <= count:
        return np.arange(size)
    if count == 1:
        return np.array([size - 1])
    found = np.unique(np.geomspace(1, size, count).round().astype(int) - 1)
    extra = np.setdiff1d(np.arange(size), found)[: count - len(found)]
    return np.union1d(found, extra)


def _entry(c: Column, at: tuple[int, ...]) -> str:
    value = np.asarray(c.values)[at] if at else c.values
    if np.ndim(value):
        return _range(value, None)
    if c.error is not None:
        return measured(value, np.asarray(c.error)[at])
    return number(value.item() if hasattr(value, "item") else value)


def table(record: Any, fields: Sequence[str], coordinates: Any, rows: int) -> str:
    """The table in at most 80 columns; fields that have no room are named below it."""
    made = rows_of(record, fields, coordinates, rows)
    grid = [made.head, *made.rows]
    widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
    fit = len(widths)
    while fit > made.numbers + 1 and sum(widths[:fit]) + 2 * (fit - 1) > LINE:
        fit -= 1
    sides = ">" * fit if made.head[0] else "<" + ">" * (fit - 1)
    lines = textwrap.wrap(made.title, LINE, subsequent_indent="  ")
    lines += _aligned([row[:fit] for row in grid if any(row)], sides)
    if made.scalars:
        lines += textwrap.wrap("; ".join(made.scalars), LINE)
    if fit < len(widths):
        lines += textwrap.wrap(f"also: {', '.join(made.head[fit:])}", LINE, subsequent_indent=" " * 6)
    return "\n".join(line[:LINE] for line in lines)


def as_html(record: Any) -> str:
    """The table for a notebook; where there are no numbers yet, the short text."""
    if any(c.traced for c in columns(record)):
        return f"<pre>{html.escape(short(record))}</pre>"
    made = rows_of(record, (), {}, MAX_ROWS)
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in made.head)
    body = "".join(
        "<tr>"
        + "".join(f"<th>{html.escape(cell)}</th>" for cell in row[: made.numbers])
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in row[made.numbers :])
        + "</tr>"
        for row in made.rows
    )
    caption = f'<caption style="text-align: left">{html.escape(made.title)}</caption>'
    if made.scalars:
        body += f'<tr><td colspan="{len(made.head)}">{html.escape("; ".join(made.scalars))}</td></tr>'
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
