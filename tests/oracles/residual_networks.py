"""Residual networks at order 1/n by another route than `eft`, in NumPy.

For two neurons i ≠ j, F = σ², with functionals A_0[f] = ½⟨f″⟩ of the layer and A_p[f] = Cov(F(z^p), f) of
every earlier layer p,

    n Cov(f(z_i), h(z_j)) = Σ_pq c_pq A_p[f] A_q[h]
    n (E f(z) − ⟨f⟩) = m_0 A_0[f] + Σ_p m_p A_p[½f″] + m_4 ⅛⟨f⁗⟩

and likewise n E[Θ̂_ij²] = Σ b_pq α_p α_q and n E[z_i z_j Θ̂_ij] = Σ φ_pq β_p β_q. `eft` propagates sums of
these with vectors; here whole matrices are kept. Expectations at two layers are sums at
Gauss–Legendre nodes, split at 0.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from scipy.special import erf

REACH = 10.0
"""Standard deviations at which Gaussians are cut off: e^{−50}."""


def _panels(edges: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss–Legendre nodes between neighbouring edges, (…, E), with the Gaussian in the weights."""
    x, w = np.polynomial.legendre.leggauss(count)
    half, middle = np.diff(edges)[..., None] / 2, (edges[..., 1:, None] + edges[..., :-1, None]) / 2
    nodes = middle + half * x
    weights = half * w * np.exp(-(nodes**2) / 2) / np.sqrt(2 * np.pi)
    return nodes.reshape(*edges.shape[:-1], -1), weights.reshape(*edges.shape[:-1], -1)


X, W = _panels(np.array([-REACH, 0.0, REACH]), 200)


def _gelu_slope(z):
    return (1 + erf(z / np.sqrt(2))) / 2 + z * np.exp(-z * z / 2) / np.sqrt(2 * np.pi)


SIGMAS: dict[str, tuple[Callable, Callable]] = {
    "tanh": (np.tanh, lambda z: 1 / np.cosh(z) ** 2),
    "gelu": (lambda z: z * (1 + erf(z / np.sqrt(2))) / 2, _gelu_slope),
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0) * 1.0),
    "abs": (np.abs, np.sign),
}
"""σ and σ′; kinks only at 0."""


def mean(f: Callable, K: float, order: int = 0) -> float:
    """⟨f⟩_K, or its first or second derivative in K, by parts."""
    hermite = (1.0, X**2 - 1, X**4 - 6 * X**2 + 3)[order]
    return np.sum(W * f(np.sqrt(K) * X) * hermite) / (2 * K) ** order


class TwoLayers(NamedTuple):
    value: float  # ⟨f(z_p) h(z)⟩
    slope: float  # ⟨f(z_p) h′(z)⟩
    bent: float  # ⟨f(z_p) ½h″(z)⟩


def two_layers(f: Callable, h: Callable, K_p: float, K: float, carry: float) -> TwoLayers:
    """z = Γz_p + √(K − Γ²K_p) y, with the integral over y split where z = 0."""
    z_p, root = np.sqrt(K_p) * X, np.sqrt(K - carry**2 * K_p)
    cut = np.clip(-carry * z_p / root, -REACH, REACH)
    y, w = _panels(np.stack([np.full_like(cut, -REACH), cut, np.full_like(cut, REACH)], -1), 120)
    values = w * h(carry * z_p[:, None] + root * y)
    hermite = values, values * y / root, values * (y**2 - 1) / (2 * root**2)
    return TwoLayers(*((W * f(z_p)) @ each.sum(1) for each in hermite))


class Residual(NamedTuple):
    """Each of shape (L,). `quartic_V`, `quartic_G1`: of the closure in the metric alone."""

    K: np.ndarray
    V: np.ndarray
    G1: np.ndarray
    B: np.ndarray
    F: np.ndarray
    quartic_V: np.ndarray
    quartic_G1: np.ndarray


