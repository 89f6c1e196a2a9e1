"""Networks of MRePU units that equal a polynomial on a given box, to rounding.

A unit MRePU_p(z) = z·max(0, z+1)ᵖ is a polynomial of degree p + 1 as long as it is active, z ≥ −1. On
|ξ| ≤ 1 a unit with z = τξ, |τ| ≤ 1, is always active, and there

    MRePU_p(τξ) = Σ_{k=1}^{p+1} C(p, k−1) τᵏ ξᵏ

so that p + 1 units with different τ ≠ 0 combine to every ξᵏ: a Vandermonde system in τ, solved by the
coefficients of the Lagrange polynomials. All networks here consist of this block, computed by NumPy in
float64.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.polynomial import chebyshev, polynomial

from eft import activation, arguments
from eft.arguments import ArgumentError
from nets.network import fcn
from nets.network.architecture import Architecture
from nets.network.fcn import FCN
from nets.paper import circuits
from nets.paper.circuits import Block, Stage

MAX_POWER = 16
MAX_DEGREE = 64


class ExactNetwork(NamedTuple):
    """A network that equals a polynomial on a box, with its size and the size of its rounding errors.

    `parameters`: as `nets.train` takes them, {"layers": {0: {"kernel": (n₀, n₁), "bias": …}, …}}. `p`: of
    MRePU_p. `box`: where it holds, an interval for each variable. `widths`: (n₁, …, n_{L−1}). `condition`:
    condition number of the system of one block, in the 2-norm. `amplification`: Σ|terms of the
    output|/max|output| on samples of the box, by which rounding errors grow.
    """

    parameters: dict[str, Any]
    p: int
    box: tuple[tuple[float, float], ...]
    widths: tuple[int, ...]
    condition: float
    amplification: float

    @property
    def counts(self) -> "Counts":
        sizes = (len(self.box), *self.widths, 1)
        parameters = sum((n_in + 1) * n for n_in, n in itertools.pairwise(sizes))
        return Counts(len(self.widths), sum(self.widths), max(self.widths), parameters)


class Counts(NamedTuple):
    """The size of a network.

    `layers`: hidden ones. `neurons`: in them. `width`: of the widest. `parameters`: of all layers.
    """

    layers: int
    neurons: int
    width: int
    parameters: int


# --- one variable, one hidden layer ---------------------------------------------------------------


def polynomial_network(
    coefficients: Sequence[float],
    p: int,
    *,
    interval: tuple[float, float] = (-1.0, 1.0),
    nodes: Any = None,
    shifts: Any = None,
) -> ExactNetwork:
    """P(x) = Σ_k coefficients[k] xᵏ of degree ≤ p as one hidden layer of p + 1 units of MRePU_p.

        P = c₀ + Σ_i c_i MRePU_p(τ_i ξ),   ξ ∈ [−1, 1] the position of x in the interval
        Σ_i c_i τ_iᵏ C(p, k−1) = P_k for k = 1 … p, and 0 for k = p + 1

    `interval`: where this holds; outside it, units become inactive. `nodes`: the p + 1 numbers τ; default:
    Chebyshev points without 0, with errors of at most 1e-15 of max|P| at p = 2 and 2e-13 at p = 6. `shifts`:
    p + 1 numbers t in place of nodes, for units z = x + t − 1 that are shifts of one another, as in the
    paper's proof. Their system is more ill-conditioned: `condition` says by how much.

    Lemma 7 of arXiv:2408.02697. The same units also reach degree p + 1, which the lemma does not require. No
    layer of pairs ±(x + t) − 1 equals a polynomial on the whole line: at the knot of a unit the jumps of its
    p-th and (p+1)-th derivatives have a fixed ratio, and the mirrored unit cancels only one of the two. A
    layer with two slopes does, since σ(sy − 1) = s^{p+1} y₊^{p+1} − s^p y₊^p gives y₊^p, and its mirror image
    y^p.

    Raises ValueError for a degree > p, nodes that are equal, 0 or outside of [−1, 1], shifts that are equal,
    1, or leave a unit inactive somewhere in the interval.
    """
    p = arguments.positive_int("p", p, maximum=MAX_POWER)
    P = _coefficients(coefficients)
    if len(P) - 1 > p:
        raise ArgumentError(
            f"the degree of the polynomial must be ≤ p = {p} for one hidden layer of MRePU_{p}; got "
            f"{len(P) - 1}. multivariate_network makes higher degrees of several layers"
        )
    low, high = circuits.checked_interval("interval", interval)
    centred = circuits.centred(P, (low, high))
    middle, half = (low + high) / 2, (high - low) / 2
    if nodes is not None and shifts is not None:
        raise ArgumentError("give nodes or shifts, not both")
    if shifts is None:
        block = Block.of(p, nodes)
        stage = Stage(np.array([[1 / half]]), np.array([-middle / half]), *block.outputs(centred))
        return _finished([stage], block, ((low, high),))
    t = _checked_shifts(shifts, p, (low, high))
    system = np.array([_unit(half, middle + s, p) for s in t]).T
    c = np.linalg.solve(system[1:], np.append(centred[1:], np.zeros(p + 2 - len(centred))))
    parameters = {
        "layers": {
            0: {"kernel": np.ones((1, p + 1)), "bias": t - 1},
            1: {"kernel": c[:, None], "bias": np.array([centred[0] - system[0] @ c])},
        }
    }
    box = ((low, high),)
    return ExactNetwork(
        parameters, p, box, (p + 1,), float(np.linalg.cond(system[1:])), _amplification(parameters, p, box)
    )


def _coefficients(coefficients: Any) -> np.ndarray:
    arguments.real_array("coefficients", coefficients)
    P = np.asarray(coefficients, np.float64)
    if P.ndim != 1 or not P.size or not np.isfinite(P).all():
        raise ArgumentError(
            f"coefficients must be (P_0, P_1, ...), finite; got {arguments.shown(coefficients)}"
        )
    return np.append(P[:1], np.trim_zeros(P[1:], "b"))


def _checked_shifts(shifts: Any, p: int, interval: tuple[float, float]) -> np.ndarray:
    arguments.real_array("shifts", shifts)
    t = np.asarray(shifts, np.float64)
    if t.shape != (p + 1,):
        raise ArgumentError(f"shifts must be {p + 1} numbers for p = {p}; got shape {t.shape}")
    if len(set(t.tolist())) < len(t):
        raise ArgumentError(
            f"shifts must differ from one another, else two units are the same; got {t.tolist()}"
        )
    if np.any(t == 1):
        raise ArgumentError(f"shifts must not be 1: x·max(0, x+1)ᵖ has no constant term; got {t.tolist()}")
    if not np.isfinite(t).all() or interval[0] + t.min() < 0:
        raise ArgumentError(
            f"shifts must be ≥ {-interval[0]:g}: a unit x + t − 1 is off where x < −t, which must "
            f"lie outside of the interval; got {t.tolist()}"
        )
    return t


def _unit(slope: float, t: float, p: int) -> np.ndarray:
    """Coefficients of (w − 1)wᵖ, w = slope·ξ + t, in ξ."""
    w = np.array([t, slope])
    return polynomial.polymul(polynomial.polypow(w, p), w - [1, 0])


# --- several variables, several layers ------------------------------------------------------------


def multivariate_network(
    coefficients: Any, p: int, *, box: Sequence[tuple[float, float]] | None = None
) -> ExactNetwork:
    """P(x) = Σ coefficients[j₁, …, jₙ] x₁^{j₁} ⋯ xₙ^{jₙ} as a network of MRePU_p units, p ≥ 2.

    Horner's scheme, one variable after another: powers of x₁ up to p come from one block, and every further
    layer computes acc ← acc·x_v + (the next coefficient), with the product made of two squares,
    ab = ((a+b)/2)² − ((a−b)/2)². Values that are needed later pass through a block that is the identity.

    `coefficients`: an array with an axis for each variable. `box`: where this holds, an interval (low, high)
    for each; default [−1, 1]. `horner_counts` is the size if no coefficient is 0; zeros make it smaller.

    Theorem 8 of arXiv:2408.02697. Raises ValueError for p < 2 if some variable has degree ≥ 2 or there are
    several variables, and for a degree above 64.
    """
    p = arguments.positive_int("p", p, maximum=MAX_POWER)
    arguments.real_array("coefficients", coefficients)
    C = np.asarray(coefficients, np.float64)
    if C.ndim < 1 or not C.size or max(C.shape) > MAX_DEGREE + 1 or not np.isfinite(C).all():
        raise ArgumentError(
            f"coefficients must be finite, with an axis for each variable, each of length 1 to "
            f"{MAX_DEGREE + 1}; got shape {C.shape}"
        )
    if box is None:
        box = [(-1.0, 1.0)] * C.ndim
    if len(box) != C.ndim:
        raise ArgumentError(f"box must have an interval for each of {C.ndim} variables; got {len(box)}")
    sides = tuple(circuits.checked_interval(f"box[{i}]", side) for i, side in enumerate(box))
    _check_products(p, C.ndim > 1 or C.shape[0] > 2)
    block = Block.of(p)
    for axis, side in enumerate(sides):
        C = np.moveaxis(circuits.centred(np.moveaxis(C, axis, 0), side), 0, axis)
    return _finished(circuits.horner(C, block, sides), block, sides)


def horner_counts(degrees: Sequence[int], p: int) -> Counts:
    """The size of `multivariate_network` for degrees (d₁, …, dₙ), d_v ≥ 1, if no coefficient is 0.

        layers = 1 + max(0, d₁ − p) + d₂ + … + dₙ

    Each block has p + 1 units. Let M_v = Π_{w>v}(d_w + 1), the number of polynomials in x₁ … x_v that are
    computed side by side. The first layer has n blocks; each layer that raises the power of x₁ has
    2M₁ + (n − 1) + [not the last]; and the layer that adds the coefficient of x_vʲ, v ≥ 2, has
    (j + 3)M_v + (n − v) + [j > 0].
    """
    p = arguments.positive_int("p", p, maximum=MAX_POWER)
    d, n = [arguments.positive_int("degrees", each) for each in degrees], len(degrees)
    M = [math.prod(each + 1 for each in d[v + 1 :]) for v in range(n)]
    blocks, more = [n], max(0, d[0] - p)
    blocks += [2 * M[0] + (n - 1) + (m > 0) for m in reversed(range(more))]
    for v in range(1, n):
        blocks += [(j + 3) * M[v] + (n - 1 - v) + (j > 0) for j in reversed(range(d[v]))]
    widths = [(p + 1) * each for each in blocks]
    sizes = (n, *widths, 1)
    parameters = sum((n_in + 1) * n for n_in, n in itertools.pairwise(sizes))
    return Counts(len(widths), sum(widths), max(widths), parameters)


def _check_products(p: int, needed: bool) -> None:
    if p < 2 and needed:
        raise ArgumentError(
            "p must be ≥ 2: products are made of squares, which one layer of MRePU_1 has not; got 1"
        )


# --- functions ------------------------------------------------------------------------------------


class Approximation(NamedTuple):
    """A polynomial that approximates a function, and the network that equals this polynomial.

    `network`: this network. `chebyshev`: (degree + 1,) coefficients of T_k(ξ). `error`: max |f − P| on 2001
    points of the interval. `slope_error`: max |f′ − P′| there; nan if f has no derivative in JAX.
    """

    network: ExactNetwork
    chebyshev: np.ndarray
    error: float
    slope_error: float


def function_network(
    f: Callable[[Any], Any], p: int, degree: int, *, interval: tuple[float, float] = (-1.0, 1.0)
) -> Approximation:
    """A network of MRePU_p units that equals the Chebyshev interpolant of f of that degree on the interval.

        b_k = a_k + 2ξ b_{k+1} − b_{k+2},   P = a₀ + ξ b₁ − b₂

    Clenshaw's recurrence, with one layer per step after the first p: Horner's scheme in the basis in which
    the coefficients of smooth functions do not cancel. The error decreases at least as degree^{−s} for f of
    class Cˢ (Jackson; with a factor log(degree) for the interpolant), and geometrically for analytic f; so it
    does in Corollary 10 of arXiv:2408.02697 for one variable. `f`: a JAX function of an array.

    Raises ValueError for f that is not finite, for p < 2 if degree > 1, and for a degree above 64.
    """
    p = arguments.positive_int("p", p, maximum=MAX_POWER)
    degree = arguments.positive_int("degree", degree, maximum=MAX_DEGREE)
    _check_products(p, degree > 1)
    low, high = side = circuits.checked_interval("interval", interval)
    middle, half = (low + high) / 2, (high - low) / 2
    points = chebyshev.chebpts1(degree + 1)
    a = np.linalg.solve(chebyshev.chebvander(points, degree), _finite(f(middle + half * points)))
    block, xi = Block.of(p), np.linspace(-1, 1, 2001)
    network = _finished(circuits.clenshaw(a, block, side), block, (side,))
    x = jnp.asarray(middle + half * xi)
    try:
        slope = np.asarray(jax.vmap(jax.grad(lambda x: jnp.sum(f(x))))(x))
    except (TypeError, ValueError):
        slope = np.full(len(xi), np.nan)
    approximations = chebyshev.chebval(xi, a), chebyshev.chebval(xi, chebyshev.chebder(a)) / half
    errors = [
        float(np.abs(t - e).max()) for t, e in zip((np.asarray(f(x)), slope), approximations, strict=True)
    ]
    return Approximation(network, a, *errors)


def _finite(values: Any) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if not np.isfinite(values).all():
        raise ArgumentError("f must be finite in the interval")
    return values


# --- what they have in common ---------------------------------------------------------------------


def module(network: ExactNetwork, dtype: Any = jnp.float64) -> FCN:
    """The network as a Flax module."""
    sizes = (len(network.box), *network.widths, 1)
    architecture = Architecture(activation("mrepu", p=network.p), sizes, dtype=np.dtype(dtype))
    return fcn.with_parameters(architecture, network.parameters)


def _finished(stages: list[Stage], block: Block, box: tuple[tuple[float, float], ...]) -> ExactNetwork:
    layers = circuits.assembled(stages, block, len(box))
    if not all(np.isfinite(a).all() for layer in layers for a in layer.values()):
        raise ArgumentError(
            f"the weights overflow: coefficients and interval must be smaller; the interval is {box}"
        )
    parameters = {"layers": dict(enumerate(layers))}
    widths = tuple(layer["kernel"].shape[1] for layer in layers[:-1])
    amplification = _amplification(parameters, block.p, box)
    return ExactNetwork(parameters, block.p, box, widths, block.condition, amplification)


def _amplification(parameters: dict[str, Any], p: int, box: tuple[tuple[float, float], ...]) -> float:
    """max(Σ|c_i σ(z_i)| + |c₀|) of the last layer over max|output|, on 500 samples of the box.

    For a deep network it says nothing about the layers before.
    """
    low, high = np.array(box).T
    x = np.random.default_rng(0).uniform(low, high, (500, len(box)))
    *hidden, last = parameters["layers"].values()
    for layer in hidden:
        z = x @ layer["kernel"] + layer["bias"]
        x = z * np.maximum(z + 1, 0.0) ** p
    terms = np.abs(x) @ np.abs(last["kernel"]) + np.abs(last["bias"])
    largest = np.abs(x @ last["kernel"] + last["bias"]).max()
    return float(terms.max() / largest) if largest > 0 else 1.0
