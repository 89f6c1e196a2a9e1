"""The examples and tables of a guide in docs/."""

import doctest
import re
from pathlib import Path

import jax

DOCS = Path(__file__).parent.parent.parent / "docs"


def examples(guide: str) -> dict[str, str]:
    """The code of each section that has any, by its heading."""
    sections = re.split(r"^#+ (.*)$", (DOCS / guide).read_text(), flags=re.MULTILINE)[1:]
    code = {
        heading: "\n".join(re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL))
        for heading, text in zip(sections[::2], sections[1::2], strict=True)
    }
    return {heading: text for heading, text in code.items() if text}


def report(code: str) -> str:
    """What the examples print differently in a new session, with float64 switched off; "" if nothing."""
    lines: list[str] = []
    test = doctest.DocTestParser().get_doctest(code, {}, "guide", None, None)
    assert test.examples
    with jax.enable_x64(False):
        doctest.DocTestRunner(verbose=False).run(test, out=lines.append)
    return "".join(lines)


def tables(guide: str) -> list[list[dict[str, str]]]:
    """The rows of each table, by column."""
    found = re.findall(r"(?:^\|.*\n)+", (DOCS / guide).read_text(), flags=re.MULTILINE)
    rows = [
        [[cell.strip() for cell in line.strip("|\n").split("|")] for line in t.splitlines()] for t in found
    ]
    return [[dict(zip(table[0], row, strict=True)) for row in table[2:]] for table in rows]
