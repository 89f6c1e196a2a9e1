"""The flow of one input agrees with closed forms, marks overflow, and is compiled once."""

import math
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eft
from eft.gaussian.series import odd_factorial
from eft.gaussian.tabulated import moment_table

HUGE = float(np.finfo(float).max)


def by_hand(act, cw, depth, cb, K, widths):
    """The recursions of the docstring in a plain loop, each expectation by `gaussian_expectation`."""
    sigma, slope = act.fn, lambda z: jax.jvp(act.fn, (z,), (jnp.ones_like(z),))[1]
    mean = lambda f, K: float(eft.gaussian_expectation(f, K, act.kinks))  # noqa: E731
    n = [widths[0], *widths]
    V = G1 = 0.0
    rows = []
    for layer in range(depth):
        g = lambda K: mean(lambda z: sigma(z) ** 2, K)  # noqa: E731
        parallel = cw * mean(lambda z: z * sigma(z) * slope(z), K) / K
        perp = cw * mean(lambda z: slope(z) ** 2, K)
        rows.append((K, parallel, perp, V, G1))
        u4 = lambda z, K=K: sigma(z) ** 2 * (z**4 - 6 * K * z**2 + 3 * K**2)  # noqa: E731
        g2 = mean(u4, K) / (4 * K**4)
        ratio = n[layer + 1] / n[layer] if layer + 1 < len(n) else 1.0
        fluctuation = mean(lambda z: sigma(z) ** 4, K) - g(K) ** 2
        V, G1 = (
            cw**2 * fluctuation + ratio * parallel**2 * V,
            ratio * (parallel * G1 + cw * g2 * V / 2),
        )
        K = cb + cw * g(K)
    return np.array(rows).T


@pytest.mark.parametrize(
    ("name", "cw", "cb", "x2"),
    [("tanh", 1.3, 0.1, 1.0), ("gelu", 1.9, 0.2, 2.0), ("softplus", 0.9, 0.0, 0.5), ("mrepu", 0.4, 0.0, 0.1)],
)
def test_against_the_recursions_by_hand(name, cw, cb, x2):
    widths = (30, 60, 20, 40)
    flow = eft.kernel_flow(name, cw, 5, cb=cb, x2=x2, widths=widths)
    expected = by_hand(eft.activation(name), cw, 5, cb, cb + cw * x2, widths)
    for field, row in zip(("K", "chi_parallel", "chi_perp", "V", "G1"), expected, strict=True):
        np.testing.assert_allclose(getattr(flow, field), row, rtol=1e-8, atol=1e-12, err_msg=field)
    assert flow.valid.all()


def test_widths_matter():
    """The control of the above: equal widths give another V and G1."""
    equal = eft.kernel_flow("tanh", 1.3, 5)
    unequal = eft.kernel_flow("tanh", 1.3, 5, widths=(30, 60, 20, 40))
    np.testing.assert_array_equal(equal.K, unequal.K)
    assert abs(unequal.V[-1] / equal.V[-1] - 1) > 0.05
    np.testing.assert_allclose(eft.kernel_flow("tanh", 1.3, 5, widths=(7,) * 4).V, equal.V)


@pytest.mark.parametrize("p", range(1, 7))
def test_repu_closed_form(p):
    """g = (2p−1)!!/2 Kᵖ, χ∥ = (C_W/2) p(2p−1)!! Kᵖ⁻¹, χ∥/χ⊥ = (2p−1)/p."""
    cw = jnp.array([0.3, 1.0, 2.0])
    flow = eft.kernel_flow("repu" if p == 2 else eft.activation("repu", p=p), cw, 4)
    K = np.asarray(cw)
    for layer in range(4):
        np.testing.assert_allclose(flow.K[:, layer], K, rtol=1e-13)
        np.testing.assert_allclose(flow.log_K[:, layer], np.log(K), rtol=1e-13, atol=1e-13)
        np.testing.assert_allclose(
            flow.chi_parallel[:, layer],
            np.minimum(cw / 2 * p * odd_factorial(p) * K ** (p - 1), HUGE),
            rtol=1e-13,
        )
        K = cw * odd_factorial(p) / 2 * K**p
    held = flow.chi_parallel < HUGE
    np.testing.assert_allclose((flow.chi_parallel / flow.chi_perp)[held], (2 * p - 1) / p, rtol=1e-13)


@pytest.mark.parametrize(("name", "cw", "a"), [("relu", 2.0, 5.0), ("linear", 1.0, 2.0)])
def test_vertex_is_the_derivative_of_the_exact_product(name, cw, a):
    """E[Ĝ²]/E[Ĝ]² = Π(1 + a/n_l): the term of first order in 1/n is V/K², with any widths; G1 = 0."""
    widths = (64, 32, 128, 16, 256, 64)
    flow = eft.kernel_flow(name, cw, 7, widths=widths)
    n = np.array(widths, float)
    for layer in range(1, 7):
        exact = a * (1 / n[:layer]).sum()
        np.testing.assert_allclose(flow.V[layer] / flow.K[layer] ** 2 / n[layer - 1], exact, rtol=1e-13)
    np.testing.assert_allclose(flow.G1, 0, atol=1e-13)


