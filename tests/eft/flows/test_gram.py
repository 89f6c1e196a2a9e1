"""The kernels K (NNGP) and Θ (NTK) of many inputs agree with closed forms and with pairs one by one."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eft
from eft.activations.analysis import analysed
from eft.flows.hermite_series import NEGLIGIBLE_SHARE, hermite_series_of
from eft.gaussian.hermite import coefficients, hermite_polynomials
from eft.gaussian.mehler import RUN_LENGTH
from eft.gaussian.sources import evaluated, source

rng = np.random.default_rng(2)
X = rng.normal(size=(7, 9))
X[3] = X[1]  # repeated
X[4] = 2 * X[0]  # collinear
X[5] = 0.0
SETTINGS: dict = {"cb": 0.1, "lambda_w": 0.7, "lambda_b": 0.3}


def erf_gram(X, cw, depth, cb, lambda_w, lambda_b):
    """Closed forms throughout, in NumPy."""
    overlap = X @ X.T / X.shape[1]
    K, Theta = cb + cw * overlap, lambda_b + lambda_w * overlap
    for _ in range(depth - 1):
        d = 1 + 2 * np.diag(K)
        product = 2 / np.pi * np.arcsin(2 * K / np.sqrt(d[:, None] * d))
        slopes = 4 / np.pi / np.sqrt(d[:, None] * d - 4 * K * K)
        K, Theta = cb + cw * product, lambda_b + lambda_w * product + cw * slopes * Theta
    return K, Theta


def test_erf_in_closed_form():
    found = eft.gram_flow("erf", 1.4, 8, X, **SETTINGS)
    K, Theta = erf_gram(X, 1.4, 8, **SETTINGS)
    assert found.valid.all()
    np.testing.assert_allclose(found.K, K, rtol=1e-12)
    np.testing.assert_allclose(found.Theta, Theta, rtol=1e-12)
    wrong = erf_gram(X, 1.4 * (1 + 1e-9), 8, **SETTINGS)[0]
    assert np.max(np.abs(found.K / wrong - 1)) > 1e-10


@pytest.mark.sweep("tanh-1.5", "relu-2.0")
@pytest.mark.parametrize(("name", "cw"), [("tanh", 1.5), ("relu", 2.0), ("gelu", 1.98), ("sin", 1.2)])
def test_pairs_one_by_one(name, cw):
    found = eft.gram_flow(name, cw, 10, X, cb=0.1, all_layers=True)
    assert found.K.shape == (10, 7, 7) and found.valid.all()
    np.testing.assert_array_equal(found.K, jnp.swapaxes(found.K, 1, 2))
    for i, j in [(0, 1), (0, 4), (2, 5), (1, 3)]:
        pair = eft.pair_flow(name, cw, 10, X[i], X[j], cb=0.1)
        np.testing.assert_allclose(found.K[:, i, j], pair.K_ab, rtol=1e-11)


def test_a_kink_is_in_the_error():
    """ELU: the truncation error of the series as ρ → 1 is larger than rounding, and `error` bounds it."""
    near = np.stack([X[0], X[0] + 1e-3 * X[1], X[2], X[6]])
    found = eft.gram_flow("elu", 1.5, 6, near)
    exact = eft.pair_flow("elu", 1.5, 6, *near[:2]).K_ab[-1]
    missed = abs(float(found.K[0, 1] / exact - 1))
    assert 1e-13 < missed <= float(found.error[0, 1]) and not found.valid[0, 1]
    far = eft.gram_flow("elu", 1.5, 6, X[[0, 1, 2, 6]])
    assert far.valid.all()
    pair = eft.pair_flow("elu", 1.5, 6, X[2], X[6])
    np.testing.assert_allclose(far.K[2, 3], pair.K_ab[-1], rtol=1e-9)


@pytest.mark.more
def test_blocks_of_rows_and_columns():
    whole = eft.gram_flow("tanh", 1.5, 5, X, **SETTINGS)
    block = eft.gram_flow("tanh", 1.5, 5, X[:3], X[2:], **SETTINGS)
    np.testing.assert_allclose(block.K, whole.K[:3, 2:], rtol=1e-12)
    np.testing.assert_allclose(block.Theta, whole.Theta[:3, 2:], rtol=1e-12)
    many = np.concatenate([rng.normal(size=(300, 9)), X])
    large = eft.gram_flow("tanh", 1.5, 5, many, **SETTINGS)
    np.testing.assert_allclose(large.Theta[300:, 300:], whole.Theta, rtol=1e-12)


def test_repeated_inputs_stay_equal_in_chaotic_deep_networks():
    """The control: inputs that differ by rounding do not."""
    near = X * (1 + 1e-15 * (np.arange(7) == 3)[:, None])
    found, control = (eft.gram_flow("tanh", 9.0, 10, x, cb=0.1, all_layers=True) for x in (X, near))
    assert found.K[-1, 1, 3] == found.K[-1, 1, 1] == found.K[-1, 3, 3]
    assert found.Theta[-1, 1, 3] == found.Theta[-1, 1, 1]
    assert abs(control.K[-1, 1, 3] / control.K[-1, 1, 1] - 1) > 1e-14


def test_diagonal_is_the_flow_of_one_input():
    found = eft.gram_flow("mish", 1.9, 10, X, cb=0.2, all_layers=True)
    one = eft.kernel_flow("mish", 1.9, 10, cb=0.2, x2=np.mean(X**2, -1))
    np.testing.assert_allclose(jnp.diagonal(found.K, axis1=1, axis2=2).T, one.K, rtol=1e-14)


def test_infinite_width_ntk_of_a_linear_network():
    """σ = z: K^l = C_W^l x·x′/n₀ and Θ^L = λ_W L C_W^{L−1} x·x′/n₀ with no biases."""
    found = eft.gram_flow("linear", 0.9, 7, X, lambda_w=1.0, lambda_b=0.0)
    overlap = X @ X.T / X.shape[1]
    np.testing.assert_allclose(found.K, 0.9**7 * overlap, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(found.Theta, 7 * 0.9**6 * overlap, rtol=1e-12, atol=1e-15)


@pytest.mark.promotes
def test_hermite_coefficients():
    """Of z³: √6 K^{3/2} and 3 K^{3/2}; the polynomials are orthonormal."""
    K = jnp.array([1e-3, 1.0, 50.0])
    found = coefficients(eft.Activation(lambda z: z**3), K, 31, 4)
    a = jnp.concatenate([found.mean[:, None], jnp.sqrt(K)[:, None] * found.e], 1)
    expected = np.zeros((3, 32))
    expected[:, 1], expected[:, 3] = 3 * K**1.5, np.sqrt(6) * K**1.5
    np.testing.assert_allclose(a, expected, atol=1e-11 * float(K[-1] ** 1.5))
    u, w = np.polynomial.hermite_e.hermegauss(60)
    h = hermite_polynomials(jnp.asarray(u), 30)
    np.testing.assert_allclose((h.T * w / np.sqrt(2 * np.pi)) @ h, np.eye(30), atol=1e-10)


@pytest.mark.promotes
@pytest.mark.parametrize("kinks", [(), (-0.7, 0.7)])
def test_hermite_coefficients_of_odd_functions(kinks):
    """From u > 0 alone they are those from all u. The control: of a function that is not odd they are not."""
    K = jnp.array([1e-6, 0.3, 4.0])
    clipped = lambda z: jnp.clip(jnp.tanh(z), -np.tanh(0.7), np.tanh(0.7)) if kinks else jnp.tanh(z)  # noqa: E731
    for fn, odd in ((clipped, True), (lambda z: clipped(z) + 0.01 * z**2, False)):
        act = eft.Activation(fn, kinks)
        whole, half = (coefficients(act, K, 64, 4, odd) for odd in (False, True))
        off = float(jnp.max(jnp.abs(whole.e[:, ::2] - half.e)))
        assert half.e.shape == (3, 32) and (off < 1e-14) == odd


def test_no_more_runs_than_coefficients():
    """Of a series that is too short, at a kink, every coefficient counts once."""
    K = jnp.full((1, 3), 2.0)
    act = analysed("elu")
    series, _ = hermite_series_of(act, K, evaluated(source(act, K.dtype), K))
    assert (np.asarray(series.left_out) > NEGLIGIBLE_SHARE).all()
    assert (np.asarray(series.runs) == series.expansion.e.shape[-1] // RUN_LENGTH).all()


@pytest.mark.parametrize("name", ["tanh", "softplus"])
def test_what_a_smooth_series_leaves_out(name):
    """Nothing. Of g = Σ a_k², a_0² is nothing for tanh, and most for softplus. The control: elu, above."""
    K = jnp.full((1, 3), 2.0)
    act = analysed(name)
    m = evaluated(source(act, K.dtype), K)
    series, _ = hermite_series_of(act, K, m)
    assert (np.asarray(series.left_out) <= NEGLIGIBLE_SHARE).all()
    assert (np.asarray(series.expansion.mean**2 / m.g) > 0.5).all() == (name == "softplus")


def test_a_pair_costs_a_short_sum():
    """Floating-point operations for each further pair of inputs. The control: `pair_flow` integrates."""

    def operations(call, *arrays):
        cost = jax.jit(call).lower(*arrays).compile().cost_analysis()
        return cost["flops"]

    flow = lambda X: eft.gram_flow("tanh", 1.0, 50, X)  # noqa: E731
    few, many = (operations(flow, jnp.asarray(rng.normal(size=(n, 4)))) for n in (100, 200))
    each = (many - few) / (200**2 - 100**2)
    assert 0 < each / 50 < 300  # in each layer
    pair = operations(lambda a, b: eft.pair_flow("tanh", 1.0, 50, a, b), jnp.ones(4), jnp.ones(4))
    assert pair > 100 * each


@pytest.mark.more
def test_five_hundred_inputs(compilations):
    """All are valid, and the second time nothing is compiled."""
    many = rng.normal(size=(500, 32))
    assert eft.gram_flow("tanh", 1.0, 50, many).valid.all()
    assert compilations(lambda: eft.gram_flow("tanh", 1.0, 50, many)) == 0


def test_float32():
    found = eft.gram_flow("tanh", 1.5, 5, X.astype(np.float32), **SETTINGS)
    exact = eft.gram_flow("tanh", 1.5, 5, X, **SETTINGS)
    assert found.K.dtype == jnp.float32 and found.valid.all()
    np.testing.assert_allclose(found.Theta, exact.Theta, rtol=2e-5)


@pytest.mark.parametrize(
    ("X", "settings", "error", "says"),
    [
        (X + np.inf, {}, ValueError, "X must be finite"),
        (X[0], {}, ValueError, "X must be inputs of shape"),
        (X[:0], {}, ValueError, "X must be inputs of shape"),
        ("data", {}, TypeError, "X"),
        (X, {"X2": X[:, :4]}, ValueError, "same n0"),
        (X, {"cb": -1.0}, ValueError, "cb"),
        (X, {"lambda_w": [1.0, 2.0]}, ValueError, "lambda_w must be one number"),
        (np.ones((100_000, 2)), {}, ValueError, "memory_budget must be at least"),
    ],
)
def test_bad_input(X, settings, error, says):
    with pytest.raises(error, match=says):
        eft.gram_flow("tanh", 1.0, 3, X, **settings)


def test_all_layers_need_no_more_memory_than_the_last_if_there_is_one():
    """The control: they need more if there are two."""

    def needed(depth, all_layers):
        with pytest.raises(eft.ArgumentError, match="memory_budget must be at least") as told:
            eft.gram_flow("tanh", 1.0, depth, X, all_layers=all_layers, memory_budget=1)
        return re.search(r"at least ([\d,]+) bytes", str(told.value))[1]

    assert needed(1, all_layers=True) == needed(1, all_layers=False)
    assert needed(2, all_layers=True) != needed(2, all_layers=False)


def test_inputs_that_are_zero():
    found = eft.gram_flow("tanh", 1.0, 3, np.zeros((2, 2)))
    assert (found.K == 0).all() and np.isfinite(found.Theta).all()


@pytest.mark.parametrize("name", ["tanh", "gelu", "sigmoid", "softsign"])
def test_zero_and_another_input(name):
    """Their Θ is the limit for small inputs; without the term in ⟨σ′σ′⟩ it would be 1."""
    other, along = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    at = eft.gram_flow(name, 1.5, 3, np.stack([0 * other, other]))
    near = eft.gram_flow(name, 1.5, 3, np.stack([1e-9 * along, other]))
    assert at.valid.all()
    np.testing.assert_allclose(at.Theta, near.Theta, rtol=1e-7)
    np.testing.assert_allclose(at.K, near.K, rtol=1e-7, atol=1e-9)
    assert abs(float(at.Theta[0, 1]) - 1.0) > 0.1
    if name == "tanh":
        line = eft.gram_flow(name, 1.5, 3, [[0.0], [1.0]])
        assert float(line.Theta[0, 1]) == pytest.approx(2.803522, abs=1e-6)


def test_relu_at_the_input_0():
    """⟨σ′σ′⟩ = ½ with itself, the limit of one small input, and ¼ with another, in every function."""
    inputs = np.array([[0.0, 0.0], [1.0, 2.0], [0.0, 0.0], [-1.0, 0.5]])
    found = eft.gram_flow("relu", 2.0, 2, inputs, lambda_w=0.0, lambda_b=1.0)  # Θ = 1 + 2⟨σ′σ′⟩
    np.testing.assert_allclose(found.Theta[0], [2.0, 1.5, 2.0, 1.5], rtol=1e-14)
    assert float(eft.kernel_flow("relu", 2.0, 1, x2=0.0).chi_perp[0]) == 1.0
    bent = eft.Activation(jax.nn.relu, kinks=(0.0,))  # by quadrature
    for act in ("relu", bent):
        gaps = jnp.array([[0.0], [0.3], [2.0]])
        slopes = eft.pair_expectation(act, 0.0, jnp.array([0.0, 1.0]), gaps).slopes
        np.testing.assert_allclose(slopes, [[0.5, 0.25]] * 3, rtol=1e-13)
    slopes = (found.Theta - 1) / 2
    assert np.linalg.eigvalsh(slopes).min() > -1e-14  # with ½ throughout it has a negative eigenvalue
    wrong = np.asarray(slopes).copy()
    wrong[[0, 2]] = wrong[:, [0, 2]] = 0.5
    assert np.linalg.eigvalsh(wrong).min() < -1e-3


@pytest.mark.parametrize("name", ["relu", "linear", "sin", "erf"])
def test_norms_of_any_ratio(name):
    """K_ab of inputs whose norms differ by 1e14 keeps its digits; computed from the distance it would not."""
    ratio = 1e-14
    inputs = np.array([[1.0, 0.5], [0.3, -1.0], [0.0, 0.0]])
    small = inputs * np.array([[ratio], [1.0], [1.0]])
    found = eft.gram_flow(name, 1.5, 3, small)
    assert (found.K[2] == 0).all() and (found.K[:, 2] == 0).all()
    if name in ("relu", "linear"):  # homogeneous
        plain = eft.gram_flow(name, 1.5, 3, inputs)
        np.testing.assert_allclose(found.K[0], plain.K[0] * np.array([ratio**2, ratio, 1.0]), rtol=1e-13)
    pair = eft.pair_flow(name, 1.5, 3, small[0], small[1])
    np.testing.assert_allclose(pair.K_ab[-1], found.K[0, 1], rtol=1e-12)
    sizes = found.K[0, 0] + found.K[1, 1]
    assert abs((sizes - (sizes - 2 * found.K[0, 1])) / 2 / found.K[0, 1] - 1) > 1e-6


def test_parallel_inputs_of_relu():
    """On a line the angles are 0 and π and Θ of ReLU is a polynomial; rounding 1 − ρ would cost 1e-8."""
    line = np.array([[3.0], [1.7], [0.1], [-1.3], [-2.9]])
    found = eft.gram_flow("relu", 2.0, 2, line)
    same = (line > 0) == (line > 0).T
    overlap = line * line.T
    expected = 1 + np.where(same, overlap + 1 + overlap, 0.0)
    np.testing.assert_allclose(found.Theta, expected, rtol=1e-14)


def test_erf_at_large_inputs():
    """The arcsine needs no series: accurate and valid at inputs of ±31 and beyond."""
    large = np.array([[31.0], [-30.0], [29.0], [31.0 + 1e-6], [1e5]])
    found = eft.gram_flow("erf", 1.5, 3, large)
    K, Theta = erf_gram(large, 1.5, 3, 0.0, 1.0, 1.0)
    assert found.valid.all()
    np.testing.assert_allclose(found.K, K, rtol=1e-12)
    # Θ of the plain formula loses 1 − ρ² itself
    np.testing.assert_allclose(found.Theta[:4, :4], Theta[:4, :4], rtol=1e-9)
    series = dataclasses.replace(eft.activation("erf"), family=None)
    assert not eft.gram_flow(series, 1.5, 3, large[:4]).valid.all()


@pytest.mark.parametrize("name", ["relu", pytest.param("sin", marks=pytest.mark.more)])
def test_nothing_is_promoted_in_float32(name):
    """Neither ranks nor dtypes: JAX refuses to promote. The other tests run so in float64."""
    inputs = X.astype(np.float32)
    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        found = eft.gram_flow(name, 1.5, 3, inputs, **SETTINGS)
        eft.gram_flow(name, 1.5, 3, inputs, inputs[:2], all_layers=True)
        eft.pair_flow(name, 1.5, 3, inputs[0], inputs[1], cb=0.1)
        eft.regress(name, 1.5, 2, inputs[:3], inputs[:3, 0], inputs[5:], noise=0.1)
        with pytest.raises(ValueError, match="rank_promotion"):
            jnp.ones((2, 2)) + jnp.ones(2)
    assert found.K.dtype == np.float32
