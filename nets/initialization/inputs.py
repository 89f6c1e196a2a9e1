"""A few networks at many inputs: how the kernel varies from input to input at fixed weights."""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from eft import arguments
from eft.activations.analysis import analysed
from eft.activations.definition import ActivationLike
from eft.arguments import ArgumentError
from eft.records import METHODS
from nets.network import fcn
from nets.network.architecture import Architecture, Settings, checked_settings
from nets.runtime import keys, memory, programs
from nets.runtime.settings import (
    MAX_NETS,
    checked_seed,
    float_dtype,
)

MAX_PREACTIVATIONS = 2**27
"""Largest number of pre-activations in one layer, over all inputs."""


class InputMeasurement(NamedTuple):
    """Networks at many inputs. Index 0 of the layer axis is layer 1.

    `log_K`: (n_nets, depth, n_inputs) log K̂^l(x), K̂^l = (1/n_l) Σ z_i²; −inf where K̂ is 0.
    `x2`: (n_inputs,) ‖x‖²/n₀. `widths`: (depth + 1,) n₀, n₁, …, n_L.
    """

    log_K: np.ndarray
    x2: np.ndarray
    widths: np.ndarray

    __repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS


@arguments.also_named(x="X")
def measure_inputs(
    act: ActivationLike,
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
    memory_budget: int | str | None = None,
) -> InputMeasurement:
    """K̂^l(x) = (1/n_l) Σ_i z_i^l(x)² of every layer, for `n_nets` networks at each of the inputs X, (m, n₀).

    The networks are those of `measure` with the same seed and n₀; arguments as there. With `K1` an input
    has the first kernel K1·(‖x‖²/n₀)/x2.

    For homogeneous σ (degree p) and C_b = 0 each layer is normalized before the next one is computed,
    z = e^s ẑ, W σ(z) = e^{ps} W σ(ẑ), so that log K̂ is correct where K̂ itself leaves the float range.
    Otherwise it is inf or nan from the first layer on at which a value is not finite.

    Compiled once for all C_W, C_b, K¹, x2 and seeds; C_b = 0 with homogeneous σ is a program of its own.

    Raises TypeError or ValueError for a bad argument, and ValueError if `memory_budget` (in bytes, or text
    such as "2GB"; default: half of the device's memory) is too small for one network and the results, before
    any network is drawn.

    >>> measured = nets.measure_inputs("relu", 2.0, 4, 64, 2, [[1.0, 0.0], [0.0, 1.0]])
    >>> print(measured._fields)
    ('log_K', 'x2', 'widths')
    """
    act = analysed(act)
    depth = arguments.positive_int("depth", depth, maximum=500)
    n_nets = arguments.positive_int("n_nets", n_nets, maximum=MAX_NETS)
    hidden = arguments.hidden_widths(width, widths, depth)
    dtype = float_dtype(dtype)
    x = arguments.host_inputs("X", X, dtype)
    sizes = (x.shape[1], *hidden, 1)
    if len(x) * max(sizes) > MAX_PREACTIVATIONS:
        raise ArgumentError(
            f"X must hold at most {MAX_PREACTIVATIONS // max(sizes):,} inputs at width {max(sizes):,}; "
            f"got {len(x):,}"
        )
    settings = checked_settings(cw, cb, K1, x2, dtype)
    seed = checked_seed(seed)
    _check_memory(sizes, n_nets, len(x), dtype.itemsize, memory_budget)
    architecture = Architecture(act, sizes, K1 is not None, dtype=dtype)
    program = _Program(architecture, bool(act.degree) and settings.cb == 0)
    members = np.arange(n_nets, dtype=np.uint32)
    log_K = programs.call(
        _measured, program, keys.words(seed), settings.cast(dtype), members, x.astype(dtype)
    )
    return InputMeasurement(np.asarray(log_K, np.float64), np.mean(x**2, axis=1), np.array(sizes))


def _check_memory(sizes: tuple[int, ...], n_nets: int, inputs: int, itemsize: int, budget: Any) -> None:
    """Check the memory: one network and its widest layers; results on the device and in float64; indices."""
    weights = sum(n_in * n for n_in, n in itertools.pairwise(sizes))
    network = (2 * weights + 4 * inputs * max(sizes)) * itemsize
    results = n_nets * (inputs * (len(sizes) - 1) * (itemsize + 8) + 4)
    memory.check(memory.OVERHEAD + network + results, f"{n_nets:,} networks at {inputs:,} inputs", budget)


class _Program(NamedTuple):
    """What the program is compiled for; hashable.

    `homogeneous`: each layer is normalized before the next one is computed.
    """

    architecture: Architecture
    homogeneous: bool


def _measured(program: _Program, words, settings: Settings, members: jax.Array, x: jax.Array) -> jax.Array:
    architecture, homogeneous = program
    key, p = keys.of_words(words), architecture.act.degree or 0

    def network(member):
        net = fcn.drawn(architecture, settings, jax.random.fold_in(key, member))
        z, s, log_K = x, jnp.zeros(len(x), architecture.dtype), []
        for layer in range(architecture.depth):
            z = net.propagate(layer, z)
            K = jnp.mean(z * z, -1)
            log_K.append(2 * s + jnp.log(K))
            if homogeneous:
                s = p * (s + jnp.log(K) / 2)
                z = z / jnp.where(K > 0, jnp.sqrt(K), 1)[:, None]
        return jnp.stack(log_K)

    return lax.map(network, members)
