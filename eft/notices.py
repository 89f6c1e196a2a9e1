"""Warnings that point at the line of the user's code, however deep in here they arise."""

import sys
import warnings

OURS = ("eft", "nets", "contextlib")
"""What is passed over: the two packages, and through what they enter a context."""


def warn_user(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn of the line that called into these packages."""
    frame, level = sys._getframe(), 1
    while frame.f_back and frame.f_globals.get("__name__", "").split(".")[0] in OURS:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
