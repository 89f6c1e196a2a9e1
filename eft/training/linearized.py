"""The outputs of one network, or of several, trained with their tangent kernel held fixed."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Int

from eft import arguments
from eft.activations.programs import compiled
from eft.arguments import ArgumentError, ArgumentTypeError
from eft.records import METHODS
from eft.training.ensemble import decays, limits, targets_alone
from eft.training.kernels import MAX_OUTPUTS, Training, checked_kernel, checked_training, modes

Loss = Callable[[jax.Array, jax.Array], jax.Array]
"""(outputs, targets) → array of losses, whose mean is taken."""

TOLERANCE = {8: 1e-10, 4: 1e-6}
SMALL = 1e-6
"""Outputs at the start that are smaller, beside the targets, do not matter for the solver's accuracy."""
"""Relative and absolute error of a step of the solver, by bytes per number."""

MAX_STEPS = 100_000
"""Steps of the solver; a problem that needs more is stiff."""


class LinearizedFlow(NamedTuple):
    """Linearized networks in training; `*t` is the shape of the times.

    `t`: the times, or numbers of steps.
    `train`, `test`: outputs at the n training and the m test inputs, (*t, n), (*t, n, outputs) or
        (*t, samples, n, outputs), as in z0; `test` is None if m = 0.
    `loss`: (*t) or (*t, samples), at the training inputs.
    `max_rate`, `stable`, `rank`: as in `TrainFlow`; with another loss than half the square ∞, true and n.
    `valid`: bool, (*t): everything is finite, no eigenvalue of Θ_DD is negative beyond round-off, and the
        solver, if one was needed, got there.
    """

    t: jax.Array
    train: jax.Array
    test: jax.Array | None
    loss: jax.Array
    max_rate: Float[jax.Array, ""]
    stable: Bool[jax.Array, ""]
    rank: Int[jax.Array, ""]
    valid: jax.Array

    __repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS


def linearized_flow(
    Theta: ArrayLike,
    Y: ArrayLike,
    z0: ArrayLike,
    *,
    t: ArrayLike,
    loss: Loss | None = None,
    learning_rate: ArrayLike | None = None,
    momentum: float = 0.0,
) -> LinearizedFlow:
    """The outputs of networks that start from z0 and train with a fixed tangent kernel Θ.

        dz/dt = −Θ_·D ∂L/∂z_D,    L = mean of loss(z_D, Y)

    so that z = z0 − Θ_·D c with dc/dt = ∂L/∂z_D. This is how an infinitely wide network trains, and to
    leading order in 1/width one whose empirical NTK is Θ. For half the squared error, the default, the
    solution is that of `train_flow_from_kernels`, gradient descent with `learning_rate` and `momentum`
    included. Any other loss is for gradient flow, and is solved numerically, by Tsitouras' method of fifth
    order in the package diffrax, which the extra `ode` installs. An ensemble is a sample of z0, as
    `initial_outputs` draws it.

    `Theta`: (N, N), of the n training inputs followed by any test inputs, the same for every output. `Y`:
    (n,) or (n, outputs); with `loss` also class labels, integers (n,), which it then gets as they are. `z0`:
    (N,), (N, outputs) or (samples, N, outputs). `t` ≥ 0, of any shape; finite where there is a `loss`.
    `loss`: a function of outputs and targets, (n,) or (n, outputs) each, that returns an array whose mean is
    taken, such as `optax.softmax_cross_entropy_with_integer_labels`.

    The solver's error is about 1e-9 of the outputs (float32: 1e-5) if λ_max t ≲ 1e4 for λ_max of Θ_DD times
    the largest second derivative of L. Where t needs more than 100,000 steps, `valid` is false.

    Raises TypeError or ValueError for a bad argument; ImportError if there is a `loss` and no diffrax.

    >>> Theta = jnp.array([[2.0, 1.0, 1.0], [1.0, 2.0, 1.0], [1.0, 1.0, 2.0]])
    >>> flow = eft.linearized_flow(Theta, [1.0, 0.0], [0.0, 0.0, 0.5], t=[0.0, 1.0, jnp.inf])
    >>> print(flow.train[:, 0].round(4), flow.test[:, 0].round(4))
    [0.     0.5852 1.    ] [0.5    0.759  0.8333]
    """
    if loss is not None and not callable(loss):
        raise ArgumentTypeError(
            f"loss must be a function of outputs and targets, or None; got {arguments.shown(loss)}"
        )
    start = arguments.real_array("z0", z0)
    targets = targets_alone(Y)
    n = len(targets)
    kernel = checked_kernel("Theta", Theta, n)
    integers = loss is not None and jnp.issubdtype(jnp.asarray(Y).dtype, jnp.integer)
    labels = integers and targets.ndim == 1 and start.ndim > 1
    _check_start(start, targets, labels, len(kernel))
    dtype = jnp.result_type(kernel.dtype, start.dtype)
    training = checked_training(t, learning_rate, momentum, dtype)
    kernel, start = kernel.astype(dtype), start.astype(dtype)
    if loss is None:
        Y2 = targets.astype(dtype).reshape(n, -1)
        flow = _squares(kernel, Y2, start.reshape(-1, len(kernel), Y2.shape[1]), training)
    else:
        if training.rate is not None:
            raise ArgumentError(
                "learning_rate must be None where there is a loss, which is for gradient flow"
            )
        if not isinstance(training.t, Tracer) and np.isinf(training.t).any():
            raise ArgumentError("t must be finite where there is a loss; got inf")
        given = jnp.asarray(Y) if labels else targets.astype(dtype)
        one = start if start.ndim < 3 else start[0]
        _check_loss(loss, one[:n], given)
        flow = _solved(loss, kernel, given, start, training)
    lead = (*training.t.shape, *start.shape[:-2]) if start.ndim > 1 else training.t.shape
    columns = start.shape[start.ndim - 1 :] if start.ndim > 1 else ()

    def shaped(a):
        return None if a is None else a.reshape(*lead, -1, *columns)

    return flow._replace(train=shaped(flow.train), test=shaped(flow.test), loss=flow.loss.reshape(lead))


