"""Activation functions as they are written in frameworks, papers and repositories.

Every function is the JAX code as it was found, with naive exponentials, unused branches and guards. The
exact values are computed independently, in NumPy, by `people_exact.py`.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import nn


class Person(NamedTuple):
    """One activation σ and where it is not smooth."""

    fn: Callable[[jax.Array], jax.Array]
    kinks: tuple[float, ...] = ()  # every point where a derivative of order ≤ 3 jumps or is singular
    centres: tuple[float, ...] = ()  # centres of structure far finer than 1: may be declared too
    lattice: float = 0.0  # kinks at all multiples of this: more than can be declared
    waves: bool = False  # structure on the scale 1 at every z, not only near 0
    exponential: bool = False  # grows like e^z

    @property
    def declared(self) -> tuple[float, ...]:
        return tuple(sorted({*self.kinks, *self.centres}))


def gelu_tanh(z):
    return 0.5 * z * (1 + jnp.tanh(jnp.sqrt(2 / jnp.pi) * (z + 0.044715 * z**3)))


def sinc(z):
    safe = jnp.where(z == 0, 1.0, z)
    return jnp.where(z == 0, 1.0, jnp.sin(safe) / safe)


def triangle(z):
    return jnp.abs(z % 2 - 1)


def cubic_spline(z):
    """The cubic B-spline on the knots −2 … 2."""
    a = jnp.abs(z)
    return jnp.where(a < 1, 2 / 3 - a**2 + a**3 / 2, jnp.where(a < 2, (2 - a) ** 3 / 6, 0.0))


def naive_tanh(z):
    return (jnp.exp(z) - jnp.exp(-z)) / (jnp.exp(z) + jnp.exp(-z))


def smoothstep(z):
    t = jnp.clip((z + 1) / 2, 0, 1)
    return t * t * (3 - 2 * t)


def elish(z):
    return jnp.where(z >= 0, z * nn.sigmoid(z), (jnp.exp(z) - 1) * nn.sigmoid(z))


def pelu(z, a=1.5, b=2.0):
    return jnp.where(z >= 0, a / b * z, a * (jnp.exp(z / b) - 1))


def sqnl(z):
    inner = jnp.where(z >= 0, z - z**2 / 4, z + z**2 / 4)
    return jnp.where(z > 2, 1.0, jnp.where(z < -2, -1.0, inner))


def srelu(z):
    return jnp.where(z >= 1, 1 + 0.2 * (z - 1), jnp.where(z <= -1, -1 + 0.1 * (z + 1), z))


def soft_shrink(z):
    return jnp.where(z > 0.5, z - 0.5, jnp.where(z < -0.5, z + 0.5, 0.0))


def dead_zone(z):
    return jnp.sign(z) * jnp.maximum(jnp.abs(z) - 0.25, 0)


MAXSIG = 0.6590460684074066
"""Where z = sigmoid(z)."""

PEOPLE = {
    # piecewise linear and polynomial
    "hard_swish": Person(lambda z: z * nn.relu6(z + 3) / 6, (-3.0, 3.0)),
    "hard_sigmoid": Person(lambda z: nn.relu6(z + 3) / 6, (-3.0, 3.0)),
    "keras_hard_sigmoid": Person(lambda z: jnp.clip(0.2 * z + 0.5, 0, 1), (-2.5, 2.5)),
    "relu6": Person(lambda z: jnp.minimum(jnp.maximum(z, 0), 6), (0.0, 6.0)),
    "squared_relu": Person(lambda z: nn.relu(z) ** 2, (0.0,)),
    "soft_shrink": Person(soft_shrink, (-0.5, 0.5)),
    "hard_shrink": Person(lambda z: jnp.where(jnp.abs(z) > 0.5, z, 0.0), (-0.5, 0.5)),
    "dead_zone": Person(dead_zone, (-0.25, 0.25)),
    "shifted_hard_tanh": Person(lambda z: jnp.clip(z + 1, 0, 2) - 1, (-1.0, 1.0)),
    "min_max_hard_tanh": Person(lambda z: jnp.minimum(jnp.maximum(z, -1), 1), (-1.0, 1.0)),
    "threshold_relu": Person(lambda z: jnp.where(z > 1, z, 0.0), (1.0,)),
    "rrelu_mean": Person(lambda z: jnp.where(z >= 0, z, z * (1 / 8 + 1 / 3) / 2), (0.0,)),
    "abs": Person(lambda z: jnp.maximum(z, 0) + jnp.maximum(-z, 0), (0.0,)),
    "srelu": Person(srelu, (-1.0, 1.0)),
    "smoothstep": Person(smoothstep, (-1.0, 1.0)),
    "sqnl": Person(sqnl, (-2.0, 0.0, 2.0)),
    "hard_mish": Person(lambda z: z / 2 * jnp.minimum(2, jnp.maximum(0, z + 2)), (-2.0, 0.0)),
    "hat": Person(lambda z: jnp.maximum(0, 1 - jnp.abs(z)), (-1.0, 0.0, 1.0)),
    "cubic_spline": Person(cubic_spline, (-2.0, -1.0, 0.0, 1.0, 2.0)),
    "far_relu": Person(lambda z: nn.relu(z - 5), (5.0,)),
    "tiny_shift_relu": Person(lambda z: nn.relu(z - 1e-6), (1e-6,)),
    "half_square": Person(lambda z: z**2 / 2 + z),
    "hermite_3": Person(lambda z: z**3 - 3 * z),
    # jumps
    "step": Person(lambda z: jnp.where(z > 0, 1.0, 0.0), (0.0,)),
    "stairs": Person(lambda z: sum(jnp.where(z > c, 1.0, 0.0) for c in (-1, 0, 1)), (-1.0, 0.0, 1.0)),
    "sign_beyond": Person(lambda z: jnp.sign(z - 1.1), (1.1,)),
    "flip": Person(lambda z: jnp.where(z < 1.1, z, -z), (1.1,)),
    "shifted_step": Person(lambda z: jnp.where(z + 3 > 6, 1.0, 0.0), (3.0,)),
    "sine_relu": Person(lambda z: jnp.where(z > 0, z, 0.1 * (jnp.sin(z) - jnp.cos(z))), (0.0,), waves=True),
    "floor": Person(jnp.floor, lattice=1.0),
    "round": Person(jnp.round, lattice=0.5),
    "sawtooth": Person(lambda z: z - jnp.floor(z), lattice=1.0),
    "triangle": Person(triangle, lattice=1.0),
    # powers, roots, logarithms
    "power_1.5": Person(lambda z: jnp.sign(z) * jnp.abs(z) ** 1.5, (0.0,)),
    "signed_sqrt": Person(lambda z: jnp.sign(z) * jnp.sqrt(jnp.abs(z)), (0.0,)),
    "relu_1.5": Person(lambda z: jnp.maximum(z, 0) ** 1.5, (0.0,)),
    "abs_1.5_beyond": Person(lambda z: jnp.abs(z - 1) ** 1.5, (1.0,)),
    "cube_root": Person(jnp.cbrt, (0.0,)),
    "symlog": Person(lambda z: jnp.sign(z) * jnp.log1p(jnp.abs(z)), (0.0,)),
    "log_relu": Person(lambda z: jnp.log(1 + nn.relu(z)), (0.0,)),
    "asinh": Person(jnp.arcsinh),
    "masked_log": Person(lambda z: jnp.where(z > 0, jnp.log(z), 0.0), (0.0,)),
    "masked_sqrt": Person(lambda z: jnp.where(z > 0, jnp.sqrt(z), 0.0), (0.0,)),
    "masked_inverse": Person(lambda z: jnp.where(z > 0, z / (1 + jnp.sqrt(z)), 0.0), (0.0,)),
    "bent_identity": Person(lambda z: (jnp.sqrt(z**2 + 1) - 1) / 2 + z),
    "squareplus": Person(lambda z: (z + jnp.sqrt(z**2 + 4)) / 2),
    "isru": Person(lambda z: z / jnp.sqrt(1 + z**2)),
    "isrlu": Person(lambda z: jnp.where(z < 0, z / jnp.sqrt(1 + z**2), z), (0.0,)),
    "softsign": Person(lambda z: z / (jnp.abs(z) + 1), (0.0,)),
    "elliott": Person(lambda z: 0.5 * z / (1 + jnp.abs(z)) + 0.5, (0.0,)),
    "rational": Person(lambda z: (0.02 + 0.5 * z + 1.5 * z**2 + 1.2 * z**3) / (1 + z**2)),
    "cauchy": Person(lambda z: 1 / (1 + z**2)),
    "inverse_multiquadric": Person(lambda z: 1 / jnp.sqrt(1 + z**2)),
    # exponentials
    "exp": Person(jnp.exp, exponential=True),
    "gaussian": Person(lambda z: jnp.exp(-(z**2))),
    "mexican_hat": Person(lambda z: (1 - z**2) * jnp.exp(-(z**2) / 2)),
    "morlet": Person(lambda z: jnp.cos(5 * z) * jnp.exp(-(z**2) / 2)),
    "celu": Person(lambda z: jnp.where(z > 0, z, 2 * jnp.expm1(z / 2)), (0.0,)),
    "pelu": Person(pelu, (0.0,)),
    "naive_sigmoid": Person(lambda z: 1 / (1 + jnp.exp(-z))),
    "naive_swish": Person(lambda z: z / (1 + jnp.exp(-z))),
    "naive_softplus": Person(lambda z: jnp.log(1 + jnp.exp(z))),
    "naive_tanh": Person(naive_tanh),
    "naive_mish": Person(lambda z: z * jnp.tanh(jnp.log(1 + jnp.exp(z)))),
    "shifted_softplus": Person(lambda z: jnp.logaddexp(z, 0.0) - jnp.log(2.0)),
    "swish_1.702": Person(lambda z: z / (1 + jnp.exp(-1.702 * z))),
    "quick_gelu": Person(lambda z: z * nn.sigmoid(1.702 * z)),
    "gelu_tanh": Person(gelu_tanh),
    "lecun_tanh": Person(lambda z: 1.7159 * jnp.tanh(2 * z / 3)),
    "tanh_shrink": Person(lambda z: z - jnp.tanh(z)),
    "lisht": Person(lambda z: z * jnp.tanh(z)),
    "steep_tanh": Person(lambda z: jnp.tanh(1e4 * (z - 1.1)), centres=(1.1,)),
    "steep_sigmoid": Person(lambda z: nn.sigmoid(10 * (z - 0.5))),
    "maxsig": Person(lambda z: jnp.maximum(z, nn.sigmoid(z)), (MAXSIG,)),
    "elish": Person(elish, (0.0,)),
    "aria": Person(lambda z: z * (1 + jnp.exp(-2 * z)) ** -1.5),
    "logish": Person(lambda z: z * jnp.log(1 + nn.sigmoid(z))),
    "smish": Person(lambda z: z * jnp.tanh(jnp.log1p(nn.sigmoid(z)))),
    "serf": Person(lambda z: z * jax.scipy.special.erf(jnp.log(1 + jnp.exp(z)))),
    "phish": Person(lambda z: z * jnp.tanh(nn.gelu(z, approximate=False))),
    "tanhexp": Person(lambda z: z * jnp.tanh(jnp.exp(z))),
    "cloglog": Person(lambda z: 1 - jnp.exp(-jnp.exp(z))),
    "gish": Person(lambda z: z * jnp.log(2 - jnp.exp(-jnp.exp(z)))),
    # waves
    "snake": Person(lambda z: z + jnp.sin(z) ** 2, waves=True),
    "snake_5": Person(lambda z: z + jnp.sin(5 * z) ** 2 / 5, waves=True),
    "sinlu": Person(lambda z: (z + jnp.sin(z)) * nn.sigmoid(z), waves=True),
    "gcu": Person(lambda z: z * jnp.cos(z), waves=True),
    "sinc": Person(sinc, waves=True),
    "cos": Person(jnp.cos, waves=True),
    "fourier_features": Person(lambda z: sum(jnp.sin(k * z) / k for k in (1, 2, 3)), waves=True),
    "relu_cos": Person(lambda z: nn.relu(z) + jnp.cos(z), (0.0,), waves=True),
}
