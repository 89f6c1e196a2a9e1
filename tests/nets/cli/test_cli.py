"""The command: tables, files, and one clear line for what cannot be done."""

import csv
import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax.numpy as jnp
import pytest
from rich.table import Table

import eft
from eft.arguments import ArgumentError
from nets import cli
from nets.cli.show import terminal, with_error
from nets.comparison import cases
from nets.files import output
from nets.plots import figures
from nets.results import saving
from nets.runtime.progress import progress_bar
from nets.statistics.estimators import Estimate
from nets.training import loop

QUICK = ["--depth", "4", "--width", "16", "--nets", "40", "--method", "metric"]


def run(capsys, *args):
    try:
        status = cli.main(list(args))
    except SystemExit as stop:
        status = stop.code
    seen = capsys.readouterr()
    return status, seen.out, seen.err


def test_flow(capsys, tmp_path):
    status, out, _ = run(capsys, "flow", "--act", "relu", "--cw", "2", "--depth", "5", "--width", "100",
                         "--out", str(tmp_path / "new" / "dir"))  # fmt: skip
    assert status == 0
    assert "relu: C_W = 2" in out and "K + G1/n" in out
    files = {path.name for path in (tmp_path / "new" / "dir").iterdir()}
    assert files == {"flow.json", "flow.csv", "flow.png"}
    layers = json.loads((tmp_path / "new" / "dir" / "flow.json").read_text())["layers"]
    assert [row["V"] for row in layers] == pytest.approx([0, 20, 40, 60, 80], rel=1e-12)
    assert (tmp_path / "new" / "dir" / "flow.png").read_bytes().startswith(b"\x89PNG")


def test_flow_out_of_range_says_so(capsys):
    status, out, _ = run(capsys, "flow", "--act", "repu:p=2", "--cw", "2", "--depth", "60")
    assert status == 0 and "out of the float range" in out and "…" in out


@pytest.mark.parametrize("suffix", [".json", ".csv", ".png"])
def test_compare_writes_the_file_that_the_suffix_asks_for(capsys, tmp_path, suffix):
    target = tmp_path / f"found{suffix}"
    status, out, _ = run(
        capsys, "compare", "--act", "mrepu:p=2", "--K1", "1e-3", *QUICK, "--out", str(target)
    )
    assert status == 0
    assert "mrepu(p=2): C_W = 1, K¹ = 0.001; n = 16, 40 networks" in out and "χ²" in out
    assert str(target) in out and [path.name for path in tmp_path.iterdir()] == [target.name]
    if suffix == ".csv":
        assert len(list(csv.DictReader(target.read_text().splitlines()))) == 4


def test_compare_several_cases(capsys, tmp_path):
    status, out, _ = run(capsys, "compare", "--preset", "paper", *QUICK, "--out", str(tmp_path))
    assert status == 0
    for name in ("tanh", "relu", "mrepu(p=2)"):
        assert f"{name}: C_W" in out
    assert {path.name for path in tmp_path.iterdir()} == {"compare.json", "compare.csv", "compare.png"}
    cases = json.loads((tmp_path / "compare.json").read_text())["cases"]
    assert [case["settings"]["seed"] for case in cases] == [0, 1, 2]


def test_compare_reports_overflow(capsys):
    status, out, _ = run(capsys, "compare", "--act", "repu:p=3", "--cw", "2", "--depth", "9", *QUICK[2:])
    assert status == 0 and "networks overflowed, the first at layer" in out
    assert "rare networks carry the means" in out and "nan" not in out


def test_compare_against_the_width(capsys, tmp_path):
    status, out, _ = run(
        capsys, "compare", "--act", "tanh", "--cw", "1.3", "--depth", "4", "--nets", "200",
        "--method", "metric", "--order", "2", "--widths", "8", "16", "--out", str(tmp_path),
    )  # fmt: skip
    assert status == 0 and "layer 4, 200 networks a width, theory to order 2" in out
    cases = json.loads((tmp_path / "compare.json").read_text())["cases"]
    assert [case["settings"]["width"] for case in cases] == [8, 16]
    assert (tmp_path / "compare.png").read_bytes().startswith(b"\x89PNG")


def test_compare_says_where_the_series_ends(capsys):
    given = ["--act", "relu", "--cw", "2", "--depth", "40", "--width", "16", "--nets", "40", "--order", "2"]
    status, out, _ = run(capsys, "compare", *given, "--method", "metric")
    assert status == 0 and "K to 1/n^2" in out and "the terms of the series no longer fall" in out


