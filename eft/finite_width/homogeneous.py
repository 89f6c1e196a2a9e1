"""Homogeneous activations at any width, exactly: the mean and the variance of log Ĝ, layer by layer.

For σ(λz) = λᵖσ(z), λ > 0, and no biases, log Ĝ is a random walk. Its moments describe typical networks even
where those of Ĝ itself are dominated by networks so rare that they are never sampled.
"""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Float

from eft import arguments
from eft.activations.analysis import analysed
from eft.activations.definition import Activation, ActivationLike
from eft.activations.programs import compiled
from eft.arguments import ArgumentError
from eft.flows.block import PLAIN_SERIES, refuse
from eft.gaussian.sources import moments
from eft.records import METHODS

LOG_STEP = 0.05
"""Step of the trapezoidal rule in y: relative error below 1e-14 at widths from 1 to 1e6."""

NODE_STEP = 0.2
"""The same in log|ξ|, times p, so that ξ²ᵖ is resolved."""

LOG_RANGE = (80, 2.5)
"""log|ξ| runs from minus the first, where a node has weight e^{−80}, to the second, where it is e^{−74}."""

NEGLIGIBLE_DEAD = 1e-18
"""Probability below which it does not matter that all neurons of a layer may be dead."""

SMALL_T, LARGE_T = 42, 38
"""Range of y = log t: integrands that go as t are e^{−42} at its lower end, as e^{−38} at its upper end."""


class LogFlow(NamedTuple):
    """Mean and variance of log Ĝ over networks of given widths.

    Both fields have shape batch + (depth,); index 0 is layer 1.

    `mean`: E[log Ĝ^l].
    `variance`: Var(log Ĝ^l); 0 at layer 1.
    """

    mean: Float[Array, "*batch depth"]
    variance: Float[Array, "*batch depth"]

    __repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS


@arguments.untraced
def log_flow(
    act: ActivationLike,
    cw: ArrayLike,
    depth: int,
    width: int | None = None,
    *,
    x2: ArrayLike = 1.0,
    K1: ArrayLike | None = None,
    widths: Sequence[int] | None = None,
    skip: ArrayLike = 0.0,
    norm: str | None = None,
    weights: str = "gaussian",
) -> LogFlow:
    """Mean and variance of log Ĝ of a network with a homogeneous activation and C_b = 0.

        log Ĝ′ = log(C_W g₁) + p log Ĝ + log s,   s = (1/n_l) Σ_i σ(ξ_i)²/g₁,   ξ_i ~ N(0, 1),   g₁ = ⟨σ²⟩_1

    holds exactly, with s independent of Ĝ, so that

        E[log Ĝ′] = log(C_W g₁) + p E[log Ĝ] + E[log s],   Var(log Ĝ′) = p² Var(log Ĝ) + Var(log s)

    `act`: homogeneous of degree p ≥ 1, such as ReLU, leaky ReLU, RePU or linear. `width`: that of every
    hidden layer, or else `widths` = (n₁, …, n_{L−1}). `cw`, `x2` and `K1` as for `kernel_flow`, but > 0.
    If σ is 0 on one side, all n neurons of a layer are dead with probability 2⁻ⁿ: such networks are excluded.

    Accurate to 1e-12, absolute and relative, at any depth, unless the result overflows: then it is ±inf.
    Raises TypeError or ValueError for a bad argument, or an activation that is not homogeneous.

    >>> flow = eft.log_flow("relu", 2.0, depth=4, width=10)
    >>> print(flow.mean.round(4), flow.variance.round(4))
    [ 0.6931  0.3857  0.0782 -0.2292] [0.     0.8667 1.7335 2.6002]
    """
    refuse("log_flow", PLAIN_SERIES, skip, norm, weights)
    act = _homogeneous(act)
    depth = arguments.positive_int("depth", depth, maximum=arguments.MAX_DEPTH)
    n = one_width_or_widths(width, widths, depth)
    given = {"cw": arguments.positive("cw", cw)}
    given |= {"x2": arguments.positive("x2", x2)} if K1 is None else {"K1": arguments.positive("K1", K1)}
    cw_, first = arguments.broadcast(given)
    start = jnp.log(first) + (jnp.log(cw_) if K1 is None else 0.0)

    g1 = float(np.asarray(moments(act, jnp.ones((), cw_.dtype)).g))
    moments_of = {m: log_mean_of_squares(act, m) for m in set(n)}
    steps = jnp.asarray(np.array([moments_of[m] for m in n]).reshape(-1, 2), cw_.dtype)
    return _walk(act.degree or 1, start, jnp.log(cw_ * g1), steps)


def one_width_or_widths(width: object, widths: object, depth: int) -> tuple[int, ...]:
    """(n₁, …, n_{L−1}), from exactly one of `width` and `widths`."""
    if (width is None) == (widths is None):
        both = f"{arguments.shown(width)} and {arguments.shown(widths)}"
        raise ArgumentError(f"one of width and widths must be given; got {both}")
    return arguments.hidden_widths(width, widths, depth)


