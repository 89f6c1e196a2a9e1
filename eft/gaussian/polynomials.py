"""Functions of K at very many K: polynomials in log K, one on each of many intervals, made once.

Expectations depend on K alone, so that a flow of a thousand settings evaluates the same few functions again
and again. Between neighbouring kernels these are smooth,

    M(K) = Σ_k c_ik t^k,   t = 2(x − i) − 1,   x = n log₂(K/K₀),   i = ⌊x⌋,

with nine coefficients on each interval i, of which there are n in an octave. What remains is a few percent of
the work of a sum over the nodes. The octave is the exponent of the floating-point number K/K₀, so that log K
is not rounded. The error is measured when the polynomials are made, between the points that they go through.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Float

from eft.activations.definition import Activation
from eft.activations.one_sided import numpy_of
from eft.gaussian.expectation import WINDOW
from eft.gaussian.tabulation import kept

POINTS = 9
"""Coefficients on an interval."""

INTERVALS = (4, 16)
"""The numbers of intervals in an octave that are tried; kinks other than 0 and oscillations need more."""

OCTAVES = math.ceil(math.log2(WINDOW[1] / WINDOW[0]))
"""Those of the window; the last one reaches a little beyond its end."""

RANGE = (WINDOW[0], WINDOW[0] * 2.0**OCTAVES)
"""The K in them."""

END = 1 - 1e-9
"""|t| so near to the end of an interval that K, rounded, still lies in it."""

CHECKS = np.array([-END, -0.91, -0.5, 0.09, 0.4, 0.77, END])
"""The t at which the error is measured, ends of the interval included."""

LARGEST_ERROR = 3e-14
"""Of the polynomials, in units of the functions. Where it is exceeded, the nodes are summed."""

LARGEST_ADDED_ERROR = 1e-13
"""The same where each function has an error of its own, to which that of its polynomials is added."""

SAFETY, ROUNDING = 2.0, 16 * np.finfo(float).eps
"""The stated error in units of the measured one, to which round-off is added, in units of the functions."""

MANY = 20_000
"""Evaluations from which on polynomials are made: that takes as long as so many from the nodes."""

Sampled = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Values and units, (functions, K), and their errors, (errors, K): one of all functions, or one of each."""


class Polynomials(NamedTuple):
    """Functions of K in `RANGE`, or at the nearest end of it.

    `coefficients`: (functions, 9, intervals); of a function that is infinite, inf and zeros.
    `error`: (errors, intervals) the largest error on each interval, that of the values gone through included.
    """

    coefficients: Float[Any, "functions points intervals"]
    error: Float[Any, "errors intervals"]

    def __call__(self, K: Any) -> tuple[Any, Any]:
        """The functions at K, and their error; K of NumPy or of JAX."""
        xp = numpy_of(K)
        points, intervals = self.coefficients.shape[1:]
        n = intervals // OCTAVES
        mantissa, exponent = _parts(xp.clip(K, *RANGE) / WINDOW[0])
        x = n * xp.log2(mantissa)
        j = xp.clip(x.astype(np.int32), 0, n - 1)
        i, t = xp.clip(n * exponent + j, 0, intervals - 1), 2 * (x - j.astype(x.dtype)) - 1
        y = self.coefficients[:, points - 1][:, i]
        for k in range(points - 2, -1, -1):
            y = y * t[None] + self.coefficients[:, k][:, i]
        return y, self.error[:, i]


def _parts(y: Any) -> tuple[Any, Any]:
    """The number in [1, 2) and the exponent of two that y ≥ 1 of float64 is made of; nan of nan."""
    if numpy_of(y) is np:
        mantissa, exponent = np.frexp(y)
        return 2 * mantissa, exponent - 1
    # `jnp.frexp` serves numbers of every size, and takes longer
    bits, one = jax.lax.bitcast_convert_type(y, jnp.int64), 1023 << 52
    mantissa = jax.lax.bitcast_convert_type((bits & ((1 << 52) - 1)) | one, jnp.float64)
    return jnp.where(jnp.isnan(y), y, mantissa), ((bits >> 52) - 1023).astype(jnp.int32)


def inside(K: Any) -> Any:
    """Whether every K lies in the window, where polynomials alone do."""
    return numpy_of(K).all((WINDOW[0] <= K) & (WINDOW[1] >= K))


def continued(within: Callable[[], Any], beyond: Callable[[], Any], K: Any) -> Any:
    """within() if every K lies in the window, else beyond(), which takes longer."""
    if numpy_of(K) is np:
        return within() if inside(K) else beyond()
    return jax.lax.cond(inside(K), within, beyond)


def interpolation(
    act: Activation,
    kind: str,
    table: Any,
    sampler: Callable[[Any], Callable[[np.ndarray], Sampled]],
    count: int,
    *,
    octave: tuple[int, ...] = INTERVALS,
    relative: bool = True,
) -> Polynomials | None:
    """Those of a table's functions for this many K, none of them traced; made once.

    None if the K are few, or where polynomials are not accurate enough; in float32, where they save little;
    and for a table that is traced. `sampler`: the table, of NumPy arrays → K → values, units and errors.
    `octave`: the numbers of intervals in an octave that are tried. `relative`: whether the errors are in
    these units, one of all functions; else each function has its own, in units of nothing.
    """
    leaves = jax.tree.leaves(table)
    if count < MANY or leaves[0].dtype != jnp.float64 or any(isinstance(leaf, Tracer) for leaf in leaves):
        return None

    def made() -> Polynomials | None:
        sample = sampler(jax.tree.map(np.asarray, table))
        tried = (fitted(sample, number, relative) for number in octave)
        found = next((each for each in tried if each is not None), None)
        return jax.tree.map(jax.device_put, found)

    return kept(act, f"polynomials of {kind}", leaves[0].dtype, made)


def fitted(sample: Callable[[np.ndarray], Sampled], n: int, relative: bool = True) -> Polynomials | None:
    """Those on n intervals in an octave, or None if an error is too large."""
    t = np.cos(np.pi * (np.arange(POINTS) + 0.5) / POINTS)
    x = np.arange(n * OCTAVES) + (1 + np.concatenate([t, CHECKS])[:, None]) / 2
    K = WINDOW[0] * 2 ** (x / n)
    rows = []
    for each in K:
        rows.append(sample(each))
        if not np.isfinite(rows[-1][2]).all():
            return None
    values, units, errors = (np.stack(each, 1) for each in zip(*rows, strict=True))
    infinite = np.all(np.isposinf(values), (1, 2), keepdims=True)  # functions, t, intervals
    some = np.where(infinite, 0.0, values)
    if not np.isfinite(some).all():
        return None
    coefficients = np.linalg.solve(np.vander(t, increasing=True), some[:, :POINTS])
    coefficients[:, 0] += np.where(infinite[..., 0], np.inf, 0.0)
    found = Polynomials(coefficients, np.max(errors, 1))
    with np.errstate(invalid="ignore"):
        off = np.abs(found(K[POINTS:])[0] - values[:, POINTS:])
    off, units = np.where(infinite, 0.0, off), np.where(infinite | (units == 0), 1.0, units)
    share = off / (units[:, POINTS:] if relative else np.max(units, 1, keepdims=True))
    if not np.max(share) <= (LARGEST_ERROR if relative else LARGEST_ADDED_ERROR):
        return None
    added, unit = (np.max(share, (0, 1))[None], 1.0) if relative else (np.max(off, 1), np.max(units, 1))
    return found._replace(error=found.error + SAFETY * added + ROUNDING * unit)
