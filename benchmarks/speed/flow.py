"""Large grids: 1000 C_W × depth 50 × tanh, all five quantities; the NTK; phase diagrams; float64.

Claims: at most 5 ms warm and 1 s at first call on two cores, with every K within 1e-12 of the flow that sums
over the quadrature's nodes; the compiled program does not grow with depth; at least 100 times faster than the
plain way (a jitted step, a 100-node rule for each expectation of each layer, called from a Python loop over
C_W), which is also less accurate. So many kernels are evaluated by polynomials in log K; inside `jax.jit` the
nodes are summed. ReLU at most 0.9 ms; `ntk_flow` of the same grid at most 20 ms, with every Θ within 1e-12;
a 200 × 200 phase diagram at most 50 ms.

Typical output, 2 cores that other programs used at the same time (load 8), 2026-11-27:

    jax 0.10.2 on cpu, 1000 C_W × depth 50, float64
    first call 0.80 s   warm 3.3 ms   gelu: 6.1 ms
    plain loop 1.04 s: 309 × slower
    compiled program at depth 50: 388,860 bytes; at depth 10,000: 389,685 bytes
    by the nodes, inside jax.jit: 48.3 ms; K differs by 4e-14
    0.48e9 nodes a second (an exponential and 11 multiply-adds each)
    by polynomials: 0.09e9 polynomials of degree 8 a second
    relu: first call 0.24 s   warm 0.72 ms
    ntk_flow: first call 2.20 s   warm 14.6 ms   by the nodes 10.0 × slower; Theta differs by 6e-14
    phase diagram 200 × 200, tanh: first call 0.07 s   warm 18 ms
    phase diagram 200 × 200, gelu: first call 0.05 s   warm 20 ms
    phase diagram 200 × 200, relu: first call 0.01 s   warm 12 ms

Run: python benchmarks/speed/flow.py
"""

import time

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from _record import record  # noqa: E402

import eft  # noqa: E402
from eft.gaussian.tabulated import moment_table  # noqa: E402

CW, DEPTH = np.linspace(0.5, 3.0, 1000), 50
GRID, PHASES = (np.linspace(0.5, 3.0, 200), np.linspace(0.0, 1.0, 200)), ("tanh", "gelu", "relu")


