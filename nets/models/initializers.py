"""Initializers at the critical point of an activation, for the networks of any framework in JAX.

    weights ~ N(0, C_W/fan_in),   biases ~ N(0, C_b),   C_W and C_b those of `eft.critical_point`

There the size of a signal and the angle between two neither grow nor decay exponentially with depth, and
neither do gradients. The gain, √C_W, is √2 for ReLU and 1 for tanh.

>>> layer = nnx.Linear(
...     64, 64, kernel_init=nets.initializers.critical("relu"),
...     bias_init=nets.initializers.critical_bias("relu"), rngs=nnx.Rngs(0),
... )
>>> nets.initializers.critical("relu").gain
1.4142135623730951
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from eft import arguments
from eft.activations.definition import ActivationLike
from eft.arguments import ArgumentError, ArgumentTypeError
from eft.criticality.universality import Universality, classify
from eft.flows.block import WEIGHTS
from nets.network import weights as matrices

__all__ = ["critical", "critical_bias"]

LAYERS = ("first", "hidden", "output")

Axes = int | Sequence[int]


@dataclasses.dataclass(frozen=True)
class Weights:
    """(key, shape, dtype) ↦ weights of variance C_W/fan_in; equal, and of one hash, if the fields are equal.

    `cw`: C_W. `weights`: "gaussian", independent and not truncated, or "orthogonal". `in_axis`, `out_axis`:
    the axes of the inputs and of the outputs in `shape`. All other axes are those of a convolution's window.
    fan_in is the size of an array divided by its number of outputs.
    """

    cw: float
    weights: str = "gaussian"
    in_axis: Axes = -2
    out_axis: Axes = -1

    @property
    def gain(self) -> float:
        """√C_W."""
        return math.sqrt(self.cw)

    def __call__(self, key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32, out_sharding=None):
        """The weights. Those of 16 bits are drawn with 32 bits and rounded: else their tails are missing."""
        inputs, outputs, window = _roles(tuple(shape), self.in_axis, self.out_axis)
        n = math.prod(shape[a] for a in outputs)
        n_in = math.prod(shape) // n if n else 0
        if 0 in shape:
            return jnp.zeros(shape, dtype, out_sharding=out_sharding)
        if self.weights == "gaussian":
            return _normal(key, shape, dtype, math.sqrt(self.cw / n_in), out_sharding)
        if out_sharding is not None:
            raise ArgumentError(f"out_sharding must be None with orthogonal weights; got {out_sharding}")
        if math.prod(shape[a] for a in window) > 1:
            raise ArgumentError(
                f"shape must be that of a matrix with weights='orthogonal'; got {tuple(shape)}, a "
                "convolution, whose overlapping windows it does not make orthogonal. Use 'gaussian', or "
                f"jax.nn.initializers.delta_orthogonal(scale={self.gain:.6g})"
            )
        precise = _drawn_in(dtype)
        draw = matrices.orthogonal(
            lambda k, s: jax.random.normal(k, tuple(s), precise),
            jnp.asarray(self.cw, precise),
            matrices.InTurn(),
        )
        order = (*inputs, *outputs, *window)
        W = draw(key, (n_in, n), precise).reshape([shape[a] for a in order])
        return jnp.moveaxis(W, range(len(order)), order).astype(dtype)


@dataclasses.dataclass(frozen=True)
class Biases:
    """(key, shape, dtype) ↦ independent biases from N(0, C_b), zeros for C_b = 0; `cb`: C_b."""

    cb: float

    def __call__(self, key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32, out_sharding=None):
        """The biases."""
        if self.cb == 0:
            return jnp.zeros(shape, dtype, out_sharding=out_sharding)
        return _normal(key, shape, dtype, math.sqrt(self.cb), out_sharding)


def critical(
    act: ActivationLike,
    layer: str = "hidden",
    *,
    weights: str = "gaussian",
    x2: object = 1.0,
    K1: object = None,
    skip: object = 0.0,
    cw: object = None,
    cb: object = None,
    in_axis: Axes = -2,
    out_axis: Axes = -1,
) -> Weights:
    """An initializer of weights, W ~ N(0, C_W/fan_in) with C_W critical; for biases see `critical_bias`.

    It is a function (key, shape, dtype) → array as `jax.nn.initializers` has them, which Flax takes as
    `kernel_init`; for other frameworks see `nets.interop` and docs/initialize.md. The Gaussian is not
    truncated: a truncated one has another kurtosis, and with it every result of order 1/n changes.

    `act`: σ, which follows the layer, or for the output layer is before it: a name, an Activation or a
    function.

    `layer`: "hidden" has C_W of `eft.critical_point(act, skip=skip)`.
    "first" is a layer whose input is data with ‖x‖²/n₀ = `x2`. Where K* > 0, C_W is (K* − C_b)/x2, so that
    K¹ = K* is critical from the start. Where K* = 0, or every K is critical, it is that of the hidden layers,
    K¹ = C_W x2, which must be small if K* = 0 is unstable: then `K1` has to be given. `K1` > 0 sets K¹ for
    any act, with C_W = (K¹ − C_b)/x2. A first layer that is not scaled to K* is made by "hidden".
    "output", a linear read-out, has C_W of the hidden layers as well: then K^L is the next K of the flow, and
    `eft` describes the network with its outputs, as it does `nets.FCN`. The choice does not matter for
    criticality, since no σ follows: outputs and their NTK are proportional to its C_W. `cw=1` averages.

    `weights`: "gaussian" or "orthogonal": √C_W times a random matrix with orthonormal rows or columns, scaled
    to entries of variance C_W/fan_in if it is not square; matrices only, no convolutions.
    `skip` = γ: hidden layers z′ = γz + b + Wσ(z), whose C_W is 1 − γ² times as large; first and output layers
    have no skip. `cw`, `cb`: instead of the critical values, for instance if `act` has no critical point; C_b
    has an effect only where K¹ is set.
    `in_axis`, `out_axis`: of the inputs and outputs in an array of weights, each an axis or several; Flax and
    Haiku have (…, in, out), the default, Equinox and PyTorch (out, in, …). fan_in includes a convolution's
    window.

    Raises TypeError or ValueError for a bad argument, and where `act` has no critical point and `cw`, or C_b
    where it is needed, is not given; the error says what is possible.

    >>> W = nets.initializers.critical("tanh")(jax.random.key(0), (400, 300), jnp.float32)
    >>> print((W.var() * 400).round(1))
    1.0
    >>> first, hidden = (nets.initializers.critical("gelu", layer) for layer in ("first", "hidden"))
    >>> print(f"C_W = {first.cw:.6g} in the first layer, then {hidden.cw:.6g}")
    C_W = 3.38863 in the first layer, then 1.98306
    """
    arguments.one_of("layer", layer, LAYERS)
    weights = str(arguments.one_of("weights", weights, WEIGHTS))
    in_axis, out_axis = _axes("in_axis", in_axis), _axes("out_axis", out_axis)
    size = arguments.number("x2", arguments.positive("x2", x2))
    if K1 is not None and layer != "first":
        raise ArgumentError(f"K1 must be None for layer={layer!r}; got {arguments.shown(K1)}")
    start = None if K1 is None else arguments.number("K1", arguments.positive("K1", K1))
    numbers = [None if c is None else arguments.number(name, c) for name, c in (("cw", cw), ("cb", cb))]
    c = _first(act, size, start, skip, *numbers) if layer == "first" else numbers[0]
    return Weights(_found(act, layer, skip, "cw") if c is None else c, weights, in_axis, out_axis)


def critical_bias(
    act: ActivationLike, layer: str = "hidden", *, skip: object = 0.0, cb: object = None
) -> Biases:
    """An initializer of biases, b ~ N(0, C_b) with C_b critical; zeros where C_b = 0.

    A function (key, shape, dtype) → array, as `critical` with the same arguments, which it belongs to. `cb`:
    instead of the critical C_b.

    Raises TypeError or ValueError for a bad argument, and where `act` has no critical point and `cb` is not
    given.

    >>> [round(nets.initializers.critical_bias(act).cb, 6) for act in ("tanh", "gelu")]
    [0.0, 0.172922]
    """
    arguments.one_of("layer", layer, LAYERS)
    return Biases(_found(act, layer, skip, "cb") if cb is None else arguments.number("cb", cb))


def _point(act: ActivationLike, layer: str, skip: object) -> Universality:
    """The class of a layer's activation: no skip runs into the first or the output layer."""
    with jax.ensure_compile_time_eval():  # networks are often built while they are traced
        found = classify(act, skip=skip)  # type: ignore[arg-type]
        return found if layer == "hidden" or skip == 0 else classify(act)


