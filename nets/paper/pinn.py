"""Networks that learn the solution of Burgers' equation from the equation itself."""

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import lax

from eft import arguments
from eft.activations.catalogue import as_activation
from eft.activations.definition import ActivationLike
from eft.arguments import ArgumentTypeError
from nets.files import checkpoints, digests
from nets.network import fcn
from nets.network.architecture import Architecture, Settings
from nets.network.fcn import FCN
from nets.paper import burgers
from nets.paper.residual import ACCELERATED_PART, PART, Points, draw_points, gradient, jet, losses
from nets.runtime import keys, memory, programs
from nets.runtime.settings import (
    check_representable,
    checked_progress,
    checked_seed,
    float_dtype,
)
from nets.training import loop, schedule
from nets.training.step import State, unless_lost

ADAM = optax.adam(1.0)
"""Its update is multiplied by the learning rate."""


class PinnRun(NamedTuple):
    """Networks at S snapshots of their training.

    `steps`: (S,). `residual`: (S, n_nets) mean square of u_t + uu_x − νu_xx over all interior points.
    `boundary`: (S, n_nets) mean square of u − its value over the boundary points. `error`: (S, n_nets)
    ‖u − exact‖₂/‖exact‖₂ on the grid. `slope_error`: (S, n_nets) the same of u_x. `alive`: (S, n_nets) bool,
    everything has been finite so far. `fields`: (n_nets, nx, nt) u on the grid at the end. `x`: (nx,) and
    `t`: (nt,) the grid. `parameters`: {"layers": {0: {"kernel": (n_nets, 2, n₁), "bias": …}, …}}.
    `seconds`: wall-clock time of the training.
    """

    steps: np.ndarray
    residual: np.ndarray
    boundary: np.ndarray
    error: np.ndarray
    slope_error: np.ndarray
    alive: np.ndarray
    fields: np.ndarray
    x: np.ndarray
    t: np.ndarray
    parameters: dict[str, Any]
    seconds: float


SNAPSHOT = {name: jax.ShapeDtypeStruct((), np.float64) for name in PinnRun._fields[1:5]}
SNAPSHOT |= {"alive": jax.ShapeDtypeStruct((), np.bool_)}


class _Problem(NamedTuple):
    """What the programs are compiled for; hashable.

    `architecture`: of the networks. `batch_size`: interior points per step. `part`: of which the derivatives
    are computed at a time.
    """

    architecture: Architecture
    batch_size: int
    part: int


class _Numbers(NamedTuple):
    """C_W, the variance of the weights of the first layer, and the learning rate."""

    cw: Any
    first: Any
    rate: Any


class _Grid(NamedTuple):
    """The points (nx nt, 2) of the grid, and the exact solution there."""

    x: np.ndarray
    t: np.ndarray
    points: np.ndarray
    exact: burgers.Wave


