"""Effective theory of neural networks: how signals, fluctuations and gradients flow with depth."""

from eft.activations import Activation, activation, activation_names
from eft.flow import KernelFlow, kernel_flow, kernel_flows
from eft.gaussian import Expectation, QuadratureWarning, gaussian_expectation

__all__ = [
    "Activation",
    "Expectation",
    "KernelFlow",
    "QuadratureWarning",
    "activation",
    "activation_names",
    "gaussian_expectation",
    "kernel_flow",
    "kernel_flows",
]
