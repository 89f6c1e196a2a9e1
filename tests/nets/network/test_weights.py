"""Orthogonal weights: exactly orthogonal, and of the Haar measure."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nets
from nets.network.normals import standard_normal
from nets.network.weights import InTurn, orthogonal, orthonormal_columns

CW = 1.7


@pytest.mark.parametrize(("n_in", "n"), [(7, 7), (9, 4), (4, 9), (5, 1)])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_orthogonal(n_in, n, dtype):
    """Columns of length √C_W, or rows of √(C_W n/n_in), at right angles."""
    W = orthogonal(standard_normal, jnp.asarray(CW, dtype), InTurn())(jax.random.key(1), (n_in, n), dtype)
    assert W.shape == (n_in, n) and W.dtype == dtype
    gram, length2 = (W.T @ W, CW) if n <= n_in else (W @ W.T, CW * n / n_in)
    np.testing.assert_allclose(gram, length2 * np.eye(len(gram)), atol=20 * float(jnp.finfo(dtype).eps))


def test_haar():
    """Fourth moments of a Haar matrix (m, m): E[Q₁₁⁴] = 3/(m(m+2)), E[Q₁₁Q₁₂Q₂₁Q₂₂] = −1/((m−1)m(m+2)).

    The control: Q of a QR decomposition whose R has any signs, E[Q₁₁] ≠ 0.
    """
    m, N = 3, 40_000
    u = jax.random.normal(jax.random.key(0), (N, m, m))
    Q = np.asarray(jax.vmap(orthonormal_columns)(u))
    samples = {
        0.0: Q[:, 0, 0],
        1 / m: Q[:, 0, 0] ** 2,
        3 / (m * (m + 2)): Q[:, 0, 0] ** 4,
        -1 / ((m - 1) * m * (m + 2)): Q[:, 0, 0] * Q[:, 0, 1] * Q[:, 1, 0] * Q[:, 1, 1],
    }
    for expected, a in samples.items():
        assert abs(a.mean() - expected) < 4 * a.std() / np.sqrt(N), expected
    control = np.linalg.qr(np.asarray(u))[0][:, 0, 0]
    assert abs(control.mean()) > 20 * control.std() / np.sqrt(N)


@pytest.mark.parametrize("weights", ["orthogonal", "gaussian"])
def test_a_linear_network_preserves_lengths(weights):
    """‖z^l‖ of all hidden layers is that of z¹ at C_W = 1; Gaussian weights do not."""
    net = nets.FCN(
        3, (8, 8, 8, 8), act="linear", cw=1.0, weights=weights, rngs=jax.random.key(0), dtype=jnp.float64
    )
    z = net.preactivations(jnp.asarray([1.0, -0.5, 2.0]))
    lengths = np.array([np.linalg.norm(a) for a in z[:4]])
    assert (abs(lengths / lengths[0] - 1).max() < 1e-13) == (weights == "orthogonal")
    first = net.layers[0].kernel[...]
    assert abs(first.T @ first - jnp.eye(8)).max() > 0.1  # the first layer is Gaussian


def independent(program) -> list[int]:
    """Of the QR decompositions of a program, those that do not depend on the one before."""
    reached, made, found = set(), 0, []
    for equation in program.jaxpr.eqns:
        after = any(v in reached for v in equation.invars if not hasattr(v, "val"))
        if equation.params.get("name") == "qr":
            found += [] if after or not made else [made]
            made, reached = made + 1, set(equation.outvars)
        elif after:
            reached.update(equation.outvars)
    assert made == 4
    return found


def test_one_decomposition_after_the_other(monkeypatch):
    """XLA does those that are independent at the same time, and two may wait for each other forever."""

    def drawn(seed):
        net = nets.FCN(8, (8,) * 4, act="tanh", cw=1.0, weights="orthogonal", rngs=jax.random.key(seed))
        return [layer.kernel[...] for layer in net.layers[1:]]

    with monkeypatch.context() as of:
        of.setattr(InTurn, "__call__", lambda self, make, given: make(given))
        assert independent(jax.make_jaxpr(lambda seed: drawn(seed))(0)) == [1, 2, 3]
        alone = drawn(0)
    assert independent(jax.make_jaxpr(lambda seed: drawn(seed))(0)) == []
    for a, b in zip(drawn(0), alone, strict=True):
        np.testing.assert_array_equal(a, b)
