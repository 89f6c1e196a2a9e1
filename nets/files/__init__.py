"""Files that are written completely or not at all, and read only if intact."""
