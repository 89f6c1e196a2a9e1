"""One table of oracles: the Gaussian expectations of every activation, made by `make_oracles.py`.

Each value was found by two routes in mpmath that agree to 25 digits (see `oracles.py`).
"""

import csv
import functools
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

import eft

FLOAT64, FLOAT32 = 1e-12, 2e-6
"""The relative errors that the docstrings state."""

FIELDS = {"g": "g", "g4": "g4", "dg": "dg", "s2": "slope2", "var": "var", "d2g": "d2g"}
"""Columns of the table and the fields of `Moments`."""

PROMISED = ("g", "g4", "dg", "s2")
"""Quantities whose relative error is bounded at every K; var and d2g have scales of their own."""

USER_KINKS = {"user_kink_m1": -1.0, "user_kink_0p3": 0.3, "user_kink_1e3": 1e3}


class Reference(NamedTuple):
    K: np.ndarray
    values: dict[str, np.ndarray]


def user_function(c: float):
    """tanh z + max(0, z − c)."""
    return lambda z: jnp.tanh(z) + jnp.maximum(z - c, 0.0)


def activation(key: str, declared: bool = True) -> eft.Activation:
    """The activation of a row of the table."""
    if key in USER_KINKS:
        c = USER_KINKS[key]
        return eft.Activation(user_function(c), (c,) if declared else (), key)
    name, _, p = key.rpartition("_")
    return eft.activation(name, p=int(p)) if p.isdigit() else eft.activation(key)


@functools.cache
def table() -> dict[str, Reference]:
    rows: dict[str, list] = {}
    with open(Path(__file__).with_name("oracles.csv")) as file:
        for row in csv.DictReader(file):
            rows.setdefault(row["activation"], []).append(row)
    return {
        key: Reference(
            np.array([float(row["K"]) for row in of_key]),
            {q: np.array([float(row[q]) for row in of_key]) for q in FIELDS},
        )
        for key, of_key in rows.items()
    }


def relative_errors(key: str, moments, dtype=np.float64) -> dict[str, np.ndarray]:
    """|found − reference| in units of the reference (d2g: of g/K² if more); 0 where dtype cannot hold it."""
    K, values = table()[key]
    info = np.finfo(dtype)
    errors = {}
    for q, field in FIELDS.items():
        reference, found = values[q], np.asarray(getattr(moments, field), np.float64)
        unit = np.maximum(np.abs(reference), values["g"] / K**2) if q == "d2g" else np.abs(reference)
        held = (unit >= info.tiny) & (unit <= info.max)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            error = np.abs(found - reference) / unit
        exact = found == reference
        errors[q] = np.where(exact | (~held & (np.abs(found) < info.tiny)) | (unit > info.max), 0.0, error)
    return errors
