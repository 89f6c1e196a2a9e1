"""Theory compared with experiment, layer by layer."""

from nets.comparison.cases import Case, parse_activation
from nets.comparison.comparison import Comparison, compare
from nets.comparison.in_training import TrainingComparison, compare_training
from nets.comparison.orders import MissingOrder, missing_order

__all__ = [
    "Case",
    "Comparison",
    "MissingOrder",
    "TrainingComparison",
    "compare",
    "compare_training",
    "missing_order",
    "parse_activation",
]
