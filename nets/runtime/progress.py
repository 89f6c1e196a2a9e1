"""The progress of long work, on stderr or below the cell of a notebook."""

import importlib.util

import jax
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from eft import arguments

WIDGETS = "ipywidgets"
"""What rich draws bars with in a notebook: in the extra "notebooks"."""


class Bar(Progress):
    def stop(self) -> None:
        if not self.disable:  # before rich 14.3 a bar that is not shown ends with an empty line
            super().stop()


def progress_bar(progress: bool | None, unit: str, *more: str) -> Progress:
    """A progress bar on stderr; tasks have a field `speed`, in the given unit, and those shown by `more`.

    `progress`: whether it is shown; None: only if stderr is a terminal, or in a notebook. Only the first
    process shows it. In a notebook it needs ipywidgets; without, a warning says so if `progress` is True.
    """
    console = Console(stderr=True, markup=False, emoji=False)  # brackets in names are shown as they are
    seen = console.is_terminal or console.is_jupyter
    shown = jax.process_index() == 0 and (seen if progress is None else progress)
    if shown and console.is_jupyter and importlib.util.find_spec(WIDGETS) is None:
        shown = False
        if progress:
            arguments.warn_user(
                f"a progress bar in a notebook needs {WIDGETS}: pip install 'eft-nets[notebooks]'"
            )
    return Bar(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(f"{{task.fields[speed]:.0f}} {unit}"),
        TimeRemainingColumn(),
        *(TextColumn(text, markup=False) for text in more),
        console=console,
        disable=not shown,
    )
