"""Training ensembles: thousands of networks under one optimizer, measured layer by layer during training."""

import dataclasses
import hashlib
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from eft import arguments
from eft.activations.catalogue import as_activation
from eft.activations.definition import ActivationLike
from eft.arguments import ArgumentError, ArgumentTypeError
from nets.files import checkpoints, digests
from nets.network.architecture import Architecture, Settings, check_layers, checked_settings
from nets.runtime import distribution, memory
from nets.runtime.settings import (
    MAX_NETS,
    check_representable,
    checked_progress,
    checked_seed,
    float_dtype,
)
from nets.training import loop, objective, program, schedule, step
from nets.training import parametrization as rates
from nets.training.loop import Folder
from nets.training.run import TrainingRun, statistics
from nets.training.step import Data, Learner, Loss, State

OPTIMIZERS = {"sgd": optax.sgd, "adam": optax.adam}
"""Those that may be given by name."""

MAX_DEPTH = 500
"""Each layer adds about 0.2 s to the compilation."""


@arguments.also_named(X_probe="x_probe", X_test="x_test")
def train(
    act: ActivationLike,
    cw: float,
    depth: int,
    width: int | None,
    n_nets: int,
    data: tuple[Any, Any],
    *,
    optimizer: optax.GradientTransformation | str | None = None,
    learning_rate: float = 0.01,
    steps: int = 1000,
    snapshots: Sequence[int] | None = None,
    batch_size: int | None = None,
    loss: Loss = optax.l2_loss,
    n_out: int | None = None,
    x_probe: Any = None,
    x_test: Any = None,
    seed: int | jax.Array = 0,
    cb: float = 0.0,
    K1: float | None = None,
    x2: float = 1.0,
    widths: Sequence[int] | None = None,
    dtype: Any = jnp.float32,
    initial: Any = None,
    checkpoint: str | Path | None = None,
    every: int = 250,
    memory_budget: int | str | None = None,
    progress: bool | None = None,
    skip: float = 0.0,
    norm: str | None = None,
    weights: str = "gaussian",
    readout: bool = True,
    parametrization: str = "standard",
    layer_rates: tuple[Any, Any] | None = None,
) -> TrainingRun:
    """Train `n_nets` networks, each drawn independently, and measure all layers at the snapshots.

        θ ← θ + optimizer(∇_θ L),   L = mean of loss(z^L(x), y) over samples (and outputs, if it has them)

    `act`, `cw`, `cb`, `depth`, `width`, `widths`, `seed`, `dtype`: as for `measure`; member i has the same
    initial weights as there. `K1`, `x2`, `skip`, `norm`, `weights`, `readout`: as for `FCN`; `skip` is not
    trained. `data`: inputs (N, n₀) and targets (N,) or (N, n_L).

    `optimizer`: any optax optimizer, including those that use the loss or a line search, such as
    `optax.lbfgs()`; or "sgd" (default) or "adam", at `learning_rate`. `loss`: a function of outputs (N, n_L)
    and targets (N, n_L) that returns an array (N, n_L) or (N,); default: half the squared error. `n_out`:
    n_L; required if targets are class labels, integers (N,) from 0 to n_L − 1, which are passed to the loss
    as they are: this is what `optax.softmax_cross_entropy_with_integer_labels` expects. `batch_size`: samples
    per step, drawn without replacement in each pass, the same for all networks; default: all. `snapshots`:
    steps after which to measure; default: 0 and quarters of `steps`. `x_probe`: inputs (m, n₀) at which
    layers are measured; default: the first 16 of the data. `x_test`: inputs at which outputs are measured;
    default: those of the data. `initial`: initial parameters in place of a draw, in the form of
    `TrainingRun.parameters`, or those of one network for all.

    `parametrization`: "standard", one rate for all parameters; "ntk", the optimizer trains θ, where
    W = θ/√n_{l−1}, so that gradient descent at rate η is that of the NTK with λ_W = λ_b = 1 at any width;
    "mup", rates and output weights with which a step changes every layer by as much at any width, for
    gradient descent as for Adam (the table in `nets.training.parametrization`). Ĝ^L remains that of C_W. See
    `coordinate_check`. `layer_rates`: (weights, biases), (depth,) each and > 0, by which the optimizer's
    steps of layer l are multiplied, not for a line search; with "ntk" and gradient descent they are λ_W and
    λ_b of each layer.

    The programs are compiled once for all C_W, C_b, K¹, x2, seeds and learning rates, and for all functions
    and optimizers that compute the same.

    A network whose loss or parameters are no longer finite is frozen in its last finite state, counted, and
    excluded from the averages from then on.

    `checkpoint`: a folder for this run alone, in which the state is saved every `every` steps and at
    snapshots. If the run is killed at any moment, the same call resumes it and gives bitwise the same result,
    on any number of devices. "The same call" includes everything that determines the result, also values that
    `act`, `loss` and `optimizer` take from elsewhere. The folder is locked while a run uses it.

    Networks run in blocks of a fixed size, distributed over all devices of all processes; the result of a
    network is bitwise the same for any number of devices, with one jaxlib and CPU type. On accelerators,
    where blocks are of even size and no larger than the ensemble, last bits may differ. `memory_budget`: in
    bytes or as text such as "2GB"; default: as for `measure`. `progress`: show the memory plan and the
    progress of the run on stderr; None: only if stderr is a terminal.

    Raises ArgumentError or ArgumentTypeError (a ValueError and a TypeError) for a bad argument or too small a
    `memory_budget` before any work is done, and if `checkpoint` holds another run or no folder can be written
    there; `nets.files.CheckpointError` if another run is using it or none of its files is intact.

    >>> X = jnp.linspace(-1, 1, 8)[:, None]
    >>> run = nets.train("tanh", 1.0, 3, 32, 10, (X, X**2), optimizer=optax.sgd(0.1), steps=50)
    >>> print(run.steps, run.loss.mean(1).round(2))
    [ 0 12 25 37 50] [0.28 0.07 0.07 0.06 0.05]
    """
    shown, every = checked_progress(progress), arguments.positive_int("every", every)
    job = prepare(
        act, cw, depth, width, n_nets, data, optimizer=optimizer, learning_rate=learning_rate, steps=steps,
        snapshots=snapshots, batch_size=batch_size, loss=loss, n_out=n_out, x_probe=x_probe, x_test=x_test,
        seed=seed, cb=cb, K1=K1, x2=x2, widths=widths, dtype=dtype, initial=initial,
        keeps=checkpoint is not None, memory_budget=memory_budget, skip=skip, norm=norm, weights=weights,
        readout=readout, parametrization=parametrization, layer_rates=layer_rates,
    )  # fmt: skip
    return _run(job, Folder(checkpoints.checked_folder(checkpoint), job.identity), every, shown)


