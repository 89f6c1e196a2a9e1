"""Kinks that nobody declared: where a function or one of its first three derivatives jumps.

Between two nodes a smooth function keeps to the trapezoidal rule,
d_k(b) − d_k(a) = ½h(d_{k+1}(a) + d_{k+1}(b)), up to O(h³). Every interval is halved, always towards
the larger misfit, until its ends are neighbouring numbers. There a kink still shows its jump; a
smooth function has nothing left.
"""

import functools

import jax
import numpy as np

from eft.activations import Activation
from eft.table import nested_derivatives

NODES = 2048
"""Of the grid z = sinh t: 0.014 apart at |z| < 1 and 1.4 % of |z| far out."""

REACH = 1e6
"""The largest |z| that is searched."""

ORDERS = 4
"""Jumps of σ, σ′, σ″ and σ‴ are found; later ones hardly matter to an expectation."""

SIGNIFICANT = 1e-9
"""The smallest jump, on the length 1 + |z|, in units of the largest |σ| that is as near to 0."""

ROUNDING = 1e-11
"""A jump that is smaller, relative to the derivative itself, is its rounding."""

MOST = 24
"""More kinks than that are not a few kinks: the function is then left as it is."""


@functools.lru_cache(maxsize=256)
def _compiled(fn):
    return jax.jit(lambda z: nested_derivatives(fn, z))


def derivatives_of(act: Activation):
    """z → (σ, …, σ⁗) as NumPy arrays for any number of z, compiled once for each function."""
    compiled = jax.jit(act.taylor) if act.taylor else _compiled(act.fn)

    def at(z):
        flat = np.ravel(z)
        blocks = np.pad(flat, (0, -flat.size % (ORDERS * NODES))).reshape(-1, ORDERS * NODES)
        rows = [compiled(block) for block in blocks]
        return tuple(
            np.concatenate(field)[: flat.size].reshape(np.shape(z)) for field in zip(*rows, strict=True)
        )

    return at


def find_kinks(derivatives) -> tuple[float, ...] | None:
    """Where σ, σ′, σ″ or σ‴ jumps, 0 left out; None if at more than `MOST` places.

    `derivatives`: z → (σ, …, σ⁗). A kink under oscillations finer than the grid goes unseen: the
    error of the moments then shows it.
    """
    t = np.linspace(-np.arcsinh(REACH), np.arcsinh(REACH), NODES + 1)
    z = np.sinh(t + 1e-3 * (t[1] - t[0]))  # round numbers, where kinks like to be, are not nodes
    low, high = z[:-1], z[1:]
    outward = np.argsort(np.abs(z))
    kinks: set[float] = set()
    with np.errstate(all="ignore"):
        size = np.abs(derivatives(z)[0])[outward]
        size = np.maximum.accumulate(np.where(np.isfinite(size), size, 0.0))
        for _ in range(MOST):
            cell, a, b = _search(derivatives, low, high, lambda c: np.interp(abs(c), abs(z[outward]), size))
            kinks |= {_rounded(c) for c in b if abs(c) > 1e-12}
            if len(kinks) > MOST:
                return None
            # a cell with one kink may hold another, on either side of it
            low, high = np.concatenate([low[cell], b]), np.concatenate([a, high[cell]])
            wide = high - low > 1e-9 * np.abs(low)
            low, high = low[wide], high[wide]
            if not len(low):
                return tuple(sorted(kinks))
    return None


def _search(derivatives, low, high, size) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """At most one kink in each cell: which cells, and the neighbouring numbers a < b on its two sides."""
    d = np.stack(derivatives(np.concatenate([low, high])))
    a, b = np.tile(low, (ORDERS, 1)), np.tile(high, (ORDERS, 1))
    d_a, d_b = (np.tile(ends[:, None], (1, ORDERS, 1)) for ends in np.split(d, 2, axis=1))
    for _ in range(64):
        middle = (a + b) / 2
        d_m = np.stack(derivatives(middle))
        left = _misfit(a, d_a, middle, d_m) >= _misfit(middle, d_m, b, d_b)
        a, b = np.where(left, a, middle), np.where(left, middle, b)
        d_a, d_b = np.where(left, d_a, d_m), np.where(left, d_m, d_b)
        if np.all((b - a) <= 2 * np.spacing(np.abs(a))):
            break
    row, cell = np.nonzero(_jumps(a, d_a, b, d_b, SIGNIFICANT * size(b)))
    a, b = a[row, cell], b[row, cell]
    real = _stands_out(derivatives, a, b) if len(cell) else np.zeros(0, bool)
    # the orders may end on either of two neighbouring numbers
    cell, first = np.unique(cell[real], return_index=True)
    return cell, a[real][first], b[real][first]


def _stands_out(derivatives, a, b) -> np.ndarray:
    """Whether some derivative jumps from a to b by more than it varies, by rounding, on either side."""
    # not a and b themselves: one of them may be the kink, with the mean slope for its derivative
    step = np.array([1, 2, 5, 20, 100, 500])[:, None] * np.maximum(np.spacing(np.abs(b)), b - a)
    sides = a - step, b + step
    left, right = (np.stack(derivatives(side))[:ORDERS] for side in sides)
    noise = np.ptp(left, axis=1) + np.ptp(right, axis=1)
    return np.any(np.abs(left[:, 0] - right[:, 0]) > 4 * noise, axis=0)


def _misfit(a, d_a, b, d_b) -> np.ndarray:
    """m_k + h m_{k+1} in row k, m_k = |d_k(b) − d_k(a) − ½h(d_{k+1}(a) + d_{k+1}(b))|, h = b − a.

    A kink in the middle of an interval keeps to the rule in one order, but then not in the next.
    """
    rows, h = np.arange(ORDERS), b - a
    step = np.abs(d_b - d_a - h / 2 * (np.roll(d_a, -1, 0) + np.roll(d_b, -1, 0)))
    step[ORDERS] = np.abs(d_b[ORDERS] - d_a[ORDERS])
    misfit = step[rows, rows] + h * step[rows + 1, rows]
    return np.where(np.isfinite(misfit), misfit, 0.0)


def _jumps(a, d_a, b, d_b, least) -> np.ndarray:
    """Where one of the derivatives jumps between a and b, beyond slope and significance; like a, in shape."""
    gap, unit = b - a, 1 + np.abs(b)
    hit = np.zeros(a.shape, bool)
    for k in range(ORDERS):
        slope = np.maximum(np.abs(d_a[k + 1]), np.abs(d_b[k + 1]))
        size = np.maximum(np.abs(d_a[k]), np.abs(d_b[k]))
        if k == 0:
            size = size + 1e-2 * np.abs(b)  # what z itself rounds by may be left after a cancellation
        hit |= np.abs(d_b[k] - d_a[k]) > 4 * gap * slope + least / unit**k + ROUNDING * size
    return hit & np.isfinite(d_a).all(0) & np.isfinite(d_b).all(0)


def _rounded(c: float) -> float:
    """The shortest decimal number within two units in the last place: 0.3 for 0.30000000000000004."""
    for digits in range(1, 16):
        short = float(f"{c:.{digits}g}")
        if abs(short - c) <= 2 * np.spacing(abs(c)):
            return short
    return float(c)
