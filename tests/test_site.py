"""The site has a page for every public name, shows every page and notebook, and names tests that exist.

`make docs` builds it.
"""

import importlib.util
import re
from pathlib import Path

import pytest

import eft
import nets

TESTS = Path(__file__).parent
DOCS = TESTS.parent / "docs"
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


def absent(text: str) -> set[str]:
    """The tests, and the files of tests and benchmarks, that a page names in code and that do not exist."""
    files = list(TESTS.rglob("*.py"))  # some have the same name
    whole = "\n".join(path.read_text() for path in files)
    defined = set(re.findall(r"^def (test_\w+)", whole, re.MULTILINE))
    paths = set(re.findall(r"`((?:tests|benchmarks)/[\w/]+\.py)`", text))
    return (
        set(re.findall(r"`(test_\w+)`", text)) - defined
        | set(re.findall(r"`(test_\w+\.py)`", text)) - {path.name for path in files}
        | {path for path in paths if not (TESTS.parent / path).exists()}
    )


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda path: path.stem)
def test_the_tests_that_a_page_names_exist(page):
    assert absent(page.read_text()) == set()


@pytest.mark.parametrize("name", ["test_nothing", "test_nothing.py", "tests/eft/test_nothing.py"])
def test_a_test_that_does_not_exist_is_noticed(name):
    assert absent(f"`test_a_test_that_does_not_exist_is_noticed` `test_site.py`, `{name}`") == {name}


def test_faults_of_an_opened_page_are_found(tmp_path):
    """A whole page has none; each of five faults is named."""
    specification = importlib.util.spec_from_file_location("pages", DOCS / "site" / "pages.py")
    pages_ = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(pages_)
    (tmp_path / "a.png").write_text("")
    whole = "<title>K</title>" + '<img alt="K" src="a.png">' + 2 * "<mjx-container>K</mjx-container>"
    whole += 5_000 * "."
    assert pages_.faults(whole, tmp_path, 2) == []
    for html, formulas, words in (
        (whole, 3, "2 formulas are typeset, of 3"),
        (whole + "<mjx-merror>", 2, "broken"),
        (whole.replace("a.png", "b.png"), 2, "b.png is missing"),
        (whole + '<script src="https://example.org/a.js">', 2, "not local"),
        (whole[:4_000], 2, "no text"),
    ):
        (fault,) = pages_.faults(html, tmp_path, formulas)
        assert words in fault
