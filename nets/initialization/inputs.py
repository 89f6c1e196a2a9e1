"""A few networks at many inputs: how the kernel varies from input to input at fixed weights."""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from eft import arguments
from eft.activations.catalogue import as_activation
from eft.activations.definition import Activation
from eft.arguments import ArgumentError
from eft.gaussian.expectation import Function
from nets.initialization.drawing import GENERATOR, ensemble_words
from nets.initialization.ensemble import MAX_NETS
from nets.network.fcn import FCN
from nets.network.observables import activate
from nets.runtime import memory, programs
from nets.runtime.settings import (
    check_representable,
    checked_hidden,
    checked_number,
    checked_seed,
    float_dtype,
    real_array,
)

MOST = 2**27
"""Largest number of pre-activations in one layer, over all inputs."""


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
    seed: int | jax.Array = 0,
    cb: float = 0.0,
    x2: float = 1.0,
    K1: float | None = None,
    widths: Sequence[int] | None = None,
    dtype: Any = jnp.float32,
    memory_budget: int | None = None,
) -> InputMeasurement:
    """K̂^l(x) = (1/n_l) Σ_i z_i^l(x)² of every layer, for `n_nets` networks at each of the inputs X, (m, n₀).

    The networks are those of `measure` with the same seed and n₀; arguments as there. With `K1` an input
    has the first kernel K1·(‖x‖²/n₀)/x2.

    For homogeneous σ (degree p) and C_b = 0 each layer is normalized before the next one is computed,
    z = e^s ẑ, W σ(z) = e^{ps} W σ(ẑ), so that log K̂ is correct where K̂ itself leaves the float range.
    Otherwise it is inf or nan from the first layer on at which a value is not finite.

    Compiled once for all C_W, C_b, K¹, x2 and seeds. Raises TypeError or ValueError for a bad argument, and
    ValueError if `memory_budget` (in bytes; default: half of the device's memory) is too small for one
    network and the results, before any network is drawn.

    >>> seen = nets.measure_inputs("relu", 2.0, 4, 64, 2, [[1.0, 0.0], [0.0, 1.0]])
    >>> print(seen._fields)
    ('log_K', 'x2', 'widths')
    """
    act = as_activation(act)
    depth = arguments.positive_int("depth", depth, maximum=500)
    n_nets = arguments.positive_int("n_nets", n_nets, maximum=MAX_NETS)
    hidden = checked_hidden(width, widths, depth)
    dtype = float_dtype(dtype)
    x = real_array("X", X)
    with np.errstate(over="ignore"):
        finite = np.isfinite(x.astype(dtype)).all()
    if x.ndim != 2 or not x.size or not finite:
        raise ArgumentError(f"X must be inputs of shape (m, n0), all finite in {dtype}; got shape {x.shape}")
    sizes = (x.shape[1], *hidden, 1)
    if len(x) * max(sizes) > MOST:
        raise ArgumentError(
            f"X must hold at most {MOST // max(sizes):,} inputs at width {max(sizes):,}; got {len(x):,}"
        )
    numbers = {"cw": checked_number("cw", cw), "cb": checked_number("cb", cb)}
    if K1 is not None:
        numbers |= {"K1": checked_number("K1", K1), "x2": checked_number("x2", arguments.positive("x2", x2))}
    check_representable(dtype, numbers)
    seed = checked_seed(seed)
    _check_memory(sizes, n_nets, len(x), dtype.itemsize, memory_budget)
    program = _Program(act, sizes, bool(act.degree) and numbers["cb"] == 0, dtype)
    settings = {name: np.asarray(value, dtype) for name, value in numbers.items()}
    members = np.arange(n_nets, dtype=np.uint32)
    log_K = programs.call(_measured, program, ensemble_words(seed), settings, members, x.astype(dtype))
    return InputMeasurement(np.asarray(log_K, np.float64), np.mean(x**2, axis=1), np.array(sizes))


def _check_memory(sizes: tuple[int, ...], n_nets: int, inputs: int, itemsize: int, budget: Any) -> None:
    """Check the memory: one network and its widest layers; results on the device and in float64; indices."""
    weights = sum(n_in * n for n_in, n in itertools.pairwise(sizes))
    network = (2 * weights + 4 * inputs * max(sizes)) * itemsize
    results = n_nets * (inputs * (len(sizes) - 1) * (itemsize + 8) + 4)
    memory.check(memory.OVERHEAD + network + results, f"{n_nets:,} networks at {inputs:,} inputs", budget)


class _Program(NamedTuple):
    """What the program is compiled for; hashable."""

    act: Activation
    sizes: tuple[int, ...]
    homogeneous: bool
    dtype: np.dtype


def _measured(program: _Program, words, settings: Any, members: jax.Array, x: jax.Array) -> jax.Array:
    act, (n0, *hidden, n_out), homogeneous, dtype = program
    key, p = jax.random.wrap_key_data(words, impl=GENERATOR), act.degree or 0

    def network(member):
        drawn = {"rngs": jax.random.fold_in(key, member), "dtype": dtype}
        net = FCN(n0, hidden, n_out, act=act, **settings, **drawn)
        z, s, log_K = x, jnp.zeros(len(x), dtype), []
        for i, layer in enumerate(net.layers):
            z = layer(activate(act, z) if i else z)
            K = jnp.mean(z * z, -1)
            log_K.append(2 * s + jnp.log(K))
            if homogeneous:
                s = p * (s + jnp.log(K) / 2)
                z = z / jnp.where(K > 0, jnp.sqrt(K), 1)[:, None]
        return jnp.stack(log_K)

    return lax.map(network, members)
