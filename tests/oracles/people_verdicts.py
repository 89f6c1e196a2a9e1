"""Results of `kernel_flow` for the functions of `people.csv` are right, marked, or silently wrong.

    python tests/oracles/people_verdicts.py [name ...]

prints the table of verdicts.
"""

import collections
import csv
import functools
import sys
import warnings
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from people_functions import PEOPLE

import eft
from eft.activations.analysis import analysed
from eft.gaussian.expectation import QuadratureWarning, tolerance

QUANTITIES = {"g": "K", "var": "V", "dg": "chi_parallel", "s2": "chi_perp"}
"""Columns of the table, and the fields of a flow at C_W = 1 and C_b = 0 in which they appear."""


class Verdict(NamedTuple):
    """The verdict on one function at one K."""

    name: str
    declared: bool
    dtype: str
    K: float
    errors: dict[str, float]  # the true relative errors
    claimed: float  # `error` of the flow, or of the moments where that is more
    lost: bool  # not valid for another reason than the error: the next kernel is said to be out of range
    promised: float

    @property
    def worst(self) -> float:
        return max(self.errors.values())

    @property
    def marked(self) -> bool:
        return self.lost or not self.claimed <= self.promised

    @property
    def kind(self) -> str:
        if self.worst <= self.promised:
            return "alarm" if self.marked else "right"
        return "marked" if self.marked else "SILENT"

    @property
    def understated(self) -> bool:
        """Marked as inaccurate, but with too small an error, except where ⟨σ′²⟩ should be infinite."""
        finite = max((error for error in self.errors.values() if np.isfinite(error)), default=0.0)
        return self.kind == "marked" and self.claimed < finite


@functools.cache
def table() -> dict[str, dict[str, np.ndarray]]:
    """name → column → values, K ascending."""
    rows = collections.defaultdict(list)
    with open(Path(__file__).with_name("people.csv")) as file:
        for row in csv.DictReader(file):
            rows[row.pop("name")].append({q: float(value) for q, value in row.items()})
    return {name: {q: np.array([row[q] for row in of]) for q in of[0]} for name, of in rows.items()}


def units(name: str) -> dict[str, np.ndarray]:
    """The scale of an error: the quantity, or the terms of which it is a small difference."""
    exact = table()[name]
    K, g, g4 = exact["K"], exact["g"], exact["g4"]
    least = {"g": 0, "var": g4, "dg": g / K, "s2": 0, "d2g": g / K**2}
    with np.errstate(invalid="ignore"):
        return {q: np.maximum(np.abs(exact[q]), some) for q, some in least.items()}


def relative_errors(name: str, q: str, found, dtype) -> np.ndarray:
    """|found − exact| in those units; 0 where the dtype overflows and `found` is saturated."""
    exact, info = table()[name][q], np.finfo(dtype)
    unit, found = np.maximum(units(name)[q], float(info.tiny)), np.asarray(found, np.float64)
    beyond = ~(np.abs(exact) <= float(info.max))
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.where(found == exact, 0.0, np.abs(found - exact) / unit)
        too_large = ~(np.abs(found) < 0.999 * float(info.max))
    error = np.where(beyond, np.where(too_large, 0.0, np.inf), error)
    return np.where(np.isnan(error), np.inf, error)


def verdicts(name: str, declared: bool, dtype) -> list[Verdict]:
    """A verdict at each K of the table."""
    person, exact, info = PEOPLE[name], table()[name], np.finfo(dtype)
    act = eft.Activation(person.fn, person.declared if declared else (), name)
    K = jnp.asarray(exact["K"], dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", QuadratureWarning)
        flow = eft.kernel_flow(act, jnp.ones((), dtype), 2, K1=K)
    m = eft.moments(analysed(act), K)
    found = {q: getattr(flow, field)[:, 1 if field in "KV" else 0] for q, field in QUANTITIES.items()}
    errors = {q: relative_errors(name, q, value, dtype) for q, value in (found | {"d2g": m.d2g}).items()}
    held = (exact["g"] >= float(info.tiny)) & (exact["g"] <= float(info.max))
    # the second layer's flag also speaks of the quadrature there, unless its kernel is out of range
    K2 = np.asarray(flow.K[:, 1], float)
    in_range = (float(info.tiny) <= K2) & (0.999 * float(info.max) > K2)
    promised = np.asarray(flow.error[:, 0]) <= tolerance(dtype)
    lost = (~np.asarray(flow.valid[:, 1]) & ~in_range & held) | (~np.asarray(flow.valid[:, 0]) & promised)
    claimed = np.maximum(np.asarray(flow.error[:, 0]), np.asarray(m.error)).astype(float)
    # a kernel beyond the range is right where it is said to be
    for q in errors:
        errors[q] = np.where(held, errors[q], np.where(np.asarray(flow.valid[:, 1]), np.inf, 0.0))
    return [
        Verdict(
            name,
            declared,
            np.dtype(dtype).name,
            k,
            {q: float(errors[q][i]) for q in errors},
            float(claimed[i]),
            bool(lost[i]),
            tolerance(dtype),
        )
        for i, k in enumerate(exact["K"])
        if held[i] or errors["g"][i] > 0
    ]


def line(name: str, declared: bool, dtype) -> str:
    """The verdicts on one function in one line."""
    label = f"{name:20s} {'declared' if declared else 'not':8s} {np.dtype(dtype).name:7s}"
    try:
        made = verdicts(name, declared, dtype)
    except Exception as error:
        return f"{label} RAISED {type(error).__name__}: {str(error)[:90]}"
    letters = {"right": ".", "marked": "m", "alarm": "a", "SILENT": "S"}
    kinds = {v.K: letters[v.kind] for v in made}
    text = f"{label} {''.join(kinds.get(K, ' ') for K in table()[name]['K'])}"
    silent = [v for v in made if v.kind == "SILENT"]
    if silent:
        v = max(silent, key=lambda v: v.worst)
        wrong = [q for q in v.errors if any(s.errors[q] > s.promised for s in silent)]
        text += f" silent in {', '.join(wrong)}: {v.worst:.1e} at K = {v.K:.0e}, said {v.claimed:.1e};"
    alarms = [v for v in made if v.kind == "alarm"]
    if alarms:
        v = max(alarms, key=lambda v: v.claimed)
        text += f" alarm {v.claimed:.1e} (true {v.worst:.1e}) at K = {v.K:.0e};"
    under = [v for v in made if v.understated]
    if under:
        v = max(under, key=lambda v: v.worst / v.claimed)
        text += f" understated {v.claimed:.1e} (true {v.worst:.1e}) at K = {v.K:.0e};"
    return text


def main() -> None:
    print(__doc__)
    print(
        "A column for each K from 1e-6 to 1e6: . right, m marked and wrong, a marked and right, "
        "S silent, blank where ⟨σ²⟩ is out of range"
    )
    for name in sys.argv[1:] or PEOPLE:
        for declared in (True, False):
            for dtype in (np.float64, np.float32):
                print(line(name, declared, dtype), flush=True)


if __name__ == "__main__":
    import jax

    jax.config.update("jax_enable_x64", True)
    main()
