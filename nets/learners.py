"""The compiled programs of a training ensemble: start, some steps, a look at every layer.

Networks lie in blocks; a block is vmapped, blocks follow one another, and devices share them out. How many of
them a device has to do is not known to the compiler: each block runs the same instructions wherever it is.
"""

import functools
import itertools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import lax

from eft.activations import Activation
from nets import memory, mesh
from nets.blocks import GENERATOR, ensemble_words
from nets.fcn import FCN
from nets.observables import observe

LARGEST, NUMBERS = {False: 32, True: 1024}, {False: 2**20, True: 2**27}
"""Networks in a block, and weights in it, on the CPU and on an accelerator."""

STATISTICS = 7 * 8
"""Bytes for each number of which mean and variance are taken."""


class State(NamedTuple):
    """Networks in training; leaves of shape (blocks, networks of a block, …)."""

    parameters: Any
    optimizer: Any
    loss: jax.Array  # of the step before
    alive: jax.Array  # bool: everything was finite so far


class Team(NamedTuple):
    """One architecture under one optimizer: what the programs are compiled for; hashable."""

    act: Activation
    sizes: tuple[int, ...]  # n₀, …, n_L
    settings: tuple[tuple[str, Any], ...]  # cw, cb, and K1, x2 if the first layer has a kernel of its own
    optimizer: optax.GradientTransformation
    loss: Callable[[jax.Array, jax.Array], jax.Array]
    batch_size: int | None
    dtype: np.dtype
    devices: jax.sharding.Mesh

    def network(self, key: jax.Array) -> FCN:
        n0, *hidden, n_out = self.sizes
        return FCN(n0, hidden, n_out, act=self.act, rngs=key, dtype=self.dtype, **dict(self.settings))

    def module(self, parameters: Any) -> FCN:
        return nnx.merge(_graph(self), parameters)


@functools.lru_cache(maxsize=64)
def _graph(team: Team):
    return nnx.split(nnx.eval_shape(lambda: team.network(jax.random.key(0))))[0]


Data = Mapping[str, Any]
"""X, Y: what is learned; probe: inputs at which layers are measured; test: those at which outputs are."""


def block_size(team: Team) -> int:
    """Networks that are vmapped: a power of 2 that the architecture and the kind of device decide."""
    accelerator = team.devices.devices.flat[0].platform != "cpu"
    fitting = NUMBERS[accelerator] // weights(team)
    return 1 << max(0, min(LARGEST[accelerator], fitting).bit_length() - 1)


def weights(team: Team) -> int:
    return sum(n_in * n for n_in, n in itertools.pairwise(team.sizes))


def start(team: Team, seed: int, n_nets: int, initial: Any) -> State:
    """Networks as they were drawn, or all as `initial` says."""
    blocks = _blocks(team, n_nets)
    index = mesh.placed(np.arange(blocks, dtype=np.uint32), team.devices)
    if initial is not None:
        given = mesh.placed(_given(team, initial, n_nets), team.devices)
        return mesh.on_each(functools.partial(_start_given, team), team.devices, given, index)
    words = ensemble_words(seed)
    return mesh.on_each(lambda index: _start(team, words, index, _count(index)), team.devices, index)


def _given(team: Team, initial: Any, n_nets: int) -> Any:
    """Parameters of every network, in blocks."""
    template = jax.eval_shape(lambda: nnx.state(team.network(jax.random.key(0))))
    plain = nnx.to_pure_dict(initial) if isinstance(initial, nnx.State) else initial
    if jax.tree.structure(plain) != jax.tree.structure(nnx.to_pure_dict(template)):
        raise ValueError(
            "initial must hold the parameters of networks of this depth: nnx.state of an FCN, or such as "
            "TrainingRun.parameters"
        )
    leaves = [np.asarray(leaf, team.dtype) for leaf in jax.tree.leaves(plain)]
    shapes, found = [leaf.shape for leaf in jax.tree.leaves(template)], [leaf.shape for leaf in leaves]
    if found == shapes:
        leaves = [np.broadcast_to(leaf, (n_nets, *leaf.shape)) for leaf in leaves]
    elif found != [(n_nets, *shape) for shape in shapes]:
        raise ValueError(
            f"initial must have shapes {shapes}, or for {n_nets} networks one more axis in front; got {found}"
        )
    return _in_blocks(team, jax.tree.unflatten(jax.tree.structure(template), leaves), n_nets)


