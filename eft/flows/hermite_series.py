"""The Hermite series of an activation at every input and layer, as long as they need to be."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer

from eft.activations.definition import Activation
from eft.activations.one_sided import numpy_of
from eft.activations.programs import QUICKEST, compiled
from eft.gaussian.closed_forms import closed_forms
from eft.gaussian.hermite import Expansion, coefficients
from eft.gaussian.mehler import RUN_LENGTH, Shape
from eft.gaussian.records import Moments
from eft.gaussian.tangents import constant

MAX_COEFFICIENTS = 512
"""The largest number of Hermite coefficients, not counting that of the mean."""

MAX_HALVINGS = 26
"""Halvings of the panels at 0 on which the coefficients are integrated: enough for K up to 4e15."""

NEGLIGIBLE_SHARE = 1e-12
"""The share of ⟨σ²⟩, and of K⟨σ′²⟩, that a series may leave out if `MAX_COEFFICIENTS` get that far."""

SHARE_ROUNDING = 256
"""Round-off of such a share, a difference of sums over all coefficients, in machine epsilons."""

PARITY_ROUNDING = 64
"""|a_k| of even k, in machine epsilons of the largest coefficient, up to which σ is odd."""


class HermiteSeries(NamedTuple):
    """Hermite coefficients, and how many of them matter; the axes are inputs and layers.

    `expansion`: e_k(K_αα), for odd σ only those with odd k; empty where there is a closed form.
    `left_out`: (n, depth): the larger share of ⟨σ²⟩ and K⟨σ′²⟩ beyond the last coefficient.
    `runs`: (n, depth): runs of `RUN_LENGTH` coefficients after which that share is negligible.
    """

    expansion: Expansion
    left_out: jax.Array
    runs: jax.Array


def hermite_series_of(act: Activation, K: jax.Array, m: Moments) -> tuple[HermiteSeries, Shape]:
    """The coefficients at every input and layer, as many as are needed; all of them while tracing."""
    shape = Shape(odd=False, smooth=0.0 not in act.kinks)
    if closed_forms(act).has("pair"):
        empty: Any = np.zeros(K.shape, K.dtype)
        none: Any = np.zeros((*K.shape, 0), K.dtype)
        return HermiteSeries(Expansion(empty, none, none), empty, empty.astype(int)), shape
    count, halvings = MAX_COEFFICIENTS, MAX_HALVINGS
    constant_K, g, slope2 = constant((K, m.g, m.slope2))
    if not isinstance(constant_K, Tracer):
        flat = np.ravel(constant_K)
        halvings = min(halvings, max(0, math.ceil(math.log2(2 * math.sqrt(float(flat.max())) + 1e-300))))
        some = np.argsort(flat)[np.linspace(0, flat.size - 1, 8).astype(int)]
        few = _coefficients(act, jax.device_put(flat[some]), count, halvings)
        if not isinstance(few.e, Tracer):
            few = jax.tree.map(np.asarray, few)
            shape = shape._replace(odd=_is_odd(few))
            with np.errstate(all="ignore"):  # K may be beyond the float range: then all coefficients count
                sizes = np.ravel(g)[some], (flat * np.ravel(slope2))[some]
                worst = _needed(_squares(few, flat[some]), *sizes) + 2
            count = min(count, math.ceil(worst / (2 * RUN_LENGTH)) * 2 * RUN_LENGTH)
    return _all_series(act, constant_K, g, slope2, count, halvings, shape.odd), shape


_coefficients = compiled(2, 3, how=QUICKEST)(coefficients)


@compiled(4, 5, 6)
def _all_series(act: Activation, K, g, slope2, count: int, halvings: int, odd: bool) -> HermiteSeries:
    """The coefficients at every input and layer, for odd σ only those with odd k."""
    flat = K.ravel()
    expansion = coefficients(act, flat, count, halvings, odd)
    squares = lax.stop_gradient(_squares(expansion, flat))
    left_out, runs = _counted(squares, g.ravel(), (K * slope2).ravel(), odd)
    expansion = jax.tree.map(lambda a: a.reshape(*K.shape, *a.shape[1:]), expansion)
    return HermiteSeries(expansion, left_out.reshape(K.shape), runs.reshape(K.shape))


def _is_odd(few: Expansion) -> bool:
    """Whether a_0, a_2, … are 0 up to round-off."""
    even = np.concatenate([few.mean[:, None], few.e[:, 1::2]], 1)
    unit = PARITY_ROUNDING * np.finfo(few.e.dtype).eps
    return bool(np.all(np.abs(even) <= unit * np.max(np.abs(few.e), 1, keepdims=True)))


def _squares(expansion: Expansion, K: Any) -> Any:
    """a_0², a_1², …, or a_0², a_1², a_3², …"""
    xp = numpy_of(expansion.e)
    return xp.concatenate([expansion.mean[:, None] ** 2, K[:, None] * expansion.e**2], 1)


def _counted(squares: jax.Array, g, slope, odd: bool) -> tuple[jax.Array, jax.Array]:
    """The share of g and K⟨σ′²⟩ beyond the last a_k; the runs until it is negligible."""
    k = np.arange(squares.shape[-1] - 1) * (1 + odd) + 1
    later = np.tri(len(k) // RUN_LENGTH + 1, k=0).T  # at [r, s]: whether r runs are among the first s
    left_out, runs = jnp.zeros_like(g), jnp.zeros(g.shape, int)
    mean, others = squares[:, :1], squares[:, 1:]
    by_order = jnp.zeros_like(mean), others * jnp.asarray(k, g.dtype)[None]
    for (begin, terms), size in (((mean, others), g), (by_order, slope)):
        of_runs = jnp.sum(terms.reshape(len(g), -1, RUN_LENGTH), -1)
        each = jnp.concatenate([begin, of_runs], 1)
        sums = jnp.matmul(each, jnp.asarray(later, g.dtype), precision=lax.Precision.HIGHEST)
        share = _share(size[:, None] - sums, size[:, None])
        left_out = jnp.maximum(left_out, share[:, -1])
        runs = jnp.maximum(runs, jnp.sum(share[:, :-1] > NEGLIGIBLE_SHARE, -1))
    return left_out, runs


def _share(beyond, size) -> Any:
    """|beyond|/size; 0 if that is round-off, and infinite if it is not a number."""
    xp = numpy_of(beyond)
    share = xp.abs(beyond) / xp.where(size > 0, size, 1.0)
    share = xp.where(share <= SHARE_ROUNDING * np.finfo(share.dtype).eps, 0.0, share)
    return xp.where(xp.isnan(share), np.inf, share)


def _needed(squares: np.ndarray, g: np.ndarray, slope: np.ndarray) -> int:
    """How many a_k it takes until what is left of g = Σ a_k² and of K⟨σ′²⟩ = Σ k a_k² is negligible."""
    k = np.arange(squares.shape[-1])
    shares = (
        _share(size[:, None] - np.cumsum(weight * squares, -1), size[:, None])
        for weight, size in ((1, g), (k, slope))
    )
    return max(int(np.max(np.where(share > NEGLIGIBLE_SHARE, k + 1, 1))) for share in shares)
