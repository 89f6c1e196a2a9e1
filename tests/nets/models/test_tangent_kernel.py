"""The tangent kernel is the product of Jacobians, however computed; Taylor series err as their order says."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import eft
import nets
from nets.models.jacobians import model_of
from nets.models.tangent_kernel import planned

ROUND_OFF = 1e-10
METHODS = ("structured", "jacobian", "products")
rng = np.random.default_rng(0)


def normal(*shape: int) -> jax.Array:
    return jnp.asarray(rng.normal(size=shape))


def affine(p, s):
    return s @ p["w"] + jnp.expand_dims(p["b"], tuple(range(s.ndim - 1)))


def layer(n: int, m: int) -> dict:
    return {"w": normal(n, m) / n**0.5, "b": normal(m)}


X, X2 = normal(5, 3), normal(4, 3)
PAIR = {"first": layer(3, 7), "inner": layer(7, 7), "last": layer(7, 2)}


def skip(p, x):
    """With a skip connection, and weights divided by √n, as numbers that JAX makes and not."""
    z = affine(p["first"], x)
    z = z + jax.nn.relu(z) @ (p["inner"]["w"] / jnp.sqrt(7.0)) + p["inner"]["b"][None]
    return jnp.tanh(z) @ (2.0 * p["last"]["w"]) / 7**0.5 + p["last"]["b"][None]


def shared(p, x):
    """The inner weights twice."""
    z = affine(p["first"], x)
    for _ in range(2):
        z = affine(p["inner"], jax.nn.relu(z))
    return affine(p["last"], z)


def tied(p, x):
    """The first weights once more as their transpose, which are no dense weights then."""
    z = jax.nn.relu(affine(p["first"], x))
    return affine(p["last"], z) + (z @ p["first"]["w"].T)[:, :2]


def places(p, x):
    """The weights of the inner layer at three places of a sequence; the outputs are a matrix."""
    z = jax.nn.relu(x[:, :, None] * p["first"]["w"][None])
    return affine(p["last"], jax.nn.relu(jnp.einsum("atm,mn->atn", z, p["inner"]["w"])).sum(1))


def scanned(p, x):
    def step(z, q):
        return affine(q, jax.nn.relu(z)), None

    return affine(p["last"], jax.lax.scan(step, affine(p["first"], x), p["stack"])[0])


def convolved(p, x):
    z = jax.lax.conv_general_dilated(x[:, None], p["kernel"], (1,), "SAME")
    return affine(p["last"], jnp.tanh(z).reshape(len(x), -1))


@jax.custom_vjp
def straight(w, s):
    return s @ jnp.sign(w)


straight.defvjp(
    lambda w, s: (s @ jnp.sign(w), (w, s)), lambda kept, d: (kept[1].T @ d, d @ jnp.sign(kept[0]).T)
)


def binary(p, x):
    """A product with a derivative of its own, which a list of its operations does not have."""
    return affine(p["last"], jnp.tanh(straight(p["first"]["w"], x)))


STACKED = PAIR | {"stack": jax.tree.map(lambda *a: jnp.stack(a), layer(7, 7), layer(7, 7), layer(7, 7))}
WIDE = {"first": layer(3, 16), "inner": layer(16, 16), "last": layer(16, 2)}
CASES = {  # f, params, and how many weights of which array its dense weights are
    "skip": (skip, PAIR, {1: 1, 3: 1, 5: 1}),
    "shared": (shared, PAIR, {1: 1, 3: 1, 5: 1}),
    "tied": (tied, PAIR, {5: 1}),
    "places": (places, WIDE, {3: 1, 5: 1}),
    "scanned": (scanned, STACKED, {1: 1, 5: 1, 7: 3}),
    "convolved": (convolved, {"kernel": normal(4, 1, 3), "last": layer(12, 2)}, {2: 1}),
    "binary": (binary, PAIR, {}),
}
"""Arrays are numbered in the order of the tree: first.b, first.w, inner.b, …"""


@functools.partial(jax.jit, static_argnums=0)
def jacobian(f, params, x):
    return jax.jacrev(f)(params, x)


def by_hand(f, params, x1, x2, rate=lambda path: 1.0):
    """Σ_μ λ_μ ∂f_i(x1_a)/∂θ_μ ∂f_j(x2_b)/∂θ_μ."""
    both = jacobian(f, params, jnp.concatenate([x1, x2]))
    total = 0.0
    for path, a in jax.tree_util.tree_leaves_with_path(both):
        rows = np.asarray(a).reshape(*a.shape[:2], -1)
        products = np.einsum("aim,bjm->abij", rows[: len(x1)], rows[len(x1) :])
        total = total + rate(jax.tree_util.keystr(path)) * products
    return total


def close(found, expected) -> None:
    scale = np.abs(expected).max()
    assert np.shape(found) == np.shape(expected)
    np.testing.assert_allclose(found, expected, rtol=0, atol=ROUND_OFF * scale)


def weights_of(f, params, x=X) -> dict[int, int]:
    """How many dense weights each array in params consists of, of those that are used as such."""
    found: dict[int, int] = {}
    for weight in model_of(f, params, x, "full", True).dense:
        found[weight.parameter] = found.get(weight.parameter, 0) + 1
    return found


@pytest.mark.sweep("skip", "tied", "scanned")
@pytest.mark.parametrize("name", CASES)
def test_methods(name):
    f, params, dense = CASES[name]
    exact = by_hand(f, params, X, X2)
    assert weights_of(f, params) == dense
    for method in METHODS if name in ("skip", "convolved") else METHODS[:2]:
        close(nets.empirical_ntk(f, params, X, X2, method=method), exact)
    assert np.abs(exact[::-1] - exact).max() > 1e-3 * np.abs(exact).max()  # the control


def sequence(p, x):
    """A bias at three places of a sequence, divided by √7."""
    z = jax.nn.relu(x[:, :, None] * p["first"]["w"][None])
    z = jnp.einsum("atm,mn->atn", z, p["inner"]["w"]) + p["inner"]["b"][None, None] / 7**0.5
    return affine(p["last"], jax.nn.relu(z).sum(1))


def twice(p, x):
    """The same bias in two layers."""
    z = affine(p["inner"], jax.nn.relu(affine(p["first"], x)))
    return affine(p["last"], jax.nn.relu(z @ p["inner"]["w"] + p["inner"]["b"][None]))


def beside(p, x):
    """A product that is used with its bias and without; and a bias that is repeated along other axes."""
    z = x @ p["first"]["w"]
    y = jax.nn.relu(z) @ p["inner"]["w"] + jnp.sum(p["inner"]["b"])[None, None]
    return affine(p["last"], jnp.tanh(z + p["first"]["b"][None]) + z * y)


@pytest.mark.parametrize(
    ("f", "params", "rest"),
    [(skip, PAIR, 0), (sequence, WIDE, 2), (twice, PAIR, 1), (beside, PAIR, 2), (shared, PAIR, 1)],
)
def test_biases(f, params, rest):
    """Of a layer of their own they take no product of their own; others are left for the Jacobian."""
    model = model_of(f, params, X, "full", True)
    assert len(model.rest) == rest
    rates = jax.tree.map(lambda a: 0.3 if a.ndim == 1 else 1.0, params)
    found = nets.empirical_ntk(f, params, X, X2, learning_rates=rates, method="structured")
    close(found, by_hand(f, params, X, X2, lambda path: 0.3 if "'b'" in path else 1.0))


PARTS = {"full": "abij->abij", "diagonal": "abii->abi", "trace": "abii->ab"}


@pytest.mark.parametrize(
    ("method", "outputs"),
    [
        ("structured", "full"),
        ("structured", "diagonal"),
        ("structured", "trace"),
        ("jacobian", "diagonal"),
        ("products", "trace"),
    ],
)
def test_parts_and_blocks(method, outputs):
    """Diagonal and trace are parts of the whole, also in blocks, the last of which is not full."""
    budget = {"structured": 10_500, "jacobian": 2**14, "products": 2**13}[method]
    model = model_of(skip, PAIR, X, outputs, method == "structured")
    blocks, products = planned(model, outputs, method, budget, len(X), len(X2))
    assert products == (method == "products") and 1 < blocks.n1 < len(X) and blocks.n2 < len(X2)
    found = nets.empirical_ntk(skip, PAIR, X, X2, method=method, outputs=outputs, memory_budget=budget)
    exact = np.einsum(PARTS[outputs], by_hand(skip, PAIR, X, X2))
    close(found, exact / 2 if outputs == "trace" else exact)


def test_the_plan():
    """`auto` takes the structure where there is one, vectors where only they fit or take fewer operations."""
    model = functools.partial(model_of, outputs="full", structured=True)
    small = model(skip, PAIR, X)
    assert planned(small, "full", "auto", 2**31, 5, 4) == ((5, 4), False)
    many = {"first": layer(3, 300), "last": layer(300, 40)}

    def separate(p, x):  # a weight that is squared is no dense weight, so that its Jacobian is needed
        return jnp.tanh(x @ p["first"]["w"]) @ p["last"]["w"] ** 2

    wide = model(separate, many, X)
    assert planned(wide, "full", "auto", 2**31, 5, 4)[1]
    assert not planned(wide, "trace", "auto", 2**31, 500, 400)[1]
    assert planned(wide, "trace", "auto", 2**20, 5, 4)[1]
    with pytest.raises(eft.ArgumentError, match=r"memory_budget must be at least [\d,]+ bytes .* got 1,000"):
        planned(small, "full", "auto", 1000, 5, 4)


@pytest.mark.parametrize("method", METHODS)
def test_memory(method):
    """What the program needs beside its result is within the budget; without one it is not."""
    params, inputs = {"first": layer(3, 100), "inner": layer(100, 100), "last": layer(100, 2)}, normal(60, 3)

    def needed(budget):
        kernel = functools.partial(nets.empirical_ntk, shared, method=method, memory_budget=budget)
        return jax.jit(kernel).lower(params, inputs, inputs).compile().memory_analysis().temp_size_in_bytes

    budget = {"structured": 2**18, "jacobian": 2**21, "products": 2**19}[method]
    assert needed(budget) <= budget
    assert method != "structured" or needed(2**31) > budget  # the control


def test_symmetric_and_positive():
    Theta = np.asarray(nets.empirical_ntk(skip, PAIR, X))
    matrix = Theta.transpose(0, 2, 1, 3).reshape(10, 10)
    close(Theta, by_hand(skip, PAIR, X, X))
    close(matrix, matrix.T)
    assert np.linalg.eigvalsh(matrix).min() > -ROUND_OFF


def test_learning_rates():
    """λ for some subtrees, and for all; those of products; and its gradient."""
    rates = {"first": 0.5, "inner": {"w": 2.0, "b": 0.0}, "last": 3.0}
    of = {"['first']['w']": 0.5, "['first']['b']": 0.5, "['inner']['w']": 2.0, "['inner']['b']": 0.0}
    exact = by_hand(skip, PAIR, X, X2, lambda path: of.get(path, 3.0))
    for method in ("structured", "products"):
        close(nets.empirical_ntk(skip, PAIR, X, X2, method=method, learning_rates=rates), exact)
    plain = by_hand(skip, PAIR, X, X)
    assert np.abs(exact - plain[:, :4]).max() > 1e-3  # the control
    v = normal(5, 2)
    close(
        nets.ntk_vector_product(skip, PAIR, X, v, learning_rates=0.7),
        0.7 * np.einsum("abij,bj->ai", plain, v),
    )
    trace = functools.partial(nets.empirical_ntk, skip, PAIR, X, outputs="trace")
    slope = jax.grad(lambda rate: trace(learning_rates=rate).sum())(2.0)
    assert slope == pytest.approx(np.einsum("abii->", plain) / 2)


def test_scalar_outputs_and_one_program():
    """Outputs of shape (n,); within jit; in float32."""

    def one(p, x):
        return skip(p, x)[:, 0]

    exact = by_hand(skip, PAIR, X, X2)[:, :, 0, 0]
    for outputs in ("full", "trace"):
        close(jax.jit(functools.partial(nets.empirical_ntk, one, outputs=outputs))(PAIR, X, X2), exact)
    single = jax.tree.map(lambda a: a.astype(jnp.float32), (PAIR, X, X2))
    found = nets.empirical_ntk(one, *single)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-5 * np.abs(exact).max())
    close(nets.empirical_nngp(one, PAIR, X, X2), np.outer(one(PAIR, X), one(PAIR, X2)))
    z, z2 = skip(PAIR, X), skip(PAIR, X2)
    close(nets.empirical_nngp(skip, PAIR, X, X2), np.asarray(z) @ np.asarray(z2).T / 2)
    assert nets.empirical_nngp(skip, *single).dtype == jnp.float32


def test_compiled_once(compilations):
    f = lambda p, x: x @ p  # noqa: E731
    p = normal(3, 2)
    assert compilations(lambda: nets.empirical_ntk(f, p, X)) > 0
    assert compilations(lambda: nets.empirical_ntk(f, 2 * p, X)) <= 1  # the product by two


@pytest.mark.long
def test_wide_networks_have_the_kernels_of_infinite_width():
    """The mean over networks is that of `gram_flow` within 4 standard errors; another C_W is not."""
    n, depth, cw, cb = 256, 3, 1.6, 0.2

    def draw(seed):
        key = jax.random.key(seed)
        net = nets.FCN(3, (n,) * (depth - 1), 16, act="erf", cw=cw, cb=cb, rngs=key, dtype=jnp.float64)
        return nnx.split(net)

    graph, first = draw(0)

    def f(p, x):
        return nnx.merge(graph, p)(x)

    rates = jax.tree.map(lambda a: 1.0 / len(a) if a.ndim == 2 else 1.0, first)  # λ_W/n_{l−1} and λ_b
    drawn = [draw(seed)[1] for seed in range(60)]
    Theta = [nets.empirical_ntk(f, p, X, learning_rates=rates, outputs="trace") for p in drawn]
    K = [nets.empirical_nngp(f, p, X) for p in drawn]
    right, wrong = (eft.gram_flow("erf", each, depth, X, cb=cb) for each in (cw, 2.2))
    for found, name in ((np.stack(Theta), "Theta"), (np.stack(K), "K")):
        assert np.abs(_deviations(found, getattr(right, name))).max() < 4
        assert np.abs(_deviations(found, getattr(wrong, name))).max() > 6


def _deviations(found, expected) -> np.ndarray:
    return (found.mean(0) - np.asarray(expected)) / (found.std(0, ddof=1) / len(found) ** 0.5)


def test_taylor_series():
    """The error of order k falls like ε^{k+1}; that of one order less does not."""
    f = lambda p, x: jnp.sin(x @ p["a"]) * jnp.exp(p["b"][None])  # noqa: E731
    start = {"a": normal(3, 2), "b": normal(2), "count": jnp.arange(3)}
    step = {"a": normal(3, 2), "b": normal(2)}
    exact = jax.jit(f)

    def error(expanded, e):
        moved = start | {k: start[k] + e * step[k] for k in step}
        return float(jnp.max(jnp.abs(expanded(moved, X) - exact(moved, X))))

    for k in (1, 2, 3):
        expanded = jax.jit(nets.taylor_expand(f, start, k))
        rate = math.log2(error(expanded, 0.02) / error(expanded, 0.01))
        assert rate == pytest.approx(k + 1, abs=0.2)
        assert error(expanded, 0.0) < 1e-14
        if k == 1:
            linear = jax.jit(nets.linearize(f, start))
            assert error(linear, 0.01) == error(expanded, 0.01)
    assert abs(rate - 3) > 0.5  # the control


def test_the_kernel_of_a_linearized_network_stays():
    linear = nets.linearize(skip, PAIR)
    moved = jax.tree.map(lambda a: a + 0.3, PAIR)
    exact = by_hand(skip, PAIR, X, X2)
    close(nets.empirical_ntk(linear, moved, X, X2), exact)
    assert np.abs(by_hand(skip, moved, X, X2) - exact).max() > 1e-2  # the control: that of f does not


def normalized(p, x):
    z = skip(p, x)
    return z - z.mean(0, keepdims=True)


ntk, product = nets.empirical_ntk, nets.ntk_vector_product
ERRORS = [
    (ntk, (skip, {"w": jnp.arange(3)}, X), {}, ValueError, ["params", "floating", "int"]),
    (ntk, (skip, {}, X), {}, ValueError, ["params", "none"]),
    (ntk, (skip, {"w": jnp.ones(3, complex)}, X), {}, TypeError, ["params", "real", "complex128"]),
    (ntk, (skip, {"w": "a"}, X), {}, TypeError, ["params", "'a'"]),
    (ntk, (3, PAIR, X), {}, TypeError, ["f", "3"]),
    (ntk, (skip, PAIR, normal(5, 4)), {}, TypeError, ["x1", "(5, 4)"]),
    (ntk, (skip, PAIR, X, normal(5, 4)), {}, ValueError, ["x2", "(4,)", "(3,)"]),
    (ntk, (skip, PAIR, X[:0]), {}, ValueError, ["x1", "(0, 3)"]),
    (ntk, (skip, PAIR, jnp.ones(())), {}, ValueError, ["x1", "()"]),
    (ntk, (skip, PAIR, "x"), {}, TypeError, ["x1", "'x'"]),
    (ntk, (skip, PAIR, X.at[0].set(jnp.nan)), {}, ValueError, ["x1", "finite"]),
    (ntk, (lambda p, x: skip(p, x).sum(), PAIR, X), {}, ValueError, ["f", "row", "()"]),
    (ntk, (normalized, PAIR, X), {}, ValueError, ["f", "one input alone"]),
    (ntk, (lambda p, x: (skip(p, x),), PAIR, X), {}, TypeError, ["f", "one array"]),
    (ntk, (lambda p, x: skip(p, x).astype(complex), PAIR, X), {}, TypeError, ["f", "floating"]),
    (ntk, (skip, PAIR, X), {"method": "fast"}, ValueError, ["method", "'fast'", "jacobian"]),
    (ntk, (skip, PAIR, X), {"outputs": "all"}, ValueError, ["outputs", "'all'", "trace"]),
    (ntk, (skip, PAIR, X), {"memory_budget": 100}, ValueError, ["memory_budget", "100", "at least"]),
    (ntk, (skip, PAIR, X), {"memory_budget": 1.5}, ValueError, ["memory_budget", "1.5"]),
    (ntk, (skip, PAIR, X), {"learning_rates": {"a": 1.0}}, ValueError, ["learning_rates", "prefix"]),
    (ntk, (skip, PAIR, X), {"learning_rates": -1.0}, ValueError, ["learning_rates", "-1.0", "≥ 0"]),
    (ntk, (skip, PAIR, X), {"learning_rates": jnp.ones(3)}, ValueError, ["learning_rates", "(3,)"]),
    (product, (skip, PAIR, X, jnp.ones(3)), {}, ValueError, ["v", "(5, 2)", "(3,)"]),
    (product, (skip, PAIR, X, jnp.ones((5, 2), complex)), {}, TypeError, ["v", "real"]),
    (nets.empirical_nngp, (skip, PAIR, normal(5, 4)), {}, TypeError, ["x1", "(5, 4)"]),
    (nets.linearize, (3, PAIR), {}, TypeError, ["f", "3"]),
    (nets.linearize, (skip, {"w": jnp.arange(3)}), {}, ValueError, ["params", "floating"]),
    (nets.taylor_expand, (skip, PAIR, 0), {}, ValueError, ["order", "0"]),
    (nets.taylor_expand, (skip, PAIR, 9), {}, ValueError, ["order", "9", "8"]),
    (nets.linearize(skip, PAIR), ({"w": jnp.ones(3)}, X), {}, ValueError, ["new_params", "structure"]),
    (
        nets.linearize(skip, PAIR),
        (PAIR | {"first": layer(4, 7)}, X),
        {},
        ValueError,
        ["new_params", "(4, 7)"],
    ),
]


@pytest.mark.parametrize("case", range(len(ERRORS)))
def test_errors(case):
    call, arguments, settings, error, says = ERRORS[case]
    with pytest.raises(error) as caught:
        call(*arguments, **settings)
    assert type(caught.value).__module__ == "eft.arguments"
    for part in says:
        assert part in str(caught.value)