class Job(NamedTuple):
    """A training run whose arguments have been checked.

    `learner`, `settings`, `rate`, `data`: what is compiled, and its numbers. `plan`: the memory. `steps`,
    `snapshots`: how many steps, and after which to measure. `seed`, `initial`: where the networks start.
    `first`: Ĝ¹ at the probe inputs, exactly. `identity`: the digest of each argument that determines the
    result.
    """

    learner: Learner
    settings: Settings
    rate: np.ndarray
    data: Data
    plan: memory.Plan
    steps: int
    snapshots: tuple[int, ...]
    seed: int
    initial: Any
    first: np.ndarray
    identity: dict[str, str]


def prepare(
    act, cw, depth, width, n_nets, data, *, optimizer, learning_rate, steps, snapshots, batch_size, loss,
    n_out, x_probe, x_test, seed, cb, K1, x2, widths, dtype, initial, keeps: bool, memory_budget, skip,
    norm, weights, readout, parametrization, layer_rates=None,
) -> Job:  # fmt: skip
    """Check the arguments of `train`; `keeps`: whether checkpoints are kept."""
    depth = arguments.positive_int("depth", depth, maximum=MAX_DEPTH)
    n_nets = arguments.positive_int("n_nets", n_nets, maximum=MAX_NETS)
    steps = schedule.checked_steps(steps)
    hidden = arguments.hidden_widths(width, widths, depth)
    dtype = float_dtype(dtype)
    samples = objective.checked_samples(data, n_out, dtype)
    n0, X = samples.X.shape[1], samples.X
    probe = X[:16] if x_probe is None else arguments.host_inputs("x_probe", x_probe, dtype, n0).astype(dtype)
    test = X if x_test is None else arguments.host_inputs("x_test", x_test, dtype, n0).astype(dtype)
    if batch_size is not None:
        batch_size = arguments.positive_int("batch_size", batch_size, maximum=len(X))
    optimizer, rate = _optimizer(optimizer, learning_rate)
    marks = schedule.checked_snapshots(snapshots, steps, parts=4)
    settings = checked_settings(cw, cb, K1, x2, dtype, skip)
    skips = settings.skip is not None
    check_layers(hidden, samples.n_out, skip=skips, norm=norm, weights=weights, readout=readout)
    check_representable(dtype, rate)
    budget = memory.budget(memory_budget, distribution.local_devices()[0])
    seed = checked_seed(seed)
    objective.check_loss(loss, samples)
    architecture = Architecture(
        as_activation(act), (n0, *hidden, samples.n_out), settings.K1 is not None, dtype=dtype, skip=skips,
        norm=norm, weights=weights, readout=bool(readout),
    )  # fmt: skip
    kind, sizes = rates.checked(parametrization), architecture.sizes
    of_layers = None if layer_rates is None else rates.checked_layer_rates(layer_rates, depth)
    devices = distribution.mesh()
    learner = Learner(
        architecture, rates.parametrized(optimizer, kind, sizes, of_layers), loss, samples.labels, batch_size,
        devices, program.block_size(architecture, n_nets, batch_size or len(X), devices),
        output_scale=rates.output_scale(kind, sizes),
    )  # fmt: skip
    arrays = {"X": X, "Y": samples.Y, "probe": probe, "test": test}
    plan = program.planned(learner, n_nets, len(marks), arrays, keeps, budget)
    try:
        digest = digests.digest(*step.traces(learner, arrays))
    except ArgumentError:
        if keeps:
            raise
        digest = str(uuid.uuid4())  # a function that calls back to Python equals no other
    learner = dataclasses.replace(learner, digest=digest)
    identity = {
        **{name: str(value) for name, value in settings._asdict().items() if value is not None},
        "learning rate of the default optimizer": str(rate),
        "widths": str(architecture.sizes), "n_nets": str(n_nets), "steps": str(steps),
        "snapshots": str(marks), "batch_size": str(batch_size), "seed": str(seed), "dtype": str(dtype),
        **{name: _digest(a) for name, a in (("data", (X, samples.Y)), ("x_probe", probe), ("x_test", test))},
        "initial": _digest(initial),
        **({} if kind == "standard" else {"parametrization": kind}),
        **({} if of_layers is None else {"layer_rates": str(of_layers)}),
        **({} if architecture.plain else {"layers": f"norm {norm}, weights {weights}, readout {readout}"}),
        "act, optimizer or loss": digest,
    }  # fmt: skip
    first = np.asarray(settings.first_kernel(np.mean(np.asarray(probe, np.float64) ** 2, axis=1)))
    factor = np.asarray(rate.get("learning_rate", 1.0), dtype)
    return Job(
        learner, settings.cast(dtype), factor, arrays, plan, steps, marks, seed, initial, first, identity
    )


