"""R5: the four-point vertex of MRePU networks, layer by layer, for several C_W and several widths.

The experiment of Fig. 6 of arXiv:2408.02697: n·Var(Ĝ) over 1000 networks at one input. Stated there: p = 2,
ten hidden layers, C_b = 0. Ours: K¹ = 1e-3, C_W = 0.8, 0.9, 1 at width 512, and widths from 32 to 512 at
C_W = 1. The 1000 networks are Flax networks; beside them 100,000 of the exact sampler, in which a difference
between leading order and order 3 in 1/n (`eft.expand`) shows where there is one.

What came out (2026-11-24, two busy cores, 171 s): V over its leading order at the last layer, 100,000 sampled
networks; p of χ² over all layers where the series converges.

    C_W   n     sampled            order 3   p of leading order   p of order 3
    0.8   512    1.024 ± 0.005     1.026     5e-3                 0.82
    0.9   512    1.032 ± 0.006     1.035     3e-5                 0.84
    1     512    1.050 ± 0.006     1.055     5e-14                0.84
    1     256    1.124 ± 0.008     1.115     3e-49                0.53
    1     128    1.281 ± 0.014     1.253     2e-84                0.035
    1     64     1.811 ± 0.071     1.599     6e-75                0.035
    1     32    34.8   ± 13.2      (2.57)    1e-80                0.036

Leading order fails at every width that was tried, by 5 % at 512 and 28 % at 128; 1000 networks do not see it
above 64. Order 3 holds as far as it converges: at n = 32 to layer 10, from where on a few networks that are
on their way to infinity carry the variance.

Run: python benchmarks/paper/r05_mrepu_vertex.py [--quick] [--out results/r05] [--act gelu --cw 1.98] …
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
        __doc__.split("\n")[0], "r05", act="mrepu:p=2", cw=[0.8, 0.9, 1.0], cb=0.0, K1=1e-3,
        widths=[32, 64, 128, 256, 512], hidden=10, nets=1000, sampled=100_000,
    )  # fmt: skip
    if args.quick:
        args.nets, args.sampled, args.widths = 200, 20_000, [32, 64, 128]
    act, depth, layer = parse_activation(args.act), args.hidden + 1, np.arange(1, args.hidden + 2)
    K1, widest = args.K1 if args.K1 >= 0 else None, max(args.widths)
    cases = {
        f"width {widest}": [(cw, widest, f"C_W = {cw:g}") for cw in args.cw],
        f"C_W = {args.cw[-1]:g}": [(args.cw[-1], n, f"n = {n}") for n in args.widths],
    }
    panels, summary, arrays = [], {}, {}
    for title, group in cases.items():
        series = []
        for (cw, n, label), color in zip(group, COLORS, strict=False):
            case = {name: vars(args)[name] for name in ("act", "cb", "K1", "hidden")} | {"cw": cw, "n": n}
            shared = {"cb": args.cb, "K1": K1}
            seen = experiment.kept(
                args, f"networks {cw:g} {n}", case | {"nets": args.nets},
                nets.measure, act, cw, depth, n, args.nets, seed=args.seed + n, **shared,
            )  # fmt: skip
            many = experiment.kept(
                args, f"sampled {cw:g} {n}", case | {"nets": args.sampled},
                nets.measure, act, cw, depth, n, args.sampled, seed=args.seed + n, method="metric", **shared,
            )  # fmt: skip
            e = eft.expand(act, cw, depth, 3, **shared)
            V = eft.at_width(e.V, n)
            leading, three = np.asarray(e.V[:, 1]), n * np.asarray(V.value)
            good = np.asarray(V.converges & e.valid) & (many.n_overflowed == 0) & (many.V.stderr > 0)
            p = {}
            for name, expected in (("leading order", leading / n), ("order 3", three / n)):
                for who, ensemble in (("networks", seen), ("sampled", many)):
                    used = good & (ensemble.n_overflowed == 0)
                    difference = ensemble.V.mean[used] / ensemble.widths[:-1][used] - expected[used]
                    deviations = estimators.variance_deviations(ensemble.G[:, used])
                    p[f"{who}, {name}"] = chi_squared.hotelling(difference, deviations).p
            away = (many.V.mean[-1] - leading[-1]) / many.V.stderr[-1]
            found = {
                "layers where the series converges": int(good.sum()),
                **{f"p of {k}": v for k, v in p.items()},
                "V of the last layer": many.V.mean[-1], "its error": many.V.stderr[-1],
                "leading order": leading[-1], "order 3": three[-1],
                "sampled over leading order": many.V.mean[-1] / leading[-1],
                "V networks": seen.V.mean, "its error of networks": seen.V.stderr,
                "overflowed": int(many.n_overflowed[-1]),
            }  # fmt: skip
            summary[f"{title}: {label}"] = {k: np.asarray(v).tolist() for k, v in found.items()}
            ratio, error = many.V.mean[-1] / leading[-1], many.V.stderr[-1] / leading[-1]
            print(
                f"C_W = {cw:g}, n = {n}: V over its leading order, last layer: {ratio:.3f} ± {error:.3f}",
                end="",
            )
            print(f" ({away:+.0f} errors), order 3 {three[-1] / leading[-1]:.3f}")
            print("    " + ", ".join(f"{k}: p = {v:.2g}" for k, v in p.items()))
            series += [
                Series(layer, leading, "dashed", color, "leading order in 1/n"),
                Series(layer, np.where(good, three, np.nan), "line", color, f"order 3, {label}"),
                Series(layer, seen.V.mean, "points", color, f"{args.nets:,} networks", seen.V.stderr),
            ]
            arrays |= {f"V {cw:g} {n}": many.V.mean, f"error {cw:g} {n}": many.V.stderr}
        panels.append(Panel("layer", "four-point vertex V = n·Var(Ĝ)", series, title))
    picture = figure(
        f"{act.name} at initialization: {args.hidden} hidden layers, K¹ = {args.K1:g}",
        [panels],
        width=6,
        legend="each",
    )
    return experiment.write(args, "mrepu_vertex", summary, arrays, {"": picture})


if __name__ == "__main__":
    sys.exit(main())
