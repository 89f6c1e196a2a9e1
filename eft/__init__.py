"""Effective theory of neural networks: how signals, fluctuations and gradients flow with depth."""

from eft.activations import Activation, activation, activation_names
from eft.criticality import CriticalPoint, Universality, classify, critical_point
from eft.flow import KernelFlow, kernel_flow, kernel_flows
from eft.gaussian import Expectation, QuadratureWarning, gaussian_expectation
from eft.phases import (
    CriticalCurve,
    FixedPoint,
    PhaseDiagram,
    critical_curve,
    fixed_points,
    phase_diagram,
    threshold,
)

__all__ = [
    "Activation",
    "CriticalCurve",
    "CriticalPoint",
    "Expectation",
    "FixedPoint",
    "KernelFlow",
    "PhaseDiagram",
    "QuadratureWarning",
    "Universality",
    "activation",
    "activation_names",
    "classify",
    "critical_curve",
    "critical_point",
    "fixed_points",
    "gaussian_expectation",
    "kernel_flow",
    "kernel_flows",
    "phase_diagram",
    "threshold",
]
