"""Point it at any JAX model: what its layers do, what the theory expects, and what is wrong."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from eft import arguments
from eft.arguments import ArgumentError, ArgumentTypeError
from nets.models.diagnosis import Diagnosis, LayerReport
from nets.models.layers import Network
from nets.models.probe import UNKNOWN, Probe, batch_size, merges, neurons, probed
from nets.models.reading import read
from nets.models.theory import Prediction, predicted
from nets.models.verdicts import judged
from nets.statistics import estimators
from nets.statistics.estimators import Estimate

NOTHING = object()

PADDED = 0.95
"""The part of a convolution's terms that is not padding, below which that is said."""


@arguments.also_named(X="x")
def diagnose(
    f: Callable, params: Any = NOTHING, x: Any = NOTHING, *, n_nets: int | None = None, n_probes: int = 8,
    seed: int = 0,
) -> Diagnosis:  # fmt: skip
    """What the layers of a model do at the inputs x, what the theory predicts, and what is wrong.

    f(params, x) is taken apart by tracing it: every product or convolution of data with something made from
    params alone is a linear layer, its biased output z a pre-activation. Measured and predicted for each are

        C_W = fan_in·mean(W²),  C_b = mean(b²),  K̂ = mean z²,  the correlation ρ of two inputs,
        χ̂⊥ = ‖Jᵀv‖²/‖v‖²,  χ̂∥ = mean(z·Jz′)/mean(z′²),   J = ∂z/∂z′, z′ the pre-activation upstream,

    predicted by the flow of K, χ and ρ from C_W and C_b of every layer and K̂ of the first. The theory knows
    elementwise activations, RMS and layer normalization before or after them, and skip connections. What else
    stands between two layers is measured all the same, and predictions start anew after it.

    `f`: a function of (params, x), from Flax, Equinox, Haiku or plain JAX. `params`: a pytree. `x`: a batch
    of inputs along the first axis (one vector of floats is one input), or a pytree of such; as many as the
    model takes at once, since all intermediate values are kept. `n_probes`: random v for each χ̂⊥.
    `n_nets`: if given, f is a function seed ↦ (f, params), called with seed, seed + 1, …; all estimates are
    then means over networks, and V = n Var(Ĝ) is measured too.

    The programs of `jit`, `remat`, `custom_jvp` and so on are followed, a scan step by step; `while` and
    `cond` are not, and a note says so. Nothing is drawn or trained; the model is evaluated once, and each
    step about 2 n_probes times.

    Raises ArgumentError or ArgumentTypeError (a ValueError and a TypeError) for a bad argument: f cannot be
    traced, params contain no floating-point numbers, or f has no linear layer.

    >>> net = nets.FCN(64, (256,) * 6, act="tanh", cw=3.0, rngs=jax.random.key(0))
    >>> graph, params = nnx.split(net)
    >>> found = nets.diagnose(lambda p, x: nnx.merge(graph, p)(x), params, jnp.eye(8, 64) * 8)
    >>> found.verdicts[0].kind, len(found.layers), found.layers[1].before
    ('chaotic', 7, 'tanh')
    """
    n_probes = arguments.positive_int("n_probes", n_probes, maximum=10_000)
    if x is NOTHING:
        raise ArgumentTypeError("x must be given: a batch of inputs")
    if n_nets is None:
        if params is NOTHING:
            raise ArgumentTypeError("params must be given, a pytree of arrays, unless n_nets is")
        network, probes = _examined(f, params, x, n_probes, seed)
        spread = [UNKNOWN] * len(probes)
        return _diagnosis(network, probes, spread, predicted(network, probes, _inputs(x)), x, 1)
    if params is not NOTHING:
        raise ArgumentTypeError("params must not be given with n_nets, where f returns (f, params)")
    count = arguments.positive_int("n_nets", n_nets, maximum=100_000)
    every: list[list[Probe]] = []
    network = None
    for i in range(count):
        network, probes = _examined(*_made(f, seed + i), x, n_probes, seed + i)
        if every and [probe.width for probe in every[0]] != [probe.width for probe in probes]:
            raise ArgumentError(f"f must make networks of one architecture; seed {seed + i} gave another")
        every.append(probes)
    assert network is not None
    columns = list(zip(*every, strict=True))
    means = [_averaged(column) for column in columns]
    V = [
        _vertex(column, neurons(network, layer.source))
        for column, layer in zip(columns, network.layers, strict=True)
    ]
    return _diagnosis(network, means, V, predicted(network, means, 0), x, count)


def _inputs(x: Any) -> int:
    return batch_size([jnp.asarray(leaf) for leaf in jax.tree.leaves(x)])


def _made(make: object, seed: int) -> tuple[Any, Any]:
    if not callable(make):
        raise ArgumentTypeError(f"f must be a function seed ↦ (f, params); got {arguments.shown(make)}")
    made = make(seed)
    if not (isinstance(made, tuple) and len(made) == 2):
        raise ArgumentTypeError(f"f must return (f, params) if n_nets is given; got {arguments.shown(made)}")
    return made


def _examined(f: Callable, params: Any, x: Any, n_probes: int, seed: int) -> tuple[Network, list[Probe]]:
    network = read(f, params, x)
    return network, probed(network, x, n_probes, seed)


