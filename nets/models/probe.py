"""What a network does at given inputs: sizes, correlations and susceptibilities of every layer.

For layer l with pre-activations z, made from z′ upstream, J = ∂z/∂z′, averaged over the inputs:

    K̂ = mean z²,   χ̂⊥ = ‖Jᵀv‖²/‖v‖² for random v,   χ̂∥ = mean(z·Jz′)/mean(z′²)
"""

from collections import ChainMap
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nets.models.forms import Stage, stages
from nets.models.layers import Layer, Network, along
from nets.models.program import Operation, evaluate
from nets.statistics.estimators import Estimate

MAX_INPUTS = 32
"""Inputs between which correlations are measured."""

FLAT = 0.05
"""A slope is flat if it is below this part of the largest one for |z| ≤ 8."""

BACKWARD_PASSES = 2
"""The most passes from the output back through all layers, for `gradient`."""

UNKNOWN = Estimate(np.asarray(np.nan), np.asarray(np.nan))
"""What could not be measured."""


NO_DERIVATIVE = (ValueError, TypeError, NotImplementedError)
"""What JAX raises where a function has no derivative."""


class Probe(NamedTuple):
    """What was measured of one layer; estimates have errors from its neurons or from the probes.

    `forms`: what stands before it. `cw`, `cb`: C_W, C_b. `K`: K̂. `second`: mean
    squares of what it takes in, of every input.
    `rho`: mean correlation of two inputs, NaN for one input. `chi_perp`, `chi_parallel`: of the step into
    this layer. `chi_block`: χ⊥ of the block that ends here, from where its skip starts. `gradient`:
    ‖∂(v·f)/∂z‖²/‖v‖² for random v. `flat`, `dead`: parts of its entries whose activation has next to no
    slope, and of its neurons for which that slope is 0 at all inputs; NaN if no activation follows.
    `width`: its neurons. `finite`: the part of its entries that is finite. `fault`: where NaN or inf began,
    in words. `coverage`: of convolutions, the part of the terms that is not padding.
    """

    forms: tuple[Stage, ...]
    cw: Estimate
    cb: Estimate
    K: Estimate
    second: np.ndarray
    rho: float
    chi_perp: Estimate
    chi_parallel: Estimate
    chi_block: Estimate
    gradient: float
    flat: float
    dead: float
    width: int
    finite: float
    fault: str
    coverage: float


def generator(seed: int) -> np.random.Generator:
    """Random numbers that are not those of `default_rng(seed)`, with which the model may have been drawn."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0xD1A6,)))


def probed(network: Network, x: Any, n_probes: int, seed: int) -> list[Probe]:
    """Every layer of the network, measured at the inputs x."""
    program = network.program
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(x)]
    values: dict[int, Any] = dict(network.fixed)
    values.update(zip(program.inputs, leaves, strict=True))
    operations = [o for o in program.operations if network.data.intersection(o.inputs)]
    rng = generator(seed)
    with jax.debug_nans(False), jax.debug_infs(False):
        evaluate(operations, values)
        gradients = _gradients(network, operations, values, rng, min(n_probes, BACKWARD_PASSES))
        batch = batch_size(leaves)
        units, met, found = {}, {}, []
        for layer in network.layers:
            known = layer.source is not None and layer.source not in program.inputs
            forms = stages(network, layer.source, layer.data, values, met) if known else ()  # type: ignore[arg-type]
            if known:
                units[layer.source] = _units(network, forms, values, neurons(network, layer.source))
            found.append(_layer(network, layer, forms, values, batch, rng, n_probes))
    nothing = (np.nan, np.nan)
    return [
        probe._replace(
            gradient=gradients[layer.z],
            flat=units.get(layer.z, nothing)[0],
            dead=units.get(layer.z, nothing)[1],
            fault=_fault(network, layer, values) if probe.finite < 1 else "",
        )
        for layer, probe in zip(network.layers, found, strict=True)
    ]


def batch_size(leaves: Sequence[jax.Array]) -> int:
    """The number of inputs: the length of the first axis, unless x is one vector of numbers."""
    first = leaves[0]
    several = first.ndim > 1 or (first.ndim == 1 and not jnp.issubdtype(first.dtype, jnp.floating))
    return first.shape[0] if several else 1


def host(array: Any) -> np.ndarray:
    return np.asarray(jnp.asarray(array).astype(jnp.result_type(float)), np.float64)


def _layer(network, layer: Layer, forms, values, batch: int, rng, n_probes: int) -> Probe:
    with np.errstate(all="ignore"):
        z = host(values[layer.z])
        weight, data = host(values[layer.weight]), values[layer.data]
        bias = np.zeros(1) if layer.bias is None else host(values[layer.bias]) * layer.bias_scale
        cw = _mean(layer.fan_in * (layer.scale * weight) ** 2)
        second = _second(data, batch)
        K = _mean(by_neuron(z**2, neurons(network, layer.z)))
        rho = correlation(z, batch)
    across = along_z = block = UNKNOWN
    start, end = layer.source, layer.output if layer.inner else layer.z
    if start is not None and start not in network.program.inputs:
        step = step_between(along(network.program, start, end), start, end, values)
        across = chi_perp(step, values[start], rng, n_probes)
        along_z = _chi_parallel(step, values[start], neurons(network, end))
    if layer.skip is not None and layer.inner and layer.skip not in network.program.inputs:
        step = step_between(along(network.program, layer.skip, layer.z), layer.skip, layer.z, values)
        block = chi_perp(step, values[layer.skip], rng, n_probes)
    return Probe(
        forms, cw, _mean(bias**2), K, second, rho, across, along_z, block, np.nan, np.nan, np.nan,
        _width(network, layer), float(np.isfinite(z).mean()), "", _coverage(network, layer, values),
    )  # fmt: skip


def _mean(samples: np.ndarray) -> Estimate:
    """The mean of independent numbers."""
    n = samples.size
    with np.errstate(all="ignore"):
        spread = samples.std(ddof=1) / np.sqrt(n) if n > 1 else np.inf
        return Estimate(np.asarray(samples.mean()), np.asarray(spread))


def _second(data: Any, batch: int) -> np.ndarray:
    """The mean square of each input's part of the data; of all together where they are not the first axis."""
    if not jnp.issubdtype(data.dtype, jnp.floating):
        return np.full(batch, np.nan)
    squares = host(data) ** 2
    return (
        squares.reshape(batch, -1).mean(1)
        if squares.shape[:1] == (batch,)
        else np.full(batch, squares.mean())
    )


