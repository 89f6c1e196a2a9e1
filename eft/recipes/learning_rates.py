"""Learning rates at infinite width: what each layer contributes to the NTK, and the largest stable step.

    Θ = Σ_l (λ_b^l + λ_W^l g^{l−1}) P_l,    P_l = Π_{l' = l}^{L−1} χ⊥^{l'},    g^0 = ‖x‖²/n₀

The rate of a weight of layer l is λ_W^l/n_{l−1} times the learning rate: plain parameters, as frameworks have
them, with one rate for all are λ_W^l = n_{l−1}, λ_b^l = 1.
"""

from typing import NamedTuple

import numpy as np

from eft.activations.analysis import sampler_of
from eft.activations.definition import Activation
from eft.arguments import ArgumentError
from eft.criticality.moment_grid import sampled
from eft.flows.gram import gram_flow
from eft.flows.kernel import KernelFlow
from eft.recipes.start import StartingPoint
from eft.records import METHODS

MAX_SAMPLES = 1024
"""Sample inputs of which the NTK is computed at all layers."""

ABSOLUTE_NODES = 4096
"""Nodes of the trapezoidal rule for ⟨|σ|⟩; even, so that no node falls on 0."""


class Contributions(NamedTuple):
    """∂Θ/∂λ of every layer, each (depth,): `weights` = g^{l−1} P_l, `biases` = P_l."""

    weights: np.ndarray
    biases: np.ndarray


class Rates(NamedTuple):
    """Learning rates for the loss L = mean over samples and outputs of ½(z^L − y)².

    `sgd`: the largest stable rate of gradient descent with one rate for all plain weights and biases,
        2/λ_max of the Hessian at infinite width.
    `adam`: the rate at which Adam's first step, η times the sign of each gradient, changes the output at one
        input by 1; nan with a skip or a normalization.
    `lambda_w`, `lambda_b`: (depth,) λ_W^l and λ_b^l with which each layer's weights, and each layer's biases,
        contribute 1/(2L) to Θ = 1.
    `weights`, `biases`: (depth,) the largest stable rate of gradient descent for each layer's plain weights
        and biases with these: η λ_W^l/n_{l−1} and η λ_b^l.
    `share`: (depth,) each layer's share of the NTK if one rate is used for all.
    """

    sgd: float
    adam: float
    lambda_w: np.ndarray
    lambda_b: np.ndarray
    weights: np.ndarray
    biases: np.ndarray
    share: np.ndarray

    __repr__, _repr_html_, table, to_xarray, to_pandas, plot = METHODS


def contributions(act: Activation, flow: KernelFlow, x2: float, norm: str | None) -> Contributions:
    """Those of one input of ‖x‖²/n₀ = `x2`."""
    K, chi = np.asarray(flow.K, float), np.asarray(flow.chi_perp, float)
    g = sampled(act, np.ones_like(K) if norm else K).g
    P = np.append(np.cumprod(chi[-2::-1])[::-1], 1.0)
    return Contributions(np.append(x2, g[:-1]) * P, P)


def rates(
    act: Activation,
    flow: KernelFlow,
    start: StartingPoint,
    fan_in: np.ndarray,
    x2: float,
    n_out: int,
    skip: float,
    norm: str | None,
    X: np.ndarray | None,
) -> Rates:
    """The rates for `n_out` outputs: of all samples `X`, (N, n₀), or of one input where that is None."""
    parts = contributions(act, flow, x2, norm)
    depth = len(fan_in)
    with np.errstate(all="ignore"):
        lambda_w, lambda_b = (1 / (2 * depth * part) for part in parts)
    plain = fan_in * parts.weights + parts.biases
    if X is None:
        largest, largest_equal = plain.sum(), 1.0
    else:
        layers = _layers(act, start, depth, X, x2, skip, norm)
        largest = _largest(layers, fan_in, np.ones(depth)) / len(X)
        largest_equal = _largest(layers, lambda_w, lambda_b) / len(X)
    eta = 2 * n_out / largest_equal
    plain_network = skip == 0 and norm is None
    return Rates(
        sgd=float(2 * n_out / largest),
        adam=1 / _gradient_size(act, flow.K, parts.biases, start.cw, fan_in, x2) if plain_network else np.nan,
        lambda_w=lambda_w,
        lambda_b=lambda_b,
        weights=eta * lambda_w / fan_in,
        biases=eta * lambda_b,
        share=plain / plain.sum(),
    )


