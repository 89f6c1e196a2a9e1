"""The parameters of a program that multiply data in dense layers, and nothing else.

For y = s W, with s of one input in T places (positions of a sequence, uses of W) and any number of axes,

    ∂f_i/∂W = Σ_t s_t ⊗ δ_it,   δ_it = ∂f_i/∂y_t,

so that derivatives by W are known from s and δ, which are much smaller.
"""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from nets.models.layers import CARRIERS
from nets.models.program import Operation, Program, evaluate


class Use(NamedTuple):
    """One product of a weight with data.

    `operation`: its index in the program. `data`: the variable s. `axes`: of s that are summed over, in the
    order of the weight's. `first`: whether s is the first factor.
    """

    operation: int
    data: int
    axes: tuple[int, ...]
    first: bool


class Bias(NamedTuple):
    """A parameter that is added to y in every place, `scale` times for each y: ∂f_i/∂b = scale Σ_t δ_it.

    `parameter`: the index of the array in params.
    """

    parameter: int
    scale: float


class DenseWeight(NamedTuple):
    """A parameter, or one step of a stacked one, that multiplies data as `scale` times itself.

    `parameter`: the index of the array in params. `places`: T. `n_in`, `n_out`: numbers in s_t and y_t.
    `biases`: what is added to y.
    """

    parameter: int
    scale: float
    uses: tuple[Use, ...]
    places: int
    n_in: int
    n_out: int
    biases: tuple[Bias, ...] = ()


def dense_weights(program: Program) -> dict[int, tuple[DenseWeight, ...]]:
    """The dense weights of a program of one input, by the index of the parameter: () if it is not used.

    Parameters that are used in any other way are missing: in a convolution, as a bias, in two places as W
    and as Wᵀ, or in a function that is not followed.
    """
    finder = _Finder(program)
    pieces = {i: finder.pieces(i, v) for i, v in enumerate(program.parameters)}
    return {i: found for i, found in pieces.items() if found is not None}


def with_biases(program: Program, weights: Iterable[DenseWeight]) -> tuple[DenseWeight, ...]:
    """The weights together with the parameters that are added to their products, and used nowhere else."""
    finder = _Finder(program)
    biases: dict[int, list[Bias]] = {}
    for parameter, v in enumerate(program.parameters):
        product, scale = finder.product(v)
        if product is not None:
            biases.setdefault(product, []).append(Bias(parameter, scale))
    return tuple(
        weight._replace(biases=tuple(biases.get(weight.uses[0].operation, ())))
        if len(weight.uses) == 1 and weight.uses[0].first
        else weight
        for weight in weights
    )


