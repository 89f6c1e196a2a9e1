"""The command: its tables and files."""

import csv
import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import eft
from nets.training import loop

QUICK = ["--depth", "4", "--width", "16", "--nets", "40", "--method", "metric"]
TRAIN = ("train", "--depth", "2", "--width", "4", "--nets", "2", "--steps", "2", "--samples", "4")


def test_flow(run, tmp_path):
    status, out, _ = run("flow", "--act", "relu", "--cw", "2", "--depth", "5", "--width", "100",
                         "--out", str(tmp_path / "new" / "dir"))  # fmt: skip
    assert status == 0
    assert "relu: C_W = 2" in out and "K + G1/n" in out
    files = {path.name for path in (tmp_path / "new" / "dir").iterdir()}
    name = "flow_relu_cw=2_depth=5_width=100"
    assert files == {f"{name}.json", f"{name}.csv", f"{name}.png"}
    layers = json.loads((tmp_path / "new" / "dir" / f"{name}.json").read_text())["layers"]
    assert [row["V"] for row in layers] == pytest.approx([0, 20, 40, 60, 80], rel=1e-12)
    assert (tmp_path / "new" / "dir" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_flow_out_of_range_says_so(run):
    status, out, _ = run("flow", "--act", "repu:p=2", "--cw", "2", "--depth", "60")
    assert status == 0 and "out of the float range" in out and "⋮" in out


def test_recipe(run, tmp_path):
    target = tmp_path / "recipe.json"
    status, out, _ = run("recipe", "--act", "relu", "--width", "128", "--depth", "20", "--out", str(target))
    assert status == 0 and "the limit is 27 layers" in " ".join(out.split())
    found = json.loads(target.read_text())
    assert found["act"] == "relu" and found["gain"] == pytest.approx(2**0.5)
    assert len(found["flow"]["K"]) == len(found["rates"]["weights"]) == 20


def test_recipe_of_a_bad_argument(run):
    status, _, err = run("recipe", "--act", "softplus", "--depth", "5")
    assert status == 2 and "starting point" in err


@pytest.mark.parametrize("suffix", [".json", ".csv", ".png"])
def test_compare_writes_the_file_that_the_suffix_asks_for(run, tmp_path, suffix):
    target = tmp_path / f"found{suffix}"
    status, out, _ = run("compare", "--act", "mrepu:p=2", "--K1", "1e-3", *QUICK, "--out", str(target))
    assert status == 0
    assert "mrepu(p=2): C_W = 1, K¹ = 0.001; n = 16, 40 networks" in out and "χ²" in out
    assert str(target) in out and [path.name for path in tmp_path.iterdir()] == [target.name]
    if suffix == ".csv":
        assert len(list(csv.DictReader(target.read_text().splitlines()))) == 4


def test_compare_several_cases(run, tmp_path):
    status, out, _ = run("compare", "--preset", "paper", *QUICK, "--out", str(tmp_path))
    assert status == 0
    for name in ("tanh", "relu", "mrepu(p=2)"):
        assert f"{name}: C_W" in out
    name = "compare_paper-preset_depth=4_width=16_nets=40"
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.json", f"{name}.csv", f"{name}.png"}
    cases = json.loads((tmp_path / f"{name}.json").read_text())["cases"]
    assert [case["settings"]["seed"] for case in cases] == [0, 1, 2]


def test_compare_reports_overflow(run):
    status, out, _ = run("compare", "--act", "repu:p=3", "--cw", "2", "--depth", "9", *QUICK[2:])
    assert status == 0 and "networks overflowed, the first at layer" in out
    assert "rare networks carry the means" in " ".join(out.split()) and "nan" not in out


def test_compare_against_the_width(run, tmp_path):
    status, out, _ = run(
        "compare", "--act", "tanh", "--cw", "1.3", "--depth", "4", "--nets", "200",
        "--method", "metric", "--order", "2", "--widths", "8", "16", "--out", str(tmp_path),
    )  # fmt: skip
    assert status == 0 and "layer 4, 200 networks a width, theory to order 2" in out
    name = "compare_tanh_cw=1.3_depth=4_width=8-16_nets=200"
    cases = json.loads((tmp_path / f"{name}.json").read_text())["cases"]
    assert [case["settings"]["width"] for case in cases] == [8, 16]
    assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_compare_says_where_the_series_ends(run):
    given = ["--act", "relu", "--cw", "2", "--depth", "40", "--width", "16", "--nets", "40", "--order", "2"]
    status, out, _ = run("compare", *given, "--method", "metric")
    assert status == 0 and "K to 1/n^2" in out and "the terms of the series no longer fall" in out


def test_compare_of_what_does_not_fluctuate(run):
    status, out, _ = run("compare", "--act", "perceptron", *QUICK)
    assert status == 0 and "+0.0" in out and "nan" not in out


def test_classify_one_and_all(run, tmp_path):
    status, out, _ = run("classify", "--act", "gelu", "--out", str(tmp_path / "gelu.json"))
    assert status == 0 and "half-stable" in out and "also critical" in out
    found = json.loads((tmp_path / "gelu.json").read_text())["activations"][0]
    assert abs(found["cw"] - 1.983058257437552) < 1e-10
    status, out, _ = run("classify", "--all", "--out", str(tmp_path))
    assert status == 0 and all(name in out for name in ("perceptron", "mish", "initialize with"))
    assert len((tmp_path / "classify_catalogue.csv").read_text().splitlines()) == 1 + len(
        eft.activation_names()
    )


def test_phase(run, tmp_path):
    status, out, _ = run("phase", "--act", "tanh", "--points", "20", "--out", str(tmp_path / "p.png"))
    assert status == 0 and "ordered" in out and "chaotic" in out
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    status, _, err = run("phase", "--act", "tanh", "--points", "0")
    assert status == 2 and "points" in err


def test_help(run):
    for args in (
        ["--help"],
        ["classify", "--help"],
        ["phase", "--help"],
        ["flow", "--help"],
        ["compare", "--help"],
    ):
        status, out, _ = run(*args)
        assert status == 0 and "usage: eft" in out
    for flag in (
        "--act",
        "--cw",
        "--cb",
        "--depth",
        "--width",
        "--nets",
        "--seed",
        "--method",
        "--out",
        "--x2",
        "--K1",
    ):
        assert flag in out


def test_as_a_program():
    """Its own process: float64 is on, and stdout is the table alone."""
    done = subprocess.run(
        [sys.executable, "-m", "nets.cli", "flow", "--depth", "3"],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )
    assert "0.39429" in done.stdout and done.stderr == ""


@pytest.mark.sweep("flow --depth 5")
@pytest.mark.parametrize("words", ["--help", "flow --depth 5"])
def test_a_reader_that_leaves(words):
    """As `head` does; nothing is said, and the control says something."""
    command = [sys.executable, "-m", "nets.cli", *words.split()]
    read, write = os.pipe()
    os.close(read)
    left = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (left.returncode, left.stderr) == (1, "")
    assert subprocess.run(command, capture_output=True, text=True).stdout


def test_a_resumed_run_tells_its_whole_time(run, tmp_path, monkeypatch):
    """By a clock that goes a minute further at each look; what follows the last checkpoint is not kept."""
    clock = SimpleNamespace(perf_counter=itertools.count(0.0, 60.0).__next__)
    monkeypatch.setattr(loop, "time", clock)
    given = (*TRAIN, "--checkpoint", str(tmp_path))
    seconds = []
    for _ in range(2):
        status, out, _ = run(*given)
        assert status == 0
        seconds.append(float(re.search(r"2 steps in (\S+) s", out)[1]))
    assert seconds[1] > seconds[0] / 2 >= 60


@pytest.mark.sweep
def test_compiled_programs_are_kept_for_the_next_run(tmp_path):
    """In the user's cache folder; not with --no-cache, nor where JAX's own setting turns it off."""
    command = [sys.executable, "-m", "nets.cli", "flow", "--act", "relu", "--depth", "3"]
    settings = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    kept, tables = [], []
    for more, off in (([], {}), (["--no-cache"], {}), ([], {"JAX_ENABLE_COMPILATION_CACHE": "false"})):
        home = tmp_path / str(len(kept))
        env = {**settings, "JAX_PLATFORMS": "cpu", "XDG_CACHE_HOME": str(home), **off}
        ran = subprocess.run([*command, *more], capture_output=True, text=True, env=env)
        assert ran.returncode == 0, ran.stderr
        kept.append(sum(path.is_file() for path in (home / "eft").rglob("*")))
        tables.append(ran.stdout)
    assert kept[0] > 0 and kept[1:] == [0, 0]
    assert tables[1:] == tables[:1] * 2


@pytest.mark.sweep
def test_processes_share_the_work_and_write_the_same_file(tmp_path):
    command = [sys.executable, "-m", "nets.cli", "compare", "--width", "16", "--depth", "3", "--nets", "300"]
    tables = []
    for more in ([], ["--processes", "2"]):
        out = tmp_path / f"{len(more)}.csv"
        ran = subprocess.run([*command, "--out", str(out), *more], capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout.count("K, all layers") == 1
        tables.append(out.read_bytes())
    assert tables[0] == tables[1]


def test_compare_says_which_order_would_help(run):
    """And with it there is nothing to say: the control."""
    args = ("compare", "--width", "8", "--nets", "40000", "--method", "metric", "--depth", "5")
    out = " ".join(run(*args)[1].split())
    assert "V is of leading order; try --order 2: at layer 5 measured − theory" in out
    assert "K, all layers: in agreement, χ²" in out and "V, all layers: significantly off, χ²" in out
    out = " ".join(run(*args, "--order", "2")[1].split())
    assert "try --order" not in out and "significantly off" not in out
    out = run("compare", "--act", "tanh", "relu", "--cw", "1", "2", *QUICK)[1]
    assert "all layers at once" in out and out.count("all layers:") == 4
