"""The cumulants of σ² as power series in the kernel, which enter the 1/n series at each layer.

With F = σ², z ~ N(0, K(1+x)) and c_r the r-th cumulant of F,

    c_r/gʳ = Σ_j ĉ_rj xʲ,   g = ⟨F⟩_K,   so that ĉ_10 = 1.

They are computed from the Taylor coefficients of ⟨Fʳ⟩, which need no derivative of σ:

    Kʲ/j! dʲ⟨f⟩_K/dKʲ = ⟨f He_2j(u)⟩/(2ʲ j!) = (−1)ʲ ⟨f L_j^(−1/2)(u²/2)⟩,   u = z/√K,

with L the generalized Laguerre polynomials. To order n^{−p} only j ≤ 2(p−r+1) contribute.
"""

import math
from fractions import Fraction
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from eft.activations.definition import Activation
from eft.activations.derivatives import Array
from eft.gaussian.accuracy import SAFETY
from eft.gaussian.expectation import WINDOW, density
from eft.gaussian.moments import Moments, odd_factorial
from eft.gaussian.table import Table
from eft.gaussian.window import HIGHEST


class Cumulants(NamedTuple):
    """ĉ_rj for r = 1 … p+1 and j = 0 … 2p, set to 0 if not needed; shape (p+1, 2p+1) + K's shape."""

    c: jax.Array
    error: jax.Array  # estimated round-off error, absolute
    valid: jax.Array  # bool, K's shape: whether K is in the range where the nodes are accurate


class Constant(NamedTuple):
    """The source for homogeneous σ: ĉ does not depend on K."""

    c: Array  # (p+1, 2p+1)


class Sine(NamedTuple):
    """The source for σ = sin ωz."""

    frequency: Array
    polynomials: tuple[Array, ...]  # 2ʳ P_r, by falling power; r = 1 … p+1


Source = Constant | Sine | Table
"""The input of `cumulants` besides K: arrays, so that one compiled program serves many activations."""


def last(order: int, r: int) -> int:
    """The highest j that contributes to ĉ_r at order n^{−p}."""
    return 2 * (order - r + 1)


def source(act: Activation, order: int, dtype) -> Source:
    """The source in closed form for homogeneous σ and the sine, else σ at the nodes of the quadrature."""
    if act.degree is not None:
        return Constant(_homogeneous(act, order, dtype))
    if act.frequency is not None:
        rows = tuple(jnp.asarray(row[::-1], dtype) for row in _sine_polynomials(order + 1))
        return Sine(jnp.asarray(act.frequency, dtype), rows)
    return act.all_nodes(dtype)


def cumulants(known: Source, K: jax.Array, m: Moments, order: int) -> Cumulants:
    """ĉ at a vector of K with moments m, from which g, var, g′ and g″ are taken."""
    eps = jnp.finfo(K.dtype).eps
    if isinstance(known, Constant):
        c = jnp.broadcast_to(known.c[..., None], (*known.c.shape, *K.shape))
        return Cumulants(c, eps * jnp.abs(c), jnp.ones(K.shape, bool))
    if isinstance(known, Sine):
        c = _sine(known, K, order)
        return Cumulants(
            c, 8 * eps * jnp.max(jnp.abs(c), 1, keepdims=True) * _counted(order, K.dtype), K >= 0
        )
    found = _from_nodes(known, K, order)
    some, g = jnp.where(K > 0, K, 1.0), jnp.where(m.g > 0, m.g, 1.0)
    c = (
        found.c.at[0, 0]
        .set(1.0)
        .at[0, 1]
        .set(some * (m.dg / g))
        .at[0, 2]
        .set(some * (some * (m.d2g / g)) / 2)
    )
    c = c.at[1, 0].set(m.var / g / g)
    low, high = WINDOW
    inside = ((low <= K) | (known.centres[0] == 0)) & (high >= K)
    some = (K > 0)[None, None]
    return Cumulants(jnp.where(some, c, 0.0), jnp.where(some, found.error, 0.0), found.valid & inside)


def _counted(order: int, dtype) -> np.ndarray:
    """1 where ĉ_rj contributes, else 0; shape (p+1, 2p+1, 1)."""
    j = np.arange(2 * order + 1)
    return np.stack([j <= last(order, r) for r in range(1, order + 2)])[..., None].astype(dtype)


def cumulants_of(moments: list) -> list:
    """κ_r = μ_r − Σ_{i<r} C(r−1, i−1) κ_i μ_{r−i}, for r = 1 … len(moments), of any type that multiplies."""
    found: list = []
    for r, moment in enumerate(moments, start=1):
        lower = (math.comb(r - 1, i - 1) * (found[i - 1] * moments[r - i - 1]) for i in range(1, r))
        found.append(moment - sum(lower))
    return found


# --- closed forms -------------------------------------------------------------------------------


