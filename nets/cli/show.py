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
from nets.estimators import Estimate

LONGEST = 40
"""Rows of a table that are printed; a longer one shows its first and last."""


def terminal(width: int = 140) -> Console:
    """A console; where nobody reads it live, at least that wide. Only the first process speaks.

    Text is shown as it is: names and paths may have brackets and colons.
    """
    plain: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False}
    console = Console(**plain, quiet=jax.process_index() > 0)
    if not console.is_terminal:
        console = Console(**plain, quiet=console.quiet, width=max(console.width, width))
    return console


def write_files(
    console: Console, files: Mapping[str, Path], writers: Mapping[str, Callable[[Path], None]]
) -> int:
    """Write the files that were asked for, in the order of `writers`; returns the exit status.

    An error of one does not stop the others. What the disk refuses goes to a temporary folder.
    """
    done, errors = [], []
    for suffix, path in ((suffix, files[suffix]) for suffix in writers if suffix in files):
        try:
            writers[suffix](path)
        except OSError as error:
            complain(str(error))
            errors.append(error)
            path = Path(tempfile.mkdtemp(prefix="eft-")) / path.name
            writers[suffix](path)
        except Exception as error:
            errors.append(error)
            continue
        done.append(path)
    if done:
        console.print("written: " + ", ".join(map(str, done)), soft_wrap=True)
    for error in errors:
        if not isinstance(error, OSError):
            raise error
    return 1 if errors else 0


def few(rows: list) -> list:
    """The rows, or the first and last of them with None between."""
    if len(rows) <= LONGEST:
        return rows
    return [*rows[: LONGEST // 2], None, *rows[-(LONGEST // 2) :]]


def number(value: float) -> str:
    return f"{value:.5g}"


def score(z: float) -> Text:
    style = "" if not abs(z) > 2 else ("yellow" if abs(z) <= 3 else "bold red")
    return Text("–" if math.isnan(z) else f"{z:+.1f}" if abs(z) < 1e3 else f"{z:+.0e}", style=style)


def with_error(estimate: Estimate) -> str:
    """Such as 0.3941 ± 0.0012: the error to two digits, and the number as far as that goes."""
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
