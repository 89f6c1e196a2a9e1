"""High-precision oracles for the Gaussian expectations <f>_K = E[f(z)], z ~ N(0, K), 1e-12 <= K <= 1e12.

expectations(name, K, route) gives, for the activation sigma called name and with F = sigma^2,

    g = <F>    g4 = <F^2>    var = g4 - g^2    s2 = <sigma'^2>    dg = dg/dK    d2g = d^2g/dK^2

by one of two routes that share neither nodes nor formulas for the K-derivatives:

    "double-exponential"   d^j g/dK^j = <F He_2j(u)> / (2K)^j,  u = z / sqrt K
    "gauss-legendre"       dg  = (<z F'> + sum_c c [F]_c p_K(c)) / 2K
                           d2g = (<z^2 F'' - z F'> + sum_c (c^2 [F']_c + (c^3/K - 3c) [F]_c) p_K(c)) / 4K^2

[.]_c is the jump at the kink c (value after minus value before), p_K the density of N(0, K). Both follow
from dp_K/dK = p_K''/2; the second moves the derivatives from p_K onto F.
"""

from functools import cache, lru_cache
from itertools import pairwise

import numpy as np
from mp_activations import ACTIVATIONS, line, sixth
from mpmath import inf, mp, mpf
from mpmath.calculus.quadrature import GaussLegendre

ROUTES = ("double-exponential", "gauss-legendre")
NAMES = ("g", "g4", "var", "dg", "s2", "d2g")

# float32 values, so that a float32 and a float64 computation share one reference.
K_GRID = np.logspace(-12, 12, 60).astype(np.float32).astype(np.float64)

# 50 digits, 24 for the cancellation of <F He_4> against F(0) at K = 1e-12, and a margin.
DPS = 80
SQRT_K_MIN, SQRT_K_MAX = mpf("1e-6"), mpf("1e6")
# Tails stop where exp(-u^2/2) < e^-230: still 1e-68 of the peak after multiplication by u^24.
TAIL = 230
# Below this fraction of <|integrand|> a second derivative is zero: the smallest genuine one is 1.5e-25.
ZERO = mpf("1e-45")

# Parts of F next to 0 that <F He_4> does not see, and in which its exponentially small rest would drown.
CORES = {
    "hard_tanh": lambda z: z * z,
    "relu6": lambda z: z * z if z > 0 else mpf(0),
    "hard_sigmoid": lambda z: sixth(z)[0] ** 2,
    "sparse_sigmoid": lambda z: line(0.5, 0.5)(z)[0] ** 2,
}


def segments(kinks):
    """(a, b, i): the segments between kinks and 0, a the end nearer to 0, i the index of the piece."""
    ends = [-inf, *sorted({mpf(0), *kinks}), inf]
    for left, right in pairwise(ends):
        a, b = sorted((left, right), key=abs)
        yield a, b, sum(c <= left for c in kinks)


def double_exponential(a, b):
    """Trapezoid rule in t on the segment from a to b, as (z, dz) pairs ordered away from a.

    x = exp(t - e^-(t+s)) is a logarithmic variable down to the smallest scale e^(6-s) next to a, and ends
    doubly exponentially below it; z = a +- x on a half-line. On a finite segment z = a + (b - a) x / (1 + x)
    with e^t added to log x, which ends it doubly exponentially at b too.
    """
    # Next to 0 the smallest scale is sqrt K, next to a kink it is the decay length K/|a| of p_K.
    scale = SQRT_K_MIN if a == 0 else SQRT_K_MIN**2 / abs(a)
    finite = abs(b) < inf
    if finite:
        scale /= abs(b - a)
    s, h = 6 - mp.log(scale), mpf(1) / 32
    # e^5.1 = 164 > 65 log 10, so the ends lie below 1e-65 of the smallest scale.
    lower, upper = -s - 5.1, mpf(5.1) if finite else mp.log(SQRT_K_MAX * mp.sqrt(2 * TAIL) + 1)
    for k in range(int(mp.ceil((upper - lower) / h)) + 1):
        t = lower + k * h
        e = mp.exp(-t - s)
        if finite:
            x = mp.exp(t - e + mp.exp(t))
            yield a + (b - a) * x / (1 + x), h * abs(b - a) * x / (1 + x) ** 2 * (1 + e + mp.exp(t))
        else:
            x = mp.exp(t - e)
            yield a + mp.sign(b) * x, h * x * (1 + e)


def gauss_legendre(a, b):
    """Composite 48-point rule on the octaves of |z| in the segment from a to b, as (z, dz) pairs."""
    sign, rule = mp.sign(b - a), sorted(GaussLegendre(mp).calc_nodes(5, mp.prec))
    octaves = [mpf(2) ** k for k in range(-22, 26)]
    edges = [abs(a), *(r for r in octaves if abs(a) < r < abs(b)), *([abs(b)] if abs(b) < inf else [])]
    for r0, r1 in pairwise(edges):
        for x, w in rule:
            yield sign * ((r0 + r1) + (r1 - r0) * x) / 2, w * (r1 - r0) / 2


@cache
def nodes(route, kinks):
    """Per segment (a, piece index, [(z, dz)]); one set of nodes serves every K."""
    rule = double_exponential if route == ROUTES[0] else gauss_legendre
    return [(a, i, list(rule(a, b))) for a, b, i in segments(kinks)]


