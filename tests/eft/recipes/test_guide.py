"""docs/depth_and_rates.md: its tables and numbers are those of the theory."""

import pytest
from guides import DOCS, tables

import eft

GUIDE = "depth_and_rates.md"
LIMITS, SPREADS = (tables(GUIDE)[i] for i in (0, 1))


def limits(row: dict[str, str]) -> list[str]:
    """What the row of an activation should say."""
    act, *_ = row.values()
    limit = eft.recipe(act.lower(), width=128, depth=4).depth_limit
    spread = eft.recipe(act.lower(), width=128, depth=limit).log_spread
    return [act, str(limit), f"{spread:.2f}", str(eft.recipe(act.lower(), depth=50).width_needed)]


def test_limits_of_relu():
    row = next(row for row in LIMITS if "ReLU" in row.values())
    assert limits(row) == list(row.values())


@pytest.mark.more
@pytest.mark.parametrize("row", LIMITS, ids=lambda row: next(iter(row.values())))
def test_limits(row):
    assert limits(row) == list(row.values())


@pytest.mark.more
@pytest.mark.parametrize("row", SPREADS, ids=lambda row: next(iter(row.values())))
def test_spreads_of_rates(row):
    name, spread, width = row.values()
    act, layers = name.split(",")
    found = eft.recipe(act.lower(), width=1024, depth=int(layers.split()[0])).rate_spread
    assert float(f"{100 * found:.2g}") == float(spread.split()[0])
    assert float(width.replace(",", "")) == float(f"{1024 * (3 * found / 0.1) ** 2:.2g}")


@pytest.mark.more
def test_the_page_and_the_typical_network():
    text = (DOCS / GUIDE).read_text()
    assert str(eft.recipe("gelu", width=128, depth=20)) in text
    flow = eft.typical_flow("tanh", 1.0, depth=196, width=128)
    assert f"{flow.mean[-1]:.3f}, {flow.variance[-1]:.3f}" in text
