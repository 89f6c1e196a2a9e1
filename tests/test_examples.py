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

NAMES = {"eft": eft, "nets": nets, "jax": jax, "jnp": jnp, "np": np, "nnx": nnx, "optax": optax}
PUBLIC = {
    f"{package.__name__}.{name}": getattr(package, name)
    for package in (eft, nets, nets.initializers)
    for name in package.__all__
}
RECORDS = {
    name for name, thing in PUBLIC.items() if inspect.isclass(thing) and issubclass(thing, tuple | Exception)
}
"""Classes that functions return or raise."""

SLOW = {
    "eft.cg_regress", "eft.expanded_pair_flow", "eft.finite_width_training", "eft.gaussian_expectation",
    "eft.gp_inference", "eft.log_marginal_likelihood", "eft.posterior", "eft.regress", "eft.shape",
    "eft.vertex_flow", "nets.compare_training", "nets.coordinate_check", "nets.diagnose",
    "nets.empirical_ntk", "nets.train",
}  # fmt: skip
"""Those that compile for more than a few seconds."""

EXAMPLES = sorted(PUBLIC.keys() - RECORDS - {"eft.QuadratureWarning"})


def failures(text: str, name: str) -> tuple[int, str]:
    """How many lines of the examples in a docstring give another output, and a report."""
    report: list[str] = []
    test = doctest.DocTestParser().get_doctest(text, dict(NAMES), name, None, None)
    assert test.examples, f"{name} has no example"
    result = doctest.DocTestRunner(verbose=False).run(test, out=report.append)
    return result.failed, "".join(report)


@pytest.mark.promotes
@pytest.mark.sweep(*(name for name in EXAMPLES if name not in SLOW))
@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name):
    failed, report = failures(inspect.getdoc(PUBLIC[name]) or "", name)
    assert not failed, report


def test_an_example_can_fail():
    text = (inspect.getdoc(eft.threshold_cw) or "").replace("2.0", "2.1")
    assert failures(text, "wrong")[0] == 1
