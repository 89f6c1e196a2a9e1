"""Expectations of one activation at two Gaussian variables: ⟨σ(z₁)σ(z₂)⟩, ⟨σ′(z₁)σ′(z₂)⟩, ⟨(σ(z₁)−σ(z₂))²⟩.

z₁ = √K₁ x and z₂ = √K₂ (ρx + √(1−ρ²) y) with x, y ~ N(0, 1) independent. What matters to a pair of inputs
that are close is 1 − ρ, which a float ρ does not know; so `gap` = 1 − ρ is the argument.

The integral over y is cut where z₂ is at 0 or at a kink, that over x where z₁ or the mean of z₂ is.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from eft import arguments
from eft.activations import Activation, as_activation
from eft.arguments import ArgumentError
from eft.derivatives import Function
from eft.limits import jump_at, sides
from eft.programs import compiled
from eft.rules import graded

SHORT = 1e-3
"""|z₁−z₂| below which σ(z₁) − σ(z₂) is taken from derivatives."""


class PairMoments(NamedTuple):
    """Expectations in (z₁, z₂) ~ N(0, [[K₁, K₁₂], [K₁₂, K₂]]), each of the arguments' shape."""

    product: jax.Array  # ⟨σ(z₁)σ(z₂)⟩
    slopes: jax.Array  # ⟨σ′(z₁)σ′(z₂)⟩; where σ jumps, without the part that its jump makes
    distance: jax.Array  # ⟨(σ(z₁)−σ(z₂))²⟩
    error: jax.Array  # |⟨σ₁²⟩ + ⟨σ₂²⟩ − 2⟨σ₁σ₂⟩ − ⟨(σ₁−σ₂)²⟩|/(⟨σ₁²⟩ + ⟨σ₂²⟩), from the one-variable rule


def pair_expectation(act: "str | Activation | Function", K1: object, K2: object, gap: object) -> PairMoments:
    """⟨σ₁σ₂⟩, ⟨σ′₁σ′₂⟩ and ⟨(σ₁−σ₂)²⟩ for z₁, z₂ of variances K₁, K₂ and correlation ρ = 1 − gap.

    `act`: a name, an Activation or a function. `K1`, `K2` ≥ 0 and `gap` in [0, 2] broadcast.

    In float64, for K in [1e-6, 1e4]: ⟨σ₁σ₂⟩ and ⟨σ′₁σ′₂⟩ to 1e-12 of √(⟨σ₁²⟩⟨σ₂²⟩) and its like,
    at every ρ, ±1 included; ⟨(σ₁−σ₂)²⟩ to a relative 1e-9 down to gap = 1e-12 and beyond. In float32
    to about 1e-5. `error` compares two integrals with one-variable ones that are known.
    Kinks that are not declared cost accuracy unseen: name them in `eft.Activation(fn, kinks=...)`.
    Closed forms for the piecewise linear activations. About 0.2 million function values a pair otherwise.

    Raises TypeError or ValueError for a bad argument.
    """
    act = as_activation(act)
    given = {
        name: arguments.nonnegative(name, value) for name, value in (("K1", K1), ("K2", K2), ("gap", gap))
    }
    K1_, K2_, gap_ = arguments.broadcast(given)
    if not isinstance(gap_, Tracer) and (np.asarray(gap_) > 2).any():
        raise ArgumentError(f"gap = 1 − ρ must be ≥ 0 and ≤ 2; got {float(gap_.max())}")
    a, b = jnp.sqrt(K1_), jnp.sqrt(K2_)
    return _pair_moments(act, a, b, a - b, gap_)


@compiled(0)
def _pair_moments(act: Activation, a, b, difference, gap) -> PairMoments:
    return pair_moments(act, a, b, difference, gap)


def pair_moments(
    act: Activation, a: jax.Array, b: jax.Array, difference: jax.Array, gap: jax.Array
) -> PairMoments:
    """The same from √K₁, √K₂ and their difference, of which close inputs need more digits."""
    args = jnp.broadcast_arrays(a, b, difference, gap)
    exact = closed_form(act)
    if exact:
        product, slopes, distance = exact(*args)
    else:
        found = jax.lax.map(lambda each: _by_quadrature(act, *each), [arg.ravel() for arg in args])
        product, slopes, distance = (m.reshape(args[0].shape) for m in found)
    sizes = act.moments(a * a).g + act.moments(b * b).g
    error = jnp.abs(sizes - 2 * product - distance) / jnp.where(sizes > 0, sizes, 1.0)
    return PairMoments(product, slopes, distance, error)


def closed_form(act: Activation):
    """(√K₁, √K₂, √K₁ − √K₂, 1 − ρ) → (⟨σ₁σ₂⟩, ⟨σ′₁σ′₂⟩, ⟨(σ₁−σ₂)²⟩), or None."""
    if act.degree == 1:
        return functools.partial(_piecewise_linear, act)
    if act.frequency is not None:
        return functools.partial(_sine, act.frequency)
    return None


def angle(gap: jax.Array) -> tuple[jax.Array, jax.Array]:
    """θ = arccos(1 − gap) and sin θ."""
    return 2 * jnp.arcsin(jnp.sqrt(gap / 2)), jnp.sqrt(gap * (2 - gap))


