"""Parametrizations: how the rates of a network's parameters, and its output weights, depend on the widths.

An optimizer that is given s·∂L/∂W, and whose update is multiplied by t, moves W at s·t times the rate of
gradient descent, and at t times that of Adam, which forgets the size of gradients. With n_l the width of
layer l and n₀ the number of inputs:

|              | standard | NTK               | μ: first layer, biases | μ: hidden  | μ: output       |
|--------------|----------|-------------------|------------------------|------------|-----------------|
| s            | 1        | 1/√n_{l−1}        | n                      | n          | 1               |
| t            | 1        | 1/√n_{l−1}        | 1                      | 1/n        | 1/n             |
| std of W     | as drawn | as drawn          | as drawn               | as drawn   | as drawn × 1/√n |

The optimizer sees the parameters W/t. The NTK's is thus W = θ/√n_{l−1}, exactly, whatever optimizer trains θ,
with weight decay or a line search too; its biases have s = t = 1, and so has the output's bias in μ. In μ
every gradient reaches the optimizer with a size of order 1, and it is not that of the loss by W/t: a line
search does not work.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from eft import arguments
from eft.arguments import ArgumentError
from eft.flows.layer_rates import checked_rates

Factors = dict[str, tuple[float, float]]
"""(s, t) of the "kernel" and the "bias" of a layer."""

NAMES = ("standard", "ntk", "mup")


def checked(name: object) -> str:
    """The name of a parametrization."""
    return str(arguments.one_of("parametrization", name, NAMES))


def checked_layer_rates(value: object, depth: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(weights, biases), a rate > 0 for each layer."""
    checked = tuple(tuple(np.asarray(each).tolist()) for each in checked_rates(value, depth))
    for i, each in enumerate(checked):
        if min(each) == 0:
            raise ArgumentError(f"layer_rates[{i}] must be > 0; got {arguments.shown(list(each))}")
    return checked[0], checked[1]


def factors(name: str, sizes: tuple[int, ...]) -> list[Factors]:
    """(s, t) of the "kernel" and the "bias" of every layer; `sizes`: (n₀, …, n_L)."""
    last = len(sizes) - 2
    layers = []
    for layer, fan_in in enumerate(sizes[:-1]):
        one = {"kernel": (1.0, 1.0), "bias": (1.0, 1.0)}
        if name == "ntk":
            one["kernel"] = (fan_in**-0.5, fan_in**-0.5)
        elif name == "mup" and layer < last:
            n = float(sizes[layer + 1])
            one = {"kernel": (n, 1 / fan_in if layer else 1.0), "bias": (n, 1.0)}
        elif name == "mup":
            one["kernel"] = (1.0, 1 / fan_in if layer else 1.0)
        layers.append(one)
    return layers


def output_scale(name: str, sizes: tuple[int, ...]) -> float:
    """The factor of the output weights as drawn."""
    return sizes[-2] ** -0.5 if name == "mup" and len(sizes) > 2 else 1.0


def parametrized(
    optimizer: optax.GradientTransformation, name: str, sizes: tuple[int, ...], rates: Any = None
) -> optax.GradientTransformation:
    """The optimizer, given s times the gradients and W/t, its updates multiplied by t.

    `rates`: of the weights and of the biases of every layer, by which the updates are then multiplied.
    """
    if name == "standard" and rates is None:
        return optimizer
    layers = factors(name, sizes)
    inner = optax.with_extra_args_support(optimizer)

    def mapped(tree: Any, factor: Callable[[int, str], float]) -> Any:
        def one(path, a):
            keys = [getattr(key, "key", getattr(key, "name", None)) for key in path]
            layer = next(key for key in keys if isinstance(key, int))
            kind = next(key for key in keys if key in ("kernel", "bias"))
            return a * jnp.asarray(factor(layer, kind), a.dtype)

        return jax.tree_util.tree_map_with_path(one, tree)

    def scaled(tree: Any, factor: Callable[[float, float], float]) -> Any:
        return mapped(tree, lambda layer, kind: factor(*layers[layer][kind]))

    def rated(tree: Any) -> Any:
        return tree if rates is None else mapped(tree, lambda layer, kind: rates[kind == "bias"][layer])

    def by_s(tree):
        return scaled(tree, lambda s, t: s)

    def by_t(tree):
        return scaled(tree, lambda s, t: t)

    def over_t(tree):
        return scaled(tree, lambda s, t: 1 / t)

    def update(updates, state, params=None, **extra):
        if "grad" in extra:
            extra["grad"] = by_s(extra["grad"])
        if "value_fn" in extra:
            loss = extra["value_fn"]
            extra["value_fn"] = lambda theta: loss(by_t(theta))
        theta = None if params is None else over_t(params)
        changes, state = inner.update(by_s(updates), state, theta, **extra)
        return rated(by_t(changes)), state

    return optax.GradientTransformationExtraArgs(lambda params: inner.init(over_t(params)), update)
