"""Where progress is shown: in terminals and notebooks, with what rich needs there."""

import types

import numpy as np
import pytest
from rich.console import Console

import nets
from nets.runtime import memory, progress
from nets.runtime.progress import progress_bar


@pytest.fixture
def in_a_notebook(monkeypatch):
    """As rich sees it."""
    monkeypatch.setattr(progress, "Console", lambda **more: Console(**more, force_jupyter=True))


def test_elsewhere_only_if_it_is_asked_for():
    assert progress_bar(None, "steps/s").disable and progress_bar(False, "steps/s").disable
    assert not progress_bar(True, "steps/s").disable


def test_in_a_notebook_with_widgets(in_a_notebook, monkeypatch):
    monkeypatch.setattr(progress.importlib.util, "find_spec", lambda name: types.SimpleNamespace())
    assert not progress_bar(None, "steps/s").disable and progress_bar(False, "steps/s").disable


def test_in_a_notebook_without_widgets(in_a_notebook, monkeypatch):
    """Quiet, unless it was asked for; rich itself would warn each time that it draws."""
    monkeypatch.setattr(progress.importlib.util, "find_spec", lambda name: None)
    assert progress_bar(None, "steps/s").disable
    with pytest.warns(UserWarning, match=r"pip install 'eft-nets\[notebooks\]'"):
        assert progress_bar(True, "steps/s").disable


@pytest.mark.parametrize(
    ("n_nets", "in_flight", "words"),
    [
        (8, 32, "8 networks in one block; "),
        (300, 1, "300 networks in 38 blocks of 8, one at a time; "),
        (300, 32, "300 networks in 38 blocks of 8, up to 32 at a time; "),
        (300, 64, "300 networks in 38 blocks of 8, up to 38 at a time; "),
    ],
)
def test_the_words_of_a_plan(n_nets, in_flight, words):
    assert str(memory.Plan(n_nets, 8, in_flight, 1, 2**20, 2**30)).startswith(words)


def test_no_loss_is_shown_before_there_is_one(monkeypatch):
    """The control: after the first step."""
    shown = {}

    def update(self, task, *, completed, note, **more):
        shown[completed] = note

    monkeypatch.setattr(progress.Bar, "update", update)
    data = (np.ones((3, 2)), np.ones(3))
    nets.train("tanh", 1.0, 2, 4, 2, data, steps=2, snapshots=(0, 2), optimizer="sgd", progress=False)
    assert shown[0] == "" and shown[2].startswith("loss ")


def test_the_plan_is_shown_as_a_sentence(capsys):
    """Of a NamedTuple rich would show the fields."""
    plan = memory.Plan(300, 8, 32, 1, 2**20, 2**30)
    with progress_bar(True, "networks/s") as bar:
        bar.console.print(str(plan))
    assert "300 networks in 38 blocks of 8" in capsys.readouterr().err
