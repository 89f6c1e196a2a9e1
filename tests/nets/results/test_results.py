"""Results in files: to the bit, with how they came about."""

import jax
import numpy as np
import pytest
import xarray

import eft
import nets
from nets import cli
from nets.files import archive
from nets.paper import targets
from nets.results import saving

X = np.array([[1.0, -0.5], [0.2, 0.8]])


RESULTS = {
    "networks": lambda: nets.measure("tanh", 1.2, 3, 8, 20, cb=0.1),
    "infinities": lambda: nets.measure("repu", 2.0, 12, 4, 20, seed=1),
    "several inputs": lambda: nets.measure("tanh", 1.2, 3, 8, 20, x=X, method="metric"),
    "many inputs": lambda: nets.measure_inputs("repu", 1.2, 3, 8, 4, X),
    "ntk": lambda: nets.measure("tanh", 1.2, 3, 8, 20, x=X, ntk=True),
    "ntk of every layer": lambda: nets.measure("tanh", 1.2, 3, 8, 20, ntk=True),
    "skip": lambda: nets.measure("tanh", 1.2, 3, 8, 20, skip=0.5, norm="rms", ntk=True),
    "training": lambda: nets.train("tanh", 1.2, 3, 8, 5, (X, X[:, 0]), cb=0.1, steps=4, progress=False),
}


@pytest.mark.sweep(
    "networks-.npz", "networks-.nc", "several inputs-.npz", "ntk-.nc", "training-.npz", "training-.nc"
)
@pytest.mark.parametrize("suffix", [".npz", ".nc"])
@pytest.mark.parametrize("name", RESULTS)
def test_round_trip(name, suffix, tmp_path):
    result = RESULTS[name]()
    path = tmp_path / f"result{suffix}"
    saving.save(result, path, {"seed": 0, "act": "tanh"})
    found = saving.load(path)
    assert type(found.result) is type(result)
    assert found.arguments == {"seed": 0, "act": "tanh"}
    assert found.versions["jax"] == jax.__version__
    assert jax.tree.structure(found.result) == jax.tree.structure(result)
    for a, b in zip(jax.tree.leaves(found.result), jax.tree.leaves(result), strict=True):
        assert np.asarray(a).dtype == np.asarray(b).dtype
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
    spoilt = bytearray(path.read_bytes())
    spoilt[path.read_bytes().find(np.asarray(result.widths).tobytes())] ^= 4
    path.write_bytes(spoilt)
    with pytest.raises(archive.ArchiveError, match="is damaged"):
        saving.load(path)


def test_named_axes(tmp_path):
    for cw in (1.0, 1.2):
        run = nets.measure("tanh", cw, 3, 8, 20)
        saving.save(run, tmp_path / f"{cw}.nc", {"act": "tanh", "cw": cw, "seed": 0})
    one, other = (xarray.open_dataset(tmp_path / f"{cw}.nc", engine="h5netcdf") for cw in (1.0, 1.2))
    both = xarray.concat([one, other], "cw")
    assert both["K_mean"].sizes == {"cw": 2, "layer": 3}
    assert both["G"].sizes == {"cw": 2, "member": 20, "layer": 3}
    assert both.cw.values.tolist() == [1.0, 1.2] and both.act == "tanh"
    np.testing.assert_array_equal(both["K_mean"].sel(cw=1.2), run.K.mean)


@pytest.mark.parametrize("damage", ["cut", "text"])
def test_a_damaged_netcdf_file_is_refused(damage, tmp_path):
    path = tmp_path / "a.nc"
    saving.save(RESULTS["networks"](), path, {})
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if damage == "cut" else b"no such thing")
    with pytest.raises(archive.ArchiveError, match="is damaged, or not one of this program"):
        saving.load(path)


def test_what_is_not_a_result(tmp_path):
    with pytest.raises(
        TypeError, match="result must be one of Measurement, GramMeasurement, InputMeasurement, TrainingRun"
    ):
        saving.save(nets.Estimate(np.ones(1), np.ones(1)), tmp_path / "a.npz")
    with pytest.raises(TypeError, match=r"got KernelFlow; other records have \.to_xarray\(\)\.to_netcdf"):
        saving.save(eft.kernel_flow("relu", 2.0, 2), tmp_path / "a.npz")
    with pytest.raises(TypeError, match=r"got int$"):
        saving.save(1, tmp_path / "a.npz")
    archive.save(tmp_path / "b.npz", {"a": np.ones(2)}, {})
    with pytest.raises(archive.ArchiveError, match="holds none of"):
        saving.load(tmp_path / "b.npz")


