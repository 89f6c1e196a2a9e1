"""R7: one hidden layer of MRePU_p units that equals a polynomial of degree p.

Lemma 7 of arXiv:2408.02697. Stated there: units ±(x + t) − 1, a Vandermonde system in t, a term of order
p + 1 that must vanish. Ours: units z = τξ with p + 1 Chebyshev points τ, solved in closed form,
beside two other choices: τ of one sign, and the shifts x + t − 1. 200 random polynomials of degree ≤ p
on [−2, 2].

What came out (2026-11-24): largest error relative to max|P|, condition number, growth of rounding

    p = 2  Chebyshev points    7.0e-16  1.2e+01  4.5e+00   3 units
    p = 2  one-sided           7.1e-15  7.1e+01  4.5e+01   3 units
    p = 2  shifts              4.6e-14  2.5e+02  3.8e+02   3 units
    p = 3  Chebyshev points    3.4e-15  2.7e+01  9.3e+00   4 units
    p = 3  one-sided           7.5e-14  5.8e+02  3.0e+02   4 units
    p = 3  shifts              2.5e-12  6.6e+03  8.0e+03   4 units
    p = 4  Chebyshev points    1.0e-14  1.1e+02  2.7e+01   5 units
    p = 4  one-sided           6.9e-13  5.0e+03  3.1e+03   5 units
    p = 4  shifts              2.7e-11  1.9e+05  2.5e+05   5 units
    p = 5  Chebyshev points    2.4e-14  4.5e+02  8.7e+01   6 units
    p = 5  one-sided           7.4e-12  4.5e+04  1.9e+04   6 units
    p = 5  shifts              2.1e-09  5.5e+06  6.2e+06   6 units
    p = 6  Chebyshev points    9.5e-14  1.3e+03  2.4e+02   7 units
    p = 6  one-sided           6.2e-11  4.2e+05  1.6e+05   7 units
    p = 6  shifts              7.4e-08  1.6e+08  3.2e+08   7 units

Beyond the interval units go off, and these p + 1 no longer equal the polynomial (the error at 2.5 times it is
in the results). Units of two slopes do on the whole line, as tests/nets/paper/test_polynomials.py shows.

Run: python benchmarks/paper/r07_lemma7.py [--quick] [--out results/r07]
"""

import sys

import experiment
import numpy as np
from numpy.polynomial import polynomial

from nets.paper.polynomials import polynomial_network
from nets.plots.panels import COLORS, Panel, Series, figure

SIDE = 2.0


def value(network, x):
    """The network, in NumPy."""
    first, last = network.parameters["layers"].values()
    z = x[:, None] @ first["kernel"] + first["bias"]
    return (z * np.maximum(z + 1, 0) ** network.p @ last["kernel"] + last["bias"])[:, 0]


NAME = "lemma7"


def options():
    return experiment.options(__doc__.split("\n")[0], "r07", p=[2, 3, 4, 5, 6], polynomials=200)


def results(args) -> experiment.Results:
    count = 20 if args.quick else args.polynomials
    rng, x = np.random.default_rng(args.seed), np.linspace(-SIDE, SIDE, 401)
    summary, arrays, curves = {}, {}, {}
    for p in args.p:
        choices = {
            "Chebyshev points": {},
            "one-sided": {"nodes": np.arange(1, p + 2) / (p + 1)},
            "shifts": {"shifts": SIDE + np.arange(p + 1) / p},
        }
        for name, nodes in choices.items():
            errors, growth = [], []
            for i in range(count):
                P = rng.normal(size=1 + i % (p + 1))
                network = polynomial_network(P, p, interval=(-SIDE, SIDE), **nodes)
                exact = polynomial.polyval(x, P)
                errors.append(np.abs(value(network, x) - exact).max() / np.abs(exact).max())
                growth.append(network.amplification)
            beyond = abs(value(network, np.array([2.5 * SIDE]))[0] - polynomial.polyval(2.5 * SIDE, P))
            summary[f"p = {p}, {name}"] = {
                "worst error": max(errors),
                "condition": network.condition,
                "amplification": max(growth),
                "error beyond, relative": float(beyond / abs(polynomial.polyval(2.5 * SIDE, P))),
                "counts": network.counts._asdict(),
            }
            arrays[f"errors p = {p} {name}"] = np.array(errors)
            curves.setdefault(name, []).append((p, max(errors), network.condition))
            print(
                f"    p = {p}  {name:18s}{max(errors):9.1e}{network.condition:9.1e}{max(growth):9.1e}"
                f"{network.counts.neurons:4d} units"
            )
    return experiment.Results(summary, arrays, {"curves": curves, "count": count})


def pictures(args, drawn) -> dict:
    series = [[], []]
    for (name, rows), color in zip(drawn["curves"].items(), COLORS, strict=False):
        p, error, condition = np.transpose(rows)
        series[0].append(Series(p, error, "marked", color, name))
        series[1].append(Series(p, condition, "marked", color, name))
    title, at = f"worst of {drawn['count']} polynomials", [(1e-9, "1e-9")]
    panels = [
        Panel("p", "error / max|P|", series[0], title, yscale="log", at=at),
        Panel("p", "condition number", series[1], "of the system of the layer", yscale="log"),
    ]
    return {"": figure("Polynomials by one layer of MRePU", [panels], width=5.2)}


def main() -> int:
    return experiment.run(options(), NAME, results, pictures)


if __name__ == "__main__":
    sys.exit(main())
