"""The learning problem: inputs, targets, and the loss between outputs and targets."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from eft import arguments
from eft.arguments import ArgumentError, ArgumentTypeError


class Samples(NamedTuple):
    """The inputs, and the targets to learn.

    `X`: (N, n₀). `Y`: (N, n_L), or labels (N,), int32. `n_out`: n_L. `labels`: targets are class labels,
    0 … n_L − 1.
    """

    X: np.ndarray
    Y: np.ndarray
    n_out: int
    labels: bool


def checked_samples(data: Any, n_out: int | None, dtype: np.dtype) -> Samples:
    """Inputs (N, n₀) and targets: (N,), (N, n_L) or, with `n_out` ≥ 2, class labels, integers (N,).

    Raises TypeError or ValueError if `data` is anything else, or not finite in `dtype`.
    """
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise ArgumentTypeError(f"data must be (inputs, targets); got {arguments.shown(data)}")
    if n_out is not None:
        n_out = arguments.positive_int("n_out", n_out)
    X = arguments.host_inputs("the inputs of data", data[0], dtype).astype(dtype)
    Y = arguments.host_array("the targets of data", data[1])
    integers = np.asarray(data[1]).dtype.kind in "iu"
    if n_out is not None and n_out > 1 and integers and Y.ndim == 1 and Y.size:
        return Samples(X, _labels(Y, len(X), n_out), n_out, True)
    with np.errstate(over="ignore"):
        finite = np.isfinite(Y.astype(dtype)).all()
    if Y.ndim not in (1, 2) or len(Y) != len(X) or not Y.size or not finite:
        raise ArgumentError(
            f"the targets of data must have shape ({len(X)},) or ({len(X)}, outputs) and be finite in "
            f"{dtype}; got shape {Y.shape}"
        )
    Y = Y.reshape(len(X), -1)
    if n_out not in (None, Y.shape[1]):
        raise ArgumentError(
            f"n_out must be the number of targets of a sample, {Y.shape[1]}, or that of classes where "
            f"targets are integers of shape ({len(X)},); got {n_out}, and targets "
            f"{np.asarray(data[1]).dtype} of shape {np.shape(data[1])}"
        )
    return Samples(X, Y.astype(dtype), Y.shape[1], False)


def _labels(Y: np.ndarray, count: int, n_out: int) -> np.ndarray:
    if len(Y) != count or Y.min() < 0 or Y.max() >= n_out:
        raise ArgumentError(
            f"the targets of data must be {count} integers from 0 to n_out − 1 = {n_out - 1}; got shape "
            f"{Y.shape} from {Y.min():.0f} to {Y.max():.0f}"
        )
    return Y.astype(np.int32)


def check_loss(loss: Any, samples: Samples) -> None:
    """Raises TypeError or ValueError unless loss(outputs, targets) has shape (), (N,) or that of outputs."""
    if not callable(loss):
        raise ArgumentTypeError(
            "loss must be a function of outputs and targets, such as optax.l2_loss; "
            f"got {arguments.shown(loss)}"
        )
    n, m = samples.n_out, samples.n_out + 1  # equal numbers of samples and outputs would hide a wrong axis
    outputs = jax.ShapeDtypeStruct((m, n), samples.X.dtype)
    targets = jax.ShapeDtypeStruct((m, *samples.Y.shape[1:]), samples.Y.dtype)
    given = f"outputs {outputs.dtype} of shape (N, {n}) and targets {targets.dtype} of shape " + (
        "(N,)" if samples.labels else f"(N, {n})"
    )
    try:
        losses = jax.eval_shape(loss, outputs, targets)
    except Exception as error:
        raise ArgumentTypeError(
            f"loss must take {given}; it raised {type(error).__name__}: {error}"
            + ("" if samples.labels else ". For labels give integers (N,), and n_out, the number of classes")
        ) from error
    if not isinstance(losses, jax.ShapeDtypeStruct) or not jnp.issubdtype(losses.dtype, jnp.floating):
        raise ArgumentTypeError(f"loss must return an array of real numbers; got {losses}")
    if losses.shape not in ((m, n), (m,), ()):
        shape = str(losses.shape).replace(str(m), "N")
        raise ArgumentError(f"loss must return shape (N, {n}), (N,) or (), of {given}; got {shape}")
