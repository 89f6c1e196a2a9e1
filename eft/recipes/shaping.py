"""Activations made to measure: shifted and scaled so that deep networks of them keep signals and angles."""

import math
from typing import NamedTuple

import numpy as np

from eft import arguments
from eft.activations.analysis import analysed, sampler_of
from eft.activations.catalogue import activation
from eft.activations.definition import Activation, ActivationLike
from eft.activations.derivatives import derivative
from eft.activations.families import Homogeneous
from eft.activations.one_sided import jumps_at
from eft.arguments import ArgumentError
from eft.criticality.moment_grid import in_float64, sampled
from eft.criticality.near_zero import origin
from eft.flows.pair import pair_flow
from eft.recipes import conditions as solving
from eft.recipes.affine import Affine, shifted_moments, transformed
from eft.records import METHODS

TARGETS = {
    "dks": {"slope": 1.5},
    "tat": {"curvature": 0.3, "C0": 0.9},
    "stable": {"a1": None, "b1": None},
    "centred": {"slope": 1.5},
}
"""The names of the sets of conditions, their targets, and the defaults of these."""

TARGET_RANGE = (1e-12, 1e12)
"""The smallest and the largest target, and K: those at which the expectations are accurate."""

FEW_PARAMETERS = (
    "; σ is homogeneous, so that α does no more than γ does: three parameters for four conditions"
)


class Shape(NamedTuple):
    """σ̂(z) = γ(σ(αz + β) + δ), to be used with C_W = 1 and C_b = 0.

    `act`: σ̂.
    `input_scale`: α > 0.
    `input_shift`: β.
    `output_shift`: δ.
    `output_scale`: γ.
    `negative_slope`: that of the leaky ReLU, where it is a parameter; else nan.
    `K`: the kernel at which the conditions hold; 0 for "stable".
    `residuals`: what was found less what was asked for. "mean": ⟨σ̂⟩. "kernel": ⟨σ̂²⟩/K. "chi_parallel",
        "chi_perp". "curvature": C″(1). "C0": C_f(0). "value": σ̂(0). "slope": σ̂′(0). "a1", "b1".
    """

    act: Activation
    input_scale: float
    input_shift: float
    output_shift: float
    output_scale: float
    negative_slope: float
    K: float
    residuals: dict[str, float]

    __repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS


