"""Docstrings are written for `help()`, in plain text; here they become reStructuredText.

`name` becomes code, an indented block, which is a formula, keeps its lines, and docs/page.md becomes a link.
"""

import re
from collections.abc import Iterator

FORMULA = re.compile(r" {4,}\S")
CODE = re.compile(r"(?<![`:\w])`([^`]+)`(?!`)")
PAGE = re.compile(r"docs/(\w+)\.md")
SPECIAL = re.compile(r"([*|]|(?<=\w)_(?=\W|$))")


def paragraphs(lines: list[str]) -> Iterator[list[str]]:
    """The lines between empty lines."""
    part: list[str] = []
    for line in [*lines, ""]:
        if line.strip():
            part.append(line)
        elif part:
            yield part
            part = []


def restructured(lines: list[str]) -> list[str]:
    """The docstring as reStructuredText."""
    out: list[str] = []
    for part in paragraphs(lines):
        if part[0].lstrip().startswith(">>>"):
            out += [*(line.strip() if line.lstrip().startswith(">>>") else line for line in part), ""]
        elif all(FORMULA.match(line) for line in part):
            out += ["::", "", *part, ""]
        else:
            out += [*_prose(part), ""]
    return out


def _prose(part: list[str]) -> list[str]:
    """A paragraph; where a line begins with a `name`, the argument that it describes, a new one begins."""
    lines: list[str] = []
    for line in part:
        text = line.strip()
        if FORMULA.match(line):
            lines += ["", "::", "", line, ""]
            continue
        if lines and re.match(r"`[\w, `=]+`.{0,80}?:", text):
            lines.append("")
        lines.append(_inline(text))
    return lines


def _inline(text: str) -> str:
    pieces = CODE.split(text)
    for i, piece in enumerate(pieces):
        if i % 2:
            pieces[i] = f"``{piece}``"
        else:
            pieces[i] = PAGE.sub(r":doc:`/\1`", SPECIAL.sub(r"\\\1", piece))
    return "".join(pieces)


def process(app, what, name, obj, options, lines) -> None:
    lines[:] = restructured(lines)


def setup(app) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", process)
    return {"parallel_read_safe": True}
