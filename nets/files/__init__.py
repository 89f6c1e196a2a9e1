"""Files that are complete and intact, or refused; checkpoints of long runs."""

from nets.files.archive import Archive, ArchiveError
from nets.files.checkpoints import Checkpoint, CheckpointError

__all__ = ["Archive", "ArchiveError", "Checkpoint", "CheckpointError"]
