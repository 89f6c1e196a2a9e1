"""Expectations at two variables by sums over lines agree with closed forms, and with graded nodes."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eft
from eft.gaussian.kernel_derivatives import pair_derivatives
from eft.gaussian.smooth_pairs import CROSS, Pairs, half_nodes, pair_sums

GAPS = np.array([0.0, 1e-15, 1e-12, 1e-6, 0.1, 0.7, 1.0, 1.3, 1.999, 2.0])
ROOTS = np.array(
    [[0.0, 1.0], [0.0, 0.0], [1.0, 1.0], [1.0, 0.5], [1e-6, 1.0], [1e-6, 1e-6], [0.7, 0.7 + 1e-9]]
)
A, B, GAP = (np.array(each) for each in zip(*((*r, gap) for r in ROOTS for gap in GAPS), strict=True))


@functools.cache
def program(name: str, half: int, slopes: bool):
    act = eft.activation(name)

    def run(a, b, gap):
        places = np.arange(len(GAP))
        pairs = Pairs(jnp.concatenate([a, b]), places, places + len(places), gap)
        return pair_sums(act, pairs, half, slopes)

    return jax.jit(run)


@functools.cache
def computed(name: str, scale: float = 1.0):
    a, b = (jnp.asarray(np.sqrt(scale) * each) for each in (A, B))
    return jax.tree.map(np.asarray, program(name, half_nodes(scale), True)(a, b, jnp.asarray(GAP)))


def sines(a, b, gap, powers_1, powers_2):
    """E sin^p z₁ cos^q z₁ sin^r z₂ cos^s z₂."""

    def fourier(p, q):
        """The coefficients of e^{ikz}."""
        terms = {0: 1.0}
        for factor in [{1: -0.5j, -1: 0.5j}] * p + [{1: 0.5, -1: 0.5}] * q:
            new: dict = {}
            for (k, x), (j, y) in itertools.product(terms.items(), factor.items()):
                new[k + j] = new.get(k + j, 0) + x * y
            terms = new
        return terms

    both = itertools.product(fourier(*powers_1).items(), fourier(*powers_2).items())
    total = 0
    for (k, x), (j, y) in both:
        total = total + x * y * np.exp(-((k * a) ** 2 + (j * b) ** 2 + 2 * k * j * a * b * (1 - gap)) / 2)
    return np.real(total)


def test_products_of_sines():
    """To rounding. The control: at another correlation."""
    found = computed("sin")
    for order, powers in ((0, (1, 0)), (1, (0, 1))):
        expected = sines(A, B, GAP, powers, powers)
        np.testing.assert_allclose(found.of[order].product, expected, atol=1e-13)
        assert abs(expected - sines(A, B, GAP + 0.01, powers, powers)).max() > 1e-3
    for name, row in zip(CROSS, found.cross, strict=True):
        first, second = name.split("_")
        powers = [(part.count("s"), part.count("d")) for part in (first, second)]
        np.testing.assert_allclose(row, sines(A, B, GAP, *powers), atol=1e-13, err_msg=name)
    assert found.error < 1e-11


def test_distances_of_close_variables():
    """⟨(sin z₁ − sin z₂)²⟩ = ½[e₁ + e₂] with e = 1 − exp(…), by expm1; relative 1e-9 at every gap.

    The control: as the difference of products, it has no digit left.
    """
    found = computed("sin").of[0]
    apart = (A - B) ** 2 + 2 * A * B * GAP  # the variance of z₁ − z₂
    together = (A + B) ** 2 - 2 * A * B * GAP
    squares = (-np.expm1(-2 * A * A) - np.expm1(-2 * B * B)) / 2
    exact = squares - np.exp(-apart / 2) + np.exp(-together / 2)
    small = A == B
    exact = np.where(small, -np.expm1(-apart / 2) * (1 + np.exp(-together / 2)), exact)
    sure = small | (apart > 1e-3)
    np.testing.assert_allclose(found.distance[sure], exact[sure], rtol=1e-9)
    naive = squares - 2 * found.product
    tiny = small & (GAP > 0) & (GAP < 1e-11) & (A == 1)
    assert (abs(naive[tiny] / exact[tiny] - 1) > 1e-6).any()


@pytest.mark.sweep("tanh")
@pytest.mark.parametrize("name", ["tanh", "softplus", "swish"])
def test_integrals_on_graded_nodes(name):
    """Distances, and derivatives by the kernel, at all pairs. The control: they differ from pair to pair."""
    act, found = eft.activation(name), computed(name)
    size = jnp.asarray(A) ** 2, jnp.asarray(B) ** 2
    pair = eft.pair_expectation(act, *size, jnp.asarray(GAP))
    near = abs(A - B) > 1e-6  # there, A − B is known better than A² and B²
    near |= A == B
    np.testing.assert_allclose(found.of[0].distance[near], pair.distance[near], rtol=1e-9, atol=1e-300)
    np.testing.assert_allclose(found.of[0].product, pair.product, rtol=1e-11, atol=1e-13)
    nested = jax.jit(lambda *each: jax.lax.map(lambda x: pair_derivatives(act, *x), each))
    expected = nested(*(jnp.asarray(each) for each in (A, B, GAP)))
    for field in ("fourth", "polar_gradient", "polar_hessian", "gradient"):
        a, b = np.asarray(getattr(found.of[0].derivatives, field)), np.asarray(getattr(expected, field))
        sure = A > 1e-3 if field == "gradient" else A > 0  # rounding, divided by K
        np.testing.assert_allclose(a[sure], b[sure], rtol=1e-9, atol=1e-12, err_msg=field)
    assert np.ptp(np.asarray(expected.gradient)[:, 2]) > 1e-2
    assert found.error < 1e-11


def test_slopes_are_an_activation_of_their_own():
    """Of σ = sin, σ′ = cos. The control: not σ."""
    slopes = computed("sin").of[1].derivatives
    cosine = eft.Activation(jnp.cos, name="cosine")
    own = program_of(cosine)
    np.testing.assert_allclose(slopes.polar_hessian, own.derivatives.polar_hessian, atol=1e-13)
    np.testing.assert_allclose(slopes.gradient, own.derivatives.gradient, atol=1e-13)
    np.testing.assert_allclose(computed("sin").of[1].distance, own.distance, rtol=1e-9, atol=1e-30)
    assert abs(slopes.gradient - computed("sin").of[0].derivatives.gradient).max() > 0.1


def program_of(act):
    places = np.arange(len(GAP))
    pairs = Pairs(jnp.asarray(np.concatenate([A, B])), places, places + len(places), jnp.asarray(GAP))
    return pair_sums(act, pairs, half_nodes(1.0), slopes=False).of[0]


def test_the_error_of_a_steep_function():
    """It is that of nodes too far apart. The control: enough of them."""
    steep = eft.Activation(lambda z: jnp.tanh(6 * z) / 6, name="steep")
    places, gap = np.array([0]), jnp.asarray([0.1])
    pairs = Pairs(jnp.asarray([1.0, 0.8]), places, places + 1, gap)
    rough, fine = (pair_sums(steep, pairs, half, slopes=False) for half in (45, 300))
    for field in ("product", "distance"):
        a, b = getattr(rough.of[0], field), getattr(fine.of[0], field)
        assert abs(a / b - 1) <= rough.error
    assert rough.error > 1e-5 and fine.error < 1e-11
