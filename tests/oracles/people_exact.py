"""σ and σ′ of the functions in `people_functions.py` in NumPy: numerically stable, in any precision.

They hold away from the kinks. Constants that the JAX code rounds to float64 are the same float64 numbers.
"""

import numpy as np
from people_functions import MAXSIG


def where(condition, left, right):
    """np.where of functions or constants, each evaluated only where it is selected."""

    def f(z):
        out, inside = np.empty_like(z), condition(z)
        for side, branch in ((inside, left), (~inside, right)):
            out[side] = branch(z[side]) if callable(branch) else branch
        return out

    return f


def pieces(*parts):
    """pieces(f0, c1, f1, c2, f2, …): f0 below c1, f1 from there to c2, …"""
    first, *rest = parts
    if not rest:
        return first if callable(first) else lambda z: np.full_like(z, first)
    return where(lambda z: z < rest[0], first, pieces(*rest[1:]))


def positive(f):
    """f for z > 0, else 0."""
    return pieces(0, 0, f)


def identity(z):
    return z


def line(a, b=0):
    return lambda z: a * z + b


def sigmoid(z):
    e = np.exp(-np.abs(z))
    return np.where(z > 0, 1, e) / (1 + e)


def bell(z):
    """sigmoid′ = sigmoid(z) sigmoid(−z)."""
    e = np.exp(-np.abs(z))
    return e / (1 + e) ** 2


def softplus(z):
    return np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))


def sech2(z):
    return 4 * bell(2 * z)


def erf(z):
    """2/√π · z e^{−z²} Σ (2z²)ᵏ/(2k+1)!!: all terms of one sign."""
    y = np.minimum(np.abs(z), 7)
    term = total = np.ones_like(z)
    for k in range(1, 320):
        term = term * 2 * y * y / (2 * k + 1)
        total = total + term
    return np.sign(z) * 2 / np.sqrt(np.arccos(np.full_like(z, -1))) * y * np.exp(-y * y) * total


def erf_slope(z):
    return 2 / np.sqrt(np.arccos(np.full_like(z, -1))) * np.exp(-z * z)


def times_z(f, f1):
    """z f(z) and its slope."""
    return lambda z: z * f(z), lambda z: f(z) + z * f1(z)


def of(f, f1, y, y1):
    """f(y(z)) and its slope."""
    return lambda z: f(y(z)), lambda z: f1(y(z)) * y1(z)


def root2(z):
    return np.sqrt(np.full_like(z, 2))


def gelu(z):
    return z * (1 + erf(z / root2(z))) / 2


def gelu_slope(z):
    return (1 + erf(z / root2(z)) + z * erf_slope(z / root2(z)) / root2(z)) / 2


def tanh_gelu_argument(z):
    return np.sqrt(2 / np.arccos(np.full_like(z, -1))) * (z + 0.044715 * z**3)


def tanh_gelu_argument_slope(z):
    return np.sqrt(2 / np.arccos(np.full_like(z, -1))) * (1 + 3 * 0.044715 * z**2)


def tanh_gelu(z):
    return z * sigmoid(2 * tanh_gelu_argument(z))


def tanh_gelu_slope(z):
    y = 2 * tanh_gelu_argument(z)
    return sigmoid(y) + z * bell(y) * 2 * tanh_gelu_argument_slope(z)


def capped_exp(z):
    """e^z, capped where the expressions that use it have reached their limits."""
    return np.exp(np.minimum(z, 50))


def log_two_minus(z):
    """log(2 − e^{−e^z})."""
    return np.log1p(-np.expm1(-capped_exp(z)))


def log_two_minus_slope(z):
    e = capped_exp(z)
    return e * np.exp(-e) / (1 - np.expm1(-e))


def rational_slope(z):
    top, bottom = 0.02 + 0.5 * z + 1.5 * z**2 + 1.2 * z**3, 1 + z**2
    return (0.5 + 3 * z + 3.6 * z**2) / bottom - 2 * z * top / bottom**2


def sinc_slope(z):
    near = np.abs(z) < 0.5
    y = np.where(near, 1, z)
    term, total, x = -z / 3, -z / 3, np.where(near, z, 0)
    for k in range(2, 16):
        # sinc′ = Σ (−1)ᵏ 2k z^{2k−1}/(2k+1)!
        term = -term * x * x * k / (k - 1) / ((2 * k + 1) * (2 * k))
        total = total + term
    return np.where(near, total, (np.cos(y) - np.sin(y) / y) / y)


