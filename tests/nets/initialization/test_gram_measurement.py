"""Ensembles at several inputs: exact where theory is, and the two methods agree in distribution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eft
from nets import FCN, measure
from nets.initialization import drawing
from nets.network import metric
from nets.network.tangent_kernel import output_ntk

X = np.array([[1.0, -0.5, 0.3], [0.2, 0.8, -1.1], [1.0, -0.5, 0.3], [-0.4, 0.1, 0.6]])
"""Four inputs, the first and the third the same."""

SMALL = {"depth": 3, "width": 16, "x": X}


def scores(a, b):
    """z of the differences, of K and V from layer 2 on."""
    for name in ("K", "V"):
        one, two = getattr(a, name), getattr(b, name)
        yield abs(one.mean - two.mean)[1:] / np.hypot(one.stderr, two.stderr)[1:]


def fourth(K):
    """K₁₃K₂₄ + K₁₄K₂₃ for all unordered pairs (12), (34)."""
    a, b = np.triu_indices(len(K))
    return K[np.ix_(a, a)] * K[np.ix_(b, b)] + K[np.ix_(a, b)] * K[np.ix_(b, a)]


@pytest.mark.more
@pytest.mark.parametrize(("act", "cb"), [("tanh", 0.1), ("relu", 0.0)])
def test_networks_and_metric_agree_in_distribution(act, cb, monkeypatch):
    """Means and covariances of Ĝ within 4 errors; the control ignores what is off the diagonal."""
    shared = {"act": act, "cw": 1.5, "cb": cb, "n_nets": 4000, **SMALL}
    networks, sampled = measure(seed=1, **shared), measure(seed=2, method="metric", **shared)
    np.testing.assert_array_equal(networks.K.mean[0], sampled.K.mean[0])
    for z in scores(networks, sampled):
        assert z.max() < 4
    for m in (networks, sampled):
        np.testing.assert_allclose(m.G[:, :, 0], m.G[:, :, 2], rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(m.G, np.swapaxes(m.G, 2, 3))
    monkeypatch.setattr(metric, "covariance_factor", lambda G: (jnp.diag(jnp.sqrt(jnp.diagonal(G))), None))
    drawing.compiled.cache_clear()
    control = measure(seed=2, method="metric", **shared)
    drawing.compiled.cache_clear()
    for z in scores(networks, control):
        assert z.max() > 10


@pytest.mark.sweep("metric")
@pytest.mark.parametrize("method", ["networks", "metric"])
def test_the_first_kernel_may_be_given(method):
    """K, and the NTK, beside the theory with the same K1, within 4 errors. The control: without K1."""
    given = {"cb": 0.3, "K1": 0.4}
    seen = measure("tanh", 1.5, 3, 128, 600, x=X, method=method, ntk=method == "networks", **given)
    theory, plain = (
        eft.gram_flow("tanh", 1.5, 3, X, all_layers=True, **more) for more in (given, {"cb": 0.3})
    )
    np.testing.assert_allclose(seen.K.mean[0], 0.4 * X @ X.T / 3, rtol=1e-6)
    apart = [abs(seen.K.mean - flow.K)[1:] / seen.K.stderr[1:] for flow in (theory, plain)]
    assert apart[0].max() < 4 and apart[1].max() > 10
    if method == "networks":
        missing = 0.02 * float(jnp.abs(theory.Theta[-1]).max())  # of order 1/n
        apart = [abs(seen.Theta.mean - flow.Theta[-1]) - missing for flow in (theory, plain)]
        assert (apart[0] < 4 * seen.Theta.stderr).all() and (apart[1] > 10 * seen.Theta.stderr).any()


@pytest.mark.parametrize("method", ["networks", "metric"])
def test_same_bits_without_float64(method):
    found = []
    for x64 in (True, False):
        drawing.compiled.cache_clear()
        with jax.enable_x64(x64):
            found.append(
                measure("tanh", 1.5, n_nets=16, method=method, **{**SMALL, "x": X.astype(np.float32)})
            )
    drawing.compiled.cache_clear()
    np.testing.assert_array_equal(found[0].G, found[1].G)
    assert found[1].V.mean.dtype == np.float64


def test_they_are_the_networks_of_one_input():
    several = measure("tanh", 1.5, n_nets=30, cb=0.1, **SMALL)
    for i in (0, 1):
        one = measure("tanh", 1.5, 3, 16, 30, cb=0.1, x=X[i])
        np.testing.assert_allclose(several.G[:, :, i, i], one.G, rtol=1e-5)
    alone = measure("tanh", 1.5, 3, 16, 30, cb=0.1, x=X[:1])
    assert alone.G.shape == (30, 3, 1, 1) and alone.V.mean.shape == (3, 1, 1)
    np.testing.assert_allclose(alone.G[..., 0, 0], several.G[..., 0, 0], rtol=1e-5)
    np.testing.assert_allclose(alone.V.mean[1], 16 * alone.G[:, 1].var(ddof=1), rtol=1e-9)


@pytest.mark.parametrize("method", ["networks", "metric"])
def test_deep_linear_networks_are_exact(method):
    """K′ = C_b + C_W K and Cov′ = C_W² [Cov + (K₁₃K₂₄ + Cov₁₃,₂₄ + K₁₄K₂₃ + Cov₁₄,₂₃)/n], at any width."""
    cw, cb, widths = 1.3, 0.2, (8, 16)
    m = measure("linear", cw, 3, None, 6000, cb=cb, x=X, widths=widths, method=method, seed=3)
    K = cb + cw * X @ X.T / 3
    np.testing.assert_allclose(m.K.mean[0], K, rtol=1e-6)
    assert not m.K.stderr[0].any() and not np.any(m.V.mean[0]) and not m.V.stderr[0].any()
    first = cw**2 * fourth(K)
    np.testing.assert_array_less(abs(m.V.mean[1] - first), 4 * m.V.stderr[1])
    for layer in (1, 2):
        K = cb + cw * K
        np.testing.assert_array_less(abs(m.K.mean[layer] - K), 4 * m.K.stderr[layer])
    K, Cov = (K - cb) / cw, first / 8
    a, b = np.triu_indices(len(X))
    index = np.zeros((len(X), len(X)), int)
    index[a, b] = index[b, a] = np.arange(len(a))
    crossed = Cov[index[np.ix_(a, a)], index[np.ix_(b, b)]] + Cov[index[np.ix_(a, b)], index[np.ix_(b, a)]]
    second = 16 * cw**2 * (Cov + (fourth(K) + crossed) / 16)
    np.testing.assert_array_less(abs(m.V.mean[2] - second), 4 * m.V.stderr[2])
    assert abs(m.V.mean[2] - 16 * cw**2 * Cov).max() > 10 * m.V.stderr[2].max()  # the control: one term


@pytest.mark.sweep("None-tanh", "0.7-tanh")
@pytest.mark.parametrize("act", ["tanh", "relu"])
@pytest.mark.parametrize("K1", [None, 0.7])
def test_the_ntk_is_that_of_the_parameters(act, K1):
    """Σ ∂z_α ∂z_β by automatic differentiation, with λ_b a bias and λ_W/n_{l−1} a weight."""
    settings = {"act": act, "cw": 1.5, "cb": 0.1, "K1": K1, "dtype": jnp.float64}
    net = FCN(3, (5, 7), rngs=jax.random.key(2), **settings)
    x = jnp.asarray(X)
    J = jax.jacrev(lambda net: net(x)[:, 0])(net)
    expected = 0
    for layer, n_in in zip(J.layers, (3, 5, 7), strict=True):
        W = np.asarray(layer.kernel[...]).reshape(4, -1)
        expected = expected + 0.7 / n_in * W @ W.T
        if layer.bias is not None:
            b = np.asarray(layer.bias[...])
            expected = expected + 0.3 * b @ b.T
    np.testing.assert_allclose(output_ntk(net, x, 0.7, 0.3), expected, rtol=1e-12)


def test_the_ntk_of_deep_linear_networks_is_exact():
    """E Θ = Σ_l (λ_b + λ_W P^l) C_W^{L−l}: what a layer gets and what it sends back are independent."""
    cw, cb, lw, lb = 1.3, 0.2, 0.7, 0.3
    m = measure("linear", cw, 3, 8, 4000, cb=cb, x=X, ntk=True, lambda_w=lw, lambda_b=lb, seed=4)
    P, Theta = X @ X.T / 3, 0
    for _ in range(3):
        Theta = lb + lw * P + cw * Theta
        P = cb + cw * P
    np.testing.assert_array_less(abs(m.Theta.mean - Theta), 4 * m.Theta.stderr)
    np.testing.assert_array_equal(m.Theta.mean, m.Theta.mean.T)


def test_the_mean_of_the_ntk_is_that_of_infinite_width():
    """Θ′ = λ_b + λ_W g + χ⊥Θ within 4 errors and 2/n; with χ∥ for χ⊥ it is not."""
    cw, cb, lw, lb, depth, n = 1.5, 0.1, 0.7, 0.3, 3, 64
    x = X[:2]
    m = measure("tanh", cw, depth, n, 1500, cb=cb, x=x, ntk=True, lambda_w=lw, lambda_b=lb)
    x2 = (x**2).mean(axis=1)
    flow = eft.kernel_flow("tanh", cw, depth, cb=cb, x2=x2)
    found = {}
    for name in ("chi_perp", "chi_parallel"):
        Theta = lb + lw * x2
        for layer in range(depth - 1):
            g = (flow.K[:, layer + 1] - cb) / cw
            Theta = lb + lw * g + getattr(flow, name)[:, layer] * Theta
        found[name] = abs(np.diagonal(m.Theta.mean) - Theta) / (
            4 * np.diagonal(m.Theta.stderr) + 2 / n * np.asarray(Theta)
        )
    assert (found["chi_perp"] < 1).all() and (found["chi_parallel"] > 3).all()


@pytest.mark.parametrize("method", ["networks", "metric"])
def test_overflow_is_counted_and_left_out(method):
    N, act = 200, eft.activation("repu", p=2)
    settings = {"x": X, "method": method, "dtype": jnp.float32, "ntk": method == "networks"}
    m = measure(act, 2.0, 9, 8, N, **settings)
    assert (m.n_nets + m.n_overflowed == N).all() and (np.diff(m.n_overflowed) >= 0).all()
    assert m.n_overflowed[0] == 0 < m.n_overflowed[-1]
    for layer, used in enumerate(m.n_nets):
        assert np.isfinite(m.K.mean[layer]).all() == (used > 0)
        assert np.isfinite(m.V.stderr[layer]).all() == (used > 2)


def test_shapes_zero_inputs_and_a_single_layer():
    m = measure("tanh", 1.0, 4, None, 30, widths=(4, 9, 2), x=[[0, 0], [1, 2], [-1, -2]], method="metric")
    assert m.widths.tolist() == [2, 4, 9, 2, 1] and m.G.shape == (30, 4, 3, 3) and m.Theta is None
    assert m.K.mean.shape == (4, 3, 3) and m.V.stderr.shape == (4, 6, 6) and m.G.dtype == np.float64
    assert not m.G[:, :, 0].any()
    np.testing.assert_allclose(m.G[:, :, 2, 1], -m.G[:, :, 1, 1], rtol=1e-5)  # tanh is odd
    single = measure("tanh", 2.0, 1, 5, 30, cb=0.5, x=X, ntk=True)
    np.testing.assert_allclose(single.K.mean[0], 0.5 + 2 * X @ X.T / 3, rtol=1e-6)
    np.testing.assert_allclose(single.Theta.mean, 1 + X @ X.T / 3, rtol=1e-5)
    assert not single.V.mean.any()


@pytest.mark.parametrize(
    ("bad", "error", "words"),
    [
        ({"x": np.ones((2, 2, 2))}, ValueError, r"x must be one input .* got shape \(2, 2, 2\)"),
        ({"x": np.ones((0, 3))}, ValueError, r"x must be one input .* got shape \(0, 3\)"),
        ({"x": np.ones((3, 0))}, ValueError, r"x must be one input .* got shape \(3, 0\)"),
        ({"x": [[1.0, float("nan")]]}, ValueError, "x must be one input .* finite"),
        ({"x": [[1.0], [1.0, 2.0]]}, TypeError, "x must be"),
        ({"x": np.ones((65, 2))}, ValueError, "x must hold at most 64 inputs"),
        ({"x": np.full((2, 2), 1e30)}, ValueError, "must be finite in float32"),
        ({"x": [[1e200, 1e200], [1e200, -1e200]]}, ValueError, "must be finite in float32"),
        ({"K1": -1.0}, ValueError, "K1 must be finite and ≥ 0"),
        ({"K1": 1.0, "x": np.zeros((2, 3))}, ValueError, "x must not be 0 where K1 is given"),
        ({"x2": 2.0}, ValueError, "x2 must be left out where x holds several"),
        ({"ntk": 1}, TypeError, "ntk must be True or False"),
        ({"ntk": True, "method": "metric"}, ValueError, "ntk must be False unless method"),
        ({"lambda_w": -1.0}, ValueError, "lambda_w must be finite and ≥ 0"),
        ({"lambda_b": [1.0, 2.0]}, ValueError, "lambda_b must be one number"),
        ({"x": np.ones((64, 2)), "n_nets": 10**6}, ValueError, "memory_budget must be at least"),
    ],
    ids=str,
)
def test_bad_arguments(bad, error, words):
    with pytest.raises(error, match=words):
        measure(**{"act": "tanh", "cw": 1.0, "n_nets": 4, **SMALL, **bad})
