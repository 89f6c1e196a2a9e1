"""Any number of inputs: the kernel (NNGP) and the neural tangent kernel (NTK) of infinitely wide networks."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from eft import arguments
from eft.activations.analysis import analysed
from eft.activations.definition import ActivationLike
from eft.activations.one_sided import numpy_of
from eft.activations.programs import QUICKEST, compiled
from eft.arguments import ArgumentError
from eft.flows.block import checked_block
from eft.flows.gram_tiles import TILE, GramFlow, Layers, Modes, Side, blocks_of_pairs
from eft.flows.hermite_series import MAX_COEFFICIENTS, hermite_series_of
from eft.flows.kernel import diagonal, flow_and_moments
from eft.flows.layer_rates import checked_rates, first_and_next
from eft.gaussian.closed_forms import closed_forms
from eft.gaussian.sources import evaluated, source
from eft.gaussian.tangents import constant

MEMORY = 2**31
"""Bytes that a flow may take unless told otherwise."""


@arguments.also_named(x="X")
def gram_flow(
    act: ActivationLike,
    cw: ArrayLike,
    depth: int,
    X: ArrayLike,
    X2: ArrayLike | None = None,
    *,
    cb: ArrayLike = 0.0,
    K1: ArrayLike | None = None,
    lambda_w: ArrayLike = 1.0,
    lambda_b: ArrayLike = 1.0,
    layer_rates: tuple[ArrayLike, ArrayLike] | None = None,
    skip: ArrayLike = 0.0,
    readout: bool = False,
    norm: str | None = None,
    weights: str = "gaussian",
    all_layers: bool = False,
    memory_budget: int | str = MEMORY,
) -> GramFlow:
    """NNGP kernel and NTK of a fully connected network at given inputs.

        K_αβ′ = C_b + C_W⟨σ_α σ_β⟩_K,                            K_αβ¹ = C_b + C_W x_α·x_β/n₀
        Θ_αβ′ = λ_b + λ_W⟨σ_α σ_β⟩_K + C_W⟨σ′_α σ′_β⟩_K Θ_αβ,    Θ_αβ¹ = λ_b + λ_W x_α·x_β/n₀

    with `K1` the first layer has no bias, K_αβ¹ = K1 x_α·x_β/n₀ and Θ_αβ¹ = λ_W x_α·x_β/n₀, as in `nets.FCN`
    (PDLT chapters 4 and 9). `X`: inputs of shape (n, n₀). `X2`: other inputs, (m, n₀), for the block of
    kernels between the two; default: X itself, with each pair computed once. `cw`, `cb`, `K1`,
    `lambda_w`, `lambda_b`: numbers ≥ 0. `depth` = L: layers of pre-activations, including the output.
    `layer_rates`: (weights, biases), (depth,) each; λ_W and λ_b of layer l are `lambda_w` and `lambda_b`
    times theirs.

    Piecewise linear activations, sine, erf and GELU have closed forms. Any other activation is expanded in
    Hermite polynomials at every input and layer, and each pair costs one power series in its correlation ρ.
    `error` bounds its truncation error: below round-off for smooth activations if √K is at most a few times
    the scale on which they vary. At a kink it is up to 1e-2 of Θ as |ρ| → 1: use `pair_flow` there.

    `skip` = γ ≥ 0: z′ = γz + b + Wσ(z), which adds γ²K_αβ to K_αβ′ and γ²Θ_αβ to Θ_αβ′; with `readout` not
    in the last layer, as where the output has another width. `norm` = "rms" or "layer": σ acts on z/√K, so
    that ⟨σ_α σ_β⟩ is taken at unit variances, and ⟨σ′_α σ′_β⟩ too, divided by √(K_αα K_ββ). An input of
    kernel 0 is then not valid. `weights` = "gaussian" or "orthogonal": the same at infinite width.

    An input of kernel 0 (the vector 0, without biases) is taken as the limit of one orthogonal to all others.
    That matters if σ′ jumps at 0: ReLU's ⟨σ′σ′⟩ is ½ for such an input with itself and ¼ with any other.

    Under jit, grad and vmap, X, X2, the five numbers and what `act` closes over may be traced; the series
    then has all its 512 coefficients. Derivatives are finite everywhere; those of a series are exact for the
    truncated series. For parallel inputs ⟨σ′σ′⟩ of piecewise linear σ has a cusp; its derivative is set to 0.

    Raises TypeError or ValueError for a bad argument, or if `memory_budget`, bytes or text such as
    "2GB", is not enough.

    >>> flow = eft.gram_flow("relu", 2.0, 3, [[1.0, 0.0], [0.0, 1.0]])
    >>> print(flow.K.round(4))
    [[1.     0.4937]
     [0.4937 1.    ]]
    >>> print(flow.Theta.round(4))
    [[4.5    2.2475]
     [2.2475 4.5   ]]
    """
    act = analysed(act)
    depth = arguments.positive_int("depth", depth, maximum=10_000)
    budget = arguments.byte_count("memory_budget", memory_budget)
    given = {"cw": cw, "cb": cb, "lambda_w": lambda_w, "lambda_b": lambda_b}
    numbers = [checked_number(name, value) for name, value in given.items()]
    gamma = checked_number("skip", skip)
    block, _ = checked_block(skip, norm, weights, readout)
    rows = checked_inputs("X", X)
    columns = rows if X2 is None else checked_inputs("X2", X2)
    check_same_n0(rows, "X2", columns)
    dtype = jnp.result_type(rows, columns)
    _check_memory(act, len(rows), len(columns), rows.shape[1], depth, all_layers, dtype, budget)

    settings = [arguments.converted(number, dtype) for number in numbers]
    if layer_rates is not None:
        rates = (arguments.converted(each, dtype) for each in checked_rates(layer_rates, depth))
        settings[2:] = [one * each for one, each in zip(settings[2:], rates, strict=True)]
    first = first_layer(settings[0], settings[1], K1)
    if not first.bias:
        settings[3] = jnp.broadcast_to(settings[3], (depth,)).at[0].set(0.0)
    x = inputs_of(rows, None if X2 is None else columns, dtype)
    x2 = mean_of_squares(x)
    start = first.single(x2)
    skip2 = skipped = None
    if not block.remembers:
        single, m = flow_and_moments(act, settings[0], depth, cb=settings[1], **start)
        g, seen = m.g, single.K
        series, shape = hermite_series_of(act, seen, m)
    else:
        single = diagonal(act, settings[0], depth, block, gamma, cb=settings[1], **start)
        g, seen = single.g, jnp.ones_like(single.K) if block.norm else single.K  # the variance that σ sees
        some = seen[:1, :1] if block.norm else seen
        series, shape = hermite_series_of(act, some, evaluated(source(act, some.dtype), some))
        series = jax.tree.map(lambda a: jnp.broadcast_to(a, (*seen.shape, *a.shape[2:])), series)
        if block.residual:
            squares = block.by_layer(gamma.astype(seen.dtype), depth) ** 2
            skip2 = jnp.broadcast_to(squares[None], seen.shape)
            skipped = skip2 * single.K
    split = None if X2 is None else len(rows)
    left, right = _sides(split, x, x2, single.K, series, g, single.chi_perp, skip2, skipped, *settings)
    modes = Modes(closed_forms(act), X2 is None, all_layers, shape, block.norm is not None)
    blocks = blocks_of_pairs(modes, left, left if right is None else right, first[:2], *settings)
    return _trimmed(split, blocks, seen, single.valid)


# --- arguments ----------------------------------------------------------------------------------


def checked_number(name: str, value: object) -> jax.Array:
    number = arguments.nonnegative(name, value)
    if number.ndim:
        raise ArgumentError(f"{name} must be one number; got shape {number.shape}")
    return number


class FirstLayer(NamedTuple):
    """The first layer of several inputs: K_αβ¹ = c + a x_α·x_β/n₀.

    `scale`: a = C_W, or K1. `offset`: c = C_b, or 0. `bias`: whether it has one, which it has not with K1.
    """

    scale: jax.Array
    offset: jax.Array
    bias: bool

    def single(self, x2: jax.Array) -> dict[str, Any]:
        """What sets the first kernel of inputs with ‖x‖²/n₀ = x2, as keywords of `kernel_flow`."""
        return {"x2": x2} if self.bias else {"K1": jnp.minimum(self.scale * x2, jnp.finfo(x2.dtype).max)}


def first_layer(cw: jax.Array, cb: jax.Array, K1: object) -> FirstLayer:
    """That of C_W and C_b, or of K1, a number ≥ 0, if it is not None; raises for another one."""
    if K1 is None:
        return FirstLayer(cw, cb, True)
    return FirstLayer(arguments.converted(checked_number("K1", K1), cw.dtype), jnp.zeros_like(cb), False)


def checked_inputs(name: str, value: object) -> jax.Array:
    X = arguments.real_array(name, value)
    if X.ndim != 2 or not X.size:
        raise ArgumentError(f"{name} must be inputs of shape (n, n0), n and n0 ≥ 1; got shape {X.shape}")
    return arguments.all_finite(name, X)


def check_same_n0(X: jax.Array, other: str, X2: jax.Array) -> None:
    """Raise unless the inputs `other` are of the size of those called X."""
    if X.shape[1] != X2.shape[1]:
        raise ArgumentError(f"X and {other} must have the same n0; got shapes {X.shape} and {X2.shape}")


def inputs_of(rows: jax.Array, columns: jax.Array | None, dtype) -> jax.Array:
    """The rows, and after them the columns."""
    if columns is None:
        return rows
    both = [a.astype(dtype) for a in arguments.host_arrays(rows, columns)]
    return jax.device_put(numpy_of(*both).concatenate(both))


def mean_of_squares(x: jax.Array) -> jax.Array:
    """‖x‖²/n₀ of each input."""
    (given,) = arguments.host_arrays(x)
    with np.errstate(over="ignore"):
        return jnp.mean(given * given, -1)


def _check_memory(act, n: int, m: int, n0: int, depth: int, all_layers: bool, dtype, budget: int) -> None:
    kept = 2 * (depth if all_layers else 1) + 2
    pairs = 2 * (n + TILE) * (m + TILE) * kept  # the tiles, and the matrix assembled from them
    coefficients = 0 if closed_forms(act).has("pair") else 2 * MAX_COEFFICIENTS
    inputs = (n + m) * (n0 + depth * coefficients + 12 * depth)
    needed = (pairs + 2 * inputs + 8 * TILE**2 * (kept + n0)) * dtype.itemsize
    if needed > budget:
        raise ArgumentError(
            f"memory_budget must be at least {needed:,} bytes for {n:,} × {m:,} pairs"
            f"{f' at all {depth} layers' if all_layers else ''}; got {budget:,}. "
            "Compute one block of rows at a time: gram_flow(act, cw, depth, X[:1000], X)"
        )


# --- single inputs ------------------------------------------------------------------------------


@compiled(0, how=QUICKEST)
def _sides(
    split: int | None, x, x2, K, series, g, chi_perp, skip2, skipped, *settings
) -> tuple[Side, Side | None]:
    """The rows and the columns, each padded to a whole number of tiles; no columns if they are the rows.

    `split`: the number of rows, where columns follow them. `skip2`, `skipped`: γ² and γ²K, or None.
    """
    Theta, shares = _single(g, chi_perp, skipped, x2, *settings)
    side = Side(x, Layers(K, shares, Theta, series, skip2))
    if split is None:
        return _padded(side), None
    return _padded(jax.tree.map(lambda a: a[:split], side)), _padded(jax.tree.map(lambda a: a[split:], side))


def _single(g, chi_perp, skipped, x2, cw, cb, lambda_w, lambda_b) -> tuple[jax.Array, tuple]:
    """Θ_αα and `Layers.shares` of every input and layer.

    The shares are computed once so that a pair and its transpose agree bit for bit.
    """

    (lw, lw_next), (lb, lb_next) = (first_and_next(a, g.shape[1]) for a in (lambda_w, lambda_b))

    def layer(Theta, now):
        g, chi_perp, lw, lb = now
        return lb + lw * g + chi_perp * Theta, Theta

    _, Theta = lax.scan(layer, lb + lw * x2, (g.T, chi_perp.T, lw_next, lb_next))
    g, cw, cb, skipped = constant((g, cw, cb, skipped))
    K = cb + cw * g
    if skipped is not None:
        K = K + skipped
    over = jnp.where(K > 0, 1 / jnp.sqrt(jnp.where(K > 0, K, 1.0)), 0.0)
    shares = jnp.sqrt(cw * g) * over, jnp.sqrt(cb) * over, jnp.sqrt(cw) * over
    return Theta.T, shares if skipped is None else (*shares, jnp.sqrt(skipped) * over)


def _padded(side: Side) -> Side:
    """The side padded with zero inputs to a whole number of tiles."""
    return jax.tree.map(lambda a: jnp.pad(a, [(0, -len(a) % TILE)] + [(0, 0)] * (a.ndim - 1)), side)


@compiled(0, how=QUICKEST)
def _trimmed(split: int | None, flow: GramFlow, K, valid) -> GramFlow:
    """The flow without the padding; an entry is valid where both inputs are, `valid` (n, depth), too.

    `K`: the variance that σ sees.
    """
    whole = jnp.all(valid & (K > 0) | (K == 0), axis=-1)
    rows, columns = (whole, whole) if split is None else (whole[:split], whole[split:])
    flow = jax.tree.map(lambda a: a[..., : len(rows), : len(columns)], flow)
    return flow._replace(error=constant(flow.error), valid=flow.valid & rows[:, None] & columns[None])
