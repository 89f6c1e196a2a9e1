"""How numbers are shown in a terminal."""

import math
from pathlib import Path

import jax
from rich.console import Console
from rich.text import Text

from nets.estimators import Estimate

LONGEST = 40
"""Rows of a table that are printed; a longer one shows its first and last."""


def terminal(width: int = 140) -> Console:
    """A console; where nobody reads it live, at least that wide. Only the first process speaks."""
    console = Console(highlight=False, quiet=jax.process_index() > 0)
    if not console.is_terminal:
        console = Console(highlight=False, quiet=console.quiet, width=max(console.width, width))
    return console


def say(console: Console, files: dict[str, Path]) -> None:
    if files:
        console.print("written: " + ", ".join(map(str, files.values())))


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