class _Finder:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.data, made = set(program.inputs), set(program.parameters)
        self.users: dict[int, list[int]] = {}
        self.makers = {v: i for i, operation in enumerate(program.operations) for v in operation.outputs}
        self.constants = {v: value for v, value in program.values.items() if v not in program.parameters}
        for i, operation in enumerate(program.operations):
            for v in set(operation.inputs):
                self.users.setdefault(v, []).append(i)
            if self.data.intersection(operation.inputs):
                self.data.update(operation.outputs)
            elif made.intersection(operation.inputs):
                made.update(operation.outputs)
            elif self.small(operation) and all(v in self.constants for v in operation.inputs):
                with jax.ensure_compile_time_eval():
                    evaluate([operation], self.constants)

    def small(self, operation: Operation) -> bool:
        """Whether it makes a number, which may be repeated."""
        repeats = operation.name == "broadcast_in_dim" and not self.program.shapes[operation.inputs[0]].shape
        return repeats or all(self.program.shapes[v].size == 1 for v in operation.outputs)

    def pieces(self, parameter: int, v: int) -> tuple[DenseWeight, ...] | None:
        """The dense weights that a parameter consists of, or None."""
        operations = [self.program.operations[i] for i in self.users.get(v, ())]
        if v in self.program.outputs:
            return None
        if not operations:
            return ()
        starts = [v]
        if all(operation.name == "step" for operation in operations):
            steps = {operation.params["step"] for operation in operations}
            if len(steps) < len(operations):
                return None
            starts = [operation.outputs[0] for operation in operations]
        found = [self.weight(parameter, start) for start in starts]
        return None if None in found else tuple(weight for weight in found if weight is not None)

    def weight(self, parameter: int, v: int) -> DenseWeight | None:
        """What becomes of a parameter: products with data, after scalar factors and rearrangements."""
        scale = 1.0
        while v not in self.program.outputs:
            uses = [self.use(i, v) for i in self.users.get(v, ())]
            if uses and None not in uses:
                return self.together(parameter, scale, v, [use for use in uses if use is not None])
            if len(uses) != 1:
                return None
            operation = self.program.operations[self.users[v][0]]
            factor = 1.0 if operation.name in CARRIERS else self.factor(operation, v)
            v = operation.outputs[0]
            if factor is None or not jnp.issubdtype(self.program.shapes[v].dtype, jnp.floating):
                return None
            scale *= factor
        return None

    def product(self, v: int) -> tuple[int | None, float]:
        """The product y of data for which ∂f/∂v = number · Σ_t δ_t, as v is added to it; the number."""
        scale, shapes = 1.0, self.program.shapes
        n_out = shapes[v].size
        while len(self.users.get(v, ())) == 1 and v not in self.program.outputs:
            operation = self.program.operations[self.users[v][0]]
            if operation.name in ("add", "add_any"):
                other = next((u for u in operation.inputs if u != v), v)
                product, of_y = self.behind(other, shapes[v])
                return product, scale / of_y
            shape = shapes[v].shape
            if operation.name == "broadcast_in_dim":
                whole = shapes[operation.outputs[0]].shape
                last = tuple(range(len(whole) - len(shape), len(whole)))
                if operation.params["broadcast_dimensions"] != last or whole[-len(shape) :] != shape:
                    break
            elif (factor := self.factor(operation, v)) and shapes[operation.outputs[0]].size == n_out:
                scale *= factor
            else:
                break
            v = operation.outputs[0]
        return None, 1.0

    def behind(self, u: int, shape: Any) -> tuple[int | None, float]:
        """The product y of data of which u = number · y + …, used nowhere else, and the number."""
        made = self.makers.get(u)
        if (
            made is None
            or len(self.users[u]) != 1
            or u in self.program.outputs
            or self.program.shapes[u] != shape
        ):
            return None, 1.0
        operation = self.program.operations[made]
        if operation.name == "dot_general":
            return (made if self.data.intersection(operation.inputs) else None), 1.0
        if operation.name in ("add", "add_any") and len(set(operation.inputs)) == 2:
            terms = (self.behind(v, shape) for v in operation.inputs)
            return next((found for found in terms if found[0] is not None), (None, 1.0))
        for v in operation.inputs:
            if factor := self.factor(operation, v):
                product, of_v = self.behind(v, shape)
                return product, factor * of_v
        return None, 1.0

    def factor(self, operation: Operation, v: int) -> float | None:
        """The number by which the operation multiplies v, if it does that."""
        if operation.name == "neg":
            return -1.0
        if operation.name not in ("mul", "div") or (operation.name == "div" and operation.inputs[0] != v):
            return None
        other = [u for u in operation.inputs if u != v]
        if len(other) != 1 or other[0] not in self.constants:
            return None
        value = self.constants[other[0]]
        if isinstance(value, Tracer):
            return None
        numbers = np.asarray(value, np.float64)
        if not numbers.size or (numbers != numbers.flat[0]).any():
            return None
        number = float(numbers.flat[0])
        return number if operation.name == "mul" else 1 / number if number else None

    def use(self, i: int, v: int) -> tuple[Use, tuple[int, ...]] | None:
        """The product of v with data, and the axes of v that are summed over."""
        operation = self.program.operations[i]
        if operation.name != "dot_general" or not self.data.intersection(operation.inputs):
            return None
        first = operation.inputs[1] == v
        contracted, batched = operation.params["dimension_numbers"]
        of_data, of_weight = contracted if first else contracted[::-1]
        if batched[0]:
            return None
        return Use(i, operation.inputs[0 if first else 1], tuple(of_data), first), tuple(of_weight)

    def together(
        self, parameter: int, scale: float, v: int, uses: list[tuple[Use, tuple[int, ...]]]
    ) -> DenseWeight | None:
        shape, (axes, *others) = self.program.shapes[v].shape, (axes for _, axes in uses)
        if any(each != axes for each in others):
            return None
        n_in = math.prod(shape[axis] for axis in axes)
        if not math.prod(shape):
            return None
        places = sum(self.program.shapes[use.data].size // n_in for use, _ in uses)
        return DenseWeight(
            parameter, scale, tuple(use for use, _ in uses), places, n_in, math.prod(shape) // n_in
        )


def incoming(weight: DenseWeight, values: dict[int, Any]) -> jax.Array:
    """s, times `scale`: (T, n_in)."""
    rows = []
    for use in weight.uses:
        s = values[use.data]
        last = range(s.ndim - len(use.axes), s.ndim)
        rows.append(jnp.moveaxis(s, use.axes, last).reshape(-1, weight.n_in))
    return weight.scale * jnp.concatenate(rows)


def outgoing(weight: DenseWeight, deltas: dict[int, jax.Array]) -> jax.Array:
    """δ, for the derivative δ of f by the output of each product, by operation: (T, n_out)."""
    rows = []
    for use in weight.uses:
        delta = deltas[use.operation]
        rows.append(
            delta.reshape(-1, weight.n_out) if use.first else delta.reshape(weight.n_out, -1).swapaxes(0, 1)
        )
    return jnp.concatenate(rows)
