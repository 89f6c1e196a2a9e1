"""Checkpoints of long runs: two generations, in case one is damaged; one run per folder."""

import contextlib
import errno
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from eft import arguments
from eft.arguments import ArgumentError, ArgumentTypeError, warn_user
from nets.files import archive, output

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

GENERATIONS = 2
FORMAT = 2
"""Version of the checkpoint format; a checkpoint of another version is refused."""

NAME, TEMPORARY = re.compile(r"step-(\d{12,})\.npz"), re.compile(r"\.step-\d{12,}\.npz\..*")


class Checkpoint(NamedTuple):
    """The state of a run after `step` steps.

    `arrays`, `attributes`: as they were written. `notes`: why newer checkpoints could not be read.
    """

    step: int
    arrays: dict[str, np.ndarray]
    attributes: dict[str, Any]
    notes: tuple[str, ...]


class CheckpointError(RuntimeError):
    """This run cannot resume: no checkpoint is intact, or they belong to or are in use by another run."""


def checked_folder(value: Any) -> Path | None:
    """The folder named by `value`, created if it is missing; None for None.

    Raises ArgumentTypeError or ArgumentError if it is not a folder that can be written to. Of several
    processes only the first writes, so only the first checks this.
    """
    if value is None:
        return None
    if not isinstance(value, str | os.PathLike):
        raise ArgumentTypeError(f"checkpoint must be the path of a folder; got {arguments.shown(value)}")
    if not os.fspath(value):
        raise ArgumentError(f"checkpoint must be the path of a folder; got {arguments.shown(value)}")
    folder = Path(value)
    if jax.process_index() == 0:
        try:
            output.check_folder(folder)
        except (OSError, ValueError) as error:  # ValueError: a null character
            raise ArgumentError(
                f"checkpoint must be a folder that can be written to; got {str(folder)!r}: {error}"
            ) from None
    return folder


@contextlib.contextmanager
def held(folder: Path | None) -> Iterator[None]:
    """A context in which no other run can use the folder; the lock ends with the process in any case.

    Raises CheckpointError if another run holds the lock.
    """
    if folder is None or fcntl is None or jax.process_index() > 0:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            os.close(handle)
            raise CheckpointError(
                f"another run is using the checkpoint folder {folder}: wait until it ends, or choose another"
            ) from None
        warn_user(f"{folder} cannot be locked ({error}): let no other run use it")
    try:
        yield
    finally:
        os.close(handle)


def write(folder: Path, step: int, arrays: Mapping[str, np.ndarray], attributes: Mapping[str, Any]) -> None:
    """Write a checkpoint and, only after that, remove all older ones but the most recent.

    Raises OSError if the disk refuses; existing checkpoints are then unchanged.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    archive.save(folder / f"step-{step:012d}.npz", arrays, {**attributes, "format": FORMAT})
    # this run could not resume from checkpoints of later steps: they do not count
    older = [path for number, path in _numbered(folder) if number <= step][GENERATIONS:]
    torn = [path for path in folder.iterdir() if TEMPORARY.fullmatch(path.name)]
    for leftover in [*older, *torn]:
        leftover.unlink(missing_ok=True)


def latest(folder: Path) -> Checkpoint | None:
    """The newest intact checkpoint, or None if there are no checkpoints.

    Raises CheckpointError if there are some and all of them are damaged.
    """
    notes = []
    for step, path in _numbered(Path(folder)):
        try:
            arrays, attributes = archive.load(path)
        except archive.ArchiveError as error:
            notes.append(f"{error}; going on from the one before")
            continue
        return Checkpoint(step, arrays, attributes, tuple(notes))
    if notes:
        raise CheckpointError(
            f"no checkpoint in {folder} is whole: {', '.join(p.name for _, p in _numbered(Path(folder)))}. "
            "Remove them to start again from the beginning"
        )
    return None


def of_run(folder: Path | None, identity: Mapping[str, str]) -> Checkpoint | None:
    """The newest checkpoint of the run that `identity` identifies; None if there are no checkpoints.

    Raises ArgumentError if it belongs to another run or to another version of this program, and
    CheckpointError like `latest`.
    """
    newest = None if folder is None else latest(folder)
    if newest is None:
        return None
    if newest.attributes.get("format") != FORMAT:
        raise ArgumentError(
            f"checkpoint must be a folder of its own for this run; {folder} holds one of another version of "
            f"this program: its format is {newest.attributes.get('format')}, and this one reads {FORMAT}"
        )
    theirs = newest.attributes.get("identity")
    theirs = theirs if isinstance(theirs, dict) else {}
    other = [name for name, value in identity.items() if theirs.get(name) != value]
    if other:
        raise ArgumentError(
            f"checkpoint must be a folder of its own for this run; {folder} holds one that differs in "
            f"{', '.join(other)}"
        )
    return newest


def newest_step(folder: Path) -> int | None:
    """The step of the newest checkpoint, according to its file name; None if there are none."""
    return next((step for step, _ in _numbered(Path(folder))), None)


def _numbered(folder: Path) -> list[tuple[int, Path]]:
    """Steps and files, newest first. Files with other names are ignored."""
    paths = folder.iterdir() if folder.is_dir() else ()
    numbered = [(int(match[1]), path) for path in paths if (match := NAME.fullmatch(path.name))]
    return sorted(numbered, reverse=True)
