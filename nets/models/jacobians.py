"""The derivatives of a function of (params, x) by its parameters, and what products of them cost."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nets.models.dense_layers import DenseWeight, dense_weights, incoming, outgoing, with_biases
from nets.models.program import OWN_DERIVATIVE, Program, equations, evaluate, has_products, programs, traced

OUTPUTS = ("full", "diagonal", "trace")


class Split(NamedTuple):
    """Parameters taken apart: arrays of floating-point numbers, of which derivatives are taken, and the rest.

    `places`: of the former among all leaves. `structure`: of the tree.
    """

    values: list[Any]
    others: list[Any]
    places: tuple[int, ...]
    structure: Any

    def joined(self, values: Sequence[Any]) -> Any:
        """The tree with other values."""
        leaves = list(self.others)
        for place, value in zip(self.places, values, strict=True):
            leaves[place] = value
        return self.structure.unflatten(leaves)


def split(params: Any) -> Split:
    leaves, structure = jax.tree.flatten(params)
    places = tuple(i for i, a in enumerate(leaves) if jnp.issubdtype(jnp.result_type(a), jnp.floating))
    return Split([jnp.asarray(leaves[i]) for i in places], leaves, places, structure)


class Factors(NamedTuple):
    """∂f/∂θ at several inputs.

    `incoming`: s of every dense weight, (n, T, n_in). `outgoing`: δ, (n, o, T, n_out). `rest`: the
    derivatives by the other parameters, (n, o, numbers in the parameter).
    """

    incoming: list[jax.Array]
    outgoing: list[jax.Array]
    rest: list[jax.Array]


class Model(NamedTuple):
    """f at one input, with the parameters of which derivatives are taken.

    `program`: of f(params, x[None]). `dense`: weights whose derivatives are products of s and δ. `rest`:
    places of the other parameters among `values`. `o`: outputs. `dtype`: that of the kernel.
    """

    f: Callable
    params: Split
    program: Program
    dense: tuple[DenseWeight, ...]
    rest: tuple[int, ...]
    o: int
    dtype: Any

    def factors(self, x: Any) -> Factors:
        """The derivatives at inputs x."""
        s, deltas, rest = jax.vmap(self._at_one)(x)
        flat = [a.reshape(*a.shape[:2], -1) for a in rest]
        return Factors(*([a.astype(self.dtype) for a in arrays] for arrays in (s, deltas, flat)))

    def contracted(self, a: Factors, b: Factors, rates: Sequence[jax.Array], outputs: str) -> jax.Array:
        """Θ = Σ_W Σ_tu (λ_W s_at·s_bu + λ_b)(δ_ait·δ_bju) + Σ_θ λ ∂f_i(x_a)/∂θ · ∂f_j(x_b)/∂θ; `rates`: λ.

        Indices are in the order a, b, i, j; their sum over i = j is divided by o for the trace.
        """
        by_place = dict(zip(self.params.places, rates, strict=True))
        of_dense, of_rest = {
            "full": ("aitn,bjun->aibjtu", "aim,bjm->aibj"),
            "diagonal": ("aitn,biun->iabtu", "aim,bim->iab"),
            "trace": ("aitn,biun->abtu", "aim,bim->ab"),
        }[outputs]
        beside = {"full": (1, 3), "diagonal": (0,), "trace": ()}[outputs]
        product = functools.partial(jnp.einsum, precision="highest")
        Theta = jnp.zeros((), self.dtype)
        for weight, *each in zip(self.dense, a.incoming, b.incoming, a.outgoing, b.outgoing, strict=True):
            s_a, s_b, delta_a, delta_b = each
            P = product("atm,bum->abtu", s_a, s_b) * by_place[weight.parameter].astype(self.dtype)
            for bias in weight.biases:
                P = P + bias.scale**2 * by_place[bias.parameter].astype(self.dtype)
            Theta = Theta + jnp.sum(
                jnp.expand_dims(P, beside) * product(of_dense, delta_a, delta_b), (-2, -1)
            )
        for i, row, column in zip(self.rest, a.rest, b.rest, strict=True):
            Theta = Theta + rates[i].astype(self.dtype) * product(of_rest, row, column)
        if outputs == "full":
            return Theta.swapaxes(1, 2)
        return jnp.moveaxis(Theta, 0, -1) if outputs == "diagonal" else Theta / self.o

    def _at_one(self, x: Any) -> tuple[list, list, list]:
        used = [use.operation for weight in self.dense for use in weight.uses]
        shapes = [self.program.shapes[self.program.operations[i].outputs[0]] for i in used]
        zeros = [jnp.zeros(shape.shape, shape.dtype) for shape in shapes]
        run = self._perturbed if used else self._plain

        def outputs(rest, shifts):
            return run(x, rest, dict(zip(used, shifts, strict=True)))

        rest = [self.params.values[i] for i in self.rest]
        z, pull, s = jax.vjp(outputs, rest, zeros, has_aux=True)
        by_rest, by_shifts = jax.vmap(pull)(jnp.eye(self.o, dtype=z.dtype))

        def delta(weight, shifts):
            return outgoing(weight, dict(zip(used, shifts, strict=True)))

        return s, [jax.vmap(lambda d, w=w: delta(w, d))(by_shifts) for w in self.dense], by_rest

    def _values(self, rest: Sequence[Any]) -> list[Any]:
        values = list(self.params.values)
        for i, value in zip(self.rest, rest, strict=True):
            values[i] = value
        return values

    def _plain(self, x: Any, rest: Sequence[Any], shifts: dict[int, Any]) -> tuple[jax.Array, list]:
        one = jax.tree.map(lambda a: a[None], x)
        return self.f(self.params.joined(self._values(rest)), one).reshape(-1), []

    def _perturbed(self, x: Any, rest: Sequence[Any], shifts: dict[int, Any]) -> tuple[jax.Array, list]:
        """f with `shifts` added to the outputs of the dense layers' products; and s of each."""
        leaves = jax.tree.leaves(self.params.joined(self._values(rest)))
        values = dict(self.program.values)
        values.update(zip(self.program.parameters, leaves, strict=True))
        values.update(zip(self.program.inputs, (a[None] for a in jax.tree.leaves(x)), strict=True))
        for i, operation in enumerate(self.program.operations):
            evaluate([operation], values)
            if i in shifts:
                values[operation.outputs[0]] = values[operation.outputs[0]] + shifts[i]
        s = [incoming(weight, values) for weight in self.dense]
        return values[self.program.outputs[0]].reshape(-1), s


