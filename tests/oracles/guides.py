"""The examples and tables of a guide in docs/."""

import contextlib
import doctest
import io
import math
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


NUMBER = re.compile(r"[-+±≈]?\d[\d,]*\.?\d*(?:e[-+]?\d+)?")


def printed(guide: str, *, without: tuple[str, ...] = (), x64: bool) -> list[tuple[str, str]]:
    """What each block of code of a guide prints, run one after the other, and what the guide says of it.

    `without`: headings of sections that are left out. A block is compared if a block of text follows.
    """
    sections = re.split(r"^#+ (.*)$", (DOCS / guide).read_text(), flags=re.MULTILINE)[1:]
    names: dict = {"__name__": "guide"}
    pairs = []
    for heading, text in zip(sections[::2], sections[1::2], strict=True):
        blocks = re.findall(r"^```(\w*)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
        if heading in without:
            continue
        for i, (language, code) in enumerate(blocks):
            if language != "python":
                continue
            out = io.StringIO()
            with contextlib.redirect_stdout(out), jax.enable_x64(x64):
                exec(code, names)
            if i + 1 < len(blocks) and blocks[i + 1][0] in ("", "text"):
                pairs.append((blocks[i + 1][1], out.getvalue()))
    return pairs


ERRORS = 0.5
"""Relative difference of standard errors, which are shown with one digit, that is let pass."""


def differences(shown: str, found: str, rtol: float) -> list[str]:
    """Words that differ, and numbers that differ by more than rtol and more than 2 in their last digit."""
    one, other = shown.split(), found.split()
    if len(one) != len(other):
        return [f"{len(one)} words are {len(other)}"]
    return [f"{a} is {b}" for a, b in zip(one, other, strict=True) if not _alike(a, b, rtol)]


def _alike(shown: str, found: str, rtol: float) -> bool:
    if NUMBER.sub("#", shown) != NUMBER.sub("#", found):
        return False
    for a, b in zip(NUMBER.findall(shown), NUMBER.findall(found), strict=True):
        x, y = (float(each.strip("±≈").replace(",", "").rstrip(".")) for each in (a, b))
        mantissa, _, exponent = a.partition("e")
        unit = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
        if not math.isclose(x, y, rel_tol=ERRORS if a[0] == "±" else rtol, abs_tol=2 * unit):
            return False
    return True
