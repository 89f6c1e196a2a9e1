"""Theory compared with experiment, layer by layer."""

from nets.comparison.cases import Case, parse_activation
from nets.comparison.comparison import Comparison, compare
from nets.comparison.in_training import TrainingComparison, compare_training

__all__ = ["Case", "Comparison", "TrainingComparison", "compare", "compare_training", "parse_activation"]
