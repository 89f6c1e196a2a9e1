"""Expectations of products of σ(z) = cz + d|z| and its slope at three and four Gaussian variables.

With s = sign z, they are sums of products of z, |z|, 1 and s. Those with at most two |z| or s are in closed
form by parts (Stein's lemma). For four, the covariances X_ij of variables i ∈ {1, 2} with j ∈ {3, 4} are
multiplied by t, and by Price's theorem d⟨f⟩/dt = Σ_ij X_ij ⟨∂_i∂_j f⟩. Since ∂|z| = s and ∂s = 2δ(z),

    ⟨s₁s₂s₃s₄⟩ = C(1),   C(0) = (2/π)² arcsin ρ₁₂ arcsin ρ₃₄,   C′(t) = Σ_ij X_ij ⟨2δ_i 2δ_j s_k s_l⟩

and C′ is in closed form, as is all else that occurs in E(1) = E(0) + E′(0) + ∫₀¹ (1−t) E″(t) dt, where
E = ⟨|z₁||z₂||z₃||z₄|⟩ and E″ has the term 2(X₁₃X₂₄ + X₁₄X₂₃) C. Thus each is an integral over one variable,
of a function that is analytic for t < 1 and is at most as singular as 1/√(1−t) at the end (tanh-sinh rule).

Variables are unit vectors, and what is left of one when its part along another is removed is computed from
their difference. No inverse of a covariance is taken: variables may be equal, opposite, dependent or 0.
"""

import itertools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from eft.activations.programs import INDEX
from eft.gaussian.covariance import ROUNDING_UNITS as COUNTED_AS_ZERO
from eft.gaussian.covariance import covariance_factor
from eft.gaussian.piecewise_pairs import TWO_OVER_PI
from eft.gaussian.quadruples import Means

STEP = 0.05
"""Of the tanh-sinh rule; twice as much is enough for 1e-10, and gives the error."""

ENDS = 3.3, 4.4
"""Where it ends near t = 0 and t = 1: what is left out is 1e-18 of 1, and of 1/√(1−t) too."""

ROUNDING_UNITS = 16
"""Error of correlations and, beside ⟨σ⁴⟩, of values, in units of round-off."""

SPLITS = np.array([[0, 1, 2, 3], [0, 2, 1, 3], [0, 3, 1, 2]], INDEX)
"""The ways to split four variables into two pairs."""

BACK = np.argsort(SPLITS, -1).astype(INDEX)
PAIRS = list(itertools.combinations(range(4), 2))


