"""Expectations of products of an activation at three and four Gaussian variables: ⟨σ₁²σ₂σ₃⟩, ⟨σ₁σ₂σ′₃σ′₄⟩, ….

z = F x with F Fᵀ = K, x ~ N(0, 1) independent, and F triangular: z₁ depends on x₁, z₂ on x₁ and x₂, …; so

    ⟨φ₁φ₂φ₃φ₄⟩ = ∫dx₁ φ₁(z₁) ∫dx₂ φ₂(z₂) ∫dx₃ φ₃(z₃) ∫dx₄ φ₄(z₄)

For analytic σ the nodes are uniformly spaced. Otherwise each integral is split where one of the variables, or
its mean given the x so far, is at a kink, and on both sides of the latter, where the kink that later x have
smoothed ends; so inputs may be as close as one likes. The innermost integral is a function of one number, and
is tabulated (`eft.gaussian.smoothing`). No inverse of K is taken: variables may be equal or dependent.
Where σ is analytic, the sums of `eft.gaussian.quadruples` are far quicker, and where it is linear on either
side of 0, the closed forms of `eft.gaussian.piecewise_linear`.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Float

from eft.activations.definition import Activation
from eft.activations.one_sided import aligned
from eft.activations.programs import INDEX
from eft.gaussian.covariance import covariance_factor
from eft.gaussian.rules import ENDS, even, legendre
from eft.gaussian.smoothing import POINTS, Smoothed, smoothed

BLUR = 7.5
"""Standard deviations from a cut at which what a Gaussian has made of it is over."""

FAR = 1e6
"""|x| of a cut that is as good as at infinity."""

MIRROR_POINTS = 2**14 + 1
"""Points z ≥ 0 up to 1500, closer than the nodes, at which it is seen whether σ is odd or even."""


class Grid(NamedTuple):
    """How the integral over each x is done."""

    cuts: tuple[float, ...]  # z at which integrals are split; if none, nodes are uniformly spaced
    step: float  # spacing of the uniform nodes
    panel: int  # nodes between neighbouring cuts
    mirrored: bool = False  # whether σ is odd or even: half of the space is then enough for an even product
    points: int = POINTS  # on the panels of the function that the innermost integral is

    def coarser(self) -> "Grid":
        return self._replace(step=self.step * 6 / 5, panel=self.panel * 5 // 6, points=self.points - 1)

    def quick(self) -> "Grid":
        """The same with half as many uniform nodes, or fewer between cuts."""
        return self._replace(step=2 * self.step, panel=self.panel * 5 // 6)


class Products(NamedTuple):
    """Shape (3,) for three variables: σ₁²σ₂σ₃, σ₁σ₂²σ₃, σ₁σ₂σ₃²; () for four."""

    value: Float[jax.Array, "*products"]
    error: Float[jax.Array, "*products"]


def grid(act: Activation, variables: int, largest_K: float) -> Grid:
    """Uniform nodes for σ without kinks, as long as they resolve σ(√K x); else cuts at the kinks and at 0."""
    step, finest = {3: (0.2, 0.1), 4: (0.3, 0.25)}[variables]
    cuts = tuple(sorted({0.0, *act.kinks} if largest_K > 10 else act.kinks))
    count = {3: 40, 4: (18 if len(cuts) < 2 else 14) + 4 * (largest_K > 10)}[variables]
    doublings = math.ceil(math.log2(max(1.0, largest_K)))  # few values: few programs are compiled
    return Grid(cuts, max(finest, step / 2 ** (doublings / 2)), count, not cuts and is_mirrored(act))


def is_mirrored(act: Activation) -> bool:
    """Whether σ(−z) = ±σ(z), with one sign, to the last bit at many z; while tracing it is not known."""
    z = np.sinh(np.linspace(0, 8, MIRROR_POINTS))
    right, left = act(jnp.asarray(z)), act(jnp.asarray(-z))
    if isinstance(right, Tracer):
        return False
    right, left = np.asarray(right), np.asarray(left)
    return bool(np.all(left == -right) or np.all(left == right))


def products(act: Activation, K: jax.Array, grid: Grid) -> Products:
    """The expectations in z ~ N(0, K), K of shape (r, r), r = 3 or 4."""
    F, order = covariance_factor(K)
    F = F[order]
    value, rough = (_products(act, F, g) for g in (grid, grid.coarser()))
    error = jnp.abs(rough - value)
    if len(K) == 4:
        return Products(value[0], error[0])
    return Products(*(jnp.zeros_like(a).at[order].set(a) for a in (value, error)))


def _products(act: Activation, F: jax.Array, grid: Grid) -> jax.Array:
    doubled = range(3) if len(F) == 3 else (None,)
    inner = lambda levels: jnp.stack([_nested(levels, k) for k in doubled])  # noqa: E731

    def factors(z):
        s = act(z)
        return jnp.stack([s, s * s] if len(F) == 3 else [s])

    return summed(F, grid, factors, inner, grid.mirrored)


def slope_products(
    act: Activation, K: jax.Array, grid: Grid, powers: np.ndarray
) -> tuple[jax.Array, jax.Array]:
    """⟨Π_i σ_i^{p_i} σ′_i^{q_i}⟩ in z ~ N(0, K), and its absolute difference from that with fewer nodes.

    `powers`: (m, r, 2), the p and q of m products of r variables, p + q ≤ 2. Results of shape (m,).
    """
    F, order = covariance_factor(K)
    which = jnp.asarray(_PLACE[powers[..., 0], powers[..., 1]])[:, order]
    even_product = not np.any(powers.sum(1) % 2)
    grid = grid._replace(mirrored=grid.mirrored and even_product)
    value, rough = (_slope_products(act, F[order], which, g) for g in (grid, grid.coarser()))
    return value, jnp.abs(rough - value)


_PLACE = np.array([[5, 1, 3], [0, 4, 5], [2, 5, 5]], INDEX)
"""The place of σᵖσ′^q among σ, σ′, σ², σ′², σσ′."""


def _slope_products(act: Activation, F: jax.Array, which: jax.Array, grid: Grid) -> jax.Array:
    def factors(z):
        s, d = act.derivatives(z)[:2]
        return jnp.stack([s, d, s * s, d * d, s * d])

    def chosen(levels):
        def one(row):
            return _nested([(f[i][None], w) for i, (f, w) in zip(row, levels, strict=True)], None)

        return jax.lax.map(one, which)

    return summed(F, grid, factors, chosen, grid.mirrored)


def summed(F: jax.Array, grid: Grid, factors: Callable, inner: Callable, mirrored: bool = False) -> jax.Array:
    """The sum over the nodes x₁ of inner(levels): `factors` at each z_k = Σ_j F_kj x_j, with the weights.

    The k functions `factors` are on a first axis. Where there are cuts, the last level has their means over
    the last x instead, and no weights. `mirrored`: the sum does not change if all x change their sign, so
    that x₁ ≥ 0 is enough.
    """
    squares = jnp.pad(F * F, ((0, 0), (0, 1)))
    rest = jnp.sqrt(jnp.cumsum(squares[:, :0:-1], 1)[:, ::-1])  # √Σ_{m>k} F_jm²
    last = _innermost(F[-1], grid, factors) if grid.cuts else None

    def outermost(at):
        x, w = at
        means, levels = F[:, 0] * x, [(factors(F[0, 0] * x), w)]
        for k in range(1, len(F)):
            if last is not None and k == len(F) - 1:
                levels.append((last(means[k]), None))
                break
            x, w = _nodes(means[k:], F[k:, k], rest[k:, k], grid)
            means = means[..., None] + jnp.expand_dims(F[:, k], tuple(range(1, k + 1))) * x[None]
            levels.append((factors(means[k]), w))
        return inner(levels)

    first = _nodes(jnp.zeros(len(F), F.dtype), F[:, 0], rest[:, 0], grid)
    if mirrored:
        x, w = (a[len(a) // 2 :] for a in first)
        first = x, jnp.where(x > 0, 2 * w, w)
    return jnp.sum(jax.lax.map(outermost, first), 0)


def _innermost(row: jax.Array, grid: Grid, factors: Callable) -> Smoothed:
    size = jnp.sqrt(jnp.sum(row[:-1] ** 2))
    return smoothed(factors, row[-1], size, grid.cuts, grid.panel, grid.points)


def _nodes(means: jax.Array, slopes: jax.Array, rest: jax.Array, grid: Grid) -> tuple[jax.Array, jax.Array]:
    """Nodes and weights for the x in z = mean + slope·x + rest·y; the first axis runs over variables.

    `rest`: the standard deviation that the later x give to each variable, 0 for the first.
    """
    if not grid.cuts:
        x, w = even(grid.step, means.dtype)
        return aligned(x, means), aligned(w, means)
    slopes = jnp.where(slopes == 0, jnp.finfo(means.dtype).tiny, slopes)
    slopes, rest = (jnp.expand_dims(a, tuple(range(1, means.ndim))) for a in (slopes, rest))
    blur = jnp.minimum(BLUR * jnp.abs(rest[1:] / slopes[1:]), FAR)
    cuts = []
    for c in grid.cuts:
        at = jnp.clip((c - means) / slopes, -FAR, FAR)
        cuts += [at, at[1:] - blur, at[1:] + blur]
    return legendre(jnp.moveaxis(jnp.concatenate(cuts), 0, -1), grid.panel, ENDS)


def _nested(levels: Sequence[tuple[jax.Array, jax.Array | None]], doubled: int | None) -> jax.Array:
    """Σ w₁φ₁ Σ w₂φ₂ ⋯ with φ the first function, or the second at one level."""
    inner = jnp.ones((), levels[0][0].dtype)
    for k, (f, w) in reversed(list(enumerate(levels))):
        inner = f[int(k == doubled)] * inner
        if w is not None:
            inner = w * inner
            inner = jnp.sum(inner, -1) if inner.ndim else inner
    return inner
