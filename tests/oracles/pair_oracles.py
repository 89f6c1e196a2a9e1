"""High-precision oracles for the expectations of two correlated Gaussians (z1, z2) of variances K1, K2.

    ss = <sigma(z1) sigma(z2)>    dd = <sigma'(z1) sigma'(z2)>    d2 = <(sigma(z1) - sigma(z2))^2>

Split into a shared and a private part, z1 = sqrt K1 (sqrt r u + sqrt q y1) and z2 = +-sqrt K2 (sqrt r u +
sqrt q y2) with r = |rho|, q = 1 - r and the sign of rho. With the mean S_i(u) = <sigma(z_i)>_y and the
variance V_i(u) of sigma(z_i) over y_i alone, and S'_i(u) = <sigma'(z_i)>_y,

    ss = <S_1 S_2>_u    dd = <S'_1 S'_2>_u    d2 = <V_1 + V_2 + (S_1 - S_2)^2>_u

where d2 is a sum of terms >= 0: nothing cancels as rho -> 1. sigma' is taken away from the kinks.
"""

from bisect import bisect
from contextlib import nullcontext
from functools import cache
from itertools import pairwise
from typing import NamedTuple

from mp_activations import ACTIVATIONS
from mpmath import inf, mp, mpf
from mpmath.calculus.quadrature import GaussLegendre

try:
    import gmpy2
except ImportError:
    gmpy2 = None

# 25 digits of d2, 12 for the cancellation of sigma - sigma(z) at 1 - rho = 1e-12, and a margin.
DPS = 40


class Rule(NamedTuple):
    """Panels of 24 Gauss-Legendre points next to a centre, and Gauss-Hermite points away from all of them.

    `first`: the panel at the centre, in units of the scale there. `growth`: length over distance of the
    others. `cap`: the longest panel and `tail`: the end of a Gaussian, in units of its width. `few`, `many`:
    points where sigma changes on a scale of 50 widths or more, and otherwise.
    """

    first: float
    growth: float
    cap: float
    tail: float
    few: int
    many: int


# Numbers exact in binary, since they meet mpf.
FINE, COARSE = Rule(0.75, 1.375, 3.0, 11.5, 12, 21), Rule(0.875, 1.625, 3.5, 11.0, 10, 19)


class Pair(NamedTuple):
    ss: mpf
    dd: mpf
    d2: mpf
    square: mpf
    """sqrt(<sigma(z1)^2> <sigma(z2)^2>), the scale of ss."""


def graded(lo, hi, centres, first, growth, cap):
    """Edges from lo to hi: every centre between them, and panels growing away from it."""
    inner = sorted({c for c in centres if lo < c < hi})
    edges = {lo, hi, *inner}
    for left, right in pairwise([lo, *inner, hi]):
        both = left in inner and right in inner
        if both:
            edges.add((left + right) / 2)
        length = (right - left) / 2 if both else right - left
        for start, sign in ((left, 1), (right, -1)):
            x, width = mpf(0), first
            while start in inner and x + 1.5 * width < length:
                x += width
                width = min(growth * x, cap)
                edges.add(start + sign * x)
    return sorted(edges)


@cache
def legendre_points(prec):
    """The 24 points of [-1, 1], ascending."""
    return sorted(GaussLegendre(mp).calc_nodes(4, prec))


@cache
def hermite_points(n, prec):
    """(y, weight) for y ~ N(0, 1), from the Jacobi matrix of He_n."""
    jacobi = mp.matrix(n)
    for k in range(1, n):
        jacobi[k - 1, k] = jacobi[k, k - 1] = mp.sqrt(k)
    y, vectors = mp.eigsy(jacobi)
    return [(y[k], vectors[0, k] ** 2) for k in range(n)]


def gauss_legendre(edges):
    """(z, dz) of the 24-point rule on the panels between edges."""
    for a, b in pairwise(edges):
        for x, w in legendre_points(mp.prec):
            yield (a + b + (b - a) * x) / 2, w * (b - a) / 2


