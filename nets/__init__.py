"""Finite networks, drawn and measured, for comparison with the theory in `eft`."""

from nets.ensemble import Measurement, measure
from nets.estimators import Estimate
from nets.fcn import FCN
from nets.gram import GramMeasurement
from nets.inputs import InputMeasurement, measure_inputs
from nets.snapshots import TrainingRun
from nets.training import train

__all__ = [
    "FCN",
    "Estimate",
    "GramMeasurement",
    "InputMeasurement",
    "Measurement",
    "TrainingRun",
    "measure",
    "measure_inputs",
    "train",
]
