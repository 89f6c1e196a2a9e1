"""The compiled programs of a training ensemble: initialization, training steps, measurement of every layer.

Networks are grouped in blocks: the networks of a block are vmapped, blocks run one after another, and the
blocks are distributed over the devices. The number of blocks per device is not known to the compiler, so each
block runs the same instructions wherever it is.
"""

import dataclasses
import functools
import inspect
import itertools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import lax

from eft.activations.definition import Activation
from eft.arguments import ArgumentError, ArgumentTypeError
from nets.initialization.drawing import GENERATOR, ensemble_words
from nets.network.fcn import FCN
from nets.network.observables import observe
from nets.runtime import memory, mesh, programs

LARGEST, NUMBERS = {False: 32, True: 1024}, {False: 2**20, True: 2**27}
"""Upper limits on the networks in a block and its weights, on the CPU (False) and an accelerator (True)."""

STATISTICS = 7 * 8
"""Bytes of working memory for each number that enters a mean and a variance."""


Loss = Callable[[jax.Array, jax.Array], jax.Array]
"""(outputs, targets) → array of losses, whose mean is taken."""


class State(NamedTuple):
    """Networks in training; leaves have shape (blocks, networks per block, …)."""

    parameters: Any
    optimizer: Any
    loss: jax.Array  # as computed in the last step
    alive: jax.Array  # bool: everything has been finite so far


@dataclasses.dataclass(frozen=True)
class Team:
    """One architecture with one optimizer: what the programs are compiled for.

    Two teams are equal, and share their programs, if they compute the same. Functions are compared by
    `digest` alone, since each call may bring new function objects that compute the same as earlier ones.
    """

    act: Activation = dataclasses.field(compare=False)
    sizes: tuple[int, ...]  # n₀, …, n_L
    own_K1: bool  # K1 is given: it sets the first kernel, and the first layer has no bias
    optimizer: optax.GradientTransformation = dataclasses.field(compare=False)
    loss: Loss = dataclasses.field(compare=False)
    labels: bool  # targets are integers, one per sample
    batch_size: int | None
    dtype: np.dtype
    devices: jax.sharding.Mesh
    digest: str = ""

    def network(self, key: jax.Array, settings: "Settings") -> FCN:
        n0, *hidden, n_out = self.sizes
        given = {name: settings[name] for name in ("cw", "cb", *(("K1", "x2") if self.own_K1 else ()))}
        return FCN(n0, hidden, n_out, act=self.act, rngs=key, dtype=self.dtype, **given)

    def module(self, parameters: Any) -> FCN:
        return nnx.merge(self._graph, parameters)

    @functools.cached_property
    def _graph(self):
        key, settings = jax.random.key(0), _settings_like(self)
        return nnx.split(nnx.eval_shape(lambda: self.network(key, settings)))[0]


Settings = Mapping[str, Any]
"""C_W, C_b, K¹ and x2, in the team's dtype; `rate`, by which the optimizer's update is multiplied."""


def _settings_like(team: Team) -> Settings:
    return {name: np.ones((), team.dtype) for name in ("cw", "cb", "K1", "x2", "rate")}


Data = Mapping[str, Any]
"""X, Y: inputs and targets; probe, test: inputs at which layers and outputs, respectively, are measured."""


def block_size(team: Team) -> int:
    """The number of networks that are vmapped: a power of 2, set by the architecture and kind of device."""
    accelerator = team.devices.devices.flat[0].platform != "cpu"
    fitting = NUMBERS[accelerator] // weights(team)
    return 1 << max(0, min(LARGEST[accelerator], fitting).bit_length() - 1)


def weights(team: Team) -> int:
    return sum(n_in * n for n_in, n in itertools.pairwise(team.sizes))


def start(team: Team, settings: Settings, seed: int, n_nets: int, initial: Any) -> State:
    """The networks before the first step: drawn, or with the parameters `initial` if these are given."""
    blocks = _blocks(team, n_nets)
    index = mesh.placed(np.arange(blocks, dtype=np.uint32), team.devices)
    if initial is not None:
        given = mesh.placed(_given(team, initial, n_nets), team.devices)
        return mesh.on_each(functools.partial(programs.call, _start_given, team), team.devices, given, index)
    words = ensemble_words(seed)
    return mesh.on_each(
        lambda index: programs.call(_start, team, settings, words, index, _count(index)), team.devices, index
    )


