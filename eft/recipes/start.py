"""Where a deep network is to start: C_W, C_b and the first kernel, for an activation and a kind of layer."""

import warnings
from typing import NamedTuple

import numpy as np

from eft.activations.definition import Activation
from eft.arguments import ArgumentError
from eft.criticality.contraction import one_contraction
from eft.criticality.moment_grid import sampled
from eft.criticality.phases import critical_curve
from eft.criticality.universality import Universality, classify
from eft.flows.block import checked_block
from eft.flows.kernel import diagonal
from eft.gaussian.expectation import QuadratureWarning
from eft.records import METHODS

DRIFT = 4.0
"""Factor by which K, and the size of gradients, may change in all layers together for a start to be good."""

EDGE = "edge of chaos"
NORMALIZED = "normalized"
BRANCH = "scaled branch"


class StartingPoint(NamedTuple):
    """C_W and C_b of the hidden layers, and the kernel K¹ of the first.

    `kind`: that of the critical point, as `classify` names it; or "edge of chaos", where χ⊥ = 1 and χ∥ < 1;
        "normalized"; or "scaled branch", γ = 1 with C_W and C_b divided by the number of residual layers.
    `K`: the fixed point K*; nan if K has none.
    `cw`, `cb`: C_W and C_b.
    `K1`: K¹.
    `rescaled`: whether the first layer's weights differ from plain ones, for which K¹ = C_b + C_W x2 of the
        network without a skip.
    `reason`: why this point, and why the first layer is rescaled or not.
    """

    kind: str
    K: float
    cw: float
    cb: float
    K1: float
    rescaled: bool
    reason: str

    __repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS


def starting_point(act: Activation, depth: int, x2: float, skip: float, norm: str | None) -> StartingPoint:
    """The preferred starting point of a network of this depth.

    Raises ArgumentError if there is none: where neither a critical point exists nor one with χ⊥ = 1 and
    χ∥ < 1, and for a skip > 1, with which K grows exponentially.
    """
    if skip > 1:
        raise ArgumentError(f"skip must be ≤ 1; got {skip:g}: the kernel grows exponentially")
    if norm is not None:
        return _normalized(act, x2, skip)
    if skip == 1:
        plain = starting_point(act, depth, x2, 0.0, None)
        steps = max(depth - 2, 1)
        reason = (
            f"with a skip of 1 nothing is critical; C_W = {plain.cw:.6g} and C_b = {plain.cb:.6g} of the "
            f"plain network, divided by the {steps} residual layers, keep K within a factor e of K¹"
        )
        return plain._replace(kind=BRANCH, K=np.nan, cw=plain.cw / steps, cb=plain.cb / steps, reason=reason)
    found = classify(act, skip=skip)
    contracted = one_contraction(skip)
    if not found.candidates:
        return _edge(act, found, skip, x2)
    plain_K1 = (found.cb + found.cw * x2) / contracted
    K1, reason = _first_kernel(act, found, depth, plain_K1, skip)
    return StartingPoint(found.kind, found.K, found.cw, found.cb, K1, plain_K1 != K1, reason)


def padded(depth: int) -> int:
    """The depth rounded up to a power of two, at least 64, so that few programs are compiled."""
    return max(64, 1 << (depth - 1).bit_length())


