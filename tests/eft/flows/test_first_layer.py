"""K1 at several inputs: the first layer has no bias, K¹ = K1 x·x′/n₀ and Θ¹ = λ_W x·x′/n₀."""

import jax.numpy as jnp
import numpy as np
import pytest

import eft

X = np.array([[1.0, 0.0], [0.5, 1.0], [-0.3, 0.2]])
X2 = (X**2).mean(-1)
SCALE, CW, CB, L = 0.7, 1.3, 0.1, 3
RTOL = 1e-12
"""Round-off over three layers; the errors seen are 1e-15."""
KINDS = [{}, {"skip": 0.8}, {"norm": "rms"}]


@pytest.mark.sweep("relu-kind0", "tanh-kind2")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("act", ["tanh", "relu"])
def test_the_diagonal_is_that_of_one_input(act, kind):
    """`kernel_flow` and `ntk_flow` from K1·‖x‖²/n₀. The control: with the plain first layer it is not."""
    own = {"K1": SCALE * X2, "cb": CB, **kind}
    gram = eft.gram_flow(act, CW, L, X, K1=SCALE, cb=CB, **kind)
    one = eft.kernel_flow(act, CW, L, **own)
    np.testing.assert_allclose(jnp.diag(gram.K), one.K[:, -1], rtol=RTOL)
    plain = eft.gram_flow(act, CW, L, X, cb=CB, **kind)
    assert np.abs(jnp.diag(plain.K) / one.K[:, -1] - 1).max() > 0.01 or "norm" in kind
    if "norm" not in kind:
        ntk = eft.ntk_flow(act, CW, L, x2=X2, **own)
        np.testing.assert_allclose(jnp.diag(gram.Theta), ntk.Theta[:, -1], rtol=RTOL)


@pytest.mark.more
@pytest.mark.parametrize("kind", [{}, pytest.param({"skip": 0.8}, marks=pytest.mark.more)])
def test_all_flows_of_several_inputs_agree(kind):
    pair, two = X[:2], slice(0, 2)
    gram = eft.gram_flow("tanh", CW, L, X, K1=SCALE, cb=CB, all_layers=True, **kind)
    block = eft.gram_flow("tanh", CW, L, X[:1], X[1:], K1=SCALE, cb=CB, all_layers=True, **kind)
    vertex = eft.vertex_flow("tanh", CW, L, pair, K1=SCALE, cb=CB, **kind)
    ntk = eft.ntk_gram_flow("tanh", CW, L, pair, K1=SCALE, cb=CB, **kind)
    both = eft.pair_flow("tanh", CW, L, *pair, K1=SCALE, cb=CB, **kind)
    one = eft.kernel_flow("tanh", CW, L, K1=SCALE * X2[0], cb=CB, **kind)
    own = eft.ntk_flow("tanh", CW, L, K1=SCALE * X2[0], x2=X2[0], cb=CB, **kind)
    np.testing.assert_allclose(block.K, gram.K[:, :1, 1:], rtol=RTOL)
    np.testing.assert_allclose(block.Theta, gram.Theta[:, :1, 1:], rtol=RTOL)
    np.testing.assert_allclose(vertex.K, gram.K[:, two, two], rtol=1e-10)
    np.testing.assert_allclose(ntk.Theta, gram.Theta[:, two, two], rtol=1e-10)
    np.testing.assert_allclose(both.K_ab, gram.K[:, 0, 1], rtol=1e-10)
    np.testing.assert_allclose(vertex.V[:, 0, 0], one.V, rtol=1e-9)
    np.testing.assert_allclose(vertex.G1[:, 0, 0], one.G1, rtol=1e-9)
    np.testing.assert_allclose(ntk.Theta1[:, 0, 0], own.Theta1, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(ntk.A[:, 0, 0], own.A, rtol=1e-8, atol=1e-12)


def test_without_biases_it_is_a_scale_of_the_inputs():
    """K and V of inputs times √(K1/C_W); Θ, whose first layer is not scaled, is another: the control."""
    scaled = X * np.sqrt(SCALE / CW)
    one, other = (eft.gram_flow("gelu", CW, L, x, **own) for x, own in ((X, {"K1": SCALE}), (scaled, {})))
    np.testing.assert_allclose(one.K, other.K, rtol=1e-10)
    assert np.abs(one.Theta / other.Theta - 1).max() > 0.01
    one, other = (eft.vertex_flow("tanh", CW, L, x, **own) for x, own in ((X, {"K1": SCALE}), (scaled, {})))
    np.testing.assert_allclose(one.V, other.V, rtol=1e-8, atol=1e-14)
    near = [X[0], X[0] + 1e-6]
    one, other = (
        eft.expanded_pair_flow("tanh", CW, L, *(x * s for x in near), **own)
        for s, own in ((1.0, {"K1": SCALE}), (np.sqrt(SCALE / CW), {}))
    )
    np.testing.assert_allclose(one.K_perp, other.K_perp, rtol=1e-6)


@pytest.mark.more
def test_inference_takes_it():
    """Posterior, evidence and training are those of the kernels with K1."""
    Y, test, settings = np.sin(X[:, 0]), [[0.3, 0.1]], {"K1": SCALE, "cb": CB}
    kernel = eft.gram_flow("erf", CW, 3, X, **settings)
    cross = eft.gram_flow("erf", CW, 3, test, X, **settings)
    own = eft.gram_flow("erf", CW, 3, test, **settings).K[0]
    expected = eft.posterior(kernel, cross, own, Y)
    found = eft.regress("erf", CW, 3, X, Y, test, **settings)
    np.testing.assert_allclose(found.nngp.mean, expected.nngp.mean, rtol=1e-9)
    np.testing.assert_allclose(found.nngp.variance, expected.nngp.variance, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(found.ntk.mean, expected.ntk.mean, rtol=1e-9)
    K = np.asarray(kernel.K) + 0.1 * np.eye(3)
    evidence = -Y @ np.linalg.solve(K, Y) / 2 - np.linalg.slogdet(2 * np.pi * K)[1] / 2
    assert eft.log_marginal_likelihood("erf", CW, 3, X, Y, noise=0.1, **settings).value == pytest.approx(
        evidence
    )
    end = eft.train_flow("erf", CW, 3, X, Y, test, t=[jnp.inf], **settings).test.mean[0, 0]
    assert float(end) == pytest.approx(float(expected.ntk.mean[0]), rel=1e-7)
    cg = eft.cg_regress("erf", CW, 3, X, Y, test, noise=0.1, **settings)
    noisy = eft.posterior(kernel, cross, own, Y, noise=0.1).nngp.mean
    assert float(cg.mean[0]) == pytest.approx(float(noisy[0]), rel=1e-4)
    wide = eft.finite_width_posterior("erf", CW, 3, X, Y, test, width=10**6, noise=0.1, **settings)
    assert float(wide.mean[0]) == pytest.approx(float(noisy[0]), rel=1e-3)


@pytest.mark.parametrize("flow", [eft.gram_flow, eft.vertex_flow, eft.ntk_gram_flow])
def test_bad_values(flow):
    for value in (-1.0, np.nan, [0.5, 0.5], "x"):
        with pytest.raises((ValueError, TypeError), match="K1 must be"):
            flow("tanh", 1.0, 2, X[:1], K1=value)
    assert np.isfinite(flow("tanh", 1.0, 2, X[:1], K1=0.0).K).all()
