"""The NTK of networks that are not plain: that of their parameters, and its means over the last weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from nets import FCN
from nets.network import connected
from nets.network.tangent_kernel import layer_ntks, mean_ntk, output_ntk
from nets.network.weights import orthonormal_columns

X = jnp.asarray([[1.0, -0.5, 0.3], [0.2, 0.8, -1.1]])
KINDS = {
    "plain": {},
    "skip": {"skip": 0.7},
    "skip, one width": {"skip": 0.7, "readout": False},
    "rms": {"norm": "rms"},
    "layer": {"norm": "layer"},
    "orthogonal": {"weights": "orthogonal"},
    "all": {"skip": 0.7, "norm": "layer", "weights": "orthogonal"},
}
N = 5


def network(readout=True, **kind):
    more = {"rngs": jax.random.key(2), "dtype": jnp.float64, "readout": readout}
    return FCN(3, (N, N, N), 1 if readout else N, act="gelu", cw=1.5, cb=0.1, **more, **kind)


def jacobian_ntk(net, layer, X=X):
    """Θ̂_iα,jβ of layer l = `layer`, (n, n_D, n, n_D), from the derivatives by every parameter."""
    graph, parameters, given = nnx.split(net, nnx.Param, ...)
    J = jax.jacrev(lambda p: nnx.merge(graph, p, given).preactivations(X)[layer - 1])(parameters)
    total = 0
    for part in J.layers.values():
        W, b = part["kernel"][...], part["bias"][...]
        total += 0.7 / W.shape[2] * jnp.einsum("aikm,bjkm->iajb", W, W)
        total += 0.3 * jnp.einsum("aik,bjk->iajb", b, b)
    return np.asarray(total)


@pytest.mark.more
@pytest.mark.parametrize("kind", KINDS)
def test_the_jacobian(kind):
    """`output_ntk` and the recursion against `jax.jacrev`. The control: that of another γ or norm."""
    net = network(**KINDS[kind])
    expected = jacobian_ntk(net, 4)
    output = np.mean([expected[i, :, i] for i in range(len(expected))], axis=0)
    np.testing.assert_allclose(mean_ntk(net, X, 0.7, 0.3), output, rtol=1e-11)
    if len(expected) == 1:
        np.testing.assert_allclose(output_ntk(net, X, 0.7, 0.3), output, rtol=1e-11)
    recursion = connected.layer_ntks(net, X[0], 1.5, 0.7, 0.3)
    for layer in range(1, 5):
        own = jacobian_ntk(net, layer, X[:1])[:, 0, :, 0]
        np.testing.assert_allclose(recursion.Theta_hat[layer - 1], np.trace(own) / len(own), rtol=1e-11)
    if kind == "plain":
        plain = layer_ntks(net, X[0], 1.5, 0.7, 0.3)
        for name in ("H", "B", "F", "Theta_hat"):
            np.testing.assert_allclose(getattr(recursion, name), getattr(plain, name), rtol=1e-12)
    else:
        assert abs(mean_ntk(network(readout=net.readout), X, 0.7, 0.3) / output - 1).max() > 1e-3


def draws(weights, count):
    """Matrices (N, N) of variance 1.5/N, and biases."""
    key, other = jax.random.split(jax.random.key(0))
    u = jax.random.normal(key, (count, N, N))
    if weights == "orthogonal":
        return np.sqrt(1.5) * np.asarray(jax.vmap(orthonormal_columns)(u)), jax.random.normal(
            other, (count, N)
        )
    return np.sqrt(1.5 / N) * np.asarray(u), jax.random.normal(other, (count, N))


@pytest.mark.sweep("orthogonal")
@pytest.mark.parametrize("kind", ["skip, one width", "orthogonal", "all"])
def test_means_given_the_layer_before_are_those_means(kind):
    """H, B, F and what A and D subtract, of layer 3, over 60,000 draws of its weights by brute force.

    The control: without the excess, or with that of Gaussian weights, A and D are not the mean products.
    """
    net = network(**KINDS[kind])
    seen = jax.tree.map(lambda a: np.asarray(a)[2], connected.layer_ntks(net, X[0], 1.5, 0.7, 0.3))
    z, gamma = np.asarray(net.preactivations(X[0])[1]), KINDS[kind].get("skip", 0.0)
    Theta, S = (
        jacobian_ntk(net, 2, X[:1])[:, 0, :, 0],
        np.asarray(jax.jacobian(net.activated)(jnp.asarray(z))),
    )
    s = np.asarray(net.activated(jnp.asarray(z)))
    W, b = draws(net.weights, 60_000)
    J = gamma * np.eye(N) + W @ S
    new = (0.3 + 0.7 * np.mean(s**2)) * np.eye(N) + J @ Theta @ np.swapaxes(J, 1, 2)
    z_new = gamma * z + np.sqrt(0.1) * np.asarray(b) + W @ s
    own, off = np.diagonal(new, axis1=1, axis2=2), ~np.eye(N, dtype=bool)
    z2 = gamma**2 * np.mean(z**2) + 0.1 + 1.5 * np.mean(s**2)

    def of_pairs(a):
        return a[:, off].mean(1)

    samples = {
        "H": (own.mean(1), seen.H),
        "B": (N * of_pairs(new**2), seen.B),
        "F": (N * of_pairs(z_new[:, :, None] * z_new[:, None] * new), seen.F),
        "A": (of_pairs(own[:, :, None] * own[:, None]), seen.H**2 - seen.A_excess),
        "D": (of_pairs(z_new[:, :, None] ** 2 * own[:, None]), z2 * seen.H - seen.D_excess),
    }
    for name, (a, expected) in samples.items():
        assert abs(a.mean() - expected) < 4 * a.std() / np.sqrt(len(a)) + 1e-12, name
    assert seen.A_excess != 0 != seen.D_excess
