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

NAME = "mrepu_vertex"


def options():
    args = experiment.options(
        __doc__.split("\n")[0], "r05", act="mrepu:p=2", cw=[0.8, 0.9, 1.0], cb=0.0, K1=1e-3,
        widths=[32, 64, 128, 256, 512], hidden=10, nets=1000, sampled=100_000,
    )  # fmt: skip
    if args.quick:
        args.nets, args.sampled, args.widths = 200, 20_000, [32, 64, 128]
    return args


def cases(args) -> dict[str, list[tuple[float, int, str]]]:
    """What is compared: C_W at the largest width, and widths at the last C_W."""
    widest = max(args.widths)
    return {
        f"width {widest}": [(cw, widest, f"C_W = {cw:g}") for cw in args.cw],
        f"C_W = {args.cw[-1]:g}": [(args.cw[-1], n, f"n = {n}") for n in args.widths],
    }


def compared(args, cw: float, n: int) -> tuple[dict, dict]:
    """V of networks, of many more that are sampled, and of theory: what was found, and what is drawn."""
    act, depth, shared = parse_activation(args.act), args.hidden + 1, {"cb": args.cb}
    shared["K1"] = args.K1 if args.K1 >= 0 else None
    case = {name: vars(args)[name] for name in ("act", "cb", "K1", "hidden")} | {"cw": cw, "n": n}
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
    found = {
        "layers where the series converges": int(good.sum()),
        **{f"p of {k}": v for k, v in p.items()},
        "V of the last layer": many.V.mean[-1], "its error": many.V.stderr[-1],
        "leading order": leading[-1], "order 3": three[-1],
        "sampled over leading order": many.V.mean[-1] / leading[-1],
        "V networks": seen.V.mean, "its error of networks": seen.V.stderr,
        "overflowed": int(many.n_overflowed[-1]),
    }  # fmt: skip
    away = (many.V.mean[-1] - leading[-1]) / many.V.stderr[-1]
    ratio, error = many.V.mean[-1] / leading[-1], many.V.stderr[-1] / leading[-1]
    print(
        f"C_W = {cw:g}, n = {n}: V over its leading order, last layer: {ratio:.3f} ± {error:.3f}"
        f" ({away:+.0f} errors), order 3 {three[-1] / leading[-1]:.3f}"
    )
    print("    " + ", ".join(f"{k}: p = {v:.2g}" for k, v in p.items()))
    return found, {
        "leading": leading, "three": np.where(good, three, np.nan), "networks": seen.V, "sampled": many.V,
    }  # fmt: skip


def results(args) -> experiment.Results:
    summary, arrays, drawn = {}, {}, {}
    for title, group in cases(args).items():
        for cw, n, label in group:
            found, one = compared(args, cw, n)
            summary[f"{title}: {label}"] = {k: np.asarray(v).tolist() for k, v in found.items()}
            arrays |= {f"V {cw:g} {n}": one["sampled"].mean, f"error {cw:g} {n}": one["sampled"].stderr}
            drawn[cw, n] = one
    return experiment.Results(summary, arrays, drawn)


def pictures(args, drawn) -> dict:
    """V itself for several C_W; for several widths, which differ less, as a multiple of the leading order."""
    by_cw, by_width = (panel(args, *group, drawn) for group in cases(args).items())
    first = f"K¹ = {args.K1:g}" if args.K1 >= 0 else "K¹ = C_W + C_b"
    title = f"{parse_activation(args.act).name} at initialization: {args.hidden} hidden layers, {first}"
    return {
        "": figure(
            f"{title}; points: {args.nets:,} networks, lines: order 3 in 1/n",
            [[by_cw, by_width]],
            width=5.2,
            legend="each",
        )
    }


def panel(args, title: str, group: list, drawn: dict) -> Panel:
    layer, series = np.arange(1, args.hidden + 2), []
    relative = not title.startswith("width")
    for i, ((cw, n, label), color) in enumerate(zip(group, COLORS, strict=False)):
        one = drawn[cw, n]
        unit = np.where(one["leading"] > 0, one["leading"], np.nan) if relative else 1.0
        at = layer + 0.12 * (i - (len(group) - 1) / 2)
        if not relative:
            series.append(Series(layer, one["leading"], "dotted", "#666666", "leading order in 1/n"))
        series += [
            Series(layer, one["three"] / unit, "line", color, label),
            Series(
                at, one["networks"].mean / unit, "points", color, label,
                one["networks"].stderr / unit,
            ),
        ]  # fmt: skip
    name = "four-point vertex V = n·Var(Ĝ)"
    if relative:
        return Panel("layer", "V over its leading order", series, title, at=[(1.0, "1")])
    return Panel("layer", name, series, title)


def main() -> int:
    return experiment.run(options(), NAME, results, pictures)


if __name__ == "__main__":
    sys.exit(main())
