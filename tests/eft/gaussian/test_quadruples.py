"""Products at three and four variables by sums over planes agree with closed forms and nested integrals."""

import functools
import itertools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

import eft
from eft.gaussian.multivariate import grid, products, slope_products
from eft.gaussian.quadruples import Nodes, means, nodes_for

RANDOM = np.random.default_rng(0).normal(size=(4, 4))
KERNELS = {
    "random": RANDOM @ RANDOM.T / np.max(np.sum(RANDOM**2, 1)),
    "close": 0.1 * np.eye(4) + 0.9,
    "very close": 1e-9 * np.diag([0.3, 0.6, 0.7, 1.0]) + (1 - 1e-9),
    "one": np.ones((4, 4)),
    "two and two": np.kron(np.eye(2), np.ones((2, 2))),
    "opposite": np.outer([1, -1, 1, 0.5], [1, -1, 1, 0.5]),
    "of rank 2": RANDOM[:, :2] @ RANDOM[:, :2].T / 4,
    "independent": np.diag([1.0, 0.3, 0.6, 0.1]),
    "with a zero": np.pad(RANDOM[:3, :2] @ RANDOM[:3, :2].T / 4, (0, 1)),
    "of two sizes": np.outer([1, 1e-6, 1, 1e-6], [1, 1e-6, 1, 1e-6]) * (0.5 * np.eye(4) + 0.5),
}

ROUNDING = 1e-13
"""Of sums of ten thousand terms, beside √(⟨f⁴⟩…) of the factors."""


@functools.cache
def program(name: str, nodes: Nodes, slopes: bool):
    act = eft.activation(name)
    count = 1 + slopes
    return jax.jit(lambda K: means(lambda z: jnp.stack(act.derivatives(z)[:count]), K, nodes))


def computed(name: str, K: np.ndarray, slopes: bool = False):
    """Values and errors of four variables and of three, with one of them doubled."""
    nodes = nodes_for(float(K.max()), False)
    return jax.tree.map(np.asarray, program(name, nodes, slopes)(jnp.asarray(K)))


def sines(K: np.ndarray, orders=(0, 0, 0, 0)) -> float:
    """E Π_v sin(z_v + k_v π/2), of derivatives of the sine of orders k."""
    signs = np.array(list(itertools.product((1, -1), repeat=len(K))))
    phases = np.prod(signs / 2j * np.exp(0.5j * np.pi * signs * np.array(orders)), 1)
    return float(np.real(phases @ np.exp(-np.einsum("si,ij,sj->s", signs, K, signs) / 2)))


def doubled(K: np.ndarray, t: tuple, i: int) -> np.ndarray:
    """The kernel of (z_i, z_i) and the other two, in ascending order."""
    rows = [t[i], t[i], *t[:i], *t[i + 1 :]]
    return K[np.ix_(rows, rows)]


@pytest.mark.parametrize("scale", [1e-12, 1.0, 10.0])
@pytest.mark.parametrize("kernel", KERNELS)
def test_sines(kernel, scale):
    """Of four, and of three with one doubled. The control: one correlation of the wrong sign."""
    K = scale * KERNELS[kernel]
    value, error = computed("sin", K)
    if scale < 1e-6:  # sin z = z, and by Isserlis
        expected = K[0, 1] * K[2, 3] + K[0, 2] * K[1, 3] + K[0, 3] * K[1, 2]
        assert value.four[0, 0, 0] == pytest.approx(expected, abs=20 * scale**3)
        assert error.four[0, 0, 0] <= ROUNDING * scale**2
        return
    assert value.four[0, 0, 0] == pytest.approx(sines(K), abs=ROUNDING)
    assert abs(value.four[0, 0, 0] - sines(K)) <= error.four[0, 0, 0] + ROUNDING
    for n, t in enumerate(itertools.combinations(range(4), 3)):
        for i in range(3):
            assert value.three[n, i, 0, 0] == pytest.approx(sines(doubled(K, t, i)), abs=ROUNDING)
    if kernel in ("random", "close") and scale == 1:
        wrong = K.copy()
        wrong[0, 1] = wrong[1, 0] = -K[0, 1]
        assert abs(sines(wrong) - sines(K)) > 1e-3


@pytest.mark.parametrize("kernel", ["random", "close", "opposite"])
def test_sines_and_their_slopes(kernel):
    """Every product of values and slopes. The control: they are not all alike."""
    K = KERNELS[kernel]
    value, _ = computed("sin", K, slopes=True)
    two = list(itertools.product((0, 1), repeat=2))
    expected = np.array([[sines(K, (*p, *q)) for q in two] for p in two])
    np.testing.assert_allclose(value.four[0], expected, atol=ROUNDING)
    assert np.ptp(expected) > 1e-2
    for n, t in enumerate(itertools.combinations(range(4), 3)):
        for i in range(3):
            at = doubled(K, t, i)
            expected = [[sines(at, (*p, *q)) for q in two] for p in ((0, 0), (0, 1), (1, 1))]
            np.testing.assert_allclose(value.three[n, i], expected, atol=ROUNDING)


