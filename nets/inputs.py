"""A few networks at many inputs: how the kernel varies from input to input where the weights stay."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from eft import arguments
from eft.activations import Activation, as_activation
from eft.gaussian import Function
from nets.blocks import GENERATOR
from nets.fcn import FCN
from nets.settings import checked_hidden, checked_number, checked_seed, float_dtype

MOST = 2**27
"""Numbers of one layer, of all inputs."""


class InputMeasurement(NamedTuple):
    """Networks at many inputs. Index 0 of the layer axis is layer 1."""

    log_K: np.ndarray  # (n_nets, depth, n_inputs) log K̂^l(x), K̂^l = (1/n_l) Σ z_i²; −inf where K̂ is 0
    x2: np.ndarray  # (n_inputs,) ‖x‖²/n₀
    widths: np.ndarray  # (depth + 1,) n₀, n₁, …, n_L


def measure_inputs(
    act: "str | Activation | Function",
    cw: float,
    depth: int,
    width: int | None,
    n_nets: int,
    X: Any,
    *,
    seed: int = 0,
    cb: float = 0.0,
    x2: float = 1.0,
    K1: float | None = None,
    widths: Sequence[int] | None = None,
    dtype: Any = jnp.float32,
) -> InputMeasurement:
    """K̂^l(x) = (1/n_l) Σ_i z_i^l(x)² of every layer, for `n_nets` networks at each of the inputs X, (m, n₀).

    The networks are those of `measure` with the same seed and n₀; arguments as there. With `K1` an input
    has the first kernel K1·(‖x‖²/n₀)/x2.

    For homogeneous σ (degree p) and C_b = 0 each layer is divided by its size before it goes on,
    z = e^s ẑ, W σ(z) = e^{ps} W σ(ẑ), so that log K̂ is right where K̂ itself leaves the float range. Else
    it is inf or nan from the layer on where a number is not finite.

    Raises TypeError or ValueError for a bad argument.
    """
    act = as_activation(act)
    depth = arguments.positive_int("depth", depth, maximum=500)
    n_nets = arguments.positive_int("n_nets", n_nets, maximum=2**31)
    hidden = checked_hidden(width, widths, depth)
    dtype = float_dtype(dtype)
    x = np.asarray(arguments.real_array("X", X), np.float64)
    if x.ndim != 2 or not x.size or not np.isfinite(x).all():
        raise ValueError(f"X must be inputs of shape (m, n0), all finite; got shape {x.shape}")
    sizes = (x.shape[1], *hidden, 1)
    if len(x) * max(sizes) > MOST:
        raise ValueError(
            f"X must hold at most {MOST // max(sizes):,} inputs at width {max(sizes):,}; got {len(x):,}"
        )
    settings = {"cw": checked_number("cw", cw), "cb": checked_number("cb", cb)}
    if K1 is not None:
        settings |= {"K1": checked_number("K1", K1), "x2": float(arguments.positive("x2", x2))}
    run = functools.partial(_measured, act, sizes, tuple(settings.items()), dtype)
    log_K = run(jax.random.key(checked_seed(seed), impl=GENERATOR), np.arange(n_nets), x.astype(dtype))
    return InputMeasurement(np.asarray(log_K, np.float64), np.mean(x**2, axis=1), np.array(sizes))


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _measured(act, sizes, settings, dtype, key, members, x) -> jax.Array:
    n0, *hidden, n_out = sizes
    p = act.degree if act.degree and dict(settings)["cb"] == 0 else None

    def network(member):
        drawn = {"rngs": jax.random.fold_in(key, member), "dtype": dtype}
        net = FCN(n0, hidden, n_out, act=act, **dict(settings), **drawn)
        z, s, log_K = x, jnp.zeros(len(x), dtype), []
        for i, layer in enumerate(net.layers):
            z = layer(act(z) if i else z)
            K = jnp.mean(z * z, -1)
            log_K.append(2 * s + jnp.log(K))
            if p:
                s = p * (s + jnp.log(K) / 2)
                z = z / jnp.where(K > 0, jnp.sqrt(K), 1.0)[:, None]
        return jnp.stack(log_K)

    return lax.map(network, members)
