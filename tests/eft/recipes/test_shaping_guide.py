"""docs/choose_activation.md: its examples print what it shows."""

import pytest
from guides import differences, printed


@pytest.mark.long
@pytest.mark.promotes
def test_what_is_printed():
    pairs = printed("choose_activation.md", x64=True)
    assert len(pairs) == 5
    for shown, found in pairs:
        assert not differences(shown, found, rtol=1e-3)
