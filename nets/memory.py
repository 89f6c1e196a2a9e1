"""The memory of an ensemble: how much it may take, how much it needs, and how it is cut to fit."""

import os
from typing import Any, NamedTuple

from eft import arguments

SHARE = 0.5
"""Of what the device has, and for the CPU of what the machine has: the budget unless told otherwise."""


OVERHEAD = 3 * 2**23
"""Bytes for what is not counted one by one: stacks of threads, buffers of products."""


class Plan(NamedTuple):
    """How an ensemble is cut."""

    n_nets: int
    block: int  # networks that are vmapped
    in_flight: int  # blocks that a device is given at a time, at most
    devices: int  # of all processes
    needed: int  # bytes, of this process: programs, and what is kept of every network
    budget: int  # bytes

    def __str__(self) -> str:
        blocks = -(-self.n_nets // self.block)
        devices = f" on each of {self.devices} devices" if self.devices > 1 else ""
        return (
            f"{self.n_nets:,} networks in {blocks:,} blocks of {self.block}, up to {self.in_flight:,} blocks "
            f"at a time{devices}; {_shown(self.needed)} of {_shown(self.budget)}"
        )


def budget(given: Any, device: Any) -> int:
    """`given`, checked; for None `SHARE` of the memory of the device.

    Raises TypeError or ValueError if it is not an integer ≥ 1.
    """
    if given is not None:
        return arguments.positive_int("memory_budget", given)
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return int(SHARE * stats["bytes_limit"])
    return int(SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def in_flight(of_each: int, fixed: int, most: int, budget: int) -> int:
    """Blocks of `of_each` bytes that fit beside `fixed`: a power of two, 1 at least, or `most`."""
    room = max(1, (budget - fixed) // max(of_each, 1))
    return min(most, 1 << (room.bit_length() - 1))


def _shown(number: int) -> str:
    return f"{number / 2**30:.1f} GiB" if number >= 2**30 else f"{number / 2**20:.1f} MiB"
