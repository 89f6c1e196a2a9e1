"""The differentials of the NTK at several inputs agree with those of one, exact integrals, and networks."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eft
from eft.gaussian.lattice import derivative_products, lattices

X = np.array([[1.0, -0.5], [0.2, 0.8]])
SETTINGS = {"cb": 0.1, "lambda_w": 0.7, "lambda_b": 0.3}
CW = 1.4
TENSORS = ("P", "Q", "R", "S", "T", "U")


@functools.cache
def flow(act: str, depth: int = 3) -> eft.DNTKFlow:
    return eft.dntk_flow(act, CW, depth, X, **SETTINGS)


@pytest.mark.more
def test_of_each_input_P_and_Q_are_those_of_one():
    widths = (30, 60, 20)
    found = eft.dntk_flow("gelu", CW, 4, X, widths=widths, **SETTINGS)
    for i in range(2):
        one = eft.ntk_flow("gelu", CW, 4, x2=np.mean(X[i] ** 2), widths=widths, **SETTINGS)
        for name in "PQ":
            np.testing.assert_allclose(
                getattr(found, name)[:, i, i, i, i], getattr(one, name), rtol=1e-11, atol=1e-13
            )
    assert found.valid.all() and found.error.max() < 1e-12
    equal = eft.dntk_flow("gelu", CW, 4, X, **SETTINGS)  # the control
    assert abs(equal.Q[-1, 0, 0, 0, 0] / found.Q[-1, 0, 0, 0, 0] - 1) > 0.05


def test_symmetries():
    """Those of the definitions. The control: other permutations change the tensors."""
    found = {name: np.asarray(getattr(flow("gelu"), name)[-1]) for name in TENSORS}
    for name, order in {"P": (0, 2, 1, 3), "R": (0, 1, 3, 2)}.items():
        np.testing.assert_allclose(found[name], found[name].transpose(order), rtol=1e-12)
        assert abs(found[name] - found[name].transpose(1, 0, 2, 3)).max() > 0.01
    for name in "STU":
        np.testing.assert_allclose(found[name], found[name].transpose(1, 0, 3, 2), rtol=1e-12)
        assert abs(found[name] - found[name].transpose(0, 1, 3, 2)).max() > 0.01


def test_repeated_inputs_have_equal_entries():
    twice, once = eft.dntk_flow("gelu", CW, 3, X[[1, 0, 1]], **SETTINGS), flow("gelu")
    for name in (*TENSORS, "dTheta", "ddTheta"):
        np.testing.assert_array_equal(getattr(twice, name)[:, 2, 1, 0, 2], getattr(once, name)[:, 1, 0, 1, 1])
    np.testing.assert_array_equal(twice.ntk.Theta[:, 2, 1], once.ntk.Theta[:, 1, 0])


def differentials(forward, theta, rates):
    """D_cΘ̂_ab f_d and D_dD_cΘ̂_ab of one network, by automatic differentiation."""

    def along(g):
        def moved(theta):
            J = jax.jacrev(forward)(theta)
            ways = jax.tree.map(lambda j, rate: rate * j, J, rates)
            return jnp.moveaxis(jax.vmap(lambda way: jax.jvp(g, (theta,), (way,))[1])(ways), 0, -1)

        return moved

    first = along(along(forward))
    return jnp.tensordot(first(theta), forward(theta), 0), along(first)(theta)


@pytest.mark.sweep("sin")
@pytest.mark.parametrize("name", ["sin", "gelu"])
def test_one_hidden_layer_is_exact_at_any_width(name):
    """Even at width 1, where the average over the four parameters is an integral. The control: transposed."""
    act, x = eft.activation(name).fn, jnp.asarray([0.9, -0.4])
    rates = tuple(jnp.asarray(r) for r in (0.7, 0.3, 0.7, 0.3))

    def forward(theta):
        w, b, v, c = theta
        return v * act(w * x + b) + c

    nodes = 0.3 * np.arange(-26, 27)
    few = np.polynomial.hermite_e.hermegauss(3)  # of degree 4 in v, and 1 in c
    rules = [(nodes, np.exp(-(nodes**2) / 2))] * 2 + [few, (np.zeros(1), np.ones(1))]
    scales = np.sqrt([CW, 0.1, CW, 0.1])
    theta = [s * g.ravel() for s, g in zip(scales, np.meshgrid(*(r[0] for r in rules)), strict=True)]
    w = np.prod([g.ravel() for g in np.meshgrid(*(r[1] / r[1].sum() for r in rules))], 0)
    each = jax.jit(jax.vmap(lambda *theta: differentials(forward, theta, rates)))
    values = [jnp.tensordot(jnp.asarray(w), a, 1) for a in each(*map(jnp.asarray, theta))]
    found = eft.dntk_flow(name, CW, 2, np.asarray(x)[:, None], **SETTINGS)
    np.testing.assert_allclose(found.dTheta[-1], values[0], rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(found.ddTheta[-1], values[1], rtol=1e-9, atol=1e-10)
    assert abs(found.ddTheta[-1] - jnp.swapaxes(values[1], 0, 3)).max() > 0.01


def test_expectations_of_four_inputs():
    """Against Gauss–Hermite, for σ = sin(z/2), and their error. The control: other orders of derivatives."""
    act = eft.activation("sin", frequency=0.5)
    A = np.array([[1.0, -0.5, 0.3], [0.2, 0.8, -1.1], [-0.4, 0.1, 0.6], [0.9, 0.4, 0.2]])
    K = 0.1 + 0.5 * A @ A.T
    nodes = lattices(K[None], 0.7)
    found = jax.jit(lambda K: derivative_products(act, K, nodes))(jnp.asarray(K))
    x, w = np.polynomial.hermite_e.hermegauss(16)
    u = np.stack([g.ravel() for g in np.meshgrid(*4 * [x])])
    weight = np.prod([g.ravel() for g in np.meshgrid(*4 * [w / w.sum()])], 0)
    z = np.linalg.cholesky(K) @ u
    s = [np.sin(z / 2 + p * np.pi / 2) / 2**p for p in range(4)]
    for name in ("d1100", "d1111", "d2110", "d2211", "d3111"):
        factors = [s[int(p)] for p in name[1:]]
        expected = np.einsum("ax,bx,cx,dx,x->abcd", *factors, weight, optimize=True)
        np.testing.assert_allclose(getattr(found, name), expected, atol=1e-8, err_msg=name)
    expected = np.einsum("pax,qbx,x->pqab", s, s, weight, optimize=True)
    np.testing.assert_allclose(found.two, expected, atol=1e-8)
    assert abs(found.d2110 - found.d1100).max() > 0.01
    assert found.error < 1e-6


@pytest.mark.more
def test_float32():
    coarse = eft.dntk_flow("gelu", CW, 3, X.astype(np.float32), **SETTINGS)
    assert coarse.ddTheta.dtype == jnp.float32 and coarse.valid.all()
    np.testing.assert_allclose(coarse.ddTheta[-1], flow("gelu").ddTheta[-1], rtol=2e-4, atol=1e-4)


# --- networks -----------------------------------------------------------------------------------

WIDTHS = (8, 16, 32)
DEPTH = 4


def sizes(n: int) -> tuple[int, ...]:
    return (2 * n, n, 2 * n)


@functools.partial(jax.jit, static_argnums=(0, 1, 3))
def of_networks(act, n, key, count):
    """Mean and standard error of n D_cΘ̂_ab f_d and n D_dD_cΘ̂_ab."""
    shape, cb = (2, *sizes(n), 1), SETTINGS["cb"]
    x = jnp.asarray(X, jnp.float32)
    rates = [(SETTINGS["lambda_w"] / a, SETTINGS["lambda_b"]) for a in shape[:-1]]

    def forward(theta):
        z = x
        for layer, (W, b) in enumerate(theta):
            z = (act(z) if layer else z) @ W.T + b[None]
        return z[:, 0]

    def one(key):
        keys = jax.random.split(key, (DEPTH, 2))
        theta = [
            (
                jnp.float32(np.sqrt(CW / a)) * jax.random.normal(of_W, (b, a), jnp.float32),
                jnp.float32(np.sqrt(cb)) * jax.random.normal(of_b, (b,), jnp.float32),
            )
            for (of_W, of_b), (a, b) in zip(keys, itertools.pairwise(shape), strict=True)
        ]
        return shape[-2] * jnp.stack(differentials(forward, theta, rates)).astype(float)

    each = jax.lax.map(one, jax.random.split(key, count), batch_size=64)
    return each.mean(0), each.std(0) / np.sqrt(count)


@pytest.mark.more
@pytest.mark.parametrize("name", ["tanh", "gelu"])
def test_networks(name):
    """Three hidden layers of widths 2n, n, 2n, extrapolated. The control: without what a layer hands on."""
    act = eft.activation(name)
    found = [of_networks(act.fn, n, jax.random.key(n), 20_000) for n in WIDTHS]
    n = np.array(WIDTHS, float)
    weights = np.array([np.prod([a / (a - b) for b in n if b != a]) for a in n])
    limit = np.tensordot(weights, [a[0] for a in found], 1)
    error = np.sqrt(np.tensordot(weights**2, np.square([a[1] for a in found]), 1))
    deep = eft.dntk_flow(name, CW, DEPTH, X, widths=sizes(8), **SETTINGS)
    z = (limit - np.stack([deep.dTheta[-1], deep.ddTheta[-1]])) / error
    assert np.sqrt(np.mean(z**2)) < 1.6 and abs(z).max() < 4.5
    equal = eft.dntk_flow(name, CW, DEPTH, X, **SETTINGS)
    assert (abs(limit - np.stack([equal.dTheta[-1], equal.ddTheta[-1]])) > 6 * error).any()


@pytest.mark.parametrize(
    ("bad", "error", "words"),
    [
        ({"act": "relu"}, ValueError, "act must be smooth, .*; relu has a kink at 0"),
        ({"act": "elu"}, ValueError, "act must be smooth"),
        ({"X": np.eye(5)}, ValueError, "X must hold at most 4 different inputs; got 5"),
        ({"lambda_w": [1.0, 2.0]}, ValueError, "lambda_w must be one number"),
        ({"depth": 0}, ValueError, "depth must be an integer"),
        ({"widths": (3,)}, ValueError, "widths must hold one integer for each hidden layer"),
    ],
    ids=str,
)
def test_bad_arguments(bad, error, words):
    with pytest.raises(error, match=words):
        eft.dntk_flow(**{"act": "tanh", "cw": 1.0, "depth": 3, "X": X, **bad})
