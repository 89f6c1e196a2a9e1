"""Finite networks, drawn and measured, for comparison with the theory in `eft`."""

from nets.initialization.ensemble import Measurement, measure
from nets.initialization.gram_measurement import GramMeasurement
from nets.initialization.inputs import InputMeasurement, measure_inputs
from nets.models import initializers
from nets.network.fcn import FCN
from nets.statistics.estimators import Estimate
from nets.training.ensemble import train
from nets.training.run import TrainingRun

__all__ = [
    "FCN",
    "Estimate",
    "GramMeasurement",
    "InputMeasurement",
    "Measurement",
    "TrainingRun",
    "initializers",
    "measure",
    "measure_inputs",
    "train",
]
