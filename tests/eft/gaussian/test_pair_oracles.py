"""Expectations of two variables of the whole catalogue agree with mpmath (see `pair_oracles.py`)."""

import csv
import functools
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import references

import eft


@functools.cache
def table() -> dict[str, dict[str, np.ndarray]]:
    with open(Path(references.__file__).with_name("pair_oracles.csv")) as file:
        rows = list(csv.DictReader(file))
    fields = ("K1", "K2", "one_minus_rho", "ss", "dd", "d2")
    return {
        key: {f: np.array([float(row[f]) for row in rows if row["key"] == key]) for f in fields}
        for key in dict.fromkeys(row["key"] for row in rows)
    }


def test_the_sample_is_large():
    assert sum(len(cells["K1"]) for cells in table().values()) >= 400
    assert len(table()) >= 20


SIMILAR = ("softplus", "mish", "arctan", "repu_3", "mrepu_1", "mrepu_3", "user_kink_1e3")
"""Activations of the same kind as others of the table; they are tested in `make test-all` only."""


@pytest.mark.sweep("tanh", "relu", "elu")
@pytest.mark.parametrize(
    "key", [pytest.param(key, marks=pytest.mark.more) if key in SIMILAR else key for key in table()]
)
def test_against_mpmath(key):
    cells, act = table()[key], references.activation(key)
    found = eft.pair_expectation(act, *(jnp.asarray(cells[f]) for f in ("K1", "K2", "one_minus_rho")))
    m1, m2 = (eft.moments(act, jnp.asarray(cells[f])) for f in ("K1", "K2"))
    scale = np.sqrt(np.asarray(m1.g * m2.g))
    error = np.abs(found.product - cells["ss"])
    assert (error <= np.maximum(1e-10 * np.abs(cells["ss"]), 1e-12 * scale)).all()
    if np.isfinite(cells["dd"]).all():
        error = np.abs(found.slopes - cells["dd"])
        scale = np.sqrt(np.asarray(m1.slope2 * m2.slope2))
        assert (error <= np.maximum(1e-10 * np.abs(cells["dd"]), 1e-12 * scale)).all()
    rounding = 1e-15 * np.asarray(m1.g + m2.g) * (cells["one_minus_rho"] > 1e-9)
    assert (np.abs(found.distance - cells["d2"]) <= 1e-8 * cells["d2"] + rounding).all()
