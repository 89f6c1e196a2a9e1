"""The empirical NTK of a network with five hidden layers of width 512 and ten outputs, float32.

Claims, asserted: by the structure of its dense layers, which `method="auto"` chooses, the kernel is at least
5 times as fast as the plain way, the product of two Jacobians by `jax.jacrev`, at 20 × 20 inputs and at
100 × 100, where it has the shape (100, 100, 10, 10); and equal to it within 1e-4 of the largest entry. The
Jacobian of 100 inputs would take 4.3 GB: there the plain way is not timed but scaled from 20 × 20, the
contraction by pairs and the Jacobians by inputs.

Beside them, without a claim: the trace; and "jacobian" and "products" for the 20 inputs.

Each time is the best of three, the contestants taking turns; compilation is apart.

Typical output (two cores of an AMD EPYC server, 2026-11-27):

    jax 0.10.2 on cpu, 1,089,034 parameters
    jax.jacrev, Jacobians of 20 + 20      1252.8 ms   first call  2.47 s
    jax.jacrev, contraction, 20 × 20      1516.0 ms   first call  1.81 s
    jacobian, 20 × 20                     2367.2 ms   first call  3.24 s
    products, 20 × 20                      182.7 ms   first call  0.92 s
    structured, 20 × 20                      9.3 ms   first call  0.73 s
    auto, 100 × 100                         61.5 ms   first call  0.76 s
    auto, 100 × 100, trace                  36.3 ms   first call  0.62 s
    plain, scaled to 100 × 100: 44.2 s; largest difference 3e-07 of the largest entry
    auto over plain, 100 × 100: 718x; 20 × 20, nothing scaled: 298x (claim: >= 5x)
    neural-tangents, STRUCTURED_DERIVATIVES: 0.11 s; auto, beside it: 0.06 s, 2x
    neural-tangents, NTK_VECTOR_PRODUCTS: 3.99 s; auto, beside it: 0.07 s, 61x
    neural-tangents, JACOBIAN_CONTRACTION: 9.94 s; auto, beside it: 0.06 s, 155x

neural-tangents, which needs an older JAX, is timed in an environment of its own if its Python is given, each
of its three implementations at 100 × 100 inputs, full kernel; claim: none is faster.

    python3.11 -m venv peer
    peer/bin/python -m pip install neural-tangents==0.6.5 jax==0.4.25 jaxlib==0.4.25 'numpy<2' 'scipy<1.14'

Run: python benchmarks/speed/tangent_kernel.py [peer/bin/python]
"""

import itertools
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

import nets  # noqa: E402

WIDTH, HIDDEN, OUTPUTS, N0, N, FEW = 512, 5, 10, 64, 100, 20


def network() -> list:
    rng = np.random.default_rng(0)
    sizes = [N0, *[WIDTH] * HIDDEN, OUTPUTS]
    return [
        (jnp.asarray(rng.normal(size=(n, m)) * (2 / n) ** 0.5, "float32"), jnp.zeros(m, "float32"))
        for n, m in itertools.pairwise(sizes)
    ]


def f(params, x):
    for i, (w, b) in enumerate(params):
        x = (jax.nn.relu(x) if i else x) @ w + b
    return x


@jax.jit
def jacobian(params, x):
    return jax.jacrev(f)(params, x)


@jax.jit
def contraction(left, right):
    pairs = zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True)
    return sum(
        jnp.einsum("aim,bjm->abij", a.reshape(*a.shape[:2], -1), b.reshape(*b.shape[:2], -1))
        for a, b in pairs
    )


PEER = """
import json, sys, time
import jax, numpy as np
import neural_tangents as nt

given = np.load(sys.argv[1])
params = [(given[f"w{i}"], given[f"b{i}"]) for i in range((len(given.files) - 2) // 2)]

def f(params, x):
    for i, (w, b) in enumerate(params):
        x = (jax.nn.relu(x) if i else x) @ w + b
    return x

how = nt.NtkImplementation[sys.argv[2]]
kernel = jax.jit(nt.empirical_ntk_fn(f, trace_axes=(), vmap_axes=0, implementation=how))
times = []
for _ in range(1 + int(sys.argv[4])):
    start = time.perf_counter()
    made = jax.block_until_ready(kernel(given["X"], given["X2"], params))
    times.append(time.perf_counter() - start)
np.save(sys.argv[3], made)
print(json.dumps([times[0], min(times[1:])]))
"""