def _layers(act, start: StartingPoint, depth: int, X: np.ndarray, x2: float, skip: float, norm: str | None):
    """∂Θ_αβ/∂λ_W^l and ∂Θ_αβ/∂λ_b^l of the samples, each (depth, N, N).

    With λ_W = 0 and λ_b = 1, Θ′ = 1 + χΘ for every pair of inputs, which gives the factor χ of each layer.
    """
    scale = np.sqrt((start.K1 - start.cb) / (start.cw * x2))
    setting = {"cb": start.cb, "lambda_w": 0.0, "lambda_b": 1.0, "norm": norm, "all_layers": True}
    flow = gram_flow(act, start.cw, depth, scale * X, skip=skip, readout=skip > 0, **setting)
    if not np.asarray(flow.valid).all():
        raise ArgumentError(
            "X must hold inputs whose kernels are known: they are not, for "
            f"{np.count_nonzero(~np.asarray(flow.valid))} of {flow.valid.size} pairs"
        )
    K, Theta = np.asarray(flow.K, float), np.asarray(flow.Theta, float)
    chi = (Theta[1:] - 1) / Theta[:-1]
    P = np.concatenate([np.cumprod(chi[::-1], axis=0)[::-1], np.ones_like(K[:1])])
    kept = np.full(depth - 1, skip**2)
    kept[-1:] = 0.0
    g = (K[1:] - start.cb - kept[:, None, None] * K[:-1]) / start.cw
    first = X @ X.T / X.shape[1]
    return np.concatenate([first[None], g]) * P, P


def _largest(layers: tuple[np.ndarray, np.ndarray], lambda_w: np.ndarray, lambda_b: np.ndarray) -> float:
    """The largest eigenvalue of Θ_αβ."""
    Theta = np.einsum("l,lab->ab", lambda_w, layers[0]) + np.einsum("l,lab->ab", lambda_b, layers[1])
    return float(np.linalg.eigvalsh(Theta)[-1])


def _gradient_size(act: Activation, K, P: np.ndarray, cw: float, fan_in: np.ndarray, x2: float) -> float:
    """Σ|∂z^L/∂θ| of one output of a plain network, whose gradients are Gaussian given σ′.

    Σ_i |∂z^L/∂z_i^l| = √(2 n_l C_W P_{l+1}/π) ⟨|σ′|⟩_{K^l},   Σ_j |σ(z_j^l)| = n_l ⟨|σ|⟩_{K^l}
    """
    absolute = np.array([_absolute(act, float(one)) for one in K[:-1]])
    width = fan_in[1:]
    back = np.append(np.sqrt(2 * width * cw * P[1:] / np.pi) * absolute[:, 1], 1.0)
    forward = np.append(fan_in[0] * np.sqrt(x2), width * absolute[:, 0])
    return float((back * (forward + 1)).sum())


def _absolute(act: Activation, K: float) -> tuple[float, float]:
    """⟨|σ|⟩_K and ⟨|σ′|⟩_K to four digits, by the trapezoidal rule, since |·| has kinks."""
    u, step = np.linspace(-9, 9, ABSOLUTE_NODES, retstep=True)
    weights = step * np.exp(-(u**2) / 2) / np.sqrt(2 * np.pi)
    value, slope = sampler_of(act)(np.sqrt(K) * u)[:2]
    return float(weights @ np.abs(value)), float(weights @ np.abs(np.nan_to_num(slope)))
