"""R1: the kernel of RePU networks at initialization, layer by layer: it vanishes or it explodes.

The experiment of Fig. 1 of arXiv:2408.02697, over random parameters at one input and over random inputs at
fixed parameters. Stated there: n₀ = 2, one output, ten hidden layers of 512, C_b = 0, p = 2 and 3, inputs
with independent components. Ours: the input (1, 1) and inputs uniform in [−1, 1]², C_W at 0.8, 1 and 1.25 of
the threshold (g₁ x2ᵖ⁻¹)^{−1/p}, x2 = ‖x‖²/n₀ of the one input, and the mean one of the many.

RePU is compared in log K: with the depth log Ĝ gets a standard deviation of a hundred and more, and a mean of
Ĝ itself is what the largest of the networks says. There theory is exact at any width (`eft.log_flow`):

    E[log K̂] = E[log Ĝ] + E[log χ²_n/n],   Var(log K̂) = Var(log Ĝ) + Var(log χ²_n/n)

What came out (2026-11-24, two busy cores, 75 s): log K at the last layer over 1000 Flax networks of width
512, natural logarithm, mean ± standard deviation; p of χ² over all layers, of the means and of the variances.

    p      C_W   share              networks                theory    means   variances
    2   0.6532    0.8        -486.6 ± 122.5        -480.2 ± 122.5    0.11   0.086
    2   0.8165      1         -21.9 ± 124.1         -23.4 ± 122.5    0.21    0.21
    2    1.021   1.25         426.4 ± 124.8         433.4 ± 122.5    0.79    0.93
    3   0.4087    0.8     -22493.5 ± 8010.7     -22004.2 ± 8004.5   0.029    0.91
    3   0.5109      1      -2091.3 ± 7910.2      -2239.7 ± 8004.5    0.06    0.21
    3   0.6386   1.25      16996.1 ± 8179.0      17524.8 ± 8004.5    0.23    0.56

K vanishes or explodes double exponentially on either side of the threshold, as the paper says. At the
threshold itself it does both: the networks' own fluctuations, doubled (tripled) by every layer, take half of
them up and half down: there is no C_W at which a RePU network of this depth and width keeps its kernel.

Run: python benchmarks/paper/r01_repu_initialization.py [--quick] [--out results/r01] [--width 512] …
"""

import sys

import experiment
import numpy as np

import eft
import nets
from eft.finite_width.homogeneous import log_mean_of_squares
from nets.plots.panels import COLORS, Panel, Series, figure
from nets.statistics import chi_squared, estimators

TEN = np.log(10)


def theory(act, cw, args):
    """Mean and variance of log K̂ of every layer at x2 = 1."""
    depth = args.hidden + 1
    flow = eft.log_flow(act, cw, depth, args.width)
    last = [log_mean_of_squares(eft.activation("linear"), n) for n in (args.width, 1)]
    extra = np.array([last[0]] * args.hidden + [last[1]])
    return np.asarray(flow.mean) + extra[:, 0], np.asarray(flow.variance) + extra[:, 1]


def agreement(L, mean, variance):
    """χ² of the means and of the variances over networks, all layers with their covariance."""
    found = estimators.mean(L).mean, estimators.variance(L).mean
    deviations = estimators.mean_deviations(L), estimators.variance_deviations(L)
    return [
        chi_squared.hotelling(f - t, d) for f, t, d in zip(found, (mean, variance), deviations, strict=True)
    ]