def _piecewise_linear(act: Activation, a, b, difference, gap):
    """σ = αz + β|z|: with ρ = cos θ, ⟨|z₁z₂|⟩ = (2/π)√(K₁K₂) (sin θ + (π/2 − θ) cos θ)."""
    plus, minus = (act(jnp.asarray(sign, a.dtype)) for sign in (1.0, -1.0))
    alpha2, beta2 = (plus - minus) ** 2 / 4, (plus + minus) ** 2 / 4
    theta, sine = angle(gap)
    rho = 1 - gap
    t2 = theta * theta
    # sin θ − θ cos θ, by its series where the two would cancel
    series = theta * t2 / 3 * (1 - t2 / 10 * (1 - t2 / 28 * (1 - t2 / 54 * (1 - t2 / 88 * (1 - t2 / 130)))))
    bent = jnp.where(theta < 0.7, series, sine - theta * rho)
    lost = jnp.maximum((alpha2 + beta2) * gap - 2 / math.pi * beta2 * bent, 0.0)
    return (
        a * b * (alpha2 * rho + 2 / math.pi * beta2 * (sine + (math.pi / 2 - theta) * rho)),
        alpha2 + beta2 * (1 - 2 / math.pi * theta),
        (alpha2 + beta2) * difference**2 + 2 * a * b * lost,
    )


def _sine(frequency: float, a, b, difference, gap):
    """σ = sin ωz: with D = ω²⟨(z₁−z₂)²⟩ and S = ω²⟨(z₁+z₂)²⟩, ⟨σ₁σ₂⟩ = ½(e^{−D/2} − e^{−S/2})."""
    a, b, difference = frequency * a, frequency * b, frequency * difference
    D = difference**2 + 2 * a * b * gap
    S = (a - b) ** 2 + 2 * a * b * (2 - gap)
    near, far = jnp.exp(-D / 2), jnp.exp(-S / 2)
    lost = jnp.exp(-(jnp.minimum(a, b) ** 2)) * jnp.expm1(
        -jnp.abs(difference) * (a + b)
    )  # |e^{−K₁} − e^{−K₂}|
    return (
        jnp.sign(S - D) * jnp.maximum(near, far) * -jnp.expm1(-jnp.abs(S - D) / 2) / 2,
        frequency**2 * (near + far) / 2,
        -jnp.expm1(-D / 2) * (1 + far) - lost**2 / 2,
    )


# --- quadrature ---------------------------------------------------------------------------------


class Plane(NamedTuple):
    """Nodes for two Gaussian variables: x on the leading axis, y on the last."""

    x: jax.Array  # (N, 1)
    w_x: jax.Array
    y: jax.Array  # (N, M)
    w_y: jax.Array
    z1: jax.Array  # (N, 1)
    z2: jax.Array  # (N, M)

    def mean(self, f: jax.Array) -> jax.Array:
        return jnp.sum(self.w_x[:, 0] * jnp.sum(self.w_y * f, -1))


def plane(act: Activation, a, b, gap) -> Plane:
    """The nodes for one pair of √K₁, √K₂ and 1 − ρ."""
    kinks = jnp.asarray([c for c in act.kinks if c != 0], a.dtype)
    tiny = jnp.finfo(a.dtype).tiny
    rho = 1 - gap
    sine = jnp.sqrt(gap * (2 - gap))
    safe = lambda d: jnp.where(d == 0, tiny, d)  # noqa: E731
    x, w_x = graded(jnp.concatenate([jnp.zeros(1, a.dtype), kinks / safe(a), kinks / safe(rho * b)]))
    x, w_x = x[:, None], w_x[:, None]
    zeros = jnp.concatenate([jnp.zeros(1, a.dtype), kinks])
    y, w_y = graded(((zeros / safe(b))[None] - rho * x) / jnp.maximum(sine, tiny))
    return Plane(x, w_x, y, w_y, a * x, b * (rho * x + sine * y))


def _by_quadrature(act: Activation, a, b, difference, gap):
    p = plane(act, a, b, gap)
    sine = jnp.sqrt(gap * (2 - gap))
    apart = (difference + b * gap) * p.x - b * sine * p.y
    s1, ds1 = act.derivatives(p.z1)[:2]
    s2, ds2 = act.derivatives(p.z2)[:2]
    d = _difference(act, p.z1, p.z2, s1 - s2, apart)
    return p.mean(s1 * s2), p.mean(ds1 * ds2), p.mean(d * d)


def _difference(act: Activation, z1, z2, direct, apart):
    """σ(z₁) − σ(z₂): for points that are close wσ′ + w³σ‴/24 at their middle, in two steps over a kink."""

    def step(middle, w):
        s = act.derivatives(middle)
        return w * s[1] + w**3 / 24 * s[3]

    def leg(c, w, below, above):
        """σ(c+w) − σ(c), the middle kept on its own side of c."""
        return step(jnp.where(w > 0, jnp.maximum(c + w / 2, above), jnp.minimum(c + w / 2, below)), w)

    short = step(z2 + apart / 2, apart)
    for c in act.kinks:
        up, down, jump = z1 - c, z2 - c, jump_at(act.fn, c, z1.dtype)
        ends = tuple(map(jnp.asarray, sides(c, z1.dtype)))
        over = leg(c, up, *ends) - leg(c, down, *ends) + jnp.where(up > 0, jump, -jump)
        short = jnp.where(up * down < 0, over, short)
    return jnp.where(jnp.abs(apart) < SHORT, short, direct)
