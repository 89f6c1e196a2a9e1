"""Targets: derivatives against differences, and jumps where they are said to be."""

import numpy as np
import pytest

from nets.paper import targets

ALL = targets.POLYNOMIALS | targets.FUNCTIONS


@pytest.mark.parametrize("name", ALL)
def test_gradients(name):
    target = ALL[name]
    X = np.random.default_rng(0).uniform(-0.99, 0.99, (300, target.n0)) * target.side
    h = 1e-5
    for v in range(target.n0):
        shift = h * np.eye(target.n0)[v]
        slope = (target.fn(X + shift) - target.fn(X - shift)) / (2 * h)
        np.testing.assert_allclose(target.gradient(X)[:, v], slope, atol=3e-5)


@pytest.mark.parametrize("name", ALL)
def test_grids(name):
    target = ALL[name]
    X = target.grid()
    assert X.shape == (target.points**target.n0, target.n0)
    assert (X.min(0) == -target.side).all() and (X.max(0) == target.side).all()
    assert target.fn(X).shape == (len(X),)
    assert target.gradient(X).shape == X.shape
    assert len(target.grid(5)) == 5**target.n0


@pytest.mark.parametrize(
    ("name", "places"), [("square", [0.0]), ("waves", [-1.0, 0.0, 1.0]), ("quintic", [])]
)
def test_jumps_of_the_second_derivative(name, places):
    h = 1e-4
    x = np.round(np.arange(-1.95, 1.951, 0.05), 10)[:, None]
    slope = ALL[name].gradient
    jump = np.abs(slope(x + h) - 2 * slope(x) + slope(x - h))[:, 0] / h
    np.testing.assert_array_equal(x[jump > 1, 0], places)


def test_polynomials_by_their_formulas():
    x = np.linspace(-2, 2, 33)[:, None]
    t = np.arccos(x[:, 0] / 2)
    np.testing.assert_allclose(targets.POLYNOMIALS["quintic"].fn(x), np.cos(5 * t), atol=1e-14)
    np.testing.assert_allclose(targets.POLYNOMIALS["xyz"].fn(np.array([[2.0, 3.0, 4.0]])), 24)
