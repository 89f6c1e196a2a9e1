"""Residual and orthogonal networks at order 1/n: theory against networks that are drawn, weights and all.

    python benchmarks/beyond_plain.py measure results/beyond_plain.npz [networks [cases]]
    python benchmarks/beyond_plain.py compare results/beyond_plain.npz

`measure` (on an accelerator, or for hours) draws networks z′ = γz + b + Wσ(z) of widths 16 to 128, and
propagates z and the empirical NTK Θ̂_ij through their weights, by code of its own that does nothing else.
Averages over the weights of the next layer, given a layer, are exact:

    H_i = E[Θ̂_ii′] = λ_b + (λ_W/n) Σ σ² + γ²Θ̂_ii + (C_W/n) Σ σ′² Θ̂_kk,     q_i = E[z_i′²] = γ² z_i² + Ĝ
    V: q_i q_j,   A: H_i H_j,   D: q_i H_j,   B: Θ̂_ij²,   F: z_i z_j Θ̂_ij,   means over i ≠ j

G1 and Theta1 are n(E[q] − K) and n(E[H] − Θ), with mean_i(z_i²) − q and mean_i(Θ̂_ii) − H of all layers,
whose mean is 0, as control variates; of V and G1 at one input, 200 times as many networks are sampled without
weights. `compare` extrapolates each to 1/n = 0 by the polynomial in 1/n through all widths, and asks whether
it is that of `eft.ntk_gram_flow` and `eft.vertex_flow`, by each number and by χ² over the layers with their
covariance. Control: by how many standard errors V and G1 of the closure in the metric are rejected.

What came out, in part (2026-11-26, one NVIDIA H200, jax 0.11.2, 4 minutes; `compare`: two cores, 5 minutes):

    gelu γ=0.8   G1      2.942      2.973 ±     0.03  largest |z|  1.29  p 0.040  in the metric   96.8
    gelu γ=0.8   V       41.82      41.75 ±     0.07  largest |z|  2.06  p 0.251  in the metric  258.9
    gelu γ=0.8   A       343.3      347.7 ±        6  largest |z|  0.78  p 0.015
    gelu γ=0.8   F       39.26      39.76 ±      0.4  largest |z|  1.37  p 0.596
    relu γ=1.0   B       105.6      105.5 ±      0.2  largest |z|  0.30  p 0.797
    2312 numbers in 231 groups: largest |z| 3.07, rms 0.95
    p: smallest 0.0090; below 0.05: 0.078 of them
    not as predicted: none
"""

import functools
import itertools
import math
import sys
import time

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from scipy import special  # noqa: E402

import eft  # noqa: E402

WIDTHS = (16, 32, 64, 128)
RATES = {"lambda_w": 0.7, "lambda_b": 0.3}
ACTS = ("tanh", "gelu", "relu", "softplus", "sin", "mrepu")
NUMBERS_A_BLOCK = 2**27
"""Weights of the networks that are drawn at a time: 0.5 GB in float32."""


