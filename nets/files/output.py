"""Files that the program writes: completely, or not at all."""

import csv
import io
import json
import math
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import jax

from eft.arguments import ArgumentError


def write(path: Path, content: str | bytes | Callable[[BinaryIO], None]) -> None:
    """Write to a temporary file beside `path`, flush it and rename it: a reader never sees a partial file.

    `content`: the content of the file, or a function that writes it to an open file.
    """
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
        _flush(path.parent)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _flush(folder: Path) -> None:
    """Flush the folder to make the new name permanent, where the system allows this."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def targets(
    out: Path | None, stem: str, suffixes: tuple[str, ...], *, overwrite: bool = True
) -> dict[str, Path]:
    """The files that `out` requests, by suffix, after checking that they can be written.

    `out` with one of the suffixes is that file; without a suffix it is a directory that gets one file for
    each suffix, named `stem`. Missing directories are created. Of several processes only the first writes.
    Without `overwrite` files of those names stay, and the new ones are named stem-2, stem-3, …

    Raises ArgumentError for any other suffix, or if the place cannot be written to.
    """
    if out is None or jax.process_index() > 0:
        return {}
    if out.suffix in suffixes and not out.is_dir():
        paths = {out.suffix: out}
    elif out.suffix and not out.is_dir():
        raise ArgumentError(f"out must end in {', '.join(suffixes)}, or be a directory; got {out}")
    else:
        paths = {suffix: out / f"{stem}{suffix}" for suffix in suffixes}
    for path in paths.values():
        _check_writable(path)
    return paths if overwrite else _free(paths)


def _free(paths: dict[str, Path]) -> dict[str, Path]:
    """The same names if none is taken, or else with the first number from 2 at which none is."""
    numbered, number = paths, 1
    while any(path.exists() for path in numbered.values()):
        number += 1
        numbered = {suffix: path.with_stem(f"{path.stem}-{number}") for suffix, path in paths.items()}
    return numbered


def _check_writable(path: Path) -> None:
    try:
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a directory")
        check_folder(path.parent)
    except (OSError, ValueError) as error:  # ValueError: a null character
        raise ArgumentError(f"out must be a place that can be written to; got {path}: {error}") from None


def check_folder(folder: Path) -> None:
    """Create the folder if it is missing; raises OSError if this fails or no file can be written in it."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(prefix=".eft.", dir=folder):
        pass


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows with the same keys as CSV, with the keys as header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def json_text(value: Any) -> str:
    """JSON, with null for nan and "inf", "-inf" for the infinities, which are not numbers in JSON."""
    return json.dumps(_strict(value), indent=1, allow_nan=False) + "\n"


def _strict(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _strict(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value
