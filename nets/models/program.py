"""A model as a list of operations: its jaxpr, with the programs that it calls and its scans written out."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var, jaxpr_as_fun

from eft.arguments import ArgumentError, ArgumentTypeError, shown

OWN_DERIVATIVE = frozenset({"custom_jvp_call", "custom_vjp_call"})
"""Operations of JAX that run one program, with its own derivative: kept whole unless they contain a layer."""

CALLS = OWN_DERIVATIVE | {"jit", "pjit", "closed_call", "core_call", "checkpoint", "remat", "remat2"}
"""Operations of JAX that run one program on their own arguments."""

PRODUCTS = frozenset({"dot_general", "conv_general_dilated"})
"""Operations that may be linear layers."""

MAX_OPERATIONS = 50_000
"""The most operations of one program; a scan that would exceed it is not followed."""


class Operation(NamedTuple):
    """One operation.

    `name`: of JAX's primitive. `run`: its inputs ↦ a sequence of its outputs. `inputs`, `outputs`: variables.
    `params`: of the primitive. `equation`: the primitive's in the jaxpr; None if it was added here.
    """

    name: str
    run: Callable[..., Sequence[Any]]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    params: dict[str, Any]
    equation: JaxprEqn | None = None


class Program(NamedTuple):
    """The operations of f(params, x), in order; variables are numbered.

    `shapes`: of every variable, with its dtype. `values`: of constants and parameters, by variable.
    `parameters`: variable ↦ path, of each array in params. `inputs`, `outputs`: variables. `unfollowed`:
    in words, what contains layers and was not followed.
    """

    operations: tuple[Operation, ...]
    shapes: tuple[Any, ...]
    values: dict[int, Any]
    parameters: dict[int, str]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    unfollowed: tuple[str, ...]


class _Writer:
    """Writes the equations of a jaxpr as operations."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.shapes: list[Any] = []
        self.values: dict[int, Any] = {}
        self.unfollowed: list[str] = []

    def variable(self, shape: Any) -> int:
        self.shapes.append(shape)
        return len(self.shapes) - 1

    def constant(self, value: Any, shape: Any) -> int:
        variable = self.variable(shape)
        self.values[variable] = value
        return variable

    def operation(self, name, run, inputs, shapes, params, equation=None) -> list[int]:
        if len(self.operations) >= MAX_OPERATIONS:
            raise ArgumentError(f"f must have at most {MAX_OPERATIONS:,} operations; got more")
        outputs = [self.variable(shape) for shape in shapes]
        self.operations.append(Operation(name, run, tuple(inputs), tuple(outputs), params, equation))
        return outputs

    def closed(self, program: ClosedJaxpr, arguments: Sequence[int]) -> list[int]:
        consts = [
            self.constant(value, var.aval)
            for var, value in zip(program.jaxpr.constvars, program.consts, strict=True)
        ]
        return self.jaxpr(program.jaxpr, [*consts, *arguments])

    def jaxpr(self, jaxpr: Jaxpr, arguments: Sequence[int]) -> list[int]:
        """Write the equations; `arguments` are those of the constants and of the inputs."""
        known: dict[Var, int] = dict(zip([*jaxpr.constvars, *jaxpr.invars], arguments, strict=True))

        def at(atom: Any) -> int:
            return self.constant(atom.val, atom.aval) if isinstance(atom, Literal) else known[atom]

        for equation in jaxpr.eqns:
            outputs = self.equation(jaxpr, equation, [at(atom) for atom in equation.invars])
            known.update(zip(equation.outvars, outputs, strict=True))
        return [at(atom) for atom in jaxpr.outvars]

    def equation(self, jaxpr: Jaxpr, equation: JaxprEqn, inputs: list[int]) -> list[int]:
        name = equation.primitive.name
        inner = list(programs(equation))
        with_layers = any(map(has_products, inner))
        if name in CALLS and len(inner) == 1 and (with_layers or name not in OWN_DERIVATIVE):
            body = inner[0]
            if isinstance(body, ClosedJaxpr):
                return self.closed(body, inputs)
            return self.jaxpr(body, inputs)
        if name == "scan" and with_layers and equation.params["length"]:
            length, size, body = equation.params["length"], count(inner[0]), inner[0]
            if len(self.operations) + length * size <= MAX_OPERATIONS and isinstance(body, ClosedJaxpr):
                return self.scan(equation, body, inputs)
            self.unfollowed.append(
                f"a scan over {length} steps of {size} operations, more than can be followed"
            )
        elif with_layers:
            self.unfollowed.append(f"layers within `{name}`, which is not followed")
        run = _whole(jaxpr, equation) if inner else functools.partial(_bind, equation)
        shapes = [var.aval for var in equation.outvars]
        return self.operation(name, run, inputs, shapes, equation.params, equation)

    def scan(self, equation: JaxprEqn, body: ClosedJaxpr, inputs: list[int]) -> list[int]:
        """Every step of a scan: constants, carried values and a slice of the rest."""
        params = equation.params
        (n_consts, n_carry), length = _scanned(params), params["length"]
        consts, carry = inputs[:n_consts], inputs[n_consts : n_consts + n_carry]
        stacked = inputs[n_consts + n_carry :]
        parts = [var.aval for var in body.jaxpr.invars[n_consts + n_carry :]]
        collected: dict[int, list[int]] = {}
        steps = range(length - 1, -1, -1) if params["reverse"] else range(length)
        for step in steps:
            here = [
                self.operation("step", functools.partial(_at_step, step), [a], [part], {"step": step})[0]
                for a, part in zip(stacked, parts, strict=True)
            ]
            outputs = self.closed(body, [*consts, *carry, *here])
            carry, collected[step] = outputs[:n_carry], outputs[n_carry:]
        columns = zip(*(collected[step] for step in range(length)), strict=True)
        ys = [
            self.operation("stack", _stacked, column, [var.aval], {})[0]
            for column, var in zip(columns, equation.outvars[n_carry:], strict=True)
        ]
        return [*carry, *ys]


