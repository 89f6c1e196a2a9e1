"""The figures of the command: nothing is cut or covered, no two series look alike without their colours."""

import re

import pytest
from guides import DOCS
from pictures import complaints

from nets.plots import figures

MODEL = re.search(r"```python\n((?:.*\n)*?)```", (DOCS / "command.md").read_text())
ACTS = ("tanh", "relu", "gelu", "swish", "sin", "softplus", "elu", "mish")
SMALL = ["--depth", "3", "--width", "16", "--nets", "30", "--steps", "20", "--samples", "5"]
COMMANDS = {
    "a flow": ["flow", "--act", "tanh", "--depth", "12"],
    "flows over many powers of ten": ["flow", "--act", *ACTS, "--depth", "20"],
    "one case": ["compare", "--depth", "4", "--width", "16", "--nets", "50"],
    "several cases": ["compare", "--act", "tanh", "relu", "--depth", "4", "--width", "16", "--nets", "50"],
    "widths": ["compare", "--depth", "3", "--widths", "8", "16", "32", "--nets", "200", "--order", "3"],
    "training": ["train", *SMALL],
    "training and theory": ["train", *SMALL, "--optimizer", "sgd", "--theory"],
    "a diagnosis": ["diagnose", "model.py:make"],
    "phases": ["phase", "--act", "mrepu", "--points", "60"],
}


@pytest.fixture
def drawn(monkeypatch):
    """The figures, as they are written."""
    found, png = [], figures.png
    monkeypatch.setattr(figures, "png", lambda made: found.append(made) or png(made))
    return found


@pytest.mark.sweep("widths", "training", "several cases", "a diagnosis", "a flow", "phases")
@pytest.mark.parametrize("name", COMMANDS)
def test_figures(run, name, drawn, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert MODEL is not None
    (tmp_path / "model.py").write_text(MODEL[1])
    status, _, err = run(*COMMANDS[name], "--out", str(tmp_path / "x.png"))
    assert status == 0, err
    (made,) = drawn
    assert not complaints(made)


def test_a_narrower_figure_would_be_cut(run, drawn, tmp_path):
    """The control."""
    assert run(*COMMANDS["one case"], "--out", str(tmp_path / "x.png"))[0] == 0
    (made,) = drawn
    made.set_size_inches(2.0, 7.2)
    assert complaints(made)
