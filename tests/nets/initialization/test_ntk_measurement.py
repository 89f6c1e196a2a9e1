"""The empirical NTK of every layer, and the theory validated against it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eft
import nets
from nets import FCN
from nets.initialization.shift import ntk_shift
from nets.network.tangent_kernel import layer_ntks, output_ntk

RATES = {"lambda_w": 0.7, "lambda_b": 0.3}
SETTINGS = {"cb": 0.1, **RATES}


def jacobian_ntk(net, x, layers: int) -> np.ndarray:
    """Θ̂_ij of that layer by automatic differentiation of every pre-activation by every parameter."""
    J = jax.jacrev(lambda net: net.preactivations(x)[layers - 1])(net)
    total = 0
    for layer in J.layers[:layers]:
        W = np.asarray(layer.kernel[...])
        total = total + 0.7 / W.shape[1] * np.einsum("ikm,jkm->ij", W, W)
        if layer.bias is not None:
            b = np.asarray(layer.bias[...])
            total = total + 0.3 * b @ b.T
    return total


@pytest.mark.sweep("relu-None")
@pytest.mark.parametrize(("act", "K1"), [("tanh", 0.7), ("relu", None)])
def test_every_layer_is_that_of_the_parameters(act, K1):
    """The recursion against `jax.jacrev` of the Flax network, and the means given the layer before."""
    cw = 1.5
    net = FCN(3, (5, 7, 4), 1, act=act, cw=cw, cb=0.1, K1=K1, rngs=jax.random.key(2), dtype=jnp.float64)
    x = jnp.asarray([1.0, -0.5, 0.3])
    seen = layer_ntks(net, x, cw, 0.7, 0.3)
    z = net.preactivations(x)
    for layer in range(1, 5):
        Theta = jacobian_ntk(net, x, layer)
        np.testing.assert_allclose(seen.Theta_hat[layer - 1], np.trace(Theta) / len(Theta), rtol=1e-12)
        if layer == 4:
            break
        s, s1 = jax.jvp(net.act.fn, (z[layer - 1],), (jnp.ones_like(z[layer - 1]),))
        n, M = len(s), np.asarray(s1)[:, None] * Theta * np.asarray(s1)
        H = 0.3 + 0.7 * np.mean(s**2) + cw / n * np.trace(M)
        np.testing.assert_allclose(seen.H[layer], H, rtol=1e-12)
        np.testing.assert_allclose(seen.B[layer], cw**2 / n * (M**2).sum(), rtol=1e-12)
        np.testing.assert_allclose(seen.F[layer], cw**2 / n * s @ M @ s, rtol=1e-12)
    np.testing.assert_allclose(seen.Theta_hat[3], output_ntk(net, x[None], 0.7, 0.3)[0, 0], rtol=1e-12)


def test_means_given_the_layer_before_are_those_means():
    """H, B̂, F̂ of layer 3 are means over its weights of Θ̂_11, n Θ̂_12² and n z₁z₂Θ̂_12: 20,000 draws."""
    cw, n = 1.5, 6
    net = FCN(3, (5, n, 2), 1, act="gelu", cw=cw, cb=0.1, rngs=jax.random.key(3), dtype=jnp.float64)
    x = jnp.asarray([1.0, -0.5, 0.3])
    seen = layer_ntks(net, x, cw, 0.7, 0.3)
    z = net.preactivations(x)[1]
    s, s1 = jax.jvp(net.act.fn, (z,), (jnp.ones_like(z),))
    M = np.asarray(s1)[:, None] * jacobian_ntk(net, x, 2) * np.asarray(s1)
    rng = np.random.default_rng(0)
    W = np.sqrt(cw / n) * rng.standard_normal((20_000, 2, n))
    b = np.sqrt(0.1) * rng.standard_normal((20_000, 2))
    Theta = np.einsum("aik,km,ajm->aij", W, M, W)
    z3 = b + W @ np.asarray(s)
    samples = {
        "H": 0.3 + 0.7 * np.mean(s**2) + Theta[:, 0, 0],
        "B": n * Theta[:, 0, 1] ** 2,
        "F": n * z3[:, 0] * z3[:, 1] * Theta[:, 0, 1],
    }
    for name, a in samples.items():
        error = a.std() / np.sqrt(len(a))
        assert abs(a.mean() - getattr(seen, name)[2]) < 4 * error, name


WIDTHS = (16, 32, 64)


@pytest.fixture(scope="module", params=["tanh", "gelu", "relu"])
def case(request):
    """One activation: its flow and ensembles of three widths, depth 4."""
    act = request.param
    cw = 1.6
    flow = eft.ntk_flow(act, cw, 4, **SETTINGS)
    ensembles = [
        nets.measure(act, cw, 4, n, N, seed=n, ntk=True, progress=False, **SETTINGS)
        for n, N in zip(WIDTHS, (20_000, 16_000, 8_000), strict=True)
    ]
    return act, cw, flow, ensembles


def extrapolated(estimates, layer) -> tuple[float, float]:
    """At 1/n = 0, of the parabola in 1/n through the three widths; and its error."""
    n = np.array(WIDTHS, float)
    weights = np.array([np.prod([a / (a - b) for b in n if b != a]) for a in n])
    values, errors = np.array([(e.mean[layer], e.stderr[layer]) for e in estimates]).T
    return weights @ values, np.sqrt(weights**2 @ errors**2)


@pytest.mark.long
def test_theory_is_what_ensembles_extrapolate_to(case):
    """Within 4 errors at layers 2 to 4; the control: B and F that are not handed on."""
    act, cw, flow, ensembles = case
    for name in ("A", "B", "D", "F"):
        for layer in (1, 2, 3):
            found, error = extrapolated([getattr(e.ntk, name) for e in ensembles], layer)
            assert abs(found - getattr(flow, name)[layer]) < 4 * error, (name, layer + 1)
    p = eft.slopes(eft.activation(act), flow.K)
    fresh = {"B": (cw * flow.Theta) ** 2 * p.s4, "F": cw**2 * flow.Theta * p.cross}
    for name, alone in fresh.items():
        found, error = extrapolated([getattr(e.ntk, name) for e in ensembles], 3)
        assert abs(found - alone[2]) > 5 * error, name


@pytest.mark.long
def test_the_correction_of_the_mean(case):
    """Theta1 within 4 errors at layers 3 and 4; of ReLU nothing is left to average: its mean is Θ.

    The controls: no correction, which GELU rejects, and one without the part of D + 2F.
    """
    act, cw, flow, ensembles = case
    shifts = [ntk_shift(act, cw, RATES["lambda_w"], e, flow) for e in ensembles]
    for e, shift, n in zip(ensembles, shifts, WIDTHS, strict=True):
        plain = n * (e.ntk.Theta.mean - np.asarray(flow.Theta))
        assert (abs(plain - shift.mean) < 4 * n * e.ntk.Theta.stderr + 1e-4 * n).all()
    if act == "relu":
        assert all(abs(shift.mean).max() < 1e-8 for shift in shifts)
        return
    part = cw * np.asarray(eft.slopes(eft.activation(act), flow.K).ds * (flow.D + 2 * flow.F))
    for layer in (2, 3):
        found, error = extrapolated(shifts, layer)
        assert abs(found - flow.Theta1[layer]) < 4 * error
        assert abs(found - flow.Theta1[layer] + part[layer - 1]) > 5 * error
        if act == "gelu":
            assert abs(found) > 5 * error


def test_same_bits_whatever_the_number_of_networks():
    few, many = (nets.measure("tanh", 1.5, 3, 8, N, ntk=True, **SETTINGS) for N in (20, 600))
    for name in ("H", "B_hat", "F_hat", "Theta_hat"):
        np.testing.assert_array_equal(getattr(few.ntk, name), getattr(many.ntk, name)[:20])
    plain = nets.measure("tanh", 1.5, 3, 8, 20, cb=0.1)
    np.testing.assert_allclose(few.G, plain.G, rtol=1e-6)
    assert plain.ntk is None


def test_layer_one_and_the_output_of_several_inputs():
    m = nets.measure("tanh", 1.5, 3, 8, 30, ntk=True, x=[1.0, 0.5], **SETTINGS)
    np.testing.assert_allclose(m.ntk.Theta.mean[0], 0.3 + 0.7 * 0.625, rtol=1e-6)
    assert all(getattr(m.ntk, name).mean[0] == 0 == getattr(m.ntk, name).stderr[0] for name in "ABDF")
    several = nets.measure("tanh", 1.5, 3, 8, 30, ntk=True, x=[[1.0, 0.5]], **SETTINGS)
    np.testing.assert_allclose(m.ntk.Theta_hat[:, -1], several.Theta_hat[:, 0, 0], rtol=1e-5)


def test_overflow_is_counted_and_left_out():
    m = nets.measure("repu", 2.0, 9, 8, 200, ntk=True)
    assert m.n_overflowed[0] == 0 < m.n_overflowed[-1]
    assert np.isfinite(m.ntk.A.mean[m.n_nets > 2]).all()
    with pytest.raises(ValueError, match="measured must hold no network that overflowed"):
        ntk_shift("repu", 2.0, 1.0, m, eft.ntk_flow("repu", 2.0, 9))


def test_bad_arguments():
    with pytest.raises(ValueError, match='ntk must be False unless method is "networks"'):
        nets.measure("tanh", 1.0, 3, 8, 20, ntk=True, method="metric")
    with pytest.raises(ValueError, match="memory_budget must be at least"):
        nets.measure("tanh", 1.0, 3, 8, 10**6, ntk=True, memory_budget=10**8)
    with pytest.raises(ValueError, match="measured must have an NTK"):
        ntk_shift("tanh", 1.0, 1.0, nets.measure("tanh", 1.0, 3, 8, 20), eft.ntk_flow("tanh", 1.0, 3))
