"""Warnings that point at the calling line of the user's code, however deep in the library they arise."""

import sys
import warnings

OURS = ("eft", "nets", "contextlib")
"""Modules skipped in the search for that line: the two packages, and `contextlib`, which they go through."""


def warn_user(message: str, category: type[Warning] = UserWarning) -> None:
    """Give a warning that points at the line that called into these packages."""
    frame, level = sys._getframe(), 1
    while frame.f_back and frame.f_globals.get("__name__", "").split(".")[0] in OURS:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
