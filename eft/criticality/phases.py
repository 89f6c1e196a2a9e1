"""Where the kernel of one input flows to at given (C_W, C_b): fixed points, thresholds and phase diagrams.

If the moments are not accurate enough to decide whether K′ > K, the result says so in its `error`, and a
`QuadratureWarning` is given.
"""

from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Int8

from eft import arguments
from eft.activations.analysis import analysed
from eft.activations.definition import ActivationLike
from eft.arguments import ArgumentError, warn_user
from eft.criticality.basins import EPS, RELIABLE_ERROR, bisected, brackets
from eft.criticality.contraction import contractions, one_contraction, with_skip
from eft.criticality.log_g import interpolated
from eft.criticality.moment_grid import NODES_PER_DECADE, MomentGrid, in_float64, moments_on_grid, sampled
from eft.criticality.roots import Root, find_roots, signs
from eft.gaussian.accuracy import cause_at
from eft.gaussian.expectation import QuadratureWarning
from eft.records import METHODS

ORDERED, CHAOTIC, EXPLODING = range(3)
"""Phases: K* finite with χ⊥ ≤ 1; with χ⊥ > 1; K → ∞."""

PHASES = ("ordered", "chaotic", "exploding")
"""Names of the phases, by number."""

ROOT_MARGIN = 0.3
"""Distance in log K from a root within which an undecided sign is that of the root itself."""

NEGLIGIBLE_CB = 1e-12
"""|C_b|/K up to which C_b = K − C_W g(K) is the round-off error of 0."""

HUGE = 1e100
"""K beyond which a threshold does not matter, even if it is not known because σ overflows."""

MIN_SLOPE, MAX_STEP = 1e-6, 1e-3
"""|1 − χ∥| and relative step for a last Newton step, which near a double root would do harm."""


class FixedPoint(NamedTuple):
    """A solution K* of K = C_b + C_W g(K).

    `K`: K*.
    `chi_parallel`: C_W g′(K*), the factor by which each layer multiplies a small change of K.
    `chi_perp`: C_W⟨σ′²⟩, likewise for a small angle between two inputs; inf where σ jumps.
    `stability`: "stable", "unstable", "neutral", or attractive only "from below" or "from above".
    `error`: estimated relative error of K*.
    """

    K: float
    chi_parallel: float
    chi_perp: float
    stability: str
    error: float

    __repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS


class PhaseDiagram(NamedTuple):
    """Where a flow ends, on a grid; fields of shape (cb, cw) unless stated otherwise.

    `cw`: (cw,) values of C_W.
    `cb`: (cb,) values of C_b.
    `phase`: int8, index into `PHASES`: 0 ordered, 1 chaotic, 2 exploding.
    `K`: the K* to which the flow from K¹ tends; inf where it explodes.
    `chi_parallel`, `chi_perp`: χ∥ and χ⊥ at K*; where the flow explodes, their limits for K → ∞.
    `error`: estimated relative error of K*; inf where it is unknown to which K* the flow tends.
    """

    cw: Float[np.ndarray, "cw"]
    cb: Float[np.ndarray, "cb"]
    phase: Int8[np.ndarray, "cb cw"]
    K: Float[np.ndarray, "cb cw"]
    chi_parallel: Float[np.ndarray, "cb cw"]
    chi_perp: Float[np.ndarray, "cb cw"]
    error: Float[np.ndarray, "cb cw"]

    __repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS


class CriticalCurve(NamedTuple):
    """The points of the (C_W, C_b) plane with χ⊥ = 1 at a fixed point; each field has shape (points,).

    `K`: the fixed point, ascending.
    `cw`, `cb`: C_W, and C_b ≥ 0.
    `chi_parallel`: χ∥ at the fixed point, which attracts where |χ∥| < 1.
    `error`: estimated relative error of C_W.
    """

    K: Float[np.ndarray, "points"]
    cw: Float[np.ndarray, "points"]
    cb: Float[np.ndarray, "points"]
    chi_parallel: Float[np.ndarray, "points"]
    error: Float[np.ndarray, "points"]

    __repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS


