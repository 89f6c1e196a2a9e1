"""Speed of the ensembles: 1000 networks with ten hidden layers of width 512, tanh, float32.

Claims, asserted:
  * the metric sampler is at least 100 times as fast as drawing the weights;
  * with control variates the sampler has at least 100 times less variance of K and of V in the same time;
  * drawing the weights, in blocks of vmapped networks, is at least as fast as an explicit Python loop over
    a jitted network, with the same generator of normals.

Beside them, without a claim: the same loop with jax.random.normal in place of nets.network.normals, and
100,000 networks of width 1024 through the sampler, with the memory that took.

Each time is the best of three, the contestants taking turns; compilation is apart.

Typical output, 2 quiet cores of an AMD EPYC, 2026-11-28 (neural-tangents on 2026-11-24):

    compile networks      1.57 s
    compile metric        0.99 s
    networks             3.8556 ms a network
    metric               0.0167 ms a network
    loop                 4.3792 ms a network
    loop, jax.random     8.6025 ms a network
    100,000 networks of width 1024, metric: 2.3 s; peak memory of all: 0.57 GiB
    normals: 685 million a second by themselves; in networks 612 million, 89 %
    NumPy's SFC64 on all cores: 288 million a second, 0.42 of ours
    the sampler: 307 million a second, 45 %
    10,000 networks: 0.16 s, with control variates 0.18 s
      variance of K: 2.12e+05 times smaller, 1.88e+05 times in the same time
      variance of V: 422 times smaller, 374 times in the same time
    neural-tangents, 1000 networks: 43.6 s, 9.4x ours (claim: >= 1x)
    metric sampler over networks: 231x (claim: >= 100x)
    blocks over an explicit loop: 1.14x (claim: >= 1x)

Random numbers are the limit: they take nine tenths of the time of the networks. They are Threefry's, a
counter turned into bits, so that member i is the same wherever it is drawn; a generator with a state would be
cheaper a number, and would give that up.

Run: python benchmarks/speed/ensemble.py [PYTHON]

PYTHON: of an environment with neural-tangents, which needs an old JAX:
    pip install "jax==0.4.30" "jaxlib==0.4.30" "numpy<2" "scipy<1.14" neural-tangents==0.6.5
Its `monte_carlo_kernel_fn` then runs on the same work (the kernel of the last layer, no error), and the third
claim is that it takes longer.
"""

import functools
import os
import resource
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from _record import record  # noqa: E402

import eft  # noqa: E402
import nets  # noqa: E402
from nets import FCN  # noqa: E402
from nets.initialization import ensemble  # noqa: E402
from nets.network.normals import standard_normal  # noqa: E402
from nets.network.observables import observe_layers  # noqa: E402

DEPTH, WIDTH, NETS = 11, 512, 1000
CONTROLLED = 10_000
"""Networks that are sampled with control variates."""

LOOPED = 200
"""Networks in one turn of the loop: it has no start-up to spread over more."""


PEER = """
import sys, time
import jax, jax.numpy as jnp
import neural_tangents as nt
from neural_tangents import stax
width, depth, nets = map(int, sys.argv[1:])
nonlinearity = stax.Elementwise(jnp.tanh)
hidden = [stax.Dense(width, W_std=1.0, b_std=None), nonlinearity] * (depth - 1)
init, apply, _ = stax.serial(*hidden, stax.Dense(1, W_std=1.0, b_std=None))
kernel = nt.monte_carlo_kernel_fn(init, apply, jax.random.PRNGKey(0), n_samples=nets)
started = time.perf_counter()
jax.block_until_ready(kernel(jnp.ones((1, 2)), None, "nngp"))
print(time.perf_counter() - started)
"""
"""Compilation is a small part of its time, and it compiles anew for each call."""


def jax_normal(key, shape):
    return jax.random.normal(key, shape, jnp.float32)


@functools.partial(jax.jit, static_argnums=1)
def one_network(key, normal):
    """What an ensemble measures of one network, with nothing vmapped."""
    act, cw, cb = eft.activation("tanh"), jnp.float32(1.0), jnp.float32(0.0)
    net = FCN(2, (WIDTH,) * (DEPTH - 1), act=act, cw=1.0, rngs=key, normal=normal)
    return observe_layers(act, net.preactivations(jnp.ones(2, jnp.float32)), jnp.float32(1.0), cw, cb)


def loop(normal):
    key = jax.random.key(0)
    return [one_network(jax.random.fold_in(key, i), normal) for i in range(LOOPED)]


def seconds(run) -> float:
    start = time.perf_counter()
    jax.block_until_ready(run())
    return time.perf_counter() - start


def normals_per_second() -> float:
    """Of `nets.network.normals`, in float32, a weight matrix after another, each read once."""

    @jax.jit
    def draw(key):
        def one(total, i):
            return total + jnp.sum(standard_normal(jax.random.fold_in(key, i), (WIDTH, WIDTH))), None

        return jax.lax.scan(one, jnp.float32(0), jnp.arange(400))[0]

    key = jax.random.key(0)
    jax.block_until_ready(draw(key))
    return 400 * WIDTH**2 / min(seconds(lambda: draw(key)) for _ in range(3))


