"""R10: regression on functions whose second derivatives jump: MRePU beside ReLU, GELU and tanh.

The experiment of Table 5 and Figs. 12–14 of arXiv:2408.02697. Stated there: five hidden layers of 32,
C_b = 0; one function of one variable on 101 points of [−2, 2], two of several on 51 points an axis; 10,000
epochs; 25 networks; rates 4e-4 for MRePU and 1e-3 else; 1e-3; 2e-3 and 3e-3; C_W = 1 but for MRePU. Ours: the
functions (`nets.targets.FUNCTIONS`, one more of one variable as a second choice), C_W = 0.55 for MRePU, grids
on [−1, 1], Adam, the mean square as loss, the first layer as in R9.

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
