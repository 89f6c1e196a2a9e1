"""The 1/n series for one input to any order: the moments of the metric Ĝ, layer by layer.

Given Ĝ, the metric of the next layer is C_b + (C_W/n_l) Σ_i σ(z_i)² with independent z_i ~ N(0, Ĝ). This is
a scalar Markov chain; the conditional cumulants are κ_1 = C_b + C_W⟨σ²⟩ and κ_r = C_W^r c_r/n_l^{r−1}, with
c_r the cumulants of σ².
"""

import functools
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
from eft.activations.analysis import analysed
from eft.activations.definition import ActivationLike
from eft.activations.programs import compiled
from eft.arguments import ArgumentError
from eft.flows.block import PLAIN_SERIES, refuse
from eft.flows.kernel import MAX_NUMBERS, KernelFlow, flow_and_moments
from eft.gaussian.cumulants import CumulantSource, cumulant_source
from eft.gaussian.records import Moments
from eft.gaussian.series import last, times
from eft.records import METHODS

MAX_ORDER = 5

BLOCK_SIZE = 512
"""Batch elements processed together: few enough that their series stay in cache."""

AMPLIFICATION = 4096
"""Factor by which errors are enlarged for a finite difference that propagates them, to exceed round-off."""


class Expansion(NamedTuple):
    """The 1/n series of one input. Layers are as in `KernelFlow`; p is the order, and m = n_{l−1}.

    The last axis of a series is the power q = 0 … p of 1/m at layer l, as for V and G1.

    `K`: batch + (depth,) kernel at infinite width.
    `log_K`: log K, of K's shape; for homogeneous σ right even where K leaves the range of floating-point
        numbers.
    `M`: batch + (depth, 2p+1, p+1), E[(Ĝ/K − 1)^k] = Σ_q M[k, q] m^{−q} + O(m^{−p−1}).
    `error`: of M's shape, estimated absolute error of M due to round-off and quadrature.
    `valid`: bool, batch + (depth,), whether K, M and the quadrature are accurate at this and every earlier
        layer.
    `n`: (depth,) m = n_{l−1} if `widths` were given (with n₁ in place of n₀), else None.
    """

    K: Float[jax.Array, "*batch depth"]
    log_K: Float[jax.Array, "*batch depth"]
    M: Float[jax.Array, "*batch depth moments powers"]
    error: Float[jax.Array, "*batch depth moments powers"]
    valid: Bool[jax.Array, "*batch depth"]
    n: Float[jax.Array, "depth"] | None

    __repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS

    @property
    def order(self) -> int:
        """p."""
        return self.M.shape[-1] - 1

    def truncated(self, order: int) -> "Expansion":
        """The expansion truncated at a lower order, 1 to p."""
        q = arguments.positive_int("order", order, maximum=self.order)
        M, error = (a[..., : 2 * q + 1, : q + 1] for a in (self.M, self.error))
        return self._replace(M=M, error=error)

    @property
    def G(self) -> jax.Array:
        """E[Ĝ], batch + (depth, p+1): K, G1, G2, …"""
        return in_units(self.M[..., 1, :].at[..., 0].add(1.0), self.K[..., None])

    @property
    def V(self) -> jax.Array:
        """Var(Ĝ), batch + (depth, p+1): 0, V, and its corrections."""
        return self.cumulants[..., 2, :]

    @property
    def cumulants(self) -> jax.Array:
        """κ_r of Ĝ for r = 0 … p+1, batch + (depth, p+2, p+1): 0, E[Ĝ], Var(Ĝ), …; κ_r = O(m^{1−r}).

        κ_2, κ_3, κ_4 are the four-, six- and eight-point vertices.
        """
        return in_units(self.relative_cumulants, powers(self.K, self.order + 2)[..., None])

    @property
    def relative_cumulants(self) -> jax.Array:
        """The cumulants of Ĝ/K, which stay in range where K does not."""
        kappa = relative_cumulants(self.M)
        return kappa.at[..., 1, 0].add(1.0)

    @property
    def digits_lost(self) -> jax.Array:
        """log₁₀ of M's relative error in units of round-off, from 0 to all digits; 0 where M is exactly 0."""
        size, eps = jnp.abs(self.M), jnp.finfo(self.M.dtype).eps
        ratio = jnp.where(self.error > 0, self.error / jnp.where(size > 0, size * eps, 1.0), 1.0)
        lost = jnp.log10(jnp.clip(jnp.where(size > 0, ratio, 1 / eps), 1.0, 1 / eps))
        return jnp.where(self.error > 0, lost, 0.0)