@pytest.mark.parametrize("name", ["tanh", "gelu", "softplus"])
def test_equal_variables_against_mpmath(name):
    """⟨σ⁴⟩ and, of two independent pairs of equal variables, ⟨σ²⟩². Both at the limits of what is promised.

    The control: the fourth moment is not the square of the second.
    """
    functions = {
        "tanh": mpmath.tanh,
        "gelu": lambda z: z * mpmath.ncdf(z),
        "softplus": lambda z: mpmath.log1p(mpmath.exp(z)),
    }

    def moment(K, p):
        f = lambda x: functions[name](mpmath.sqrt(K) * x) ** p * mpmath.npdf(x)  # noqa: E731
        return float(mpmath.quad(f, np.linspace(-12, 12, 25)))

    for K, tolerance in ((1.0, 1e-11), (10.0, 1e-8)):
        four, two = moment(K, 4), moment(K, 2)
        for kernel, expected in (("one", four), ("two and two", two**2)):
            value, error = computed(name, K * KERNELS[kernel])
            assert value.four[0, 0, 0] == pytest.approx(expected, rel=tolerance)
            assert abs(value.four[0, 0, 0] - expected) <= error.four[0, 0, 0] + ROUNDING * four
        assert four > 1.01 * two**2


@pytest.mark.parametrize(("degree", "tolerance"), [(2, 1e-11), (3, 1e-8)])
def test_powers(degree, tolerance):
    """⟨z₁ᵖz₂ᵖz₃ᵖz₄ᵖ⟩ by Isserlis' theorem; the Gaussian's tail is cut off, which the error shows."""
    K = KERNELS["random"]

    @functools.cache
    def isserlis(indices: tuple) -> float:
        if not indices:
            return 1.0
        first, rest = indices[0], indices[1:]
        return sum(K[first, rest[j]] * isserlis(rest[:j] + rest[j + 1 :]) for j in range(len(rest)))

    value, error = jax.jit(lambda K: means(lambda z: z[None] ** degree, K, Nodes(36)))(jnp.asarray(K))
    for four, found, off in (
        ((0, 1, 2, 3), value.four[0, 0, 0], error.four[0, 0, 0]),
        ((0, 0, 1, 2), value.three[0, 0, 0, 0], error.three[0, 0, 0, 0]),
        ((2, 2, 0, 1), value.three[0, 2, 0, 0], error.three[0, 2, 0, 0]),
    ):
        expected = isserlis(tuple(sorted(degree * four)))
        assert found == pytest.approx(expected, rel=tolerance)
        assert abs(found - expected) <= off + ROUNDING * abs(expected)
    assert isserlis((0, 0, 0, 0)) == pytest.approx(3 * K[0, 0] ** 2)


@pytest.mark.sweep("tanh-random")
@pytest.mark.parametrize("kernel", ["random", "close", "of rank 2"])
@pytest.mark.parametrize("name", ["tanh", "gelu"])
def test_nested_integrals(name, kernel):
    """Within the errors of both. The control: another kernel."""
    act, K = eft.activation(name), KERNELS[kernel]
    value, error = computed(name, K, slopes=True)
    rule = grid(act, 4, 1.0)
    nested = jax.jit(functools.partial(products, act, grid=rule))(jnp.asarray(K))
    off = abs(value.four[0, 0, 0] - nested.value)
    assert off <= error.four[0, 0, 0] + nested.error + ROUNDING
    assert off < 1e-8
    three = jax.jit(functools.partial(products, act, grid=grid(act, 3, 1.0)))(jnp.asarray(K[:3, :3]))
    np.testing.assert_allclose(value.three[0, :, 0, 0], three.value, atol=1e-9)
    powers = np.array([[(1, 0), (1, 0), (0, 1), (0, 1)], [(1, 0), (0, 1), (1, 0), (0, 1)]])
    both = jax.jit(functools.partial(slope_products, act, grid=rule, powers=powers))(jnp.asarray(K))
    np.testing.assert_allclose([value.four[0, 0, 3], value.four[0, 1, 1]], both[0], atol=1e-7)
    assert abs(computed(name, 0.9 * K)[0].four[0, 0, 0] - nested.value) > 1e-3 * abs(nested.value)


@pytest.mark.more
def test_the_error_where_nodes_are_too_far_apart():
    """It is at least the true one. The control: there it is not small."""
    for name, scales in (("sin", (0.1, 1.0, 3.0)), ("tanh", (0.1, 1.0, 3.0, 10.0))):
        fine = program(name, Nodes(200), False)
        for scale in scales:
            for kernel in ("random", "close"):
                K = jnp.asarray(scale * KERNELS[kernel])
                (value, error), (exact, _) = program(name, Nodes(20), False)(K), fine(K)
                for found, off, true in zip(value, error, exact, strict=True):
                    assert (np.abs(found - true) <= off + ROUNDING).all()
    assert error.four.max() > 1e-6


def test_half_the_plane_for_odd_functions():
    """The same to rounding. The control: for a function that is neither odd nor even it is not."""
    K = jnp.asarray(KERNELS["random"])
    for name, mirrored in (("tanh", True), ("softplus", False)):
        half, whole = (program(name, Nodes(30, each), False)(K)[0] for each in (True, False))
        off = max(float(jnp.max(jnp.abs(a / b - 1))) for a, b in zip(half, whole, strict=True))
        assert (off < 1e-12) == mirrored
        assert nodes_for(1.0, True) == Nodes(36, True)


def test_float32():
    """Within its rounding of float64. The control: not within that of float64."""
    K = KERNELS["close"].astype(np.float32)
    single, error = program("tanh", Nodes(36), True)(jnp.asarray(K))
    double, _ = computed("tanh", K.astype(float), slopes=True)
    assert single.four.dtype == jnp.float32
    assert 1e-12 < np.max(np.abs(np.asarray(single.four, float) - double.four)) < 1e-5
    assert error.four.max() < 1e-5


def test_what_is_not_finite_is_not_hidden():
    value, error = computed("tanh", np.full((4, 4), np.nan))
    assert np.isnan(value.four).all() and np.isnan(error.four).all() and np.isnan(error.three).all()
