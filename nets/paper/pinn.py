"""Networks that learn the solution of Burgers' equation from the equation itself."""

import functools
import hashlib
import itertools
import time
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
from eft.activations.definition import Activation
from eft.arguments import ArgumentTypeError
from eft.gaussian.expectation import Function
from nets.files import checkpoints, digests
from nets.initialization.drawing import GENERATOR, ensemble_words
from nets.initialization.ensemble import progress_bar
from nets.network.fcn import FCN
from nets.network.observables import activate, value_and_slope
from nets.paper import burgers
from nets.runtime import memory, programs
from nets.runtime.settings import (
    check_representable,
    checked_number,
    checked_progress,
    checked_seed,
    float_dtype,
)
from nets.training import schedule

PART = 1000
"""Number of points whose derivatives are computed at a time."""


class Jet(NamedTuple):
    """The output of a network at inputs (x, t) and its derivatives, (m,) each."""

    u: jax.Array
    u_x: jax.Array
    u_t: jax.Array
    u_xx: jax.Array


def jet(act: Activation, layers: Sequence[Any], points: jax.Array) -> Jet:
    """u, u_x, u_t, u_xx of a network with one output, in one forward pass.

        z → Wσ(z) + b,   z_x → Wσ′z_x,   z_t → Wσ′z_t,   z_xx → W(σ″z_x² + σ′z_xx)

    `layers`: kernels and biases, [{"kernel": (n₀, n₁), "bias": (n₁,)}, …]; `points`: (m, 2), x and t.
    """
    first, *others = layers
    W, z = first["kernel"], points @ first["kernel"] + first["bias"][None]
    z_x, z_t = jnp.broadcast_to(W[0], z.shape), jnp.broadcast_to(W[1], z.shape)
    z_xx = jnp.zeros_like(z)
    for layer in others:
        s, ds, dds = _derivatives(act, z)
        passed = jnp.stack([s, ds * z_x, ds * z_t, dds * z_x**2 + ds * z_xx]) @ layer["kernel"]
        z, z_x, z_t, z_xx = passed[0] + layer["bias"][None], *passed[1:]
    return Jet(z[:, 0], z_x[:, 0], z_t[:, 0], z_xx[:, 0])