@in_float64
def shape(
    act: ActivationLike,
    conditions: str = "dks",
    *,
    depth: int = 2,
    K: float | None = None,
    slope: float | None = None,
    curvature: float | None = None,
    C0: float | None = None,
    a1: float | None = None,
    b1: float | None = None,
) -> Shape:
    """σ̂(z) = γ(σ(αz + β) + δ): an activation shifted and scaled to meet four conditions at C_W = 1, C_b = 0.

    Let C(c) be the correlation of σ̂ at two inputs of correlation c and of the same K, so that C′(1) = χ⊥ and
    C″(1) = K⟨σ̂″²⟩; C_f the same for all `depth` − 1 layers of activations together. `conditions`:

    "dks": ⟨σ̂⟩ = 0, ⟨σ̂²⟩ = K, χ∥ = 1, χ⊥ = slope^{1/(depth − 1)}, which makes C_f′(1) = `slope` > 1, by
        default 1.5. K is a fixed point, and independent inputs stay independent (deep kernel shaping, Martens
        et al., arXiv:2110.01765).
    "tat": ⟨σ̂²⟩ = K, χ∥ = χ⊥ = 1, C″(1) = curvature/(depth − 1), which makes C_f″(1) = `curvature` > 0, by
        default 0.3. K is a critical point (tailored activation transformation, Zhang et al.,
        arXiv:2203.08120).
    "stable": σ̂(0) = 0, σ̂′(0) = 1, and `a1` < 0 and `b1` ≥ a1 as given; by default b1 = a1, which keeps
        angles. K* = 0 is then critical and stable: K ~ 1/(−a₁l), K_[2] ~ l^{−b₁/a₁} in layer l (PDLT
        chapter 5).
    "centred": those of "dks" but χ∥ = 1, with β = 1: for homogeneous σ such as RePU, in which α does no more
        than γ does, so that all four cannot hold. `residuals` has χ∥ − 1 all the same: if it is positive, K
        repels, and K¹ that differ from it depart after some 1/(χ∥ − 1) layers.

    σ = ReLU or leaky ReLU of any slope: that slope becomes a parameter, between −1 and 1, and the input is
    left alone. "dks": the same conditions. "tat": ⟨σ̂²⟩ = K, χ∥ = χ⊥ = 1 and C_f(0) = `C0`, by default 0.9.

    `act`: a name, an Activation or any function. `depth`: the layers of pre-activations, the output's
    included; the default, 2, makes the targets those of one layer. `K`: where the conditions hold, by default
    1, as for inputs with ‖x‖² = n₀. Of several solutions the one with the smallest |β| is taken, and β > 0 if
    that is one of two mirror images; |β| ≤ 10 is searched.

    Computed in float64 also where that is off. The conditions hold to 1e-10, and `residuals`, computed from
    σ̂ itself, say how well. In float32 σ̂ loses log₁₀(γ|σ(β)|) digits, one or two as a rule.

    Raises ArgumentError or ArgumentTypeError (a ValueError and a TypeError) for a bad argument, and if no
    shift and scale meet the conditions; the message says how near they come.

    >>> softplus = eft.shape("softplus", "tat", depth=11)
    >>> print(f"{softplus.input_scale:.6f} {softplus.input_shift:.6f}")
    0.496203 0.560007
    >>> found = eft.classify(softplus.act)
    >>> print(f"{found.kind}: K = {found.K:.6f}, C_W = {found.cw:.6f}, C_b = {found.cb:.6f}")
    half-stable: K = 1.000000, C_W = 1.000000, C_b = 0.000000
    """
    act = analysed(act)
    arguments.one_of("conditions", conditions, tuple(TARGETS))
    given = {"slope": slope, "curvature": curvature, "C0": C0, "a1": a1, "b1": b1}
    layers = arguments.positive_int("depth", depth, maximum=arguments.MAX_DEPTH) - 1
    if not layers:
        raise ArgumentError("depth must be an integer ≥ 2: one layer of activations at least; got 1")
    for name, value in given.items():
        if value is not None and name not in TARGETS[conditions]:
            raise ArgumentError(
                f"{name} must be None for conditions={conditions!r}; got {arguments.shown(value)}"
            )
    targets = {name: given[name] if given[name] is not None else d for name, d in TARGETS[conditions].items()}
    if conditions == "stable":
        if K is not None:
            raise ArgumentError(
                f"K must be None for conditions='stable', where K* = 0; got {arguments.shown(K)}"
            )
        return _stable(act, targets)
    at = 1.0 if K is None else _above("K", K, 0.0)
    _check_continuous(act)
    if conditions == "centred":
        return _centred(act, at, _above("slope", targets["slope"], 1.0) ** (1 / layers))
    leaky = isinstance(act.family, Homogeneous) and act.family.degree == 1 and bool(act.kinks)
    if conditions == "dks":
        chi_perp = _above("slope", targets["slope"], 1.0) ** (1 / layers)
        return _leaky_dks(at, chi_perp) if leaky else _dks(act, at, chi_perp)
    if leaky:
        if curvature is not None:
            raise ArgumentError(
                f"curvature must be None for {act.name}, where C″(1) = ∞: give C0; "
                f"got {arguments.shown(curvature)}"
            )
        return _leaky_tat(at, _between("C0", targets["C0"]), layers)
    if C0 is not None:
        raise ArgumentError(
            f"C0 must be None unless act is a leaky ReLU: give curvature; got {arguments.shown(C0)}"
        )
    return _tat(act, at, _above("curvature", targets["curvature"], 0.0) / layers)


def _above(name: str, value: object, low: float) -> float:
    number = arguments.real_number(name, value)
    smallest, largest = TARGET_RANGE
    if not (number > low and smallest <= number <= largest):
        raise ArgumentError(
            f"{name} must be a finite number > {low:g}, from {smallest:g} to {largest:g}; got "
            f"{arguments.shown(value)}"
        )
    return number


