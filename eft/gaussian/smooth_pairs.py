"""Expectations of an analytic activation and its slope at pairs of Gaussian variables, by sums over lines.

They are ⟨φ(z₁)ψ(z₂)⟩ = Σ_n ρⁿ φ_n ψ_n, by `eft.gaussian.oscillator`: as many numbers for each variable as
there are nodes, and as many operations for each pair. With s_n and t_n those of σ(z₁) and σ(z₂),

    ⟨(σ(z₁)−σ(z₂))²⟩ = Σ_n [(s_n − t_n)² + 2(1−ρⁿ) s_n t_n]

where 1 − ρⁿ is computed from 1 − ρ, and s_n − t_n, for close variables, from derivatives of σ. A constant
added to σ does not matter, and s_n and t_n are those of σ(z) − σ(0).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from eft.activations.definition import Activation
from eft.activations.programs import INDEX
from eft.gaussian.bivariate import SERIES_RANGE
from eft.gaussian.kernel_derivatives import Integrals, KernelDerivatives, from_integrals
from eft.gaussian.oscillator import Basis, bases, expanded, half_for, powers
from eft.gaussian.planes import correlated

STEP = 0.15
"""Spacing for K ≤ 1, where the nearest pole of σ(z) is at a distance of 1.5 or more, as for tanh: relative
error e^{−2π·1.5/0.15} = 1e-27 for equal variables, times a power of 60 for that of a derivative. For larger
K, it falls as 1/√K."""

ORDERS = {"s": 0, "ss": 0, "sss": 0, "d": 1, "ud": 1, "c": 2, "uc": 2, "uuc": 2}
"""The derivatives in a function of z: in units of σ and √K, it is multiplied by K^{½ order}."""

LEAST_LOG = -80.0
"""log |ρ| in place of smaller ones: ρ is then 0 to rounding."""

CROSS = ("ssd_d", "ss_dd", "sdd_s", "sd_sd", "s_sdd", "dd_ss", "d_ssd")
"""⟨φ₁ψ₂⟩ of values s and slopes d together: ⟨s₁² d₁d₂⟩, ⟨s₁² d₂²⟩, ⟨s₁s₂ d₁²⟩, …, ⟨s₂² d₁d₂⟩."""

BOTH = np.array([0, 1], INDEX)
"""Even and odd terms."""


class Pairs(NamedTuple):
    """√K of all variables; of each pair, the places of its variables, and 1 − ρ."""

    root: jax.Array
    first: np.ndarray
    second: np.ndarray
    gap: jax.Array


class OfOne(NamedTuple):
    """Of σ, or of σ′ as an activation of its own; the pairs on the leading axis.

    `product`: ⟨σ₁σ₂⟩. `distance`: ⟨(σ₁−σ₂)²⟩. `derivatives`: of ⟨σ₁σ₂⟩ by the kernel.
    """

    product: jax.Array
    distance: jax.Array
    derivatives: KernelDerivatives


class SmoothPairs(NamedTuple):
    """`of`: what is known of σ, and of σ′ if asked for. `cross`: (7, pairs) those of `CROSS`, if asked for.

    `error`: the largest difference from a coarser rule: of ⟨φ₁ψ₂⟩ beside √(⟨φ₁²⟩⟨ψ₂²⟩), or beside
        √(⟨σ₁²⟩⟨σ₂²⟩) in units of √K if that is more; of a distance beside itself.
    """

    of: list[OfOne]
    cross: jax.Array
    error: jax.Array


def half_nodes(largest_K: float) -> int:
    """Half the number of nodes, for σ that is analytic on the scale 1, up to this K."""
    return half_for(STEP, largest_K)


def pair_sums(act: Activation, pairs: Pairs, half: int, slopes: bool) -> SmoothPairs:
    """The expectations of σ; with `slopes`, those of σ′ and of both too."""
    rules = bases(half, pairs.root.dtype)
    (sums, rough), sizes, (distances, apart) = lax.map(lambda b: _sums(act, pairs, b, slopes), rules)
    count, (a, b) = 1 + len(Integrals._fields), (pairs.root[pairs.first], pairs.root[pairs.second])
    size = _natural(sizes[0], a, b, count, slopes)
    off = jnp.abs(sums - rough) / jnp.where(size > 0, size, 1.0)
    # of what is 0 by symmetry, such as of even σ at ρ = −1, rounding is left
    scale = distances + jnp.finfo(sums.dtype).eps * sizes[0, : (1 + slopes) * count : count]
    off_apart = jnp.abs(distances - apart) / jnp.where(scale > 0, scale, 1.0)
    assemble = jax.vmap(lambda a, b, gap, m: from_integrals(act, a, b, gap, Integrals._make(m)))
    of = []
    for order in range(1 + slopes):
        product, *integrals = sums[order * count : (order + 1) * count]
        of.append(OfOne(product, distances[order], assemble(a, b, pairs.gap, integrals)))
    error = jnp.maximum(jnp.max(off, initial=0.0), jnp.max(off_apart, initial=0.0))
    return SmoothPairs(of, sums[(1 + slopes) * count :], error)


def _natural(sizes: jax.Array, a: jax.Array, b: jax.Array, count: int, slopes: bool) -> jax.Array:
    """What the errors are compared with: rounding in a high derivative does not matter where K is small."""
    split = [name.split("_") for name in Integrals._fields]
    orders = np.array([[0, 0], *([ORDERS[p], ORDERS[q]] for p, q in split)], float)
    powers = jnp.asarray(orders, a.dtype)[..., None]
    a, b = (jnp.where(r > 0, r, 1.0)[None] for r in (a, b))
    scale = a ** -powers[:, 0] * b ** -powers[:, 1]
    own = [sizes[k * count : (k + 1) * count] for k in range(1 + slopes)]
    return jnp.concatenate([*(jnp.maximum(s, s[:1] * scale) for s in own), sizes[len(own) * count :]])


def _sums(act: Activation, pairs: Pairs, b: Basis, slopes: bool) -> tuple[jax.Array, jax.Array, jax.Array]:
    """⟨φ₁ψ₂⟩ and √(⟨φ₁²⟩⟨ψ₂²⟩), (sums, pairs), and the distances, (1 or 2, pairs)."""
    root, first, second, gap = pairs
    x = jnp.stack([b.x, -b.x])
    lines = root[:, None, None] * x[None]
    derivatives = act.derivatives(lines)
    functions, names = _functions(derivatives, x[None], slopes)
    terms = _expanded(b, jnp.stack(list(functions.values())))
    places = {name: i for i, name in enumerate(functions)}
    left, right = (np.array([places[name[i]] for name in names]) for i in (0, 1))
    left, right = terms[:, left][:, :, first], terms[:, right][:, :, second]
    # the kernel's entry of a variable that is 0 keeps its meaning in derivatives, not in expectations
    rho, _ = _correlation(b, gap)
    rho_of_product, rest = _correlation(b, correlated(root[first], root[second], gap))
    weights = jnp.stack([rho_of_product if name[2] else rho for name in names], 1)
    sums = jnp.sum(weights * left * right, (0, -1))
    sizes = jnp.sqrt(jnp.sum(left**2, (0, -1)) * jnp.sum(right**2, (0, -1)))

    zero = act.derivatives(jnp.zeros((), root.dtype))
    from_zero = derivatives, zero, act.derivatives(lines / 2), lines
    apart = (root[first] - root[second])[:, None, None] * x[None]
    middle = act.derivatives((lines[first] + lines[second]) / 2)
    ends = [d[first] for d in derivatives], [d[second] for d in derivatives]
    distances = []
    for order in range(1 + slopes):
        moved = _expanded(b, _difference(order, *ends, middle, apart))
        s = _expanded(b, _difference(order, *from_zero))  # a constant would leave rounding where z is small
        distances.append(jnp.sum(moved**2 + 2 * rest * s[:, first] * s[:, second], (0, -1)))
    return sums, sizes, jnp.stack(distances)


def _difference(order: int, left, right, middle, apart) -> jax.Array:
    """f(z₁) − f(z₂), f = σ or σ′, from the derivatives of σ at z₁, z₂ and between, and z₁ − z₂."""
    short = apart * middle[order + 1] + apart**3 / 24 * middle[order + 3]
    return jnp.where(jnp.abs(apart) < SERIES_RANGE, short, left[order] - right[order])


def _functions(derivatives: tuple, u: jax.Array, slopes: bool) -> tuple[dict, list]:
    """Functions of one variable by name; and the sums as pairs of names, with whether it is ⟨σ₁σ₂⟩."""
    functions, names = {}, []
    for order in range(1 + slopes):
        s, d, c = derivatives[order : order + 3]
        own = {"s": s, "d": d, "ud": u * d, "uc": u * c, "uuc": u * u * c, "c": c, "ss": s * s, "sss": s**3}
        functions |= {f"{order}{name}": f for name, f in own.items()}
        names.append((f"{order}s", f"{order}s", True))
        split = [name.split("_") for name in Integrals._fields]
        names += [(f"{order}{p}", f"{order}{q}", False) for p, q in split]
    if slopes:
        s, d = derivatives[:2]
        own = {"s": s, "d": d, "ss": s * s, "dd": d * d, "sd": s * d, "ssd": s * s * d, "sdd": s * d * d}
        functions |= {f"both {name}": f for name, f in own.items()}
        names += [(*(f"both {part}" for part in name.split("_")), False) for name in CROSS]
    return functions, names


def _expanded(b: Basis, f: jax.Array) -> jax.Array:
    """f_n, even n and odd n on a new first axis; f at x and −x on its last two."""
    return expanded(jnp.stack([f[..., 0, :] + f[..., 1, :], f[..., 0, :] - f[..., 1, :]]), b.vectors)


def _correlation(b: Basis, gap: jax.Array) -> tuple[jax.Array, jax.Array]:
    """ρⁿ and 1 − ρⁿ, (2, pairs, N/2)."""
    log, negative = jnp.maximum(jnp.log1p(-jnp.minimum(gap, 2 - gap)), LEAST_LOG), gap > 1
    from_one = -jnp.expm1(b.eigenvalues[:, None] * log[None, :, None])
    odd = jnp.asarray(BOTH == 1)[:, None, None] & negative[None, :, None]
    return powers(b, BOTH, log, negative), jnp.where(odd, 2 - from_one, from_one)
