"""A warning names the line of the user's code that made the call."""

import inspect
import warnings

import jax.numpy as jnp
import numpy as np
import pytest

import eft
from eft import arguments

X = np.array([[0.5, -1.0], [1.0, 0.3]])


def fast(z):
    """Oscillates faster than the quadrature resolves."""
    return jnp.sin(3e4 * z + 1)


CALLS = {
    "kernel_flow": lambda: eft.kernel_flow(fast, 1.0, 2),
    "kernel_flows": lambda: eft.kernel_flows([fast, "relu"], 1.0, 2),
    "ntk_flow": lambda: eft.ntk_flow(fast, 1.0, 2),
    "expand": lambda: eft.expand(fast, 1.0, 2, 1),
    "expanded_pair_flow": lambda: eft.expanded_pair_flow(fast, 1.0, 2, *X),
    "gram_flow": lambda: eft.gram_flow(fast, 1.0, 2, X),
    "gaussian_expectation": lambda: eft.gaussian_expectation(fast, 1.0),
    "fixed_points": lambda: eft.fixed_points(fast, 1.0),
    "threshold": lambda: eft.threshold(fast, [1.0, 2.0]),
    "critical_curve": lambda: eft.critical_curve(fast, [1.0]),
    "phase_diagram": lambda: eft.phase_diagram(fast, [1.0], [0.0, 0.1]),
}


def places(call):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", eft.QuadratureWarning)
        call()
    return {(each.filename, each.lineno) for each in told}


@pytest.mark.parametrize("name", CALLS)
def test_the_line_of_the_caller(name):
    line = inspect.getsourcelines(CALLS[name])[1]
    assert places(CALLS[name]) == {(__file__, line)}


def test_the_line_of_the_library(monkeypatch):
    """The control: without skipping the library's frames another line is named."""
    monkeypatch.setattr(arguments, "OURS", ())
    assert {file for file, _ in places(CALLS["kernel_flows"])} == {arguments.__file__}
