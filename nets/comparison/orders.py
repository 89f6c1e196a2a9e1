"""Which order of the 1/n series an ensemble asks for."""

from typing import NamedTuple

import jax
import numpy as np

import eft
from eft.finite_width.expansion import MAX_ORDER
from nets.comparison.cases import Case
from nets.comparison.comparison import Comparison
from nets.statistics.estimators import Estimate, z_score

SIGNIFICANT = 0.01
"""The probability p below which theory and an ensemble are said to disagree."""
TRIED = 2
"""How many orders beyond that of the comparison are computed."""
ALIKE = 3.0
"""A deviation is of the size of a term if it is at most so many times as large or as small."""


class MissingOrder(NamedTuple):
    """A deviation of theory from an ensemble of the size of the next term in 1/n.

    `quantity`: "K" or "V". `order`: the lowest order at which |z| ≤ 3 in all layers, or else the highest that
    was tried. `layer`: l, where |z| is largest. `deviation`: measured − theory there, an Estimate. `term`:
    the next term there. `z`: the largest |z| at `order`; inf if the series does not converge.
    """

    quantity: str
    order: int
    layer: int
    deviation: Estimate
    term: float
    z: float


def missing_order(case: Case, c: Comparison) -> MissingOrder | None:
    """The order in 1/n that would explain a significant deviation; None if there is none or it does not.

        Ĝ's mean and n·variance to order r + 1, less those to order r, beside measured − theory to order r

    Significant: the χ² of all layers has p < 0.01. Its layer with the largest |z| decides: the deviation must
    have the sign of the next term, and its size within a factor of 3, each up to 3 standard errors. V is
    judged first. The series is `eft.expand`'s, so that networks that are not plain have none.

    >>> case = nets.comparison.Case("tanh", 1.0, 5, width=8, n_nets=40_000, method="metric")
    >>> found = nets.comparison.missing_order(case, cases.run(cases.prepare(case)))
    >>> print(found.quantity, found.order)
    V 2
    """
    chi2 = {"V": c.chi2_V, "K": c.chi2_K}
    off = [name for name, found in chi2.items() if found.dof and found.p < SIGNIFICANT]
    if not off or not case.plain or case.order == MAX_ORDER:
        return None
    last = min(case.order + TRIED, MAX_ORDER)
    series = eft.expand(case.activation, case.cw, case.depth, last, **case.given)
    theory = {order: _theory(series, order, c.n) for order in range(case.order + 1, last + 1)}
    for name in off:
        if found := _judged(name, c, theory):
            return found
    return None


def _theory(series: eft.Expansion, order: int, n: np.ndarray) -> dict[str, tuple[np.ndarray, ...]]:
    """Value and last term of K and V at every layer, and whether the series still decreases."""
    cumulants = jax.tree.map(np.asarray, eft.at_width(series.truncated(order), n))
    of = {}
    for name, r, factor in (("K", 1, np.ones_like(n)), ("V", 2, n)):
        with np.errstate(over="ignore", invalid="ignore"):
            value, term = factor * cumulants.value[:, r], factor * cumulants.last[:, r]
        of[name] = (value, term, cumulants.converges[:, r])
    return of


def _judged(name: str, c: Comparison, theory: dict[int, dict[str, tuple]]) -> MissingOrder | None:
    measured, before = getattr(c, f"{name}_measured"), getattr(c, f"{name}_finite")
    z = np.abs(np.nan_to_num(getattr(c, f"z_{name}")))
    at = int(z.argmax())
    deviation = Estimate(measured.mean[at] - before[at], measured.stderr[at])
    term = theory[min(theory)][name][1][at]
    unsure = 3 * deviation.stderr
    size, expected = deviation.mean * np.sign(term), abs(term)
    if not expected or size + unsure < expected / ALIKE or size - unsure > ALIKE * expected:
        return None
    used = np.isfinite(getattr(c, f"z_{name}"))
    order, largest = min(theory), np.inf
    for each, of in theory.items():
        value, _, converges = of[name]
        if not converges[used].all() or largest <= 3:
            break
        order, largest = each, float(np.max(np.abs(z_score(measured, value))[used], initial=0.0))
    return MissingOrder(name, order, int(c.layer[at]), deviation, float(term), largest)