def _scalar(name: str, value: object) -> float:
    array = arguments.nonnegative(name, value)
    if array.ndim:
        raise ArgumentError(f"{name} must be one number ≥ 0; got an array of shape {array.shape}")
    return float(array)


def _step(K: np.ndarray, K_next: np.ndarray) -> np.ndarray:
    """(K′ − K)/(K′ + K): has the sign of the step, and lies between −1 and 1 at every scale."""
    with np.errstate(all="ignore"):
        return np.where(np.isposinf(K_next), 1.0, (K_next - K) / (K_next + K))


def _steps(grid: MomentGrid, cw: float, cb: float):
    """log K → `_step` and its error."""

    def at(x):
        m = grid.at(x)
        rounding = 8 * EPS * (2 + np.abs(x))  # the round-off error of a power of K grows with |log K|
        K = np.exp(x)
        with np.errstate(all="ignore"):
            from_g = cw * m.g if cw else np.zeros_like(m.g)
            # only this share of K′ + K is uncertain: an error of g hardly matters if K is far above K′
            share = np.where(from_g < np.inf, from_g / (cb + from_g + K), 1.0)
            unknown = m.error * np.maximum(share, EPS) if cw else 0.0
        return _step(K, cb + from_g), rounding + unknown

    return at


@in_float64
@arguments.untraced
def fixed_points(
    act: ActivationLike, cw: ArrayLike, cb: ArrayLike = 0.0, *, skip: ArrayLike = 0.0
) -> tuple[FixedPoint, ...]:
    """All fixed points K* = γ²K* + C_b + C_W g(K*), ascending, each with χ∥, χ⊥ and its stability.

    K* = 0 is a fixed point if C_b = 0 and σ(0) = 0. If every K is a fixed point (ReLU at C_W = 2), K* = 0
    is returned and called neutral. `cw`, `cb` and `skip` = γ: single numbers ≥ 0, and γ < 1. K* is found
    between 1e-300 and 1e300, accurate to about 1e-14/|1 − χ∥|, or to its `error`. Two fixed points closer
    than √(1e-14/|K g″|), relative, are returned as one that attracts from one side. The undeclared kinks of a
    function are located first. If its moments are not accurate enough to tell whether there are more fixed
    points, a `QuadratureWarning` gives the range of K and the reason. Computed in float64 even where that is
    off.

    Raises ArgumentError or ArgumentTypeError (a ValueError and a TypeError) for a bad argument.

    >>> for point in eft.fixed_points("tanh", 1.5):
    ...     print(f"K = {point.K:.4f}, {point.stability}")
    K = 0.0000, unstable
    K = 0.2869, stable
    """
    cw_, cb_, contracted = _scalar("cw", cw), _scalar("cb", cb), one_contraction(skip)
    grid = moments_on_grid(analysed(act))
    points, _, open_ = fixed_points_of(grid, cw_, cb_, contracted)
    if open_:
        _warn(grid, f"whether K′ = K {_ranges(open_)}", open_[0][0])
    return points


def _warn(grid: MomentGrid, what: str, K: float) -> None:
    """Warn that `what` is not known because the moments at K are not, and say why."""
    cause = cause_at(K, grid.accuracy)
    warn_user(f"{grid.act.name}: {what} is not known: {cause}", QuadratureWarning)


def _ranges(ranges: list[tuple[float, float]]) -> str:
    return "somewhere at K " + ", ".join(f"from {low:.2g} to {high:.2g}" for low, high in ranges[:3])