def _scanned(params: dict[str, Any]) -> tuple[int, int]:
    """The numbers of constants and of carried values of a scan."""
    if "num_consts" in params:
        return params["num_consts"], params["num_carry"]
    consts, carry, _ = params["ft_in"].unpack()  # from jax 0.12 on
    return len(consts), len(carry)


def programs(equation: JaxprEqn) -> Iterator[ClosedJaxpr | Jaxpr]:
    """The programs within an equation."""
    for value in equation.params.values():
        for part in value if isinstance(value, tuple | list) else (value,):
            if isinstance(part, ClosedJaxpr | Jaxpr):
                yield part


def equations(program: ClosedJaxpr | Jaxpr) -> Iterator[JaxprEqn]:
    """All equations, those of programs within them too."""
    for equation in program.eqns:
        yield equation
        for inner in programs(equation):
            yield from equations(inner)


def has_products(program: ClosedJaxpr | Jaxpr) -> bool:
    return any(equation.primitive.name in PRODUCTS for equation in equations(program))


def count(program: ClosedJaxpr | Jaxpr) -> int:
    return sum(1 for _ in equations(program))


def _bind(equation: JaxprEqn, *values: Any) -> Sequence[Any]:
    results = equation.primitive.bind(*values, **equation.params)
    return results if equation.primitive.multiple_results else [results]


def _whole(jaxpr: Jaxpr, equation: JaxprEqn) -> Callable[..., Sequence[Any]]:
    """The equation as a function, by JAX's own evaluation of a program that consists of it."""
    given = list(dict.fromkeys(atom for atom in equation.invars if isinstance(atom, Var)))
    alone = jaxpr.replace(
        constvars=[], invars=given, outvars=list(equation.outvars), eqns=[equation], debug_info=_NAMELESS
    )
    function = jaxpr_as_fun(ClosedJaxpr(alone, ()))
    places = [next(i for i, atom in enumerate(equation.invars) if atom is var) for var in given]
    return lambda *values: function(*(values[i] for i in places))


_NAMELESS = jax.make_jaxpr(lambda: ())().jaxpr.debug_info.with_unknown_names()
"""Of a program whose arguments have no names."""


def _at_step(step: int, stacked: Any) -> Sequence[Any]:
    return [stacked[step]]


def _stacked(*values: Any) -> Sequence[Any]:
    return [jnp.stack(values)]


def traced(f: object, params: Any, x: Any) -> Program:
    """The operations of f(params, x).

    Raises ArgumentTypeError or ArgumentError if f is not a function, cannot be traced, returns what is no
    array, or has no parameters.
    """
    if not callable(f):
        raise ArgumentTypeError(f"f must be a function of (params, x); got {shown(f)}")
    leaves, structure = jax.tree_util.tree_flatten_with_path(params)
    for name, tree in (("params", [leaf for _, leaf in leaves]), ("x", jax.tree.leaves(x))):
        for leaf in tree:
            if not hasattr(leaf, "dtype") and not isinstance(leaf, bool | int | float | complex):
                raise ArgumentTypeError(f"{name} must be a pytree of arrays; it contains {shown(leaf)}")
    if not any(jnp.issubdtype(jnp.result_type(leaf), jnp.floating) for _, leaf in leaves):
        raise ArgumentError(
            "params must contain at least one array of floating-point numbers; got "
            f"{'none at all' if not leaves else f'{len(leaves)} of other kinds'}"
        )
    if not jax.tree.leaves(x):
        raise ArgumentError("x must contain at least one array; got none")
    values = [leaf for _, leaf in leaves]
    tree = jax.tree.structure(x)

    def flat(values, inputs):
        return f(structure.unflatten(values), tree.unflatten(inputs))

    try:
        closed = jax.make_jaxpr(flat)(values, jax.tree.leaves(x))
    except Exception as error:
        said = (str(error).strip().splitlines() or [""])[0]
        no_array = "not a valid JAX type" in said
        hint = "it must return an array, or a pytree of arrays" if no_array else "it must be traceable by JAX"
        raise ArgumentTypeError(
            f"f must be a function of (params, x): {hint}; {type(error).__name__}: {said}"
        ) from error
    if not closed.jaxpr.outvars:
        raise ArgumentError("f must return an array, or a pytree of arrays; it returned none")
    writer = _Writer()
    arguments = [writer.variable(var.aval) for var in closed.jaxpr.invars]
    outputs = writer.closed(closed, arguments)
    paths = [jax.tree_util.keystr(path) for path, _ in leaves]
    parameters = dict(zip(arguments, paths, strict=False))
    writer.values.update(zip(arguments, map(jnp.asarray, values), strict=False))
    return Program(
        tuple(writer.operations), tuple(writer.shapes), writer.values, parameters,
        tuple(arguments[len(leaves) :]), tuple(outputs), tuple(dict.fromkeys(writer.unfollowed)),
    )  # fmt: skip


def evaluate(operations: Sequence[Operation], values: dict[int, Any]) -> dict[int, Any]:
    """Run the operations, adding their outputs to `values`."""
    for operation in operations:
        results = operation.run(*(values[variable] for variable in operation.inputs))
        values.update(zip(operation.outputs, results, strict=True))
    return values
