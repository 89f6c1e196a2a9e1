"""Checkpoints of long work: two generations, so that a damaged one is not the end."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nets import archive

GENERATIONS = 2


class Checkpoint(NamedTuple):
    """Work as it stood after some steps."""

    step: int
    arrays: dict[str, np.ndarray]
    attributes: dict[str, Any]
    notes: tuple[str, ...]  # what was wrong with newer ones


class CheckpointError(RuntimeError):
    """There are checkpoints, and none is whole."""


def write(folder: Path, step: int, arrays: Mapping[str, np.ndarray], attributes: Mapping[str, Any]) -> None:
    """Write a checkpoint; only then are those before the last but one removed.

    Raises OSError where the disk refuses: what was there is untouched.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    archive.save(folder / f"step-{step:012d}.npz", arrays, attributes)
    for leftover in [*_files(folder)[GENERATIONS:], *folder.glob(".step-*")]:
        leftover.unlink(missing_ok=True)


def latest(folder: Path) -> Checkpoint | None:
    """The newest checkpoint that is whole, or None where there are none.

    Raises CheckpointError if there are some and each is damaged.
    """
    notes = []
    for path in _files(Path(folder)):
        try:
            arrays, attributes = archive.load(path)
        except archive.ArchiveError as error:
            notes.append(f"{error}; going on from the one before")
            continue
        return Checkpoint(int(path.stem.removeprefix("step-")), arrays, attributes, tuple(notes))
    if notes:
        raise CheckpointError(
            f"no checkpoint in {folder} is whole: {', '.join(p.name for p in _files(Path(folder)))}. "
            "Remove them to start again from the beginning"
        )
    return None


def _files(folder: Path) -> list[Path]:
    """The newest first."""
    return sorted(folder.glob("step-*.npz"), reverse=True)