def cases() -> dict[str, dict]:
    """Each: act, skip, cw, cb, X (one or two inputs), depth, weights."""
    found = {}
    settings = {
        "tanh": dict(cw={0.5: 2.0, 0.8: 2.0, 0.95: 0.5, 1.0: 0.3}, cb=0.0, K1=3.0, depth=8),
        "gelu": dict(cw={0.5: 1.2, 0.8: 0.7, 0.95: 0.2, 1.0: 0.1}, cb=0.1, K1=1.5, depth=8),
        "relu": dict(cw={0.5: 1.2, 0.8: 0.6, 0.95: 0.2, 1.0: 0.1}, cb=0.1, K1=1.0, depth=8),
        "softplus": dict(cw={0.5: 0.5, 0.8: 0.3, 0.95: 0.1, 1.0: 0.05}, cb=0.1, K1=1.0, depth=8),
        "sin": dict(cw={0.5: 2.0, 0.8: 2.0, 0.95: 0.5, 1.0: 0.3}, cb=0.1, K1=2.0, depth=8),
        "mrepu": dict(cw={0.5: 0.5, 0.8: 0.25, 0.95: 0.05, 1.0: 0.01}, cb=0.0, K1=1e-3, depth=8),
    }
    for act, s in settings.items():
        for skip, cw in s["cw"].items():
            x2 = (s["K1"] - s["cb"]) / cw
            found[f"{act} γ={skip}"] = dict(
                act=act, skip=skip, cw=cw, cb=s["cb"], X=[[x2**0.5]], depth=s["depth"], weights="gaussian"
            )
    # unlike the others: the kernel grows from 1.5 to 4.6, where a closure in the metric fails most
    found["gelu γ=0.9, growing"] = dict(
        act="gelu", skip=0.9, cw=0.9, cb=0.1, X=[[(1.4 / 0.9) ** 0.5]], depth=8, weights="gaussian"
    )
    two = [[1.2, 0.4], [-0.3, 1.0]]
    for act, skip, cw, cb in (("tanh", 0.8, 2.0, 0.1), ("gelu", 0.9, 0.7, 0.1), ("sin", 1.0, 0.4, 0.1)):
        found[f"{act} γ={skip}, two inputs"] = dict(
            act=act, skip=skip, cw=cw, cb=cb, X=two, depth=5, weights="gaussian"
        )
    for act, skip, cw, cb in (
        ("tanh", 0.0, 1.3, 0.1), ("gelu", 0.0, 1.7, 0.15), ("relu", 0.0, 1.8, 0.1), ("tanh", 0.8, 1.0, 0.1),
    ):  # fmt: skip
        found[f"orthogonal {act} γ={skip}"] = dict(
            act=act, skip=skip, cw=cw, cb=cb, X=[[1.2]], depth=5, weights="orthogonal"
        )
    found["orthogonal tanh, two inputs"] = dict(
        act="tanh", skip=0.0, cw=1.3, cb=0.1, X=two, depth=4, weights="orthogonal"
    )
    return found


# --- networks -----------------------------------------------------------------------------------


def haar(key, n, dtype):
    """A random orthogonal matrix: A = QR with R of positive diagonal, by two Cholesky factorizations."""
    A = jax.random.normal(key, (n, n), jnp.float64)
    for _ in range(2):
        R = jnp.linalg.cholesky(A.T @ A)
        A = jax.scipy.linalg.solve_triangular(R, A.T, lower=True).T
    return A.astype(dtype)