def tanh_shrink(z):
    """z − tanh z; near 0 as (z cosh z − sinh z)/cosh z, the numerator being Σ 2k z^{2k+1}/(2k+1)!."""
    near = np.abs(z) < 0.5
    y = np.where(near, z, 0)
    term = total = y**3 / 3
    for k in range(2, 16):
        term = term * y * y * k / (k - 1) / ((2 * k + 1) * (2 * k))
        total = total + term
    return np.where(near, total / np.cosh(y), z - np.tanh(z))


def spline(z):
    a = np.abs(z)
    return np.where(a < 1, np.full_like(z, 2) / 3 - a**2 + a**3 / 2, np.maximum(2 - a, 0) ** 3 / 6)


def spline_slope(z):
    a = np.abs(z)
    return np.sign(z) * np.where(a < 1, 1.5 * a * a - 2 * a, -(np.maximum(2 - a, 0) ** 2) / 2)


def clipped(a, b, low, high):
    """clip(a z + b) between its values at low and high."""
    return pieces(a * low + b, low, line(a, b), high, a * high + b), pieces(0, low, a, high, 0)


def _root_of(z):
    return np.sqrt(1 + z * z)


def _third(z):
    return np.full_like(z, 1) / 3


_RRELU = (1 / 8 + 1 / 3) / 2

