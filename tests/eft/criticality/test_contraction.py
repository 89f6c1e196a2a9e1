"""With a skip γ < 1 critical points, phases and powers of the depth are those of the plain network."""

import numpy as np
import pytest

import eft
from eft.criticality.contraction import contractions
from eft.criticality.phases import EXPLODING
from eft.flows import kernel
from eft.flows.block import checked_block

EXACT = 1e-12
GAMMA = 0.8
SHARE = 0.36  # 1 − γ²


def diagonal(act, cw, depth, *, skip, **start):
    """K, χ∥ and χ⊥ alone, which need no memory of the layers before."""
    return kernel.diagonal(act, cw, depth, *checked_block(skip, None, "gaussian", False), **start)


def literal_tanh(cw, gamma, depth, K=1.0):
    """K and log K_perp of a tanh network, K_perp′ = χ⊥K_perp, by Gauss–Hermite."""
    x, w = np.polynomial.hermite_e.hermegauss(60)
    w = w / np.sqrt(2 * np.pi)
    sizes, logs = [K], [0.0]
    for _ in range(depth - 1):
        square = np.tanh(np.sqrt(K) * x) ** 2
        logs.append(logs[-1] + np.log(gamma**2 + cw * (w @ (1 - square) ** 2)))
        K = gamma**2 * K + cw * (w @ square)
        sizes.append(K)
    return np.array(sizes), np.array(logs)


@pytest.mark.parametrize("name", ["tanh", "elu", "mrepu", "gelu", "swish", "relu", "sigmoid", "perceptron"])
def test_classes(name):
    """K*, exponents and basins are kept; C_W, C_b and the coefficients are 1 − γ² times the plain ones."""
    plain, found = eft.classify(name), eft.classify(name, skip=GAMMA)
    assert (found.kind, found.stability, len(found.candidates)) == (
        plain.kind,
        plain.stability,
        len(plain.candidates),
    )
    for p, q in zip(plain.candidates, found.candidates, strict=True):
        assert (q.K, q.basin, q.error) == (p.K, p.basin, p.error)
        np.testing.assert_array_equal((q.exponent_K, q.exponent_K2), (p.exponent_K, p.exponent_K2))
        for field in ("cw", "cb", "a", "b", "a1", "b1", "c"):
            np.testing.assert_allclose(getattr(q, field), SHARE * getattr(p, field), rtol=EXACT)
    point = eft.critical_point(name, skip=GAMMA)
    assert (point is None) == (not plain.candidates)
    if point is not None:
        flow = diagonal(name, point.cw, 2, cb=point.cb, K1=point.K or 1e-12, skip=GAMMA)
        tolerance = 1e-5 if point.K == 0 else EXACT
        np.testing.assert_allclose(flow.K[1], flow.K[0], rtol=tolerance)
        np.testing.assert_allclose((flow.chi_parallel[0], flow.chi_perp[0]), 1, rtol=tolerance)
        off = diagonal(name, point.cw * 1.01, 2, cb=point.cb, K1=point.K or 1e-12, skip=GAMMA)
        assert abs(off.chi_perp[0] - 1) > 1e-3


def test_words_have_the_numbers_of_the_skip():
    assert eft.classify("tanh", skip=GAMMA).advice.startswith("C_W = 0.36, C_b = 0")
    assert "a₁ = -0.72" in eft.classify("tanh", skip=GAMMA).reason
    assert "C_W = 5.76 and C_b = -1.44" in eft.classify("sigmoid", skip=GAMMA).reason
    assert "C_W = 37.08" in eft.classify("sigmoid", skip=GAMMA).advice
    assert eft.classify("tanh", skip=0.0) is eft.classify("tanh")


def test_depths_are_stretched_and_exponents_kept():
    """K ~ 1/(−a₁l) and K_perp ~ 1/l of tanh, with a₁ = −2(1 − γ²). The control: C_W of the plain network."""
    depth = 20_000
    found = eft.classify("tanh", skip=GAMMA)
    K, log_distance = literal_tanh(found.cw, GAMMA, depth)
    layer = np.arange(1, depth + 1)
    late = layer >= depth // 10
    slopes = [np.polyfit(np.log(layer[late]), y[late], 1)[0] for y in (np.log(K), log_distance)]
    np.testing.assert_allclose(slopes, (found.exponent_K, found.exponent_K2), rtol=5e-3)
    np.testing.assert_allclose(-found.a1 * depth * K[-1], 1, rtol=5e-3)
    assert literal_tanh(1.0, GAMMA, 1000)[0][-1] > 0.1


