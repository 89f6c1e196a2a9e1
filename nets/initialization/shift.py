"""The shift of the mean NTK at finite width from that at infinite width, measured with little noise."""

import numpy as np

import eft
from eft.activations.catalogue import as_activation
from eft.arguments import ArgumentError
from eft.gaussian.expectation import Function
from nets.initialization.measurement import Measurement
from nets.statistics import estimators
from nets.statistics.estimators import Estimate


def ntk_shift(
    act: "str | eft.Activation | Function",
    cw: float,
    lambda_w: float,
    measured: Measurement,
    flow: eft.NTKFlow,
) -> Estimate:
    """n_{l−1}(E[Θ̂_ii^l] − Θ^l) of every layer, which tends to Theta1; fields of shape (depth,).

    At any width, exactly, given layer l−1,

        E[Ĝ^{l+1}] = C_b + C_W g(Ĝ),   E[H^{l+1}] = λ_b + λ_W g(Ĝ) + C_W [s(Ĝ) H + 2 s′(Ĝ) F̂/n_{l−1}],

    with g = ⟨σ²⟩, s = ⟨σ′²⟩, and Ĝ, H, F̂ of layer l. The parts of both that are linear in Ĝ − K and H − Θ
    propagate the shifts of the means; only the remainders, which are of second order, are averaged over
    networks.

    `measured`: by `nets.measure(..., ntk=True)`, without overflow. `flow`: `eft.ntk_flow` for the same.

    Raises ValueError if the measurement has no NTK, is not of plain networks, or networks overflowed.
    """
    if measured.ntk is None:
        raise ArgumentError("measured must have an NTK: nets.measure(..., ntk=True)")
    if measured.z2 is not None:
        raise ArgumentError("measured must be of plain networks, without skip, norm and orthogonal weights")
    if measured.n_overflowed.any():
        raise ArgumentError(f"measured must hold no network that overflowed; got {measured.n_overflowed}")
    act, n, ntk = as_activation(act), measured.widths, measured.ntk
    at, slope_at = eft.moments(act, flow.K), eft.slopes(act, flow.K)
    g, s = (np.asarray(a) for a in (at.g, slope_at.s))
    dg, ds = (np.asarray(a) for a in (at.dg, slope_at.ds))
    K, Theta = np.asarray(flow.K), np.asarray(flow.Theta)
    shift_G, shift_H = np.zeros((2, len(measured.G)))
    shifts = [shift_H]
    for i in range(len(K) - 1):
        G, H = measured.G[:, i], ntk.H[:, i]
        moments, slopes = eft.moments(act, G), eft.slopes(act, G)
        rest_g = np.asarray(moments.g) - g[i] - dg[i] * (G - K[i])
        rest_s = np.asarray(slopes.s) * H - s[i] * H - ds[i] * Theta[i] * (G - K[i])
        pairs = 2 * np.asarray(slopes.ds) * ntk.F_hat[:, i] / n[i]
        shift_H = (lambda_w * dg[i] + cw * ds[i] * Theta[i]) * shift_G + cw * s[i] * shift_H
        shift_H = shift_H + lambda_w * rest_g + cw * (rest_s + pairs)
        shift_G = cw * dg[i] * shift_G + cw * rest_g
        shifts.append(n[i + 1] * shift_H)
    return estimators.mean(np.stack(shifts, -1))