def model_of(f: Callable, params: Any, x: Any, outputs: str, structured: bool) -> Model:
    """f at one of the inputs x; `structured`: whether to use dense layers where that takes fewer products."""
    one = jax.tree.map(lambda a: a[:1], x)
    program, parts = traced(f, params, one), split(params)
    out = program.shapes[program.outputs[0]]
    o = math.prod(out.shape)
    dense: list[DenseWeight] = []
    done: set[int] = set()
    if structured and not _layers_with_own_derivative(f, params, one):
        for place, weights in dense_weights(program).items():
            if place in parts.places and all(_cheaper(weight, o, outputs) for weight in weights):
                dense += weights
                done.add(place)
    weights = with_biases(program, dense)
    done.update(bias.parameter for weight in weights for bias in weight.biases)
    rest = tuple(i for i, place in enumerate(parts.places) if place not in done)
    return Model(f, parts, program, weights, rest, o, at_least_float32(out.dtype))


def at_least_float32(dtype: Any) -> Any:
    return dtype if jnp.finfo(dtype).bits >= 32 else jnp.dtype(jnp.float32)


def _layers_with_own_derivative(f: Callable, params: Any, x: Any) -> bool:
    """Whether a function with its own derivative contains products, which a Program then differentiates."""
    return any(
        equation.primitive.name in OWN_DERIVATIVE and any(map(has_products, programs(equation)))
        for equation in equations(jax.make_jaxpr(f)(params, x).jaxpr)
    )


def _cheaper(weight: DenseWeight, o: int, outputs: str) -> bool:
    k = entries(o, outputs)
    by_structure = weight.places**2 * (weight.n_in + (o if outputs == "trace" else k) * weight.n_out)
    by_jacobian = (o if outputs == "trace" else k) * weight.n_in * weight.n_out
    return by_structure < by_jacobian


def entries(o: int, outputs: str) -> int:
    """Numbers in the kernel of one pair of inputs."""
    return {"full": o * o, "diagonal": o, "trace": 1}[outputs]


class Costs(NamedTuple):
    """Of the kernel of n1 × n2 inputs: per pair and per input, in operations and in numbers kept."""

    pair_flops: int
    input_flops: int
    pair_numbers: int
    input_numbers: int
    fixed_numbers: int


def contraction_costs(model: Model, outputs: str) -> Costs:
    """Of `factors` and `contracted`."""
    o, k = model.o, entries(model.o, outputs)
    terms = o if outputs == "trace" else k
    flops, pair = 0, 3 * k
    for w in model.dense:
        flops += 2 * w.places**2 * (w.n_in + terms * w.n_out)
        pair = max(pair, 2 * k + (2 * k + 1) * w.places**2)
    sizes = [model.params.values[i].size for i in model.rest]
    kept = sum(w.places * (w.n_in + o * w.n_out) for w in model.dense) + o * sum(sizes)
    all_numbers, largest = _intermediate(model.program)
    return Costs(
        flops + 2 * terms * sum(sizes), (1 + 2 * o) * forward_flops(model.program), pair,
        2 * kept + all_numbers + 2 * o * largest, 0,
    )  # fmt: skip


def product_costs(model: Model) -> Costs:
    """Of Θ times one-hot vectors, one at a time."""
    o, forward = model.o, forward_flops(model.program)
    all_numbers, largest = _intermediate(model.program)
    return Costs(
        2 * o * forward, (1 + 2 * o) * forward, 2 * o * o, 2 * all_numbers + 2 * largest,
        3 * sum(a.size for a in model.params.values) + 2 * all_numbers,
    )  # fmt: skip


def forward_flops(program: Program) -> int:
    """Operations for one input."""
    total = 0
    for operation in program.operations:
        size = sum(program.shapes[v].size for v in operation.outputs)
        if operation.name == "dot_general":
            axes = operation.params["dimension_numbers"][0][0]
            shape = program.shapes[operation.inputs[0]].shape
            total += 2 * size * math.prod(shape[axis] for axis in axes)
        elif operation.name == "conv_general_dilated":
            kernel = program.shapes[operation.inputs[1]].shape
            total += 2 * size * math.prod(kernel) // kernel[operation.params["dimension_numbers"].rhs_spec[0]]
        else:
            total += size
    return total


def _intermediate(program: Program) -> tuple[int, int]:
    """Numbers in all intermediate values that depend on one input, and in the largest."""
    data, sizes = set(program.inputs), [program.shapes[v].size for v in program.inputs]
    for operation in program.operations:
        if data.intersection(operation.inputs):
            data.update(operation.outputs)
            sizes += [program.shapes[v].size for v in operation.outputs]
    return sum(sizes), max(sizes)
