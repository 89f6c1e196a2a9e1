"""R4: the kernel of MRePU networks at initialization, from a small first kernel and from unit inputs.

The experiment of Fig. 5 of arXiv:2408.02697, over random parameters at one input and over random inputs at
fixed parameters. Stated there: p = 2, n₀ = 2, one output, ten hidden layers of 512, C_b = 0. Ours: C_W, and
the first kernel. MRePU's critical point at C_W = 1 repels: from K¹ the kernel blows up after about 1/(18 K¹)
layers. With K¹ = 1e-3 the experiment is what the paper shows; with fan-in weights and inputs of size 1,
K¹ = C_W, the same networks explode within a few layers. Both are in the figure.

Theory is the 1/n series to order 3 (`eft.expand`), compared with K and V of all layers where it converges.

What came out (2026-11-24, two busy cores, 62 s; 1000 Flax networks of width 512 each):

    C_W    K¹             K at the last layer   series good for   p of K   p of V
    0.8    1e-3           1.17e-4               11 of 11 layers   0.95     0.32
    1      1e-3           1.22e-3               11 of 11 layers   0.5      0.38
    0.8    C_W            all overflow           3 of 11 layers   0.96     0.59
    1      C_W            all overflow           2 of 11 layers   0.88     0.043

Run: python benchmarks/paper/r04_mrepu_initialization.py [--quick] [--out results/r04] [--act tanh --cw 1] …
"""

import sys

import experiment
import numpy as np

import eft
import nets
from nets.comparison.cases import parse_activation
from nets.plots.panels import COLORS, Panel, Series, figure
from nets.statistics import chi_squared, estimators

NAME = "mrepu_initialization"


def options():
    args = experiment.options(
        __doc__.split("\n")[0], "r04", act="mrepu:p=2", cw=[0.8, 1.0], cb=0.0, K1=[1e-3, -1.0], width=512,
        hidden=10, nets=1000, inputs=1000,
    )  # fmt: skip
    if args.quick:
        args.width, args.nets, args.inputs = 128, 400, 200
    return args


def words(K1: float) -> str:
    return f"K¹ = {K1:g}" if K1 >= 0 else "unit inputs, K¹ = C_W + C_b"


def case_of(args, cw: float, K1: float) -> dict:
    case = {name: vars(args)[name] for name in ("act", "cb", "width", "hidden", "nets", "inputs")}
    return case | {"cw": cw, "K1": K1}


def over_networks(args, i: int, K1: float) -> tuple[dict, dict]:
    """At one input: what was found, and what is drawn of it."""
    act, cw, first, depth = parse_activation(args.act), args.cw[i], K1 if K1 >= 0 else None, args.hidden + 1
    seen = experiment.kept(
        args, f"networks {cw:g} {K1:g}", case_of(args, cw, K1), nets.measure, act, cw, depth, args.width,
        args.nets, cb=args.cb, K1=first, seed=args.seed + i,
    )  # fmt: skip
    e = eft.expand(act, cw, depth, 3, cb=args.cb, K1=first)
    K, V = eft.at_width(e.G, args.width), eft.at_width(e.V, args.width)
    good = np.asarray(K.converges & V.converges & e.valid) & (seen.n_overflowed == 0)
    tested = good & (seen.K.stderr > 0)
    p = {}
    for name, found, expected, deviations in (
        ("K", seen.K.mean, K.value, estimators.mean_deviations),
        ("V", seen.V.mean / seen.widths[:-1], V.value, estimators.variance_deviations),
    ):
        difference = (found - np.asarray(expected))[tested]
        p[name] = chi_squared.hotelling(difference, deviations(seen.G[:, tested]))
    found = {
        "layers where the series converges": int(good.sum()),
        "p of K": p["K"].p, "p of V": p["V"].p,
        "K": seen.K.mean, "its error": seen.K.stderr, "theory": np.asarray(K.value),
        "overflowed": seen.n_overflowed,
    }  # fmt: skip
    print(f"C_W = {cw:g}, {words(K1)}: K {seen.K.mean[0]:.3g} → {seen.K.mean[-1]:.3g}", end="; ")
    print(f"series good for {good.sum()} of {depth} layers", end="; ")
    print(f"K: {experiment.words(p['K'])}; V: {experiment.words(p['V'])}", end="; ")
    print(f"{seen.n_overflowed[-1]} overflowed")
    drawn = {"leading": np.asarray(e.K), "three": np.where(good, np.asarray(K.value), np.nan)}
    return found, drawn | {"G": seen.G, "mean": seen.K.mean, "error": seen.K.stderr}