def _undecided(grid: MomentGrid, s: np.ndarray, roots: list[Root]) -> list[tuple[float, float]]:
    """The ranges of K, except near roots, where the moments are too uncertain to decide whether K′ > K."""
    open_ = (s == 0) & ~(grid.moments.error <= RELIABLE_ERROR)
    for root in roots:
        open_ &= np.abs(grid.x - root.x) > ROOT_MARGIN
    at = np.flatnonzero(open_)
    parts = np.split(at, 1 + np.flatnonzero(np.diff(at) > 1)) if len(at) else []
    return [(float(grid.K[part[0]]), float(grid.K[part[-1]])) for part in parts]


def fixed_points_of(
    grid: MomentGrid, cw: float, cb: float, contracted: float = 1.0
) -> tuple[tuple[FixedPoint, ...], int, list[tuple[float, float]]]:
    """The fixed points, the sign of K′ − K beyond the last one, and the ranges of K where it is not known."""
    cw, cb = cw / contracted, cb / contracted
    steps = _steps(grid, cw, cb)
    s = signs(*steps(grid.x))
    decided = s[s != 0]
    roots = find_roots(steps, grid.x)
    at_zero = [] if cb or (cw and float(sampled(grid.act, np.zeros(1)).g[0])) else [0.0]
    K = np.array([*at_zero, *(np.exp(root.x) for root in roots)])
    m = sampled(grid.act, K)
    points = []
    for i, value in enumerate(K):
        with np.errstate(all="ignore"):
            parallel, perp = (float(cw * d[i]) if cw else 0.0 for d in (m.dg, m.slope2))
        if i < len(at_zero):
            stability = {1: "unstable", -1: "stable", 0: "neutral"}[int(decided[0]) if len(decided) else 0]
        else:
            stability = _stability(roots[i - len(at_zero)], with_skip(parallel, contracted))
        error = 0.0 if value == 0 else float(m.error[i]) / max(abs(1 - parallel), float(m.error[i]) ** 0.5)
        chi = (with_skip(parallel, contracted), with_skip(perp, contracted))
        points.append(FixedPoint(float(value), *chi, stability, error))
    return tuple(points), int(decided[-1]) if len(decided) else 0, _undecided(grid, s, roots)


def _stability(root: Root, parallel: float) -> str:
    if root.below == root.above:
        return "from below" if root.below > 0 else "from above"
    return "stable" if root.below > 0 and parallel >= -1 else "unstable"


@in_float64
@arguments.untraced
def threshold(
    act: ActivationLike, cw: ArrayLike, cb: ArrayLike = 0.0, *, skip: ArrayLike = 0.0
) -> np.ndarray:
    """K_u, the value of K¹ above which the flow grows without bound; shape of `cw`, `cb`, `skip` broadcast.

    It is the last fixed point, if K′ > K everywhere beyond it; inf if no K¹ explodes, 0 if all do, and
    nan if it lies beyond the range of floating-point numbers or is not known (then a `QuadratureWarning`
    says why). If g decreases somewhere (as for a σ with a bump), some K¹ < K_u may explode too.
    `skip` = γ < 1, as for `fixed_points`. Computed in float64 even where that is off.

    Raises ArgumentError or ArgumentTypeError (a ValueError and a TypeError) for a bad argument.

    >>> print(eft.threshold(eft.activation("repu", p=2), [0.5, 1.0]).round(4))
    [1.3333 0.6667]
    """
    given = {"cw": cw, "cb": cb, "skip": skip}
    cw_, cb_, gamma = arguments.broadcast({name: arguments.nonnegative(name, v) for name, v in given.items()})
    each = cw_.ravel(), cb_.ravel(), contractions(gamma).ravel()
    grid = moments_on_grid(analysed(act))
    thresholds = [_threshold(grid, *map(float, at)) for at in zip(*each, strict=True)]
    return np.array(thresholds).reshape(cw_.shape)


