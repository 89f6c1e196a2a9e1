"""Does an ensemble stay within the memory that it says it needs, and is that not far too much?

Twenty ensembles, at initialization and in training, each in a process of its own with the smallest budget
that is accepted. Measured is by how much the resident memory rises above what the process had when all was
compiled. Claims: it never exceeds the budget, and is at least half of it, so that what is refused would not
have fitted in half as much either.

Run: python benchmarks/robustness/memory.py (Linux)

Typical output (2026-11-24):

       25.7 of    42.8 MiB,  60 %: depth 11, width 512, n_nets 400
       44.2 of    60.8 MiB,  73 %: depth 11, width 512, n_nets 400, dtype float64
       96.2 of   120.1 MiB,  80 %: depth 3, width 4096, n_nets 4
       90.1 of   114.1 MiB,  79 %: depth 4, width 3072, n_nets 6
      148.9 of   184.5 MiB,  81 %: depth 31, width 64, n_nets 100000
      233.1 of   263.5 MiB,  88 %: depth 11, width 512, n_nets 400000, method metric
      252.8 of   278.8 MiB,  91 %: depth 51, width 128, n_nets 100000, method metric
     2064.0 of  2072.1 MiB, 100 %: depth 4, width 1048576, n_nets 256, method metric
      103.8 of   147.8 MiB,  70 %: depth 6, width 128, n_nets 100000, method metric, inputs 4
      152.8 of   233.5 MiB,  65 %: depth 6, width 128, n_nets 2000, method metric, inputs 32
       47.8 of    87.9 MiB,  54 %: depth 4, width 128, n_nets 4000, inputs 16
      147.9 of   202.5 MiB,  73 %: depth 3, width 64, n_nets 5000, inputs 24, ntk True
      255.8 of   281.5 MiB,  91 %: depth 6, width 512, n_nets 60, samples 100, optimizer sgd
      508.2 of   546.4 MiB,  93 %: depth 6, width 512, n_nets 40, samples 100, optimizer adam
      755.5 of   789.9 MiB,  96 %: depth 4, width 512, n_nets 60, samples 100, optimizer adam, dtype float64
      152.9 of   197.7 MiB,  77 %: depth 6, width 64, n_nets 2000, samples 100, optimizer sgd
      418.9 of   469.9 MiB,  89 %: depth 6, width 64, n_nets 2000, samples 100, optimizer adam
      306.3 of   378.5 MiB,  81 %: depth 4, width 32, n_nets 4000, samples 1000, optimizer sgd
      322.6 of   365.6 MiB,  88 %: depth 6, width 128, n_nets 400, samples 500, optimizer adam, batch_size 50
      135.3 of   222.5 MiB,  61 %: depth 6, width 256, n_nets 100, samples 2000, optimizer sgd
    20 ensembles: 54 to 100 % of the budget
"""

import gc
import json
import os
import re
import subprocess
import sys

import jax

jax.config.update("jax_enable_x64", True)

import numpy as np  # noqa: E402
import optax  # noqa: E402

import nets  # noqa: E402

DRAWN: list[dict] = [
    {"depth": 11, "width": 512, "n_nets": 400},
    {"depth": 11, "width": 512, "n_nets": 400, "dtype": "float64"},
    {"depth": 3, "width": 4096, "n_nets": 4},
    {"depth": 4, "width": 3072, "n_nets": 6},
    {"depth": 31, "width": 64, "n_nets": 100_000},
    {"depth": 11, "width": 512, "n_nets": 400_000, "method": "metric"},
    {"depth": 51, "width": 128, "n_nets": 100_000, "method": "metric"},
    {"depth": 4, "width": 2**20, "n_nets": 256, "method": "metric"},
    {"depth": 6, "width": 128, "n_nets": 100_000, "method": "metric", "inputs": 4},
    {"depth": 6, "width": 128, "n_nets": 2000, "method": "metric", "inputs": 32},
    {"depth": 4, "width": 128, "n_nets": 4000, "inputs": 16},
    {"depth": 3, "width": 64, "n_nets": 5000, "inputs": 24, "ntk": True},
]
TRAINED: list[dict] = [
    {"depth": 6, "width": 512, "n_nets": 60, "samples": 100, "optimizer": "sgd"},
    {"depth": 6, "width": 512, "n_nets": 40, "samples": 100, "optimizer": "adam"},
    {"depth": 4, "width": 512, "n_nets": 60, "samples": 100, "optimizer": "adam", "dtype": "float64"},
    {"depth": 6, "width": 64, "n_nets": 2000, "samples": 100, "optimizer": "sgd"},
    {"depth": 6, "width": 64, "n_nets": 2000, "samples": 100, "optimizer": "adam"},
    {"depth": 4, "width": 32, "n_nets": 4000, "samples": 1000, "optimizer": "sgd"},
    {"depth": 6, "width": 128, "n_nets": 400, "samples": 500, "optimizer": "adam", "batch_size": 50},
    {"depth": 6, "width": 256, "n_nets": 100, "samples": 2000, "optimizer": "sgd"},
]


def call(case: dict):
    """The ensemble as a function of its budget."""
    case = dict(case)
    rng = np.random.default_rng(0)
    if "optimizer" in case:
        X = rng.uniform(-1, 1, (case.pop("samples"), 2))
        rule = {"sgd": optax.sgd, "adam": optax.adam}[case.pop("optimizer")](1e-3)
        data = X, X[:, 0] * X[:, 1]
        return lambda budget: nets.train(
            "tanh", 1.0, data=data, optimizer=rule, steps=2, memory_budget=budget, progress=False, **case
        )
    x = rng.normal(size=(case.pop("inputs"), 3)) if "inputs" in case else None
    return lambda budget: nets.measure("tanh", 1.0, x=x, memory_budget=budget, progress=False, **case)


def resident(field: str) -> int:
    """Bytes: VmRSS, or VmHWM, the most since it was last reset."""
    with open("/proc/self/status") as status:
        return 1024 * int(re.search(rf"{field}:\s+(\d+)", status.read())[1])  # type: ignore[index]


def least(run) -> int:
    """The smallest budget that is accepted."""
    budget = 1
    while True:
        try:
            run(budget)
            return budget
        except ValueError as refused:
            found = re.search(r"must be at least ([\d,]+) bytes", str(refused))
            if found is None:
                raise
            budget = int(found[1].replace(",", ""))


def one(case: dict) -> None:
    run = call(case)
    budget = least(run)  # compiles too
    gc.collect()
    with open("/proc/self/clear_refs", "w") as reset:
        reset.write("5")
    before = resident("VmRSS")
    result = run(budget)
    print(json.dumps([budget, resident("VmHWM") - before]))
    del result


def main() -> None:
    # memory that is given back is given back to the system, not kept for the next
    settings = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    shares = []
    for case in DRAWN + TRAINED:
        command = [sys.executable, __file__, json.dumps(case)]
        ran = subprocess.run(command, env=settings, capture_output=True, text=True, check=True)
        budget, used = json.loads(ran.stdout.splitlines()[-1])
        shares.append(used / budget)
        words = ", ".join(f"{name} {value}" for name, value in case.items())
        print(
            f"{used / 2**20:7.1f} of {budget / 2**20:7.1f} MiB, {100 * shares[-1]:3.0f} %: {words}",
            flush=True,
        )
    print(f"{len(shares)} ensembles: {100 * min(shares):.0f} to {100 * max(shares):.0f} % of the budget")
    assert max(shares) <= 1 and min(shares) >= 0.5


if __name__ == "__main__":
    one(json.loads(sys.argv[1])) if len(sys.argv) > 1 else main()
