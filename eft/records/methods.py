"""The methods of every record."""

import importlib
from collections.abc import Sequence
from typing import Any

from eft import arguments
from eft.arguments import ArgumentTypeError
from eft.records import arrays, text
from eft.records.descriptions import description


def _repr(self: Any) -> str:
    """A few lines: what it is, its sizes, and its main fields in the first layers and the last."""
    return text.short(self)


def _html(self: Any) -> str:
    """A table by layer, for notebooks."""
    return text.as_html(self)


def _table(self: Any, *fields: str, rows: int = text.MAX_ROWS, **coordinates: Any) -> str:
    """A table by layer in at most 80 columns, to be printed.

    `fields`: the columns; default: those with the axes of the main field, as many as there is room for.
    `rows`: at most so many; of more layers, some are shown. `coordinates`: as of `to_xarray`.

    Raises ArgumentError for an unknown field or coordinate, ArgumentTypeError inside jit.

    >>> print(eft.kernel_flow("relu", [1.0, 2.0], depth=3).table("K", "chi_perp", rows=4, cw=[1.0, 2.0]))
    KernelFlow: flow of one input
    cw  layer     K  chi_perp
     1      1     1       0.5
     1      3  0.25       0.5
     2      1     2         1
     2      3     2         1
    """
    return text.table(self, _names(fields), coordinates, arguments.positive_int("rows", rows))


def _to_xarray(self: Any, **coordinates: Any) -> Any:
    """An `xarray.Dataset` with named axes, coordinates, long names and units; layers count from 1.

    `coordinates`: what varied in the call that made the record, in the same shapes: `cw=cw`, `cb=cb`,
    `act=["tanh", "relu"]`. One that alone varies along an axis gives it its name, which is else "setting".
    Or the values along an axis of the record, such as `test_input=x`.

    Of an estimate K there are K_mean and K_stderr; a field of a record within a record is called train_loss.

    Raises ImportError without xarray (the extra `netcdf`), ArgumentError for an unknown coordinate or one
    that does not fit, ArgumentTypeError inside jit.

    >>> data = eft.kernel_flow("relu", [1.0, 2.0], depth=3).to_xarray(cw=[1.0, 2.0])
    >>> print(data.K.dims, data.K.sel(cw=1.0, layer=3).item(), data.K.attrs["long_name"])
    ('cw', 'layer') 0.25 kernel
    """
    return arrays.to_xarray(self, coordinates)


def _to_pandas(self: Any, *fields: str, **coordinates: Any) -> Any:
    """A `pandas.DataFrame`: a column for each field, a row for each layer and setting.

    `fields`: the columns; default: all with the axes of the main field, or some of them. `coordinates`: as
    of `to_xarray`.

    Raises ImportError without pandas (the extra `netcdf`), ArgumentError for an unknown field or fields
    without axes in common, ArgumentTypeError inside jit.

    >>> frame = eft.kernel_flow("relu", 1.0, depth=3).to_pandas("K", "valid")
    >>> print(frame.index.name, frame.loc[2].to_dict())
    layer {'K': 0.5, 'valid': True}
    """
    return arrays.to_pandas(self, _names(fields), coordinates)


def _plot(
    self: Any,
    ax: Any = None,
    *,
    field: str | Sequence[str] | None = None,
    x: str | None = None,
    theory: Any = None,
    **more: Any,
) -> Any:
    """Draw the record, and return matplotlib's Axes.

    `ax`: the Axes; default: the current ones, so that several records are drawn on top of one another.
    `field`: what is drawn, one or several; default: what the record is about. `x`: the axis along which it is
    drawn; default: the layers, if there are any. `theory`: a record of the theory, drawn beneath a
    measurement. `more`: coordinates as of `to_xarray`, and properties of matplotlib's lines, such as
    `color` or `label`; a number for an axis picks its entry: `input=0`.

    Numbers that are not valid are left out.

    Raises ArgumentError for what is unknown or where there is nothing to draw, ArgumentTypeError inside jit.

    >>> ax = eft.kernel_flow("relu", [1.0, 2.0], depth=3).plot(cw=[1.0, 2.0])
    >>> print(ax.get_ylabel(), [line.get_label() for line in ax.get_lines()])
    kernel $K$ ['$C_W$ = 1', '$C_W$ = 2']
    """
    draw = importlib.import_module(description(type(self)).figures).draw
    return draw(self, ax, field=field, x=x, theory=theory, **more)


def _names(fields: Any) -> tuple[str, ...]:
    for field in fields:
        if not isinstance(field, str):
            raise ArgumentTypeError(f"field must be a name; got {arguments.shown(field)}")
    return fields


METHODS = (_repr, _html, _table, _to_xarray, _to_pandas, _plot)
"""In the body of a record: `__repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS`."""
for _method, _name in zip(
    METHODS, ("__repr__", "_repr_html_", "table", "to_xarray", "to_pandas", "plot"), strict=True
):
    _method.__name__ = _method.__qualname__ = _name
