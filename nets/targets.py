"""Functions to learn, and samples of them."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from eft import arguments


class Target(NamedTuple):
    """A function of inputs (m, n₀) to (m,), and how many components of the input it needs."""

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
        raise ValueError(f"target must be one of {', '.join(TARGETS)}; got {arguments.shown(name)}")
    count, n0 = arguments.positive_int("samples", count), arguments.positive_int("n0", n0)
    target = TARGETS[name]
    if n0 < target.n0:
        raise ValueError(f"n0 must be ≥ {target.n0} for {name}, {target.formula}; got {n0}")
    X = np.random.default_rng(seed).uniform(-1, 1, (count, n0))
    return X, target.fn(X)
