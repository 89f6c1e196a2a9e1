"""The options for networks that are not plain, of each command."""

import csv
import json
import math

import pytest
import xarray

import eft
from nets.results import saving

QUICK = ["--depth", "4", "--width", "8", "--nets", "40", "--method", "metric"]
TRAIN = ("train", "--depth", "2", "--width", "4", "--nets", "2", "--steps", "2", "--samples", "4")
NOT_PLAIN = ["--skip", "0.8", "--norm", "rms", "--weights", "orthogonal"]
AS_TITLE = "skip γ = 0.8 except at the output, rms norm, orthogonal weights"


def test_flow_that_is_not_plain(run, tmp_path):
    out = tmp_path / "flow.json"
    status, shown, _ = run("flow", "--depth", "4", *NOT_PLAIN, "--readout", "--out", str(out))
    assert status == 0 and AS_TITLE in " ".join(shown.split())
    found = json.loads(out.read_text())
    expected = eft.kernel_flow("tanh", 1.0, 4, skip=0.8, norm="rms", weights="orthogonal", readout=True)
    assert AS_TITLE in found["title"]
    assert [row["V"] for row in found["layers"]] == pytest.approx(expected.V.tolist(), rel=1e-12)


def test_log_K_beyond_the_float_range_is_shown_only_where_it_is_known(run):
    """It is that of a homogeneous activation without a skip, which is the control."""
    given = ["flow", "--act", "relu", "--cw", "1e110", "--depth", "4"]
    last = [
        next(line for line in run(*given, *more)[1].splitlines() if line.startswith("    4")).split()
        for more in ([], ["--skip", "0.8"])
    ]
    assert float(last[0][-1]) == pytest.approx(3 * math.log(5e109) + math.log(1e110), rel=1e-4)
    assert last[1][1:] == ["–"] * 6


def test_compare_that_is_not_plain(run, tmp_path):
    given = [*QUICK, *NOT_PLAIN, "--readout", "--out", str(tmp_path)]
    status, shown, err = run("compare", *given)
    assert status == 0, err
    assert AS_TITLE in " ".join(shown.split()) and "K, all layers" in shown
    name = "compare_tanh_cw=1_depth=4_width=8_nets=40_skip=0.8_norm=rms_weights=orthogonal"
    settings = json.loads((tmp_path / f"{name}.json").read_text())["cases"][0]["settings"]
    kind = {"skip": 0.8, "norm": "rms", "weights": "orthogonal", "readout": True}
    assert {name: settings[name] for name in kind} == kind
    row = next(csv.DictReader((tmp_path / f"{name}.csv").read_text().splitlines()))
    assert {name: row[name] for name in kind} == {name: str(value) for name, value in kind.items()}


def test_compare_against_the_width_with_a_skip(run, tmp_path):
    given = ["--depth", "3", "--nets", "40", "--method", "metric", "--skip", "0.8", "--widths", "4", "8"]
    status, shown, err = run("compare", *given, "--out", str(tmp_path / "w.png"))
    assert status == 0, err
    assert "skip γ = 0.8; layer 3" in shown and "n·Var" not in shown
    assert (tmp_path / "w.png").read_bytes().startswith(b"\x89PNG")


def test_classify_with_a_skip(run, tmp_path):
    """C_W = (1 − γ²)/σ′(0)²."""
    out = tmp_path / "c.json"
    assert run("classify", "--act", "tanh", "--skip", "0.8", "--out", str(out))[0] == 0
    found = json.loads(out.read_text())["activations"][0]
    assert found["skip"] == 0.8 and found["cw"] == pytest.approx(0.36, rel=1e-12)
    status, _, err = run("classify", "--act", "tanh", "--skip", "1")
    assert status == 2 and "skip must be < 1; got 1" in err


def test_phase_with_a_skip(run, tmp_path):
    """Without biases tanh is chaotic above C_W = 0.36; the control: without a skip above 1."""
    given = ["--points", "5", "--cw", "0.4", "0.9", "--cb", "0", "1e-6", "--out", str(tmp_path / "p.png")]
    assert "chaotic: 100.0 %" in run("phase", "--act", "tanh", *given, "--skip", "0.8")[1]
    assert "ordered: 100.0 %" in run("phase", "--act", "tanh", *given)[1]


def test_train_that_is_not_plain(run, tmp_path):
    """The settings are in the files, and scalar coordinates of NetCDF."""
    status, shown, err = run(*TRAIN, *NOT_PLAIN, "--out", str(tmp_path))
    assert status == 0, err
    assert AS_TITLE in " ".join(shown.split())
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".csv", ".npz", ".png"}
    first = "train_tanh_cw=1_depth=2_width=4_nets=2_target=waves_optimizer=adam_steps=2"
    name = f"{first}_skip=0.8_norm=rms_weights=orthogonal"
    saved = saving.load(tmp_path / f"{name}.npz")
    kind = {"skip": 0.8, "norm": "rms", "weights": "orthogonal"}
    assert saved.arguments.items() >= kind.items()
    assert json.loads((tmp_path / f"{name}.json").read_text())["arguments"].items() >= kind.items()
    saving.save(saved.result, tmp_path / "train.nc", saved.arguments)
    with xarray.open_dataset(tmp_path / "train.nc", engine="h5netcdf") as data:
        assert {name: data.coords[name].item() for name in kind} == kind


def test_help_shows_what_is_not_plain(run):
    options = {"--skip": 5, "--norm": 3, "--weights": 3, "--readout": 2}
    shown = [run(c, "--help")[1] for c in ("flow", "compare", "train", "classify", "phase")]
    for flag, commands in options.items():
        assert [flag in text for text in shown] == [i < commands for i in range(5)], flag
