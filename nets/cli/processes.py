"""Several processes that work on one ensemble: those of this machine, or of a launcher."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

import jax

from eft import arguments

PLACE = ("EFT_COORDINATOR", "EFT_PROCESSES", "EFT_PROCESS")
"""Address of the first process, how many there are, and which this one is."""
LAUNCHERS = ("SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE")
MOST = 1024
LAST_WORDS = 1.0
"""Seconds that the first process has to say what went wrong, where another was quicker to fail."""


def split(args: Sequence[str]) -> tuple[list[str], int]:
    """The command without its `--processes N`, and N; 1 where it has none.

    Raises ValueError if N is not a number from 1 to 1024.
    """
    left, found = [], "1"
    rest = iter(args)
    for word in rest:
        name, equals, value = word.partition("=")
        if name == "--processes":
            found = value if equals else next(rest, "")
        else:
            left.append(word)
    if not found.isdigit():
        raise ValueError(f"processes must be a whole number from 1 to {MOST}; got {found!r}")
    return left, arguments.positive_int("processes", int(found), maximum=MOST)


def launch(args: Sequence[str], processes: int) -> int:
    """The command in so many processes of this machine; one that fails ends all. Returns the exit status."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "nets.cli", *args]
    started = [
        subprocess.Popen(
            command, env={**os.environ, **dict(zip(PLACE, (address, str(processes), str(i)), strict=True))}
        )
        for i in range(processes)
    ]
    try:
        while None in (ended := [each.poll() for each in started]) and not any(ended):
            time.sleep(0.05)
        if started[0].poll() is None:
            time.sleep(LAST_WORDS)
    except KeyboardInterrupt:
        return 130
    finally:
        for each in started:
            each.kill()
            each.wait()
    return next((code for code in ended if code), 0)


def join() -> None:
    """Take one's place among the processes, if `launch`, Slurm or Open MPI started several.

    Only the first writes to the terminal and to files.
    """
    if PLACE[0] in os.environ:
        address, processes, process = (os.environ[name] for name in PLACE)
        _initialize(coordinator_address=address, num_processes=int(processes), process_id=int(process))
    elif any(int(os.environ.get(name, 1)) > 1 for name in LAUNCHERS):
        _initialize()


def _initialize(**place) -> None:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(**place)
