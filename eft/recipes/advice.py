"""How to initialize a deep network, how deep it may be at a width, and at which rate to train it."""

import warnings
from typing import NamedTuple

import jax
import numpy as np
from jax.typing import ArrayLike

from eft import arguments
from eft.activations.analysis import analysed
from eft.activations.definition import Activation, ActivationLike
from eft.arguments import ArgumentError
from eft.criticality.moment_grid import in_float64
from eft.criticality.universality import critical_point
from eft.finite_width.ntk import ntk_flow
from eft.finite_width.typical import typical_flow
from eft.flows.block import checked_block
from eft.flows.kernel import KernelFlow, kernel_flow
from eft.gaussian.expectation import WINDOW, QuadratureWarning
from eft.recipes import wording
from eft.recipes.learning_rates import MAX_SAMPLES, Rates, rates
from eft.recipes.start import StartingPoint, padded, starting_point
from eft.records import METHODS

BOUND = 1.0
"""V/(nK²) at which a network is called too deep: typical networks then differ by a factor of 2 to 3."""

DEEPEST, DEEPEST_RESIDUAL = 8192, 64
"""Layers up to which the depth limit is searched; with a skip the cost grows as the square of the depth."""

DEFAULT_DEPTH, MAX_DEFAULT_DEPTH = 50, 200
"""Layers of the flow where neither depth nor width is given, and the most where only the width is."""


class Recipe(NamedTuple):
    """How to initialize a network, and what then happens in it. `str(recipe)` is a page to read.

    `act`: the activation. `start`: C_W, C_b, K¹ and the reasons (`StartingPoint`).
    `depth`: L, the layers of pre-activations, the output's included. `width`: n, or None.
    `first_gain`, `gain`: the standard deviations of the weights, times √fan-in: of the first layer,
        √((K¹ − C_b)/x2), and of all others, √C_W. `bias_std`: √C_b, that of the biases of all layers.
    `flow`: K, χ∥, χ⊥, V, G1 of layers 1 … L (`KernelFlow`).
    `gradient`: Π χ⊥ over layers 1 … L − 2, the mean square of a gradient at layer 1 over that at layer L − 1,
        the last hidden one.
    `bound`: the V/(nK²) that limits the depth.
    `depth_limit`: the first layer at which |V|/(nK²) ≥ bound at this width; None if there is none among
        the first `searched` layers, or where width is None.
    `searched`: the layers among which it was looked for.
    `width_needed`: the smallest n with |V|/(nK²) < bound in all `depth` layers.
    `log_spread`: the standard deviation of log Ĝ^L over networks of this width, all orders of depth/width
        included; nan where width is None and for networks that are not plain.
    `rates`: learning rates (`Rates`); None where width is None.
    `rate_spread`: the relative standard deviation of λ_max over networks, to leading order in 1/n; nan where
        it is not known.
    `skip`, `norm`, `weights`, `x2`, `n_in`, `n_out`: as given.
    """

    act: Activation
    start: StartingPoint
    depth: int
    width: int | None
    first_gain: float
    gain: float
    bias_std: float
    flow: KernelFlow
    gradient: float
    bound: float
    depth_limit: int | None
    searched: int
    width_needed: int
    log_spread: float
    rates: Rates | None
    rate_spread: float
    skip: float
    norm: str | None
    weights: str
    x2: float
    n_in: int | None
    n_out: int

    __repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS

    @property
    def cw(self) -> float:
        return self.start.cw

    @property
    def cb(self) -> float:
        return self.start.cb

    @property
    def K1(self) -> float:
        return self.start.K1

    @property
    def kind(self) -> str:
        return self.start.kind

    def __str__(self) -> str:
        return wording.page(self)


@in_float64
def gain(act: ActivationLike) -> float:
    """√C_W of the preferred critical point: the standard deviation of hidden weights times √fan-in.

    1 for tanh, √2 for ReLU, √(2/(1 + a²)) for a leaky ReLU of slope a, 0.6905 for SELU. C_b, which is not 0
    for some, is `eft.critical_point(act).cb`. See `classify` for the accuracy.

    Raises ArgumentError if there is no critical point, TypeError or ValueError for a bad argument.

    >>> print(f"{eft.gain('relu'):.10f}")
    1.4142135624
    """
    point = critical_point(act)
    if point is None:
        raise ArgumentError(
            f"act must have a critical point; {analysed(act).name} has none: see eft.classify and eft.recipe"
        )
    return float(np.sqrt(point.cw))


