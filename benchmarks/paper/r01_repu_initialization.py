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


NAME = "repu_initialization"


def options():
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
    return args


def over_networks(args, p: int, share: float) -> tuple[dict, dict]:
    """At one input: what was found, and what is drawn of it."""
    act, depth = eft.activation("repu", p=p), args.hidden + 1
    cw = share * float(eft.threshold_cw(act))
    mean, variance = theory(act, cw, args)
    seen = experiment.kept(
        args, f"networks p={p} {share:g}", case_of(args, p, share), nets.measure_inputs, act, cw, depth,
        args.width, args.nets, np.ones((1, 2)), seed=seed_of(args, share),
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
    print(
        f"p = {p}, C_W = {cw:.4g}, {words(share)}: log K = {L[:, -1].mean():.1f} ± {L[:, -1].std():.1f}; "
        f"theory {mean[-1]:.1f} ± {np.sqrt(variance[-1]):.1f}; ",
        "; ".join(map(experiment.words, tests)),
    )
    return found, {"log_K": L, "mean": mean, "sd": np.sqrt(variance)}


def over_inputs(args, p: int, share: float, X: np.ndarray) -> tuple[dict, dict]:
    """At fixed parameters: what was found, and what is drawn of it."""
    act, x2 = eft.activation("repu", p=p), np.mean(X**2, 1)
    cw = share * float(eft.threshold_cw(act, np.mean(x2)))
    fixed = experiment.kept(
        args, f"inputs p={p} {share:g}", {**case_of(args, p, share), "inputs": args.inputs},
        nets.measure_inputs, act, cw, args.hidden + 1, args.width, 3, X, seed=seed_of(args, share),
    )  # fmt: skip
    log_K = np.asarray(eft.kernel_flow(act, cw, args.hidden + 1, x2=x2).log_K)
    found = {
        "spread of log K over inputs, last layer": fixed.log_K[:, -1].std(1),
        "theory of it": log_K.std(0)[-1],
    }
    return found, {"log_K": fixed.log_K, "theory": np.quantile(log_K, [0.16, 0.5, 0.84], axis=0)}


def case_of(args, p: int, share: float) -> dict:
    return {"p": p, "share": share, "width": args.width, "hidden": args.hidden, "nets": args.nets}


def seed_of(args, share: float) -> int:
    """Other networks for each C_W."""
    return args.seed + 1 + round(1000 * share)


def words(share: float) -> str:
    return f"{share:g} of the threshold"


def results(args) -> experiment.Results:
    X = np.random.default_rng(args.seed).uniform(-1, 1, (args.inputs, 2))
    summary, arrays, drawn = {}, {"X": X}, {"networks": {}, "inputs": {}}
    for p in args.p:
        for share in args.share:
            found, networks = over_networks(args, p, share)
            more, inputs = over_inputs(args, p, share, X)
            summary[f"p = {p}, {words(share)}"] = found | more
            arrays |= {f"log_K p={p} {share:g}": networks["log_K"]}
            arrays |= {f"log_K over inputs p={p} {share:g}": inputs["log_K"]}
            drawn["networks"][p, share], drawn["inputs"][p, share] = networks, inputs
    summary = {name: {k: np.asarray(v).tolist() for k, v in f.items()} for name, f in summary.items()}
    return experiment.Results(summary, arrays, drawn)


PLACES = {"xlabel": "layer", "ylabel": "log₁₀ K", "yscale": "symlog"}


def pictures(args, drawn) -> dict:
    """Over networks, a panel for each p; over inputs, where the spreads overlap, one for each C_W too."""
    title = f"RePU at initialization: width {args.width}, {args.hidden} hidden layers"
    rows = [[networks_panel(args, p, drawn["networks"]) for p in args.p]]
    small = [[inputs_panel(p, share, drawn["inputs"][p, share]) for share in args.share] for p in args.p]
    sides = "lines and bands: theory, points: networks, each mean and spread"
    return {
        "": figure(f"{title}, {args.nets} networks, one input; {sides}", rows, width=5.2, height=4.0),
        "_inputs": figure(f"{title}, {args.inputs} inputs", small, width=3.5, height=2.8, share="row"),
    }


def networks_panel(args, p: int, found: dict) -> Panel:
    series, layer = [], np.arange(1, args.hidden + 2)
    for i, (share, color) in enumerate(zip(args.share, COLORS, strict=False)):
        one, label = found[p, share], f"C_W at {words(share)}"
        mean, sd, L = one["mean"] / TEN, one["sd"] / TEN, one["log_K"] / TEN
        at = layer + 0.14 * (i - (len(args.share) - 1) / 2)
        series += [
            Series(layer, mean - sd, "band", color, None, mean + sd),
            Series(layer, mean, "line", color, label),
            Series(at, L.mean(0), "points", color, label, L.std(0, ddof=1)),
        ]
    return Panel(series=series, title=f"RePU, p = {p}", **PLACES)


def inputs_panel(p: int, share: float, found: dict) -> Panel:
    layer = np.arange(1, found["log_K"].shape[1] + 1)
    low, middle, high = found["theory"] / TEN
    series = [
        Series(layer, low, "band", COLORS[0], "theory, 16 % to 84 % of inputs", high),
        Series(layer, middle, "line", COLORS[0], "theory, median"),
    ]
    for i, each in enumerate(found["log_K"]):
        at = layer + 0.17 * (i - (len(found["log_K"]) - 1) / 2)
        series.append(
            Series(at, np.median(each, axis=1) / TEN, "squares", COLORS[1], "each of three networks, median")
        )
    return Panel(series=series, title=f"p = {p}, C_W at {words(share)}", **PLACES)


def main() -> int:
    return experiment.run(options(), NAME, results, pictures)


if __name__ == "__main__":
    sys.exit(main())
