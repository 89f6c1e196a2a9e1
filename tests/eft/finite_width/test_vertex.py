"""V and G1 of several inputs agree with recursions in closed form and with the flow of one input."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eft
from eft.finite_width.input_products import Rules

X = np.array([[1.0, 0.4, -0.3], [0.3, -0.8, 0.2], [1.0, 0.4, -0.3], [-0.5, 0.6, 0.9]])
"""Four inputs, of which the first and the third are equal."""

I, J = np.triu_indices(4)  # noqa: E741


def linear_flow(cw, cb, depth, X, ratios):
    """Deep linear: V_(12)(34)′ = C_W²(K₁₃K₂₄ + K₁₄K₂₃ + r V_(12)(34)), and G1 = 0."""
    K = cb + cw * X @ X.T / X.shape[1]
    V = np.zeros((len(I), len(I)))
    for ratio in ratios:
        yield K, V, np.zeros(len(I))
        pairs = K[np.ix_(I, I)] * K[np.ix_(J, J)] + K[np.ix_(I, J)] * K[np.ix_(J, I)]
        V, K = cw**2 * (pairs + ratio * V), cb + cw * K


def sine_flow(cw, cb, depth, X, ratios):
    """σ = sin: every expectation is a sum of exponentials of K, and JAX differentiates it."""
    signs = np.array(list(itertools.product((1, -1), repeat=4)))

    def pairs(k):
        K = jnp.zeros((4, 4)).at[I, J].set(k).at[J, I].set(k)
        d = jnp.diag(K)
        return ((jnp.exp(-(d[:, None] + d - 2 * K) / 2) - jnp.exp(-(d[:, None] + d + 2 * K) / 2)) / 2)[I, J]

    K = cb + cw * X @ X.T / X.shape[1]
    V, G1 = np.zeros((len(I), len(I))), np.zeros(len(I))
    for ratio in ratios:
        yield K, V, G1
        k = jnp.asarray(K[I, J])
        g, linear, curved = np.asarray(pairs(k)), cw * jax.jacfwd(pairs)(k), cw * jax.hessian(pairs)(k)
        four = np.stack(np.broadcast_arrays(I[:, None], J[:, None], I, J), -1)
        quadratic = np.einsum("si,pqij,sj->pqs", signs, K[four[..., :, None], four[..., None, :]], signs)
        fourth = np.exp(-quadratic / 2) @ signs.prod(1) / 16
        G1 = ratio * (linear @ G1 + np.einsum("pab,ab->p", curved, V) / 2)
        V = cw**2 * (fourth - np.outer(g, g)) + ratio * linear @ V @ linear.T
        K = np.zeros((4, 4))
        K[I, J] = K[J, I] = cb + cw * g


# inputs, and C_b
INPUTS = {
    "two coincide": (X, 0.2),
    "dependent": (np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [2.0, 2.0]]), 0.0),
    "opposite": (np.array([[1.0, 0.2], [-1.0, -0.2], [0.3, 2.0], [1e-9, 0.0]]), 0.0),
    "nearly one": (np.array([[1.0, 0.2], [1.0 + 1e-7, 0.2], [0.3, 2.0], [0.3, 2.0 - 1e-3]]), 0.2),
}


@pytest.mark.sweep("linear-linear_flow-dependent", "sin-sine_flow-two coincide")
@pytest.mark.promotes
@pytest.mark.parametrize(
    ("name", "flow", "inputs"),
    [
        *(("linear", linear_flow, inputs) for inputs in INPUTS),
        ("sin", sine_flow, "two coincide"),
        pytest.param("sin", sine_flow, "opposite", marks=pytest.mark.more),
        pytest.param("sin", sine_flow, "dependent", marks=pytest.mark.more),
        pytest.param("sin", sine_flow, "nearly one", marks=pytest.mark.more),
    ],
)
def test_closed_forms(name, flow, inputs):
    """To rounding, widths unequal. The control: with equal widths V and G1 differ."""
    (X, cb), cw, widths = INPUTS[inputs], 1.1, (10, 20)
    ratios = [1.0, 2.0, 1.0]
    found = eft.vertex_flow(name, cw, 3, X, cb=cb, widths=widths)
    assert found.valid.all()
    for layer, (K, V, G1) in enumerate(flow(cw, cb, 3, X, ratios)):
        np.testing.assert_allclose(found.K[layer], K, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(found.V[layer], V, rtol=1e-9, atol=1e-12 * abs(V).max())
        np.testing.assert_allclose(found.G1[layer][I, J], G1, rtol=1e-8, atol=1e-12 * abs(V).max())
    if name == "sin":
        equal = eft.vertex_flow(name, cw, 3, X, cb=cb)
        assert abs(equal.V[-1] / V - 1).max() > 0.1


@pytest.mark.more
@pytest.mark.promotes
def test_a_steep_function_is_integrated_with_more_nodes(monkeypatch):
    """σ = sin 8z: with K′ = 64 K it is sin. The control: with the usual nodes it is marked."""
    X, cw, cb, f = np.random.default_rng(1).normal(size=(4, 3)), 1.0, 0.0, 8.0

    def call():
        return eft.vertex_flow(lambda z: jnp.sin(f * z), cw, 3, X, cb=cb)

    found = call()
    assert found.valid.all() and found.error.max() < 1e-5
    for layer, (K, V, G1) in enumerate(sine_flow(f**2 * cw, f**2 * cb, 3, X, [1.0, 1.0, 1.0])):
        np.testing.assert_allclose(f**2 * found.K[layer], K, rtol=0, atol=1e-12 * abs(K).max())
        np.testing.assert_allclose(f**4 * found.V[layer], V, rtol=0, atol=1e-5 * abs(V).max())
        np.testing.assert_allclose(
            f**2 * found.G1[layer][I, J], G1, rtol=0, atol=1e-5 * abs(G1).max() + 1e-14
        )
    monkeypatch.setattr(Rules, "finer", lambda rules: rules)
    assert not call().valid.all()


@pytest.mark.parametrize(
    ("name", "cw", "cb", "size"),
    [
        ("tanh", 1.2, 0.1, 1.0),
        ("relu", 2.0, 0.0, 1.0),
        pytest.param("mrepu", 0.8, 0.0, 0.1, marks=pytest.mark.more),
        ("selu", 0.48, 0.1, 1.0),
    ],
)
def test_one_input(name, cw, cb, size):
    """Given once, twice, or together with an input 1e-9 from it: V and G1 are those of `kernel_flow`."""
    x = size * np.array([1.0, -0.3])
    one = eft.kernel_flow(name, cw, 5, cb=cb, x2=np.mean(x**2))
    for X, tolerance in ([x], 1e-12), ([x, x], 1e-12), ([x, x * [1 + 1e-9, 1 - 1e-9]], 1e-8):
        found = eft.vertex_flow(name, cw, 5, np.array(X), cb=cb)
        assert found.valid.all()
        for pair in itertools.product(range(found.V.shape[1]), repeat=2):
            np.testing.assert_allclose(found.V[:, *pair], one.V, rtol=tolerance)
        for a, b in itertools.product(range(len(X)), repeat=2):
            np.testing.assert_allclose(found.G1[:, a, b], one.G1, rtol=1e-6, atol=1e-12 * one.V[-1])


@pytest.mark.promotes
def test_relu_scales_with_its_inputs():
    """Inputs c_i x: V_(12)(34) = c₁c₂c₃c₄ V(x), at machine precision, and G1 = 0."""
    c = np.array([1.0, 2.0, 0.5])
    found = eft.vertex_flow("relu", 2.0, 6, c[:, None] * np.array([[1.0, -1.0]]))
    one = eft.kernel_flow("relu", 2.0, 6)
    a, b = np.triu_indices(3)
    np.testing.assert_allclose(found.V, one.V[:, None, None] * np.outer(c[a] * c[b], c[a] * c[b]), rtol=1e-9)
    assert abs(found.G1).max() < 1e-9


def test_zero_inputs():
    found = eft.vertex_flow("tanh", 1.0, 4, np.array([[0.0, 0.0], [1.0, 1.0]]))
    assert found.valid.all()
    assert (found.V[:, 0] == 0).all()
    np.testing.assert_allclose(found.V[:, 2, 2], eft.kernel_flow("tanh", 1.0, 4).V, rtol=1e-12)


def test_float32():
    X = np.array([[1.0, 0.4], [0.3, -0.8], [-0.5, 0.6]])
    exact = eft.vertex_flow("tanh", 1.3, 4, X, cb=0.1)
    single = eft.vertex_flow("tanh", 1.3, 4, X.astype(np.float32), cb=0.1)
    assert single.V.dtype == jnp.float32
    assert single.valid.all()
    np.testing.assert_allclose(single.V, exact.V, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(single.G1, exact.G1, rtol=1e-3, atol=1e-4)


@pytest.mark.more
def test_overflow_is_marked():
    found = eft.vertex_flow("mrepu", 2.0, 12, np.array([[1.0, 1.0], [1.0, -1.0]]))
    assert not found.valid[-1]
    assert (np.diff(found.valid.astype(int)) <= 0).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"X": np.ones(3)}, r"X must be inputs of shape \(n, n0\).*\(3,\)"),
        ({"X": np.full((2, 2), np.nan)}, "X must be finite; got nan at index"),
        ({"X": np.eye(9)}, "X must hold at most 8 different inputs; got 9"),
        ({"act": "perceptron"}, "act must be continuous; perceptron jumps"),
        ({"cw": [1.0, 2.0]}, "cw must be one number"),
        ({"cb": -1.0}, "cb must be finite and ≥ 0; got -1.0"),
        ({"depth": 0}, "depth must be an integer ≥ 1"),
        ({"widths": (3,)}, "widths must hold one integer for each hidden layer"),
    ],
)
def test_bad_arguments(change, message):
    settings = {"act": "tanh", "cw": 1.0, "depth": 4, "X": X} | change
    with pytest.raises(ValueError, match=message):
        eft.vertex_flow(**settings)


def test_many_that_repeat():
    """Thirty inputs, three of them different."""
    few = eft.vertex_flow("tanh", 1.0, 4, X[[0, 1, 3]])
    place = np.random.default_rng(0).integers(0, 3, 30)
    many = eft.vertex_flow("tanh", 1.0, 4, X[[0, 1, 3]][place])
    np.testing.assert_array_equal(many.G1, few.G1[:, place][:, :, place])
    assert many.V.shape == (4, 465, 465)


@pytest.mark.more
def test_a_kink_at_zero_need_not_be_declared():
    """A user's ReLU has V and G1 of the catalogue's. The control: taken as smooth, it has not."""
    X = [[1.0, 0.0], [0.3, 1.0]]
    named, written = (eft.vertex_flow(f, 2.0, 3, X) for f in ("relu", lambda z: jnp.maximum(z, 0.0)))
    np.testing.assert_allclose(written.V, named.V, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(written.G1, named.G1, rtol=1e-12, atol=1e-13)
    unseen = eft.Activation(lambda z: jnp.maximum(z, 0.0), resolved=True)
    assert np.max(np.abs(eft.vertex_flow(unseen, 2.0, 3, X).G1 - named.G1)) > 0.1


@pytest.mark.sweep("0.0-<lambda>0", "0.7-<lambda>3")
@pytest.mark.parametrize(
    "call",
    [
        lambda f: eft.vertex_flow(f, 1.0, 3, [[1.0, 0.0], [0.3, 1.0]]),
        lambda f: eft.ntk_flow(f, 1.0, 3),
        lambda f: eft.ntk_gram_flow(f, 1.0, 3, [[1.0, 0.0]]),
        lambda f: eft.slopes(f, 1.0),
    ],
)
@pytest.mark.parametrize("place", [0.0, 0.7])
def test_an_undeclared_jump_is_refused(call, place):
    with pytest.raises(ValueError, match="must be continuous"):
        call(lambda z: z + jnp.where(z > place, 1.0, 0.0))
    call(lambda z: z + jnp.maximum(z - place, 0.0) / 4)
