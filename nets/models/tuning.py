"""Scale the weights of a model until gradients neither grow nor shrink, layer by layer."""

import math
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from eft import arguments
from eft.records import METHODS
from nets.models.layers import Layer, Network, along
from nets.models.probe import chi_perp, generator, merges, step_between
from nets.models.program import evaluate
from nets.models.reading import read

TIED = "its weights are shared with another layer"


class Factor(NamedTuple):
    """What was done to one layer.

    `number`, `path`: as in a diagnosis. `factor`: of its weights. `before`: χ̂⊥ of its product, from the
    pre-activation upstream, without a skip connection; NaN where there is none. `target`: what it is now.
    `note`: why nothing was done, or empty.
    """

    number: int
    path: str
    factor: float
    before: float
    target: float
    note: str

    __repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS


class Tuning(NamedTuple):
    """`params`: the pytree given, with its weights scaled. `factors`: of every layer."""

    params: Any
    factors: tuple[Factor, ...]

    __repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS

    def __str__(self) -> str:
        lines = [f"{'l':>3} {'factor':>8} {'χ⊥ before':>10} {'after':>6}  weights"]
        for each in self.factors:
            numbers = [f"{a:.4g}" if math.isfinite(a) else "–" for a in (each.before, each.target)]
            note = f" ({each.note})" if each.note else ""
            lines.append(
                f"{each.number:>3} {each.factor:>8.4g} {numbers[0]:>10} {numbers[1]:>6}  {each.path}{note}"
            )
        return "\n".join(lines)


@arguments.also_named(X="x")
def tune(f: Callable, params: Any, x: Any, *, n_probes: int = 32, seed: int = 0) -> Tuning:
    """The parameters with every layer's weights multiplied by a number, so that χ⊥ = 1.

        W → W √(t/χ̂⊥),   t = 1;   with a skip connection γ, where χ⊥ = γ² + t:  t = 1 − γ², or 1/N if γ ≥ 1

    for N skip connections, so that gradients grow by less than e in all. Layers are taken in order, each at
    the signals that the scaled layers before it make; those at the input stay as they are, and so do biases.
    χ̂⊥ is measured by `n_probes` random directions at the inputs x, as in `diagnose`, whose arguments these
    are. χ⊥ = 1 keeps angles and gradients; whether it also keeps sizes depends on the activation, as
    `eft.classify` says. A layer whose weights are shared, or are not simply a part of one parameter, or that
    comes behind pooling, which merges positions, stays as it is, with a note.

    Raises ArgumentError or ArgumentTypeError as `diagnose` does.

    >>> net = nets.FCN(64, (256,) * 4, act="tanh", cw=3.0, rngs=jax.random.key(0))
    >>> graph, params = nnx.split(net)
    >>> tuned = nets.tune(lambda p, x: nnx.merge(graph, p)(x), params, jnp.eye(8, 64) * 8)
    >>> [round(each.factor, 1) for each in tuned.factors]
    [1.0, 1.1, 1.0, 0.9, 0.8]
    """
    n_probes = arguments.positive_int("n_probes", n_probes, maximum=10_000)
    network = read(f, params, x)
    leaves, structure = jax.tree.flatten(params)
    position = {v: i for i, v in enumerate(network.program.parameters)}
    factors = _factors(network, x, n_probes, generator(seed))
    for layer, each in zip(network.layers, factors, strict=True):
        if layer.parameter is not None and each.factor != 1:
            i = position[layer.parameter]
            leaf = jnp.asarray(leaves[i])
            leaves[i] = leaf.at[layer.steps].multiply(jnp.asarray(each.factor, leaf.dtype))
    return Tuning(structure.unflatten(leaves), tuple(factors))


def _factors(network: Network, x: Any, n_probes: int, rng) -> list[Factor]:
    """The factors, found while the model is evaluated with them."""
    values: dict[int, Any] = dict(network.fixed)
    values.update(zip(network.program.inputs, map(jnp.asarray, jax.tree.leaves(x)), strict=True))
    made = {(layer.data, layer.weight): (i, layer) for i, layer in enumerate(network.layers)}
    uses = Counter((layer.parameter, layer.steps) for layer in network.layers)
    skips = sum(layer.skip is not None for layer in network.layers)
    found: dict[int, Factor] = {}
    with jax.debug_nans(False), jax.debug_infs(False):
        for operation in network.program.operations:
            if not network.data.intersection(operation.inputs):
                continue
            a, b = (*operation.inputs, -1, -1)[:2]
            met = made.get((a, b)) or made.get((b, a))
            if met is not None:
                i, layer = met
                note = "its weights are no part of one parameter" if layer.parameter is None else ""
                note = TIED if not note and uses[layer.parameter, layer.steps] > 1 else note
                found[i] = each = _factor(network, i, layer, values, skips, n_probes, rng, note)
                weight = values[layer.weight]
                values[layer.weight] = weight * jnp.asarray(each.factor, weight.dtype)
            evaluate([operation], values)
    return [found[i] for i in range(len(network.layers))]


def _factor(network, i: int, layer: Layer, values, skips: int, n_probes: int, rng, note: str) -> Factor:
    start = layer.source
    if start is None or start in network.program.inputs:
        note = note or ("at the input" if start is not None else "several layers upstream")
        return Factor(i + 1, layer.path, 1.0, math.nan, math.nan, note)
    note = note or ("positions are merged before it, as by pooling" if merges(network, layer) else "")
    step = step_between(along(network.program, start, layer.output), start, layer.output, values)
    chi = float(chi_perp(step, values[start], rng, n_probes).mean)
    target = 1.0
    if layer.skip is not None:
        gamma2 = 1.0 if layer.gamma is None else layer.gamma**2
        target = 1 - gamma2 if gamma2 < 1 else 1 / skips
    if not note and not (math.isfinite(chi) and chi > 0):
        note = "χ⊥ is 0 or not finite"
    if note:
        return Factor(i + 1, layer.path, 1.0, chi, chi, note)
    return Factor(i + 1, layer.path, math.sqrt(target / chi), chi, target, "")
