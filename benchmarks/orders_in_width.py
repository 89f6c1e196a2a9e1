"""What each order of the 1/n series leaves out, measured on networks with control variates: tanh, depth 6.

Claims, with 100,000 networks at each width n = 16 … 512:

    K and V less the series of order 5 are 0, up to 4.5 standard errors and the size of the last term;
    what order 1 leaves of K and of V is seen, by more than 5 standard errors, up to n = 64;
    without control variates the same networks see it nowhere but, of V, at the smallest widths.

Draws docs/orders.png. What came out (2026-11-28, two cores, 28 s): all claims hold. Standard errors in units
of K and V, with and without control variates; by how many of the former networks are off order 0, 1, 2, 5:

    n     K: with    without   0      1      2     5       V: with    without   1      2     5
    16    3.0e-5     1.1e-3    -1364  -15.4  +1.2  -1.3    5.8e-4     4.6e-3    -47.7  -2.1  +0.3
    64    3.9e-6     5.6e-4    -2618   -7.4  +0.7  +0.4    3.2e-4     4.5e-3    -22.0  -1.3  -1.0
    512   1.8e-7     2.0e-4    -7159   -3.4  -0.6  -0.7    1.2e-4     4.5e-3     -6.9  +0.2  +0.2

Run: python benchmarks/orders_in_width.py [networks, default 100000]
"""

import sys
import time
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

import numpy as np  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

import eft  # noqa: E402
import nets  # noqa: E402
from eft.figures.style import COLOURS, DASHES, GREY, MARKERS  # noqa: E402

ACT, CW, DEPTH, HIGHEST = "tanh", 1.3, 6, 5
WIDTHS = np.array([16, 24, 32, 48, 64, 96, 128, 256, 512])
TICKS = [16, 32, 64, 128, 256, 512]
ORDERS = {"K": (0, 1, 2), "V": (1, 2)}
FIGURE = Path(__file__).parents[1] / "docs" / "orders.png"


def main(n_nets: int) -> None:
    start, series = time.perf_counter(), eft.expand(ACT, CW, DEPTH, HIGHEST)
    terms = {"K": np.asarray(series.G)[-1], "V": np.asarray(series.V)[-1, 1:]}
    ensembles = [
        nets.measure(ACT, CW, DEPTH, int(n), n_nets, seed=int(n), method="metric", control_variates=True)
        for n in WIDTHS
    ]
    figure, failed = Figure(figsize=(10, 4.4), layout="constrained"), []
    for ax, name in zip(figure.subplots(1, 2), ("K", "V"), strict=True):
        known = [getattr(m.controlled, name) for m in ensembles]
        mean, error = (np.array([getattr(k, of)[-1] for k in known]) for of in ("mean", "stderr"))
        plain = np.array([getattr(m, name).stderr[-1] for m in ensembles])
        of = terms[name] / WIDTHS[:, None] ** np.arange(len(terms[name]))
        scale = terms[name][0]
        beyond = mean - of.sum(1)
        print(f"{name}: width, (networks − order {HIGHEST})/error, error/{name}, without control variates")
        for n, off, e, p in zip(WIDTHS, beyond / error, error / scale, plain / scale, strict=True):
            print(f"  {n:4d} {off:+7.2f}  {e:.1e}  {p:.1e}")
        if (abs(beyond) > 4.5 * error + abs(of[:, -1])).any():
            failed.append(f"{name}: order {HIGHEST}")
        for order in ORDERS[name]:
            kept = order + 1 if name == "K" else order
            left, theory = mean - of[:, :kept].sum(1), of[:, kept:].sum(1)
            print(f"  left by order {order}, in errors: {np.array2string(left / error, precision=1)}")
            if order == 1:
                seen = WIDTHS <= 64
                if (abs(left / error)[seen] < 5).any():
                    failed.append(f"{name}: order 1 is not rejected")
                if (abs(theory / plain)[WIDTHS >= 64] > 5).any():
                    failed.append(f"{name}: order 1 is seen without control variates")
            shown = abs(left) > 2 * error
            look = {"color": COLOURS[order], "label": f"{order}"}
            ax.plot(WIDTHS, abs(theory) / scale, ls=DASHES[order], lw=1.5, **look)
            ax.errorbar(
                WIDTHS[shown], abs(left[shown]) / scale, error[shown] / scale, ls="", marker=MARKERS[order],
                ms=5, color=COLOURS[order], capsize=2,
            )  # fmt: skip
        ax.plot(WIDTHS, plain / scale, color=GREY, ls=":", lw=2, label="error without control variates")
        ax.plot(WIDTHS, error / scale, color=GREY, ls="-", lw=1, label="error with them")
        ax.set(xscale="log", yscale="log", xlabel="width $n$", xticks=TICKS, xticklabels=TICKS)
        ax.minorticks_off()
        ax.set_ylabel(f"|networks − theory| / ${name}$")
        ax.set_title({"K": "kernel $K$", "V": "four-point vertex $V$"}[name])
        ax.grid(alpha=0.25)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=5,
        title="theory (lines) to order …, networks (points)",
    )
    figure.savefig(FIGURE, dpi=130)
    print(f"{time.perf_counter() - start:.0f} s; {FIGURE}")
    print("\n".join(f"MISSED {each}" for each in failed) or "all claims hold")
    raise SystemExit(bool(failed))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
