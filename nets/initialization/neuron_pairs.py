"""Two neurons i ≠ j of a layer, averaged exactly over the weights of that layer, given the layer before.

In a plain network they are independent, N(0, Ĝ) both. In one with skip each has its own mean γz_i, and the
elements of an orthogonal matrix are not independent:

    E[z_i²]     = γ²K̂ + Ĝ                       (mean over i, K̂ of the layer before)
    E[z_i²z_j²] = mean over i ≠ j of (γ²z_i² + Ĝ)(γ²z_j² + Ĝ)  −  2(Ĝ − C_b)²/(m + 2)

with m = max(n_in, n), and the last term for orthogonal weights only. With several inputs,

    E[z_i1 z_i2 z_j3 z_j4] = mean over i ≠ j of (γ²z_i1 z_i2 + Ĝ_12)(γ²z_j3 z_j4 + Ĝ_34)
                             + [2g_12 g_34 − m(g_13 g_24 + g_14 g_23)]/((m − 1)(m + 2)),   g = Ĝ − C_b.

The *excess* is E[z_i²]² − E[z_i²z_j²]: what is subtracted from the variance of E[z_i²] over networks to leave
the connected part.
"""

import numpy as np

from nets.network.architecture import Architecture, Settings


def means(architecture: Architecture, settings: Settings, G: np.ndarray) -> np.ndarray:
    """M^l = γ²M^{l−1} + Ĝ^l, whose mean over networks is E[z_i²], like that of `second_moments`.

    It fluctuates less, since it contains E[z_i²] of the layer before given that before it, in place of K̂.
    """
    M = np.array(G)
    for layer in range(2, architecture.depth + 1):
        if architecture.skips(layer):
            M[:, layer - 1] += settings.skip**2 * M[:, layer - 2]
    return M


def second_moments(
    architecture: Architecture, settings: Settings, G: np.ndarray, K_hat: np.ndarray
) -> np.ndarray:
    """E[z_i²] of every network and layer, (n_nets, depth); with several inputs (n_nets, depth, n_D, n_D)."""
    z2 = np.array(G)
    for layer in range(2, architecture.depth + 1):
        if architecture.skips(layer):
            z2[:, layer - 1] += settings.skip**2 * K_hat[:, layer - 2]
    return z2


def excess(
    architecture: Architecture, settings: Settings, G: np.ndarray, K_hat: np.ndarray, shape: np.ndarray
) -> np.ndarray:
    """The excess of every network and layer, (n_nets, depth); 0 at layer 1, which is Gaussian."""
    of = np.zeros_like(G)
    for layer in range(2, architecture.depth + 1):
        n_in, n = architecture.sizes[layer - 1 : layer + 1]
        if architecture.skips(layer):
            spread = K_hat[:, layer - 2] ** 2 * (shape[:, layer - 2] - 1)  # of z_i² over the neurons
            of[:, layer - 1] += settings.skip**4 * spread / (n - 1)
        if architecture.weights == "orthogonal":
            of[:, layer - 1] += 2 * (G[:, layer - 1] - settings.cb) ** 2 / (max(n_in, n) + 2)
    return of


def gram_excess(
    architecture: Architecture, settings: Settings, layer: int, G: np.ndarray, spread: np.ndarray | None
) -> np.ndarray:
    """The excess at the pairs (12), (34) of inputs, (n_nets, P, P), of layer l = `layer` ≥ 2.

    `G`: of that layer, (n_nets, n_D, n_D). `spread`: `pair_spread` of the layer before, if there is a skip.
    """
    n_in, n = architecture.sizes[layer - 1 : layer + 1]
    a, b = np.triu_indices(G.shape[-1])
    of = np.zeros((len(G), len(a), len(a)))
    if spread is not None and architecture.skips(layer):
        of += settings.skip**4 * spread / (n - 1)
    if architecture.weights == "orthogonal":
        g, m = G - settings.cb, max(n_in, n)
        pairs = g[:, a, b]
        crossed = g[:, a[:, None], a] * g[:, b[:, None], b] + g[:, a[:, None], b] * g[:, b[:, None], a]
        of += (m * crossed - 2 * pairs[:, :, None] * pairs[:, None]) / ((m - 1) * (m + 2))
    return of
