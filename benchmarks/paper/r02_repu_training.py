"""R2: RePU networks in training: the kernel of the output, and what the networks have learned.

The experiment of Tables 2, 3 and Figs. 2, 3 of arXiv:2408.02697. Stated there: width 512; 1, 3 and 5 hidden
layers; p = 2 and 3; C_b = 0; 100 networks; 100 samples of points of the plane; snapshots at 0, 250, 500, 750,
1000 epochs; networks that overflow left out and counted; a test set of the same distribution; C_W "adjusted".
Ours: points uniform in [−1, 1]², the target sin πx₁ cos πx₂, full-batch Adam at 1e-3 on half the mean square,
C_W at the threshold of the largest input, ‖x‖²/n₀ = 1 (`eft.threshold_cw`): above, the kernels of some
inputs explode before the first step.

The claim "only networks of one hidden layer learn" is tried as: a network has learned if its loss is less
than a tenth of that of the best constant. The share of such networks, with its binomial error, decides.

What came out (2026-11-28, 67 min in all on two cores that other work shared; float32): K of the output at the
start and at the end, networks that learned, and the share of the target that the mean output explains on the
test set.

    p   hidden   K at the start   K at the end       learned     explained   spread of the output
    2   1        0.19 ± 0.18      0.298 ± 0.0084     100 %        0.967      0.035
    2   3        0.089 ± 0.15     0.308 ± 0.0074     100 %        0.873      0.035
    2   5        0.38 ± 1.6       0.309 ± 0.0025     100 %        0.742      0.14
    3   1        0.087 ± 0.11     0.31  ± 0.0037     100 %        0.997      0.017
    3   3        4.1  ± 35        12    ± 81         94 ± 2 %    -2.71       0.39
    3   5        9e17 ± 8e18      1e7   ± 1e8         0 %        -1e31       8e14

With p = 3 and five hidden layers six networks overflow at the start and none learns: most stay at the loss of
a constant, the output's kernel having begun anywhere between 1e-17 and 1e6 (two thirds of networks). There
the claim holds. For p = 2, and for p = 3 with three layers, it does not as to fitting: at this C_W and under
Adam deep RePU networks learn their samples. What they make of a test set gets worse with depth, by more for p
= 3. Where deep networks end depends on rounding: programs that round otherwise gave 0.62 in place of 0.74 and
96 ± 2 % in place of 94 (2026-11-25). It also depends on the rate: at 3e-3 and width 128 (20 networks, 600
steps) the mean output of five hidden layers of p = 2 explains 0.98, at 1e-3 less than nothing.

Run: python benchmarks/paper/r02_repu_training.py [--quick] [--out results/r02] [--target product] …
Stopped, it goes on from the last checkpoint when it is run again.
"""

import sys

import experiment
import numpy as np
import optax

import eft
import nets
from nets.paper import targets
from nets.plots.panels import COLORS, Panel, Series, figure

NAME = "repu_training"
SMALLEST = float(np.finfo(np.float32).smallest_subnormal)
"""As this a kernel is drawn that is 0 in float32."""


def options():
    args = experiment.options(
        __doc__.split("\n")[0], "r02", p=[2, 3], hidden=[1, 3, 5], width=512, nets=100, samples=100,
        steps=1000, share=1.0, rate=1e-3, target="waves",
    )  # fmt: skip
    if args.quick:
        args.width, args.nets, args.steps = 64, 30, 200
    return args


