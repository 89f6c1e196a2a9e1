"""The error of the expectations from a table, at every scale K, measured when the table is made.

Six rules, whose nodes are offset by a sixth of a step, are compared on a grid of K. One of them, or the mean
of two or three, is used if it agrees with the mean of all; else the mean of all six, or of 24. With node
spacing h/m, the error of a rule decreases as e^{−cm/h} if σ is analytic, and as 1/m² or slower at an
undeclared kink: each doubling of m reduces it by the same factor as the previous doubling, or a larger one.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Shaped

from eft.activations.derivatives import Array, Scalar
from eft.activations.one_sided import numpy_of

DECADES = 16
"""The grid of log₁₀K runs from −DECADES to DECADES."""

PER_DECADE = 8
"""Values of K per decade: from one to the next, the weight of a kink grows at most a few hundredfold."""

GRID = 10.0 ** (np.arange(-DECADES * PER_DECADE, DECADES * PER_DECADE + 1) / PER_DECADE)

SAFETY = 5.0
"""The ratio of the estimated error to the largest observed deviation."""

SUFFICIENT_ERROR = 5e-13
"""The error up to which a smaller number of rules suffices."""

NEGLIGIBLE_ERROR = 1e-13
"""Errors up to this are round-off and count as 0."""

UNKNOWN = 0.1
"""Estimated relative error above which nothing is known about an expectation: its error is inf."""

SPREAD, SLOPE, BEYOND, EDGE, OVERFLOW, ROUNDING = range(1, 7)
"""Causes of an error."""

CAUSES = {
    SPREAD: "the function varies on a scale that the quadrature does not resolve there (a fast oscillation, "
    "rounding inside it, or a kink that was not found: eft.Activation(fn, kinks=...) declares it)",
    SLOPE: "the function's derivative in JAX is not the slope of its values (a straight-through or custom "
    "gradient, or a jump that is neither declared nor found)",
    BEYOND: "the function has more kinks than are taken into account",
    EDGE: "the function's slope grows without bound at a kink, where floating-point numbers are too coarse",
    ROUNDING: "its terms cancel down to the rounding error of floating-point numbers",
    OVERFLOW: "the function, a power or a derivative of it is not a finite number at all z that the Gaussian "
    "reaches",
}


class Accuracy(NamedTuple):
    """The error of a table's expectations on the grid of K.

    `error`: (grid,) largest error among the moments, relative to their units; 0 where none was observed.
    `cause`: (grid,) the cause of that error, or 0.
    `measured`: () 1, or 0 for a rule that is known to be accurate.
    """

    error: Float[Array, "grid"]
    cause: Shaped[Array, "grid"]
    measured: Shaped[Scalar, ""]

    @classmethod
    def exact(cls) -> "Accuracy":
        """The accuracy of a rule that is known to be accurate."""
        return cls(np.zeros(len(GRID)), np.zeros(len(GRID)), np.zeros(()))


def error_at(accuracy: Accuracy, K: Array) -> Any:
    """The relative error at any K: the larger one at the two nearest grid points, and at least round-off."""
    xp = numpy_of(K)
    K, error = (K, accuracy.error) if xp is np else jax.lax.stop_gradient((K, accuracy.error))
    position = (xp.log10(xp.where(K > 0, K, 1e-30)) + DECADES) * PER_DECADE
    position = xp.clip(xp.nan_to_num(position, nan=0.0), 0, len(GRID) - 1)
    low, high = (f(position).astype(int) for f in (xp.floor, xp.ceil))
    return xp.maximum(np.finfo(K.dtype).eps, xp.maximum(error[low], error[high]))


def cause_at(K: float, *accuracies: Accuracy) -> str:
    """The cause of the largest error at K, in words."""
    position = np.clip((np.log10(max(K, 1e-30)) + DECADES) * PER_DECADE, 0, len(GRID) - 1)
    around = np.array([np.floor(position), np.ceil(position)], int)
    errors = np.concatenate([np.asarray(accuracy.error)[around] for accuracy in accuracies])
    causes = np.concatenate([np.asarray(accuracy.cause)[around] for accuracy in accuracies])
    outside = "K lies beyond the range of the quadrature, where the moments are continued by power laws"
    return CAUSES.get(int(causes[errors.argmax()]), outside)


def measured(
    table: Any, sums: Callable, units: Callable, error_sources: Callable, *, last: bool, every: bool = False
) -> Any | None:
    """The table with as many of its rules as are needed, and its accuracy; None if all are not enough.

    `sums`: (table, K) → expectations (…, grid); `units`: (expectations, K) → what their errors are relative
    to; `error_sources`: table → [(cause, relative error (grid,))], errors that a comparison of the rules does
    not show. `last`: if all rules are not enough, use them nevertheless and report the error. `every`: use
    all rules in any case.
    """
    xp = numpy_of(table.columns)
    K = GRID.astype(table.z.dtype)
    each = xp.stack([sums(_restricted(table, (i,)), K) for i in range(len(table.z))])
    mean = each.mean(0)
    size = units(mean, K)
    finite = xp.isfinite(each).all(0) & (size > 0)

    def deviation(apart):
        """The largest deviation of the mean of every `apart`-th rule from the mean of all, times SAFETY."""
        some = xp.stack([each[first::apart].mean(0) for first in range(apart)])
        relative = xp.where(
            finite[None], xp.abs(some - mean[None]) / xp.where(size > 0, size, 1.0)[None], 0.0
        )
        return SAFETY * xp.max(relative, axis=(0, 1))

    chosen, spread = _enough(deviation, len(each), last, every)
    if chosen is None:
        return None
    spread = xp.where(spread > UNKNOWN, np.inf, spread)
    sources = [
        (SPREAD, spread),
        (OVERFLOW, xp.where(_overflowed(mean, table.infinite), np.inf, 0.0)),
        *error_sources(table),
    ]
    errors = xp.stack([xp.where(error > NEGLIGIBLE_ERROR, error, 0.0) for _, error in sources])
    causes = np.array([cause for cause, _ in sources], table.z.dtype)
    # where known kinks are left out, these explain every other error
    is_beyond = (causes == BEYOND)[:, None]
    left_out = xp.any(is_beyond & (errors > 0), axis=0)[None]
    explained = xp.where(left_out & ~is_beyond, 0.0, errors)
    cause = xp.take(causes, xp.argmax(explained, axis=0))
    error = xp.max(errors, axis=0)
    error = jax.lax.stop_gradient(error) if xp is jnp else error
    return _restricted(table, chosen)._replace(accuracy=Accuracy(error, cause, np.ones(())))


DOUBLINGS = {6: (1, 2), 24: (3, 6)}
"""Number of rules → two smaller numbers, a factor 2 apart, whose errors show how fast the error falls."""

SLOW_RATIO, SLOW_FACTOR, CHANCE = 1e-2, 0.3, 16
"""Where the error falls by less than the first from few rules to many, it falls as a power of the step.

