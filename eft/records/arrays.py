"""Records as xarray datasets and pandas tables: named axes with coordinates, long names and units."""

import importlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from eft.arguments import ArgumentError, ArgumentTypeError
from eft.records.descriptions import AXES, Axis, Column, batch_names, columns, description

EXTRA = "pip install 'eft-nets[netcdf]'"

SETTINGS = (
    "act", "cw", "cb", "x2", "K1", "skip", "norm", "weights", "width", "depth", "lambda_w", "lambda_b",
    "seed", "n",
)  # fmt: skip
"""What may vary along the axes "...": names of coordinates that a user may give."""


class Named(NamedTuple):
    """The columns of a record with the names and coordinates of their axes.

    `columns`: with these names. `labels`: for each axis its coordinate. `settings`: name → axes and values of
    coordinates that are not those of one axis.
    """

    columns: list[Column]
    labels: dict[str, np.ndarray]
    settings: dict[str, tuple[tuple[str, ...], np.ndarray]]


def named(record: Any, coordinates: Mapping[str, Any]) -> Named:
    """The columns of a record, with coordinates as they were passed to the function that made it.

    A coordinate broadcasts to the axes "...". The one that alone varies along an axis gives it its name.
    Instead, it may have the name of an axis, and its length.

    Raises ArgumentError for a name that is none of these or a shape that does not fit, ArgumentTypeError for
    traced values.
    """
    found = columns(record)
    if traced := [column.name for column in found if column.traced]:
        raise ArgumentTypeError(
            f"{type(record).__name__} must hold numbers; got traced values in {', '.join(traced)}: "
            "return it from jit, vmap or grad first"
        )
    shape = next((np.shape(c.values)[: c.batch] for c in found if c.batch), ())
    axes = {axis for column in found for axis in column.axes}
    own = batch_names(description(type(record)).batch, len(shape)) if shape else ()
    given = {name: _values(name, value) for name, value in coordinates.items()}
    if unknown := [name for name in given if name not in {*axes, *SETTINGS}]:
        allowed = ", ".join(sorted({*axes, *SETTINGS}))
        raise ArgumentError(f"{unknown[0]} must be the name of an axis or a setting: one of {allowed}")
    varying = {name: _varying(name, given[name], shape) for name in given if name not in axes}
    renamed = {}
    for i, axis in enumerate(own):
        alone = [name for name, along in varying.items() if along == (i,)]
        taken = {column.name for column in found} - {axis}
        renamed[axis] = alone[0] if len(alone) == 1 and alone[0] not in taken else axis
    found = [
        column._replace(
            axes=tuple(renamed.get(axis, axis) for axis in column.axes),
            labels={renamed.get(axis, axis): values for axis, values in column.labels.items()},
        )
        for column in found
    ]
    sizes: dict[str, int] = {}
    for column in found:
        for axis, size in zip(column.axes, np.shape(column.values), strict=True):
            sizes.setdefault(axis, size)
    labels = {axis: axis_values(axis, size, {}) for axis, size in sizes.items()}
    for column in found:
        labels |= {axis: np.asarray(values) for axis, values in column.labels.items()}
    settings = {}
    for name, values in given.items():
        if name in axes:
            if values.shape != (sizes[name],):
                raise ArgumentError(f"{name} must have shape ({sizes[name]},); got {values.shape}")
            labels[name] = values
            continue
        along = varying[name]
        places = tuple(renamed[own[i]] for i in along)
        whole = np.broadcast_to(values, shape) if along else values.reshape(())
        still = tuple(slice(None) if i in along else 0 for i in range(len(shape))) if along else ()
        if places == (name,):
            labels[name] = whole[still]
        else:
            settings[name] = places, np.asarray(whole[still])
    return Named(found, labels, settings)


def _values(name: str, value: Any) -> np.ndarray:
    """The coordinate as an array of numbers, or of words: of activations, their names."""
    if isinstance(value, str) or callable(value):
        return np.array(_word(value))
    if isinstance(value, Sequence) and any(isinstance(each, str) or callable(each) for each in value):
        return np.array([_word(each) for each in value])
    try:
        array = np.asarray(value)
    except Exception:
        array = np.array(None, object)
    if array.dtype.kind not in "biufUS":
        raise ArgumentTypeError(
            f"{name} must be numbers or words, one or an array of them; got {value!r:.60}"
        )
    return array


def _word(value: Any) -> str:
    return str(getattr(value, "name", getattr(value, "__name__", value)))