def _blocks(team: Team, n_nets: int) -> int:
    """How many there are: as many on each device."""
    blocks = -(-n_nets // block_size(team))
    return blocks + -blocks % team.devices.size


def _in_blocks(team: Team, each: Any, n_nets: int) -> Any:
    """Leaves (n_nets, …) in blocks; those that fill up the last ones are copies of the last network."""
    blocks, size = _blocks(team, n_nets), block_size(team)
    member = np.minimum(np.arange(blocks * size), n_nets - 1)
    return jax.tree.map(lambda a: a[member].reshape(blocks, size, *a.shape[1:]), each)


def members(state: Any, n_nets: int) -> Any:
    """A state on the host by networks, leaves of shape (n_nets, …), whatever the blocks."""
    return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:])[:n_nets], state)


def placed(team: Team, each: State, n_nets: int) -> State:
    """The reverse: networks in blocks, on all devices."""
    return mesh.placed(_in_blocks(team, each, n_nets), team.devices)


def parameters(state: State, n_nets: int) -> dict[str, Any]:
    """Those of the networks, on the host: {"layers": {0: {"kernel": (n_nets, n₀, n₁), "bias": …}, …}}."""
    return nnx.to_pure_dict(members(mesh.gathered(state.parameters), n_nets))


def advance(team: Team, state: State, first: int, count: int, data: Data) -> State:
    """The networks `count` steps later, the first of which is step `first`."""
    span = np.int32(first), np.int32(count)
    return mesh.on_each(
        lambda part: _advance(team, part, _count(part.loss), *span, data), team.devices, state
    )


def look(team: Team, state: State, n_nets: int, data: Data) -> dict[str, np.ndarray]:
    """What every network shows, (n_nets, …) each."""
    seen = mesh.on_each(lambda part: _look(team, part, _count(part.loss), data), team.devices, state)
    seen = mesh.gathered(seen)
    return {name: a.reshape(-1, *a.shape[2:])[:n_nets] for name, a in seen.items()}


def _count(blocks: jax.Array) -> np.int32:
    return np.int32(len(blocks))


# --- before any work ------------------------------------------------------------------------------


def planned(
    team: Team, n_nets: int, snapshots: int, data: Data, checkpoints: bool, budget: int
) -> memory.Plan:
    """What the networks, their optimizer and what is measured take, in this process.

    Raises ValueError if that is more than the budget.
    """
    one = like(team)
    bytes_of = sum(a.size * a.dtype.itemsize for a in jax.tree.leaves(one))
    size, samples = block_size(team), team.batch_size or len(data["X"])
    states = -(-n_nets // size) * size * bytes_of * (2 if checkpoints else 1)
    work = size * (3 * bytes_of + 4 * samples * sum(team.sizes) * team.dtype.itemsize)
    layer, outputs = len(data["probe"]) * (len(team.sizes) - 1), len(data["test"]) * team.sizes[-1]
    kept = snapshots * n_nets * (4 * layer + outputs) * team.dtype.itemsize
    kept += STATISTICS * n_nets * max(layer, outputs)
    needed = memory.OVERHEAD + states + work * len(mesh.local_devices()) + kept
    if needed > budget:
        raise ValueError(
            f"memory_budget must be at least {needed:,} bytes: {states:,} for {n_nets:,} networks and their "
            f"optimizer, {kept:,} for what is measured; got {budget:,}"
        )
    return memory.Plan(n_nets, size, 1, team.devices.size, needed, budget)


def like(team: Team) -> State:
    """The shapes of one network's state."""
    return jax.eval_shape(functools.partial(_one_start, team), jax.random.key(0))


def like_look(team: Team, data: Data) -> dict[str, jax.ShapeDtypeStruct]:
    """The shapes of what one network shows."""
    return jax.eval_shape(functools.partial(_one_look, team), like(team), data)


def traces(team: Team, data: Data) -> tuple[Any, ...]:
    """The programs of one network as JAX writes them: how it starts, a step, and what is measured."""
    one = like(team)
    return (
        jax.make_jaxpr(functools.partial(_one_state, team))(one.parameters),
        jax.make_jaxpr(functools.partial(_step, team))(one, data["X"][:1], data["Y"][:1]),
        jax.make_jaxpr(functools.partial(_one_look, team))(one, data),
    )


# --- one network ----------------------------------------------------------------------------------


def _one_start(team: Team, key: jax.Array) -> State:
    return _one_state(team, nnx.state(team.network(key)))


def _one_state(team: Team, parameters: Any) -> State:
    return State(parameters, team.optimizer.init(parameters), jnp.zeros((), team.dtype), jnp.asarray(True))


def _mean_loss(team: Team, parameters: Any, X: jax.Array, Y: jax.Array) -> jax.Array:
    return jnp.mean(team.loss(team.module(parameters)(X), Y))


def _step(team: Team, one: State, X: jax.Array, Y: jax.Array) -> State:
    """One step of one network; as it was, if anything comes out that is not finite."""
    loss, slope = jax.value_and_grad(functools.partial(_mean_loss, team))(one.parameters, X, Y)
    change, optimizer = team.optimizer.update(slope, one.optimizer, one.parameters)
    after = optax.apply_updates(one.parameters, change)
    whole = jnp.isfinite(sum(jnp.sum(jnp.abs(a)) for a in jax.tree.leaves(after)))
    alive = one.alive & jnp.isfinite(loss) & whole
    new = State(after, optimizer, loss, alive)
    return jax.tree.map(functools.partial(jnp.where, alive), new, one._replace(alive=alive))


def _one_look(team: Team, one: State, data: Data) -> dict[str, jax.Array]:
    """Layers at the probe, outputs at the test inputs, the loss over all data."""
    settings = dict(team.settings)
    cw, cb = (jnp.asarray(settings[name], team.dtype) for name in ("cw", "cb"))
    net, x = team.module(one.parameters), data["probe"]
    x2 = jnp.mean(x * x, -1)
    G = cb + cw * x2
    if "K1" in settings:
        G = jnp.asarray(settings["K1"] / settings["x2"], team.dtype) * x2
    layers = []
    for z in net.preactivations(x):
        seen, G = observe(team.act, z, G, jnp.log(G), cw, cb)
        layers.append(seen)
    found = jax.tree.map(lambda *a: jnp.stack(a), *layers)._asdict()
    return {
        **{name: found[name] for name in ("G", "K", "chi_parallel", "chi_perp")},
        "outputs": net(data["test"]),
        "loss": _mean_loss(team, one.parameters, data["X"], data["Y"]),
        "alive": one.alive,
    }


# --- all networks ---------------------------------------------------------------------------------


@functools.partial(jax.jit, static_argnums=0)
def _start(team: Team, words, index, count) -> State:
    size = block_size(team)
    key = jax.random.wrap_key_data(words, impl=GENERATOR)

    def block(i):
        member = index[i] * np.uint32(size) + jnp.arange(size, dtype=jnp.uint32)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, member)
        return jax.vmap(functools.partial(_one_start, team))(keys)

    return _each_block(block, len(index), count)


