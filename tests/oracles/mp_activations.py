"""Activations in mpmath, with σ′ and σ″, piece by piece between their kinks."""

from mpmath import mp, mpf


def sigmoid(z):
    """1 / (1 + e^-z)."""
    e = mp.exp(-abs(z))
    s, d = 1 / (1 + e), e / (1 + e) ** 2
    return (s, d, -d * (1 - e) * s) if z > 0 else (e * s, d, d * (1 - e) * s)


def tanh(z):
    """2 sigmoid(2z) - 1."""
    e, t = mp.exp(-2 * abs(z)), mp.tanh(z)
    d = 4 * e / (1 + e) ** 2
    return t, d, -2 * t * d


def softplus(z):
    """log(1 + e^z)."""
    s, d, _ = sigmoid(z)
    return max(z, mpf(0)) + mp.log1p(mp.exp(-abs(z))), s, d


def swish(z):
    """z sigmoid(z)."""
    s, d, d2 = sigmoid(z)
    return z * s, s + z * d, 2 * d + z * d2


def gelu(z):
    """z Phi(z)."""
    Phi, phi = mp.erfc(-z / mp.sqrt(2)) / 2, mp.exp(-z * z / 2) / mp.sqrt(2 * mp.pi)
    return z * Phi, Phi + z * phi, (2 - z * z) * phi


def erf(z):
    """(2 / sqrt pi) int_0^z e^-t^2 dt."""
    d = 2 * mp.exp(-z * z) / mp.sqrt(mp.pi)
    return mp.erf(z), d, -2 * z * d


def mish(z):
    """z tanh(softplus z) = z n / (n + 2), n = e^z (e^z + 2)."""
    e = mp.exp(z)
    n, n1, n2 = e * (e + 2), 2 * e * (e + 1), 2 * e * (2 * e + 1)
    m = n + 2
    t, t1, t2 = n / m, 2 * n1 / m**2, 2 * (n2 * m - 2 * n1 * n1) / m**3
    return z * t, t + z * t1, 2 * t1 + z * t2


def arctan(z):
    """arctan z."""
    d = 1 / (1 + z * z)
    return mp.atan(z), d, -2 * z * d * d


def softsign(z):
    """z / (1 + |z|)."""
    q = 1 / (1 + abs(z))
    return z * q, q**2, -2 * mp.sign(z) * q**3


def line(a, b=0):
    """a z + b."""
    a, b = mpf(a), mpf(b)
    return lambda z: (a * z + b, a, mpf(0))


def power(p):
    """z^p."""
    return lambda z: (z**p, p * z ** (p - 1), p * (p - 1) * z ** (p - 2))


def shifted_power(p):
    """z (z + 1)^p."""

    def piece(z):
        q = z + 1
        curvature = 2 * p * q ** (p - 1) + (p * (p - 1) * z * q ** (p - 2) if p > 1 else 0)
        return z * q**p, q**p + p * z * q ** (p - 1), curvature

    return piece


def exponential(a):
    """a (e^z - 1)."""
    return lambda z: (a * mp.expm1(z), a * mp.exp(z), a * mp.exp(z))


def tanh_ramp(c):
    """tanh(z) + (z - c)."""

    def piece(z):
        t, d, d2 = tanh(z)
        return t + z - c, d + 1, d2

    return piece


def shifted(c, piece):
    """piece(z − c)."""
    return lambda z: piece(z - c)


def sixth(z):
    """(z + 3) / 6."""
    return (z + 3) / 6, mpf(1) / 6, mpf(0)


def squareplus(z):
    """(z + sqrt(z^2 + 4)) / 2."""
    r = mp.sqrt(z * z + 4)
    return (z + r) / 2, (1 + z / r) / 2, 2 / r**3


def quick_gelu(z):
    """z sigmoid(1.702 z)."""
    b = mpf(1.702)
    s, d, d2 = sigmoid(b * z)
    return z * s, s + b * z * d, 2 * b * d + b * b * z * d2


