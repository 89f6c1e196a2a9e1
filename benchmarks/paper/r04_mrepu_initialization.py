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


def main() -> int:
    args = experiment.options(
        __doc__.split("\n")[0], "r04", act="mrepu:p=2", cw=[0.8, 1.0], cb=0.0, K1=[1e-3, -1.0], width=512,
        hidden=10, nets=1000, inputs=1000,
    )  # fmt: skip
    if args.quick:
        args.width, args.nets, args.inputs = 128, 400, 200
    act, depth, layer = parse_activation(args.act), args.hidden + 1, np.arange(1, args.hidden + 2)
    X = np.random.default_rng(args.seed).uniform(-1, 1, (args.inputs, 2))
    x2 = np.mean(X**2, 1)
    panels, summary, arrays = [[], []], {}, {"X": X}
    for K1 in args.K1:
        first = K1 if K1 >= 0 else None
        words = f"K¹ = {first:g}" if first is not None else "unit inputs, K¹ = C_W + C_b"
        over_networks, over_inputs = [], []
        for i, (cw, color) in enumerate(zip(args.cw, COLORS, strict=False)):
            case = {name: vars(args)[name] for name in ("act", "cb", "width", "hidden", "nets", "inputs")}
            case |= {"cw": cw, "K1": K1}
            seen = experiment.kept(
                args, f"networks {cw:g} {K1:g}", case, nets.measure, act, cw, depth, args.width, args.nets,
                cb=args.cb, K1=first, seed=args.seed + i,
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
            summary[f"C_W = {cw:g}, {words}"] = {k: np.asarray(v).tolist() for k, v in found.items()}
            print(f"C_W = {cw:g}, {words}: K {seen.K.mean[0]:.3g} → {seen.K.mean[-1]:.3g}", end="; ")
            print(f"series good for {good.sum()} of {depth} layers", end="; ")
            print(f"K: {experiment.words(p['K'])}; V: {experiment.words(p['V'])}", end="; ")
            print(f"{seen.n_overflowed[-1]} overflowed")
            shown = np.where(good, np.asarray(K.value), np.nan)
            over_networks += [
                Series(layer, np.asarray(e.K), "dashed", color, f"theory, n = ∞, C_W = {cw:g}"),
                Series(layer, shown, "line", color, f"order 3 in 1/n, C_W = {cw:g}"),
                Series(layer, seen.K.mean, "points", color, "networks", seen.K.stderr),
            ]
            fixed = experiment.kept(
                args, f"inputs {cw:g} {K1:g}", case, nets.measure_inputs, act, cw, depth, args.width, 1, X,
                cb=args.cb, K1=first, seed=args.seed + i,
            )  # fmt: skip
            flow = eft.kernel_flow(
                act, cw, depth, cb=args.cb, x2=x2, K1=None if first is None else first * x2
            )
            low, middle, high = np.quantile(np.asarray(flow.log_K), [0.16, 0.5, 0.84], axis=0)
            between = np.median(fixed.log_K[0], axis=1)
            over_inputs += [
                Series(layer, np.exp(low), "band", color, None, np.exp(high)),
                Series(layer, np.exp(middle), "line", color),
                Series(layer, np.exp(between), "squares", color, "one network: median over inputs"),
            ]
            arrays |= {f"G {cw:g} {K1:g}": seen.G, f"log_K over inputs {cw:g} {K1:g}": fixed.log_K}
        scale = "linear" if first is not None else "log"
        places = {"xlabel": "layer", "ylabel": "K", "yscale": scale}
        limit = None if first is not None else (1e-2, 1e30)
        panels[0].append(
            Panel(series=over_networks, title=f"{args.nets} networks, {words}", ylim=limit, **places)
        )
        panels[1].append(
            Panel(series=over_inputs, title=f"{args.inputs} inputs, {words}", ylim=limit, **places)
        )
    picture = figure(
        f"{act.name} at initialization: width {args.width}, {args.hidden} hidden layers", panels, width=5
    )
    return experiment.write(args, "mrepu_initialization", summary, arrays, {"": picture})


if __name__ == "__main__":
    sys.exit(main())
