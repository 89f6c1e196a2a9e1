"""The moments of the metric at finite width in exact arithmetic, where σ is a polynomial.

Given Ĝ = x, F = σ(√x u)² has moments that are polynomials in x, and the mean of n of them has the cumulants
c_r(x)/n^{r−1}: so E[Ĝ^s] of every layer is a polynomial in 1/n with rational coefficients, a finite sum.
Nothing is expanded and nothing is cut off.
"""

import math
from fractions import Fraction

Poly = dict  # power → coefficient; of ε = 1/n, or of (x, ε)


def _plus(a: Poly, b: Poly, factor=1) -> Poly:
    out = dict(a)
    for key, value in b.items():
        out[key] = out.get(key, 0) + factor * value
    return out


def _times(a: Poly, b: Poly) -> Poly:
    out: Poly = {}
    for (i, j), u in a.items():
        for (k, m), v in b.items():
            out[i + k, j + m] = out.get((i + k, j + m), 0) + u * v
    return out


def cumulants_from_moments(moments: list, plus=_plus, times=_times) -> list:
    """κ_r = μ_r − Σ_{i<r} C(r−1, i−1) κ_i μ_{r−i}."""
    found = []
    for r, moment in enumerate(moments, start=1):
        for i in range(1, r):
            moment = plus(moment, times(found[i - 1], moments[r - i - 1]), -math.comb(r - 1, i - 1))
        found.append(moment)
    return found


def _layer(square: list[Fraction], cw, cb, count: int) -> list[Poly]:
    """E[Ĝ′ˢ | Ĝ = x] for s = 0 … count as polynomials in (x, ε); `square` = the coefficients of F in z."""
    power, moments = [Fraction(1)], []
    for _ in range(count):
        power = [
            sum(power[i] * square[k - i] for i in range(len(power)) if 0 <= k - i < len(square))
            for k in range(len(power) + len(square) - 1)
        ]
        even = {(k // 2, 0): c * math.prod(range(1, k, 2)) for k, c in enumerate(power) if k % 2 == 0 and c}
        moments.append(even)
    kappa = [
        {(i, r - 1): cw**r * c for (i, _), c in row.items()}
        for r, row in enumerate(cumulants_from_moments(moments), start=1)
    ]
    kappa[0] = _plus(kappa[0], {(0, 0): cb})
    out = [{(0, 0): Fraction(1)}]
    for s in range(1, count + 1):
        total: Poly = {}
        for i in range(1, s + 1):
            total = _plus(total, _times(kappa[i - 1], out[s - i]), math.comb(s - 1, i - 1))
        out.append(total)
    return out


def metric_moments(sigma: list[Fraction], cw, cb, K1, depth: int, count: int) -> list[dict[int, Fraction]]:
    """E[(Ĝ^L)ˢ] for s = 0 … count, each {power of 1/n: coefficient}, of σ = Σ_k sigma[k] zᵏ."""
    square = [Fraction(0)] * (2 * len(sigma) - 1)
    for i, a in enumerate(sigma):
        for j, b in enumerate(sigma):
            square[i + j] += Fraction(a) * Fraction(b)
    degree = len(sigma) - 1
    needed = [count * degree ** (depth - layer) for layer in range(1, depth + 1)]
    seen = [{0: Fraction(K1) ** s} for s in range(needed[0] + 1)]
    for layer in range(1, depth):
        after = []
        for poly in _layer(square, Fraction(cw), Fraction(cb), needed[layer]):
            total: dict[int, Fraction] = {}
            for (i, q), c in poly.items():
                for p, m in seen[i].items():
                    total[p + q] = total.get(p + q, Fraction(0)) + c * m
            after.append(total)
        seen = after
    return seen


def at(series: dict[int, Fraction], n: int) -> Fraction:
    """Its value at a width, exactly."""
    return sum((c / Fraction(n) ** q for q, c in series.items()), Fraction(0))


def product(a: dict[int, Fraction], b: dict[int, Fraction]) -> dict[int, Fraction]:
    out: dict[int, Fraction] = {}
    for i, u in a.items():
        for j, v in b.items():
            out[i + j] = out.get(i + j, Fraction(0)) + u * v
    return out


def cumulants(moments: list[dict[int, Fraction]]) -> list[dict[int, Fraction]]:
    """κ_1, κ_2, … from E[Ĝˢ], s = 0, 1, …"""
    return cumulants_from_moments(moments[1:], _plus, product)
