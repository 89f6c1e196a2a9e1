"""Training 100 networks of 5 hidden layers of width 512 on 100 samples, float32.

Claims: gradient descent and Adam reach at least 80 % of the rate at which the machine multiplies matrices of
the same shapes, measured in the same run, and take no longer than a loop over PyTorch modules; at width 32,
25 networks, a seventh of that. Counted are 6 operations for each weight and sample: forward, gradient of the
weights, gradient of the layer below, which the first layer lacks. The products are timed for one network and
for several at a time, and the fastest counts. PyTorch is timed in an environment of its own:

    python3 -m venv peer
    peer/bin/python -m pip install torch numpy

Run: python benchmarks/speed/training.py [peer/bin/python]

Output (two quiet cores of an AMD EPYC server, 2026-11-28, torch 2.14.1); in six runs gradient descent reached
70 to 87 %. Adam is bound by memory: its update alone takes 0.65 ms a network and step, the products 1.7 ms,
and whether a network was lost is known only when all of it is updated, which costs another pass. At width 32,
25 networks are three quarters of a block of 32.

    jax 0.10.2 on cpu, float32
    width 512, 100 networks: matrix products alone 379 Gflop/s
      gradient descent: 20.2 s, 311 Gflop/s, 82 % of that; first call, of 4 steps, 3.7 s
        PyTorch modules in a loop: 51.7 s, 2.6 times as long
      Adam: 31.8 s, 198 Gflop/s, 52 % of that; first call, of 4 steps, 5.1 s
        PyTorch modules in a loop: 59.8 s, 1.9 times as long
    width 32, 25 networks: matrix products alone 82 Gflop/s
      gradient descent: 2.1 s, 58 Gflop/s, 71 % of that; first call, of 4 steps, 2.8 s
        PyTorch modules in a loop: 14.8 s, 6.9 times as long
      Adam: 2.0 s, 62 Gflop/s, 75 % of that; first call, of 4 steps, 2.7 s
        PyTorch modules in a loop: 25.9 s, 12.8 times as long
    MISSED Adam: 80 % of the products
    MISSED gradient descent, width 32: 7 times as fast as PyTorch
"""

import functools
import itertools
import subprocess
import sys
import time

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import optax  # noqa: E402
from _record import record  # noqa: E402

import nets  # noqa: E402

N_NETS, WIDTH, HIDDEN, SAMPLES, STEPS = 100, 512, 5, 100, 100


def rate_of_products(sizes: tuple[int, ...], repeat: int = 20) -> float:
    """Flops a second of the matrix products of a step, each as fast as it gets, of one or more networks."""
    rng = np.random.default_rng(0)

    def best(product: str, *shapes: tuple[int, int]) -> float:
        """Seconds for one network."""
        found = []
        run = jax.jit(functools.partial(jnp.einsum, product, precision="highest"))
        for together, calls in ((1, 8), (2, 1), (2, 4), (8, 1), (32, 1)):
            arrays = [jnp.asarray(rng.normal(size=(together, *shape)), jnp.float32) for shape in shapes]
            jax.block_until_ready(run(*arrays))
            for _ in range(repeat):
                start = time.perf_counter()
                jax.block_until_ready([run(*arrays) for _ in range(calls)])
                found.append((time.perf_counter() - start) / calls / together)
        return min(found)

    seconds = 0.0
    for layer, (n_in, n) in enumerate(itertools.pairwise(sizes)):
        s, W, d = (SAMPLES, n_in), (n_in, n), (SAMPLES, n)
        seconds += best("bsi,bij->bsj", s, W) + best("bsi,bsj->bij", s, d)
        seconds += best("bsj,bij->bsi", d, W) if layer else 0.0
    return flops(sizes) / seconds


def flops(sizes: tuple[int, ...]) -> float:
    """Of one step of one network."""
    weights = [n_in * n for n_in, n in itertools.pairwise(sizes)]
    return 2 * SAMPLES * (3 * sum(weights) - weights[0])


