"""Comparison of theory and experiment in training: `eft.train_flow` and the ensemble of `nets.train`."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import eft
from eft import arguments
from eft.activations.definition import ActivationLike
from eft.records import METHODS
from nets.statistics import estimators
from nets.statistics.estimators import Estimate
from nets.training import schedule
from nets.training.ensemble import MAX_DEPTH, train
from nets.training.objective import checked_samples
from nets.training.parametrization import checked_layer_rates
from nets.training.run import TrainingRun

CURVE = 80
"""Steps at which theory is computed for a line."""


class TrainingComparison(NamedTuple):
    """Networks in training beside infinitely wide ones, at S snapshots and m test inputs.

    `run`: the ensemble. `flow`: theory at the same steps; `curve`: at more of them. Its loss and its outputs
    lack terms of order 1/n.
    `loss`: Estimate (S,), the mean over networks. `z_loss`: (measured − theory)/stderr, (S,).
    `z_mean`, `z_variance`: (S, m, n_L), the same of mean and variance of the outputs over networks. Outputs
    of different inputs are correlated.
    """

    run: TrainingRun
    flow: eft.TrainFlow
    curve: eft.TrainFlow
    loss: Estimate
    z_loss: np.ndarray
    z_mean: np.ndarray
    z_variance: np.ndarray

    __repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS

    def __str__(self) -> str:
        rows = [f"{'steps':>8} {'mean loss':>22} {'theory':>11} {'z':>6}   rms z of outputs: mean, variance"]
        for s, step in enumerate(self.run.steps):
            measured = f"{self.loss.mean[s]:.5g} ± {self.loss.stderr[s]:.1g}"
            mean, variance = (np.sqrt(np.mean(z[s] ** 2)) for z in (self.z_mean, self.z_variance))
            theory = float(np.asarray(self.flow.train.loss)[s])
            loss = f"{step:>8,} {measured:>22} {theory:>11.5g} {self.z_loss[s]:>+6.1f}"
            rows.append(f"{loss} {mean:>26.2f} {variance:>9.2f}")
        rate = f"the largest rate of infinitely wide networks is {float(self.flow.max_rate):.4g}"
        return "\n".join([*rows, rate if self.flow.stable else f"{rate}: this one diverges"])


@arguments.also_named(X_test="x_test")
def compare_training(
    act: ActivationLike,
    cw: float,
    depth: int,
    width: int,
    n_nets: int,
    data: tuple[Any, Any],
    *,
    learning_rate: float,
    momentum: float = 0.0,
    steps: int = 1000,
    snapshots: Sequence[int] | None = None,
    x_test: Any = None,
    parametrization: str = "ntk",
    layer_rates: tuple[Any, Any] | None = None,
    cb: float = 0.0,
    K1: float | None = None,
    x2: float = 1.0,
    skip: float = 0.0,
    norm: str | None = None,
    weights: str = "gaussian",
    dtype: Any = jnp.float32,
    **more: Any,
) -> TrainingComparison:
    """Train networks by gradient descent in full batches, and predict the same at infinite width.

    The loss is ½(z − Y)², averaged over samples and outputs. Theory is `eft.train_flow` with the same
    arguments, computed in float64 whatever `dtype` the networks have; in the parametrization "standard", one
    rate for all plain parameters, its λ_W of a layer is the number of its inputs. Outputs and loss of finite
    networks differ from it by terms of order 1/n, which many networks make visible in `z`.

    `parametrization`: "ntk" or "standard". `x_test`: inputs at which outputs are compared; default: those of
    the data. `momentum`: as of `optax.sgd`. `K1`, `x2`: as for `FCN`. `more`: `seed`,
    `checkpoint`, `progress` … of `nets.train`.

    Raises ArgumentError or ArgumentTypeError for a bad argument, before networks are drawn.

    >>> X = jnp.linspace(-1, 1, 4)[:, None]
    >>> found = nets.compare_training("erf", 1.5, 3, 64, 20, (X, X**2), learning_rate=0.5, steps=20)
    >>> print(found.run.steps, bool(np.abs(found.z_loss).max() < 5))
    [ 0  5 10 15 20] True
    """
    name = str(arguments.one_of("parametrization", parametrization, ("ntk", "standard")))
    steps = schedule.checked_steps(steps)
    marks = schedule.checked_snapshots(snapshots, steps, parts=4)
    learning_rate, momentum = (
        arguments.number(key, value)
        for key, value in (("learning_rate", learning_rate), ("momentum", momentum))
    )
    samples = checked_samples(data, None, np.dtype(float))
    X, Y = samples.X, np.reshape(samples.Y, np.shape(data[1]))
    depth = arguments.positive_int("depth", depth, maximum=MAX_DEPTH)
    width = arguments.positive_int("width", width, maximum=arguments.MAX_WIDTH)
    n_nets = arguments.positive_int("n_nets", n_nets)
    rates: Any = None if layer_rates is None else checked_layer_rates(layer_rates, depth)
    if name == "standard":
        of_weights, of_biases = np.ones((2, depth)) if rates is None else np.array(rates)
        rates = (np.array([X.shape[-1], *[width] * (depth - 1)]) * of_weights, of_biases)
    setting = {"cb": cb, "skip": skip, "norm": norm, "weights": weights}
    first = None if K1 is None else arguments.number("K1", K1) / float(arguments.positive("x2", x2))
    dense = np.unique(np.geomspace(1, max(marks[-1], 2), CURVE).round().astype(int))

    with jax.enable_x64(True):

        def predicted(t) -> eft.TrainFlow:
            test = None if x_test is None else np.asarray(x_test, float)
            flow = eft.train_flow(
                act, cw, depth, X, Y, test, t=t, learning_rate=learning_rate, momentum=momentum,
                layer_rates=rates, K1=first, **setting,
            )  # fmt: skip
            return jax.tree.map(np.asarray, flow)

        flow, curve = predicted(list(marks)), predicted([0, *dense])
    sgd = optax.sgd(learning_rate, momentum=momentum or None)
    run = train(
        act, cw, depth, width, n_nets, data, optimizer=sgd, steps=steps, snapshots=marks, x_test=x_test,
        parametrization=name, layer_rates=layer_rates, dtype=dtype, K1=K1, x2=x2, **setting, **more,
    )  # fmt: skip
    outputs = flow.train if flow.test is None else flow.test
    mean, shape = np.asarray(outputs.mean), run.outputs.mean.shape
    loss = [estimators.mean(run.loss[s][run.alive[s]]) for s in range(len(marks))]
    measured = Estimate(*(np.array([float(each[i]) for each in loss]) for i in range(2)))
    return TrainingComparison(
        run,
        flow,
        curve,
        measured,
        estimators.z_score(measured, np.asarray(flow.train.loss)),
        estimators.z_score(run.outputs, mean.reshape(shape)),
        estimators.z_score(run.outputs_variance, np.broadcast_to(outputs.variance[..., None], shape)),
    )