def test_repu_overflow_saturates_but_log_K_does_not():
    flow = eft.kernel_flow("repu", jnp.array([0.2, 0.8, 3.0]), 1010)
    for i, cw in enumerate((0.2, 0.8, 3.0)):
        log_K, exact = math.log(cw), []
        for _ in range(1010):
            exact.append(log_K)
            log_K = math.log(1.5 * cw) + 2 * log_K
        np.testing.assert_allclose(flow.log_K[i], exact, rtol=1e-12)
        held = np.abs(exact) < 708
        np.testing.assert_array_equal(flow.valid[i], held)
        np.testing.assert_allclose(flow.K[i][held], np.exp(np.array(exact)[held]), rtol=1e-12)
        assert set(np.asarray(flow.K[i][~held])) <= {0.0, HUGE}
    for field in flow:
        assert not np.isnan(field).any()


def test_a_kernel_that_is_exactly_zero_is_valid():
    """Because C_W = 0, or K¹ = 0 and σ(0) = 0. The control: one below the smallest float is marked."""
    assert eft.kernel_flow("tanh", 0.0, 3, K1=1.0).valid.all()
    assert eft.kernel_flow("tanh", 1.0, 3, K1=0.0).valid.all()
    np.testing.assert_array_equal(eft.kernel_flow("tanh", 1e-200, 3, K1=1.0).valid, [True, True, False])


@pytest.mark.parametrize("name", eft.activation_names())
@pytest.mark.parametrize("cw", [0.0, 1e-3, 1.0, 3.0, 1e3])
def test_never_nan(name, cw):
    for settings in ({}, {"x2": 1e6}, {"x2": 0.0}, {"K1": 1e-12}, {"K1": 1e300}, {"cb": 1.0}):
        flow = eft.kernel_flow(name, cw, 60, **settings)
        for field, values in flow._asdict().items():
            assert not np.isnan(values).any(), (field, settings)
        assert ((flow.K >= 0) & (flow.K <= HUGE)).all()
        if name not in ("perceptron", "hard_shrink"):  # they jump
            assert np.isfinite(flow.chi_perp).all()


def test_perceptron():
    flow = eft.kernel_flow("perceptron", 0.7, 4, cb=0.2)
    np.testing.assert_allclose(flow.K[1:], 0.9)
    np.testing.assert_array_equal(flow.chi_parallel, 0)
    assert np.isinf(flow.chi_perp).all()
    np.testing.assert_array_equal(flow.V, 0)


def test_ordered_tanh_decays_through_the_window():
    """C_W < 1: K falls by C_W per layer down to 1e-300, with no step at the end of the table."""
    flow = eft.kernel_flow("tanh", 0.5, 980)
    np.testing.assert_allclose(flow.K[200:] / flow.K[199:-1], 0.5, rtol=1e-12)
    assert flow.valid.all()


@pytest.mark.promotes
def test_broadcasting_and_layers():
    cw, cb = jnp.linspace(0.5, 2, 3)[:, None], jnp.linspace(0, 1, 4)
    flow = eft.kernel_flow("tanh", cw, 6, cb=cb)
    assert flow.K.shape == flow.valid.shape == (3, 4, 6)
    np.testing.assert_allclose(flow.K[..., 0], cw + cb)
    one = eft.kernel_flow("tanh", cw[1, 0], 6, cb=cb[2])
    np.testing.assert_allclose(flow.V[1, 2], one.V, rtol=1e-13)
    assert eft.kernel_flow("tanh", 1.0, 1).K.shape == (1,)
    both = eft.kernel_flows(["tanh", "gelu"], cw, 6)
    assert both.K.shape == (2, 3, 1, 6)
    np.testing.assert_allclose(both.K[1], eft.kernel_flow("gelu", cw, 6).K)


def test_first_layer_is_a_setting():
    np.testing.assert_allclose(eft.kernel_flow("tanh", 1.5, 3, cb=0.1, x2=2.0).K[0], 3.1)
    np.testing.assert_allclose(eft.kernel_flow("tanh", 1.5, 3, cb=0.1, K1=0.7).K[0], 0.7)


@pytest.mark.parametrize("argument", ["cw", "cb", "x2", "K1"])
@pytest.mark.parametrize("name", ["tanh", "gelu", "mrepu", "relu"])
def test_gradient(name, argument):
    at = {"cw": 0.6, "cb": 0.004, "x2": 0.02}
    if argument == "K1":
        at = {"cw": 0.6, "cb": 0.004, "K1": 0.03}

    def last(value):
        settings = {**at, argument: value}
        flow = eft.kernel_flow(name, settings.pop("cw"), 5, **settings)
        return jnp.stack([flow.K[-1], flow.V[-1], flow.chi_perp[-1], flow.G1[-1]])

    h = 1e-6
    slope = jax.jacrev(last)(at[argument])
    difference = (last(at[argument] + h) - last(at[argument] - h)) / (2 * h)
    np.testing.assert_allclose(slope, difference, rtol=1e-6, atol=1e-7)


