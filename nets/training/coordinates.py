"""Coordinate check: what a few steps change in each layer, against the width, and what theory expects."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from eft import arguments
from eft.activations.definition import ActivationLike
from eft.arguments import ArgumentError, ArgumentTypeError
from eft.records import METHODS
from nets.runtime import programs
from nets.statistics.estimators import Estimate
from nets.training import ensemble, program

WIDTHS = (32, 48, 64, 96, 128, 192, 256, 384)
OPTIMIZERS = ensemble.OPTIMIZERS


class CoordinateCheck(NamedTuple):
    """The size of the pre-activations, and of what some steps change in them, against the width.

    `widths`: (w,) hidden widths n. `size`, `change`: Estimates (w, depth), the root mean square over
    networks, samples and neurons of z^l at the start, and of its change. `exponent`: Estimate (depth,), the
    slope of log change against log n. `size_exponent`, `change_exponent`: (depth,) what theory
    expects as n → ∞. `transfers`: whether it expects no change to grow with the width, so that a rate that
    is stable at one width is stable at all. `parametrization`, `optimizer`, `learning_rate`, `steps`: as
    given.
    """

    widths: np.ndarray
    size: Estimate
    change: Estimate
    exponent: Estimate
    size_exponent: np.ndarray
    change_exponent: np.ndarray
    transfers: bool
    parametrization: str
    optimizer: str
    learning_rate: float
    steps: int

    __repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS

    def __str__(self) -> str:
        small, large = self.widths[0], self.widths[-1]
        rows = [
            f"{self.parametrization}, {self.optimizer} at {self.learning_rate:g}, {self.steps} steps: "
            f"change of z in each layer, n = {small} to {large}",
            f"{'layer':>5} {f'n = {small}':>11} {f'n = {large}':>11} {'exponent of n':>16} {'theory':>7}",
        ]
        change, exponent = np.asarray(self.change.mean), self.exponent
        for i, theory in enumerate(self.change_exponent):
            slope = f"{exponent.mean[i]:.3f} ± {exponent.stderr[i]:.3f}"
            rows.append(f"{i + 1:>5} {change[0, i]:>11.4g} {change[-1, i]:>11.4g} {slope:>16} {theory:>7g}")
        rows.append(
            "By theory no layer's change grows with the width: the rate transfers."
            if self.transfers
            else "By theory a layer's change grows with the width: the rate does not transfer."
        )
        return "\n".join(rows)


def expected_exponents(
    name: str, optimizer: str, depth: int, biased: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """The powers of n in the size of z^l at the start and in its change by the first steps, l = 1 … L.

    ∂z^L/∂z^l ~ n^{−1/2} in each neuron, or n^{−1} in μ. Gradient descent moves W^l σ by (rate of W^l) × n ×
    ∂z^L/∂z^l, where n is the sum over neurons, constant in the first layer, and the output by the sum over
    neurons of ∂z^L/∂z^l times their change. Adam moves every weight by its rate, and all that a neuron
    receives adds up. `biased`: C_b > 0, which keeps the output of order 1 in μ.
    """
    size, change = np.zeros(depth), np.zeros(depth)
    if name == "mup":
        size[-1] = 0.0 if biased or depth == 1 else -0.5
        return size, change
    if depth == 1:
        return size, change
    if optimizer == "sgd":
        change[:] = 0.5 if name == "standard" else -0.5
        change[0] = -0.5
        change[-1] = 1.0 if name == "standard" else 0.0
    else:
        own = 1.0 if name == "standard" else 0.5
        change[1:] = own
        change[-1] = max(own, 0.5 + (own if depth > 2 else 0.0))
    return size, change


def coordinate_check(
    act: ActivationLike,
    cw: float,
    depth: int,
    data: tuple[Any, Any],
    *,
    parametrization: str = "standard",
    optimizer: str = "sgd",
    learning_rate: float = 1e-3,
    steps: int = 3,
    widths: Sequence[int] = WIDTHS,
    n_nets: int = 8,
    cb: float = 0.0,
    K1: float | None = None,
    x2: float = 1.0,
    seed: int = 0,
    skip: float = 0.0,
    norm: str | None = None,
    weights: str = "gaussian",
    dtype: Any = jnp.float32,
) -> CoordinateCheck:
    """Train networks of several widths for some steps, and compare how far each layer moves.

        size^l = √⟨z²⟩,    change^l = √⟨(z_after − z_before)²⟩ ~ n^exponent

    A learning rate carries over from one width to another if what a step changes in each layer does not grow
    with the width. In the standard parametrization it does, for gradient descent as n in the output; in that
    of the NTK the output moves by order 1 and the hidden layers do not learn features, n^{−1/2}; in μ all
    move by order 1. The expected exponents hold for steps that change little: take a small learning rate.

    `act`, `cw`, `depth`, `data`, `cb`, `K1`, `x2`, `seed`, `skip`, `norm`, `weights`, `dtype`,
    `parametrization`: as for `train`; the loss is half the squared error. `optimizer`: "sgd" or "adam", at
    `learning_rate`. `widths`: two or more different hidden widths. `n_nets`: networks of each width.

    Raises ArgumentError or ArgumentTypeError for a bad argument before any work, and if networks overflow.

    >>> X = jnp.linspace(-1, 1, 4)[:, None]
    >>> check = nets.coordinate_check(
    ...     "tanh", 1.0, 3, (X, X**2), parametrization="mup", learning_rate=0.01, widths=(16, 32)
    ... )
    >>> print(check.change_exponent, check.transfers)
    [0. 0. 0.] True
    """
    optimizer = str(arguments.one_of("optimizer", optimizer, tuple(OPTIMIZERS)))
    rate = arguments.number("learning_rate", learning_rate)
    if rate == 0:
        raise ArgumentError("learning_rate must be > 0; got 0")
    n = _checked_widths(widths)
    steps = arguments.positive_int("steps", steps)
    n_nets = arguments.positive_int("n_nets", n_nets)
    if n_nets < 2:
        raise ArgumentError(f"n_nets must be ≥ 2, for errors; got {n_nets}")
    jobs = [
        ensemble.prepare(
            act, cw, depth, width, n_nets, data, optimizer=OPTIMIZERS[optimizer](rate), learning_rate=rate,
            steps=steps, snapshots=(0, steps), batch_size=None, loss=optax.l2_loss, n_out=None, x_probe=None,
            x_test=None, seed=seed, cb=cb, K1=K1, x2=x2, widths=None, dtype=dtype, initial=None, keeps=False,
            memory_budget=None, skip=skip, norm=norm, weights=weights, readout=True,
            parametrization=parametrization,
        )
        for width in n
    ]  # fmt: skip
    squares = []
    for width, job in zip(n, jobs, strict=True):
        alive, *of_width = _squares(job)
        if not (alive.all() and np.isfinite(of_width).all()):
            raise ArgumentError(
                f"learning_rate must be small enough; at {rate:g} networks overflow at width {width}"
            )
        squares.append(of_width)
    size, change = (_root(np.array(each)) for each in zip(*squares, strict=True))
    size_exponent, change_exponent = expected_exponents(parametrization, optimizer, depth, cb > 0)
    return CoordinateCheck(
        np.array(n), size, change, _slope(np.log(n), change), size_exponent, change_exponent,
        bool((change_exponent <= 0).all()), parametrization, optimizer, rate, steps,
    )  # fmt: skip


def _checked_widths(widths: object) -> tuple[int, ...]:
    if not isinstance(widths, Sequence | np.ndarray) or isinstance(widths, str):
        raise ArgumentTypeError(f"widths must be a sequence of integers ≥ 1; got {arguments.shown(widths)}")
    n = tuple(arguments.positive_int(f"widths[{i}]", width) for i, width in enumerate(widths))
    if len(set(n)) < 2:
        raise ArgumentError(f"widths must hold at least two different widths; got {arguments.shown(widths)}")
    return n


def _squares(job: ensemble.Job) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which networks are finite after the steps; mean squares of z^l before, and of its change: (nets, L)."""
    count = job.plan.n_nets
    state = program.start(job.learner, job.settings, job.seed, count, job.initial)
    before = program.on_host(state.parameters, count)
    state = program.advance(job.learner, job.rate, job.settings.skip, state, 0, job.steps, job.data)
    after, alive = program.on_host((state.parameters, state.alive), count)
    X = jnp.asarray(job.data["X"])
    size, change = programs.call(_layers, job.learner, before, after, job.settings.skip, X)
    return alive, np.asarray(size, float), np.asarray(change, float)


