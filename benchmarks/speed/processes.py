"""Ensembles, training and Gram matrices on several processes of one machine, joined by `jax.distributed`.

Layouts of processes × devices in each: 1 × 1, 1 × 2, 2 × 1, 2 × 4, 4 × 2. The work is the same in all of
them; the efficiency is the time of 1 × 1 over that of the layout. The machine has the same cores each time:
what is lost is what processes, devices and the gathering of results cost. On as many machines as processes
each would have cores of its own. Of the Gram matrix each process computes its share of the rows.

Claims: no layout takes more than twice as long as 1 × 1, and all give the same bits of all networks,
and the same K to 1e-12.

Run: python benchmarks/speed/processes.py

Output (two cores of an AMD EPYC server, 2026-11-28, jax 0.10.2):

    processes × devices            drawn         sampled         trained       gram rows
    1 × 1                  1.20 s, 100 %   0.58 s, 100 %   0.91 s, 100 %   1.04 s, 100 %
    1 × 2                  1.18 s, 102 %   0.46 s, 127 %   1.02 s,  89 %   1.03 s, 101 %
    2 × 1                  1.39 s,  86 %   0.87 s,  67 %   1.08 s,  84 %   0.90 s, 115 %
    2 × 4                  1.44 s,  83 %   0.61 s,  96 %   1.18 s,  77 %   1.00 s, 104 %
    4 × 2                  1.43 s,  84 %   1.12 s,  52 %   1.47 s,  62 %   1.23 s,  85 %
    all claims hold
"""

import hashlib
import json
import os
import socket
import subprocess
import sys
import time

LAYOUTS = ((1, 1), (1, 2), (2, 1), (2, 4), (4, 2))
SLOWER = 2.0
JOBS = ("drawn", "sampled", "trained", "gram rows")


def job(processes: int, rank: int, port: int) -> None:
    """One process: prints, if it is the first, the seconds of each job and a digest of what came out."""
    import jax

    jax.config.update("jax_enable_x64", True)
    if processes > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(f"localhost:{port}", processes, rank)
    import numpy as np
    from jax.experimental import multihost_utils

    import eft
    import nets

    rng, found, quiet = np.random.default_rng(0), hashlib.sha256(), {"progress": False}
    X = rng.uniform(-1, 1, (100, 2))
    data = X, np.sin(3 * X[:, 0]) * X[:, 1]
    inputs = rng.normal(size=(1200, 8))
    rows = np.array_split(inputs, processes)[rank]

    def gram() -> np.ndarray:
        mine = np.asarray(eft.gram_flow("tanh", 1.5, 20, rows, inputs).K)
        if processes == 1:
            return mine
        return np.asarray(multihost_utils.process_allgather(mine)).reshape(len(inputs), -1)

    calls = {
        "drawn": lambda: nets.measure("tanh", 1.0, 6, 512, 640, **quiet).G,
        "sampled": lambda: nets.measure("tanh", 1.0, 11, 512, 40_000, method="metric", **quiet).G,
        "trained": lambda: nets.train("tanh", 1.0, 5, 256, 32, data, steps=60, snapshots=(60,), **quiet).loss,
        "gram rows": gram,
    }
    seconds = {}
    for name in JOBS:
        calls[name]()
        start = time.perf_counter()
        result = calls[name]()
        seconds[name] = time.perf_counter() - start
        if name != JOBS[-1]:
            found.update(np.ascontiguousarray(result).tobytes())
    if rank == 0:
        same = {"digest": found.hexdigest()[:12], "K": float(np.abs(result).mean())}
        print(json.dumps({"seconds": seconds, "devices": jax.device_count(), **same}))


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("", 0))
        return free.getsockname()[1]


def measured(processes: int, devices: int) -> dict:
    port, flags = free_port(), f"--xla_force_host_platform_device_count={devices}"
    flags = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()
    started = [
        subprocess.Popen(
            [sys.executable, __file__, str(processes), str(rank), str(port)],
            env={**os.environ, "XLA_FLAGS": flags}, stdout=subprocess.PIPE, text=True,
        )
        for rank in range(processes)
    ]  # fmt: skip
    printed = [each.communicate()[0] for each in started]
    assert not any(each.returncode for each in started), "a process failed"
    return json.loads(printed[0].splitlines()[-1])


def main() -> None:
    from _record import record

    first, missed = None, []
    print(f"{'processes × devices':20s}" + "".join(f"{name:>16s}" for name in JOBS))
    for processes, devices in LAYOUTS:
        found = measured(processes, devices)
        assert found["devices"] == processes * devices
        first = first or found
        cells = []
        for name in JOBS:
            alone, now = first["seconds"][name], found["seconds"][name]
            cells.append(f"{now:.2f} s, {100 * alone / now:3.0f} %")
            record(
                f"{name}, {processes} processes × {devices} devices",
                warm=now,
                peer="1 × 1",
                peer_seconds=alone,
            )
            if now > SLOWER * alone:
                missed.append(f"{name}, {processes} × {devices}: at most {SLOWER:g} times as long")
        if found["digest"] != first["digest"] or abs(found["K"] / first["K"] - 1) > 1e-12:
            missed.append(f"{processes} × {devices}: the same results")
        print(f"{processes} × {devices}".ljust(20) + "".join(f"{cell:>16s}" for cell in cells))
    print("\n".join(f"MISSED {each}" for each in missed) or "all claims hold")
    raise SystemExit(bool(missed))


if __name__ == "__main__":
    job(*map(int, sys.argv[1:])) if sys.argv[1:] else main()
