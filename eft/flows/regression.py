"""Regression with infinitely wide networks, by Bayesian inference (NNGP) and gradient descent (NTK)."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jax.scipy.linalg import cho_solve, solve_triangular
from jax.typing import ArrayLike
from jaxtyping import Bool, Float

from eft import arguments
from eft.activations.definition import ActivationLike
from eft.activations.programs import precise
from eft.arguments import ArgumentError, ArgumentTypeError
from eft.flows.block import checked_block
from eft.flows.gram import (
    MEMORY,
    GramFlow,
    check_same_n0,
    checked_inputs,
    checked_number,
    first_layer,
    gram_flow,
)
from eft.flows.kernel import diagonal, kernel_flow
from eft.records import METHODS

MAX_JITTER = 1e-2
"""Relative to the mean of the diagonal; a kernel that needs more carries no information on the data."""

PIVOT_ROUNDING = 10
"""The smallest meaningful pivot of Cholesky, in units of ε times the mean of the diagonal."""

ITERATIONS = 16
"""Iterations of the power method for the condition number, whose order of magnitude is enough."""


class Posterior(NamedTuple):
    """The distribution of a network's outputs at m test inputs, over networks conditioned on the data.

    With several depths, every field has a leading axis over them.

    `mean`: (m,), or (m, outputs).
    `variance`: (m,), the same for every output; negative values due to round-off are set to 0.
    `clipped`: () the largest amount by which round-off made a variance negative.
    `jitter`: () what was added to the kernel's diagonal, besides `noise`, for the Cholesky factorization to
        succeed.
    `condition`: () condition number of the factorized matrix, estimated from below.
    `valid`: bool, (): the factorization succeeded, `clipped` is at most √ε max K_**, and the kernels are
        valid.
    """

    mean: jax.Array
    variance: Float[jax.Array, "*depths m"]
    clipped: Float[jax.Array, "*depths"]
    jitter: Float[jax.Array, "*depths"]
    condition: Float[jax.Array, "*depths"]
    valid: Bool[jax.Array, "*depths"]

    __repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS


class Regression(NamedTuple):
    """Both kinds of inference from the same data.

    `nngp`: exact Bayesian inference.
    `ntk`: gradient descent on the squared error, in the limit of infinite time.
    """

    nngp: Posterior
    ntk: Posterior

    __repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS


@arguments.also_named(x="X", x_test="X_test")
def regress(
    act: ActivationLike,
    cw: ArrayLike,
    depth: int | Sequence[int],
    X: ArrayLike,
    Y: ArrayLike,
    X_test: ArrayLike,
    *,
    cb: ArrayLike = 0.0,
    K1: ArrayLike | None = None,
    lambda_w: ArrayLike = 1.0,
    lambda_b: ArrayLike = 1.0,
    skip: ArrayLike = 0.0,
    readout: bool = True,
    norm: str | None = None,
    weights: str = "gaussian",
    noise: ArrayLike = 0.0,
    memory_budget: int | str = MEMORY,
) -> Regression:
    """Posterior mean and variance of an infinitely wide network, given targets Y at inputs X.

    The kernels are those of `gram_flow`, the inference that of `posterior`. `X`: (n, n₀). `Y`: (n,) or
    (n, outputs). `X_test`: (m, n₀). `depth`: one depth, or a sequence of them, all computed in one pass
    through the deepest network, to whose kernels `valid` then refers. Other arguments as for `gram_flow` and
    `posterior`, except that `readout` is true unless told otherwise: the last layer has no skip, since there
    are fewer outputs than neurons in a layer. With a skip each depth then takes a pass of its own.

    Raises TypeError or ValueError for a bad argument, or if `memory_budget`, bytes or text such as
    "2GB", does not hold the kernels.

    >>> X = jnp.linspace(-1, 1, 5)[:, None]
    >>> nngp, ntk = eft.regress("erf", 1.5, 3, X, jnp.sin(X[:, 0]), [[0.3]], cb=0.1)
    >>> print(nngp.mean.round(4), nngp.variance.round(6))
    [0.2796] [0.001178]
    """
    listed = isinstance(depth, Sequence | np.ndarray) and not isinstance(depth, str | bytes)
    several: list | None = list(depth) if listed and getattr(depth, "ndim", 1) else None  # type: ignore
    one = several is None
    depths = [arguments.positive_int("depth", d, maximum=10_000) for d in ([depth] if one else several)]
    if not depths:
        raise ArgumentError(f"depth must be an integer ≥ 1 or a sequence of them; got {depth!r}")
    rows, test = checked_inputs("X", X), checked_inputs("X_test", X_test)
    check_same_n0(rows, "X_test", test)
    targets, s2 = checked_targets(Y, len(rows)), checked_number("noise", noise)
    checked_number("skip", skip)
    block, gamma = checked_block(skip, norm, weights, readout)
    settings = {
        "cb": cb,
        "K1": K1,
        "lambda_w": lambda_w,
        "lambda_b": lambda_b,
        "memory_budget": memory_budget,
    }
    settings |= {"skip": skip, "readout": readout, "norm": norm, "weights": weights}

    def inferred(deepest: int, layers: np.ndarray | None) -> Regression:
        """From the kernels of layer L, or of these layers."""

        def kernels(*inputs) -> GramFlow:
            flow = gram_flow(act, cw, deepest, *inputs, all_layers=layers is not None, **settings)
            return flow if layers is None else flow._replace(K=flow.K[layers], Theta=flow.Theta[layers])

        # together with the training inputs, since gram_flow has already compiled it for that shape
        x = jnp.concatenate([test, rows])
        x2 = jnp.mean(x * x, -1)
        start = first_layer(x2, x2, K1).single(x2)
        if not block.remembers:
            own = kernel_flow(act, cw, deepest, cb=cb, **start)
        else:
            own = diagonal(act, cw, deepest, block, gamma, cb=cb, **start)
        own = jax.tree.map(lambda a: a[: len(test)], own)
        K_test = own.K[:, deepest - 1] if layers is None else own.K[:, layers].T
        both = posterior(kernels(rows), kernels(test, rows), K_test, targets, noise=s2)
        right = jnp.all(own.valid if block.norm else own.valid | (own.K == 0))
        return Regression(*(p._replace(valid=p.valid & right) for p in both))

    if one:
        return inferred(depths[0], None)
    if block.residual and readout:
        each = [inferred(d, None) for d in depths]
        return jax.tree.map(lambda *fields: jnp.stack(fields), *each)
    return inferred(max(depths), np.array(depths) - 1)


def posterior(
    train: GramFlow, cross: GramFlow, K_test: ArrayLike, Y: ArrayLike, *, noise: ArrayLike = 0.0
) -> Regression:
    """Posterior mean and variance of an infinitely wide network from given kernels.

    With X the training inputs, * the test inputs and s² the noise,

        NNGP:  mean K_*X (K_XX + s²)⁻¹ Y,   variance K_** − K_*X (K_XX + s²)⁻¹ K_X*
        NTK:   mean A Y,  A = Θ_*X Θ_XX⁻¹,   variance K_** − 2 A K_X* + A K_XX Aᵀ

    (PDLT chapters 6 and 10.) The NTK describes networks trained to convergence; their variance stems from
    initialization. `train`: gram_flow(…, X). `cross`: gram_flow(…, X_test, X).
    `K_test`: the diagonal K_**, (m,). `Y`: (n,) or (n, outputs). `noise` = s² ≥ 0, the variance of the noise
    in the targets, enters only the NNGP. A leading axis over layers in K, Θ and K_test is kept in the result.

    The kernel is factorized by Cholesky. If it is singular up to round-off, because inputs repeat or depth
    has made them coincide, the smallest sufficient power of ten times the machine epsilon is added to its
    diagonal, relative to its mean, and reported as `jitter`; whatever depends on directions that the kernel
    has lost is then round-off too. Accurate to round-off, and to the kernels' `error`, times `condition`.

    Raises TypeError or ValueError for a bad argument.

    >>> X, x = [[0.0], [1.0]], [[0.5]]
    >>> train, cross = eft.gram_flow("erf", 1.5, 3, X, cb=0.1), eft.gram_flow("erf", 1.5, 3, x, X, cb=0.1)
    >>> own = eft.kernel_flow("erf", 1.5, 3, cb=0.1, x2=0.25).K[-1:]
    >>> print(eft.posterior(train, cross, own, [0.0, 1.0]).nngp.mean.round(4))
    [0.7674]
    """
    for name, flow in (("train", train), ("cross", cross)):
        if not isinstance(flow, GramFlow):
            raise ArgumentTypeError(
                f"{name} must be a GramFlow, as from gram_flow; got {arguments.shown(flow)}"
            )
    n, K_test = train.K.shape[-1], arguments.real_array("K_test", K_test)
    lead, m = train.K.shape[:-2], cross.K.shape[-2]
    if train.K.ndim > 3 or train.K.shape != (*lead, n, n):
        raise ArgumentError(f"train must hold kernels of shape (n, n) or (depth, n, n); got {train.K.shape}")
    if cross.K.shape != (*lead, m, n):
        raise ArgumentError(f"cross must hold kernels of shape {(*lead, 'm', n)}; got {cross.K.shape}")
    if K_test.shape != (*lead, m):
        raise ArgumentError(
            f"K_test must have shape {(*lead, m)}, one for each row of cross; got {K_test.shape}"
        )
    if not isinstance(K_test, Tracer) and (np.asarray(K_test) < 0).any():
        raise ArgumentError(f"K_test must be ≥ 0; got {np.asarray(K_test).min()}")
    targets, s2 = checked_targets(Y, n), checked_number("noise", noise).astype(train.K.dtype)
    Y2 = targets.reshape(n, -1).astype(train.K.dtype)
    kernels = train.K, train.Theta, cross.K, cross.Theta, K_test.astype(train.K.dtype)
    if lead:
        each = [_posteriors(*now, Y2, s2) for now in zip(*kernels, strict=True)]
        both = jax.tree.map(lambda *layers: jnp.stack(layers), *each)
    else:
        both = _posteriors(*kernels, Y2, s2)
    shape, right = (*lead, m, *targets.shape[1:]), jnp.all(train.valid) & jnp.all(cross.valid)
    return Regression(*(p._replace(mean=p.mean.reshape(shape), valid=p.valid & right) for p in both))


def checked_targets(Y: object, n: int) -> jax.Array:
    targets = arguments.real_array("Y", Y)
    if targets.ndim not in (1, 2) or len(targets) != n or not targets.size:
        raise ArgumentError(
            f"Y must have shape ({n},) or ({n}, outputs), a row for each input; got {targets.shape}"
        )
    return arguments.all_finite("Y", targets)


@jax.jit
@precise
def _posteriors(K, Theta, K_cross, Theta_cross, K_test, Y, s2) -> tuple[Posterior, Posterior]:
    noisy = K + s2 * jnp.eye(len(K), dtype=K.dtype)
    L, jitter = cholesky_with_jitter(noisy)
    v = solve_triangular(L, K_cross.T, lower=True)
    mean = v.T @ solve_triangular(L, Y, lower=True)
    nngp = _posterior(mean, K_test, K_test - jnp.sum(v * v, 0), jitter, condition_number(noisy, L))

    L, jitter = cholesky_with_jitter(Theta)
    A = cho_solve((L, True), Theta_cross.T).T
    variance = K_test - 2 * jnp.sum(A * K_cross, 1) + jnp.sum((A @ K) * A, 1)
    return nngp, _posterior(A @ Y, K_test, variance, jitter, condition_number(Theta, L))


def _posterior(mean, K_test, variance, jitter, condition) -> Posterior:
    clipped = jnp.maximum(0.0, -jnp.min(variance))
    sound = clipped <= jnp.sqrt(jnp.finfo(mean.dtype).eps) * jnp.max(K_test)
    finite = jnp.isfinite(mean).all() & jnp.isfinite(variance).all()
    return Posterior(mean, jnp.maximum(variance, 0.0), clipped, jitter, condition, finite & sound)


def cholesky_with_jitter(K: jax.Array) -> tuple[jax.Array, jax.Array]:
    """L with L Lᵀ = K + jitter, for the least sufficient jitter, 0 or ε 10ᵏ times the mean diagonal.

    A kernel that is all round-off can pass Cholesky by chance; hence pivots of that size count as failure.
    """
    size, unit = jnp.mean(jnp.diagonal(K)), jnp.finfo(K.dtype).eps

    def attempt(share):
        return jnp.linalg.cholesky(K + share * size * jnp.eye(len(K), dtype=K.dtype))

    def fails(state):
        share, L = state
        clear = jnp.min(jnp.diagonal(L)) ** 2 >= PIVOT_ROUNDING * unit * size
        return ~clear & (10 * share <= MAX_JITTER)

    def more(state):
        share = jnp.maximum(10 * state[0], unit)
        return share, attempt(share)

    # the search is not differentiated; the final factorization is
    plain, zero = K, jnp.zeros((), K.dtype)
    K, size = lax.stop_gradient((K, size))
    share, _ = lax.while_loop(fails, more, (zero, attempt(zero)))
    jitter = share * size
    return jnp.linalg.cholesky(plain + jitter * jnp.eye(len(plain), dtype=plain.dtype)), jitter


def condition_number(K: jax.Array, L: jax.Array) -> jax.Array:
    """λ_max of K over λ_min of L Lᵀ, by the power method on K and on the inverse."""
    K, L = lax.stop_gradient((K, L))
    start = jax.random.normal(jax.random.key(0), (len(K),), K.dtype)

    def largest(times):
        def step(_, now):
            v = times(now[0] / now[1])
            return v, jnp.linalg.norm(v)

        return lax.fori_loop(0, ITERATIONS, step, (start, jnp.linalg.norm(start)))[1]

    return largest(lambda v: K @ v) * largest(lambda v: cho_solve((L, True), v))
