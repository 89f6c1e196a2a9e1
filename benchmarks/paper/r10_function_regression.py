"""R10: regression on functions whose second derivatives jump: MRePU beside ReLU, GELU and tanh.

The experiment of Table 5 and Figs. 12–14 of arXiv:2408.02697. Stated there: five hidden layers of 32,
C_b = 0; one function of one variable on 101 points of [−2, 2], two of several on 51 points an axis; 10,000
epochs; 25 networks; rates 4e-4 for MRePU and 1e-3 else; 1e-3; 2e-3 and 3e-3; C_W = 1 but for MRePU. Ours: the
functions (`nets.targets.FUNCTIONS`, one more of one variable as a second choice), C_W = 0.55 for MRePU, grids
on [−1, 1], Adam, the mean square as loss, the first layer as in R9.

What came out (2026-11-24, two cores that other work shared, 13 min in all; one variable at full size, several
with --batch 256 --steps-several 1000 --points3 17): median over 25 networks of the final loss and of the
relative error of the derivative. "lost": a third of the networks or more overflowed, or
are worse than the best constant.

                         square          waves           disc          ridge
    MRePU 2  below   1.1e-5 .015    2.7e-5 .051    1.8e-4 .081    4.2e-5 .056
    MRePU 3  below   2.2e-5 .017    5.7e-5 .066    2.8e-4 .090    4.3e-5 .060
    MRePU 2  fan_out 1.6e-5 .017    1.6e-5 .050    1.4e-4 .066    5.0e-5 .063
    MRePU 3  fan_out lost           lost           5.5e-4 .32     lost
    ReLU     fan_out 2.9e-5 .051    6.8e-6 .094    3.0e-5 .092    5.4e-5 .11
    GELU     fan_out 1.0e-5 .013    1.1e-5 .045    8.0e-5 .051    2.3e-5 .045
    tanh     fan_out 1.0e-5 .012    2.5e-5 .061    9.7e-4 .25     2.8e-4 .11

ReLU has the smallest loss on two of the four, as the paper has it, and not on the other two: the choice of
the function decides. MRePU's derivative is better than ReLU's everywhere, which is the paper's too; GELU's is
better still, and GELU fails nowhere, which is not.

Run: python benchmarks/paper/r10_function_regression.py [--quick] [--out results/r10] [--batch 256] …
Stopped, it goes on from the last checkpoint when it is run again.
"""

import sys

import regression
from regression import Setting

from nets.targets import FUNCTIONS

SETTINGS = {
    "square": Setting(0.55, 4e-4, 1e-3),
    "waves": Setting(0.55, 4e-4, 1e-3),
    "disc": Setting(0.55, 1e-3, 1e-3),
    "ridge": Setting(0.55, 2e-3, 3e-3),
}


def main() -> int:
    args = regression.options(__doc__.split("\n")[0], "r10", list(FUNCTIONS))
    title = "Functions with jumps of f″"
    return regression.table(args, "function_regression", title, FUNCTIONS, SETTINGS)


if __name__ == "__main__":
    sys.exit(main())