def gelu_tanh(z):
    """z (1 + tanh y) / 2, y = sqrt(2 / pi) (z + 0.044715 z^3)."""
    a, b = mp.sqrt(2 / mp.pi), mpf(0.044715)
    y, y1, y2 = 2 * a * (z + b * z**3), 2 * a * (1 + 3 * b * z * z), 12 * a * b * z
    s, d, d2 = sigmoid(y)
    return z * s, s + z * d * y1, 2 * d * y1 + z * (d2 * y1**2 + d * y2)


def log_sigmoid(z):
    """-log(1 + e^-z)."""
    f, d, d2 = softplus(-z)
    return -f, d, -d2


def smooth(piece):
    """An activation without kinks."""
    return (), (piece,)


def kinked(c, left, right):
    """An activation with one kink c."""
    return (mpf(c),), (left, right)


SELU_ALPHA, SELU_SCALE = mpf(1.6732632423543772848170429916717), mpf(1.0507009873554804934193349852946)

# (kinks, pieces), pieces[i](z) = (sigma, sigma', sigma'') on the i-th interval between kinks.
ACTIVATIONS = {
    "perceptron": kinked(0, line(0, -1), line(0, 1)),
    "sigmoid": smooth(sigmoid),
    "tanh": smooth(tanh),
    "sin": smooth(lambda z: (mp.sin(z), mp.cos(z), -mp.sin(z))),
    "relu": kinked(0, line(0), line(1)),
    "leaky_relu": kinked(0, line(0.01), line(1)),
    "prelu": kinked(0, line(0.25), line(1)),
    "softplus": smooth(softplus),
    "swish": smooth(swish),
    "gelu": smooth(gelu),
    "elu": kinked(0, exponential(mpf(1)), line(1)),
    "selu": kinked(0, exponential(mp.fmul(SELU_ALPHA, SELU_SCALE, exact=True)), line(SELU_SCALE)),
    "erf": smooth(erf),
    "mish": smooth(mish),
    "softsign": kinked(0, softsign, softsign),
    "arctan": smooth(arctan),
    "hard_tanh": ((mpf(-1), mpf(1)), (line(0, -1), line(1), line(0, 1))),
    "linear": smooth(line(1)),
    "squared_relu": kinked(0, line(0), power(2)),
    "relu6": ((mpf(0), mpf(6)), (line(0), line(1), line(0, 6))),
    "hard_sigmoid": ((mpf(-3), mpf(3)), (line(0), sixth, line(0, 1))),
    "hard_swish": (
        (mpf(-3), mpf(3)),
        (line(0), lambda z: (z * (z + 3) / 6, (2 * z + 3) / 6, mpf(1) / 3), line(1)),
    ),
    "sparse_plus": (
        (mpf(-1), mpf(1)),
        (line(0), shifted(-1, lambda y: (y * y / 4, y / 2, mpf(0.5))), line(1)),
    ),
    "sparse_sigmoid": ((mpf(-1), mpf(1)), (line(0), line(0.5, 0.5), line(0, 1))),
    "celu": kinked(0, exponential(mpf(1)), line(1)),
    "squareplus": smooth(squareplus),
    "quick_gelu": smooth(quick_gelu),
    "gelu_tanh": smooth(gelu_tanh),
    "log_sigmoid": smooth(log_sigmoid),
    "repu_2": kinked(0, line(0), power(2)),
    "repu_3": kinked(0, line(0), power(3)),
    "mrepu_1": kinked(-1, line(0), shifted_power(1)),
    "mrepu_2": kinked(-1, line(0), shifted_power(2)),
    "mrepu_3": kinked(-1, line(0), shifted_power(3)),
    "user_kink_m1": kinked(-1, tanh, tanh_ramp(-1)),
    "user_kink_0p3": kinked(0.3, tanh, tanh_ramp(mpf(0.3))),
    "user_kink_1e3": kinked(1000, tanh, tanh_ramp(1000)),
}
