"""docs/from_neural_tangents.md: its examples print what it shows, and the functions that it names exist."""

import re

import pytest
from guides import DOCS, differences, printed

import eft
import nets


@pytest.mark.long
@pytest.mark.promotes
def test_what_is_printed():
    pairs = printed("from_neural_tangents.md", x64=True)
    assert len(pairs) == 2
    for shown, found in pairs:
        assert not differences(shown, found, rtol=0.01)


def test_what_is_named():
    named = re.findall(r"(?<!\w)(eft|nets)\.(\w+)", (DOCS / "from_neural_tangents.md").read_text())
    assert len(named) > 20
    assert not [name for package, name in named if not hasattr({"eft": eft, "nets": nets}[package], name)]