def normals_by_numpy(count: int = 2**24) -> float:
    """Normals a second of NumPy's fastest generator, SFC64 by the ziggurat, float32, on every core."""
    cores = os.cpu_count() or 1
    generators = [np.random.Generator(np.random.SFC64(i)) for i in range(cores)]
    arrays = [np.empty(count, np.float32) for _ in range(cores)]

    def draw(generator, array):
        generator.standard_normal(out=array, dtype=np.float32)

    with ThreadPoolExecutor(cores) as pool:
        return (
            cores * count / min(seconds(lambda: list(pool.map(draw, generators, arrays))) for _ in range(3))
        )


def controlled() -> None:
    """What control variates add: the time, and how much smaller the variances are."""
    settings = {"method": "metric", "progress": False}
    took = {}
    for wanted in (False, True):
        settings["control_variates"] = wanted
        nets.measure("tanh", 1.0, DEPTH, WIDTH, CONTROLLED, **settings)
        took[wanted] = min(
            seconds(lambda: nets.measure("tanh", 1.0, DEPTH, WIDTH, CONTROLLED, **settings).G)
            for _ in range(3)
        )
    found = nets.measure("tanh", 1.0, DEPTH, WIDTH, CONTROLLED, **settings).controlled
    slower = took[True] / took[False]
    print(f"{CONTROLLED:,} networks: {took[False]:.2f} s, with control variates {took[True]:.2f} s")
    for name, gain in (("K", found.K_gain[-1]), ("V", found.V_gain[-1])):
        print(f"  variance of {name}: {gain:.3g} times smaller, {gain / slower:.3g} times in the same time")
        assert gain / slower >= 100
    record(f"`nets.measure`, {CONTROLLED} networks, with control variates", warm=took[True])


def main() -> None:
    jobs = {}
    for method in ("networks", "metric"):
        start = time.perf_counter()
        jobs[method] = ensemble.prepare("tanh", 1.0, DEPTH, WIDTH, NETS, method=method)
        print(f"compile {method:9s} {time.perf_counter() - start:8.2f} s")
    contestants = {
        "networks": (lambda: ensemble.run(jobs["networks"]), NETS),
        "metric": (lambda: ensemble.run(jobs["metric"]), NETS),
        "loop": (lambda: loop(standard_normal), LOOPED),
        "loop, jax.random": (lambda: loop(jax_normal), LOOPED),
    }
    for normal in (standard_normal, jax_normal):
        jax.block_until_ready(one_network(jax.random.key(0), normal))
    best = dict.fromkeys(contestants, np.inf)
    for _ in range(3):
        for name, (run, count) in contestants.items():
            best[name] = min(best[name], seconds(run) / count)
    for name, each in best.items():
        print(f"{name:17s} {each * 1e3:9.4f} ms a network")

    big = ensemble.prepare("tanh", 1.0, DEPTH, 1024, 100_000, method="metric")
    took = seconds(lambda: ensemble.run(big))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"100,000 networks of width 1024, metric: {took:.1f} s; peak memory of all: {memory:.2f} GiB")

    rate = normals_per_second()
    weights = 2 * WIDTH + (DEPTH - 2) * WIDTH**2 + WIDTH
    print(
        f"normals: {rate / 1e6:.0f} million a second by themselves; in networks "
        f"{weights / best['networks'] / 1e6:.0f} million, {100 * weights / best['networks'] / rate:.0f} %"
    )
    other = normals_by_numpy()
    print(f"NumPy's SFC64 on all cores: {other / 1e6:.0f} million a second, {other / rate:.2f} of ours")
    sampled = (DEPTH - 1) * WIDTH / best["metric"]
    print(f"the sampler: {sampled / 1e6:.0f} million a second, {100 * sampled / rate:.0f} %")
    controlled()
    for python in sys.argv[1:]:
        command = [python, "-c", PEER, *map(str, (WIDTH, DEPTH, NETS))]
        theirs = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        ratio = theirs / (NETS * best["networks"])
        print(f"neural-tangents, {NETS} networks: {theirs:.1f} s, {ratio:.1f}x ours (claim: >= 1x)")
        assert ratio >= 1

    record(f"`nets.measure`, {NETS} networks, sampled", warm=NETS * best["metric"])
    record(
        f"`nets.measure`, {NETS} networks, drawn", warm=NETS * best["networks"], peer="loop over networks",
        peer_seconds=NETS * best["loop"],
    )  # fmt: skip
    sampler, blocks = best["networks"] / best["metric"], best["loop"] / best["networks"]
    print(f"metric sampler over networks: {sampler:.0f}x (claim: >= 100x)")
    print(f"blocks over an explicit loop: {blocks:.2f}x (claim: >= 1x)")
    assert sampler >= 100
    assert blocks >= 1


if __name__ == "__main__":
    main()
