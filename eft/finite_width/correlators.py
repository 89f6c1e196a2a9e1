"""The pre-activations from the 1/n series: sums at a given width, correlators, couplings of the action.

Given Ĝ, the neurons of a layer are independent N(0, Ĝ), so all of this follows from the moments of Ĝ.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Bool, Float

from eft import arguments
from eft.arguments import ArgumentError, ArgumentTypeError
from eft.finite_width.expansion import Expansion, in_units, powers
from eft.gaussian.series import odd_factorial, times
from eft.records import METHODS

NEGLIGIBLE_TERM = 1e-3
"""Share of the largest term below which the last term, and the next one extrapolated, are negligible."""

MAX_VARIANCE = 1.0
"""Var(Ĝ)/E[Ĝ]² at leading order above which Ĝ leaves the neighbourhood of K that the series describes."""

MAX_SINGLE_VARIANCE = 0.25
"""The same bound if this is the only term of the variance, so that none shows how the series goes on."""


class Sum(NamedTuple):
    """A series in 1/n summed at a given width; fields of the series' shape without its last axis.

    `value`: Σ_q s_q n^{−q}.
    `last`: the last term, an estimate of the truncation error.
    `converges`: bool, whether `last` is a reliable estimate; see `at_width`.
    """

    value: Float[jax.Array, "*shape"]
    last: Float[jax.Array, "*shape"]
    converges: Bool[jax.Array, "*shape"]

    __repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS


def at_width(series: ArrayLike | Expansion, n: ArrayLike) -> Sum:
    """Σ_q s_q/n^q of an Expansion, or of any series whose last axis is q = 0 … p.

    `series`: an Expansion, in which case the last axis of the result holds the cumulants of Ĝ of orders
    r = 0 … p+1: E[Ĝ] is `value[..., 1]`, Var(Ĝ) is `value[..., 2]`; or an array, such as `G`, `V`,
    `cumulants` or `M` of an Expansion. `n`: n_{l−1}, any number ≥ 1; it broadcasts against the layers, or
    against all axes of the array but the last (an Expansion with `widths` provides it as `n`). For fewer
    orders: `e.truncated(p)`, `array[..., :p+1]`.

    A series *falls* if its last term is no larger than the sum, and is either smaller than both the term
    before it and half of the largest earlier one from q = 1 on, or negligible: both itself and last²/(the
    term before it) are less than 1e-3 of the largest term. If s_0 is the only term before the last, the last
    is compared with s_0; a series of a single term cannot be judged, and counts as falling.

    For an array, `converges` means that it falls. The series of E[Ĝ] can fall even though it is wrong: if g
    is nearly linear at K, its corrections are small, however broad the distribution of Ĝ. For an Expansion,
    `converges` is therefore judged by the whole: mean and variance both fall, Var(Ĝ) ≤ E[Ĝ]² at leading order
    (at order 1, ≤ ¼ E[Ĝ]²), and the cumulant itself falls.

    Raises TypeError or ValueError for a bad argument.

    >>> total = eft.at_width(eft.expand("tanh", 1.0, depth=4, order=3), 32)
    >>> print(total.value[-1, 1:3].round(6), total.converges[-1, 1:3])
    [0.165006 0.001557] [ True  True]
    """
    if isinstance(series, Expansion):
        return _sum_of_cumulants(series, _width(n, series.K.shape, "the layers of series"))
    s = arguments.real_array("series", series)
    if s.ndim < 1 or s.shape[-1] < 1:
        raise ArgumentError(f"series must have a last axis over powers of 1/n; got shape {s.shape}")
    return _sum(s, _width(n, s.shape[:-1], "the axes of series before the last"))


def _width(n: object, shape: tuple[int, ...], axes: str) -> jax.Array:
    """n broadcast against the shape of the series."""
    width = arguments.real_array("n", n)
    if not isinstance(width, Tracer) and not (np.asarray(width) >= 1).all():
        raise ArgumentError(f"n must be ≥ 1; got {arguments.shown(n)}")
    try:
        return jnp.broadcast_to(width, jnp.broadcast_shapes(shape, width.shape))
    except ValueError:
        every = (*width.shape, *(1,) * len(shape))
        raise ArgumentError(
            f"n must broadcast against {axes}, {shape}; got {width.shape}, which for the whole series at "
            f"each of these widths is to be {every}"
        ) from None


@jax.jit
def _sum(s: jax.Array, width: jax.Array) -> Sum:
    terms = _scaled(s, _scale(width, s))
    value = terms.sum(-1)
    return Sum(value, terms[..., -1], _falls(terms, value))


@jax.jit
def _sum_of_cumulants(e: Expansion, width: jax.Array) -> Sum:
    """The sums of the cumulants; `converges` is judged by the cumulants of Ĝ/K, which stay in range."""
    scale = _scale(width, e.M)[..., None, :]
    terms, relative = _scaled(e.cumulants, scale), _scaled(e.relative_cumulants, scale)
    falls = _falls(relative, relative.sum(-1))
    narrow = relative[..., 2, 1] <= (MAX_VARIANCE if e.order > 1 else MAX_SINGLE_VARIANCE)
    whole = falls[..., 1] & falls[..., 2] & narrow
    return Sum(terms.sum(-1), terms[..., -1], falls & whole[..., None])


def _scale(width: jax.Array, series: jax.Array) -> jax.Array:
    """n^{−q} for q = 0 … p on a new last axis."""
    return powers((1 / width).astype(series.dtype), series.shape[-1])


def _scaled(series: jax.Array, scale: jax.Array) -> jax.Array:
    shape = jnp.broadcast_shapes(series.shape, scale.shape)
    return jnp.broadcast_to(series, shape) * jnp.broadcast_to(scale, shape)


def _falls(terms: jax.Array, value: jax.Array) -> jax.Array:
    """Whether the last term is an estimate of the truncation error."""
    size, p = jnp.abs(terms), terms.shape[-1] - 1
    last, previous = size[..., p], size[..., p - 1] if p else jnp.zeros_like(value)
    before = jnp.max(size[..., 1:p], -1, initial=0.0)
    before = jnp.where(before > 0, before, size[..., 0] if p else 0.0)
    halved = (last < before / 2) & ((last < previous) | (previous == 0))
    growth = jnp.where(previous > 0, last / jnp.where(previous > 0, previous, 1.0), 1.0)
    negligible = last * jnp.maximum(growth, 1.0) < NEGLIGIBLE_TERM * size.max(-1)
    return jnp.isfinite(size).all(-1) & (last <= jnp.abs(value)) & (halved | negligible | (before == 0))


def correlator(e: Expansion, powers: Sequence[int], *, connected: bool = False) -> jax.Array:
    """E[Π_i z_i^{2a_i}] over different neurons of a layer, for one input; a series in 1/n like `e.G`.

        E[Π z_i^{2a_i}] = Π (2a_i − 1)!! E[Ĝ^s],   connected: Π (2a_i − 1)!! κ_s(Ĝ),   s = Σ a_i

    `powers` = (2a_1, 2a_2, …): (2, 2) is E[z_1² z_2²], (4,) is E[z⁴]. An odd power gives 0. `connected`: the
    joint cumulant instead of the moment, for s ≤ p+1 (for larger s it is 0 to this order). PDLT (4.24) ff.

    Raises TypeError or ValueError unless the powers are integers ≥ 1.

    >>> series = eft.expand("tanh", 1.0, depth=4, order=2)
    >>> print(eft.correlator(series, (2, 2))[-1].round(4))
    [ 0.0278  0.0326 -0.0089]
    """
    if isinstance(powers, str) or not isinstance(powers, Sequence) or not len(powers):
        raise ArgumentTypeError(f"powers must be a sequence of integers ≥ 1; got {arguments.shown(powers)}")
    given = [arguments.positive_int(f"powers[{i}]", a) for i, a in enumerate(powers)]
    zero = jnp.zeros_like(e.G)
    if any(a % 2 for a in given):
        return zero
    half = [a // 2 for a in given]
    s, weight = sum(half), math.prod(map(odd_factorial, half))
    if connected:
        return weight * e.cumulants[..., s, :] if s <= e.order + 1 else zero
    most = min(s, 2 * e.order)
    relative = sum(math.comb(s, k) * e.M[..., k, :] for k in range(most + 1))
    return in_units(weight * jnp.asarray(relative), e.K[..., None] ** s)


class Action(NamedTuple):
    """The action of m neurons of a layer; each field is a series in 1/n like `e.G`.

    `g`: batch + (depth, p+1) quadratic coupling.
    `v`: batch + (depth, p+1) quartic coupling.
    `s`: batch + (depth, p+2, p+1) coefficients of R^a for a = 0 … p+1; s_0 without its constant.
    """

    g: Float[jax.Array, "*batch depth powers"]
    v: Float[jax.Array, "*batch depth powers"]
    s: Float[jax.Array, "*batch depth terms powers"]

    __repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS


def couplings(e: Expansion, neurons: int = 1) -> Action:
    """p(z_1 … z_m) ∝ e^{−S},   S = ½ g R − ⅛ v R² + s_3 R³ + …,   R = Σ_i z_i², one input.

        e^{−S} = E[(2πĜ)^{−m/2} e^{−R/2Ĝ}] ∝ e^{−R/2K} Σ_k (−1)^k E[(Ĝ/K − 1)^k] L_k^(m/2−1)(R/2K)

    with the Laguerre polynomials; to order n^{−q}, S is a polynomial in R of degree q+1. At leading order
    v = V/nK⁴ and g = 1/G + (1 + m/2) K V/nK⁴ (PDLT chapter 4). `neurons` = m.

    This is an expansion in R/K as well: it holds for m ≪ n neurons, not for the whole layer. The series
    saturate where K leaves the float range. Raises TypeError or ValueError for a bad argument.

    >>> action = eft.couplings(eft.expand("tanh", 1.0, depth=4, order=2))
    >>> print(action._fields, action[0].shape)
    ('g', 'v', 's') (4, 3)
    """
    m = arguments.positive_int("neurons", neurons, maximum=arguments.MAX_WIDTH)
    p, alpha = e.order, m / 2 - 1
    M = jnp.moveaxis(e.M, (-2, -1), (0, 1))  # (k, q) + rest

    def laguerre(k: int, i: int) -> float:
        """The coefficient of (R/K)^i in L_k^(α)(R/2K)."""
        return (-0.5) ** i * math.prod((i + alpha + t) / t for t in range(1, k - i + 1)) / math.factorial(i)

    ks = range(2 * p + 1)
    table = np.array([[(-1) ** k * laguerre(k, i) if i <= k else 0.0 for k in ks] for i in ks])
    A = jnp.einsum("ik,kq...->qi...", table.astype(M.dtype), M)
    # log A: q L_q = q A_q − Σ_k k L_k A_{q−k}
    L: list = [jnp.zeros_like(A[0])]
    for q in range(1, p + 1):
        L.append(A[q] - sum((k * times(L[k], A[q - k]) for k in range(1, q)), jnp.zeros_like(A[0])) / q)
    S = -jnp.stack(L)[:, : p + 2]
    kept = np.arange(p + 2) <= np.arange(p + 1)[:, None] + 1
    S = jnp.where(kept.reshape(p + 1, p + 2, *[1] * (S.ndim - 2)), S, 0.0)
    S = jnp.moveaxis(S.at[0, 1].add(0.5), (0, 1), (-1, -2))
    s = in_units(S, powers(1 / e.K, p + 2)[..., None])
    return Action(2 * s[..., 1, :], -8 * s[..., 2, :], s)
