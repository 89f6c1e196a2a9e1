"""The residual of Burgers' equation, of a network as a function of x and t."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from eft.activations.definition import Activation
from eft.arguments import ArgumentError
from nets.network.fcn import FCN
from nets.network.observables import value_and_slope
from nets.paper import burgers

PART = 2000
"""Number of points whose derivatives are computed at a time on a CPU, over all networks."""

ACCELERATED_PART = 2**20
"""The same on an accelerator, where a part is read from memory once per layer anyway."""


class Jet(NamedTuple):
    """The output of a network at inputs (x, t) and its derivatives, (m,) each."""

    u: jax.Array
    u_x: jax.Array
    u_t: jax.Array
    u_xx: jax.Array


def jet(net: FCN, points: jax.Array) -> Jet:
    """u, u_x, u_t, u_xx of a network with one output, in one forward pass.

        z → Wσ(z) + b,   z_x → Wσ′z_x,   z_t → Wσ′z_t,   z_xx → W(σ″z_x² + σ′z_xx)

    `points`: (m, 2), x and t.
    """
    z, z_x, z_t = _first_layer(net, points)
    z_xx = jnp.zeros_like(z)
    for layer in range(1, len(net.layers)):
        s, ds, dds = _derivatives(net.act, z)
        z, z_x, z_t, z_xx = net.linear(layer, jnp.stack([s, ds * z_x, ds * z_t, dds * z_x**2 + ds * z_xx]))
        z = net.shifted(layer, z)
    return Jet(z[:, 0], z_x[:, 0], z_t[:, 0], z_xx[:, 0])


def _first_layer(net: FCN, points: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """z¹ at the points and its derivatives with respect to x and t, the rows of W¹."""
    if net.skip is not None or net.norm is not None:
        raise ArgumentError("net must have neither skip nor norm, whose derivatives are not propagated here")
    z = net.propagate(0, points)
    rows = net.linear(0, jnp.eye(2, dtype=z.dtype))
    return z, jnp.broadcast_to(rows[0], z.shape), jnp.broadcast_to(rows[1], z.shape)


def _derivatives(act: Activation, z: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """σ, σ′, σ″, by forward-over-forward differentiation."""
    one = jnp.ones_like(z)
    (s, ds), (_, dds) = jax.jvp(lambda z: value_and_slope(act, z), (z,), (one,))
    return s, ds, dds


class Points(NamedTuple):
    """The points where the equation and where the boundary values are imposed.

    `interior`: (n, 2) x and t. `boundary`: (m, 2). `values`: (m,) u there.
    """

    interior: np.ndarray
    boundary: np.ndarray
    values: np.ndarray


def draw_points(interior: int, boundary: int, seed: int) -> Points:
    """Uniform: the interior in [−1, 1] × [0, 1]; half of the boundary at t = 0, a quarter each at x = ±1."""
    rng = np.random.default_rng(seed)
    inside = rng.uniform((-1, 0), (1, 1), (interior, 2))
    edge = rng.uniform((-1, 0), (1, 1), (boundary, 2))
    start = boundary - 2 * (boundary // 4)
    edge[:start, 1] = 0
    edge[start:, 0] = np.where(np.arange(boundary - start) % 2, 1.0, -1.0)
    return Points(inside, edge, np.where(np.arange(boundary) < start, -np.sin(np.pi * edge[:, 0]), 0.0))


def residuals(net: FCN, points: Any, viscosity: float = burgers.VISCOSITY) -> jax.Array:
    """u_t + uu_x − νu_xx at (m, 2) points, in one forward pass.

        z → Wσ(z) + b,   z_x → Wσ′z_x,   w → W(σ′w − νσ″z_x²)   for w = z_t − νz_xx

    The equation is linear in u_t and u_xx, so only their combination w is propagated through the layers.
    """
    z, z_x, w = _first_layer(net, points)
    for layer in range(1, len(net.layers)):
        s, ds, dds = _derivatives(net.act, z)
        z, z_x, w = (
            net.affine(layer, s),
            net.linear(layer, ds * z_x),
            net.linear(layer, ds * w - viscosity * dds * z_x**2),
        )
    return (w + z * z_x)[:, 0]


def losses(net: FCN, points: Any, viscosity: float = burgers.VISCOSITY) -> tuple[jax.Array, jax.Array]:
    """(residual, boundary): mean squares of u_t + uu_x − νu_xx, and of u − its value, at `Points`."""
    return jnp.mean(residuals(net, points.interior, viscosity) ** 2), _boundary_loss(net, points)


def _boundary_loss(net: FCN, points: Any) -> jax.Array:
    return jnp.mean((net(points.boundary)[:, 0] - points.values) ** 2)


def gradient(net: FCN, points: Any, viscosity: float = burgers.VISCOSITY, part: int = PART) -> FCN:
    """The gradient of the sum of both losses with respect to the parameters, part by part of the interior.

    The data of a part stay in the cache of a CPU; those of all points would be read from memory once per
    layer.
    """
    interior, whole = jnp.asarray(points.interior), len(points.interior)
    count = -(-whole // part)
    size = -(-whole // count)
    rows = jnp.arange(count * size).reshape(count, size)  # those beyond the last point have weight 0

    def of_part(i, total):
        inside, weight = interior[rows[i] % whole], jnp.where(rows[i] < whole, 1 / whole, 0.0)

        def loss(net):
            return jnp.sum(weight.astype(inside.dtype) * residuals(net, inside, viscosity) ** 2)

        return jax.tree.map(jnp.add, total, jax.grad(loss)(net))

    return lax.fori_loop(0, count, of_part, jax.grad(lambda net: _boundary_loss(net, points))(net))