@functools.partial(jax.jit, static_argnums=0)
def _start_given(team: Team, given, index) -> State:
    one = functools.partial(_one_state, team)
    return _each_block(lambda i: jax.vmap(one)(_at(given, i)), len(index), len(index))


@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def _advance(team: Team, state: State, blocks, first, count, data: Data) -> State:
    X, Y = data["X"], data["Y"]

    def step(t, block):
        rows = _rows(team, len(X), first + t)
        batch = (X, Y) if rows is None else (X[rows], Y[rows])
        return jax.vmap(lambda one: _step(team, one, *batch))(block)

    def block(i, state):
        one = _at(state, i)
        steps = jnp.where(jnp.any(one.alive), count, 0)  # what is frozen costs nothing
        return _put(state, i, lax.fori_loop(0, steps, step, one))

    return lax.fori_loop(0, blocks, block, state)


def _rows(team: Team, samples: int, step: jax.Array) -> jax.Array | None:
    """The samples of a step: pass after pass through all of them, shuffled anew."""
    if team.batch_size is None:
        return None
    batches = samples // team.batch_size
    key = jax.random.fold_in(jax.random.key(0, impl=GENERATOR), step // batches)
    order = jax.random.permutation(key, samples)
    return lax.dynamic_slice_in_dim(order, step % batches * team.batch_size, team.batch_size)


@functools.partial(jax.jit, static_argnums=0)
def _look(team: Team, state: State, count, data: Data) -> dict[str, jax.Array]:
    look = jax.vmap(lambda one: _one_look(team, one, data))
    return _each_block(lambda i: look(_at(state, i)), len(state.loss), count)


def _each_block(block: Callable, blocks: int, count) -> Any:
    """block(i) for i < count, stacked; zeros beyond."""
    shapes = jax.eval_shape(block, 0)
    empty = jax.tree.map(lambda s: jnp.zeros((blocks, *s.shape), s.dtype), shapes)
    return lax.fori_loop(0, count, lambda i, into: _put(into, i, block(i)), empty)


def _at(tree: Any, i) -> Any:
    return jax.tree.map(lambda a: lax.dynamic_index_in_dim(a, i, keepdims=False), tree)


def _put(tree: Any, i, part: Any) -> Any:
    return jax.tree.map(lambda a, b: lax.dynamic_update_index_in_dim(a, b, i, 0), tree, part)