@cache
def samples(name, route):
    """Per segment, lists over the nodes of F, F^2, sigma'^2, and what the route needs for dg and d2g."""
    kinks, pieces = ACTIVATIONS[name]
    core = CORES.get(name)
    rows = []
    for _, i, rule in nodes(route, kinks):
        row = []
        for z, _ in rule:
            f, f1, f2 = pieces[i](z)
            F, z2, s2 = f * f, z * z, f1 * f1
            if route == ROUTES[0]:
                D1, D2 = F, F - core(z) if core else F
                row.append((F, F * F, s2, D1, D2, abs(D2)))
            else:
                zF1, z2F2 = 2 * f * f1 * z, 2 * (s2 + f * f2) * z2
                row.append((F, F * F, s2, zF1, z2F2 - zF1, abs(z2F2) + abs(zF1)))
        rows.append(list(zip(*row, strict=True)))
    return rows


@lru_cache(maxsize=32)
def density(route, kinks, K):
    """Per segment, lists of dz p_K(z), of its products with He_2 and He_4, and of the latter's modulus."""
    norm, rows = mp.sqrt(2 * mp.pi * K), []
    for a, _, rule in nodes(route, kinks):
        row = []
        for z, dz in rule:
            v = z * z / K
            # Relative to a, so that an expectation made of tails alone is accurate too.
            if v - a * a / K > 2 * TAIL:
                break
            W = dz * mp.exp(-v / 2) / norm
            W4 = W * ((v - 6) * v + 3)
            row.append((W, W * (v - 1), W4, abs(W4)))
        rows.append(list(zip(*row, strict=True)) or [()] * 4)
    return rows


def quadrature(name, K, route):
    """The expectations of the activation called name by the route's rule and formulas."""
    kinks, pieces = ACTIVATIONS[name]
    f, p = samples(name, route), density(route, kinks, K)

    def mean(m, n):
        # fdot stops with the shorter list, the tail beyond it being negligible.
        return mp.fsum(mp.fdot(x[m], y[n]) for x, y in zip(f, p, strict=True))

    he = (1, 2, 3) if route == ROUTES[0] else (0, 0, 0)
    g, g4, s2, dg, d2g = mean(0, 0), mean(1, 0), mean(2, 0), mean(3, he[0]), mean(4, he[1])
    # An exact zero, as for relu, would otherwise come out as rounding noise.
    if abs(d2g) < ZERO * mean(5, he[2]):
        d2g = mpf(0)
    if route == ROUTES[1]:
        for c, left, right in zip(kinks, pieces[:-1], pieces[1:], strict=True):
            (l0, l1, _), (r0, r1, _) = left(c), right(c)
            F, F1 = r0 * r0 - l0 * l0, 2 * (r0 * r1 - l0 * l1)
            p_c = mp.exp(-c * c / (2 * K)) / mp.sqrt(2 * mp.pi * K)
            dg += c * F * p_c
            d2g += (c * c * F1 + (c**3 / K - 3 * c) * F) * p_c
    return g, g4, g4 - g * g, dg / (2 * K), s2, d2g / (4 * K * K)


def sin_trapezoid(K):
    """sin by the trapezoid rule in u: for an entire integrand the error is e^(-(2 pi/h - 4 sqrt K)^2/2).

    dg = e^-2K is a cancellation among terms of order K, so the digits grow with K.
    """
    with mp.workdps(int(DPS + 2 * K / mp.log(10))):
        r, U = mp.sqrt(K), mp.sqrt(2 * mp.log(10) * mp.dps)
        n = int(U * (4 * r + U) / (2 * mp.pi)) + 1
        h, total = U / n, [mpf(0)] * 5
        for k in range(-n, n + 1):
            z = r * h * k
            c, f = mp.cos_sin(z)
            W, F, zF1, z2F2 = mp.exp(-((h * k) ** 2) / 2), f * f, 2 * z * f * c, 2 * z * z * (c * c - f * f)
            total = [s + W * q for s, q in zip(total, (F, F * F, c * c, zF1, z2F2 - zF1), strict=True)]
        g, g4, s2, dg, d2g = (s * h / mp.sqrt(2 * mp.pi) for s in total)
        return g, g4, g4 - g * g, dg / (2 * K), s2, d2g / (4 * K * K)


def sin_closed(K, route):
    """sin from the characteristic function <e^(ikz)> = e^(-k^2 K/2).

    Written in q = e^-2K; the second route uses hyperbolic functions of K where quadrature cannot follow.
    """
    if route == ROUTES[0]:
        q = mp.exp(-2 * K)
        g, g4 = (1 - q) / 2, (3 - 4 * q + q**4) / 8
        return g, g4, g4 - g * g, q, (1 + q) / 2, -2 * q
    g, s2 = mp.exp(-K) * mp.sinh(K), mp.exp(-K) * mp.cosh(K)
    var = (mp.exp(-2 * K) * mp.sinh(2 * K)) ** 2 / 2
    dg = 1 / (mp.cosh(2 * K) + mp.sinh(2 * K))
    return g, var + g * g, var, dg, s2, -2 * dg


def expectations(name, K, route):
    """The six expectations of the activation called name at the kernel K, as a dict of mpf."""
    if route not in ROUTES:
        raise ValueError(f"route must be one of {ROUTES}, got {route!r}")
    with mp.workdps(DPS):
        K = mpf(K)
        if not SQRT_K_MIN**2 * mpf("0.99") < K < SQRT_K_MAX**2 * mpf("1.01"):
            raise ValueError(f"K must lie in [1e-12, 1e12], got {K}")
        if name == "perceptron":
            values = mpf(1), mpf(1), mpf(0), mpf(0), inf, mpf(0)
        elif name == "sin":
            trapezoid = route == ROUTES[1] and K <= 1000
            values = sin_trapezoid(K) if trapezoid else sin_closed(K, route)
        else:
            values = quadrature(name, K, route)
        return {k: +v for k, v in zip(NAMES, values, strict=True)}
