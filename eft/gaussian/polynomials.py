"""Moments at very many K: polynomials in log K, one on each of many intervals, made once from the table.

The moments depend on K alone, so that a flow of a thousand settings evaluates the same six functions again
and again. Between neighbouring kernels these are smooth,

    M(K) = Σ_k c_ik t^k,   t = 2(x − i) − 1,   x = (log K − log K₀)/h,   i = ⌊x⌋,

with nine coefficients on each interval i of length h. What remains is a few percent of the work of a sum over
the nodes. The error is measured when the polynomials are made, between the points that they go through.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Float

from eft.activations.definition import Activation
from eft.gaussian.expectation import WINDOW
from eft.gaussian.records import Moments
from eft.gaussian.tabulated import Table, from_table, table_moments_by_numpy, units
from eft.gaussian.tabulation import kept

POINTS = 9
"""Coefficients on an interval."""

INTERVALS = (400, 1600)
"""The numbers of intervals that are tried; kinks other than 0 and fast oscillations need more."""

CHECKS = np.array([-1.0, -0.91, -0.5, 0.09, 0.4, 0.77, 1.0])
"""The t at which the error is measured, ends of the interval included."""

LARGEST_ERROR = 3e-14
"""Of the polynomials, in units of the moments. Where it is exceeded, the table itself is used."""

MANY = 20_000
"""Evaluations from which on polynomials are made: that takes as long as so many from the table."""


class Interpolated(NamedTuple):
    """Moments from polynomials in log K.

    `table`: from which they were made; it continues them beyond the window.
    `coefficients`: (6, 9, intervals), of g, ⟨σ⁴⟩, var, g′, ⟨σ′²⟩ and g″; 0 for a moment that is infinite.
    `error`: (intervals,) the largest relative error on each, that of the table included.
    """

    table: Table
    coefficients: Float[Any, "6 points intervals"]
    error: Float[Any, "intervals"]

    def __call__(self, K: jax.Array) -> Moments:
        moments, error = _polynomials(self, K)

        def beyond() -> Moments:
            m = from_table(self.table, K, lambda table, _: moments)
            return m._replace(error=jnp.maximum(m.error, error))

        inside = jnp.all((WINDOW[0] <= K) & (WINDOW[1] >= K))
        return jax.lax.cond(inside, lambda: Moments._make([*moments, error]), beyond)


def _polynomials(at: Interpolated, K) -> tuple[jax.Array, jax.Array]:
    """The six moments, and the error, at K or at the nearest end of the window."""
    points, intervals = at.coefficients.shape[1:]
    start, h = _scale(intervals)
    x = (jnp.log(jnp.clip(K, *WINDOW)) - start) / h
    i = jnp.clip(x.astype(jnp.int32), 0, intervals - 1)
    t = 2 * (x - i.astype(x.dtype)) - 1
    moments = []
    for c in at.coefficients:
        y = c[points - 1][i]
        for k in range(points - 2, -1, -1):
            y = y * t + c[k][i]
        moments.append(y)
    infinite = at.table.infinite.reshape(-1, *(1,) * K.ndim) > 0
    return jnp.where(infinite, jnp.inf, jnp.stack(moments)), at.error[i]


def _scale(intervals: int) -> tuple[float, float]:
    """log K₀ and h."""
    start, end = np.log(WINDOW)
    return float(start), float(end - start) / intervals


def interpolated(act: Activation, table: Table) -> Interpolated | None:
    """The moments of an activation by polynomials, made once; None where these are not accurate enough.

    In float64 alone, as in float32 the round-off of log K is felt, and not from a table that is traced.
    """
    if table.z.dtype != jnp.float64 or any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(table)):
        return None
    return kept(act, "interpolated", table.z.dtype, lambda: _made(table))


def _made(table: Table) -> Interpolated | None:
    by_numpy = jax.tree.map(np.asarray, table)
    tried = (_of_intervals(by_numpy, intervals) for intervals in INTERVALS)
    found = next((each for each in tried if each is not None), None)
    return None if found is None else Interpolated(table, *map(jax.device_put, found))


def _of_intervals(table: Table, intervals: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Coefficients and errors, or None if an error is too large."""
    start, h = _scale(intervals)
    t = np.cos(np.pi * (np.arange(POINTS) + 0.5) / POINTS)
    centre = start + h * (np.arange(intervals) + 0.5)
    kernels = [np.exp(centre + h / 2 * each) for each in (*t, *CHECKS)]
    values, errors = zip(*(_moments(table, K) for K in kernels), strict=True)
    M = np.stack(values)  # t, moment, interval
    if not np.isfinite(M).all():
        return None
    coefficients = np.linalg.solve(np.vander(t, increasing=True), M[:POINTS].reshape(POINTS, -1))
    coefficients = coefficients.reshape(POINTS, *M.shape[1:])
    off = np.zeros(intervals)
    for each, K, exact in zip(CHECKS, kernels[POINTS:], M[POINTS:], strict=True):
        difference = abs(np.polynomial.polynomial.polyval(each, coefficients) - exact)
        off = np.maximum(off, np.max(difference / np.where(exact == 0, 1.0, units(exact, K)), axis=0))
    if not np.max(off) <= LARGEST_ERROR:
        return None
    return np.moveaxis(coefficients, 0, 1), np.max(errors, axis=0) + off


def _moments(table: Table, K: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The six moments, 0 in place of those that are infinite, and their error."""
    m = table_moments_by_numpy(table, K)
    return np.where(table.infinite[:, None] > 0, 0.0, np.stack(m[:6])), m.error
