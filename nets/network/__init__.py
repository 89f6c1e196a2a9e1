"""One network: its architecture, its weights, its observables and its tangent kernel."""

from nets.network.architecture import Architecture, Settings
from nets.network.fcn import FCN, drawn, with_parameters
from nets.network.normals import standard_normal
from nets.network.observables import GramObservables, NTKObservables, Observables
from nets.network.tangent_kernel import layer_ntks, output_ntk

__all__ = [
    "FCN",
    "Architecture",
    "GramObservables",
    "NTKObservables",
    "Observables",
    "Settings",
    "drawn",
    "layer_ntks",
    "output_ntk",
    "standard_normal",
    "with_parameters",
]
