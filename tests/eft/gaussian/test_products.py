"""⟨σ₁²σ₂σ₃⟩ and ⟨σ₁σ₂σ₃σ₄⟩ agree with closed forms, also for linearly dependent variables."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import ndtr

import eft
from eft.activations.catalogue import as_activation
from eft.gaussian import multivariate
from eft.gaussian.multivariate import grid, is_mirrored, products, slope_products

RANDOM = np.random.default_rng(0).normal(size=(4, 4))
KERNELS = {
    "random": RANDOM @ RANDOM.T / 4,
    "close": 0.1 * np.eye(4) + 0.9,
    "one": np.ones((4, 4)),
    "opposite": np.outer([1, -1, 2, 0.5], [1, -1, 2, 0.5]),
    "of rank 2": RANDOM[:, :2] @ RANDOM[:, :2].T,
    "large": 10 * (0.01 * np.eye(4) + 0.99),
}


@functools.cache
def compiled(name, variables, largest):
    act = eft.activation(name)
    return jax.jit(functools.partial(products, act, grid=grid(act, variables, largest)))


def found(name, K):
    answer = compiled(name, len(K), float(np.diag(K).max()))(jnp.asarray(K))
    return np.asarray(answer.value), np.asarray(answer.error)


def product_of_sines(K):
    """⟨Π sin z_i⟩ = Re (i^{−r}/2^r) Σ_s (Π s) e^{−sᵀKs/2}, s = (±1, …)."""
    signs = np.array(list(itertools.product((1, -1), repeat=len(K))))
    return (
        (signs.prod(1) @ np.exp(-np.einsum("si,ij,sj->s", signs, K, signs) / 2))
        * (1j) ** len(K)
        / 2 ** len(K)
    )


@pytest.mark.parametrize("kernel", KERNELS)
def test_sines(kernel):
    """To rounding. The control: one correlation of the wrong sign."""
    K = KERNELS[kernel]
    value, error = found("sin", K)
    assert value == pytest.approx(product_of_sines(K).real, abs=1e-13)
    assert error < 1e-6
    value, _ = found("sin", K[:3, :3])
    for i in range(3):
        four = [0, 1, 2, i]
        assert value[i] == pytest.approx(product_of_sines(K[np.ix_(four, four)]).real, abs=1e-13)
    if kernel == "random":
        wrong = K.copy()
        wrong[0, 1] = wrong[1, 0] = -K[0, 1]
        assert abs(product_of_sines(wrong) - product_of_sines(K)) > 1e-3


def test_nodes_where_a_variable_does_not_depend_on_x():
    """Three variables, slopes 1, 0 and nearly 0: the first has the kink. The control: it is elsewhere."""
    means, rest = jnp.asarray([0.3, -20.0, 1.0]), jnp.asarray([0.0, 1.0, 0.5])
    slopes = jnp.asarray([1.0, 0.0, 1e-320])
    ramp = 0.3 * ndtr(0.3) + np.exp(-0.045) / np.sqrt(2 * np.pi)
    for n, cuts, right in ((1, (0.0,), True), (3, (0.0,), True), (3, (0.2,), False)):
        x, w = multivariate._nodes(means[:n], slopes[:n], rest[:n], multivariate.Grid(cuts, 0.3, 22))
        assert np.isfinite(x).all() and abs(w.sum() - 1) < 1e-13
        assert (abs(w @ np.maximum(x + 0.3, 0) - ramp) < 1e-13) == right


def ramp(x):
    """⟨max(0, x + y)⟩ over y ~ N(0, 1)."""
    return x * ndtr(x) + np.exp(-x * x / 2) / np.sqrt(2 * np.pi)


MEANS = {
    "elu": lambda m, s: s * ramp(m / s) + np.exp(m + s * s / 2) * ndtr(-m / s - s) - ndtr(-m / s),
    "hard_tanh": lambda m, s: s * (ramp((m + 1) / s) - ramp((m - 1) / s)) - 1,
}
"""⟨σ(m + s y)⟩."""


@pytest.mark.sweep("0.01-elu")
@pytest.mark.parametrize("name", MEANS)
@pytest.mark.parametrize("apart", [0.3, 0.01, 0.001, 1e-5])
def test_close_variables_and_kinks(name, apart, monkeypatch):
    """z_i = x₁ + δ(a_i x₂ + b_i y_i), by a plane of x₁ and x₂ where the means over y_i are in closed form.

    Within the stated error, which is small. The controls: variables that are equal; for hard tanh no cuts
    where smoothed kinks end.
    """
    a, b = np.array([0.3, -0.8, 1.1, 0.5]), np.array([0.7, 1.2, 0.4, 0.9])
    A = np.stack([np.ones(4), apart * a], 1)
    K = A @ A.T + np.diag((apart * b) ** 2)
    near = (c + side * 10.0 * 2.0**-i for c in (-1, 0, 1) for i in range(40) for side in (-1, 1))
    edges = np.unique([-1.0, 0.0, 1.0, *near])
    t, w = np.polynomial.legendre.leggauss(20)
    half = np.diff(edges)[:, None] / 2
    x1 = (edges[:-1, None] + half * (1 + t)).ravel()
    w1 = (half * w).ravel() * np.exp(-(x1**2) / 2) / np.sqrt(2 * np.pi)
    x2 = np.arange(-40, 41) * 0.22
    w2 = 0.22 * np.exp(-(x2**2) / 2) / np.sqrt(2 * np.pi)
    plane = [MEANS[name](x1[:, None] + apart * a[i] * x2, apart * b[i]) for i in range(4)]
    expected = w1 @ np.prod(plane, 0) @ w2
    value, error = found(name, K)
    off = abs(value - expected)
    assert off < error + 1e-13 and error < 1e-9, (value, expected, error)
    assert abs(expected - w1 @ MEANS[name](x1, 1e-12) ** 4) > 10 * off
    if name == "hard_tanh" and apart == 0.001:
        monkeypatch.setattr(multivariate, "BLUR", 0.0)
        without = products(eft.activation(name), jnp.asarray(K), grid(eft.activation(name), 4, 1.0)).value
        assert abs(without - expected) > 10 * error


@pytest.mark.sweep("relu")
@pytest.mark.parametrize(
    "name", ["relu", "hard_tanh", pytest.param("mrepu", marks=pytest.mark.more), "softsign"]
)
def test_kinks(name):
    """Independent pairs: a product of expectations of two. Two equal variables: an expectation of three."""
    act = eft.activation(name)
    K = np.zeros((4, 4))
    K[:2, :2], K[2:, 2:] = [[0.5, 0.2], [0.2, 0.8]], [[0.6, -0.3], [-0.3, 0.4]]

    def pair(K):
        return float(
            eft.pair_expectation(act, K[0, 0], K[1, 1], 1 - K[0, 1] / np.sqrt(K[0, 0] * K[1, 1])).product
        )

    expected = pair(K[:2, :2]) * pair(K[2:, 2:])
    value, error = found(name, K)
    assert value == pytest.approx(expected, rel=1e-5)
    assert abs(value - expected) < error + 1e-12
    same = KERNELS["random"][:3, :3]
    three, _ = found(name, same / 2)
    four = [0, 1, 2, 2]
    value, error = found(name, same[np.ix_(four, four)] / 2)
    assert value == pytest.approx(three[2], rel=1e-4)
    assert abs(value - three[2]) < error + 1e-8 * abs(three[2])
    assert abs(three[1] - three[2]) > 0.01 * abs(three[2])  # the control: another one doubled


def test_relu_at_opposite_inputs():
    """z₊(−z)₊ = 0 for any other variables."""
    base = np.array([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0], [0.3, 0.7, 0.0], [0.2, -0.5, 0.4]])
    value, _ = found("relu", base @ base.T)
    assert abs(value) < 1e-12
    value, _ = found("relu", (base @ base.T)[:3, :3])
    assert abs(value).max() < 1e-12


@pytest.mark.more
def test_half_the_space_for_odd_functions():
    """The same to rounding. The control: for a function that is neither odd nor even it is not."""
    K = jnp.asarray(KERNELS["random"])
    powers = np.array([[(1, 0), (1, 0), (0, 1), (0, 1)]])
    for name, mirrored in (("tanh", True), ("softplus", False)):
        act = eft.activation(name)
        rule = grid(act, 4, 1.0).quick()
        assert rule.mirrored == mirrored
        half, whole = (rule._replace(mirrored=each) for each in (True, False))
        for of_grid in (lambda g, a=act: products(a, K, g), lambda g, a=act: slope_products(a, K, g, powers)):
            off = float(jnp.max(jnp.abs(of_grid(half)[0] / of_grid(whole)[0] - 1)))
            assert (off < 1e-12) == mirrored
    odd = np.array([[(1, 0), (1, 0), (1, 0), (0, 1)]])  # an odd product is 0, and not halved
    rule = grid(eft.activation("tanh"), 4, 1.0).quick()
    assert abs(slope_products(eft.activation("tanh"), K, rule, odd)[0]).max() < 1e-13


def test_a_narrow_bump_makes_an_odd_function_neither(monkeypatch):
    """Of width 0.002. The control: at 257 points it is not seen."""
    act = as_activation(lambda z: jnp.tanh(z) + 0.1 * jnp.exp(-(((z - 0.84275) / 0.002) ** 2)))
    assert not is_mirrored(act) and is_mirrored(as_activation(jnp.tanh))
    monkeypatch.setattr(multivariate, "MIRROR_POINTS", 257)
    assert is_mirrored(act)


@pytest.mark.sweep("1000000.0")
@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_relu_is_homogeneous(scale):
    K = KERNELS["random"]
    np.testing.assert_allclose(found("relu", scale * K)[0], scale**2 * found("relu", K)[0], rtol=1e-4)
    np.testing.assert_allclose(
        found("relu", scale * K[:3, :3])[0], scale**2 * found("relu", K[:3, :3])[0], rtol=1e-9
    )


@pytest.mark.more
def test_relu_against_samples():
    """Ten million draws; within 4 errors."""
    K = KERNELS["random"]
    z = np.linalg.cholesky(K) @ np.random.default_rng(1).standard_normal((4, 10_000_000), dtype=np.float32)
    s = np.maximum(z, 0)
    for four, value in [((0, 1, 2, 3), found("relu", K)[0]), ((0, 1, 2, 1), found("relu", K[:3, :3])[0][1])]:
        drawn = s[list(four)].prod(0)
        error = drawn.std() / np.sqrt(len(drawn))
        assert abs(drawn.mean() - value) < 4 * error
        assert error < 5e-3 * value
