"""Results as NetCDF: arrays with named axes, for xarray and other readers. Requires the extra "netcdf".

Each axis has a coordinate: layers are counted from 1, snapshots are labelled by their steps, and all else is
counted from 0. The last 64 bytes are the SHA-256 of all bytes before them; readers of HDF5 ignore them.
"""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from eft.arguments import ArgumentError
from eft.records.arrays import axis_attributes, axis_values
from eft.records.descriptions import flat
from nets.files import archive
from nets.files.archive import Archive, ArchiveError
from nets.results import fields

WORDS, FIELD = "description", "field"


def dataset(kind: str, arrays: Mapping[str, np.ndarray], words: Mapping[str, Any]):
    """An `xarray.Dataset`; numbers and text among words["arguments"] are its scalar coordinates.

    So `xarray.concat([...], "cw")` of several datasets has an axis of C_W, and likewise for "act", "cb",
    "seed".

    Raises ImportError, which says what to install, if xarray is missing.
    """
    xarray = imported_xarray()
    variables, sizes = {}, {}
    for name, array in arrays.items():
        field = fields.of(kind, name, array.ndim)
        about = {"long_name": field.long_name, "units": field.units, FIELD: name}
        variables[flat(name)] = (field.axes, array, about)
        sizes |= dict(zip(field.axes, array.shape, strict=True))
    axes = {axis: _coordinate(axis, size, arrays) for axis, size in sizes.items()}
    scalars = {
        name: value
        for name, value in words.get("arguments", {}).items()
        if isinstance(value, str | int | float) and name not in {*axes, *variables}
    }
    return xarray.Dataset(variables, coords={**axes, **scalars})


def _coordinate(axis: str, size: int, arrays: Mapping[str, np.ndarray]) -> tuple:
    return axis, axis_values(axis, size, arrays), axis_attributes(axis)


def content(kind: str, arrays: Mapping[str, np.ndarray], words: Mapping[str, Any]) -> bytes:
    """The bytes of the file, ending with the digest of all bytes before it."""
    data = dataset(kind, arrays, words)
    data.attrs = {WORDS: json.dumps(words, sort_keys=True, allow_nan=False)}
    encoding = {name: {"_FillValue": None} for name in data.variables}
    return archive.sealed(bytes(data.to_netcdf(engine="h5netcdf", encoding=encoding)))


def load(path: Path) -> Archive:
    """The arrays and words that were saved.

    Raises ArchiveError if the file is damaged or not one of this program.
    """
    xarray = imported_xarray()
    with open(path, "rb") as file:
        archive.check_whole(file, path)
        file.seek(0)
        data = file.read()
    with archive.parsing(path), xarray.open_dataset(io.BytesIO(data), engine="h5netcdf") as opened:
        if sum(a.nbytes for a in opened.variables.values()) > len(data) or any(map(_packed, opened.values())):
            raise ArchiveError(f"{path} holds arrays that are {archive.PACKED}")
        arrays = {str(a.attrs[FIELD]): a.values for a in opened.data_vars.values()}
        words = json.loads(opened.attrs[WORDS])
        if len(arrays) != len(opened.data_vars) or not isinstance(words, dict):
            raise ValueError("no description, or two arrays of one name")
    return Archive(arrays, words)


def _packed(variable: Any) -> bool:
    """Whether the variable is stored compressed or in chunks."""
    return any(variable.encoding.get(way) for way in ("zlib", "szip", "bzip2", "blosc", "zstd", "chunksizes"))


def check_installed() -> None:
    """Raises ArgumentError, which says what to install, if NetCDF files cannot be written."""
    try:
        imported_xarray()
    except ImportError as error:
        raise ArgumentError(f"out must end in something else than .nc: {error}") from None


def imported_xarray():
    """The module xarray; raises ImportError, which says what to install, if it or h5netcdf is missing."""
    try:
        import h5netcdf  # noqa: F401
        import xarray
    except ImportError as error:
        raise ImportError("NetCDF needs xarray and h5netcdf: pip install 'eft-nets[netcdf]'") from error
    return xarray
