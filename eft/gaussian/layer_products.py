"""Expectations at several inputs in two layers of a residual network: ⟨f(z_c, z_d at p) h(z_a, z_b at l)⟩.

At infinite width the pre-activations of a neuron are Gaussian over layers and inputs, with covariance K^p_cd
in the earlier layer, K^l_ab in the later one and Γ K^p_ca between the two. With F = σσ, S = σ′σ′ and
u_cd = σ_c σ′_d, f is one of F, S and u, and h also one of their derivatives. Integrals are those of
`eft.gaussian.multivariate`, over four variables; those over the later layer are done once for all f.
"""

import functools
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from eft.activations.definition import Activation
from eft.activations.programs import INDEX
from eft.gaussian.multivariate import Grid, summed

ROUNDING_UNITS = 8
"""Relative remainder of a variance, in units of round-off, up to which it counts as 0."""

FACTORS: tuple[str, ...] = ("1", "σ", "σ′", "σ″", "σ‴", "F", "S", "u", "½F″", "½S′", "½S″")
"""Functions of one variable."""

EARLIER = {
    "1": ("1", "1"),
    "F_cc": ("F", "1"), "F_cd": ("σ", "σ"), "F_dd": ("1", "F"),
    "S_cc": ("S", "1"), "S_cd": ("σ′", "σ′"), "S_dd": ("1", "S"),
    "u_cc": ("u", "1"), "u_cd": ("σ", "σ′"), "u_dc": ("σ′", "σ"), "u_dd": ("1", "u"),
}  # fmt: skip
"""The functions f, as products of a function of z_c and one of z_d."""

LATER = {
    "1": ("1", "1"),
    "F_aa": ("F", "1"), "F_ab": ("σ", "σ"), "F_bb": ("1", "F"),
    "S_aa": ("S", "1"), "S_ab": ("σ′", "σ′"), "S_bb": ("1", "S"),
    "u_aa": ("u", "1"), "u_ab": ("σ", "σ′"), "u_ba": ("σ′", "σ"), "u_bb": ("1", "u"),
    "½∂aaF_aa": ("½F″", "1"), "½∂bbF_bb": ("1", "½F″"),
    "∂aaF_ab": ("σ″", "σ"), "∂bbF_ab": ("σ", "σ″"),
    "½∂aS_aa": ("½S′", "1"), "½∂bS_bb": ("1", "½S′"),
    "∂aS_ab": ("σ″", "σ′"), "∂bS_ab": ("σ′", "σ″"),
    "½∂aaS_aa": ("½S″", "1"), "½∂bbS_bb": ("1", "½S″"),
    "∂aaS_ab": ("σ‴", "σ′"), "∂abS_ab": ("σ″", "σ″"), "∂bbS_ab": ("σ′", "σ‴"),
}  # fmt: skip
"""The functions h, as products of a function of z_a and one of z_b."""


class LayerGrams(NamedTuple):
    """Expectations of layers p < l; indices: pairs of inputs in layer p, then pairs in layer l; or inputs.

    `FF`, `FS`, `SF`, `SS`: (P, P) Cov(F_p, F), Cov(F_p, S), ….
    `F2`, `S2`: (P, P, P) Cov(F_p, ∂F/∂K_ef), where ∂/∂K_ef stands for ∂_e∂_f, and ½∂_e² if e = f.
    `uu`: (n, n, n, n) ⟨u_ed at p, u_ac⟩ at [e, d, a, c].
    `uS1`: (n, n, n, P) ⟨u_ed at p, ∂_b S⟩ at [e, d, b].
    `error`: () the largest relative error of ⟨F⟩ and ⟨S⟩ of the later layer.
    """

    FF: jax.Array
    FS: jax.Array
    SF: jax.Array
    SS: jax.Array
    F2: jax.Array
    S2: jax.Array
    uu: jax.Array
    uS1: jax.Array
    error: jax.Array


def layer_grams(act: Activation, grid: Grid, K_p, K, carry, g, s) -> LayerGrams:
    """The expectations at n ≥ 2 inputs; K_p and K (n, n), g = ⟨F⟩ and s = ⟨S⟩ of the later layer, (P,)."""
    n = len(K)
    combos = np.array(list(itertools.product(itertools.combinations(range(n), 2), repeat=2)))

    def one(at):
        earlier, later = at
        cross = carry * K_p[earlier][:, later]
        joint = jnp.block([[K_p[earlier][:, earlier], cross], [cross.T, K[later][:, later]]])
        return _products(act, grid, triangular_factor(joint))

    values = lax.map(one, (jnp.asarray(combos[:, 0]), jnp.asarray(combos[:, 1])))
    places = _places(n)
    known = jnp.concatenate([g, s])
    size = jnp.concatenate([_size(g, n), _size(s, n)])

    def chosen(name):
        return values[tuple(np.moveaxis(places[name], -1, 0))]

    ones = values[tuple(np.moveaxis(places["means"], -1, 0))]
    error = jnp.max(jnp.abs(ones - known) / jnp.where(size > 0, size, 1.0))
    # means by the same rule: the covariance of independent variables is then 0
    mean = chosen("mean_p")
    both = chosen("cov") - mean[:, None] * ones[None]
    P = len(g)
    weights = jnp.asarray(places["weight"], K.dtype)
    second = chosen("second") - mean[:P, None, None, None] * chosen("mean_of_second")[None]
    F2, S2 = jnp.moveaxis(second * weights[None], 1, 0)
    return LayerGrams(
        both[:P, :P], both[:P, P:], both[P:, :P], both[P:, P:], F2, S2,
        chosen("uu"), chosen("uS1") * jnp.asarray(places["weight_of_uS1"], K.dtype)[None, None], error,
    )  # fmt: skip


