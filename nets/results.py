"""Measurements and training runs in files: everything that is in them, how they came about, to the bit."""

import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nets import archive, netcdf
from nets.ensemble import Measurement
from nets.estimators import Estimate
from nets.gram import GramMeasurement
from nets.inputs import InputMeasurement
from nets.snapshots import TrainingRun

KINDS = {kind.__name__: kind for kind in (Measurement, GramMeasurement, InputMeasurement, TrainingRun)}
PACKAGES = ("eft", "jax", "jaxlib", "flax", "optax", "numpy")


class Saved(NamedTuple):
    """What a file holds."""

    result: Any  # a Measurement, GramMeasurement, InputMeasurement or TrainingRun
    arguments: dict[str, Any]  # as they were given to `save`
    versions: dict[str, str]  # of the packages that made it


def save(result: Any, path: "str | Path", arguments: Mapping[str, Any] | None = None) -> None:
    """Write a result with its digest: as NetCDF if `path` ends in .nc (see `nets.netcdf`), else as .npz.

    `arguments`: what JSON has, such as the seed and C_W.

    Raises TypeError for another kind of result, and OSError where the disk refuses.
    """
    kind = type(result).__name__
    if KINDS.get(kind) is not type(result):
        raise TypeError(f"result must be one of {', '.join(KINDS)}; got {kind}")
    arrays: dict[str, np.ndarray] = {}
    for name, value in result._asdict().items():
        _put(arrays, name, value)
    versions = {package: importlib.metadata.version(package) for package in PACKAGES}
    numbers = [name for name, value in result._asdict().items() if isinstance(value, float)]
    words = {"kind": kind, "numbers": numbers, "arguments": dict(arguments or {}), "versions": versions}
    if Path(path).suffix == ".nc":
        content = netcdf.content(kind, arrays, words)
        archive.put(Path(path), content, len(content))
    else:
        archive.save(Path(path), arrays, words)


def load(path: "str | Path") -> Saved:
    """Read a result back.

    Raises nets.archive.ArchiveError if the file is damaged or holds something else.
    """
    arrays, words = (netcdf if Path(path).suffix == ".nc" else archive).load(Path(path))
    kind = KINDS.get(words.get("kind", ""))
    if kind is None:
        raise archive.ArchiveError(f"{path} holds none of {', '.join(KINDS)}")
    tree: dict[Any, Any] = {}
    for name, array in arrays.items():
        *parents, last = (int(part) if part.isdigit() else part for part in name.split("/"))
        place = tree
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = array
    fields = {name: _estimate(tree.get(name)) for name in kind._fields}
    fields |= {name: float(fields[name]) for name in words["numbers"]}
    return Saved(kind(**fields), words["arguments"], words["versions"])


def _put(arrays: dict[str, np.ndarray], name: str, value: Any) -> None:
    if isinstance(value, Estimate):
        value = value._asdict()
    if isinstance(value, Mapping):
        for key, part in value.items():
            _put(arrays, f"{name}/{key}", part)
    elif value is not None:
        arrays[name] = np.asarray(value)


def _estimate(value: Any) -> Any:
    return Estimate(**value) if isinstance(value, dict) and set(value) == set(Estimate._fields) else value
