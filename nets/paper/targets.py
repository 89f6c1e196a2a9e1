"""Functions to learn, and samples of them."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from eft import arguments
from eft.arguments import ArgumentError


class Target(NamedTuple):
    """A function to learn. `fn`: (m, n₀) → (m,). `n0`: the components that it needs at least."""

    fn: Callable[[np.ndarray], np.ndarray]
    n0: int
    formula: str


TARGETS = {
    "product": Target(lambda x: x[:, 0] * x[:, 1], 2, "x₁x₂"),
    "waves": Target(lambda x: np.sin(np.pi * x[:, 0]) * np.cos(np.pi * x[:, 1]), 2, "sin πx₁ cos πx₂"),
    "bump": Target(lambda x: np.exp(-4 * np.sum(x**2, axis=1)), 1, "exp(−4‖x‖²)"),
    "step": Target(lambda x: np.sign(x[:, 0]), 1, "sign x₁"),
}


def samples(name: str, count: int, n0: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """`count` inputs (count, n₀), uniform in [−1, 1], and the target there, (count,).

    Raises ValueError for a name that is not one of `TARGETS`, or too small an n₀.
    """
    if name not in TARGETS:
        raise ArgumentError(f"target must be one of {', '.join(TARGETS)}; got {arguments.shown(name)}")
    count, n0 = arguments.positive_int("samples", count), arguments.positive_int("n0", n0)
    target = TARGETS[name]
    if n0 < target.n0:
        raise ArgumentError(f"n0 must be ≥ {target.n0} for {name}, {target.formula}; got {n0}")
    X = np.random.default_rng(seed).uniform(-1, 1, (count, n0))
    return X, target.fn(X)


class Regression(NamedTuple):
    """A function to learn on a grid, with its derivatives.

    `fn`: (m, n₀) → (m,). `gradient`: (m, n₀) → (m, n₀). `side`: the grid fills [−side, side]^n₀. `points`: of
    the grid, per axis. `formula`: as text.
    """

    fn: Callable[[np.ndarray], np.ndarray]
    gradient: Callable[[np.ndarray], np.ndarray]
    n0: int
    side: float
    points: int
    formula: str

    def grid(self, points: int | None = None) -> np.ndarray:
        """All grid points, (points^n₀, n₀), with the last component varying fastest."""
        axis = np.linspace(-self.side, self.side, self.points if points is None else points)
        return np.stack(np.meshgrid(*[axis] * self.n0, indexing="ij"), -1).reshape(-1, self.n0)


def _of(*columns: np.ndarray) -> np.ndarray:
    return np.stack(columns, 1)


def _ridge(X: np.ndarray) -> np.ndarray:
    return X.sum(1) / 2


def _disc(X: np.ndarray) -> np.ndarray:
    return np.maximum(0.0, np.sum(X**2, 1) - 0.5)


POLYNOMIALS = {
    "cubic": Regression(
        lambda X: X[:, 0] ** 3 - X[:, 0], lambda X: 3 * X**2 - 1, 1, 2.0, 101, "x³ − x"
    ),
    "quintic": Regression(
        lambda X: (X[:, 0] ** 5 - 5 * X[:, 0] ** 3 + 5 * X[:, 0]) / 2,
        lambda X: (5 * X**4 - 15 * X**2 + 5) / 2,
        1, 2.0, 101, "T₅(x/2) = (x⁵ − 5x³ + 5x)/2",
    ),
    "septic": Regression(
        lambda X: np.cos(7 * np.arccos(X[:, 0] / 2)),
        lambda X: 7 * (64 * (X / 2) ** 6 - 80 * (X / 2) ** 4 + 24 * (X / 2) ** 2 - 1) / 2,
        1, 2.0, 101, "T₇(x/2)",
    ),
    "saddle": Regression(
        lambda X: X[:, 0] ** 2 * X[:, 1] - X[:, 1] ** 3 / 3,
        lambda X: _of(2 * X[:, 0] * X[:, 1], X[:, 0] ** 2 - X[:, 1] ** 2),
        2, 1.0, 101, "x²y − y³/3",
    ),
    "xyz": Regression(
        lambda X: X[:, 0] * X[:, 1] * X[:, 2],
        lambda X: _of(X[:, 1] * X[:, 2], X[:, 0] * X[:, 2], X[:, 0] * X[:, 1]),
        3, 1.0, 51, "xyz",
    ),
}  # fmt: skip
"""Table 4 of arXiv:2408.02697. xyz, the grids in one variable and the points of all grids are the paper's;
the other polynomials and the sides in several variables are this project's choice."""

FUNCTIONS = {
    "square": Regression(
        lambda X: X[:, 0] * np.abs(X[:, 0]), lambda X: 2 * np.abs(X), 1, 2.0, 101, "x|x|"
    ),
    "waves": Regression(
        lambda X: np.sin(np.pi * X[:, 0]) * np.abs(np.sin(np.pi * X[:, 0])),
        lambda X: 2 * np.pi * np.abs(np.sin(np.pi * X)) * np.cos(np.pi * X),
        1, 2.0, 101, "sin πx |sin πx|",
    ),
    "disc": Regression(
        lambda X: _disc(X) ** 2, lambda X: 4 * _disc(X)[:, None] * X, 2, 1.0, 51,
        "max(0, x² + y² − ½)²",
    ),
    "ridge": Regression(
        lambda X: _ridge(X) * np.abs(_ridge(X)),
        lambda X: np.repeat(np.abs(_ridge(X))[:, None], X.shape[1], 1),
        3, 1.0, 51, "s|s|, s = (x + y + z)/2",
    ),
}  # fmt: skip
"""Table 5 of arXiv:2408.02697: one function of one variable, two of several. All are this project's choice,
except for the numbers of points; "waves" is a second function of one variable. Second derivatives jump at 0,
at integer x, on a circle and on a plane."""