def _found(act: ActivationLike, layer: str, skip: object, name: str) -> float:
    """The critical C_W or C_b, `name` = "cw" or "cb"."""
    point = _point(act, layer, skip)
    if not point.candidates:
        why = f"{point.reason}; {point.advice}" if point.decided else "; ".join(point.notes)
        raise ArgumentError(f"{name} must be given for act {point.name}, without a critical point: {why}")
    return getattr(point, name)


def _first(
    act: ActivationLike, x2: float, K1: float | None, skip: object, cw: float | None, cb: float | None
) -> float | None:
    """C_W of the first layer; None for that of the others."""
    if K1 is None:
        if cw is not None:
            return cw
        point = _point(act, "first", skip)
        if point.K > 0:
            K1 = point.K
        elif point.stability == "unstable":
            raise ArgumentError(
                f"K1 must be given for act {point.name}, whose critical point is unstable: {point.advice}"
            )
        else:
            return None
    cb = _found(act, "first", skip, "cb") if cb is None else cb
    if cb > K1:
        raise ArgumentError(f"K1 must be ≥ C_b; got {K1:g} and C_b = {cb:g}")
    return (K1 - cb) / x2


def _axes(name: str, value: Axes) -> Axes:
    """An axis, or a tuple of them."""
    axes = (value,) if isinstance(value, int) else value
    several = isinstance(axes, tuple | list) and len(axes) > 0
    if not several or not all(isinstance(a, int) and not isinstance(a, bool) for a in axes):
        raise ArgumentTypeError(f"{name} must be an integer or several; got {arguments.shown(value)}")
    return value if isinstance(value, int) else tuple(axes)


