"""R8: polynomials of several variables by Horner's scheme, functions by their Chebyshev interpolants.

Theorem 8 and Corollary 10 of arXiv:2408.02697. The paper gives orders of depth, neurons, width and
parameters; ours are exact counts (`nets.paper.polynomials.horner_counts`). Ours too: random polynomials of
total degree ≤ 4 on [−2, 2]ⁿ; the functions exp(sin 2x), |x|³ and |x| on [−1, 1]. The corollary is tried in
one variable.

What came out (2026-11-24): largest error relative to max|P| of 20 polynomials each, and the sizes; "all": of
a network with a place for every coefficient

    n = 2, p = 2: 8.2e-15; 7 layers, 99 units, width 21, 1570 parameters; all: 7, 138, 36, 3040
    n = 2, p = 3: 1.1e-14; 6 layers, 108 units, width 28, 2105 parameters; all: 6, 136, 44, 3141
    n = 2, p = 4: 3.6e-14; 5 layers, 115 units, width 35, 2676 parameters; all: 5, 115, 35, 2676
    n = 3, p = 2: 9.0e-15; 11 layers, 315 units, width 54, 11827 parameters; all: 11, 678, 159, 60007
    n = 3, p = 3: 1.6e-14; 10 layers, 384 units, width 72, 18961 parameters; all: 10, 692, 208, 62005
    n = 3, p = 4: 8.5e-14; 9 layers, 455 units, width 90, 28191 parameters; all: 9, 605, 160, 53291
    exp(sin 2x): 5.6e-01, 4.8e-02, 2.5e-03, 5.2e-07, 1.1e-14, 8.4e-15; beside the interpolant ≤ 9e-15
    |x|³: 1.3e-01, 1.3e-02, 1.6e-03, 2.2e-04, 3.0e-05, 3.9e-06; beside the interpolant ≤ 1e-14
    |x|: 2.2e-01, 1.2e-01, 6.7e-02, 3.5e-02, 1.8e-02, 9.2e-03; beside the interpolant ≤ 5e-15

The error of the interpolant falls geometrically for exp(sin 2x), as degree⁻³ for |x|³, and as degree⁻¹ for
|x|; the network follows it down to rounding.

Run: python benchmarks/paper/r08_theorem8.py [--quick] [--out results/r08]
"""

import sys

import experiment
import jax.numpy as jnp
import numpy as np
from numpy.polynomial import chebyshev, polynomial

from nets.paper.polynomials import function_network, horner_counts, multivariate_network
from nets.plots.panels import COLORS, Panel, Series, figure

FUNCTIONS = {
    "exp(sin 2x)": lambda x: jnp.exp(jnp.sin(2 * x)),
    "|x|³": lambda x: jnp.abs(x) ** 3,
    "|x|": jnp.abs,
}


def value(network, x):
    """The network, in NumPy."""
    *hidden, last = network.parameters["layers"].values()
    for layer in hidden:
        z = x @ layer["kernel"] + layer["bias"]
        x = z * np.maximum(z + 1, 0) ** network.p
    return (x @ last["kernel"] + last["bias"])[:, 0]


NAME = "theorem8"


def options():
    return experiment.options(__doc__.split("\n")[0], "r08", degree=4, polynomials=20)


def polynomials(args, n: int, p: int, count: int, rng: np.random.Generator) -> dict:
    """Random polynomials of n variables, and the sizes of the networks that equal them."""
    shape, errors = (args.degree + 1,) * n, []
    for _ in range(count):
        C = rng.normal(size=shape) * (np.sum(np.indices(shape), 0) <= args.degree)
        network = multivariate_network(C, p, box=[(-2, 2)] * n)
        x = rng.uniform(-2, 2, (2000, n))
        exact = getattr(polynomial, f"polyval{n}d")(*x.T, C)
        errors.append(np.abs(value(network, x) - exact).max() / np.abs(exact).max())
    dense = multivariate_network(rng.uniform(1, 2, shape), p)
    formula = horner_counts([args.degree] * n, p)
    assert dense.counts == formula
    c = network.counts
    print(
        f"    n = {n}, p = {p}: {max(errors):.1e}; {c.layers} layers, {c.neurons} units, "
        f"width {c.width}, {c.parameters} parameters; all coefficients: "
        f"{formula.layers}, {formula.neurons}, {formula.width}, {formula.parameters}"
    )
    return {
        "worst error": max(errors),
        "counts, total degree": network.counts._asdict(),
        "counts, degree in each variable": formula._asdict(),
        "amplification": network.amplification,
    }


def interpolants(name: str, f, degrees: list[int]) -> dict:
    """Errors of a function's interpolants, and of the networks that equal these."""
    found = [function_network(f, 2, d) for d in degrees]
    x = np.linspace(-1, 1, 1001)
    true = np.asarray(f(x))
    made = [np.abs(value(each.network, x[:, None]) - true).max() for each in found]
    rounding = [
        np.abs(value(each.network, x[:, None]) - chebyshev.chebval(x, each.chebyshev)).max() for each in found
    ]
    print(
        f"    {name}: "
        + ", ".join(f"{e:.1e}" for e in made)
        + f"; beside the interpolant ≤ {max(rounding):.0e}"
    )
    return {
        "degrees": degrees, "network": made, "network - interpolant": rounding,
        "interpolant": [each.error for each in found],
        "interpolant, slope": [each.slope_error for each in found],
    }  # fmt: skip


def results(args) -> experiment.Results:
    count, rng = 3 if args.quick else args.polynomials, np.random.default_rng(args.seed)
    summary, arrays = {}, {}
    for n, p in ((2, 2), (2, 3), (2, 4), (3, 2), (3, 3), (3, 4)):
        summary[f"n = {n}, p = {p}"] = polynomials(args, n, p, count, rng)
    for name, f in FUNCTIONS.items():
        summary[name] = found = interpolants(name, f, [2, 4, 8, 16, 32, 64])
        arrays |= {f"{name} network": np.array(found["network"])}
        arrays |= {f"{name} rounding": np.array(found["network - interpolant"])}
    return experiment.Results(summary, arrays, {name: summary[name] for name in FUNCTIONS})


def pictures(args, drawn) -> dict:
    function, derivative = [], []
    for (name, found), color in zip(drawn.items(), COLORS, strict=False):
        at = np.log2(found["degrees"])
        function += [
            Series(at, found["interpolant"], "line", color, f"interpolant of {name}"),
            Series(at, found["network"], "points", color, f"network, {name}"),
        ]
        derivative.append(Series(at, found["interpolant, slope"], "line", color, f"interpolant of {name}"))
    panels = [
        Panel("log₂ degree", "max |f − network|", function, "function", yscale="log"),
        Panel("log₂ degree", "max |f′ − P′|", derivative, "derivative", yscale="log"),
    ]
    title = "Functions by MRePU networks of p = 2 that equal their interpolants"
    return {"": figure(title, [panels], width=5.2)}


def main() -> int:
    return experiment.run(options(), NAME, results, pictures)


if __name__ == "__main__":
    sys.exit(main())
