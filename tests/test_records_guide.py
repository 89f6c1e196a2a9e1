"""docs/results.md shows what its examples print."""

import pytest
from guides import differences, printed


@pytest.mark.promotes
def test_the_guide(monkeypatch, tmp_path):
    """The control: another number."""
    monkeypatch.chdir(tmp_path)
    pairs = printed("results.md", x64=True)
    assert len(pairs) == 3 and (tmp_path / "results.png").stat().st_size > 10_000
    for shown, found in pairs:
        assert not differences(shown, found, 1e-6)
    assert differences(pairs[0][0].replace("0.1071", "0.1073"), pairs[0][1], 1e-6)
