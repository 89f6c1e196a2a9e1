"""Expectations at one neuron in two layers of a residual network.

At infinite width the pre-activations of a neuron are a Gaussian process over the layers: from an earlier
layer, with variance K_p, to a later one, with variance K,

    z = Γ z_p + √(K − Γ²K_p) w,   w ~ N(0, 1),     Cov(z_p, z) = Γ K_p

With F = σ², S = σ′² and u = σσ′ = ½F′. Derivatives at the later layer are taken by parts, so that kinks of
σ contribute what they should: K⟨F_p u′⟩ = ⟨F_p z u⟩ − Γ K_p⟨F_p′ u⟩, and, if σ has kinks,
⟨f S′⟩ = ⟨f S w⟩/√(K − Γ²K_p).
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from eft.activations.definition import Activation
from eft.activations.one_sided import jump_at
from eft.gaussian.planes import Plane, plane
from eft.gaussian.rules import even, graded, legendre
from eft.gaussian.tangents import constant, undifferentiated

MAX_EVEN_KERNEL = 32.0
"""K up to which nodes may be uniformly spaced: they are then at most 600 by 600."""

UNIT_STEP = 0.2
"""Their spacing for K ≤ 1, where the nearest pole of σ(z) is at a distance of 1.5 or more, as for tanh:
relative error e^{−2π·1.5/0.2} = 1e-20. For larger K it is proportional to 1/√K."""

PANEL = 48
"""Nodes between neighbouring cuts, 0 and the kinks, of a rule for σ that is analytic between them."""


class Rule(NamedTuple):
    """The nodes of both integrals: uniformly spaced, `panel` of Gauss–Legendre between cuts, or graded."""

    step: float | None = None
    panel: int | None = None


GRADED = Rule()


def quick_rule(act: Activation, largest_K: float) -> Rule:
    """The quickest rule that may do; whether it does, the errors of the result say."""
    if act.kinks or not largest_K <= MAX_EVEN_KERNEL:
        return Rule(panel=PANEL) if math.isfinite(largest_K) else GRADED
    doublings = math.ceil(math.log2(max(1.0, largest_K)))  # few values: few programs are compiled
    return Rule(step=UNIT_STEP / 2 ** (doublings / 2))


class TwoLayers(NamedTuple):
    """Expectations of a neuron in an earlier layer p and in a later one, each of shape ().

    `cov`: Cov(F_p, F).
    `bent`: Cov(F_p, ½F″).
    `products`: ⟨u_p u⟩.
    `error`: relative error of what is also known from one layer alone: ⟨F⟩ and ½⟨F″⟩.
    """

    cov: jax.Array
    bent: jax.Array
    products: jax.Array
    error: jax.Array


class TwoSlopes(NamedTuple):
    """The same with slopes.

    `cov_FS`, `cov_SF`, `cov_SS`: Cov(F_p, S), Cov(S_p, F), Cov(S_p, S).
    `bent`: Cov(F_p, ½S″).
    `mixed`: ⟨u_p S′⟩.
    `error`: relative error of ⟨S⟩ and d⟨S⟩/dK.
    """

    cov_FS: jax.Array
    cov_SF: jax.Array
    cov_SS: jax.Array
    bent: jax.Array
    mixed: jax.Array
    error: jax.Array


class Neuron(NamedTuple):
    """One neuron in two layers, and the means that are known; each of shape ().

    `K_p`, `K`: variances. `carry`: Γ. `fresh`: K − Γ²K_p. `g_p`, `g`, `dg`: ⟨F_p⟩, ⟨F⟩, ½⟨F″⟩. `s_p`, `s`,
    `ds`: ⟨S_p⟩, ⟨S⟩, ½⟨S″⟩; None where slopes do not matter.
    """

    K_p: jax.Array
    K: jax.Array
    carry: jax.Array
    fresh: jax.Array
    g_p: jax.Array
    g: jax.Array
    dg: jax.Array
    s_p: jax.Array | None = None
    s: jax.Array | None = None
    ds: jax.Array | None = None


def two_layers(act: Activation, rule: Rule, neuron: Neuron) -> tuple[TwoLayers, TwoSlopes | None]:
    """The expectations at one neuron; those of slopes if their means are given."""
    K_p, K, carry, fresh, g_p, g, dg, s_p, s, ds = neuron
    q = _plane(act, rule, K_p, K, fresh)
    first, second = act.derivatives(q.z1), act.derivatives(q.z2)
    (a, a1), (b, b1, b2, b3) = first[:2], second[:4]

    def inner(f):
        return jnp.sum(q.w_y * f, -1)

    def outer(f, h):
        return jnp.sum(q.w_x[:, 0] * f[:, 0] * h)

    def scaled(value, size):
        return value / jnp.where(size > 0, size, 1.0)

    F_p, F, u_p, u = a * a - g_p, inner(b * b - g), a * a1, inner(b * b1)
    zu = inner(q.z2 * b * b1)
    one = jnp.ones_like(F_p)
    products = outer(u_p, u)
    bent = scaled(outer(F_p, zu) - 2 * carry * K_p * products, K)
    wrong_mean = scaled(jnp.abs(outer(one, F)), g)
    wrong_slope = scaled(jnp.abs(outer(one, zu) - K * dg), g)
    jumps_u, jumps_S = jumps_of_products(act)
    if jumps_u:
        bent, products = (undifferentiated(each, K_p, K, carry) for each in (bent, products))
    error = constant(jnp.maximum(wrong_mean, wrong_slope))
    signal = TwoLayers(outer(F_p, F), bent, products, error)
    if s_p is None or s is None or ds is None:
        return signal, None

    S_p, S = a1 * a1 - s_p, inner(b1 * b1 - s)
    if act.kinks:
        root = jnp.sqrt(jnp.where(fresh > 0, fresh, 1.0))
        S1 = inner(b1 * b1 * q.y) / root
        S2 = inner(b1 * b1 * (q.y**2 - 1)) / (2 * root * root)
    else:
        S1, S2 = 2 * inner(b1 * b2), inner(b2 * b2 + b1 * b3)
    wrong_mean = scaled(jnp.abs(outer(one, S)), s)
    wrong_slope = scaled(jnp.abs(outer(one, S2) - ds) * K, s)
    values = [outer(F_p, S), outer(S_p, F), outer(S_p, S), outer(F_p, S2), outer(u_p, S1)]
    if jumps_S:
        values = [undifferentiated(each, K_p, K, carry) for each in values]
    return signal, TwoSlopes._make([*values, constant(jnp.maximum(wrong_mean, wrong_slope))])


def _plane(act: Activation, rule: Rule, K_p, K, fresh) -> Plane:
    """The nodes, as constants, and the variables there."""
    a, b = jnp.sqrt(K_p), jnp.sqrt(K)
    share = fresh / jnp.where(K > 0, K, 1.0)  # 1 − ρ²
    rho, sine = jnp.sqrt(jnp.maximum(1 - share, 0.0)), jnp.sqrt(share)
    if rule.step is not None:
        x, w = even(rule.step, a.dtype)
        y, w_y = (jnp.broadcast_to(each, (len(x), len(x))) for each in (x, w))
        q = Plane(x[:, None], w[:, None], y, w_y, y, y)
    else:
        between = graded if rule.panel is None else functools.partial(legendre, count=rule.panel)
        q = plane(act, constant(a), constant(b), constant(share / (1 + rho)), between)
    return q._replace(z1=a * q.x, z2=b * (rho * q.x + sine * q.y))


@functools.lru_cache(maxsize=64)
def curvature_jumps(act: Activation) -> bool:
    """Whether σ″ jumps at a kink, so that σ‴ has δ functions."""
    dtype = jnp.result_type(float)
    with jax.ensure_compile_time_eval():
        return any(abs(float(jump_at(lambda z: act.derivatives(z)[2], c, dtype))) > 0 for c in act.kinks)


@functools.lru_cache(maxsize=64)
def jumps_of_products(act: Activation) -> tuple[bool, bool]:
    """Whether u = σσ′ and S = σ′² jump at a kink; their expectations then have derivatives that AD misses."""

    def product(z):
        return math.prod(act.derivatives(z)[:2])

    def square(z):
        return act.derivatives(z)[1] ** 2

    dtype = jnp.result_type(float)
    with jax.ensure_compile_time_eval():
        u, S = (any(abs(float(jump_at(f, c, dtype))) > 0 for c in act.kinks) for f in (product, square))
    return u, S
