"""A graph of PyTorch's operations as a function of JAX arrays."""

import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from eft.arguments import ArgumentError, ArgumentTypeError, shown
from nets.interop.aten import OPERATIONS

MACHINE = frozenset({"device", "layout", "memory_format", "non_blocking", "pin_memory"})
"""Arguments that say where and how tensors are stored."""


class Step(NamedTuple):
    """One operation. `node`: of the graph. `function`: what it does. `words`: its name and place."""

    node: Any
    function: Callable
    words: str


def steps_of(nodes: Iterable[Any], operations: object = None) -> list[Step]:
    """The operations of the graph, in order, by `operations` and by the table.

    Raises ArgumentError for an operation that is in neither, by its name and that of the module, and
    ArgumentTypeError if `operations` is not a dict of functions.
    """
    own: Any = {} if operations is None else operations
    named = isinstance(own, Mapping) and all(isinstance(k, str) and callable(f) for k, f in own.items())
    if not named:
        raise ArgumentTypeError(
            f'operations must be a dict of functions, {{"aten.name": function}}; got {shown(own)}'
        )
    calls = (node for node in nodes if node.op == "call_function")
    return [_step(node, own) for node in calls if not _asserts(node)]


def _asserts(node: Any) -> bool:
    """Whether it only checks something: it has no result."""
    schema = getattr(node.target, "_schema", None)
    return schema is not None and not schema.returns


def _step(node: Any, own: Mapping[str, Callable]) -> Step:
    if node.target is operator.getitem:  # one of several results
        return Step(node, operator.getitem, "getitem")
    schema = getattr(node.target, "_schema", None)
    namespace, name = schema.name.split("::") if schema else ("python", str(node.target))
    words = f"{namespace}.{name}{_place(node)}"
    ours = OPERATIONS.get(name) if namespace == "aten" else None
    function = own.get(str(node.target)) or own.get(f"{namespace}.{name}") or ours
    if function is None:
        raise ArgumentError(
            f"module must consist of known operations; got {words}. Give it as a function of JAX arrays, "
            f'operations={{"{namespace}.{name}": function}}, or write the network in JAX'
        )
    return Step(node, function, words)


def _place(node: Any) -> str:
    """Where in the module."""
    path, kind = (list((node.meta.get("nn_module_stack") or {}).values()) or [("", "")])[-1]
    kind = (kind if isinstance(kind, str) else kind.__name__).rsplit(".", 1)[-1]
    return f" in {path or 'itself'}: {kind}" if kind else ""


def run(steps: Iterable[Step], given: Mapping[str, Any]) -> dict[str, Any]:
    """The values of all nodes by name; `given`: those of its inputs.

    Products of matrices are in full precision, as by default in PyTorch. Raises ArgumentError where an
    operation fails, or its result has not the shape that it has in PyTorch.
    """
    values = dict(given)
    with (
        jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"),
        jax.default_matmul_precision("highest"),
    ):  # fmt: skip
        for step in steps:
            args, settings = _arguments(step.node, values)
            try:
                result = step.function(*args, **settings)
            except NotImplementedError as error:
                raise ArgumentError(
                    f"module must consist of known operations; got {step.words} {error}"
                ) from error
            except Exception as error:
                said = (str(error).strip().splitlines() or [""])[0]
                raise ArgumentError(
                    f"module must consist of operations that JAX can follow; {step.words}: "
                    f"{type(error).__name__}: {said}"
                ) from error
            values[step.node.name] = _like(result, step.node.meta.get("val"), step.words)
    return values


def _arguments(node: Any, values: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Those of one operation; where they name a precision, the first array has it."""
    wanted: list[Any] = []

    def at(argument: Any) -> Any:
        if isinstance(argument, list | tuple):
            return [at(each) for each in argument]
        if hasattr(argument, "op") and hasattr(argument, "meta"):
            return values[argument.name]
        if hasattr(argument, "itemsize") and hasattr(argument, "is_floating_point"):
            wanted.append(precision(argument))
            return None
        return argument

    args = [at(each) for each in node.args]
    settings = {name: at(each) for name, each in node.kwargs.items() if name not in MACHINE}
    if wanted:
        settings.pop("dtype", None)
        if args and isinstance(args[0], jax.Array):
            args[0] = args[0].astype(wanted[0])
    return args, settings


def precision(dtype: Any) -> Any:
    """JAX's of the same name; float32 in place of float64 where that is switched off."""
    return jax.dtypes.canonicalize_dtype(str(dtype).removeprefix("torch."))


def _like(result: Any, expected: Any, words: str) -> Any:
    """The result in the precision that it has in PyTorch."""
    if isinstance(expected, list | tuple):
        if len(result) != len(expected):
            raise ArgumentError(f"{words} must have {len(expected)} results; got {len(result)}")
        return [_like(*pair, words) for pair in zip(result, expected, strict=True)]
    if result is None or not hasattr(expected, "dtype"):
        return result
    array = jnp.asarray(result)
    if array.shape != tuple(expected.shape):
        raise ArgumentError(f"{words} must have a result of shape {tuple(expected.shape)}; got {array.shape}")
    return array.astype(precision(expected.dtype))