def means(slopes: tuple[float, float], K: jax.Array, with_slopes: bool) -> tuple[Means, Means]:
    """The expectations in z ~ N(0, K), (n, n), as those of `quadruples.means`, and their absolute errors.

    `slopes`: σ′ for z > 0 and for z < 0. Of the functions σ, and σ′ if `with_slopes`. Products of an odd
    number of slopes are not computed, and left 0. A variable that is 0 is the limit of a small one that is
    independent of all others.
    """
    n = len(K)
    threes = list(itertools.combinations(range(n), 3))
    doubled = [(t[i], t[i], *t[:i], *t[i + 1 :]) for t in threes for i in range(3)]
    rows = np.array([*doubled, *itertools.combinations(range(n), 4)], int).reshape(-1, 4)
    k = 1 + with_slopes
    if not len(rows):
        empty = Means(
            jnp.zeros((0, 3, k * (k + 1) // 2, k * k), K.dtype), jnp.zeros((0, k * k, k * k), K.dtype)
        )
        return empty, empty
    F = covariance_factor(K)[0]
    size = jnp.sqrt(jnp.sum(F * F, -1))
    unit = F / jnp.where(size > 0, size, 1.0)[:, None]
    unit = jnp.concatenate([unit, jnp.diag((size == 0).astype(K.dtype))], -1)
    root = jnp.sqrt(jnp.diagonal(K))
    found = _products(slopes, unit[rows], root[rows], _steep(slopes, rows), with_slopes)

    def shaped(a):
        three, four = a[: len(doubled)], a[len(doubled) :]
        orders = np.array([0, 1, 3][: k * (k + 1) // 2])  # φ ≤ φ′
        return Means(three[:, orders].reshape(len(threes), 3, len(orders), k * k), four)

    return shaped(found[0]), shaped(found[1])


class _Geometry(NamedTuple):
    """Of four unit vectors v_a; the first axis runs over sets of four.

    `rho`: v_a·v_b. `gap`: 1 − |ρ_ab|. `sine`: √(1 − ρ_ab²). `rest`: [a, b] the unit vector of v_b − ρ_ab v_a.
    `along`: [a, b, e] that times v_e.
    """

    rho: jax.Array
    gap: jax.Array
    sine: jax.Array
    rest: jax.Array
    along: jax.Array

    @property
    def signs(self) -> jax.Array:
        """⟨s_a s_b⟩."""
        return TWO_OVER_PI * jnp.arctan2(self.rho, self.sine)

    @property
    def sizes(self) -> jax.Array:
        """⟨|z_a||z_b|⟩."""
        return TWO_OVER_PI * self.sine + self.rho * self.signs


def _geometry(v: jax.Array) -> _Geometry:
    sign = jnp.where(jnp.sum(v[:, :, None] * v[:, None], -1) < 0, -1.0, 1.0).astype(v.dtype)
    apart = v[:, None] - sign[..., None] * v[:, :, None]  # v_b ∓ v_a
    gap = jnp.sum(apart * apart, -1) / 2
    rest = apart - jnp.sum(apart * v[:, :, None], -1)[..., None] * v[:, :, None]
    size = jnp.sqrt(jnp.sum(rest * rest, -1))
    rest = rest / jnp.where(size > 0, size, 1.0)[..., None]
    along = jnp.sum(rest[:, :, :, None] * apart[:, :, None], -1)
    return _Geometry(sign * (1 - gap), gap, jnp.sqrt(gap * (2 - gap)), rest, along)


def _products(slopes, v, root, steep, with_slopes: bool) -> tuple[jax.Array, jax.Array]:
    """Products and errors, (sets, k², k²), of v (sets, 4, m) and the standard deviations (sets, 4).

    `steep`: as made by `_steep`.
    """
    g = _geometry(v)
    across = [jnp.max(jnp.abs(g.rho[:, s[:2, None], s[2:]]), (1, 2)) for s in SPLITS]
    split = jnp.argmin(jnp.stack(across), 0)
    order, back = jnp.asarray(SPLITS)[split], jnp.asarray(BACK)[split]
    of = _four_signs(_geometry(jnp.take_along_axis(v, order[..., None], 1)))
    sets = np.arange(len(v))[:, None, None]
    mixed = of.mixed[sets, back[:, :, None], back[:, None]]
    plus, minus = slopes
    c, d, top = (plus + minus) / 2, (plus - minus) / 2, max(abs(plus), abs(minus)) ** 4
    rounding, turns = ROUNDING_UNITS * jnp.finfo(v.dtype).eps, jnp.asarray(steep, v.dtype) * _turns(g.sine)

    def result(value, size, of_slopes):
        error = jnp.abs(value[:, 0] - value[:, 1]) + top * rounding + of_slopes
        return size * value[:, 0], size * error

    values = result(_values(c, d, g, of.sizes), jnp.prod(root, -1), 0.0)
    if not with_slopes:
        return values[0][:, None, None], values[1][:, None, None]
    signs = result(_slopes(c, d, g, of.signs), 1.0, jnp.sum(turns, -1))
    entries: dict[tuple[int, ...], tuple] = {(0, 0, 0, 0): values, (1, 1, 1, 1): signs}
    for (i, j), turn in zip(PAIRS, reversed(turns.T), strict=True):  # that of the other two
        at = tuple(int(e not in (i, j)) for e in range(4))
        value = _cross(c, d, g, (i, j), mixed[:, i, j])
        entries[at] = result(value, root[:, i] * root[:, j], turn)
    zero = 2 * (jnp.zeros(len(v), v.dtype),)
    found = [entries.get(at, zero) for at in itertools.product((0, 1), repeat=4)]
    value, error = (jnp.stack(each, -1).reshape(-1, 4, 4) for each in zip(*found, strict=True))
    return value, error


def _steep(slopes: tuple[float, float], rows: np.ndarray) -> np.ndarray:
    """(sets, 6): |d⟨σ′₁σ′₂f₃f₄⟩/d arcsin ρ₁₂| of the pairs is at most this, with f = σ′ or σ for variance 1.

    It is (2/π) d² times f₃f₄ at z₁ = z₂ = 0. If z₃ is the same variable as z₁, its slope there is c.
    `rows`: which variables are in the sets; if one is there twice, it comes first.
    """
    plus, minus = slopes
    c, d, top = (plus + minus) / 2, (plus - minus) / 2, max(abs(plus), abs(minus))
    a, b = np.array(PAIRS).T
    twice = (rows[:, :1] == rows[:, 1:2]) & ((a < 2) & (b >= 2))
    found = TWO_OVER_PI * d * d * np.where(twice, abs(c) * top, top * top)
    return np.where(rows[:, a] == rows[:, b], 0.0, found)


def _turns(sine: jax.Array) -> jax.Array:
    """(sets, 6): errors of arcsin ρ of the pairs; a remainder of variance within round-off counts as 0."""
    eps = jnp.finfo(sine.dtype).eps
    a, b = np.array(PAIRS).T
    safe = jnp.maximum(sine[:, a, b], jnp.finfo(sine.dtype).tiny)
    return jnp.minimum(math.sqrt(COUNTED_AS_ZERO * eps), ROUNDING_UNITS * eps / safe)


# --- products of z, |z|, 1 and s ----------------------------------------------------------------


def _others(*of: int) -> list[int]:
    return [e for e in range(4) if e not in of]


def _values(c: float, d: float, g: _Geometry, four: jax.Array) -> jax.Array:
    """⟨Π(c z + d|z|)⟩, (sets, rules); `four`: that of |z|."""
    r = g.rho
    pairs = r[:, 0, 1] * r[:, 2, 3] + r[:, 0, 2] * r[:, 1, 3] + r[:, 0, 3] * r[:, 1, 2]
    half = jnp.zeros_like(pairs)
    for a, b in PAIRS:
        e, f = _others(a, b)
        half += r[:, e, f] * g.sizes[:, a, b]
        half += g.signs[:, a, b] * (r[:, e, a] * r[:, f, b] + r[:, e, b] * r[:, f, a])
        half += TWO_OVER_PI * g.sine[:, a, b] * (r[:, e, a] * r[:, f, a] + r[:, e, b] * r[:, f, b])
    return (c**4 * pairs + (c * d) ** 2 * half)[:, None] + d**4 * four


def _slopes(c: float, d: float, g: _Geometry, four: jax.Array) -> jax.Array:
    """⟨Π(c + d s)⟩."""
    half = jnp.sum(jnp.stack([g.signs[:, a, b] for a, b in PAIRS]), 0)
    return (c**4 + (c * d) ** 2 * half)[:, None] + d**4 * four


def _cross(c: float, d: float, g: _Geometry, of: tuple, four: jax.Array) -> jax.Array:
    """⟨Π(c z + d|z|) Π(c + d s)⟩, the first of the variables `of`, the second of the others."""
    a, b = of
    e, f = _others(a, b)
    r = g.rho[:, a, b]
    half = g.sizes[:, a, b] + r * g.signs[:, e, f]
    half += TWO_OVER_PI * (g.rho[:, a, e] * g.along[:, e, f, b] + g.rho[:, a, f] * g.along[:, f, e, b])
    for x, z in ((a, b), (b, a)):
        for s in (e, f):
            half += r * g.signs[:, x, s] + TWO_OVER_PI * g.rho[:, z, s] * g.sine[:, x, s]
    return (c**4 * r + (c * d) ** 2 * half)[:, None] + d**4 * four


# --- of four |z| or s ---------------------------------------------------------------------------


class _Four(NamedTuple):
    """By the rule and by a coarser one, on the last axis.

    `sizes`: ⟨|z₁||z₂||z₃||z₄|⟩. `signs`: ⟨s₁s₂s₃s₄⟩. `mixed`: [a, b] |z| of a and b, s of the other two.
    """

    sizes: jax.Array
    signs: jax.Array
    mixed: jax.Array


def nodes(dtype) -> tuple[jax.Array, jax.Array, jax.Array]:
    """t and 1 − t, (N,), and the weights of the rule and of that of every other node, (2, N)."""
    low, high = (round(end / STEP / 2) for end in ENDS)
    x = STEP * np.arange(-2 * low, 2 * high + 1)
    tau = np.pi * np.sinh(x)
    weights = STEP * np.pi * np.cosh(x) / (2 + 2 * np.cosh(tau))
    every_other = np.where(np.arange(len(x)) % 2, 0.0, 2.0)
    rules = weights * np.stack([np.ones_like(x), every_other])
    t, u = (1 / (1 + np.exp(-each)) for each in (tau, -tau))
    u = np.maximum(u, jnp.finfo(dtype).tiny)
    return jnp.asarray(t, dtype), jnp.asarray(u, dtype), jnp.asarray(rules, dtype)


class _Blocks(NamedTuple):
    """Covariances of z_i, i of the first two, and z_j, j of the last two; axes sets, i, j and nodes.

    With k and l the other one of each pair: `X`: of z_i and z_j. `Y`: of z_j and what is left of z_k without
    z_i. `Z`: of z_i and what is left of z_l without z_j. `U`: of what is left of z_k and of z_l. `near`:
    1 − |X|. `p`, `q`, `sine_p`, `sine_q`: ρ₁₂, ρ₃₄, √(1−ρ₁₂²), √(1−ρ₃₄²).
    """

    X: jax.Array
    Y: jax.Array
    Z: jax.Array
    U: jax.Array
    near: jax.Array
    p: jax.Array
    q: jax.Array
    sine_p: jax.Array
    sine_q: jax.Array


def _blocks(g: _Geometry) -> _Blocks:
    i, j, k, l = (np.array(each) for each in ([0, 1], [2, 3], [1, 0], [3, 2]))  # noqa: E741
    of_k, of_l = g.rest[:, i, k], g.rest[:, j, l]
    crossed = (
        g.rho[:, :2, 2:],
        g.along[:, i[:, None], k[:, None], j],
        g.along[:, j, l, i[:, None]],
        jnp.sum(of_k[:, :, None] * of_l[:, None], -1),
        g.gap[:, :2, 2:],
    )
    within = [a[:, e : e + 1, e + 1 : e + 2] for a in (g.rho, g.sine) for e in (0, 2)]
    return _Blocks._make(a[..., None] for a in (*crossed, *within))


class _Densities(NamedTuple):
    """What occurs in the derivatives by t; axes as in `_Blocks`.

    `none`: ⟨2δ_i 2δ_j s_k s_l⟩. `both`: ⟨2δ_i 2δ_j |z_k||z_l|⟩. `first`: ⟨2δ_i |z_k| s₃s₄⟩. `second`:
    ⟨2δ_j |z_l| s₁s₂⟩. `of_first`: ⟨s_i|z_k| 2δ_j s_l⟩. `of_second`: ⟨s_j|z_l| 2δ_i s_k⟩.
    """

    none: jax.Array
    both: jax.Array
    first: jax.Array
    second: jax.Array
    of_first: jax.Array
    of_second: jax.Array


def _densities(b: _Blocks, t: jax.Array, u: jax.Array) -> _Densities:
    """By the angles arcsin of the correlation of two variables where the other two are 0."""
    D, H = _determinants(b, t, u)
    C, rest = t * b.U + t**3 * b.Y * b.Z * (b.X / D), jnp.sqrt(H / D)
    angle = jnp.arctan2(C, rest)  # of z_k and z_l
    x, y, z = b.X[:, :1, :1], b.Y[:, :1, :1], b.Z[:, :1, :1]
    left = b.q - t * t * (x * b.X[:, :1, 1:] + y * b.Y[:, :1, 1:])
    of_last = TWO_OVER_PI**2 * jnp.arctan2(left, b.sine_q * jnp.sqrt(H))  # of z₃ and z₄
    left = b.p - t * t * (x * b.X[:, 1:, :1] + z * b.Z[:, 1:, :1])
    of_start = TWO_OVER_PI**2 * jnp.arctan2(left, b.sine_p * jnp.sqrt(H))  # of z₁ and z₂
    scale = TWO_OVER_PI**2 / jnp.sqrt(D)
    none = scale * angle
    return _Densities(
        none,
        b.sine_p * b.sine_q * scale * (rest + C * angle),
        b.sine_p * (of_last + t * jnp.sum(b.Y * none, 2, keepdims=True)),
        b.sine_q * (of_start + t * jnp.sum(b.Z * none, 1, keepdims=True)),
        _swap(D * none, 1) + (b.p - t * t * b.X * _swap(b.X, 1)) * none + t * _swap(b.Z, 1) * of_start,
        _swap(D * none, 2) + (b.q - t * t * b.X * _swap(b.X, 2)) * none + t * _swap(b.Y, 2) * of_last,
    )


def _swap(a: jax.Array, axis: int | tuple) -> jax.Array:
    """k in place of i (axis 1), l in place of j (axis 2)."""
    return jnp.flip(a, axis)


def _determinants(b: _Blocks, t: jax.Array, u: jax.Array) -> tuple[jax.Array, jax.Array]:
    """1 − t²X_ij², and (1 − t²ρ₁²)(1 − t²ρ₂²) with the canonical correlations ρ of the two pairs.

    The latter are the singular values of ((X, Z), (Y, U)).
    """
    X, Y, Z, U = (a[:, :1, :1] for a in (b.X, b.Y, b.Z, b.U))
    plus, minus = jnp.hypot(X + U, Z - Y), jnp.hypot(X - U, Z + Y)
    nearest = jnp.min(b.near, (1, 2), keepdims=True)  # ρ₁ ≥ |X|, also where all are 1 but for rounding
    first = jnp.minimum(jnp.maximum(1 - (plus + minus) / 2, 0.0), nearest)
    second = jnp.clip(1 - jnp.abs(plus - minus) / 2, 0.0, 1.0)

    def of(gap):
        e = u + t * gap  # 1 − tρ
        return e * (2 - e)

    return of(b.near), of(first) * of(second)


def _four_signs(g: _Geometry) -> _Four:
    t, u, weights = (a[None, None, None] for a in nodes(g.rho.dtype))
    b = _blocks(g)
    d = _densities(b, t, u)

    def integral(f):
        return jnp.sum(f[..., None, :] * weights, -1)

    def total(f):
        return jnp.sum(f, (1, 2), keepdims=True)

    def of_pairs(first, second):
        return (first[:, 0, 1] * second[:, 2, 3])[:, None, None, None]

    slope = total(b.X * d.none)  # C′
    signs, sizes = of_pairs(g.signs, g.signs), of_pairs(g.sizes, g.sizes)
    crossed = b.X[:, :1, :1] * b.X[:, 1:, 1:] + b.X[:, :1, 1:] * b.X[:, 1:, :1]
    bend = total(b.X * b.X * d.both)
    bend += 2 * jnp.sum(b.X[:, :, :1] * b.X[:, :, 1:] * d.first, 1, keepdims=True)
    bend += 2 * jnp.sum(b.X[:, :1] * b.X[:, 1:] * d.second, 2, keepdims=True)
    sizes += crossed * signs + integral(u * bend + crossed * u * u * slope)
    between = b.X * (signs + integral(u * slope)) + integral(
        _swap(b.X * d.both, (1, 2)) + _swap(b.X, 2) * _swap(d.second, 2) + _swap(b.X, 1) * _swap(d.first, 1)
    )
    first = of_pairs(g.sizes, g.signs) + integral(total(b.X * d.of_first))
    second = of_pairs(g.signs, g.sizes) + integral(total(b.X * d.of_second))
    mixed = jnp.zeros((*g.rho.shape, 2), t.dtype).at[:, :2, 2:].set(between)
    mixed = mixed.at[:, 0, 1].set(first[:, 0, 0]).at[:, 2, 3].set(second[:, 0, 0])
    mixed = mixed + jnp.swapaxes(mixed, 1, 2)
    return _Four(sizes[:, 0, 0], (signs + integral(slope))[:, 0, 0], mixed)
