"""Kernels as arguments: the training inputs first, after them any test inputs; and the modes of Θ_DD."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

from eft import arguments
from eft.arguments import ArgumentError

MIN_ROUNDING = 10
"""Eigenvalues up to this times ε λ_max, or √n times where that is more, are taken for zero."""

ASYMMETRY = 1e-3
"""Of a kernel, beside its largest entry; measured kernels are symmetric up to the round-off of float32."""

MAX_OUTPUTS = 10**9
"""Outputs of a network, and samples of it."""


def checked_kernel(name: str, value: object, n: int, size: int | None = None) -> jax.Array:
    """The kernel of at least n inputs with themselves, or of exactly `size`; finite."""
    kernel = arguments.real_array(name, value)
    square = kernel.ndim == 2 and kernel.shape[0] == kernel.shape[1]
    if not square or len(kernel) < n or size not in (None, len(kernel)):
        allowed = f"({size}, {size})" if size is not None else f"(N, N), N ≥ {n}, the rows of Y"
        raise ArgumentError(f"{name} must have shape {allowed}; got {kernel.shape}")
    kernel = arguments.all_finite(name, kernel)
    if not isinstance(kernel, Tracer) and kernel.size:
        entries = np.asarray(kernel)  # by NumPy: under a trace JAX stages also what it knows
        apart, largest = (np.max(np.abs(a)) for a in (entries - entries.T, entries))
        if apart > ASYMMETRY * largest:
            raise ArgumentError(
                f"{name} must be symmetric; its entries and their mirror images differ by {apart:.3g}"
            )
    return kernel


def is_variance(value: jax.Array, prior: jax.Array) -> jax.Array:
    """Whether none of (…, n) is negative beyond round-off, beside those before training, (N,), the last n of
    which are theirs; where these are 0, of any input."""
    root = jnp.asarray(np.sqrt(jnp.finfo(value.dtype).eps), value.dtype)
    rounding = root * prior[len(prior) - value.shape[-1] :] + root**3 * jnp.max(prior)
    return jnp.all(value >= -rounding[(None,) * (value.ndim - 1)], -1)


class Modes(NamedTuple):
    """The eigenvectors of Θ_DD.

    `eigenvalues`: (n,), those that are zero up to round-off set to 1. `vectors`: (n, n), in columns.
    `trained`: (n,) bool, whether the eigenvalue is positive. `largest`: (), λ_max. `sound`: () bool, no
    eigenvalue is negative beyond round-off.
    """

    eigenvalues: jax.Array
    vectors: jax.Array
    trained: jax.Array
    largest: jax.Array
    sound: jax.Array


def modes(Theta: jax.Array) -> Modes:
    eigenvalues, vectors = jnp.linalg.eigh(Theta)
    largest = jnp.maximum(eigenvalues[-1], 0.0)
    rounding = max(MIN_ROUNDING, len(Theta) ** 0.5) * jnp.finfo(Theta.dtype).eps * largest
    trained = eigenvalues > rounding
    sound = eigenvalues[0] >= -rounding
    return Modes(jnp.where(trained, eigenvalues, 1.0), vectors, trained, largest, sound)


class Training(NamedTuple):
    """How the outputs are trained; the loss is averaged over `targets` numbers.

    `t`: times or numbers of steps, of any shape. `odd`: which of the latter are odd. `rate`: the learning
    rate, and `momentum`; None in gradient flow.
    """

    t: jax.Array
    odd: jax.Array
    rate: jax.Array | None
    momentum: jax.Array | None


def checked_momentum(momentum: object) -> float:
    beta = arguments.number("momentum", momentum)
    if beta >= 1:
        raise ArgumentError(f"momentum must be < 1; got {beta}")
    return beta


def checked_training(t: object, learning_rate: object, momentum: object, dtype: Any) -> Training:
    """The times, which are whole numbers where there is a learning rate, which momentum requires."""
    beta = checked_momentum(momentum)
    if learning_rate is None and beta:
        raise ArgumentError(
            f"momentum must be 0 in gradient flow, without a learning_rate; got {arguments.shown(momentum)}"
        )
    times = arguments.real_array("t", t)
    if not times.size:
        raise ArgumentError(f"t must hold at least one time; got shape {times.shape}")
    rate = None if learning_rate is None else arguments.positive("learning_rate", learning_rate)
    if rate is not None and rate.ndim:
        raise ArgumentError(f"learning_rate must be one number; got shape {rate.shape}")
    odd = np.zeros(times.shape, bool)
    if isinstance(times, Tracer):
        if rate is not None:
            raise ArgumentError("t must be known before tracing where there is a learning_rate")
    else:
        on_host = np.asarray(times)
        bad = ~(on_host >= 0)
        allowed = "≥ 0"
        if rate is not None and not bad.any():
            allowed = "a whole number of steps, ≥ 0 or inf"
            bad = (on_host != np.floor(on_host)) & np.isfinite(on_host)
            with np.errstate(invalid="ignore"):
                odd = on_host % 2 == 1
        if bad.any():
            at = f" at index {tuple(int(i) for i in np.argwhere(bad)[0])}" if times.ndim else ""
            raise ArgumentError(f"t must be {allowed}; got {float(on_host[bad][0])}{at}")
    converted = arguments.converted
    return Training(
        converted(times, dtype),
        jax.device_put(odd),
        None if rate is None else converted(rate, dtype),
        jax.device_put(np.asarray(beta, dtype)) if beta else None,
    )


def largest_rate(largest: jax.Array, targets: int, momentum: Any) -> jax.Array:
    """2(1 + β)/λ_max, with λ_max of Θ_DD over the number of targets; ∞ where nothing is trained."""
    return jnp.where(
        largest > 0, 2 * (1 + momentum) * targets / jnp.where(largest > 0, largest, 1.0), jnp.inf
    )


def max_learning_rate(Theta: ArrayLike, *, outputs: int = 1, momentum: float = 0.0) -> jax.Array:
    """The learning rate below which gradient descent converges at infinite width, an array ().

        η_max = 2(1 + β) n n_L/λ_max,    λ_max the largest eigenvalue of Θ

    for the loss ½(z − Y)² averaged over the n samples and n_L outputs, with heavy-ball momentum β: each step
    is the gradient plus β times the step before, as in `optax.sgd`. `Theta`: (n, n), the NTK of the training
    inputs, or that of one network. `outputs` = n_L. `momentum` = β, 0 ≤ β < 1.

    As in `gram_flow`, a weight of layer l has the rate η λ_W/n_{l−1} and a bias ηλ_b; `recipe` has the rates
    of plain parameters. Infinite if Θ is 0. Accurate to round-off; differentiable if λ_max is simple.

    Raises TypeError or ValueError for a bad argument.

    >>> Theta = eft.gram_flow("relu", 2.0, 3, [[1.0, 0.0], [0.0, 1.0]]).Theta
    >>> print(eft.max_learning_rate(Theta).round(4), eft.max_learning_rate(Theta, momentum=0.9).round(4))
    0.5928 1.1263
    """
    kernel = checked_kernel("Theta", Theta, 1)
    n_out = arguments.positive_int("outputs", outputs, maximum=MAX_OUTPUTS)
    beta = checked_momentum(momentum)
    largest = jnp.linalg.eigvalsh((kernel + kernel.T) / 2)[-1]
    return largest_rate(largest, len(kernel) * n_out, beta)
