"""The library on an accelerator: that it is right there, and how much faster it is than the cores beside it.

Each case runs on JAX's default device, and again, in a process of its own, on the CPU of the same machine
(ensembles with fewer networks there; times are scaled). Claims: K, χ∥, χ⊥, V of the flows agree to 1e-12 in
float64 and to 1e-5 in float32; K of an ensemble with the same seed to 1e-5 (it computes in float32).

The last lines show what a block of vmapped networks costs on this device, by its size;
`nets.runtime.blocks` holds the sizes in use.

What came out (2026-11-26, one NVIDIA H200 and the 16 cores beside it, jax 0.11.2, Python 3.12):

    flow, 1000 C_W × 50, float64: first 2.44 s, warm 4.6 ms, 9.5 × the cores; means of values 3e-16 apart
    flow, 100,000 C_W × 50, float64: first 2.17 s, warm 87.0 ms, 43.5 × the cores; means of values 4e-16 apart
    flow, 100,000 C_W × 50, float32: first 1.83 s, warm 67.8 ms, 34.5 × the cores; means of values 4e-08 apart
    expand to order 3, 1000 C_W × 50, float64: first 6.14 s, warm 48.9 ms, 18.0 × the cores; 7e-16 apart
    Gram, tanh, 1000 inputs × 50, float64: first 8.64 s, warm 248.8 ms, 7.0 × the cores; 5e-15 apart
    Gram, ReLU, 2000 inputs × 50, float64: first 3.76 s, warm 113.8 ms, 36.8 × the cores; 0e+00 apart
    networks, 100 of 64 × 6, float32: first 4.19 s, warm 81.8 ms, 0.9 × the cores; 4e-09 apart
    networks, 8192 of 512 × 11, float32: first 6.76 s, warm 279.8 ms, 79 × the cores
    sampler, 131,072 of 1024 × 11, float32: first 2.26 s, warm 377.2 ms, 14 × the cores
    training, 256 of 512 × 6, 20 steps, float32: first 35.42 s, warm 976.3 ms, 18 × the cores
    networks, width 512, ms a network by size of block: 32: 0.0281, 128: 0.0146, 512: 0.0112, 1024: 0.0125
    metric, width 1024, ms a network by size of block: 512: 0.0030, 2048: 0.0021, 8192: 0.0023, 32768: 0.0042

On 2026-11-27, on another H200, with moments from polynomials and training in blocks no larger than the
ensemble:

    limits: products float32 50, float32 cut to 10 bits 394, float64 61.7 Tflop/s, copy 2897 GB/s,
        159 G normals/s
    training, 100 of 512 × 6, 100 samples, sgd: 2.826 ms a step, 22.28 Tflop/s, 45% of products
    training, 100 of 512 × 6, 1000 samples, adam: 16.690 ms a step, 37.74 Tflop/s, 76% of products
    training, 25 of 32 × 6, 51³ samples, adam: 8.630 ms a step, 9.62 Tflop/s, 19% of products
    training, 25 of 32 × 6, 101 samples, adam: 0.078 ms a step, 0.81 Tflop/s, 2% of products
    flow, 1000 C_W × 50, float64: first 1.32 s, warm 4.4 ms
    flow, 100,000 C_W × 50, float64: first 1.04 s, warm 7.5 ms (by sums over the nodes, the day before: 87 ms)
    flow, 100,000 C_W × 50, float32: first 1.47 s, warm 67.7 ms
    expand to order 3, 1000 C_W × 50, float64: first 5.15 s, warm 47.7 ms
    Gram, tanh, 1000 inputs × 50, float64: first 4.42 s, warm 238.3 ms
    Gram, ReLU, 2000 inputs × 50, float64: first 2.39 s, warm 76.6 ms
    networks, 8192 of 512 × 11, float32: first 6.00 s, warm 231.7 ms: 9.2e10 normals/s, 58 % of the limit
    sampler, 131,072 of 1024 × 11, float32: first 2.19 s, warm 358.0 ms: 3.7e9 normals/s, 2 % of it

Width 32 with 51³ samples is bound by memory: a step reads and writes 25 GB, and takes the time of that. The
sampler has one random number for each neuron and layer, and is far from the generator's limit; why is open.

In use are blocks of 128 and 8192 there: 512 networks would be a quarter faster, and take 5 GB at least.
Networks of two ensembles that differ in size differed in their last bits on this device: the promise of equal
bits is for CPUs.

Run: python benchmarks/speed/accelerator.py [--small]
"""

import functools
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import optax  # noqa: E402