def test_fixed_points_and_thresholds():
    """In closed form for ReLU and RePU, K* = C_b/(1 − γ² − C_W/2) and K_u = 2(1 − γ²)/3C_W."""
    (point,) = eft.fixed_points("relu", 0.5, 0.3, skip=GAMMA)
    np.testing.assert_allclose(point.K, 0.3 / (SHARE - 0.25), rtol=EXACT)
    np.testing.assert_allclose((point.chi_parallel, point.chi_perp), 1 - SHARE + 0.25, rtol=EXACT)
    skips = np.array([0.0, 0.5, GAMMA])
    np.testing.assert_allclose(eft.threshold("repu", 0.7, skip=skips), 2 * (1 - skips**2) / 2.1, rtol=EXACT)
    assert len(eft.fixed_points("tanh", 0.5, skip=GAMMA)) == 2 and len(eft.fixed_points("tanh", 0.5)) == 1


def test_phase_diagram_against_flows():
    """As without a skip: the flow at depth 3000 is at K* or has exploded."""
    for name in ("tanh", "repu"):
        diagram = eft.phase_diagram(name, np.linspace(0.05, 1.5, 6), np.linspace(0.0, 0.2, 3), skip=GAMMA)
        flow = diagonal(name, diagram.cw, 3000, cb=diagram.cb[:, None], skip=GAMMA)
        end, perp = flow.K[..., -1], flow.chi_perp[..., -1]
        exploding = diagram.phase == EXPLODING
        np.testing.assert_array_equal(exploding, end > 1e10)
        settled = ~exploding & (np.abs(diagram.chi_parallel) < 0.98)
        np.testing.assert_allclose(diagram.K[settled], end[settled], rtol=1e-9, atol=1e-15)
        np.testing.assert_allclose(diagram.chi_perp[settled], perp[settled], rtol=1e-9)
        assert settled.sum() > 1
        plain = eft.phase_diagram(name, diagram.cw, diagram.cb)
        assert (plain.phase != diagram.phase).any()


def test_critical_curve():
    curve = eft.critical_curve("tanh", K=[0.5, 1.0], skip=GAMMA)
    flow = diagonal("tanh", curve.cw, 2, cb=curve.cb, K1=curve.K, skip=GAMMA)
    np.testing.assert_allclose(flow.K[:, 1], curve.K, rtol=EXACT)
    np.testing.assert_allclose(flow.chi_perp[:, 0], 1, rtol=EXACT)
    np.testing.assert_allclose(flow.chi_parallel[:, 0], curve.chi_parallel, rtol=EXACT)


def test_close_to_1():
    """1 − γ² keeps its digits: γ = 1 − 2⁻⁴⁰."""
    np.testing.assert_allclose(contractions(1 - 2.0**-40), 2.0**-39 * (1 - 2.0**-41), rtol=1e-15)


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        (eft.classify, ("tanh",)),
        (eft.critical_point, ("tanh",)),
        (eft.fixed_points, ("tanh", 1.0)),
        (eft.threshold, ("tanh", 1.0)),
        (eft.phase_diagram, ("tanh", [1.0], [0.0])),
        (eft.critical_curve, ("tanh",)),
    ],
)
def test_bad_input(call, arguments):
    for skip, says in (
        (1.0, "skip must be < 1; got 1: .*α ~ 1/√depth"),
        (2, "skip must be < 1; got 2"),
        (-0.1, "skip must be finite and ≥ 0; got -0.1"),
        (float("nan"), "skip must be finite"),
    ):
        with pytest.raises(eft.ArgumentError, match=says):
            call(*arguments, skip=skip)
    if call is not eft.threshold:
        with pytest.raises(eft.ArgumentError, match="skip must be one number"):
            call(*arguments, skip=[0.1, 0.2])
