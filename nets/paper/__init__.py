"""The applications in the paper: regression, exact polynomials, Burgers' equation."""

from nets.paper.burgers import solution
from nets.paper.pinn import PinnRun
from nets.paper.polynomials import (
    ExactNetwork,
    function_network,
    horner_counts,
    multivariate_network,
    polynomial_network,
)
from nets.paper.targets import TARGETS, samples

__all__ = [
    "TARGETS",
    "ExactNetwork",
    "PinnRun",
    "function_network",
    "horner_counts",
    "multivariate_network",
    "polynomial_network",
    "samples",
    "solution",
]
