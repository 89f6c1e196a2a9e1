"""The progress of long work, on stderr."""

import jax
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def progress_bar(progress: bool | None, unit: str, *more: str) -> Progress:
    """A progress bar on stderr; tasks have a field `speed`, in the given unit, and those shown by `more`.

    `progress`: whether it is shown; None: only if stderr is a terminal. Only the first process shows it.
    """
    console = Console(stderr=True, markup=False, emoji=False)  # brackets in names are shown as they are
    shown = jax.process_index() == 0 and (console.is_terminal if progress is None else progress)
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(f"{{task.fields[speed]:.0f}} {unit}"),
        TimeRemainingColumn(),
        *(TextColumn(text, markup=False) for text in more),
        console=console,
        disable=not shown,
    )