def seconds(call, repeat: int = 7) -> float:
    """The median time of a call that has been made once before."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def first_and_warm(call, repeat: int = 7) -> tuple[float, float]:
    """The time of the first call, and the median time of later ones."""
    start = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - start, seconds(call, repeat)


def beside_nodes(flow) -> tuple[tuple[float, float], float, float]:
    """Times of an NTK flow, the ratio of the sums over the nodes to it, and the difference of Θ."""
    found = first_and_warm(lambda: flow("tanh", CW, DEPTH))
    summed = jax.jit(lambda cw: flow("tanh", cw, DEPTH))
    exact = summed(CW)
    off = float(jnp.max(jnp.abs(flow("tanh", CW, DEPTH).Theta / exact.Theta - 1)))
    return found, seconds(lambda: summed(CW)) / found[1], off


def plain_step():
    """One layer with 100 nodes a half-line for each expectation, as one would write it in a notebook."""
    t = jnp.linspace(-3.7, 2.3, 100)
    u = jnp.exp(t - jnp.exp(-t))
    w = (t[1] - t[0]) * u * (1 + jnp.exp(-t)) * 2 * jnp.exp(-u * u / 2) / np.sqrt(2 * np.pi)

    @jax.jit
    def step(cw, K, V, G1):
        z = jnp.sqrt(K) * u
        s, s1 = jnp.tanh(z), 1 - jnp.tanh(z) ** 2
        g, g4 = (w * s**2).sum(), (w * s**4).sum()
        parallel, perp = cw * (w * z * s * s1).sum() / K, cw * (w * s1**2).sum()
        g2 = (w * s**2 * (z**4 - 6 * K * z**2 + 3 * K**2)).sum() / (4 * K**4)
        V, G1 = cw**2 * (g4 - g**2) + parallel**2 * V, parallel * G1 + cw * g2 * V / 2
        return cw * g, V, G1, parallel, perp

    return step


def main() -> None:
    start = time.perf_counter()
    jax.block_until_ready(eft.kernel_flow("tanh", CW, DEPTH))
    first = time.perf_counter() - start
    warm = seconds(lambda: eft.kernel_flow("tanh", CW, DEPTH))
    jax.block_until_ready(eft.kernel_flow("gelu", CW, DEPTH))
    other = seconds(lambda: eft.kernel_flow("gelu", CW, DEPTH))

    step, few = plain_step(), CW[:20]

    def plain():
        for cw in few:
            state = cw, 0.0, 0.0
            for _ in range(DEPTH):
                K, V, G1, *_ = step(cw, *state)
                state = K, V, G1
        return state

    plain()
    loop = seconds(plain, 3) * len(CW) / len(few)

    def program(depth: int) -> int:
        lowered = jax.jit(lambda cw: eft.kernel_flow("tanh", cw, depth)).lower(jnp.asarray(CW))
        return len(lowered.compile().as_text())

    sizes = program(50), program(10_000)
    print(f"jax {jax.__version__} on {jax.devices()[0].device_kind}, {len(CW)} C_W × depth {DEPTH}, float64")
    print(f"first call {first:.2f} s   warm {warm * 1e3:.1f} ms   gelu: {other * 1e3:.1f} ms")
    print(f"plain loop {loop:.2f} s: {loop / warm:.0f} × slower")
    print(f"compiled program at depth 50: {sizes[0]:,} bytes; at depth 10,000: {sizes[1]:,} bytes")
    summed = jax.jit(lambda cw: eft.kernel_flow("tanh", cw, DEPTH))
    direct, exact = seconds(lambda: summed(CW)), summed(CW)
    off = float(jnp.max(jnp.abs(eft.kernel_flow("tanh", CW, DEPTH).K / exact.K - 1)))
    nodes = DEPTH * len(CW) * moment_table(eft.activation("tanh"), jnp.float64).z.size / direct
    print(f"by the nodes, inside jax.jit: {direct * 1e3:.1f} ms; K differs by {off:.0e}")
    print(f"{nodes / 1e9:.2f}e9 nodes a second (an exponential and 11 multiply-adds each)")
    rate = DEPTH * len(CW) * 6 / warm
    print(f"by polynomials: {rate / 1e9:.2f}e9 polynomials of degree 8 a second")
    relu = first_and_warm(lambda: eft.kernel_flow("relu", CW, DEPTH), 200)
    print(f"relu: first call {relu[0]:.2f} s   warm {relu[1] * 1e3:.2f} ms")
    ntk, ntk_ratio, ntk_off = beside_nodes(eft.ntk_flow)
    print(f"ntk_flow: first call {ntk[0]:.2f} s   warm {ntk[1] * 1e3:.1f} ms", end="   ")
    print(f"by the nodes {ntk_ratio:.1f} × slower; Theta differs by {ntk_off:.0e}")
    diagram = {name: first_and_warm(lambda n=name: eft.phase_diagram(n, *GRID)) for name in PHASES}
    for name, (once, again) in diagram.items():
        print(f"phase diagram 200 × 200, {name}: first call {once:.2f} s   warm {again * 1e3:.0f} ms")
    grid = "1000 `cw` × depth 50"
    record(f"`kernel_flow`, tanh, {grid}", first=first, warm=warm, peer="plain loop", peer_seconds=loop)
    record(f"`kernel_flow`, gelu, {grid}", warm=other)
    record(f"`kernel_flow`, relu, {grid}", first=relu[0], warm=relu[1])
    sums = {"peer": "sums over nodes", "peer_seconds": ntk[1] * ntk_ratio}
    record(f"`ntk_flow`, tanh, {grid}", first=ntk[0], warm=ntk[1], **sums)
    for name, (once, again) in diagram.items():
        record(f"`phase_diagram`, {name}, 200 × 200", first=once, warm=again)
    checks = {
        "first call ≤ 1 s": first <= 1.0,
        "warm ≤ 5 ms": warm <= 0.005,
        "K within 1e-12": off <= 1e-12,
        "≥ 100 × the plain loop": loop / warm >= 100,
        "program no larger at depth 10,000": sizes[1] <= sizes[0] * 1.02,
        "relu ≤ 0.9 ms": relu[1] <= 0.9e-3,
        "ntk_flow ≤ 20 ms": ntk[1] <= 0.02,
        "Theta within 1e-12": ntk_off <= 1e-12,
        "phase diagrams ≤ 50 ms": max(again for _, again in diagram.values()) <= 0.05,
    }
    for claim, holds in checks.items():
        print(("holds  " if holds else "MISSED ") + claim)
    raise SystemExit(not all(checks.values()))


if __name__ == "__main__":
    main()
