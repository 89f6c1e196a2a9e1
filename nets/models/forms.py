"""What stands between two layers: an activation, a normalization, or something else."""

import functools
from collections import ChainMap
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

import eft
from eft.activations.elementwise import POINTWISE
from nets.models.layers import CARRIERS, Network, along, uniform
from nets.models.program import CALLS, Operation, equations, evaluate, programs

SAME = 2e-5
"""Relative difference up to which a function is taken for one in the catalogue, in float32 or better."""

NORMALIZED = 2e-2
"""Relative error of the fit by a normalization, with its ε and in half precision."""

FIRST = ("relu", "tanh", "gelu_tanh", "gelu", "swish", "sigmoid", "softplus", "linear", "elu", "selu", "erf")
"""The activations that are compared first."""


class Stage(NamedTuple):
    """One piece of what stands between two layers.

    `kind`: "activation", "rms", "layer" or "other". `words`: its name. `act`: the activation.
    `scale2`, `shift2`: mean squares of the scale and of the shift after a normalization.
    `start`, `end`: variables.
    """

    kind: str
    words: str
    start: int
    end: int
    act: eft.Activation | None = None
    scale2: float = 1.0
    shift2: float = 0.0


def stages(
    network: Network, start: int, end: int, values: dict[int, Any], met: dict[bytes, eft.Activation | None]
) -> tuple[Stage, ...]:
    """What stands between a pre-activation and the input of a layer, in order.

    `met`: the activations so far, by their values, to which new ones are added.
    """
    found: list[Stage] = []
    pieces = _pieces(network, start, end)
    while pieces:
        stage, count = _longest(network, pieces, values, met)
        if not (stage.kind == "activation" and stage.words == "linear"):
            found.append(stage)
        pieces = pieces[count:]
    others = [i for i, stage in enumerate(found) if stage.kind == "other"]
    if others:
        first, last = found[others[0]].start, found[others[-1]].end
        words = _described(network, along(network.program, first, last))
        found[others[0] : others[-1] + 1] = [Stage("other", words, first, last)]
    return tuple(found)


class _Piece(NamedTuple):
    operations: tuple[Operation, ...]
    start: int
    end: int


def _pieces(network: Network, start: int, end: int) -> list[_Piece]:
    """The operations, cut wherever all that follows depends on one variable only."""
    operations = along(network.program, start, end)
    last = {v: i for i, operation in enumerate(operations) for v in operation.inputs if v in network.data}
    last[end] = len(operations)
    pieces, begun, since, live = [], 0, start, {start}
    for i, operation in enumerate(operations):
        live = {v for v in live | set(operation.outputs) if last.get(v, -1) > i}
        if len(live) == 1:
            (now,) = live
            pieces.append(_Piece(tuple(operations[begun : i + 1]), since, now))
            begun, since = i + 1, now
    return pieces


def _longest(network: Network, pieces: Sequence[_Piece], values, met) -> tuple[Stage, int]:
    """The longest run of pieces that is of one form, and their number."""
    for count in range(len(pieces), 1, -1):
        if _mergeable(network, pieces[:count]):
            stage = _stage(network, pieces[:count], values, met)
            if stage is not None:
                return stage, count
    (piece,) = pieces[:1]
    alone = _stage(network, [piece], values, met)
    return alone or Stage("other", _described(network, piece.operations), piece.start, piece.end), 1


def _mergeable(network: Network, pieces: Sequence[_Piece]) -> bool:
    """Whether the pieces could be one activation, or a normalization with its scale and shift."""
    if all(_elementwise(network, piece) for piece in pieces):
        return True
    return _reduces(pieces[0]) and all(_affine(piece) or _reduces(piece) for piece in pieces[1:])


def _stage(network: Network, pieces: Sequence[_Piece], values, met) -> Stage | None:
    """The form of these pieces together; None if they have none."""
    operations = tuple(operation for piece in pieces for operation in piece.operations)
    start, end = pieces[0].start, pieces[-1].end
    shapes = network.program.shapes
    if all(_elementwise(network, piece) for piece in pieces):
        sigma = functools.partial(pointwise, operations, start, end, network.fixed)
        act = recognized(sigma, _names(operations), met)
        return None if act is None else Stage("activation", act.name, start, end, act)
    if _reduces(pieces[0]) and shapes[start].shape == shapes[end].shape:
        return _normalization(network, operations, start, end, values)
    return None


