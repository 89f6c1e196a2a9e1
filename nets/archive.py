"""Arrays and a few words about them in one file that is whole or refused: `.npz` with its own digest.

The zip's comment, the last 64 bytes, is the SHA-256 of all bytes before it: no flipped bit and no truncation
passes. `numpy.load` opens the file too. The same content makes the same bytes.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nets import output

DIGEST = 64
ATTRIBUTES = "attributes.json"
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The time that every member of the zip bears."""


class ArchiveError(ValueError):
    """A file that is not what was written."""


class Archive(NamedTuple):
    """What a file holds."""

    arrays: dict[str, np.ndarray]
    attributes: dict[str, Any]  # what JSON has: text, numbers, true, null, lists, dictionaries


def save(path: Path, arrays: Mapping[str, np.ndarray], attributes: Mapping[str, Any]) -> None:
    """Write the file: whole, or not at all, and then what was there before is untouched.

    Raises TypeError for an array of objects or attributes that JSON does not have, and OSError, which says
    what to do, where the disk refuses.
    """
    put(Path(path), _bytes(arrays, attributes))


def put(path: Path, content: bytes) -> None:
    """Write bytes: whole, or not at all. Raises OSError, which says what to do, where the disk refuses."""
    try:
        output.write(path, content)
    except OSError as error:
        raise OSError(
            error.errno,
            f"{error.strerror}; {path} was not written ({len(content):,} bytes), what was there before is "
            "untouched. Free some space or choose another place, and run the same again",
        ) from error


def load(path: Path) -> Archive:
    """Read the file back, to the bit.

    Raises ArchiveError if it is not as it was written, and FileNotFoundError if there is none.
    """
    content = Path(path).read_bytes()
    body, digest = content[:-DIGEST], content[-DIGEST:]
    if hashlib.sha256(body).hexdigest().encode() != digest:
        raise ArchiveError(f"{path} is damaged, or not one of this program: its digest does not match")
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        attributes = json.loads(file.read(ATTRIBUTES))
        names = [name for name in file.namelist() if name != ATTRIBUTES]
        arrays = {name.removesuffix(".npy"): _array(file.read(name)) for name in names}
    return Archive(arrays, attributes)


def _array(content: bytes) -> np.ndarray:
    return np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)


def _bytes(arrays: Mapping[str, np.ndarray], attributes: Mapping[str, Any]) -> bytes:
    members = {ATTRIBUTES: json.dumps(attributes, sort_keys=True, allow_nan=False).encode()}
    for name, array in arrays.items():
        array = np.asarray(array)
        if array.dtype.hasobject:
            raise TypeError(f"{name} must be an array of numbers; got one of objects")
        part = io.BytesIO()
        np.lib.format.write_array(part, array, allow_pickle=False)
        members[f"{name}.npy"] = part.getvalue()
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_STORED) as file:
        for name, content in members.items():
            file.writestr(zipfile.ZipInfo(name, EPOCH), content)
        file.comment = b"0" * DIGEST
    body = whole.getvalue()[:-DIGEST]
    return body + hashlib.sha256(body).hexdigest().encode()
