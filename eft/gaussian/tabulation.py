"""Tables are built here: with one quadrature rule if that suffices, and with their accuracy measured."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from eft.activations.definition import Activation
from eft.activations.derivatives import Sampler, is_traced
from eft.activations.fingerprints import fingerprint
from eft.gaussian.accuracy import measured
from eft.gaussian.half_line import Derivatives, nodes
from eft.gaussian.window import edges

MAX_TABLES = 16
"""Tables that are kept for an activation: one for each kind, precision and state of its parameters."""

_tables: WeakKeyDictionary[Activation, dict[tuple, Any]] = WeakKeyDictionary()

RULE_COUNTS = (6, 24)
"""The numbers of rules that are tried, unless one rule is known to resolve the activation."""


class Kind(NamedTuple):
    """A kind of table: how it is assembled, summed and checked.

    `assemble`: (nodes, resolved, largest number) → table.
    `sums`: (table, K) → expectations.
    `units`: (expectations, K) → what their errors are relative to.
    `error_sources`: (activation, nodes, rounding unit, table) → [(cause, error)].
    """

    assemble: Callable
    sums: Callable
    units: Callable
    error_sources: Callable


class Sample(NamedTuple):
    """How an activation is evaluated.

    `derivatives`: z → (σ, σ′, …).
    `traced`: evaluated by JAX, as σ closes over traced values; else by NumPy, in float64.
    `resolution`: the precision to which σ resolves z.
    """

    derivatives: Derivatives
    traced: bool
    resolution: Any

    def from_order(self, order: int) -> "Sample":
        """The same for a derivative of σ."""
        return self._replace(derivatives=lambda z: self.derivatives(z)[order:])


def sampled(act: Activation, derivatives: Derivatives, sampler: Callable[[], Sampler]) -> Sample:
    """How an activation with these derivatives is evaluated; `sampler` makes its evaluator by NumPy."""
    if is_traced(act.fn):
        return Sample(derivatives, True, jnp.result_type(float))
    by_numpy = sampler()
    return Sample(by_numpy, False, by_numpy.resolution)


def kept(act: Activation, kind: str, dtype, make: Callable[[], Any]) -> Any:
    """The table that `make` makes, as long as the activation lives and computes the same function."""
    state = None if act.resolved else act.state or fingerprint(act.fn)
    key = kind, jnp.dtype(dtype).name, state
    tables = _tables.setdefault(act, {})
    if key in tables:
        return tables[key]
    table = make()
    if not any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(table)):
        if len(tables) >= MAX_TABLES:
            tables.clear()
        tables[key] = table
    return table


def built(act: Activation, sample: Sample, kind: Kind, dtype, *, every: bool = False) -> Any:
    """A table with one rule if that resolves the activation, else with as many as are needed.

    It is made in float64, whatever the requested precision, and by NumPy, so that only the activation itself
    is compiled; by JAX if σ is traced. `every`: with six rules in any case.
    """
    make = functools.partial(_built, act, sample, kind, dtype, every)
    # otherwise a function of traced values would be computed operation by operation
    return jax.jit(make)() if sample.traced else make()


def _built(act: Activation, sample: Sample, kind: Kind, dtype, every: bool) -> Any:
    with np.errstate(all="ignore"):
        # more rules do not help against kinks that are not known
        few = every or sample.traced or act.reach < np.inf
        tried = (1,) if act.resolved else RULE_COUNTS[:1] if few else RULE_COUNTS
        table: Any = None
        for rules in tried:
            points = nodes(act, sample.derivatives, rules, sample.traced, sample.resolution)
            table = kind.assemble(points, act.resolved, float(jnp.finfo(dtype).max))
            if act.resolved:
                break
            error_sources = functools.partial(kind.error_sources, act, points, _rounding(sample, dtype))
            measured_table = measured(
                table, kind.sums, kind.units, error_sources, last=rules == tried[-1], every=every
            )
            if measured_table is not None:
                table = measured_table
                break
        table = table._replace(edges=edges(kind.sums, table))
        return jax.tree.map(
            lambda a: a.astype(dtype) if isinstance(a, jax.Array) else jax.device_put(np.asarray(a, dtype)),
            table,
        )


def _rounding(sample: Sample, dtype) -> float:
    """The unit of round-off of the sums or of the activation, whichever is larger."""
    return max(float(jnp.finfo(dtype).eps), float(jnp.finfo(sample.resolution).eps))
