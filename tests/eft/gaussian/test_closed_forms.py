"""Closed forms of families against fifty digits and the table, for close and opposite variables too."""

import dataclasses

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

import eft
from eft.activations import families
from eft.gaussian.closed_forms import closed_forms
from eft.gaussian.closed_forms.homogeneous import ANGLE, chord_angle
from eft.gaussian.cumulants import cumulant_source

POINTS = [
    (K, ratio, gap)
    for K in (1e-6, 1e-2, 1.0, 30.0, 1e4)
    for ratio in (1.0, 1 + 1e-9, 1 + 1e-4, 1.3, 40.0)
    for gap in (0.0, 1e-12, 1e-6, 0.01, 0.5, 1.0, 1.7, 2.0)
]


def gelu_pair(K1, K2, gap):
    """⟨σ₁σ₂⟩, ⟨σ′₁σ′₂⟩, ⟨(σ₁−σ₂)²⟩ and √(⟨σ₁²⟩⟨σ₂²⟩) − ⟨σ₁σ₂⟩ of GELU by Stein's lemma, by mpmath."""

    def product(K1, K2, K12):
        D = (1 + K1) * (1 + K2) - K12**2
        A = mpmath.mpf(1) / 4 + mpmath.asin(K12 / mpmath.sqrt((1 + K1) * (1 + K2))) / (2 * mpmath.pi)
        rest = K1 * K2 + K12**2 * (1 / (1 + K1) + 1 / (1 + K2) - 1)
        return K12 * A + rest / (2 * mpmath.pi * mpmath.sqrt(D))

    K1, K2, gap = map(mpmath.mpf, (K1, K2, gap))
    K12 = mpmath.sqrt(K1 * K2) * (1 - gap)
    value = product(K1, K2, K12)
    slopes = mpmath.diff(lambda K12: product(K1, K2, K12), K12)
    g1, g2 = product(K1, K1, K1), product(K2, K2, K2)
    return value, slopes, g1 + g2 - 2 * value, mpmath.sqrt(g1 * g2) - value


def test_gelu_against_fifty_digits():
    """At 200 pairs: both means to round-off, the distance to 1e-13 of itself however close the variables.

    So is half of it, what ⟨σ₁σ₂⟩ is less than √(⟨σ₁²⟩⟨σ₂²⟩), where the variances are equal.
    """
    K1, ratio, gap = np.array(POINTS).T
    K2 = K1 * ratio
    with mpmath.workdps(60):
        exact = np.array([[float(x) for x in gelu_pair(*p)] for p in zip(K1, K2, gap, strict=True)]).T
        roots = [[mpmath.sqrt(mpmath.mpf(K)) for K in pair] for pair in zip(K1, K2, strict=True)]
        a, b, difference = np.array([[float(a), float(b), float(a - b)] for a, b in roots]).T
    kernel = K1, K2, a * b * (1 - gap)
    found = closed_forms(eft.activation("gelu")).pair(
        kernel, *map(jnp.asarray, (a, b, difference, gap, 2 - gap))
    )
    root = np.sqrt(np.asarray(eft.moments("gelu", K1).g * eft.moments("gelu", K2).g))
    assert np.max(np.abs(found.product - exact[0]) / root) < 5e-15
    assert np.max(np.abs(found.slopes - exact[1])) < 2e-14
    known = exact[2] > 1e-40
    assert known.sum() >= 195
    error = np.abs(found.distance - exact[2])[known] / exact[2][known]
    assert np.max(error) < 1e-13, (np.array(POINTS)[known][error.argmax()], error.max())
    assert np.max(np.abs(found.distance[~known])) < 1e-40
    off = np.abs(found.lost - exact[3])
    assert np.max(off / root) < 1e-14
    alike = known & (ratio == 1)  # nothing is lost to √g₁ − √g₂ then
    assert alike.sum() >= 30 and np.max(off[alike] / exact[3][alike]) < 1e-13
    # the control: the difference of the three means loses all digits of close pairs
    plain = eft.moments("gelu", K1).g + eft.moments("gelu", K2).g - 2 * found.product
    assert np.max(np.abs(np.asarray(plain) - exact[2])[known] / exact[2][known]) > 1


