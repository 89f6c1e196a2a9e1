"""Expectations at several inputs in two layers agree with closed forms for σ = sin, every field and index."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eft
from eft.gaussian.layer_products import LayerGrams, layer_grams, triangular_factor
from eft.gaussian.multivariate import grid

K_P = np.array([[0.9, 0.4, -0.2], [0.4, 0.7, 0.1], [-0.2, 0.1, 1.1]])
ADDED = np.array([[0.4, 0.1, 0.2], [0.1, 0.5, -0.1], [0.2, -0.1, 0.3]])
CARRY = 0.8

ACCURACY = 1e-10
"""Of uniform nodes 0.3 apart; the values are of order 0.1."""


def joint(n, carry=CARRY):
    """The covariance of n inputs in the earlier layer, variables 0 … n − 1, and in the later, n … 2n − 1."""
    K_p = K_P[:n, :n]
    return np.block([[K_p, carry * K_p], [carry * K_p, CARRY**2 * K_p + ADDED[:n, :n]]])


def mean(K, terms):
    """E Σ coefficient·Π_v sin(z_v + kπ/2), a term being (coefficient, ((v, k), …)): of derivatives of sin."""
    total = 0.0
    for coefficient, factors in terms:
        variables, orders = np.array(factors).T
        signs = np.array(list(itertools.product((1, -1), repeat=len(factors))))
        phases = np.prod(signs / 2j * np.exp(0.5j * np.pi * signs * orders), 1)
        sub = K[np.ix_(variables, variables)]
        total += coefficient * np.real(phases @ np.exp(-np.einsum("si,ij,sj->s", signs, sub, signs) / 2))
    return total


def times(f, h):
    return [(a * b, (*p, *q)) for a, p in f for b, q in h]


def derivative(f, v):
    """∂f/∂z_v, by the product rule."""
    return [(a, (*p[:i], (v, p[i][1] + 1), *p[i + 1 :])) for a, p in f for i in range(len(p)) if p[i][0] == v]


def in_closed_form(n, carry=CARRY) -> LayerGrams:
    K = joint(n, carry)
    pairs = list(itertools.combinations_with_replacement(range(n), 2))

    def product(orders, a, b, shift=0):
        return [(1.0, ((a + shift, orders[0]), (b + shift, orders[1])))]

    F, S, u = (functools.partial(product, orders) for orders in ((0, 0), (1, 1), (0, 1)))

    def cov(f, h):
        return mean(K, times(f, h)) - mean(K, f) * mean(K, h)

    def by_kernel(f, e, d):
        """∂f/∂K_ed: ∂_e∂_d, and ½∂_e² if e = d."""
        return times([(0.5 if e == d else 1.0, ())], derivative(derivative(f, n + e), n + d))

    covs = [[[cov(f(*p), h(*q, n)) for q in pairs] for p in pairs] for f in (F, S) for h in (F, S)]
    bent = [
        [[[cov(F(*p), by_kernel(h(*q, n), *by)) for by in pairs] for q in pairs] for p in pairs]
        for h in (F, S)
    ]
    inputs = range(n)
    uu = [
        [[[mean(K, times(u(e, d), u(a, c, n))) for c in inputs] for a in inputs] for d in inputs]
        for e in inputs
    ]
    uS1 = [
        [
            [[mean(K, times(u(e, d), derivative(S(*q, n), n + b))) for q in pairs] for b in inputs]
            for d in inputs
        ]
        for e in inputs
    ]
    return LayerGrams(*map(np.array, (*covs, *bent, uu, uS1, 0.0)))


@pytest.mark.more
@pytest.mark.parametrize("n", [2, pytest.param(3, marks=pytest.mark.more)])
def test_sines(n):
    """Every field; the error is relative. The control: correlations of the layers that are 1 % larger."""
    K = joint(n)
    K_p, K_l = K[:n, :n], K[n:, n:]
    a, b = np.triu_indices(n)
    g, s = ([mean(K_l, [(1.0, ((i, k), (j, k)))]) for i, j in zip(a, b, strict=True)] for k in (0, 1))
    act = eft.activation("sin")
    run = jax.jit(functools.partial(layer_grams, act, grid(act, 4, 1.5)))
    of_layers = [jnp.asarray(a) for a in (K_p, K_l, CARRY)]
    found = run(*of_layers, jnp.array(g), jnp.array(s))
    assert float(found.error) < ACCURACY
    assert float(run(*of_layers, 1.01 * jnp.array(g), jnp.array(s)).error) == pytest.approx(0.01 / 1.01)
    want, control = in_closed_form(n), in_closed_form(n, 1.01 * CARRY)
    for field in LayerGrams._fields[:-1]:
        value, exact = getattr(found, field), getattr(want, field)
        assert value.shape == exact.shape
        np.testing.assert_allclose(value, exact, atol=ACCURACY, err_msg=field)
        assert np.max(np.abs(getattr(control, field) - exact)) > 1e-4, field


def test_factors_of_dependent_variables():
    """F Fᵀ = K where a layer adds nothing, or an input repeats. The control: a row that is not a multiple."""
    for G in (np.ones((4, 4)), joint(2)[np.ix_([0, 1, 0, 2], [0, 1, 0, 2])], np.zeros((4, 4)), joint(2)):
        F = np.asarray(triangular_factor(jnp.asarray(G)))
        assert not np.triu(F, 1).any()
        np.testing.assert_allclose(F @ F.T, G, atol=1e-14)
    near = joint(2)[np.ix_([0, 1, 0, 2], [0, 1, 0, 2])] + np.diag([0, 0, 1e-3, 0])
    assert triangular_factor(jnp.asarray(near))[2, 2] > 1e-2
