"""The compiled program that draws networks, block by block, and computes the observables of their layers."""

import functools
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from eft.activations.definition import Activation
from eft.programs import precise
from nets.network import metric
from nets.network.fcn import FCN, Normal
from nets.network.observables import GramObservables, NTKObservables, Observables, activate, observe, overlap
from nets.network.tangent_kernel import empirical_ntk, layer_ntks

CALL = 32
"""Largest number of blocks in one call of the program, the unit in which progress is reported."""

LARGEST, NUMBERS = {False: 8, True: 512}, {False: 2**23, True: 2**29}
"""Upper limits on the networks in a block (method "networks") and on its weights, on the CPU (False) and on
an accelerator (True)."""


GENERATOR = "threefry2x32"


class Program(NamedTuple):
    """What a compiled program depends on; hashable."""

    act: Activation
    sizes: tuple[int, ...]  # n₀, …, n_L
    method: str
    own_K1: bool  # K1 was given: the first layer has no bias
    biased: bool  # cb > 0
    log_domain: bool
    dtype: np.dtype
    normal: Normal
    n_inputs: int = 0  # n_D, where x holds several inputs; 0: x is one input
    ntk: bool = False  # measure the NTK too
    accelerator: bool = False  # compiled for an accelerator, not the CPU


def least_memory(program: Program) -> int:
    """The least number of bytes that a block needs: for its weights, or its widest layer."""
    widest = max(program.n_inputs, 1) * max(program.sizes)
    numbers = _weights(program) if program.method == "networks" else widest
    return block_size(program) * numbers * program.dtype.itemsize


def block_size(program: Program) -> int:
    """The number of networks that are vmapped: a power of 2, set by the architecture and the kind of device.

    The results of a network depend on it in the last bit, so it depends on nothing else that varies between
    machines. On a CPU, weights that outgrow the cache cost more time than vmapping saves; an accelerator is
    idle unless it has many networks at once.
    """
    if program.method == "metric":
        return max(1, (128 << 6 * program.accelerator) >> (max(program.n_inputs, 1) - 1).bit_length())
    fitting = NUMBERS[program.accelerator] // _weights(program)
    return 1 << max(0, min(LARGEST[program.accelerator], fitting).bit_length() - 1)


def _weights(program: Program) -> int:
    return sum(n_in * n for n_in, n in itertools.pairwise(program.sizes))


Seen = tuple[Observables, NTKObservables | None] | GramObservables
"""The observables of a network: at one input, or at several."""


def _network(program: Program, key, x, cw, cb, K1, lambda_w=0.0, lambda_b=0.0) -> Seen:
    """The observables of one FCN drawn with the given key."""
    n0, *hidden, n_out = program.sizes
    settings = {"cw": cw, "cb": cb if program.biased else 0.0}
    if program.own_K1:
        settings |= {"K1": K1, "x2": jnp.mean(x * x)}
    drawn = {"rngs": key, "normal": program.normal, "dtype": program.dtype}
    net = FCN(n0, hidden, n_out, act=program.act, **settings, **drawn)
    G, layers = K1, []
    for z in net.preactivations(x):
        seen, G = observe(program.act, z, G, jnp.log(G), cw, cb)
        layers.append(seen)
    tangent = layer_ntks(net, x, cw, lambda_w, lambda_b) if program.ntk else None
    return jax.tree.map(lambda *a: jnp.stack(a), *layers), tangent


def _sample(program: Program, key, x, cw, cb, K1) -> Seen:
    """The observables of one network sampled through its metric with the given key."""
    return metric.sample(key, program.act, program.sizes[1:], K1, cw, cb, log_domain=program.log_domain), None


def _gram_network(program: Program, key, x, cw, cb, K1, lambda_w, lambda_b) -> Seen:
    """The observables at several inputs of one FCN drawn with the given key."""
    n0, *hidden, n_out = program.sizes
    settings = {"cw": cw, "cb": cb if program.biased else 0.0}
    drawn = {"rngs": key, "normal": program.normal, "dtype": program.dtype}
    net = FCN(n0, hidden, n_out, act=program.act, **settings, **drawn)
    G = [K1, *(cb + cw * overlap(activate(program.act, z)) for z in net.preactivations(x)[:-1])]
    return GramObservables(jnp.stack(G), empirical_ntk(net, x, lambda_w, lambda_b) if program.ntk else None)


def _gram_sample(program: Program, key, x, cw, cb, K1, lambda_w, lambda_b) -> Seen:
    """The observables at several inputs of one network sampled through its metric with the given key."""
    return metric.sample_gram(key, program.act, program.sizes[1:], K1, cw, cb)


_ONE = {
    ("networks", False): _network,
    ("metric", False): _sample,
    ("networks", True): _gram_network,
    ("metric", True): _gram_sample,
}


def blocks(program: Program, capacity: int, key, first, count, values) -> Seen:
    """Blocks first, …, first + count − 1; fields have shape (capacity, block size, …), zeros beyond `count`.

    The number of blocks is not known to the compiler, so each block runs the same instructions.
    """
    one = _ONE[program.method, program.n_inputs > 0]
    size = block_size(program)

    def block(index):
        member = index * np.uint32(size) + jnp.arange(size, dtype=jnp.uint32)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, member)
        return jax.vmap(lambda k: one(program, k, **values))(keys)

    shapes = jax.eval_shape(block, first)
    start = jax.tree.map(lambda s: jnp.zeros((capacity, *s.shape), s.dtype), shapes)

    def step(i, seen):
        return jax.tree.map(lambda a, b: a.at[i].set(b), seen, block(first + i.astype(jnp.uint32)))

    return lax.fori_loop(jnp.zeros_like(count), count, step, start)


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
    seen = jax.eval_shape(functools.partial(_run, program, 1), *_shapes(program))
    return sum(a.size * a.dtype.itemsize for a in jax.tree.leaves(seen))


def _run(program: Program, capacity: int, words, first, count, values):
    return blocks(program, capacity, jax.random.wrap_key_data(words, impl=GENERATOR), first, count, values)


def _shapes(program: Program) -> tuple:
    """The arguments of `_run` after `capacity`, or their shapes, for its compilation."""
    inputs = (program.n_inputs,) if program.n_inputs else ()
    shapes = {"x": (*inputs, program.sizes[0]), "cw": (), "cb": (), "K1": 2 * inputs}
    if program.n_inputs or program.ntk:
        shapes |= {"lambda_w": (), "lambda_b": ()}
    values = {name: jax.ShapeDtypeStruct(shape, program.dtype) for name, shape in shapes.items()}
    return ensemble_words(0), np.uint32(0), np.int32(0), values


def ensemble_words(seed: int) -> np.ndarray:
    """The two words of the key into which member i folds i: `seed` as a 64-bit integer."""
    return np.array([seed >> 32, seed & (2**32 - 1)], np.uint32)
