"""Mean and covariance of the outputs of infinitely wide networks while they are trained."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Int

from eft import arguments
from eft.activations.definition import ActivationLike
from eft.activations.programs import compiled
from eft.arguments import ArgumentError
from eft.flows.gram import MEMORY, check_same_n0, checked_inputs, gram_flow
from eft.flows.regression import checked_targets
from eft.records import METHODS
from eft.training.decay import gradient_descent, gradient_flow, heavy_ball
from eft.training.kernels import Modes, Training, checked_kernel, checked_training, largest_rate, modes


class Outputs(NamedTuple):
    """The outputs at n inputs, over networks drawn independently; `*t` is the shape of the times.

    `mean`: (*t, n), or (*t, n, outputs).
    `variance`: (*t, n), the same for every output; negative values due to round-off are set to 0.
    `covariance`: (*t, n, n) of one output at all inputs, if it was asked for; else None. Different outputs
        are independent.
    `loss`: (*t) mean over networks of the loss at these inputs; None if they have no targets.
    """

    mean: jax.Array
    variance: Float[jax.Array, "*t n"]
    covariance: Float[jax.Array, "*t n n"] | None
    loss: Float[jax.Array, "*t"] | None

    __repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS


class TrainFlow(NamedTuple):
    """An ensemble of infinitely wide networks in training.

    `t`: the times, or numbers of steps; of any shape.
    `train`, `test`: the outputs at the training and test inputs; `test` is None if there are none.
    `max_rate`: () the learning rate below which training converges; ∞ in gradient flow.
    `stable`: bool, (): the learning rate is below `max_rate`. If not, the outputs do not converge, and as a
        rule grow without limit.
    `rank`: () eigenvalues of Θ_DD that are positive beyond round-off. Along the other eigenvectors, of which
        there are some if inputs repeat, nothing is ever learned.
    `clipped`: (*t) the largest amount by which round-off made a variance negative.
    `valid`: bool, (*t): everything is finite, `clipped` is at most √ε max K, no eigenvalue of Θ_DD is
        negative beyond round-off, and the kernels are valid.
    """

    t: Float[jax.Array, "*t"]
    train: Outputs
    test: Outputs | None
    max_rate: Float[jax.Array, ""]
    stable: Bool[jax.Array, ""]
    rank: Int[jax.Array, ""]
    clipped: Float[jax.Array, "*t"]
    valid: Bool[jax.Array, "*t"]

    __repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS


@arguments.also_named(x="X", x_test="X_test")
def train_flow(
    act: ActivationLike,
    cw: ArrayLike,
    depth: int,
    X: ArrayLike,
    Y: ArrayLike,
    X_test: ArrayLike | None = None,
    *,
    t: ArrayLike,
    learning_rate: ArrayLike | None = None,
    momentum: float = 0.0,
    Y_test: ArrayLike | None = None,
    covariance: bool = False,
    cb: ArrayLike = 0.0,
    K1: ArrayLike | None = None,
    lambda_w: ArrayLike = 1.0,
    lambda_b: ArrayLike = 1.0,
    layer_rates: tuple[ArrayLike, ArrayLike] | None = None,
    skip: ArrayLike = 0.0,
    readout: bool = True,
    norm: str | None = None,
    weights: str = "gaussian",
    memory_budget: int | str = MEMORY,
) -> TrainFlow:
    """Mean and variance of an infinitely wide network's outputs after training for the times t.

    All parameters are trained on the loss of `nets.train`, in full batches; at t = 0 the outputs are those of
    the NNGP, at t = ∞ those of the NTK in `regress`. `X`: (n, n₀). `Y`: (n,) or (n, outputs). `X_test`:
    (m, n₀). The kernels are those of `gram_flow`, with its arguments, except that `readout` is true unless
    told otherwise, as in `regress`. The formulas, and all other arguments, are those of
    `train_flow_from_kernels`. Gradient descent at rate η is `nets.train(..., learning_rate=η,
    parametrization="ntk")` with λ_W = λ_b = 1 at infinite width.

    Raises TypeError or ValueError for a bad argument, or if `memory_budget`, bytes or text such as
    "2GB", does not hold the kernels.

    >>> X = jnp.linspace(-1, 1, 5)[:, None]
    >>> flow = eft.train_flow("erf", 1.5, 3, X, jnp.sin(X[:, 0]), [[0.3]], t=[0.0, 10.0, jnp.inf], cb=0.1)
    >>> print(flow.test.mean[:, 0].round(4), flow.test.variance[:, 0].round(4))
    [0.     0.385  0.2781] [0.5468 0.0074 0.0012]
    """
    rows = checked_inputs("X", X)
    test = None if X_test is None else checked_inputs("X_test", X_test)
    if test is not None:
        check_same_n0(rows, "X_test", test)
    targets = checked_targets(Y, len(rows))
    training = checked_training(t, learning_rate, momentum, rows.dtype)
    if Y_test is not None and test is None:
        raise ArgumentError("X_test must be given where Y_test is; got None")
    after = _checked_test(Y_test, 0 if test is None else len(test), targets.shape[1:])
    whole = arguments.true_or_false("covariance", covariance)
    x = rows if test is None else jnp.concatenate([rows, test.astype(rows.dtype)])
    flow = gram_flow(
        act, cw, depth, x, cb=cb, K1=K1, lambda_w=lambda_w, lambda_b=lambda_b, layer_rates=layer_rates,
        skip=skip, readout=readout, norm=norm, weights=weights, memory_budget=memory_budget,
    )  # fmt: skip
    trained = trained_ensemble(whole, flow.K, flow.Theta, targets, after, training)
    return trained._replace(valid=trained.valid & jnp.all(flow.valid))


def train_flow_from_kernels(
    K: ArrayLike,
    Theta: ArrayLike,
    Y: ArrayLike,
    *,
    t: ArrayLike,
    learning_rate: ArrayLike | None = None,
    momentum: float = 0.0,
    Y_test: ArrayLike | None = None,
    covariance: bool = False,
) -> TrainFlow:
    """Mean and covariance of infinitely wide networks in training, from given kernels.

    The loss is ½(z − Y)² averaged over the n samples D and the n_L outputs, with λ_W/n_{l−1} and λ_b the
    relative rates of weights and biases, as in `gram_flow`. At infinite width the outputs z then follow

        gradient flow:     dz/dt = −Θ_·D (z_D − Y)/(n n_L)
        gradient descent:  z_{k+1} = z_k − η Θ_·D u_{k+1}/(n n_L),    u_{k+1} = βu_k + z_D,k − Y,    u_0 = 0

    and remain Gaussian over initializations. With Θ_DD = Σ λvvᵀ, P = Σ p vvᵀ and A = Θ_*D Σ (1 − p)/λ vvᵀ,

        mean:        z_D: (1 − P)Y              z_*: A Y
        covariance:  z_D: P K_DD P              z_*: K_** − A K_D* − K_*D Aᵀ + A K_DD Aᵀ

    where p(t) = exp(−λt/(n n_L)) in gradient flow, (1 − ηλ/(n n_L))ᵗ in gradient descent, and with momentum
    the solution of the recursion.

    `K`, `Theta`: kernels (N, N), N = n + m, of the n training inputs followed by m ≥ 0 test inputs, as
    gram_flow gives them for both together. `Y`: (n,) or (n, n_L). `t` ≥ 0, of any shape, ∞ included: times,
    or with `learning_rate` = η whole numbers of steps. `momentum` = β, 0 ≤ β < 1: heavy-ball momentum, as in
    `optax.sgd`. `Y_test`: targets of the test inputs, for the loss there. `covariance`: whether to return
    the whole covariance and not only its diagonal.

    At any t the accuracy is round-off times λ_max over the smallest positive eigenvalue, at worst. Where
    η ≥ `max_rate`, `stable` is false, and `valid` is false once numbers have overflowed and at t = ∞, where
    there is no limit. Time n³ for each t. Differentiable in Y, η and t of gradient flow; in the kernels where
    no two eigenvalues of Θ_DD are equal.

    Raises TypeError or ValueError for a bad argument.

    >>> K = Theta = jnp.array([[2.0, 1.0, 1.0], [1.0, 2.0, 1.0], [1.0, 1.0, 2.0]])
    >>> flow = eft.train_flow_from_kernels(K, Theta, [1.0, 0.0], t=[0, 1, 2], learning_rate=0.5)
    >>> print(flow.test.mean[:, 0], flow.test.variance[:, 0], flow.train.loss)
    [0.     0.25   0.3125] [2.        1.375     1.3359375] [1.25       0.265625   0.12207031]
    >>> print(f"{flow.max_rate:.4f}", flow.stable)
    1.3333 True
    """
    given = targets_alone(Y)
    n = len(given)
    Theta_ = checked_kernel("Theta", Theta, n)
    K_ = checked_kernel("K", K, n, len(Theta_))
    dtype = jnp.result_type(K_.dtype, Theta_.dtype)
    training = checked_training(t, learning_rate, momentum, dtype)
    after = _checked_test(Y_test, len(K_) - n, given.shape[1:])
    whole = arguments.true_or_false("covariance", covariance)
    return trained_ensemble(whole, K_.astype(dtype), Theta_.astype(dtype), given, after, training)


def targets_alone(Y: object) -> jax.Array:
    """The targets, (n,) or (n, outputs), whose number n they alone tell."""
    targets = arguments.real_array("Y", Y)
    return checked_targets(targets, len(targets) if targets.ndim else 1)


def _checked_test(Y_test: object, m: int, outputs: tuple[int, ...]) -> jax.Array | None:
    if Y_test is None:
        return None
    targets = arguments.real_array("Y_test", Y_test)
    if targets.shape != (m, *outputs) or not m:
        raise ArgumentError(
            f"Y_test must have shape {(m, *outputs)}, a row for each test input; got {targets.shape}"
        )
    return targets


def residuals(training: Training, eigenvalues: jax.Array, t: jax.Array, odd: jax.Array) -> tuple[Any, Any]:
    """p and 1 − p at one time; `eigenvalues`: those of Θ_DD over the number of targets."""
    if training.rate is None:
        return gradient_flow(eigenvalues, t)
    a = training.rate * eigenvalues
    if training.momentum is None:
        return gradient_descent(a, t, odd)
    return heavy_ball(a, training.momentum, t, odd)


def decays(training: Training, m: Modes, targets: int, t: jax.Array, odd: jax.Array) -> tuple[Any, Any]:
    """p and φ = (1 − p)/λ of every mode at one time; 1 and 0 where nothing is learned."""
    p, gone = residuals(training, m.eigenvalues / targets, t, odd)
    return jnp.where(m.trained, p, 1.0), jnp.where(m.trained, gone / m.eigenvalues, 0.0)


def limits(training: Training, m: Modes, targets: int) -> tuple[jax.Array, jax.Array]:
    """`max_rate` and `stable`."""
    if training.rate is None:
        return jnp.full_like(m.largest, jnp.inf), jnp.asarray(True)
    beta = 0.0 if training.momentum is None else training.momentum
    max_rate = largest_rate(m.largest, targets, beta)
    return max_rate, training.rate < max_rate


def trained_ensemble(covariance: bool, K, Theta, Y, Y_test, training: Training) -> TrainFlow:
    """The ensemble from kernels and targets that have been checked."""
    Y2, Y_test = (None if a is None else a.reshape(len(a), -1).astype(K.dtype) for a in (Y, Y_test))
    flow = _flow(covariance, K, Theta, Y2, Y_test, training)

    def shaped(a: Outputs) -> Outputs:
        return a._replace(mean=a.mean.reshape(*a.variance.shape, *Y.shape[1:]))

    return flow._replace(train=shaped(flow.train), test=None if flow.test is None else shaped(flow.test))


@compiled(0)
def _flow(covariance: bool, K, Theta, Y, Y_test, training: Training) -> TrainFlow:
    n, targets = len(Y), Y.size
    m = modes((Theta[:n, :n] + Theta[:n, :n].T) / 2)
    V = m.vectors
    K_modes, Y_modes = V.T @ K[:n, :n] @ V, V.T @ Y
    K_cross, Theta_cross, K_test = K[n:, :n] @ V, Theta[n:, :n] @ V, K[n:, n:]

    def outputs(mean, covariances, diagonal, residual) -> tuple[Outputs, jax.Array]:
        variance = jnp.maximum(diagonal, 0.0)
        loss = None if residual is None else (jnp.mean(residual**2) + jnp.mean(variance)) / 2
        return Outputs(mean, variance, covariances, loss), jnp.maximum(0.0, -jnp.min(diagonal))

    def product(left, middle, right):
        """Rows of left·middle·rightᵀ, or its diagonal."""
        rows = left @ middle
        return rows @ right.T if covariance else jnp.sum(rows * right, -1)

    def at(time):
        p, phi = decays(training, m, targets, *time)
        left = V * p[None]
        learned = V @ ((m.eigenvalues * phi)[:, None] * Y_modes)
        C = product(left, K_modes, left)
        diagonal = jnp.diagonal(C) if covariance else C
        found = outputs(learned, C if covariance else None, diagonal, left @ Y_modes)
        if n == len(K):
            return found[0], None, found[1]
        A = Theta_cross * phi[None]
        crossed = A @ K_cross.T if covariance else jnp.sum(A * K_cross, -1)
        own = K_test if covariance else jnp.diagonal(K_test)
        C = own - crossed - crossed.T + product(A, K_modes, A)
        diagonal = jnp.diagonal(C) if covariance else C
        mean = A @ Y_modes
        residual = None if Y_test is None else mean - Y_test
        test = outputs(mean, C if covariance else None, diagonal, residual)
        return found[0], test[0], jnp.maximum(found[1], test[1])

    shape = training.t.shape
    train, test, clipped = lax.map(at, (training.t.ravel(), training.odd.ravel()))
    finite = jnp.isfinite(clipped) & (clipped <= jnp.sqrt(jnp.finfo(K.dtype).eps) * jnp.max(K))
    for a in jax.tree.leaves((train, test)):
        finite = finite & jnp.isfinite(a.reshape(len(a), -1)).all(-1)
    max_rate, stable = limits(training, m, targets)
    train, test, clipped, valid = jax.tree.map(
        lambda a: a.reshape(*shape, *a.shape[1:]), (train, test, clipped, finite & m.sound)
    )
    return TrainFlow(training.t, train, test, max_rate, stable, jnp.sum(m.trained), clipped, valid)