def _roles(shape: tuple[int, ...], in_axis: Axes, out_axis: Axes) -> tuple[list[int], list[int], list[int]]:
    """The axes of the inputs, of the outputs and of the window, counted from 0."""
    inputs, outputs = ([a] if isinstance(a, int) else list(a) for a in (in_axis, out_axis))
    rank = len(shape)
    used = [a + rank if a < 0 else a for a in (*inputs, *outputs)]
    if not all(0 <= a < rank for a in used) or len(set(used)) < len(used):
        raise ArgumentError(
            f"shape must have the axes in_axis={in_axis} and out_axis={out_axis}, all different; got {shape}"
        )
    return used[: len(inputs)], used[len(inputs) :], [a for a in range(rank) if a not in used]


def _drawn_in(dtype: Any) -> Any:
    """The precision in which numbers of that dtype are drawn."""
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ArgumentTypeError(f"dtype must be a real floating-point type; got {arguments.shown(dtype)}")
    return dtype if jnp.finfo(dtype).bits >= 32 else jnp.float32


def _normal(key: jax.Array, shape: Sequence[int], dtype: Any, std: float, out_sharding) -> jax.Array:
    """Independent N(0, std²)."""
    precise = _drawn_in(dtype)
    u = jax.random.normal(key, shape, precise, out_sharding=out_sharding)
    return (jnp.asarray(std, precise) * u).astype(dtype)