def _width(network: Network, layer: Layer) -> int:
    """The number of neurons: of different sums of the same terms."""
    return network.program.shapes[layer.weight].size // layer.fan_in


def neurons(network: Network, node: int | None) -> int:
    """The neurons of a pre-activation; 1 if it is not of a layer."""
    return next((_width(network, layer) for layer in network.layers if node in (layer.z, layer.output)), 1)


def merges(network: Network, layer: Layer) -> bool:
    """Whether positions of the layer upstream are merged before this one, as by pooling, or left out.

    ‖Jᵀv‖²/‖v‖² is then small by their number, and the weights are not to be blamed. That features are, as in
    a gated unit, or join, as where they are flattened, is another matter.
    """
    shapes = network.program.shapes
    if layer.source is None or shapes[layer.data].size >= shapes[layer.source].size:
        return False
    features = layer.fan_in
    if layer.kind == "convolution":
        operation = _product(network, layer)
        features = shapes[layer.data].shape[operation.params["dimension_numbers"].lhs_spec[1]]
    return shapes[layer.data].size // features < shapes[layer.source].size // neurons(network, layer.source)


def by_neuron(samples: np.ndarray, neurons: int) -> np.ndarray:
    """Averages over all but the neurons: over inputs and positions."""
    axes = [axis for axis in range(1, samples.ndim) if samples.shape[axis] == neurons]
    if axes:
        return samples.mean(tuple(axis for axis in range(samples.ndim) if axis != axes[-1]))
    return samples.mean(0).ravel() if samples.ndim > 1 else samples


def correlation(z: np.ndarray, batch: int) -> float:
    """The mean of z_a·z_b/(|z_a||z_b|) over pairs of inputs."""
    if batch < 2 or z.shape[:1] != (batch,):
        return np.nan
    rows = z[:MAX_INPUTS].reshape(min(batch, MAX_INPUTS), -1)
    rows = rows / np.sqrt((rows**2).sum(1, keepdims=True))
    total = rows.sum(0)
    pairs = len(rows) * (len(rows) - 1)
    return float(((total**2).sum() - (rows**2).sum()) / pairs)


def step_between(operations: Sequence[Operation], start: int, end: int, values) -> Callable[[Any], Any]:
    """The pre-activation as a function of the one before, all else unchanged."""
    return lambda z: evaluate(operations, ChainMap({start: z}, values))[end]  # type: ignore[arg-type]


def _direction(rng: np.random.Generator, like: Any) -> jax.Array:
    """A random direction of length about 1."""
    return jnp.asarray(rng.normal(size=like.shape) / np.sqrt(max(like.size, 1)), like.dtype)


def chi_perp(step: Callable, z: Any, rng: np.random.Generator, n_probes: int) -> Estimate:
    """‖Jᵀv‖²/‖v‖² of several random v; unknown where there is no derivative, as of `while`."""
    samples = []
    try:
        after, backward = jax.vjp(step, z)
        for _ in range(n_probes):
            v = _direction(rng, after)
            (u,) = backward(v)
            with np.errstate(all="ignore"):
                samples.append((host(u) ** 2).sum() / (host(v) ** 2).sum())
    except NO_DERIVATIVE:
        return UNKNOWN
    return _mean(np.array(samples))


