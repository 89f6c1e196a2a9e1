"""The empirical kernels of any function of parameters and inputs."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from eft import arguments
from eft.activations.programs import compiled
from eft.arguments import ArgumentError
from nets.models.functions import checked_pair, checked_rates, hashable
from nets.models.jacobians import (
    OUTPUTS,
    Costs,
    Model,
    at_least_float32,
    contraction_costs,
    model_of,
    product_costs,
    split,
)

METHODS = ("auto", "structured", "jacobian", "products")
MEMORY = 2**31
"""Bytes for the derivatives at two blocks of inputs."""
APART = 0.05
"""How far f at an input among others may be from f at that input alone, as a part of the largest output."""


def empirical_ntk(
    f: Callable,
    params: Any,
    x1: Any,
    x2: Any = None,
    *,
    outputs: str = "full",
    method: str = "auto",
    learning_rates: Any = None,
    memory_budget: int | str = MEMORY,
) -> jax.Array:
    """The tangent kernel of a function of (params, x) at inputs x1, and x2 or x1 again.

        Θ_ab,ij = Σ_μ λ_μ ∂f_i(x1_a)/∂θ_μ ∂f_j(x2_b)/∂θ_μ

    `f`: maps (params, x) to an array of shape (n, …), each row a function of one input alone, which is
    checked for two inputs except within `jit`; from Flax, Equinox, Haiku or plain JAX. `params`: a pytree;
    its floating-point numbers are the θ, other arrays are constants. `x1`, `x2`: arrays, or pytrees of them,
    with n1 and n2 inputs along the first axis. `learning_rates`: λ ≥ 0, a number for all parameters or a
    pytree of numbers that is a prefix of params, 1 by default.

    `outputs`: "full" for (n1, n2, …, …), with the shape of one output twice; "diagonal", i = j, for
    (n1, n2, …); "trace", the mean over the o outputs i = j, Σ_i Θ_ab,ii/o, for (n1, n2).

    `method`, with P parameters and F operations for f at one input, per pair of inputs:

        "jacobian"    the Jacobian of a block of inputs, multiplied: 2 o²P, or 2 oP for diagonal and trace;
        "structured"  the same, but for a weight of a dense layer z = sW + b in T places
                      Σ_tu (s_at·s_bu)(∂f_i/∂z_at · ∂f_j/∂z_bu), 2 T²(n_in + o²n_out), or o for o² as above,
                      if that is less; weights may be stacked for a scan, shared, or have scalar factors;
        "products"    a vector–Jacobian and a Jacobian–vector product for each output of x2: 2 oF, and
                      memory for few copies of the parameters;
        "auto"        "structured", or "products" where that takes fewer operations or it alone fits.

    Inputs are taken in blocks whose derivatives fit into `memory_budget`, bytes or text such as "2GB"; the
    result is not counted.
    Accurate to round-off, symmetric to that for x2 = None, in the dtype of f, at least float32. Where f
    overflows or has no derivative, Θ is inf or NaN. Compiled once for each f and shapes, as by `jax.jit`;
    within `jit`, `vmap` and `grad` it becomes part of their program.

    Raises ArgumentError or ArgumentTypeError (a ValueError and a TypeError) for a bad argument, and if the
    derivatives at one pair of inputs exceed `memory_budget`.

    >>> net = nets.FCN(3, (64, 64), act="relu", cw=2.0, n_out=2, rngs=jax.random.key(0))
    >>> graph, params = nnx.split(net)
    >>> f, x = lambda p, x: nnx.merge(graph, p)(x), jnp.eye(4, 3)
    >>> Theta = nets.empirical_ntk(f, params, x, x[:2])
    >>> trace = nets.empirical_ntk(f, params, x, x[:2], outputs="trace", method="jacobian")
    >>> Theta.shape, bool(jnp.allclose(jnp.einsum("abii->ab", Theta) / 2, trace, rtol=1e-5))
    ((4, 2, 2, 2), True)
    """
    arguments.one_of("outputs", outputs, OUTPUTS)
    arguments.one_of("method", method, METHODS)
    budget = arguments.byte_count("memory_budget", memory_budget)
    x1, x2 = checked_pair(f, params, x1, x2)
    rates = checked_rates(learning_rates, params)
    Theta, apart = _kernel(hashable(f), outputs, method, budget, params, x1, x2, rates)
    if not isinstance(apart, Tracer) and apart > APART:
        raise ArgumentError(
            "f must have rows that are functions of one input alone, not as in batch normalization; those of "
            f"two inputs differ from those of each by {float(apart):.1g} of the largest output"
        )
    return Theta


def ntk_vector_product(f: Callable, params: Any, x: Any, v: Any, *, learning_rates: Any = None) -> jax.Array:
    """Θv at inputs x, without Θ, by one vector–Jacobian and one Jacobian–vector product.

        (Θv)_ai = Σ_bj Θ_ab,ij v_bj = Σ_μ λ_μ ∂f_i(x_a)/∂θ_μ Σ_bj ∂f_j(x_b)/∂θ_μ v_bj

    `v`: of the shape of f(params, x), as is the result, in the dtype of f. Other arguments, and what is
    raised, as for `empirical_ntk`; here rows of f may be functions of all inputs.

    >>> f, params, x = lambda p, x: jnp.tanh(x @ p), jnp.ones((3, 2)), jnp.eye(2, 3)
    >>> Theta = nets.empirical_ntk(f, params, x)
    >>> v = jnp.arange(4.0).reshape(2, 2)
    >>> Thetav = nets.ntk_vector_product(f, params, x, v)
    >>> bool(jnp.allclose(Thetav, jnp.einsum("abij,bj->ai", Theta, v), rtol=1e-5))
    True
    """
    x, _ = checked_pair(f, params, x, None, "x")
    out, rates = jax.eval_shape(f, params, x), checked_rates(learning_rates, params)
    direction = arguments.real_array("v", v)
    if direction.shape != out.shape:
        raise ArgumentError(f"v must be of shape {out.shape}, that of f(params, x); got {direction.shape}")
    return _product(hashable(f), params, x, jnp.asarray(direction).astype(out.dtype), rates)


def empirical_nngp(f: Callable, params: Any, x1: Any, x2: Any = None) -> jax.Array:
    """The mean over the o outputs of the products of a function at inputs x1, and x2 or x1 again.

        K_ab = (1/o) Σ_i f_i(x1_a) f_i(x2_b)

    An array (n1, n2), whose mean over wide random networks is their NNGP kernel. Arguments, dtype, and what
    is raised, as for `empirical_ntk`.

    >>> f, params, x = lambda p, x: x @ p, jnp.ones((3, 2)), jnp.eye(2, 3)
    >>> print(nets.empirical_nngp(f, params, x))
    [[1. 1.]
     [1. 1.]]
    """
    x1, x2 = checked_pair(f, params, x1, x2)
    return _nngp(hashable(f), params, x1, x2)


class Blocks(NamedTuple):
    """Inputs of x1 and of x2 at a time."""

    n1: int
    n2: int


@compiled(0, 1, 2, 3)
def _kernel(f, outputs, method, budget, params, x1, x2, rates) -> tuple[jax.Array, jax.Array]:
    """Θ, and how far f at two inputs is from f at each."""
    n1, n2 = (jax.tree.leaves(x)[0].shape[0] for x in (x1, x1 if x2 is None else x2))
    model = model_of(f, params, x1, outputs, method in ("auto", "structured"))
    one = jax.eval_shape(f, params, jax.tree.map(lambda a: a[:1], x1)).shape[1:]
    blocks, products = planned(model, outputs, method, budget, n1, n2)
    if x2 is None and not products and blocks == (n1, n2):
        factors = model.factors(x1)
        Theta = model.contracted(factors, factors, rates, outputs)
    else:
        Theta = _in_blocks(model, products, blocks, (x1, x1 if x2 is None else x2), rates, outputs)
    shape = {"full": (*one, *one), "diagonal": one, "trace": ()}[outputs]
    return Theta.reshape(n1, n2, *shape), _apart(f, params, jax.tree.map(lambda a: a[:2], x1))


def _apart(f, params, x) -> jax.Array:
    together = f(params, x)
    alone = jax.vmap(lambda each: f(params, jax.tree.map(lambda a: a[None], each))[0])(x)
    return jnp.max(jnp.abs(together - alone)) / jnp.maximum(
        jnp.max(jnp.abs(alone)), jnp.finfo(alone.dtype).tiny
    )


def planned(model: Model, outputs: str, method: str, budget: int, n1: int, n2: int) -> tuple[Blocks, bool]:
    """The blocks, and whether to multiply by vectors."""
    costs = {False: contraction_costs(model, outputs), True: product_costs(model)}
    choices = {"auto": (False, True), "products": (True,)}.get(method, (False,))
    size = np.dtype(model.dtype).itemsize
    plans = {choice: _blocks(costs[choice], budget // size, choice, n1, n2) for choice in choices}
    fitting = {choice: blocks for choice, blocks in plans.items() if blocks is not None}
    if not fitting:
        least = min(_numbers(costs[choice], 1, 1, choice) for choice in choices) * size
        raise ArgumentError(
            f"memory_budget must be at least {least:,} bytes for one pair of inputs"
            f"{' by ' + repr(method) if method != 'auto' else ''}; got {budget:,}"
        )
    best = min(fitting, key=lambda choice: _flops(costs[choice], fitting[choice], n1, n2))
    return fitting[best], best


def _numbers(costs: Costs, b1: int, b2: int, products: bool) -> int:
    """Kept for a block; products take the inputs of x2 one at a time."""
    inputs = b1 if products else b1 + b2
    return costs.fixed_numbers + inputs * costs.input_numbers + b1 * b2 * costs.pair_numbers


def _blocks(costs: Costs, room: int, products: bool, n1: int, n2: int) -> Blocks | None:
    """The largest blocks that fit, as equal as they can be."""
    if products:
        b1 = (room - costs.fixed_numbers) // (costs.input_numbers + costs.pair_numbers)
        return Blocks(_even(n1, min(b1, n1)), 1) if b1 > 0 else None
    p, q = costs.pair_numbers, costs.input_numbers
    b = int((math.sqrt(q * q + p * max(room, 0)) - q) / p)
    if b < 1:
        return None
    b1 = min(n1, b)
    b2 = min(n2, (room - b1 * q) // (q + b1 * p))
    b1 = min(n1, (room - b2 * q) // (q + b2 * p))
    return Blocks(_even(n1, b1), _even(n2, b2))


def _even(n: int, most: int) -> int:
    """The size of the fewest blocks of about equal size."""
    return -(-n // -(-n // most))


def _flops(costs: Costs, blocks: Blocks, n1: int, n2: int) -> int:
    return n1 * n2 * costs.pair_flops + (n1 + n2 * -(-n1 // blocks.n1)) * costs.input_flops


def _in_blocks(model: Model, products: bool, blocks: Blocks, x: tuple, rates, outputs: str) -> jax.Array:
    n1, n2 = (jax.tree.leaves(each)[0].shape[0] for each in x)
    rows, columns = (_divided(each, b) for each, b in zip(x, blocks, strict=True))

    def strip(x1):
        by = _by_products if products else _by_factors
        return jax.lax.map(by(model, x1, rates, outputs), columns)

    Theta = jax.lax.map(strip, rows).swapaxes(1, 2)
    Theta = Theta.reshape(Theta.shape[0] * blocks.n1, -1, *Theta.shape[4:])
    return Theta[:n1, :n2]


def _divided(x: Any, block: int) -> Any:
    """x in blocks along a new first axis, the last input repeated to fill the last."""

    def one(a):
        missing = -len(a) % block
        padded = jnp.concatenate([a, jnp.repeat(a[-1:], missing, 0)]) if missing else a
        return padded.reshape(-1, block, *a.shape[1:])

    return jax.tree.map(one, x)


def _by_factors(model: Model, x1: Any, rates, outputs: str) -> Callable[[Any], jax.Array]:
    """A block of x2 ↦ Θ."""
    first = model.factors(x1)
    return lambda x2: model.contracted(first, model.factors(x2), rates, outputs)


def _by_products(model: Model, x1: Any, rates, outputs: str) -> Callable[[Any], jax.Array]:
    """A block of one input of x2 ↦ Θ, a column at a time."""
    values = model.params.values

    def at(x):
        return lambda values: model.f(model.params.joined(values), x).reshape(-1, model.o)

    push = jax.linearize(at(x1), values)[1]

    def block(x2):
        z, pull = jax.vjp(at(x2), values)

        def column(one_hot):
            (u,) = pull(one_hot[None])
            return push(_scaled(u, rates)).astype(model.dtype)

        Theta = jax.lax.map(column, jnp.eye(model.o, dtype=z.dtype))  # j, a, i
        if outputs == "full":
            return jnp.moveaxis(Theta, 0, -1)[:, None]
        diagonal = jnp.einsum("iai->ai", Theta)[:, None]
        return diagonal if outputs == "diagonal" else jnp.mean(diagonal, -1)

    return block


def _scaled(u: list, rates: list) -> list:
    return [a * rate.astype(a.dtype) for a, rate in zip(u, rates, strict=True)]


@compiled(0)
def _product(f, params, x, v, rates) -> jax.Array:
    parts = split(params)
    run = functools.partial(_of_values, f, parts, x)
    (u,) = jax.vjp(run, parts.values)[1](v)
    return jax.jvp(run, (parts.values,), (_scaled(u, rates),))[1]


def _of_values(f, parts, x, values) -> jax.Array:
    return f(parts.joined(values), x)


@compiled(0)
def _nngp(f, params, x1, x2) -> jax.Array:
    def rows(x):
        z = f(params, x)
        return z.reshape(len(z), -1).astype(at_least_float32(z.dtype))

    first = rows(x1)
    second = first if x2 is None else rows(x2)
    return jnp.einsum("ai,bi->ab", first, second, precision="highest") / first.shape[-1]
