"""Regression with infinitely wide networks: what Bayes (NNGP) and gradient descent (NTK) make of the data."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from eft import arguments
from eft.activations import Activation
from eft.flow import kernel_flow
from eft.gaussian import Function
from eft.gram import MEMORY, checked_inputs, checked_number, gram_flow

LARGEST_JITTER = 1e-2
"""Of the mean of the diagonal; a kernel that needs more says nothing of the data."""


class Posterior(NamedTuple):
    """The distribution of a network's outputs at m test inputs, over networks that were given the data."""

    mean: jax.Array  # (m,), or (m, outputs)
    variance: jax.Array  # (m,), the same for every output; rounding below 0 counts as 0
    jitter: jax.Array  # () what was added to the kernel's diagonal, `noise` apart, for Cholesky to succeed
    valid: jax.Array  # bool, (): Cholesky succeeded, and the kernels are right


class Regression(NamedTuple):
    """Both kinds of inference from the same data."""

    nngp: Posterior  # exact Bayesian inference
    ntk: Posterior  # gradient descent on the squared error, without end


def regress(
    act: "str | Activation | Function",
    cw: object,
    depth: int,
    X: object,
    Y: object,
    X_test: object,
    *,
    cb: object = 0.0,
    lambda_w: object = 1.0,
    lambda_b: object = 1.0,
    noise: object = 0.0,
    memory_budget: int = MEMORY,
) -> Regression:
    """Posterior mean and variance of an infinitely wide network, given targets Y at inputs X.

    With K and Θ the kernels of `gram_flow`, X the data's inputs, * the test's,

        NNGP:  mean K_*X (K_XX + s²)⁻¹ Y,   variance K_** − K_*X (K_XX + s²)⁻¹ K_X*
        NTK:   mean A Y,  A = Θ_*X Θ_XX⁻¹,   variance K_** − 2 A K_X* + A K_XX Aᵀ

    (PDLT chapters 6 and 10.) The NTK's networks start at initialization and are trained to the end; their
    spread is that of their beginnings. `X`: (n, n₀). `Y`: (n,) or (n, outputs). `X_test`: (m, n₀).
    `noise` = s², the variance of the targets' noise, enters the NNGP. Other arguments as for `gram_flow`.

    The kernel is factorized by Cholesky. Where rounding makes it indefinite, because inputs repeat or depth
    has made them one, the least power of ten times the rounding unit that helps is added to its diagonal,
    and reported as `jitter`. Accurate to rounding times the kernel's condition number.

    Raises TypeError or ValueError for a bad argument, or where `memory_budget` bytes do not hold the kernels.
    """
    rows, test = checked_inputs("X", X), checked_inputs("X_test", X_test)
    targets = _targets(Y, len(rows))
    s2 = checked_number("noise", noise)
    settings = {"cb": cb, "lambda_w": lambda_w, "lambda_b": lambda_b, "memory_budget": memory_budget}
    train = gram_flow(act, cw, depth, rows, **settings)
    cross = gram_flow(act, cw, depth, test, rows, **settings)
    own = kernel_flow(act, cw, depth, cb=cb, x2=jnp.mean(test * test, -1))
    right = jnp.all(train.valid) & jnp.all(cross.valid) & jnp.all(own.valid | (own.K == 0))
    Y2 = targets.reshape(len(rows), -1).astype(train.K.dtype)
    both = _posteriors(train.K, train.Theta, cross.K, cross.Theta, own.K[:, -1], Y2, s2)
    shape = (len(test), *targets.shape[1:])
    return Regression(*(p._replace(mean=p.mean.reshape(shape), valid=p.valid & right) for p in both))


def _targets(Y: object, n: int) -> jax.Array:
    targets = arguments.real_array("Y", Y)
    if targets.ndim not in (1, 2) or len(targets) != n or not targets.size:
        raise ValueError(
            f"Y must have shape ({n},) or ({n}, outputs), a row for each input; got {targets.shape}"
        )
    if not np.isfinite(np.asarray(targets)).all():
        raise ValueError("Y must be finite; got a number that is not")
    return targets


@jax.jit
def _posteriors(K, Theta, K_cross, Theta_cross, K_test, Y, s2) -> tuple[Posterior, Posterior]:
    L, jitter = _cholesky(K + s2 * jnp.eye(len(K), dtype=K.dtype))
    v = jax.scipy.linalg.solve_triangular(L, K_cross.T, lower=True)
    mean = v.T @ jax.scipy.linalg.solve_triangular(L, Y, lower=True)
    nngp = _posterior(mean, K_test - jnp.sum(v * v, 0), jitter)

    L, jitter = _cholesky(Theta)
    A = jax.scipy.linalg.cho_solve((L, True), Theta_cross.T).T
    variance = K_test - 2 * jnp.sum(A * K_cross, 1) + jnp.sum((A @ K) * A, 1)
    return nngp, _posterior(A @ Y, variance, jitter)


def _posterior(mean, variance, jitter) -> Posterior:
    return Posterior(mean, jnp.maximum(variance, 0.0), jitter, jnp.isfinite(mean).all())


def _cholesky(K: jax.Array) -> tuple[jax.Array, jax.Array]:
    """L with L Lᵀ = K + jitter, and the least jitter, 0 or ε 10ᵏ times the mean diagonal, that lets it be."""
    size, unit = jnp.mean(jnp.diagonal(K)), jnp.finfo(K.dtype).eps

    def attempt(share):
        return jnp.linalg.cholesky(K + share * size * jnp.eye(len(K), dtype=K.dtype))

    def fails(state):
        share, L = state
        return ~jnp.isfinite(L).all() & (share <= LARGEST_JITTER)

    def more(state):
        share = jnp.maximum(10 * state[0], unit)
        return share, attempt(share)

    zero = jnp.zeros((), K.dtype)
    share, L = lax.while_loop(fails, more, (zero, attempt(zero)))
    return L, share * size
