"""The memory of an ensemble: how much it may take, how much it needs, and how it is divided up to fit."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from eft import arguments
from eft.arguments import ArgumentError
from nets.runtime import distribution

try:
    import resource
except ImportError:  # not on Windows
    resource = None

SHARE = 0.5
"""The default budget as a share of the device's memory or, on the CPU, of that available to this process."""


OVERHEAD = 3 * 2**23
"""Bytes for what is not counted individually: thread stacks, buffers of matrix products."""


class Plan(NamedTuple):
    """How an ensemble is divided into blocks, and the memory that it needs.

    `n_nets`: of the ensemble. `block`: networks that are vmapped. `in_flight`: largest number of blocks that
    a device is given at a time. `devices`: of all processes. `needed`: bytes in this process, for the
    programs and for what is stored of every network. `budget`: bytes.
    """

    n_nets: int
    block: int
    in_flight: int
    devices: int
    needed: int
    budget: int

    def __str__(self) -> str:
        blocks = -(-self.n_nets // self.block)
        if blocks == 1:
            return f"{self.n_nets:,} networks in one block; {_shown(self.needed)} of {_shown(self.budget)}"
        at_once = "one" if self.in_flight == 1 else f"up to {min(self.in_flight, blocks):,}"
        devices = f" on each of {self.devices} devices" if self.devices > 1 else ""
        return (
            f"{self.n_nets:,} networks in {blocks:,} blocks of {self.block}, {at_once} at a "
            f"time{devices}; {_shown(self.needed)} of {_shown(self.budget)}"
        )


def budget(given: Any, device: Any) -> int:
    """`given`, checked; if None, `SHARE` of the memory of the device.

    Raises TypeError or ValueError if it is neither an integer ≥ 1 nor text such as "2GB".
    """
    if given is not None:
        return arguments.byte_count("memory_budget", given)
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return int(SHARE * stats["bytes_limit"])
    return int(SHARE * available())


def check(needed: int, what: str, given: Any = None) -> None:
    """Raises ValueError if `needed` bytes exceed the budget of the first device of this process."""
    allowed = budget(given, distribution.local_devices()[0])
    if needed > allowed:
        raise ArgumentError(
            f"memory_budget must be at least {needed:,} bytes for {what}; got {allowed:,}"
            + (", the share that is used of the memory that there is" if given is None else "")
        )


# --- the memory available to this process ---------------------------------------------------------


def available(root: Path = Path("/")) -> int:
    """Bytes of the machine's memory, or fewer if control groups or process limits (ulimit) restrict it."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(0, min([machine, *_group_limits(root), *_process_limits()]))


def _group_limits(root: Path) -> Iterator[int]:
    """The limits of each control group of this process and of its parent groups; versions 1 and 2."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            folder, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            folder, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        # In a container the path may be that of the host; the group itself is then the folder's root.
        parts = Path(path.lstrip("/")).parts
        for depth in range(len(parts) + 1):
            try:
                text = folder.joinpath(*parts[:depth], name).read_text().strip()
            except OSError:
                continue
            if text.isdigit():  # no limit: "max"
                yield int(text)


def _process_limits() -> Iterator[int]:
    """The bytes that `ulimit -v` and `ulimit -d` leave, after what is already mapped."""
    if resource is None:
        return
    for limit in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        soft, _ = resource.getrlimit(limit)
        if soft != resource.RLIM_INFINITY:
            yield soft - _mapped(data=limit == resource.RLIMIT_DATA)


def _mapped(data: bool) -> int:
    """Bytes of this process's address space, or of the private and writable part of it."""
    try:
        pages = Path("/proc/self/statm").read_text().split()
    except OSError:
        return 0
    return int(pages[5 if data else 0]) * os.sysconf("SC_PAGE_SIZE")


def in_flight(of_each: int, fixed: int, limit: int, budget: int) -> int:
    """The number of blocks of `of_each` bytes that fit beside `fixed` bytes: a power of 2, or `limit`."""
    room = max(1, (budget - fixed) // max(of_each, 1))
    return min(limit, 1 << (room.bit_length() - 1))


def _shown(number: int) -> str:
    return f"{number / 2**30:.1f} GiB" if number >= 2**30 else f"{number / 2**20:.1f} MiB"
