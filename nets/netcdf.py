"""Results as NetCDF: arrays with named axes, for xarray and others. Takes the extra "netcdf"."""

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nets.archive import Archive, ArchiveError

WORDS, DIGEST = "description", "sha256"

AXES = {
    "Measurement": {
        "G": ("member", "layer"),
        "log_G": ("member", "layer"),
        "H": ("member", "layer"),
        "B_hat": ("member", "layer"),
        "F_hat": ("member", "layer"),
        "Theta_hat": ("member", "layer"),
        "widths": ("place",),
    },
    "GramMeasurement": {
        "K": ("layer", "input", "input_2"),
        "V": ("layer", "pair", "pair_2"),
        "Theta": ("input", "input_2"),
        "G": ("member", "layer", "input", "input_2"),
        "Theta_hat": ("member", "input", "input_2"),
        "widths": ("place",),
    },
    "InputMeasurement": {
        "log_K": ("member", "layer", "input"),
        "x2": ("input",),
        "widths": ("place",),
    },
    "TrainingRun": {
        "steps": ("snapshot",),
        "n_overflowed": ("snapshot",),
        "loss": ("snapshot", "member"),
        "alive": ("snapshot", "member"),
        "K_inputs": ("snapshot", "layer", "member"),
        "outputs": ("snapshot", "test_input", "output"),
        "outputs_variance": ("snapshot", "test_input", "output"),
        "widths": ("place",),
    },
}
"""Names of the axes of a field; of one that is not here those of its kind's estimates."""
ESTIMATES = {
    "Measurement": ("layer",),
    "GramMeasurement": ("layer",),
    "InputMeasurement": ("member", "layer", "input"),
    "TrainingRun": ("snapshot", "layer", "input"),
}


def dataset(kind: str, arrays: Mapping[str, np.ndarray], words: Mapping[str, Any]):
    """An `xarray.Dataset`; numbers and text among words["arguments"] are its scalar coordinates.

    So `xarray.concat([...], "cw")` of several has an axis of C_W, and likewise for "act", "cb", "seed".

    Raises ImportError, which says what to install, without xarray.
    """
    xarray = _xarray()
    variables = {name.replace("/", "."): (_axes(kind, name, a.ndim), a) for name, a in arrays.items()}
    plain = {
        name: value
        for name, value in words.get("arguments", {}).items()
        if isinstance(value, str | int | float)
    }
    taken = {axis for axes, _ in variables.values() for axis in axes} | set(variables)
    scalars = {name: value for name, value in plain.items() if name not in taken}
    return xarray.Dataset(variables, coords=scalars)


def _axes(kind: str, name: str, ndim: int) -> tuple[str, ...]:
    field, *parts = name.split("/")
    if field == "parameters":
        of = ".".join(parts)
        return ("member", *(f"{of}.{place}" for place in range(1, ndim)))
    return AXES[kind].get(field, ESTIMATES[kind])[:ndim] if ndim else ()


def content(kind: str, arrays: Mapping[str, np.ndarray], words: Mapping[str, Any]) -> bytes:
    """The file's bytes; the SHA-256 of all arrays and words is one of its attributes."""
    found = dataset(kind, arrays, words)
    text = json.dumps(words, sort_keys=True, allow_nan=False)
    found.attrs = {WORDS: text, DIGEST: _digest(arrays, text)}
    encoding = {name: {"_FillValue": None} for name in found.variables}
    return bytes(found.to_netcdf(engine="h5netcdf", encoding=encoding))


def load(path: Path) -> Archive:
    """Arrays and words as they were given.

    Raises ArchiveError if the file is damaged or not one of this program.
    """
    try:
        with _xarray().open_dataset(io.BytesIO(Path(path).read_bytes()), engine="h5netcdf") as found:
            text = found.attrs[WORDS]
            arrays = {str(name).replace(".", "/"): a.values for name, a in found.data_vars.items()}
            whole = _digest(arrays, text) == found.attrs[DIGEST]
    except ImportError:
        raise
    except Exception as error:  # HDF5 has no one kind for a file that is not as it should be
        raise ArchiveError(f"{path} is damaged, or not one of this program: {error}") from error
    if not whole:
        raise ArchiveError(f"{path} is damaged: its digest does not match")
    return Archive(arrays, json.loads(text))


def _digest(arrays: Mapping[str, np.ndarray], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        a = np.ascontiguousarray(arrays[name])
        digest.update(f"{name}{a.dtype.str}{a.shape}".encode() + a.tobytes())
    return digest.hexdigest()


def _xarray():
    try:
        import h5netcdf  # noqa: F401
        import xarray
    except ImportError as error:
        raise ImportError("NetCDF needs xarray and h5netcdf: pip install 'eft[netcdf]'") from error
    return xarray
