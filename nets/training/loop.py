"""The loop of a training run: steps, snapshots, checkpoints, and going on from them."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from nets.files import checkpoints
from nets.runtime.progress import progress_bar
from nets.training import schedule

Snapshot = dict[str, np.ndarray]
"""What is measured after a step, arrays (n_nets, …)."""


class Ensemble(NamedTuple):
    """Networks in training, as the loop sees them; a state may be any pytree.

    `n_nets`: how many. `start()`: their state before the first step. `advance(state, first, count)`: after
    `count` further steps, the first of which is step `first`. `measure(state)`: a snapshot.
    `on_host(state)`: the state as host arrays with leaves (n_nets, …), and `on_devices` its inverse.
    `state_like`, `snapshot_like`: the shapes for one network. `note(state, snapshots)`: words for the bar.
    """

    n_nets: int
    start: Callable[[], Any]
    advance: Callable[[Any, int, int], Any]
    measure: Callable[[Any], Snapshot]
    on_host: Callable[[Any], Any]
    on_devices: Callable[[Any], Any]
    state_like: Any
    snapshot_like: Mapping[str, Any]
    note: Callable[[Any, Sequence[Snapshot]], str]


class Timetable(NamedTuple):
    """`steps`: how many. `snapshots`: after which to measure. `every`: steps between checkpoints."""

    steps: int
    snapshots: tuple[int, ...]
    every: int


class Folder(NamedTuple):
    """Where checkpoints are kept, if anywhere.

    `path`: the folder or None. `identity`: the digest of each argument that determines the result.
    """

    path: Path | None
    identity: dict[str, str]


class Outcome(NamedTuple):
    """`state`: at the end. `snapshots`: one for each in the timetable. `seconds`: of all runs together."""

    state: Any
    snapshots: list[Snapshot]
    seconds: float


def run(
    ensemble: Ensemble, timetable: Timetable, folder: Folder, progress: bool | None, plan: object = None
) -> Outcome:
    """Train the networks, from the newest checkpoint in the folder if there is one.

    `plan`: shown with the progress. Raises ArgumentError if the folder holds another run, and CheckpointError
    if another run is using it or none of its files is intact.
    """
    path, step, earlier = folder.path, 0, 0.0
    snapshots: list[Snapshot] = []
    with checkpoints.held(path), progress_bar(progress, "steps/s", "{task.fields[note]}") as bar:
        checkpoint = checkpoints.of_run(path, folder.identity)
        if checkpoint is None:
            state = ensemble.start()
        else:
            for note in checkpoint.notes:
                bar.console.print(note)
            step, earlier = checkpoint.step, float(checkpoint.attributes["seconds"])
            state, snapshots = _restored(checkpoint, ensemble, timetable)
        if plan is not None and not bar.disable:
            bar.console.print(str(plan))
        task = bar.add_task("training", total=timetable.steps, completed=step, speed=0.0, note="")
        began, first = time.perf_counter(), step
        for stop in schedule.stops(timetable.snapshots, timetable.steps, timetable.every):
            if stop < step or (stop == step and (stop or snapshots)):
                continue
            if stop > step:
                state, step = ensemble.advance(state, step, stop - step), stop
            if stop in timetable.snapshots:
                snapshots.append(ensemble.measure(state))
            if path is not None:
                host = ensemble.on_host(state)
                if jax.process_index() == 0:
                    seconds = earlier + time.perf_counter() - began
                    attributes = {"identity": folder.identity, "seconds": seconds}
                    checkpoints.write(path, step, _flat(host, snapshots), attributes)
            bar.update(
                task,
                completed=step,
                speed=(step - first) / (time.perf_counter() - began),
                note=ensemble.note(state, snapshots) if step else "",
            )
        seconds = earlier + time.perf_counter() - began
    return Outcome(state, snapshots, seconds)


def _flat(state: Any, snapshots: Sequence[Snapshot]) -> dict[str, np.ndarray]:
    arrays = {f"state {i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(state))}
    for i, each in enumerate(snapshots):
        arrays |= {f"snapshot {i} {name}": array for name, array in each.items()}
    return arrays


def _restored(
    checkpoint: checkpoints.Checkpoint, ensemble: Ensemble, timetable: Timetable
) -> tuple[Any, list[Snapshot]]:
    """The state, and the snapshots so far."""
    leaves, structure = jax.tree.flatten(ensemble.state_like)
    done = range(sum(mark <= checkpoint.step for mark in timetable.snapshots))
    expected = {f"state {i}": leaf for i, leaf in enumerate(leaves)}
    expected |= {f"snapshot {i} {name}": leaf for i in done for name, leaf in ensemble.snapshot_like.items()}
    shapes = {name: ((ensemble.n_nets, *leaf.shape), leaf.dtype) for name, leaf in expected.items()}
    if shapes != {name: (array.shape, array.dtype) for name, array in checkpoint.arrays.items()}:
        raise checkpoints.CheckpointError(
            f"the checkpoint of step {checkpoint.step} is whole, and holds other arrays than this run's "
            "state: remove it to start again from the beginning"
        )
    arrays = checkpoint.arrays
    state = jax.tree.unflatten(structure, [arrays[f"state {i}"] for i in range(len(leaves))])
    snapshots = [{name: arrays[f"snapshot {i} {name}"] for name in ensemble.snapshot_like} for i in done]
    return ensemble.on_devices(state), snapshots
