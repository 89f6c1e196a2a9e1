"""The pairs of a Gram matrix, a tile at a time, through all layers."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Bool, Float

from eft.activations.programs import compiled
from eft.flows.hermite_series import HermiteSeries
from eft.flows.layer_rates import first_and_next
from eft.gaussian.closed_forms.base import ClosedForms
from eft.gaussian.mehler import Shape, correlation, pair_series
from eft.gaussian.records import PairForm
from eft.gaussian.tangents import constant
from eft.records import METHODS

TILE = 128
"""Inputs per side of a block of pairs; one block at a time goes through all layers."""

OPPOSITE = 1.9
"""1 − ρ above which 1 + ρ is computed from the sum of the inputs."""

MAX_ERROR = {8: 1e-9, 4: 1e-5}
"""`GramFlow.error` up to which an entry is valid, by bytes per number."""


class GramFlow(NamedTuple):
    """Kernels of n inputs (rows) with m (columns): shape (n, m), or (depth, n, m) with all layers.

    `K`: K_αβ of the pre-activations at infinite width, the NNGP kernel.
    `Theta`: Θ_αβ, the NTK.
    `error`: (n, m) bound on the truncation error of the expectations at the worst layer, in √(g_α g_β).
    `valid`: bool, (n, m), whether `error` is at most 1e-9 (float32: 1e-5) and K is in range.
    """

    K: Float[jax.Array, "*depth n m"]
    Theta: Float[jax.Array, "*depth n m"]
    error: Float[jax.Array, "n m"]
    valid: Bool[jax.Array, "n m"]

    __repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS


class Layers(NamedTuple):
    """Single-input quantities at each layer; shapes (n, depth, …).

    `shares`: √(C_W g/K′), √(C_b/K′), √(C_W/K′) and, with a skip, γ√(K/K′) for the next layer's
        K′ = C_b + C_W g + γ²K.
    `skip2`: γ², the same for every input; None without a skip.
    """

    K: jax.Array
    shares: tuple
    Theta: jax.Array
    series: HermiteSeries
    skip2: jax.Array | None


class Side(NamedTuple):
    """The inputs along one side of the matrix, (n, n₀), and their single-input quantities."""

    x: jax.Array
    layers: Layers


class Modes(NamedTuple):
    """The static arguments of a compiled program."""

    forms: ClosedForms
    symmetric: bool
    all_layers: bool
    shape: Shape
    normalized: bool


@compiled(0)
def blocks_of_pairs(modes: Modes, left: Side, right: Side, begin: tuple, *settings) -> GramFlow:
    """All tiles, one after another, through all layers; only the upper ones of a symmetric matrix.

    `begin`: a and c of the first layer's K = c + a x·y/n₀.
    """
    high, wide = len(left.x) // TILE, len(right.x) // TILE
    places = [(i, j) for i in range(high) for j in range(i if modes.symmetric else 0, wide)]
    I, J = np.array(places).T  # noqa: E741

    def tile(place):
        i, j = place
        rows = jax.tree.map(lambda a: lax.dynamic_slice_in_dim(a, i * TILE, TILE), left)
        columns = jax.tree.map(lambda a: lax.dynamic_slice_in_dim(a, j * TILE, TILE), right)
        return _tile(modes, rows, columns, begin, *settings)

    tiles = lax.map(tile, (I, J))

    at, below = np.zeros((high, wide), int), np.zeros((high, wide, 1, 1), bool)
    at[I, J] = range(len(places))
    if modes.symmetric:
        at[J, I], below[J, I] = at[I, J], (J > I)[:, None, None]

    def matrix(t):
        t = jnp.moveaxis(t, 0, -3)[..., at, :, :]  # ([depth,] high, wide, TILE, TILE)
        if modes.symmetric:
            t = jnp.where(jnp.broadcast_to(jnp.asarray(below), t.shape), jnp.swapaxes(t, -1, -2), t)
        return jnp.swapaxes(t, -3, -2).reshape(*t.shape[:-4], high * TILE, wide * TILE)

    return jax.tree.map(matrix, tiles)


class _State(NamedTuple):
    """The state of a tile of pairs at one layer, (TILE, TILE).

    `angle`: 1 − ρ, to relative accuracy, and 1 + ρ if there is a closed form, else ().
    """

    K: jax.Array
    Theta: jax.Array
    error: jax.Array
    angle: tuple


def _tile(modes: Modes, rows: Side, columns: Side, begin, cw, cb, lambda_w, lambda_b) -> GramFlow:
    """All pairs of TILE inputs with TILE others."""
    form = modes.forms.pair if modes.forms.has("pair") else None
    same = jnp.all(rows.x[:, None] == columns.x[None], -1)

    def here(now: _State, a: Layers, b: Layers):
        """K and Θ of a layer, with the more accurate single-input values for an input with itself.

        Their derivatives are more accurate too, except that of ⟨σ′²⟩ at small K.
        """
        K = jnp.where(same, (a.K[:, None] + b.K[None]) / 2, now.K)
        own = (a.Theta[:, None] + b.Theta[None]) / 2
        small = a.K[:, None] <= jnp.finfo(K.dtype).eps ** 0.5
        alike = now.Theta + constant(own - now.Theta)
        return K, jnp.where(same, jnp.where(small, alike, own), now.Theta)

    @jax.checkpoint
    def layer(now: _State, at: tuple[Layers, Layers, jax.Array, jax.Array]):
        a, b, lw, lb = at
        K, Theta = here(now, a, b)
        kernel, over = (a.K, b.K, K), None
        if modes.normalized:
            kernel, over = _normalized(*kernel)
        if form:
            pair, angle = _by_form(form, kernel, now.angle, a.shares, b.shares)
            product, slopes, error = pair.product, pair.slopes, now.error
        else:
            runs = jnp.maximum(jnp.max(a.series.runs), jnp.max(b.series.runs))
            product, slopes = pair_series(modes.shape, kernel, a.series.expansion, b.series.expansion, runs)
            count = a.series.expansion.e.shape[-1] * (1 + modes.shape.odd) + 1
            left_out = a.series.left_out, b.series.left_out
            missing = lambda: _missing(*left_out, jnp.abs(correlation(kernel)) ** count, same)  # noqa: E731
            any_missing = jnp.any(left_out[0] > 0) & jnp.any(left_out[1] > 0)
            error = lax.cond(any_missing, lambda: jnp.maximum(now.error, missing()), lambda: now.error)
            angle = ()
        slopes = slopes if over is None else slopes * over
        after = cb + cw * product, lb + lw * product + cw * slopes * Theta
        if a.skip2 is not None:
            skip2 = a.skip2[:, None]
            after = after[0] + skip2 * K, after[1] + skip2 * Theta
        return _State(*after, error, angle), (K, Theta)

    sides = jax.tree.map(lambda a: jnp.moveaxis(a, 1, 0), (rows.layers, columns.layers))
    (lw, lw_next), (lb, lb_next) = (first_and_next(a, len(sides[0].K)) for a in (lambda_w, lambda_b))
    layers = *sides, lw_next, lb_next
    first = jax.tree.map(lambda a: a[0], layers)
    overlap = jnp.matmul(rows.x, columns.x.T, precision=lax.Precision.HIGHEST) / rows.x.shape[1]
    angle = _first_angle(rows.x, columns.x, first[0].K, first[1].K, *begin) if form else ()
    scale, offset = begin
    start = _State(offset + scale * overlap, lb + lw * overlap, jnp.zeros_like(overlap), angle)
    if modes.all_layers:
        end, (K, Theta) = lax.scan(layer, start, layers)
    else:
        before, last = jax.tree.map(lambda a: a[:-1], layers), jax.tree.map(lambda a: a[-1], layers)
        end, _ = lax.scan(lambda now, at: (layer(now, at)[0], None), start, before)
        K, Theta = here(end, *last[:2])
    finite = jnp.all(jnp.isfinite(K).reshape(-1, TILE, TILE), axis=0)
    good = finite & (end.error <= MAX_ERROR[K.dtype.itemsize])
    return GramFlow(K, Theta, end.error, good)


def _missing(left_1: jax.Array, left_2: jax.Array, power: jax.Array, same: jax.Array) -> jax.Array:
    """The bound √(T₁T₂)|ρ|ᴹ on what the series of different inputs leave out; `power` = |ρ|ᴹ."""
    return jnp.where(same, 0.0, jnp.sqrt(left_1)[:, None] * jnp.sqrt(left_2)[None] * power)


def _normalized(K1, K2, K12) -> tuple[tuple, jax.Array]:
    """The kernel (1, 1, ρ) of the variables divided by their √K, and 1/√(K₁K₂); where K is 0, 0."""
    over_1, over_2 = (jnp.where(K > 0, 1 / jnp.sqrt(jnp.where(K > 0, K, 1.0)), 0.0) for K in (K1, K2))
    over = over_1[:, None] * over_2[None]
    return (jnp.ones_like(K1), jnp.ones_like(K2), K12 * over), over


def _first_angle(x, y, K_x, K_y, cw, cb) -> tuple:
    """1 ∓ ρ of the first layer, as ½‖x̂ ∓ ŷ‖² of unit vectors x̂, ŷ with scalar product ρ."""
    x, y, K_x, K_y, cw, cb = constant((x, y, K_x, K_y, cw, cb))
    over_x, over_y = (1 / jnp.sqrt(jnp.where(K > 0, K, 1.0)) for K in (K_x, K_y))
    x, y = x * over_x[:, None], y * over_y[:, None]

    def half_square(sign):
        biases = cb * (over_x[:, None] + sign * over_y[None]) ** 2
        return (biases + cw * jnp.mean((x[:, None] + sign * y[None]) ** 2, -1)) / 2

    gap = half_square(-1.0)
    opposite = jnp.any(gap > OPPOSITE)
    return gap, lax.cond(opposite, lambda: half_square(1.0), lambda: 2 - gap)


def _by_form(
    form: Callable[..., PairForm], kernel: tuple, angle: tuple, shares_a, shares_b
) -> tuple[PairForm, tuple]:
    """The expectations, and 1 ∓ ρ of the next layer, where p = √(C_W g/K′), r = √(C_b/K′), p² + r² = 1:

    1 − ρ′ = ½(p_a − p_b)² + ½(r_a − r_b)² + C_W(√(g_a g_b) − ⟨σ_aσ_b⟩)/√(K_a′K_b′)

    and, with a skip, s = γ√(K/K′) and p² + r² + s² = 1, ½(s_a − s_b)² + s_a s_b(1 − ρ) more.
    """
    gap, rest = constant(angle)
    a, b = (jnp.sqrt(K) for K in constant(kernel[:2]))
    a, b = a[:, None], b[None]
    there = (a > 0) & (b > 0)  # if both are 0 they are the same input, treated separately
    gap, rest = jnp.where(there, gap, 1.0), jnp.where(there, rest, 1.0)
    pair = form((kernel[0][:, None], kernel[1][None], kernel[2]), a, b, a - b, gap, rest)
    (p_a, r_a, over_a, *skip_a), (p_b, r_b, over_b, *skip_b) = shares_a, shares_b
    before, gap = gap, ((p_a[:, None] - p_b[None]) ** 2 + (r_a[:, None] - r_b[None]) ** 2) / 2
    for s_a, s_b in zip(skip_a, skip_b, strict=True):
        gap = gap + (s_a[:, None] - s_b[None]) ** 2 / 2 + s_a[:, None] * s_b[None] * before
    gap = jnp.clip(gap + constant(pair.lost) * (over_a[:, None] * over_b[None]), 0.0, 2.0)
    return pair, (gap, 2 - gap)
