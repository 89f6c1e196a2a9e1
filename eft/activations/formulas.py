"""σ, σ′, σ″, σ‴, σ⁗ of the named activations, as functions of an array; at a kink, those of one side.

They are written so that no digits cancel, and that nothing overflows unless σ does.
"""

import math

import jax
import jax.numpy as jnp

from eft.activations.derivatives import leibniz


def tanh(z):
    t, e = jnp.tanh(z), jnp.exp(-2 * jnp.abs(z))
    t1 = 4 * e / (1 + e) ** 2
    t2 = -2 * t * t1
    t3 = -2 * (t1 * t1 + t * t2)
    return t, t1, t2, t3, -2 * (3 * t1 * t2 + t * t3)


def sigmoid(z):
    s, r = jax.nn.sigmoid(z), jax.nn.sigmoid(-z)
    s1 = s * r
    s2 = s1 * (r - s)
    s3 = s1 * (1 - 6 * s1)
    return s, s1, s2, s3, s2 * (1 - 12 * s1)


def softplus(z):
    return jax.nn.softplus(z), *sigmoid(z)[:4]


def gauss(z):
    """φ = e^{−z²/2}/√2π and its first three derivatives."""
    p = jnp.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return p, -z * p, (z * z - 1) * p, (3 - z * z) * z * p


def identity(z):
    zero = jnp.zeros_like(z)
    return z, jnp.ones_like(z), zero, zero, zero


def swish(z):
    return leibniz(identity(z), sigmoid(z))


def gelu(z):
    return leibniz(identity(z), (jax.scipy.stats.norm.cdf(z), *gauss(z)))


def erf(z):
    y = math.sqrt(2) * z
    return jax.lax.erf(z), *(2 * math.sqrt(2) ** k * d for k, d in enumerate(gauss(y), start=1))


def elu(z, alpha=1.0, scale=1.0):
    y = jnp.minimum(z, 0.0)
    e, zero = scale * alpha * jnp.exp(y), jnp.zeros_like(z)
    value = jnp.where(z > 0, scale * z, scale * alpha * jnp.expm1(y))
    return value, jnp.where(z > 0, jnp.asarray(scale, z.dtype), e), *(3 * (jnp.where(z > 0, zero, e),))


def softsign(z):
    r = 1 / (1 + jnp.abs(z))
    side = jnp.where(z < 0, -1.0, 1.0).astype(z.dtype)
    return z * r, r**2, -2 * side * r**3, 6 * r**4, -24 * side * r**5


def arctan(z):
    r = 1 / (1 + z * z)
    return (
        jnp.arctan(z),
        r,
        -2 * z * r**2,
        (6 * z * z - 2) * r**3,
        24 * z * (1 - z * z) * r**4,
    )


def piecewise(z, kinks, pieces):
    """Polynomials Σ aₖ(z − c)ᵏ between the kinks, each given as (c, (a₀, a₁, …)), from left to right."""
    orders = []
    for k in range(5):
        values = [_polynomial(z - c, _differentiated(a, k)) for c, a in pieces]
        value = values[0]
        for kink, right in zip(kinks, values[1:], strict=True):
            value = jnp.where(z > kink, right, value)
        orders.append(value)
    return tuple(orders)


def _differentiated(a, times):
    return tuple(math.perm(k, times) * a[k] for k in range(times, len(a)))


def _polynomial(y, a):
    value = jnp.zeros_like(y)
    for coefficient in reversed(a):
        value = value * y + coefficient
    return value


def sine(z, w):
    s, c = jnp.sin(w * z), jnp.cos(w * z)
    return s, w * c, -(w**2) * s, -(w**3) * c, w**4 * s


def snake(z, a):
    """z + sin²(az)/a, with derivatives from sin 2az and cos 2az."""
    s, c = jnp.sin(2 * a * z), jnp.cos(2 * a * z)
    value = z + jnp.sin(a * z) ** 2 / a
    return value, 1 + s, 2 * a * c, -4 * a * a * s, -8 * a**3 * c


def celu(z, alpha):
    """z for z > 0, α(e^{z/α} − 1) for z < 0."""
    y = jnp.minimum(z, 0.0) / alpha
    e, zero = jnp.exp(y), jnp.zeros_like(z)
    value = jnp.where(z > 0, z, alpha * jnp.expm1(y))
    slopes = (jnp.where(z > 0, zero, e / alpha**k) for k in (1, 2, 3))
    return value, jnp.where(z > 0, jnp.ones_like(z), e), *slopes


def quick_gelu(z):
    """z sigmoid(1.702 z)."""
    b = 1.702
    return leibniz(identity(z), tuple(b**k * s for k, s in enumerate(sigmoid(b * z))))


def gelu_tanh(z):
    """z sigmoid(2y), y = √(2/π)(z + 0.044715 z³), which is z (1 + tanh y)/2."""
    b = 2 * math.sqrt(2 / math.pi)
    y = (
        b * (z + 0.044715 * z**3),
        b * (1 + 3 * 0.044715 * z * z),
        b * 6 * 0.044715 * z,
        jnp.full_like(z, b * 6 * 0.044715),
    )
    return leibniz(identity(z), composed(sigmoid(y[0]), y[1:]))


def composed(f, y):
    """f(y(z)) from f, f′, …, f⁗ at y and from y′, y″, y‴, with y⁗ = 0 (Faà di Bruno)."""
    f0, f1, f2, f3, f4 = f
    y1, y2, y3 = y
    return (
        f0,
        f1 * y1,
        f2 * y1**2 + f1 * y2,
        f3 * y1**3 + 3 * f2 * y1 * y2 + f1 * y3,
        f4 * y1**4 + 6 * f3 * y1**2 * y2 + f2 * (3 * y2**2 + 4 * y1 * y3),
    )


def log_sigmoid(z):
    """−softplus(−z)."""
    return tuple(-((-1) ** k) * s for k, s in enumerate(softplus(-z)))


def squareplus(z, b):
    """(z + r)/2 with r = √(z² + b); computed as b/2(r − z) for z < 0, where the sum would cancel."""
    r = jnp.sqrt(z * z + b)
    far = r + jnp.abs(z)
    value = jnp.where(z > 0, far, b / far) / 2
    slope = value / r
    return (
        value,
        slope,
        b / (2 * r**3),
        -3 * b * z / (2 * r**5),
        3 * b * (4 * z * z - b) / (2 * r**7),
    )
