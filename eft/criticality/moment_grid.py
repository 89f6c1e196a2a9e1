"""An activation at every scale: its moments on a grid in log K, computed once.

The moments depend on K alone. One grid serves the search for critical points, every (C_W, C_b) of a
phase diagram and every fixed point in it.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from eft.activations.analysis import sampler_of
from eft.activations.definition import Activation
from eft.arguments import ArgumentError
from eft.gaussian.accuracy import Accuracy
from eft.gaussian.expectation import WINDOW
from eft.gaussian.records import Moments
from eft.gaussian.sources import evaluated, evaluated_by_numpy, source_for
from eft.gaussian.tabulated import moment_table

BLOCK_SIZE = 512
"""Values of K evaluated at a time: a single shape, so that one compilation serves every activation."""

MAX_WEIGHTS = 2**24
"""K × nodes up to which the moments are summed by NumPy, in 0.2 s: compilation would take longer."""

NODES_PER_DECADE = 32
"""Nodes per decade of K in the window where the moments are integrated."""

FAR_NODES = 64
"""Nodes on either side of the window, where the moments are power laws."""

MAX_Z = 40.0
"""|z| up to which σ must not be NaN, for expectations at K = 1 to exist."""

TAIL = (8, 80)
"""|z|/√K between which σ decides whether the moments at K are infinite or not a number."""

RANGE_MARGIN = 16
"""How far, in log K, the grid ends within the range of floating-point numbers."""


class MomentGrid(NamedTuple):
    """The moments of an activation on a grid of K that covers all scales.

    `act`: the activation.
    `x`: (nodes,) log K, ascending.
    `moments`: `Moments` of NumPy arrays, each (nodes,); inf beyond `K_known`.
    `K_known`: largest K of the grid whose moments are finite.
    `overflows`: whether σ is infinite beyond K_known, not NaN; False where K_known is the grid's end.
    """

    act: Activation
    x: Float[np.ndarray, "nodes"]
    moments: Any
    K_known: float
    overflows: bool

    @property
    def K(self) -> np.ndarray:
        return np.exp(self.x)

    @property
    def accuracy(self) -> Accuracy:
        """The accuracy of the moments."""
        return moment_table(self.act, jnp.float64).accuracy

    def at(self, x: np.ndarray) -> Any:
        """The moments at log K = x."""
        return self.moments if x is self.x else sampled(self.act, np.exp(x))


def in_float64(function):
    """Decorator: run the function in float64 whatever JAX's precision; on the host this costs nothing."""

    @functools.wraps(function)
    def run(*args, **settings):
        with jax.enable_x64(True):
            return function(*args, **settings)

    return run


def sampled(act: Activation, K: np.ndarray) -> Any:
    """The moments at any array of K, as NumPy arrays of K's shape in float64."""
    moments = source_for(act, jnp.float64, np.size(K))
    nodes = 1 if moments.table is None or moments.polynomials is not None else moments.table.z.size
    if np.size(K) * nodes <= MAX_WEIGHTS:
        return evaluated_by_numpy(moments, np.asarray(K, float))
    flat = np.ravel(K)
    count = max(1, -(-flat.size // BLOCK_SIZE))
    blocks = np.pad(flat, (0, count * BLOCK_SIZE - flat.size), constant_values=1.0).reshape(count, BLOCK_SIZE)
    rows = [evaluated(moments, jax.device_put(block)) for block in blocks]
    whole = (np.concatenate(field)[: flat.size].reshape(np.shape(K)) for field in zip(*rows, strict=True))
    return Moments(*whole)  # type: ignore[arg-type]


@functools.lru_cache(maxsize=64)
def moments_on_grid(act: Activation) -> MomentGrid:
    """The moments of an activation on the grid; the same object each time.

    Raises ValueError if σ is NaN at some |z| ≤ 40: then no expectation exists.
    """
    if not act.resolved:
        checked_far_out(act)
    info = np.finfo(float)
    ends = np.log(float(info.tiny)) + RANGE_MARGIN, *np.log(WINDOW), np.log(float(info.max)) - RANGE_MARGIN
    inside = round((ends[2] - ends[1]) / np.log(10) * NODES_PER_DECADE)
    parts = zip(ends[:-1], ends[1:], (FAR_NODES, inside, FAR_NODES), strict=True)
    x = np.concatenate([*(np.linspace(a, b, n, endpoint=False) for a, b, n in parts), ends[3:]])
    moments = sampled(act, np.exp(x))
    # beyond the window the error is at least that at its nearer end
    error = moments.error.copy()
    error[:FAR_NODES] = np.maximum(error[:FAR_NODES], error[FAR_NODES])
    error[-FAR_NODES:] = np.maximum(error[-FAR_NODES:], error[-FAR_NODES - 1])
    moments = moments._replace(error=error)
    finite = np.isfinite(moments.g) & np.isfinite(moments.dg)
    last = len(x) - 1 if finite.all() else int((~finite).argmax()) - 1
    K_known = float(np.exp(x[last])) if last >= 0 else 0.0
    overflows = last < len(x) - 1 and (act.resolved or _overflows(act, K_known))
    return MomentGrid(act, x, moments, K_known, overflows)


def checked_far_out(act: Activation) -> None:
    """Raise if σ is NaN at some |z| ≤ 40."""
    z = np.linspace(-MAX_Z, MAX_Z, 2049)
    bad = np.isnan(sampler_of(act).raw(z)[0])
    if bad.any():
        at = z[bad][np.abs(z[bad]).argmin()]
        raise ArgumentError(
            f"the activation must be a number everywhere; {act.name} is NaN at z = {at:.4g}, "
            "where a Gaussian of variance 1 still reaches: no expectation over it exists"
        )


def _overflows(act: Activation, K_known: float) -> bool:
    """Whether σ becomes infinite, rather than NaN, where the moments cease to be finite."""
    z = np.sqrt(max(K_known, 1e-300)) * np.geomspace(*TAIL, 256)
    values = np.asarray(act.fn(jnp.asarray(np.concatenate([-z, z]))))
    return not np.isnan(values).any()
