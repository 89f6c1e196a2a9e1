"""The initialization of networks in PyTorch."""

import math
from typing import TypeVar

import torch
from torch import nn

from eft import arguments
from eft.arguments import ArgumentError, ArgumentTypeError
from nets.interop.chain import Linear, initializers
from nets.models.initializers import Weights

Module = TypeVar("Module")


def initialize_(
    module: Module,
    act: object,
    *,
    weights: str = "gaussian",
    x2: object = 1.0,
    K1: object = None,
    skip: object = 0.0,
    cw: object = None,
    cb: object = None,
    output_cw: object = None,
    output_cb: object = None,
    generator: "torch.Generator | None" = None,
) -> Module:
    """Draw weights W ~ N(0, C_W/n_in) and biases b ~ N(0, C_b) of a network with C_W and C_b critical.

    `module`: its linear layers, `nn.Linear`, in the order in which they are registered, are the first, the
    hidden ones and the output. Give `nn.Sequential(net.a, net.b, …)` of a network that registers them in
    another order. Nothing else may have parameters, apart from `nn.PReLU`, and nothing may normalize: then
    other values are critical. It is changed in place, and returned.

    `act`: σ, as the name of an activation or a function of a JAX array, the same for all layers. It is not
    compared with what the network computes; note that "gelu" is exact, as `nn.GELU()`.
    `x2` = ‖x‖²/n₀ of the input, or `K1`, set the first kernel; `skip`, `cw`, `cb`: see
    `nets.initializers.critical`. `weights`: "gaussian", or "orthogonal" from the second layer on.
    `output_cw`, `output_cb`: C_W and C_b of the output, by default those of the other layers.
    `generator`: of the random numbers.

    Raises TypeError or ValueError for a bad argument, and for layers that are not supported, by name, before
    anything is drawn.

    >>> net = nn.Sequential(nn.Linear(10, 64), nn.GELU(), nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 1))
    >>> net = nets.interop.torch.initialize_(net, "gelu", x2=1.0)
    """
    if not isinstance(module, nn.Module):
        raise ArgumentTypeError(f"module must be a torch.nn.Module; got {arguments.shown(module)}")
    layers = _linear_layers(module)
    sizes = [Linear(name, a.in_features, a.out_features, a.bias is not None) for name, a in layers.items()]
    found = initializers(
        sizes, act, weights=weights, x2=x2, K1=K1, skip=skip, cw=cw, cb=cb, output_cw=output_cw,
        output_cb=output_cb,
    )  # fmt: skip
    with torch.no_grad():
        for layer, (kernel, bias) in zip(layers.values(), found, strict=True):
            layer.weight.copy_(_weights(layer.weight, kernel, generator))
            if layer.bias is not None:
                layer.bias.copy_(_normal(layer.bias, math.sqrt(bias.cb), generator))
    return module


def _linear_layers(module: "nn.Module") -> "dict[str, nn.Linear]":
    """The linear layers by name; raises if there are other parameters, or normalization."""
    layers, owners = {}, {}
    for name, part in module.named_modules():
        shown = f"{name or 'itself'}: {type(part).__name__}"
        own = dict(part.named_parameters(recurse=False))
        for parameter in own.values():
            if owners.setdefault(id(parameter), shown) != shown:
                raise ArgumentError(
                    f"module must not share parameters; got {shown} and {owners[id(parameter)]}"
                )
        if type(part) is nn.Linear and own.keys() <= {"weight", "bias"}:
            layers[name or "itself"] = part
        elif "Norm" in type(part).__name__ or (own and not isinstance(part, nn.PReLU)):
            raise ArgumentError(
                f"module must consist of nn.Linear, and parts without parameters that do not normalize; got "
                f"{shown}"
            )
    return layers


def _normal(like: "torch.Tensor", std: float, generator) -> "torch.Tensor":
    """Independent N(0, std²) in at least 32 bits."""
    precise = torch.empty_like(like, dtype=torch.promote_types(like.dtype, torch.float32))
    return nn.init.normal_(precise, std=std, generator=generator)


def _weights(like: "torch.Tensor", kernel: Weights, generator) -> "torch.Tensor":
    """Gaussian, or √(C_W m/n_in) Q, m = max(n_in, n), as in `nets.network.weights.orthogonal`."""
    n, n_in = like.shape
    if kernel.weights == "gaussian":
        return _normal(like, math.sqrt(kernel.cw / n_in), generator)
    u = _normal(like, 1.0, generator)
    Q, R = torch.linalg.qr(u if n >= n_in else u.T)
    Q = Q * torch.where(torch.diagonal(R) < 0, -1.0, 1.0).to(Q.dtype)
    return math.sqrt(kernel.cw * max(n, n_in) / n_in) * (Q if n >= n_in else Q.T)