def _between(name: str, value: object) -> float:
    number = arguments.real_number(name, value)
    if not 0 < number < 1:
        raise ArgumentError(f"{name} must be between 0 and 1; got {arguments.shown(value)}")
    return number


def _check_continuous(act: Activation) -> None:
    if any(act.jumps):
        raise ArgumentError(f"act must be continuous; {act.name} jumps, and χ⊥ is infinite")


def _made(act: Activation, affine: Affine, words: str, K: float, negative_slope: float = math.nan) -> Shape:
    """The shape, without residuals."""
    shaped = transformed(act, affine, f"{act.name}, {words}")
    a, b, d, g = affine
    return Shape(shaped, a, b, d, g, negative_slope, K, {})


def _with_residuals(made: Shape, **targets: float) -> Shape:
    """The residuals at K, from the moments of σ̂ itself; ⟨σ̂⟩ and C″(1) only where there is a target."""
    act, K = analysed(made.act), made.K
    m, further = sampled(act, np.array([K])), shifted_moments(act, K, 1.0, 0.0)
    found = {
        "kernel": float(m.g[0]) / K - 1,
        "chi_parallel": float(m.dg[0]) - 1,
        "chi_perp": float(m.slope2[0]) - targets.get("chi_perp", 1.0),
        "mean": float(further.mean),
        "curvature": K * float(further.curvature2) - targets.get("curvature", 0.0),
    }
    always = ("kernel", "chi_parallel", "chi_perp")
    return made._replace(residuals={k: found[k] for k in found if k in (*always, *targets)})


# --- each set of conditions ---------------------------------------------------------------------


def _dks(act: Activation, K: float, chi_perp: float) -> Shape:
    found = solving.solution(act, K, solving.dks_equations(K, chi_perp))
    _check_finite(act, found)
    made = _with_residuals(_made(act, found.affine, "dks", K), chi_perp=chi_perp, mean=0.0)
    _check_solved(act, found, made, f"⟨σ̂⟩ = 0, ⟨σ̂²⟩ = {K:g}, χ∥ = 1, χ⊥ = {chi_perp:.6g}")
    return made


def _tat(act: Activation, K: float, curvature: float) -> Shape:
    bends = jumps_at(derivative(act.fn), act.kinks, np.float64)
    if any(bends):
        where = ", ".join(f"{c:g}" for c, jump in zip(act.kinks, bends, strict=True) if jump)
        raise ArgumentError(
            f"act must have a continuous derivative for conditions='tat', unless it is a leaky ReLU; that of "
            f"{act.name} jumps at z = {where}, so that C″(1) = ∞"
        )
    both = [solving.solution(act, K, solving.tat_equations(K, curvature, side)) for side in (1.0, -1.0)]
    solved = [each for each in both if each.error <= solving.SOLVED]
    found = solving.preferred(solved) if solved else min(both, key=lambda each: each.error)
    _check_finite(act, found)
    made = _with_residuals(_made(act, found.affine, "tat", K), curvature=curvature)
    _check_solved(act, found, made, f"⟨σ̂²⟩ = {K:g}, χ∥ = χ⊥ = 1, C″(1) = {curvature:.6g}")
    return made


def _check_finite(act: Activation, found: solving.Search) -> None:
    if not found.error < math.inf:
        raise ArgumentError(f"act: {act.name} is constant, or its Gaussian expectations are not finite")


def _check_solved(act: Activation, found: solving.Search, made: Shape, wanted: str) -> None:
    """Raise an error that says which conditions fail at the nearest miss, and by how much."""
    if found.error <= solving.SOLVED:
        return
    off = sorted(made.residuals.items(), key=lambda each: -abs(each[1]))
    words = ", ".join(f"{name} by {error:.2g}" for name, error in off if abs(error) > solving.SOLVED)
    raise ArgumentError(
        f"act: no scale and shift of {act.name} fulfil {wanted} together. The nearest found, α = "
        f"{made.input_scale:.4g} and β = {made.input_shift:.4g}, misses {words}"
        + (FEW_PARAMETERS if act.degree is not None else "")
    )


