"""Blocks of networks: the networks of a block are vmapped, and blocks run one after another.

The number of blocks is not known to the compiler, so each block runs the same instructions wherever it is.
The results of a network depend on the size of its block in the last bit, so it depends on nothing that varies
between machines but the kind of device. An accelerator, which promises no equal bits, divides what is trained
evenly: a block larger than the ensemble would be work for nothing.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


class Limits(NamedTuple):
    """Upper limits on a block.

    `networks`: in it. `numbers`: weights in it, or inputs where networks are sampled without weights.
    `least`: networks in it whatever their size.
    """

    networks: int
    numbers: int
    least: int = 1


DRAWN = {False: Limits(8, 2**23), True: Limits(512, 2**29)}
"""Of networks that are drawn and measured, on the CPU (False) and on an accelerator (True).

On a CPU, weights that outgrow the cache cost more time than vmapping saves; an accelerator is idle unless it
has many networks at once.
"""

SAMPLED = {False: Limits(128, 128), True: Limits(8192, 8192)}
"""Of networks that are sampled through their metric."""

TRAINED = {False: Limits(32, 5 * 2**18, least=2), True: Limits(1024, 2**27)}
"""Of networks in training.

On a CPU, products of the matrices of two networks run on a core each, and both in 1.2 times the time of one
product that is divided between two cores.
"""

ACTIVATIONS = 2**30
"""Upper limit on the preactivations of a step that the networks of a block have together on an accelerator,
which keeps a few numbers for each."""


def size(limits: Limits, numbers: int) -> int:
    """The number of networks in a block, each of so many numbers: a power of 2 within the limits."""
    most = min(limits.networks, max(limits.numbers // numbers, limits.least))
    return 1 << (most.bit_length() - 1)


def even(limits: Limits, n_nets: int, weights: int, preactivations: int, devices: int = 1) -> int:
    """The number of networks in a block on an accelerator, which holds as many as the others do.

    `weights`, `preactivations`: of one network, in one step.
    """
    largest = min(limits.networks, limits.numbers // weights, ACTIVATIONS // preactivations)
    share = -(-n_nets // devices)
    return -(-share // -(-share // max(1, largest)))


def count(n_nets: int, size: int, devices: int = 1) -> int:
    """The number of blocks that hold all networks, a multiple of the number of devices."""
    blocks = -(-n_nets // size)
    return blocks + -blocks % devices


def members(index: jax.Array, size: int) -> jax.Array:
    """The numbers of the networks in a block, uint32."""
    return index * np.uint32(size) + jnp.arange(size, dtype=jnp.uint32)


def arranged(each: Any, size: int, blocks: int) -> Any:
    """Leaves of shape (n_nets, …) as (blocks, size, …), padded with copies of the last network."""

    def leaf(a):
        member = np.minimum(np.arange(blocks * size), len(a) - 1)
        return a[member].reshape(blocks, size, *a.shape[1:])

    return jax.tree.map(leaf, each)


def flat(tree: Any, n_nets: int) -> Any:
    """The inverse of `arranged`: leaves of shape (n_nets, …)."""
    return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:])[:n_nets], tree)


def each(block: Callable[[jax.Array], Any], capacity: int, count: jax.Array | int) -> Any:
    """block(i) for i < count, stacked; zeros for count ≤ i < capacity."""
    shapes = jax.eval_shape(block, 0)
    empty = jax.tree.map(lambda s: jnp.zeros((capacity, *s.shape), s.dtype), shapes)
    return lax.fori_loop(0, count, lambda i, tree: put(tree, i, block(i)), empty)


def at(tree: Any, i: jax.Array) -> Any:
    """Block i of a tree of blocks."""
    return jax.tree.map(lambda a: lax.dynamic_index_in_dim(a, i, keepdims=False), tree)


def put(tree: Any, i: jax.Array, block: Any) -> Any:
    """The tree with another block i."""
    return jax.tree.map(lambda a, b: lax.dynamic_update_index_in_dim(a, b, i, 0), tree, block)
