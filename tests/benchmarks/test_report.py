"""The table of the speed benchmarks: what is recorded is written, and a benchmark that fails is named."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def module_at(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


report = module_at(BENCHMARKS / "report.py")

GOOD = """
from _record import record
record("a flow", first=0.5, warm=0.002, peer="a loop", peer_seconds=0.01)
record("another", warm=3.0)
"""
MISSED = """
from _record import record
record("a slow flow", first=0.5, warm=2.0)
print("holds  first ≤ 1 s")
print("MISSED warm ≤ 1 s")
raise SystemExit(1)
"""
BROKEN = 'raise RuntimeError("no memory")\n'


@pytest.fixture
def folder(tmp_path):
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    (scripts / "_record.py").write_text((report.SCRIPTS / "_record.py").read_text(encoding="utf-8"), "utf-8")
    (scripts / "good.py").write_text(GOOD)
    return scripts


def reported(folder, *more):
    """The exit status, the page and the JSON."""
    out = folder.parent / "found" / "speed.md"
    status = report.main(["--scripts", str(folder), "--out", str(out), "--repeats", "2", *more])
    return status, out.read_text(encoding="utf-8"), json.loads(out.with_suffix(".json").read_text("utf-8"))


def test_table_and_json(folder):
    status, page, found = reported(folder, "--note", "Other programs ran.")
    assert status == 0 and "failed" not in page and "Other programs ran." in page
    row = "| good | a flow | 0.5 s (0.5 to 0.5) | 2 ms (2 to 2) | a loop: 10 ms (10 to 10) | 5 |"
    assert row in page.splitlines()
    assert "| good | another |  | 3 s (3 to 3) |  |  |" in page.splitlines()
    assert found["machine"]["date"] in page and found["machine"]["jax"] in page
    assert [len(run) for run in found["benchmarks"]["good"]["runs"]] == [2, 2]


def test_what_fails_is_named_and_the_rest_goes_on(folder):
    (folder / "broken.py").write_text(BROKEN)
    (folder / "late.py").write_text(MISSED, encoding="utf-8")
    status, page, found = reported(folder)
    assert status == 1
    assert "- `broken`, 2 of 2 times: RuntimeError: no memory" in page
    assert "- `late`, 2 of 2 times: missed: warm ≤ 1 s" in page
    assert "| good | a flow |" in page and "| late | a slow flow |" in page
    assert found["benchmarks"]["broken"]["runs"] == [[], []]
    assert reported(folder, "--only", "good")[0] == 0


def test_median_and_spread():
    found = [{"first": None, "warm": warm, "peer": "", "peer_seconds": None} for warm in (0.3, 0.1, 0.2)]
    assert report.row("name", "flow", found) == "| name | flow |  | 0.2 s (0.1 to 0.3) |  |  |"


@pytest.mark.parametrize(
    ("given", "says"),
    [(["--only", "bad"], "--only must be among good; got bad"), (["--repeats", "0"], "at least 1; got 0")],
)
def test_bad_arguments(folder, capsys, given, says):
    with pytest.raises(SystemExit) as stopped:
        report.main(["--scripts", str(folder), *given])
    assert stopped.value.code == 2 and says in capsys.readouterr().err


def test_nothing_is_recorded_unasked(monkeypatch, tmp_path):
    """The control: with the variable set, a line for each quantity."""
    recording = module_at(report.SCRIPTS / "_record.py")
    monkeypatch.delenv(recording.FILE, raising=False)
    monkeypatch.chdir(tmp_path)
    recording.record("a flow", warm=1.0)
    assert not list(tmp_path.iterdir())
    monkeypatch.setenv(recording.FILE, "lines")
    recording.record("a flow", warm=1.0)
    assert json.loads((tmp_path / "lines").read_text())["warm"] == 1.0
