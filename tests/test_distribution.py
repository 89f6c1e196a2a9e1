"""Where the project says how it is installed, it is by its own name: `eft` is another distribution."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
INSTALLED = re.compile(r"pip install [^\n`\"]*?(?<![\w./-])(eft(?:-nets)?)(?![\w/-])(?:\[([\w,]+)\])?")
TEXTS = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "notebooks/*.ipynb", "eft/**/*.py", "nets/**/*.py")
    for path in ROOT.glob(pattern)
)


def names(text: str) -> list[tuple[str, list[str]]]:
    """The distributions of this name that a text says are to be installed, with their extras."""
    return [(name, extras.split(",") if extras else []) for name, extras in INSTALLED.findall(text)]


def test_installation():
    found = [(path, *each) for path in TEXTS for each in names(path.read_text())]
    assert len(found) >= 6
    extras = PROJECT["optional-dependencies"]
    wrong = [each for each in found if each[1] != PROJECT["name"] or set(each[2]) - set(extras)]
    assert not wrong


@pytest.mark.parametrize(
    "text, found",
    [
        ("pip install 'eft[ode]'", [("eft", ["ode"])]),
        ("pip install eft", [("eft", [])]),
        ("pip install --upgrade 'eft-nets[a,b]'", [("eft-nets", ["a", "b"])]),
        ("pip install -e '.[test]'", []),
    ],
)
def test_what_is_recognized(text, found):
    assert names(text) == found
