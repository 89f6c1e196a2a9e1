"""Every public function has an example in its docstring, which gives the output shown."""

import doctest
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import eft
import nets

NAMES = {"eft": eft, "nets": nets, "jax": jax, "jnp": jnp, "nnx": nnx, "np": np, "optax": optax}
PUBLIC = {
    f"{package.__name__}.{name}": getattr(package, name)
    for package in (eft, nets)
    for name in package.__all__
}
RECORDS = {
    name for name, thing in PUBLIC.items() if inspect.isclass(thing) and issubclass(thing, tuple | Exception)
}
"""Classes that functions return or raise."""


def failures(text: str, name: str) -> tuple[int, str]:
    """How many lines of the examples in a docstring give another output, and a report."""
    report: list[str] = []
    test = doctest.DocTestParser().get_doctest(text, dict(NAMES), name, None, None)
    assert test.examples, f"{name} has no example"
    result = doctest.DocTestRunner(verbose=False).run(test, out=report.append)
    return result.failed, "".join(report)


@pytest.mark.promotes
@pytest.mark.parametrize("name", sorted(PUBLIC.keys() - RECORDS - {"eft.QuadratureWarning"}))
def test_example(name):
    failed, report = failures(inspect.getdoc(PUBLIC[name]) or "", name)
    assert not failed, report


def test_an_example_can_fail():
    text = (inspect.getdoc(eft.threshold_cw) or "").replace("2.0", "2.1")
    assert failures(text, "wrong")[0] == 1