def _threshold(grid: MomentGrid, cw: float, cb: float, contracted: float) -> float:
    points, beyond, open_ = fixed_points_of(grid, cw, cb, contracted)
    last = points[-1].K if points else 0.0
    if open_ and open_[-1][1] > last:
        _warn(grid, f"the threshold at C_W = {cw:g}, C_b = {cb:g}", open_[-1][0])
        return float("nan")
    if beyond <= 0:
        return float("nan") if grid.overflows and cw and grid.K_known < HUGE else float("inf")
    return last


@in_float64
@arguments.untraced
def critical_curve(
    act: ActivationLike, K: ArrayLike | None = None, *, skip: ArrayLike = 0.0
) -> CriticalCurve:
    """The curve χ⊥ = 1 between order and chaos: C_W = 1/⟨σ′²⟩_K, C_b = K − C_W g(K), where C_b ≥ 0.

    With `skip` = γ < 1, both are 1 − γ² times that, and χ∥ = γ² + C_W g′.

    `K`: the fixed points along the curve, > 0; by default over 24 decades. The curve ends at the critical
    point, where χ∥ = 1 too. It is empty if σ jumps or is constant (⟨σ′²⟩ infinite or 0). By default, K whose
    moments are not known are left out; if `K` is given they are kept, with their `error`, and a
    `QuadratureWarning` gives the reason. Computed in float64 even where that is off.

    Raises ArgumentError or ArgumentTypeError (a ValueError and a TypeError) for a bad argument.

    >>> curve = eft.critical_curve("tanh", K=[0.5, 1.0])
    >>> print(curve.cw.round(4), curve.cb.round(4))
    [1.688  2.1533] [0.038 0.151]
    """
    contracted = one_contraction(skip)
    return curve_of(moments_on_grid(analysed(act)), contracted, K)


def curve_of(grid: MomentGrid, contracted: float, K: ArrayLike | None = None) -> CriticalCurve:
    """`critical_curve` with a skip of 1 − γ² = `contracted`."""
    if K is None:
        k = np.exp(_curve_nodes(grid))
    else:
        k = np.sort(np.ravel(np.asarray(arguments.positive("K", K), float)))
    m = sampled(grid.act, k)
    with np.errstate(all="ignore"):
        cw = 1 / m.slope2
        cb = k - cw * m.g
        cb = np.where(np.abs(cb) <= NEGLIGIBLE_CB * k, 0.0, cb)
        kept = np.isfinite(cw) & (cw > 0) & (cb >= 0)
    uncertain = kept & ~(m.error <= RELIABLE_ERROR)
    if uncertain.any() and K is not None:
        _warn(grid, f"the curve at K = {k[uncertain][0]:.4g}", float(k[uncertain][0]))
    kept &= ~uncertain if K is None else True
    chi_parallel = with_skip(cw[kept] * m.dg[kept], contracted)
    cw, cb = contracted * cw, contracted * cb
    return CriticalCurve(k[kept], cw[kept], cb[kept], chi_parallel, m.error[kept])


def _curve_nodes(grid: MomentGrid) -> np.ndarray:
    """log K along the curve: the grid's nodes, the ends where C_b = 0, and more nodes near those."""
    x = grid.x[(np.abs(grid.x) <= 12 * np.log(10)) & (np.exp(grid.x) <= grid.K_known)]

    def bias(x):
        m = grid.at(x)
        with np.errstate(all="ignore"):
            return _step(m.g / m.slope2, np.exp(x)), 8 * EPS * (2 + np.abs(x)) + m.error

    ends = [root.x for root in find_roots(bias, x)]
    cell = 2 * np.log(10) / NODES_PER_DECADE * np.linspace(-1, 1, 65)
    return np.unique(np.concatenate([x, ends, *(end + cell for end in ends)]))


