"""R9: regression on polynomials: MRePU beside ReLU, GELU and tanh, in the function and in its derivative.

The experiment of Table 4 and Figs. 9–11 of arXiv:2408.02697. Stated there: five hidden layers of 32, C_b = 0;
one variable: 101 points of [−2, 2]; grids of 101² and 51³; xyz; 10,000 epochs; 25 networks; C_W 0.5, 0.8,
0.55, 0.6 for MRePU, 1 else; rates 0.005; 1e-4 for MRePU and 1e-3 else; 1e-3 in several variables. Ours: the
other polynomials (`nets.targets.POLYNOMIALS`, one more of one variable as a second choice), grids on [−1, 1],
Adam, the mean square as loss, and the first layer: with C_W/n₀ (fan_in, dashed) deep MRePU networks overflow
at |x| = 2, so that all networks have C_W/n₁ there (fan_out); the targets of --both are run with both. MRePU
is run with a third too, where K¹ stays below the threshold of explosion on all of the grid (below, dotted).

What came out (2026-11-24, two cores that other work shared, 45 min in all; one variable at full size,
several with --batch 256 --steps-several 1000 --points2 51 --points3 17): median over 25 networks of the final
loss and of the relative error of the derivative. "lost": a third of the networks or more
overflowed, or are worse than the best constant.

                          cubic         quintic          septic          saddle             xyz
    MRePU 2  below   8.3e-4 .014   1.2e-6 .0064   8.3e-6 .017    5.8e-6 .033    1.3e-5 .044
    MRePU 3  below   1.3e-3 .018   3.2e-6 .0079   9.9e-6 .016    7.5e-6 .046    2.2e-5 .060
    MRePU 2  fan_out 3.9e-4 .013   lost           lost           4.6e-6 .032    2.4e-5 .081
    MRePU 3  fan_out lost          lost           lost           1.1e-4 .52     lost
    ReLU     fan_out 1.5e-4 .052   2.1e-6 .13     1.3e-5 .19     2.1e-5 .15     1.4e-4 .29
    GELU     fan_out 1.5e-4 .010   4.5e-6 .015    5.4e-6 .023    1.7e-5 .046    2.9e-5 .050
    tanh     fan_out 2.7e-4 .042   2.4e-5 .022    4.1e-5 .039    5.9e-4 .25     1.1e-3 .26

Once its first layer is small enough to stay below the threshold, MRePU with p = 2 has the smallest loss and
the best derivative on three of the five, as the paper has it. On T₇ GELU has the smaller loss, and on x³ − x
at a rate of 0.005, where Adam's noise decides, ReLU and GELU: the order depends on the polynomial. ReLU's
derivative is 3 to 20 times worse than MRePU's everywhere. GELU fails nowhere. With fan_in, tried on
x³ − x, every MRePU network overflows; the others do much the same as with fan_out.

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
