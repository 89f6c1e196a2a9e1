"""The initialization and the diagnosis of networks in PyTorch."""

import math
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import nn

from eft import arguments
from eft.arguments import ArgumentError, ArgumentTypeError
from nets.interop.chain import Linear, initializers
from nets.interop.graph import precision, run, steps_of
from nets.models.diagnosis import Diagnosis
from nets.models.examination import diagnose as diagnose_function
from nets.models.initializers import Weights
from nets.models.tuning import Tuning
from nets.models.tuning import tune as tune_function

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
    _check_module(module)
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


# --- diagnosis ----------------------------------------------------------------------------------


class Parameters(dict):
    """Arrays by PyTorch's names, "2.weight", in its order: a pytree whose paths are these names."""


def _with_names(params: Parameters) -> tuple[list, tuple[str, ...]]:
    return list(params.items()), tuple(params)


jax.tree_util.register_pytree_with_keys(
    Parameters, _with_names, lambda names, arrays: Parameters(zip(names, arrays, strict=True))
)


def diagnose(
    module: "nn.Module", x: "torch.Tensor", *, n_probes: int = 8, seed: int = 0, operations: object = None
) -> Diagnosis:
    """What the layers of a PyTorch module do at the inputs x, what the theory predicts, and what is wrong.

    It is `nets.diagnose` of the function that `to_jax` makes of the module, whose arguments these are, in the
    precision of the module. The paths of weights are PyTorch's names. Nothing is changed.

    Raises ArgumentError or ArgumentTypeError as `to_jax` and `nets.diagnose` do.

    >>> net = nn.Sequential(nn.Linear(64, 256), nn.Tanh(), nn.Linear(256, 256), nn.Tanh(), nn.Linear(256, 10))
    >>> found = nets.interop.torch.diagnose(net, torch.randn(16, 64))
    >>> [(layer.path, layer.before) for layer in found.layers[1:]]
    [('2.weight', 'tanh'), ('4.weight', 'tanh')]
    """
    _check_module(module)
    with _precision_of(module):
        f, params = to_jax(module, x, operations=operations)
        return diagnose_function(f, params, _array(x), n_probes=n_probes, seed=seed)


def tune_(
    module: "nn.Module", x: "torch.Tensor", *, n_probes: int = 32, seed: int = 0, operations: object = None
) -> Tuning:
    """Multiply the weights of each layer by a number, so that χ⊥ = 1, as `nets.tune` does.

    The module is changed in place; returned is what was done, layer by layer, and the new parameters as
    arrays of JAX. Arguments and errors: those of `diagnose`. Nothing is changed if there is an error.

    >>> net = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))
    >>> tuned = nets.interop.torch.tune_(net, torch.randn(16, 64))
    >>> [round(each.factor) for each in tuned.factors]  # PyTorch's own weights have C_W = 1/3
    [1, 2, 2]
    """
    _check_module(module)
    with _precision_of(module), torch.no_grad():
        f, params = to_jax(module, x, operations=operations)
        tuned = tune_function(f, params, _array(x), n_probes=n_probes, seed=seed)
        for name, parameter in module.named_parameters():
            if tuned.params[name] is not params[name]:
                new = np.array(tuned.params[name].astype(_readable(parameter)))
                parameter.copy_(torch.from_numpy(new))
    return tuned


def to_jax(
    module: "nn.Module", x: "torch.Tensor", *, operations: object = None
) -> tuple[Callable[[Any, jax.Array], jax.Array], Parameters]:
    """The module as a function of JAX arrays, f(params, x), and its parameters.

    `torch.export` traces the module; each operation of its graph, as ATen names it, becomes one of JAX.
    `module`: returns a tensor, and does in its graph the same at all x: no dropout, and no batch
    normalization with averages of the batch, so call `module.eval()` before. Its buffers are constants of f.
    `x`: a tensor, a batch of inputs; f takes arrays of its shape and dtype. `operations`: functions of JAX
    arrays for operations that are not known, or in place of those that are, {"aten.name": function}; each
    takes what the operation takes in PyTorch, with the same defaults, and returns arrays of the same shapes.
    `params`: a dict of arrays by PyTorch's names; parameters that are shared have the first of their names.

    f(params, x) equals module(x) up to round-off. Where float64 is switched off in JAX, it is in float32.

    Raises ArgumentTypeError if module is no module or x no tensor; ArgumentError if the module has no
    parameters, is in training mode where that matters, cannot be traced, or returns something else than one
    tensor, and for an operation that is not known, with its name and that of the part of the module. The
    module is called once for this.

    >>> net = nn.Sequential(nn.Linear(5, 8), nn.GELU(), nn.Linear(8, 3))
    >>> f, params = nets.interop.torch.to_jax(net, torch.ones(2, 5))
    >>> list(params), f(params, jnp.ones((2, 5))).shape
    (['0.weight', '0.bias', '2.weight', '2.bias'], (2, 3))
    """
    _check_module(module)
    _check_inputs(x)
    names = _first_names(module)
    program = _exported(module, x)
    steps = steps_of(program.graph.nodes, operations)
    (output,) = program.graph_signature.user_outputs
    fixed, places, entry = {}, {}, ""
    buffers = {**program.constants, **dict(module.named_buffers(remove_duplicate=False))}
    for spec in program.graph_signature.input_specs:
        if spec.kind.name == "PARAMETER":
            places[spec.arg.name] = names[spec.target]
        elif spec.kind.name == "USER_INPUT":
            entry = spec.arg.name
        else:
            fixed[spec.arg.name] = _array(buffers[spec.target])

    def f(params: Any, x: jax.Array) -> jax.Array:
        given = {node: params[name] for node, name in places.items()}
        return run(steps, {**fixed, **given, entry: x})[output]

    params = Parameters((name, _array(parameter)) for name, parameter in module.named_parameters())
    jax.eval_shape(f, params, jax.ShapeDtypeStruct(tuple(x.shape), precision(x.dtype)))
    return f, params


