"""The initialization of networks in Equinox, whose layers take no initializer."""

from typing import TypeVar

import equinox as eqx
import jax

from eft.arguments import ArgumentError
from nets.interop.chain import Linear, initializers

Model = TypeVar("Model")


def initialized(
    model: Model,
    act: object,
    *,
    key: jax.Array,
    weights: str = "gaussian",
    x2: object = 1.0,
    K1: object = None,
    skip: object = 0.0,
    cw: object = None,
    cb: object = None,
    output_cw: object = None,
    output_cb: object = None,
) -> Model:
    """The model with weights W ~ N(0, C_W/n_in) and biases b ~ N(0, C_b), with C_W and C_b critical.

    `model`: its linear layers, `eqx.nn.Linear`, in the order of its fields, are the first, the hidden ones
    and the output, as in `eqx.nn.MLP`. No other part may have arrays, apart from `eqx.nn.PReLU`, or
    normalize.
    `key`: of the random numbers. `act`: σ, the same for all layers; "gelu_tanh" is `jax.nn.gelu`. The other
    arguments: as for `nets.interop.torch.initialize_`.

    Raises TypeError or ValueError for a bad argument, and for layers that are not supported, by name.

    >>> net = eqx.nn.MLP(10, 1, 64, depth=2, activation=jnp.tanh, key=jax.random.key(0))
    >>> net = nets.interop.equinox.initialized(net, "tanh", key=jax.random.key(1))
    """
    layers = _linear_layers(model)
    sizes = [Linear(name, a.weight.shape[1], a.weight.shape[0], a.bias is not None) for name, a in layers]
    found = initializers(
        sizes, act, weights=weights, x2=x2, K1=K1, skip=skip, cw=cw, cb=cb, output_cw=output_cw,
        output_cb=output_cb,
    )  # fmt: skip
    new = []
    for i, ((_, layer), inits) in enumerate(zip(layers, found, strict=True)):
        keys = jax.random.split(jax.random.fold_in(key, i))
        old = _parameters(layer)
        new += [init(k, a.shape, a.dtype) for k, init, a in zip(keys, inits, old, strict=False)]
    return eqx.tree_at(lambda tree: [a for _, b in _linear_layers(tree) for a in _parameters(b)], model, new)


def _is_layer(part: object) -> bool:
    """Whether it is a part of a model that is not looked into further."""
    return isinstance(part, eqx.Module) and type(part).__module__.startswith("equinox.nn") and not isinstance(
        part, eqx.nn.MLP | eqx.nn.Sequential | eqx.nn.Lambda
    )  # fmt: skip


def _linear_layers(model: object) -> "list[tuple[str, eqx.nn.Linear]]":
    """The linear layers with their names; raises if other parts have arrays or normalize."""
    layers = []
    for path, part in jax.tree_util.tree_leaves_with_path(model, is_leaf=_is_layer):
        name = jax.tree_util.keystr(path).lstrip(".")
        if type(part) is eqx.nn.Linear:
            layers.append((name, part))
        elif "Norm" in type(part).__name__ or (
            not isinstance(part, eqx.nn.PReLU) and any(map(eqx.is_array, jax.tree.leaves(part)))
        ):
            raise ArgumentError(
                "model must consist of eqx.nn.Linear, and parts without arrays that do not normalize; got "
                f"{name}: {type(part).__name__}"
            )
    return layers


def _parameters(layer: "eqx.nn.Linear") -> list:
    """Its weights, and its biases if any."""
    return [layer.weight] if layer.bias is None else [layer.weight, layer.bias]
