"""One network, z¹ = b¹ + W¹x, z^{l+1} = b^{l+1} + W^{l+1} tanh(z^l), in several frameworks."""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx

import nets

SIZES = (16, 128, 128, 128, 128, 4)

Made = tuple[Callable, Any]


def numbers() -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights of shape (n_in, n_out) with C_W = 9, and biases with C_b = 0.1."""
    rng = np.random.default_rng(0)
    pairs = itertools.pairwise(SIZES)
    return [
        (
            np.float32(rng.normal(size=(n, m)) * np.sqrt(9 / n)),
            np.float32(rng.normal(size=m) * np.sqrt(0.1)),
        )
        for n, m in pairs
    ]


def inputs() -> jax.Array:
    return jnp.asarray(np.random.default_rng(1).normal(size=(8, SIZES[0])), "float32")


def plain() -> Made:
    def f(params, x):
        for i, (w, b) in enumerate(params):
            x = (jnp.tanh(x) if i else x) @ w + b[None]
        return x

    return f, [(jnp.asarray(w), jnp.asarray(b)) for w, b in numbers()]


def flax_linen() -> Made:
    class Net(linen.Module):
        @linen.compact
        def __call__(self, x):
            for i, n in enumerate(SIZES[1:]):
                x = linen.Dense(n)(jnp.tanh(x) if i else x)
            return x

    params = {
        f"Dense_{i}": {"kernel": jnp.asarray(w), "bias": jnp.asarray(b)} for i, (w, b) in enumerate(numbers())
    }
    return Net().apply, {"params": params}


def flax_nnx() -> Made:
    class Net(nnx.Module):
        def __init__(self, rngs: nnx.Rngs):
            pairs = itertools.pairwise(SIZES)
            self.layers = nnx.List(nnx.Linear(n, m, rngs=rngs) for n, m in pairs)

        def __call__(self, x):
            for i, layer in enumerate(self.layers):
                x = layer(jnp.tanh(x) if i else x)
            return x

    net = Net(nnx.Rngs(0))
    for layer, (w, b) in zip(net.layers, numbers(), strict=True):
        layer.kernel[...], layer.bias[...] = jnp.asarray(w), jnp.asarray(b)
    graph, params = nnx.split(net)
    return lambda p, x: nnx.merge(graph, p)(x), params


def equinox() -> Made:
    import equinox as eqx

    net = eqx.nn.MLP(
        SIZES[0], SIZES[-1], SIZES[1], len(SIZES) - 2, activation=jnp.tanh, key=jax.random.key(0)
    )
    weights = [jnp.asarray(w.T) for w, _ in numbers()]
    biases = [jnp.asarray(b) for _, b in numbers()]
    net = eqx.tree_at(lambda m: [layer.weight for layer in m.layers], net, weights)
    net = eqx.tree_at(lambda m: [layer.bias for layer in m.layers], net, biases)
    params, static = eqx.partition(net, eqx.is_inexact_array)
    return lambda p, x: jax.vmap(eqx.combine(p, static))(x), params


def haiku() -> Made:
    import haiku as hk

    net = hk.without_apply_rng(hk.transform(lambda x: hk.nets.MLP(SIZES[1:], activation=jnp.tanh)(x)))
    params = {
        f"mlp/~/linear_{i}": {"w": jnp.asarray(w), "b": jnp.asarray(b)} for i, (w, b) in enumerate(numbers())
    }
    return net.apply, params


def torch_module() -> Any:
    import torch
    from torch import nn

    layers = []
    for w, b in numbers():
        layer = nn.Linear(*w.shape)
        with torch.no_grad():
            layer.weight.copy_(torch.tensor(w.T))
            layer.bias.copy_(torch.tensor(b))
        layers += [layer, nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def torch() -> Made:
    import torch

    from nets.interop.torch import to_jax

    return to_jax(torch_module(), torch.tensor(np.asarray(inputs())))


def same_report(one: Any, other: Any) -> bool:
    """Whether two diagnoses say the same, paths of parameters and round-off aside."""
    for a, b in zip(one.layers, other.layers, strict=True):
        for name, value in a._asdict().items():
            if name == "path":
                continue
            theirs = getattr(b, name)
            if isinstance(value, nets.Estimate):
                value, theirs = tuple(value), tuple(theirs)
            if isinstance(value, str | int | None) and not isinstance(value, bool):
                if value != theirs:
                    return False
            elif not np.allclose(np.float64(value), np.float64(theirs), rtol=1e-3, atol=1e-5, equal_nan=True):
                return False
    return [verdict[:2] for verdict in one.verdicts] == [verdict[:2] for verdict in other.verdicts]