def _varying(name: str, values: np.ndarray, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The axes of `shape` along which a coordinate has an entry each."""
    try:
        np.broadcast_to(values, shape)
    except ValueError:
        raise ArgumentError(
            f"{name} must broadcast to the settings of the record, {shape}; got shape {values.shape}"
        ) from None
    start = len(shape) - values.ndim
    return tuple(start + i for i, size in enumerate(values.shape) if size == shape[start + i])


def _axis(name: str) -> Axis:
    about = AXES.get(name)
    return Axis(name) if about is None and name in SETTINGS else about or Axis(f"{spaced(name)}, from 0")


def spaced(name: str) -> str:
    """The name as words."""
    return name.replace("_", " ")


def axis_values(name: str, size: int, arrays: Mapping[str, Any]) -> np.ndarray:
    """The coordinate of an axis: an array of the record, by its name, or numbers that count."""
    about = _axis(name)
    return np.asarray(arrays[about.source]) if about.source in arrays else np.arange(size) + about.first


def axis_attributes(name: str) -> dict[str, str]:
    """Long name and units of the coordinate of an axis."""
    return {"long_name": _axis(name).words, "units": "1"}


def variables(found: Iterable[Column]) -> dict[str, tuple]:
    """name → (axes, values, attributes), estimates as two."""
    made = {}
    for c in found:
        about = {"long_name": c.about.long_name, "units": c.about.units}
        if c.error is None:
            made[c.name] = (c.axes, np.asarray(c.values), about)
        else:
            made[f"{c.name}_mean"] = (c.axes, np.asarray(c.values), about)
            error = {**about, "long_name": f"standard error of {c.about.long_name}"}
            made[f"{c.name}_stderr"] = (c.axes, np.asarray(c.error), error)
    return made


def to_xarray(record: Any, coordinates: Mapping[str, Any]) -> Any:
    """An `xarray.Dataset` of all arrays of a record; words without an axis are attributes."""
    xarray = imported("xarray", "to_xarray")
    made, labels, settings = named(record, coordinates)
    words = {c.name: str(c.values) for c in made if not c.axes and isinstance(c.values, str)}
    about = description(type(record))
    found = variables(c for c in made if c.name not in words)
    coords: dict[str, tuple] = {
        axis: (axis, values, axis_attributes(axis)) for axis, values in labels.items()
    }
    coords |= {name: (axes, values, axis_attributes(name)) for name, (axes, values) in settings.items()}
    attributes = {"title": about.title.format(record), "record": type(record).__name__, **words}
    found = {name: each for name, each in found.items() if name not in coords}
    return xarray.Dataset(found, coords, attributes)


def to_pandas(record: Any, fields: Sequence[str], coordinates: Mapping[str, Any]) -> Any:
    """A `pandas.DataFrame`: a column for each field, a row for each entry, the axes in the index.

    `fields`: names; by default all with the axes of the first of the main ones, or some of these axes.
    """
    pandas = imported("pandas", "to_pandas")
    made, labels, settings = named(record, coordinates)
    if not made:
        return pandas.DataFrame()
    if fields:
        shown = chosen(made, fields)
        axes = max((c.axes for c in shown), key=len)
        if odd := [c.name for c in shown if not set(c.axes) <= set(axes)]:
            raise ArgumentError(
                f"fields must have axes in common; {odd[0]} has others than {', '.join(axes)}"
            )
    else:
        axes = leading_axes(made, description(type(record)).main)
        shown = [c for c in made if set(c.axes) <= set(axes) and (c.axes or not axes)]
    sizes = [len(labels[axis]) for axis in axes]
    content = {}
    for name, (own, values, _) in variables(shown).items():
        if name not in axes:
            content[name] = spread(values, own, axes, sizes).ravel()
    for name, (own, values) in settings.items():
        if set(own) <= set(axes):
            content[name] = spread(values, own, axes, sizes).ravel()
    index = None
    if len(axes) == 1:
        index = pandas.Index(labels[axes[0]], name=axes[0])
    elif axes:
        index = pandas.MultiIndex.from_product([labels[axis] for axis in axes], names=axes)
    return pandas.DataFrame(content, index=index)


def chosen(made: Sequence[Column], fields: Sequence[str], argument: str = "field") -> list[Column]:
    """The columns of these names. Raises ArgumentError for one that is not among them."""
    by_name = {c.name: c for c in made}
    for name in fields:
        if not isinstance(name, str) or name not in by_name:
            raise ArgumentError(f"{argument} must be one of {', '.join(by_name)}; got {name!r:.60}")
    return [by_name[name] for name in fields]


def leading_axes(made: Sequence[Column], main: Sequence[str]) -> tuple[str, ...]:
    """The axes of the first of the main fields that the record has."""
    by_name = {c.name: c.axes for c in made}
    return next((by_name[name] for name in main if name in by_name), ())


def spread(values: Any, own: Sequence[str], axes: Sequence[str], sizes: Sequence[int]) -> np.ndarray:
    """An array with the axes `own`, broadcast to `axes` of these sizes."""
    values = np.asarray(values)
    order = sorted(range(len(own)), key=lambda i: list(axes).index(own[i]))
    shape = [size if axis in own else 1 for axis, size in zip(axes, sizes, strict=True)]
    return np.broadcast_to(values.transpose(order).reshape(shape), sizes)


def imported(name: str, what: str) -> Any:
    """A module of the extra `netcdf`. Raises ImportError, which says what to install."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"{what} needs {name}: {EXTRA}") from error
