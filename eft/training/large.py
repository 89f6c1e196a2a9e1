"""Regression with infinitely wide networks from tens of thousands of inputs, without the whole kernel."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jax.typing import ArrayLike
from jaxtyping import Bool, Float, Int
from scipy.sparse.linalg import LinearOperator, cg

from eft import arguments
from eft.activations.definition import ActivationLike
from eft.arguments import ArgumentError
from eft.flows.gram import MEMORY, TILE, GramFlow, check_same_n0, checked_inputs, checked_number, gram_flow
from eft.flows.regression import checked_targets
from eft.records import METHODS

BLOCK = 2048
"""Inputs per side of a block of the kernel, halved while it does not fit into the memory."""

NUMBERS = 10
"""Numbers per pair that `gram_flow` takes for a block, roughly."""

LANDMARK_JITTER = 10
"""Added to the diagonal of the kernel of the landmarks, in units of ε times its trace."""

KEPT = 0.5
"""The share of the memory that blocks which are kept may take."""


class CGRegression(NamedTuple):
    """Posterior means found by conjugate gradients.

    `mean`: (m,), or (m, outputs).
    `residual`: () ‖(K + s²)u − Y‖/‖Y‖ of the solution u, computed anew from the kernel.
    `steps`: () iterations, each of which takes one product with the kernel.
    `valid`: bool, (): `residual` is at most twice the tolerance, and the kernels are valid. Where they have
        overflowed, `mean` is NaN.
    """

    mean: jax.Array
    residual: Float[jax.Array, ""]
    steps: Int[jax.Array, ""]
    valid: Bool[jax.Array, ""]

    __repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS


@arguments.also_named(x="X", x_test="X_test")
@arguments.untraced
def cg_regress(
    act: ActivationLike,
    cw: ArrayLike,
    depth: int,
    X: ArrayLike,
    Y: ArrayLike,
    X_test: ArrayLike,
    *,
    kernel: str = "nngp",
    noise: ArrayLike = 0.0,
    tolerance: float = 1e-6,
    max_steps: int = 1000,
    landmarks: int = 500,
    cb: ArrayLike = 0.0,
    K1: ArrayLike | None = None,
    lambda_w: ArrayLike = 1.0,
    lambda_b: ArrayLike = 1.0,
    skip: ArrayLike = 0.0,
    readout: bool = True,
    norm: str | None = None,
    weights: str = "gaussian",
    memory_budget: int | str = MEMORY,
) -> CGRegression:
    """Posterior mean of an infinitely wide network from so many inputs that their kernel is not to be stored.

        NNGP:  mean K_*D (K_DD + s²)⁻¹ Y        NTK:  mean Θ_*D (Θ_DD + s²)⁻¹ Y

    by conjugate gradients, all outputs at once, preconditioned with the kernel as seen from some of the
    inputs: P = K_DM K_MM⁻¹ K_MD + δ, δ = s² + the mean of diag(K − K_DM K_MM⁻¹ K_MD). Blocks of the upper
    triangle of the kernel are computed as they are needed; those that fit into half of `memory_budget`, bytes
    are kept, so that the whole triangle is computed once if it fits, and else in every iteration.

    `kernel`: "nngp" for Bayesian inference, or "ntk" for networks trained to convergence; for these s² is a
    penalty s²/2 ‖θ − θ_0‖² on the change of parameters, each divided by its rate, added to half the sum of
    squares.
    `tolerance`: of the residual relative to Y, 0 < tolerance < 1.
    `max_steps`: iterations. `landmarks`: the number of inputs M, drawn at random with a fixed seed; they take
    as many numbers per input. Other arguments as for `regress`, where s² does not enter the NTK's part.

    The error of the mean is at most `residual` ‖Y‖ √(K_**/4s²), as a rule far less, and in float32 that of
    kernels rounded to ε beside it, ε λ_max/s² at worst. Needs X that is not traced by JAX, and is not
    differentiable. 20,000 inputs take minutes on two cores
    (`benchmarks/cg_regression.py`).

    Raises TypeError or ValueError for a bad argument.

    >>> X = jnp.linspace(-1, 1, 50)[:, None]
    >>> found = eft.cg_regress("erf", 1.5, 3, X, jnp.sin(X[:, 0]), [[0.3]], noise=0.01, cb=0.1)
    >>> print(found.mean.round(4), found.valid)
    [0.2962] True
    """
    rows, test = checked_inputs("X", X), checked_inputs("X_test", X_test)
    check_same_n0(rows, "X_test", test)
    targets = checked_targets(Y, len(rows))
    s2 = arguments.number("noise", checked_number("noise", noise))
    kind = arguments.one_of("kernel", kernel, ("nngp", "ntk"))
    limit = arguments.number("tolerance", tolerance)
    if not 0 < limit < 1:
        raise ArgumentError(f"tolerance must be > 0 and < 1; got {limit}")
    most = arguments.positive_int("max_steps", max_steps, maximum=10**6)
    few = min(arguments.positive_int("landmarks", landmarks), len(rows))
    budget = arguments.byte_count("memory_budget", memory_budget)
    settings = {
        "cb": cb,
        "K1": K1,
        "lambda_w": lambda_w,
        "lambda_b": lambda_b,
        "skip": skip,
        "readout": readout,
    }
    settings |= {"norm": norm, "weights": weights}
    tiles = _Tiles((act, cw, depth), settings, kind == "ntk", np.asarray(rows), budget)

    Y2 = np.asarray(targets, np.float64).reshape(len(rows), -1)
    shape, size = Y2.shape, Y2.size
    dtype, steps = tiles.X.dtype, [0]

    def result(mean: np.ndarray, residual: float, valid: bool) -> CGRegression:
        shaped = mean.astype(dtype).reshape(len(test), *targets.shape[1:])
        return CGRegression(*map(jnp.asarray, (shaped, np.asarray(residual, dtype), steps[0], valid)))

    def times(u: np.ndarray) -> np.ndarray:
        u = u.reshape(shape)
        return (tiles.times(u) + s2 * u).ravel()

    def count(_: np.ndarray) -> None:
        steps[0] += 1

    def solved(nearly) -> np.ndarray:
        operator, inverse = (
            LinearOperator((size, size), matvec=product, dtype=np.float64)  # type: ignore[call-arg]
            for product in (times, lambda u: nearly(u.reshape(shape)).ravel())
        )
        u, _ = cg(operator, Y2.ravel(), rtol=limit, atol=0.0, maxiter=most, M=inverse, callback=count)
        return u

    try:
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # of a breakdown: see `residual`
            u = solved(_preconditioner(tiles, few, s2))
            residual = np.linalg.norm(times(u) - Y2.ravel()) / (np.linalg.norm(Y2) or 1.0)
            mean = np.concatenate(
                [tiles.row(block) @ u.reshape(shape) for block in tiles.blocks(np.asarray(test))]
            )
    except FloatingPointError:
        return result(np.full((len(test), shape[1]), np.nan), np.inf, False)
    good = tiles.valid and residual <= 2 * limit and np.isfinite(mean).all()
    return result(mean, float(residual), bool(good))


def _block_size(budget: int, itemsize: int) -> int:
    size = BLOCK
    while size > TILE and NUMBERS * size * size * itemsize > budget:
        size //= 2
    return size


class _Tiles:
    """The kernel of the inputs X, in blocks of its upper triangle, some of which are kept.

    `valid`: whether all entries computed so far are.
    """

    def __init__(
        self, network: tuple[Any, Any, Any], settings: dict[str, Any], ntk: bool, X: np.ndarray, budget: int
    ):
        self.network, self.settings, self.ntk, self.X, self.budget = network, settings, ntk, X, budget
        self.valid = True
        self.kept: dict[tuple[int, int], np.ndarray] = {}
        self.room = KEPT * min(budget, 2**62)
        self.size = _block_size(budget, X.dtype.itemsize)

    def blocks(self, X: np.ndarray) -> list[np.ndarray]:
        return [X[i : i + self.size] for i in range(0, len(X), self.size)]

    def kernel(self, X: np.ndarray, X2: np.ndarray | None = None) -> np.ndarray:
        flow: GramFlow = gram_flow(*self.network, X, X2, memory_budget=self.budget, **self.settings)
        self.valid = self.valid and bool(flow.valid.all())
        kernel = np.asarray(flow.Theta if self.ntk else flow.K)
        if not np.isfinite(kernel).all():
            raise FloatingPointError
        return kernel

    def row(self, X: np.ndarray) -> np.ndarray:
        """The kernel of these inputs with all."""
        return np.concatenate([self.kernel(X, block) for block in self.blocks(self.X)], 1)

    def upper(self) -> Iterator[tuple[slice, slice, np.ndarray]]:
        blocks = self.blocks(self.X)
        for i, left in enumerate(blocks):
            for j, right in enumerate(blocks[i:], start=i):
                tile = self.kept.get((i, j))
                if tile is None:
                    tile = self.kernel(left, None if i == j else right)
                    if tile.nbytes <= self.room:
                        self.kept[i, j] = tile
                        self.room -= tile.nbytes
                first, second = i * self.size, j * self.size
                yield slice(first, first + len(left)), slice(second, second + len(right)), tile

    def times(self, u: np.ndarray) -> np.ndarray:
        """The kernel times u, (n, outputs), summed in float64: in float32 the residual would not fall."""
        product = np.zeros(u.shape)
        for rows, columns, tile in self.upper():
            tile = tile.astype(np.float64, copy=False)
            product[rows] += tile @ u[columns]
            if rows != columns:
                product[columns] += tile.T @ u[rows]
        return product


def _preconditioner(tiles: _Tiles, count: int, s2: float):
    """u ↦ P⁻¹u with P = BBᵀ + δ, BBᵀ = K_DM K_MM⁻¹ K_MD:  P⁻¹ = (1 − B(δ + BᵀB)⁻¹Bᵀ)/δ."""
    X = tiles.X
    chosen = X[np.sort(np.random.default_rng(0).choice(len(X), count, replace=False))]
    own = tiles.kernel(chosen).astype(np.float64)
    eps = float(np.finfo(X.dtype).eps)
    own += LANDMARK_JITTER * eps * np.trace(own) * np.eye(count)
    try:
        L = np.linalg.cholesky(own)
    except np.linalg.LinAlgError:  # no kernel: solve without, and let the residual tell
        return lambda u: u
    cross = np.concatenate([tiles.kernel(block, chosen) for block in tiles.blocks(X)])
    B = scipy.linalg.solve_triangular(L, cross.T.astype(np.float64), lower=True).T
    step = max(1, len(X) // count)
    some = X[::step]
    left = np.array([np.trace(tiles.kernel(block)) for block in tiles.blocks(some)]).sum() / len(some)
    left -= np.mean(np.sum(B[::step] ** 2, 1))
    delta = s2 + max(float(left), eps * float(np.trace(own)) / count)
    inner = scipy.linalg.cho_factor(delta * np.eye(count) + B.T @ B, lower=True)
    return lambda u: (u - B @ scipy.linalg.cho_solve(inner, B.T @ u)) / delta
