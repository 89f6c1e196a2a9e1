"""Do the error bars of K and V say what they should? Thousands of ensembles whose truth is known exactly.

A cell is an ensemble of N networks with keys of their own, measured at its last layer. Of ReLU at C_W = 2 and
of deep linear networks at C_W = 1, E[Ĝ] = K¹ and E[Ĝ²] = K¹² Π(1 + c/n_l) at every width, c = 5, 2. Claims:

    K, N = 1000: z-scores are those of N(0, 1) (Kolmogorov–Smirnov p > 0.01), intervals of 68.3 and 95 % cover
    the truth as often as they say, within 3 binomial standard deviations. The control: V at leading order in
    1/n in place of its true value is rejected.
    V: jackknife intervals cover less than they say where the tails are heavy; bootstrap-t mends part of it.
    For 20 to 100 networks use `Measurement.V_interval`; tests/nets/statistics/test_estimators.py checks its
    coverage.

Run: python benchmarks/calibration.py [PNG, default docs/coverage.png]

Typical output, 2026-11-24, 6 minutes on two busy cores (of V three sizes of five):

    K, ReLU, n = 64, depth 3, 10,000 cells of 1,000: KS p = 0.77
        68.3 %:  68.3 % (+0.1 sd)   95 %:  94.8 % (-1.0 sd)   n Var: +1.0 errors off, leading order +64
    K, ReLU, n = 32, depth 5, 10,000 cells of 1,000: KS p = 0.011
        68.3 %:  68.2 % (-0.2 sd)   95 %:  94.9 % (-0.3 sd)   n Var: -1.3 errors off, leading order +165
    K, linear, n = 32, depth 4, 10,000 cells of 1,000: KS p = 0.18
        68.3 %:  68.9 % (+1.4 sd)   95 %:  95.3 % (+1.4 sd)   n Var: +0.2 errors off, leading order +88
    V, ReLU, n = 64, depth 3, N =    100: jackknife 95 %:  90.0 % (-7.3 sd)
    V, ReLU, n = 64, depth 3, N =  1,000: jackknife 95 %:  93.5 % (-2.2 sd); bootstrap-t:  93.7 % (-1.1 sd)
    V, ReLU, n = 64, depth 3, N = 10,000: jackknife 95 %:  95.3 % (+0.3 sd)
    V, ReLU, n = 32, depth 5, N =    100: jackknife 95 %:  82.2 % (-18.6 sd)
    V, ReLU, n = 32, depth 5, N =  1,000: jackknife 95 %:  90.9 % (-5.9 sd); bootstrap-t:  94.3 % (-0.5 sd)
    V, ReLU, n = 32, depth 5, N = 10,000: jackknife 95 %:  97.0 % (+1.6 sd)
    V, linear, n = 32, depth 4, N =    100: jackknife 95 %:  89.7 % (-7.7 sd)
    V, linear, n = 32, depth 4, N =  1,000: jackknife 95 %:  92.1 % (-4.2 sd); bootstrap-t:  93.7 % (-1.1 sd)
    V, linear, n = 32, depth 4, N = 10,000: jackknife 95 %:  93.3 % (-1.3 sd)
"""

import math
import sys

import jax

jax.config.update("jax_enable_x64", True)

import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402
from scipy import stats  # noqa: E402

import nets  # noqa: E402
from nets.statistics import estimators  # noqa: E402

CASES = {  # activation, C_W, c, width, depth
    "ReLU, n = 64, depth 3": ("relu", 2.0, 5, 64, 3),
    "ReLU, n = 32, depth 5": ("relu", 2.0, 5, 32, 5),
    "linear, n = 32, depth 4": ("linear", 1.0, 2, 32, 4),
}
CELLS, N = 10_000, 1000

SIZES = {100: 1000, 300: 1000, 1000: 1000, 3000: 500, 10_000: 300}
"""Networks in a cell of V, and how many cells."""
LEVELS = (0.683, 0.95)


