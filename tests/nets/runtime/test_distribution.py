"""Ensembles at initialization: the same bits on any number of devices and processes."""

import pytest
from same_bits import finished, in_two_processes, launch

JOB = "measuring_job.py"


@pytest.fixture(scope="module")
def reference():
    return finished(launch(JOB, 700))[1]


@pytest.mark.parametrize(
    ("devices", "n_nets"),
    [(1, 300), *(pytest.param(*case, marks=pytest.mark.long) for case in ((2, 1500), (8, 333)))],
)
def test_devices_and_numbers_of_networks(reference, devices, n_nets):
    assert finished(launch(JOB, n_nets, devices=devices)) == (devices, reference)


@pytest.mark.long
def test_two_processes(reference):
    assert in_two_processes(JOB, 700) == [(8, reference)] * 2


def test_the_digest_can_tell(reference):
    """The control: fewer networks than it covers."""
    assert finished(launch(JOB, 299))[1] != reference
