"""Figures that compare theory with experiment."""

from nets.plots.coordinates import coordinate_figure
from nets.plots.diagnoses import diagnosis_figure
from nets.plots.figures import comparison_figure, flow_figure, png, training_figure, width_figure
from nets.plots.in_training import training_comparison_figure
from nets.plots.panels import COLORS, Panel, Series, figure
from nets.plots.records import draw

__all__ = [
    "COLORS",
    "Panel",
    "Series",
    "comparison_figure",
    "coordinate_figure",
    "diagnosis_figure",
    "draw",
    "figure",
    "flow_figure",
    "png",
    "training_comparison_figure",
    "training_figure",
    "width_figure",
]