def expand(
    act: ActivationLike,
    cw: ArrayLike,
    depth: int,
    order: int,
    *,
    cb: ArrayLike = 0.0,
    x2: ArrayLike = 1.0,
    K1: ArrayLike | None = None,
    widths: Sequence[int] | None = None,
    skip: ArrayLike = 0.0,
    norm: str | None = None,
    weights: str = "gaussian",
) -> Expansion:
    """The moments of Ĝ as series in 1/n, to order n^{−p}, at every layer of a network at initialization.

        y = Ĝ/K − 1:   log E[e^{ty′} | y] = Σ_r κ_r(y) tʳ/r!
        κ_1 = (C_W/K′) (g(K(1+y)) − g(K)),   κ_r = (C_W/K′)ʳ c_r(K(1+y))/n_l^{r−1},   g = ⟨σ²⟩
        E[y′ᵏ] = E[B_k(κ_1(y), …, κ_k(y))],   B_k the complete Bell polynomials,   y¹ = 0

    Since E[yᵏ] = O(n^{−⌈k/2⌉}), expanding the right-hand side in y up to y^{2p} gives a closed recursion for
    k ≤ 2p. (Order 1 is PDLT chapter 4; V and G1 of `kernel_flow` are `V[..., 1]` and `G[..., 1]`.)

    `order` = p, 1 to 5; the other arguments are those of `kernel_flow`, of a plain network only. With
    `widths`, the series of layer l is in 1/n_{l−1} at fixed ratios of the widths, and `n` of the result holds
    n_{l−1}. `at_width` sums a series; `correlator` and `couplings` give the correlators and the action of the
    pre-activations.

    Range and accuracy: float64, K in [1e-16, 1e16], and below if σ(0) = 0. For homogeneous σ, M stays
    accurate where K leaves the float range; G, V and the cumulants saturate there at the largest float.
    Digits are lost as K → 0 if σ has kinks, and in deep flows that forget their input; `error` estimates how
    many. For σ that grows, the series is asymptotic: higher orders help only as long as their terms decrease.

    Differentiable in cw, cb, x2, K1. Compiled once for each order, depth and batch shape; all activations
    that are neither homogeneous nor a sine share one program. Raises TypeError or ValueError for a bad
    argument.

    >>> series = eft.expand("tanh", 1.0, depth=4, order=3)
    >>> print(series.G[-1].round(4), series.V[-1].round(4))
    [ 0.1667 -0.0527 -0.0047  0.007 ] [ 0.      0.0501 -0.0101 -0.0002]
    """
    refuse("expand", PLAIN_SERIES, skip, norm, weights)
    act = analysed(act)
    order = arguments.positive_int("order", order, maximum=MAX_ORDER)
    numbers = (2 * order + 1) * (order + 1)
    size = _size(depth, cw, cb, x2 if K1 is None else K1)
    if size * numbers > MAX_NUMBERS:
        raise ArgumentError(
            f"depth × batch must be ≤ {MAX_NUMBERS // numbers:,} at order {order}; got {size:,}"
        )
    flow, m = flow_and_moments(act, cw, depth, cb=cb, x2=x2, K1=K1, widths=widths)
    shape, dtype = flow.K.shape, flow.K.dtype
    ratios = arguments.width_ratios(widths, shape[-1])
    n = np.array([widths[0], *widths], float) if widths is not None and len(widths) else None
    cw_, cb_ = (
        arguments.converted(arguments.real_array(name, a), dtype) for name, a in (("cw", cw), ("cb", cb))
    )
    cumulants = cumulant_source(act, order, dtype, 0 if isinstance(flow.K, Tracer) else flow.K.size)
    M, error, valid = _series(order, cumulants, cw_, cb_, flow, m, ratios.astype(dtype))
    n = None if n is None else jax.device_put(n.astype(dtype))
    return Expansion(flow.K, flow.log_K, M, error, valid, n)


def _size(depth: object, *settings: object) -> int:
    """depth × batch; 0 for invalid arguments, which `kernel_flow` then reports."""
    try:
        batch = np.broadcast_shapes(*(np.shape(a) for a in settings))  # type: ignore[arg-type]
        return math.prod(batch) * arguments.positive_int("depth", depth)
    except (TypeError, ValueError):
        return 0


