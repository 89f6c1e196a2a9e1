"""docs/choose_activation.md: its examples print what it shows."""

import re

import pytest
from guides import DOCS, differences, printed

import eft

GUIDE = "choose_activation.md"


@pytest.mark.more
@pytest.mark.promotes
def test_what_is_printed():
    pairs = printed(GUIDE, without=("2. Shape it",), x64=True)
    assert len(pairs) == 3
    for shown, found in pairs:
        assert not differences(shown, found, rtol=1e-3)


@pytest.mark.more
@pytest.mark.parametrize("name", ["tanh", "relu", "gelu", "mrepu(p=2)"])
def test_table_of_shapes(name):
    """A row of the table: "dks", "tat" and "stable". The control: those of fewer layers are others."""
    table = re.search(r"```text\nten hidden layers.*?```", (DOCS / GUIDE).read_text(), re.DOTALL)
    assert table is not None
    row = next(line for line in table.group().splitlines() if line.startswith(f"{name} "))
    act = eft.activation("mrepu", p=2) if name == "mrepu(p=2)" else eft.activation(name)

    def words(conditions, depth=11, **settings):
        try:
            s = eft.shape(act, conditions, depth=depth, **settings)
        except ValueError:
            return "none"
        if s.negative_slope == s.negative_slope:
            return f"slope {s.negative_slope:.4f}"
        return f"{s.input_scale:.4f} {s.input_shift:+.4f}"

    found = [words("dks"), words("tat"), words("stable", a1=-0.25)]
    assert not differences(row, " ".join([name, *found]), rtol=1e-4)
    assert differences(row, " ".join([name, words("dks", depth=5), *found[1:]]), rtol=1e-4)
