"""What cannot be done is one clear line and its exit status; what was found is kept."""

import subprocess
import sys
from pathlib import Path

import pytest

from eft.arguments import ArgumentError
from nets import cli
from nets.comparison import cases
from nets.files import output
from nets.plots import figures
from nets.results import saving

QUICK = ["--depth", "4", "--width", "16", "--nets", "40", "--method", "metric"]
TRAIN = ("train", "--depth", "2", "--width", "4", "--nets", "2", "--steps", "2", "--samples", "4")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--act", "tnah"], "unknown activation 'tnah'; did you mean tanh?"),
        (
            ["--act", "tanh", "--act", "gelu"],
            "--act must be given once; got it 2 times; several are one list",
        ),
        (["--cw", "1", "--cw=2"], "--cw must be given once; got it 2 times"),
        (["--act", "mrepu:p=z"], "act must be a name, or one with numbers"),
        (["--act", "mrepu:q=1"], "mrepu takes p; got q=1"),
        (["--cw", "-1"], "cw must be finite and ≥ 0; got -1"),
        (["--cw", "nan"], "cw must be finite and ≥ 0; got nan"),
        (["--cb", "-1"], "cb must be finite and ≥ 0"),
        (["--x2", "-1"], "x2 must be finite and ≥ 0"),
        (["--K1", "-1"], "K1 must be finite and ≥ 0"),
        (["--depth", "0"], "depth must be an integer ≥ 1"),
        (["--order", "6"], "order must be an integer ≥ 1 and ≤ 5; got 6"),
        (["--order", "2", "--skip", "0.8"], "order must be 1 where there is a skip"),
        (["--order", "3", "--weights", "orthogonal"], "order must be 1 where there is a skip"),
        (["--skip", "-1"], "skip must be finite and ≥ 0; got -1.0"),
        (["--norm", "rms", "--width", "1"], "norm needs hidden widths ≥ 2; got 'rms'"),
        (["--preset", "paper", "--widths", "8"], "widths must be left out where preset is given"),
        (["--width", "0"], "width must be an integer ≥ 1"),
        (["--nets", "0"], "n_nets must be an integer ≥ 1"),
        (["--width", "1000000"], "memory_budget must be at least"),
        (["--memory-budget", "1 kB"], "memory_budget must be at least"),
        (["--memory-budget", "much"], "memory_budget must be an integer ≥ 1 of bytes, or text such as"),
        (["--seed", "-5"], "seed must be an integer"),
        (["--preset", "paper", "--cw", "2"], "cw must be left out where preset is given"),
        (["--out", "found.xyz"], "out must end in .json, .csv, .png, .nc, or be a directory; got found.xyz"),
        (["--out", "/proc/none/found.png"], "out must be a place that can be written to"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_arguments_print_one_line_and_exit_2(run, args, words):
    status, out, err = run("compare", *args)
    assert status == 2 and out == ""
    assert words in err and err.count("\n") == 1 and "Traceback" not in err


@pytest.mark.parametrize(
    "args",
    [
        ["--norm", "batch"],
        ["--weights", "uniform"],
        ["--depth", "1.5"],
        ["--method", "magic"],
        ["--preset", "other"],
        ["--colour", "red"],
    ],
)
def test_arguments_that_do_not_parse_exit_2(run, args):
    status, _, err = run("compare", *args)
    assert status == 2 and "Traceback" not in err and args[0] in err


def test_a_bad_out_is_refused_before_the_work(run, monkeypatch):
    monkeypatch.setattr(cases, "prepare", lambda *_, **__: pytest.fail("work was begun"))
    assert run("compare", "--out", "found.xyz")[0] == 2


def test_an_error_in_the_middle_is_no_bad_argument(run, monkeypatch):
    """A ValueError of ours or of a library, once the arguments have been checked. The control: of a check."""

    def fails(*_, **__):
        raise ValueError("array must not contain infs or NaNs")

    monkeypatch.setattr(cases, "run", fails)
    with pytest.raises(ValueError, match="infs or NaNs"):
        run("compare", *QUICK)

    def refuses(*_, **__):
        raise ArgumentError("cw must be something else")

    monkeypatch.setattr(cases, "run", refuses)
    status, _, err = run("compare", *QUICK)
    assert status == 2 and err == "eft: cw must be something else\n"


def test_what_cannot_be_written_is_found_out_before_the_work(run, tmp_path, monkeypatch):
    """Without the extra "netcdf"."""
    monkeypatch.setitem(sys.modules, "h5netcdf", None)
    command = sys.modules["nets.cli.training"]
    monkeypatch.setattr(command, "train_ensemble", lambda *_, **__: pytest.fail("work was begun"))
    status, _, err = run(*TRAIN, "--out", str(tmp_path / "run.nc"))
    assert status == 2 and "pip install 'eft-nets[netcdf]'" in err and err.count("\n") == 1


@pytest.mark.parametrize("kind", [OSError, RuntimeError])
def test_an_error_at_the_end_keeps_the_results(run, tmp_path, monkeypatch, kind):
    """The figure fails: all else is written. The control: nothing fails."""

    def fails(*_):
        raise kind("no figure")

    monkeypatch.setattr(figures, "png", fails)
    if kind is RuntimeError:
        with pytest.raises(RuntimeError, match="no figure"):
            run(*TRAIN, "--out", str(tmp_path))
    else:
        assert run(*TRAIN, "--out", str(tmp_path))[0] == 1
    name = "train_tanh_cw=1_depth=2_width=4_nets=2_target=waves_optimizer=adam_steps=2"
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.json", f"{name}.csv", f"{name}.npz"}
    assert saving.load(tmp_path / f"{name}.npz").arguments["steps"] == 2
    monkeypatch.undo()
    assert run(*TRAIN, "--out", str(tmp_path))[0] == 0


def test_what_the_disk_refuses_at_the_end_goes_elsewhere(run, tmp_path, monkeypatch):
    real, refused = output.write, tmp_path / "run.npz"

    def write(path, content):
        if path == refused:
            raise OSError(28, "No space left on device")
        real(path, content)

    monkeypatch.setattr(output, "write", write)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    status, out, err = run(*TRAIN, "--out", str(refused))
    assert status == 1 and "run.npz was not written" in err
    kept = Path(out.split("written: ")[1].strip())
    assert kept.parent != tmp_path and kept.name == "run.npz"
    assert saving.load(kept).arguments["steps"] == 2


@pytest.mark.parametrize("count", ["0", "two", "-1", "100000"])
def test_a_bad_number_of_processes(capsys, count):
    assert cli.main(["flow", "--processes", count]) == 2
    assert "processes must be" in capsys.readouterr().err


def test_a_full_disk_is_one_line_and_exit_1(run, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(output.os, "replace", refuse)
    few = ("--depth", "2", "--width", "4", "--nets", "2", "--steps", "2", "--samples", "4")
    status, _, err = run("train", *few, "--checkpoint", str(tmp_path))
    assert status == 1 and err.count("\n") == 1
    assert "No space left on device" in err and "run the same again" in err
    assert not list(tmp_path.iterdir())


@pytest.mark.sweep
def test_processes_that_fail_say_so_once():
    command = [sys.executable, "-m", "nets.cli", "compare", "--act", "nope", "--processes=2"]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 2
    assert ran.stderr.count("unknown activation 'nope'") == 1
