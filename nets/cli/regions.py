"""The part of the (C_W, C_b) plane that shows an activation's phases best."""

import itertools
import warnings
from typing import Any, NamedTuple

import numpy as np

import eft
from eft.criticality.phases import EXPLODING, PHASES

AT_MOST = 0.35
"""The share of the plane that may be exploding: there is nothing else to see there."""

ENDS = (0.15, 0.25, 0.4, 0.6, 0.8, 1.1, 1.25, 1.5, 2.0, 3.0)
"""C_W up to which the plane may be shown, as multiples of the critical one."""

STARTS = (0.0, 0.5, 0.75, 0.9)
"""C_W from which, likewise."""

NARROWEST = 0.15
"""The least range of C_W, likewise."""

SAMPLES = 24
"""Points on each axis by which a range is judged."""

Range = tuple[float, float]


class Region(NamedTuple):
    """Ranges of C_W and of C_b."""

    cw: Range
    cb: Range


def region(
    act: Any, critical: eft.CriticalPoint | None, *, x2: float, K1: float | None, skip: float,
    cw: Range | None = None, cb: Range | None = None,
) -> Region:  # fmt: skip
    """Of many ranges, those in which no phase fills the plane, and the critical point is in view.

    `critical`: None if there is none. `cw`, `cb`: ranges that are given, and kept. Where σ cannot be
    integrated everywhere, a phase may be taken for another here: the diagram itself gives the warning.
    """
    about = critical or eft.CriticalPoint(0.0, 1.0, 0.0)
    ends = [cw] if cw else _ends(about.cw)
    heights = [cb] if cb else _heights(about)
    if cw and cb:
        return Region(cw, cb)
    survey = _survey(act, ends, heights, {"x2": x2, "K1": K1, "skip": skip})
    usual = 2 * about.cw, max(2.5 * about.cb, 0.2 * about.cw)

    def worth(at: Region) -> float:
        near = sum(abs(np.log(end / wanted)) for end, wanted in zip((at.cw[1], at.cb[1]), usual, strict=True))
        seen = critical is not None and _within(critical.cw, at.cw, 0.1) and critical.cb <= at.cb[1]
        return _variety(_shown(survey, at)) + 0.4 * seen - 0.02 * near - 0.05 * (at.cw[0] > 0)

    return max((Region(w, b) for w, b in itertools.product(ends, heights)), key=worth)


def _ends(cw: float) -> list[Range]:
    pairs = itertools.product(STARTS, ENDS)
    return [(_rounded(a * cw), _rounded(b * cw)) for a, b in pairs if b - a >= NARROWEST]


def _heights(about: eft.CriticalPoint) -> list[Range]:
    tops = np.unique([2.5 * about.cb, *(about.cw * np.geomspace(0.005, 0.8, 12))])
    return [(0.0, _rounded(float(top))) for top in tops if top > 0 and top >= 1.2 * about.cb]


def _survey(act: Any, ends: list[Range], heights: list[Range], start: dict[str, Any]) -> eft.PhaseDiagram:
    """The phases on a grid that is dense enough for each of the ranges."""
    cw = np.unique(np.concatenate([np.linspace(low, high, SAMPLES) for low, high in ends]))
    cb = np.unique(np.concatenate([np.linspace(low, high, SAMPLES) for low, high in heights]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return eft.phase_diagram(act, cw, cb, **start)


def _shown(survey: eft.PhaseDiagram, at: Region) -> np.ndarray:
    rows, columns = (
        np.searchsorted(axis, np.linspace(*each, SAMPLES)).clip(max=len(axis) - 1)
        for axis, each in ((survey.cb, at.cb), (survey.cw, at.cw))
    )
    return survey.phase[np.ix_(rows, columns)]


def _variety(phase: np.ndarray) -> float:
    """The entropy of the shares of the phases, less what is exploding in excess."""
    shares = np.array([(phase == i).mean() for i in range(len(PHASES))])
    known = shares[shares > 0]
    return float(-np.sum(known * np.log(known)) - 2 * max(0.0, shares[EXPLODING] - AT_MOST))


def _within(value: float, limits: Range, margin: float) -> bool:
    """Whether it lies between the limits, and not near one of them."""
    low, high = limits
    return low + margin * (high - low) <= value <= high - margin * (high - low)


def _rounded(value: float) -> float:
    """To two digits."""
    return float(f"{value:.1e}")