def _check_module(module: object) -> None:
    if not isinstance(module, nn.Module):
        raise ArgumentTypeError(f"module must be a torch.nn.Module; got {arguments.shown(module)}")


def _check_inputs(x: object) -> None:
    if not isinstance(x, torch.Tensor):
        raise ArgumentTypeError(f"x must be a torch.Tensor, a batch of inputs; got {arguments.shown(x)}")
    if x.is_complex() or x.layout != torch.strided or x.is_meta:
        raise ArgumentError(
            f"x must be a dense tensor of real numbers, with values; got {x.dtype}, {x.layout} on {x.device}"
        )


def _first_names(module: "nn.Module") -> dict[str, str]:
    """Each name of a parameter with the first name of the same one; raises if they have no values."""
    first: dict[int, str] = {}
    names = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        if parameter.is_meta or isinstance(parameter, nn.parameter.UninitializedParameter):
            raise ArgumentError(f"module must have parameters with values; {name} has none")
        names[name] = first.setdefault(id(parameter), name)
    if not names:
        raise ArgumentError(f"module must have parameters; got {type(module).__name__} without")
    return names


def _exported(module: "nn.Module", x: "torch.Tensor") -> "torch.export.ExportedProgram":
    """Its graph; raises if there is none, if it does not stand for all x, or returns no tensor."""
    for name, part in module.named_modules():
        drops = isinstance(part, nn.modules.dropout._DropoutNd) and part.p > 0
        if part.training and (drops or isinstance(part, nn.modules.batchnorm._BatchNorm)):
            raise ArgumentError(
                f"module must not be in training mode, since it has {name or 'itself'}: "
                f"{type(part).__name__}; call module.eval() first"
            )
    x = x.detach()
    try:
        with torch.no_grad():  # the trace alone does not ask for the precision that a layer takes
            y = module(x)
    except Exception as error:
        raise ArgumentError(
            f"module must take x, of shape {tuple(x.shape)} and {x.dtype}; {_said(error)}"
        ) from error
    if not isinstance(y, torch.Tensor):
        raise ArgumentError(
            f"module must return a tensor; got {type(y).__name__}. Put it into one that returns a tensor"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # those of the packages that PyTorch uses are not the user's
            program = torch.export.export(module, (x,), strict=False)
            in_place = any(_changes_its_input(node.target) for node in program.graph.nodes)
            return program.run_decompositions({}) if in_place else program  # new versions leave these
    except Exception as error:
        raise ArgumentError(
            f"module must be one that torch.export can trace at x of shape {tuple(x.shape)}; {_said(error)}"
        ) from error


def _changes_its_input(operation: object) -> bool:
    schema = getattr(operation, "_schema", None)
    return schema is not None and schema.is_mutable


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"


def _precision_of(module: "nn.Module"):
    """float64 switched on if the module has such parameters."""
    double = any(parameter.dtype == torch.float64 for parameter in module.parameters())
    return jax.enable_x64(bool(jax.config.jax_enable_x64 or double))


def _readable(tensor: "torch.Tensor") -> Any:
    """A precision that NumPy has as well, in which all its numbers are exact."""
    return np.dtype("float32") if tensor.dtype == torch.bfloat16 else precision(tensor.dtype)


def _array(tensor: "torch.Tensor") -> jax.Array:
    """The same numbers in JAX; a copy."""
    host = tensor.detach().cpu()
    host = host.float() if tensor.dtype == torch.bfloat16 else host
    return jnp.array(host.numpy(), precision(tensor.dtype))