def _homogeneous(act: Activation, order: int, dtype) -> Array:
    """⟨Fʳ⟩ = ½(F₊ʳ + F₋ʳ)(2pr−1)!! K^{pr}, so that c_r(K(1+x)) = c_r(K) Σ_j C(pr, j) xʲ, p the degree."""
    p = act.degree or 0
    sides = [act.fn(jnp.asarray(z, dtype)) ** 2 for z in (1.0, -1.0)]
    exact = not any(isinstance(side, Tracer) for side in sides)
    plus, minus = [Fraction(float(s)) if exact else s for s in sides]
    g = (plus + minus) / 2 * odd_factorial(p)
    if exact and not g:
        return jnp.zeros((order + 1, 2 * order + 1), dtype)
    moments = [(plus**r + minus**r) / 2 * odd_factorial(p * r) / g**r for r in range(1, order + 2)]
    rows = [
        [c * math.comb(p * r, j) if j <= last(order, r) else 0 for j in range(2 * order + 1)]
        for r, c in enumerate(cumulants_of(moments), start=1)
    ]
    if exact:
        return np.array([[float(c) for c in row] for row in rows], dtype)
    return jnp.asarray([[jnp.asarray(c, dtype) for c in row] for row in rows])


def _sine_polynomials(count: int) -> list[list[Fraction]]:
    """2ʳ P_r by rising power, c_r(sin² ωz) = (1−q)ʳ P_r(q) with q = e^{−2ω²K}; in exact arithmetic.

    4ʳ sin²ʳ y = C(2r, r) + 2 Σ_m (−1)ᵐ C(2r, r−m) cos 2my and ⟨cos 2mωz⟩ = q^{m²}; (1−q)ʳ divides c_r.
    """
    moments = []
    for r in range(1, count + 1):
        coefficients = [Fraction(0)] * (r * r + 1)
        coefficients[0] = Fraction(math.comb(2 * r, r), 4**r)
        for k in range(1, r + 1):
            coefficients[k * k] += Fraction(2 * (-1) ** k * math.comb(2 * r, r - k), 4**r)
        moments.append(np.polynomial.Polynomial(np.array(coefficients, object)))
    rows = []
    for r, c in enumerate(cumulants_of(moments), start=1):
        row = list(c.coef)
        for _ in range(r):  # division by 1 − q gives the partial sums
            row = list(np.cumsum(np.array(row, object)))[:-1]
        rows.append([2**r * a for a in row])
    return rows


def _sine(known: Sine, K: jax.Array, order: int) -> jax.Array:
    """ĉ_r(x) = 2ʳ P_r(q(x)) ((1−q(x))/(1−q))ʳ with q(x) = q e^{−yx}, y = 2ω²K."""
    y = jnp.minimum(2 * known.frequency**2 * K, 700.0)  # above that, q is 0
    q, rest = jnp.exp(-y), -jnp.expm1(-y)
    j = np.arange(2 * order + 1)
    factorial = np.array([math.factorial(k) for k in j], K.dtype)[:, None]
    sign = ((-1.0) ** j)[:, None].astype(K.dtype)
    Y = jnp.stack([y**k for k in range(len(j))])
    # (1 − q e^{−yx})/(1−q); q yʲ/(1−q) is finite as y → 0
    odds = jnp.where(y > 0, q * y / jnp.where(y > 0, rest, 1.0), 1.0)
    slope = -sign[1:] * Y[:-1] / factorial[1:] * odds[None]
    grown = jnp.concatenate([jnp.ones_like(y)[None], slope])
    power, rows = jnp.zeros_like(grown).at[0].set(1.0), []
    for polynomial in known.polynomials:
        power = times(power, grown)
        d = np.arange(len(polynomial))[::-1]
        weights = polynomial[:, None] * jnp.stack([q**k for k in d.tolist()])
        terms = sign[None] * (d[:, None] ** j).astype(K.dtype)[..., None] * Y[None]
        rows.append(times(jnp.sum(weights[:, None] * terms, 0) / factorial, power))
    return jnp.stack(rows) * _counted(order, K.dtype)


def times(a: jax.Array, b: jax.Array) -> jax.Array:
    """The product of power series along the leading axis, as long as b; the other axes broadcast."""
    still = [(0, 0)] * (b.ndim - 1)
    return sum(a[i : i + 1] * jnp.pad(b[: len(b) - i], [(i, 0), *still]) for i in range(min(len(a), len(b))))  # type: ignore


# --- by quadrature ------------------------------------------------------------------------------