EXACT = {
    "hard_swish": (
        pieces(0, -3, lambda z: z * (z + 3) / 6, 3, identity),
        pieces(0, -3, lambda z: (2 * z + 3) / 6, 3, 1),
    ),
    "hard_sigmoid": (
        pieces(0, -3, lambda z: (z + 3) / 6, 3, 1),
        pieces(0, -3, lambda z: _third(z) / 2, 3, 0),
    ),
    "keras_hard_sigmoid": (
        pieces(0, -2.5, lambda z: 0.2 * z + 0.5, 2.5, 1),
        pieces(0, -2.5, 0.2, 2.5, 0),
    ),
    "relu6": clipped(1, 0, 0, 6),
    "squared_relu": (positive(lambda z: z * z), positive(line(2))),
    "soft_shrink": (pieces(line(1, 0.5), -0.5, 0, 0.5, line(1, -0.5)), pieces(1, -0.5, 0, 0.5, 1)),
    "hard_shrink": (pieces(identity, -0.5, 0, 0.5, identity), pieces(1, -0.5, 0, 0.5, 1)),
    "dead_zone": (pieces(line(1, 0.25), -0.25, 0, 0.25, line(1, -0.25)), pieces(1, -0.25, 0, 0.25, 1)),
    "shifted_hard_tanh": clipped(1, 0, -1, 1),
    "min_max_hard_tanh": clipped(1, 0, -1, 1),
    "threshold_relu": (pieces(0, 1, identity), pieces(0, 1, 1)),
    "rrelu_mean": (pieces(line(_RRELU), 0, identity), pieces(_RRELU, 0, 1)),
    "abs": (np.abs, np.sign),
    "srelu": (
        pieces(lambda z: -1 + 0.1 * (z + 1), -1, identity, 1, lambda z: 1 + 0.2 * (z - 1)),
        pieces(0.1, -1, 1, 1, 0.2),
    ),
    "smoothstep": (
        pieces(0, -1, lambda z: (z + 1) ** 2 * (2 - z) / 4, 1, 1),
        pieces(0, -1, lambda z: 3 * (1 - z) * (1 + z) / 4, 1, 0),
    ),
    "sqnl": (
        pieces(-1, -2, lambda z: z * (1 + z / 4), 0, lambda z: z * (1 - z / 4), 2, 1),
        pieces(0, -2, lambda z: 1 - np.abs(z) / 2, 2, 0),
    ),
    "hard_mish": (pieces(0, -2, lambda z: z * (z + 2) / 2, 0, identity), pieces(0, -2, line(1, 1), 0, 1)),
    "hat": (lambda z: np.maximum(0, 1 - np.abs(z)), lambda z: np.where(np.abs(z) < 1, -np.sign(z), 0)),
    "cubic_spline": (spline, spline_slope),
    "far_relu": (pieces(0, 5, line(1, -5)), pieces(0, 5, 1)),
    "tiny_shift_relu": (pieces(0, 1e-6, line(1, -1e-6)), pieces(0, 1e-6, 1)),
    "half_square": (lambda z: z * (z / 2 + 1), line(1, 1)),
    "hermite_3": (lambda z: z * (z * z - 3), lambda z: 3 * (z * z - 1)),
    "step": (positive(1), positive(0)),
    "stairs": (pieces(0, -1, 1, 0, 2, 1, 3), line(0)),
    "sign_beyond": (pieces(-1, 1.1, 1), line(0)),
    "flip": (pieces(identity, 1.1, line(-1)), pieces(1, 1.1, -1)),
    "shifted_step": (pieces(0, 3, 1), line(0)),
    "sine_relu": (
        pieces(lambda z: 0.1 * (np.sin(z) - np.cos(z)), 0, identity),
        pieces(lambda z: 0.1 * (np.cos(z) + np.sin(z)), 0, 1),
    ),
    "floor": (np.floor, line(0)),
    "round": (np.rint, line(0)),
    "sawtooth": (lambda z: z - np.floor(z), line(0, 1)),
    "triangle": (
        lambda z: np.abs(z - 2 * np.floor(z / 2) - 1),
        lambda z: np.sign(z - 2 * np.floor(z / 2) - 1),
    ),
    "power_1.5": (lambda z: np.sign(z) * np.abs(z) ** 1.5, lambda z: 1.5 * np.sqrt(np.abs(z))),
    "signed_sqrt": (lambda z: np.sign(z) * np.sqrt(np.abs(z)), lambda z: 0.5 / np.sqrt(np.abs(z))),
    "relu_1.5": (positive(lambda z: z * np.sqrt(z)), positive(lambda z: 1.5 * np.sqrt(z))),
    "abs_1.5_beyond": (
        lambda z: np.abs(z - 1) ** 1.5,
        lambda z: 1.5 * np.sign(z - 1) * np.sqrt(np.abs(z - 1)),
    ),
    "cube_root": (np.cbrt, lambda z: _third(z) / np.cbrt(z) ** 2),
    "symlog": (lambda z: np.sign(z) * np.log1p(np.abs(z)), lambda z: 1 / (1 + np.abs(z))),
    "log_relu": (positive(np.log1p), positive(lambda z: 1 / (1 + z))),
    "asinh": (np.arcsinh, lambda z: 1 / _root_of(z)),
    "masked_log": (positive(np.log), positive(lambda z: 1 / z)),
    "masked_sqrt": (positive(np.sqrt), positive(lambda z: 0.5 / np.sqrt(z))),
    "masked_inverse": (
        positive(lambda z: z / (1 + np.sqrt(z))),
        positive(lambda z: (1 + np.sqrt(z) / 2) / (1 + np.sqrt(z)) ** 2),
    ),
    "bent_identity": (lambda z: z * z / (1 + _root_of(z)) / 2 + z, lambda z: z / _root_of(z) / 2 + 1),
    "squareplus": (
        pieces(lambda z: 2 / (np.sqrt(z * z + 4) - z), 0, lambda z: (z + np.sqrt(z * z + 4)) / 2),
        pieces(
            lambda z: 2 / (np.sqrt(z * z + 4) - z) / np.sqrt(z * z + 4),
            0,
            lambda z: (1 + z / np.sqrt(z * z + 4)) / 2,
        ),
    ),
    "isru": (lambda z: z / _root_of(z), lambda z: 1 / _root_of(z) ** 3),
    "isrlu": (
        pieces(lambda z: z / _root_of(z), 0, identity),
        pieces(lambda z: 1 / _root_of(z) ** 3, 0, 1),
    ),
    "softsign": (lambda z: z / (1 + np.abs(z)), lambda z: 1 / (1 + np.abs(z)) ** 2),
    "elliott": (lambda z: (z / (1 + np.abs(z)) + 1) / 2, lambda z: 0.5 / (1 + np.abs(z)) ** 2),
    "rational": (lambda z: (0.02 + z * (0.5 + z * (1.5 + 1.2 * z))) / (1 + z * z), rational_slope),
    "cauchy": (lambda z: 1 / (1 + z * z), lambda z: -2 * z / (1 + z * z) ** 2),
    "inverse_multiquadric": (lambda z: 1 / _root_of(z), lambda z: -z / _root_of(z) ** 3),
    "exp": (np.exp, np.exp),
    "gaussian": (lambda z: np.exp(-z * z), lambda z: -2 * z * np.exp(-z * z)),
    "mexican_hat": (
        lambda z: (1 - z * z) * np.exp(-z * z / 2),
        lambda z: z * (z * z - 3) * np.exp(-z * z / 2),
    ),
    "morlet": (
        lambda z: np.cos(5 * z) * np.exp(-z * z / 2),
        lambda z: -(5 * np.sin(5 * z) + z * np.cos(5 * z)) * np.exp(-z * z / 2),
    ),
    "celu": (pieces(lambda z: 2 * np.expm1(z / 2), 0, identity), pieces(lambda z: np.exp(z / 2), 0, 1)),
    "pelu": (
        pieces(lambda z: 1.5 * np.expm1(z / 2), 0, line(0.75)),
        pieces(lambda z: 0.75 * np.exp(z / 2), 0, 0.75),
    ),
    "naive_sigmoid": (sigmoid, bell),
    "naive_swish": times_z(sigmoid, bell),
    "naive_softplus": (softplus, sigmoid),
    "naive_tanh": (np.tanh, sech2),
    "naive_mish": times_z(*of(np.tanh, sech2, softplus, sigmoid)),
    "shifted_softplus": (
        # log((1+e^z)/2) = z/2 + log cosh(z/2)
        lambda z: z / 2 + np.abs(z) / 2 + np.log1p(np.expm1(-np.abs(z)) / 2),
        sigmoid,
    ),
    "swish_1.702": times_z(lambda z: sigmoid(1.702 * z), lambda z: 1.702 * bell(1.702 * z)),
    "quick_gelu": times_z(lambda z: sigmoid(1.702 * z), lambda z: 1.702 * bell(1.702 * z)),
    "gelu_tanh": (tanh_gelu, tanh_gelu_slope),
    "lecun_tanh": (
        lambda z: 1.7159 * np.tanh(2 * z / 3),
        lambda z: 1.7159 * sech2(2 * z / 3) * 2 * _third(z),
    ),
    "tanh_shrink": (tanh_shrink, lambda z: np.tanh(z) ** 2),
    "lisht": times_z(np.tanh, sech2),
    "steep_tanh": (lambda z: np.tanh(1e4 * (z - 1.1)), lambda z: 1e4 * sech2(1e4 * (z - 1.1))),
    "steep_sigmoid": (lambda z: sigmoid(10 * (z - 0.5)), lambda z: 10 * bell(10 * (z - 0.5))),
    "maxsig": (pieces(sigmoid, MAXSIG, identity), pieces(bell, MAXSIG, 1)),
    "elish": (
        pieces(lambda z: np.expm1(z) * sigmoid(z), 0, lambda z: z * sigmoid(z)),
        pieces(
            lambda z: np.exp(z) * sigmoid(z) + np.expm1(z) * bell(z),
            0,
            lambda z: sigmoid(z) + z * bell(z),
        ),
    ),
    "aria": times_z(lambda z: sigmoid(2 * z) ** 1.5, lambda z: 3 * np.sqrt(sigmoid(2 * z)) * bell(2 * z)),
    "logish": times_z(*of(np.log1p, lambda y: 1 / (1 + y), sigmoid, bell)),
    "smish": times_z(*of(np.tanh, sech2, *of(np.log1p, lambda y: 1 / (1 + y), sigmoid, bell))),
    "serf": times_z(*of(erf, erf_slope, softplus, sigmoid)),
    "phish": times_z(*of(np.tanh, sech2, gelu, gelu_slope)),
    "tanhexp": times_z(*of(np.tanh, sech2, capped_exp, capped_exp)),
    "cloglog": (lambda z: -np.expm1(-capped_exp(z)), lambda z: np.exp(np.minimum(z, 50) - capped_exp(z))),
    "gish": times_z(log_two_minus, log_two_minus_slope),
    "snake": (lambda z: z + np.sin(z) ** 2, lambda z: 1 + np.sin(2 * z)),
    "snake_5": (lambda z: z + np.sin(5 * z) ** 2 / 5, lambda z: 1 + np.sin(10 * z)),
    "sinlu": (
        lambda z: (z + np.sin(z)) * sigmoid(z),
        lambda z: (1 + np.cos(z)) * sigmoid(z) + (z + np.sin(z)) * bell(z),
    ),
    "gcu": (lambda z: z * np.cos(z), lambda z: np.cos(z) - z * np.sin(z)),
    "sinc": (lambda z: np.sin(z) / z, sinc_slope),
    "cos": (np.cos, lambda z: -np.sin(z)),
    "fourier_features": (
        lambda z: np.sin(z) + np.sin(2 * z) / 2 + np.sin(3 * z) / 3,
        lambda z: np.cos(z) + np.cos(2 * z) + np.cos(3 * z),
    ),
    "relu_cos": (
        lambda z: np.maximum(z, 0) + np.cos(z),
        lambda z: np.where(z > 0, 1, 0) - np.sin(z),
    ),
}
"""name → (σ, σ′)"""