def _given(team: Team, initial: Any, n_nets: int) -> Any:
    """The given parameters of every network, in blocks."""
    template = like(team).parameters
    plain = nnx.to_pure_dict(initial) if isinstance(initial, nnx.State) else initial
    if jax.tree.structure(plain) != jax.tree.structure(nnx.to_pure_dict(template)):
        raise ArgumentError(
            "initial must hold the parameters of networks of this depth: nnx.state of an FCN, or such as "
            "TrainingRun.parameters"
        )
    leaves = [np.asarray(leaf, team.dtype) for leaf in jax.tree.leaves(plain)]
    shapes, found = [leaf.shape for leaf in jax.tree.leaves(template)], [leaf.shape for leaf in leaves]
    if found == shapes:
        leaves = [np.broadcast_to(leaf, (n_nets, *leaf.shape)) for leaf in leaves]
    elif found != [(n_nets, *shape) for shape in shapes]:
        raise ArgumentError(
            f"initial must have shapes {shapes}, or for {n_nets} networks one more axis in front; got {found}"
        )
    return _in_blocks(team, jax.tree.unflatten(jax.tree.structure(template), leaves), n_nets)


def _blocks(team: Team, n_nets: int) -> int:
    """The number of blocks, a multiple of the number of devices."""
    blocks = -(-n_nets // block_size(team))
    return blocks + -blocks % team.devices.size


def _in_blocks(team: Team, each: Any, n_nets: int) -> Any:
    """Leaves of shape (n_nets, …) arranged in blocks, which are padded with copies of the last network."""
    blocks, size = _blocks(team, n_nets), block_size(team)
    member = np.minimum(np.arange(blocks * size), n_nets - 1)
    return jax.tree.map(lambda a: a[member].reshape(blocks, size, *a.shape[1:]), each)


def members(state: Any, n_nets: int) -> Any:
    """A state on the host without blocks: one entry per network, leaves of shape (n_nets, …)."""
    return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:])[:n_nets], state)


def placed(team: Team, each: State, n_nets: int) -> State:
    """The inverse of `members`: networks in blocks, distributed over all devices."""
    return mesh.placed(_in_blocks(team, each, n_nets), team.devices)


def parameters(state: State, n_nets: int) -> dict[str, Any]:
    """The networks' parameters on the host: {"layers": {0: {"kernel": (n_nets, n₀, n₁), "bias": …}, …}}."""
    return nnx.to_pure_dict(members(mesh.gathered(state.parameters), n_nets))


def advance(team: Team, settings: Settings, state: State, first: int, count: int, data: Data) -> State:
    """The networks after `count` further steps, the first of which is step `first`."""
    span = np.int32(first), np.int32(count)
    return mesh.on_each(
        lambda part: programs.call(
            _advance, team, part, settings, _count(part.loss), *span, data, donated=(0,)
        ),
        team.devices,
        state,
    )


def look(team: Team, settings: Settings, state: State, n_nets: int, data: Data) -> dict[str, np.ndarray]:
    """The measurements of every network, each of shape (n_nets, …)."""
    seen = mesh.on_each(
        lambda part: programs.call(_look, team, part, settings, _count(part.loss), data), team.devices, state
    )
    seen = mesh.gathered(seen)
    return {name: a.reshape(-1, *a.shape[2:])[:n_nets] for name, a in seen.items()}


def _count(blocks: jax.Array) -> np.int32:
    return np.int32(len(blocks))


# --- before any work ------------------------------------------------------------------------------


def planned(
    team: Team, n_nets: int, snapshots: int, data: Data, checkpoints: bool, budget: int
) -> memory.Plan:
    """The memory that the networks, their optimizer and the measurements take in this process.

    Raises ValueError if this exceeds the budget, and TypeError for an optimizer that cannot run.
    """
    least = n_nets * weights(team) * team.dtype.itemsize
    if least > budget:  # before tracing, since JAX cannot represent such large sizes
        raise ArgumentError(
            f"memory_budget must be at least {least:,} bytes for the weights of {n_nets:,} networks alone; "
            f"got {budget:,}"
        )
    check_optimizer(team)
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
        raise ArgumentError(
            f"memory_budget must be at least {needed:,} bytes: {states:,} for {n_nets:,} networks and their "
            f"optimizer, {kept:,} for what is measured; got {budget:,}"
        )
    return memory.Plan(n_nets, size, 1, team.devices.size, needed, budget)