class _Layer(NamedTuple):
    """The state passed from one layer to the next; the batch is the last axis.

    `M`: (entries, N), those of `entries`.
    `error`: of M's shape.
    `valid`: (N,).
    """

    M: Float[jax.Array, "entries N"]
    error: Float[jax.Array, "entries N"]
    valid: Bool[jax.Array, "N"]


@functools.cache
def entries(order: int) -> tuple[tuple[int, int], ...]:
    """The k, q at which M[k, q] is not 0 by its order in 1/n: q ≥ k/2, and q = 0 of k = 0."""
    higher = ((k, q) for k in range(1, 2 * order + 1) for q in range((k + 1) // 2, order + 1))
    return (0, 0), *higher


@compiled(0)
def _series(order: int, cumulants: CumulantSource, cw, cb, flow: KernelFlow, m: Moments, ratios):
    """M, its error and `valid`, the fields of an `Expansion`."""
    shape = flow.K.shape
    cw, cb = (jnp.broadcast_to(a, shape[:-1]).ravel() for a in (cw, cb))
    kept = flow.K, flow.log_K, m
    K, log_K, m = jax.tree.map(lambda a: jnp.moveaxis(a, -1, 0).reshape(shape[-1], -1), kept)
    M, error, valid = _by_row(order, cumulants, cw, cb, K, log_K, m, ratios)
    places = np.array(entries(order)).T

    def whole(a):
        rows = jnp.moveaxis(a, (-1, 0), (0, 1)).reshape(*shape, places.shape[1])
        return jnp.zeros((*shape, 2 * order + 1, order + 1), a.dtype).at[..., *places].set(rows)

    M, error = map(whole, (M, error))
    return M, error, jnp.moveaxis(valid, 0, -1).reshape(shape) & flow.valid


def _by_row(order: int, cumulants: CumulantSource, cw, cb, K, log_K, m: Moments, ratios):
    """The same with the batch as one axis, the last; K, log_K and m have shape (depth, N)."""
    run = functools.partial(_flow, order, cumulants, ratios)
    after = jnp.concatenate([log_K[1:], log_K[-1:]])
    N = len(cw)
    if N <= BLOCK_SIZE:
        return run((cw, cb, K, after, m))

    def blocks(a):
        whole = jnp.pad(a, [(0, 0)] * (a.ndim - 1) + [(0, -N % BLOCK_SIZE)], mode="edge")
        return jnp.moveaxis(whole.reshape(*a.shape[:-1], -1, BLOCK_SIZE), -2, 0)

    flow = jax.lax.map(run, jax.tree.map(blocks, (cw, cb, K, after, m)))
    return jax.tree.map(lambda a: jnp.moveaxis(a, 0, -2).reshape(*a.shape[1:-1], -1)[..., :N], flow)


def _flow(order: int, cumulants: CumulantSource, ratios, batch):
    cw, cb, K, after, m = batch
    eps = jnp.finfo(K.dtype).eps

    def layer(now: _Layer, at):
        K, log_next, m, ratio = at
        rescaled = powers(ratio, order + 1)[np.array(entries(order))[:, 1], None]
        M, error = now.M * rescaled, now.error * rescaled
        of_layer = cumulants(K, m, order)
        share = _share(cw, cb, m.g, log_next)
        scale = jnp.stack([share**r for r in range(1, order + 2)])[:, None]
        kappa, spread = scale * of_layer.c, scale * of_layer.error
        size, perturbation = jnp.abs(kappa), AMPLIFICATION * (spread + 2 * order * eps * jnp.abs(kappa))
        every = jax.lax.optimization_barrier(jnp.stack([kappa, size, size + perturbation], -2))
        M_next, error_next = average(bell(every, order), M, error, order)
        fine = jnp.isfinite(M_next).all(0) & jnp.isfinite(error_next).all(0) & of_layer.valid
        after = _Layer(_finite(M_next), _finite(error_next), now.valid & fine)
        return after, now

    N = K.shape[-1]
    none = jnp.zeros((len(entries(order)), N), K.dtype)
    start = _Layer(none.at[0].set(1.0), none, jnp.ones(N, bool))
    _, flow = jax.lax.scan(layer, start, (K, after, m, ratios))
    return flow


def _share(cw, cb, g, log_next):
    """C_W g/K′ in [0, 1]; without biases it is 1 unless K′ = 0, even where K′ is out of range."""
    product = jnp.clip(cw * g, 0.0, jnp.finfo(g.dtype).max)
    total = cb + product
    share = jnp.where(total > 0, product / jnp.where(total > 0, total, 1.0), 0.0)
    return jnp.where(cb > 0, share, jnp.where(log_next > -jnp.inf, 1.0, 0.0))


def _finite(a):
    """a, limited to the float range, with the largest float in place of NaN."""
    largest = jnp.finfo(a.dtype).max
    return jnp.clip(jnp.where(jnp.isnan(a), largest, a), -largest, largest)


def bell(kappa: jax.Array, order: int) -> dict[tuple[int, int, int], jax.Array]:
    """B_0 … B_2p as polynomials in y and 1/n_l: B_{k+1} = Σ_i C(k, i) κ_{i+1} B_{k−i}.

    kappa: (p+1, 2p+1) + rest, the coefficient of yʲ in κ_r, without its factor n_l^{1−r}; that of y⁰ in κ_1
    is 0. Returns the coefficients of n_l^{−q} yʲ in B_k/k! at (k, q, j), of the shape of the rest: those that
    are not 0, as there are at least k − 2q factors κ_1, and that contribute, as E[yʲ] = O(n^{−j/2}).
    """
    scaled = {
        (i, a): row
        for i in range(order + 1)
        for a, row in enumerate(kappa[i, : last(order, i + 1) + 1] / math.factorial(i))
    }
    B = {(0, 0, 0): jnp.ones_like(kappa[0, 0])}
    for k in range(2 * order):
        row: dict = {}
        for q in range(min(k, order) + 1):
            for j in range(max(0, k + 1 - 2 * q), last(order, q + 1) + 1):
                pairs = (
                    (i, a, (k - i, q - i, j - a)) for i in range(q + 1) for a in range(int(i == 0), j + 1)
                )
                row[k + 1, q, j] = sum(scaled[i, a] * B[lower] for i, a, lower in pairs if lower in B) / (
                    k + 1
                )
        B |= jax.lax.optimization_barrier(row)
    return B


def average(B: dict, M: jax.Array, error: jax.Array, order: int) -> tuple[jax.Array, jax.Array]:
    """E[B_k] = Σ_j B_k[yʲ] E[yʲ], truncated in 1/n, and its error; of M's shape.

    B of κ, of |κ| and of |κ| with its error enlarged by `AMPLIFICATION`, on the last axis but one.
    """
    places = entries(order)
    whole = jnp.stack(list(B.values()))
    value, off = whole[:, :1], whole[:, 2:] - whole[:, 1:2]
    of_B = list(jax.lax.optimization_barrier(jnp.concatenate([value, jnp.abs(value), off], 1)))
    of_M = dict(zip(places, jnp.stack([M, error, jnp.abs(M) / AMPLIFICATION], 1), strict=True))
    rows = []
    for k, q in places:
        terms = [
            b * of_M[j, q - r]
            for b, (of, r, j) in zip(of_B, B, strict=True)
            if of == k and (j, q - r) in of_M
        ]
        rows.append(math.factorial(k) * sum(terms))
    total = jnp.stack(rows)
    return total[:, 0], jax.lax.stop_gradient(total[:, 1] + total[:, 2])


def powers(a: jax.Array, count: int) -> jax.Array:
    """a⁰, a, … on a new last axis."""
    return jnp.stack([a**k for k in range(count)], -1)


def in_units(series: jax.Array, unit: jax.Array) -> jax.Array:
    """series · unit, saturated at the largest float; 0 where the series is 0."""
    return _finite(jnp.where(series == 0, 0.0, series * jnp.where(series == 0, 1.0, unit)))


def relative_cumulants(M: jax.Array) -> jax.Array:
    """κ_r of Ĝ/K − 1 for r = 0 … p+1 from its moments, as series in 1/n on the last axis."""
    order = M.shape[-1] - 1
    rows = jnp.moveaxis(M, (-2, -1), (0, 1))[1 : order + 2]
    kappa: list = []
    for r, moment in enumerate(rows, start=1):
        lower = (math.comb(r - 1, i - 1) * times(kappa[i - 1], rows[r - i - 1]) for i in range(1, r))
        # κ_r = O(n^{1−r}): terms of lower order are round-off
        kappa.append((moment - sum(lower)).at[: r - 1].set(0.0))
    return jnp.moveaxis(jnp.stack([jnp.zeros_like(kappa[0]), *kappa]), (0, 1), (-2, -1))
