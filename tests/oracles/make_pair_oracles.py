"""Writes pair_oracles.csv: expectations of two correlated Gaussians on a fixed sample, to 25 digits.

    python tests/oracles/make_pair_oracles.py [key ...]

With keys, only those are computed and the rest of the table is kept. A cell enters the table only if two
rules with different panels, steps and tails agree to 1e-20 (sin: quadrature and the closed form): d2 and
dd relative to themselves, ss to sqrt(<sigma(z1)^2> <sigma(z2)^2>). With gmpy2 installed it is much faster.
"""

import csv
import random
import sys
import time
from decimal import Decimal
from pathlib import Path

from make_oracles import digits
from mp_activations import ACTIVATIONS
from mpmath import mp, mpf
from pair_oracles import COARSE, expectation, nested

TABLE = Path(__file__).with_name("pair_oracles.csv")
HEADER = ("key", "K1", "K2", "rho", "one_minus_rho", "ss", "dd", "d2")
TOLERANCE = mpf("1e-20")

KERNELS = ("1e-6", "1e-2", "1", "1e2", "1e4")
ONE_MINUS_RHO = ("2", "1.99", "1.5", "1", "0.7", "0.1", "1e-4", "1e-10", "0")
EQUAL = ("1e-2", "1", "1e2")
CLOSE, N_CLOSE = "1e-12", 40


def sample():
    """(key, K1, K2, 1 - rho): one K1 = K2 and one K1 != K2 for each key and rho, N_CLOSE with K1 = K2."""
    draw, cells = random.Random(0), []
    for key in ACTIVATIONS:
        for p in ONE_MINUS_RHO:
            K = draw.choice(KERNELS)
            cells += [(key, K, K, p), (key, *draw.sample(KERNELS, 2), p)]
    return cells + sorted(draw.sample([(k, K, K, CLOSE) for k in ACTIVATIONS for K in EQUAL], N_CLOSE))


def disagreement(cell):
    """The three values of the cell, and the worst disagreement among them."""
    values, other = expectation(*cell), nested(*cell, COARSE)
    scales = other.square, abs(values[1]), abs(values[2])
    if cell[0] == "sin":
        # exp(-(K1 + K2)/2) is beyond any quadrature: slopes are of order 1.
        scales = other.square, mpf(1), abs(values[2])
    worst = [abs(a - b) / s for a, b, s in zip(values, other, scales, strict=False) if a != b]
    return values, max(worst, default=mpf(0))


def read():
    """Rows of the table as it stands."""
    with TABLE.open(newline="") as file:
        return {(k, a, b, p): [r, *v] for k, a, b, r, p, *v in list(csv.reader(file))[1:]}


def write(rows):
    """The table, in the order of the sample."""
    with TABLE.open("w", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(HEADER)
        for cell in filter(rows.__contains__, sample()):
            *key, p = cell
            rho, *values = rows[cell]
            out.writerow((*key, rho, p, *values))


def main():
    keys, start, worst, dropped = sys.argv[1:] or list(ACTIVATIONS), time.perf_counter(), [], []
    rows = read() if sys.argv[1:] and TABLE.exists() else {}
    for key in keys:
        begin, seen = time.perf_counter(), []
        for cell in (cell for cell in sample() if cell[0] == key):
            values, error = disagreement(cell)
            seen.append((error, cell))
            if error < TOLERANCE:
                rho = format((1 - Decimal(cell[-1])).normalize(), "f")
                rows[cell] = [rho, *map(digits, values)]
            else:
                rows.pop(cell, None)
                dropped.append(cell)
                print("DROPPED", cell, mp.nstr(error, 3), flush=True)
        worst.append(max(seen))
        seconds = time.perf_counter() - begin
        print(f"{key:>14} {len(seen)} cells {seconds:6.1f} s  worst {mp.nstr(worst[-1][0], 2)}", flush=True)
        write(rows)
    error, cell = max(worst)
    print(f"{len(rows)} cells, {len(dropped)} dropped, worst {mp.nstr(error, 3)} at {cell}")
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
