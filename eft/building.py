"""How a table is made: by one rule where that is enough, with its accuracy measured."""

import functools
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from eft.accuracy import BEYOND, EDGE, measured, share
from eft.derivatives import Sampler, is_traced
from eft.limits import exponent
from eft.nodes import Derivatives, Nodes, Sampled, beside_kinks, nodes
from eft.window import edges

RULES = (6, 24)
"""How many rules are tried, unless one is known to resolve the activation."""


UNRESOLVED = 2e-14
"""|z−c|/|c| below which floating-point numbers are too coarse for a slope that grows without bound."""


class Kind(NamedTuple):
    """What a table is made for."""

    assemble: Callable  # (nodes, resolved, largest number) → table
    sums: Callable  # (table, K) → expectations
    units: Callable  # (expectations, K) → what their errors are relative to
    doubts: Callable  # (activation, nodes, table) → [(cause, error)]


def built(act: Sampled, derivatives: Derivatives, kind: Kind, dtype) -> Any:
    """A table by one rule where that resolves the activation, else by as many as are needed.

    It is made in float64, whatever the precision wanted, and by NumPy, so that nothing but the activation
    itself is compiled; by JAX where the activation closes over traced values.
    """
    traced = is_traced(act.fn)
    sample = derivatives if traced else Sampler(derivatives, act.kinks)
    with np.errstate(all="ignore"):
        # more rules do not help against kinks that are not known
        tried = (1,) if act.resolved else RULES[:1] if traced or act.reach < np.inf else RULES
        for rules in tried:
            at = nodes(act, sample, rules)
            made = kind.assemble(at, act.resolved, float(jnp.finfo(dtype).max))
            if act.resolved:
                break
            doubts = functools.partial(kind.doubts, act, at)
            found = measured(made, kind.sums, kind.units, doubts, last=rules == tried[-1])
            if found is not None:
                made = found
                break
        made = made._replace(edges=edges(kind.sums, made))
        return jax.tree.map(
            lambda a: a.astype(dtype) if isinstance(a, jax.Array) else jnp.asarray(np.asarray(a, dtype)), made
        )


def edge_doubts(act: Sampled, at: Nodes, made: Any, sums: Callable, units: Callable) -> list:
    """What comes from next to the kinks, where z is too coarse, and from beyond the kinks that are known."""
    singular = functools.reduce(
        operator.or_, (exponent(at.at_kinks, d, at.size) > 0.05 for d in at.kink_values[:3])
    )
    beside = beside_kinks(made.z, made.kinks, UNRESOLVED)
    edge = share(made, beside & singular, sums, units)
    found = [(EDGE, edge)]
    if act.reach < np.inf:
        found.append((BEYOND, share(made, made.z > act.reach, sums, units)))
    return found
