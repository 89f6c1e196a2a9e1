"""R10: regression on functions whose second derivatives jump: MRePU beside ReLU, GELU and tanh.

The experiment of Table 5 and Figs. 12–14 of arXiv:2408.02697. Stated there: five hidden layers of 32,
C_b = 0; one function of one variable on 101 points of [−2, 2], two of several on 51 points an axis; 10,000
epochs; 25 networks; rates 4e-4 for MRePU and 1e-3 else; 1e-3; 2e-3 and 3e-3; C_W = 1 but for MRePU. Ours: the
functions (`nets.paper.targets.FUNCTIONS`, one more of one variable as a second choice), C_W = 0.55 for MRePU,
grids on [−1, 1], Adam, the mean square as loss, the first layer as in R9.

What came out (2026-11-25 and 28, two shared cores, 765 s in all; one variable at full size, several
with --batch 256 --steps-several 1000 --points3 17): of 25 networks the median of the final loss (16 % … 84
%), and of the relative error of the derivative. Networks that overflowed count as ∞; lost are those that did,
or are worse than the best constant: 19, 19, 7 and 23 of MRePU 3 fan_out, 2 of MRePU 2 fan_out on the first
two.

                     square                    waves
    MRePU 2  below   1.1e-5 (6.1e-6 … 3.6e-5)  2.7e-5 (8.5e-6 … 5.7e-5)
    MRePU 3  below   2.2e-5 (1.1e-5 … 9.3e-5)  5.7e-5 (2.3e-5 … 1.7e-4)
    MRePU 2  fan_out 1.6e-5 (6.0e-6 … 1.9e-4)  1.6e-5 (6.8e-6 … 4.6e-5)
    ReLU     fan_out 2.9e-5 (6.6e-6 … 2.1e-4)  6.8e-6 (2.3e-6 … 3.7e-5)
    GELU     fan_out 1.0e-5 (5.9e-6 … 1.1e-4)  1.1e-5 (6.1e-6 … 2.1e-5)
    tanh     fan_out 1.0e-5 (2.0e-6 … 7.5e-5)  2.5e-5 (1.3e-5 … 7.6e-5)

                     disc                      ridge                     derivatives, in this order
    MRePU 2  below   1.8e-4 (7.4e-5 … 2.9e-4)  4.2e-5 (2.4e-5 … 6.6e-5)  .015  .051  .081  .056
    MRePU 3  below   2.8e-4 (6.8e-5 … 5.0e-4)  4.3e-5 (2.5e-5 … 1.3e-4)  .017  .066  .090  .060
    MRePU 2  fan_out 1.4e-4 (7.0e-5 … 2.2e-4)  5.0e-5 (2.5e-5 … 1.1e-4)  .017  .050  .066  .063
    ReLU     fan_out 3.0e-5 (2.4e-5 … 4.5e-5)  5.4e-5 (3.3e-5 … 2.0e-4)  .051  .094  .092  .11
    GELU     fan_out 8.0e-5 (7.0e-5 … 1.0e-4)  2.3e-5 (1.2e-5 … 3.8e-5)  .013  .045  .051  .045
    tanh     fan_out 9.7e-4 (4.1e-4 … 2.6e-3)  2.8e-4 (1.2e-4 … 4.2e-4)  .012  .061  .25   .11

MRePU 2 below the threshold beside ReLU and GELU, as Mann and Whitney's p of the losses:

    ReLU   less, 4e-3   more, 3e-3   more, 8e-9   less, 0.02
    GELU   0.8          more, 9e-3   more, 2e-4   more, 8e-4

ReLU has a smaller loss than MRePU on two of the four, as the paper has it, and a larger one on the other two:
the choice of the function decides. MRePU's derivative is better than ReLU's everywhere (p ≤ 8e-4), which is
the paper's too; GELU's is better still (p ≤ 0.02), and GELU fails nowhere, which is not. With fan_in, tried
on x|x|, every MRePU network overflows; tanh (3.0e-6) and GELU (4.2e-6) do better than with fan_out, ReLU
(3.6e-5) does not: the first layer's scale, too, decides.

At full size in two variables (51² points in every step, 10,000 steps; NVIDIA H200, 2026-11-27, jax 0.11.2;
GELU and tanh, and half of ridge, were not run):

                     disc                      ridge
    MRePU 2  below   3.2e-6 (1.3e-6 … 4.0e-5)
    MRePU 2  fan_out 1.8e-6 (9.0e-7 … 5.2e-6)  1.9e-6 (8.6e-7 … 1.6e-5)
    MRePU 3  fan_out 4.3e-5 (5.0e-6 … 1.1e6)   ∞      (1.1e22 … ∞)
    ReLU     fan_out 2.5e-6 (1.8e-6 … 1.6e-5)  4.1e-6 (1.2e-6 … 3.8e-5)

ReLU's advantage on disc does not survive longer training: MRePU 2 with C_W/n₁ has the smaller loss (p =
0.01), below the threshold there is no difference (p = 1).

Run: python benchmarks/paper/r10_function_regression.py [--quick] [--out results/r10] [--batch 256] …
Stopped, it goes on from the last checkpoint when it is run again.
"""

import sys

import experiment
import regression
import regression_figures
from experiment import Results
from regression import Setting

from nets.paper.targets import FUNCTIONS

SETTINGS = {
    "square": Setting(0.55, 4e-4, 1e-3),
    "waves": Setting(0.55, 4e-4, 1e-3),
    "disc": Setting(0.55, 1e-3, 1e-3),
    "ridge": Setting(0.55, 2e-3, 3e-3),
}


NAME = "function_regression"


def options():
    return regression.options(__doc__.split("\n")[0], "r10", list(FUNCTIONS))


def results(args) -> Results:
    return regression.results(args, FUNCTIONS, SETTINGS)


def pictures(args, drawn) -> dict:
    return regression_figures.pictures("Functions with jumps of f″", args, FUNCTIONS, drawn)


def main() -> int:
    return experiment.run(options(), NAME, results, pictures)


if __name__ == "__main__":
    sys.exit(main())