def over_inputs(args, i: int, K1: float, X: np.ndarray) -> dict:
    """At fixed parameters: what is drawn."""
    act, cw, first, x2 = parse_activation(args.act), args.cw[i], K1 if K1 >= 0 else None, np.mean(X**2, 1)
    depth = args.hidden + 1
    fixed = experiment.kept(
        args, f"inputs {cw:g} {K1:g}", case_of(args, cw, K1), nets.measure_inputs, act, cw, depth, args.width,
        1, X, cb=args.cb, K1=first, seed=args.seed + i,
    )  # fmt: skip
    flow = eft.kernel_flow(act, cw, depth, cb=args.cb, x2=x2, K1=None if first is None else first * x2)
    theory = np.quantile(np.asarray(flow.log_K), [0.16, 0.5, 0.84], axis=0)
    return {"log_K": fixed.log_K, "theory": theory}


def results(args) -> experiment.Results:
    X = np.random.default_rng(args.seed).uniform(-1, 1, (args.inputs, 2))
    summary, arrays, drawn = {}, {"X": X}, {"networks": {}, "inputs": {}}
    for K1 in args.K1:
        for i, cw in enumerate(args.cw):
            found, networks = over_networks(args, i, K1)
            inputs = over_inputs(args, i, K1, X)
            summary[f"C_W = {cw:g}, {words(K1)}"] = {k: np.asarray(v).tolist() for k, v in found.items()}
            arrays |= {f"G {cw:g} {K1:g}": networks["G"]}
            arrays |= {f"log_K over inputs {cw:g} {K1:g}": inputs["log_K"]}
            drawn["networks"][K1, cw], drawn["inputs"][K1, cw] = networks, inputs
    return experiment.Results(summary, arrays, drawn)


def pictures(args, drawn) -> dict:
    act = parse_activation(args.act)
    rows = [
        [networks_panel(args, K1, drawn["networks"]) for K1 in args.K1],
        [inputs_panel(args, K1, drawn["inputs"]) for K1 in args.K1],
    ]
    title = f"{act.name} at initialization: width {args.width}, {args.hidden} hidden layers; points: networks"
    title += "; lines: theory, above to order 3 in 1/n, below median and 16 % to 84 %"
    return {"": figure(title, rows, width=5.2)}


def frame(K1: float) -> dict:
    """Explosions are drawn up to 1e30."""
    scale = {"yscale": "linear"} if K1 >= 0 else {"yscale": "log", "ylim": (1e-2, 1e30)}
    return {"xlabel": "layer", "ylabel": "K", **scale}


def networks_panel(args, K1: float, found: dict) -> Panel:
    layer, series = np.arange(1, args.hidden + 2), []
    for cw, color in zip(args.cw, COLORS, strict=False):
        one = found[K1, cw]
        series += [
            Series(layer, one["leading"], "dotted", "#666666", "theory, n = ∞"),
            Series(layer, one["three"], "line", color, f"C_W = {cw:g}"),
            Series(layer, one["mean"], "points", color, f"C_W = {cw:g}", one["error"]),
        ]
    return Panel(series=series, title=f"mean of {args.nets} networks, {words(K1)}", **frame(K1))


def inputs_panel(args, K1: float, found: dict) -> Panel:
    layer, series = np.arange(1, args.hidden + 2), []
    for cw, color in zip(args.cw, COLORS, strict=False):
        one = found[K1, cw]
        low, middle, high = np.exp(one["theory"])
        seen = np.exp(np.median(one["log_K"][0], axis=1))
        series += [
            Series(layer, low, "band", color, None, high),
            Series(layer, middle, "line", color, f"C_W = {cw:g}"),
            Series(layer, seen, "points", color, f"C_W = {cw:g}", np.zeros(len(layer))),
        ]
    return Panel(series=series, title=f"one network, {args.inputs} inputs, {words(K1)}", **frame(K1))


def main() -> int:
    return experiment.run(options(), NAME, results, pictures)


if __name__ == "__main__":
    sys.exit(main())
