"""Moments are right to 1e-12 (float32: 2e-6) at every K, or are marked as inaccurate; they are never NaN."""

import dataclasses
import random
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
import references
from references import FLOAT32, FLOAT64, PROMISED, USER_KINKS

import eft
from eft.gaussian.window import BLOCK_WEIGHTS, product

CATALOGUE = [key for key in references.table() if key not in USER_KINKS]
FAR = jnp.array([0.0, 1e-300, 1e-100, 1e-20, 1e-16, 1e16, 1e17, 1e30, 1e150, 1e300])


def moments_of(key, dtype=np.float64, **kwargs):
    return eft.moments(references.activation(key, **kwargs), jnp.asarray(references.table()[key].K, dtype))


@pytest.mark.parametrize("key", references.table())
def test_float64(key):
    errors = references.relative_errors(key, moments_of(key))
    for q in PROMISED:
        assert errors[q].max() <= FLOAT64, q
    assert errors["var"].max() <= 10 * FLOAT64  # 10: a difference of two moments
    assert errors["d2g"].max() <= FLOAT64


@pytest.mark.parametrize("key", references.table())
def test_float32(key):
    moments = moments_of(key, np.float32)
    errors = references.relative_errors(key, moments, np.float32)
    assert moments.g.dtype == jnp.float32
    assert (moments.error <= FLOAT32).all()
    for q in PROMISED:
        assert errors[q].max() <= FLOAT32, q


def test_kink_at_zero_need_not_be_declared():
    """σ = 1 + |z|, g = 1 + 2√(2K/π) + K; the slope of F jumps at 0, which g′ and g″ must include."""
    K = jnp.logspace(-10, 10, 21)
    moments = eft.moments(eft.Activation(lambda z: 1 + jnp.abs(z)), K)
    np.testing.assert_allclose(moments.g, 1 + 2 * np.sqrt(2 * K / np.pi) + K, rtol=FLOAT64)
    np.testing.assert_allclose(moments.dg, np.sqrt(2 / np.pi / K) + 1, rtol=FLOAT64)
    d2g = -np.sqrt(1 / (2 * np.pi)) * K**-1.5
    assert np.max(np.abs(moments.d2g - d2g) * K**2 / moments.g) <= FLOAT64
    assert (moments.error <= FLOAT64).all()


def test_the_variance_next_to_a_constant():
    """σ = e^{z/2}: Var σ² = e^K(e^K − 1), to round-off of itself as K → 0. The control: ⟨σ⁴⟩ − ⟨σ²⟩²."""
    K = np.logspace(-14, -2, 13)
    m, exact = eft.moments(lambda z: jnp.exp(z / 2), K), np.exp(K) * np.expm1(K)
    assert np.max(np.abs(m.var / exact - 1)) < 1e-13
    assert np.max(np.abs((m.g4 - m.g**2) / exact - 1)) > 1e-3


def test_sums_in_float32_do_not_collect_round_off():
    """Of 10⁴ positive terms, right to two units, with two axes of K. The control: one term after another."""
    rng = np.random.default_rng(0)
    terms, column = rng.uniform(0.5, 1.5, (2, 3, 10_001)), rng.uniform(0.5, 1.5, (10_001, 4))
    a, b = terms.astype(np.float32), column.astype(np.float32)
    exact = a.astype(float) @ b.astype(float)
    units = 2 * np.finfo(np.float32).eps
    assert np.max(np.abs(np.asarray(product(jnp.asarray(a), jnp.asarray(b))) / exact - 1)) < units
    one_by_one = np.cumsum(a[..., None] * b, axis=-2)[..., -1, :]
    assert np.max(np.abs(one_by_one / exact - 1)) > 5 * units


