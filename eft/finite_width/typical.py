"""Typical networks of any activation: the mean and the spread of log Ĝ at a fixed ratio of depth to width.

Where depth/width is not small, the series in 1/n of the moments of Ĝ describes rare networks. log Ĝ does not
have this problem: from layer to layer it moves a little, and it moves independently of the past.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from numpy.polynomial.hermite_e import hermegauss
from scipy.special import comb

from eft import arguments
from eft.activations.analysis import analysed
from eft.activations.definition import Activation, ActivationLike
from eft.activations.programs import compiled
from eft.arguments import ArgumentError
from eft.finite_width.homogeneous import LogFlow, log_flow, one_width_or_widths
from eft.flows.block import PLAIN_SERIES, refuse
from eft.flows.kernel import KernelFlow, kernel_flow
from eft.gaussian.cumulants import CumulantSource, cumulant_source
from eft.gaussian.sources import evaluated_by_numpy, source

SPACING = 1 / 16
"""Distance of the nodes in y = log Ĝ, at which the distribution of y is kept."""

STENCIL = 10
"""Nodes of the polynomials between them: the functions of y vary on a scale of 1, the error is 1e-12."""

BLOCK, MAX_NODES = 64, 1024
"""Unit of the number of nodes, so that few programs are compiled, and its limit: 64 units of y."""

STEP_NODES = 24
"""Nodes of the normal step of y in one layer, over which a polynomial is averaged."""

ORDER = 2
"""Order of the series of cumulants that holds the first three."""

MAX_LOG = 600.0
"""|log K| of the largest and the smallest kernel that are followed."""

MAX_VARIANCE = 0.7
"""Relative variance of Ĝ′ in one step up to which the moments of its log are right to 5 %."""

MARGIN = 7.0
"""Standard deviations of the sum of all steps by which the nodes extend beyond the flow at infinite width."""


@arguments.untraced
def typical_flow(
    act: ActivationLike,
    cw: float,
    depth: int,
    width: int | None = None,
    *,
    cb: float = 0.0,
    x2: float = 1.0,
    K1: float | None = None,
    widths: Sequence[int] | None = None,
    skip: ArrayLike = 0.0,
    norm: str | None = None,
    weights: str = "gaussian",
) -> LogFlow:
    """Mean and variance of log Ĝ over networks of any activation, for any ratio of depth to width.

    Given Ĝ^l = G, the neurons of layer l are independent, z ~ N(0, G), and Ĝ′ = C_b + (C_W/n) Σ F, F = σ².
    With m = C_b + C_W g, the cumulants c_r of F and κ_r = (C_W/m)ʳ c_r/n^{r−1}, those of y′ = log Ĝ′ are

        log m − κ₂/2 + κ₃/3 − ¾κ₂²,    κ₂ − κ₃ + (5/2)κ₂²,    κ₃ − 3κ₂²

    up to O(1/n³), and y is followed through all layers as a Markov chain. All powers of depth/width are thus
    included; the error of mean and variance is of the relative order 1/n². For homogeneous activations
    without biases `log_flow` is exact, and is what is returned.

    `act`: a name, an Activation or a function. `width`: that of every hidden layer, or else
    `widths` = (n₁, …, n_{L−1}). `cw`, `cb`, `x2`, `K1`: one number each, as for `kernel_flow`.
    Both fields of the result have shape (depth,).

    Warns where the widths are too small for the series: one step has Var(Ĝ′) > 0.7 E[Ĝ′]², beyond which the
    moments are off by more than about 5 %.

    Raises TypeError or ValueError for a bad argument, or if a kernel of the flow is not known.

    >>> flow = eft.typical_flow("tanh", 1.0, depth=50, width=50)
    >>> print(f"{flow.mean[-1]:.3f}, {flow.variance[-1]:.3f}")
    -5.208, 0.817
    """
    refuse("typical_flow", PLAIN_SERIES, skip, norm, weights)
    act = analysed(act)
    depth = arguments.positive_int("depth", depth, maximum=arguments.MAX_DEPTH)
    n = one_width_or_widths(width, widths, depth)
    cw, cb = (arguments.number(name, value) for name, value in (("cw", cw), ("cb", cb)))
    flow = kernel_flow(act, cw, depth, cb=cb, x2=x2, K1=K1, widths=n)
    path = np.asarray(flow.log_K, float)
    if path.ndim != 1:
        raise ArgumentError(f"x2 and K1 must be one number each; got a flow of shape {path.shape}")
    known = np.asarray(flow.valid) & (np.abs(path) < MAX_LOG)
    if not known.all():
        layer = int(np.argmin(known)) + 1
        raise ArgumentError(
            f"cw = {cw:g}, cb = {cb:g}, x2 and K1 must give kernels that are known and far from the "
            f"ends of the float range; at layer {layer}, log K = {path[layer - 1]:.4g}"
        )
    if act.degree and cb == 0:
        return log_flow(act, cw, depth, widths=n, K1=float(np.exp(path[0])))
    if depth == 1:
        return LogFlow(flow.log_K, jnp.zeros_like(flow.log_K))
    _check_width(act, cw, path, n)
    y = _nodes(flow, cw, cb, path, n)
    steps = {count: _step(act, cw, cb, y, count) for count in set(n)}
    found = _moments(y, path[0], [steps[count] for count in n], flow.log_K.dtype)
    least, mean, variance = np.log(cb) if cb > 0 else -np.inf, *(np.asarray(a[1:]) for a in found)
    if not ((mean > least - SPACING) & (mean < y[-1]) & (variance >= 0)).all():
        raise ArgumentError(
            f"width = {min(n)} is too small for a series in 1/n with {act.name}: log Ĝ would be distributed "
            "with a mean that it cannot have, or a negative variance"
        )
    return found


def _check_width(act: Activation, cw: float, path: np.ndarray, n: tuple[int, ...]) -> None:
    """Warn where κ₂ on the path is too large for a series in 1/n."""
    K = jnp.asarray(np.exp(path[:-1]))
    m = evaluated_by_numpy(source(act, K.dtype), np.asarray(K))
    c2 = np.asarray(_cumulants(ORDER, cumulant_source(act, ORDER, K.dtype), K, m), float)[1, 0]
    k2 = (cw * np.asarray(m.g, float) / np.exp(path[1:])) ** 2 * c2 / np.array(n)  # c₂ is that of F/g
    if not k2.max() <= MAX_VARIANCE:
        layer = int(np.argmax(k2)) + 1
        arguments.warn_user(
            f"width = {n[layer - 1]} is too small for a series in 1/n with {act.name}: Var(Ĝ′)/E[Ĝ′]² = "
            f"{k2.max():.3g} in one step from layer {layer}, where it should be at most {MAX_VARIANCE:g}"
        )


def _nodes(flow: KernelFlow, cw: float, cb: float, path: np.ndarray, n: tuple[int, ...]) -> np.ndarray:
    """Nodes in y that hold all but a negligible part of the networks of every layer."""
    with np.errstate(all="ignore"):
        variance = np.asarray(flow.V / flow.K**2, float)[1:] / np.array(n)
    margin = MARGIN * np.sqrt(variance.max())
    low, high = path.min() - margin, path.max() + margin
    if cb > 0:  # Ĝ ≥ C_b
        low = max(low, min(path.min(), np.log(cb)))
    if not high - low < SPACING * (MAX_NODES - BLOCK):
        units = SPACING * MAX_NODES
        raise ArgumentError(
            f"width, cw = {cw:g}, cb = {cb:g}, x2 and K1 must leave log Ĝ within {units:g} units; "
            f"K and {MARGIN:g} times its spread √(V/n)/K extend over {high - low:.3g}"
        )
    count = BLOCK * int(1 + np.ceil((high - low) / SPACING / BLOCK))
    return (low + high) / 2 + SPACING * (np.arange(count) - (count - 1) / 2)


def _step(act: Activation, cw: float, cb: float, y: np.ndarray, n: int) -> np.ndarray:
    """(nodes, nodes): the average of a function over y′, given y, from its values at the nodes to those."""
    K = jnp.asarray(np.exp(y))
    m = evaluated_by_numpy(source(act, K.dtype), np.asarray(K))
    size = cw * np.asarray(m.g, float) / (cb + cw * np.asarray(m.g, float))
    c2, c3 = np.asarray(_cumulants(ORDER, cumulant_source(act, ORDER, K.dtype), K, m), float)[1:3, 0]
    k2, k3 = size**2 * c2 / n, size**3 * c3 / n**2
    excess = k3 - 3 * k2**2
    with np.errstate(all="ignore"):
        # as above up to O(1/n³), and a variance > 0 at any n
        centre = np.log(cb + cw * np.asarray(m.g, float)) - np.log1p(k2) / 2 + k3 / 3 - k2**2
        deviation = np.sqrt(np.log1p(k2) * np.exp(-excess / np.where(k2 > 0, k2, 1.0)))
    if not (np.isfinite(centre) & np.isfinite(deviation)).all():
        raise ArgumentError(f"the moments of {act.name} must be finite where networks are; they are not")
    x, weights = hermegauss(STEP_NODES)
    skew = excess / np.where(deviation > 0, deviation, 1.0) ** 3
    weights = weights / weights.sum() * (1 + skew[:, None] / 6 * (x**3 - 3 * x))
    least = max(y[0], np.log(cb)) if cb > 0 else y[0]
    y_next = np.clip(centre[:, None] + deviation[:, None] * x, least, y[-1])
    return np.stack([_interpolated(y, at, w) for at, w in zip(y_next, weights, strict=True)])


@compiled(0)
def _cumulants(order: int, source: CumulantSource, K, m):
    return source(K, m, order).c


def _interpolated(y: np.ndarray, at: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(nodes,): Σ weights × f(at) as a sum over the values of f at the nodes."""
    position = (at - y[0]) / SPACING
    first = np.clip(np.floor(position).astype(int) - STENCIL // 2 + 1, 0, len(y) - STENCIL)
    j = np.arange(STENCIL)
    distance = (position - first)[:, None] - j
    hit = distance == 0
    terms = (-1.0) ** j * comb(STENCIL - 1, j) / np.where(hit, 1.0, distance)
    polynomials = np.where(hit.any(1, keepdims=True), hit, terms / terms.sum(1, keepdims=True))
    return np.bincount((first[:, None] + j).ravel(), (weights[:, None] * polynomials).ravel(), len(y))


def _moments(y: np.ndarray, start: float, steps: list[np.ndarray], dtype) -> LogFlow:
    """Mean and variance of y in all layers."""
    weights = _interpolated(y, np.array([start]), np.ones(1))
    mean, variance = [start], [0.0]
    for step in steps:
        weights = weights @ step
        centre = float(weights @ y)
        mean.append(centre)
        variance.append(max(0.0, float(weights @ (y - centre) ** 2)))
    return LogFlow(jnp.asarray(mean, dtype), jnp.asarray(variance, dtype))