def network(key, sigma, n, depth, orthogonal, skip, cw, cb, x):
    """The estimates of one network, layers 2 … depth along the leading axis."""
    dtype, m = x.dtype, len(x)
    lw, lb = RATES["lambda_w"], RATES["lambda_b"]
    I, J = np.triu_indices(m)  # noqa: E741
    first, rest = jax.random.split(key)
    u = jax.random.normal(first, (x.shape[1] + 1, n), dtype)
    z = jnp.sqrt(cb) * u[0] + jnp.sqrt(cw / x.shape[1]) * x @ u[1:]
    T = (lb + lw * x @ x.T / x.shape[1])[:, :, None, None] * jnp.eye(n, dtype=dtype)
    off = 1 - jnp.eye(n, dtype=dtype)

    def pairs(a, b):
        """The mean of a_i b_j over i ≠ j, for a and b of shape (P, n)."""
        return (jnp.outer(a.sum(1), b.sum(1)) - a @ b.T) / (n * (n - 1))

    def direct(z, T):
        """Estimates from the values of a layer itself."""
        q, H = z[I] * z[J], jnp.diagonal(T, axis1=2, axis2=3)[I, J]
        o = T * off
        B = jnp.einsum("abij,cdij->acbd", o, o) / (n * (n - 1))
        F = jnp.einsum("ai,bj,cdij->acbd", z, z, o) / (n * (n - 1))
        return pairs(q, q), pairs(H, H), pairs(q, H), B, F

    def layer(carry, key):
        z, T = carry
        s, d = sigma(z)
        S = s @ s.T / n
        own = jnp.diagonal(T, axis1=2, axis2=3)  # (m, m, n)
        slopes = d[:, None] * d[None]
        H = lb + lw * S[..., None] + skip**2 * own + cw * jnp.mean(slopes * own, -1, keepdims=True)
        q = skip**2 * z[:, None] * z[None] + (cb + cw * S)[..., None]
        H, q = H[I, J], q[I, J]
        weights, biases = jax.random.split(key)
        W = (
            jnp.sqrt(cw) * haar(weights, n, dtype)
            if orthogonal
            else jnp.sqrt(cw / n) * jax.random.normal(weights, (n, n), dtype)
        )
        b = jnp.sqrt(cb) * jax.random.normal(biases, (n,), dtype)
        Jac = skip * jnp.eye(n, dtype=dtype) + W * d[:, None]
        T_next = jnp.einsum("aik,abkl,bjl->abij", Jac, T, Jac) + (lb + lw * S)[..., None, None] * jnp.eye(
            n, dtype=dtype
        )
        z_next = skip * z + b + s @ W.T
        if orthogonal:
            estimates = direct(z_next, T_next)
        else:
            o, u = T * off, s[:, None] * d[None]  # u_cd = σ_c σ′_d
            squares = jnp.einsum("abij,cdij->acbd", o, o) / (n * (n - 1))
            B_i = jnp.einsum("bdk,abik,cdik->acbd", slopes, T, T) / n
            B_j = jnp.einsum("ack,abkj,cdkj->acbd", slopes, T, T) / n
            B_both = jnp.einsum("ack,bdm,abkm,cdkm->acbd", slopes, slopes, T, T) / n
            B = skip**4 * squares + (skip**2 * cw * (B_i + B_j) + cw**2 * B_both) / n
            zz = jnp.einsum("ai,bj,cdij->acbd", z, z, o) / (n * (n - 1))
            F_i = jnp.einsum("ai,bdk,cdik->acbd", z, u, T) / n
            F_j = jnp.einsum("bj,ack,cdkj->acbd", z, u, T) / n
            F_both = jnp.einsum("ack,bdm,cdkm->acbd", u, u, T) / n
            F = skip**4 * zz + (skip**2 * cw * (F_i + F_j) + cw**2 * F_both) / n
            estimates = pairs(q, q), pairs(H, H), pairs(q, H), B, F
        z2 = (z_next[I] * z_next[J]).mean(1)
        traces = jnp.diagonal(T_next, axis1=2, axis2=3).mean(-1)[I, J]
        q, H = q.mean(1), H.mean(1)
        flat = [q, H, z2 - q, traces - H, *(e.ravel() for e in estimates)]
        return (z_next, T_next), jnp.concatenate(flat)

    return jax.lax.scan(layer, (z, T), jax.random.split(rest, depth - 1))[1]


def signal(key, sigma, n, depth, skip, cw, cb, K1):
    """q, mean z² − q and the mean of q_i q_j, layers 2 … depth, of a network of which no weight is drawn."""

    def layer(z, key):
        q = skip**2 * z * z + cb + cw * jnp.mean(sigma(z)[0] ** 2)
        z_next = skip * z + jnp.sqrt(q - skip**2 * z * z) * jax.random.normal(key, (n,), z.dtype)
        total = jnp.sum(q)
        return z_next, jnp.stack(
            [total / n, jnp.mean(z_next * z_next) - total / n, (total**2 - q @ q) / (n * (n - 1))]
        )

    first, *keys = jax.random.split(key, depth)
    z = jnp.sqrt(K1) * jax.random.normal(first, (n,), K1.dtype)
    return jax.lax.scan(layer, z, jnp.stack(keys))[1]


def choice(which):
    """σ and σ′ of one of the activations, chosen while running: one program serves all."""

    def branch(act):
        return lambda z: tuple(f.astype(z.dtype) for f in act.derivatives(z)[:2])

    branches = [branch(eft.activation(name)) for name in ACTS]
    return lambda z: jax.lax.switch(which, branches, z)