def triangular_factor(G: jax.Array) -> jax.Array:
    """F, lower triangular, with F Fᵀ = G, positive semidefinite; columns of dependent variables are 0."""
    rounding = ROUNDING_UNITS * jnp.finfo(G.dtype).eps
    F = jnp.zeros_like(G)
    for k in range(len(G)):
        c = G[:, k] - F @ F[k]
        kept = c[k] > rounding * G[k, k]
        F = F.at[k:, k].set(jnp.where(kept, c[k:] / jnp.sqrt(jnp.where(kept, c[k], 1.0)), 0.0))
    return F


def _products(act: Activation, grid: Grid, F: jax.Array) -> jax.Array:
    """⟨f h⟩ for every f in `EARLIER` and h in `LATER`, with F the factor of the joint covariance."""

    def factors(z):
        s, d, c, t = act.derivatives(z)[:4]
        one = jnp.ones_like(s)
        squares = s * s, d * d, s * d, d * d + s * c, d * c, c * c + d * t
        return jnp.stack([one, s, d, c, t, *squares])

    def inner(levels):
        f1, f2, f3, f4 = (dict(zip(FACTORS, f, strict=True)) for f, _ in levels)
        w1, w2, w3, w4 = (w for _, w in levels)
        last = f4 if w4 is None else {b: jnp.sum(w4 * f4[b], -1) for b in {b for _, b in LATER.values()}}
        h = jnp.stack([jnp.sum(w3 * f3[a] * last[b], -1) for a, b in LATER.values()])
        f = jnp.stack([f1[c] * f2[d] for c, d in EARLIER.values()])
        return w1 * jnp.matmul(f * w2[None], h.T, precision="highest")

    return summed(F, grid, factors, inner)


@functools.cache
def _places(n: int) -> dict[str, np.ndarray]:
    """For each entry of `LayerGrams`, its place (combination, f, h) among the products, and its weight."""
    duos = list(itertools.combinations(range(n), 2))
    pairs = list(itertools.combinations_with_replacement(range(n), 2))
    later, one = list(LATER), (0, 0)

    def duo(*inputs):
        """A pair of different inputs that holds these, and the letters a and b of each."""
        both = next(d for d in duos if set(inputs) <= set(d))
        return duos.index(both), ["ab"[both.index(i)] for i in inputs]

    def f_place(kind, *inputs):
        which, letters = duo(*inputs)
        ends = "".join("cd"["ab".index(x)] for x in (letters if kind == "u" else sorted(letters)))
        return which, list(EARLIER).index(f"{kind}_{ends}")

    def h_place(kind, *inputs):
        which, letters = duo(*inputs)
        return which, later.index(f"{kind}_{''.join(letters if kind == 'u' else sorted(letters))}")

    def place(f, h):
        return f[0] * len(duos) + h[0], f[1], h[1]

    def bent(kind, pair, by):
        """h for ∂kind_pair/∂K_by, and its weight."""
        if not set(by) <= set(pair):
            return one, 0.0
        which, letters = duo(*pair)
        if pair[0] == pair[1]:
            x = letters[0]
            return (which, later.index(f"½∂{x}{x}{kind}_{x}{x}")), 1.0
        e, f = sorted("ab"[duos[which].index(i)] for i in by)
        name = f"∂{e}{f}{kind}_ab"
        if e != f:
            name = "S_ab" if kind == "F" else name
            return (which, later.index(name)), 1.0
        return (which, later.index(name)), 0.5

    def slope(pair, by):
        """h for ∂S_pair/∂z_by, and its weight."""
        if by not in pair:
            return one, 0.0
        which, letters = duo(*pair)
        if pair[0] == pair[1]:
            x = letters[0]
            return (which, later.index(f"½∂{x}S_{x}{x}")), 2.0
        return (which, later.index(f"∂{'ab'[duos[which].index(by)]}S_ab")), 1.0

    two = [(kind, *pair) for kind in "FS" for pair in pairs]
    u = list(itertools.product(range(n), repeat=2))
    seconds = [[[bent(kind, pair, by) for by in pairs] for pair in pairs] for kind in "FS"]
    slopes = [[slope(pair, by) for pair in pairs] for by in range(n)]

    def table(rows, columns):
        return np.array([[place(f, h) for h in columns] for f in rows], INDEX)

    of_F, of_two = [f_place("F", *p) for p in pairs], [h_place(*h) for h in two]
    of_u, to_u = [f_place("u", *e) for e in u], [h_place("u", *e) for e in u]
    bent_h = [h for of in seconds for by in of for h, _ in by]
    slope_h = [h for of in slopes for h, _ in of]
    P = len(pairs)
    return {
        "means": table([one], of_two)[0],
        "cov": table([f_place(*f) for f in two], of_two),
        "mean_p": table([f_place(*f) for f in two], [one])[:, 0],
        "second": table(of_F, bent_h).reshape(P, 2, P, P, 3),
        "mean_of_second": table([one], bent_h).reshape(2, P, P, 3),
        "weight": np.array([[[w for _, w in by] for by in of] for of in seconds]),
        "uu": table(of_u, to_u).reshape(n, n, n, n, 3),
        "uS1": table(of_u, slope_h).reshape(n, n, n, P, 3),
        "weight_of_uS1": np.array([[w for _, w in of] for of in slopes]),
    }


def _size(mean: jax.Array, n: int) -> jax.Array:
    """√(⟨f_aa⟩⟨f_bb⟩) for each pair."""
    a, b = np.triu_indices(n)
    own = mean[np.flatnonzero(a == b)]
    return jnp.sqrt(own[a] * own[b])
