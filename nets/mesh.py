"""The devices of all processes in one row, and the members of an ensemble spread over it.

Members do not talk to one another, so each device runs a program for one device on those it has. Of a program
for several the compiler simplifies the arithmetic in another order, and the last bits would tell how many
there are.
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
    """All devices there are, along the axis "members"."""
    return jax.make_mesh((jax.device_count(),), (MEMBERS,), axis_types=(AxisType.Auto,))


def spread(devices: Mesh) -> NamedSharding:
    """The leading axis over the devices."""
    return NamedSharding(devices, P(MEMBERS))


def gathered(tree: Any) -> Any:
    """Arrays of the host, whole in every process, of arrays that are spread over the devices of all."""
    if jax.process_count() == 1:
        return jax.tree.map(np.asarray, tree)
    return jax.tree.map(lambda a: np.asarray(multihost_utils.process_allgather(a, tiled=True)), tree)


def local_devices() -> list[Any]:
    """Those of this process, in the order that they have in the mesh."""
    return [device for device in jax.devices() if device.process_index == jax.process_index()]


def gathered_parts(parts: list[Any]) -> list[Any]:
    """Trees of the host's arrays, one for each device: from those of this process those of all."""
    if jax.process_count() == 1:
        return parts
    stacked = jax.tree.map(lambda *a: np.stack(a), *parts)
    every = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), multihost_utils.process_allgather(stacked))
    return [jax.tree.map(lambda a, i=i: np.asarray(a[i]), every) for i in range(jax.device_count())]


def placed(tree: Any, devices: Mesh) -> Any:
    """Arrays of the host, each whole in every process, spread over the devices by their leading axis."""
    target = spread(devices)
    return jax.tree.map(lambda a: jax.make_array_from_callback(a.shape, target, lambda at: a[at]), tree)


def on_each(program: Callable, devices: Mesh, *trees: Any) -> Any:
    """program(*parts) on every device of this process, with its parts of the trees; spread again."""
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
