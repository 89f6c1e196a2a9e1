"""Training ensembles: thousands of networks under one optimizer, measured layer by layer during training."""

import dataclasses
import hashlib
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from eft import arguments
from eft.activations.catalogue import as_activation
from eft.activations.definition import Activation
from eft.arguments import ArgumentError, ArgumentTypeError
from eft.gaussian.expectation import Function
from nets.files import checkpoints, digests
from nets.initialization.ensemble import MAX_NETS, progress_bar
from nets.runtime import memory, mesh
from nets.runtime.settings import (
    check_representable,
    checked_hidden,
    checked_number,
    checked_progress,
    checked_seed,
    float_dtype,
)
from nets.training import learners, objective, schedule
from nets.training import snapshots as looks
from nets.training.learners import Data, Team
from nets.training.snapshots import TrainingRun


def train(
    act: "str | Activation | Function",
    cw: float,
    depth: int,
    width: int | None,
    n_nets: int,
    data: tuple[Any, Any],
    *,
    optimizer: optax.GradientTransformation | None = None,
    learning_rate: float = 0.01,
    steps: int = 1000,
    snapshots: Sequence[int] | None = None,
    batch_size: int | None = None,
    loss: learners.Loss = optax.l2_loss,
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
    memory_budget: int | None = None,
    progress: bool | None = None,
) -> TrainingRun:
    """Train `n_nets` networks, each drawn independently, and measure all layers at the snapshots.

        θ ← θ + optimizer(∇_θ L),   L = mean of loss(z^L(x), y) over samples (and outputs, if it has them)

    `act`, `cw`, `cb`, `depth`, `width`, `widths`, `seed`, `dtype`: as for `measure`; member i has the same
    initial weights as there. `K1`, `x2`: as for `FCN`. `data`: inputs (N, n₀) and targets (N,) or (N, n_L).
    `optimizer`: any optax optimizer, including those that use the loss or a line search, such as
    `optax.lbfgs()`; default: gradient descent at `learning_rate`. `loss`: a function of outputs (N, n_L) and
    targets (N, n_L) that returns an array (N, n_L) or (N,); default: half the squared error. `n_out`: n_L;
    required if targets are class labels, integers (N,) from 0 to n_L − 1, which are passed to the loss as
    they are: this is what `optax.softmax_cross_entropy_with_integer_labels` expects. `batch_size`: samples
    per step, drawn without replacement in each pass, the same for all networks; default: all. `snapshots`:
    steps after which to measure; default: 0 and quarters of `steps`. `x_probe`: inputs (m, n₀) at which
    layers are measured; default: the first 16 of the data. `x_test`: inputs at which outputs are measured;
    default: those of the data. `initial`: initial parameters in place of a draw, in the form of
    `TrainingRun.parameters`, or those of one network for all.

    The programs are compiled once for all C_W, C_b, K¹, x2, seeds and learning rates, and for all functions
    and optimizers that compute the same.

    A network whose loss or parameters are no longer finite is frozen in its last finite state, counted, and
    excluded from the averages from then on.

    `checkpoint`: a folder for this run alone, in which the state is saved every `every` steps and at
    snapshots. If the run is killed at any moment, the same call resumes it and gives bitwise the same result,
    on any number of devices. "The same call" includes everything that determines the result, also values that
    `act`, `loss` and `optimizer` take from elsewhere. The folder is locked while a run uses it.

    Networks run in blocks of a fixed size, distributed over all devices of all processes; the result of a
    network is bitwise the same for any number of devices, with one jaxlib and CPU type. `memory_budget`: in
    bytes; default: as for `measure`. `progress`: show the memory plan and the progress of the run on stderr;
    None: only if stderr is a terminal.

    Raises ArgumentError or ArgumentTypeError (a ValueError and a TypeError) for a bad argument or too small a
    `memory_budget` before any work is done, and if `checkpoint` holds another run or no folder can be written
    there; `nets.checkpoints.CheckpointError` if another run is using it or none of its files is intact.

    >>> X = jnp.linspace(-1, 1, 8)[:, None]
    >>> run = nets.train("tanh", 1.0, 3, 32, 10, (X, X**2), optimizer=optax.sgd(0.1), steps=50)
    >>> print(run.steps, run.loss.mean(1).round(2))
    [ 0 12 25 37 50] [0.28 0.07 0.07 0.06 0.05]
    """
    given = dict(locals())
    shown, every = given.pop("progress"), arguments.positive_int("every", given.pop("every"))
    shown, job = checked_progress(shown), _prepared(**given)
    return _run(job, checkpoints.checked_folder(checkpoint), every, shown)


