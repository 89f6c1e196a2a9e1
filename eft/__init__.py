"""Effective theory of neural networks: how signals, fluctuations and gradients flow with depth.

Figures of the theory are in `eft.figures`, which loads matplotlib when it is first used.
"""

import importlib

from eft.activations.catalogue import activation, activation_names
from eft.activations.definition import Activation
from eft.arguments import ArgumentError, ArgumentTypeError
from eft.criticality.phases import (
    CriticalCurve,
    FixedPoint,
    PhaseDiagram,
    critical_curve,
    fixed_points,
    phase_diagram,
    threshold,
)
from eft.criticality.universality import CriticalPoint, Universality, classify, critical_point
from eft.finite_width.correlators import Action, Sum, at_width, correlator, couplings
from eft.finite_width.dntk import DNTKFlow, dntk_flow
from eft.finite_width.expansion import Expansion, expand
from eft.finite_width.homogeneous import LogFlow, log_flow, threshold_cw
from eft.finite_width.ntk import NTKFlow, ntk_flow
from eft.finite_width.ntk_gram import NTKGramFlow, ntk_gram_flow
from eft.finite_width.typical import typical_flow
from eft.finite_width.vertex import VertexFlow, vertex_flow
from eft.flows.gram import GramFlow, gram_flow
from eft.flows.kernel import KernelFlow, kernel_flow, kernel_flows
from eft.flows.pair import ExpandedPairFlow, PairFlow, expanded_pair_flow, pair_flow
from eft.flows.regression import Posterior, Regression, posterior, regress
from eft.gaussian.bivariate import PairMoments, pair_expectation
from eft.gaussian.expectation import Expectation, QuadratureWarning, gaussian_expectation
from eft.gaussian.records import Moments, SlopeMoments
from eft.gaussian.sources import moments, slopes
from eft.recipes.advice import Recipe, gain, recipe
from eft.recipes.shaping import Shape, shape
from eft.training.corrections import WidthOutputs, WidthTraining, finite_width_training
from eft.training.ensemble import Outputs, TrainFlow, train_flow, train_flow_from_kernels
from eft.training.finite_width import WidthPosterior, finite_width_posterior
from eft.training.inference import (
    GaussianPosterior,
    Inference,
    LogLikelihood,
    gp_inference,
    log_marginal_likelihood,
)
from eft.training.kernels import max_learning_rate
from eft.training.large import CGRegression, cg_regress
from eft.training.linearized import LinearizedFlow, initial_outputs, linearized_flow

__all__ = [
    "Action",
    "Activation",
    "ArgumentError",
    "ArgumentTypeError",
    "CGRegression",
    "CriticalCurve",
    "CriticalPoint",
    "DNTKFlow",
    "ExpandedPairFlow",
    "Expansion",
    "Expectation",
    "FixedPoint",
    "GaussianPosterior",
    "GramFlow",
    "Inference",
    "KernelFlow",
    "LinearizedFlow",
    "LogFlow",
    "LogLikelihood",
    "Moments",
    "NTKFlow",
    "NTKGramFlow",
    "Outputs",
    "PairFlow",
    "PairMoments",
    "PhaseDiagram",
    "Posterior",
    "QuadratureWarning",
    "Recipe",
    "Regression",
    "Shape",
    "SlopeMoments",
    "Sum",
    "TrainFlow",
    "Universality",
    "VertexFlow",
    "WidthOutputs",
    "WidthPosterior",
    "WidthTraining",
    "activation",
    "activation_names",
    "at_width",
    "cg_regress",
    "classify",
    "correlator",
    "couplings",
    "critical_curve",
    "critical_point",
    "dntk_flow",
    "expand",
    "expanded_pair_flow",
    "finite_width_posterior",
    "finite_width_training",
    "fixed_points",
    "gain",
    "gaussian_expectation",
    "gp_inference",
    "gram_flow",
    "initial_outputs",
    "kernel_flow",
    "kernel_flows",
    "linearized_flow",
    "log_flow",
    "log_marginal_likelihood",
    "max_learning_rate",
    "moments",
    "ntk_flow",
    "ntk_gram_flow",
    "pair_expectation",
    "pair_flow",
    "phase_diagram",
    "posterior",
    "recipe",
    "regress",
    "shape",
    "slopes",
    "threshold",
    "threshold_cw",
    "train_flow",
    "train_flow_from_kernels",
    "typical_flow",
    "vertex_flow",
]

LAZY = ("figures",)
"""Modules that load matplotlib, imported when they are first used."""


def __getattr__(name: str) -> object:
    if name in LAZY:
        return importlib.import_module(f"eft.{name}")
    raise AttributeError(f"module 'eft' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *LAZY])


__version__ = "0.2.0"

# act.moments(K) and act.slopes(K), the former names, stay for one release
setattr(Activation, "moments", moments)  # noqa: B010
setattr(Activation, "slopes", slopes)  # noqa: B010
