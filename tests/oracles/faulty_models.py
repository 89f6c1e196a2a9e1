"""Twelve models with one fault each, and the same model without it."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx

import nets

WIDTH, N0, INPUTS, DEPTH = 256, 64, 16, 9
"""Neurons of a layer, size and number of the inputs, and layers."""

GELU = 1.983058257437552, 0.172922390756069
"""C_W and C_b at the critical point of GELU."""

Model = tuple[Callable, Any, Any]


def inputs(dtype: str = "float32") -> jax.Array:
    x = np.random.default_rng(0).normal(size=(INPUTS, N0))
    return jnp.asarray(x, dtype)


def weights(cws: Sequence[float], cb: float = 0.0, dtype: str = "float32", seed: int = 1) -> list[dict]:
    """Gaussian weights and biases of one layer for each C_W; the first takes the input."""
    rng = np.random.default_rng(seed)
    layers = []
    for i, cw in enumerate(cws):
        n = WIDTH if i else N0
        w, b = rng.normal(size=(n, WIDTH)) * np.sqrt(cw / n), rng.normal(size=WIDTH) * np.sqrt(cb)
        layers.append({"w": jnp.asarray(w, dtype), "b": jnp.asarray(b, dtype)})
    return layers


def affine(p: dict, x: jax.Array) -> jax.Array:
    return x @ p["w"] + p["b"].reshape((1,) * (x.ndim - 1) + (-1,))


def mlp(act: Callable) -> Callable:
    def f(params, x):
        z = affine(params[0], x)
        for p in params[1:]:
            z = affine(p, act(z))
        return z

    return f


def uniform(cw: float) -> list[float]:
    return [cw] * DEPTH


def gain(faulty: bool) -> Model:
    """Layer 6 of a ReLU network has weights twice as large."""
    cws = uniform(2.0)
    cws[5] *= 4.0 if faulty else 1.0
    return mlp(jax.nn.relu), weights(cws), inputs()


def bias_variance(faulty: bool) -> Model:
    """GELU at its critical C_W, but without biases."""
    return (
        mlp(lambda z: jax.nn.gelu(z, approximate=False)),
        weights(uniform(GELU[0]), 0.0 if faulty else GELU[1]),
        inputs(),
    )


def sigmoid(faulty: bool) -> Model:
    """A deep sigmoid network; tanh without the fault."""
    return mlp(jax.nn.sigmoid if faulty else jnp.tanh), weights(uniform(1.0)), inputs()


def softplus(faulty: bool) -> Model:
    """A deep softplus network, in Flax Linen; tanh without the fault."""
    act, init = (jax.nn.softplus if faulty else jnp.tanh), linen.initializers.normal(WIDTH**-0.5)

    class Net(linen.Module):
        @linen.compact
        def __call__(self, x):
            z = linen.Dense(WIDTH, kernel_init=linen.initializers.normal(N0**-0.5))(x)
            for _ in range(DEPTH - 1):
                z = linen.Dense(WIDTH, kernel_init=init)(act(z))
            return z

    return Net().apply, Net().init(jax.random.key(0), inputs()), inputs()


def residual(faulty: bool) -> Model:
    """z′ = z + αW relu(z) with α = 1; 1/√8 without the fault."""
    alpha = 1.0 if faulty else (DEPTH - 1) ** -0.5

    def f(params, x):
        z = affine(params[0], x)
        for p in params[1:]:
            z = z + alpha * affine(p, jax.nn.relu(z))
        return z

    return f, weights(uniform(2.0)), inputs()


def normalized(faulty: bool) -> Model:
    """tanh of layer norm, in Flax NNX, without skip connections; ReLU without the fault."""
    act = jnp.tanh if faulty else jax.nn.relu
    net = nets.FCN(N0, (WIDTH,) * (DEPTH - 1), WIDTH, act=act, cw=1.0, norm="layer", rngs=jax.random.key(1))
    graph, params = nnx.split(net)
    return lambda p, x: nnx.merge(graph, p)(x), params, inputs()


def overflow(faulty: bool) -> Model:
    """float16 with C_W = 200: z¹ ≈ 14, and ten times more in each layer, 65,504 is passed in layer 5."""
    return mlp(jax.nn.relu), weights(uniform(200.0 if faulty else 2.0), dtype="float16"), inputs("float16")


def dead(faulty: bool) -> Model:
    """The biases of layer 4 of a ReLU network are −4."""
    params = weights(uniform(2.0))
    params[3]["b"] -= 4.0 if faulty else 0.0
    return mlp(jax.nn.relu), params, inputs()


def nan(faulty: bool) -> Model:
    """log z in front of layer 5; tanh without the fault."""
    plain = mlp(jnp.tanh)

    def f(params, x):
        z = plain(params[:4], x)
        z = affine(params[4], jnp.log(z) if faulty else jnp.tanh(z))
        for p in params[5:]:
            z = affine(p, jnp.tanh(z))
        return z

    return f, weights(uniform(1.0)), inputs()


def joined(faulty: bool) -> Model:
    """The sum of two tanh networks, of layers 1 to 9 and 10 to 18; the second has C_W = 4."""
    params = {"one": weights(uniform(1.0)), "two": weights(uniform(4.0 if faulty else 1.0), seed=2)}
    net = mlp(jnp.tanh)
    return lambda p, x: net(p["one"], x) + net(p["two"], x), params, inputs()


def scanned(faulty: bool) -> Model:
    """A scan over stacked layers, of which the fifth, layer 6 of the model, has weights twice as large."""
    first, *others = weights(uniform(2.0))
    stacked = jax.tree.map(lambda *a: jnp.stack(a), *others)
    stacked["w"] = stacked["w"].at[4].multiply(2.0 if faulty else 1.0)

    def f(params, x):
        def layer(z, p):
            return jax.checkpoint(affine)(p, jax.nn.relu(z)), None

        return jax.lax.scan(layer, affine(params["first"], x), params["stack"])[0]

    return f, {"first": first, "stack": stacked}, inputs()


CHANNELS, IMAGE, CONVOLUTIONS = 64, 8, 8


def convolutional(faulty: bool) -> Model:
    """Eight 3 × 3 convolutions with ReLU, of which the fifth has weights twice as large."""
    rng = np.random.default_rng(3)
    params = []
    for i in range(CONVOLUTIONS):
        n = 9 * (CHANNELS if i else 3)
        w = rng.normal(size=(3, 3, n // 9, CHANNELS)) * np.sqrt(2 / n) * (2.0 if faulty and i == 4 else 1.0)
        params.append(jnp.asarray(w, "float32"))

    def f(params, x):
        for i, w in enumerate(params):
            x = jax.nn.relu(x) if i else x
            x = jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return x

    x = jnp.asarray(rng.normal(size=(4, IMAGE, IMAGE, 3)), "float32")
    return f, params, x


class Case(NamedTuple):
    """A model with and without its fault, the kind of the fault, and the layer at fault."""

    make: Callable[[bool], Model]
    kind: str
    layer: int


CASES = (
    Case(gain, "gain", 6),
    Case(bias_variance, "bias variance", 2),
    Case(sigmoid, "ordered", 2),
    Case(softplus, "no critical point", 2),
    Case(residual, "exploding", 2),
    Case(normalized, "chaotic", 2),
    Case(overflow, "overflow", 5),
    Case(dead, "dead", 4),
    Case(nan, "nan", 5),
    Case(joined, "chaotic", 11),
    Case(scanned, "gain", 6),
    Case(convolutional, "gain", 5),
)