def like(team: Team) -> State:
    """The shapes of one network's state."""
    return jax.eval_shape(functools.partial(_one_start, team), _settings_like(team), jax.random.key(0))


def check_optimizer(team: Team) -> None:
    """Raises ArgumentTypeError if a step cannot call the optimizer, or if its state contains a random key."""
    parameters = jax.eval_shape(_drawn(team), _settings_like(team), jax.random.key(0))
    value = jax.ShapeDtypeStruct((), team.dtype)
    try:
        state = jax.eval_shape(team.optimizer.init, parameters)
        jax.eval_shape(
            functools.partial(_change, team.optimizer, _squares), value, parameters, state, parameters
        )
    except Exception as error:
        raise ArgumentTypeError(
            "optimizer must be one that starts from parameters, and whose update takes gradients, state, "
            "parameters and, by keyword, value, grad and value_fn at most; this one raised "
            f"{type(error).__name__}: {error}"
        ) from error
    if any(jnp.issubdtype(leaf.dtype, jax.dtypes.extended) for leaf in jax.tree.leaves(state)):
        raise ArgumentTypeError(
            "optimizer must keep numbers as its state; this one keeps a random key, which all networks "
            "would share"
        )


def _squares(tree: Any) -> jax.Array:
    """The sum of squares, as a stand-in for a loss."""
    leaves = jax.tree.leaves(tree)
    return sum((jnp.sum(a * a) for a in leaves), jnp.zeros((), leaves[0].dtype))


def like_look(team: Team, data: Data) -> dict[str, jax.ShapeDtypeStruct]:
    """The shapes of one network's measurements."""
    return jax.eval_shape(functools.partial(_one_look, team), like(team), _settings_like(team), data)


def traces(team: Team, data: Data) -> tuple[Any, ...]:
    """The jaxprs of one network: its initial state, a training step, and its measurement."""
    one, settings, samples = like(team), _settings_like(team), team.batch_size or len(data["X"])
    X, Y = (jax.ShapeDtypeStruct((samples, *data[name].shape[1:]), data[name].dtype) for name in "XY")
    return (
        jax.make_jaxpr(functools.partial(_one_state, team))(one.parameters),
        jax.make_jaxpr(functools.partial(_step, team))(one, settings, X, Y),
        jax.make_jaxpr(functools.partial(_one_look, team))(one, settings, data),
    )


# --- one network ----------------------------------------------------------------------------------


def _drawn(team: Team) -> Callable[[Settings, jax.Array], Any]:
    """Parameters from settings and a key."""
    return lambda settings, key: nnx.state(team.network(key, settings))


def _one_start(team: Team, settings: Settings, key: jax.Array) -> State:
    return _one_state(team, _drawn(team)(settings, key))


def _one_state(team: Team, parameters: Any) -> State:
    with programs.usual_promotion():
        optimizer = jax.tree.map(jnp.asarray, team.optimizer.init(parameters))
    return State(parameters, optimizer, jnp.zeros((), team.dtype), jnp.asarray(True))


def _mean_loss(team: Team, X: jax.Array, Y: jax.Array, parameters: Any) -> jax.Array:
    return jnp.mean(team.loss(team.module(parameters)(X), Y)).astype(team.dtype)


def _step(team: Team, one: State, settings: Settings, X: jax.Array, Y: jax.Array) -> State:
    """One step of one network, which is frozen as it was if its loss or a new parameter is not finite."""
    loss_of = functools.partial(_mean_loss, team, X, Y)
    loss, slope = jax.value_and_grad(loss_of)(one.parameters)
    change, optimizer = _change(team.optimizer, loss_of, loss, slope, one.optimizer, one.parameters)
    change = jax.tree.map(lambda a: settings["rate"] * a.astype(team.dtype), change)
    after = optax.apply_updates(one.parameters, change)
    whole = jnp.isfinite(sum(jnp.sum(jnp.abs(a)) for a in jax.tree.leaves(after)))
    alive = one.alive & jnp.isfinite(loss) & whole
    new = State(after, optimizer, loss, alive)
    return jax.tree.map(lambda a, b: jnp.where(alive, a.astype(b.dtype), b), new, one._replace(alive=alive))


