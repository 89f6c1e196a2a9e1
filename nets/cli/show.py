"""What commands show in a terminal, and the files that they write."""

import math
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from rich.console import Console
from rich.text import Text

from eft.arguments import ArgumentError
from nets.cli.processes import complain
from nets.cli.tables import ELIDED, Cell, Table, markdown, print_table
from nets.files import output
from nets.results import netcdf
from nets.statistics.estimators import Estimate

LONGEST = 40
"""Largest number of rows that are printed; of a longer table only the first and last are."""


class Sheet(NamedTuple):
    """Where a command prints and what it writes, all of it checked.

    `console`: for what is read, standard output for tables and standard error for the machine's formats.
    `aside`: standard error, for what is said meanwhile. `format`: of what goes to standard output.
    `files`: to be written, by suffix. `taken`: files that were there before and stay.
    """

    console: Console
    aside: Console
    format: str
    files: dict[str, Path]
    taken: tuple[Path, ...]


def opened(
    stem: str, format: str, out: Path | None, overwrite: bool, suffixes: tuple[str, ...],
    more: tuple[str, ...] = (),
) -> Sheet:  # fmt: skip
    """The sheet of a command, before it begins to work.

    `stem`: of files in a directory. `suffixes`: of the files that a directory gets; `more`: of those that
    are written only if `out` ends in one.

    Raises ArgumentError for a format that the command does not have, or an `out` that cannot be written.
    """
    asked = f".{format}"
    if asked in TEXTS and asked not in (*suffixes, *more):
        forms = [each.removeprefix(".") for each in (*suffixes, *more) if each in TEXTS]
        raise ArgumentError(f"format must be one of table, md, {', '.join(forms)} here; got {format}")
    if format == "nc" and (out is None or out.suffix not in ("", ".nc")):
        raise ArgumentError(f"out must be a .nc file, or a directory for it, where format is nc; got {out}")
    if format == "nc":
        suffixes, more = (".nc",), ()
    elif out is not None and out.suffix in more and not out.is_dir():
        suffixes, more = (out.suffix,), ()
    elif out is not None and out.suffix and out.suffix not in suffixes and not out.is_dir():
        suffixes = (*suffixes, *more)  # which the message lists
    wanted = output.targets(out, stem, suffixes)
    files = output.targets(out, stem, suffixes, overwrite=overwrite)
    if ".nc" in files:
        netcdf.check_installed()
    taken = tuple(path for suffix, path in wanted.items() if files[suffix] != path and path.exists())
    aside = terminal(stderr=True)
    return Sheet(terminal() if format in ("table", "md") else aside, aside, format, files, taken)


TEXTS = (".json", ".csv", ".nc")
"""Files that are formats too."""


def terminal(stderr: bool = False) -> Console:
    """A console. Only the first process prints.

    Text is printed as it is: names and paths may contain brackets and colons.
    """
    return Console(highlight=False, markup=False, emoji=False, stderr=stderr, quiet=jax.process_index() > 0)


def publish(
    sheet: Sheet,
    blocks: Sequence[Table | str | Text],
    *,
    value: Any,
    rows: Sequence[Mapping[str, Any]],
    writers: Mapping[str, Callable[[Path], None]],
) -> int:
    """Print what was found in the format of the sheet, and write its files; returns the exit status.

    `blocks`: tables, and lines between them, which are on standard error if the format is one for machines.
    `value`: as JSON. `rows`: as CSV. `writers`: of all other files, by suffix.
    """
    if sheet.format in ("json", "csv") and jax.process_index() == 0:
        sys.stdout.write(output.json_text(value) if sheet.format == "json" else output.csv_text(rows))
        sys.stdout.flush()
    for i, block in enumerate(blocks):
        if isinstance(block, Table):
            _print_table(sheet, block, first=i == 0)
        elif block or sheet.format == "table":  # a page is broken into lines already
            sheet.console.print(block, soft_wrap="\n" in str(block) or sheet.format == "md")
            if sheet.format == "md":
                sheet.console.print()
    texts = {
        ".json": lambda path: output.write(path, output.json_text(value)),
        ".csv": lambda path: output.write(path, output.csv_text(rows)),
    }
    return write_files(sheet, {**writers, **texts})


def _print_table(sheet: Sheet, table: Table, first: bool) -> None:
    if sheet.format == "md":
        sheet.console.print(markdown(table), soft_wrap=True)
    elif sheet.format == "table":
        if not first:
            sheet.console.print()
        print_table(sheet.console, table)


def write_files(sheet: Sheet, writers: Mapping[str, Callable[[Path], None]]) -> int:
    """Write the requested files; returns the exit status.

    An error in one does not stop the others; figures come last. A file that the disk refuses goes to a
    temporary folder.
    """
    console = sheet.aside if sheet.format == "md" else sheet.console
    done: list[Path] = []
    errors: list[Exception] = []
    for suffix in sorted((each for each in writers if each in sheet.files), key=".png".__eq__):
        try:
            done.append(_written(sheet.files[suffix], writers[suffix], errors))
        except Exception as error:
            errors.append(error)
    if done:
        console.print("\n".join(f"written: {path}" for path in done), soft_wrap=True)
    if sheet.taken:
        before = ", ".join(map(str, sheet.taken))
        stay = "stay as they were" if len(sheet.taken) > 1 else "stays as it was"
        console.print(f"{before} {stay}: --overwrite replaces such files", soft_wrap=True)
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


def few(rows: Sequence[Sequence[Cell]]) -> list[Sequence[Cell]]:
    """The rows or, if there are many, the first and last of them with a row of ⋮ in between."""
    if len(rows) <= LONGEST:
        return list(rows)
    return [*rows[: LONGEST // 2], [ELIDED] * len(rows[0]), *rows[-(LONGEST // 2) :]]


def number(value: float) -> str:
    return f"{value:.5g}"


def short(value: float, digits: int = 4) -> str:
    """The number with that many digits, in at most 7 characters where there are 4; "–" for nan."""
    if math.isnan(value):
        return "–"
    return f"{value:.{digits}g}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.1e}"


def score(z: float) -> Text:
    style = "" if not abs(z) > 2 else ("yellow" if abs(z) <= 3 else "bold red")
    return Text("–" if math.isnan(z) else f"{z:+.1f}" if abs(z) < 1e3 else f"{z:+.0e}", style=style)


def with_error(estimate: Estimate) -> str:
    """Text such as 0.3941 ± 0.0012: the error to two digits, the value to the same decimal place, or 9."""
    value, error = float(estimate.mean), float(estimate.stderr)
    if math.isnan(value):
        return "–"
    if not math.isfinite(error) or error == 0:
        return f"{value:.6g} ± {error:.2g}"
    if error < 1e-9 * abs(value):
        return f"{value:.9g} ± {error:.1g}"
    largest = max(abs(value), error)
    power = 0 if 1e-3 <= largest < 1e6 else math.floor(math.log10(largest))
    value, error = value / 10.0**power, error / 10.0**power
    digits = max(0, 1 - math.floor(math.log10(error)))
    text = f"{value:.{digits}f} ± {error:.{digits}f}"
    return text if power == 0 else f"({text})e{power:+03d}"
