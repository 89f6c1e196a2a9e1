"""Four-point vertex of 8 inputs and NTK fluctuations of 4 at depth 10, tanh and ReLU, float64.

Claims: at most 1 s warm each, for ReLU 0.2 s; for tanh V and A within 1e-9 of the largest entry of those from
twice as many nodes, for ReLU those of 3 inputs at depth 3 within 1e-6 of those from nested integrals.
The plain way is a product of four 24-node Gauss–Hermite rules for ⟨σ₁σ₂σ₃σ₄⟩, timed on one set of four inputs
and scaled to the 70 sets of 8 inputs and 9 layers.

Run: python benchmarks/speed/several_inputs.py

Output (two cores of an AMD EPYC server that other programs used at the same time, load 3 to 5, 2026-11-28):

    jax 0.10.2 on cpu, C_W = 1 (ReLU: 2), float64
    vertex_flow, tanh, 8 inputs × depth 10: first call 3.8 s   warm 0.242 s   error 8e-14, V off by 2e-13
    ntk_gram_flow, tanh, 4 inputs × depth 10: first call 5.2 s   warm 0.032 s   error 1e-10, A off by 5e-14
    vertex_flow, ReLU, 8 inputs × depth 10: first call 2.2 s   warm 0.030 s   error 2e-14,
        V of 3 inputs off by 5e-16
    ntk_gram_flow, ReLU, 4 inputs × depth 10: first call 3.4 s   warm 0.004 s   error 2e-14,
        A of 3 inputs off by 3e-15
    24⁴ Gauss–Hermite nodes, ⟨σ₁σ₂σ₃σ₄⟩ of 8 inputs alone: about 2.2 s

By nested integrals, as other σ with kinks need them, the warm calls take 27 and 7 s for tanh; for ReLU a
layer took 20 and 2 s.
"""

import time

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from _record import record  # noqa: E402

import eft  # noqa: E402
from eft.finite_width import ntk_gram, vertex  # noqa: E402
from eft.finite_width.input_products import Rules  # noqa: E402

DEPTH, SETS, NODES = 10, 70, 24
X = np.random.default_rng(0).normal(size=(8, 10))


def timed(call, repeat: int = 3) -> tuple[float, float, object]:
    """Seconds of the first call, the best of later ones, and the result."""
    times = []
    for _ in range(repeat + 1):
        start = time.perf_counter()
        result = jax.block_until_ready(call())
        times.append(time.perf_counter() - start)
    return times[0], min(times[1:]), result


@jax.jit
def plain(K):
    """⟨Π tanh z_i⟩, z = F x, on 24⁴ nodes."""
    x, w = np.polynomial.hermite_e.hermegauss(NODES)
    grids = jnp.stack(jnp.meshgrid(*4 * [jnp.asarray(x)], indexing="ij")).reshape(4, -1)
    weights = jnp.stack(jnp.meshgrid(*4 * [jnp.asarray(w / w.sum())], indexing="ij")).reshape(4, -1)
    values = jnp.prod(jnp.tanh(jnp.linalg.cholesky(K) @ grids), 0)
    return jnp.sum(values * jnp.prod(weights, 0))


def finer(module, call):
    """The result with twice as many nodes."""
    usual = module.rules_for

    def rules_for(act, largest_K):
        rules = usual(act, largest_K)
        products = rules.products._replace(half=2 * rules.products.half)
        return rules._replace(products=products, pairs=2 * rules.pairs)

    module.rules_for = rules_for
    try:
        return call()
    finally:
        module.rules_for = usual


def nested(module, call):
    """The result from nested integrals."""
    usual = module.rules_for
    module.rules_for = lambda act, largest_K: Rules(usual(act, largest_K).grids)
    try:
        return call()
    finally:
        module.rules_for = usual


def distance(found, exact, field: str) -> float:
    """The largest difference of a field, in units of its largest entry."""
    found, exact = (np.asarray(getattr(flow, field)) for flow in (found, exact))
    return np.max(np.abs(found - exact)) / np.max(np.abs(exact))


def of_relu() -> dict[str, bool]:
    """Timings and accuracy for ReLU."""
    checks = {}
    for name, module, inputs, field in (("vertex_flow", vertex, 8, "V"), ("ntk_gram_flow", ntk_gram, 4, "A")):
        flow_of = getattr(eft, name)
        first, warm, flow = timed(lambda f=flow_of, n=inputs: f("relu", 2.0, DEPTH, X[:n]))
        few = lambda f=flow_of: f("relu", 2.0, 3, X[:3])  # noqa: E731
        off = distance(few(), nested(module, few), field)
        print(
            f"{name}, ReLU, {inputs} inputs × depth {DEPTH}: first call {first:.1f} s   warm {warm:.3f} s   "
            f"error {float(flow.error.max()):.0e},\n    {field} of 3 inputs off by {off:.0e}"
        )
        record(f"`{name}`, ReLU, {inputs} inputs × depth {DEPTH}", first=first, warm=warm)
        checks[f"{name}, ReLU: at most 0.2 s"] = warm <= 0.2
        checks[f"{name}, ReLU: within 1e-6"] = off <= 1e-6
    return checks


def main() -> None:
    print(f"jax {jax.__version__} on {jax.devices()[0].device_kind}, C_W = 1 (ReLU: 2), float64")
    K = jnp.asarray(X[:4] @ X[:4].T / X.shape[1])
    by_product = timed(lambda: plain(K))[1] * SETS * (DEPTH - 1)
    cases = {
        "vertex_flow": (lambda: eft.vertex_flow("tanh", 1.0, DEPTH, X), vertex, "V"),
        "ntk_gram_flow": (lambda: eft.ntk_gram_flow("tanh", 1.0, DEPTH, X[:4]), ntk_gram, "A"),
    }
    checks = {}
    for name, (call, module, field) in cases.items():
        first, warm, flow = timed(call)
        off = distance(flow, finer(module, call), field)
        inputs = flow.K.shape[1]
        print(
            f"{name}, tanh, {inputs} inputs × depth {DEPTH}: first call {first:.1f} s   warm {warm:.3f} s   "
            f"error {float(flow.error.max()):.0e}, {field} off by {off:.0e}"
        )
        about = {}
        if name == "vertex_flow":
            about = {"peer": f"⟨σσσσ⟩ alone by {NODES}⁴ nodes, scaled", "peer_seconds": by_product}
        record(f"`{name}`, tanh, {inputs} inputs × depth {DEPTH}", first=first, warm=warm, **about)
        checks[f"{name}: at most 1 s"] = warm <= 1.0
        checks[f"{name}: within 1e-9"] = off <= 1e-9
    checks |= of_relu()
    print(f"{NODES}⁴ Gauss–Hermite nodes, ⟨σ₁σ₂σ₃σ₄⟩ of 8 inputs alone: about {by_product:.1f} s")
    for claim, holds in checks.items():
        print(("holds  " if holds else "MISSED ") + claim)
    raise SystemExit(not all(checks.values()))


if __name__ == "__main__":
    main()
