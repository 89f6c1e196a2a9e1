"""What is printed for programs, the names of files, and what stays of those that were there."""

import csv
import importlib.metadata
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray

import eft
from nets.cli.options import stem
from nets.comparison import cases
from nets.files import archive

QUICK = ["--depth", "3", "--width", "16", "--nets", "40", "--method", "metric"]
TRAIN = ["--depth", "2", "--width", "4", "--nets", "2", "--steps", "2", "--samples", "4"]
COMMANDS = {
    "flow": ["--act", "tanh", "gelu", "--depth", "3"],
    "classify": ["--act", "tanh", "gelu"],
    "compare": ["--act", "tanh", "relu", *QUICK],
    "recipe": ["--act", "relu", "--width", "64", "--depth", "3"],
    "phase": ["--points", "3"],
    "train": TRAIN,
}
ROWS = {"flow": 6, "classify": 2, "compare": 6, "recipe": 3, "phase": 9, "train": 6}


@pytest.mark.parametrize("name", COMMANDS)
def test_json_csv_and_markdown_are_all_that_is_printed(run, name, tmp_path, monkeypatch):
    """JSON and CSV parse, and hold as many rows as there are."""
    monkeypatch.chdir(tmp_path)
    status, out, _ = run(name, *COMMANDS[name], "--format", "json")
    assert status == 0 and isinstance(json.loads(out), dict)
    status, out, _ = run(name, *COMMANDS[name], "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert status == 0 and len(rows) == ROWS[name] and None not in rows[0]
    status, out, _ = run(name, *COMMANDS[name], "--format", "md")
    assert status == 0 and "─" not in out and "written" not in out
    assert name == "phase" or "| --: |" in out


@pytest.mark.parametrize("name", COMMANDS)
def test_netcdf_needs_out_and_is_whole(run, name, tmp_path):
    """Refused before any work without `out`; else all axes have coordinates."""
    status, out, err = run(name, *COMMANDS[name], "--format", "nc")
    assert status == 2 and out == "" and "out must be a .nc file" in err
    path = tmp_path / "x.nc"
    status, out, err = run(name, *COMMANDS[name], "--format", "nc", "--out", str(path))
    assert status == 0 and out == "" and str(path) in " ".join(err.split("\n"))
    with open(path, "rb") as file:
        archive.check_whole(file, path)
    with xarray.open_dataset(path, engine="h5netcdf") as data:
        assert data.sizes and all(axis in data.coords for axis in data.sizes)
        if name == "flow":
            expected = eft.kernel_flow("gelu", 1.0, 3).K[2]
            assert data.K.sel(activation="gelu", layer=3).item() == pytest.approx(float(expected), rel=1e-12)
        if name == "phase":
            assert data.phase.dims == ("cb", "cw") and data.phase.sel(cb=0, cw=3).item() == "chaotic"


def test_an_unknown_format_is_refused(run):
    status, out, err = run("flow", "--format", "xml")
    assert status == 2 and "'xml'" in err + out and "json" in err + out and "Traceback" not in err
    status, _, err = run("phase", "--format", "nc", "--out", "p.png")
    assert status == 2 and "out must be a .nc file" in err


def test_files_are_named_after_what_they_show(run, tmp_path):
    assert stem("flow", ["mrepu:p=2"], cw=(1.0,), depth=11, norm=None) == "flow_mrepu-p=2_cw=1_depth=11"
    assert stem("flow", ["../an act.py:half"], cw=(1.0, 1.5)) == "flow_an-act.py-half_cw=1-1.5"
    assert stem("classify", ["a"] * 9) == "classify_9-activations"
    assert len(stem("flow", ["a" * 300])) < 200
    assert run("phase", "--act", "relu", "--points", "3", "--out", str(tmp_path))[0] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["phase_relu.png"]


def test_files_that_are_there_stay_unless_overwritten(run, tmp_path):
    """And this is said."""
    target = tmp_path / "x.csv"
    contents = []
    for more in (["--cw", "1"], ["--cw", "2"], ["--cw", "3"], ["--cw", "4", "--overwrite"]):
        status, out, _ = run("flow", "--depth", "3", "--out", str(target), *more)
        assert status == 0
        contents.append((target.read_text(), out))
    assert contents[0][0] == contents[1][0] == contents[2][0] != contents[3][0]
    assert {path.name for path in tmp_path.iterdir()} == {"x.csv", "x-2.csv", "x-3.csv"}
    assert [f"{target} stays as it was: --overwrite" in out for _, out in contents] == [
        False,
        True,
        True,
        False,
    ]
    assert f"written: {tmp_path / 'x-3.csv'}" in contents[2][1]


def test_files_of_one_run_have_one_number(run, tmp_path):
    (tmp_path / "flow_tanh_cw=1_depth=3.csv").touch()
    assert run("flow", "--depth", "3", "--out", str(tmp_path))[0] == 0
    names = {path.name for path in tmp_path.iterdir()} - {"flow_tanh_cw=1_depth=3.csv"}
    assert names == {f"flow_tanh_cw=1_depth=3-2.{suffix}" for suffix in ("json", "csv", "png")}


@pytest.mark.parametrize("name", COMMANDS)
def test_an_out_that_cannot_be_written_is_refused_before_any_work(run, name, monkeypatch):
    for function in ("kernel_flow", "classify", "recipe", "critical_point"):
        monkeypatch.setattr(eft, function, lambda *_, **__: pytest.fail("work was begun"))
    monkeypatch.setattr(cases, "prepare", lambda *_, **__: pytest.fail("work was begun"))
    training = sys.modules["nets.cli.training"]
    monkeypatch.setattr(training, "train_ensemble", lambda *_, **__: pytest.fail("work was begun"))
    for out in ("/proc/none/x.json", "x.xyz"):
        status, printed, err = run(name, *COMMANDS[name], "--out", out)
        assert status == 2 and printed == "" and "out must" in err and err.count("\n") == 1


def test_several_activations_have_settings_of_their_own(run):
    args = ["flow", "--act", "tanh", "mrepu:p=2", "--cw", "1", "0.9", "--depth", "3", "--format", "csv"]
    rows = list(csv.DictReader(io.StringIO(run(*args)[1])))
    assert [row["activation"] for row in rows] == ["tanh"] * 3 + ["mrepu(p=2)"] * 3
    expected = [eft.kernel_flow("tanh", 1.0, 3).K, eft.kernel_flow("mrepu:p=2", 0.9, 3).K]
    np.testing.assert_allclose([float(row["K"]) for row in rows], np.concatenate(expected), rtol=1e-12)
    status, _, err = run("flow", "--act", "tanh", "gelu", "relu", "--cw", "1", "2")
    assert status == 2 and "cw must be one number, or one for each of the 3 activations; got 1 2" in err
    out = run("flow", "--act", "tanh", "tanh", "--cw", "1", "2", "--depth", "3")[1]
    assert "K: tanh #1" in out and "K: tanh #2" in out


def test_the_figure_of_several_activations(run, tmp_path):
    assert run("flow", *COMMANDS["flow"], "--out", str(tmp_path / "f.png"))[0] == 0
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")


def test_python_m_eft_is_the_command():
    """It takes the same arguments."""
    root = Path(__file__).parents[3]
    ran = subprocess.run(
        [sys.executable, "-m", "eft", "flow", "--depth", "0"], capture_output=True, text=True, cwd=root
    )
    assert ran.returncode == 2 and "depth must be" in ran.stderr


def test_the_version(run):
    status, out, _ = run("--version")
    assert status == 0 and out == f"eft {importlib.metadata.version('eft-nets')}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion(run, shell):
    status, out, _ = run("--tyro-print-completion", shell)
    assert not status and "classify" in out and "eft" in out
