"""V and G1 of one input are the limits to which ensembles of growing width extrapolate."""

import jax.numpy as jnp
import numpy as np
import pytest

import eft
import nets

pytestmark = pytest.mark.long

N_NETS, WIDTHS, DEPTH = 100_000, (128, 256, 512, 1024), 5
CASES = {
    "tanh": {"cw": 1.0, "x2": 1.0},
    "gelu": {"cw": 1.5, "K1": 0.2},
    "softplus": {"cw": 1.5, "x2": 0.5},
    "mrepu": {"cw": 0.9, "K1": 3e-3},
}


def intercept(values, errors, order):
    """The value at 1/n = 0 of a weighted fit of that order in 1/n, and its standard error."""
    powers = (1 / np.array(WIDTHS))[:, None] ** np.arange(order + 1)
    normal = powers.T @ (powers / errors[:, None] ** 2)
    covariance = np.linalg.inv(normal)
    return (covariance @ powers.T @ (values / errors**2))[0], np.sqrt(covariance[0, 0])


def shifts(act, cw, flow, ensemble):
    """E[Ĝ^L] − K^L and its error, without the fluctuations of mean 0.

    E[Ĝ^{l+1} | Ĝ^l] = C_b + C_W g(Ĝ^l) exactly, so that with r(G) = C_W(g(G) − g(K) − g′(K)(G − K))
    E[Ĝ^L] − K^L = E[Σ_l χ∥^{L−1} ⋯ χ∥^{l+1} r(Ĝ^l)]: what is averaged is of second order.
    """
    total = np.zeros(N_NETS)
    for layer in range(DEPTH - 1):
        G, K = ensemble.G[:, layer], flow.K[layer]
        at, found = eft.moments(act, K), eft.moments(act, jnp.asarray(G)).g
        handed_on = np.prod(np.asarray(flow.chi_parallel[layer + 1 : DEPTH - 1]))
        total += handed_on * cw * np.asarray(found - at.g - at.dg * (G - K))
    return total.mean(), total.std(ddof=1) / np.sqrt(N_NETS)


@pytest.mark.parametrize("name", CASES)
def test_extrapolated_vertex_and_correction(name):
    settings = dict(CASES[name])
    cw = settings.pop("cw")
    act = eft.activation(name)
    flow = eft.kernel_flow(name, cw, DEPTH, **settings)
    ensembles = [
        nets.measure(name, cw, DEPTH, n, N_NETS, seed=n, method="metric", progress=False, **settings)
        for n in WIDTHS
    ]
    assert not any(e.n_overflowed.any() for e in ensembles)

    V = np.array([e.V.mean[-1] for e in ensembles])
    V_error = np.array([e.V.stderr[-1] for e in ensembles])
    fitted, error = intercept(V, V_error, 2)
    assert abs(fitted - flow.V[-1]) < 4 * error
    assert error < 0.04 * fitted
    # the control: a vertex that is not handed on from layer to layer
    fresh = cw**2 * eft.moments(act, flow.K[-2]).var
    assert abs(fitted - fresh) > 5 * error

    n = np.array(WIDTHS)
    shift, shift_error = np.array([shifts(act, cw, flow, e) for e in ensembles]).T
    plain = np.array([e.K.mean[-1] for e in ensembles]) - flow.K[-1]
    plain_error = np.array([e.K.stderr[-1] for e in ensembles])
    assert (abs(shift - plain) < 4 * plain_error).all()
    assert (shift_error < plain_error / 3).all()
    fitted, error = intercept(n * shift, n * shift_error, 2)
    assert abs(fitted - flow.G1[-1]) < 4 * error
    # the controls: no correction, and one that is wrong by a third
    assert abs(fitted) > 5 * error
    assert abs(fitted - 4 / 3 * flow.G1[-1]) > 5 * error
