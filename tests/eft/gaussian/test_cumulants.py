"""The error that is stated of each ĉ_rj is an upper limit of the true one, known in 40 digits."""

import functools
import itertools
import math

import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from mpmath.calculus.quadrature import GaussLegendre

import eft
from eft.activations.analysis import analysed
from eft.gaussian.cumulants import cumulant_source
from eft.gaussian.polynomials import MANY
from eft.gaussian.series import cumulants_of, last
from eft.gaussian.sources import evaluated, source

ORDER = 5

PANELS = (0, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 3, 4, 5, 6, 7.5, 9, 11, 14, 18, 24)

FUNCTIONS = {
    "tanh": mpmath.tanh,
    "gelu": lambda z: z * mpmath.ncdf(z),
    "squareplus": lambda z: (z + mpmath.sqrt(z * z + 4)) / 2,
    "hard_tanh": lambda z: max(min(z, mpmath.mpf(1)), mpmath.mpf(-1)),
}

CASES = {
    "tanh": (1e-6, 0.01, 4.0),
    "gelu": (1e-10, 0.05, 4.0),  # F² … F⁵ times polynomials of degree 8 need more nodes than its moments
    "squareplus": (1e-6, 1e-3),  # the terms of F⁗ cancel, and F − F₀ has the round-off of F₀
    "hard_tanh": (1 / 170, 1 / 125, 1 / 81),  # F⁗ is 0, and the kinks are 13, 11 and 9 deviations off
}


class Series(list):
    """A truncated power series."""

    def __mul__(self, other):
        if not isinstance(other, Series):
            return Series(other * a for a in self)
        return Series(
            sum(self[i] * other[k - i] for i in range(k + 1)) for k in range(min(len(self), len(other)))
        )

    __rmul__ = __mul__

    def __add__(self, other):
        return self if isinstance(other, int) else Series(a + b for a, b in zip(self, other, strict=True))

    __radd__ = __add__

    def __sub__(self, other):
        return self + -1 * other if isinstance(other, Series) else self


@functools.cache
def exact(name: str, K: float) -> list[Series]:
    """ĉ_r by ⟨Fʳ L_j^(−1/2)(u²/2)⟩ on Gauss–Legendre panels that end at the kinks."""
    with mpmath.workdps(40):
        nodes, root = GaussLegendre(mpmath.mp).calc_nodes(4, 150), mpmath.sqrt(mpmath.mpf(K))
        kink = [1 / root] if name == "hard_tanh" and 1 / root < PANELS[-1] else []
        ends = sorted([*map(mpmath.mpf, PANELS), *kink])
        moments = [[mpmath.mpf(0)] * (2 * ORDER + 1) for _ in range(ORDER + 1)]
        panels = [(sign, a, b) for a, b in itertools.pairwise(ends) for sign in (1, -1)]
        for sign, a, b in panels:
            for x, w in nodes:
                u = (a + b + (b - a) * x) / 2
                F, p = FUNCTIONS[name](sign * u * root) ** 2, w * (b - a) / 2 * mpmath.npdf(u)
                L = [mpmath.mpf(1), 0.5 - u * u / 2]
                for j in range(1, 2 * ORDER):
                    L.append(((2 * j + 0.5 - u * u / 2) * L[j] - (j - 0.5) * L[j - 1]) / (j + 1))
                for row in moments:
                    p *= F
                    for j, polynomial in enumerate(L):
                        row[j] += p * (-1) ** j * polynomial
        g = moments[0][0]
        return cumulants_of([Series(a / g**r for a in row) for r, row in enumerate(moments, start=1)])


@pytest.mark.sweep("hard_tanh-20000")
@pytest.mark.parametrize("count", [0, MANY])
@pytest.mark.parametrize("name", CASES)
def test_the_error_is_an_upper_limit(name, count):
    K = jnp.array(CASES[name])
    act = analysed(name)
    found = cumulant_source(act, ORDER, K.dtype, count)(K, evaluated(source(act, K.dtype), K), ORDER)
    naive_holds = True
    for i, at in enumerate(CASES[name]):
        for r, row in enumerate(exact(name, at), start=1):
            for j in range(int(r == 1), last(ORDER, r) + 1):
                c, error = (float(a[r - 1, j, i]) for a in (found.c, found.error))
                off = abs(float(c - row[j]))
                assert off <= error, (at, r, j)
                naive_holds &= off <= 16 * np.finfo(float).eps * abs(c)
                size = max(abs(float(a)) for a in row)
                assert error <= 1e-6 * math.factorial(r - 1) * max(size, 1.0), (at, r, j)
    assert not naive_holds, "the control: round-off relative to ĉ itself"


@pytest.mark.more
def test_a_kink_far_out_enters_the_error():
    """Of a large one just beyond where it is left out, although F⁗ alone does not know of it."""
    near, far = (
        eft.Activation(lambda z, h=h: jnp.tanh(z) + h * jnp.maximum(z - 2, 0), (2.0,), "kinked")
        for h in (1e6, 1.0)
    )
    K = jnp.array([2.0**2 / 122])
    errors = []
    for act in map(analysed, (near, far)):
        m = evaluated(source(act, K.dtype), K)
        errors.append(cumulant_source(act, ORDER, K.dtype)(K, m, ORDER).error[0, -1, 0])
    assert errors[0] > 1e9 * errors[1] > 0