PEER = """
import sys, time
import numpy as np
import torch
width, hidden, samples, n_nets, steps, name = *map(int, sys.argv[1:6]), sys.argv[6]
X = np.random.default_rng(0).uniform(-1, 1, (samples, 2))
x = torch.tensor(X, dtype=torch.float32)
y = torch.tensor(np.sin(3 * X[:, :1]) * X[:, 1:], dtype=torch.float32)
sizes = [2] + [width] * hidden
networks = []
for _ in range(n_nets):
    layers = [part for a, b in zip(sizes, sizes[1:]) for part in (torch.nn.Linear(a, b), torch.nn.Tanh())]
    net = torch.nn.Sequential(*layers, torch.nn.Linear(width, 1))
    kind = {"Adam": torch.optim.Adam, "gradient descent": torch.optim.SGD}[name]
    networks.append((net, kind(net.parameters(), lr=1e-3)))
def step(net, optimizer):
    optimizer.zero_grad()
    loss = 0.5 * torch.nn.functional.mse_loss(net(x), y)
    loss.backward()
    optimizer.step()
for pair in networks:
    step(*pair)
start = time.perf_counter()
for _ in range(steps):
    for pair in networks:
        step(*pair)
print(time.perf_counter() - start)
"""


def main() -> None:
    X = np.random.default_rng(0).uniform(-1, 1, (SAMPLES, 2))
    data = X, np.sin(3 * X[:, 0]) * X[:, 1]
    print(f"jax {jax.__version__} on {jax.devices()[0].device_kind}, float32")
    missed = []
    for width, n_nets, steps, faster in ((WIDTH, N_NETS, STEPS, 1.0), (32, 25, 2000, 7.0)):
        sizes = (2, *[width] * HIDDEN, 1)
        limit = rate_of_products(sizes)
        print(f"width {width}, {n_nets} networks: matrix products alone {limit / 1e9:.0f} Gflop/s")
        for name, optimizer in (("gradient descent", optax.sgd(1e-3)), ("Adam", optax.adam(1e-4))):
            settings = {"optimizer": optimizer, "every": steps // 4, "snapshots": (0,), "progress": False}
            start = time.perf_counter()
            nets.train("tanh", 1.0, HIDDEN + 1, width, n_nets, data, steps=4, **settings | {"every": 1})
            first = time.perf_counter() - start
            run = nets.train("tanh", 1.0, HIDDEN + 1, width, n_nets, data, steps=steps, **settings)
            reached = n_nets * steps * flops(sizes) / run.seconds
            share = 100 * reached / limit
            print(
                f"  {name}: {run.seconds:.1f} s, {reached / 1e9:.0f} Gflop/s, {share:.0f} % of that; first "
                f"call, of 4 steps, {first:.1f} s"
            )
            if width == WIDTH and reached < 0.8 * limit:
                missed.append(f"{name}: 80 % of the products")
            about = f"training of {n_nets} networks of width {width}, {name}, {steps} steps"
            for python in sys.argv[1:2]:
                theirs = by_pytorch(python, width, n_nets, steps, name)
                ratio = theirs / run.seconds
                print(f"    PyTorch modules in a loop: {theirs:.1f} s, {ratio:.1f} times as long")
                if ratio < faster:
                    missed.append(f"{name}, width {width}: {faster:g} times as fast as PyTorch")
                record(about, first=first, warm=run.seconds, peer="loop of PyTorch", peer_seconds=theirs)
            if not sys.argv[1:]:
                record(about, first=first, warm=run.seconds)
    print("\n".join(f"MISSED {each}" for each in missed) or "all claims hold")
    raise SystemExit(bool(missed))


def by_pytorch(python: str, width: int, n_nets: int, steps: int, name: str) -> float:
    """Seconds of a loop over modules, from a twentieth of the steps."""
    few = max(1, steps // 20)
    numbers = map(str, (width, HIDDEN, SAMPLES, n_nets, few))
    ran = subprocess.run([python, "-c", PEER, *numbers, name], capture_output=True, text=True, check=True)
    return float(ran.stdout) * steps / few


if __name__ == "__main__":
    main()
