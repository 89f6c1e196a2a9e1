"""Expectations of products at three and four inputs: ⟨σ₁²σ₂σ₃⟩, ⟨σ₁σ₂σ₃σ₄⟩, and ⟨σ₁σ₂σ′₃σ′₄⟩."""

import functools
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from eft.activations.definition import Activation
from eft.gaussian import piecewise_linear
from eft.gaussian.multivariate import Grid, grid, products, slope_products
from eft.gaussian.quadruples import Means, Nodes, means, nodes_for
from eft.gaussian.records import Moments, SlopeMoments
from eft.gaussian.smooth_pairs import half_nodes


class Rules(NamedTuple):
    """How the integrals over several inputs are done.

    `grids`: over three and over four, where σ has kinks or K is large. `products`: the same otherwise.
    `pairs`: half the nodes for two, where those of `eft.gaussian.smooth_pairs` may do; whether they do, the
        error says. `linear`: σ′ for z > 0 and for z < 0, if σ is linear on both sides of 0 and σ(0) = 0; then
        three and four need no grid.
    """

    grids: tuple[Grid, Grid]
    products: Nodes | None = None
    pairs: int | None = None
    linear: tuple[float, float] | None = None

    def careful(self) -> "Rules":
        """The same with pairs that are integrated whatever σ is like."""
        return self._replace(pairs=None)

    def finer(self) -> "Rules":
        """The same with three times as many nodes for products, for σ that is steep on the scale 1."""
        assert self.products is not None
        return self._replace(products=self.products._replace(half=3 * self.products.half))


def rules_for(act: Activation, largest_K: float) -> Rules:
    """Those that suit σ and kernels up to this one."""
    grids = grid(act, 3, largest_K), grid(act, 4, largest_K)
    if act.degree == 1:
        return Rules(grids, linear=(float(act(jnp.asarray(1.0))), -float(act(jnp.asarray(-1.0)))))
    if grids[1].cuts:
        return Rules(grids)
    return Rules(grids, nodes_for(largest_K, grids[1].mirrored), half_nodes(largest_K))


class Products(NamedTuple):
    """Of all sets of different inputs, in the order of `itertools.combinations`.

    `three`: (T, 3) ⟨σ₁²σ₂σ₃⟩, ⟨σ₁σ₂²σ₃⟩, ⟨σ₁σ₂σ₃²⟩. `four`: (Q,) ⟨σ₁σ₂σ₃σ₄⟩. `errors`: relative ones.
    """

    three: jax.Array
    four: jax.Array
    errors: jax.Array


class CrossProducts(NamedTuple):
    """⟨σ₁σ₂σ′₃σ′₄⟩ of the same sets, with the powers of `cross_powers`.

    `three`: (T, 12). `four`: (Q, 6). `errors`: relative ones.
    """

    three: jax.Array
    four: jax.Array
    errors: jax.Array


def value_products(act: Activation, rules: Rules, K: jax.Array, m: Moments) -> Products:
    """Those of σ at the n inputs, K (n, n); `m`: the moments of each."""
    if rules.linear is not None:
        return _chosen(piecewise_linear.means(rules.linear, K, with_slopes=False), m, 0)
    if rules.products is None:
        return _by_grids(act, m, rules, K)
    return _chosen(means(lambda z: act(z)[None], K, rules.products), m, 0)


def value_and_slope_products(
    acts: tuple[Activation, Activation],
    rules: Rules,
    K: jax.Array,
    m: tuple[Moments, Moments],
    p: SlopeMoments,
) -> tuple[Products, Products, CrossProducts]:
    """Those of σ, of σ′ and of both together; `acts`, `m`, `p`: σ and σ′, the moments of each and of both."""
    if rules.linear is not None:
        found = piecewise_linear.means(rules.linear, K, with_slopes=True)
    elif rules.products is None:
        values, slopes = (_by_grids(*of, rules, K) for of in zip(acts, m, strict=True))
        return values, slopes, _cross_by_grids(acts[0], rules, K, p)
    else:
        nodes = rules.products._replace(mirrored=False)  # σσ′ may be odd
        found = means(lambda z: jnp.stack(acts[0].derivatives(z)[:2]), K, nodes)
    return _chosen(found, m[0], 0), _chosen(found, m[1], 1), _chosen_cross(found, p)


def _sets(n: int, r: int) -> np.ndarray:
    return np.array(list(itertools.combinations(range(n), r)), int).reshape(-1, r)


