"""The linear layers of a program, and the pre-activations between which it is taken apart.

A linear layer is a product of data with something that is made from parameters only. It includes the scalar
factors and the bias that follow; its output y = s(Wu) + b is a pre-activation. A sum of data from two
different pre-activations is a junction; where one of them is upstream of the other it is a skip connection,
and z = γh + y, h the earlier one, is the pre-activation in place of y.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from nets.models.program import PRODUCTS, Operation, Program, evaluate

CARRIERS = frozenset({"reshape", "transpose", "squeeze", "expand_dims", "convert_element_type", "copy"})
"""Operations that only rearrange numbers."""

TURNS = frozenset({"transpose", "squeeze", "convert_element_type"})
"""Of these, those that belong to the layer that they follow even without a bias behind them."""


class Layer(NamedTuple):
    """One linear layer; the integers are variables of the program.

    `kind`: "dense" or "convolution". `data`, `weight`: the factors. `bias`: what is added, or None.
    `scale`, `bias_scale`: the scalar factors of the product and of the bias. `fan_in`: terms of each sum.
    `path`: of the parameter. `parameter`, `steps`: the parameter that the weight is a part of, and the
    indices of that part; None if it is not simply such a part.
    `output`: y. `z`: the pre-activation. `sources`: those nearest upstream of `data`.
    `skip`: where the skip connection comes from, or None; `gamma`: its factor, None if it is not a number.
    """

    kind: str
    data: int
    weight: int
    bias: int | None
    scale: float
    bias_scale: float
    fan_in: int
    path: str
    parameter: int | None
    steps: tuple[int, ...]
    output: int
    z: int
    sources: tuple[int, ...]
    skip: int | None = None
    gamma: float | None = None

    @property
    def source(self) -> int | None:
        """The only pre-activation, or input, upstream."""
        return self.sources[0] if len(self.sources) == 1 else None

    @property
    def inner(self) -> bool:
        """Whether the skip passes over more layers than this one."""
        return self.skip is not None and self.skip != self.source


class Network(NamedTuple):
    """A program and its layers, in order.

    `fixed`: the values of all variables that do not depend on data. `data`: the variables that do.
    `sources`: of each of these, the pre-activations, inputs and junctions nearest upstream.
    `junctions`: sums of data that are not part of a layer. `notes`: in words.
    """

    program: Program
    layers: tuple[Layer, ...]
    fixed: dict[int, Any]
    data: frozenset[int]
    sources: dict[int, frozenset[int]]
    junctions: tuple[int, ...]
    notes: tuple[str, ...]


def layers_of(program: Program) -> Network:
    """The layers of a program."""
    return _Reader(program).network()


def uniform(value: Any) -> float | None:
    """The number that all entries of an array are, or None."""
    array = np.asarray(value)
    if not array.size or not (array == array.flat[0]).all():
        return None
    return float(array.flat[0])


def along(program: Program, start: int, target: int) -> list[Operation]:
    """The operations on the ways from one variable to another."""
    reached, ways = {start}, []
    for operation in program.operations:
        if reached.intersection(operation.inputs):
            reached.update(operation.outputs)
            ways.append(operation)
    needed, kept = {target}, []
    for operation in reversed(ways):
        if needed.intersection(operation.outputs):
            needed.update(operation.inputs)
            kept.append(operation)
    return kept[::-1]


class _Reader:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.fixed = dict(program.values)
        self.data = set(program.inputs)
        self.made_of: dict[int, frozenset[int]] = {
            v: frozenset([v])
            for v in program.parameters
            if jnp.issubdtype(program.shapes[v].dtype, jnp.floating)
        }
        self.makers: dict[int, Operation] = {}
        self.users: dict[int, list[Operation]] = {}
        self.notes = [f"not followed: {what}" for what in program.unfollowed]
        for operation in program.operations:
            if self.data.intersection(operation.inputs):
                self.data.update(operation.outputs)
            else:
                evaluate([operation], self.fixed)
                parts = frozenset().union(*(self.made_of.get(v, frozenset()) for v in operation.inputs))
                self.made_of.update({v: parts for v in operation.outputs if parts})
            for v in operation.outputs:
                self.makers[v] = operation
            for v in set(operation.inputs):
                self.users.setdefault(v, []).append(operation)
        self.layers: dict[int, Layer] = {}
        self.junctions: list[int] = []
        self.sources: dict[int, frozenset[int]] = {v: frozenset([v]) for v in program.inputs}
        self.upstream: dict[int, frozenset[int]] = {v: frozenset() for v in program.inputs}

    def network(self) -> Network:
        for operation in self.program.operations:
            if not self.data.intersection(operation.inputs):
                continue
            sources = frozenset().union(*(self.sources.get(v, frozenset()) for v in operation.inputs))
            for v in operation.outputs:
                self.sources[v] = frozenset([v]) if v in self.layers else sources
            if operation.name in PRODUCTS:
                self.product(operation, sources)
            elif self.joins(operation):
                self.junction(operation, sources)
        used = frozenset().union(*(self.made_of.get(v, frozenset()) for v in self.needed()))
        unused = [path for v, path in self.program.parameters.items() if v in self.made_of and v not in used]
        if unused:
            self.notes.append(f"parameters that the output does not depend on: {_few(unused)}")
        return Network(
            self.program, tuple(self.layers.values()), self.fixed, frozenset(self.data), self.sources,
            tuple(self.junctions), tuple(dict.fromkeys(self.notes)),
        )  # fmt: skip

    def needed(self) -> set[int]:
        """The variables that the output depends on."""
        needed = set(self.program.outputs)
        for operation in reversed(self.program.operations):
            if needed.intersection(operation.outputs):
                needed.update(operation.inputs)
        return needed

    def product(self, operation: Operation, sources: frozenset[int]) -> None:
        """A linear layer, if one factor is made from parameters only."""
        a, b = operation.inputs[:2]
        if a in self.data and b in self.data:
            self.notes.append(
                f"a product of data with data (`{operation.name}`), as in attention, is no layer"
            )
            return
        data, weight = (a, b) if a in self.data else (b, a)
        if weight not in self.made_of:
            self.notes.append(f"a product of data with a constant (`{operation.name}`) is no layer")
            return
        bias, scale, bias_scale, output = self.follow(operation.outputs[0])
        parameter, steps = self.part(weight)
        names = sorted(self.program.parameters[v] for v in self.made_of[weight])
        path = names[0] + "".join(f"[{step}]" for step in steps) if parameter is not None else _few(names)
        layer = Layer(
            "convolution" if operation.name.startswith("conv") else "dense", data, weight, bias, scale,
            bias_scale, self.fan_in(operation, weight), path, parameter, steps, output, output,
            tuple(sorted(sources)),
        )  # fmt: skip
        self.layers[output] = layer
        self.sources[operation.outputs[0]] = frozenset([output])
        self.upstream[output] = sources.union(*(self.upstream[v] for v in sources))

    def fan_in(self, operation: Operation, weight: int) -> int:
        """The number of terms of each sum."""
        shape = self.program.shapes[weight].shape
        if operation.name == "dot_general":
            contracted = operation.params["dimension_numbers"][0][operation.inputs.index(weight)]
            return math.prod(shape[axis] for axis in contracted)
        out_axis = operation.params["dimension_numbers"].rhs_spec[0]
        return math.prod(shape) // shape[out_axis]

    def follow(self, y: int) -> tuple[int | None, float, float, int]:
        """The bias and the scalar factors after a product: bias, factor, the bias's factor, last variable."""
        bias, scale, bias_scale, now = None, 1.0, 1.0, y
        while now not in self.program.outputs and len(self.users.get(now, ())) == 1:
            (operation,) = self.users[now]
            other = [v for v in operation.inputs if v != now]
            fixed = len(other) == 1 and other[0] not in self.data
            factor = self.factor(operation, now)
            if factor is not None:
                scale, bias_scale = scale * factor, bias_scale * (factor if bias is not None else 1.0)
            elif bias is None and fixed and operation.name in ("add", "add_any") and other[0] in self.made_of:
                bias = self.before_broadcast(other[0])
            elif operation.name not in CARRIERS:
                break
            now = operation.outputs[0]
            if self.program.shapes[now].size != self.program.shapes[y].size:
                break
            if operation.name not in CARRIERS or operation.name in TURNS:
                y = now
        return bias, scale, bias_scale, y

    def before_broadcast(self, bias: int) -> int:
        """What a bias is before it is repeated for every input."""
        while (operation := self.makers.get(bias)) and operation.name in ("broadcast_in_dim", *CARRIERS):
            bias = operation.inputs[0]
        return bias

    def factor(self, operation: Operation, now: int) -> float | None:
        """The number that the operation multiplies `now` by, if it does that."""
        if operation.name == "neg":
            return -1.0
        other = [v for v in operation.inputs if v != now]
        if operation.name not in ("mul", "div") or len(other) != 1 or other[0] in self.data:
            return None
        number = uniform(self.fixed[other[0]])
        if number is None or operation.name == "mul":
            return number
        return 1 / number if operation.inputs[0] == now and number else None

    def part(self, weight: int) -> tuple[int | None, tuple[int, ...]]:
        """The parameter that a weight is a part of, and the indices of that part."""
        steps: list[int] = []
        while weight not in self.program.parameters:
            operation = self.makers[weight]
            fixed = [v for v in operation.inputs if v in self.made_of]
            index = self.index(operation)
            if len(fixed) != 1 or (index is None and operation.name not in CARRIERS):
                return None, ()
            if index is not None:
                if steps and operation.name != "step":
                    return None, ()
                steps.append(index)
            weight = fixed[0]
        return weight, tuple(steps[::-1])

    def index(self, operation: Operation) -> int | None:
        """The index that the operation takes along the first axis, if it does that."""
        if operation.name == "step":
            return operation.params["step"]
        whole = self.program.shapes[operation.inputs[0]].shape if operation.inputs else ()
        piece = self.program.shapes[operation.outputs[0]].shape
        if operation.name not in ("slice", "dynamic_slice") or piece[1:] != whole[1:] or piece[:1] != (1,):
            return None
        if operation.name == "slice":
            return operation.params["start_indices"][0]
        return int(self.fixed[operation.inputs[1]])

    def joins(self, operation: Operation) -> bool:
        """Whether it adds data from two different pre-activations."""
        if operation.name not in ("add", "add_any", "sub") or not self.data.issuperset(operation.inputs):
            return False
        first, second = (self.sources[v] for v in operation.inputs)
        shapes = {self.program.shapes[v].shape for v in (*operation.inputs, *operation.outputs)}
        return len(first) == len(second) == len(shapes) == 1 and first != second

    def junction(self, operation: Operation, sources: frozenset[int]) -> None:
        """A skip connection, or another sum."""
        total = operation.outputs[0]
        self.sources[total] = frozenset([total])
        self.upstream[total] = sources.union(*(self.upstream[v] for v in sources))
        for branch, other in (operation.inputs, operation.inputs[::-1]):
            (y,), (h,) = self.sources[branch], self.sources[other]
            if y in self.layers and h in self.upstream[y] and self.scaled(y, branch) == 1.0:
                layer = self.layers[y]._replace(z=total, skip=h, gamma=self.scaled(h, other))
                self.layers[y] = layer
                return
        self.junctions.append(total)

    def scaled(self, start: int, end: int) -> float | None:
        """The number that is multiplied on the way from one variable to another, if nothing else happens."""
        gamma = 1.0
        for operation in along(self.program, start, end):
            if operation.name in CARRIERS:
                continue
            now = [v for v in operation.inputs if v in self.data]
            factor = self.factor(operation, now[0]) if len(now) == 1 else None
            if factor is None:
                return None
            gamma *= factor
        return gamma


def _few(names: Sequence[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
