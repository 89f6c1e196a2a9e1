"""R9: regression on polynomials: MRePU beside ReLU, GELU and tanh, in the function and in its derivative.

The experiment of Table 4 and Figs. 9–11 of arXiv:2408.02697. Stated there: five hidden layers of 32, C_b = 0;
one variable: 101 points of [−2, 2]; grids of 101² and 51³; xyz; 10,000 epochs; 25 networks; C_W 0.5, 0.8,
0.55, 0.6 for MRePU, 1 else; rates 0.005; 1e-4 for MRePU and 1e-3 else; 1e-3 in several variables. Ours: the
other polynomials (`nets.paper.targets.POLYNOMIALS`, one more of one variable as a second choice), grids on
[−1, 1], Adam, the mean square as loss, and the first layer: with C_W/n₀ (fan_in) deep MRePU networks
overflow at |x| = 2, so that all networks have C_W/n₁ there (fan_out); the targets of --both are run with
both. MRePU is run with a third too, where K¹ stays below the threshold of explosion on all of the grid
(below).

What came out (2026-11-25 and 28, two shared cores, 603 s in all; one variable at full size, several
with --batch 256 --steps-several 1000 --points2 51 --points3 17): of 25 networks the median of the final loss
(16 % … 84 %), and of the relative error of the derivative. Networks that overflowed count as ∞; lost are
those that did, or are worse than the best constant: 15, 25, 25, 5 and 25 of MRePU 3 fan_out, 11 of MRePU 2
fan_out on the quintic, 13 on the septic; and all with fan_in.

                     cubic                     quintic                   septic
    MRePU 2  below   8.3e-4 (1.1e-4 … 1.8e-3)  1.2e-6 (5.9e-7 … 6.9e-6)  8.3e-6 (2.0e-6 … 8.2e-5)
    MRePU 3  below   1.3e-3 (3.5e-5 … 1.9e-3)  3.2e-6 (9.2e-7 … 1.9e-5)  9.9e-6 (4.1e-6 … 8.5e-5)
    MRePU 2  fan_out 3.9e-4 (6.7e-5 … 1.3e-3)  0.33   (1.5e-6 … 9e24)    0.79   (6.9e-6 … 4e24)
    ReLU     fan_out 1.5e-4 (2.4e-5 … 8.2e-4)  2.1e-6 (5.2e-7 … 6.2e-5)  1.3e-5 (1.5e-6 … 1.3e-4)
    GELU     fan_out 1.5e-4 (1.6e-5 … 6.7e-4)  4.5e-6 (1.5e-6 … 3.1e-5)  5.4e-6 (1.9e-6 … 1.2e-4)
    tanh     fan_out 2.7e-4 (1.2e-4 … 7.0e-4)  2.4e-5 (3.2e-6 … 1.5e-4)  4.1e-5 (3.9e-6 … 1.8e-4)

                     saddle                    xyz                       derivatives, in this order
    MRePU 2  below   5.8e-6 (2.3e-6 … 1.5e-5)  1.3e-5 (8.1e-6 … 1.7e-5)  .014  .0064  .017  .033  .044
    MRePU 3  below   7.5e-6 (5.4e-6 … 2.2e-5)  2.2e-5 (1.7e-5 … 2.8e-5)  .018  .0079  .016  .046  .060
    MRePU 2  fan_out 4.6e-6 (2.3e-6 … 7.4e-6)  2.4e-5 (1.2e-5 … 1.7e-4)  .013  160    91    .032  .081
    ReLU     fan_out 2.1e-5 (1.5e-5 … 3.2e-5)  1.4e-4 (1.2e-4 … 1.9e-4)  .052  .13    .19   .15   .29
    GELU     fan_out 1.7e-5 (1.1e-5 … 3.4e-5)  2.9e-5 (1.8e-5 … 4.1e-5)  .0097 .015   .023  .046  .050
    tanh     fan_out 5.9e-4 (5.1e-4 … 7.0e-4)  1.1e-3 (9.0e-4 … 1.3e-3)  .042  .022   .039  .25   .26

MRePU 2 below the threshold beside ReLU and GELU, as Mann and Whitney's p of the losses:

    ReLU   more, 9e-4   less, 0.2    0.9   less, 3e-6   less, 1e-9
    GELU   more, 3e-3   less, 2e-3   0.5   less, 3e-5   less, 6e-7

Once its first layer is small enough to stay below the threshold, MRePU with p = 2 has a smaller loss than
both in several variables, as the paper has it; on T₅ a smaller one than GELU, while ReLU is not told apart;
on T₇ neither is; on x³ − x, at a rate of 0.005, both have less. Its derivative is better than ReLU's on all
(p ≤ 1e-9), and than GELU's on all but x³ − x (p ≤ 0.02). GELU fails nowhere. With fan_in, tried on x³ − x,
every MRePU network overflows; the others do much the same as with fan_out.

Of xyz at full size (51³ points in every step, 10,000 steps) one row was run, on an NVIDIA H200 (2026-11-27):
MRePU 2 below ends at 5.7e-7 (1.7e-7 … 7.4e-6). A step of 25 networks takes 8.6 ms there, the time of
reading and writing 25 GB.

Run: python benchmarks/paper/r09_polynomial_regression.py [--quick] [--out results/r09] [--batch 256] …
Stopped, it goes on from the last checkpoint when it is run again.
"""

import sys

import experiment
import regression
import regression_figures
from experiment import Results
from regression import Setting

from nets.paper.targets import POLYNOMIALS

SETTINGS = {
    "cubic": Setting(0.5, 5e-3, 5e-3),
    "quintic": Setting(0.8, 1e-4, 1e-3),
    "septic": Setting(0.8, 1e-4, 1e-3),
    "saddle": Setting(0.55, 1e-3, 1e-3),
    "xyz": Setting(0.6, 1e-3, 1e-3),
}


NAME = "polynomial_regression"


def options():
    return regression.options(__doc__.split("\n")[0], "r09", list(POLYNOMIALS))


def results(args) -> Results:
    return regression.results(args, POLYNOMIALS, SETTINGS)


def pictures(args, drawn) -> dict:
    return regression_figures.pictures("Polynomials", args, POLYNOMIALS, drawn)


def main() -> int:
    return experiment.run(options(), NAME, results, pictures)


if __name__ == "__main__":
    sys.exit(main())