@pytest.mark.more
def test_gelu_by_quadrature():
    """What any activation without closed forms does gives the same, derivatives in K and gap included."""
    closed, plain = eft.activation("gelu"), dataclasses.replace(eft.activation("gelu"), family=None)
    at = jnp.array([0.3, 1.0, 3.0]), jnp.array([0.3, 2.0, 1.5]), jnp.array([1e-3, 0.4, 1.8])
    for a, b in zip(eft.pair_expectation(closed, *at), eft.pair_expectation(plain, *at), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-13)

    def total(act, K1, K2, gap):
        pair = eft.pair_expectation(act, K1, K2, gap)
        return jnp.sum(pair.product + 2 * pair.slopes + 3 * pair.distance)

    for a, b in zip(*(jax.grad(total, (1, 2, 3))(act, *at) for act in (closed, plain)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-12)
    # the control: GELU's approximation by tanh differs by more than that
    other = eft.pair_expectation("gelu_tanh", *at)
    assert np.max(np.abs(other.product - eft.pair_expectation(closed, *at).product)) > 1e-6


@pytest.mark.parametrize("K", [1e-300, 1e-12, 1e12, 1e150, 1e200])
def test_gelu_is_finite_at_every_scale(K):
    pair = eft.pair_expectation("gelu", K, 2 * K, jnp.array([0.0, 1e-8, 1.0, 2.0]))
    assert all(np.isfinite(a).all() for a in pair)


@pytest.mark.parametrize("a", [1.0, 0.6])
def test_moments_of_snake(a):
    """z + sin²(az)/a in closed form and by its table. The control: another a."""
    K = np.array([0.02, 0.7, 5.0])
    closed, control = (eft.moments(eft.activation("snake", a=value), K) for value in (a, 1.1 * a))
    table = eft.moments(lambda z: z + jnp.sin(a * z) ** 2 / a, K)
    for field in ("g", "g4", "var", "dg", "slope2", "d2g"):
        found, want, other = (np.asarray(getattr(m, field)) for m in (closed, table, control))
        np.testing.assert_allclose(found, want, rtol=1e-11, atol=1e-13)
        assert np.max(np.abs(other / want - 1)) > 1e-3, field


@pytest.mark.more
@pytest.mark.parametrize("K", [1e-9, 0.05, 1.0, 40.0, 1e6])
def test_first_cumulant_of_erf(K):
    """The Taylor coefficients of the arcsine in x at K(1+x), by mpmath; the control: those at another K."""
    order = 5
    found = cumulant_source(eft.activation("erf"), order, jnp.float64)
    at = jnp.array([K])
    c = found(at, eft.moments("erf", at), order).c[0, :, 0]
    with mpmath.workdps(200):
        twice = 2 * mpmath.mpf(K)

        def g(x):
            return mpmath.asin(twice * (1 + x) / (1 + twice * (1 + x)))

        exact = [float(a / g(0)) for a in mpmath.taylor(g, 0, 2 * order)]
    np.testing.assert_allclose(c, exact, rtol=1e-14)
    error = found(at, eft.moments("erf", at), order).error[0, :, 0]
    assert (abs(c - np.array(exact)) <= error).all() and (error <= 1e-13 * np.abs(exact)).all()
    at = 1.01 * at
    other = found(at, eft.moments("erf", at), order).c[0, :, 0]
    assert K < 1e-6 or np.max(np.abs(other[1:] / c[1:] - 1)) > 1e-4


def test_a_family_is_static_and_equal_to_itself_alone():
    """Programs are told apart by family and parameters: equal ones share a program, different ones never."""
    same = eft.activation("sin", frequency=2.0), eft.Activation(jnp.sin, family=families.Sine(2.0))
    assert closed_forms(same[0]) == closed_forms(same[1])
    assert hash(closed_forms(same[0])) == hash(closed_forms(same[1]))
    different = [
        closed_forms(eft.activation(name)) for name in ("sin", "erf", "gelu", "snake", "relu", "repu")
    ]
    assert len(set(different)) == len(different)
    assert closed_forms(eft.activation("sin", frequency=1.0)) != closed_forms(eft.activation("snake", a=1.0))


def test_angle_of_a_chord(monkeypatch):
    """To 2 units of round-off, however small the angle. The control: with fewer terms it is not."""
    gap = np.concatenate([10.0 ** -np.arange(0, 300, 7), np.linspace(0, 1, 200)[1:]])
    with mpmath.workdps(40):
        exact = [2 * mpmath.asin(mpmath.sqrt(mpmath.mpf(float(g)) / 2)) for g in gap]

        def worst():
            pairs = zip(np.asarray(chord_angle(jnp.asarray(gap))), exact, strict=True)
            return max(abs(float(mpmath.mpf(float(a)) / e - 1)) for a, e in pairs)

        assert worst() < 2 * np.finfo(float).eps
        monkeypatch.setattr("eft.gaussian.closed_forms.homogeneous.ANGLE", ANGLE[:14])
        assert worst() > 2 * np.finfo(float).eps
    assert chord_angle(jnp.zeros(1))[0] == 0


def test_distance_of_relu_at_every_angle():
    """⟨(σ₁−σ₂)²⟩ = 1 − [sin θ + (π−θ) cos θ]/π at K = 1, in 340 digits. The control: a gap 1e-9 larger."""
    gap = np.concatenate([10.0 ** -np.arange(2, 300, 9), 1 - np.cos(np.linspace(0.2, 3.1, 60))])
    with mpmath.workdps(340):

        def distance(g):
            theta = mpmath.acos(1 - mpmath.mpf(float(g)))
            return float(1 - (mpmath.sin(theta) + (mpmath.pi - theta) * mpmath.cos(theta)) / mpmath.pi)

        exact = np.array([distance(g) for g in gap])
    found = eft.pair_expectation("relu", 1.0, 1.0, jnp.asarray(gap)).distance
    np.testing.assert_allclose(found, exact, rtol=1e-14)
    other = eft.pair_expectation("relu", 1.0, 1.0, jnp.asarray(gap * (1 + 1e-9))).distance
    assert (abs(other / exact - 1) > 1e-11).all()
