"""Rows of a table as NetCDF: what the rows are of becomes axes with coordinates."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nets.files import archive, output
from nets.results import netcdf


def rows_content(rows: Sequence[Mapping[str, Any]], axes: Sequence[str], words: Mapping[str, Any]) -> bytes:
    """The bytes of a NetCDF file, ending with their digest as in `netcdf.content`.

    `rows`: with the same keys, a row for every combination of the values of those keys that are `axes`; what
    is None is nan. `words`: JSON values, the attribute "description".

    Raises ImportError, which says what to install, if xarray is missing.
    """
    xarray = netcdf.imported_xarray()
    labels = {axis: list(dict.fromkeys(row[axis] for row in rows)) for axis in axes}
    shape = tuple(map(len, labels.values()))
    if math.prod(shape) != len(rows):
        raise ValueError(f"rows must be a grid of {' × '.join(map(str, shape))}; got {len(rows)} rows")
    variables = {}
    for name in rows[0]:
        if name not in labels:
            values = _array([row[name] for row in rows])
            variables[name.replace("/", "_")] = (tuple(axes), values.reshape(shape))
    data = xarray.Dataset(variables, {axis: _array(values) for axis, values in labels.items()})
    data.attrs = {netcdf.WORDS: output.json_text(words)}
    encoding = {name: {"_FillValue": None} for name in data.variables}
    return archive.sealed(bytes(data.to_netcdf(engine="h5netcdf", encoding=encoding)))


def _array(values: list) -> np.ndarray:
    """An array of numbers, truth values or text; nan in place of None."""
    if any(isinstance(value, str) for value in values):
        return np.array(["" if value is None else str(value) for value in values], dtype=object)
    return np.array([math.nan if value is None else value for value in values])
