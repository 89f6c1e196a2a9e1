"""Measurements and training runs in files: all that they contain, bit for bit, and how they were obtained."""

import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import eft
from eft.arguments import ArgumentTypeError
from nets.files import archive
from nets.results import fields, netcdf
from nets.results.fields import KINDS
from nets.statistics.estimators import Estimate

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")

FORMAT = 3
"""Version of the file format; a file of another version is refused."""


class Saved(NamedTuple):
    """The content of a file.

    `result`: a Measurement, GramMeasurement, InputMeasurement or TrainingRun. `arguments`: as they were given
    to `save`. `versions`: of the packages that produced it.
    """

    result: Any
    arguments: dict[str, Any]
    versions: dict[str, str]


def save(result: Any, path: "str | Path", arguments: Mapping[str, Any] | None = None) -> None:
    """Write a result with its digest: as NetCDF (`nets.results.netcdf`) if `path` ends in .nc, else as .npz.

    `arguments`: JSON values to store with it, such as the seed and C_W.

    Raises TypeError for another kind of result, and OSError if the disk refuses.
    """
    kind = type(result).__name__
    if KINDS.get(kind) is not type(result):
        other = "; other records have .to_xarray().to_netcdf(path)" if hasattr(result, "to_xarray") else ""
        raise ArgumentTypeError(f"result must be one of {', '.join(KINDS)}; got {kind}{other}")
    arrays: dict[str, np.ndarray] = {}
    for name, value in result._asdict().items():
        _put(arrays, name, value)
    if wrong := list(fields.complaints(kind, arrays)):
        raise ArgumentTypeError(f"result must be a {kind} as it was measured; got one where {wrong[0]}")
    versions = {"eft": eft.__version__} | {name: importlib.metadata.version(name) for name in PACKAGES}
    words = {"format": FORMAT, "kind": kind, "arguments": dict(arguments or {}), "versions": versions}
    if Path(path).suffix == ".nc":
        content = netcdf.content(kind, arrays, words)
        archive.put(Path(path), content, len(content))
    else:
        archive.save(Path(path), arrays, words)


def load(path: "str | Path") -> Saved:
    """Read a result back.

    Raises nets.files.ArchiveError if the file is damaged or holds something else.
    """
    arrays, words = (netcdf if Path(path).suffix == ".nc" else archive).load(Path(path))
    name = words.get("kind")
    if not isinstance(name, str) or name not in KINDS:
        raise archive.ArchiveError(f"{path} holds none of {', '.join(KINDS)}")
    if words.get("format") != FORMAT:
        raise archive.ArchiveError(
            f"{path} is of another version of this program: its format is {words.get('format')}, and this "
            f"one reads {FORMAT}"
        )
    given, versions = words.get("arguments"), words.get("versions")
    if not isinstance(given, dict) or not isinstance(versions, dict):
        raise archive.ArchiveError(f"{path} is whole, but lacks the arguments or the versions")
    if wrong := list(fields.complaints(name, arrays)):
        raise archive.ArchiveError(f"{path} is whole, but holds no {name}: {wrong[0]}")
    with archive.parsing(Path(path)):
        tree = _tree(arrays)
        content = {
            field: fields.value(allowed, tree.get(field)) for field, allowed in fields.hints(name).items()
        }
    return Saved(KINDS[name](**content), given, versions)


def _put(arrays: dict[str, np.ndarray], name: str, value: Any) -> None:
    if isinstance(value, (Estimate, *fields.RECORDS.values())):
        value = value._asdict()
    if isinstance(value, Mapping):
        for key, part in value.items():
            _put(arrays, f"{name}/{key}", part)
    elif value is not None:
        arrays[name] = np.asarray(value)


def _tree(arrays: Mapping[str, np.ndarray]) -> dict[Any, Any]:
    """Nested dictionaries, from names such as "parameters/layers/0/kernel"."""
    tree: dict[Any, Any] = {}
    for name, array in arrays.items():
        *parents, last = (int(part) if part.isdigit() else part for part in name.split("/"))
        place = tree
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = array
    return tree
