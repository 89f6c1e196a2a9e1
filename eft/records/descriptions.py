"""What the fields of a record are: axes, long names, units. Text, arrays and figures are made from these."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from jax.core import Tracer

from eft.arguments import ArgumentError, ArgumentTypeError


class Field(NamedTuple):
    """A field of numbers or words, or both arrays of an estimate.

    `axes`: their names. "..." stands for any number of leading axes, the same in the whole record; an axis
    whose name ends in "?" may be missing. `long_name`, `units`: as in NetCDF. `dtype`: of the array in a
    file; "" for any real one. `symbol`: in TeX, for the axes of figures.
    """

    axes: tuple[str, ...]
    long_name: str
    dtype: str = "float64"
    units: str = "1"
    symbol: str = ""


class Part(NamedTuple):
    """A record within a record: its field x is called name_x.

    `renamed`: names of its axes that are other ones here.
    """

    long_name: str
    renamed: Mapping[str, str] = {}


class Rows(NamedTuple):
    """Records of one kind, whose fields are arrays along a new axis."""

    long_name: str
    axis: str


class Tree(NamedTuple):
    """Nested dictionaries of arrays with these first axes."""

    long_name: str
    axes: tuple[str, ...]


class Description(NamedTuple):
    """A kind of record.

    `title`: a few words, in which {0.name} is the record's attribute of that name. `fields`: every field of
    the record; None where it holds neither numbers nor words. `main`: what is shown first. `batch`: the name
    of the axes "...". `figures`: the module that draws it, in which `draw` is looked up; it loads matplotlib,
    and is imported only when something is drawn.
    """

    title: str
    fields: Mapping[str, "Field | Part | Rows | Tree | None"]
    main: tuple[str, ...]
    batch: str = "setting"
    figures: str = "eft.figures"


DESCRIPTIONS: dict[str, Description] = {}
"""By the name of the record: `eft.records.fields` and `nets.results.fields` describe theirs."""


class Axis(NamedTuple):
    """`words`: what it counts. `first`: the number of the first entry. `source`: the field that labels it."""

    words: str
    first: int = 0
    source: str = ""


AXES = {
    "layer": Axis("layer of pre-activations, from 1", 1),
    "place": Axis("layer, where 0 is the input"),
    "snapshot": Axis("steps of training", source="steps"),
    "width": Axis("width of the hidden layers", source="widths"),
    "t": Axis("time, or steps of training", source="t"),
    "cw": Axis("C_W", source="cw"),
    "cb": Axis("C_b", source="cb"),
    "point": Axis("point, from 0"),
    "order": Axis("order, from 0"),
}
"""Axes that do not just count from 0."""


class Column(NamedTuple):
    """An array of a record and its name, which has parts where records lie within records.

    `axes`: names of its axes. `values`, and `error` of an estimate. `about`: its field. `labels`: coordinates
    of its axes that the record itself holds. `batch`: the number of axes that "..." stands for.
    """

    name: str
    axes: tuple[str, ...]
    values: Any
    about: Field
    error: Any = None
    labels: Mapping[str, Any] = {}
    batch: int = 0

    @property
    def traced(self) -> bool:
        """Whether its values are not numbers yet, inside jit and its like."""
        return any(isinstance(a, Tracer) for a in (self.values, self.error))


def description(kind: type) -> Description:
    """The description of a kind of record. Raises ArgumentTypeError if there is none."""
    if kind.__name__ not in DESCRIPTIONS:
        raise ArgumentTypeError(f"record must be one that is described; got {kind.__name__}")
    return DESCRIPTIONS[kind.__name__]


def columns(record: Any) -> list[Column]:
    """All arrays of a record, those of the records within it included.

    Raises ArgumentTypeError for a field that is not described, ArgumentError for one with other axes.
    """
    kind = type(record)
    about = description(kind)
    if missing := set(record._fields) ^ set(about.fields):
        raise ArgumentTypeError(f"{kind.__name__} and its description differ in {', '.join(sorted(missing))}")
    batch, found = _leading(record, about), []
    for name, value in zip(record._fields, record, strict=True):
        entry = about.fields[name]
        if value is None or entry is None:
            continue
        if isinstance(entry, Part):
            found += [_within(name, column, entry.renamed) for column in columns(value)]
        elif isinstance(entry, Rows):
            found += _stacked(name, value, entry.axis)
        elif isinstance(entry, Tree):
            found += list(_leaves(name, value, entry))
        else:
            found.append(_column(kind.__name__, name, value, entry, batch, about.batch))
    return found


def _ndim(value: Any) -> int:
    return np.ndim(value.mean if _measured(value) else value)


def _measured(value: Any) -> bool:
    """Whether it is an estimate, with a mean and a standard error."""
    return getattr(value, "_fields", None) == ("mean", "stderr")


def _leading(record: Any, about: Description) -> int:
    """The number of axes that "..." stands for, by the first field with no other axis in doubt."""
    for name, value in zip(record._fields, record, strict=True):
        entry = about.fields[name]
        if not isinstance(entry, Field) or entry.axes[:1] != ("...",) or value is None:
            continue
        if not any(axis.endswith("?") for axis in entry.axes):
            return _ndim(value) - len(entry.axes) + 1
    return 0


def batch_names(name: str, count: int) -> tuple[str, ...]:
    """The names of the axes "...": `name`, or `name`_0, `name`_1, … where there are several."""
    return (name,) if count == 1 else tuple(f"{name}_{i}" for i in range(count))


def _column(kind: str, name: str, value: Any, about: Field, batch: int, batch_name: str) -> Column:
    labels = {}
    if isinstance(value, Mapping):
        labels, value = {about.axes[0]: np.array(list(value))}, np.array(list(value.values()), float)
    value, error = (value.mean, value.stderr) if _measured(value) else (value, None)
    value = value.name if isinstance(getattr(value, "name", None), str) else value
    ndim, axes = np.ndim(value), about.axes
    lead = max(batch, 0) if axes[:1] == ("...",) else 0
    axes = batch_names(batch_name, lead) + axes[1:] if axes[:1] == ("...",) else axes
    spare = len(axes) - ndim
    kept = []
    for axis in axes:
        if axis.endswith("?") and spare > 0:
            spare -= 1
        else:
            kept.append(axis.removesuffix("?"))
    if len(kept) != ndim:
        allowed = ", ".join(about.axes) or "()"
        raise ArgumentError(f"{name} of {kind} must have the axes {allowed}; got shape {np.shape(value)}")
    for axis in kept:
        if ndim == 1 and name in (axis, AXES.get(axis, Axis("")).source):
            labels = {axis: value}
    return Column(name, tuple(kept), value, about, error, labels, lead)


def _within(name: str, column: Column, renamed: Mapping[str, str]) -> Column:
    """The column of a record that is the field `name` of another."""
    return column._replace(
        name=f"{name}_{column.name}",
        axes=tuple(renamed.get(axis, axis) for axis in column.axes),
        labels={renamed.get(axis, axis): values for axis, values in column.labels.items()},
    )


def _stacked(name: str, records: Any, axis: str) -> list[Column]:
    """The columns of several records of one kind, with a new first axis."""
    found = []
    for each in zip(*(columns(_without_none(record)) for record in records), strict=True):
        error = None if each[0].error is None else np.array([np.asarray(c.error) for c in each])
        values = np.array([np.asarray(c.values) for c in each])
        found.append(
            each[0]._replace(axes=(axis, *each[0].axes), values=values, error=error, labels={}, batch=0)
        )
    return found


def _without_none(record: Any) -> Any:
    """The record with NaN where a number is missing, so that all have the same columns."""
    fields = description(type(record)).fields
    missing = [
        name
        for name, value in record._asdict().items()
        if value is None and isinstance(fields.get(name), Field)
    ]
    return record._replace(**dict.fromkeys(missing, np.nan))


def flat(name: str) -> str:
    """The variable name of an array, such as K_mean or parameters_layer_1_kernel (layers count from 1)."""
    parts = name.split("/")
    if parts[:2] == ["parameters", "layers"] and len(parts) > 2 and parts[2].isdigit():
        parts[1:3] = ["layer", str(int(parts[2]) + 1)]
    return "_".join(parts)


def of_leaf(name: str, ndim: int, about: Tree) -> Field:
    """The field of an array in a tree, `name` the way to it, such as "parameters/layers/0/kernel"."""
    own = (f"{flat(name)}_{i}" for i in range(len(about.axes), ndim))
    words = about.long_name.format(" ".join(name.split("/")[1:]))
    return Field((*about.axes, *own), words, "")


def _leaves(name: str, value: Any, about: Tree) -> Iterator[Column]:
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _leaves(f"{name}/{key}", part, about)
    else:
        field = of_leaf(name, np.ndim(value), about)
        yield Column(flat(name), field.axes, value, field)
