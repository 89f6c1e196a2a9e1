"""V and G1 of residual, orthogonal and normalized networks: theory against networks that are drawn."""

import numpy as np
import pytest
import residual_networks as reference

import eft

DEPTH = 5
WIDTHS = (16, 32, 64)
EXTRAPOLATION = (1 / 3, -2.0, 8 / 3)
"""Weights of the three widths in the value at 1/n = 0 of the parabola in 1/n through them."""

NETWORKS, BLOCK = 100_000, 2_000
MORE_NETWORKS = 400_000
"""Where the control is harder to tell apart."""

STANDARD_ERRORS = 4.0
"""That theory may be off by in any layer, and that each control exceeds in one."""


def dot(a, b):
    """Means over neurons of a b."""
    return np.einsum("ki,ki->k", a, b) / a.shape[1]


def hermite(u, old, skip):
    """Means over neurons of functions of u ~ N(0, 1), drawn after `old`, whose mean is 0."""
    u2 = u * u
    u3 = u2 * u
    s2, s4 = dot(u, u) - 1, dot(u2, u2) - 3
    fields = [s2, dot(u2, u), s4 - 6 * s2, dot(u3, u3) - 15]
    if skip:
        old2 = old * old
        fields += [dot(u, old), dot(u * old, old2), dot(u2 - 1, old2), dot(u3, old) - 3 * dot(u, old)]
    return fields


def drawn(random, n, sigma, *, cw, cb, K1, skip=0.0, norm=None, weights="gaussian"):
    """For a block of networks: q = E[z_i²] of the next layer, given this one; and controls, of mean 0.

    (DEPTH − 1, BLOCK) each: the mean of q_i, that of E[z_i²z_j²] over i ≠ j; then (…, controls). No weights
    are drawn: for given z, h = Wσ is √(C_W⟨σ²⟩) u, or if W is orthogonal, √C_W ‖σ‖ u/‖u‖.
    """
    haar = weights == "orthogonal"
    u = random.normal(size=(BLOCK, n))
    z, controls, means, products = np.sqrt(K1) * u, hermite(u, u, False), [], []
    for _ in range(DEPTH - 1):
        unit = z - z.mean(1, keepdims=True) if norm == "layer" else z
        unit = unit / np.sqrt(dot(unit, unit))[:, None] if norm else unit
        active = sigma(unit)
        added = cw * dot(active, active)[:, None]
        q = skip**2 * z * z + cb + added
        pairs = (n * q.mean(1) ** 2 - dot(q, q)) / (n - 1)
        means.append(q.mean(1))
        products.append(pairs - 2 * added[:, 0] ** 2 / (n + 2) if haar else pairs)
        u, b = random.normal(size=(2, BLOCK, n)) if haar else (random.normal(size=(BLOCK, n)), 0.0)
        h = u * np.sqrt(added / dot(u, u)[:, None]) if haar else u * np.sqrt(added + cb)
        old, z = z, skip * z + h + np.sqrt(cb) * b
        controls += [dot(z, z) - means[-1]]
        if not haar:
            controls += hermite(u, old, skip)
    return np.array(means), np.array(products), np.array(controls)


