"""Functions of (params, x), and what is passed to them: arrays of inputs, pytrees of parameters."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from eft import arguments
from eft.arguments import ArgumentError, ArgumentTypeError
from nets.models.jacobians import split


def checked_pair(f: Callable, params: Any, x1: Any, x2: Any, name: str = "x1") -> tuple[Any, Any]:
    """x1 and x2 as arrays, for which f(params, x) is a real array with a row for each input."""
    if not callable(f):
        raise ArgumentTypeError(f"f must be a function of (params, x); got {arguments.shown(f)}")
    check_params(params)
    first, n = _batch(name, x1)
    second = None if x2 is None else _batch("x2", x2)[0]
    if second is not None and _shapes(second) != _shapes(first):
        raise ArgumentError(
            f"x2 must have the structure, shapes and dtypes of {name} but for the number of inputs; got "
            f"{_shapes(second)[1]} and {_shapes(first)[1]} for one input"
        )
    try:
        out = jax.eval_shape(f, params, first)
    except Exception as error:
        said = (str(error).strip().splitlines() or [""])[0]
        shapes = [a.shape for a in jax.tree.leaves(first)]
        raise ArgumentTypeError(
            f"f must be a function of (params, x) that takes {name} of shape {', '.join(map(str, shapes))}; "
            f"{type(error).__name__}: {said}"
        ) from error
    if not hasattr(out, "shape") or not jnp.issubdtype(out.dtype, jnp.floating):
        raise ArgumentTypeError(
            f"f must return one array of floating-point numbers; got {arguments.shown(out)}"
        )
    if not out.shape or out.shape[0] != n or not out.size:
        raise ArgumentError(
            f"f must return an array with one row for each of the {n} inputs; got shape {out.shape}"
        )
    return first, second


def check_params(params: Any, name: str = "params") -> None:
    """Raises an error unless they contain floating-point, and no complex, numbers."""
    leaves = jax.tree.leaves(params)
    for leaf in leaves:
        if not hasattr(leaf, "dtype") and not isinstance(leaf, bool | int | float | complex):
            raise ArgumentTypeError(f"{name} must be a pytree of arrays; it contains {arguments.shown(leaf)}")
    kinds = [jnp.result_type(leaf) for leaf in leaves]
    if any(jnp.issubdtype(kind, jnp.complexfloating) for kind in kinds):
        raise ArgumentTypeError(f"{name} must be real; it contains numbers of {_names(kinds)}")
    if not any(jnp.issubdtype(kind, jnp.floating) for kind in kinds):
        raise ArgumentError(
            f"{name} must contain at least one array of floating-point numbers; got "
            f"{_names(kinds) or 'none at all'}"
        )


def _names(kinds: list) -> str:
    return ", ".join(sorted({str(kind) for kind in kinds}))


def _batch(name: str, x: Any) -> tuple[Any, int]:
    """x as arrays, and the number of inputs."""
    leaves = jax.tree.leaves(x)
    for leaf in leaves:
        if not hasattr(leaf, "dtype") or not hasattr(leaf, "shape"):
            raise ArgumentTypeError(
                f"{name} must be an array, or a pytree of arrays; it contains {arguments.shown(leaf)}"
            )
    lengths = {leaf.shape[0] if leaf.shape else 0 for leaf in leaves}
    if len(lengths) != 1 or 0 in lengths:
        raise ArgumentError(
            f"{name} must have at least one input along its first axis, as many in every array; got "
            f"{', '.join(str(leaf.shape) for leaf in leaves) or 'no array'}"
        )
    for leaf in leaves:
        if isinstance(leaf, Tracer) or not jnp.issubdtype(leaf.dtype, jnp.inexact):
            continue
        if not np.isfinite(np.asarray(leaf).astype(np.complex128)).all():
            raise ArgumentError(f"{name} must be finite; it contains NaN or inf")
    return jax.tree.map(jnp.asarray, x), lengths.pop()


def _shapes(x: Any) -> tuple[Any, list]:
    leaves, structure = jax.tree.flatten(x)
    return structure, [(a.shape[1:], str(a.dtype)) for a in leaves]


def checked_rates(given: Any, params: Any) -> list[jax.Array]:
    """λ of every array of floating-point numbers in params."""
    tree = 1.0 if given is None else given
    try:
        spread = jax.tree.leaves(jax.tree.broadcast(tree, params))
    except ValueError as error:
        said = (str(error).strip().splitlines() or [""])[0]
        raise ArgumentError(f"learning_rates must be a number, or a prefix of params; {said}") from error
    rates = [arguments.nonnegative("learning_rates", spread[i]) for i in split(params).places]
    for rate in rates:
        if jnp.shape(rate):
            raise ArgumentError(
                f"learning_rates must hold one number for each array; got shape {jnp.shape(rate)}"
            )
    return [jnp.asarray(rate) for rate in rates]


class _ByIdentity(NamedTuple):
    """A function that cannot be hashed."""

    f: Callable

    def __hash__(self) -> int:
        return id(self.f)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByIdentity) and self.f is other.f

    def __call__(self, *args: Any) -> Any:
        return self.f(*args)


def hashable(f: Callable) -> Callable:
    try:
        hash(f)
    except TypeError:
        return _ByIdentity(f)
    return f
