"""The examples of docs/initialize.md in other frameworks, and those in docstrings, print what they show."""

import importlib
import inspect

import pytest
from guides import differences, examples, printed, report

SECTIONS = {"Haiku": "haiku", "Equinox": "equinox", "PyTorch": "torch"}


@pytest.mark.promotes
@pytest.mark.parametrize("section", SECTIONS)
def test_example(section):
    pytest.importorskip(SECTIONS[section])
    assert report(examples("initialize.md")[section]) == ""


@pytest.mark.promotes
@pytest.mark.parametrize(
    ("module", "name", "imports"),
    [
        ("haiku", "initializer", "import haiku as hk"),
        ("equinox", "initialized", "import equinox as eqx"),
        ("torch", "initialize_", "from torch import nn"),
        ("torch", "to_jax", "import torch; from torch import nn"),
        ("torch", "diagnose", "import torch; from torch import nn"),
        ("torch", "tune_", "import torch; from torch import nn; _ = torch.manual_seed(0)"),
    ],
)
def test_docstring(module, name, imports):
    pytest.importorskip(module)
    function = getattr(importlib.import_module(f"nets.interop.{module}"), name)
    start = f">>> import jax, nets, nets.interop.{module}; import jax.numpy as jnp; {imports}\n\n"
    assert report(start + (inspect.getdoc(function) or "")) == ""


@pytest.mark.promotes
def test_start():
    pytest.importorskip("torch")
    section = "In PyTorch"
    ((shown, found),) = printed("start.md", without=tuple(examples("start.md").keys() - {section}), x64=True)
    assert not differences(shown, found, 1e-3)
