"""Gaussian expectations of the functions in `people_functions.py`, to 16 digits, whatever their kinks.

Gauss–Legendre panels in NumPy's extended precision (64 bits of mantissa), cut at every kink, in octaves of
the distance from 0 and from every kink, and on the scale 1 where a function has waves. With F = σ²,

    g = ⟨F⟩,  g4 = ⟨F²⟩,  var = ⟨(F − g)²⟩,  s2 = ⟨σ′²⟩,
    dg = dg/dK = ⟨(F − F₀)(z² − K)⟩/2K²,      d2g = ⟨(F − F₀)(z⁴ − 6Kz² + 3K²)⟩/4K⁴,

and by parts, dg = (2⟨zσσ′⟩ + Σ_c c [F]_c p_K(c))/2K, where the first form would cancel.
"""

import functools

import numpy as np
from people_exact import EXACT
from people_functions import PEOPLE, Person

LONG = np.longdouble
NAMES = ("g", "g4", "var", "dg", "s2", "d2g")
K_GRID = np.logspace(-6, 6, 13).astype(np.float32).astype(np.float64)
"""float32 values, so that float32 and float64 share one reference."""

TAIL = 17
"""Standard deviations beyond the outermost kink: e^{−144} = 1e-63."""

FINEST = -80
"""The octave next to 0 or a kink where the panels end."""

NOT_INTEGRABLE = ("signed_sqrt", "cube_root", "masked_log", "masked_sqrt")
"""Functions whose σ′² has a singularity that is not integrable."""


class Rule:
    """Gauss–Legendre of an order, with panels that begin at a place of its own."""

    def __init__(self, order: int, start: float, spacing: float):
        self.x, self.w = legendre(order)
        self.start, self.spacing = start, spacing

    def panels(self, person: Person, K) -> np.ndarray:
        """The ends of the panels."""
        outermost = max(map(abs, (*person.declared, person.lattice)))
        reach = np.sqrt(TAIL**2 * K + outermost**2) + (4 * K if person.exponential else 0)
        octaves = LONG(2) ** (np.arange(2 * FINEST, 2 * 24, dtype=LONG) / 2) * self.start
        cuts = [octaves, -octaves, [0, -reach, reach]]
        for c in person.declared:
            near = octaves[octaves < max(1, 2 * abs(c))] * max(1, abs(LONG(c)))
            cuts += [c + near, c - near, [c]]
        width = self.spacing
        far = min(reach, reach if person.waves or person.lattice else 64)
        count = int(far / width) + 1
        cuts.append(np.arange(-count, count + 1, dtype=LONG) * width)
        if person.lattice:
            count = int(reach / person.lattice) + 1
            cuts.append(np.arange(-count, count + 1, dtype=LONG) * person.lattice)
        ends = np.unique(np.concatenate([np.asarray(cut, LONG) for cut in cuts]))
        return ends[(ends >= -reach) & (ends <= reach)]

    def nodes(self, person: Person, K) -> tuple[np.ndarray, np.ndarray]:
        """z, and dz times the density."""
        ends = self.panels(person, K)
        middle, half = (ends[1:] + ends[:-1]) / 2, (ends[1:] - ends[:-1]) / 2
        z = (middle[:, None] + half[:, None] * self.x).ravel()
        weight = (half[:, None] * self.w).ravel() * gauss(z, K)
        # next to a kink the panels shrink to a few numbers, and a node may fall on the kink itself
        seen = (weight > 0) & ~np.isin(z, ends)
        return z[seen], weight[seen]


@functools.cache
def legendre(order: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights on [−1, 1]: Newton's method in extended precision."""
    x = np.polynomial.legendre.leggauss(order)[0].astype(LONG)
    for _ in range(3):
        before, p = np.ones_like(x), x
        for k in range(2, order + 1):
            before, p = p, ((2 * k - 1) * x * p - (k - 1) * before) / k
        slope = order * (x * p - before) / (x * x - 1)
        x = x - p / slope
    return x, 2 / ((1 - x * x) * slope**2)


def gauss(z, K):
    """p_K(z)."""
    pi = np.arccos(LONG(-1))
    return np.exp(-z * z / (2 * K)) / np.sqrt(2 * pi * K)


RULES = {"fine": Rule(40, 1.0, 0.5), "other": Rule(32, 1.13, 0.37)}


def expectations(name: str, K: float, rule: str = "fine") -> dict[str, np.longdouble]:
    """The six expectations; `dg_by_weight` beside dg, the first form of it."""
    person, (fn, slope) = PEOPLE[name], EXACT[name]
    k = LONG(K)
    z, w = RULES[rule].nodes(person, k)
    with np.errstate(all="ignore"):
        s, s1 = fn(z), slope(z)
        F, at_zero = s * s, _at_zero(fn)
        centred = (s - at_zero) * (s + at_zero)
        u2 = z * z / k
        g = np.sum(w * F)
        jumps, edges = _jumps(fn, person, k)
        dg = np.sum(w * z * s * s1) / k + np.sum(edges) / (2 * k)
        found = {
            "g": g,
            "g4": np.sum(w * F * F),
            "var": np.sum(w * (F - g) ** 2),
            "dg": dg,
            "s2": LONG(np.inf) if jumps or name in NOT_INTEGRABLE else np.sum(w * s1 * s1),
            "d2g": np.sum(w * centred * (u2 * u2 - 6 * u2 + 3)) / (4 * k * k),
            "dg_by_weight": np.sum(w * centred * (u2 - 1)) / (2 * k),
        }
    if person.exponential and K > 400:  # e^{2K} and beyond leave the range of float64
        return dict.fromkeys(found, LONG(np.inf))
    # what is left of a σ² that is the same everywhere
    return found | {"var": LONG(0) if found["var"] < 1e-34 * found["g4"] else found["var"]}


def _at_zero(fn):
    """The mean of σ on the two sides of 0, or 0 where it is infinite."""
    value = np.mean(fn(np.array([-1e-30, 1e-30], LONG)))
    return value if np.abs(value) < 10 else LONG(0)


def _jumps(fn, person: Person, K) -> tuple[bool, np.ndarray]:
    """Whether σ jumps anywhere, and c [F]_c p_K(c)."""
    c = np.array(person.kinks, LONG)
    if person.lattice:
        count = int(TAIL * np.sqrt(K) / person.lattice) + 2
        c = np.arange(-count, count + 1, dtype=LONG) * person.lattice
    gap = np.maximum(np.abs(c), LONG(2) ** FINEST) * np.finfo(LONG).eps * 4
    below, above = fn(c - gap), fn(c + gap)
    jump = np.abs(above - below) > 1e-9
    edges = np.where(jump & (c != 0), c * (above**2 - below**2) * gauss(c, K), 0)
    return bool(jump.any()), edges
