"""Finite networks, drawn and measured, for comparison with the theory in `eft`.

`nets.plots` has figures, `nets.results` saves and loads, `nets.comparison` puts theory beside networks.
"""

import importlib

from nets import comparison as comparison
from nets import results as results
from nets.comparison.in_training import TrainingComparison, compare_training
from nets.initialization.ensemble import Measurement, measure
from nets.initialization.gram_measurement import GramMeasurement
from nets.initialization.inputs import InputMeasurement, measure_inputs
from nets.models import initializers
from nets.models.diagnosis import Diagnosis
from nets.models.examination import diagnose
from nets.models.linearization import linearize, taylor_expand
from nets.models.tangent_kernel import empirical_nngp, empirical_ntk, ntk_vector_product
from nets.models.tuning import Tuning, tune
from nets.network.fcn import FCN
from nets.statistics.estimators import Estimate
from nets.training.coordinates import CoordinateCheck, coordinate_check
from nets.training.ensemble import train
from nets.training.run import TrainingRun

__all__ = [
    "FCN",
    "CoordinateCheck",
    "Diagnosis",
    "Estimate",
    "GramMeasurement",
    "InputMeasurement",
    "Measurement",
    "TrainingComparison",
    "TrainingRun",
    "Tuning",
    "compare_training",
    "coordinate_check",
    "diagnose",
    "empirical_nngp",
    "empirical_ntk",
    "initializers",
    "linearize",
    "measure",
    "measure_inputs",
    "ntk_vector_product",
    "taylor_expand",
    "train",
    "tune",
]

MODULES = ("comparison", "plots", "results")
"""Modules that are public too; `plots` loads matplotlib, and is imported when it is first used."""


def __getattr__(name: str) -> object:
    if name == "plots":
        return importlib.import_module("nets.plots")
    raise AttributeError(f"module 'nets' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *MODULES])
