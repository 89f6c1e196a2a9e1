"""What all ensembles share: devices, memory, blocks, keys, programs, progress, checks of settings."""

from nets.runtime.memory import Plan
from nets.runtime.progress import progress_bar

__all__ = ["Plan", "progress_bar"]
