"""Ensembles in training."""

from nets.training.ensemble import train
from nets.training.run import TrainingRun

__all__ = ["TrainingRun", "train"]
