"""How many small mistakes in the theory the tests notice.

    python tests/mutants.py [COUNT [SEED [WORKERS [NUMBER …]]]]

Each mutant is one change in one file of `eft/gaussian`, `eft/flows` or `eft/finite_width`: a sign flipped, a
term or a factor dropped, a comparison turned round, a number or an index off by one. It is killed if within
`FIRST` seconds a test of its own package fails, or takes many times as long as it should. Those that are left
at the end have `SECOND` seconds more each, for the tests of all packages of `eft`, with those marked `more`.
Verdicts are printed as they fall. A survivor is equivalent to the original, or a test is missing. With
NUMBERs only those mutants are tried.

Before that, all tests run once, to record which of them execute a line, and how long each takes; this is kept
until `eft` or the tests change. Of the tests, those that execute what is changed run first, the quickest at
the head; then, if there are any, the others, in files that name what the file defines first of all.

Time is that of the processor, so that other work on the machine changes none. Programs are compiled as in
`make test`. Needs Linux or macOS, and `coverage` (the extra `release`).
"""

import ast
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PACKAGES = ("gaussian", "flows", "finite_width")
CODE = ("eft", "nets", "tests", "benchmarks", "docs")
FIRST, SECOND = 60, 600
"""Processor seconds for the tests of one mutant: of its own package, and of all of `eft`."""

CACHE = Path.home() / ".cache" / "eft-mutants"
"""Records, and programs apart from those of the tests: a process that is stopped may leave a part of one."""
MAX_BYTES = 2**30  # of programs: more are dropped before a trial, not by one process while others write some
QUICK = "--xla_cpu_use_fusion_emitters=false --xla_backend_optimization_level=0"

OWN = threading.local()
OPPOSITE = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
TURNED = {ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt, ast.Eq: ast.NotEq}


class Mutant(NamedTuple):
    number: int
    path: Path
    lines: range  # of the expression that is changed
    statement: range
    words: str
    text: str  # of the file, with the change


Record = dict[str, dict]  # what tests/checks/line_tests.py writes


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


def extent(node) -> range:
    return range(node.lineno, node.end_lineno + 1)


def mutant(number: int, path: Path, pick: random.Random) -> Mutant | None:
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
        if "Error(" not in lines[extent(node).start - 1]
    ]
    if not inside:
        return None
    node, words, new = pick.choice(inside)
    around = [extent(s) for s in ast.walk(tree) if isinstance(s, ast.stmt) and node in ast.walk(s)]
    Replace(node, ast.copy_location(new, node)).visit(tree)
    text = ast.unparse(ast.fix_missing_locations(tree))
    return Mutant(number, path.relative_to(ROOT), extent(node), min(around, key=len), words, text)


def mutants(count: int, seed: int) -> Iterator[Mutant]:
    folders = [ROOT / "eft" / package for package in PACKAGES]
    files = [p for folder in folders for p in sorted(folder.rglob("*.py")) if p.stem != "__init__"]
    pick, weights, number = random.Random(seed), [len(p.read_text()) for p in files], 0
    while number < count:
        if made := mutant(number + 1, pick.choices(files, weights)[0], pick):
            number += 1
            yield made


def files_of_tests(path: Path, packages: str) -> list[str]:
    """The test files of the packages, those first that name what the file defines most often."""
    files = list((OWN.tree / "tests" / "eft").glob(f"{packages}/test_*.py"))
    names = re.findall(r"^(?:def|class) (\w+)", (ROOT / path).read_text(), re.MULTILINE)
    wanted = re.compile("|".join(rf"\b{name}\b" for name in names) or "(?!)")

    def density(test: Path) -> float:
        text = test.read_text()
        return len(wanted.findall(text)) / len(text)

    return [str(test.relative_to(OWN.tree)) for test in sorted(files, key=density, reverse=True)]


def own_copy(scratch: str) -> None:
    """A copy of the code for this thread to change files and run tests in."""
    OWN.tree = Path(tempfile.mkdtemp(dir=scratch))
    skipped = shutil.ignore_patterns("__pycache__", "_build")
    for folder in CODE:
        shutil.copytree(ROOT / folder, OWN.tree / folder, ignore=skipped)
    shutil.copy(ROOT / "pyproject.toml", OWN.tree)


