"""How many small mistakes in the theory the tests notice.

    python tests/mutants.py [COUNT] [SEED]

Each mutant is one change in one file of `eft/gaussian`, `eft/flows` or `eft/finite_width`: a sign flipped,
a term or a factor dropped, a comparison turned round, a number or an index off by one. It is killed if a test
of its own package fails within `FIRST` seconds; the tests that name what the file defines most often run
first. Those that are left at the end have `SECOND` seconds more each, for the tests of the other packages of
`eft` too. Prints every survivor, to be looked at: it is equivalent to the original, or a test is missing.

Each verdict is printed as it falls. Time is that of the processor, so that other work on the machine changes
none. Needs Linux or macOS.
"""

import ast
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("gaussian", "flows", "finite_width")
CODE = ("eft", "nets", "tests", "benchmarks")
FIRST, SECOND = 60, 600
"""Processor seconds for the tests of one mutant: of its own package, and of all of `eft`."""

PROGRAMS = Path.home() / ".cache" / "eft-mutants"
"""Compiled programs, apart from those of the tests: a process that is stopped may leave a part of one."""

OPPOSITE = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
TURNED = {ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt, ast.Eq: ast.NotEq}


def changes(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """What a node may be replaced with, and in words."""
    if isinstance(node, ast.BinOp) and type(node.op) in OPPOSITE:
        other = OPPOSITE[type(node.op)]
        yield f"{type(node.op).__name__} → {other.__name__}", ast.BinOp(node.left, other(), node.right)
        yield "right operand dropped", node.left
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield "minus dropped", node.operand
    elif isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in TURNED:
        turned = TURNED[type(node.ops[0])]
        yield f"comparison {turned.__name__}", ast.Compare(node.left, [turned()], node.comparators)
    elif isinstance(node, ast.Constant) and type(node.value) is int and node.value < 100:
        yield f"{node.value} → {node.value + 1}", ast.Constant(node.value + 1)


class Replace(ast.NodeTransformer):
    def __init__(self, target: ast.AST, new: ast.AST):
        self.target, self.new = target, new

    def visit(self, node: ast.AST) -> ast.AST:
        return self.new if node is self.target else super().visit(node)


def mutant(path: Path, pick: random.Random) -> tuple[int, str, str] | None:
    """One mutant of a file, made from a tree of its own."""
    tree = ast.parse(path.read_text())
    lines = path.read_text().splitlines()
    inside = [
        (node, words, new)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for statement in function.body
        for node in ast.walk(statement)
        for words, new in changes(node)
        if "Error(" not in lines[node.lineno - 1]  # type: ignore[attr-defined]
    ]
    if not inside:
        return None
    node, words, new = pick.choice(inside)
    Replace(node, ast.copy_location(new, node)).visit(tree)
    return node.lineno, words, ast.unparse(ast.fix_missing_locations(tree))  # type: ignore[attr-defined]


def tests_of(path: Path, packages: str) -> list[str]:
    """The test files of the packages, those first that name what the file defines most often."""
    files = list((ROOT / "tests" / "eft").glob(f"{packages}/test_*.py"))
    names = re.findall(r"^(?:def|class) (\w+)", path.read_text() if path.is_file() else "", re.MULTILINE)
    wanted = re.compile("|".join(rf"\b{name}\b" for name in names) or "(?!)")

    def density(test: Path) -> float:
        text = test.read_text()
        return len(wanted.findall(text)) / len(text)

    return [str(test.relative_to(ROOT)) for test in sorted(files, key=density, reverse=True)]


def fails(tree: Path, tests: list[str], seconds: float) -> bool:
    """Whether one of the tests fails, in so much time of the processor; False if the time is up before."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    env = {**os.environ, "PYTHONPATH": str(tree), "XDG_CACHE_HOME": str(PROGRAMS)}

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds) + 5))

    ran = subprocess.run(command, cwd=tree, env=env, capture_output=True, preexec_fn=limit)
    return ran.returncode not in (0, -signal.SIGXCPU, -signal.SIGKILL)


def mutants(files: list[Path], count: int, seed: int) -> Iterator[tuple[Path, int, str, str]]:
    pick, weights = random.Random(seed), [len(p.read_text()) for p in files]
    while count:
        path = pick.choices(files, weights)[0]
        if made := mutant(path, pick):
            count -= 1
            yield path, *made


def main(count: int, seed: int) -> None:
    folders = [ROOT / "eft" / package for package in PACKAGES]
    files = [p for folder in folders for p in sorted(folder.rglob("*.py")) if p.stem != "__init__"]
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch) / "tree"
        for folder in CODE:
            shutil.copytree(ROOT / folder, tree / folder, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", tree)
        for folder in folders:
            tests = tests_of(folder, folder.name)
            assert not fails(tree, tests, FIRST), f"the tests of {folder} fail as they are"

        def survives(number: int, path: Path, line: int, words: str, text: str, again: bool) -> bool:
            place = path.relative_to(ROOT)
            (tree / place).write_text(text)
            tests = tests_of(path, "*" if again else place.parts[1])
            dead = fails(tree, tests, SECOND if again else FIRST)
            shutil.copy(path, tree / place)
            verdict = "killed" if dead else "SURVIVED" if again else "left"
            original = path.read_text().splitlines()[line - 1].strip()
            minutes = (time.monotonic() - start) / 60
            print(f"{minutes:4.0f} min {number}: {verdict} {place}:{line}: {words}: {original}", flush=True)
            return not dead

        left = [m for m in enumerate(mutants(files, count, seed), 1) if survives(m[0], *m[1], again=False)]
        survivors = [m for m in left if survives(m[0], *m[1], again=True)]
    print(f"{count - len(survivors)} of {count} killed, {count - len(left)} of them in {FIRST} s")


if __name__ == "__main__":
    given = [int(a) for a in sys.argv[1:]]
    main(*given, *(150, 0)[len(given) :])
