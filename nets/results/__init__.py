"""Results in files, and their fields."""

from nets.results import descriptions as descriptions
from nets.results.saving import Saved, load, save

__all__ = ["Saved", "load", "save"]