def peer(python: str, how: str, params: list, X, X2, repeat: int = 2) -> tuple[float, float, np.ndarray]:
    """The first and the best later call of an implementation of neural-tangents, and its kernel."""
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder, "given.npz"), Path(folder, "kernel.npy")
        arrays = {f"{k}{i}": a for i, pair in enumerate(params) for k, a in zip("wb", pair, strict=True)}
        np.savez(given, X=X, X2=X2, **arrays)
        command = [python, "-c", PEER, str(given), how, str(made), str(repeat)]
        ran = subprocess.run(command, capture_output=True, text=True)
        if ran.returncode:
            said = [line for line in ran.stderr.splitlines() if "Error" in line]
            raise RuntimeError(said[-1] if said else f"exit {ran.returncode}")
        first, warm = json.loads(ran.stdout.splitlines()[-1])
        return first, warm, np.load(made)


def seconds(call) -> float:
    start = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - start


def main() -> None:
    params = network()
    X = jnp.asarray(np.random.default_rng(1).normal(size=(N, N0)), "float32")
    X2 = jnp.asarray(np.random.default_rng(2).normal(size=(N, N0)), "float32")
    J, J2 = jacobian(params, X[:FEW]), jacobian(params, X2[:FEW])

    def ours(n, **settings):
        return lambda: nets.empirical_ntk(f, params, X[:n], X2[:n], **settings)

    contestants = {
        "jax.jacrev, Jacobians of 20 + 20": lambda: (jacobian(params, X[:FEW]), jacobian(params, X2[:FEW])),
        "jax.jacrev, contraction, 20 × 20": lambda: contraction(J, J2),
        "jacobian, 20 × 20": ours(FEW, method="jacobian"),
        "products, 20 × 20": ours(FEW, method="products"),
        "structured, 20 × 20": ours(FEW, method="structured"),
        "auto, 100 × 100": ours(N),
        "auto, 100 × 100, trace": ours(N, outputs="trace"),
    }
    first = {name: seconds(call) for name, call in contestants.items()}
    best = dict.fromkeys(contestants, np.inf)
    for _ in range(3):
        for name, call in contestants.items():
            best[name] = min(best[name], seconds(call))
    count = sum(a.size for a in jax.tree.leaves(params))
    print(f"jax {jax.__version__} on {jax.devices()[0].device_kind}, {count:,} parameters")
    for name, each in best.items():
        print(f"{name:34s} {each * 1e3:9.1f} ms   first call {first[name]:5.2f} s")
    plain = best["jax.jacrev, Jacobians of 20 + 20"] * N / FEW
    plain += best["jax.jacrev, contraction, 20 × 20"] * (N / FEW) ** 2
    exact = contraction(J, J2)
    off = max(
        float(jnp.max(jnp.abs(ours(FEW, method=m)() - exact)) / jnp.max(jnp.abs(exact)))
        for m in ("jacobian", "products", "structured")
    )
    ratio = plain / best["auto, 100 × 100"]
    few = (best["jax.jacrev, Jacobians of 20 + 20"] + best["jax.jacrev, contraction, 20 × 20"]) / best[
        "structured, 20 × 20"
    ]
    print(f"plain, scaled to 100 × 100: {plain:.1f} s; largest difference {off:.0e} of the largest entry")
    print(f"auto over plain, 100 × 100: {ratio:.0f}x; 20 × 20, nothing scaled: {few:.0f}x (claim: >= 5x)")
    assert ratio >= 5 and few >= 5
    assert off <= 1e-4
    if len(sys.argv) > 1:
        whole = np.asarray(ours(N)())
        for how in ("STRUCTURED_DERIVATIVES", "NTK_VECTOR_PRODUCTS", "JACOBIAN_CONTRACTION"):
            try:
                first_call, warm, K = peer(sys.argv[1], how, params, X, X2)
            except RuntimeError as error:
                print(f"neural-tangents, {how}: {error}")
                continue
            mine = min(seconds(ours(N)) for _ in range(3))
            apart = np.max(abs(K - whole)) / np.max(abs(whole))
            print(
                f"neural-tangents, {how}: {warm:.2f} s, first call {first_call:.1f} s; "
                f"auto, beside it: {mine:.2f} s, {warm / mine:.0f}x; "
                f"{apart:.0e} of the largest entry apart"
            )
            assert mine <= warm


if __name__ == "__main__":
    main()
