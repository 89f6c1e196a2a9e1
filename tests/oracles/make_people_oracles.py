"""Writes people.csv: the expectations of the functions in `people_functions.py`, to 18 digits.

    python tests/oracles/make_people_oracles.py [name ...]

With names, only those are computed and the rest of the table is kept. Nothing is written unless two rules and
both forms of dg agree in every cell. It needs extended precision, which NumPy has on x86-64.
"""

import csv
import sys
import time
from pathlib import Path

import numpy as np
from people_functions import PEOPLE
from people_oracles import K_GRID, LONG, NAMES, expectations

TABLE = Path(__file__).with_name("people.csv")
TOLERANCE = 3e-14
"""Most cells agree to 1e-18; the variance of a σ² that is flat at 0 has lost some digits at K = 1e-6."""


def disagreements(a: dict, b: dict, K: float) -> dict[str, float]:
    """|a − b| in units of the quantity; dg and d2g in those of g/K and g/K² where these are more."""
    units = {q: np.abs(a[q]) for q in NAMES}
    units["var"] = max(units["var"], 1e-22 * a["g4"])
    units["dg"] = max(units["dg"], a["g"] / LONG(K))
    units["d2g"] = max(units["d2g"], a["g"] / LONG(K) ** 2)
    pairs = {q: (a[q], b[q]) for q in NAMES} | {"dg by weight": (a["dg"], a["dg_by_weight"])}
    return {
        q: 0.0 if x == y or max(abs(x), abs(y)) < 1e-300 else float(abs(x - y) / units[q.split()[0]])
        for q, (x, y) in pairs.items()
    }


def digits(x) -> str:
    return "inf" if np.isinf(x) else np.format_float_scientific(x, precision=18, unique=False)


def compute(names) -> tuple[dict, list]:
    """Rows of the table; (disagreement, name, K, quantity) of each cell."""
    rows, cells = {}, []
    for name in names:
        start, seen = time.perf_counter(), len(cells)
        for K in map(float, K_GRID):
            a, b = (expectations(name, K, rule) for rule in ("fine", "other"))
            cells += [(error, name, K, q) for q, error in disagreements(a, b, K).items()]
            rows[name, K] = [digits(a[q]) for q in NAMES]
        worst, _, K, q = max(cells[seen:])
        seconds = time.perf_counter() - start
        print(f"{name:22s} {seconds:5.1f} s  worst {worst:.1e}  {q} at {K:.0e}", flush=True)
    return rows, cells


def read() -> dict:
    if not TABLE.exists():
        return {}
    with TABLE.open(newline="") as file:
        return {(name, float(K)): values for name, K, *values in list(csv.reader(file))[1:]}


def write(rows: dict) -> None:
    order = list(PEOPLE)
    with TABLE.open("w", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(("name", "K", *NAMES))
        for name, K in sorted(rows, key=lambda cell: (order.index(cell[0]), cell[1])):
            out.writerow((name, repr(K), *rows[name, K]))


def main() -> None:
    names = sys.argv[1:] or list(PEOPLE)
    if np.finfo(LONG).eps > 2e-19:
        raise SystemExit("NumPy has no extended precision on this machine")
    rows, cells = compute(names)
    failures = [cell for cell in cells if not cell[0] < TOLERANCE]
    for error, name, K, q in failures:
        print(f"DISAGREE {name} K = {K!r} {q}: {error:.1e}")
    if failures:
        raise SystemExit(f"{len(failures)} of {len(cells)} cells disagree, nothing written")
    write({key: row for key, row in {**read(), **rows}.items() if key[0] in PEOPLE})


if __name__ == "__main__":
    main()