def _layers(learner, before, after, skip, X) -> tuple[jax.Array, jax.Array]:
    def one(first, last):
        z, moved = (learner.network(parameters, skip).preactivations(X) for parameters in (first, last))
        changes = jnp.stack([jnp.mean((b - a) ** 2) for a, b in zip(z, moved, strict=True)])
        return jnp.stack([jnp.mean(a * a) for a in z]), changes

    return jax.vmap(one)(before, after)


def _root(squares: np.ndarray) -> Estimate:
    """√ of the mean over networks, which run along axis 1, and its error."""
    root = np.sqrt(squares.mean(1))
    stderr = squares.std(1, ddof=1) / np.sqrt(squares.shape[1])
    return Estimate(root, stderr / (2 * np.where(root > 0, root, 1.0)))


def _slope(x: np.ndarray, change: Estimate) -> Estimate:
    """The weighted least-squares slope of log change against x, for every layer."""
    with np.errstate(all="ignore"):
        y, weight = np.log(change.mean), (change.mean / change.stderr) ** 2
    share = weight / weight.sum(0)
    deviation = x[:, None] - (share * x[:, None]).sum(0)
    curvature = (weight * deviation**2).sum(0)
    return Estimate((weight * deviation * y).sum(0) / curvature, 1 / np.sqrt(curvature))
