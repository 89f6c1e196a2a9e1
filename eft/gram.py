"""Any number of inputs: the kernel (NNGP) and the neural tangent kernel (NTK) of infinitely wide networks."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from eft import arguments
from eft.activations import Activation, as_activation
from eft.arguments import ArgumentError
from eft.bivariate import closed_form
from eft.flow import kernel_flow
from eft.gaussian import Function
from eft.hermite import coefficients
from eft.moments import Moments
from eft.programs import compiled

TILE = 128
"""Inputs a side of the block of pairs that goes through all layers at a time."""

MOST = 512
"""Hermite coefficients at most."""

RUN = 16
"""Coefficients that are added without looking whether more are needed."""

ENOUGH = 1e-12
"""The share of ⟨σ²⟩, and of K⟨σ′²⟩, that may be left out if so many coefficients leave no more."""

MEMORY = 2**31
"""Bytes that a flow may take unless told otherwise."""


class GramFlow(NamedTuple):
    """Kernels of n inputs (rows) with m (columns): shape (n, m), or (depth, n, m) with all layers."""

    K: jax.Array  # K_αβ of the pre-activations at infinite width (NNGP)
    Theta: jax.Array  # Θ_αβ, the NTK
    error: (
        jax.Array
    )  # (n, m): bound on what the expectations leave out, in units of √(g_α g_β), the worst layer
    valid: jax.Array  # bool, (n, m): that is at most 1e-9 (float32: 1e-5), and K in range


class _Series(NamedTuple):
    """Hermite coefficients, and how many of them matter; an axis over inputs, one over layers."""

    a: jax.Array  # (n, depth, count): a_k(K_αα), of odd σ those with odd k; count 0 with a closed form
    left_out: jax.Array  # (n, depth): the larger share of ⟨σ²⟩ and K⟨σ′²⟩ beyond the last coefficient
    runs: jax.Array  # (n, depth): runs of RUN coefficients after which that share is ≤ ENOUGH


class _Layers(NamedTuple):
    """An input by itself, at each layer; shapes (n, depth, …)."""

    K: jax.Array
    Theta: jax.Array
    series: _Series


class _Side(NamedTuple):
    """What the inputs along one side of the matrix bring to a pair."""

    x: jax.Array  # (n, n₀)
    layers: _Layers


def gram_flow(
    act: "str | Activation | Function",
    cw: object,
    depth: int,
    X: object,
    X2: object = None,
    *,
    cb: object = 0.0,
    lambda_w: object = 1.0,
    lambda_b: object = 1.0,
    all_layers: bool = False,
    memory_budget: int = MEMORY,
) -> GramFlow:
    """NNGP kernel and NTK of a fully connected network at given inputs.

        K_αβ′ = C_b + C_W⟨σ_α σ_β⟩_K,                            K_αβ¹ = C_b + C_W x_α·x_β/n₀
        Θ_αβ′ = λ_b + λ_W⟨σ_α σ_β⟩_K + C_W⟨σ′_α σ′_β⟩_K Θ_αβ,    Θ_αβ¹ = λ_b + λ_W x_α·x_β/n₀

    (PDLT chapters 4 and 9.) `X`: inputs of shape (n, n₀). `X2`: others, (m, n₀), for the block between the
    two; default: X itself, each pair computed once. `cw`, `cb`, `lambda_w`, `lambda_b`: numbers ≥ 0.
    `depth` = L: layers of pre-activations, the output's included.

    Piecewise linear activations and the sine go by closed forms. Any other is expanded in Hermite
    polynomials at every input and layer, and a pair costs one power series in its correlation ρ. What that
    leaves out is bounded in `error`: less than rounding for smooth activations while √K is at most a few
    times the scale on which they bend. A kink leaves up to 1e-2 of Θ as |ρ| → 1: there `pair_flow` serves.

    Raises TypeError or ValueError for a bad argument, or where `memory_budget` bytes do not hold the work.
    """
    act = as_activation(act)
    depth = arguments.positive_int("depth", depth, maximum=10_000)
    budget = arguments.positive_int("memory_budget", memory_budget)
    given = {"cw": cw, "cb": cb, "lambda_w": lambda_w, "lambda_b": lambda_b}
    numbers = [checked_number(name, value) for name, value in given.items()]
    rows = checked_inputs("X", X)
    columns = rows if X2 is None else checked_inputs("X2", X2)
    if rows.shape[1] != columns.shape[1]:
        raise ArgumentError(f"X and X2 must have the same n0; got shapes {rows.shape} and {columns.shape}")
    dtype = jnp.result_type(rows, columns)
    _check_memory(act, len(rows), len(columns), rows.shape[1], depth, all_layers, dtype, budget)

    settings = [jnp.asarray(number, dtype) for number in numbers]
    x = rows if X2 is None else jnp.concatenate([rows, columns])
    x = x.astype(dtype)
    x2 = jnp.mean(x * x, -1)
    single = kernel_flow(act, settings[0], depth, cb=settings[1], x2=x2)
    m = act.moments(single.K)
    series, odd = _series(act, single.K, m)
    side = _Side(x, _Layers(single.K, _single_ntk(m.g, single.chi_perp, x2, *settings), series))
    n, m = len(rows), len(columns)
    left = _padded(side if X2 is None else jax.tree.map(lambda a: a[:n], side))
    right = left if X2 is None else _padded(jax.tree.map(lambda a: a[n:], side))
    flow = _blocks(act, (X2 is None, all_layers, odd), left, right, *settings)
    flow = jax.tree.map(lambda a: a[..., :n, :m], flow)
    whole = jnp.all(single.valid & (single.K > 0) | (single.K == 0), axis=-1)
    rows_whole, columns_whole = whole[:n], whole[-m:]
    return flow._replace(valid=flow.valid & rows_whole[:, None] & columns_whole)


# --- arguments ----------------------------------------------------------------------------------


def checked_number(name: str, value: object) -> float:
    number = np.asarray(arguments.nonnegative(name, value))
    if number.ndim:
        raise ArgumentError(f"{name} must be one number; got shape {number.shape}")
    return float(number)


def checked_inputs(name: str, value: object) -> jax.Array:
    X = arguments.real_array(name, value)
    if X.ndim != 2 or not X.size:
        raise ArgumentError(f"{name} must be inputs of shape (n, n0), n and n0 ≥ 1; got shape {X.shape}")
    bad = ~np.isfinite(np.asarray(X))
    if bad.any():
        at = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ArgumentError(f"{name} must be finite; got {float(X[at])} at index {at}")
    return X


def _check_memory(act, n: int, m: int, n0: int, depth: int, all_layers: bool, dtype, budget: int) -> None:
    kept = 2 * (depth if all_layers else 1) + 2
    pairs = 2 * (n + TILE) * (m + TILE) * kept  # tiles, and the matrix made of them
    inputs = (n + m) * (n0 + depth * (0 if closed_form(act) else 2 * MOST) + 12 * depth)
    needed = (pairs + 2 * inputs + 8 * TILE**2 * (kept + n0)) * dtype.itemsize
    if needed > budget:
        raise ArgumentError(
            f"memory_budget must be at least {needed:,} bytes for {n:,} × {m:,} pairs"
            f"{f' at all {depth} layers' if all_layers else ''}; got {budget:,}. "
            "Blocks of rows can be had one at a time: gram_flow(act, cw, depth, X[:1000], X)"
        )


# --- the inputs, each by itself -----------------------------------------------------------------


def _series(act: Activation, K: jax.Array, m: Moments) -> tuple[_Series, bool]:
    """The coefficients at every input and layer, as many as are needed; and whether σ is odd."""
    if closed_form(act):
        empty = jnp.zeros(K.shape, K.dtype)
        return _Series(empty[..., None][..., :0], empty, empty.astype(int)), False
    flat, g, slope = K.ravel(), m.g.ravel(), (K * m.slope2).ravel()
    halvings = min(26, max(0, math.ceil(math.log2(2 * math.sqrt(float(flat.max())) + 1e-300))))
    some = np.argsort(flat)[np.linspace(0, flat.size - 1, 8).astype(int)]
    a = coefficients(act, flat[some], MOST, halvings)
    odd = bool(jnp.all(jnp.abs(a[:, ::2]) <= 64 * jnp.finfo(K.dtype).eps * jnp.max(jnp.abs(a), -1)[:, None]))
    worst = int(_counted(a, g[some], slope[some], 1)[1].max()) + 2
    count = min(MOST, math.ceil(worst / (2 * RUN)) * 2 * RUN)
    a = coefficients(act, flat, count, halvings)
    left_out, runs = _counted(a, g, slope, 2 * RUN if odd else RUN)
    a = a[:, odd :: 1 + odd]
    return _Series(a.reshape(*K.shape, -1), left_out.reshape(K.shape), runs.reshape(K.shape)), odd


@jax.jit
def _single_ntk(g, chi_perp, x2, cw, cb, lambda_w, lambda_b) -> jax.Array:
    """Θ_αα of every input and layer."""

    def layer(Theta, now):
        g, chi_perp = now
        return lambda_b + lambda_w * g + chi_perp * Theta, Theta

    _, Theta = lax.scan(layer, lambda_b + lambda_w * x2, (g.T, chi_perp.T))
    return Theta.T


@jax.jit
def _counted(a, g, slope, run):
    """The share of Σ a_k² = g and Σ k a_k² = K⟨σ′²⟩ beyond the last a_k; the runs until ≤ ENOUGH."""
    k = jnp.arange(a.shape[-1])
    left_out, last = jnp.zeros_like(g), jnp.zeros(g.shape, int)
    for terms, size in ((a * a, g), (k * a * a, slope)):
        beyond = size[:, None] - jnp.cumsum(terms, -1)
        share = jnp.abs(beyond) / jnp.where(size > 0, size, 1.0)[:, None]
        share = jnp.where(share <= 256 * jnp.finfo(a.dtype).eps, 0.0, share)
        share = jnp.where(jnp.isnan(share), jnp.inf, share)
        left_out = jnp.maximum(left_out, share[:, -1])
        last = jnp.maximum(last, jnp.max(jnp.where(share > ENOUGH, k, 0), -1) + 1)
    return left_out, -(-(last + 1) // run)


def _padded(side: _Side) -> _Side:
    """Whole tiles; inputs that are not there are 0."""
    return jax.tree.map(lambda a: jnp.pad(a, [(0, -len(a) % TILE)] + [(0, 0)] * (a.ndim - 1)), side)


# --- the pairs ----------------------------------------------------------------------------------


@compiled(0, 1)
def _blocks(act, modes: tuple[bool, bool, bool], left: _Side, right: _Side, *settings) -> GramFlow:
    """Tile after tile through all layers; of a symmetric matrix the upper ones."""
    symmetric, all_layers, odd = modes
    high, wide = len(left.x) // TILE, len(right.x) // TILE
    places = [(i, j) for i in range(high) for j in range(i if symmetric else 0, wide)]
    I, J = np.array(places).T  # noqa: E741

    def tile(place):
        i, j = place
        rows = jax.tree.map(lambda a: lax.dynamic_slice_in_dim(a, i * TILE, TILE), left)
        columns = jax.tree.map(lambda a: lax.dynamic_slice_in_dim(a, j * TILE, TILE), right)
        return _tile(act, all_layers, odd, rows, columns, *settings)

    tiles = lax.map(tile, (jnp.asarray(I), jnp.asarray(J)))

    def matrix(t):
        t = jnp.moveaxis(t, 0, -3)  # ([depth,] places, TILE, TILE)
        whole = jnp.zeros((*t.shape[:-3], high, wide, TILE, TILE), t.dtype)
        if symmetric:
            whole = whole.at[..., J, I, :, :].set(jnp.swapaxes(t, -1, -2))
        whole = whole.at[..., I, J, :, :].set(t)
        return jnp.swapaxes(whole, -3, -2).reshape(*t.shape[:-3], high * TILE, wide * TILE)

    return jax.tree.map(matrix, tiles)


def _tile(act, all_layers, odd, rows: _Side, columns: _Side, cw, cb, lambda_w, lambda_b) -> GramFlow:
    """All pairs of TILE inputs with TILE others. With a closed form their squared distance flows."""
    exact = closed_form(act)
    apart = rows.x[:, None] - columns.x
    overlap = jnp.matmul(rows.x, columns.x.T, precision=lax.Precision.HIGHEST) / rows.x.shape[1]
    same = jnp.all(apart == 0, -1)

    def here(state, Theta, a: _Layers, b: _Layers):
        """K and Θ of a layer; those of an input with itself are known better."""
        K = (a.K[:, None] + b.K - state) / 2 if exact else state
        return jnp.where(same, a.K[:, None], K), jnp.where(same, a.Theta[:, None], Theta)

    def layer(now, both: tuple[_Layers, _Layers]):
        state, Theta, error = now
        a, b = both
        K, Theta = here(state, Theta, a, b)
        root_a, root_b = jnp.sqrt(a.K)[:, None], jnp.sqrt(b.K)
        size = jnp.where(root_a * root_b > 0, root_a * root_b, 1.0)
        if exact:
            gap = jnp.clip((state - (root_a - root_b) ** 2) / (2 * size), 0.0, 2.0)
            product, slopes, distance = exact(root_a, root_b, root_a - root_b, gap)
            after = cw * distance
        else:
            rho = jnp.where(same, 1.0, jnp.clip(K / size, -1.0, 1.0))
            runs = jnp.maximum(jnp.max(a.series.runs), jnp.max(b.series.runs))
            product, slopes = _power_series(rho, a.series.a, b.series.a, runs, odd)
            slopes, after = slopes / size, cb + cw * product
            count = a.series.a.shape[-1] * (1 + odd)
            missing = jnp.sqrt(a.series.left_out[:, None] * b.series.left_out) * jnp.abs(rho) ** count
            error = jnp.maximum(error, jnp.where(same, 0.0, missing))
        return (after, lambda_b + lambda_w * product + cw * slopes * Theta, error), (K, Theta)

    start = cw * jnp.mean(apart * apart, -1) if exact else cb + cw * overlap
    begin = start, lambda_b + lambda_w * overlap, jnp.zeros_like(start)
    layers = jax.tree.map(lambda a: jnp.moveaxis(a, 1, 0), (rows.layers, columns.layers))
    if all_layers:
        (_, _, error), (K, Theta) = lax.scan(layer, begin, layers)
    else:
        before, last = jax.tree.map(lambda a: a[:-1], layers), jax.tree.map(lambda a: a[-1], layers)
        (state, Theta, error), _ = lax.scan(lambda now, both: (layer(now, both)[0], None), begin, before)
        K, Theta = here(state, Theta, *last)
    finite = jnp.all(jnp.isfinite(K).reshape(-1, TILE, TILE), axis=0)
    good = finite & (error <= (1e-9 if K.dtype == jnp.float64 else 1e-5))
    return GramFlow(K, Theta, error, good)


def _power_series(rho, a, b, runs, odd: bool) -> tuple[jax.Array, jax.Array]:
    """Σ_k a_k b_k ρᵏ and its derivative by Horner's rule, in ρ² where only odd k are there."""
    t = rho * rho if odd else rho

    def run(r, sums):
        value, slope = sums
        first = (runs - 1 - r) * RUN
        a_r, b_r = (lax.dynamic_slice_in_dim(c, first, RUN, axis=1) for c in (a, b))
        for i in reversed(range(RUN)):
            slope = slope * t + value
            value = value * t + a_r[:, i : i + 1] * b_r[:, i]
        return value, slope

    zero = jnp.zeros_like(rho)
    value, slope = lax.fori_loop(0, runs, run, (zero, zero))
    return (rho * value, value + 2 * t * slope) if odd else (value, slope)
