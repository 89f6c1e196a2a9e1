"""Ensembles at initialization."""

from nets.initialization.control_variates import ControlledMeasurement
from nets.initialization.ensemble import measure
from nets.initialization.gram_measurement import GramMeasurement
from nets.initialization.inputs import InputMeasurement, measure_inputs
from nets.initialization.measurement import Measurement
from nets.initialization.ntk_measurement import NTKMeasurement
from nets.initialization.shift import ntk_shift

__all__ = [
    "ControlledMeasurement",
    "GramMeasurement",
    "InputMeasurement",
    "Measurement",
    "NTKMeasurement",
    "measure",
    "measure_inputs",
    "ntk_shift",
]