def normal(x):
    """Density of N(0, 1)."""
    return mp.exp(-x * x / 2) / mp.sqrt(2 * mp.pi)


def fast(x):
    """x as an mpfr where there is gmpy2, which is seven times faster than an mpf."""
    if gmpy2 is None:
        return x
    with gmpy2.context(precision=mp.prec):
        sign, mantissa, exponent, _ = x._mpf_
        return gmpy2.mpfr(mantissa if not sign else -mantissa) * gmpy2.exp2(exponent)


def slow(x):
    """The mpf of fast(x)."""
    return x if gmpy2 is None else mp.ldexp(*map(int, x.as_mantissa_exp()))


def smoothing(nodes, z, c, f0):
    """Over (x, dx, f, d) in nodes and with W = dx e^(c (x - z)^2): sums of W (f - f0), W (f - f0)^2, W d."""
    exp = mp.exp if gmpy2 is None else gmpy2.exp
    with nullcontext() if gmpy2 is None else gmpy2.context(precision=mp.prec):
        z, c, f0 = fast(z), fast(c), fast(f0)
        m1 = m2 = d1 = fast(mpf(0))
        for x, dx, f, d in nodes:
            v, g = x - z, f - f0
            W = dx * exp(c * v * v)
            p = W * g
            m1, m2, d1 = m1 + p, m2 + p * g, d1 + W * d
    return slow(m1), slow(m2), slow(d1)


# Panels reach further for a sigma that itself has Gaussian tails.
OWN_WIDTH = {"gelu": 1, "erf": 1}


class Smoothed:
    """z -> mean of sigma, mean of sigma', variance of sigma at z + w y, y ~ N(0, 1)."""

    def __init__(self, key, w, rule):
        self.w, self.key, self.rule = w, key, rule
        self.near = rule.tail * mp.sqrt(w * w + OWN_WIDTH.get(key, 0))
        self.kinks, self.pieces = ACTIVATIONS[key]
        self.centres = self.kinks if w < mpf(1) / 16 else sorted({mpf(0), *self.kinks})
        self.nodes = self.composite() if w > 0 and self.centres else []
        self.at = [z for z, *_ in self.nodes]
        self.nodes = [tuple(map(fast, node)) for node in self.nodes]

    def piece(self, z):
        return self.pieces[sum(c <= z for c in self.kinks)]

    def composite(self):
        """(z, dz / (w sqrt 2 pi), sigma, sigma') about the centres, as far as a window around one reaches."""
        w, rule = self.w, self.rule
        reach, nodes, groups = self.near + rule.tail * w * (1 + 1e-3), [], []
        for c in self.centres:
            if groups and c - groups[-1][-1] < 2 * reach:
                groups[-1].append(c)
            else:
                groups.append([c])
        for group in groups:
            first, cap = min(rule.first, rule.cap * w), rule.cap * w
            edges = graded(group[0] - reach, group[-1] + reach, group, first, rule.growth, cap)
            for z, dz in gauss_legendre(edges):
                nodes.append((z, dz / (w * mp.sqrt(2 * mp.pi)), *self.piece(z)(z)[:2]))
        return nodes

    def __call__(self, z):
        w, tail = self.w, self.rule.tail
        f0, f1, _ = self.piece(z)(z)
        if w == 0:
            return f0, f1, mpf(0)
        if self.key == "sin":
            q = mp.exp(-w * w / 2)
            return q * f0, q * f1, (1 - q * q) * (1 + q * q * mp.cos(2 * z)) / 2
        if any(abs(z - c) <= self.near for c in self.centres):
            found = self.nodes[bisect(self.at, z - tail * w) : bisect(self.at, z + tail * w)]
            m1, m2, d1 = smoothing(found, z, -1 / (2 * w * w), f0)
        else:
            piece = self.piece(z)
            m1 = m2 = d1 = mpf(0)
            n = self.rule.few if 50 * w < max(1, abs(z)) else self.rule.many
            for y, W in hermite_points(n, mp.prec):
                f, d, _ = piece(z + w * y)
                p = W * (f - f0)
                m1, m2, d1 = m1 + p, m2 + p * (f - f0), d1 + W * d
        return f0 + m1, d1, m2 - m1 * m1