def initial_outputs(K: ArrayLike, samples: int, *, outputs: int = 1, seed: int = 0) -> jax.Array:
    """Outputs at initialization of infinitely wide networks, z ~ N(0, K): an array (samples, N, outputs).

    `K`: (N, N), the NNGP kernel of N inputs; eigenvalues that round-off made negative are set to 0, so that
    inputs may repeat. Outputs are independent of each other.

    Raises TypeError or ValueError for a bad argument, or if K has an eigenvalue below −√ε of the largest.

    >>> K = eft.gram_flow("relu", 2.0, 3, [[1.0, 0.0], [0.0, 1.0]]).K
    >>> z = eft.initial_outputs(K, 10_000)
    >>> print(z.shape, jnp.mean(z[:, 0] * z[:, 1]).round(1), K[0, 1].round(1))
    (10000, 2, 1) 0.5 0.5
    """
    kernel = checked_kernel("K", K, 1)
    count = arguments.positive_int("samples", samples, maximum=MAX_OUTPUTS)
    n_out = arguments.positive_int("outputs", outputs, maximum=MAX_OUTPUTS)
    if not isinstance(seed, int | np.integer) or isinstance(seed, bool) or not 0 <= seed < 2**32:
        raise ArgumentError(f"seed must be an integer from 0 to 2**32 - 1; got {arguments.shown(seed)}")
    eigenvalues, vectors = jnp.linalg.eigh((kernel + kernel.T) / 2)
    if not isinstance(kernel, Tracer):
        lowest, largest = float(eigenvalues[0]), float(eigenvalues[-1])
        if lowest < -(float(jnp.finfo(kernel.dtype).eps) ** 0.5) * max(largest, 0.0) or largest < 0:
            raise ArgumentError(f"K must have no negative eigenvalue; got {lowest}")
    normal = jax.random.normal(jax.random.key(int(seed)), (count, len(kernel), n_out), kernel.dtype)
    half = vectors * jnp.sqrt(jnp.maximum(eigenvalues, 0.0))[None]
    return jnp.einsum("ab,sbo->sao", half, normal, precision=lax.Precision.HIGHEST)


def _check_start(start: jax.Array, targets: jax.Array, labels: bool, N: int) -> None:
    columns = targets.shape[1:]
    outputs = "outputs" if labels else columns[0] if columns else 1
    allowed = f"({N}, {outputs}) or (samples, {N}, {outputs})" + (f", or ({N},)" if not columns else "")
    right = start.ndim in (2, 3) and (labels or start.shape[-1] == outputs) and start.shape[-2] == N
    if not (right or (start.shape == (N,) and not columns)) or not start.size:
        raise ArgumentError(f"z0 must have shape {allowed}; got {start.shape}")
    if not isinstance(start, Tracer) and not np.isfinite(np.asarray(start)).all():
        raise ArgumentError("z0 must be finite; it holds nan or inf")


def _check_loss(loss: Loss, outputs: Any, targets: Any) -> None:
    shapes = (
        jax.ShapeDtypeStruct(outputs.shape, outputs.dtype),
        jax.ShapeDtypeStruct(targets.shape, targets.dtype),
    )
    given = f"outputs of shape {outputs.shape} and targets {targets.dtype} of shape {targets.shape}"
    try:
        losses = jax.eval_shape(loss, *shapes)
    except Exception as error:
        raise ArgumentTypeError(
            f"loss must take {given}; it raised {type(error).__name__}: {error}"
        ) from error
    if not isinstance(losses, jax.ShapeDtypeStruct) or not jnp.issubdtype(losses.dtype, jnp.floating):
        raise ArgumentTypeError(f"loss must return an array of real numbers; got {losses}")