@in_float64
@arguments.untraced
def phase_diagram(
    act: ActivationLike,
    cw: ArrayLike,
    cb: ArrayLike,
    *,
    x2: ArrayLike = 1.0,
    K1: ArrayLike | None = None,
    skip: ArrayLike = 0.0,
) -> PhaseDiagram:
    """The phase at every point of the grid `cw` × `cb`, each an array of one axis.

    The flow from K¹ = C_b + C_W x2 (or from `K1`) rises or falls to the nearest fixed point K*. There,
    χ⊥ < 1 draws inputs together (ordered) and χ⊥ > 1 drives them apart (chaotic); if no K* lies in the
    way, K → ∞ (exploding). K never oscillates: K g′(K) = ½⟨(z²/K − 1)σ²⟩ ≥ −½g, so that χ∥ ≥ −½ at every
    fixed point. `skip` = γ < 1, one number, as for `fixed_points`.

    K* has a relative error of 1e-10, more near where fixed points merge (|1 − χ∥| < 1e-3). If the moments
    are not accurate enough, `error` is the uncertainty of K*, or inf where it is not even known which K* the
    flow tends to; a `QuadratureWarning` gives the reason. Computed in float64 even where that is off.

    Raises ArgumentError or ArgumentTypeError (a ValueError and a TypeError) for a bad argument.

    >>> diagram = eft.phase_diagram("tanh", [0.5, 1.5], [0.0, 0.1])
    >>> print(diagram.phase)
    [[0 1]
     [0 0]]
    """
    axes = {"cw": arguments.nonnegative("cw", cw), "cb": arguments.nonnegative("cb", cb)}
    for name, axis in axes.items():
        if axis.ndim != 1 or not axis.size:
            raise ArgumentError(f"{name} must be an array of one axis, not empty; got shape {axis.shape}")
    cw_, cb_ = (np.asarray(axis, float) for axis in axes.values())
    contracted = one_contraction(skip)
    grid = moments_on_grid(analysed(act))
    first = cb_[:, None] + cw_ * _scalar("x2", x2) if K1 is None else np.full((1, 1), _scalar("K1", K1))
    parts = cw_ / contracted, cb_[:, None] / contracted, first
    W, B, start = np.broadcast_arrays(*parts)  # those of a plain network
    log_g = interpolated(grid)
    bracketed = brackets(grid, log_g, cw_ / contracted, B, start)
    W, B, start, cell, ending, lost = map(np.ravel, (W, B, start, *bracketed))
    K = np.select([ending == -1, ending == 1], [0.0, np.exp(grid.x[-1])], start)
    within = ending == 0
    K[within] = bisected(log_g, W[within], B[within], cell[within])
    m = sampled(grid.act, K)
    with np.errstate(all="ignore"):
        parallel, perp = W * m.dg, W * m.slope2
        newton = K + (B + W * m.g - K) / (1 - parallel)
        near = (ending == 0) & (np.abs(1 - parallel) > MIN_SLOPE) & (np.abs(newton - K) < MAX_STEP * K)
    K = np.where(near, newton, np.where(ending == 1, np.inf, K))
    parallel, perp = (np.where(W == 0, 0.0, chi) for chi in (parallel, perp))
    with np.errstate(all="ignore"):
        error = np.where(ending == 0, m.error / np.maximum(np.abs(1 - parallel), np.sqrt(m.error)), 0.0)
    phase = np.where(perp > 1, CHAOTIC, ORDERED)
    parallel, perp = with_skip(parallel, contracted), with_skip(perp, contracted)
    phase = np.where(ending == 1, EXPLODING, phase)
    error = np.where(lost, np.inf, error)
    if (uncertain := ~(error <= RELIABLE_ERROR) & ~(m.error <= RELIABLE_ERROR) | lost).any():
        worst = int(error.argmax())
        at = contracted * W[worst], contracted * B[worst]
        where = f"C_W = {at[0]:.4g}, C_b = {at[1]:.4g} and {uncertain.sum() - 1} more"
        _warn(grid, f"the phase at {where}", float(min(K[worst], grid.K[-1])))
    shape = cb_.size, cw_.size
    fields = phase.astype(np.int8), K, parallel, perp, error
    return PhaseDiagram(cw_, cb_, *(a.reshape(shape) for a in fields))
