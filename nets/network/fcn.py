"""The fully connected network, with the initialization that the theory describes."""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from eft import arguments
from eft.activations.catalogue import as_activation
from eft.activations.definition import ActivationLike
from nets.network.architecture import Architecture, Settings, check_layers
from nets.network.normalization import normalized
from nets.network.normals import Normal, standard_normal
from nets.network.observables import activate
from nets.network.weights import InTurn, gaussian, orthogonal


class Given(nnx.Variable):
    """A number that a network is built with and that is not trained: no `nnx.Param`."""


class FCN(nnx.Module):
    """z¹ = b¹ + W¹x,  z^{l+1} = γz^l + b^{l+1} + W^{l+1}σ(N(z^l)),  l = 1 … L−1, output z^L.

    A plain network has γ = 0, N(z) = z and W^{l+1} ~ N(0, C_W/n_l), b ~ N(0, C_b), W¹ ~ N(0, C_W/n₀):
    independent Gaussians. With `K1` the first layer has no bias and W¹ ~ N(0, K1/(n₀·x2)), so that z¹ has the
    variance K1 for an input with ‖x‖²/n₀ = x2.

    `n0`: size of the input. `widths`: (n₁, …, n_{L−1}), may be empty. `n_out`: n_L.
    `act`: a name, an Activation or a function. `cw` = C_W, `cb` = C_b, `K1` ≥ 0, `x2` > 0; numbers, or
    traced. `rngs`: nnx.Rngs, or a key. `normal`: the function that draws the numbers of variance 1.
    `dtype`: of parameters and arithmetic; the draws themselves are float32.

    `skip`: γ ≥ 0, a number or traced; it is not trained, so that parameters are `nnx.state(net, nnx.Param)`.
    Hidden widths must be equal unless it is the number 0. `readout`: the last layer has no skip, and n_out is
    free; otherwise n_out must be the last hidden width. `norm`: N, over the neurons of every hidden layer:
    "rms" for z/√(mean z²), "layer" for the same of z − mean z; without learned scale. `weights`: "orthogonal"
    for W^{l+1}, l ≥ 1, with orthogonal rows or columns and entries of variance C_W/n_l (`network.weights`).

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
        skip: object = 0.0,
        norm: str | None = None,
        weights: str = "gaussian",
        readout: bool = True,
    ):
        n0 = arguments.positive_int("n0", n0)
        widths = arguments.widths_of(widths, len(widths) + 1)
        sizes = (n0, *widths, arguments.positive_int("n_out", n_out))
        skips = not (isinstance(skip, int | float) and skip == 0)
        check_layers(widths, sizes[-1], skip=skips, norm=norm, weights=weights, readout=readout)
        unbiased = isinstance(cb, int | float) and cb == 0
        cw, cb = arguments.nonnegative("cw", cw), arguments.nonnegative("cb", cb)
        first = cw / n0
        if K1 is not None:
            first = arguments.nonnegative("K1", K1) / (n0 * arguments.positive("x2", x2))
        rngs = rngs if isinstance(rngs, nnx.Rngs) else nnx.Rngs(rngs)
        self.act, self.norm, self.weights, self.readout = as_activation(act), norm, weights, readout
        self.skip = Given(arguments.nonnegative("skip", skip).astype(dtype)) if skips else None
        fan_in = itertools.pairwise(sizes)

        in_turn = InTurn()

        def kernel(layer, n_in):
            if layer and weights == "orthogonal":
                return orthogonal(normal, cw, in_turn)
            return gaussian(normal, cw / n_in if layer else first)

        self.layers = nnx.List(
            nnx.Linear(
                n_in,
                n,
                use_bias=not (layer == 0 and K1 is not None),
                kernel_init=kernel(layer, n_in),
                bias_init=nnx.initializers.zeros if unbiased else gaussian(normal, cb),
                param_dtype=dtype,
                precision="highest",
                rngs=rngs,
            )
            for layer, (n_in, n) in enumerate(fan_in)
        )

    @property
    def plain(self) -> bool:
        """Whether it has no skip, no norm, and Gaussian weights."""
        return self.skip is None and self.norm is None and self.weights == "gaussian"

    def gamma(self, layer: int) -> jax.Array | None:
        """γ of the skip into layer l+1, l = `layer`, from 0; None without."""
        last = layer == len(self.layers) - 1
        return None if self.skip is None or not layer or (self.readout and last) else self.skip[...]

    @property
    def gammas(self) -> list[jax.Array | None]:
        """γ of the skip out of each layer, that out of the output as if another layer followed."""
        return [self.gamma(layer) for layer in range(1, len(self.layers) + 1)]

    def activated(self, z: jax.Array) -> jax.Array:
        """σ(N(z)) of a hidden layer."""
        return activate(self.act, normalized(self.norm, z))

    def affine(self, layer: int, s: jax.Array) -> jax.Array:
        """b^{l+1} + W^{l+1}s of shape (…, n_{l+1}), for s of shape (…, n_l); l = `layer`, from 0."""
        return self.layers[layer](s)

    def linear(self, layer: int, s: jax.Array) -> jax.Array:
        """W^{l+1}s, the derivative of `affine` in the direction s; without the skip."""
        return jnp.matmul(s, self.layers[layer].kernel[...], precision="highest")

    def shifted(self, layer: int, z: jax.Array) -> jax.Array:
        """z + b^{l+1}, which makes `affine` of `linear`."""
        bias = self.layers[layer].bias
        return z if bias is None else z + bias[...].reshape((1,) * (z.ndim - 1) + (-1,))

    def propagate(self, layer: int, z: jax.Array) -> jax.Array:
        """z^{l+1} from z^l; for l = 0, from the input."""
        branch, gamma = self.affine(layer, self.activated(z) if layer else z), self.gamma(layer)
        return branch if gamma is None else gamma * z + branch

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
        skip=settings.skip if architecture.skip else 0.0,
        norm=architecture.norm,
        weights=architecture.weights,
        readout=architecture.readout,
        **first,
    )


class Parts(NamedTuple):
    """The parts of a network, as of `nnx.split`: structure, shapes of the parameters, and γ if any."""

    graph: nnx.GraphDef
    parameters: nnx.State
    given: nnx.State


def split(architecture: Architecture) -> Parts:
    """The parts of a network of this architecture."""
    key = jax.random.key(0)
    net = nnx.eval_shape(lambda: drawn(architecture, architecture.unit_settings, key))
    return Parts(*nnx.split(net, nnx.Param, ...))


def merged(parts: Parts, parameters: nnx.State, skip: Any = None) -> FCN:
    """The network of these parts with these parameters; `skip`: γ, if it has one."""
    return nnx.merge(parts.graph, parameters, jax.tree.map(lambda _: skip, parts.given))


def with_parameters(architecture: Architecture, parameters: dict[str, Any], skip: Any = None) -> FCN:
    """The network with these parameters, {"layers": {0: {"kernel": (n₀, n₁), "bias": …}, …}}, and γ."""
    parts = split(architecture)
    nnx.replace_by_pure_dict(
        parts.parameters, jax.tree.map(lambda a: jnp.asarray(a, architecture.dtype), parameters)
    )
    return merged(parts, parts.parameters, skip)
