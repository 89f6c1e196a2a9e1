"""Networks of the user's own: how to initialize them, what their layers do, and what is wrong with them."""

from nets.models.diagnosis import Diagnosis, LayerReport, Verdict
from nets.models.examination import diagnose
from nets.models.linearization import linearize, taylor_expand
from nets.models.tangent_kernel import empirical_nngp, empirical_ntk, ntk_vector_product
from nets.models.tuning import Factor, Tuning, tune

__all__ = [
    "Diagnosis",
    "Factor",
    "LayerReport",
    "Tuning",
    "Verdict",
    "diagnose",
    "empirical_nngp",
    "empirical_ntk",
    "linearize",
    "ntk_vector_product",
    "taylor_expand",
    "tune",
]