@functools.cache
def covering_pairs(r: int) -> list[tuple]:
    """Pairs of pairs of r variables that hold them all."""
    local = list(itertools.combinations_with_replacement(range(r), 2))
    return [(a, b) for a in local for b in local if len({*a, *b}) == r]


@functools.cache
def cross_powers(r: int) -> np.ndarray:
    """(products, r, 2): the powers of σ and of σ′ at each variable."""
    return np.array([[(a.count(i), b.count(i)) for i in range(r)] for a, b in covering_pairs(r)])


def _size(known: jax.Array, counts: np.ndarray) -> jax.Array:
    """Π_i ⟨f_i⁴⟩^{counts_i/4}, (sets, products): a bound on the product of four functions at r inputs.

    `known`: (n,) ⟨f⁴⟩. `counts`: (products, r) how many of the four functions are those of each variable.
    """
    roots = jnp.sqrt(jnp.sqrt(known))[_sets(len(known), counts.shape[1])]
    size = jnp.prod(roots[:, None] ** jnp.asarray(counts, roots.dtype)[None], -1)
    return jnp.where(size > 0, size, 1.0)


ONE_DOUBLED, NONE_DOUBLED = 1 + np.eye(3, dtype=int), np.ones((1, 4), int)


def _with_errors(m: Moments, values: list[jax.Array], errors: list[jax.Array]) -> Products:
    three = (errors[0] / _size(m.g4, ONE_DOUBLED)).ravel()
    four = (errors[1] / _size(m.g4, NONE_DOUBLED)[:, 0]).ravel()
    return Products._make([*values, jnp.concatenate([three, four])])


def _with_cross_errors(p: SlopeMoments, values: list[jax.Array], errors: list[jax.Array]) -> CrossProducts:
    sizes = (_size(p.cross, cross_powers(r).sum(-1)) for r in (3, 4))
    relative = [(error / size).ravel() for error, size in zip(errors, sizes, strict=True)]
    return CrossProducts._make([*values, jnp.concatenate(relative)])


# --- by nested integrals ------------------------------------------------------------------------


def _by_grids(act: Activation, m: Moments, rules: Rules, K: jax.Array) -> Products:
    def integral(r, rule, block):
        return products(act, block, rule)

    values, errors = _of_blocks(integral, rules, K, {3: (3,), 4: ()})
    return _with_errors(m, values, errors)


def _cross_by_grids(act: Activation, rules: Rules, K: jax.Array, p: SlopeMoments) -> CrossProducts:
    def integral(r, rule, block):
        return slope_products(act, block, rule, cross_powers(r))

    values, errors = _of_blocks(integral, rules, K, {r: (len(cross_powers(r)),) for r in (3, 4)})
    return _with_cross_errors(p, values, errors)


def _of_blocks(integral, rules: Rules, K: jax.Array, shapes: dict) -> tuple[list, list]:
    """Values and errors of an integral over three and over four variables, of all sets of inputs."""
    values, errors = [], []
    for r, rule in zip((3, 4), rules.grids, strict=True):
        sets = _sets(len(K), r)
        found = 2 * (jnp.zeros((0, *shapes[r]), K.dtype),)
        if len(sets):
            found = lax.map(functools.partial(integral, r, rule), K[sets[:, :, None], sets[:, None]])
        values.append(found[0])
        errors.append(found[1])
    return values, errors


# --- of the products of `quadruples` ------------------------------------------------------------


def _chosen(found: tuple[Means, Means], m: Moments, order: int) -> Products:
    """Those of one function alone, of values (order 0) or of slopes: the first products or the last."""
    at = -order
    values, errors = ([each.three[:, :, at, at], each.four[:, at, at]] for each in found)
    return _with_errors(m, values, errors)


def _chosen_cross(found: tuple[Means, Means], p: SlopeMoments) -> CrossProducts:
    powers = {r: cross_powers(r) for r in (3, 4)}
    slopes, counts = powers[3][..., 1], powers[3].sum(-1)
    doubled = counts.argmax(-1)
    others = np.array([[i for i in range(3) if i != d] for d in doubled])
    of_others = np.take_along_axis(slopes, others, -1) @ [2, 1]
    at_three = doubled, np.take_along_axis(slopes, doubled[:, None], -1)[:, 0], of_others
    at_four = powers[4][:, :2, 1] @ [2, 1], powers[4][:, 2:, 1] @ [2, 1]
    values, errors = ([each.three[:, *at_three], each.four[:, *at_four]] for each in found)
    return _with_cross_errors(p, values, errors)
