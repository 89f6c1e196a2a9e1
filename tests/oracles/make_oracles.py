"""Writes oracles.csv: the expectations of every activation on K_GRID, to 25 significant digits.

    python tests/oracles/make_oracles.py [name ...]

With names, only those activations are computed and the rest of the table is kept. Nothing is written
unless the two routes agree to 1e-25 in every cell. Exponents go beyond the range of float64.
"""

import csv
import sys
import time
from pathlib import Path

from mp_activations import ACTIVATIONS
from mpmath import mp, mpf
from oracles import K_GRID, NAMES, ROUTES, expectations

TABLE = Path(__file__).with_name("oracles.csv")
HEADER = ("activation", "K", *NAMES)
TOLERANCE = mpf("1e-25")


def disagreement(a, b):
    """|a - b| / max(|a|, |b|), and 0 for equal values, infinite ones included."""
    return mpf(0) if a == b else abs(a - b) / max(abs(a), abs(b))


def digits(x):
    """x to 25 significant digits."""
    return "inf" if mp.isinf(x) else mp.nstr(x, 25, strip_zeros=False, min_fixed=0, max_fixed=0)


def compute(names):
    """Rows of the table for the activations called names; (disagreement, name, K, quantity) of each cell."""
    rows, cells = {}, []
    for K in map(float, K_GRID):
        start, seen = time.perf_counter(), len(cells)
        for name in names:
            a, b = (expectations(name, K, route) for route in ROUTES)
            cells += [(disagreement(a[q], b[q]), name, K, q) for q in NAMES]
            rows[name, K] = [digits(a[q]) for q in NAMES]
        worst, name, _, q = max(cells[seen:])
        seconds = time.perf_counter() - start
        print(f"K = {K:9.3e}  {seconds:5.1f} s  worst {mp.nstr(worst, 2):>8}  {name} {q}", flush=True)
    return rows, cells


def read():
    """Rows of the table as it stands."""
    if not TABLE.exists():
        return {}
    with TABLE.open(newline="") as file:
        return {(name, float(K)): values for name, K, *values in list(csv.reader(file))[1:]}


def write(rows):
    """The table, activations in the order of ACTIVATIONS, K ascending."""
    order = list(ACTIVATIONS)
    with TABLE.open("w", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(HEADER)
        for name, K in sorted(rows, key=lambda cell: (order.index(cell[0]), cell[1])):
            out.writerow((name, repr(K), *rows[name, K]))


def main():
    names = sys.argv[1:] or list(ACTIVATIONS)
    start = time.perf_counter()
    rows, cells = compute(names)
    for q in NAMES:
        worst, name, K, _ = max(cell for cell in cells if cell[3] == q)
        print(f"{q:>4}: worst disagreement {mp.nstr(worst, 3)} at {name}, K = {K!r}")
    failures = [cell for cell in cells if not cell[0] < TOLERANCE]
    for worst, name, K, q in failures:
        print(f"DISAGREE {name} K = {K!r} {q}: {mp.nstr(worst, 3)}")
    if failures:
        raise SystemExit(f"{len(failures)} of {len(cells)} cells disagree, nothing written")
    write({**read(), **rows} if sys.argv[1:] else rows)
    print(f"{len(cells)} cells in {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
