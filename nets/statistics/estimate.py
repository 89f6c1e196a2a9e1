"""A measured quantity with its error, and what arithmetic makes of both."""

import numbers
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from eft.arguments import ArgumentTypeError
from eft.records import METHODS

DERIVATIVES: dict[Any, Callable] = {
    np.log: lambda x: 1 / x,
    np.log2: lambda x: 1 / (x * np.log(2)),
    np.log10: lambda x: 1 / (x * np.log(10)),
    np.log1p: lambda x: 1 / (1 + x),
    np.exp: np.exp,
    np.expm1: np.exp,
    np.sqrt: lambda x: 0.5 / np.sqrt(x),
    np.square: lambda x: 2 * x,
    np.reciprocal: lambda x: -1 / x**2,
    np.sin: np.cos,
    np.cos: lambda x: -np.sin(x),
    np.tanh: lambda x: 1 - np.tanh(x) ** 2,
}
"""Functions of NumPy with their derivatives."""

OPERATIONS = {
    np.add: operator.add,
    np.subtract: operator.sub,
    np.multiply: operator.mul,
    np.divide: operator.truediv,
    np.power: operator.pow,
}
"""Functions of NumPy that an array on the left calls."""


def _arrays(estimate: "Estimate") -> tuple[Any, Any]:
    """Both fields; lists and numbers as arrays: those would be repeated, these raise where arrays are inf."""
    mean, stderr = (np.asarray(a) if isinstance(a, list | tuple | float | int) else a for a in estimate)
    return mean, stderr


def _carried(value: Any, slope: Any, stderr: Any) -> "Estimate":
    """f ± |f′|·stderr; a finite f of what has no error has none, also where f′ is infinite."""
    with np.errstate(invalid="ignore"):
        exact = np.equal(stderr, 0) & np.isfinite(value)
        known = np.where(np.isfinite(value), abs(slope) * stderr, np.inf)
    return Estimate(value, np.where(exact, 0.0, known)[()])


class Estimate(NamedTuple):
    """A measured quantity; both fields have the shape of the quantity.

    `mean`: an unbiased estimate. `stderr`: its standard error; inf where the samples are too few to tell.

    `mean, stderr = estimate` takes both apart. Adding a known number or array, and multiplying or dividing
    by one, are exact:

        a·estimate + b = Estimate(a·mean + b, |a|·stderr)

    Powers, 1/estimate and the smooth functions f of NumPy (log, exp, sqrt, …) are to first order in the
    error, Estimate(f(mean), |f′(mean)|·stderr). All else raises ArgumentTypeError, which names mean and
    stderr: the error of a sum or a product of two estimates depends on their covariance, which neither knows,
    and whether one is less than, or the same as, a number depends on how sure one wants to be.

    >>> K = nets.Estimate(np.array([1.0, 0.5]), np.array([0.02, 0.01]))
    >>> print(2 * K - 0.5)
    Estimate: measured quantity (index 2)
      index      0     1
      mean     1.5   0.5
      stderr  0.04  0.02
    >>> print(np.log(K).stderr)
    [0.02 0.02]
    """

    mean: np.ndarray
    stderr: np.ndarray

    __repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS

    def __add__(self, other: Any) -> "Estimate":  # type: ignore[override]
        mean, stderr = _arrays(self)
        mean = mean + known("added to", other)
        wider = np.shape(mean) != np.shape(stderr)
        return Estimate(mean, stderr + np.zeros(np.shape(mean)) if wider else stderr)

    def __sub__(self, other: Any) -> "Estimate":
        return self + -known("subtracted from", other)

    def __rsub__(self, other: Any) -> "Estimate":
        return -self + known("added to", other)

    def __mul__(self, other: Any) -> "Estimate":  # type: ignore[override]
        factor, (mean, stderr) = known("multiplied by", other), _arrays(self)
        return Estimate(factor * mean, abs(factor) * stderr)

    def __truediv__(self, other: Any) -> "Estimate":
        divisor, (mean, stderr) = known("divided by", other), _arrays(self)
        return Estimate(mean / divisor, stderr / abs(divisor))

    def __rtruediv__(self, other: Any) -> "Estimate":
        return self**-1 * known("multiplied by", other)

    def __pow__(self, power: Any) -> "Estimate":
        p, (mean, stderr) = known("raised to", power), _arrays(self)
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = p * mean ** np.where(p == 0, 1.0, p - 1.0)
            return _carried(mean ** (1.0 * p), slope, stderr)

    def __neg__(self) -> "Estimate":
        mean, stderr = _arrays(self)
        return Estimate(-mean, stderr)

    def __pos__(self) -> "Estimate":
        return self

    __radd__, __rmul__ = __add__, __mul__  # type: ignore[assignment]

    def __lt__(self, other: Any) -> bool:
        raise refused("comparison")

    __le__ = __gt__ = __ge__ = __lt__  # type: ignore[assignment]

    def __eq__(self, other: Any) -> bool:
        if isinstance(other, numbers.Number | np.ndarray | jax.Array):
            raise refused("comparison")
        return tuple.__eq__(self, other)

    def __ne__(self, other: Any) -> bool:
        return not self == other

    __hash__ = tuple.__hash__

    def __array_ufunc__(self, function: Any, method: str, *inputs: Any, **more: Any) -> "Estimate":
        name = function.__name__
        if method != "__call__" or more:
            raise refused(f"{name}.{method}" if method != "__call__" else name)
        if len(inputs) == 1 and function in DERIVATIVES:
            with np.errstate(divide="ignore", invalid="ignore"):
                slope = DERIVATIVES[function](np.asarray(self.mean))
                return _carried(function(np.asarray(self.mean)), slope, self.stderr)
        if function is np.negative:
            return -self
        if len(inputs) == 2 and function in OPERATIONS:
            left, right = inputs
            if isinstance(left, Estimate) and isinstance(right, Estimate):
                raise refused(name)
            swapped = isinstance(right, Estimate)
            if function is np.power and swapped:
                raise refused("a power with an estimate as its exponent")
            if not swapped:
                return OPERATIONS[function](left, right)
            return getattr(right, f"__r{OPERATIONS[function].__name__.strip('_')}__")(left)
        raise refused(name)

    def __array_function__(self, function: Any, *_: Any) -> Any:
        raise refused(function.__name__)

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise refused("conversion to an array")

    def __float__(self) -> float:
        raise refused("conversion to a number")


def refused(what: str) -> ArgumentTypeError:
    return ArgumentTypeError(
        f"Estimate must be taken apart for this ({what}): use .mean and .stderr, or mean, stderr = estimate"
    )


def known(what: str, value: Any) -> Any:
    """A number or an array of numbers without an error. Raises ArgumentTypeError for anything else."""
    if isinstance(value, Estimate):
        raise ArgumentTypeError(
            f"an Estimate cannot be {what} an Estimate: their covariance is not known; use .mean and .stderr"
        )
    if isinstance(value, bool | str | bytes) or value is None:
        raise ArgumentTypeError(f"an Estimate can be {what} numbers only; got {value!r:.40}")
    if isinstance(value, tuple | list):
        value = np.asarray(value)
    if getattr(getattr(value, "dtype", np.dtype(float)), "kind", "f") not in "iufV":
        raise ArgumentTypeError(f"an Estimate can be {what} numbers only; got {value!r:.40}")
    return value
