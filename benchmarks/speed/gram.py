"""NNGP and NTK of 500 inputs at depth 50, float64: tanh by its Hermite series, ReLU in closed form.

Claims: tanh at most 2 s warm, ReLU at most 0.5 s, under 1 GB. The plain way for tanh is a product of two
25-node Gauss–Hermite rules for each pair and layer, timed on fewer inputs and scaled by their pairs; it is
less accurate by many digits.

Run: python benchmarks/speed/gram.py
"""

import resource
import time

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

import eft  # noqa: E402

N, FEW, DEPTH, CW, CB = 500, 60, 50, 1.5, 0.1


def timed(call, repeat: int = 5) -> tuple[float, float, eft.GramFlow]:
    """The first call's time, the median of later ones, and the result."""
    times = []
    for _ in range(repeat + 1):
        start = time.perf_counter()
        result = jax.block_until_ready(call())
        times.append(time.perf_counter() - start)
    return times[0], float(np.median(times[1:])), result


@jax.jit
def plain(X):
    """As one would write it: 25 × 25 nodes a pair, z₂ = √K₂ (ρu + √(1−ρ²) v)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(25)
    u, v = jnp.asarray(nodes)[:, None], jnp.asarray(nodes)
    w = jnp.asarray(np.outer(weights, weights) / (2 * np.pi))

    def pair(K11, K12, K22):
        rho = jnp.clip(K12 / jnp.sqrt(K11 * K22), -1, 1)
        s1 = jnp.tanh(jnp.sqrt(K11) * u)
        s2 = jnp.tanh(jnp.sqrt(K22) * (rho * u + jnp.sqrt(1 - rho**2) * v))
        return jnp.sum(w * s1 * s2), jnp.sum(w * (1 - s1**2) * (1 - s2**2))

    pairs = jax.vmap(jax.vmap(pair, (None, 0, 0)), (0, 0, None))

    def layer(now, _):
        K, Theta = now
        size = jnp.diagonal(K)
        g, slopes = pairs(size, K, size)
        return (CB + CW * g, 1 + g + CW * slopes * Theta), None

    overlap = X @ X.T / X.shape[1]
    return jax.lax.scan(layer, (CB + CW * overlap, 1 + overlap), length=DEPTH - 1)[0]


def main() -> None:
    X = np.random.default_rng(0).normal(size=(N, 64))
    print(f"jax {jax.__version__} on {jax.devices()[0].device_kind}, {N} inputs × depth {DEPTH}, float64")
    results = {}
    for name, cw, cb in (("tanh", CW, CB), ("tanh", 1.0, 0.0), ("relu", 2.0, 0.0)):
        first, warm, results[name, cw] = timed(
            lambda name=name, cw=cw, cb=cb: eft.gram_flow(name, cw, DEPTH, X, cb=cb)
        )
        print(f"{name}, C_W = {cw:g}: first call {first:.2f} s   warm {warm:.2f} s")
    print(
        f"most memory of the whole process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB"
    )
    few = jnp.asarray(X[:FEW])
    _, seconds, (K, _) = timed(lambda: plain(few), 2)
    ours = results["tanh", CW].K[:FEW, :FEW]
    print(
        f"25 × 25 Gauss-Hermite nodes: {seconds:.2f} s for {FEW} inputs, "
        f"about {seconds * (N / FEW) ** 2:.0f} s for {N}; "
        f"K off by up to {float(jnp.max(jnp.abs(K / ours - 1))):.0e}"
    )
    worst = 0.0
    for i, j in ((0, 1), (2, 3), (4, 400)):
        exact = eft.pair_flow("tanh", CW, DEPTH, X[i], X[j], cb=CB).K_ab[-1]
        worst = max(worst, abs(float(results["tanh", CW].K[i, j] / exact - 1)))
    print(f"K by the series against pairs integrated one by one: {worst:.0e}")


if __name__ == "__main__":
    main()