def main() -> int:
    args = experiment.options(
        __doc__.split("\n")[0],
        "r01",
        p=[2, 3],
        share=[0.8, 1.0, 1.25],
        width=512,
        hidden=10,
        nets=1000,
        inputs=1000,
    )
    if args.quick:
        args.width, args.nets, args.inputs = 128, 400, 200
    depth, layer = args.hidden + 1, np.arange(1, args.hidden + 2)
    X = np.random.default_rng(args.seed).uniform(-1, 1, (args.inputs, 2))
    x2 = np.mean(X**2, 1)
    rows, summary, arrays = [], {}, {"X": X}
    for p in args.p:
        act = eft.activation("repu", p=p)
        over_networks, over_inputs = [], []
        for share, color in zip(args.share, COLORS, strict=False):
            seed = args.seed + 1 + round(1000 * share)  # other networks each time
            label = f"{share:g} of the threshold"
            case = {"p": p, "share": share, "width": args.width, "hidden": args.hidden, "nets": args.nets}
            # over parameters, at one input
            cw = share * float(eft.threshold_cw(act))
            mean, variance = theory(act, cw, args)
            seen = experiment.kept(
                args, f"networks p={p} {share:g}", case,
                nets.measure_inputs, act, cw, depth, args.width, args.nets, np.ones((1, 2)), seed=seed,
            )  # fmt: skip
            L = seen.log_K[:, :, 0]
            tests = agreement(L, mean, variance)
            control = agreement(L, np.asarray(eft.log_flow(act, cw, depth, args.width).mean), variance)[0]
            found = {
                "C_W": cw,
                "log K at the last layer": [L[:, -1].mean(), L[:, -1].std(ddof=1)],
                "theory": [mean[-1], np.sqrt(variance[-1])],
                "p of the means": tests[0].p,
                "p of the variances": tests[1].p,
                "control, p without what the last average adds": control.p,
                "networks out of float32 at the last layer": int((abs(L[:, -1]) > 87).sum()),
            }
            summary[f"p = {p}, {label}"] = found
            print(
                f"p = {p}, C_W = {cw:.4g}, {label}: log K = {L[:, -1].mean():.1f} ± {L[:, -1].std():.1f}",
                end="; ",
            )
            print(
                f"theory {mean[-1]:.1f} ± {np.sqrt(variance[-1]):.1f}; ",
                "; ".join(map(experiment.words, tests)),
            )
            sd = np.sqrt(variance)
            over_networks += [
                Series(layer, (mean - sd) / TEN, "band", color, None, (mean + sd) / TEN),
                Series(layer, mean / TEN, "line", color, f"theory, C_W at {label}"),
                Series(
                    layer,
                    L.mean(0) / TEN,
                    "points",
                    color,
                    "networks: mean and spread",
                    L.std(0, ddof=1) / TEN,
                ),
            ]
            # over inputs, at fixed parameters
            cw = share * float(eft.threshold_cw(act, np.mean(x2)))
            fixed = experiment.kept(
                args, f"inputs p={p} {share:g}", {**case, "inputs": args.inputs},
                nets.measure_inputs, act, cw, depth, args.width, 3, X, seed=seed,
            )  # fmt: skip
            log_K = np.asarray(eft.kernel_flow(act, cw, depth, x2=x2).log_K)
            low, middle, high = np.quantile(log_K, [0.16, 0.5, 0.84], axis=0) / TEN
            over_inputs += [
                Series(layer, low, "band", color, None, high),
                Series(layer, middle, "line", color),
            ]
            for i, each in enumerate(fixed.log_K):
                at = layer + 0.15 * (i - 1)
                words = "fixed networks: median over inputs" if i == 0 else None
                over_inputs.append(Series(at, np.median(each, axis=1) / TEN, "squares", color, words))
            found["spread of log K over inputs, last layer"] = fixed.log_K[:, -1].std(1)
            found["theory of it"] = log_K.std(0)[-1]
            arrays |= {f"log_K p={p} {share:g}": L, f"log_K over inputs p={p} {share:g}": fixed.log_K}
        places = {"xlabel": "layer", "ylabel": "log₁₀ K", "yscale": "symlog"}
        rows.append(
            [
                Panel(
                    series=over_networks, title=f"RePU, p = {p}: {args.nets} networks, one input", **places
                ),
                Panel(
                    series=over_inputs, title=f"RePU, p = {p}: {args.inputs} inputs, fixed networks", **places
                ),
            ]
        )
    picture = figure(
        f"RePU at initialization: width {args.width}, {args.hidden} hidden layers", rows, width=5
    )
    summary = {name: {k: np.asarray(v).tolist() for k, v in f.items()} for name, f in summary.items()}
    return experiment.write(args, "repu_initialization", summary, arrays, {"": picture})


if __name__ == "__main__":
    sys.exit(main())
