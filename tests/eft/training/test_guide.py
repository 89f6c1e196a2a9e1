"""docs/training.md: its examples print what it shows."""

import pytest
from guides import differences, printed


@pytest.mark.more
@pytest.mark.promotes
def test_what_is_printed():
    pairs = printed("training.md", x64=True)
    assert len(pairs) == 8
    for shown, found in pairs:
        assert not differences(shown, found, rtol=0.01)