def _first_kernel(
    act: Activation, found: Universality, depth: int, K1: float, skip: float
) -> tuple[float, str]:
    """K¹, and why: the plain one where K and gradients stay within `DRIFT`, or return by themselves."""
    low, high = found.basin
    if found.stability == "neutral":
        return K1, "every layer keeps K and gradients, from any start"
    if found.stability == "stable" and low <= K1 < high:
        return K1, "K and gradients change as powers of the depth, from any such start"
    block, skip_ = checked_block(skip, None, "gaussian", False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", QuadratureWarning)  # a start that leads there is not taken
        flow = diagonal(act, found.cw, padded(depth), block, skip_, cb=found.cb, K1=K1)
    with np.errstate(all="ignore"):
        log_K = np.log(np.asarray(flow.K, float)[:depth])
        log_gradients = np.cumsum(np.log(np.asarray(flow.chi_perp, float)[: depth - 1]))
        drift = np.exp(max(np.abs(log_K - log_K[0]).max(), np.abs(log_gradients).max()))
    if np.asarray(flow.valid)[:depth].all() and drift <= DRIFT:
        return K1, (
            f"from the plain K¹ = {K1:.4g} K and gradients stay within a factor of {drift:.3g} in all layers"
        )
    if found.K > 0:
        return found.K, f"the plain K¹ = {K1:.4g} drifts too far from K* = {found.K:.6g}"
    order, a = found.best.order, found.best.a
    if not (0 < order < np.inf and a > 0):
        return K1, "K* = 0 is left slower than any power of the depth"
    K1 = float((1 - DRIFT**-order) / (order * a * depth)) ** (1 / order)
    return K1, f"K* = 0 is unstable: from this K¹ the kernel grows by a factor of {DRIFT:g} in all layers"


def _edge(act: Activation, found: Universality, skip: float, x2: float) -> StartingPoint:
    """The point on χ⊥ = 1 with the largest χ∥ < 1, where sizes are forgotten least; any K¹ tends to K*."""
    curve = critical_curve(act, skip=skip)
    stable = np.flatnonzero(np.abs(curve.chi_parallel) < 1) if len(curve.K) else np.array([], int)
    if not len(stable):
        mend = '. A normalization, norm="rms" or "layer", gives it one' if _at_unit_variance(act)[2] else ""
        raise ArgumentError(
            f"act must have a starting point for deep networks; {act.name}: {found.reason}{mend}"
        )
    i = stable[np.abs(curve.chi_parallel[stable]).argmax()]
    cw, cb, K = float(curve.cw[i]), float(curve.cb[i]), float(curve.K[i])
    plain = (cb + cw * x2) / one_contraction(skip)
    reason = (
        f"no critical point ({found.reason}); here χ⊥ = 1, while sizes are forgotten, χ∥ = "
        f"{curve.chi_parallel[i]:.3g}"
    )
    return StartingPoint(EDGE, K, cw, cb, K, not np.isclose(plain, K), reason)


def _at_unit_variance(act: Activation) -> tuple[float, float, bool]:
    """⟨σ²⟩, ⟨σ′²⟩, and whether both are finite and not 0, as a normalized network needs them."""
    m = sampled(act, np.ones(1))
    g, slope2 = float(m.g[0]), float(m.slope2[0])
    return g, slope2, 0 < g < np.inf and 0 < slope2 < np.inf


def _normalized(act: Activation, x2: float, skip: float) -> StartingPoint:
    """χ⊥ = γ² + C_W⟨σ′²⟩_1/K = 1 at K = 1, if C_b = C_W(⟨σ′²⟩_1 − ⟨σ²⟩_1) ≥ 0; else C_b = 0, χ⊥ < 1."""
    g, slope2, possible = _at_unit_variance(act)
    if not possible:
        raise ArgumentError(f"act must have finite ⟨σ²⟩, ⟨σ′²⟩ > 0; {act.name} has {g:.4g}, {slope2:.4g}")
    contracted = 1.0 if skip == 1 else one_contraction(skip)
    unbiased = slope2 <= g * (1 + 1e-12)
    plain_cw = 1 / (g if unbiased else slope2)
    plain_cb = 0.0 if unbiased else 1 - plain_cw * g
    if skip == 1:
        reason = "K grows linearly, gradients as a power of the depth, whatever C_W and C_b are"
        return StartingPoint(NORMALIZED, np.nan, plain_cw, 0.0, plain_cw * x2, False, reason)
    at = 1 - contracted * (1 - slope2 / g) if unbiased else 1.0
    reason = f"the normalization fixes K = 1 before σ; there χ⊥ = {at:.6g}"
    if unbiased and slope2 < g * (1 - 1e-12):
        reason += ", and no C_b ≥ 0 makes it 1: ⟨σ′²⟩ < ⟨σ²⟩"
    cw, cb = contracted * plain_cw, contracted * plain_cb
    return StartingPoint(NORMALIZED, 1.0, cw, cb, plain_cb + plain_cw * x2, False, reason)