@pytest.mark.sweep
def test_float32_alone():
    """With float64 switched off the catalogue is right to the tolerance of float32."""
    code = (
        "import eft, jax.numpy as jnp, numpy as np, references as r\n"
        "for key, (K, _) in r.table().items():\n"
        "    if key in r.USER_KINKS: continue\n"
        "    e = r.relative_errors(key, eft.moments(r.activation(key), jnp.asarray(K)), np.float32)\n"
        "    assert jnp.asarray(1.0).dtype == jnp.float32\n"
        "    assert max(e[q].max() for q in r.PROMISED) <= r.FLOAT32, (key, e)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(references.__file__).parent)


@pytest.mark.parametrize("key", USER_KINKS)
def test_undeclared_kink_is_flagged(key):
    moments = moments_of(key, declared=False)
    errors = references.relative_errors(key, moments)
    worst = np.max([errors[q] for q in PROMISED], axis=0)
    flagged = np.asarray(moments.error) > FLOAT64
    assert (worst > FLOAT64).any(), "the control: without the kink declared the error is real"
    assert flagged[worst > FLOAT64].all()
    assert (np.asarray(moments.error)[worst > FLOAT64] > worst[worst > FLOAT64] / 10).all()
    assert (np.asarray(moments_of(key).error) <= FLOAT64).all(), "declared, nothing is flagged"


@pytest.mark.sweep
def test_fresh_sample_of_the_oracles():
    rng = random.Random(20240805)
    for key in rng.sample(CATALOGUE, 4):
        K = float(np.float32(10 ** rng.uniform(-12, 12)))
        moments = eft.moments(references.activation(key), jnp.asarray(K))
        for route in oracles.ROUTES:
            values = oracles.expectations(key, K, route)
            for q in PROMISED:
                reference = float(values[q])
                found = float(getattr(moments, references.FIELDS[q]))
                assert found == reference or abs(found / reference - 1) <= FLOAT64, (key, K, q, route)


@pytest.mark.parametrize("key", ["relu", "leaky_relu", "erf", "repu_2", "mrepu_1", "mrepu_2"])
def test_closed_forms_against_the_table(key):
    act = references.activation(key)
    tabulated = dataclasses.replace(act, family=None, degree=None)
    K = jnp.logspace(-8, 4, 40)
    closed, found = eft.moments(act, K), eft.moments(tabulated, K)
    for q in ("g", "g4", "var", "dg", "slope2"):
        np.testing.assert_allclose(getattr(found, q), getattr(closed, q), rtol=FLOAT64, err_msg=q)
    unit = np.maximum(np.abs(closed.d2g), closed.g / K**2)
    assert np.max(np.abs(found.d2g - closed.d2g) / unit) <= FLOAT64


def test_gauss_hermite_is_not_accurate():
    """The control: the textbook rule with 100 nodes exceeds the tolerance by ten orders of magnitude."""
    x, w = np.polynomial.hermite_e.hermegauss(100)
    K, values = references.table()["tanh"]
    g = (w * np.tanh(np.sqrt(K)[:, None] * x) ** 2).sum(-1) / np.sqrt(2 * np.pi)
    assert np.max(np.abs(g / values["g"] - 1)) > 1e-2


@pytest.mark.parametrize("key", CATALOGUE)
def test_no_nan_at_extreme_kernels(key):
    moments = eft.moments(references.activation(key), FAR)
    for field, value in moments._asdict().items():
        assert not np.isnan(value).any(), field


@pytest.mark.parametrize(("name", "slope"), [("tanh", 1.0), ("gelu", 0.25), ("elu", 1.0), ("swish", 0.25)])
def test_small_kernel_limit(name, slope):
    """g → σ′(0)²K, also where K is far below the range of the table."""
    K = jnp.array([1e-300, 1e-200, 1e-100, 1e-20])
    moments = eft.moments(eft.activation(name), K)
    np.testing.assert_allclose(moments.g / K, slope, rtol=1e-9)
    np.testing.assert_allclose(moments.dg, slope, rtol=1e-9)
    assert (moments.error <= FLOAT64).all()


@pytest.mark.parametrize("a", [0.2, 1 / 3, 0.45])
def test_powers_whose_slope_is_infinite(a):
    """σ = sign(z)|z|ᵃ: g ∝ Kᵃ, where neither F″ nor, at 0, F′ is integrable. The control: another power."""
    K = jnp.logspace(-12, 12, 25)
    m = eft.moments(eft.Activation(lambda z: jnp.sign(z) * jnp.abs(z) ** a, (0.0,)), K)
    np.testing.assert_allclose(m.dg * K / m.g, a, rtol=FLOAT64)
    np.testing.assert_allclose(m.d2g * K**2 / m.g, a * (a - 1), rtol=FLOAT64)
    assert (m.error <= FLOAT64).all()
    assert abs(m.d2g[0] * K[0] ** 2 / m.g[0] - 1.001 * a * (a - 1)) > FLOAT64


def test_logarithms_beyond_the_window_are_flagged():
    """σ² ~ 4 log² z is not a power law: accurate inside the table's range, and marked beyond it."""
    act = eft.Activation(lambda z: jnp.log1p(z * z))
    moments = eft.moments(act, jnp.array([1e10, 1e20]))
    assert moments.error[0] <= FLOAT64 < moments.error[1]


@pytest.mark.more
def test_blocks_do_not_matter():
    K = jnp.logspace(-6, 6, 2 * BLOCK_WEIGHTS + 17).reshape(-1, 1)
    act = eft.activation("gelu")
    whole, parts = eft.moments(act, K), [eft.moments(act, part) for part in (K[:700], K[700:])]
    for a, b in zip(whole, zip(*parts, strict=True), strict=True):
        np.testing.assert_allclose(a, np.concatenate(b), rtol=1e-14)
    assert whole.g.shape == K.shape


@pytest.mark.parametrize("key", ["tanh", "gelu", "softsign", "hard_tanh", "mrepu_2", "erf", "relu"])
def test_derivatives_in_K(key):
    """∂g/∂K and ∂g′/∂K by `grad` are the moments g′ and g″; ⟨σ⁴⟩′ and ⟨σ′²⟩′ agree with differences."""
    act = references.activation(key)
    for K in (0.05, 0.7, 1.4, 30.0):
        at = eft.moments(act, jnp.asarray(K))
        slopes = jax.jvp(lambda K: eft.moments(act, K), (jnp.asarray(K),), (jnp.asarray(1.0),))[1]
        np.testing.assert_allclose(slopes.g, at.dg, rtol=1e-10)
        np.testing.assert_allclose(slopes.dg, at.d2g, rtol=1e-9, atol=1e-12)
        h = 1e-4 * K
        up, down = eft.moments(act, jnp.asarray(K + h)), eft.moments(act, jnp.asarray(K - h))
        for q in ("g4", "var", "slope2", "d2g"):
            difference = (getattr(up, q) - getattr(down, q)) / (2 * h)
            np.testing.assert_allclose(getattr(slopes, q), difference, rtol=2e-6, atol=1e-9, err_msg=q)


@pytest.mark.sweep
def test_second_derivative_and_what_a_function_closes_over():
    act = eft.activation("tanh")
    K = jnp.asarray(0.8)
    second = jax.grad(jax.grad(lambda K: eft.moments(act, K).g))(K)
    np.testing.assert_allclose(second, eft.moments(act, K).d2g, rtol=1e-10)

    def g(slope):
        leaky = eft.Activation(lambda z: jnp.where(z > 0, z, slope * z), (0.0,))
        return eft.moments(leaky, jnp.asarray(2.0)).g

    np.testing.assert_allclose(jax.grad(g)(0.3), 0.3 * 2.0, rtol=1e-12)  # g = (1 + a²)K/2


def test_the_former_methods_are_the_functions():
    """act.moments(K) and act.slopes(K) until the next release."""
    act, K = eft.activation("gelu"), jnp.asarray([0.5, 2.0])
    for a, b in ((act.moments(K), eft.moments(act, K)), (act.slopes(K), eft.slopes(act, K))):
        assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
