"""Theory compared with experiment, layer by layer."""

from nets.comparison.cases import Case, parse_activation
from nets.comparison.comparison import Comparison, compare

__all__ = ["Case", "Comparison", "compare", "parse_activation"]
