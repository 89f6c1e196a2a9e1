"""The NTK of one input at finite width agrees with known numbers, closed forms and recursions by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eft

TANH = {"cb": 0.1, "lambda_w": 0.7, "lambda_b": 0.3}
FIELDS = ("Theta", "Theta1", "A", "B", "D", "F")


def test_known_numbers():
    """tanh, C_W = 1.5, layer 2, to the 6 digits that are known."""
    flow = eft.ntk_flow("tanh", 1.5, 2, **TANH)
    found = [float(getattr(flow, name)[1]) for name in ("K", "Theta", "V", "A", "B", "D", "F")]
    known = [0.819995, 1.212569, 0.256449, 0.098205, 0.621956, -0.145144, 0.150309]
    np.testing.assert_allclose(found, known, atol=1e-6)
    assert flow.valid.all() and float(flow.Theta1[1]) == 0


def by_hand(act, cw, depth, *, cb, lambda_w, lambda_b, widths):
    """The recursions with Ω itself, each expectation and its K-derivatives by `gaussian_expectation`."""
    slope = lambda z: jax.jvp(act.fn, (z,), (jnp.ones_like(z),))[1]  # noqa: E731
    mean = lambda f: lambda K: eft.gaussian_expectation(f, K, act.kinks)  # noqa: E731
    kernel = eft.kernel_flow(act, cw, depth, cb=cb, widths=widths)
    n = [widths[0], *widths, widths[-1]]
    Theta, Theta1, A, B, D, F = lambda_b + lambda_w, 0.0, 0.0, 0.0, 0.0, 0.0
    rows = []
    for layer in range(depth):
        rows.append((Theta, Theta1, A, B, D, F))
        K, V, G1, perp = (a[layer] for a in (kernel.K, kernel.V, kernel.G1, kernel.chi_perp))
        omega = lambda z, T=Theta: lambda_w * act.fn(z) ** 2 + cw * T * slope(z) ** 2  # noqa: E731
        first, second = jax.grad(mean(omega))(K), jax.grad(jax.grad(mean(omega)))(K)
        s1 = cw * jax.grad(mean(lambda z: slope(z) ** 2))(K)
        parallel = cw * jax.grad(mean(lambda z: act.fn(z) ** 2))(K)
        O, g = mean(omega)(K), mean(lambda z: act.fn(z) ** 2)(K)  # noqa: E741
        r = n[layer + 1] / n[layer] if layer else 1.0
        after = (
            lambda_b + O,
            r * (first * G1 + second * V / 2 + s1 * (D + 2 * F) + perp * Theta1),
            mean(lambda z, o=omega: o(z) ** 2)(K)
            - O**2
            + r * (first**2 * V + 2 * perp * first * D + perp**2 * A),
            cw**2 * mean(lambda z: slope(z) ** 4)(K) * Theta**2 + r * perp**2 * B,
            cw * (mean(lambda z, o=omega: act.fn(z) ** 2 * o(z))(K) - g * O)
            + r * (parallel * first * V + parallel * perp * D),
            cw**2 * mean(lambda z: (act.fn(z) * slope(z)) ** 2)(K) * Theta + r * parallel**2 * F,
        )
        Theta, Theta1, A, B, D, F = map(float, after)
    return np.array(rows).T


def test_against_the_recursions_by_hand():
    """Unequal widths, and σ′ that jumps; the control: equal widths."""
    settings = {**TANH, "widths": (30, 60, 20)}
    act = eft.activation("selu")
    flow = eft.ntk_flow(act, 1.3, 4, **settings)
    for field, row in zip(FIELDS, by_hand(act, 1.3, 4, **settings), strict=True):
        np.testing.assert_allclose(getattr(flow, field), row, rtol=1e-8, atol=1e-12, err_msg=field)
    equal = eft.ntk_flow(act, 1.3, 4, **TANH)
    for field in FIELDS[1:]:
        assert abs(getattr(equal, field)[-1] / getattr(flow, field)[-1] - 1) > 0.05, field


@pytest.mark.parametrize(("name", "fluctuation", "slopes"), [("relu", 5.0, 2.0), ("linear", 2.0, 1.0)])
def test_critical_piecewise_linear_networks(name, fluctuation, slopes):
    """χ = 1, C_b = λ_b = 0: with θ = λ_W‖x‖²/n₀, Θ = lθ, and sums of powers of l for the rest.

    V′ = vK² + V, B′ = aΘ² + B, F′ = aKΘ + F with v = 5, a = 2 for ReLU and v = 2, a = 1 for linear.
    """
    depth, lw, x2 = 12, 0.7, 0.5
    cw = 2.0 if name == "relu" else 1.0
    flow = eft.ntk_flow(name, cw, depth, lambda_w=lw, lambda_b=0.0, x2=x2)
    layer = np.arange(1, depth + 1)
    K = cw * x2
    np.testing.assert_allclose(flow.V, fluctuation * K**2 * (layer - 1), rtol=1e-12)
    np.testing.assert_allclose(flow.Theta, lw * x2 * layer, rtol=1e-12)
    np.testing.assert_array_equal(flow.Theta1, 0)
    squares = (layer - 1) * layer * (2 * layer - 1) / 6
    np.testing.assert_allclose(flow.B, slopes * (lw * x2) ** 2 * squares, rtol=1e-12)
    np.testing.assert_allclose(flow.F, slopes * K * lw * x2 * layer * (layer - 1) / 2, rtol=1e-12)
    # D′ = [v λ_W K²/C_W + (a−1) Θ K] + (λ_W/C_W) V + D
    fresh = fluctuation * lw / cw * K**2 + (slopes - 1) * lw * x2 * K * layer
    steps = fresh + lw / cw * np.asarray(flow.V)
    np.testing.assert_allclose(flow.D, np.r_[0, np.cumsum(steps)[:-1]], rtol=1e-12)
    steps = (
        fluctuation * (lw / cw * K) ** 2
        + 2 * lw / cw * K * (slopes - 1) * lw * x2 * layer
        + (slopes - 1) * (lw * x2 * layer) ** 2
        + (lw / cw) ** 2 * np.asarray(flow.V)
        + 2 * lw / cw * np.asarray(flow.D)
    )
    np.testing.assert_allclose(flow.A, np.r_[0, np.cumsum(steps)[:-1]], rtol=1e-12)


def test_only_piecewise_linear_networks_have_no_correction_of_the_mean():
    for name, slope in (("relu", None), ("leaky_relu", 0.3), ("linear", None)):
        act = eft.activation(name, slope=slope) if slope else eft.activation(name)
        np.testing.assert_array_equal(eft.ntk_flow(act, 1.7, 6, **TANH).Theta1, 0)
    for name in ("gelu", "tanh", "softplus"):
        assert abs(eft.ntk_flow(name, 1.7, 6, **TANH).Theta1[-1]) > 0.05, name


def test_the_first_kernel_alone_leaves_no_bias_in_layer_one():
    flow = eft.ntk_flow("tanh", 1.5, 3, K1=0.4, x2=0.5, **TANH)
    assert float(flow.Theta[0]) == 0.35 and float(flow.K[0]) == 0.4


def test_batches_layers_and_jit():
    cw = jnp.asarray([1.0, 1.4])[:, None]
    lw = jnp.asarray([0.5, 1.0, 2.0])
    flow = eft.ntk_flow("gelu", cw, 5, lambda_w=lw, lambda_b=0.1)
    assert flow.A.shape == (2, 3, 5) and flow.valid.shape == (2, 3, 5)
    one = eft.ntk_flow("gelu", 1.4, 5, lambda_w=2.0, lambda_b=0.1)
    traced = jax.jit(lambda w: eft.ntk_flow("gelu", w, 5, lambda_w=2.0, lambda_b=0.1))(1.4)
    for a, b, c in zip(flow, one, traced, strict=True):
        np.testing.assert_allclose(a[1, 2], b, rtol=1e-12)
        np.testing.assert_allclose(c, b, rtol=1e-12)


@pytest.mark.parametrize("name", ["leaky_relu", pytest.param("gelu", marks=pytest.mark.more)])
def test_gradients(name):
    def last(w):
        flow = eft.ntk_flow(name, w, 5, lambda_w=2.0, lambda_b=0.1)
        return jnp.stack([flow.A[-1], flow.Q[-1]])

    h = 1e-5
    slope, up, down = jax.jacrev(last)(1.4), last(1.4 + h), last(1.4 - h)
    np.testing.assert_allclose(slope, (up - down) / (2 * h), rtol=1e-7)


def test_overflow_saturates_and_is_marked():
    flow = eft.ntk_flow("repu", 3.0, 14, x2=2.0)
    valid = np.asarray(flow.valid)
    assert valid[0] and not valid[-1] and (np.diff(valid.astype(int)) <= 0).all()
    assert all(np.isfinite(np.asarray(a)).all() for a in flow)
    deep = eft.ntk_flow("linear", 4.0, 400)
    assert np.isfinite(np.asarray(deep.A)).all() and not deep.valid[-1]
    first = int(np.argmin(np.asarray(deep.valid)))
    assert float(deep.A[first]) == float(np.finfo(float).max) > float(deep.K[first])
    nothing = eft.ntk_flow("tanh", 1.0, 3, x2=0.0, lambda_b=0.0)
    assert nothing.valid.all() and not any(np.asarray(getattr(nothing, f)).any() for f in FIELDS)


@pytest.mark.parametrize(
    ("bad", "error", "words"),
    [
        ({"act": "perceptron"}, ValueError, "act must be continuous; perceptron jumps"),
        ({"lambda_w": -1.0}, ValueError, "lambda_w must be finite and ≥ 0; got -1"),
        ({"lambda_b": "a"}, TypeError, "lambda_b must be a real number"),
        ({"depth": 0}, ValueError, "depth must be an integer ≥ 1"),
        ({"widths": (3,)}, ValueError, "widths must hold one integer for each hidden layer"),
        ({"cw": [1.0, 2.0], "lambda_w": [1.0, 2.0, 3.0]}, ValueError, "must broadcast together"),
    ],
    ids=str,
)
def test_bad_arguments(bad, error, words):
    with pytest.raises(error, match=words):
        eft.ntk_flow(**{"act": "tanh", "cw": 1.0, "depth": 4, **bad})


@pytest.mark.more
def test_jumps_are_looked_for_once(compilations):
    """A second flow compiles nothing. The control: those of a function that has changed are new."""
    cw = jnp.linspace(0.5, 2.0, 9)
    eft.ntk_flow("hard_tanh", cw, 5)
    assert compilations(lambda: eft.ntk_flow("hard_tanh", cw, 5)) == 0
    height = [0.0]
    act = eft.Activation(lambda z: jnp.tanh(z) + jnp.where(z > 1, height[0], 0.0), (1.0,), "step")
    eft.ntk_flow(act, 1.0, 3)
    height[0] = 0.5
    with pytest.raises(ValueError, match="jumps"):
        eft.ntk_flow(act, 1.0, 3)
