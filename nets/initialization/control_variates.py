"""K and V of an ensemble with control variates: far smaller errors, from the networks that were drawn anyway.

Given layer l of a plain network, Ĝ^{l+1} − C_b is the mean of n_l independent numbers C_W σ(z)². Its moments,
given Ĝ^l, are therefore Gaussian expectations of one variable, which are known. With φ(x) = (x, x²) of
x^l = (Ĝ^l − c_l)/s_l,

    D^{l+1} = A^l D^l + φ(x^{l+1}) − E[φ(x^{l+1}) | Ĝ^l],   D¹ = 0

has mean 0 whatever the numbers c, s and matrices A are. So the mean of φ(x^l) − D^l over networks is an
unbiased estimate of E[φ(x^l)], and it hardly fluctuates if A^l φ(x^l) is close to E[φ(x^{l+1}) | Ĝ^l] up to a
constant. The numbers c, s, A for one half of the networks are fitted to the other half, so that they do not
depend on what they are used for. (With x³ too, errors are ten times smaller again, but so heavy-tailed that a
thousand networks do not tell how large they are.)

Only the distribution of Ĝ^l comes from the networks, so that their rounding in float32 moves K and V
by no more than a small part of itself.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from eft.gaussian.sources import evaluated, source_for
from eft.records import METHODS
from nets.network.architecture import Architecture, Settings
from nets.statistics import estimators
from nets.statistics.estimators import Estimate

FEWEST = 200
"""The smallest number of networks. With fewer the errors are too small."""

AT_ONCE = 2**14
"""Networks whose expectations are computed at a time."""


class ControlledMeasurement(NamedTuple):
    """K and V of a plain network with control variates; arrays and estimates have shape (depth,).

    `K`: E[Ĝ^l]. `V`: n_{l−1} Var(Ĝ^l). Both are unbiased at this width. Layer 2, before which nothing
    fluctuates, is exact. nan from the first layer on at which a Ĝ is not finite. The errors contain the
    accuracy of the expectations of one layer, 1e-12 for the catalogued activations.

    `K_gain`, `V_gain`: by which factor the networks would have to be more for the same standard error without
    control variates; inf if there is no error here, nan where nothing fluctuates.

    mean ± 1.96 stderr covers 90 to 96 % with 200 networks or more, and 86 to 92 % if Ĝ fluctuates by as much
    as half of itself.

    `K_each`, `V_each`: (n_nets, depth) numbers of each network whose means are K and V; they tell how the
    errors of the layers are correlated.

    `innovation`: the mean over networks of Ĝ^l − E[Ĝ^l | Ĝ^{l−1}], which is 0 up to its error. K and V take
    the expectations of one layer as known, and test how layers compose; here the networks test these
    expectations, to the accuracy that they have without control variates.
    """

    K: Estimate
    V: Estimate
    K_gain: np.ndarray
    V_gain: np.ndarray
    innovation: Estimate
    K_each: np.ndarray
    V_each: np.ndarray

    __repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS


class Conditional(NamedTuple):
    """Ĝ^{l+1} given Ĝ^l, for every network, (n_nets,), or numbers.

    `error`: the relative error of both.
    """

    mean: Any
    variance: Any
    error: Any


def result_bytes(n_nets: int, depth: int) -> int:
    """Bytes of what is stored for every network, and of the working memory for one layer."""
    return 8 * n_nets * (2 * depth + 32)


def statistics(architecture: Architecture, settings: Settings, G: np.ndarray) -> ControlledMeasurement:
    """The measurement from Ĝ of every network, (n_nets, depth)."""
    with jax.enable_x64(True), np.errstate(all="ignore"):
        conditionals = _conditionals(architecture, settings, G)
        N, depth = G.shape
        first, second = np.arange(0, N, 2), np.arange(1, N, 2)
        halves = _Half(first, second), _Half(second, first)
        K, V, innovation = (Estimate(np.full(depth, np.nan), np.full(depth, np.inf)) for _ in range(3))
        K_each, V_each = np.full((2, N, depth), np.nan)
        for layer, given in enumerate(conditionals):
            if given is None:
                seen = Estimate(np.zeros(()), np.zeros(()))
            else:
                seen = estimators.mean(G[:, layer] - given.mean)
            r = float(G[:, layer].mean())
            k, q, bias = np.empty(N), np.empty(N), np.zeros(2)
            for half in halves:
                k[half.mine], q[half.mine], doubt = half.next(G, layer, r, given)
                bias = np.maximum(bias, doubt)
            found, of_each = _mean_and_variance(k, q, bias)
            K_each[:, layer], V_each[:, layer] = r + k, of_each
            for kept, (mean, stderr) in zip((K, V, innovation), (*found, seen), strict=True):
                kept.mean[layer], kept.stderr[layer] = mean, stderr
            K.mean[layer] += r
        gains = _gain(estimators.mean(G), K), _gain(estimators.variance(G), V)
    n = np.array(architecture.sizes[:-1])
    return ControlledMeasurement(K, estimators.scaled(V, n), *gains, innovation, K_each, n * V_each)


def _gain(plain: Estimate, controlled: Estimate) -> np.ndarray:
    told = np.isfinite(controlled.stderr) & (plain.stderr > 0)
    return np.where(told, (plain.stderr / controlled.stderr) ** 2, np.nan)


# --- given the layer before ---------------------------------------------------------------------


def _conditionals(
    architecture: Architecture, settings: Settings, G: np.ndarray
) -> Iterator[Conditional | None]:
    """Ĝ^l given Ĝ^{l−1} for l = 1, 2, …, as long as all Ĝ are finite; None for l = 1."""
    source = source_for(architecture.act, np.dtype(np.float64), G.size)
    cw, cb = float(settings.cw), float(settings.cb)
    size = min(len(G), AT_ONCE)
    for layer in range(G.shape[1]):
        if not np.isfinite(G[:, layer]).all():
            return
        if layer == 0:
            yield None
            continue
        parts = []
        for start in range(0, len(G), size):
            K = G[start : start + size, layer - 1]
            m = evaluated(source, jnp.asarray(np.pad(K, (0, size - len(K)), mode="edge")))
            parts.append([np.asarray(a)[: len(K)] for a in (m.g, m.var, m.error)])
        g, variance, error = (np.concatenate(column) for column in zip(*parts, strict=True))
        yield Conditional(cb + cw * g, cw**2 * variance / architecture.sizes[layer], error)


# --- control variates ---------------------------------------------------------------------------


class _Half:
    """The control variates of the networks `mine`, fitted to the networks `other`.

    `D`: (networks, 2). `doubt`: (2,) a bound on the bias of φ − D by the errors of the expectations. `scale`:
    c, s of the layer reached.
    """

    def __init__(self, mine: np.ndarray, other: np.ndarray):
        self.mine, self.other = mine, other
        self.D, self.doubt = np.zeros((len(mine), 2)), np.zeros(2)
        self.scale = np.float64(0), np.float64(1)

    def next(self, G: np.ndarray, layer: int, r: float, given: Conditional | None) -> tuple[np.ndarray, ...]:
        """Goes on to the layer: numbers whose means are E[Ĝ − r] and E[(Ĝ − r)²], and their bias."""
        before, self.scale = self.scale, _scale(G[self.other, layer])
        c, s = self.scale
        phi = _powers((G[self.mine, layer] - c) / s)
        if given is not None:
            expected, off = self._expected(given)
            x = (G[:, layer - 1] - before[0]) / before[1]
            A = _slopes(_powers(x[self.other]), expected[self.other])
            self.D = self.D @ A.T + phi - expected[self.mine]
            self.doubt = abs(A) @ self.doubt + off
        (y, y2), (of_y, of_y2), d = (phi - self.D).T, self.doubt, c - r
        bias = np.array([s * of_y, s * s * of_y2 + 2 * s * abs(d) * of_y])
        return d + s * y, s * s * y2 + 2 * s * d * y + d * d, bias

    def _expected(self, given: Conditional) -> tuple[np.ndarray, np.ndarray]:
        """E[φ(x) | layer before] of all networks, and the mean size of its errors."""
        c, s = self.scale
        mu, v = (given.mean - c) / s, given.variance / s**2
        off = given.error * abs(given.mean) / s
        return np.stack([mu, mu**2 + v], -1), np.mean([off, 2 * abs(mu) * off + given.error * v], -1)


def _powers(x: np.ndarray) -> np.ndarray:
    """φ(x)."""
    return np.stack([x, x * x], -1)


def _scale(G: np.ndarray) -> tuple[np.float64, np.float64]:
    """Mean and standard deviation, or 1 if that is 0."""
    return G.mean(), G.std() or np.float64(1)


def _slopes(phi: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """A of the least squares of expected − Aφ − constant."""
    phi, expected = phi - phi.mean(0), expected - expected.mean(0)
    return np.linalg.lstsq(phi.T @ phi, phi.T @ expected)[0].T


def _mean_and_variance(
    k: np.ndarray, q: np.ndarray, bias: np.ndarray
) -> tuple[tuple[Estimate, Estimate], np.ndarray]:
    """E[Ĝ − r] and Var(Ĝ) from numbers whose means are E[Ĝ − r] and E[(Ĝ − r)²] up to a bias of that size.

    Var(Ĝ) = E[(Ĝ − r)²] − E[Ĝ − r]², where the square of the mean of k is too large by that mean's variance.
    Also numbers whose mean is this variance.
    """
    mean = estimators.mean(k)
    of_each = q - 2 * mean.mean * k + mean.mean**2 + mean.stderr**2
    variance, of_V = estimators.mean(of_each), bias[1] + 2 * abs(mean.mean) * bias[0]
    estimates = (
        Estimate(mean.mean, np.hypot(mean.stderr, bias[0])),
        Estimate(variance.mean, np.hypot(variance.stderr, of_V)),
    )
    return estimates, of_each
