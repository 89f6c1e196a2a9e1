"""A key for what a function computes, so that results are cached by what it does, not by object identity.

A module that has changed gets another key; two lambdas with the same body and the same constants share one.
"""

import hashlib
import re
from typing import Any

import jax
import numpy as np
from jax.core import Tracer
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

ADDRESS = re.compile(r"0x[0-9a-f]+")
"""A memory address, as it appears in the text of custom derivative rules."""


def fingerprint(fn: Any) -> tuple | None:
    """A key of the operations and constants of a function; None if it closes over traced values.

    If it has a custom derivative rule, which cannot be read, its object identity is part of the key.
    """
    closed = jax.make_jaxpr(lambda z: fn(z))(0.0)
    if any(isinstance(value, Tracer) for value in closed.consts):
        return None
    digest = hashlib.sha256()
    opaque = _add(digest, closed)
    return digest.hexdigest(), id(fn) if opaque else None


def _add(digest: Any, closed: ClosedJaxpr | Jaxpr) -> bool:
    """Add the operations to the digest; return whether something in them cannot be read."""
    opaque = False
    jaxpr = closed.jaxpr if isinstance(closed, ClosedJaxpr) else closed
    for value in closed.consts if isinstance(closed, ClosedJaxpr) else ():
        digest.update(_bytes(value))
    names = {var: str(i) for i, var in enumerate([*jaxpr.invars, *jaxpr.constvars])}

    def written(var):
        return _bytes(var.val) if isinstance(var, Literal) else names.get(var, "?").encode()

    for equation in jaxpr.eqns:
        digest.update(equation.primitive.name.encode())
        for var in equation.invars:
            digest.update(b"," + written(var))
        names |= {var: str(len(names) + i) for i, var in enumerate(equation.outvars)}
        digest.update(str([var.aval for var in equation.outvars]).encode())
        for name, value in sorted(equation.params.items()):
            parts = value if isinstance(value, tuple | list) else (value,)
            for part in parts:
                if isinstance(part, ClosedJaxpr | Jaxpr):
                    opaque |= _add(digest, part)
                else:
                    text = str(part)
                    opaque |= ADDRESS.search(text) is not None
                    digest.update(f"{name}={ADDRESS.sub('', text)};".encode())
    for var in jaxpr.outvars:
        digest.update(b">" + written(var))
    return opaque


def _bytes(value: Any) -> bytes:
    array = np.asarray(value)
    return f"{array.dtype}{array.shape}".encode() + array.tobytes()
