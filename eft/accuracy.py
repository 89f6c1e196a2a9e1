"""How far the expectations from a table are right, at every scale K: measured when the table is made.

Six rules, whose nodes lie a sixth of a step apart, are compared on a grid of K. One of them, or the mean of
two or three, is used where that agrees with the mean of all; else all six are, or 24. The error of a rule
with nodes h/m apart falls as e^{−cm/h} where σ is analytic, and as 1/m² or slower at a kink that nobody
declared: twice as many nodes divide it by the same number, or a larger one, each time.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from eft.derivatives import Array
from eft.limits import numpy_of

DECADES = 16
"""The grid of log₁₀K runs from −DECADES to DECADES."""

DENSITY = 8
"""Values of K in a decade: from one to the next the weight of a kink grows at most a few hundred times."""

GRID = 10.0 ** (np.arange(-DECADES * DENSITY, DECADES * DENSITY + 1) / DENSITY)

SAFETY = 3.0
"""The estimated error in units of the largest deviation that was seen."""

SETTLED = 5e-13
"""The error at which fewer rules are enough."""

NOTHING = 1e-13
"""An error below this is rounding."""

SPREAD, SLOPE, BEYOND, EDGE, OVERFLOW = range(1, 6)
"""Causes of an error."""

CAUSES = {
    SPREAD: "the function varies on a scale that the quadrature does not resolve there (a fast oscillation, "
    "rounding inside of it, or a kink that was not found: eft.Activation(fn, kinks=...) declares it)",
    SLOPE: "the function's derivative in JAX is not the slope of its values (a straight-through or custom "
    "gradient, or a jump that is neither declared nor found)",
    BEYOND: "the function has more kinks than are looked after",
    EDGE: "the function's slope grows without bound at a kink away from 0, where floating-point numbers are "
    "too coarse",
    OVERFLOW: "the function, a power or a derivative of it is not a finite number as far out as the Gaussian "
    "reaches",
}


class Accuracy(NamedTuple):
    """On the grid of K."""

    error: Array  # (grid,) relative error of the worst moment, in their units; 0 where none was seen
    cause: Array  # (grid,) what it comes from, or 0

    @classmethod
    def exact(cls) -> "Accuracy":
        """Of a rule that is known to be accurate."""
        return cls(np.zeros(len(GRID)), np.zeros(len(GRID)))


def error_at(accuracy: Accuracy, K: jax.Array) -> jax.Array:
    """The relative error at any K: the larger one of the two neighbours on the grid, at least rounding."""
    position = (jnp.log10(jnp.where(K > 0, K, 1e-30)) + DECADES) * DENSITY
    position = jnp.clip(jnp.nan_to_num(position, nan=0.0), 0, len(GRID) - 1)
    low, high = (jax.lax.stop_gradient(f(position)).astype(int) for f in (jnp.floor, jnp.ceil))
    error = jax.lax.stop_gradient(accuracy.error)
    return jnp.maximum(jnp.finfo(K.dtype).eps, jnp.maximum(error[low], error[high]))


def cause_at(K: float, *accuracies: Accuracy) -> str:
    """In words, what the largest error at K comes from."""
    position = np.clip((np.log10(max(K, 1e-30)) + DECADES) * DENSITY, 0, len(GRID) - 1)
    around = np.array([np.floor(position), np.ceil(position)], int)
    errors = np.concatenate([np.asarray(accuracy.error)[around] for accuracy in accuracies])
    causes = np.concatenate([np.asarray(accuracy.cause)[around] for accuracy in accuracies])
    outside = "K lies beyond the range of the quadrature, where the moments are continued by power laws"
    return CAUSES.get(int(causes[errors.argmax()]), outside)


def measured(made: Any, sums: Callable, units: Callable, doubts: Callable, last: bool) -> Any | None:
    """The table with as many of its rules as are needed, and its accuracy; None if they are not enough.

    `sums`: (table, K) → expectations (…, grid); `units`: (expectations, K) → what their errors are relative
    to; `doubts`: table → [(cause, relative error (grid,))], what the rules cannot see. `last`: take all the
    rules if they are not enough, and say how far they are off.
    """
    xp = numpy_of(made.columns)
    K = GRID.astype(made.z.dtype)
    each = xp.stack([sums(_some(made, (i,)), K) for i in range(len(made.z))])
    mean = each.mean(0)
    size = units(mean, K)
    known = xp.isfinite(each).all(0) & (size > 0)

    def deviation(apart):
        """That of the rules with every `apart`-th set of nodes from the mean of all."""
        some = xp.stack([each[first::apart].mean(0) for first in range(apart)])
        relative = xp.where(known[None], xp.abs(some - mean[None]) / xp.where(size > 0, size, 1.0)[None], 0.0)
        return SAFETY * xp.max(relative, axis=(0, 1))

    chosen, spread = _enough(deviation, len(each), last)
    if chosen is None:
        return None
    found = [(SPREAD, spread), (OVERFLOW, xp.where(_lost(mean, made.infinite), np.inf, 0.0)), *doubts(made)]
    errors = xp.stack([xp.where(error > NOTHING, error, 0.0) for _, error in found])
    causes = np.array([cause for cause, _ in found], made.z.dtype)
    # kinks that are known to be left out explain all the rest
    explained = xp.where((causes == BEYOND)[:, None] & (errors > 0), np.inf, errors)
    cause = xp.take(causes, xp.argmax(explained, axis=0))
    error = xp.max(errors, axis=0)
    error = jax.lax.stop_gradient(error) if xp is jnp else error
    return _some(made, chosen)._replace(accuracy=Accuracy(error, xp.where(error > 0, cause, 0.0)))


DOUBLED = {6: (1, 2), 24: (3, 6)}
"""Of so many rules: two numbers of them, one twice the other, whose errors say how fast it falls."""


def _enough(deviation: Callable, rules: int, last: bool) -> tuple[tuple[int, ...] | None, Any]:
    """The rules to use, or None, and the error of their mean; of the fewest that are enough."""
    seen = {m: deviation(rules // m) for m in range(1, rules) if rules % m == 0}
    # twice as many rules divide the error of n by what they divided it by before, or more
    half, (few, more) = seen[rules // 2], DOUBLED[rules]
    xp = numpy_of(half)
    ratio = xp.clip(seen[more] / xp.where(seen[few] > 0, seen[few], 1.0), 0.0, 1.0)
    # two halves may agree by chance
    seen[rules] = ratio * xp.maximum(half, ratio * seen[more] if 2 * more == rules // 2 else 0.0)
    if xp is jnp:
        return tuple(range(rules)), seen[rules]
    for wanted in (WANTED, WANTED_AT_LEAST) if last else (WANTED,):
        for m, error in sorted(seen.items()):
            if np.all(error[(wanted[0] <= GRID) & (wanted[1] >= GRID)] <= SETTLED):
                return tuple(range(0, rules, rules // m)), error
    return (tuple(range(rules)) if last else None), seen[rules]


WANTED = (1e-4, 1e12)
"""The K at which rules are to agree to be enough; below it they differ by how σ itself rounds near 0."""

WANTED_AT_LEAST = (1e-4, 1e3)
"""Likewise if nothing else will do, as for a function that oscillates."""


def _lost(mean, infinite) -> Any:
    """Where a moment that should be finite overflowed."""
    xp = numpy_of(mean)
    return xp.any(~xp.isfinite(mean) & (infinite == 0)[:, None], axis=0)


def _some(made: Any, rows: tuple[int, ...]) -> Any:
    """The table of some of the rules."""
    kept = {name: getattr(made, name)[np.array(rows)] for name in made.PER_RULE}
    return made._replace(**kept)


def share(made: Any, mask: np.ndarray, sums: Callable, units: Callable) -> Any:
    """What the nodes where `mask` is contribute to each expectation at most, relative; the worst, (grid,)."""
    xp = numpy_of(made.columns)
    K = GRID.astype(made.z.dtype)
    size = units(sums(made, K), K)
    part = sums(made.part(mask), K)
    relative = xp.where((size > 0) & xp.isfinite(size), part / xp.where(size > 0, size, 1.0), 0.0)
    return xp.max(xp.where(xp.isfinite(relative), relative, 0.0), axis=0)


def slope_mismatch(at: Any, jumps: Any, unit: Any) -> Any:
    """How far ⟨zσ⟩ = K⟨σ′⟩ + KΣ[σ]p and ⟨(z²−K)σ⟩ = K⟨zσ′⟩ + KΣc[σ]p are missed, beyond rounding; (grid,).

    `jumps`: [σ]_c; `unit`: ⟨σ′²⟩, to whose root the first is relative. Both hold if σ′ is the slope of σ and
    every jump is known, and not else. σ² may be blind to a jump, as sign(z − 1) shows.
    """
    xp = numpy_of(at.left)
    K = GRID.astype(at.z.dtype)[:, None]
    z, v = at.z.ravel(), at.v.ravel() / len(at.z)
    left, right = (side[:2].reshape(2, -1) for side in (at.left, at.right))
    good = xp.isfinite(left).all(0) & xp.isfinite(right).all(0)
    left, right = (xp.where(good, side, 0.0) for side in (left, right))
    p = v * np.exp(-z * (z / K) / 2) / np.sqrt(2 * np.pi * K)
    at_kinks = np.exp(-at.kinks * (at.kinks / K) / 2) / np.sqrt(2 * np.pi * K)
    K, root = K[:, 0], np.sqrt(K[:, 0])
    jump = at_kinks @ jumps
    both = right[0] - left[0], right[1] + left[1]
    odd = p @ (z * both[0]) / K - p @ both[1] - jump
    even = (p @ (z * z * (right[0] + left[0])) - K * (p @ (right[0] + left[0]))) / K
    even = (even - p @ (z * (right[1] - left[1])) - at_kinks @ (at.kinks * jumps)) / root
    size = xp.abs(right[0]) + xp.abs(left[0])
    rounding = (
        64 * np.finfo(at.z.dtype).eps * (p @ (z * size) / K + (p @ (z * z * size) / K + p @ size) / root)
    )
    root_unit = xp.where(xp.isfinite(unit), xp.sqrt(xp.where(xp.isfinite(unit), unit, 0.0)), 0.0)
    scale = xp.maximum(root_unit, p @ (xp.abs(left[1]) + xp.abs(right[1])) + xp.abs(jump))
    innermost = (at.z <= 10 * at.z.min()).ravel()  # what is missing below, of a slope that grows towards 0
    rounding = rounding + 10 * (p[:, innermost] @ (xp.abs(left[1]) + xp.abs(right[1]))[innermost])
    missed = xp.maximum(xp.abs(odd), xp.abs(even)) - rounding
    return xp.where((missed > 0) & (scale > 0), missed / xp.where(scale > 0, scale, 1.0), 0.0)