Then the next doubling reduces it to the second at best. The error of few rules, divided by the third, is a
lower limit, since that of many may vanish by chance.
"""


def error_of_all(errors: dict[int, Any], rules: int) -> Any:
    """The error of the mean of all rules, from `errors`: m → the error of the mean of m of them."""
    half, (few, more) = errors[rules // 2], DOUBLINGS[rules]
    xp = numpy_of(half)
    ratio = xp.clip(errors[more] / xp.where(errors[few] > 0, errors[few], 1.0), 0.0, 1.0)
    # at a kink the error of a few rules may vanish by chance; that of others then shows a power of the step
    likely = xp.maximum(half, errors[more] / 4)
    slow = likely > SLOW_RATIO * errors[few]
    half = xp.where(slow, xp.maximum(likely, errors[few] / CHANCE), half)
    ratio = xp.where(slow, xp.maximum(ratio, SLOW_FACTOR), ratio)
    # two halves may agree by chance
    return ratio * xp.maximum(half, ratio * errors[more] if 2 * more == rules // 2 else 0.0)


def error_of_six(values: jax.Array) -> jax.Array:
    """The error of the mean of six rules, which are on the leading axis."""
    mean = values.mean(0)

    def deviation(apart):
        return max_of(jnp.abs(values[first::apart].mean(0) - mean) for first in range(apart))

    return SAFETY * error_of_all({m: deviation(6 // m) for m in (1, 2, 3)}, 6)


def max_of(arrays) -> Any:
    """The elementwise maximum of several arrays."""
    return functools.reduce(jnp.maximum, arrays)


def _enough(deviation: Callable, rules: int, last: bool, every: bool) -> tuple[tuple[int, ...] | None, Any]:
    """The rules to use, as few as suffice (None if all do not), and the error of their mean."""
    errors = {m: deviation(rules // m) for m in range(1, rules) if rules % m == 0}
    errors[rules] = error_of_all(errors, rules)
    if every or numpy_of(errors[rules]) is jnp:
        return tuple(range(rules)), errors[rules]
    for range_ in (AGREEMENT_RANGE, MIN_AGREEMENT_RANGE) if last else (AGREEMENT_RANGE,):
        for m, error in sorted(errors.items()):
            if np.all(error[(range_[0] <= GRID) & (range_[1] >= GRID)] <= SUFFICIENT_ERROR):
                return tuple(range(0, rules, rules // m)), error
    return (tuple(range(rules)) if last else None), errors[rules]


AGREEMENT_RANGE = (1e-4, 1e12)
"""The range of K over which rules must agree; below it they differ by the round-off of σ itself near 0."""

MIN_AGREEMENT_RANGE = (1e-4, 1e3)
"""The range that must do if they do not agree over that one, as for a function that oscillates."""


def _overflowed(mean, infinite) -> Any:
    """Where a moment that should be finite overflowed."""
    xp = numpy_of(mean)
    return xp.any(~xp.isfinite(mean) & (infinite == 0)[:, None], axis=0)


def _restricted(table: Any, rows: tuple[int, ...]) -> Any:
    """The table restricted to some of its rules."""
    kept = {name: getattr(table, name)[np.array(rows)] for name in table.PER_RULE}
    return table._replace(**kept)