def _from_nodes(table: Table, K: jax.Array, order: int) -> Cumulants:
    """ĉ from each rule of the table; for several rules their mean, with their spread as the error."""
    per_rule = {name: getattr(table, name) for name in Table.PER_RULE}
    rules = jax.vmap(lambda rule: _rule(table._replace(**rule), K, order))(per_rule)
    if len(table.z) == 1:
        return jax.tree.map(lambda a: a[0], rules)
    c, error, valid = rules
    seen = jax.lax.stop_gradient(c)
    spread = SAFETY * (seen.max(0) - seen.min(0))
    return Cumulants(c.mean(0), jnp.maximum(error.max(0), spread), valid.all(0))


def _rule(table: Table, K: jax.Array, order: int) -> Cumulants:
    """ĉ from the moments of F minus F₀ or F_∞, whichever is clearly nearer to ⟨F⟩.

    If σ is smooth on the scale of √K, K² d²⟨F⟩/dK² = K²⟨F⁗⟩/4 is differentiated in place of ⟨F⟩, so that ĉ_1j
    keeps its relative accuracy as K → 0.
    """
    K = jnp.clip(K, *WINDOW)
    info = jnp.finfo(K.dtype)
    limit = float(info.max) ** (0.9 / (order + 1))
    large = jnp.any(jnp.abs(table.centred) > limit, axis=(1, 2)) | (table.z >= table.bounded[1])
    D = jnp.where(large[:, None, None], 0.0, table.centred)
    powers = [jnp.sum(D**r, 1) for r in range(1, order + 2)]  # (nodes, centres)
    quarter = table.columns[:, 8:9]  # ¼F⁗
    z = jnp.asarray(table.z)[None]
    half_u2 = jnp.minimum(z * (z / K[:, None]) / 2, 800.0)
    weight, below = table.v[None] * density(z, K[:, None]), jnp.zeros_like(half_u2)
    moments: list = [[] for _ in powers]
    bends = []
    for j in range(2 * order + 1):
        columns = powers[: order + 1 - (j + 1) // 2] + ([quarter] if j < 2 * order - 1 else [])
        sums = jnp.matmul(weight, jnp.concatenate(columns, 1), precision=HIGHEST)
        for r in range(len(columns) - (j < 2 * order - 1)):
            moments[r].append(sums[:, 2 * r : 2 * r + 2])
        if j < 2 * order - 1:
            bends.append(sums[:, -1])
        # −(j+1) h_{j+1} = (2j + ½ − u²/2) h_j + (j − ½) h_{j−1}, h_j = (−1)ʲ L_j
        weight, below = -((2 * j + 0.5 - half_u2) * weight + (j - 0.5) * below) / (j + 1), weight
    means = jnp.abs(moments[0][0])
    far = means[:, 0] > 2 * means[:, 1]
    mu = [jnp.stack([jnp.where(far, a[:, 1], a[:, 0]) for a in row]) for row in moments]  # (j, K)
    g = mu[0][0] + jnp.where(far, table.centres[1], table.centres[0])
    unit = jnp.where(g > 0, g, 1.0)
    scaled, power = [], jnp.ones_like(unit)
    for row in mu:
        power = power / unit
        scaled.append(row * power[None])
    c = [scaled[0].at[0].add(1 - scaled[0][0])]
    for r in range(2, order + 2):
        length = last(order, r) + 1
        lower = [scaled[0], *c[1:]]
        parts = (
            math.comb(r - 1, i - 1) * times(lower[i - 1], scaled[r - i - 1][:length]) for i in range(1, r)
        )
        c.append(scaled[r - 1] - sum(parts))

    bent = jnp.any(table.jumps != 0, -1)
    cut = jnp.min(jnp.where(bent, jnp.abs(table.kinks), jnp.inf))
    smooth = jnp.minimum(table.near[1], cut**2 / 80) > K
    j = np.arange(2, 2 * order + 1, dtype=K.dtype)[:, None]
    curved = (K * (K / unit))[None] * jnp.stack(bends) / (j * (j - 1))
    c[0] = c[0].at[2:].set(jnp.where(smooth[None], curved, c[0][2:]))
    size = jnp.stack([jnp.abs(row[0]) ** (1 / r) for r, row in enumerate(scaled, 1)]).max(0)
    error = [16 * info.eps * math.factorial(r - 1) * size**r for r in range(1, order + 2)]
    growing = np.arange(1, 2 * order + 2, dtype=K.dtype)[None, :, None]
    error = jnp.stack(error)[:, None] * growing * _counted(order, K.dtype)
    fine = jnp.where(smooth[None], 16 * info.eps * jnp.abs(curved), error[0, 2:])
    error = error.at[0, 2:].set(fine).at[0, :2].set(16 * info.eps * jnp.abs(c[0][:2]))
    bounded = jnp.min(jnp.where(large, table.z, jnp.inf))
    whole = [jnp.pad(row, ((0, 2 * order + 1 - len(row)), (0, 0))) for row in c]
    return Cumulants(jnp.stack(whole), jax.lax.stop_gradient(error), bounded > 38 * jnp.sqrt(K))
