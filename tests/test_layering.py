"""`eft` does not import `nets`, and neither imports private modules of JAX."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ABOVE = {"nets", "flax", "optax", "rich", "tyro"}


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


@pytest.mark.parametrize(
    "path", sorted((ROOT / "eft").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_theory_does_not_reach_up(path):
    reached = {name.split(".")[0] for name in imported(path)} & ABOVE
    assert not reached, f"{path.name} imports {reached}"


def test_matplotlib_is_imported_only_by_figures():
    for path in (ROOT / "eft").rglob("*.py"):
        top = {name.split(".")[0] for name in imported(path)}
        assert "matplotlib" not in top or path.name == "figures.py", path.name


@pytest.mark.parametrize(
    "path",
    sorted([*(ROOT / "eft").rglob("*.py"), *(ROOT / "nets").rglob("*.py")]),
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_no_private_jax(path):
    assert not any(name.startswith("jax._src") for name in imported(path))


def test_the_check_detects_an_import(tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text("def f():\n    from nets.fcn import FCN\n    import jax._src.core\n")
    assert imported(bad) == {"nets.fcn", "jax._src.core"}


def test_what_is_imported_is_declared():
    """The distributions of one name with what they hold; what comes with Python, and what is ours, aside."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]["netcdf"]
    declared = {re.split(r"[<>=\[ ]", line)[0] for line in [*project["dependencies"], *extras]}
    used = {name.split(".")[0] for folder in ("eft", "nets") for path in (ROOT / folder).rglob("*.py")
            for name in imported(path)}  # fmt: skip
    assert used - set(sys.stdlib_module_names) - {"eft", "nets", ""} <= declared
    assert {"optax", "jax"} <= used