def _derivatives(act: Activation, z: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """σ, σ′, σ″, by forward-over-forward differentiation."""
    one = jnp.ones_like(z)
    (s, ds), (_, dds) = jax.jvp(lambda z: value_and_slope(act, z), (z,), (one,))
    return s, ds, dds


class Points(NamedTuple):
    """The points where the equation and where the boundary values are imposed."""

    interior: np.ndarray  # (n, 2) x and t
    boundary: np.ndarray  # (m, 2)
    values: np.ndarray  # (m,) u there


def draw_points(interior: int, boundary: int, seed: int) -> Points:
    """Uniform: the interior in [−1, 1] × [0, 1]; half of the boundary at t = 0, a quarter each at x = ±1."""
    rng = np.random.default_rng(seed)
    inside = rng.uniform((-1, 0), (1, 1), (interior, 2))
    edge = rng.uniform((-1, 0), (1, 1), (boundary, 2))
    start = boundary - 2 * (boundary // 4)
    edge[:start, 1] = 0
    edge[start:, 0] = np.where(np.arange(boundary - start) % 2, 1.0, -1.0)
    return Points(inside, edge, np.where(np.arange(boundary) < start, -np.sin(np.pi * edge[:, 0]), 0.0))


class PinnRun(NamedTuple):
    """Networks at S snapshots of their training."""

    steps: np.ndarray  # (S,)
    residual: np.ndarray  # (S, n_nets) mean square of u_t + uu_x − νu_xx over all interior points
    boundary: np.ndarray  # (S, n_nets) mean square of u − its value over the boundary points
    error: np.ndarray  # (S, n_nets) ‖u − exact‖₂/‖exact‖₂ on the grid
    slope_error: np.ndarray  # (S, n_nets) the same of u_x
    alive: np.ndarray  # (S, n_nets) bool: everything has been finite so far
    fields: np.ndarray  # (n_nets, nx, nt) u on the grid at the end
    x: np.ndarray  # (nx,) the grid
    t: np.ndarray  # (nt,)
    parameters: dict[str, Any]  # {"layers": {0: {"kernel": (n_nets, 2, n₁), "bias": …}, …}}
    seconds: float


class _State(NamedTuple):
    parameters: Any
    optimizer: Any
    alive: jax.Array


class _Problem(NamedTuple):
    """What the programs are compiled for; hashable."""

    act: Activation
    batch_size: int
    part: int


ADAM = optax.adam(1.0)
"""Its update is multiplied by the learning rate."""


def residual(act: Activation, layers: Any, points: Any, viscosity: float = burgers.VISCOSITY) -> jax.Array:
    """u_t + uu_x − νu_xx at (m, 2) points, in one forward pass.

        z → Wσ(z) + b,   z_x → Wσ′z_x,   w → W(σ′w − νσ″z_x²)   for w = z_t − νz_xx

    The equation is linear in u_t and u_xx, so only their combination w is propagated through the layers.
    """
    first, *others = layers
    W, z = first["kernel"], points @ first["kernel"] + first["bias"][None]
    z_x, w = jnp.broadcast_to(W[0], z.shape), jnp.broadcast_to(W[1], z.shape)
    for layer in others:
        s, ds, dds = _derivatives(act, z)
        passed = s, ds * z_x, ds * w - viscosity * dds * z_x**2
        z, z_x, w = (a @ layer["kernel"] for a in passed)
        z = z + layer["bias"][None]
    return (w + z * z_x)[:, 0]


def losses(act: Activation, layers: Any, points: Any, viscosity: float = burgers.VISCOSITY):
    """(residual, boundary): mean squares of u_t + uu_x − νu_xx, and of u − its value, at `Points`."""
    edge = _output(act, layers, points.boundary) - points.values
    return jnp.mean(residual(act, layers, points.interior, viscosity) ** 2), jnp.mean(edge**2)


def slope(act: Activation, layers: Any, points: Any, viscosity: float = burgers.VISCOSITY, part: int = PART):
    """The gradient of the sum of both losses with respect to the parameters, part by part of the interior.

    The data of a part stay in the cache of a CPU; those of all points would be read from memory once per
    layer.
    """
    interior, whole = jnp.asarray(points.interior), len(points.interior)
    count = -(-whole // part)
    size = -(-whole // count)
    rows = jnp.arange(count * size).reshape(count, size)  # those beyond the last point have weight 0

    def of_part(i, found):
        inside, weight = interior[rows[i] % whole], jnp.where(rows[i] < whole, 1 / whole, 0.0)

        def loss(layers):
            return jnp.sum(weight.astype(inside.dtype) * residual(act, layers, inside, viscosity) ** 2)

        return jax.tree.map(jnp.add, found, jax.grad(loss)(layers))

    def edge(layers):
        return jnp.mean((_output(act, layers, points.boundary) - points.values) ** 2)

    return lax.fori_loop(0, count, of_part, jax.grad(edge)(layers))


def _output(act: Activation, layers: Any, x: jax.Array) -> jax.Array:
    z = x @ layers[0]["kernel"] + layers[0]["bias"][None]
    for layer in layers[1:]:
        z = activate(act, z) @ layer["kernel"] + layer["bias"][None]
    return z[:, 0]


def train(
    act: "str | Activation | Function",
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
    cw = checked_number("cw", arguments.positive("cw", cw))
    rates = {"cw": cw, "rate": checked_number("learning_rate", learning_rate)}
    rates["first"] = cw / 2 if first is None else checked_number("first", first)
    marks = schedule.checked_snapshots(snapshots, steps, parts=10)
    seed, dtype, progress = checked_seed(seed), float_dtype(dtype), checked_progress(progress)
    check_representable(dtype, rates)
    nx, nt = _checked_grid(grid)
    sizes = (2, *[width] * hidden, 1)
    problem = _Problem(as_activation(act), batch, max(100, PART // n_nets))
    _check_memory(problem, sizes, n_nets, interior + boundary, nx * nt, dtype)
    points = draw_points(interior, boundary, seed)
    points = Points(*(a.astype(dtype) for a in points))
    x, t = np.linspace(-1, 1, nx), np.linspace(0, 1, nt)
    exact = burgers.solution(x[:, None], t)
    words, given = ensemble_words(seed), {name: np.asarray(value, dtype) for name, value in rates.items()}
    members = np.arange(n_nets, dtype=np.uint32)
    state = programs.call(_start, (problem, sizes, dtype), words, members, given)
    shapes = [str(jax.tree.map(jnp.shape, state)), str(dtype)]
    about = [*rates.values(), batch, marks, steps, seed, nx, nt, *shapes]
    identity = {"settings": hashlib.sha256(repr(about).encode()).hexdigest()}
    if checkpoint is not None:
        step_of = jax.make_jaxpr(functools.partial(_step, problem))(_first(state), given["rate"], points)
        identity["activation"] = digests.digest(step_of)
    folder, step, seen, earlier = checkpoints.checked_folder(checkpoint), 0, [], 0.0
    with checkpoints.held(folder), progress_bar(progress, "steps/s", "{task.fields[note]}") as bar:
        found = checkpoints.of_run(folder, identity)
        if found is not None:
            for note in found.notes:
                bar.console.print(note)
            leaves = [found.arrays[f"state {i}"] for i in range(len(jax.tree.leaves(state)))]
            state = jax.tree.unflatten(jax.tree.structure(state), [jnp.asarray(leaf) for leaf in leaves])
            step, seen, earlier = found.step, list(found.arrays["seen"]), float(found.attributes["seconds"])
        began, from_step = time.perf_counter(), step
        task = bar.add_task("training", total=steps, completed=step, speed=0.0, note="")
        for end in schedule.stops(marks, steps, every):
            if end < step or (end == step and seen):
                continue
            span = np.int32(step), np.int32(end - step)
            state = programs.call(_advance, problem, state, words, given["rate"], *span, points)
            step = end
            if end in marks:
                seen.append(_look(problem, state, points, x, t, exact)[0])
            if folder is not None:
                arrays = {f"state {i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(state))}
                attributes = {"identity": identity, "seconds": earlier + time.perf_counter() - began}
                checkpoints.write(folder, step, {**arrays, "seen": np.array(seen)}, attributes)
            speed = (step - from_step) / (time.perf_counter() - began)
            note = f"error {np.median(seen[-1][2]):.3g}" if seen else ""
            bar.update(task, completed=step, speed=speed, note=note)
    fields = _look(problem, state, points, x, t, exact)[1]
    residual, edge, error, slope_error, alive = np.moveaxis(np.array(seen), 1, 0)
    parameters = {"layers": dict(enumerate(jax.tree.map(np.asarray, state.parameters)))}
    seconds = earlier + time.perf_counter() - began
    return PinnRun(
        np.array(marks), residual, edge, error, slope_error, alive > 0, fields, x, t, parameters, seconds
    )


def _checked_grid(grid: Any) -> tuple[int, int]:
    if not isinstance(grid, Sequence | np.ndarray) or isinstance(grid, str) or len(grid) != 2:
        raise ArgumentTypeError(f"grid must be two integers ≥ 2, nx and nt; got {arguments.shown(grid)}")
    nx, nt = (arguments.positive_int("grid", n, maximum=2**20) for n in grid)
    return nx, nt


def _check_memory(
    problem: _Problem, sizes: tuple[int, ...], n_nets: int, points: int, grid: int, dtype: np.dtype
) -> None:
    """Check the memory: parameters, Adam's moments, updates, twice; layers of a part and the grid; points."""
    weights = sum(n_in * n for n_in, n in itertools.pairwise(sizes))
    steps = n_nets * (10 * weights + 12 * min(points, problem.part) * sum(sizes))
    numbers = steps + grid * (5 * max(sizes) + 4 * n_nets) + 8 * points
    memory.check(memory.OVERHEAD + numbers * dtype.itemsize, "these networks, points and grid")


def _first(tree: Any) -> Any:
    return jax.tree.map(lambda a: a[0], tree)


def _losses_of(problem: _Problem, layers: Any, points: Points):
    return losses(problem.act, layers, points)


def _start(about, words, members: jax.Array, given: Any) -> _State:
    problem, (n0, *hidden, n_out), dtype = about
    key = jax.random.wrap_key_data(words, impl=GENERATOR)

    def one(key):
        net = FCN(n0, hidden, n_out, act=problem.act, cw=given["cw"], rngs=key, dtype=dtype)
        layers = nnx.to_pure_dict(nnx.state(net))["layers"]
        layers = [layers[i] for i in range(len(layers))]
        layers[0]["kernel"] = layers[0]["kernel"] * jnp.sqrt(given["first"] / (given["cw"] / 2))
        return _State(layers, ADAM.init(layers), jnp.asarray(True))

    return jax.vmap(one)(jax.vmap(jax.random.fold_in, (None, 0))(key, members))


def _advance(problem: _Problem, state: _State, words, rate, first, count, points: Points) -> _State:
    key = jax.random.fold_in(jax.random.wrap_key_data(words, impl=GENERATOR), np.uint32(2**32 - 1))
    whole = len(points.interior)

    def step(i, state):
        batch = points
        if problem.batch_size < whole:
            rows = jax.random.randint(jax.random.fold_in(key, first + i), (problem.batch_size,), 0, whole)
            batch = points._replace(interior=points.interior[rows])
        return jax.vmap(lambda one: _step(problem, one, rate, batch))(state)

    return lax.fori_loop(0, count, step, state)


def _step(problem: _Problem, one: _State, rate, points: Points) -> _State:
    """One step of one network, which is frozen as it was if a new parameter is not finite."""
    gradient = slope(problem.act, one.parameters, points, part=problem.part)
    with programs.usual_promotion():
        change, optimizer = ADAM.update(gradient, one.optimizer, one.parameters)
    after = jax.tree.map(lambda a, b: a + rate * b, one.parameters, change)
    alive = one.alive & jnp.isfinite(sum(jnp.sum(jnp.abs(a)) for a in jax.tree.leaves(after)))
    new = _State(after, optimizer, alive)
    return jax.tree.map(lambda a, b: jnp.where(alive, a.astype(b.dtype), b), new, one._replace(alive=alive))


def _shown(problem: _Problem, state: _State, points: Points, grid):
    def one(layers):
        found = jet(problem.act, layers, grid)
        return (*_losses_of(problem, layers, points), found.u, found.u_x)

    return lax.map(one, state.parameters)


def _look(problem: _Problem, state: _State, points: Points, x, t, exact) -> tuple[np.ndarray, np.ndarray]:
    """(residual, boundary, error, slope error, alive) of every network, (5, n_nets), and u on the grid."""
    grid = np.stack(np.meshgrid(x, t, indexing="ij"), -1).reshape(-1, 2).astype(points.interior.dtype)
    residual, edge, u, u_x = (
        np.asarray(a, np.float64) for a in programs.call(_shown, problem, state, points, grid)
    )
    errors = [
        np.linalg.norm(found - true.ravel(), axis=1) / np.linalg.norm(true)
        for found, true in ((u, exact.u), (u_x, exact.u_x))
    ]
    rows = np.array([residual, edge, *errors, np.asarray(state.alive, np.float64)])
    return rows, u.reshape(-1, x.size, t.size)
