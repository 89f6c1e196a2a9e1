"""Several processes that work on one ensemble, started on this machine or by a launcher.

The processes on this machine end when the one that started them ends, for whatever reason: the standard input
of each is a pipe that only the latter holds open.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
from rich.console import Console
from rich.text import Text

from eft import arguments
from eft.arguments import ArgumentError
from nets.files import checkpoints

PLACE = ("EFT_COORDINATOR", "EFT_PROCESSES", "EFT_PROCESS")
"""Address of the first process, how many there are, and which this one is."""
LAUNCHERS = ("SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE")
MAX_PROCESSES = 1024
LAST_WORDS = 1.0
"""Seconds that the first process has to report what went wrong if another one failed earlier."""
PATIENCE = 60
"""Seconds that the processes on this machine wait for one another at the start."""
BY_SIGNAL = 128
"""What a shell adds to the number of a signal that ended a process."""


def split(args: Sequence[str]) -> tuple[list[str], int]:
    """The command without its `--processes N`, and N; 1 if it has none.

    Raises ArgumentError if N is not a number from 1 to 1024.
    """
    left, count = [], "1"
    rest = iter(args)
    for word in rest:
        name, equals, value = word.partition("=")
        if name == "--processes":
            count = value if equals else next(rest, "")
        else:
            left.append(word)
    if not count.isdecimal():
        raise ArgumentError(f"processes must be a whole number from 1 to {MAX_PROCESSES}; got {count!r}")
    return left, arguments.positive_int("processes", int(count), maximum=MAX_PROCESSES)


class Stopped(BaseException):
    """A signal asks this process to end."""


def launch(args: Sequence[str], processes: int) -> int:
    """Run the command in several processes here; if one fails, all are ended. Returns the exit status."""
    started: list[subprocess.Popen] = []
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        with _reserved_port() as port:
            for i in range(processes):
                place = dict(zip(PLACE, (f"localhost:{port}", str(processes), str(i)), strict=True))
                command = [sys.executable, "-m", "nets.cli", *args]
                started.append(subprocess.Popen(command, env={**os.environ, **place}, stdin=subprocess.PIPE))
            ended = _first_ended(started)
    except Stopped:
        complain(f"ended by SIGTERM, and with it all {processes} processes{kept(args)}")
        return BY_SIGNAL + signal.SIGTERM
    except KeyboardInterrupt:
        complain(f"interrupted, and with it all {processes} processes{kept(args)}")
        return BY_SIGNAL + signal.SIGINT
    finally:
        for each in started:
            each.kill()
        for each in started:
            each.wait()
        signal.signal(signal.SIGTERM, before)
    return _status(args, ended)


def _first_ended(started: list[subprocess.Popen]) -> list[int | None]:
    """Exit statuses once all have ended or one has failed; None for those that are still running."""
    while None in (ended := [each.poll() for each in started]) and not any(ended):
        time.sleep(0.05)
    if ended[0] is None and not any(code < 0 for code in ended if code):
        time.sleep(LAST_WORDS)
    return [each.poll() for each in started]


def _status(args: Sequence[str], ended: list[int | None]) -> int:
    """The common exit status; reports the end of a process that could not report it itself."""
    for i, code in enumerate(ended):
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            complain(f"process {i} of {len(ended)} was ended by {name}, so all were{kept(args)}")
            return BY_SIGNAL - code
    status = next((code for code in ended if code), 0)
    if status and ended[0] is None:
        who = next(i for i, code in enumerate(ended) if code)
        complain(f"process {who} of {len(ended)} failed with status {status}, so all were ended{kept(args)}")
    return status


def _stop(number, frame) -> None:
    raise Stopped


@contextlib.contextmanager
def _reserved_port() -> Iterator[int]:
    """A port that no other program can take meanwhile, but the first of the processes can."""
    with socket.socket() as reserved:
        shared = getattr(socket, "SO_REUSEPORT", None)
        if shared is not None:
            reserved.setsockopt(socket.SOL_SOCKET, shared, 1)
        reserved.bind(("", 0))
        port = reserved.getsockname()[1]
        if shared is None:  # Windows
            reserved.close()
        yield port


# --- messages at the end --------------------------------------------------------------------------


def complain(message: str) -> None:
    """Print a line on stderr."""
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.show_cursor()  # which a progress bar may have hidden
    console.print(Text(f"eft: {message}", style="red"))


def kept(args: Sequence[str]) -> str:
    """What the command's checkpoints hold, as the end of a sentence; empty if it has none."""
    words = list(args)
    folder = next((word.partition("=")[2] for word in words if word.startswith("--checkpoint=")), None)
    if "--checkpoint" in words[:-1]:
        folder = words[words.index("--checkpoint") + 1]
    if not folder:
        return ""
    step = checkpoints.newest_step(Path(folder))
    if step is None:
        return f"; no state was kept in {folder} yet"
    return f"; state kept at step {step:,} in {folder}: run the same command to go on"


@contextlib.contextmanager
def terminated_with_a_word(args: Sequence[str]) -> Iterator[None]:
    """A context in which SIGTERM ends this process at once; a lone process reports what was saved."""
    if PLACE[0] in os.environ or threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number, frame) -> None:
        complain(f"ended by {signal.Signals(number).name}{kept(args)}")
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


# --- one of several -------------------------------------------------------------------------------


def join() -> None:
    """Join the other processes, if `launch`, Slurm or Open MPI started several.

    Only the first process writes to the terminal and to files.
    """
    if PLACE[0] in os.environ:
        threading.Thread(target=_end_with_parent, daemon=True).start()
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # the parent process reports what happened
        sys.excepthook = _last_words
        address, processes, process = (os.environ[name] for name in PLACE)
        _initialize(
            coordinator_address=address, num_processes=int(processes), process_id=int(process),
            initialization_timeout=PATIENCE,
        )  # fmt: skip
    elif any(int(os.environ.get(name, 1)) > 1 for name in LAUNCHERS):
        _initialize()


def _last_words(kind, error, traceback) -> None:
    """Report what went wrong, after a delay: if another process was killed, this one is killed meanwhile."""
    time.sleep(LAST_WORDS / 2)
    sys.__excepthook__(kind, error, traceback)


def _end_with_parent() -> None:
    """Exit as soon as no process holds the other end of this process's standard input."""
    while os.read(0, 1):
        pass
    os._exit(BY_SIGNAL + signal.SIGTERM)


def _initialize(**place) -> None:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.config.update("jax_enable_preemption_service", False)  # it keeps SIGTERM from ending a process
    jax.distributed.initialize(**place)
