"""P and Q of the differential of the NTK agree with closed forms, recursions by hand, and networks."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eft

SETTINGS = {"cb": 0.1, "lambda_w": 0.7, "lambda_b": 1.0}


def by_hand(act, cw, depth, *, cb, lambda_w, lambda_b, widths, part=1.0):
    """The recursions with ⟨σσ′²σ″⟩ = (⟨zσσ′³⟩/K − ⟨σ′⁴⟩)/3; `part` multiplies B and F."""
    slope = lambda z: jax.jvp(act.fn, (z,), (jnp.ones_like(z),))[1]  # noqa: E731
    mean = lambda f, K: eft.gaussian_expectation(f, K, act.kinks)  # noqa: E731
    ntk = eft.ntk_flow(act, cw, depth, cb=cb, lambda_w=lambda_w, lambda_b=lambda_b, widths=widths)
    n, P, Q, rows = [widths[0], *widths, widths[-1]], 0.0, 0.0, []
    for layer in range(depth):
        rows.append((P, Q))
        K, Theta, B, F = (float(a[layer]) for a in (ntk.K, ntk.Theta, part * ntk.B, part * ntk.F))
        omega = lambda z, T=Theta: lambda_w * act.fn(z) ** 2 + cw * T * slope(z) ** 2  # noqa: E731
        s4 = mean(lambda z: slope(z) ** 4, K)
        bend = (mean(lambda z: z * act.fn(z) * slope(z) ** 3, K) / K - s4) / 3
        parallel = cw * jax.grad(lambda K: mean(lambda z: act.fn(z) ** 2, K))(K)
        perp, r = cw * mean(lambda z: slope(z) ** 2, K), n[layer + 1] / n[layer] if layer else 1.0
        cross = mean(lambda z: (act.fn(z) * slope(z)) ** 2, K)
        P, Q = (
            cw**2 * bend * Theta**2 + r * (perp * (parallel - perp) * B + parallel * perp * P),
            cw**2 * bend * Theta**2
            + lambda_w * cw * cross * Theta
            + r * (parallel * jax.grad(lambda K, o=omega: mean(o, K))(K) * F + parallel * perp * Q),
        )
    return np.array(rows, float).T


@pytest.mark.sweep("softplus")
@pytest.mark.parametrize("name", ["selu", "softplus"])
def test_against_the_recursions_by_hand(name):
    """Unequal widths; σ′ that jumps, and σ(0) ≠ 0. The control: equal widths."""
    settings, act = {**SETTINGS, "widths": (30, 60, 20)}, eft.activation(name)
    flow, equal = (eft.ntk_flow(act, 1.3, 4, **{**SETTINGS, **w}) for w in (settings, {}))
    for field, row in zip(("P", "Q"), by_hand(act, 1.3, 4, **settings), strict=True):
        np.testing.assert_allclose(getattr(flow, field), row, rtol=1e-8, atol=1e-12, err_msg=field)
        assert abs(getattr(equal, field)[-1] / getattr(flow, field)[-1] - 1) > 0.05, field
    assert flow.valid.all()


@pytest.mark.parametrize(("name", "cw", "slopes"), [("relu", 2.0, 2.0), ("linear", 1.0, 1.0)])
def test_critical_piecewise_linear_networks(name, cw, slopes):
    """P = 0, and with θ = λ_W‖x‖²/n₀, Θ = lθ, F = aKθ l(l−1)/2, a = 2 or 1: Q′ = (λ_W/C_W)(aKΘ + F) + Q."""
    depth, lw, x2 = 9, 0.7, 0.5
    flow = eft.ntk_flow(name, cw, depth, lambda_w=lw, lambda_b=0.0, x2=x2)
    np.testing.assert_allclose(flow.P, 0, atol=1e-12)
    layer, K = np.arange(1, depth + 1), cw * x2
    F = slopes * K * lw * x2 * layer * (layer - 1) / 2
    steps = lw / cw * (slopes * K * lw * x2 * layer + F)
    np.testing.assert_allclose(flow.Q, np.r_[0, np.cumsum(steps)[:-1]], rtol=1e-12)


def test_batches_and_float32():
    cw, lw = jnp.asarray([1.0, 1.4])[:, None], jnp.asarray([0.5, 2.0, 1.0])
    flow = eft.ntk_flow("gelu", cw, 5, lambda_w=lw, lambda_b=0.1)
    one = eft.ntk_flow("gelu", 1.4, 5, lambda_w=2.0, lambda_b=0.1)
    for field in ("P", "Q"):
        np.testing.assert_allclose(getattr(flow, field)[1, 1], getattr(one, field), rtol=1e-12)
    with jax.enable_x64(False):
        coarse = eft.ntk_flow("gelu", 1.4, 5, lambda_w=2.0, lambda_b=0.1)
    assert coarse.P.dtype == jnp.float32
    np.testing.assert_allclose(coarse.P, one.P, rtol=2e-4, atol=1e-5)
    np.testing.assert_allclose(coarse.Q, one.Q, rtol=2e-5)


def test_overflow_is_marked():
    flow = eft.ntk_flow("repu", 3.0, 14, x2=2.0)
    assert flow.valid[0] and not flow.valid[-1]
    assert np.isfinite(flow.P).all() and np.isfinite(flow.Q).all()


# --- networks -----------------------------------------------------------------------------------

OUTPUTS, DEPTH, CW, COUNT = 4, 4, 1.5, 160_000


@functools.partial(jax.jit, static_argnums=(0, 1, 3))
def differentials(act, n, key, count):
    """n E[dΘ̂_012 z_3] of each network, averaged over pairs of outputs: for P, and for Q."""
    sizes = (2, *(n,) * (DEPTH - 1), OUTPUTS)
    cb, lw, lb = SETTINGS["cb"], SETTINGS["lambda_w"], SETTINGS["lambda_b"]
    rates = [(lw / a, lb) for a in sizes[:-1]]
    apart = 1.0 - jnp.eye(OUTPUTS, dtype=jnp.float32)

    def output(theta):
        z = jnp.ones(2, jnp.float32)
        for layer, (W, b) in enumerate(theta):
            z = W @ (act(z) if layer else z) + b
        return z

    def one(key):
        keys = jax.random.split(key, 2 * DEPTH)
        theta = [
            (
                jnp.sqrt(CW / a) * jax.random.normal(keys[2 * i], (b, a), jnp.float32),
                jnp.sqrt(cb) * jax.random.normal(keys[2 * i + 1], (b,), jnp.float32),
            )
            for i, (a, b) in enumerate(itertools.pairwise(sizes))
        ]
        ways = [(lw * W, lb * b) for (lw, lb), (W, b) in zip(rates, jax.jacrev(output)(theta), strict=True)]

        def second(u, v):
            return jax.jvp(lambda t: jax.jvp(output, (t,), (u,))[1], (theta,), (v,))[1]

        d = jax.vmap(lambda u: jax.vmap(lambda v: second(u, v))(ways))(ways)  # dΘ̂_012 at [1, 2, 0]
        z = output(theta)
        same = jnp.einsum("aab,b,ab->", d, z, apart)  # dΘ̂_baa z_b
        mixed = jnp.einsum("aba,b,ab->", d, z, apart)  # dΘ̂_aab z_b
        return n * jnp.stack([same, mixed]) / apart.sum()

    return jax.lax.map(one, jax.random.split(key, count), batch_size=64)


@pytest.mark.long
@pytest.mark.parametrize("name", ["tanh", "gelu"])
def test_networks(name):
    """Extrapolated by a line in 1/n; the control: P without B and Q without F."""
    act = eft.activation(name)
    flow = eft.ntk_flow(act, CW, DEPTH, **SETTINGS)
    values, errors = [], []
    for n in (16, 32):
        found = np.asarray(differentials(act.fn, n, jax.random.key(n), COUNT), np.float64)
        values.append(found.mean(0))
        errors.append(found.std(0) / np.sqrt(COUNT))
    limit, error = 2 * values[1] - values[0], np.hypot(2 * errors[1], errors[0])
    theory = np.array([flow.P[-1], flow.Q[-1]])
    assert (abs(limit - theory) < 4 * error).all()
    control = by_hand(act, CW, DEPTH, **SETTINGS, widths=(16,) * (DEPTH - 1), part=0.0)[:, -1]
    assert (abs(limit - control) > 5 * error).all()