def trained(args, p: int, hidden: int, X, y, X_test):
    act, name = eft.activation("repu", p=p), f"p = {p}, {hidden} hidden"
    cw = args.share * float(eft.threshold_cw(act))
    case = {"p": p, "hidden": hidden} | {
        k: v for k, v in vars(args).items() if k not in ("out", "p", "hidden")
    }
    run = experiment.kept(
        args, name, case, nets.train, act, cw, hidden + 1, args.width, args.nets, (X, y),
        optimizer=optax.adam(args.rate), steps=args.steps, x_test=X_test, seed=args.seed,
        snapshots=tuple(args.steps * quarter // 4 for quarter in range(5)),
        checkpoint=experiment.checkpoint(args, name, case),
    )  # fmt: skip
    print(f"{name}, C_W = {cw:.3g}: output kernel over the networks that are left; log₁₀: their median")
    return name, cw, run


def snapshot(args, run, s: int, constant: float) -> dict:
    """What is known of the networks that are left at a snapshot."""
    K = run.K_inputs[s, -1][run.alive[s]].astype(float)
    share = ((run.loss[s] < constant / 10) & run.alive[s]).mean()
    found = {
        "step": int(run.steps[s]),
        "overflowed": int(run.n_overflowed[s]),
        "K": [K.mean(), K.std(ddof=1)] if K.size > 1 else [np.nan, np.nan],
        "median of log10 K": _median_log(K) if K.size else np.nan,
        "learned": share,
        "error of it": np.sqrt(share * (1 - share) / args.nets),
    }
    print(
        f"  {run.steps[s]:5d}: {found['K'][0]:10.3g} ± {found['K'][1]:9.2g}   "
        f"{found['median of log10 K']:8.2f}   learned {100 * share:3.0f} ± "
        f"{100 * found['error of it']:.0f} %   overflowed {run.n_overflowed[s]}"
    )
    return found


def _median_log(K: np.ndarray) -> float:
    with np.errstate(divide="ignore"):
        return float(np.median(np.log10(K)))


def results(args) -> experiment.Results:
    X, y = targets.samples(args.target, args.samples, 2, args.seed)
    X_test, y_test = targets.samples(args.target, 500, 2, args.seed + 1)
    constant = np.var(y) / 2
    summary, arrays, drawn = {}, {"X_test": X_test, "y_test": y_test}, {"y_test": y_test, "cells": {}}
    for p in args.p:
        for hidden in args.hidden:
            name, cw, run = trained(args, p, hidden, X, y, X_test)
            rows = [snapshot(args, run, s, constant) for s in range(len(run.steps))]
            mean, spread = run.outputs.mean[-1, :, 0], np.sqrt(run.outputs_variance.mean[-1, :, 0])
            explained = 1 - np.mean((mean - y_test) ** 2) / np.var(y_test)
            print(f"  test: explained by the mean output {explained:.3g}; its spread {np.mean(spread):.2g}")
            summary[name] = {"C_W": cw, "snapshots": rows, "explained by the mean output": explained}
            arrays |= {f"{name}: mean output": mean, f"{name}: spread": spread, f"{name}: K": run.K_inputs}
            last = run.K_inputs[:, -1]
            left = [np.log10(np.maximum(k[a], SMALLEST)) for a, k in zip(run.alive, last, strict=True)]
            quantiles = [np.quantile(k, [0.16, 0.5, 0.84]) if k.size else [np.nan] * 3 for k in left]
            drawn["cells"][p, hidden] = {
                "steps": run.steps, "log K": np.transpose(quantiles), "mean": mean, "spread": spread,
                "left": int(np.sum(run.alive[-1])),
            }  # fmt: skip
    return experiment.Results(summary, arrays, drawn)


def pictures(args, drawn) -> dict:
    title = f"RePU in training: {args.nets} networks of width {args.width}, {args.samples} samples"
    kernels = [kernel_panel(args, p, drawn["cells"]) for p in args.p]
    outputs = [
        [output_panel(args, p, hidden, drawn["cells"][p, hidden], drawn["y_test"]) for hidden in args.hidden]
        for p in args.p
    ]
    return {
        "_kernel": figure(f"{title}; median, and 16 % to 84 % of them", [kernels], width=5.2, height=3.8),
        "_outputs": figure(
            f"{title}, after {args.steps:,} steps", outputs, width=3.5, height=3.1, share="all"
        ),
    }


def kernel_panel(args, p: int, cells: dict) -> Panel:
    series = []
    for i, (hidden, color) in enumerate(zip(args.hidden, COLORS, strict=False)):
        cell = cells[p, hidden]
        low, middle, high = cell["log K"]
        at = cell["steps"] + 0.015 * args.steps * (i - (len(args.hidden) - 1) / 2)
        label = f"{hidden} hidden layer{'s' * (hidden > 1)}"
        series += [
            Series(at, middle, "line", color, label),
            Series(at, middle, "points", color, label, [middle - low, high - middle]),
        ]
    return Panel("step", "log₁₀ of the output's kernel", series, f"RePU, p = {p}")


def output_panel(args, p: int, hidden: int, cell: dict, y_test: np.ndarray) -> Panel:
    """Where a spread is larger than the frame, it is left out and counted."""
    order = np.argsort(y_test)[:: max(1, len(y_test) // 60)]
    y, mean, spread = y_test[order], cell["mean"][order], cell["spread"][order]
    limits = 1.7 * y_test.min(), 1.7 * y_test.max()
    whole = (mean - spread > limits[0]) & (mean + spread < limits[1])
    series = [Series(y, y, "dashed", "#333333", "the target")]
    series.append(
        Series(y[whole], mean[whole], "points", COLORS[0], "mean and spread of the networks", spread[whole])
    )
    beyond = f"; {(~whole).sum()} beyond" if not whole.all() else ""
    title = f"p = {p}, {hidden} hidden: {cell['left']} of {args.nets} left{beyond}"
    return Panel("target", "output", series, title, ylim=limits)


def main() -> int:
    return experiment.run(options(), NAME, results, pictures)


if __name__ == "__main__":
    sys.exit(main())
