"""⟨φ(m + s y)⟩ over y ~ N(0, 1), for one s and very many m: a sum of polynomials in m, made once.

Near a cut c, where φ has a kink or a jump, the smoothed function varies over distances of s, which may be any
fraction of the range of m. So panels become shorter towards the cut. With D the length of the range, panel i
has D 2^{−(i+1)/4} < |m − c| < D 2^{−i/4}, and there

    ⟨φ(m + s y)⟩ = Σ_k a_ik T_k(t),   t from −1 to 1

with Chebyshev polynomials. The last panel ends at the cut; 2^{−24} D is the smallest s that is resolved.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from eft.activations.one_sided import aligned
from eft.activations.programs import INDEX
from eft.gaussian.rules import ENDS, PANEL_HALF_WIDTH, legendre

OCTAVE, PANELS = 4, 96
"""Panels in an octave of |m − c|, and on each side of a cut."""

POINTS = 10
"""Chebyshev polynomials on a panel."""


class Smoothed(NamedTuple):
    """`cuts`: (C,), ascending. `reach`: (C, 2), the size of the range on the left and on the right of each.

    `coefficients`: (functions, points, C · 2 · panels).
    """

    cuts: jax.Array
    reach: jax.Array
    coefficients: jax.Array

    def __call__(self, m: jax.Array) -> jax.Array:
        """The functions at m, on a new first axis."""
        middle = (self.cuts[1:] + self.cuts[:-1]) / 2
        nearest = sum(((m > each).astype(INDEX) for each in middle), jnp.zeros(m.shape, INDEX))
        d = m - self.cuts[nearest]
        cell = 2 * nearest + (d > 0).astype(INDEX)
        panel, t = _place(jnp.abs(d) / self.reach.ravel()[cell])
        at, t = PANELS * cell + panel, jnp.clip(t, -1.0, 1.0)[None]
        last, *others, first = (a[:, at] for a in jnp.moveaxis(self.coefficients, 1, 0)[::-1])
        now, before = last, jnp.zeros_like(last)
        for a in others:
            now, before = 2 * t * now - before + a, now
        return t * now - before + first


EDGES = np.append(2.0 ** (-np.arange(PANELS) / OCTAVE), 0.0)
"""Of the panels, from 1 downwards, as shares of the range."""


def _place(share: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The panel, and t in it."""
    edges = jnp.asarray(EDGES, share.dtype)
    depth = -OCTAVE * jnp.log2(jnp.maximum(share, edges[-2] / 2))
    panel = jnp.clip(depth.astype(INDEX), 0, PANELS - 1)
    high, low = edges[panel], edges[panel + 1]
    return panel, (2 * share - high - low) / (high - low)


def smoothed(
    factors: Callable, s: jax.Array, size: jax.Array, cuts: tuple[float, ...], count: int, points: int
) -> Smoothed:
    """Of the k functions z → factors(z), on a first axis, for |m| ≤ `PANEL_HALF_WIDTH` · size.

    `s` ≥ 0: the width of the Gaussian. `cuts`: where the functions have kinks or jumps. `count`: nodes
    between neighbouring cuts of the integral over y. `points`: polynomials on a panel.
    """
    at = jnp.asarray(sorted({0.0, *cuts}), s.dtype)  # at 0 too, so that panels are short where φ varies
    gaps, far = jnp.diff(at) / 2, PANEL_HALF_WIDTH * size + jnp.abs(at)
    far = jnp.where(far > 0, far, 1.0)
    reach = jnp.stack([jnp.concatenate([far[:1], gaps]), jnp.concatenate([gaps, far[-1:]])], -1)
    t = np.cos(np.pi * (np.arange(points) + 0.5) / points)
    share = EDGES[1:, None] + (EDGES[:-1] - EDGES[1:])[:, None] * (t + 1) / 2
    d = reach[..., None, None] * jnp.asarray(share, s.dtype)[None, None]  # cut, side, panel, point
    m = at[:, None, None, None] + jnp.asarray([-1.0, 1.0], s.dtype)[None, :, None, None] * d
    slope = jnp.where(s == 0, jnp.finfo(s.dtype).tiny, s)
    y, w = legendre((aligned(at, m[..., None]) - m[..., None]) / slope, count, ENDS)
    values = jnp.sum(factors(m[..., None] + s * y) * w[None], -1)
    a = values @ jnp.asarray(_to_coefficients(t), s.dtype)
    return Smoothed(at, reach, jnp.moveaxis(a.reshape(len(a), -1, points), -1, 1))


def _to_coefficients(t: np.ndarray) -> np.ndarray:
    """(N, N): values at the N zeros t of T_N → a_k."""
    k = np.arange(len(t))
    return 2 / len(t) * np.cos(np.arccos(t)[:, None] * k) / np.where(k == 0, 2, 1)