class _Job(NamedTuple):
    """A training run whose arguments have been checked."""

    team: Team
    settings: learners.Settings
    data: Data
    plan: memory.Plan
    steps: int
    snapshots: tuple[int, ...]
    seed: int
    initial: Any
    first: np.ndarray  # Ĝ¹ at the probe inputs, exactly
    identity: dict[str, str]  # the digest of each argument that determines the result


def _prepared(
    act, cw, depth, width, n_nets, data, optimizer, learning_rate, steps, snapshots, batch_size, loss,
    n_out, x_probe, x_test, seed, cb, K1, x2, widths, dtype, initial, checkpoint, memory_budget,
) -> _Job:  # fmt: skip
    depth = arguments.positive_int("depth", depth, maximum=500)
    n_nets = arguments.positive_int("n_nets", n_nets, maximum=MAX_NETS)
    steps = schedule.checked_steps(steps)
    hidden = checked_hidden(width, widths, depth)
    dtype = float_dtype(dtype)
    samples = objective.checked_samples(data, n_out, dtype)
    n0, X = samples.X.shape[1], samples.X
    probe = X[:16] if x_probe is None else objective.checked_inputs("x_probe", x_probe, n0, dtype)
    test = X if x_test is None else objective.checked_inputs("x_test", x_test, n0, dtype)
    if batch_size is not None:
        batch_size = arguments.positive_int("batch_size", batch_size, maximum=len(X))
    optimizer, rate = _optimizer(optimizer, learning_rate)
    marks = schedule.checked_snapshots(snapshots, steps, parts=4)
    settings = {"cw": checked_number("cw", cw), "cb": checked_number("cb", cb)}
    settings |= _first_kernel(K1, x2)
    check_representable(dtype, settings | rate)
    budget = memory.budget(memory_budget, mesh.local_devices()[0])
    seed = checked_seed(seed)
    objective.check_loss(loss, samples)
    team = Team(
        as_activation(act), (n0, *hidden, samples.n_out), K1 is not None, optimizer,
        loss, samples.labels, batch_size, dtype, mesh.mesh(),
    )  # fmt: skip
    arrays = {"X": X, "Y": samples.Y, "probe": probe, "test": test}
    plan = learners.planned(team, n_nets, len(marks), arrays, checkpoint is not None, budget)
    try:
        digest = digests.digest(*learners.traces(team, arrays))
    except ArgumentError:
        if checkpoint is not None:
            raise
        digest = str(uuid.uuid4())  # a function that calls back to Python equals no other
    team = dataclasses.replace(team, digest=digest)
    identity = {
        **{name: str(value) for name, value in settings.items()},
        "learning rate of the default optimizer": str(rate),
        "widths": str(team.sizes), "n_nets": str(n_nets), "steps": str(steps), "snapshots": str(marks),
        "batch_size": str(batch_size), "seed": str(seed), "dtype": str(dtype),
        **{name: _digest(a) for name, a in (("data", (X, samples.Y)), ("x_probe", probe), ("x_test", test))},
        "initial": _digest(initial),
        "act, optimizer or loss": digest,
    }  # fmt: skip
    given = {"K1": 1.0, "x2": 1.0, "rate": 1.0} | settings | rate
    given = {name: np.asarray(value, dtype) for name, value in given.items()}
    return _Job(team, given, arrays, plan, steps, marks, seed, initial, _first_G(settings, probe), identity)


def _first_G(settings: dict[str, float], probe: np.ndarray) -> np.ndarray:
    """Ĝ¹ = C_b + C_W‖x‖²/n₀ at the probe inputs x, or K1 (‖x‖²/n₀)/x2."""
    x2 = np.mean(np.asarray(probe, np.float64) ** 2, axis=1)
    return settings["K1"] / settings["x2"] * x2 if "K1" in settings else settings["cb"] + settings["cw"] * x2


def _optimizer(optimizer: Any, learning_rate: Any) -> tuple[Any, dict[str, float]]:
    """The optax optimizer and, for the default one, the factor that multiplies its update."""
    if optimizer is None:
        return optax.sgd(1.0), {"rate": checked_number("learning_rate", learning_rate)}
    if isinstance(optimizer, optax.MultiSteps):
        optimizer = optimizer.gradient_transformation()
    if not isinstance(optimizer, optax.GradientTransformation):
        raise ArgumentTypeError(
            f"optimizer must be of optax, such as optax.adam(1e-3); got {arguments.shown(optimizer)}"
        )
    return optimizer, {}