def _change(optimizer: optax.GradientTransformation, loss_of: Callable, loss, slope, state, parameters):
    """The optimizer's update and next state; it gets those of `value`, `grad`, `value_fn` that it accepts."""
    more = {"value": loss, "grad": slope, "value_fn": loss_of}
    asked = inspect.signature(optimizer.update).parameters.values()
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in asked):
        more = {parameter.name: more[parameter.name] for parameter in asked if parameter.name in more}
    with programs.usual_promotion():
        return optimizer.update(slope, state, parameters, **more)


def _one_look(team: Team, one: State, settings: Settings, data: Data) -> dict[str, jax.Array]:
    """The layers at the probe inputs, the outputs at the test inputs, and the loss over all data."""
    cw, cb = settings["cw"], settings["cb"]
    net, x = team.module(one.parameters), data["probe"]
    x2 = jnp.mean(x * x, -1)
    G = settings["K1"] / settings["x2"] * x2 if team.own_K1 else cb + cw * x2
    layers = []
    for z in net.preactivations(x):
        seen, G = observe(team.act, z, G, jnp.log(G), cw, cb)
        layers.append(seen)
    found = jax.tree.map(lambda *a: jnp.stack(a), *layers)._asdict()
    return {
        **{name: found[name] for name in ("G", "K", "chi_parallel", "chi_perp")},
        "outputs": net(data["test"]),
        "loss": _mean_loss(team, data["X"], data["Y"], one.parameters),
        "alive": one.alive,
    }


# --- all networks ---------------------------------------------------------------------------------


def _start(team: Team, settings: Settings, words, index, count) -> State:
    size = block_size(team)
    key = jax.random.wrap_key_data(words, impl=GENERATOR)

    def block(i):
        member = index[i] * np.uint32(size) + jnp.arange(size, dtype=jnp.uint32)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, member)
        return jax.vmap(functools.partial(_one_start, team, settings))(keys)

    return _each_block(block, len(index), count)


def _start_given(team: Team, given, index) -> State:
    one = functools.partial(_one_state, team)
    return _each_block(lambda i: jax.vmap(one)(_at(given, i)), len(index), len(index))


def _advance(team: Team, state: State, settings: Settings, blocks, first, count, data: Data) -> State:
    X, Y = data["X"], data["Y"]

    def step(t, block):
        rows = _rows(team, len(X), first + t)
        batch = (X, Y) if rows is None else (X[rows], Y[rows])
        return jax.vmap(lambda one: _step(team, one, settings, *batch))(block)

    def block(i, state):
        one = _at(state, i)
        steps = jnp.where(jnp.any(one.alive), count, 0)  # a block of frozen networks costs nothing
        return _put(state, i, lax.fori_loop(0, steps, step, one))

    return lax.fori_loop(0, blocks, block, state)


def _rows(team: Team, samples: int, step: jax.Array) -> jax.Array | None:
    """The indices of a step's samples: each pass takes batches from a new permutation of all samples."""
    if team.batch_size is None:
        return None
    batches = samples // team.batch_size
    key = jax.random.fold_in(jax.random.key(0, impl=GENERATOR), step // batches)
    order = jax.random.permutation(key, samples)
    return lax.dynamic_slice_in_dim(order, step % batches * team.batch_size, team.batch_size)


def _look(team: Team, state: State, settings: Settings, count, data: Data) -> dict[str, jax.Array]:
    look = jax.vmap(lambda one: _one_look(team, one, settings, data))
    return _each_block(lambda i: look(_at(state, i)), len(state.loss), count)


def _each_block(block: Callable, blocks: int, count) -> Any:
    """block(i) for i < count, stacked; zeros for i ≥ count."""
    shapes = jax.eval_shape(block, 0)
    empty = jax.tree.map(lambda s: jnp.zeros((blocks, *s.shape), s.dtype), shapes)
    return lax.fori_loop(0, count, lambda i, into: _put(into, i, block(i)), empty)


def _at(tree: Any, i) -> Any:
    return jax.tree.map(lambda a: lax.dynamic_index_in_dim(a, i, keepdims=False), tree)


def _put(tree: Any, i, part: Any) -> Any:
    return jax.tree.map(lambda a, b: lax.dynamic_update_index_in_dim(a, b, i, 0), tree, part)