def _centred(act: Activation, K: float, chi_perp: float) -> Shape:
    affine = solving.centred_solution(act, K, chi_perp)
    if affine is None:
        raise ArgumentError(
            f"act: at β = {solving.CENTRED_SHIFT:g} no scale of {act.name} gives ⟨σ̂⟩ = 0, ⟨σ̂²⟩ = {K:g} and "
            f"χ⊥ = {chi_perp:.6g}"
        )
    return _with_residuals(_made(act, affine, "centred", K), chi_perp=chi_perp, mean=0.0)


def _leaky_dks(K: float, chi_perp: float) -> Shape:
    a = solving.leaky_dks(chi_perp)
    if math.isnan(a):
        raise ArgumentError(
            f"slope: χ⊥ = {chi_perp:.6g} in each layer is out of reach of a leaky ReLU less its mean, "
            f"for which χ⊥ < {math.pi / (math.pi - 2):.6g}; give a smaller slope or a larger depth"
        )
    half = (1 + a * a) / 2
    mean = (1 - a) * math.sqrt(K / (2 * math.pi))
    affine = Affine(1.0, 0.0, -mean, 1 / math.sqrt(half - (1 - a) ** 2 / (2 * math.pi)))
    made = _made(activation("leaky_relu", slope=a), affine, "dks", K, a)
    return _with_residuals(made, chi_perp=chi_perp, mean=0.0)


def _leaky_tat(K: float, C0: float, layers: int) -> Shape:
    a = solving.leaky_tat(C0, layers)
    if math.isnan(a):
        raise ArgumentError(
            f"C0 = {C0:g} is out of reach of leaky ReLUs in {layers} layers of activations; give a smaller "
            "C0 or a larger depth"
        )
    gamma = math.sqrt(2 / (1 + a * a))
    made = _with_residuals(
        _made(activation("leaky_relu", slope=a), Affine(1.0, 0.0, 0.0, gamma), "tat", K, a)
    )
    size = math.sqrt(2 * K)
    flow = pair_flow(made.act, 1.0, layers + 1, np.array([size, 0.0]), np.array([0.0, size]))
    made.residuals["C0"] = float(flow.K_ab[-1] / flow.K_aa[-1]) - C0
    return made


def _stable(act: Activation, targets: dict[str, float | None]) -> Shape:
    if targets["a1"] is None:
        raise ArgumentError("a1 must be a finite number < 0 for conditions='stable'; got None")
    a1 = arguments.real_number("a1", targets["a1"])
    if not a1 < 0:
        raise ArgumentError(f"a1 must be a finite number < 0; got {a1:g}")
    b1 = a1 if targets["b1"] is None else arguments.real_number("b1", targets["b1"])
    if b1 < a1:
        raise ArgumentError(f"b1 must be ≥ a1 = {a1:g}, since b₁ − a₁ = ¼(ασ₂/σ₁)²; got {b1:g}")
    affine = solving.origin_solution(act, a1, b1)
    if affine is None:
        raise ArgumentError(_why_not_stable(act, b1 / a1))
    made = _made(act, affine, "stable", 0.0)
    near = origin(sampler_of(analysed(made.act)), float(np.finfo(float).tiny))
    residuals = {
        "value": near.value[1], "slope": near.slope[1] - 1,
        "a1": near.parallel[1] - a1, "b1": near.perp[1] - b1,
    }  # fmt: skip
    return made._replace(residuals=residuals)


def _why_not_stable(act: Activation, wanted: float) -> str:
    ratios = solving.stable_ratios(act)
    start = f"act: no shift of {act.name} was found that makes K* = 0 critical with a1 < 0 and b1/a1 = "
    start += f"{wanted:.6g}: "
    if not len(ratios):
        return start + f"a1 ≥ 0 at every |β| ≤ {solving.MAX_SHIFT:g} tried"
    return start + (
        f"where a1 < 0 at the shifts tried, |β| ≤ {solving.MAX_SHIFT:g}, b1/a1 is between {ratios.min():.8g} "
        f"and {ratios.max():.8g}"
    )
