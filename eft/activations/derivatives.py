"""σ and its derivatives at any number of z: by JAX where these are finite, else from values of σ.

Functions are often written so that their value is finite and their derivative is not: at large −z,
z/(1+e^{−z}) divides ∞ by ∞², and at z < 0, max(z, 0)^{3/2} takes 0·0^{−1/2}. There σ is interpolated by a
polynomial between the two nearest cuts, and the polynomial is differentiated.
"""

import copy
import functools
import math
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.extend.core import ClosedJaxpr, Jaxpr
from numpy.polynomial import chebyshev

from eft.activations.programs import QUICKEST, options

Function = Callable[[jax.Array], Any]
Array = jax.Array | np.ndarray
Scalar = jax.Array | np.ndarray | np.floating
"""An array without axes; NumPy mostly makes a `np.floating` of it."""

BLOCK = 8192
"""Values of z that are evaluated at a time: one shape, so that a function is compiled once."""

POINTS = 13
"""Interpolation points of a polynomial."""

LENGTHS = 0.125 * 0.25 ** np.arange(5)
"""Half lengths of the intervals that are tried, in units of max(|z|, 1)."""

SHARES = (1 / 4, 1 / 16)
"""Further half lengths, in units of the distance to the nearest cut, for functions singular there."""


def leibniz(a: tuple, b: tuple) -> tuple:
    """(ab)⁽ᵏ⁾ = Σ_j C(k, j) a⁽ʲ⁾ b⁽ᵏ⁻ʲ⁾ for k = 0 … 4."""
    terms = ([math.comb(k, j) * a[j] * b[k - j] for j in range(k + 1)] for k in range(5))
    return tuple(functools.reduce(operator.add, row) for row in terms)


def derivative(f: Function) -> Function:
    """f′, elementwise."""
    return lambda z: jax.jvp(f, (z,), (jnp.ones_like(z),))[1]


def nested_derivatives(fn: Function, z: jax.Array) -> tuple[jax.Array, ...]:
    """σ, σ′, σ″, σ‴, σ⁗ at z by nested forward differentiation."""
    orders = [fn]
    for _ in range(4):
        orders.append(derivative(orders[-1]))
    return tuple(f(z) for f in orders)


def is_traced(fn: Function) -> bool:
    """Whether fn closes over values traced by JAX."""
    return any(isinstance(value, Tracer) for value in jax.make_jaxpr(lambda z: fn(z))(0.0).consts)


def resolution_of(fn: Function) -> Any:
    """The precision to which fn resolves a float64 number: float32 if it casts to float32 or less."""
    with jax.enable_x64(True):
        closed = jax.make_jaxpr(lambda z: fn(z))(0.0)
    return np.dtype(np.float32 if _narrows(closed.jaxpr) else np.float64)


def _narrows(jaxpr: Any) -> bool:
    for equation in jaxpr.eqns:
        if equation.primitive.name == "convert_element_type":
            old, new = equation.invars[0].aval.dtype, equation.outvars[0].aval.dtype
            if old == np.float64 and jnp.issubdtype(new, jnp.floating) and jnp.finfo(new).bits < 64:
                return True
        inner = (
            part for value in equation.params.values() for part in jax.tree.leaves(value, is_leaf=_is_jaxpr)
        )
        if any(_narrows(getattr(part, "jaxpr", part)) for part in inner if _is_jaxpr(part)):
            return True
    return False


def _is_jaxpr(value: Any) -> bool:
    return isinstance(value, ClosedJaxpr | Jaxpr)