def outer(key, a1, a2, sign, ratio, rule):
    """(u, weight) of <.>_u, graded where S(a1 u) or S(sign a2 u) changes fast; ratio = sqrt(q / r)."""
    tail, steepest = mpf(rule.tail), max(a1, a2)
    kinks = ACTIVATIONS[key][0]
    centres = {mpf(0), *(c / a1 for c in kinks), *(sign * c / a2 for c in kinks)}
    cap = min(mpf(rule.cap), 3 / steepest) if key == "sin" else mpf(rule.cap)
    scale = ratio if kinks and ratio else max(ratio, 1 / steepest)
    edges = graded(-tail, tail, centres, min(rule.first * scale, cap), rule.growth, cap)
    return [(u, du * normal(u)) for u, du in gauss_legendre(edges)]


def nested(key, K1, K2, one_minus_rho, rule):
    """The expectations by the rule. K1, K2 and one_minus_rho may be decimal text."""
    with mp.workdps(DPS):
        K1, K2, p = mpf(K1), mpf(K2), mpf(one_minus_rho)
        sign, q = (1, p) if p <= 1 else (-1, 2 - p)
        r = 1 - q
        first, second = (Smoothed(key, mp.sqrt(K * q), rule) for K in (K1, K2))
        a1, a2 = mp.sqrt(K1 * r), mp.sqrt(K2 * r)
        points = outer(key, a1, a2, sign, mp.sqrt(q / r), rule) if r else [(mpf(0), mpf(1))]
        total = [mpf(0)] * 5
        for u, W in points:
            S1, D1, V1 = first(a1 * u)
            S2, D2, V2 = (S1, D1, V1) if K1 == K2 and sign > 0 else second(sign * a2 * u)
            terms = S1 * S2, D1 * D2, V1 + V2 + (S1 - S2) ** 2, S1**2 + V1, S2**2 + V2
            total = [t + W * x for t, x in zip(total, terms, strict=True)]
        ss, dd, d2, g1, g2 = total
        square = mp.sqrt(g1 * g2)
        # An odd sigma at rho = 0 would otherwise come out as rounding noise.
        ss = mpf(0) if abs(ss) < mpf("1e-32") * square else ss
        return Pair(ss, inf if key == "perceptron" else dd, d2, square)


def sin_closed(K1, K2, one_minus_rho):
    """(ss, dd, d2) of sin from <cos w> = e^(-<w^2>/2) for w = z1 -+ z2."""
    with mp.workdps(2 * DPS):
        K1, K2, p = mpf(K1), mpf(K2), mpf(one_minus_rho)
        r1, r2 = mp.sqrt(K1), mp.sqrt(K2)
        near = mp.exp(-((r1 - r2) ** 2) / 2 - r1 * r2 * p)
        far = mp.exp(-((r1 + r2) ** 2) / 2 + r1 * r2 * p)
        d2 = -(mp.expm1(-2 * K1) + mp.expm1(-2 * K2)) / 2 - near + far
        # At rho = 1 - 1e-12 the terms cancel to 1e-12 of themselves, of 80 digits.
        return (near - far) / 2, (near + far) / 2, mpf(0) if K1 == K2 and p == 0 else d2


def expectation(key, K1, K2, one_minus_rho):
    """(ss, dd, d2); dd of the perceptron is inf, since sigma' has a point mass."""
    if key == "sin":
        return sin_closed(K1, K2, one_minus_rho)
    return nested(key, K1, K2, one_minus_rho, FINE)[:3]
