"""A deviation of the size of the next order in 1/n is called that, and no other is."""

import numpy as np
import pytest

import eft
from nets.comparison import Case, cases, compare, missing_order
from nets.initialization import ensemble

CASE = Case("tanh", 1.0, 5, width=8, n_nets=40_000, method="metric")


@pytest.fixture(scope="module")
def measured():
    return ensemble.run(cases.prepare(CASE).job, progress=False)


def test_what_leading_order_lacks_is_found(measured):
    """V of tanh at width 8 is off by V2/n; with this term it is not."""
    c = compare(cases.kernel_flow(CASE), measured)
    found = missing_order(CASE, c)
    assert found is not None and (found.quantity, found.order, found.layer) == ("V", 2, 5)
    assert found.z <= 3 < np.nanmax(np.abs(c.z_V))
    series = eft.expand("tanh", 1.0, 5, 2)
    assert found.term == pytest.approx(float(series.V[-1, 2]) / 8, rel=1e-6)
    assert abs(found.deviation.mean - found.term) < 3 * found.deviation.stderr + 0.2 * abs(found.term)


def test_it_is_not_found_where_it_does_not_show(measured):
    """The controls: few networks; the next order is there already; theory is simply wrong; a skip."""
    few = CASE._replace(n_nets=100)
    assert missing_order(few, cases.run(cases.prepare(few))) is None
    flow, series = cases.kernel_flow(CASE), eft.expand("tanh", 1.0, 5, 3)
    assert missing_order(CASE._replace(order=3), compare(flow, measured, series)) is None
    wrong = compare(cases.kernel_flow(CASE._replace(cw=1.2)), measured)
    assert wrong.chi2_V.p < 1e-10 and missing_order(CASE._replace(cw=1.2), wrong) is None
    skip = Case("tanh", 0.5, 5, width=8, n_nets=4000, skip=0.8, method="metric")
    assert missing_order(skip, cases.run(cases.prepare(skip))) is None