def pytest(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run tests in the copy of this thread."""
    folders = [str(OWN.tree), str(OWN.tree / "tests" / "checks"), os.environ.get("PYTHONPATH", "")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(folders), "XDG_CACHE_HOME": str(CACHE)}
    env["XLA_FLAGS"] = f"{env.get('XLA_FLAGS', '')} {QUICK}"
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "line_tests"]
    command += map(str, arguments)
    return subprocess.run(command, cwd=OWN.tree, env=env, capture_output=True, text=True)


def recorded(package: str) -> Record:
    """The record of a package's tests, from the cache or by running them."""
    folders = ("eft", f"tests/eft/{package}", "tests/checks", "tests/oracles")
    code = b"".join(p.read_bytes() for folder in folders for p in sorted((ROOT / folder).rglob("*.py")))
    file = CACHE / "records" / f"{package}-{hashlib.sha256(code).hexdigest()[:12]}.json"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        ran = pytest("--record", file, f"tests/eft/{package}")
        assert ran.returncode == 0, f"the tests of {package} fail as they are:\n{ran.stdout}"
    return json.loads(file.read_text())


def executing(change: Mutant, records: list[Record]) -> dict[str, float]:
    """The tests that execute the expression that is changed, or else its statement, and their seconds.

    The quickest first; of each function one case, then of each a second one, and so on.
    """
    tests = [record["tests"].get(str(change.path), {}) for record in records]
    for lines in (change.lines, change.statement):
        if found := {test for of in tests for line in lines for test in of.get(str(line), [])}:
            break
    seconds = {"import": 0.0, **{test: s for record in records for test, s in record["seconds"].items()}}
    order, cases = {}, Counter()
    for test in sorted(found, key=seconds.__getitem__):
        cases[test.split("[")[0]] += 1
        order[test] = cases[test.split("[")[0]], seconds[test]
    return {test: seconds[test] for test in sorted(found, key=order.__getitem__)}


def write(place: Path, text: str) -> None:
    """A new text of a file, and no compiled form beside it, which Python might take for that of this text."""
    for compiled in place.parent.glob(f"__pycache__/{place.stem}.*"):
        compiled.unlink()
    place.write_text(text)


def noticed(change: Mutant, tests: dict[str, float], packages: str, seconds: int) -> str | None:
    """The test that notices the change in so much time of the processor, None if none does."""
    write(OWN.tree / change.path, change.text)
    (OWN.tree / "first.json").write_text(json.dumps(tests))
    marks = ("-m", "not long") if packages == "*" else ()
    ran = pytest("--first", "first.json", "--limit", seconds, *marks, *files_of_tests(change.path, packages))
    write(OWN.tree / change.path, (ROOT / change.path).read_text())
    if ran.returncode in (0, -signal.SIGXCPU, -signal.SIGKILL):
        return None
    named = re.search(r"^(?:FAILED|ERROR) (\S+)", ran.stdout, re.MULTILINE)
    return named[1] if named else f"exit code {ran.returncode}"


def trial(records: list[Record], change: Mutant, again: bool) -> str | None:
    """The test that notices a mutant; the verdict is printed."""
    package = change.path.parts[1]
    tests = executing(change, records if again else [records[PACKAGES.index(package)]])
    by = noticed(change, tests, *(("*", SECOND) if again else (package, FIRST))) if again or tests else None
    verdict = f"killed by {by}" if by else "SURVIVED" if again else "left"
    known = f"{len(tests)} tests" if tests else "NO TEST executes it"
    line = change.lines.start
    place = f"{change.path}:{line}: {change.words}: {(ROOT / change.path).read_text().splitlines()[line - 1]}"
    print(f"{spent():4.0f} min {change.number}: {verdict} ({known}) {place}", flush=True)
    return by


def unchanged(package: str) -> Mutant:
    """The longest file of a package, written as mutants are."""
    path = max((ROOT / "eft" / package).rglob("*.py"), key=lambda path: path.stat().st_size)
    tree, lines = ast.parse(path.read_text()), range(1, len(path.read_text().splitlines()))
    return Mutant(0, path.relative_to(ROOT), lines, lines, "nothing", ast.unparse(tree))


def spent() -> float:
    """Minutes of the processor for tests so far."""
    return sum(os.times()[2:4]) / 60


def main(count: int = 150, seed: int = 0, workers: int = 1, *numbers: int) -> None:
    if sum(p.stat().st_size for p in CACHE.rglob("*") if p.is_file()) > MAX_BYTES:
        shutil.rmtree(CACHE / "eft-tests")
    chosen = [m for m in mutants(count, seed) if not numbers or m.number in numbers]
    scratch = tempfile.TemporaryDirectory()
    with scratch, ThreadPoolExecutor(workers, "", own_copy, (scratch.name,)) as pool:
        records = list(pool.map(recorded, PACKAGES))
        print(f"{spent():4.0f} min to record the tests of each line", flush=True)
        same = pool.map(lambda package: trial(records, unchanged(package), again=False), PACKAGES)
        collected = pool.submit(pytest, "--collect-only", "tests/eft").result()
        assert not any(same) and collected.returncode == 0, f"a failure without a change\n{collected.stdout}"
        by = list(pool.map(lambda change: trial(records, change, again=False), chosen))
        left = [change for change, test in zip(chosen, by, strict=True) if not test]
        again = list(pool.map(lambda change: trial(records, change, again=True), left))
    killed = f"{len(chosen) - again.count(None)} of {len(chosen)} killed"
    print(f"{killed}, {len(chosen) - len(left)} of them in {FIRST} s, in {spent():.0f} min")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