def _chi_parallel(step: Callable, z: Any, n: int) -> Estimate:
    """mean(z′·Jz)/mean(z²): the growth of mean z′² relative to that of mean z²."""
    try:
        after, change = jax.jvp(step, (z,), (z,))
    except NO_DERIVATIVE:
        return UNKNOWN
    with np.errstate(all="ignore"):
        samples = by_neuron(host(after) * host(change), n) / (host(z) ** 2).mean()
    return _mean(samples)


def _gradients(network: Network, operations, values, rng, n_probes: int) -> dict[int, float]:
    """‖∂(v·f)/∂z‖²/‖v‖² for the pre-activations z of every layer, by backward passes through the model."""
    nodes = [layer.z for layer in network.layers]
    outputs = [v for v in network.program.outputs if v in network.data]
    outputs = [v for v in outputs if jnp.issubdtype(network.program.shapes[v].dtype, jnp.floating)]
    if not outputs:
        return dict.fromkeys(nodes, np.nan)
    places = {v: i for i, v in enumerate(nodes)}

    def model(shifts):
        now = dict(values)
        for operation in operations:
            evaluate([operation], now)
            for v in operation.outputs:
                if v in places:
                    now[v] = now[v] + shifts[places[v]]
        return [now[v] for v in outputs]

    samples = []
    try:
        after, backward = jax.vjp(model, [jnp.zeros_like(values[v]) for v in nodes])
        for _ in range(n_probes):
            v = [_direction(rng, each) for each in after]
            (found,) = backward(v)
            size = sum((host(each) ** 2).sum() for each in v)
            with np.errstate(all="ignore"):
                samples.append([(host(u) ** 2).sum() / size for u in found])
    except NO_DERIVATIVE:
        return dict.fromkeys(nodes, np.nan)
    return dict(zip(nodes, np.mean(samples, 0).tolist(), strict=True))


def _units(network: Network, forms: Sequence[Stage], values, neurons: int) -> tuple[float, float]:
    """The parts of entries with a flat slope, and of neurons with none, at the first activation."""
    form = next((form for form in forms if form.kind == "activation"), None)
    if form is None or form.act is None or any(each.kind == "other" for each in forms):
        return np.nan, np.nan
    slopes = np.abs(_backward_slope(network, form, values))
    largest = np.abs(slope(form.act, np.linspace(-8, 8, 801))).max()
    return float((slopes < FLAT * largest).mean()), float((by_neuron(slopes, neurons) == 0).mean())


def _backward_slope(network: Network, form: Stage, values) -> np.ndarray:
    """What the backward pass multiplies by: σ′, unless the model says otherwise (straight-through)."""
    operations = along(network.program, form.start, form.end)
    try:
        after, backward = jax.vjp(step_between(operations, form.start, form.end, values), values[form.start])
        return host(backward(jnp.ones_like(after))[0])
    except NO_DERIVATIVE:
        return slope(form.act, host(values[form.start]))


def slope(act: Any, z: np.ndarray) -> np.ndarray:
    """σ′ of every entry."""
    given = jnp.asarray(z, jnp.result_type(float))
    return host(jax.jvp(act.fn, (given,), (jnp.ones_like(given),))[1])


def _fault(network: Network, layer: Layer, values) -> str:
    """Where NaN or inf began, among what leads to this layer: in an operation, a parameter, or the input."""
    for v, path in network.program.parameters.items():
        if v in (layer.weight, layer.bias, layer.parameter) and not np.isfinite(host(values[v])).all():
            return f"the parameter {path} is not finite"
    first = [
        v for v in network.program.inputs if jnp.issubdtype(network.program.shapes[v].dtype, jnp.floating)
    ]
    if any(not np.isfinite(host(values[v])).all() for v in first):
        return "the input is not finite"
    for start in layer.sources:
        for operation in along(network.program, start, layer.z):
            floats = [v for v in operation.outputs if jnp.issubdtype(values[v].dtype, jnp.floating)]
            bad = [v for v in floats if not np.isfinite(host(values[v])).all()]
            if bad:
                nan = any(np.isnan(host(values[v])).any() for v in bad)
                dtype = values[bad[0]].dtype
                where = "the layer's product" if bad[0] in (layer.output, layer.z) else f"`{operation.name}`"
                return f"{'NaN' if nan else f'overflow of {dtype}'} in {where}"
    return "NaN or inf"


def _product(network: Network, layer: Layer) -> Operation:
    return next(o for o in network.program.operations if {layer.weight, layer.data}.issubset(o.inputs))


def _coverage(network: Network, layer: Layer, values) -> float:
    """The mean part of a convolution's terms that is not padding; 1 for other layers."""
    if layer.kind != "convolution":
        return 1.0
    operation = _product(network, layer)
    ones = [jnp.ones_like(values[v], jnp.float32) for v in operation.inputs]
    return float(host(operation.run(*ones)[0]).mean()) / layer.fan_in
