"""Archives and checkpoints: to the bit, whole or refused, and nothing lost when the disk refuses."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from nets.files import archive, checkpoints, output

ARRAYS = {
    "floats": np.array([[1.5, np.nan], [np.inf, -0.0]]),
    "single": np.arange(6, dtype=np.float32).reshape(2, 3)[:, ::2],
    "number": np.array(3),
    "nothing": np.zeros((0, 4)),
    "words": np.array([2**32 - 1], np.uint32),
    "truth": np.array([True, False]),
    "other ends": np.array([1.0, 2.0], ">f8"),
}
ATTRIBUTES = {"seed": 3, "act": "tanh", "versions": {"jax": "0.10.2"}, "empty": None}


def test_round_trip(tmp_path):
    path = tmp_path / "a.npz"
    archive.save(path, ARRAYS, ATTRIBUTES)
    found = archive.load(path)
    assert found.attributes == ATTRIBUTES
    assert list(found.arrays) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert found.arrays[name].dtype == array.dtype
        assert found.arrays[name].shape == array.shape
        assert found.arrays[name].tobytes() == array.tobytes()
    with np.load(path) as plain:
        np.testing.assert_array_equal(plain["floats"], ARRAYS["floats"])
    again = tmp_path / "b.npz"
    archive.save(again, ARRAYS, ATTRIBUTES)
    assert again.read_bytes() == path.read_bytes()


def test_no_flipped_bit_and_no_truncation_passes(tmp_path):
    """500 of each; the control: the file as it was is read."""
    path = tmp_path / "a.npz"
    archive.save(path, ARRAYS, ATTRIBUTES)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(500):
        spoilt = bytearray(whole)
        spoilt[rng.integers(len(whole))] ^= 1 << int(rng.integers(8))
        path.write_bytes(spoilt)
        with pytest.raises(archive.ArchiveError, match="is damaged"):
            archive.load(path)
        path.write_bytes(whole[: rng.integers(len(whole))])
        with pytest.raises(archive.ArchiveError, match="is damaged"):
            archive.load(path)
    path.write_bytes(whole)
    assert archive.load(path).attributes == ATTRIBUTES


def test_what_it_does_not_hold(tmp_path):
    with pytest.raises(TypeError, match="names must be an array of numbers"):
        archive.save(tmp_path / "a.npz", {"names": np.array([object()])}, {})
    with pytest.raises(FileNotFoundError):
        archive.load(tmp_path / "none.npz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_refuses(tmp_path, monkeypatch, call, number):
    """The last good file stays, no leftover does, and the message says what to do."""
    checkpoints.write(tmp_path, 1, {"a": np.arange(5)}, {})

    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    if call == "write":
        real = os.fdopen

        def opened(*arguments, **keywords):
            file = real(*arguments, **keywords)
            file.close()
            return _Refusing(refuse)

        monkeypatch.setattr(output.os, "fdopen", opened)
    else:
        monkeypatch.setattr(output.os, call, refuse)
    with pytest.raises(OSError, match="Free some space or choose another place") as caught:
        checkpoints.write(tmp_path, 2, {"a": np.arange(6)}, {})
    assert caught.value.errno == number
    monkeypatch.undo()
    assert checkpoints.latest(tmp_path).step == 1
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000000001.npz"]


class _Refusing:
    def __init__(self, refuse):
        self.write = refuse

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


class _Counted:
    """A file whose writes are counted."""

    def __init__(self, file, count):
        self._file, self._count = file, count

    def write(self, data):
        self._count()
        return self._file.write(data)

    def flush(self):
        self._file.flush()

    def fileno(self):
        return self._file.fileno()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()


def test_every_call_of_the_system_refused_once(tmp_path, monkeypatch):
    """The k-th write, fsync or rename of a checkpoint, for every k: one that is whole is there always."""
    real = {name: getattr(os, name) for name in ("fdopen", "fsync", "replace")}
    done, refused = 0, 0

    def count():
        nonlocal done
        done += 1
        if done == refused:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def counted(name):
        def call(*arguments):
            count()
            return real[name](*arguments)

        return call

    monkeypatch.setattr(output.os, "fdopen", lambda *a: _Counted(real["fdopen"](*a), count))
    for name in ("fsync", "replace"):
        monkeypatch.setattr(output.os, name, counted(name))
    checkpoints.write(tmp_path / "all", 1, ARRAYS, {})
    calls, seen = done, []
    assert calls > len(ARRAYS) + 3
    for k in range(1, calls + 1):
        folder, refused = tmp_path / str(k), 0
        checkpoints.write(folder, 1, {"a": np.array(1)}, {})
        done, refused = 0, k
        with pytest.raises(OSError, match="Free some space or choose another place"):
            checkpoints.write(folder, 2, ARRAYS, {})
        assert not list(folder.glob(".*"))
        seen.append(checkpoints.latest(folder).step)
    # only the last call, which flushes the folder, comes after the rename
    assert seen == [1] * (calls - 1) + [2]


def test_two_generations(tmp_path):
    assert checkpoints.latest(tmp_path) is None
    for step in range(5):
        checkpoints.write(tmp_path, step, {"a": np.array(step)}, {"step": step})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-000000000003.npz", "step-000000000004.npz"]
    newest = tmp_path / "step-000000000004.npz"
    newest.write_bytes(newest.read_bytes()[:-1])
    found = checkpoints.latest(tmp_path)
    assert (found.step, int(found.arrays["a"])) == (3, 3)
    assert "going on from the one before" in found.notes[0]
    older = tmp_path / "step-000000000003.npz"
    older.write_bytes(b"")
    with pytest.raises(checkpoints.CheckpointError, match="Remove them to start again"):
        checkpoints.latest(tmp_path)
    Path(tmp_path / ".step-000000000005.npz.half").write_bytes(b"half a file")
    checkpoints.write(tmp_path, 5, {"a": np.array(5)}, {})
    assert not list(tmp_path.glob(".*"))
