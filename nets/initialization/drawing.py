"""The compiled program that draws networks, block by block, and computes the observables of their layers."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from eft.activations.programs import precise
from nets.network import chain, connected, fcn, metric
from nets.network.architecture import Architecture, Settings
from nets.network.observables import (
    GramObservables,
    NTKObservables,
    Observables,
    observe_layers,
    overlap,
    pair_spread,
)
from nets.network.tangent_kernel import layer_ntks, mean_ntk
from nets.runtime import blocks, keys

CALL = 32
"""Largest number of blocks in one call of the program, the unit in which progress is reported."""


class Program(NamedTuple):
    """What a compiled program depends on; hashable.

    `architecture`: of the networks. `method`: "networks" or "metric". `log_domain`: log Ĝ is propagated
    instead of Ĝ. `n_inputs`: n_D, where x holds several inputs; 0 for one input. `ntk`: whether the NTK is
    measured too. `accelerator`: compiled for an accelerator, not the CPU.
    """

    architecture: Architecture
    method: str
    log_domain: bool = False
    n_inputs: int = 0
    ntk: bool = False
    accelerator: bool = False


class Values(NamedTuple):
    """The numbers of an ensemble, in the dtype of its networks.

    `x`: the input (n₀,), or inputs (n_D, n₀). `settings`: C_W, C_b, and γ if there is a skip.
    `K1`: Ĝ¹ of the input, or of the pairs of inputs. `lambda_w`, `lambda_b`: λ_W and λ_b, None where they do
    not matter.
    """

    x: Any
    settings: Settings
    K1: Any
    lambda_w: Any = None
    lambda_b: Any = None


def least_memory(program: Program) -> int:
    """The least number of bytes that a block needs: for its weights, or its widest layer."""
    architecture = program.architecture
    widest = max(program.n_inputs, 1) * max(architecture.sizes)
    numbers = architecture.n_weights if program.method == "networks" else widest
    return block_size(program) * numbers * architecture.dtype.itemsize


def block_size(program: Program) -> int:
    """The number of networks that are vmapped."""
    if program.method == "metric":
        return blocks.size(blocks.SAMPLED[program.accelerator], max(program.n_inputs, 1))
    return blocks.size(blocks.DRAWN[program.accelerator], program.architecture.n_weights)


Member = tuple[Observables, NTKObservables | None] | GramObservables
"""The observables of a network: at one input, or at several."""


def _network(program: Program, key: jax.Array, values: Values) -> Member:
    """The observables of one FCN drawn with the given key."""
    x, settings, K1 = values.x, values.settings, values.K1
    if program.architecture.own_K1:
        settings = settings._replace(K1=K1, x2=jnp.mean(x * x))
    net = fcn.drawn(program.architecture, settings, key)
    layers = observe_layers(
        net.act, net.preactivations(x), K1, settings.cw, settings.cb, norm=net.norm, gammas=net.gammas
    )
    if not program.ntk:
        return layers, None
    ntks = layer_ntks if net.plain else connected.layer_ntks
    return layers, ntks(net, x, settings.cw, values.lambda_w, values.lambda_b)


def _sample(program: Program, key: jax.Array, values: Values) -> Member:
    """The observables of one network sampled through its metric with the given key."""
    architecture, (cw, cb, *_) = program.architecture, values.settings
    if architecture.remembers:
        return chain.sample(key, architecture, values.settings, values.K1), None
    widths, norm = architecture.sizes[1:], architecture.norm
    return metric.sample(
        key, architecture.act, widths, values.K1, cw, cb, log_domain=program.log_domain, norm=norm
    ), None


def _gram_network(program: Program, key: jax.Array, values: Values) -> Member:
    """The observables at several inputs of one FCN drawn with the given key."""
    x, settings = values.x, values.settings
    if program.architecture.own_K1:  # the sums are that of K1 x2 over the inputs, and that of x2
        settings = settings._replace(K1=jnp.trace(values.K1), x2=jnp.sum(jnp.mean(x * x, -1)))
    cw, cb, *_ = settings
    net = fcn.drawn(program.architecture, settings, key)
    z = net.preactivations(x)
    G = [values.K1, *(cb + cw * overlap(net.activated(z_l)) for z_l in z[:-1])]
    Theta = mean_ntk(net, x, values.lambda_w, values.lambda_b) if program.ntk else None
    if not program.architecture.skip:
        return GramObservables(jnp.stack(G), Theta)
    K, spread = (jnp.stack([of(z_l) for z_l in z]) for of in (overlap, pair_spread))
    return GramObservables(jnp.stack(G), Theta, K, spread)


def _gram_sample(program: Program, key: jax.Array, values: Values) -> Member:
    """The observables at several inputs of one network sampled through its metric with the given key."""
    architecture, (cw, cb, *_) = program.architecture, values.settings
    if architecture.remembers:
        return chain.sample_gram(key, architecture, values.settings, values.K1)
    widths, norm = architecture.sizes[1:], architecture.norm
    return metric.sample_gram(key, architecture.act, widths, values.K1, cw, cb, norm=norm)


_MEMBER = {
    ("networks", False): _network,
    ("metric", False): _sample,
    ("networks", True): _gram_network,
    ("metric", True): _gram_sample,
}


@functools.lru_cache(maxsize=64)
def compiled(program: Program, capacity: int, device: Any = None) -> tuple[Any, int]:
    """The program compiled for a device, a function of (key's words, first, count, values), and the bytes of
    memory that it needs."""
    run = functools.partial(_run, program, capacity)
    with jax.default_device(device):
        call = jax.jit(precise(run)).lower(*_shapes(program)).compile()
    used = call.memory_analysis()
    if used is None:  # the backend does not report it: assume twice the weights, or twice the widest layer
        return call, 2 * least_memory(program) + capacity * output_bytes(program)
    return call, used.temp_size_in_bytes + used.output_size_in_bytes


def output_bytes(program: Program) -> int:
    """Bytes of the observables of one block."""
    observed = jax.eval_shape(functools.partial(_run, program, 1), *_shapes(program))
    return sum(a.size * a.dtype.itemsize for a in jax.tree.leaves(observed))


def _run(program: Program, capacity: int, words, first, count, values: Values) -> Member:
    """Blocks first, …, first + count − 1; fields of shape (capacity, block size, …), zeros beyond `count`."""
    member = _MEMBER[program.method, program.n_inputs > 0]
    key, size = keys.of_words(words), block_size(program)

    def block(i):
        numbers = blocks.members(first + i.astype(jnp.uint32), size)
        return jax.vmap(lambda k: member(program, k, values))(keys.of_members(key, numbers))

    return blocks.each(block, capacity, count)


def _shapes(program: Program) -> tuple:
    """The arguments of `_run` after `capacity`, or their shapes, for its compilation."""
    inputs = (program.n_inputs,) if program.n_inputs else ()

    def number(*shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, program.architecture.dtype)

    rates = (number(), number()) if program.n_inputs or program.ntk else ()
    values = Values(
        number(*inputs, program.architecture.sizes[0]),
        Settings(number(), number(), skip=number() if program.architecture.skip else None),
        number(*2 * inputs),
        *rates,
    )
    return keys.words(0), np.uint32(0), np.int32(0), values
