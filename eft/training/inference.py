"""Gaussian inference from kernels: posteriors with their covariance, and the evidence of the data."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve, solve_triangular
from jax.typing import ArrayLike
from jaxtyping import Bool, Float

from eft import arguments
from eft.activations.definition import ActivationLike
from eft.activations.programs import compiled
from eft.arguments import ArgumentError
from eft.flows.gram import MEMORY, checked_inputs, checked_number, gram_flow
from eft.flows.regression import checked_targets, cholesky_with_jitter, condition_number
from eft.records import METHODS
from eft.training.ensemble import targets_alone
from eft.training.kernels import checked_kernel


class GaussianPosterior(NamedTuple):
    """The distribution of the outputs at m test inputs.

    `mean`: (m,), or (m, outputs).
    `covariance`: (m, m) of one output at all inputs, the same for every output.
    `jitter`: () what was added to the kernel's diagonal, besides `noise`, for the Cholesky factorization to
        succeed.
    `condition`: () condition number of the factorized matrix, estimated from below.
    `valid`: bool, (): everything is finite, and no variance is below −√ε max K_**.
    """

    mean: jax.Array
    covariance: Float[jax.Array, "m m"]
    jitter: Float[jax.Array, ""]
    condition: Float[jax.Array, ""]
    valid: Bool[jax.Array, ""]

    __repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS


class Inference(NamedTuple):
    """Both kinds of inference from the same data.

    `nngp`: exact Bayesian inference.
    `ntk`: gradient descent on the squared error, in the limit of infinite time; None without Theta.
    """

    nngp: GaussianPosterior
    ntk: GaussianPosterior | None

    __repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS


class LogLikelihood(NamedTuple):
    """The evidence of the data.

    `value`: () log p(Y).
    `jitter`: () what was added to the kernel's diagonal, besides `noise`, for the Cholesky factorization to
        succeed.
    `condition`: () condition number of the factorized matrix, estimated from below.
    `valid`: bool, (): the value is finite, the kernel is valid, and there is no jitter, on which the value
        would depend.
    """

    value: Float[jax.Array, ""]
    jitter: Float[jax.Array, ""]
    condition: Float[jax.Array, ""]
    valid: Bool[jax.Array, ""]

    __repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS


def gp_inference(
    K: ArrayLike, Y: ArrayLike, *, Theta: ArrayLike | None = None, noise: ArrayLike = 0.0
) -> Inference:
    """Posterior mean and covariance at test inputs from given kernels.

    With D the n training inputs, * the m test inputs and s² the noise,

        NNGP:  mean K_*D (K_DD + s²)⁻¹ Y,   covariance K_** − K_*D (K_DD + s²)⁻¹ K_D*
        NTK:   mean A Y,  A = Θ_*D Θ_DD⁻¹,   covariance K_** − A K_D* − K_*D Aᵀ + A K_DD Aᵀ

    as in `posterior` and `regress`, which give the diagonal alone. `K`, `Theta`: kernels (N, N), N = n + m,
    of the training inputs followed by m ≥ 1 test inputs, as gram_flow gives them for both together. `Y`: (n,)
    or (n, outputs). `noise` = s² ≥ 0, the variance of the noise in the targets, enters only the NNGP.

    If a kernel is singular up to round-off, the smallest sufficient power of ten times the machine epsilon is
    added to its diagonal, relative to its mean, and reported as `jitter`. Accurate to round-off times
    `condition`.

    Raises TypeError or ValueError for a bad argument.

    >>> flow = eft.gram_flow("erf", 1.5, 3, [[0.0], [1.0], [0.5], [0.6]], cb=0.1)
    >>> nngp, ntk = eft.gp_inference(flow.K, [0.0, 1.0], Theta=flow.Theta)
    >>> print(nngp.mean.round(4), ntk.mean.round(4))
    [0.7674 0.8423] [0.7088 0.7997]
    >>> print(nngp.covariance.round(5))
    [[0.02167 0.0178 ]
     [0.0178  0.0148 ]]
    """
    given = targets_alone(Y)
    n = len(given)
    kernel = checked_kernel("K", K, n)
    if len(kernel) == n:
        raise ArgumentError(
            f"Y must have a row for each training input, fewer than the {n} inputs of K; got {n}, and so K "
            "holds no test input"
        )
    tangent = None if Theta is None else checked_kernel("Theta", Theta, n, len(kernel))
    s2 = checked_number("noise", noise).astype(kernel.dtype)
    if tangent is not None:
        tangent = tangent.astype(kernel.dtype)
    both = _inference(kernel, tangent, given.reshape(n, -1).astype(kernel.dtype), s2)
    shape = (len(kernel) - n, *given.shape[1:])
    nngp, ntk = (None if p is None else p._replace(mean=p.mean.reshape(shape)) for p in both)
    assert nngp is not None
    return Inference(nngp, ntk)


@compiled()
def _inference(K, Theta, Y, s2) -> Inference:
    n = len(Y)
    K_DD, K_cross, K_test = K[:n, :n], K[n:, :n], K[n:, n:]
    noisy = K_DD + s2 * jnp.eye(n, dtype=K.dtype)
    L, jitter = cholesky_with_jitter(noisy)
    v = solve_triangular(L, K_cross.T, lower=True)
    mean = v.T @ solve_triangular(L, Y, lower=True)
    nngp = _checked(mean, K_test - v.T @ v, K_test, jitter, condition_number(noisy, L))
    if Theta is None:
        return Inference(nngp, None)
    L, jitter = cholesky_with_jitter(Theta[:n, :n])
    A = cho_solve((L, True), Theta[n:, :n].T).T
    crossed = A @ K_cross.T
    covariance = K_test - crossed - crossed.T + A @ K_DD @ A.T
    condition = condition_number(Theta[:n, :n], L)
    return Inference(nngp, _checked(A @ Y, covariance, K_test, jitter, condition))


def _checked(mean, covariance, K_test, jitter, condition) -> GaussianPosterior:
    covariance = (covariance + covariance.T) / 2
    largest = jnp.max(jnp.diagonal(K_test))
    sound = jnp.min(jnp.diagonal(covariance)) >= -jnp.sqrt(jnp.finfo(mean.dtype).eps) * largest
    finite = jnp.isfinite(mean).all() & jnp.isfinite(covariance).all()
    return GaussianPosterior(mean, covariance, jitter, condition, finite & sound)


@arguments.also_named(x="X")
def log_marginal_likelihood(
    act: ActivationLike,
    cw: ArrayLike,
    depth: int,
    X: ArrayLike,
    Y: ArrayLike,
    *,
    noise: ArrayLike = 0.0,
    cb: ArrayLike = 0.0,
    K1: ArrayLike | None = None,
    skip: ArrayLike = 0.0,
    readout: bool = True,
    norm: str | None = None,
    weights: str = "gaussian",
    memory_budget: int | str = MEMORY,
) -> LogLikelihood:
    """The evidence of the data under the prior of infinitely wide networks, whose kernel is the NNGP.

        log p(Y) = Σ_i [−½ y_iᵀ(K + s²)⁻¹y_i − ½ log det(K + s²) − (n/2) log 2π]

    over the outputs i. `X`: (n, n₀). `Y`: (n,) or (n, outputs). `noise` = s² ≥ 0. Other arguments as for
    `gram_flow`, except that `readout` is true unless told otherwise. By Cholesky; accurate to round-off times
    `condition`.

    The value is for comparing and fitting priors: `jax.grad` of it with respect to `cw`, `cb`, `noise`, X, Y
    and what `act` closes over is exact. If the matrix is singular up to round-off, `jitter` is what had to be
    added to its diagonal, the value is that of the matrix with it, and `valid` is false: give some `noise`.

    Raises TypeError or ValueError for a bad argument, or if `memory_budget`, bytes or text such as
    "2GB", does not hold the kernel.

    >>> X = jnp.linspace(-1, 1, 5)[:, None]
    >>> evidence = lambda cw: eft.log_marginal_likelihood("erf", cw, 3, X, X[:, 0], noise=0.01, cb=0.1).value
    >>> print(evidence(1.5).round(3), jax.grad(evidence)(1.5).round(3))
    -2.343 -0.631
    """
    rows = checked_inputs("X", X)
    targets, s2 = checked_targets(Y, len(rows)), checked_number("noise", noise)
    flow = gram_flow(
        act, cw, depth, rows, cb=cb, K1=K1, skip=skip, readout=readout, norm=norm, weights=weights,
        memory_budget=memory_budget,
    )  # fmt: skip
    Y2 = targets.reshape(len(rows), -1).astype(flow.K.dtype)
    evidence = _evidence(flow.K, Y2, s2.astype(flow.K.dtype))
    return evidence._replace(valid=evidence.valid & jnp.all(flow.valid))


@compiled()
def _evidence(K, Y, s2) -> LogLikelihood:
    n, outputs = Y.shape
    noisy = K + s2 * jnp.eye(n, dtype=K.dtype)
    L, jitter = cholesky_with_jitter(noisy)
    white = solve_triangular(L, Y, lower=True)
    log_det = jnp.sum(jnp.log(jnp.diagonal(L)))
    value = -jnp.sum(white * white) / 2 - outputs * (log_det + n * jnp.log(2 * jnp.pi).astype(K.dtype) / 2)
    return LogLikelihood(value, jitter, condition_number(noisy, L), jnp.isfinite(value) & (jitter == 0))
