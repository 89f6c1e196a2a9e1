"""Arrays and their attributes in one file that is refused unless it is intact: `.npz` with its own digest.

The zip's comment, the last 64 bytes, is the SHA-256 of all bytes before it, so that any flipped bit and any
truncation is detected. `numpy.load` opens the file too. The same content gives the same bytes.
"""

import contextlib
import hashlib
import io
import json
import math
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from eft.arguments import ArgumentTypeError
from nets.files import output

DIGEST = 64
ATTRIBUTES = "attributes.json"
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The time stamp of every member of the zip."""

PACKED = "compressed or larger than the file, which this program never writes"

PART = 2**20
"""Bytes that are read at a time."""


class ArchiveError(ValueError):
    """The file is damaged, or was not written by this program."""


class Archive(NamedTuple):
    """The content of a file.

    `arrays`: by name. `attributes`: JSON values: text, numbers, true, null, lists, dictionaries.
    """

    arrays: dict[str, np.ndarray]
    attributes: dict[str, Any]


def save(path: Path, arrays: Mapping[str, np.ndarray], attributes: Mapping[str, Any]) -> None:
    """Write the complete file, or nothing: then an existing file is unchanged.

    No copy of the arrays is made in memory. Raises TypeError for an array of objects or attributes that JSON
    cannot represent, and OSError, which says what to do, if the disk refuses.
    """
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise ArgumentTypeError(f"{name} must be an array of numbers; got one of objects")
    words = json.dumps(attributes, sort_keys=True, allow_nan=False).encode()
    size = len(words) + sum(array.nbytes for array in arrays.values())
    put(Path(path), lambda file: _write(file, arrays, words), size)


def put(path: Path, content: bytes | Callable[[BinaryIO], None], size: int) -> None:
    """Write a complete file of about `size` bytes, or nothing.

    Raises OSError, which says what to do, if the disk refuses.
    """
    try:
        output.write(path, content)
    except OSError as error:
        raise OSError(
            error.errno,
            f"{error.strerror}; {path} was not written (about {size:,} bytes), what was there before is "
            "untouched. Free some space or choose another place, and run the same again",
        ) from error


def load(path: Path) -> Archive:
    """Read the file back, bit for bit.

    Raises ArchiveError if it is not as it was written, and FileNotFoundError if it does not exist.
    """
    with open(path, "rb") as file:
        check_whole(file, path)
        with parsing(path), zipfile.ZipFile(file) as members:
            infos = {info.filename: info for info in members.infolist()}
            size = sum(info.file_size for info in infos.values())
            packed = any(info.compress_type != zipfile.ZIP_STORED for info in infos.values())
            if packed or len(infos) < len(members.namelist()) or size > file.seek(0, io.SEEK_END):
                raise ArchiveError(f"{path} holds arrays that are {PACKED}")
            attributes = json.loads(members.read(infos.pop(ATTRIBUTES)))
            if not isinstance(attributes, dict):
                raise ValueError(f"{ATTRIBUTES} holds no dictionary")
            arrays = {name.removesuffix(".npy"): _array(members, info) for name, info in infos.items()}
    return Archive(arrays, attributes)


def check_whole(file: BinaryIO, path: Path) -> None:
    """Raises ArchiveError unless the last bytes of the file are the digest of all bytes before them."""
    left = file.seek(0, io.SEEK_END) - DIGEST
    file.seek(0)
    digest = hashlib.sha256()
    while left > 0 and (part := file.read(min(left, PART))):
        digest.update(part)
        left -= len(part)
    if left != 0 or file.read() != digest.hexdigest().encode():
        raise ArchiveError(f"{path} is damaged, or not one of this program: its digest does not match")


def sealed(content: bytes) -> bytes:
    """The content followed by its digest, as `check_whole` expects."""
    return content + hashlib.sha256(content).hexdigest().encode()


@contextlib.contextmanager
def parsing(path: Path) -> Iterator[None]:
    """A context that turns every exception into an ArchiveError: the file is intact, but of another kind."""
    try:
        yield
    except ArchiveError:
        raise
    except Exception as error:
        raise ArchiveError(f"{path} is whole, but not one of this program: {error!r}") from error


def _array(members: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    """An array; its length is checked first, since its header could request any amount of memory."""
    with members.open(info) as member:
        version = np.lib.format.read_magic(member)
        header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, _, dtype = header[version](member)
        if member.tell() + math.prod(shape) * dtype.itemsize != info.file_size:
            raise ValueError(f"{info.filename} is not as long as its header says")
    with members.open(info) as member:
        return np.lib.format.read_array(member, allow_pickle=False)


def _write(file: BinaryIO, arrays: Mapping[str, np.ndarray], words: bytes) -> None:
    through = _Digesting(file)
    with zipfile.ZipFile(through, "w", zipfile.ZIP_STORED) as members:  # type: ignore[arg-type]
        with members.open(zipfile.ZipInfo(ATTRIBUTES, EPOCH), "w") as member:
            member.write(words)
        for name, array in arrays.items():
            with members.open(zipfile.ZipInfo(f"{name}.npy", EPOCH), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
        members.comment = b"0" * DIGEST
    through.finish()


class _Digesting:
    """A file that is written sequentially, and whose last bytes become the digest of those before."""

    def __init__(self, file: BinaryIO):
        self._file, self._digest, self._kept = file, hashlib.sha256(), b""

    def write(self, data) -> int:
        data = memoryview(data)
        if len(data) < DIGEST:
            through, self._kept = (self._kept + data)[:-DIGEST], (self._kept + data)[-DIGEST:]
            self._pass(through)
        else:
            self._pass(self._kept)
            self._pass(data[:-DIGEST])
            self._kept = bytes(data[-DIGEST:])
        return len(data)

    def flush(self) -> None:
        self._file.flush()

    def finish(self) -> None:
        self._file.write(self._digest.hexdigest().encode())

    def _pass(self, data) -> None:
        self._digest.update(data)
        self._file.write(data)
