"""The fully connected network, with the initialization that the theory describes."""

import itertools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from eft import arguments
from eft.activations.catalogue import as_activation
from eft.activations.definition import Activation
from eft.gaussian.expectation import Function
from nets.network.normals import standard_normal
from nets.network.observables import activate

Normal = Callable[[jax.Array, Sequence[int]], jax.Array]
"""(key, shape) → numbers of mean 0 and variance 1."""


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
        act: "str | Activation | Function",
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

    def preactivations(self, x: jax.Array) -> list[jax.Array]:
        """z¹, …, z^L for inputs x of shape (…, n₀); z^l has shape (…, n_l)."""
        z = [self.layers[0](x)]
        for layer in self.layers[1:]:
            z.append(layer(activate(self.act, z[-1])))
        return z

    def __call__(self, x: jax.Array) -> jax.Array:
        """The output z^L, of shape (…, n_L)."""
        return self.preactivations(x)[-1]