def of_networks(name, seed, networks, **settings):
    """V and G1 of layers 2 … DEPTH at 1/n = 0, and their standard errors, by name."""
    sigma, _ = reference.SIGMAS[name]
    K = np.asarray(eft.kernel_flow(name, depth=DEPTH, **settings).K)[1:, None]
    found = {"V": [], "G1": []}
    for n in WIDTHS:
        random = np.random.default_rng((seed, n))
        blocks = [drawn(random, n, sigma, **settings) for _ in range(networks // BLOCK)]
        q, qq, controls = (np.concatenate(parts, -1) for parts in zip(*blocks, strict=True))
        controls = controls[controls.std(1) > 1e-9]
        centred = controls - controls.mean(1, keepdims=True)
        slopes = np.linalg.solve(centred @ centred.T, centred @ np.concatenate([q, qq]).T)
        q, qq = np.split(np.concatenate([q, qq]) - slopes.T @ controls, 2)
        mean = q.mean(1, keepdims=True)
        for field, rows in (("G1", n * (q - K)), ("V", n * (qq - 2 * mean * q + mean**2))):
            found[field].append((rows.mean(1), rows.std(1) / np.sqrt(rows.shape[1])))
    value = {k: sum(w * v for w, (v, _) in zip(EXTRAPOLATION, e, strict=True)) for k, e in found.items()}
    squares = {
        k: sum((w * s) ** 2 for w, (_, s) in zip(EXTRAPOLATION, e, strict=True)) for k, e in found.items()
    }
    error = {k: np.sqrt(square) for k, square in squares.items()}
    return value, error


def quartic(name, skip, cw, cb, K1):
    closure = reference.residual(name, (skip,) * (DEPTH - 1), cw, cb, K1)
    return {"V": closure.quartic_V, "G1": closure.quartic_G1}


def theory(name, **settings):
    return eft.kernel_flow(name, depth=DEPTH, **settings)._asdict()


def without_memory(name, skip, norm, cw, **settings):
    """V and G1 of a normalized network with skip, without memory: Σ γ^{4k}, Σ γ^{2k}."""
    one = eft.kernel_flow(name, cw, DEPTH, norm=norm, **settings)
    powers = [np.cumsum([0.0, *(skip ** (p * np.arange(DEPTH - 1)))]) for p in (4, 2)]
    return {"V": one.V[-1] * powers[0], "G1": one.G1[-1] * powers[1]}


RESIDUAL = {
    "gelu, growing": ("gelu", dict(skip=0.9, cw=0.9, cb=0.1, K1=1.5)),
    "tanh": ("tanh", dict(skip=0.8, cw=2.0, cb=0.0, K1=3.0)),
}
NORMALIZED = {
    "rms": ("tanh", dict(skip=0.0, norm="rms", cw=1.5, cb=0.1, K1=1.3)),
    "layer": ("gelu", dict(skip=0.0, norm="layer", cw=1.5, cb=0.1, K1=1.3)),
    "rms, skip 0.7": ("tanh", dict(skip=0.7, norm="rms", cw=1.5, cb=0.1, K1=1.3)),
    "rms, skip 1": ("tanh", dict(skip=1.0, norm="rms", cw=1.0, cb=0.0, K1=0.5)),
    "layer, skip 1": ("tanh", dict(skip=1.0, norm="layer", cw=1.0, cb=0.0, K1=0.5)),
    "layer, skip 0.7": ("gelu", dict(skip=0.7, norm="layer", cw=1.5, cb=0.1, K1=2.0)),
}
ORTHOGONAL = {
    "orthogonal": ("tanh", dict(skip=0.0, weights="orthogonal", cw=1.3, cb=0.1, K1=1.2)),
    "orthogonal, skip 0.8": ("gelu", dict(skip=0.8, weights="orthogonal", cw=0.7, cb=0.1, K1=1.2)),
}
CASES = RESIDUAL | NORMALIZED | ORTHOGONAL
HARD = {"tanh", "rms, skip 0.7", "rms, skip 1", "layer, skip 1"}


def controls_of(case):
    """What must be rejected: the closure in the metric, no memory, Gaussian weights; a plain network."""
    name, settings = CASES[case]
    if case in RESIDUAL:
        return quartic(name, **settings)
    if case in ORTHOGONAL:
        return theory(name, **(settings | {"weights": "gaussian"}))
    if settings["skip"]:
        return without_memory(name, **settings)
    return theory(name, **(settings | {"norm": None}))


@pytest.mark.more
@pytest.mark.parametrize("case", CASES)
def test_networks(case):
    """Within the standard errors in every layer; the control is not."""
    name, settings = CASES[case]
    value, error = of_networks(
        name, list(CASES).index(case), MORE_NETWORKS if case in HARD else NETWORKS, **settings
    )

    def deviations(predicted):
        return {k: np.abs(value[k] - np.asarray(predicted[k])[1:]) / error[k] for k in value}

    found = deviations(theory(name, **settings))
    assert max(np.max(d) for d in found.values()) < STANDARD_ERRORS, (value, error)
    control = deviations(controls_of(case))
    assert max(np.max(d) for d in control.values()) > STANDARD_ERRORS, control
