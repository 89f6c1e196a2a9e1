"""What the theory predicts for the layers that were found, from their C_W and C_b and from K of the first.

With K of the pre-activation upstream, M and S the mean squares of what the layer takes in and of its slope,

    K′ = γ²K + C_b + C_W M,   χ⊥ = γ² + C_W S,   χ∥ = γ² + C_W dM/dK

    activation alone:           M = ⟨σ²⟩_K,   S = ⟨σ′²⟩_K
    after a normalization:      M = ⟨σ²⟩_s,   S = ⟨σ′²⟩_s s/K,       dM/dK = 0,   s its scale squared
    followed by one:            M = s,        S = ⟨σ′²⟩_K s/⟨σ²⟩_K,  dM/dK = 0
                                (layer norm: ⟨σ²⟩_K − ⟨σ⟩_K² in place of ⟨σ²⟩_K)

The K̂ of one network of n neurons a layer has the standard deviation √(W/n) from K, with W¹ = 0 given K̂¹ and

    W′ = χ∥²W + C_W²(⟨σ⁴⟩ − ⟨σ²⟩² − 2K²g′²) + 2(K_y² + 2γ²K K_y),   K_y = C_b + C_W M,

the neurons' memory of layers before the last left out. This is for one input; of the mean over m inputs of
correlation ρ the fresh terms are 1/m + (1 − 1/m)ρ² times as large.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

import eft
from eft.records import METHODS
from nets.models.forms import Stage
from nets.models.layers import Layer, Network
from nets.models.probe import Probe, host, neurons, slope


class Prediction(NamedTuple):
    """What is predicted of one layer; NaN where nothing is.

    `K`, `chi_perp`, `chi_parallel`, `rho`: as measured in `Probe`. `K_spread`, `chi_spread`: the standard
    deviations of K̂ and χ̂⊥ of one network of this width. `V`: n Var(Ĝ) of an ensemble, n the neurons
    upstream. `started`: K is the measured one, where a chain of predictions begins.
    """

    K: float
    chi_perp: float
    chi_parallel: float
    rho: float
    K_spread: float
    chi_spread: float
    V: float
    started: bool

    __repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS


class Step(NamedTuple):
    """From one pre-activation to the next, before C_W and C_b: M, S and dM/dK at K, and the part of
    ⟨σ⁴⟩ − ⟨σ²⟩² that K̂ leaves open."""

    M: float
    S: float
    dM: float
    rest: float


NODES = np.linspace(-8.0, 8.0, 1601)
WEIGHTS = np.exp(-(NODES**2) / 2) / np.exp(-(NODES**2) / 2).sum()
"""For means over N(0, 1) that need no more than three digits."""


def understood(forms: Sequence[Stage]) -> bool:
    """Whether the theory knows what stands before a layer: [normalization] [activation] [normalization]."""
    kinds = ["norm" if form.kind in ("rms", "layer") else form.kind for form in forms]
    return kinds in (
        [],
        ["activation"],
        ["norm"],
        ["norm", "activation"],
        ["activation", "norm"],
    ) and not any(form.shift2 for form in forms)


def _parts(forms: Sequence[Stage]) -> tuple[eft.Activation, Stage | None, bool]:
    """The activation, the normalization, and whether that comes first."""
    act = next((form.act for form in forms if form.act is not None), eft.activation("linear"))
    norm = next((form for form in forms if form.kind in ("rms", "layer")), None)
    return act, norm, norm is not None and forms[0] is norm


def largest_kernel() -> float:
    """Up to here moments of σ⁴ are representable, if σ does not grow faster than z."""
    return 1e-4 * math.sqrt(float(jnp.finfo(jnp.result_type(float)).max))


def step(forms: Sequence[Stage], K: float) -> Step:
    """M, S, dM/dK and what fluctuates, for what stands before a layer at a kernel K > 0."""
    act, norm, before = _parts(forms)
    at = norm.scale2 if norm is not None and before else K
    m = eft.moments(act, at)
    M, S, dM = float(m.g), float(m.slope2), float(m.dg)
    along = at * dM
    rest = max(float(m.var) - 2 * along * along, 0.0)
    if norm is None:
        return Step(M, S, dM, rest)
    if before:
        return Step(M, S * at / K, 0.0, rest)
    size = M if norm.kind == "rms" else M - _mean(act, K) ** 2
    return Step(norm.scale2, S * norm.scale2 / size if size > 0 else math.nan, 0.0, 0.0)


def slope_variance(forms: Sequence[Stage], K: float) -> float:
    """(⟨σ′⁴⟩ − ⟨σ′²⟩²)/⟨σ′²⟩²."""
    act, norm, before = _parts(forms)
    s = slope(act, NODES * math.sqrt(norm.scale2 if norm is not None and before else K)) ** 2
    mean = float(np.sum(WEIGHTS * s))
    return max(float(np.sum(WEIGHTS * s**2)) / mean**2 - 1, 0.0) if mean > 0 else 0.0


def _mean(act: eft.Activation, K: float) -> float:
    """⟨σ⟩."""
    return float(np.sum(WEIGHTS * host(act.fn(jnp.asarray(NODES * math.sqrt(K), jnp.result_type(float))))))


def correlated(forms: Sequence[Stage], K: float, rho: float) -> float:
    """Mean product of what a layer takes in for two inputs of one size K and of correlation ρ."""
    act, norm, before = _parts(forms)
    at = norm.scale2 if norm is not None and before else K
    product = float(eft.pair_expectation(act, at, at, min(max(1 - rho, 0.0), 2.0)).product)
    if norm is None or before:
        return product
    M = float(eft.moments(act, K).g)
    mean2 = _mean(act, K) ** 2 if norm.kind == "layer" else 0.0
    return norm.scale2 * (product - mean2) / (M - mean2) if mean2 < M else math.nan


class _State(NamedTuple):
    """Of one pre-activation: K, the correlation of inputs, and W/n, the variance of K̂."""

    K: float
    rho: float
    variance: float


def predicted(network: Network, probes: Sequence[Probe], m: int) -> list[Prediction]:
    """The prediction of every layer, in order, for means over m inputs. For m = 0 it is that of one input in
    an ensemble: K̂¹ varies, 2K²/n, in place of being given."""
    states: dict[int, _State] = {}
    found = []
    for layer, probe in zip(network.layers, probes, strict=True):
        before, past = states.get(layer.source or -1), states.get(layer.skip or -1)
        known = before is not None and understood(probe.forms) and 0 < before.K < largest_kernel()
        if not known or (layer.skip is not None and (past is None or layer.gamma is None)):
            K = float(probe.K.mean)
            states[layer.z] = _State(K, probe.rho, 0.0 if m else 2 * K**2 / probe.width)
            found.append(Prediction(K, math.nan, math.nan, probe.rho, math.nan, math.nan, math.nan, True))
            continue
        assert before is not None
        after, prediction = _advanced(layer, probe, before, past, neurons(network, layer.source), m)
        states[layer.z] = after
        found.append(prediction)
    return found


def _share(rho: float, m: int) -> float:
    """Of the variance for one input, that of a mean over m inputs of this correlation."""
    return 1.0 if m < 2 or math.isnan(rho) else 1 / m + (1 - 1 / m) * min(rho**2, 1.0)


def _advanced(
    layer: Layer, probe: Probe, before: _State, past: _State | None, n: int, m: int
) -> tuple[_State, Prediction]:
    """One step; `past`: where the skip connection starts, `n`: the neurons upstream, `m`: the inputs."""
    one, near = step(probe.forms, before.K), step(probe.forms, 1.01 * before.K)
    cw, cb = float(probe.cw.mean) * probe.coverage, float(probe.cb.mean)
    gamma2 = 0.0 if past is None else float(layer.gamma or 0.0) ** 2
    K_h = 0.0 if past is None else past.K
    own2 = 0.0 if layer.inner else gamma2  # the skip goes over this layer alone
    K_y = cb + cw * one.M
    K = gamma2 * K_h + K_y
    chi_perp, chi_parallel = own2 + cw * one.S, own2 + cw * one.dM

    rho = math.nan
    if math.isfinite(before.rho) and K > 0:
        crossed = cb + cw * correlated(probe.forms, before.K, before.rho)
        rho = (crossed + (gamma2 * K_h * past.rho if past is not None else 0.0)) / K

    carried = chi_parallel * chi_parallel * before.variance
    if layer.inner and past is not None:
        carried += gamma2**2 * past.variance
    of_metric = carried + cw**2 * one.rest / n * _share(before.rho, m)
    fresh = 2 * K_y * (K_y + 2 * gamma2 * K_h) / probe.width
    variance = of_metric + fresh * _share(rho, m)
    slope_of_S = (near.S - one.S) / (0.01 * before.K)
    own_slopes = one.S * one.S * slope_variance(probe.forms, before.K) / n * _share(before.rho, m)
    chi_spread = cw * math.sqrt(slope_of_S * slope_of_S * before.variance + own_slopes)
    prediction = Prediction(
        K, chi_perp, chi_parallel, rho, math.sqrt(variance), chi_spread, n * of_metric, False
    )
    return _State(K, rho, variance), prediction


class Deep(NamedTuple):
    """Where layers like these lead: growth of K and of squared gradients in one more of them."""

    K: float
    log_growth: float
    log_chi: float


DEEP, LARGE, SETTLED = 300, 1e30, 1e-5
"""Layers after which the flow counts as deep, how far K may grow or fall until then, and how little it may
change for the rest to be left out."""


class Kind(NamedTuple):
    """A layer without its number: what stands before it, C_W, C_b, and γ² of a skip over it alone."""

    forms: tuple[Stage, ...]
    cw: float
    cb: float
    gamma2: float


def deep(kinds: Sequence[Kind], K: float, gamma2: float = 0.0) -> Deep:
    """The flow after many repetitions of a block of layers; `gamma2` = γ² of a skip over the whole block."""
    start = max(K, 1e-300)
    log_growth = log_chi = last = math.nan
    for _ in range(DEEP):
        before, chi = K, 1.0
        for kind in kinds:
            one = step(kind.forms, K)
            chi *= kind.gamma2 + kind.cw * one.S
            K = kind.gamma2 * K + kind.cb + kind.cw * one.M
        K, chi = gamma2 * before + K, gamma2 + chi
        if not (K > 0 and chi > 0 and math.isfinite(K) and math.isfinite(chi)):
            break
        log_growth, log_chi = math.log(K / before), math.log(chi)
        steady = abs(log_growth) < SETTLED and abs(log_chi - last) < SETTLED
        if steady or not 1 / LARGE < K / start < LARGE or largest_kernel() < K:
            break
        last = log_chi
    return Deep(K, log_growth, log_chi)
