"""What commands show in a terminal, and the files that they write."""

import math
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
from rich.console import Console
from rich.text import Text

from nets.cli.processes import complain
from nets.statistics.estimators import Estimate

LONGEST = 40
"""Largest number of rows that are printed; of a longer table only the first and last are."""


def terminal(width: int = 140) -> Console:
    """A console, at least `width` wide if it is not a terminal. Only the first process prints.

    Text is printed as it is: names and paths may contain brackets and colons.
    """
    plain: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False}
    console = Console(**plain, quiet=jax.process_index() > 0)
    if not console.is_terminal:
        console = Console(**plain, quiet=console.quiet, width=max(console.width, width))
    return console


def write_files(
    console: Console, files: Mapping[str, Path], writers: Mapping[str, Callable[[Path], None]]
) -> int:
    """Write the requested files, in the order of `writers`; returns the exit status.

    An error in one does not stop the others. A file that the disk refuses goes to a temporary folder.
    """
    done: list[Path] = []
    errors: list[Exception] = []
    for suffix in (suffix for suffix in writers if suffix in files):
        try:
            done.append(_written(files[suffix], writers[suffix], errors))
        except Exception as error:
            errors.append(error)
    if done:
        console.print("written: " + ", ".join(map(str, done)), soft_wrap=True)
    for error in errors:
        if not isinstance(error, OSError):
            raise error
    return 1 if errors else 0


def _written(path: Path, write: Callable[[Path], None], errors: list[Exception]) -> Path:
    """Where the file is: at `path`, or in a temporary folder if the disk refuses."""
    try:
        write(path)
    except OSError as error:
        complain(str(error))
        errors.append(error)
        path = Path(tempfile.mkdtemp(prefix="eft-")) / path.name
        write(path)
    return path


def few(rows: list) -> list:
    """The rows or, if there are many, the first and last of them with None in between."""
    if len(rows) <= LONGEST:
        return rows
    return [*rows[: LONGEST // 2], None, *rows[-(LONGEST // 2) :]]


def number(value: float) -> str:
    return f"{value:.5g}"


def score(z: float) -> Text:
    style = "" if not abs(z) > 2 else ("yellow" if abs(z) <= 3 else "bold red")
    return Text("–" if math.isnan(z) else f"{z:+.1f}" if abs(z) < 1e3 else f"{z:+.0e}", style=style)


def with_error(estimate: Estimate) -> str:
    """Text such as 0.3941 ± 0.0012: the error to two digits, and the value to the same decimal place."""
    value, error = float(estimate.mean), float(estimate.stderr)
    if math.isnan(value):
        return "–"
    if not math.isfinite(error) or error == 0:
        return f"{value:.6g} ± {error:.2g}"
    largest = max(abs(value), error)
    power = 0 if 1e-3 <= largest < 1e6 else math.floor(math.log10(largest))
    value, error = value / 10.0**power, error / 10.0**power
    digits = max(0, 1 - math.floor(math.log10(error)))
    text = f"{value:.{digits}f} ± {error:.{digits}f}"
    return text if power == 0 else f"({text})e{power:+03d}"