class Sampler:
    """z → (σ, σ′, …) as float64 NumPy arrays of z's shape, whatever the precision in use; compiled once.

    `derivatives` gives σ and its first `orders` derivatives; derivatives that are not finite, though σ is,
    are replaced.
    """

    def __init__(self, fn: Function, derivatives: Callable, cuts: tuple[float, ...] = (), *, orders: int = 4):
        self.cuts = tuple(sorted({0.0, *cuts}))
        self.orders = orders
        self._derivatives = _in_blocks(derivatives)
        self._value = _in_blocks(lambda z: (fn(z),))
        self._differentiable = True
        self.resolution = resolution_of(fn)

    def between_cuts(self, cuts: tuple[float, ...]) -> "Sampler":
        """The same sampler for a function that is smooth between other cuts."""
        other = copy.copy(self)
        other.cuts = tuple(sorted({0.0, *cuts}))
        return other

    def raw(self, z: Any) -> tuple[np.ndarray, ...]:
        """As JAX computes them; nan if it has no forward derivatives, as for a `jax.custom_vjp`."""
        z = np.asarray(z, float)
        if self._differentiable:
            try:
                return tuple(self._derivatives(z.ravel()).reshape(-1, *z.shape))
            except (TypeError, NotImplementedError):
                self._differentiable = False
        value = self._value(z.ravel())[0].reshape(z.shape)
        return value, *(self.orders * [np.full(z.shape, np.nan)])

    def __call__(self, z: Any) -> tuple[np.ndarray, ...]:
        return self.between(z, self.cuts)

    def between(self, z: Any, cuts: Any) -> tuple[np.ndarray, ...]:
        """The values at z for a function that is smooth between other cuts, given in ascending order."""
        z = np.asarray(z, float)
        d = np.stack(self.raw(z.ravel()))
        missing = np.isfinite(d[0]) & ~np.isfinite(d[1:]).all(0)
        if missing.any():
            ends = np.array([-np.inf, *cuts, np.inf])
            filled = self._from_values(z.ravel()[missing], ends, len(d) - 1)
            d[1:, missing] = np.where(np.isfinite(d[1:, missing]), d[1:, missing], filled)
        return tuple(d.reshape(-1, *z.shape))

    def _from_values(self, z: np.ndarray, ends: np.ndarray, orders: int) -> np.ndarray:
        """σ′, σ″, … by polynomials, each on the longest interval where one describes σ; nan if none does."""
        panel = np.searchsorted(ends, z, side="right")
        low, high = ends[panel - 1], ends[panel]
        x = np.cos(np.pi * (np.arange(POINTS) + 0.5) / POINTS)
        derivatives = np.full((orders, len(z)), np.nan)
        best = np.full(len(z), np.inf)
        room = np.minimum(z - low, high - z)
        lengths = [length * np.maximum(np.abs(z), 1.0) for length in LENGTHS]
        for half in (*lengths, *(share * np.where(room < np.inf, room, 1.0) for share in SHARES)):
            half = np.minimum(half, (high - low) / 2)
            middle = np.clip(z, low + half, high - half)
            values = self._value((middle[:, None] + half[:, None] * x).ravel())
            values = values[0].reshape(-1, POINTS).T
            centre = values[POINTS // 2]
            with np.errstate(all="ignore"):
                c = chebyshev.chebfit(x, np.where(np.isfinite(values), values - centre, 0.0), POINTS - 1)
                size, tail = np.abs(values).max(0), np.abs(c[-3:]).max(0)
                c = np.where(np.abs(c) > 4 * np.finfo(float).eps * size, c, 0.0)
                rounding = np.finfo(float).eps * size
                # a longer interval, where derivatives round less, is given up only for a clearly better one
                better = (4 * np.maximum(tail, rounding) < best) & np.isfinite(values).all(0)
                for k in range(orders):
                    c = chebyshev.chebder(c)
                    d = chebyshev.chebval((z - middle) / half, c, tensor=False) / half ** (k + 1)
                    derivatives[k] = np.where(better, d, derivatives[k])
                best = np.where(better, np.maximum(tail, rounding), best)
        return derivatives


def _in_blocks(f: Callable) -> Callable[[np.ndarray], np.ndarray]:
    """A vector z ↦ the outputs of f, stacked; compiled when it is first called, even if JAX is tracing."""

    @functools.cache
    def compiled() -> Callable:
        return program(f, (BLOCK,), np.float64)

    def run(z: np.ndarray) -> np.ndarray:
        count = max(1, -(-z.size // BLOCK))
        blocks = np.pad(z, (0, count * BLOCK - z.size)).reshape(count, BLOCK)
        with jax.enable_x64(True):
            rows = [np.stack([np.asarray(d, float) for d in compiled()(block)]) for block in blocks]
        return np.concatenate(rows, axis=1)[:, : z.size]

    return run


def program(f: Callable, shape: tuple[int, ...], dtype: Any) -> Callable:
    """f, which closes over nothing traced, compiled for an array of this shape.

    A new function is compiled, so that nothing that was compiled for another state of f is reused.
    """
    lowered = jax.jit(lambda z: f(z)).lower(jax.ShapeDtypeStruct(shape, dtype))
    return lowered.compile(compiler_options=options(QUICKEST))
