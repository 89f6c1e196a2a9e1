"""R9: regression on polynomials: MRePU beside ReLU, GELU and tanh, in the function and in its derivative.

The experiment of Table 4 and Figs. 9–11 of arXiv:2408.02697. Stated there: five hidden layers of 32, C_b = 0;
one variable: 101 points of [−2, 2]; grids of 101² and 51³; xyz; 10,000 epochs; 25 networks; C_W 0.5, 0.8,
0.55, 0.6 for MRePU, 1 else; rates 0.005; 1e-4 for MRePU and 1e-3 else; 1e-3 in several variables. Ours: the
other polynomials (`nets.targets.POLYNOMIALS`, one more of one variable as a second choice), grids on [−1, 1],
Adam, the mean square as loss, and the first layer: with C_W/n₀ (fan_in, dashed) deep MRePU networks overflow
at |x| = 2, so that all networks have C_W/n₁ there (fan_out); the targets of --both are run with both.

Run: python benchmarks/paper/r09_polynomial_regression.py [--quick] [--out results/r09] [--batch 256] …
Stopped, it goes on from the last checkpoint when it is run again.
"""

import sys

import regression
from regression import Setting

from nets.targets import POLYNOMIALS

SETTINGS = {
    "cubic": Setting(0.5, 5e-3, 5e-3),
    "quintic": Setting(0.8, 1e-4, 1e-3),
    "septic": Setting(0.8, 1e-4, 1e-3),
    "saddle": Setting(0.55, 1e-3, 1e-3),
    "xyz": Setting(0.6, 1e-3, 1e-3),
}


def main() -> int:
    args = regression.options(__doc__.split("\n")[0], "r09", list(POLYNOMIALS))
    return regression.table(args, "polynomial_regression", "Polynomials", POLYNOMIALS, SETTINGS)


if __name__ == "__main__":
    sys.exit(main())
