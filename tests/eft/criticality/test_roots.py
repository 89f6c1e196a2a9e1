"""Simple, double and close roots in log K are found; none where f is 0 only to rounding."""

import numpy as np
import pytest

from eft.criticality.roots import find_roots

X = np.linspace(-8.0, 8.0, 256)
NOISE = 1e-14


def noisy(f):
    rng = np.random.default_rng(0)
    return lambda x: (f(x) + NOISE / 4 * rng.normal(size=x.shape), np.full_like(x, NOISE))


@pytest.mark.parametrize(
    ("f", "roots", "signs"),
    [
        (lambda x: np.tanh(x - 0.3), [0.3], [(-1, 1)]),
        (lambda x: np.tanh(x - 0.3) * (x + 2) / 4, [-2, 0.3], [(1, -1), (-1, 1)]),
        (lambda x: (x - 0.3) ** 2 * np.exp(-(x**2)), [0.3], [(1, 1)]),
        (lambda x: -((x - 0.3) ** 2) / 9, [0.3], [(-1, -1)]),
        (lambda x: (x - 0.3) ** 2 * (x - 0.32) / 9, [0.3, 0.32], [(-1, -1), (-1, 1)]),
        (lambda x: (x - 0.30) * (x - 0.31) / 9, [0.30, 0.31], [(1, -1), (-1, 1)]),
        (lambda x: np.cos(x), np.pi * np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5]), None),
    ],
)
def test_roots(f, roots, signs):
    found = find_roots(noisy(f), X)
    assert len(found) == len(roots)
    for root, x in zip(found, roots, strict=True):
        assert abs(root.x - x) <= max(8 * root.error, 1e-13)
        assert root.error < (1e-5 if root.below == root.above else 1e-10)
    if signs:
        assert [(root.below, root.above) for root in found] == signs


@pytest.mark.parametrize(
    "f",
    [
        lambda x: 0 * x,
        lambda x: np.exp(3 * x - 10),  # below the noise for x < −7
        lambda x: np.exp(-np.exp(-2 * x)) + 0 * x,  # and here over half of the range
        lambda x: 1e-6 + (x - 0.3) ** 2,
    ],
)
def test_no_roots(f):
    assert find_roots(noisy(f), X) == []


def test_a_root_in_a_range_where_f_is_rounding():
    """Its position is known no better than that range, and `error` is that large."""
    (root,) = find_roots(noisy(lambda x: np.sign(x) * np.exp(-1 / np.maximum(x * x, 1e-3))), X)
    assert abs(root.x) <= root.error < 1