def _averaged(column: Sequence[Probe]) -> Probe:
    """One layer's means over networks, with errors from their spread."""

    def over(name: str) -> Estimate:
        return estimators.mean(np.array([float(getattr(probe, name).mean) for probe in column]))

    numbers = {
        name: float(np.mean([getattr(probe, name) for probe in column]))
        for name in ("rho", "gradient", "flat", "dead", "finite")
    }
    estimates = {name: over(name) for name in ("cw", "cb", "K", "chi_perp", "chi_parallel", "chi_block")}
    fault = next((probe.fault for probe in column if probe.fault), "")
    return column[0]._replace(**numbers, **estimates, fault=fault)


def _vertex(column: Sequence[Probe], n: int) -> Estimate:
    """n Var(Ĝ) over networks, Ĝ = C_b + C_W·(mean square of what the layer takes in), mean over inputs."""
    cw, cb = (float(np.mean([float(getattr(p, name).mean) for p in column])) for name in ("cw", "cb"))
    each = estimators.variance(np.array([cb + cw * probe.second for probe in column]))
    return Estimate(n * each.mean.mean(), n * each.stderr.mean())


def _diagnosis(
    network: Network,
    probes: Sequence[Probe],
    V: Sequence[Estimate],
    theory: Sequence[Prediction],
    x: Any,
    n_nets: int,
) -> Diagnosis:
    numbers = {layer.z: i + 1 for i, layer in enumerate(network.layers)}
    numbers |= dict.fromkeys(network.program.inputs, 0)
    reports = []
    for i, (layer, probe) in enumerate(zip(network.layers, probes, strict=True)):
        gamma = 0.0 if layer.skip is None else math.nan if layer.gamma is None else layer.gamma
        place = (
            numbers.get(layer.source or -1),
            _before(network, i, probe),
            gamma,
            numbers.get(layer.skip or -1),
        )
        measured = (
            probe.cw,
            probe.cb,
            probe.K,
            probe.rho,
            probe.chi_perp,
            probe.chi_parallel,
            probe.chi_block,
        )
        units = (probe.gradient, probe.flat, probe.dead, probe.finite)
        sizes = (layer.fan_in, probe.width)
        reports.append(
            LayerReport(i + 1, layer.path, layer.kind, *place, *sizes, *measured, *units, V[i], theory[i])
        )
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(x)]
    notes = [*network.notes, *_tied(network), *_merged(network), *_notes(reports, probes, leaves)]
    found = judged(network, probes, reports)
    return Diagnosis(tuple(reports), found, tuple(notes), batch_size(leaves), n_nets)


def _before(network: Network, i: int, probe: Probe) -> str:
    layer = network.layers[i]
    if layer.source is None:
        return "other: joins several"
    if layer.source in network.program.inputs:
        return "the input"
    if not any(each.source == layer.source or each.z == layer.source for each in network.layers[:i]):
        return "other: a sum"
    words = [f"other: {form.words}" if form.kind == "other" else form.words for form in probe.forms]
    return ", ".join(words) or "nothing"


def _tied(network: Network) -> list[str]:
    """Layers with the same weights."""
    users: dict[tuple, list[int]] = {}
    for number, layer in enumerate(network.layers, 1):
        if layer.parameter is not None:
            users.setdefault((layer.path, layer.parameter, layer.steps), []).append(number)
    return [
        f"layers {', '.join(map(str, numbers[:4]))}{' …' if len(numbers) > 4 else ''} have the same weights, "
        f"{path}; the theory is of independent ones"
        for (path, *_), numbers in users.items()
        if len(numbers) > 1
    ]


def _merged(network: Network) -> list[str]:
    numbers = [str(i) for i, layer in enumerate(network.layers, 1) if merges(network, layer)]
    if not numbers:
        return []
    which = f"layer{'s' * (len(numbers) > 1)} {', '.join(numbers)}"
    return [
        f"numbers are merged before {which}, as by pooling: the χ⊥ of that step says nothing of its weights"
    ]


def _notes(reports: Sequence[LayerReport], probes: Sequence[Probe], leaves: Sequence[jax.Array]) -> list[str]:
    notes = []
    unknown = [r for r in reports if "other" in r.before]
    if unknown:
        what = "; ".join(
            dict.fromkeys(f"{r.before.removeprefix('other: ')} (layer {r.number})" for r in unknown[:4])
        )
        more = f" and {len(unknown) - 4} more" if len(unknown) > 4 else ""
        notes.append(f"not known to the theory, and only measured: {what}{more}")
    rigid = [r.number for r in reports if r.source and r.finite == 1 and np.isnan(r.chi_perp.mean)]
    if rigid:
        notes.append(f"JAX has no derivative of the step into layer {rigid[0]}, whose χ is not measured")
    jump = [r.number for r in reports if np.isinf(r.theory.chi_perp)]
    if jump:
        notes.append(
            f"the activation before layer {jump[0]} jumps: χ⊥ = ∞ by the theory, but measured as far as the "
            "backward pass goes, which sees no jumps and may have a slope of its own (straight-through)"
        )
    padded = [r.number for r, probe in zip(reports, probes, strict=True) if probe.coverage < PADDED]
    if padded:
        least = 1 - min(probe.coverage for probe in probes)
        notes.append(
            f"zeros at the edges are up to {100 * least:.0f} % of the terms of the convolutions (layers "
            f"{padded[0]} to {padded[-1]}): K and χ are that much smaller than C_W says, on average"
        )
    if any(not jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves):
        notes.append("inputs are not floating-point numbers; the step into the first layer is not examined")
    if batch_size(leaves) == 1:
        notes.append(
            "one input: correlations are not measured, and dead neurons cannot be told from silent ones"
        )
    return notes
