"""The fully connected network, with the initialization that the theory describes."""

import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from eft import arguments
from eft.activations.catalogue import as_activation
from eft.activations.definition import ActivationLike
from nets.network.architecture import Architecture, Settings
from nets.network.normals import Normal, standard_normal
from nets.network.observables import activate


def _initializer(normal: Normal, variance: jax.Array):
    def initialize(key, shape, dtype, out_sharding=None):
        return jnp.sqrt(variance).astype(dtype) * normal(key, shape).astype(dtype)

    return initialize


class FCN(nnx.Module):
    """z¹ = b¹ + W¹x,  z^{l+1} = b^{l+1} + W^{l+1}σ(z^l),  l = 1 … L−1, output z^L.

    W^{l+1} ~ N(0, C_W/n_l), b ~ N(0, C_b), W¹ ~ N(0, C_W/n₀): independent Gaussians.
    With `K1` the first layer has no bias and W¹ ~ N(0, K1/(n₀·x2)), so that z¹ has the
    variance K1 for an input with ‖x‖²/n₀ = x2.

    `n0`: size of the input. `widths`: (n₁, …, n_{L−1}), may be empty. `n_out`: n_L.
    `act`: a name, an Activation or a function. `cw` = C_W, `cb` = C_b, `K1` ≥ 0, `x2` > 0; numbers, or
    traced. `rngs`: nnx.Rngs, or a key. `normal`: the function that draws the numbers of variance 1.
    `dtype`: of parameters and arithmetic; the draws themselves are float32.

    Raises TypeError or ValueError for a bad argument.

    >>> net = nets.FCN(2, (64, 64), act="tanh", cw=1.0, rngs=jax.random.key(0))
    >>> net(jnp.ones((5, 2))).shape
    (5, 1)
    """

    def __init__(
        self,
        n0: int,
        widths: Sequence[int],
        n_out: int = 1,
        *,
        act: ActivationLike,
        cw: object,
        cb: object = 0.0,
        x2: object = 1.0,
        K1: object = None,
        rngs: nnx.Rngs | jax.Array,
        normal: Normal = standard_normal,
        dtype=jnp.float32,
    ):
        n0 = arguments.positive_int("n0", n0)
        widths = arguments.widths_of(widths, len(widths) + 1)
        sizes = (n0, *widths, arguments.positive_int("n_out", n_out))
        unbiased = isinstance(cb, int | float) and cb == 0
        cw, cb = arguments.nonnegative("cw", cw), arguments.nonnegative("cb", cb)
        first = cw / n0
        if K1 is not None:
            first = arguments.nonnegative("K1", K1) / (n0 * arguments.positive("x2", x2))
        rngs = rngs if isinstance(rngs, nnx.Rngs) else nnx.Rngs(rngs)
        self.act = as_activation(act)
        self.layers = nnx.List(
            nnx.Linear(
                n_in,
                n,
                use_bias=not (layer == 0 and K1 is not None),
                kernel_init=_initializer(normal, first if layer == 0 else cw / n_in),
                bias_init=nnx.initializers.zeros if unbiased else _initializer(normal, cb),
                param_dtype=dtype,
                precision="highest",
                rngs=rngs,
            )
            for layer, (n_in, n) in enumerate(itertools.pairwise(sizes))
        )

    def affine(self, layer: int, s: jax.Array) -> jax.Array:
        """b^{l+1} + W^{l+1}s of shape (…, n_{l+1}), for s of shape (…, n_l); l = `layer`, from 0."""
        return self.layers[layer](s)

    def linear(self, layer: int, s: jax.Array) -> jax.Array:
        """W^{l+1}s, the derivative of `affine` in the direction s."""
        return jnp.matmul(s, self.layers[layer].kernel[...], precision="highest")

    def shifted(self, layer: int, z: jax.Array) -> jax.Array:
        """z + b^{l+1}, which makes `affine` of `linear`."""
        bias = self.layers[layer].bias
        return z if bias is None else z + bias[...].reshape((1,) * (z.ndim - 1) + (-1,))

    def propagate(self, layer: int, z: jax.Array) -> jax.Array:
        """z^{l+1} from z^l; for l = 0, from the input."""
        return self.affine(layer, activate(self.act, z) if layer else z)

    def preactivations(self, x: jax.Array) -> list[jax.Array]:
        """z¹, …, z^L for inputs x of shape (…, n₀); z^l has shape (…, n_l)."""
        z = [x]
        for layer in range(len(self.layers)):
            z.append(self.propagate(layer, z[-1]))
        return z[1:]

    def __call__(self, x: jax.Array) -> jax.Array:
        """The output z^L, of shape (…, n_L)."""
        return self.preactivations(x)[-1]


def drawn(architecture: Architecture, settings: Settings, key: jax.Array) -> FCN:
    """The network of that architecture with weights drawn from the key."""
    n0, *hidden, n_out = architecture.sizes
    first = {"K1": settings.K1, "x2": settings.x2} if architecture.own_K1 else {}
    return FCN(
        n0,
        hidden,
        n_out,
        act=architecture.act,
        cw=settings.cw,
        cb=settings.cb if architecture.biased else 0.0,
        rngs=key,
        normal=architecture.normal,
        dtype=architecture.dtype,
        **first,
    )


def split(architecture: Architecture) -> tuple[nnx.GraphDef, nnx.State]:
    """The structure of the network and the shapes of its parameters, as of `nnx.split`."""
    key = jax.random.key(0)
    return nnx.split(nnx.eval_shape(lambda: drawn(architecture, architecture.unit_settings, key)))


def with_parameters(architecture: Architecture, parameters: dict[str, Any]) -> FCN:
    """The network with these parameters, {"layers": {0: {"kernel": (n₀, n₁), "bias": …}, …}}."""
    graph, state = split(architecture)
    nnx.replace_by_pure_dict(state, jax.tree.map(lambda a: jnp.asarray(a, architecture.dtype), parameters))
    return nnx.merge(graph, state)
