"""`eft` does not import `nets`, and neither imports private modules of JAX."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = {
    "eft": (
        {"arguments", "records"},
        {"activations"},
        {"gaussian"},
        {"flows"},
        {"criticality", "finite_width"},
        {"training"},
        {"recipes"},
        {"figures"},
    ),
    "nets": (
        {"statistics", "runtime", "files"},
        {"network"},
        {"initialization", "training", "models"},
        {"comparison", "plots", "results", "interop"},
        {"paper"},
        {"cli"},
    ),
}
"""The sub-packages of a package from the ground up: each imports from its own floor and from those below."""
ABOVE = {"nets", "flax", "optax", "rich", "tyro"}
DISTRIBUTED = {"dm-haiku": "haiku"}
"""What a distribution of another name holds."""
FRAMEWORKS = {"torch", "equinox", "haiku"}


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            names |= {f"{module}.{alias.name}" for alias in node.names} if "." not in module else {module}
    return names


@pytest.mark.parametrize(
    "path", sorted((ROOT / "eft").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_theory_does_not_reach_up(path):
    reached = {name.split(".")[0] for name in imported(path)} & ABOVE
    assert not reached, f"{path.name} imports {reached}"


def sub_package(name: str, package: str) -> str | None:
    """The sub-package, or module at the top, of `package` that an imported name belongs to."""
    first, *parts = name.split(".")
    return parts[0] if first == package and parts else None


def imports(package: str, root: Path = ROOT) -> dict[str, set[str]]:
    """For each sub-package, or module at the top, the others that its files import from."""
    edges: dict[str, set[str]] = {}
    for path in (root / package).rglob("*.py"):
        place = path.relative_to(root / package).parts[0].removesuffix(".py")
        names = (sub_package(name, package) for name in imported(path))
        edges.setdefault(place, set()).update(name for name in names if name and name != place)
    return edges


def circles(edges: dict[str, set[str]]) -> set[str]:
    """What is left when sub-packages that import none of the others are removed, one after another."""
    left = {name: set(others) for name, others in edges.items()}
    while free := {name for name, others in left.items() if not others & left.keys()}:
        left = {name: others for name, others in left.items() if name not in free}
    return set(left)


def upward(edges: dict[str, set[str]], floors: tuple[set[str], ...]) -> set[tuple[str, str]]:
    """The imports from a lower to a higher floor."""
    level = {name: i for i, floor in enumerate(floors) for name in floor}
    return {(name, other) for name in level for other in edges[name] if level[other] > level[name]}


@pytest.mark.parametrize("package", FLOORS)
def test_imports_go_down_the_floors(package):
    """No import goes up, none in a circle, and every sub-package has its floor."""
    edges = imports(package)
    folders = {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}
    assert folders <= set().union(*FLOORS[package]) == edges.keys() - {"__init__", "__main__"}
    assert not upward(edges, FLOORS[package])
    assert not circles({name: others & folders for name, others in edges.items() if name in folders})


@pytest.mark.parametrize("package", FLOORS)
def test_no_module_has_the_name_of_a_function_that_it_holds(package):
    for path in (ROOT / package).rglob("*.py"):
        tree = ast.parse(path.read_text())
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert path.stem not in functions, path


def test_an_import_that_goes_up_is_seen(tmp_path):
    """The control: `low` imports from `high`, and the other way round."""
    for name, other in (("low", "high"), ("high", "low")):
        (tmp_path / "house" / name).mkdir(parents=True)
        (tmp_path / "house" / name / "__init__.py").write_text(f"def f():\n    from house import {other}\n")
    edges = imports("house", tmp_path)
    assert edges == {"low": {"high"}, "high": {"low"}}
    assert upward(edges, ({"low"}, {"high"})) == {("low", "high")}
    assert circles(edges) == {"low", "high"}


def test_matplotlib_is_imported_only_by_figures():
    for path in (ROOT / "eft").rglob("*.py"):
        top = {name.split(".")[0] for name in imported(path)}
        assert "matplotlib" not in top or path.parent.name == "figures", path.name


def test_other_frameworks_are_imported_only_by_interop():
    """Each in the module of its name, which nothing in the package imports; others there may be shared."""
    for path in (ROOT / "nets").rglob("*.py"):
        names = imported(path)
        used = {name.split(".")[0] for name in names} & FRAMEWORKS
        assert used == ({path.stem} & FRAMEWORKS if path.parent.name == "interop" else set()), path
        ours = {name.removeprefix("nets.interop.") for name in names if name.startswith("nets.interop.")}
        assert not ours & FRAMEWORKS and (not ours or path.parent.name == "interop"), path


@pytest.mark.parametrize(
    "path",
    sorted([*(ROOT / "eft").rglob("*.py"), *(ROOT / "nets").rglob("*.py")]),
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_no_private_jax(path):
    assert not any(name.startswith("jax._src") for name in imported(path))


def test_the_check_detects_an_import(tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text("def f():\n    from nets.network.fcn import FCN\n    import jax._src.core\n")
    assert imported(bad) == {"nets.network.fcn", "jax._src.core"}


def test_what_is_imported_is_declared():
    """The distributions of one name with what they hold; what comes with Python, and what is ours, aside."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [
        line for extra in ("netcdf", "interop", "ode") for line in project["optional-dependencies"][extra]
    ]
    declared = {re.split(r"[<>=\[ ]", line)[0] for line in [*project["dependencies"], *extras]}
    declared = {DISTRIBUTED.get(name, name) for name in declared}
    used = {name.split(".")[0] for folder in ("eft", "nets") for path in (ROOT / folder).rglob("*.py")
            for name in imported(path)}  # fmt: skip
    assert used - set(sys.stdlib_module_names) - {"eft", "nets", ""} <= declared
    assert {"optax", "jax"} <= used
