"""Jobs in processes of their own, on any number of virtual devices."""

import os
import socket
import subprocess
import sys
from pathlib import Path


def launch(job, *arguments, devices=1, distributed=()):
    environment = os.environ | {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
    command = [sys.executable, str(Path(__file__).parent / job), *map(str, arguments), *map(str, distributed)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finished(process):
    """The number of devices and the digest that the process printed."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    words = out.split()
    return int(words[-3]), words[-1]


def in_two_processes(job, *arguments):
    """Number of devices and digest from each of two processes with four devices."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    both = [launch(job, *arguments, devices=4, distributed=(2, rank, port)) for rank in range(2)]
    return list(map(finished, both))
