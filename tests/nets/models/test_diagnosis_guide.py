"""docs/diagnose.md: its examples print what it shows."""

import pytest
from guides import differences, printed

ELSEWHERE = ("Equinox", "Haiku", "Mend it", "A PyTorch module")
"""Sections that need other frameworks."""


@pytest.mark.long
@pytest.mark.promotes
def test_what_is_printed():
    pairs = printed("diagnose.md", without=ELSEWHERE, x64=False)
    assert len(pairs) >= 3
    for shown, found in pairs:
        assert not differences(shown, found, rtol=0.02)


def test_differences_are_seen():
    """The control: a number, a word and a line that are not those of the guide."""
    shown = "layer 5: C_W = 8.004 ±0.04, e⁻⁹ in all"
    assert not differences(shown, shown.replace("8.004", "8.005"), rtol=0)
    for wrong in (shown.replace("8.004", "8.3"), shown.replace("all", "one"), f"{shown} more"):
        assert len(differences(shown, wrong, rtol=0.02)) == 1
