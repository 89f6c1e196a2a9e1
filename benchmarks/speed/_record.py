"""What a benchmark measured, for `benchmarks/report.py`: a line of JSON for each quantity."""

import json
import os

FILE = "EFT_RECORDS"
"""The environment variable that names the file to which the lines are appended; unset, none is written."""


def record(
    quantity: str,
    *,
    first: float | None = None,
    warm: float | None = None,
    peer: str = "",
    peer_seconds: float | None = None,
) -> None:
    """Seconds of the first call and of a later one; and of a plain way or another library, `peer`, warm."""
    if path := os.environ.get(FILE):
        found = {
            "quantity": quantity, "first": first, "warm": warm, "peer": peer, "peer_seconds": peer_seconds,
        }  # fmt: skip
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(found) + "\n")
