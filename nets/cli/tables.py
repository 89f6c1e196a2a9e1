"""Tables to read: as wide as their content, folded where the terminal is narrower; and as Markdown."""

import textwrap
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

Cell = str | Text
GAP = 2
"""Columns of the terminal between two columns of a table."""
MIN_WORDS = 24
"""Width that a column of words keeps at least, if its content is longer."""
ELIDED = "⋮"
"""Stands in every cell of a row in place of rows that are left out."""


class Table(NamedTuple):
    """A table to read.

    `title`: the line above it. `head`: the names of the columns. `rows`: the cells, one for each column.
    `keys`: the number of columns at the left that say what a row is; repeated wherever the table is folded.
    `breaks`: the columns before which it is folded rather than elsewhere. `words`: the columns of words:
    flush left, and wrapped where there is no room; numbers are flush right and always whole.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    keys: int = 1
    breaks: tuple[int, ...] = ()
    words: frozenset[int] = frozenset()


def print_table(console: Console, table: Table) -> None:
    """Print the table, in several parts one below the other if it is wider than the console."""
    if table.title:
        console.print(Text(table.title, style="bold"))
    for i, part in enumerate(parts(table, console.width)):
        if i:
            console.print()
        for line in _lines(table, part):
            console.print(line, no_wrap=True, crop=False, overflow="ignore", soft_wrap=True)


def parts(table: Table, width: int) -> list[dict[int, int]]:
    """The columns of each part of the folded table, with their widths; the keys begin every part.

    No part is wider than `width`, unless the keys and one column of numbers are.
    """
    natural = [_width(table, i) for i in range(len(table.head))]
    least = [min(n, MIN_WORDS) if i in table.words else n for i, n in enumerate(natural)]
    keys = list(range(table.keys))
    columns = list(range(table.keys, len(table.head)))

    def fits(chosen: Sequence[int]) -> bool:
        return sum(least[i] + GAP for i in [*keys, *chosen]) - GAP <= width

    groups = [columns] if fits(columns) else _split(columns, table.breaks)
    packed: list[list[int]] = []
    for group in groups:
        if packed and fits([*packed[-1], *group]):
            packed[-1] += group
        elif fits(group):
            packed.append(list(group))
        else:
            packed.append([])
            for i in group:
                if packed[-1] and not fits([*packed[-1], i]):
                    packed.append([])
                packed[-1].append(i)
    return [_widened([*keys, *part], natural, least, width) for part in packed or [[]]]


def _split(columns: Sequence[int], breaks: tuple[int, ...]) -> list[list[int]]:
    groups: list[list[int]] = [[]]
    for i in columns:
        if i in breaks and groups[-1]:
            groups.append([])
        groups[-1].append(i)
    return groups


def _widened(part: list[int], natural: list[int], least: list[int], width: int) -> dict[int, int]:
    """The widths of the columns of a part: columns of words share what is left."""
    spare = max(0, width + GAP - sum(least[i] + GAP for i in part))
    widths = {}
    for i in part:
        more = min(spare, natural[i] - least[i])
        widths[i], spare = least[i] + more, spare - more
    return widths


def _width(table: Table, i: int) -> int:
    return max(cell_len(str(row[i])) for row in (table.head, *table.rows))


def _lines(table: Table, part: dict[int, int]) -> Iterator[Text]:
    yield from _row(table, table.head, part, "bold")
    yield Text("─" * (sum(part.values()) + GAP * (len(part) - 1)))
    for row in table.rows:
        yield from _row(table, row, part)


def _row(table: Table, row: Sequence[Cell], part: dict[int, int], style: str = "") -> Iterator[Text]:
    """The lines of one row: as many as its longest column of words needs."""
    cells: list[list[Cell]] = []
    for i, width in part.items():
        cell = row[i]
        cells.append(_wrapped(str(cell), width) if i in table.words else [cell])
    for k in range(max(map(len, cells))):
        line = Text(style=style)
        for (i, width), cell in zip(part.items(), cells, strict=True):
            text = cell[k] if k < len(cell) else ""
            blank = " " * (width - cell_len(str(text)))
            line.append(" " * GAP if len(line) or i != next(iter(part)) else "")
            for piece in (text, blank) if i in table.words else (blank, text):
                line.append(piece)
        line.rstrip()
        yield line


def _wrapped(words: str, width: int) -> list[Cell]:
    return [*textwrap.wrap(words, max(width, 1), break_on_hyphens=False)] or [""]


def markdown(table: Table) -> str:
    """The table in Markdown, with its title in bold above it."""

    def line(cells: Sequence[Cell]) -> str:
        return f"| {' | '.join(str(cell).replace('|', '&#124;') for cell in cells)} |"

    rule = [":--" if i in table.words else "--:" for i in range(len(table.head))]
    title = [f"**{table.title}**", ""] if table.title else []
    return "\n".join([*title, line(table.head), line(rule), *map(line, table.rows)]) + "\n"


def transposed(title: str, names: Sequence[str], quantities: Sequence[Sequence[Cell]]) -> Table:
    """A table with a column for each name and a row for each quantity, whose first cell is its own name."""
    return Table(title, ("", *names), quantities)
