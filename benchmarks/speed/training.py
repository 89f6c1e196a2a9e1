"""Training 100 networks of 5 hidden layers of width 512 on 100 samples for 100 steps, float32.

Claims: gradient descent and Adam reach at least 60 % of the rate at which the machine multiplies matrices of
the same shapes, measured in the same run. Counted are 6 operations for each weight and sample: forward,
gradient of the weights, gradient of the layer below, which the first layer lacks. At width 32, 25 networks,
it is five times faster than a loop over PyTorch modules; at width 512, where all is matrix products, the loop
is the faster one. PyTorch is timed in an environment of its own:

    python3 -m venv peer
    peer/bin/python -m pip install torch numpy

Run: python benchmarks/speed/training.py [peer/bin/python]

Typical output (two cores of an AMD EPYC server, 2026-11-24, one of them busy; else Adam reached 93 %):

    jax 0.10.2 on cpu, float32
    width 512, 100 networks: matrix products alone 82.9 Gflop/s
      gradient descent: 106.3 s, 59.3 Gflop/s, 72 % of that; first call, of 4 steps, 8.6 s
        PyTorch modules in a loop: 66.2 s, 0.6 times as long
      Adam: 118.0 s, 53.4 Gflop/s, 64 % of that; first call, of 4 steps, 7.5 s
        PyTorch modules in a loop: 85.1 s, 0.7 times as long
    width 32, 25 networks: matrix products alone 22.6 Gflop/s
      gradient descent: 3.6 s, 34.7 Gflop/s, 154 % of that; first call, of 4 steps, 2.4 s
        PyTorch modules in a loop: 26.2 s, 7.3 times as long
      Adam: 3.4 s, 36.3 Gflop/s, 161 % of that; first call, of 4 steps, 2.6 s
"""

import itertools
import subprocess
import sys
import time

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import optax  # noqa: E402

import nets  # noqa: E402

N_NETS, WIDTH, HIDDEN, SAMPLES, STEPS = 100, 512, 5, 100, 100


def rate_of_products(sizes: tuple[int, ...], repeat: int = 30) -> float:
    """Flops a second of the matrix products of one step of one network, each by itself; the best of some."""
    key = jax.random.key(0)
    shapes = []
    for n_in, n in itertools.pairwise(sizes):
        shapes += [((SAMPLES, n_in), (n_in, n)), ((n_in, SAMPLES), (SAMPLES, n)), ((SAMPLES, n), (n, n_in))]
    pairs = [tuple(jax.random.normal(key, s, jnp.float32) for s in both) for both in shapes]
    product = jax.jit(lambda a, b: jnp.matmul(a, b, precision="highest"))
    best = 0.0
    for a, b in pairs:
        jax.block_until_ready(product(a, b))
    for _ in range(repeat):
        start = time.perf_counter()
        for a, b in pairs:
            last = product(a, b)
        jax.block_until_ready(last)
        best = max(
            best,
            sum(2 * a.shape[0] * a.shape[1] * b.shape[1] for a, b in pairs) / (time.perf_counter() - start),
        )
    return best


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
    for width, n_nets, steps in ((WIDTH, N_NETS, STEPS), (32, 25, 2000)):
        sizes = (2, *[width] * HIDDEN, 1)
        limit = rate_of_products(sizes)
        print(f"width {width}, {n_nets} networks: matrix products alone {limit / 1e9:.1f} Gflop/s")
        for name, optimizer in (("gradient descent", optax.sgd(1e-3)), ("Adam", optax.adam(1e-4))):
            settings = {"optimizer": optimizer, "every": steps // 4, "snapshots": (0,), "progress": False}
            start = time.perf_counter()
            nets.train("tanh", 1.0, HIDDEN + 1, width, n_nets, data, steps=4, **settings | {"every": 1})
            first = time.perf_counter() - start
            run = nets.train("tanh", 1.0, HIDDEN + 1, width, n_nets, data, steps=steps, **settings)
            reached = n_nets * steps * flops(sizes) / run.seconds
            share = 100 * reached / limit
            print(
                f"  {name}: {run.seconds:.1f} s, {reached / 1e9:.1f} Gflop/s, {share:.0f} % of that; "
                f"first call, of 4 steps, {first:.1f} s"
            )
            assert reached >= 0.6 * limit
            for python in sys.argv[1:]:
                few = max(1, steps // 20)
                numbers = map(str, (width, HIDDEN, SAMPLES, n_nets, few))
                ran = subprocess.run(
                    [python, "-c", PEER, *numbers, name], capture_output=True, text=True, check=True
                )
                theirs = float(ran.stdout) * steps / few
                print(
                    f"    PyTorch modules in a loop: {theirs:.1f} s, {theirs / run.seconds:.1f} times as long"
                )


if __name__ == "__main__":
    main()