import eft  # noqa: E402
import nets  # noqa: E402
from nets.initialization import drawing, ensemble  # noqa: E402
from nets.runtime import keys  # noqa: E402

ON_CPU = jax.devices()[0].platform == "cpu"
FEW = 32 if ON_CPU else 1
"""The CPU draws or trains so many times fewer networks."""


SMALL = 16 if "--small" in sys.argv else 1
"""All is so many times smaller: to try this program where there is no accelerator."""


def data(n: int, n0: int = 8) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, n0))


GRID = np.linspace(0.5, 3.0, 1000 // SMALL)


def flow(dtype, count: int) -> Callable:
    cw = jnp.asarray(np.linspace(0.5, 3.0, count // SMALL), dtype)
    return lambda: eft.kernel_flow("tanh", cw, 50)[:4]


def gram(name: str, count: int, cw: float) -> Callable:
    X = jnp.asarray(data(count // SMALL))
    return lambda: eft.gram_flow(name, cw, 50, X, cb=0.1).K[-1]


def measured(method: str, width: int, count: int) -> Callable:
    return lambda: (
        nets.measure("tanh", 1.0, 11, width, count // FEW // SMALL, method=method, progress=False).K.mean
    )


def trained(count: int, steps: int) -> Callable:
    X = data(100, 2)
    settings = {"optimizer": optax.sgd(1e-3), "snapshots": (0,), "progress": False}
    both = (X, np.sin(X[:, 0]))
    return lambda: nets.train(
        "tanh", 1.0, 6, 512, max(1, count // FEW // SMALL), both, steps=steps, **settings
    )[0]


CASES = {
    "flow, 1000 C_W × 50, float64": flow(jnp.float64, 1000),
    "flow, 100,000 C_W × 50, float64": flow(jnp.float64, 100_000),
    "flow, 100,000 C_W × 50, float32": flow(jnp.float32, 100_000),
    "expand to order 3, 1000 C_W × 50, float64": lambda: eft.expand("tanh", GRID, 50, 3).M,
    "Gram, tanh, 1000 inputs × 50, float64": gram("tanh", 1000, 1.5),
    "Gram, ReLU, 2000 inputs × 50, float64": gram("relu", 2000, 2.0),
    "networks, 100 of 64 × 6, float32": lambda: nets.measure("tanh", 1.0, 6, 64, 100, progress=False).K.mean,
    "networks, 8192 of 512 × 11, float32": measured("networks", 512, 8192),
    "sampler, 131,072 of 1024 × 11, float32": measured("metric", 1024, 131_072),
    "training, 256 of 512 × 6, 20 steps, float32": trained(256, 20),
}
FEWER = list(CASES)[-3:]
"""The cases of which the CPU runs a part."""

NORMALS = {"networks, 8192 of 512 × 11, float32": 8192 * (9 * 512**2 + 9 * 512),
           "sampler, 131,072 of 1024 × 11, float32": 131_072 * (10 * 1024 + 1)}  # fmt: skip
"""Random numbers that are drawn in a call."""


def best(call: Callable, *given: jax.Array, repeat: int = 5) -> float:
    """Seconds."""
    jax.block_until_ready(call(*given))
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        jax.block_until_ready(call(*given))
        times.append(time.perf_counter() - start)
    return min(times)


def limits() -> tuple[float, float]:
    """What the device can do, printed; float32 products at full precision, and normals, a second."""
    n, big = (8192 // SMALL, 2**28 // SMALL**2)
    products = {}
    for words, dtype, precision in (
        ("float32", jnp.float32, "highest"),
        ("float32 cut to 10 bits", jnp.float32, "default"),
        ("float64", jnp.float64, "highest"),
    ):
        a = jnp.ones((n, n), dtype)
        product = jax.jit(functools.partial(jnp.matmul, precision=precision))
        products[words] = 2 * n**3 / best(product, a, a)
    a = jnp.ones(big, jnp.float32)
    copy = 8 * big / best(jax.jit(lambda a: a + 1), a)
    roots = jax.random.split(jax.random.key(0, impl=keys.GENERATOR), 64)
    draw = jax.jit(lambda k: jnp.sum(jax.vmap(lambda k: jax.random.normal(k, (big // 64,), jnp.float32))(k)))
    normals = big / best(draw, roots)
    rates = ", ".join(f"{words} {rate / 1e12:.3g}" for words, rate in products.items())
    print(
        f"limits: products {rates} Tflop/s, copy {copy / 1e9:.0f} GB/s, {normals / 1e9:.3g} G normals/s",
        flush=True,
    )
    return products["float32"], normals


TRAINED = (
    ("100 of 512 × 6, 100 samples", "sgd", 512, 100, 100, 400),
    ("100 of 512 × 6, 1000 samples", "adam", 512, 1000, 100, 100),
    ("25 of 32 × 6, 51³ samples", "adam", 32, 51**3, 25, 50),
    ("25 of 32 × 6, 101 samples", "adam", 32, 101, 25, 1000),
)
"""In words; the optimizer, the width, samples, networks and steps."""


def training_rate(limit: float) -> None:
    """Of steps alone: a run of twice as many less one, as shares of the rate of products."""
    for words, optimizer, width, samples, count, steps in TRAINED:
        if SMALL > 1:
            samples, count, steps = min(samples, 100), 2, 4
        X = data(samples, 2)
        sizes = (2, *[width] * 5, 1)
        weights = [a * b for a, b in itertools.pairwise(sizes)]
        flops = 2 * samples * (3 * sum(weights) - weights[0])
        settings = {"optimizer": optimizer, "learning_rate": 1e-4, "snapshots": (0,), "progress": False}
        train = functools.partial(
            nets.train,
            "tanh",
            1.0,
            6,
            width,
            count,
            (X, np.sin(X[:, 0])),
            every=steps,
            x_test=X[:1],
            **settings,
        )
        for few in (2, 4):  # the programs are compiled, and called once
            train(steps=few)
        step = (train(steps=2 * steps).seconds - train(steps=steps).seconds) / steps
        rate = count * flops / step
        print(
            f"training, {words}, {optimizer}: {1e3 * step:.3f} ms a step, {rate / 1e12:.2f} Tflop/s, "
            f"{rate / limit:.0%} of products",
            flush=True,
        )


def timed(call: Callable, repeat: int = 3) -> tuple[float, float]:
    """The first call, and the best of some later ones, in seconds."""
    times = []
    for _ in range(1 + repeat):
        start = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - start)
    return times[0], min(times[1:])


def of_this_device() -> dict:
    found = {}
    for name, call in CASES.items():
        scale = FEW if name in FEWER else 1
        first, warm = timed(call, 1 if scale > 1 else 3)
        values = [float(np.mean(np.asarray(a, float))) for a in jax.tree.leaves(call())]
        found[name] = {"first": first, "warm": warm * scale, "values": values}
        print(
            f"    {name}: first call {first:.2f} s, then {1e3 * warm * scale:.1f} ms",
            file=sys.stderr,
            flush=True,
        )
    return found


def sizes_of_blocks() -> None:
    """Milliseconds a network, by the size of a block, of drawn weights and of the sampler."""
    usual = drawing.block_size
    for method, width, count in (("networks", 512, 4096), ("metric", 1024, 65_536)):
        line = []
        for size in (32, 128, 512, 1024) if method == "networks" else (512, 2048, 8192, 32_768):
            drawing.block_size = lambda program, size=size: size
            drawing.compiled.cache_clear()
            job = ensemble.prepare("tanh", 1.0, 11, width, count, method=method)
            ensemble.run(job)
            line.append(f"{size}: {1e3 * timed(lambda job=job: ensemble.run(job).K.mean)[1] / count:.4f}")
        drawing.block_size = usual
        drawing.compiled.cache_clear()
        print(f"{method}, width {width}, ms a network by size of block: {', '.join(line)}")


def main() -> None:
    if "--values" in sys.argv:
        print(json.dumps(of_this_device()))
        return
    print(f"jax {jax.__version__} on {jax.devices()[0].device_kind} and {os.cpu_count()} cores")
    products, normals = limits()
    training_rate(products)
    here = of_this_device()
    for name, count in NORMALS.items():
        rate = count / SMALL / here[name]["warm"]
        print(f"{name}: {rate / 1e9:.3g} G normals/s, {rate / normals:.0%} of the limit")
    command = [sys.executable, __file__, "--values", *sys.argv[1:]]
    ran = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, env=os.environ | {"JAX_PLATFORMS": "cpu"}
    )
    there = json.loads(ran.stdout)
    for name, case in here.items():
        other = there[name]
        apart = max(
            abs(a - b) / max(abs(b), 1e-300) for a, b in zip(case["values"], other["values"], strict=True)
        )
        ratio = other["warm"] / case["warm"]
        same = name not in FEWER
        print(
            f"{name}: first {case['first']:.2f} s, warm {1e3 * case['warm']:.1f} ms, {ratio:.1f} × the cores"
            + (f"; means of values {apart:.0e} apart" if same else "")
        )
        assert not same or apart <= (1e-12 if name.endswith("float64") else 1e-5)
    if not ON_CPU:
        sizes_of_blocks()


if __name__ == "__main__":
    main()