def _names(operations: Sequence[Operation]) -> list[str]:
    """Names of functions, as JAX has them: "relu"; and of operations."""
    given = [operation.params.get("name") for operation in operations]
    for operation in operations:
        if operation.equation is not None:
            inner = [equation for program in programs(operation.equation) for equation in equations(program)]
            given += [equation.params.get("name") for equation in inner]
    return [name for name in (*given, *(operation.name for operation in operations)) if isinstance(name, str)]


def _reduces(piece: _Piece) -> bool:
    return any(operation.name.startswith("reduce_") for operation in piece.operations)


def _affine(piece: _Piece) -> bool:
    """Whether it multiplies by, or adds, something, or rearranges."""
    return len(piece.operations) == 1 and piece.operations[0].name in {
        "mul", "div", "add", "sub", *CARRIERS, "broadcast_in_dim",
    }  # fmt: skip


def _uniform(network: Network, operation: Operation) -> bool:
    """Whether what data are combined with here is one number."""
    return all(uniform(network.fixed[v]) is not None for v in operation.inputs if v not in network.data)


def _elementwise(network: Network, piece: _Piece) -> bool:
    """Whether each entry of the result is one function of one entry."""
    size = network.program.shapes[piece.start].size
    for operation in piece.operations:
        if any(network.program.shapes[v].size != size for v in operation.outputs):
            return False
        if operation.name in CARRIERS:
            continue
        if len(piece.operations) > 1 and operation.name == "broadcast_in_dim":
            return False
        if operation.name not in POINTWISE and not _pointwise_call(operation):
            return False
        if not _uniform(network, operation):
            return False
    return True


def _pointwise_call(operation: Operation) -> bool:
    return (
        operation.name in CALLS
        and operation.equation is not None
        and all(_pointwise_program(inner) for inner in programs(operation.equation))
    )


def _pointwise_program(program: ClosedJaxpr | Jaxpr) -> bool:
    if isinstance(program, ClosedJaxpr) and any(uniform(value) is None for value in program.consts):
        return False
    return all(
        equation.primitive.name in POINTWISE
        or (equation.primitive.name in CALLS and all(map(_pointwise_program, programs(equation))))
        for equation in program.eqns
    )


# --- an activation as a function ----------------------------------------------------------------


def pointwise(
    operations: Sequence[Operation], start: int, end: int, fixed: dict[int, Any], z: jax.Array
) -> jax.Array:
    """σ(z) for z of any shape and precision, by the operations of the program."""
    values: dict[int, Any] = {start: z}
    for operation in operations:
        arguments = [values[v] if v in values else np.asarray(fixed[v]).flat[0] for v in operation.inputs]
        inner = list(programs(operation.equation)) if operation.equation is not None else []
        results = _run(inner[0], arguments, z) if inner else [_apply(operation.equation, arguments, z)]
        values.update(zip(operation.outputs, results, strict=True))
    return values[end]


def _run(program: ClosedJaxpr | Jaxpr, arguments: Sequence[Any], z: jax.Array) -> list[Any]:
    """A program of elementwise operations, on z of another shape than that for which it was traced."""
    jaxpr = program.jaxpr if isinstance(program, ClosedJaxpr) else program
    consts = (
        [np.asarray(value).flat[0] for value in program.consts] if isinstance(program, ClosedJaxpr) else []
    )
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *arguments], strict=True))

    def at(atom):
        return np.asarray(atom.val).flat[0] if isinstance(atom, Literal) else values[atom]

    for equation in jaxpr.eqns:
        given = [at(atom) for atom in equation.invars]
        inner = list(programs(equation))
        results = _run(inner[0], given, z) if inner else [_apply(equation, given, z)]
        values.update(zip(equation.outvars, results, strict=True))
    return [at(atom) for atom in jaxpr.outvars]


def _apply(equation: Any, arguments: Sequence[Any], z: jax.Array) -> Any:
    """One elementwise operation; all numbers take the precision of z."""
    name = equation.primitive.name
    if name == "convert_element_type":
        dtype = equation.params["new_dtype"]
        dtype = z.dtype if jnp.issubdtype(dtype, jnp.floating) else dtype
        return jnp.asarray(arguments[0]).astype(dtype)
    if name in CARRIERS or name == "broadcast_in_dim":
        return arguments[0]
    given = [jnp.asarray(a) for a in arguments]
    given = [a.astype(z.dtype) if jnp.issubdtype(a.dtype, jnp.floating) else a for a in given]
    given = [jnp.broadcast_to(a, z.shape) for a in given]
    return equation.primitive.bind(*given, **equation.params)


_POINTS = np.linspace(-4.9, 5.1, 41)


@functools.lru_cache(maxsize=128)
def _catalogued(name: str) -> np.ndarray:
    return np.asarray(eft.activation(name).fn(jnp.asarray(_POINTS, jnp.result_type(float))), np.float64)


