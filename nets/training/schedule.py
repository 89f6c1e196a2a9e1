"""The steps at which a long run is measured, and those at which it pauses."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from eft import arguments
from eft.arguments import ArgumentError, ArgumentTypeError

MAX_STEPS = 2**31 - 1
"""Steps are counted in int32 on the device."""

MAX_SNAPSHOTS = 100_000


def checked_steps(steps: object) -> int:
    return arguments.positive_int("steps", steps, maximum=MAX_STEPS)


def checked_snapshots(snapshots: Any, steps: int, parts: int) -> tuple[int, ...]:
    """The steps after which to measure, sorted; if None, 0 and the ends of `parts` equal parts of `steps`."""
    if snapshots is None:
        snapshots = [steps * part // parts for part in range(parts + 1)]
    if not isinstance(snapshots, Sequence | np.ndarray) or isinstance(snapshots, str | bytes):
        raise ArgumentTypeError(f"snapshots must be a sequence of steps; got {arguments.shown(snapshots)}")
    if not 0 < len(snapshots) <= MAX_SNAPSHOTS:
        raise ArgumentError(
            f"snapshots must hold at least one step and at most {MAX_SNAPSHOTS:,}; got {len(snapshots):,}"
        )
    return tuple(sorted({arguments.integer("snapshots", step, 0, steps) for step in snapshots}))


def stops(snapshots: Sequence[int], steps: int, every: int) -> Iterator[int]:
    """0, the multiples of `every` below `steps`, the snapshots and `steps`, in order."""
    marks = iter(sorted({*snapshots, steps}))
    mark, stop = next(marks), 0
    while True:
        yield stop
        while mark <= stop:
            mark = next(marks, None)
            if mark is None:
                return
        stop = min(mark, stop - stop % every + every)
