"""Several processes: each ends with the one that started it, signals reach them, and somebody says so."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from nets.cli import processes

pytestmark = pytest.mark.long

LONG = ["train", "--depth", "2", "--width", "4", "--nets", "2", "--samples", "4", "--steps", "100000000"]
PATIENCE = 90

# Python with the same arguments, which a SIGINT interrupts also where these tests run in the background of a
# shell: it makes its jobs ignore SIGINT, and what they start inherits that.
HEEDING_INTERRUPTS = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


@contextlib.contextmanager
def started(folder, *more):
    """An endless training, once it has kept a state, and the ids of its workers; all are ended at last."""
    shim = [sys.executable, "-c", HEEDING_INTERRUPTS]
    command = [*shim, "-m", "nets.cli", *LONG, "--checkpoint", str(folder), *more]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    run = subprocess.Popen(command, text=True, env=environment, **pipes)
    workers = []
    try:
        wait_until(lambda: len(list(folder.glob("step-*.npz"))) == 2, run)
        workers = children(run.pid)
        yield run, workers
    finally:
        for each in (run.pid, *workers):
            if not gone(each):
                os.kill(each, signal.SIGKILL)
        run.communicate()


def wait_until(holds, run=None):
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        assert run is None or run.poll() is None, run.communicate()
        time.sleep(0.02)


def children(pid):
    """The workers, the first process first."""
    found = []
    for each in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{each}/stat") as stat, open(f"/proc/{each}/environ") as environ:
                if int(stat.read().rsplit(")", 1)[1].split()[1]) == pid:
                    found.append((int(re.search(r"EFT_PROCESS=(\d+)", environ.read())[1]), int(each)))
        except OSError:
            continue
    return [each for _, each in sorted(found)]


def gone(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="finds processes in /proc")
@pytest.mark.parametrize(
    ("whom", "number", "status", "words"),
    [
        ("parent", signal.SIGTERM, 143, "ended by SIGTERM, and with it all 2 processes"),
        ("parent", signal.SIGKILL, -9, ""),
        ("first", signal.SIGTERM, 143, "process 0 of 2 was ended by SIGTERM, so all were"),
        ("second", signal.SIGKILL, 137, "process 1 of 2 was ended by SIGKILL, so all were"),
    ],
)
def test_all_end_together_and_say_so(whom, number, status, words, tmp_path):
    """The control: until then all were at work."""
    with started(tmp_path, "--processes", "2") as (run, workers):
        assert len(workers) == 2 and not any(map(gone, workers))
        os.kill({"parent": run.pid, "first": workers[0], "second": workers[-1]}[whom], number)
        _, err = run.communicate(timeout=PATIENCE)
        wait_until(lambda: all(map(gone, workers)))
    assert run.returncode == status
    assert words in err and "Traceback" not in err
    if words:
        said = int(re.search(r"at step ([\d,]+) in", err)[1].replace(",", ""))
        assert said == max(int(path.stem.removeprefix("step-")) for path in tmp_path.glob("step-*.npz"))
        assert err.count("run the same command to go on") == 1


@pytest.mark.parametrize(
    ("number", "status", "words"),
    [(signal.SIGTERM, -15, "eft: ended by SIGTERM; "), (signal.SIGINT, 130, "eft: interrupted; ")],
)
def test_one_process_says_so_too(number, status, words, tmp_path):
    with started(tmp_path) as (run, _):
        run.send_signal(number)
        _, err = run.communicate(timeout=PATIENCE)
    assert run.returncode == status
    assert f"{words}state kept at step" in err and "Traceback" not in err


def test_nobody_takes_the_port_meanwhile():
    """While the processes start. The control: afterwards it is free."""
    with processes._reserved_port() as port:
        for host in ("localhost", ""):
            with socket.socket() as other, pytest.raises(OSError):
                other.bind((host, port))
    with socket.socket() as other:
        other.bind(("localhost", port))


KEPT = "; state kept at step 12 in {}: run the same command to go on"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["flow"], ""),
        (["train", "--checkpoint", "{}"], KEPT),
        (["train", "--checkpoint={}", "--cw", "1"], KEPT),
        (["train", "--checkpoint", "{}/none"], "; no state was kept in {}/none yet"),
        (["train", "--checkpoint"], ""),
    ],
)
def test_what_is_said_to_be_kept(args, words, tmp_path):
    for name in ("step-000000000012", "step-000000000003", "step-best", ".step-000000000099"):
        (tmp_path / f"{name}.npz").touch()
    assert processes.kept([word.format(tmp_path) for word in args]) == words.format(tmp_path)
