"""A diagnosis names the fault of a model and the layer; of the same model without it, it names none."""

import pytest
from faulty_models import CASES

import nets

pytestmark = pytest.mark.promotes


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.make.__name__)
def test_the_fault_and_its_layer(case):
    found = nets.diagnose(*case.make(True), n_probes=2)
    assert (case.kind, case.layer) in [(verdict.kind, verdict.layer) for verdict in found.verdicts]
    assert not found.healthy
    assert all(len(line) <= 100 for line in str(found).splitlines())


LIKE_ANOTHER = ("sigmoid", "softplus")
"""Without their fault these are tanh networks, as that without `nan` is."""


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            case, id=case.make.__name__, marks=[pytest.mark.long] * (case.make.__name__ in LIKE_ANOTHER)
        )
        for case in CASES
    ],
)
def test_without_the_fault(case):
    found = nets.diagnose(*case.make(False), n_probes=2)
    assert found.healthy and found.verdicts
