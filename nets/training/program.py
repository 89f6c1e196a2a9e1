"""The compiled programs of a training ensemble: initialization, training steps, measurement of every layer.

Networks are grouped in blocks, and the blocks are distributed over the devices.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from eft.arguments import ArgumentError
from nets.network.architecture import Architecture, Settings
from nets.runtime import blocks, distribution, keys, memory, programs
from nets.training import step
from nets.training.step import Data, Learner, State

STATISTICS = 7 * 8
"""Bytes of working memory for each number that enters a mean and a variance."""


def block_size(architecture: Architecture, n_nets: int, samples: int, devices: jax.sharding.Mesh) -> int:
    """The number of networks that are vmapped; on a CPU it does not depend on `n_nets`.

    `samples`: of a step.
    """
    accelerator = devices.devices.flat[0].platform != "cpu"
    limits, weights = blocks.TRAINED[accelerator], architecture.n_weights
    if accelerator:
        return blocks.even(limits, n_nets, weights, samples * sum(architecture.sizes), devices.size)
    return blocks.size(limits, weights)


def start(learner: Learner, settings: Settings, seed: int, n_nets: int, initial: Any) -> State:
    """The networks before the first step: drawn, or with the parameters `initial` if these are given."""
    count = blocks.count(n_nets, learner.block, learner.devices.size)
    index = distribution.placed(np.arange(count, dtype=np.uint32), learner.devices)
    if initial is not None:
        given = distribution.placed(_given(learner, initial, n_nets), learner.devices)
        call = functools.partial(programs.call, _start_given, learner)
        return distribution.on_each(call, learner.devices, given, index)
    words = keys.words(seed)
    return distribution.on_each(
        lambda index: programs.call(_start, learner, settings, words, index, _count(index)),
        learner.devices,
        index,
    )


def _given(learner: Learner, initial: Any, n_nets: int) -> Any:
    """The given parameters of every network, in blocks."""
    template = step.like(learner).parameters
    if isinstance(initial, nnx.State):
        plain = nnx.to_pure_dict(nnx.filter_state(initial, nnx.Param))
    else:
        plain = initial
    if jax.tree.structure(plain) != jax.tree.structure(nnx.to_pure_dict(template)):
        raise ArgumentError(
            "initial must hold the parameters of networks of this depth: nnx.state of an FCN, or such as "
            "TrainingRun.parameters"
        )
    leaves = [np.asarray(leaf, learner.architecture.dtype) for leaf in jax.tree.leaves(plain)]
    expected, given = [leaf.shape for leaf in jax.tree.leaves(template)], [leaf.shape for leaf in leaves]
    if given == expected:
        leaves = [np.broadcast_to(leaf, (n_nets, *leaf.shape)) for leaf in leaves]
    elif given != [(n_nets, *shape) for shape in expected]:
        raise ArgumentError(
            f"initial must have shapes {expected}, or for {n_nets} networks one more axis in front; got "
            f"{given}"
        )
    return _in_blocks(learner, jax.tree.unflatten(jax.tree.structure(template), leaves), n_nets)


def _in_blocks(learner: Learner, each: Any, n_nets: int) -> Any:
    count = blocks.count(n_nets, learner.block, learner.devices.size)
    return blocks.arranged(each, learner.block, count)


def on_host(state: Any, n_nets: int) -> Any:
    """A state, or a part of one, of every network, leaves of shape (n_nets, …), complete in every process."""
    return blocks.flat(distribution.gathered(state), n_nets)


def on_devices(learner: Learner, each: State, n_nets: int) -> State:
    """The inverse of `on_host`: networks in blocks, distributed over all devices."""
    return distribution.placed(_in_blocks(learner, each, n_nets), learner.devices)


def advance(
    learner: Learner, rate: np.ndarray, skip: Any, state: State, first: int, count: int, data: Data
) -> State:
    """The networks after `count` further steps, the first of which is step `first`; `skip`: γ, if any."""
    span = np.int32(first), np.int32(count)
    return distribution.on_each(
        lambda part: programs.call(
            _advance, learner, part, rate, skip, _count(part.loss), *span, data, donated=(0,)
        ),
        learner.devices,
        state,
    )


def measure(
    learner: Learner, settings: Settings, state: State, n_nets: int, data: Data
) -> dict[str, np.ndarray]:
    """The measurements of every network, each of shape (n_nets, …)."""
    measured = distribution.on_each(
        lambda part: programs.call(_measure, learner, part, settings, _count(part.loss), data),
        learner.devices,
        state,
    )
    return blocks.flat(distribution.gathered(measured), n_nets)


def _count(blocks: jax.Array) -> np.int32:
    return np.int32(len(blocks))


def planned(
    learner: Learner, n_nets: int, snapshots: int, data: Data, checkpoints: bool, budget: int
) -> memory.Plan:
    """The memory that the networks, their optimizer and the measurements take in this process.

    Raises ValueError if this exceeds the budget, and TypeError for an optimizer that cannot run.
    """
    architecture = learner.architecture
    itemsize, sizes = architecture.dtype.itemsize, architecture.sizes
    least = n_nets * architecture.n_weights * itemsize
    if least > budget:  # before tracing, since JAX cannot represent such large sizes
        raise ArgumentError(
            f"memory_budget must be at least {least:,} bytes for the weights of {n_nets:,} networks alone; "
            f"got {budget:,}"
        )
    step.check_optimizer(learner)
    bytes_of = sum(a.size * a.dtype.itemsize for a in jax.tree.leaves(step.like(learner)))
    size, samples = learner.block, learner.batch_size or len(data["X"])
    states = blocks.count(n_nets, size) * size * bytes_of * (2 if checkpoints else 1)
    work = size * (3 * bytes_of + 4 * samples * sum(sizes) * itemsize)
    layer, outputs = len(data["probe"]) * architecture.depth, len(data["test"]) * sizes[-1]
    kept = snapshots * n_nets * (4 * layer + outputs) * itemsize
    kept += STATISTICS * n_nets * max(layer, outputs)
    needed = memory.OVERHEAD + states + work * len(distribution.local_devices()) + kept
    if needed > budget:
        raise ArgumentError(
            f"memory_budget must be at least {needed:,} bytes: {states:,} for {n_nets:,} networks and their "
            f"optimizer, {kept:,} for what is measured; got {budget:,}"
        )
    return memory.Plan(n_nets, size, 1, learner.devices.size, needed, budget)


# --- compiled -------------------------------------------------------------------------------------


def _start(learner: Learner, settings: Settings, words, index, count) -> State:
    key, size = keys.of_words(words), learner.block

    def block(i):
        members = keys.of_members(key, blocks.members(index[i], size))
        return jax.vmap(functools.partial(step.drawn, learner, settings))(members)

    return blocks.each(block, len(index), count)


def _start_given(learner: Learner, given, index) -> State:
    one = functools.partial(step.with_parameters, learner)
    return blocks.each(lambda i: jax.vmap(one)(blocks.at(given, i)), len(index), len(index))


def _advance(learner: Learner, state: State, rate, skip, count, first, steps, data: Data) -> State:
    X, Y = data["X"], data["Y"]

    def one_step(t, block):
        rows = _rows(learner, len(X), first + t)
        batch = (X, Y) if rows is None else (X[rows], Y[rows])
        return jax.vmap(lambda one: step.update(learner, one, rate, skip, *batch))(block)

    def block(i, state):
        one = blocks.at(state, i)
        left = jnp.where(jnp.any(one.alive), steps, 0)  # a block of frozen networks costs nothing
        return blocks.put(state, i, lax.fori_loop(0, left, one_step, one))

    return lax.fori_loop(0, count, block, state)


def _rows(learner: Learner, samples: int, t: jax.Array) -> jax.Array | None:
    """The indices of the samples of step t: each pass takes batches from a new permutation of all samples."""
    if learner.batch_size is None:
        return None
    batches = samples // learner.batch_size
    key = jax.random.fold_in(jax.random.key(0, impl=keys.GENERATOR), t // batches)
    order = jax.random.permutation(key, samples)
    return lax.dynamic_slice_in_dim(order, t % batches * learner.batch_size, learner.batch_size)


def _measure(learner: Learner, state: State, settings: Settings, count, data: Data) -> dict[str, jax.Array]:
    measured = jax.vmap(lambda one: step.measured(learner, one, settings, data))
    return blocks.each(lambda i: measured(blocks.at(state, i)), len(state.loss), count)