def test_compare_of_what_does_not_fluctuate(capsys):
    status, out, _ = run(capsys, "compare", "--act", "perceptron", *QUICK)
    assert status == 0 and "+0.0" in out and "nan" not in out


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--act", "tnah"], "unknown activation 'tnah'; did you mean tanh?"),
        (["--act", "mrepu:p=z"], "act must be a name, or one with numbers"),
        (["--act", "mrepu:q=1"], "mrepu takes p; got q=1"),
        (["--cw", "-1"], "cw must be finite and ≥ 0; got -1"),
        (["--cw", "nan"], "cw must be finite and ≥ 0; got nan"),
        (["--cb", "-1"], "cb must be finite and ≥ 0"),
        (["--x2", "-1"], "x2 must be finite and ≥ 0"),
        (["--K1", "-1"], "K1 must be finite and ≥ 0"),
        (["--depth", "0"], "depth must be an integer ≥ 1"),
        (["--order", "6"], "order must be an integer ≥ 1 and ≤ 5; got 6"),
        (["--preset", "paper", "--widths", "8"], "widths must be left out where preset is given"),
        (["--width", "0"], "width must be an integer ≥ 1"),
        (["--nets", "0"], "n_nets must be an integer ≥ 1"),
        (["--width", "1000000"], "memory_budget must be at least"),
        (["--seed", "-5"], "seed must be an integer"),
        (["--preset", "paper", "--cw", "2"], "cw must be left out where preset is given"),
        (["--out", "found.xyz"], "out must end in .json, .csv, .png, or be a directory; got found.xyz"),
        (["--out", "/proc/none/found.png"], "out must be a place that can be written to"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_arguments_print_one_line_and_exit_2(capsys, args, words):
    status, out, err = run(capsys, "compare", *args)
    assert status == 2 and out == ""
    assert words in err and err.count("\n") == 1 and "Traceback" not in err


@pytest.mark.parametrize(
    "args", [["--depth", "1.5"], ["--method", "magic"], ["--preset", "other"], ["--colour", "red"]]
)
def test_arguments_that_do_not_parse_exit_2(capsys, args):
    status, _, err = run(capsys, "compare", *args)
    assert status == 2 and "Traceback" not in err and args[0] in err


def test_a_bad_out_is_refused_before_the_work(capsys, monkeypatch):
    monkeypatch.setattr(cases, "prepare", lambda *_, **__: pytest.fail("work was begun"))
    assert run(capsys, "compare", "--out", "found.xyz")[0] == 2


def test_classify_one_and_all(capsys, tmp_path):
    status, out, _ = run(capsys, "classify", "--act", "gelu", "--out", str(tmp_path / "gelu.json"))
    assert status == 0 and "half-stable" in out and "also critical" in out
    found = json.loads((tmp_path / "gelu.json").read_text())["activations"][0]
    assert abs(found["cw"] - 1.983058257437552) < 1e-10
    status, out, _ = run(capsys, "classify", "--all", "--out", str(tmp_path))
    assert status == 0 and all(name in out for name in ("perceptron", "mish", "initialize with"))
    assert len((tmp_path / "classify.csv").read_text().splitlines()) == 1 + len(eft.activation_names())


def test_classify_a_function_by_its_import_path(capsys, tmp_path, monkeypatch):
    (tmp_path / "mine_to_import.py").write_text(
        "import jax.numpy as jnp\ndef half(z):\n    return jnp.tanh(z / 2)\n"
    )
    monkeypatch.chdir(tmp_path)
    status, out, _ = run(capsys, "classify", "--act", "mine_to_import:half")
    assert status == 0 and "stable" in out and " 4 " in out  # C_W = 1/σ′(0)²
    status, _, err = run(capsys, "classify", "--act", "mine_to_import:other")
    assert status == 2 and "other" in err and "Traceback" not in err
    status, _, err = run(capsys, "classify", "--act", "__import__('os').system('true')")
    assert status == 2 and "unknown activation" in err


def test_phase(capsys, tmp_path):
    status, out, _ = run(capsys, "phase", "--act", "tanh", "--points", "20", "--out", str(tmp_path / "p.png"))
    assert status == 0 and "ordered" in out and "chaotic" in out
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    status, _, err = run(capsys, "phase", "--act", "tanh", "--points", "0")
    assert status == 2 and "points" in err


def test_help(capsys):
    for args in (
        ["--help"],
        ["classify", "--help"],
        ["phase", "--help"],
        ["flow", "--help"],
        ["compare", "--help"],
    ):
        status, out, _ = run(capsys, *args)
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


@pytest.mark.parametrize(
    ("mean", "stderr", "text"),
    [
        (0.39412, 0.00123, "0.3941 ± 0.0012"),
        (208.3, 13.2, "208 ± 13"),
        (4.55e-5, 0.25e-5, "(4.55 ± 0.25)e-05"),
        (1.0, 0.0, "1 ± 0"),
        (0.0, 0.5, "0.00 ± 0.50"),
        (float("nan"), float("inf"), "–"),
        (2.0, float("inf"), "2 ± inf"),
        (1.5e300, 1e299, "(1.50 ± 0.10)e+300"),
    ],
)
def test_numbers_with_their_errors(mean, stderr, text):
    assert with_error(Estimate(mean, stderr)) == text


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    output.write(path, "old")

    def fails(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="disk full"):
        output.write(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


# --- functions of the user's, and text with brackets ------------------------------------------------

MINE = "import jax.numpy as jnp\nimport beside_it\ndef half(z):\n    return jnp.tanh(z / beside_it.TWO)\n"


@pytest.mark.parametrize("command", ["classify", "flow", "compare", "train", "phase"])
def test_every_command_takes_a_function_of_a_file(capsys, tmp_path, monkeypatch, command):
    """By the path of its file, from elsewhere; the file may import what lies beside it."""
    (tmp_path / "an act.py").write_text(MINE)
    (tmp_path / "beside_it.py").write_text("TWO = 2\n")
    few = {
        "compare": QUICK,
        "train": ["--depth", "2", "--width", "4", "--nets", "2", "--steps", "2", "--samples", "4"],
        "phase": ["--points", "3", "--out", str(tmp_path / "p.png")],
    }
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    status, out, err = run(capsys, command, "--act", "../an act.py:half", *few.get(command, []))
    assert status == 0, err
    assert command == "phase" or "half" in out
    monkeypatch.delitem(sys.modules, "beside_it")


@pytest.mark.parametrize(
    ("act", "words"),
    [
        ("./none.py:f", "FileNotFoundError"),
        ("./f.py:none", "has no attribute 'none'"),
        ("./f:g", "act must be a name, module:name or file.py:name"),
        ("./broken.py:f", "SyntaxError"),
        ("./raises.py:f", "ZeroDivisionError: division by zero"),
        ("./leaves.py:f", "SystemExit: 0"),
        ("./f.py:x", "act must be"),
        ("no.such.module:f", "No module named"),
    ],
)
def test_functions_that_cannot_be_had(capsys, tmp_path, monkeypatch, act, words):
    monkeypatch.chdir(tmp_path)
    contents = {"f": "x = 3", "broken": "def", "raises": "1 / 0", "leaves": "raise SystemExit(0)"}
    for name, content in contents.items():
        (tmp_path / f"{name}.py").write_text(content)
    path = list(sys.path)
    status, _, err = run(capsys, "flow", "--act", act)
    assert status == 2 and words in err and err.count("\n") == 1 and "Traceback" not in err
    assert sys.path == path


@pytest.mark.parametrize("name", ["[", "[/]", "run[bold]", "[red]x[/red]", "a:smile:b", "[/bold]"])
def test_brackets_in_paths_are_brackets(capsys, tmp_path, name):
    """In what is written, what is kept and what is wrong with it."""
    folder = tmp_path / name
    few = ["--depth", "2", "--width", "4", "--nets", "2", "--steps", "2", "--samples", "4"]
    given = ["--checkpoint", str(folder / "kept"), "--out", str(folder / "out.csv")]
    status, out, err = run(capsys, "train", *few, *given)
    assert status == 0, err
    assert f"written: {folder / 'out.csv'}" in out
    newest = max((folder / "kept").glob("step-*"))
    newest.write_bytes(b"damaged")
    assert run(capsys, "train", *few, *given)[0] == 0
    status, _, err = run(capsys, "train", *few, *given, "--seed", "1")
    assert status == 2 and str(folder / "kept") in err
    status, _, err = run(capsys, "flow", "--out", str(folder / "out.xyz"))
    assert status == 2 and str(folder / "out.xyz") in err


def test_brackets_in_names_and_notes_are_brackets(capsys):
    """On a progress bar and in a table."""
    with progress_bar(True, "steps/s", "{task.fields[note]}") as bar:
        bar.console.print("step-1.npz in [/] is damaged")
        bar.add_task("[/]", total=1, completed=1, speed=1.0, note="[/bold]")
    assert "in [/] is damaged" in capsys.readouterr().err
    act = eft.Activation(jnp.tanh, name="f[/]")
    console = terminal()
    table = Table(act.name, title=act.name)
    table.add_row(act.name)
    console.print(table)
    assert capsys.readouterr().out.count("f[/]") == 3


# --- errors in the middle and at the end -----------------------------------------------------------

TRAIN = ("train", "--depth", "2", "--width", "4", "--nets", "2", "--steps", "2", "--samples", "4")


def test_an_error_in_the_middle_is_no_bad_argument(capsys, monkeypatch):
    """A ValueError of ours or of a library, once the arguments have been checked. The control: of a check."""

    def fails(*_, **__):
        raise ValueError("array must not contain infs or NaNs")

    monkeypatch.setattr(cases, "run", fails)
    with pytest.raises(ValueError, match="infs or NaNs"):
        run(capsys, "compare", *QUICK)

    def refuses(*_, **__):
        raise ArgumentError("cw must be something else")

    monkeypatch.setattr(cases, "run", refuses)
    status, _, err = run(capsys, "compare", *QUICK)
    assert status == 2 and err == "eft: cw must be something else\n"


def test_what_cannot_be_written_is_found_out_before_the_work(capsys, tmp_path, monkeypatch):
    """Without the extra "netcdf"."""
    monkeypatch.setitem(sys.modules, "h5netcdf", None)
    command = sys.modules["nets.cli.training"]
    monkeypatch.setattr(command, "train_ensemble", lambda *_, **__: pytest.fail("work was begun"))
    status, _, err = run(capsys, *TRAIN, "--out", str(tmp_path / "run.nc"))
    assert status == 2 and "pip install 'eft[netcdf]'" in err and err.count("\n") == 1


@pytest.mark.parametrize("kind", [OSError, RuntimeError])
def test_an_error_at_the_end_keeps_the_results(capsys, tmp_path, monkeypatch, kind):
    """The figure fails: all else is written. The control: nothing fails."""

    def fails(*_):
        raise kind("no figure")

    monkeypatch.setattr(figures, "png", fails)
    if kind is RuntimeError:
        with pytest.raises(RuntimeError, match="no figure"):
            run(capsys, *TRAIN, "--out", str(tmp_path))
    else:
        assert run(capsys, *TRAIN, "--out", str(tmp_path))[0] == 1
    assert {path.name for path in tmp_path.iterdir()} == {"train.json", "train.csv", "train.npz"}
    assert saving.load(tmp_path / "train.npz").arguments["steps"] == 2
    monkeypatch.undo()
    assert run(capsys, *TRAIN, "--out", str(tmp_path))[0] == 0


def test_what_the_disk_refuses_at_the_end_goes_elsewhere(capsys, tmp_path, monkeypatch):
    real, refused = output.write, tmp_path / "run.npz"

    def write(path, content):
        if path == refused:
            raise OSError(28, "No space left on device")
        real(path, content)

    monkeypatch.setattr(output, "write", write)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    status, out, err = run(capsys, *TRAIN, "--out", str(refused))
    assert status == 1 and "run.npz was not written" in err
    kept = Path(out.split("written: ")[1].strip())
    assert kept.parent != tmp_path and kept.name == "run.npz"
    assert saving.load(kept).arguments["steps"] == 2


def test_a_resumed_run_tells_its_whole_time(capsys, tmp_path, monkeypatch):
    """By a clock that goes a minute further at each look; what follows the last checkpoint is not kept."""
    clock = SimpleNamespace(perf_counter=itertools.count(0.0, 60.0).__next__)
    monkeypatch.setattr(loop, "time", clock)
    given = (*TRAIN, "--checkpoint", str(tmp_path))
    seconds = []
    for _ in range(2):
        status, out, _ = run(capsys, *given)
        assert status == 0
        seconds.append(float(re.search(r"2 steps in (\S+) s", out)[1]))
    assert seconds[1] > seconds[0] / 2 >= 60


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
    assert kept[0] > 3 and kept[1:] == [0, 0]
    assert tables[1:] == tables[:1] * 2


# --- several processes ----------------------------------------------------------------------------


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


def test_processes_that_fail_say_so_once():
    command = [sys.executable, "-m", "nets.cli", "compare", "--act", "nope", "--processes=2"]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 2
    assert ran.stderr.count("unknown activation 'nope'") == 1


@pytest.mark.parametrize("count", ["0", "two", "-1", "100000"])
def test_a_bad_number_of_processes(capsys, count):
    assert cli.main(["flow", "--processes", count]) == 2
    assert "processes must be" in capsys.readouterr().err


def test_a_full_disk_is_one_line_and_exit_1(capsys, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(output.os, "replace", refuse)
    few = ("--depth", "2", "--width", "4", "--nets", "2", "--steps", "2", "--samples", "4")
    status, _, err = run(capsys, "train", *few, "--checkpoint", str(tmp_path))
    assert status == 1 and err.count("\n") == 1
    assert "No space left on device" in err and "run the same again" in err
    assert not list(tmp_path.iterdir())
