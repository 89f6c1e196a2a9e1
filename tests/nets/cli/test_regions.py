"""The part of the plane that `eft phase` shows where none is given."""

import numpy as np
import pytest

import eft
from eft.criticality.phases import EXPLODING
from nets.cli.regions import AT_MOST, Region, region

ACTS = ("tanh", "relu", "gelu", "swish", "sin", "softplus", "mrepu", "repu")


def shares(name, at, **start):
    axes = [np.linspace(*limits, 60) for limits in at]
    phase = eft.phase_diagram(name, *axes, **start).phase
    return [float((phase == i).mean()) for i in range(3)]


@pytest.mark.parametrize("name", ACTS)
@pytest.mark.parametrize("K1", [None, 1e-3])
def test_no_phase_fills_the_plane(name, K1):
    critical = eft.critical_point(name)
    found = region(name, critical, x2=1.0, K1=K1, skip=0.0)
    seen = shares(name, found, K1=K1)
    assert max(seen) < 0.8 and seen[EXPLODING] <= AT_MOST + 0.12 and found.cw[0] < found.cw[1]


def test_the_usual_plane_would_be_full():
    """The control: C_W and C_b up to twice the critical ones."""
    assert shares("mrepu", Region((0.0, 2.0), (0.0, 0.2)))[EXPLODING] > 0.9


@pytest.mark.parametrize("name", ["tanh", "gelu", "relu"])
def test_the_critical_point_is_in_view(name):
    point = eft.critical_point(name)
    found = region(name, point, x2=1.0, K1=None, skip=0.0)
    assert found.cw[0] < point.cw < found.cw[1] and found.cb[0] <= point.cb < found.cb[1]


def test_what_is_given_is_kept():
    given = {"x2": 1.0, "K1": None, "skip": 0.0}
    both = region("tanh", None, cw=(0.123, 7.0), cb=(0.0111, 0.5), **given)
    assert both == Region((0.123, 7.0), (0.0111, 0.5))
    one = region("tanh", eft.critical_point("tanh"), cw=(0.123, 7.0), **given)
    assert one.cw == (0.123, 7.0) and one.cb[1] > 0