def train(
    act: ActivationLike,
    cw: float,
    n_nets: int,
    *,
    hidden: int = 7,
    width: int = 64,
    first: float | None = None,
    interior: int = 10_000,
    boundary: int = 100,
    batch_size: int | None = None,
    steps: int = 10_000,
    learning_rate: float = 1e-3,
    snapshots: Sequence[int] | None = None,
    grid: tuple[int, int] = (257, 101),
    seed: int = 0,
    dtype: Any = jnp.float32,
    checkpoint: str | Path | None = None,
    every: int = 250,
    progress: bool | None = None,
) -> PinnRun:
    """Train `n_nets` networks with Adam on mean(u_t + uu_x − νu_xx)² + mean(u − boundary value)².

    `act`, `cw`: of the `hidden` layers of `width`, C_b = 0. `first`: variance of the weights of the first
    layer, C_W/2 if not given: with MRePU a smaller one keeps deep networks finite. `interior`, `boundary`:
    numbers of points, drawn once for all networks. `batch_size`: interior points per step, drawn anew each
    time; default: all. `snapshots`: steps after which all points and the grid (nx, nt) of the exact solution
    are evaluated; default: 0 and tenths of `steps`. `checkpoint`, `every`, `progress`: as for `nets.train`;
    if the run is killed, the same call resumes it and gives bitwise the same result. A network that is no
    longer finite is frozen.

    Raises TypeError or ValueError for a bad argument before any work, and ValueError if `checkpoint` holds
    another run.
    """
    n_nets = arguments.positive_int("n_nets", n_nets, maximum=4096)
    hidden = arguments.positive_int("hidden", hidden, maximum=100)
    width = arguments.positive_int("width", width)
    steps, every = schedule.checked_steps(steps), arguments.positive_int("every", every)
    interior = arguments.positive_int("interior", interior, maximum=2**31 - 1)
    boundary = arguments.positive_int("boundary", boundary, maximum=2**31 - 1)
    batch = interior if batch_size is None else arguments.positive_int("batch_size", batch_size, interior)
    cw = arguments.number("cw", arguments.positive("cw", cw))
    first = cw / 2 if first is None else arguments.number("first", first)
    numbers = _Numbers(cw, first, arguments.number("learning_rate", learning_rate))
    marks = schedule.checked_snapshots(snapshots, steps, parts=10)
    seed, dtype, progress = checked_seed(seed), float_dtype(dtype), checked_progress(progress)
    check_representable(dtype, numbers._asdict())
    nx, nt = _checked_grid(grid)
    architecture = Architecture(as_activation(act), (2, *[width] * hidden, 1), biased=False, dtype=dtype)
    problem = _Problem(architecture, batch, _part(batch, n_nets))
    _check_memory(problem, n_nets, interior + boundary, nx * nt)
    points = Points(*(a.astype(dtype) for a in draw_points(interior, boundary, seed)))
    mesh = _grid(nx, nt, dtype)
    given = jax.tree.map(lambda number: np.asarray(number, dtype), numbers)
    one = jax.eval_shape(functools.partial(_drawn, problem), given, jax.random.key(0))
    shapes = [(n_nets, *leaf.shape) for leaf in jax.tree.leaves(one)]
    about = [*numbers, batch, marks, steps, seed, nx, nt, shapes, str(dtype)]
    identity = {"settings": hashlib.sha256(repr(about).encode()).hexdigest()}
    if checkpoint is not None:
        update = jax.make_jaxpr(functools.partial(_update, problem))(one, given.rate, points)
        identity["activation"] = digests.digest(update)
    folder = loop.Folder(checkpoints.checked_folder(checkpoint), identity)
    words, members = keys.words(seed), np.arange(n_nets, dtype=np.uint32)
    ensemble = loop.Ensemble(
        n_nets,
        start=lambda: programs.call(_start, problem, words, members, given),
        advance=lambda state, first, count: programs.call(
            _advance, problem, state, words, given.rate, np.int32(first), np.int32(count), points
        ),
        measure=lambda state: _measure(problem, state, points, mesh)[0],
        on_host=lambda state: jax.tree.map(np.asarray, state),
        on_devices=lambda state: jax.tree.map(jnp.asarray, state),
        state_like=one,
        snapshot_like=SNAPSHOT,
        note=lambda _, snapshots: f"error {np.median(snapshots[-1]['error']):.3g}" if snapshots else "",
    )
    end = loop.run(ensemble, loop.Timetable(steps, marks, every), folder, progress)
    columns = {name: np.array([snapshot[name] for snapshot in end.snapshots]) for name in SNAPSHOT}
    return PinnRun(
        np.array(marks),
        **columns,
        fields=_measure(problem, end.state, points, mesh)[1],
        x=mesh.x,
        t=mesh.t,
        parameters=nnx.to_pure_dict(jax.tree.map(np.asarray, end.state.parameters)),
        seconds=end.seconds,
    )


def _checked_grid(grid: Any) -> tuple[int, int]:
    if not isinstance(grid, Sequence | np.ndarray) or isinstance(grid, str) or len(grid) != 2:
        raise ArgumentTypeError(f"grid must be two integers ≥ 2, nx and nt; got {arguments.shown(grid)}")
    nx, nt = (arguments.positive_int("grid", n, maximum=2**20) for n in grid)
    return nx, nt


