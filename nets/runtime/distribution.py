"""A one-dimensional mesh of the devices of all processes, over which the members of an ensemble are spread.

Members do not communicate, so each device runs a single-device program on its own members. In a program for
several devices the compiler reorders the arithmetic, and the last bits would depend on the number of devices.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

MEMBERS = "members"


def mesh() -> Mesh:
    """The mesh of all devices, along the axis "members"."""
    return jax.make_mesh((jax.device_count(),), (MEMBERS,), axis_types=(AxisType.Auto,))


def spread(devices: Mesh) -> NamedSharding:
    """The sharding that distributes the leading axis over the devices."""
    return NamedSharding(devices, P(MEMBERS))


def gathered(tree: Any) -> Any:
    """Host arrays, complete in every process, from arrays distributed over the devices of all processes."""
    if jax.process_count() == 1:
        return jax.tree.map(np.asarray, tree)
    return jax.tree.map(lambda a: np.asarray(multihost_utils.process_allgather(a, tiled=True)), tree)


def local_devices() -> list[Any]:
    """The devices of this process, in the order of the mesh."""
    return [device for device in jax.devices() if device.process_index == jax.process_index()]


def gathered_parts(parts: list[Any]) -> list[Any]:
    """Pytrees of host arrays, one per device: gather those of all processes from those of this process."""
    if jax.process_count() == 1:
        return parts
    stacked = jax.tree.map(lambda *a: np.stack(a), *parts)
    every = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), multihost_utils.process_allgather(stacked))
    return [jax.tree.map(lambda a, i=i: np.asarray(a[i]), every) for i in range(jax.device_count())]


def placed(tree: Any, devices: Mesh) -> Any:
    """Host arrays, each complete in every process, distributed over the devices along their leading axis."""
    target = spread(devices)
    return jax.tree.map(lambda a: jax.make_array_from_callback(a.shape, target, lambda at: a[at]), tree)


def on_each(program: Callable, devices: Mesh, *trees: Any) -> Any:
    """program(*parts) on every device of this process, with its parts of the trees; a distributed result."""
    leaves, structure = jax.tree.flatten(trees)
    held = [[shard.data for shard in sorted(a.addressable_shards, key=_place)] for a in leaves]
    parts = [jax.tree.unflatten(structure, part) for part in zip(*held, strict=True)]
    with ThreadPoolExecutor(len(parts)) as pool:
        results = list(pool.map(lambda part: program(*part), parts))
    target = spread(devices)

    def joined(*shards):
        shape = (shards[0].shape[0] * devices.size, *shards[0].shape[1:])
        return jax.make_array_from_single_device_arrays(shape, target, list(shards))

    return jax.tree.map(joined, *results)


def _place(shard) -> int:
    return shard.index[0].start or 0
