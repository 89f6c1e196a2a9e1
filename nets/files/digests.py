"""A digest of what a function computes: every operation, every number and every array in its trace.

Two functions with the same code may compute different things, because of an array that a closure captures, an
attribute of an object or a global variable. A trace covers all of these: whatever the function reads becomes
a constant of the trace. Functions with the same code that read the same values have the same digest in every
process.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.extend import core

from eft.arguments import ArgumentError

PRINTS = ("debug_callback", "debug_print")
"""Primitives that call back to Python and do not contribute to the result."""

ADDRESS = re.compile(r"0x[0-9a-f]+")


def digest(*traces: core.ClosedJaxpr) -> str:
    """SHA-256 of traces, as `jax.make_jaxpr` makes them.

    Raises ArgumentError for a trace that calls back to Python, since what happens there is not traced.
    """
    sha256 = hashlib.sha256()
    for trace in traces:
        sha256.update(_digest(trace, {}))
    return sha256.hexdigest()


def _digest(value: Any, names: dict[Any, int]) -> bytes:
    """The digest of a jaxpr or of a parameter of its equations; `names` numbers the variables."""
    if isinstance(value, core.ClosedJaxpr):
        return _joined("closed", _of_jaxpr(value.jaxpr), *(_of_array(c) for c in value.consts))
    if isinstance(value, core.Jaxpr):
        return _of_jaxpr(value)
    if isinstance(value, core.Literal):
        return _joined("literal", str(value.aval), _of_array(value.val))
    if isinstance(value, core.Var):
        return _joined("variable", str(names.setdefault(value, len(names))), str(value.aval))
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return _of_array(value)
    if isinstance(value, Mapping):
        return _joined("mapping", *(_joined(str(k), _digest(v, names)) for k, v in sorted(value.items())))
    if isinstance(value, frozenset | set):
        return _joined("set", *sorted(_digest(item, names) for item in value))
    if isinstance(value, tuple | list):
        return _joined("sequence", *(_digest(item, names) for item in value))
    if callable(value):  # a derivative rule: where a derivative is taken, it is already in the trace
        return _joined("callable")
    return _joined(type(value).__name__, ADDRESS.sub("", repr(value)))


def _of_jaxpr(jaxpr: core.Jaxpr) -> bytes:
    names: dict[Any, int] = {}
    parts = [_digest(v, names) for v in (*jaxpr.constvars, *jaxpr.invars)]
    for equation in jaxpr.eqns:
        name, parameters = equation.primitive.name, equation.params
        if name in PRINTS:
            parameters = {}
        elif "callback" in parameters:
            raise ArgumentError(
                f"checkpoint must be left out where the activation, the loss or the optimizer calls back to "
                f"Python: what it computes there cannot be told from another run's; got one with {name}"
            )
        ends = [_digest(v, names) for v in (*equation.invars, *equation.outvars)]
        parts.append(_joined(name, *ends, _digest(parameters, names)))
    return _joined("jaxpr", *parts, *(_digest(v, names) for v in jaxpr.outvars))


def _of_array(value: Any) -> bytes:
    if isinstance(value, jax.Array) and jax.numpy.issubdtype(value.dtype, jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    array = np.asarray(value)
    return _joined("array", str(array.dtype), str(array.shape), array.tobytes())


def _joined(*parts: str | bytes) -> bytes:
    """The digest of the parts, each with its length, so that no two lists of parts give the same bytes."""
    sha256 = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        sha256.update(len(data).to_bytes(8, "little") + data)
    return sha256.digest()