def _optimizer(optimizer: Any, learning_rate: Any) -> tuple[Any, dict[str, float]]:
    """The optax optimizer and, for the default one, the learning rate that multiplies its update."""
    if isinstance(optimizer, str):
        arguments.one_of("optimizer", optimizer, tuple(OPTIMIZERS))
    if optimizer is None or optimizer == "sgd":
        return optax.sgd(1.0), {"learning_rate": arguments.number("learning_rate", learning_rate)}
    if isinstance(optimizer, str):
        return OPTIMIZERS[optimizer](arguments.number("learning_rate", learning_rate)), {}
    if isinstance(optimizer, optax.MultiSteps):
        optimizer = optimizer.gradient_transformation()
    if not isinstance(optimizer, optax.GradientTransformation):
        allowed = 'of optax, such as optax.adam(1e-3), or "sgd" or "adam"'
        raise ArgumentTypeError(f"optimizer must be {allowed}; got {arguments.shown(optimizer)}")
    return optimizer, {}


def _digest(tree: Any) -> str:
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        array = np.asarray(leaf)
        digest.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


# --- the run --------------------------------------------------------------------------------------


def _run(job: Job, folder: Folder, every: int, progress: bool | None) -> TrainingRun:
    learner, n_nets, data = job.learner, job.plan.n_nets, job.data
    ensemble = loop.Ensemble(
        n_nets,
        start=lambda: program.start(learner, job.settings, job.seed, n_nets, job.initial),
        advance=lambda state, first, count: program.advance(
            learner, job.rate, job.settings.skip, state, first, count, data
        ),
        measure=lambda state: program.measure(learner, job.settings, state, n_nets, data),
        on_host=lambda state: program.on_host(state, n_nets),
        on_devices=lambda state: program.on_devices(learner, state, n_nets),
        state_like=step.like(learner),
        snapshot_like=step.measured_like(learner, data),
        note=lambda state, _: _note(state, n_nets),
    )
    timetable = loop.Timetable(job.steps, job.snapshots, every)
    end = loop.run(ensemble, timetable, folder, progress, job.plan)
    parameters = nnx.to_pure_dict(program.on_host(end.state.parameters, n_nets))
    sizes = learner.architecture.sizes
    return statistics(job.snapshots, sizes, end.snapshots, job.first, parameters, end.seconds)


def _note(state: State, n_nets: int) -> str:
    alive, losses = program.on_host((state.alive, state.loss), n_nets)
    if not alive.any():
        return "all networks overflowed"
    low, middle, high = np.quantile(losses[alive], [0.16, 0.5, 0.84])
    lost = int((~alive).sum())
    return f"loss {middle:.3g} ({low:.2g} … {high:.2g})" + (f", {lost} overflowed" if lost else "")
