"""One network in training: its state, a training step, and the measurement of its layers."""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from eft.arguments import ArgumentTypeError
from nets.network import fcn
from nets.network.architecture import Architecture, Settings
from nets.network.fcn import FCN
from nets.network.observables import observe_layers
from nets.runtime import programs

Loss = Callable[[jax.Array, jax.Array], jax.Array]
"""(outputs, targets) → array of losses, whose mean is taken."""

Data = Mapping[str, Any]
"""X, Y: inputs and targets; probe, test: inputs at which layers and outputs, respectively, are measured."""


class State(NamedTuple):
    """A network in training. In programs for many, leaves have the shape (blocks, networks per block, …).

    `parameters`: nnx.State of an FCN. `optimizer`: its state. `loss`: as computed in the last step.
    `alive`: bool, everything has been finite so far.
    """

    parameters: Any
    optimizer: Any
    loss: jax.Array
    alive: jax.Array


@dataclasses.dataclass(frozen=True, eq=False)
class Learner:
    """One architecture with its loss and optimizer: what the programs are compiled for.

    Learners are equal, and share their programs, if they compute the same. Functions are compared by `digest`
    alone, since each call may bring new function objects that compute the same as earlier ones.

    `labels`: targets are integers, one per sample. `batch_size`: samples per step; None for all. `devices`:
    over which the networks are spread. `block`: the number of networks that is vmapped. `digest`: of what the
    activation, the loss and the optimizer compute. `output_scale`: of the output weights as drawn, as in
    `parametrization`.
    """

    architecture: Architecture
    optimizer: optax.GradientTransformation
    loss: Loss
    labels: bool
    batch_size: int | None
    devices: jax.sharding.Mesh
    block: int
    digest: str = ""
    output_scale: float = 1.0

    @property
    def _compared(self) -> tuple[Any, ...]:
        settings = self.labels, self.batch_size, self.devices, self.block, self.output_scale
        return self.architecture.without_act, *settings, self.digest

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Learner) and self._compared == other._compared

    def __hash__(self) -> int:
        return hash(self._compared)

    def network(self, parameters: Any, skip: Any = None) -> FCN:
        return fcn.merged(self._parts, parameters, skip)

    @functools.cached_property
    def _parts(self) -> fcn.Parts:
        return fcn.split(self.architecture)


def drawn(learner: Learner, settings: Settings, key: jax.Array) -> State:
    """The network before the first step, drawn from a key."""
    net = fcn.drawn(learner.architecture, settings, key)
    if learner.output_scale != 1:
        output = net.layers[-1].kernel
        output[...] = output[...] * jnp.asarray(learner.output_scale, output[...].dtype)
    return with_parameters(learner, nnx.state(net, nnx.Param))


def with_parameters(learner: Learner, parameters: Any) -> State:
    """The network with these parameters before the first step."""
    with programs.usual_promotion():
        optimizer = jax.tree.map(jnp.asarray, learner.optimizer.init(parameters))
    return State(parameters, optimizer, jnp.zeros((), learner.architecture.dtype), jnp.asarray(True))


def mean_loss(learner: Learner, X: jax.Array, Y: jax.Array, skip: Any, parameters: Any) -> jax.Array:
    outputs = learner.network(parameters, skip)(X)
    return jnp.mean(learner.loss(outputs, Y)).astype(learner.architecture.dtype)


def update(learner: Learner, one: State, rate: jax.Array, skip: Any, X: jax.Array, Y: jax.Array) -> State:
    """One step of one network, which is frozen as it was if its loss or a new parameter is not finite."""
    loss_of = functools.partial(mean_loss, learner, X, Y, skip)
    loss, slope = jax.value_and_grad(loss_of)(one.parameters)
    change, optimizer = _change(learner.optimizer, loss_of, loss, slope, one.optimizer, one.parameters)
    change = jax.tree.map(lambda a: rate * a.astype(learner.architecture.dtype), change)
    return unless_lost(one, State(optax.apply_updates(one.parameters, change), optimizer, loss, one.alive))


def unless_lost(before: State, after: State) -> State:
    """The state after a step; if the loss or a parameter is not finite, that before it, no longer alive."""
    finite = jnp.isfinite(sum(jnp.sum(jnp.abs(a)) for a in jax.tree.leaves(after.parameters)))
    alive = before.alive & jnp.isfinite(after.loss) & finite
    after = after._replace(alive=alive)
    return jax.tree.map(
        lambda a, b: jnp.where(alive, a.astype(b.dtype), b), after, before._replace(alive=alive)
    )


def _change(optimizer: optax.GradientTransformation, loss_of: Callable, loss, slope, state, parameters):
    """The optimizer's update and next state; it gets those of `value`, `grad`, `value_fn` that it accepts."""
    more = {"value": loss, "grad": slope, "value_fn": loss_of}
    asked = inspect.signature(optimizer.update).parameters.values()
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in asked):
        more = {parameter.name: more[parameter.name] for parameter in asked if parameter.name in more}
    with programs.usual_promotion():
        return optimizer.update(slope, state, parameters, **more)


def measured(learner: Learner, one: State, settings: Settings, data: Data) -> dict[str, jax.Array]:
    """The layers at the probe inputs, the outputs at the test inputs, and the loss over all data."""
    net, x = learner.network(one.parameters, settings.skip), data["probe"]
    G = settings.first_kernel(jnp.mean(x * x, -1))
    layers = observe_layers(
        net.act, net.preactivations(x), G, settings.cw, settings.cb, norm=net.norm, gammas=net.gammas
    )
    return {
        **{name: getattr(layers, name) for name in ("G", "K", "chi_parallel", "chi_perp")},
        "outputs": net(data["test"]),
        "loss": mean_loss(learner, data["X"], data["Y"], settings.skip, one.parameters),
        "alive": one.alive,
    }


# --- before any work ------------------------------------------------------------------------------


def like(learner: Learner) -> State:
    """The shapes of one network's state."""
    settings = learner.architecture.unit_settings
    return jax.eval_shape(functools.partial(drawn, learner), settings, jax.random.key(0))


def measured_like(learner: Learner, data: Data) -> dict[str, jax.ShapeDtypeStruct]:
    """The shapes of one network's measurements."""
    settings = learner.architecture.unit_settings
    return jax.eval_shape(functools.partial(measured, learner), like(learner), settings, data)


def traces(learner: Learner, data: Data) -> tuple[Any, ...]:
    """The jaxprs of one network: its initial state, a training step, and its measurement."""
    one, settings = like(learner), learner.architecture.unit_settings
    samples = learner.batch_size or len(data["X"])
    X, Y = (jax.ShapeDtypeStruct((samples, *data[name].shape[1:]), data[name].dtype) for name in "XY")
    return (
        jax.make_jaxpr(functools.partial(with_parameters, learner))(one.parameters),
        jax.make_jaxpr(functools.partial(update, learner))(one, settings.cw, settings.skip, X, Y),
        jax.make_jaxpr(functools.partial(measured, learner))(one, settings, data),
    )


def check_optimizer(learner: Learner) -> None:
    """Raises ArgumentTypeError if a step cannot call the optimizer, or if its state contains a random key."""
    parameters = fcn.split(learner.architecture).parameters
    value = jax.ShapeDtypeStruct((), learner.architecture.dtype)
    try:
        state = jax.eval_shape(learner.optimizer.init, parameters)
        jax.eval_shape(
            functools.partial(_change, learner.optimizer, _squares), value, parameters, state, parameters
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