@functools.cache
def block_program(kind, n, depth, size):
    """The number of finite networks of a block, the sum of their rows and of the products of rows."""

    def one(key, which, numbers):
        sigma = choice(which)
        if kind == "signal":
            return signal(key, sigma, n, depth, *numbers).ravel()
        return network(key, sigma, n, depth, kind == "orthogonal", *numbers).ravel()

    def block(key, which, numbers, centre):
        with jax.default_matmul_precision("highest"):
            rows = jax.vmap(lambda k: one(k, which, numbers))(jax.random.split(key, size)).astype(jnp.float64)
            good = jnp.isfinite(rows).all(1)
            rows = jnp.where(good[:, None], rows - centre, 0.0)
            return good.sum(), rows.sum(0), rows.T @ rows

    return jax.jit(block)


def ensemble(kind, n, depth, numbers, which, networks, m):
    """Mean and covariance of the mean of the rows, and the number of networks."""
    of_each = {"signal": n, "gaussian": n * n * m * m, "orthogonal": 4 * n * n * m * m}[kind]
    size = max(64, min(65536 if kind == "signal" else 8192, NUMBERS_A_BLOCK // of_each, networks))
    program, key = block_program(kind, n, depth, size), jax.random.key(n)
    width = jax.eval_shape(program, key, which, numbers, 0.0)[1].shape[0]
    centre = np.zeros(width)
    first = program(key, which, numbers, centre)  # only to know what to subtract
    centre = np.asarray(first[1] / first[0])
    count, total, products = 0, np.zeros(width), np.zeros((width, width))
    parts = [
        program(jax.random.fold_in(key, i), which, numbers, centre)
        for i in range(1, 1 + -(-networks // size))
    ]
    for number, rows, outer in parts:
        count, total, products = count + int(number), total + rows, products + outer
    mean = np.asarray(total) / count
    covariance = (np.asarray(products) / count - np.outer(mean, mean)) / count
    return centre + mean, covariance, np.array([len(parts) * size, count])


def measure(path: str, networks: int, only: str) -> None:
    saved, started = {}, time.time()
    for name, case in cases().items():
        if only not in name:
            continue
        m, depth, haar = len(case["X"]), case["depth"], case["weights"] == "orthogonal"
        kinds = ["orthogonal" if haar else "gaussian"] + ["signal"] * (m == 1 and not haar)
        for kind, n in itertools.product(kinds, WIDTHS[:3] if haar else WIDTHS):
            # MRePU at K = 1e-3: A is 1e-6 of Θ², less than float32 resolves
            dtype = jnp.float64 if haar or case["act"] == "mrepu" else jnp.float32
            start = case["X"] if kind != "signal" else case["cb"] + case["cw"] * case["X"][0][0] ** 2
            numbers = tuple(jnp.asarray(v, dtype) for v in (case["skip"], case["cw"], case["cb"], start))
            N = networks * 200 if kind == "signal" else networks // (4 if m > 1 or haar else 1)
            result = ensemble(kind, n, depth, numbers, ACTS.index(case["act"]), N, m)
            for what, value in zip(("mean", "covariance", "N"), result, strict=True):
                saved[f"{name}|{kind}|{n}|{what}"] = value
            print(
                f"{name}, {kind}, n = {n}: {result[2][0]:,} networks, {time.time() - started:.0f} s",
                flush=True,
            )
        np.savez(path, **saved)


# --- comparison ---------------------------------------------------------------------------------

ROUNDING = 1e-6
"""Standard deviation of a control, relative to what is to be known, below which it is round-off."""

SMALLEST_EIGENVALUE = 1e-6
"""Relative to the largest, of the correlation of estimates: smaller ones are those of equal components."""

TENSORS = ("V", "A", "D", "B", "F")


def cleaned(mean, covariance, wanted, controls):
    """The mean and covariance of `wanted` numbers, less what `controls`, whose mean is 0, explain of them."""
    variances = np.diag(covariance)
    controls = controls[variances[controls] > ROUNDING**2 * variances[wanted].max()]
    scale = np.sqrt(variances[controls])
    C = covariance[np.ix_(controls, controls)] / np.outer(scale, scale)
    slope = covariance[np.ix_(wanted, controls)] / scale @ np.linalg.pinv(C, rcond=1e-10) / scale
    change = np.zeros((len(wanted), len(mean)))
    change[np.arange(len(wanted)), wanted] = 1.0
    change[:, controls] = -slope
    return change @ mean, change


def estimates(mean, covariance, n, m, depth, kind, theory):
    """n-scaled estimates at one width, each (layers, …) flat, with their covariance; by name."""
    P = m * (m + 1) // 2
    rows = np.arange(len(mean)).reshape(depth - 1, -1)
    if kind == "signal":
        q, controls, V = rows[:, :1], rows[:, 1:2].ravel(), rows[:, 2:]
        columns = {"V": V}
    else:
        q, H = rows[:, :P], rows[:, P : 2 * P]
        controls = rows[:, 2 * P : 4 * P].ravel()
        sizes = np.cumsum([P * P, P * P, P * P, m**4])
        columns = dict(zip(TENSORS, np.split(rows[:, 4 * P :], sizes, axis=1), strict=True))
    found = {}
    a, b = np.triu_indices(m)
    exact = {"q": np.asarray(theory["K"])[1:, a, b], "H": np.asarray(theory["Theta"])[1:, a, b]}
    means = {"q": q} if kind == "signal" else {"q": q, "H": H}
    for (which, at), name in zip(means.items(), ("G1", "Theta1"), strict=False):
        value, change = cleaned(mean, covariance, at.ravel(), controls)
        found[name] = n * (value - exact[which].ravel()), n * change
    for name, at in columns.items():
        change = np.zeros((at.size, len(mean)))
        change[np.arange(at.size), at.ravel()] = n
        value = n * mean[at].ravel()
        if name in ("V", "A", "D"):
            left, right = (q, q) if name == "V" else (H, H) if name == "A" else (q, H)
            row = 0
            for layer in range(depth - 1):
                for i in range(P):
                    for j in range(P):
                        x, y = left[layer, i], right[layer, j]
                        value[row] -= n * mean[x] * mean[y]
                        change[row, x] -= n * mean[y]
                        change[row, y] -= n * mean[x]
                        row += 1
        found[name] = value, change
    return {name: (value, change @ covariance @ change.T) for name, (value, change) in found.items()}


def extrapolated(by_width: dict[int, tuple]) -> tuple:
    """The value at 1/n = 0 and its covariance, by the polynomial in 1/n through all widths."""
    x = [1 / n for n in by_width]
    weights = [math.prod(b / (b - a) for b in x if b != a) for a in x]
    value = sum(w * v for w, (v, _) in zip(weights, by_width.values(), strict=True))
    return value, sum(w * w * c for w, (_, c) in zip(weights, by_width.values(), strict=True))


def theory_of(case: dict, with_ntk: bool = True) -> dict[str, np.ndarray]:
    settings = dict(cb=case["cb"], skip=case["skip"], weights=case["weights"])
    flow = eft.ntk_gram_flow(case["act"], case["cw"], case["depth"], case["X"], **settings, **RATES)
    vertex = eft.vertex_flow(case["act"], case["cw"], case["depth"], case["X"], **settings)
    assert bool(flow.valid.all()) and bool(vertex.valid.all())
    a, b = np.triu_indices(len(case["X"]))
    fields = {name: np.asarray(value) for name, value in flow._asdict().items()}
    fields["G1"], fields["Theta1"] = np.asarray(vertex.G1)[:, a, b], fields["Theta1"][:, a, b]
    return fields


def in_the_metric(case: dict) -> dict[str, np.ndarray]:
    """V and G1 of one input by the closure in the metric, which is the textbook's."""
    K, V, G1 = case["cb"] + case["cw"] * case["X"][0][0] ** 2, 0.0, 0.0
    found = []
    for _ in range(case["depth"]):
        found.append((V, G1))
        m = jax.tree.map(float, eft.moments(case["act"], K))
        square, cw = case["skip"] ** 2, case["cw"]
        chi = square + cw * m.dg
        V, G1 = cw * cw * m.var + 4 * square * K**2 * cw * m.dg + chi**2 * V, chi * G1 + cw * m.d2g * V / 2
        K = square * K + case["cb"] + cw * m.g
    return dict(zip(("V", "G1"), np.array(found).T, strict=True))


def chi_squared(difference, covariance) -> float:
    """The probability of a larger χ²; directions that hardly fluctuate are left out."""
    scale = np.sqrt(np.diag(covariance))
    used = scale > 0
    correlation = covariance[np.ix_(used, used)] / np.outer(scale[used], scale[used])
    eigenvalues, vectors = np.linalg.eigh(correlation)
    kept = eigenvalues > SMALLEST_EIGENVALUE * eigenvalues[-1]
    projected = (vectors.T @ (difference[used] / scale[used]))[kept]
    return float(special.gammaincc(kept.sum() / 2, (projected**2 / eigenvalues[kept]).sum() / 2))


def by_names(saved, name, kind, case, theory) -> dict[str, dict]:
    """Of every tensor, the estimates and their covariance by width."""
    found: dict[str, dict] = {}
    for n in WIDTHS:
        if f"{name}|{kind}|{n}|mean" not in saved:
            continue
        mean, covariance = (saved[f"{name}|{kind}|{n}|{what}"] for what in ("mean", "covariance"))
        each = estimates(mean, covariance, n, len(case["X"]), case["depth"], kind, theory)
        for what, pair in each.items():
            found.setdefault(what, {})[n] = pair
    return found


def compare(path: str) -> None:
    saved, failed, z_all, p_all = np.load(path), [], [], []
    for name, case in cases().items():
        theory = theory_of(case)
        one = len(case["X"]) == 1
        wrong = in_the_metric(case) if one and case["skip"] and case["weights"] == "gaussian" else {}
        for kind in ("signal", "gaussian", "orthogonal"):
            for what, by_width in by_names(saved, name, kind, case, theory).items():
                if kind == "gaussian" and one and what in ("V", "G1"):
                    continue  # from the signal alone they are known far better
                value, covariance = extrapolated(by_width)
                expected, error = theory[what][1:].ravel(), np.sqrt(np.diag(covariance))
                z = np.where(error > 0, (value - expected) / np.where(error > 0, error, 1), 0.0)
                p = chi_squared(value - expected, covariance)
                z_all.extend(z[error > 0])
                p_all.append(p)
                line = f"{name:28s}{what:7s} {expected[-1]:10.4g} {value[-1]:10.4g} ± {error[-1]:8.1g}"
                line += f"  largest |z| {np.abs(z).max():5.2f}  p {p:.3f}"
                if what in wrong:
                    of_wrong = (value - wrong[what][1:])[1:] / error[1:]
                    line += f"  in the metric {np.abs(of_wrong).max():6.1f}"
                print(line, flush=True)
                if np.abs(z).max() > 4 or p < 1e-4:
                    failed.append(f"{name} {what}")
    rms = np.sqrt(np.mean(np.square(z_all)))
    print(
        f"{len(z_all)} numbers in {len(p_all)} groups: largest |z| {np.abs(z_all).max():.2f}, rms {rms:.2f}"
    )
    print(f"p: smallest {min(p_all):.4f}; below 0.05: {np.mean(np.array(p_all) < 0.05):.3f} of them")
    print("not as predicted:", ", ".join(failed) or "none")
    sys.exit(bool(failed))


if __name__ == "__main__":
    if sys.argv[1] == "measure":
        measure(sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 300_000, " ".join(sys.argv[4:]))
    else:
        compare(sys.argv[2])
