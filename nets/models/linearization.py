"""Taylor series of any function of parameters and inputs, in the parameters."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from eft import arguments
from eft.arguments import ArgumentError, ArgumentTypeError
from nets.models.functions import check_params
from nets.models.jacobians import split

MAX_ORDER = 8
"""The program of order k is about 2ᵏ times as large as that of f."""


def linearize(f: Callable, params: Any) -> Callable[[Any, Any], Any]:
    """f to first order in its parameters, around params: a function of (new_params, x).

        f_lin(θ′, x) = f(θ, x) + Σ_μ ∂f(θ, x)/∂θ_μ (θ′_μ − θ_μ)

    `f`: a function of (params, x). `params`: a pytree; of its arrays that are not floating-point numbers
    those given here are used. θ′ has the structure and shapes of params. What is left is of second order.
    The function can be differentiated and compiled; its tangent kernel is that of f at params, everywhere.

    Raises ArgumentError or ArgumentTypeError (a ValueError and a TypeError) for a bad argument.

    >>> linear = nets.linearize(lambda p, x: jnp.exp(p * x), jnp.float32(0.0))
    >>> print(linear(jnp.float32(0.5), jnp.ones(1)))
    [1.5]
    """
    return taylor_expand(f, params, 1)


def taylor_expand(f: Callable, params: Any, order: int) -> Callable[[Any, Any], Any]:
    """f to any order up to 8 in its parameters, around params: a function of (new_params, x).

        f_k(θ′, x) = Σ_{m ≤ k} (1/m!) (d/dt)^m f(θ + t(θ′ − θ), x)  at t = 0,   k = `order`

    By forward derivatives of forward derivatives, exact to round-off for everything that JAX can
    differentiate; the cost grows like 2ᵏ. Arguments, and what is raised, as for `linearize`.

    >>> second = nets.taylor_expand(lambda p, x: jnp.exp(p * x), jnp.float32(0.0), 2)
    >>> print(second(jnp.float32(0.5), jnp.ones(1)))
    [1.625]
    """
    if not callable(f):
        raise ArgumentTypeError(f"f must be a function of (params, x); got {arguments.shown(f)}")
    check_params(params)
    order = arguments.positive_int("order", order, maximum=MAX_ORDER)
    parts = split(params)

    def expanded(new_params: Any, x: Any) -> Any:
        change = _change(parts, new_params)

        def along(t):
            moved = [a + t.astype(a.dtype) * d for a, d in zip(parts.values, change, strict=True)]
            return (f(parts.joined(moved), x),)

        terms: Callable[[jax.Array], tuple] = along
        for _ in range(order):
            terms = _with_derivative(terms)
        total, factorial = None, 1
        for m, term in enumerate(terms(jnp.zeros((), jnp.result_type(float)))):
            factorial *= max(m, 1)
            scaled = jax.tree.map(lambda a, k=factorial: a / k, term) if m else term
            total = scaled if total is None else jax.tree.map(jnp.add, total, scaled)
        return total

    return expanded


def _change(parts: Any, new_params: Any) -> list:
    """θ′ − θ."""
    check_params(new_params, "new_params")
    leaves, structure = jax.tree.flatten(new_params)
    if structure != parts.structure:
        raise ArgumentError(
            f"new_params must have the structure of params, {parts.structure}; got {structure}"
        )
    new = [jnp.asarray(leaves[i]) for i in parts.places]
    for i, (a, b) in enumerate(zip(parts.values, new, strict=True)):
        if a.shape != b.shape:
            raise ArgumentError(
                f"new_params must have the shapes of params; got {b.shape} for {a.shape} in array {i}"
            )
    return [b.astype(a.dtype) - a for a, b in zip(parts.values, new, strict=True)]


def _with_derivative(terms: Callable[[jax.Array], tuple]) -> Callable[[jax.Array], tuple]:
    """t ↦ (g, g′, …, g⁽ᵏ⁾) made t ↦ (g, …, g⁽ᵏ⁺¹⁾)."""

    def more(t):
        values, slopes = jax.jvp(terms, (t,), (jnp.ones_like(t),))
        return (*values, slopes[-1])

    return more