def _grid(nx: int, nt: int, dtype: np.dtype) -> _Grid:
    x, t = np.linspace(-1, 1, nx), np.linspace(0, 1, nt)
    points = np.stack(np.meshgrid(x, t, indexing="ij"), -1).reshape(-1, 2).astype(dtype)
    return _Grid(x, t, points, burgers.solution(x[:, None], t))


def _part(points: int, n_nets: int) -> int:
    """The points at a time: so few that a CPU's cache holds them, and as an accelerator is kept busy by."""
    few = PART if jax.default_backend() == "cpu" else ACCELERATED_PART
    return min(points, max(100, few // n_nets))


def _check_memory(problem: _Problem, n_nets: int, points: int, grid: int) -> None:
    """Check the memory: parameters, Adam's moments, updates, twice; layers of a part and the grid; points."""
    architecture = problem.architecture
    sizes = architecture.sizes
    steps = n_nets * (10 * architecture.n_weights + 12 * min(points, problem.part) * sum(sizes))
    numbers = steps + grid * (5 * max(sizes) + 4 * n_nets) + 8 * points
    memory.check(memory.OVERHEAD + numbers * architecture.dtype.itemsize, "these networks, points and grid")


# --- compiled -------------------------------------------------------------------------------------


def _network(problem: _Problem, parameters: Any) -> FCN:
    return fcn.merged(fcn.split(problem.architecture), parameters)


def _drawn(problem: _Problem, numbers: _Numbers, key: jax.Array) -> State:
    net = fcn.drawn(problem.architecture, Settings(numbers.cw, 0.0), key)
    kernel = net.layers[0].kernel
    kernel[...] = kernel[...] * jnp.sqrt(numbers.first / (numbers.cw / 2))
    parameters = nnx.state(net)
    loss = jnp.zeros((), problem.architecture.dtype)
    return State(parameters, ADAM.init(parameters), loss, jnp.asarray(True))


def _start(problem: _Problem, words, members: jax.Array, numbers: _Numbers) -> State:
    drawn = functools.partial(_drawn, problem, numbers)
    return jax.vmap(drawn)(keys.of_members(keys.of_words(words), members))


def _advance(problem: _Problem, state: State, words, rate, first, count, points: Points) -> State:
    key = jax.random.fold_in(keys.of_words(words), np.uint32(2**32 - 1))
    whole = len(points.interior)

    def step(i, state):
        batch = points
        if problem.batch_size < whole:
            rows = jax.random.randint(jax.random.fold_in(key, first + i), (problem.batch_size,), 0, whole)
            batch = points._replace(interior=points.interior[rows])
        return jax.vmap(lambda one: _update(problem, one, rate, batch))(state)

    return lax.fori_loop(0, count, step, state)


def _update(problem: _Problem, one: State, rate, points: Points) -> State:
    """One step of one network, which is frozen as it was if a new parameter is not finite."""
    slope = nnx.state(gradient(_network(problem, one.parameters), points, part=problem.part))
    with programs.usual_promotion():
        change, optimizer = ADAM.update(slope, one.optimizer, one.parameters)
    parameters = jax.tree.map(lambda a, b: a + rate * b, one.parameters, change)
    return unless_lost(one, one._replace(parameters=parameters, optimizer=optimizer))


def _measured(problem: _Problem, state: State, points: Points, grid):
    def one(parameters):
        net = _network(problem, parameters)
        at_grid = jet(net, grid)
        return (*losses(net, points), at_grid.u, at_grid.u_x)

    return lax.map(one, state.parameters)


def _measure(
    problem: _Problem, state: State, points: Points, grid: _Grid
) -> tuple[loop.Snapshot, np.ndarray]:
    """A snapshot, and u on the grid, (n_nets, nx, nt)."""
    residual, boundary, u, u_x = (
        np.asarray(a, np.float64) for a in programs.call(_measured, problem, state, points, grid.points)
    )
    error, slope_error = (
        np.linalg.norm(computed - exact.ravel(), axis=1) / np.linalg.norm(exact)
        for computed, exact in ((u, grid.exact.u), (u_x, grid.exact.u_x))
    )
    values = residual, boundary, error, slope_error, np.asarray(state.alive)
    return dict(zip(SNAPSHOT, values, strict=True)), u.reshape(-1, grid.x.size, grid.t.size)
