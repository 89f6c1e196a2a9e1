"""Figures of the paper from kept results: those that the experiment drew, or a refusal with a reason."""

import argparse
import importlib
import json
import sys

import experiment
import numpy as np
import pytest
import r01_repu_initialization as r01
import r11_burgers as r11
import redraw
from experiment import Kept, Missing

from nets.files import archive
from nets.paper.pinn import PinnRun
from nets.results import saving

SMALL = ["--p", "2", "--width", "24", "--hidden", "2", "--nets", "50", "--inputs", "7"]
pytestmark = pytest.mark.promotes


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["r01", *SMALL, "--out", str(folder / "r01")])
        assert r01.main() == 0
    return folder


@pytest.fixture
def untouched(results):
    """The folder, as it was afterwards."""
    before = {path: path.read_bytes() for path in results.rglob("*") if path.is_file()}
    yield results
    for path, content in before.items():
        path.write_bytes(content)


def run(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["redraw", *map(str, words)])
    return redraw.main()


def test_the_same_figures_without_a_network(untouched, tmp_path, monkeypatch, capsys):
    def refuse(*_, **__):
        raise AssertionError("a network was drawn")

    monkeypatch.setattr(r01.nets, "measure_inputs", refuse)
    assert run(monkeypatch, "r01", "--results", untouched, "--figures", tmp_path) == 0
    for suffix in ("", "_inputs"):
        drawn = tmp_path / f"r01{suffix}.png"
        assert drawn.read_bytes() == (untouched / "r01" / f"{r01.NAME}{suffix}.png").read_bytes()
    assert "log K" not in capsys.readouterr().out


def test_missing_results_are_named(untouched, tmp_path, monkeypatch, capsys):
    (path,) = (untouched / "r01" / "kept").glob("inputs p=2 1.25.npz")
    path.unlink()
    assert run(monkeypatch, "r01", "--results", untouched, "--figures", tmp_path) == 1
    said = capsys.readouterr().err
    assert f"r01 cannot be drawn from {untouched / 'r01'}" in said and f"{path} is missing" in said
    assert not list(tmp_path.iterdir())
    path.write_bytes(b"damaged")
    assert run(monkeypatch, "r01", "--results", untouched, "--figures", tmp_path) == 1
    assert "cannot be read" in capsys.readouterr().err


def test_other_settings_are_named(untouched, tmp_path):
    """What the JSON records counts, not what this version would choose."""
    summary = untouched / "r01" / f"{r01.NAME}.json"
    content = json.loads(summary.read_text())
    assert content["settings"]["nets"] == 50
    content["settings"]["nets"] = 51
    summary.write_text(json.dumps(content))
    with pytest.raises(Missing, match="has other settings: nets 50 in place of 51"):
        redraw.redraw("r01", untouched, tmp_path, False)


def test_quick_results_need_the_word(untouched, tmp_path):
    summary = untouched / "r01" / f"{r01.NAME}.json"
    content = json.loads(summary.read_text())
    content["settings"]["quick"] = True
    summary.write_text(json.dumps(content))
    with pytest.raises(Missing, match="results of --quick"):
        redraw.redraw("r01", untouched, tmp_path, False)
    assert len(redraw.redraw("r01", untouched, tmp_path, True)) == 2


def test_an_empty_folder_and_an_unknown_experiment(tmp_path, monkeypatch, capsys):
    assert run(monkeypatch, "--results", tmp_path / "none", "--figures", tmp_path) == 1
    said = capsys.readouterr().err
    assert all(name in said for name in redraw.EXPERIMENTS if name != "r03")
    with pytest.raises(SystemExit) as error:
        run(monkeypatch, "r99", "--figures", tmp_path)
    assert error.value.code == 2 and "r99" in capsys.readouterr().err


TINY = {
    "r02": [
        "--p",
        "2",
        "--hidden",
        "1",
        "2",
        "--width",
        "8",
        "--nets",
        "4",
        "--steps",
        "8",
        "--samples",
        "6",
    ],
    "r03": ["--quick"],
    "r04": ["--width", "16", "--hidden", "2", "--nets", "40", "--inputs", "6"],
    "r05": ["--cw", "0.9", "--widths", "16", "--hidden", "2", "--nets", "40", "--sampled", "90"],
    "r06": ["--width", "8", "--hidden", "3", "--nets", "6", "--samples", "6", "--steps", "8"],
    "r09": ["--targets", "cubic", "--width", "8", "--hidden", "1", "--nets", "4", "--steps", "20"],
}


@pytest.mark.more
@pytest.mark.parametrize("name", TINY)
def test_every_experiment_is_redrawn_as_it_was_drawn(name, tmp_path, monkeypatch):
    module = importlib.import_module(redraw.EXPERIMENTS[name])
    monkeypatch.setattr(sys, "argv", [name, *TINY[name], "--out", str(tmp_path / name)])
    assert module.main() == 0
    files = redraw.redraw(name, tmp_path, tmp_path, name == "r03")
    drawn = {path.name[len(name) :]: path.read_bytes() for path in files}
    before = (tmp_path / name).glob("*.png")
    assert drawn == {path.name[len(module.NAME) :]: path.read_bytes() for path in before}


@pytest.mark.more
def test_what_the_last_checkpoint_holds_is_drawn_and_nothing_is_trained(tmp_path, monkeypatch):
    """Where no result is kept. The control: a last checkpoint that is damaged."""
    words = ["--nets", "2", "--hidden", "1", "--width", "4", "--interior", "20", "--steps", "10"]
    folder = tmp_path / "r11"
    monkeypatch.setattr(sys, "argv", ["r11", *words, "--activations", "tanh", "--out", str(folder)])
    assert r11.main() == 0
    drawn = {path.name: path.read_bytes() for path in redraw.redraw("r11", tmp_path, tmp_path, False)}
    kept = folder / "kept" / "tanh.npz"
    kept.unlink()
    again = redraw.redraw("r11", tmp_path, tmp_path, False)
    assert drawn == {path.name: path.read_bytes() for path in again}
    kept.unlink()
    (last,) = (folder / "kept").rglob("step-000000000010.npz")
    last.write_bytes(last.read_bytes()[:-9])
    with pytest.raises(Missing, match=r"tanh\.npz is missing"):
        redraw.redraw("r11", tmp_path, tmp_path, False)


def test_records_that_nets_does_not_save_are_kept_as_arrays(tmp_path):
    """A PinnRun without its parameters. The control: of other settings it is made again, or missing."""
    made = PinnRun(*(np.full(3, i) for i in range(9)), {"layers": {}}, 1.5)
    args, calls = {"out": tmp_path, "seed": 0}, []

    def make():
        calls.append(1)
        return made

    for kind in (argparse.Namespace, Kept):
        found = experiment.kept(kind(**args), "a", {"n": 1}, make, record=PinnRun)
    assert len(calls) == 1 and found.parameters is None and float(found.seconds) == 1.5
    assert all(np.array_equal(a, b) for a, b in zip(found[:9], made[:9], strict=True))
    with pytest.raises(Missing, match="n 1 in place of 2"):
        experiment.kept(Kept(**args), "a", {"n": 2}, make, record=PinnRun)
    with pytest.raises(archive.ArchiveError):
        saving.load(tmp_path / "kept" / "a.npz")