def recognized(
    sigma: Callable[[jax.Array], jax.Array], names: Sequence[str] = (), met: dict | None = None
) -> eft.Activation | None:
    """The activation of the catalogue that the function is, or one made of it; None if it is not finite.

    Compared at 41 points from −4.9 to 5.1. `names`: of the activations to compare with first.
    """
    z, met = jnp.asarray(_POINTS, jnp.result_type(float)), {} if met is None else met
    try:
        values = np.asarray(sigma(z), np.float64)
    except Exception:  # an operation that is not one of arrays of any shape
        return None
    if values.shape != z.shape or not np.isfinite(values).all():
        return None
    key = values.tobytes()
    if key not in met:
        met[key] = _matched(sigma, values, names)
    return met[key]


def _matched(sigma: Callable, values: np.ndarray, names: Sequence[str]) -> eft.Activation | None:
    def same(other: np.ndarray) -> bool:
        return bool(np.allclose(values, other, rtol=SAME, atol=SAME * max(1e-3, np.abs(values).max())))

    known = eft.activation_names()
    first = [{"silu": "swish", "logistic": "sigmoid"}.get(name, name) for name in names]
    for name in dict.fromkeys([*(name for name in first if name in known), *FIRST, *known]):
        if same(_catalogued(name)):
            return eft.activation(name)
    slope = values[0] / _POINTS[0]
    if same(np.where(_POINTS > 0, _POINTS, slope * _POINTS)):
        return eft.activation("leaky_relu", slope=float(f"{slope:.6g}"))
    try:
        return eft.Activation(sigma, name="a function")
    except (eft.ArgumentError, eft.ArgumentTypeError):
        return None


# --- normalizations -----------------------------------------------------------------------------


def _normalization(
    network: Network, operations: Sequence[Operation], start: int, end: int, values: dict[int, Any]
) -> Stage | None:
    """The normalization that the operations are, if n ↦ s·n + t fits them on random data."""
    shape = network.program.shapes[start]
    axes = next(
        (tuple(operation.params["axes"]) for operation in operations if operation.name.startswith("reduce_")),
        (),
    )
    if not axes or any(axis >= len(shape.shape) for axis in axes):
        return None
    if 0 in axes and len(shape.shape) > 1:  # over the inputs too, as batch normalization
        return None
    rng = np.random.default_rng(0)
    draws = [rng.normal(0.5, 3.0, shape.shape) for _ in range(4)]
    with jax.debug_nans(False):
        results = [
            np.asarray(
                evaluate(operations, ChainMap({start: jnp.asarray(z, shape.dtype)}, values))[end],  # type: ignore[arg-type]
                np.float64,
            )
            for z in draws
        ]
    for kind in ("rms", "layer"):
        normal = []
        for z in draws:
            centred = z - z.mean(axes, keepdims=True) if kind == "layer" else z
            normal.append(centred / np.sqrt((centred**2).mean(axes, keepdims=True)))
        n, y = np.array(normal), np.array(results)
        spread = n - n.mean(0)
        s = (spread * y).sum(0) / (spread**2).sum(0)
        t = (y - s * n).mean(0)
        residual = y - s * n - t
        if np.isfinite(y).all() and np.sqrt((residual**2).mean()) <= NORMALIZED * np.sqrt((y**2).mean()):
            words = {"rms": "rms norm", "layer": "layer norm"}[kind]
            t2 = float((t**2).mean())
            return Stage(
                kind, words, start, end, scale2=float((s**2).mean()), shift2=t2 if t2 > NORMALIZED**2 else 0.0
            )
    return None


def _described(network: Network, operations: Sequence[Operation]) -> str:
    """What the operations are, by the one that tells most."""
    names = [operation.name for operation in operations]
    if any(
        operation.name == "dot_general" and network.data.issuperset(operation.inputs)
        for operation in operations
    ):
        return "product of data"
    if any(name.startswith("reduce_window") or name == "select_and_scatter_add" for name in names):
        return "pooling"
    if "exp" in names and "reduce_sum" in names:
        return "softmax"
    if any(o.name.startswith("reduce_") and 0 in o.params.get("axes", ()) for o in operations):
        return "batch norm" if {"rsqrt", "sqrt", "div"}.intersection(names) else "sum over the inputs"
    telling = [name for name in names if name not in POINTWISE and name not in CARRIERS]
    if not telling:
        finite = all(_uniform(network, operation) for operation in operations)
        return "a function that is not finite everywhere" if finite else "scale and shift by neuron"
    return telling[0]