@in_float64
@arguments.also_named(x="X")
@arguments.untraced
def recipe(
    act: ActivationLike,
    *,
    depth: int | None = None,
    width: int | None = None,
    x2: float | None = None,
    n_in: int | None = None,
    n_out: int = 1,
    X: ArrayLike | None = None,
    skip: float = 0.0,
    norm: str | None = None,
    weights: str = "gaussian",
    bound: float = BOUND,
) -> Recipe:
    """How to initialize a fully connected network, how deep it may be, and the learning rate to start from.

    C_W, C_b: those of the preferred critical point (`classify`), times 1 − γ² with a skip γ < 1; with γ = 1
    those of the plain network over the number of residual layers; with a normalization those for which
    χ⊥ = 1, if there are any; where no point is critical, those on the curve χ⊥ = 1 with χ∥ < 1.
    First layer: plain where K and gradients stay within a factor of 4 in all layers, or follow powers of the
    depth from any start; else its weights are scaled to the K¹ that does.
    Depth limit: the first layer at which V/(nK²) ≥ `bound`. It is a limit, not an optimum: every layer adds
    to V.
    Rates: see `Rates`; at one input of ‖x‖²/n₀ = `x2`, by default 1, or for all samples `X`, (N, n₀).

    `act`: a name, an Activation or a function. `depth` = L ≥ 2: layers of pre-activations, the output's
    included; default: the depth limit, at most 200, or 50 where no width is given. `width` = n. `n_in`: n₀,
    by default that of X, or the width. `n_out`: outputs. `skip`, `norm`, `weights`: as for `kernel_flow`, the
    last layer having no skip. Computed in float64 even where that is off.

    Raises TypeError or ValueError for a bad argument, and where the activation has no starting point.

    >>> recipe = eft.recipe("relu", width=128, depth=20)
    >>> print(f"{recipe.gain:.6g}, {recipe.bias_std:g}, {recipe.depth_limit}, {recipe.width_needed}")
    1.41421, 0, 27, 96
    """
    act = analysed(act)
    if depth is not None:
        depth = arguments.positive_int("depth", depth, maximum=DEEPEST)
        if depth < 2:
            raise ArgumentError(f"depth must be ≥ 2, a hidden layer and the output; got {depth}")
    width = None if width is None else arguments.positive_int("width", width, maximum=arguments.MAX_WIDTH)
    n_out = arguments.positive_int("n_out", n_out, maximum=arguments.MAX_WIDTH)
    skip, bound = arguments.number("skip", skip), _positive("bound", bound)
    checked_block(skip, norm, weights, False)
    if n_in is not None:
        n_in = arguments.positive_int("n_in", n_in, maximum=arguments.MAX_WIDTH)
    samples = None if X is None else _samples(X, n_in)
    n_in = samples.shape[1] if samples is not None else n_in or width
    if samples is not None and x2 is not None:
        raise ArgumentError(f"x2 must be left out where X is given; got {x2}")
    x2 = _positive("x2", 1.0 if x2 is None else x2) if samples is None else float((samples**2).mean())

    layers = {"skip": skip, "norm": norm, "weights": weights}
    searched = DEEPEST_RESIDUAL if skip or norm else DEEPEST
    start = starting_point(act, depth or DEFAULT_DEPTH, x2, skip, norm)
    deep, size, limit = _deep(act, start, max(searched, depth or 0), width, bound, layers)
    if depth is None:
        depth = DEFAULT_DEPTH if width is None else max(2, min(limit or DEFAULT_DEPTH, MAX_DEFAULT_DEPTH))
        start, before = starting_point(act, depth, x2, skip, norm), start
        if start != before:
            deep, size, limit = _deep(act, start, searched, width, bound, layers)
    flow = jax.tree.map(lambda a: a[:depth], deep)
    if skip:
        flow = kernel_flow(act, start.cw, depth, cb=start.cb, K1=start.K1, readout=True, **layers)
    if not np.asarray(flow.valid).all():
        layer = int(np.argmin(np.asarray(flow.valid))) + 1
        raise ArgumentError(f"depth must be < {layer} for {act.name}: from there on its kernel is not known")
    gradient = float(np.prod(np.asarray(flow.chi_perp, float)[:-2]))
    advised, rate_spread = None, np.nan
    if width is not None and n_in is not None:
        fan_in = np.array([n_in] + [width] * (depth - 1), float)
        advised = rates(act, flow, start, fan_in, x2, n_out, skip, norm, samples)
        if norm is None:
            rate_spread = _rate_spread(act, start, depth, width, x2, layers)
    plain = skip == 0 and norm is None and weights == "gaussian"
    return Recipe(
        act=act,
        start=start,
        depth=depth,
        width=width,
        first_gain=float(np.sqrt((start.K1 - start.cb) / x2)),
        gain=float(np.sqrt(start.cw)),
        bias_std=float(np.sqrt(start.cb)),
        flow=flow,
        gradient=gradient,
        bound=bound,
        depth_limit=limit,
        searched=len(size),
        width_needed=int(np.floor(np.nanmax(size[:depth]) / bound)) + 1,
        log_spread=_log_spread(act, start, depth, width) if plain and width is not None else np.nan,
        rates=advised,
        rate_spread=rate_spread,
        skip=skip,
        norm=norm,
        weights=weights,
        x2=x2,
        n_in=n_in,
        n_out=n_out,
    )


