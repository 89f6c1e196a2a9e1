"""Checkpoint folders: one run at a time, its own files only, and no place that cannot be one."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import nets
from nets.files import archive, checkpoints
from nets.training import loop

X = np.random.default_rng(0).uniform(-1, 1, (6, 2))
FOREIGN = ("step-best.npz", "step-1.npz", "step-.npz", "step-000000000007.npz.bak", ".step-mine", "notes.txt")


def train(folder, **changes):
    settings = {"act": "tanh", "cw": 1.2, "depth": 2, "width": 4, "n_nets": 3, "data": (X, X[:, 0])}
    return nets.train(**settings | {"steps": 2, "checkpoint": folder, "progress": False} | changes)


@pytest.fixture
def no_work(monkeypatch):
    monkeypatch.setattr(loop, "run", lambda *_: pytest.fail("work was begun"))


# --- one run at a time -----------------------------------------------------------------------------

HOLD = """
import sys
from nets.files import checkpoints
with checkpoints.held(sys.argv[1]):
    print("held", flush=True)
    input()
"""


def test_another_run_s_folder_is_left_alone(tmp_path):
    """Its half-written file stays. The control: once it is over, or killed, the folder is free."""
    torn = tmp_path / ".step-000000000005.npz.half"
    torn.write_bytes(b"half a file")
    with checkpoints.held(tmp_path):
        with pytest.raises(checkpoints.CheckpointError, match="another run is using the checkpoint folder"):
            train(tmp_path)
        assert list(tmp_path.iterdir()) == [torn]
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"held\n"
    with pytest.raises(checkpoints.CheckpointError, match="wait until it ends, or choose another"):
        train(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    train(tmp_path)
    assert not torn.exists() and len(list(tmp_path.iterdir())) == 2


def test_the_lock_goes_with_an_error(tmp_path):
    for _ in range(2):
        with pytest.raises(KeyError), checkpoints.held(tmp_path):
            raise KeyError
    with checkpoints.held(None), checkpoints.held(None):
        pass


def test_a_file_system_without_locks_is_told(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(checkpoints.fcntl, "flock", refuse)
    with pytest.warns(UserWarning, match="cannot be locked"), checkpoints.held(tmp_path):
        pass


# --- its own files only ----------------------------------------------------------------------------


def test_files_of_others_stay_and_do_not_count(tmp_path):
    for name in FOREIGN:
        (tmp_path / name).write_text("mine")
    assert checkpoints.latest(tmp_path) is None and checkpoints.newest_step(tmp_path) is None
    for step in range(4):
        checkpoints.write(tmp_path, step, {"a": np.array(step)}, {})
        assert checkpoints.latest(tmp_path).step == checkpoints.newest_step(tmp_path) == step
    assert {(tmp_path / name).read_text() for name in FOREIGN} == {"mine"}
    ours = {path.name for path in tmp_path.iterdir()} - set(FOREIGN)
    assert ours == {"step-000000000002.npz", "step-000000000003.npz"}


def test_steps_beyond_twelve_digits(tmp_path):
    for step in (10**12 - 1, 10**12, 10**13):
        checkpoints.write(tmp_path, step, {}, {})
        assert checkpoints.latest(tmp_path).step == step


@pytest.mark.parametrize("damaged", [1, 2, 3])
def test_damaged_ones_of_later_steps_do_not_push_out_new_ones(damaged, tmp_path):
    for step in range(10, 10 + damaged):
        (tmp_path / f"step-{step:012d}.npz").write_bytes(b"damaged")
    for step in (1, 2, 3):
        checkpoints.write(tmp_path, step, {}, {})
        assert checkpoints.latest(tmp_path).step == step


# --- of this run and this program ------------------------------------------------------------------


def changed(folder, change):
    """The newest checkpoint with other content, and the digest that goes with it."""
    path = max(folder.glob("step-*.npz"))
    arrays, attributes = archive.load(path)
    change(arrays, attributes)
    archive.save(path, arrays, attributes)


VERSION = "holds one of another version of this program"
LAYOUT = "holds other arrays than this run's state"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda _, words: words.update(format=checkpoints.FORMAT + 1), ValueError, VERSION),
        (lambda _, words: words.pop("format"), ValueError, VERSION),
        (lambda _, words: words.pop("identity"), ValueError, "holds one that differs in cw, cb"),
        (lambda _, words: words.update(identity=[]), ValueError, "holds one that differs in cw, cb"),
        (lambda arrays, _: arrays.pop("state 3"), checkpoints.CheckpointError, LAYOUT),
        (lambda arrays, _: arrays.update({"state 99": X}), checkpoints.CheckpointError, LAYOUT),
        (lambda arrays, _: arrays.update({"state 0": X}), checkpoints.CheckpointError, LAYOUT),
        (lambda arrays, _: arrays.clear(), checkpoints.CheckpointError, LAYOUT),
        (lambda arrays, _: arrays.pop("snapshot 1 loss"), checkpoints.CheckpointError, LAYOUT),
    ],
)
def test_other_content_is_refused(change, error, message, tmp_path):
    """The control: rewritten as it was, it goes on."""
    train(tmp_path)
    changed(tmp_path, lambda *_: None)
    train(tmp_path)
    changed(tmp_path, change)
    with pytest.raises(error, match=message):
        train(tmp_path)


def test_the_time_that_a_run_took_is_kept(tmp_path):
    """All of it, also when nothing is left to be done."""
    first = train(tmp_path, steps=40, every=1)
    path = max(tmp_path.glob("step-*.npz"))
    assert 0 < archive.load(path).attributes["seconds"] <= first.seconds
    changed(tmp_path, lambda _, words: words.update(seconds=1000.0))
    began = time.perf_counter()
    again = train(tmp_path, steps=40)
    assert 1000 < again.seconds < 1000 + time.perf_counter() - began


# --- places ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "error", "words"),
    [
        ("", ValueError, "path of a folder; got ''"),
        (3, TypeError, "path of a folder; got 3"),
        (b"kept", TypeError, "path of a folder; got b'kept'"),
        (["kept"], TypeError, "path of a folder"),
        ("a file", ValueError, "a folder that can be written to; got .*exists"),
        ("a file/below", ValueError, "a folder that can be written to; got .*Not a directory"),
        ("null\0", ValueError, "a folder that can be written to; got .*null"),
        ("/proc/none", ValueError, "a folder that can be written to; got '/proc/none'"),
    ],
)
def test_places_that_are_none(place, error, words, tmp_path, monkeypatch, no_work):
    """Refused before any work, and what is there stays."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a file").write_text("mine")
    with pytest.raises(error, match=f"checkpoint .*{words}"):
        train(place)
    assert [path.name for path in tmp_path.iterdir()] == ["a file"]
    assert (tmp_path / "a file").read_text() == "mine"


def test_a_bad_argument_makes_no_folder(tmp_path, no_work):
    with pytest.raises(ValueError, match="cw must be finite"):
        train(tmp_path / "kept", cw=-1.0)
    assert not list(tmp_path.iterdir())


def test_attributes_are_plain(tmp_path):
    train(tmp_path)
    words = archive.load(max(tmp_path.glob("step-*.npz"))).attributes
    assert json.loads(json.dumps(words)) == words and words["format"] == checkpoints.FORMAT