@compiled(0)
def _walk(p: int, start, drift, steps) -> LogFlow:
    """All layers, compiled as a whole: JAX would compile a bare loop anew in each call, and never free it."""

    def layer(now, step):
        after = LogFlow(drift + p * now.mean + step[0], p * p * now.variance + step[1])
        return after, after

    begin = LogFlow(start, jnp.zeros_like(start))
    _, later = lax.scan(layer, begin, steps)
    return LogFlow(
        *(jnp.moveaxis(jnp.concatenate([a[None], b]), 0, -1) for a, b in zip(begin, later, strict=True))
    )


def threshold_cw(act: ActivationLike, x2: ArrayLike = 1.0) -> Array:
    """The C_W at which the kernel stays at K¹ in all layers. For p ≥ 2: K vanishes below it, explodes above.

        C_W g₁ K¹ᵖ = K¹,  K¹ = C_W x2:   C_W = (g₁ x2ᵖ⁻¹)^{−1/p},   g₁ = ⟨σ²⟩_1

    Raises TypeError or ValueError for a bad argument, or an activation that is not homogeneous.

    >>> print(eft.threshold_cw("relu"))
    2.0
    """
    act, x2_ = _homogeneous(act), arguments.positive("x2", x2)
    p = act.degree or 1
    return (moments(act, jnp.ones((), x2_.dtype)).g * x2_ ** (p - 1)) ** (-1 / p)


def _homogeneous(act: object) -> Activation:
    checked = analysed(act)
    if not checked.degree:
        raise ArgumentError(
            f"act must be homogeneous of a degree ≥ 1, as relu or repu; got {checked!r}. A function "
            "of your own that is must be an eft.Activation(fn, degree=…)"
        )
    return checked


def log_mean_of_squares(act: Activation, n: int) -> tuple[float, float]:
    """E[log s] and Var(log s) for s = (1/n) Σ σ(ξ_i)²/g₁, given that s > 0.

    By Frullani's integrals, from φ_n(t) = E[e^{−ts}] = φ(t/n)ⁿ, where φ is a Gaussian expectation; y = log t:

        E[log s] = ∫ dy (e^{−t} − φ_n(t)),   E[log² s] = 2 ∫ dy (y + γ)(φ_n(t) − e^{−t}),   γ = 0.5772…
    """
    plus, minus = (float(np.asarray(act.fn(jnp.asarray(z)))) ** 2 for z in (1.0, -1.0))
    return _log_mean_of_squares(act.degree or 1, plus, minus, n)


@functools.lru_cache(maxsize=1024)
def _log_mean_of_squares(p: int, plus: float, minus: float, n: int) -> tuple[float, float]:
    """The same for σ² = plus |z|²ᵖ at z > 0 and minus |z|²ᵖ at z < 0."""
    # nodes uniformly spaced in log|ξ|, as φ is a function of t|ξ|²ᵖ
    step = min(LOG_STEP, NODE_STEP / p)
    xi = np.exp(step * np.arange(-int(LOG_RANGE[0] / step), int(LOG_RANGE[1] / step)))
    w, F = step * xi * np.exp(-xi * xi / 2) / math.sqrt(2 * math.pi), xi ** (2 * p)
    g1 = (plus + minus) * float(w @ F)
    # φ_n falls off as t^{−n/2p}; or, if neurons can be dead, to the probability that all are, as t^{−1/2p};
    # as t → 0 the integrands go as t or t²
    dead = 0.5 * ((plus == 0) + (minus == 0))
    slow = 1 if 0 < dead**n > NEGLIGIBLE_DEAD else n
    y = LOG_STEP * np.arange(
        -int(SMALL_T / LOG_STEP), int((math.log(n) + 2 * p * (LARGE_T / slow + 6)) / LOG_STEP)
    )
    t = np.exp(y)
    alive, fallen = dead + np.zeros_like(t), np.zeros_like(t)
    for side in (plus, minus):
        if side:
            exponent = np.outer(side * t / (n * g1), F)
            alive += np.exp(-exponent) @ w
            fallen -= np.expm1(-exponent) @ w
    log_phi = n * np.where(fallen < 0.5, np.log1p(-np.minimum(fallen, 0.5)), np.log(alive))
    near = t < 1
    small = np.exp(-t) * np.expm1(np.where(near, log_phi + t, 0.0))
    large = np.exp(log_phi) - np.exp(-t)
    # conditioned on not all neurons being dead
    given = (np.where(near, small, large) - dead**n * -np.expm1(-t)) / (1 - dead**n)
    mean = -LOG_STEP * float(np.sum(given))
    square = 2 * LOG_STEP * float(np.sum((y + np.euler_gamma) * given))
    return mean, square - mean**2
