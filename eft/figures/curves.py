"""The curves and the images that show a field of a record."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from eft.arguments import ArgumentError
from eft.figures.style import MAX_SHOWN
from eft.records.arrays import Named, chosen, spaced, spread
from eft.records.descriptions import Column, description
from eft.records.text import MAIN_AXES, number

MAX_CURVES = 6
"""Curves that are drawn, of more the first, the last and some between."""

TOGETHER = {
    "PairFlow": ("K_aa", "K_ab", "K_bb"),
    "ExpandedPairFlow": ("K_parallel", "K_perp"),
    "Regression": ("nngp_mean", "ntk_mean"),
    "Inference": ("nngp_mean", "ntk_mean"),
    "Rates": ("weights", "biases"),
}
"""Fields that are drawn together; of other records, the first of the main ones."""

NAMES = {
    "layer": "layer $\\ell$",
    "cw": "$C_W$",
    "cb": "$C_b$",
    "x2": "$\\Vert x\\Vert^2/n_0$",
    "K1": "$K^1$",
    "skip": "skip $\\gamma$",
    "width": "width $n$",
    "snapshot": "steps of training",
    "step": "steps of training",
    "t": "time, or steps of training",
    "act": "",
    "input_2": "second input",
    "pair_2": "second pair",
    "test_input_2": "second test input",
}
"""Axes and settings on a figure, if not by their names."""
MATRICES = (["input", "input_2"], ["pair", "pair_2"])
IMAGES = ({"input", "input_2"}, {"pair", "pair_2"}, {"cw", "cb"}, {"test_input", "test_input_2"})
"""Pairs of axes that span a plane."""


TYPESET = {
    "n_(l-1)": "$n_{\\ell-1}$",
    "(1/n_l)": "$(1/n_\\ell)$",
    "(C_W/n_(l-1))": "$(C_W/n_{\\ell-1})$",
    "E[G^l]": "$E[\\hat G^\\ell]$",
    "E[Theta_ii^l]": "$E[\\hat\\Theta_{ii}^\\ell]$",
    "E[z_i^2]": "$E[z_i^2]$",
    "Var(G^l)": "Var$(\\hat G^\\ell)$",
    "G^l": "$\\hat G^\\ell$",
    "log G": "$\\log\\hat G$",
    "sum of z_i^2": "$\\sum z_i^2$",
    "chi_perp": "$\\chi_\\perp$",
}
"""Formulas in long names, and as TeX."""
WIDEST = 48
"""Characters of a line of the name of an axis."""


class Curve(NamedTuple):
    """`error`: of the points, for measurements. `band`: its lower and upper end."""

    x: np.ndarray
    y: np.ndarray
    label: str
    error: np.ndarray | None = None
    band: tuple[np.ndarray, np.ndarray] | None = None


class Curves(NamedTuple):
    curves: list[Curve]
    xlabel: str
    ylabel: str


class Image(NamedTuple):
    """`upright`: a matrix, whose first row is above."""

    x: np.ndarray
    y: np.ndarray
    values: np.ndarray
    label: str
    xlabel: str
    ylabel: str
    upright: bool


def what(record: Any, content: Named, field: Any) -> list[Column]:
    """The columns that are drawn. Raises ArgumentError for unknown ones and if there is nothing to draw."""
    about = description(type(record))
    if field is not None:
        fields = chosen(content.columns, [field] if isinstance(field, str) else list(field))
    else:
        wanted = TOGETHER.get(type(record).__name__) or about.main
        fields = [c for name in wanted for c in content.columns if c.name == name and c.axes]
        fields = fields if type(record).__name__ in TOGETHER else fields[:1]
    if not fields:
        raise ArgumentError(f"{type(record).__name__} has nothing to draw; its text says all: print it")
    for column in fields:
        values = np.asarray(column.values)
        if values.dtype.kind not in "biuf" or not column.axes:
            raise ArgumentError(f"field must have an axis and numbers; got {column.name}")
        if values.size == 0:
            raise ArgumentError(f"{column.name} of {type(record).__name__} is empty: nothing to draw")
    return fields


def title(column: Column) -> str:
    """The axis of a figure, in words, with the symbol."""
    words = column.about.long_name.removesuffix(", from layer l to l+1").removesuffix(" of every network")
    words = textwrap.fill(words, WIDEST)
    for plain, tex in TYPESET.items():
        words = words.replace(plain, tex)
    return f"{words} ${column.about.symbol}$" if column.about.symbol else words


def name_of(axis: str) -> str:
    return NAMES.get(axis, spaced(axis))


def _numbers(content: Named, column: Column) -> tuple[np.ndarray, np.ndarray | None]:
    """Values and errors, without those that are not valid or not finite."""
    if column.name == "mean":  # of an estimate that stands alone
        column = column._replace(error=next((c.values for c in content.columns if c.name == "stderr"), None))
    values = np.asarray(column.values, float)
    kept = np.isfinite(values) & (np.abs(values) < MAX_SHOWN)
    part = column.name.rpartition("_")[0]
    valid = [
        c for c in content.columns if c.name in ("valid", f"{part}_valid", f"{part.split('_')[0]}_valid")
    ]
    for c in valid:
        if set(c.axes) <= set(column.axes) and (c.name == "valid" or column.name.startswith(c.name[:-5])):
            kept &= spread(c.values, c.axes, column.axes, values.shape).astype(bool)
    error = None if column.error is None else np.asarray(column.error, float)
    if error is not None:
        error = np.where(kept & np.isfinite(error), error, np.nan)
    return np.where(kept, values, np.nan), error


def _pick(
    content: Named, column: Column, arrays: Sequence, picked: Mapping[str, Any]
) -> tuple[list, list[str]]:
    """The arrays at the entries that were picked, and the axes that are left."""
    axes = list(column.axes)
    arrays = list(arrays)
    for axis, value in picked.items():
        if axis not in axes:
            raise ArgumentError(f"{axis} must be one of the axes of {column.name}: {', '.join(axes)}")
        labels = content.labels[axis]
        at = np.flatnonzero(labels == value)
        if not at.size:
            some = ", ".join(number(each) for each in labels[:8])
            raise ArgumentError(
                f"{axis} must be one of {some}{', …' if len(labels) > 8 else ''}; got {value!r:.40}"
            )
        arrays = [None if a is None else np.take(a, at[0], axes.index(axis)) for a in arrays]
        axes.remove(axis)
    return arrays, axes


def _deviation(content: Named, column: Column) -> np.ndarray | None:
    """The standard deviation that belongs to a mean, with its axes."""
    if not column.name.endswith("mean") or column.error is not None:
        return None
    stem = column.name.removesuffix("mean")
    for c in content.columns:
        if c.name == f"{stem}variance" and set(c.axes) <= set(column.axes):
            variance = spread(c.values, c.axes, column.axes, np.shape(column.values))
            return np.sqrt(np.maximum(np.asarray(variance, float), 0))
        if c.name == f"{stem}covariance" and len(c.axes) == 2:
            variance = np.diagonal(np.asarray(c.values, float))
            own = spread(variance, c.axes[:1], column.axes, np.shape(column.values))
            return np.sqrt(np.maximum(own, 0))
    return None


def curves_of(
    content: Named,
    column: Column,
    x: str | None,
    picked: Mapping[str, Any],
    fields: int,
) -> Curves:
    """The curves of a column along the axis x. `fields`: how many are drawn together."""
    values, error = _numbers(content, column)
    (values, error, deviation), axes = _pick(
        content, column, (values, error, _deviation(content, column)), picked
    )
    along = _along(column, axes, x)
    band: tuple | None = None
    if "member" in axes and along != "member":
        place = axes.index("member")
        with np.errstate(all="ignore"):
            low, values, high = _quantiles(values, place)
        axes.remove("member")
        band = low, high
    elif deviation is not None:
        band = values - deviation, values + deviation
    place = axes.index(along)
    rest = [axis for axis in axes if axis != along]
    sizes = [len(content.labels[axis]) for axis in rest]
    values = np.moveaxis(values, place, -1)
    error = None if error is None else np.moveaxis(error, place, -1)
    low, high = (None, None) if band is None else (np.moveaxis(a, place, -1) for a in band)
    drawn = []
    for at in _shown(rest, sizes, max(MAX_CURVES // fields, 1)):
        words = _label(content, rest, at)
        if fields > 1:
            words = ", ".join(filter(None, (_symbol(column), words)))
        drawn.append(
            Curve(
                content.labels[along],
                values[at],
                words,
                None if error is None else error[at],
                None if low is None or high is None else (low[at], high[at]),
            )
        )
    spread_of = "" if deviation is None else " ± standard deviation"
    if "member" in column.axes and along != "member":
        spread_of = "\n(median and two thirds of networks)"
    return Curves(drawn, name_of(along), title(column) + spread_of)


def _symbol(column: Column) -> str:
    return f"${column.about.symbol}$" if column.about.symbol else spaced(column.name)


def _along(column: Column, axes: Sequence[str], x: str | None) -> str:
    if x is not None:
        if x not in axes:
            raise ArgumentError(
                f"x must be one of the axes of {column.name}: {', '.join(axes)}; got {x!r:.40}"
            )
        return x
    if not axes:
        raise ArgumentError(f"{column.name} must keep an axis to be drawn along; all were picked")
    return next((axis for axis in MAIN_AXES if axis in axes), axes[-1])


def _quantiles(values: np.ndarray, place: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """16, 50 and 84 %, NaN where no number is finite."""
    some = np.isfinite(values).any(axis=place, keepdims=True)
    filled = np.where(some, values, 0.0)
    low, middle, high = np.nanquantile(filled, [0.16, 0.5, 0.84], axis=place)
    some = np.take(some, 0, axis=place)
    return tuple(np.where(some, a, np.nan) for a in (low, middle, high))  # type: ignore[return-value]


def _shown(rest: Sequence[str], sizes: Sequence[int], count: int) -> list[tuple[int, ...]]:
    """The entries along the other axes that are drawn: evenly, the first and the last included."""
    every = list(np.ndindex(*sizes))
    if rest[-2:] in MATRICES:  # a symmetric one: each pair once
        every = [at for at in every if at[-2] <= at[-1]]
    places = np.unique(np.linspace(0, len(every) - 1, min(len(every), count)).round().astype(int))
    return [every[place] for place in places]


def _label(content: Named, rest: Sequence[str], at: tuple[int, ...]) -> str:
    words = []
    described: set[str] = set()
    for name, (own, values) in content.settings.items():
        if own and set(own) <= set(rest):
            index = tuple(at[rest.index(axis)] for axis in own)
            words.append(_equals(name, values[index]))
            described |= set(own)
    scalars = [_equals(name, values) for name, (own, values) in content.settings.items() if not own]
    if rest[-2:] in MATRICES:
        words.append(f"{rest[-2]}s {at[-2]}, {at[-1]}")
        described |= set(rest[-2:])
    for axis, i in zip(rest, at, strict=True):
        if axis not in described and (len(content.labels[axis]) > 1 or axis in NAMES):
            words.append(_equals(axis, content.labels[axis][i]))
    return ", ".join([*words, *scalars])


def _equals(name: str, value: Any) -> str:
    words = name_of(name)
    shown = number(value.item() if hasattr(value, "item") else value)
    if name in ("layer", "snapshot", "step"):
        return f"after {shown} steps" if name != "layer" else f"layer {shown}"
    return f"{words} = {shown}" if words and name in NAMES else f"{words} {shown}".strip()


def image(content: Named, fields: Sequence[Column], x: str | None, picked: Mapping[str, Any]) -> Image | None:
    """The one field over a plane, where it has no other axes; else None."""
    if len(fields) != 1 or x is not None:
        return None
    (column,) = fields
    if set(column.axes) - set(picked) not in IMAGES:
        return None
    (values, _), axes = _pick(content, column, _numbers(content, column), picked)
    down, across = axes
    return Image(
        content.labels[across],
        content.labels[down],
        values,
        title(column),
        name_of(across),
        name_of(down),
        down != "cb",
    )
