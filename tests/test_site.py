"""The site has a page for every public name, and shows every page and notebook. `make docs` builds it."""

import re
from pathlib import Path

import pytest

import eft
import nets

DOCS = Path(__file__).parent.parent / "docs"
BLOCK = re.compile(r"\.\. currentmodule:: (\S+)\n\.\. autosummary::\n   :toctree: api\n\n((?:   \S+\n)+)")


def listed(text: str) -> list[str]:
    """The full names in the lists of a page."""
    return [f"{package}.{name}" for package, names in BLOCK.findall(text) for name in names.split()]


def pages(text: str) -> set[str]:
    """The pages that the site's tables of contents name, one in a line."""
    trees = re.findall(r"```{toctree}\n(.*?)```", text, re.DOTALL)
    return {line for tree in trees for line in tree.splitlines() if re.fullmatch(r"\w+", line)}


def test_every_public_name_has_a_page_and_no_other():
    packages = {"eft": eft, "nets": nets, "nets.initializers": nets.initializers}
    public = {f"{package}.{name}" for package, module in packages.items() for name in module.__all__}
    names = listed((DOCS / "api.md").read_text())
    assert set(names) == public - {"nets.initializers"}
    assert len(names) == len(set(names))


def test_every_page_is_in_the_contents():
    written = {path.stem for path in DOCS.glob("*.md")} - {"index"}
    assert pages((DOCS / "index.md").read_text()) == written


@pytest.mark.parametrize("part", ["   kernel_flow\n", ".. currentmodule:: nets\n"])
def test_a_name_that_is_missing_is_noticed(part):
    text = (DOCS / "api.md").read_text()
    assert set(listed(text.replace(part, ""))) != set(listed(text))