def residual(
    name: str, skips: Sequence[float], cw: float, cb: float, K1: float, *, without: str = "",
    lambda_w: float = 0.7, lambda_b: float = 0.3,
) -> Residual:  # fmt: skip
    """Layers 1 … L = len(skips) + 1, with γ of each step.

    `without`: what is left out, as a control: "m_4"; "transposed", what makes c, b and φ symmetric;
    "memory", the terms of a new index, c_0l, m_l, b_l0 and φ_l0.
    """
    sigma, slope = SIGMAS[name]
    F, S, u = (lambda z: sigma(z) ** 2), (lambda z: slope(z) ** 2), (lambda z: sigma(z) * slope(z))
    new = 0.0 if without == "memory" else 1.0

    def symmetric(half):
        return half if without == "transposed" else half + half.T

    K, Theta, carries = [K1], lambda_b + lambda_w * (K1 - cb) / cw, []  # Γ to the current layer
    c, m, m4, b, phi = np.zeros((1, 1)), np.zeros(1), 0.0, np.zeros((1, 1)), np.zeros((1, 1))
    V, G1, records = 0.0, 0.0, [(K1, *6 * (0.0,))]
    for gamma in skips:
        now, past = K[-1], list(zip(K[:-1], carries, strict=True))
        g, dg, d2g, s = mean(F, now), mean(F, now, 1), mean(F, now, 2), mean(S, now)
        var = mean(lambda z: F(z) ** 2, now) - g**2
        layers = [two_layers(lambda z, K=K_p: F(z) - mean(F, K), F, K_p, now, k) for K_p, k in past]
        a = np.array([dg, *(of.value for of in layers)])
        bent = np.array([d2g, *(of.bent for of in layers)])
        of_S = np.array([s, *(two_layers(S, S, K_p, now, k).value for K_p, k in past)])
        of_u = np.array([dg, *(two_layers(u, u, K_p, now, k).value for K_p, k in past)])

        fresh = cw**2 * (var + a @ c @ a)
        M = m[0] * dg + m[1:] @ bent[1:] + (0.0 if without == "m_4" else m4 * d2g / 2)
        m4 = gamma**4 * m4 + fresh + 2 * cw * gamma**2 * (c @ a)[0]
        m = gamma**2 * m + cw * np.array([M, *(c @ a)[1:]])
        m = np.append(m, new * cw)

        c = _next(c, np.array([gamma**2, *np.ones(len(past))]), cw, cw * new, a, fresh, symmetric)
        b = _next(
            b, np.ones(len(a)), gamma**2 * cw, gamma**2 * cw * Theta**2 * new, of_S,
            cw**2 * (mean(lambda z: S(z) ** 2, now) * Theta**2 + of_S @ b @ of_S), symmetric, outer=gamma**2,
        )  # fmt: skip
        phi = _next(
            phi, np.array([gamma, *np.ones(len(past))]), gamma * cw, gamma * cw * Theta * new, of_u,
            cw**2 * (mean(lambda z: F(z) * S(z), now) * Theta + of_u @ phi @ of_u), symmetric, outer=gamma,
        )  # fmt: skip

        chi = gamma**2 + cw * dg
        V, G1 = cw**2 * var + 4 * gamma**2 * now**2 * cw * dg + chi**2 * V, chi * G1 + cw * d2g * V / 2
        Theta = lambda_b + lambda_w * g + (gamma**2 + cw * s) * Theta
        carries = [k * gamma for k in carries] + [gamma]
        memory = [(k, K_p, mean(F, K_p, 1), mean(S, K_p)) for k, K_p in zip(carries, K, strict=True)]
        K.append(gamma**2 * now + cb + cw * g)
        A = np.array([1.0, *(2 * k**2 * K_p**2 * dg for k, K_p, dg, _ in memory)])
        alpha = np.array([1.0, *(s for *_, s in memory)])
        beta = np.array([1.0, *(k * K_p * dg for k, K_p, dg, _ in memory)])
        records.append((K[-1], A @ c @ A, m[0], alpha @ b @ alpha, beta @ phi @ beta, V, G1))
    return Residual(*np.array(records).T)


def _next(c, factors, cw, new, a, fresh, symmetric, *, outer=1.0):
    """c′_pq = o² f_p f_q c_pq, c′_0p = C_W f_p (c a)_p, c′_0l = `new`, transposed; c′_00 has `fresh` too."""
    n = len(c)
    after, half = np.zeros((n + 1, n + 1)), np.zeros((n + 1, n + 1))
    after[:n, :n] = outer**2 * np.outer(factors, factors) * c
    half[0, :n], half[0, n] = cw * factors * (c @ a), new
    after += symmetric(half)
    after[0, 0] += fresh
    return after


def even_quadratic(
    skip: float, cw: float, cb: float, K1: float, depth: int, haar: bool = False
) -> np.ndarray:
    """V of σ = z or |z|, to 1e-11, from the exact moments of a network of width 10¹³ in rational numbers.

    With p = E[z_i²z_j²], q = E[z_i⁴] and s = (1/n) Σ z², h = Wσ has E h_i⁴ = 3 E h_i²h_j² = 3C_W² E[s²]
    (times n/(n + 2) if W is orthogonal, where Σ h² is fixed).
    """
    n = 10**13
    gamma, cw_, cb_, K = (Fraction(a) for a in (skip, cw, cb, K1))
    share = Fraction(n, n + 2) if haar else Fraction(1)
    p, q, V = K**2, 3 * K**2, []
    for _ in range(depth):
        V.append(float(n * (p - K**2)))
        s2 = (q + (n - 1) * p) / n
        added = share * cw_**2 * s2 + 2 * cb_ * cw_ * K + cb_**2
        mixed = gamma**2 * (cb_ * K + cw_ * s2)
        p, q = gamma**4 * p + 2 * mixed + added, gamma**4 * q + 6 * mixed + 3 * added
        K = gamma**2 * K + cb_ + cw_ * K
    return np.array(V)