def _positive(name: str, value: object) -> float:
    number = arguments.number(name, value)
    smallest, largest = WINDOW
    if not smallest <= number <= largest:
        raise ArgumentError(
            f"{name} must be > 0, from {smallest:g} to {largest:g}; got {arguments.shown(value)}"
        )
    return number


def _samples(X: ArrayLike, n_in: int | None) -> np.ndarray:
    samples = arguments.host_inputs("X", X, np.dtype(float), n_in)
    if not 1 <= len(samples) <= MAX_SAMPLES:
        raise ArgumentError(f"X must hold 1 to {MAX_SAMPLES} samples; got {len(samples)}")
    if not samples.any():
        raise ArgumentError("X must not be 0 in all samples")
    return samples


def _deep(act: Activation, start: StartingPoint, depth: int, width: int | None, bound: float, layers: dict):
    """The flow through more layers than the network has, |V|/K² in it, and the depth limit."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", QuadratureWarning)  # of layers that may lie beyond the network
        flow = kernel_flow(act, start.cw, depth, cb=start.cb, K1=start.K1, **layers)
    size = _relative_vertex(flow)
    return flow, size, None if width is None else _first(size / width >= bound)


def _relative_vertex(flow: KernelFlow) -> np.ndarray:
    """|V|/K² of the layers up to the first that is not known."""
    good = np.asarray(flow.valid) & (np.asarray(flow.K) > 0)
    known = len(good) if good.all() else int(np.argmin(good))
    if known < 2:
        raise ArgumentError("act must have a kernel that is known beyond the first layer; this one has not")
    return np.abs(np.asarray(flow.V, float)[:known]) / np.asarray(flow.K, float)[:known] ** 2


def _first(over: np.ndarray) -> int | None:
    """The first layer, from 1, at which this holds."""
    return int(np.argmax(over)) + 1 if over.any() else None


def _log_spread(act: Activation, start: StartingPoint, depth: int, width: int) -> float:
    try:
        flow = typical_flow(act, start.cw, depth, width, cb=start.cb, K1=start.K1)
    except ArgumentError:  # so far beyond the depth limit that log Ĝ has no typical value
        return float("nan")
    return float(np.sqrt(flow.variance[-1]))


def _rate_spread(
    act: Activation, start: StartingPoint, depth: int, width: int, x2: float, layers: dict
) -> float:
    """The relative standard deviation of Θ̂ with λ_W = n and λ_b = 1, plain parameters, at one input."""
    own = {"cb": start.cb, "K1": start.K1, "x2": x2, "lambda_w": width}
    skip, weights = layers["skip"], layers["weights"]
    layers_computed = depth if skip else padded(depth)
    flow = ntk_flow(act, start.cw, layers_computed, skip=skip, weights=weights, readout=skip > 0, **own)
    if not flow.valid[depth - 1]:
        return float("nan")
    A, B, Theta = (float(a[depth - 1]) for a in (flow.A, flow.B, flow.Theta))
    return float(np.sqrt((A + 2 * B) / width) / Theta)
