"""Recipes against networks: their spread at the depth limit, and gradient descent near the largest rate."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eft
import nets

WIDTH, STEPS = 1024, 20
X = np.random.default_rng(1).normal(size=(6, 5))


@pytest.mark.long
@pytest.mark.parametrize("act", ["relu", "gelu", "tanh"])
def test_spread_of_networks_at_the_depth_limit(act):
    limit = eft.recipe(act, width=128, depth=4).depth_limit
    found = eft.recipe(act, width=128, depth=limit)
    count = 3000
    run = nets.measure(
        act, found.cw, limit, 128, count, cb=found.cb, K1=found.K1, method="metric", progress=False
    )
    spread = run.log_G[:, -1].std(ddof=1)
    assert found.log_spread == pytest.approx(spread, rel=0.1)
    assert abs(found.log_spread - spread) < 4 * spread / np.sqrt(count)  # tails are heavier than normal
    if act != "relu":  # the control, the leading order of log Ĝ
        leading = np.sqrt(found.flow.V[-1] / found.flow.K[-1] ** 2 / 128)
        assert abs(leading - spread) > 4 * spread / np.sqrt(count)


def parameters(key: jax.Array, recipe: eft.Recipe) -> list:
    sizes = [X.shape[1], *[recipe.width] * (recipe.depth - 1), 1]
    gains = [recipe.first_gain] + [recipe.gain] * (recipe.depth - 1)
    keys = jax.random.split(key, len(gains))
    return [
        (
            gain / np.sqrt(m) * jax.random.normal(jax.random.fold_in(k, 0), (m, n), jnp.float64),
            recipe.bias_std * jax.random.normal(jax.random.fold_in(k, 1), (n,), jnp.float64),
        )
        for k, gain, m, n in zip(keys, gains, sizes[:-1], sizes[1:], strict=True)
    ]


def outputs(params: list, sigma, skip: float) -> jax.Array:
    (W, b), *rest = params
    z = jnp.asarray(X) @ W + b[None]
    for layer, (W, b) in enumerate(rest):
        carried = skip * z if skip and layer < len(rest) - 1 else 0.0
        z = carried + sigma(z) @ W + b[None]
    return z[:, 0]


@functools.partial(jax.jit, static_argnums=(2, 3))
def growth(params: list, rate, sigma, skip: float) -> jax.Array:
    """log of the change of the loss in the last step, so near to a minimum that the network is linear."""
    direction = jnp.sin(1 + jnp.arange(len(X), dtype=jnp.float64))
    Y = outputs(params, sigma, skip) + 1e-9 * direction

    def loss(params):
        return jnp.mean((outputs(params, sigma, skip) - Y) ** 2) / 2

    def step(now, _):
        value, gradient = jax.value_and_grad(loss)(now)
        return jax.tree.map(lambda p, g: p - rate * g, now, gradient), value

    _, values = jax.lax.scan(step, params, length=STEPS)
    return jnp.log(values[-1] / values[-2])


ARCHITECTURES = [
    (act, depth)
    for act in ("tanh", "relu", "gelu", "sin", "elu", "swish", "erf", "softsign", "selu", "leaky_relu")
    for depth in (3, 6)
]


@pytest.mark.long
@pytest.mark.parametrize("skip", [0.0, 0.8])
@pytest.mark.parametrize(("act", "depth"), ARCHITECTURES)
def test_gradient_descent_is_stable_up_to_the_largest_rate(act, depth, skip):
    """Just below it the loss falls, just above it grows: within what networks of this width differ by."""
    found = eft.recipe(act, depth=depth, width=WIDTH, skip=skip, X=X)
    sigma = eft.activation(act).fn
    margin = max(0.1, 3 * found.rate_spread)
    for seed in range(2):
        params = parameters(jax.random.key(seed), found)
        below, above = (
            growth(params, (1 + sign * margin) * found.rates.sgd, sigma, skip) for sign in (-1, 1)
        )
        assert below < 0 < above