def test_under_jit_vmap_and_float32():
    cw = jnp.linspace(0.5, 2, 5)
    plain = eft.kernel_flow("gelu", cw, 6)
    np.testing.assert_allclose(jax.vmap(lambda c: eft.kernel_flow("gelu", c, 6).V)(cw), plain.V, rtol=1e-13)
    np.testing.assert_allclose(jax.jit(lambda c: eft.kernel_flow("gelu", c, 6).V)(cw), plain.V, rtol=1e-13)
    single = eft.kernel_flow("gelu", cw.astype(jnp.float32), 6)
    assert all(field.dtype in (jnp.float32, jnp.bool_) for field in single)
    np.testing.assert_allclose(single.V, plain.V, rtol=1e-4)
    np.testing.assert_allclose(single.K, plain.K, rtol=1e-5)


def test_a_traced_bad_value_is_marked():
    run = jax.jit(lambda cw: eft.kernel_flow("tanh", cw, 3).valid)
    assert not run(-1.0).any()
    assert not run(jnp.nan).any()
    assert run(1.0).all()


def test_undeclared_kinks_are_found():
    f = lambda z: jnp.tanh(z) + jnp.maximum(z - 0.3, 0)  # noqa: E731
    found = eft.kernel_flow(f, 1.0, 3)
    declared = eft.kernel_flow(eft.Activation(f, kinks=(0.3,)), 1.0, 3)
    for a, b in zip(found, declared, strict=True):
        np.testing.assert_array_equal(a, b)
    assert found.valid.all()


@pytest.mark.parametrize(
    ("fn", "K1", "why"),
    [
        (lambda z: jnp.abs(z % 2 - 1), 100.0, "more kinks than are taken into account"),
        (lambda z: z + jax.lax.stop_gradient(jnp.sign(z) - z), 1.0, "not the slope of its values"),
        (lambda z: jnp.sin(20 * z), 1e4, "does not resolve"),
        (lambda z: jnp.exp(z), 1e5, "not a finite number"),
    ],
)
def test_inaccurate_moments_are_marked_with_the_reason(fn, K1, why):
    with pytest.warns(eft.QuadratureWarning, match="layer 1") as told:
        flow = eft.kernel_flow(fn, 1.0, 3, K1=K1)
    assert why in str(told[0].message)
    assert not flow.valid.any() and flow.error[0] > 1e-12
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert eft.kernel_flow(jnp.tanh, 1.0, 3, K1=K1).valid.all(), "the control"


def test_too_large_a_flow_is_refused_with_its_size():
    """A layer has eight numbers: in float64 10⁶ layers of 300 flows take 8 · 8 · 3 · 10⁸ bytes, 17.9 GiB."""
    with pytest.raises(eft.ArgumentError, match=r"got 1,000,000 × 300, which needs 17\.9 GiB"):
        eft.kernel_flow("tanh", np.ones(300), 1_000_000)


def test_one_program_serves_every_tabulated_activation_and_every_depth(compilations):
    """A new activation of the same kind compiles nothing. The control: another number of C_W does."""

    def size(depth):
        return len(jax.jit(lambda cw: eft.kernel_flow("tanh", cw, depth)).lower(jnp.ones(10)).as_text())

    assert size(10_000) <= size(50) * 1.02

    cw = jnp.linspace(0.5, 2.0, 77)
    eft.kernel_flow("tanh", cw, 33)
    moment_table(eft.activation("arctan"), cw.dtype)
    assert compilations(lambda: eft.kernel_flow("arctan", cw, 33)) == 0
    assert compilations(lambda: eft.kernel_flow("arctan", cw[:76], 33)) > 0


@pytest.mark.parametrize("cb", [0.0, 0.3])
def test_the_derivative_of_log_K_by_the_bias(cb):
    """That of K over K, without biases too, where log C_b has none."""
    flows = {name: jax.jacfwd(lambda cb, n=name: getattr(relu_flow(cb), n))(cb) for name in ("K", "log_K")}
    np.testing.assert_allclose(flows["log_K"], flows["K"] / relu_flow(cb).K, rtol=1e-12)
    mixed = jax.jacfwd(lambda cb: eft.kernel_flow("relu", 1.5, 6, cb=jnp.array([0.0, 0.3]) * cb).log_K)(1.0)
    assert np.isfinite(mixed).all() and (mixed[0] == 0).all() and (mixed[1] > 0).all()


def relu_flow(cb):
    return eft.kernel_flow("relu", 1.5, 6, cb=cb)