def _first_kernel(K1: Any, x2: Any) -> dict[str, float]:
    if K1 is None:
        return {}
    return {"K1": checked_number("K1", K1), "x2": checked_number("x2", arguments.positive("x2", x2))}


def _digest(tree: Any) -> str:
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        array = np.asarray(leaf)
        digest.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


# --- the run --------------------------------------------------------------------------------------


def _run(job: _Job, folder: Path | None, every: int, progress: bool | None) -> TrainingRun:
    team, n_nets = job.team, job.plan.n_nets
    seen: list[dict[str, np.ndarray]] = []
    step, earlier = 0, 0.0
    with checkpoints.held(folder), progress_bar(progress, "steps/s", "{task.fields[note]}") as bar:
        found = checkpoints.of_run(folder, job.identity)
        if found is not None:
            for note in found.notes:
                bar.console.print(note)
            step, earlier = found.step, float(found.attributes["seconds"])
            state, seen = _restored(found, job)
            state = learners.placed(team, state, n_nets)
        else:
            state = learners.start(team, job.settings, job.seed, n_nets, job.initial)
        if not bar.disable:
            bar.console.print(job.plan)
        task = bar.add_task("training", total=job.steps, completed=step, speed=0.0, note="")
        began, first = time.perf_counter(), step
        for end in schedule.stops(job.snapshots, job.steps, every):
            if end < step or (end == step and (end or seen)):
                continue
            if end > step:
                state = learners.advance(team, job.settings, state, step, end - step, job.data)
                step = end
            if end in job.snapshots:
                seen.append(learners.look(team, job.settings, state, n_nets, job.data))
            if folder is not None:
                host = mesh.gathered(state)
                if jax.process_index() == 0:
                    about = {"identity": job.identity, "seconds": earlier + time.perf_counter() - began}
                    checkpoints.write(folder, step, _flat(learners.members(host, n_nets), seen), about)
            alive, losses = (a.ravel()[:n_nets] for a in mesh.gathered((state.alive, state.loss)))
            bar.update(
                task,
                completed=step,
                speed=(step - first) / (time.perf_counter() - began),
                note=_note(losses, alive),
            )
        seconds = earlier + time.perf_counter() - began
    parameters = learners.parameters(state, n_nets)
    return looks.statistics(job.snapshots, team.sizes, seen, job.first, parameters, seconds)


def _note(losses: np.ndarray, alive: np.ndarray) -> str:
    if not alive.any():
        return "all networks overflowed"
    low, middle, high = np.quantile(losses[alive], [0.16, 0.5, 0.84])
    lost = int((~alive).sum())
    return f"loss {middle:.3g} ({low:.2g} … {high:.2g})" + (f", {lost} overflowed" if lost else "")


def _flat(state: Any, seen: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    arrays = {f"state {i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(state))}
    for i, each in enumerate(seen):
        arrays |= {f"snapshot {i} {name}": array for name, array in each.items()}
    return arrays


def _restored(found: checkpoints.Checkpoint, job: _Job) -> tuple[Any, list[dict[str, np.ndarray]]]:
    """The state of every network, leaves of shape (n_nets, …), and its measurements at snapshots so far."""
    like, n_nets = learners.like(job.team), job.plan.n_nets
    looks = learners.like_look(job.team, job.data)
    done = range(sum(mark <= found.step for mark in job.snapshots))
    expected = {f"state {i}": leaf for i, leaf in enumerate(jax.tree.leaves(like))}
    expected |= {f"snapshot {i} {name}": leaf for i in done for name, leaf in looks.items()}
    shapes = {name: ((n_nets, *leaf.shape), leaf.dtype) for name, leaf in expected.items()}
    if shapes != {name: (array.shape, array.dtype) for name, array in found.arrays.items()}:
        raise checkpoints.CheckpointError(
            f"the checkpoint of step {found.step} is whole, and holds other arrays than this run's state: "
            "remove it to start again from the beginning"
        )
    leaves = [found.arrays[f"state {i}"] for i in range(len(jax.tree.leaves(like)))]
    seen = [{name: found.arrays[f"snapshot {i} {name}"] for name in looks} for i in done]
    return jax.tree.unflatten(jax.tree.structure(like), leaves), seen