def draws(name: str, networks: int, seed: int) -> tuple[np.ndarray, float, float]:
    """Ĝ/K¹ at the last layer of so many networks, its variance, and that at leading order in 1/n."""
    act, cw, c, n, depth = CASES[name]
    parts = []
    for first in range(0, networks, 1_000_000):
        count = min(1_000_000, networks - first)
        found = nets.measure(
            act, cw, depth, n, count, seed=seed + first // 1_000_000, method="metric", progress=False
        )
        parts.append(found.G[:, -1] / found.G[:, 0])
    return np.concatenate(parts), (1 + c / n) ** (depth - 1) - 1, c * (depth - 1) / n


def coverage(hits: np.ndarray, level: float) -> str:
    """The share of hits, and how many binomial standard deviations it is away."""
    share = np.mean(hits)
    return f"{100 * share:5.1f} % ({(share - level) / math.sqrt(level * (1 - level) / len(hits)):+.1f} sd)"


def kernels() -> None:
    for i, name in enumerate(CASES):
        G, variance, leading = draws(name, CELLS * N, 100 * i)
        cells = G.reshape(CELLS, N)
        z = (cells.mean(1) - 1) / (cells.std(1, ddof=1) / math.sqrt(N))
        p = stats.kstest(z, "norm").pvalue
        print(f"K, {name}, {CELLS:,} cells of {N:,}: KS p = {p:.2g}", end="")
        for level in LEVELS:
            hits = abs(z) < stats.norm.ppf((1 + level) / 2)
            print(f"   {100 * level:g} %: {coverage(hits, level)}", end="")
        d = (G - 1) ** 2
        error = d.std() / math.sqrt(len(d))
        found = d.mean()
        off, control = (found - variance) / error, (found - leading) / error
        print(f"   n Var: {off:+.1f} errors off, leading order {control:+.0f}")
        assert p > 0.01 and abs(off) < 4 and abs(control) > 5


def vertices(path: str) -> None:
    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    colors = dict(zip(CASES, ("#0072B2", "#D55E00", "#009E73"), strict=True))
    rng = np.random.default_rng(0)
    for i, name in enumerate(CASES):
        shares = []
        for size, count in SIZES.items():
            G, variance, _ = draws(name, count * size, 10_000 + 100 * i)
            cells = G.reshape(count, size)
            found = estimators.variance(cells.T)
            z = (found.mean - variance) / found.stderr
            shares.append(np.mean(abs(z) < stats.norm.ppf(0.975)))
            line = (
                f"V, {name}, N = {size:6,}: jackknife 95 %: {coverage(abs(z) < stats.norm.ppf(0.975), 0.95)}"
            )
            if size == N:
                few = cells[:300]
                ends = [estimators.variance_interval(cell, 0.95, rng) for cell in few]
                hits = np.array([low < variance < high for low, high in ends])
                line += f"   bootstrap-t: {coverage(hits, 0.95)}"
                error = math.sqrt(np.mean(hits) * (1 - np.mean(hits)) / len(hits))
                label = "bootstrap-t" if i == 0 else None
                axes.errorbar(
                    size * 1.1 ** (i - 1), 100 * np.mean(hits), 100 * error, fmt="s", mfc="white", capsize=3,
                    color=colors[name], label=label,
                )  # fmt: skip
            print(line, flush=True)
        share = np.array(shares)
        error = 100 * np.sqrt(share * (1 - share) / list(SIZES.values()))
        axes.errorbar(list(SIZES), 100 * share, error, fmt="o-", capsize=3, color=colors[name], label=name)
    axes.axhline(95, color="#333333", lw=1, ls="--", label="what it should be")
    axes.set(
        xscale="log", xlabel="networks N", ylabel="intervals of V that hold the truth, %", ylim=(55, 100)
    )
    axes.set_title("95 % intervals of V from a jackknife error")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    kernels()
    vertices(sys.argv[1] if len(sys.argv) > 1 else "docs/coverage.png")