def test_trained_networks_go_on_from_a_file(tmp_path):
    settings = {"data": (X, X[:, 0]), "progress": False, "dtype": np.float64}
    first = nets.train("tanh", 1.2, 3, 8, 5, steps=4, **settings)
    saving.save(first, tmp_path / "half.npz")
    kept = saving.load(tmp_path / "half.npz").result.parameters
    rest = nets.train("tanh", 1.2, 3, 8, 5, steps=4, initial=kept, **settings)
    whole = nets.train("tanh", 1.2, 3, 8, 5, steps=8, **settings)
    np.testing.assert_array_equal(rest.loss[-1], whole.loss[-1])


# --- eft train ------------------------------------------------------------------------------------

SMALL = ["--depth", "3", "--width", "8", "--nets", "6", "--steps", "12", "--samples", "10"]


@pytest.mark.sweep
def test_the_command(tmp_path, capsys):
    """A table on the terminal, and a file of each kind; the same numbers in all."""
    out = tmp_path / "found"
    status = cli.main(["train", *SMALL, "--snapshots", "0", "12", "--cb", "0.1", "--out", str(out)])
    shown = capsys.readouterr()
    assert status == 0, shown.err
    assert "6 networks learn waves" in shown.out and "two thirds" in shown.out
    assert sorted(path.suffix for path in out.iterdir()) == [".csv", ".json", ".npz", ".png"]
    name = next(out.glob("train_tanh_*.npz")).stem
    run, arguments, _ = saving.load(out / f"{name}.npz")
    assert arguments["steps"] == 12 and arguments["act"] == "tanh"
    rows = (out / f"{name}.csv").read_text().splitlines()
    assert len(rows) == 1 + 2 * 3
    assert float(rows[-1].split(",")[3]) == run.K.mean[1, 2].mean()
    assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_resumes(tmp_path, capsys):
    for name in "ab":
        folder = ["--checkpoint", str(tmp_path / "kept")]
        assert cli.main(["train", *SMALL, *folder, "--out", str(tmp_path / f"{name}.npz")]) == 0
    a, b = (saving.load(tmp_path / f"{name}.npz").result for name in "ab")
    np.testing.assert_array_equal(a.loss, b.loss)
    assert cli.main(["train", *SMALL, *folder, "--seed", "1"]) == 2
    assert "checkpoint must be a folder of its own" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--target", "wave"], "target must be one of product, waves"),
        (["--n0", "1"], "n0 must be ≥ 2 for waves"),
        (["--samples", "0"], "samples must be an integer ≥ 1"),
        (["--snapshots", "13"], "snapshots must be an integer ≥ 0 and ≤ 12"),
        (["--learning-rate", "0.1", "--optimizer", "sgd", "--cw", "-1"], "cw must be finite"),
        (["--learning-rate", "-1", "--optimizer", "sgd"], "learning_rate must be finite and ≥ 0"),
        (["--learning-rate", "-1"], "learning_rate must be finite and ≥ 0"),
        (["--out", "found.xyz"], "out must end in"),
    ],
)
def test_what_the_command_refuses(more, message, capsys):
    assert cli.main(["train", *SMALL, *more]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_networks_that_all_overflow_are_said_to(tmp_path, capsys):
    wild = ["--act", "repu:p=3", "--cw", "9", "--optimizer", "sgd", "--learning-rate", "100"]
    assert cli.main(["train", *SMALL, *wild, "--out", str(tmp_path)]) == 0
    assert "6 networks overflowed and are left out" in capsys.readouterr().out


@pytest.mark.parametrize("name", targets.TARGETS)
def test_targets(name):
    X, Y = targets.samples(name, 50, 3, seed=1)
    assert X.shape == (50, 3) and Y.shape == (50,)
    assert (abs(X) <= 1).all() and np.isfinite(Y).all() and Y.std() > 0
    np.testing.assert_array_equal(targets.samples(name, 50, 3, seed=1)[0], X)
