"""A comparison as rows of a table, and as JSON."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from nets.comparison.cases import Case
from nets.comparison.comparison import Comparison
from nets.statistics.estimators import Estimate

COLUMNS = (
    "layer", "n", "K", "K_finite", "K_last", "K_measured", "K_stderr", "z_K",
    "V", "V_finite", "V_last", "V_measured", "V_stderr", "z_V",
    "K_z", "K_z_stderr", "z_K_z", "V_z", "V_z_stderr", "z_V_z",
    "spread", "valid", "converges", "n_nets", "n_overflowed",
)  # fmt: skip


def layer_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """One dictionary per layer, with the keys of `COLUMNS` and plain Python numbers."""
    c = comparison
    columns = dict.fromkeys(COLUMNS)
    for name in COLUMNS:
        if name.endswith("_stderr"):
            stem = name.removesuffix("_stderr")
            estimate = getattr(c, stem if stem.endswith("_z") else f"{stem}_measured")
            columns[name] = estimate.stderr
        else:
            value = getattr(c, name)
            columns[name] = value.mean if isinstance(value, Estimate) else value
    lists = [np.asarray(columns[name]).tolist() for name in COLUMNS]
    return [dict(zip(COLUMNS, row, strict=True)) for row in zip(*lists, strict=True)]


def csv_rows(compared: Iterable[tuple[Case, Comparison]]) -> list[dict[str, Any]]:
    """A row for each case and layer, which begins with the settings of the case."""
    return [
        {**{name: value for name, value in _settings(case).items() if name != "n_nets"}, **row}
        for case, comparison in compared
        for row in layer_rows(comparison)
    ]


def json_value(compared: Iterable[tuple[Case, Comparison]]) -> dict[str, Any]:
    """{"cases": [{settings, chi2_K, chi2_V, seconds, layers}]}."""
    cases = [
        {
            "settings": _settings(case),
            "chi2_K": c.chi2_K._asdict(),
            "chi2_V": c.chi2_V._asdict(),
            "seconds": c.seconds,
            "layers": layer_rows(c),
        }
        for case, c in compared
    ]
    return {"cases": cases}


def _settings(case: Case) -> dict[str, Any]:
    return {**case._asdict(), "act": case.activation.name}