@compiled()
def _squares(Theta, Y, z0, training: Training) -> LinearizedFlow:
    """z_D = z0_D − (1 − P)(z0_D − Y),  z_* = z0_* − A(z0_D − Y); z0 (samples, N, outputs)."""
    n, targets = len(Y), Y.size
    m = modes((Theta[:n, :n] + Theta[:n, :n].T) / 2)
    V, Theta_cross = m.vectors, Theta[n:, :n] @ m.vectors
    away = jnp.einsum("ai,sao->sio", V, z0[:, :n] - Y[None])

    def at(time):
        p, phi = decays(training, m, targets, *time)
        left = jnp.einsum("ai,sio->sao", V, p[None, :, None] * away)
        gone = (m.eigenvalues * phi)[None, :, None] * away
        train = z0[:, :n] - jnp.einsum("ai,sio->sao", V, gone)
        test = z0[:, n:] - jnp.einsum("mi,sio->smo", Theta_cross, phi[None, :, None] * away)
        return train, test, jnp.mean(left**2, (1, 2)) / 2

    train, test, loss = lax.map(at, (training.t.ravel(), training.odd.ravel()))
    finite = jnp.isfinite(train).all((1, 2, 3)) & jnp.isfinite(test).all((1, 2, 3))
    valid = (finite & m.sound).reshape(training.t.shape)
    about = *limits(training, m, targets), jnp.sum(m.trained), valid
    return LinearizedFlow(training.t, train, test if n < len(Theta) else None, loss, *about)


def _solved(loss: Loss, Theta, Y, z0, training: Training) -> LinearizedFlow:
    try:
        import diffrax  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "loss needs an ODE solver, diffrax, which is not installed: pip install 'eft-nets[ode]'"
        ) from error
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return _solution(loss, Theta, Y, z0, training.t)


@compiled(0)
def _solution(loss: Loss, Theta, Y, z0, t) -> LinearizedFlow:
    """z = z0 − Θ_·D c,  dc/dt = ∂L/∂z_D,  at sorted times."""
    import diffrax

    n, order = len(Y), jnp.argsort(t.ravel())
    times = t.ravel()[order]
    tolerance = TOLERANCE[z0.dtype.itemsize]
    of_targets = jnp.max(jnp.abs(Y)).astype(z0.dtype) if jnp.issubdtype(Y.dtype, jnp.floating) else 1.0
    largest = jnp.max(jnp.abs(Theta[:n, :n]))

    def absolute(z):
        """Of c, which is of the size z/Θ."""
        size = jnp.maximum(jnp.max(jnp.abs(z)), SMALL * of_targets)
        size = jnp.where(size > 0, size, 1.0) / jnp.where(largest > 0, largest, 1.0)
        return tolerance * jnp.maximum(size, jnp.finfo(z.dtype).tiny / tolerance)

    def mean_loss(z):
        return jnp.mean(loss(z, Y)).astype(z.dtype)

    def slope(_, c, z):
        return jax.grad(mean_loss)(z - Theta[:n, :n] @ c)

    def solved(z):
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(slope),
            diffrax.Tsit5(),
            t0=jnp.zeros_like(times[0]),
            t1=times[-1],
            dt0=None,
            y0=jnp.zeros_like(z[:n]),
            args=z[:n],
            saveat=diffrax.SaveAt(ts=times),
            stepsize_controller=diffrax.PIDController(rtol=tolerance, atol=absolute(z[:n])),
            max_steps=MAX_STEPS,
            throw=False,
        )
        sorted_c = jnp.asarray(solution.ys)
        c = jnp.zeros_like(sorted_c).at[order].set(sorted_c)
        outputs = z - jnp.einsum("ab,tb...->ta...", Theta[:, :n], c)
        losses = jax.vmap(mean_loss)(outputs[:, :n])
        return outputs, losses, jnp.isfinite(outputs.reshape(len(c), -1)).all(1) & jnp.isfinite(losses)

    if z0.ndim < 3:
        outputs, losses, got_there = solved(z0)
        axis = 1
    else:
        outputs, losses, got_there = lax.map(solved, z0)
        outputs, losses, got_there = jnp.swapaxes(outputs, 0, 1), losses.T, got_there.all(0)
        axis = 2
    train, test = jnp.split(outputs, [n], axis)
    return LinearizedFlow(
        t,
        train,
        test if n < len(Theta) else None,
        losses,
        jnp.asarray(jnp.inf, z0.dtype),
        jnp.asarray(True),
        jnp.asarray(n),
        got_there.reshape(t.shape),
    )
