"""The five tasks of docs/start.md print what the page shows, in about ten lines, and draw its figures."""

import jax
import pytest
from guides import differences, examples, printed
from matplotlib import pyplot

FIGURES = ("three_activations.png", "phases.png", "theory_and_networks.png")
LINES = 14


@pytest.mark.promotes
def test_the_page(monkeypatch, tmp_path):
    """The control: another number."""
    monkeypatch.chdir(tmp_path)
    was = jax.config.jax_enable_x64
    pairs = printed("start.md", without=("In PyTorch",), x64=True)
    pyplot.close("all")
    jax.config.update("jax_enable_x64", was)
    assert len(pairs) == 2
    for shown, found in pairs:
        assert not differences(shown, found, 1e-3)
    assert differences(pairs[1][0].replace("0.2368", "0.2386"), pairs[1][1], 1e-3)
    for name in FIGURES:
        assert (tmp_path / name).stat().st_size > 10_000


def test_each_task_is_short():
    for heading, code in examples("start.md").items():
        assert len([line for line in code.splitlines() if line]) <= LINES, heading
