"""Speed of the ensembles: 1000 networks with ten hidden layers of width 512, tanh, float32.

Claims, asserted:
  * the metric sampler is at least 100 times as fast as drawing the weights;
  * drawing the weights, in blocks of vmapped networks, is at least as fast as an explicit Python loop over
    a jitted network, with the same generator of normals.

Beside them, without a claim: the same loop with jax.random.normal in place of nets.normals, and
100,000 networks of width 1024 through the sampler, with the memory that took.

Each time is the best of three, the contestants taking turns; compilation is apart.

Typical output, 2 cores of an AMD EPYC that other work shares:

    compile networks      1.84 s
    compile metric        1.16 s
    networks             4.4722 ms a network
    metric               0.0245 ms a network
    loop                 5.6315 ms a network
    loop, jax.random    13.2281 ms a network
    100,000 networks of width 1024, metric: 6.3 s; peak memory of all: 0.51 GiB
    metric sampler over networks: 183x (claim: >= 100x)
    blocks over an explicit loop: 1.26x (claim: >= 1x)

Run: python benchmarks/speed/ensemble.py
"""

import functools
import resource
import time

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

import eft  # noqa: E402
from nets import FCN, ensemble  # noqa: E402
from nets.normals import standard_normal  # noqa: E402
from nets.observables import observe  # noqa: E402

DEPTH, WIDTH, NETS = 11, 512, 1000
LOOPED = 200
"""Networks in one turn of the loop: it has no start-up to spread over more."""


def jax_normal(key, shape):
    return jax.random.normal(key, shape, jnp.float32)


@functools.partial(jax.jit, static_argnums=1)
def one_network(key, normal):
    """What an ensemble measures of one network, with nothing vmapped."""
    act, cw, cb = eft.activation("tanh"), jnp.float32(1.0), jnp.float32(0.0)
    net = FCN(2, (WIDTH,) * (DEPTH - 1), act=act, cw=1.0, rngs=key, normal=normal)
    G, layers = jnp.float32(1.0), []
    for z in net.preactivations(jnp.ones(2, jnp.float32)):
        seen, G = observe(act, z, G, jnp.log(G), cw, cb)
        layers.append(seen)
    return jax.tree.map(lambda *a: jnp.stack(a), *layers)


def loop(normal):
    key = jax.random.key(0)
    return [one_network(jax.random.fold_in(key, i), normal) for i in range(LOOPED)]


def seconds(run) -> float:
    start = time.perf_counter()
    jax.block_until_ready(run())
    return time.perf_counter() - start


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

    sampler, blocks = best["networks"] / best["metric"], best["loop"] / best["networks"]
    print(f"metric sampler over networks: {sampler:.0f}x (claim: >= 100x)")
    print(f"blocks over an explicit loop: {blocks:.2f}x (claim: >= 1x)")
    assert sampler >= 100
    assert blocks >= 1


if __name__ == "__main__":
    main()
