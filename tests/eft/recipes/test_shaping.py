"""Shaped activations meet their conditions to 1e-10, and only there; published parameters are found."""

import functools
import math

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from scipy import optimize

import eft
import nets

TOLERANCE = 1e-10
"""To which the conditions hold."""

MREPU = eft.activation("mrepu", p=2)
REPU = eft.activation("repu", p=2)


# --- mpmath, 50 digits --------------------------------------------------------------------------


def mp_softplus(y):
    p = 1 / (1 + mp.exp(-y))
    return mp.log1p(mp.exp(y)), p, p * (1 - p)


def mp_tanh(y):
    t = mp.tanh(y)
    return t, 1 - t * t, -2 * t * (1 - t * t)


def mp_gelu(y):
    normal, density = mp.ncdf(y), mp.npdf(y)
    return y * normal, normal + y * density, (2 - y * y) * density


def mp_mrepu(y):
    if y < -1:
        return mp.mpf(0), mp.mpf(0), mp.mpf(0)
    return y * (y + 1) ** 2, (y + 1) * (3 * y + 1), 6 * y + 4


EXACT = {"softplus": mp_softplus, "tanh": mp_tanh, "gelu": mp_gelu, "mrepu": mp_mrepu}


def conditions(name: str, parameters, K: float) -> dict[str, float]:
    """⟨σ̂⟩, ⟨σ̂²⟩/K, χ∥, χ⊥, C″(1) in 50 digits, by the trapezoidal rule, which for these σ̂ is as exact.

    The poles of σ̂ are more than 1 from the real axis, and its kinks, if any, more than 16 from 0.
    """
    with mp.workdps(50):
        alpha, beta, delta, gamma = map(mp.mpf, parameters)
        K, h, sums = mp.mpf(K), mp.mpf(1) / 20, [mp.mpf(0)] * 5
        for k in range(-320, 321):
            z = mp.sqrt(K) * k * h
            s, d, c = EXACT[name](alpha * z + beta)
            s, d, c = gamma * (s + delta), gamma * alpha * d, gamma * alpha**2 * c
            w = h * mp.npdf(k * h)
            sums = [
                a + w * f for a, f in zip(sums, (s, s * s / K, z * s * d / K, d * d, K * c * c), strict=True)
            ]
        return dict(
            zip(("mean", "kernel", "chi_parallel", "chi_perp", "curvature"), map(float, sums), strict=True)
        )


shaped = functools.cache(eft.shape)
"""`eft.shape`, once for each set of arguments."""


def parameters(shape: eft.Shape) -> np.ndarray:
    return np.array([shape.input_scale, shape.input_shift, shape.output_shift, shape.output_scale])


CASES = [
    ("softplus", "dks", 1.0), ("softplus", "tat", 1.0), ("tanh", "dks", 2.5), ("tanh", "tat", 1.0),
    ("gelu", "dks", 1.0), ("gelu", "tat", 0.5), ("mrepu", "dks", 1.0), ("mrepu", "tat", 1.0),
]  # fmt: skip


def targets_of(kind: str) -> dict[str, float]:
    if kind == "dks":
        return {"mean": 0.0, "kernel": 1.0, "chi_parallel": 1.0, "chi_perp": 1.5**0.1}
    return {"kernel": 1.0, "chi_parallel": 1.0, "chi_perp": 1.0, "curvature": 0.03}


@pytest.mark.sweep("softplus-dks-1.0", "gelu-tat-0.5")
@pytest.mark.parametrize(("name", "kind", "K"), CASES)
def test_conditions_hold(name, kind, K):
    shape = shaped(name, kind, depth=11, K=K)
    targets = targets_of(kind)
    assert shape.residuals.keys() == targets.keys()
    assert max(map(abs, shape.residuals.values())) < TOLERANCE
    found = conditions(name, parameters(shape), K)
    assert all(abs(found[key] - target) < TOLERANCE for key, target in targets.items())


@pytest.mark.parametrize(("name", "kind", "K"), [CASES[0], CASES[3], CASES[4]])
@pytest.mark.parametrize("which", range(4))
def test_conditions_fail_beside_the_solution(name, kind, K, which):
    """The control: each parameter changed by 1e-6 of itself."""
    changed = parameters(shaped(name, kind, depth=11, K=K))
    changed[which] *= 1 + 1e-6
    found = conditions(name, changed, K)
    assert max(abs(found[key] - target) for key, target in targets_of(kind).items()) > 10 * TOLERANCE


# --- published parameters -----------------------------------------------------------------------
# Those that the tests of the public library google-deepmind/dks expect (input scale and shift, output shift
# and scale), for a residual network of 33 blocks with C_f′(1) = 1.2, C_f″(1) = 0.2, C_f(0) = 0.75.

PUBLISHED_DKS = {
    "softplus": (0.18761008168267976, 0.40688063442262007, -0.9213466151411376, 8.878672543665223),
    "tanh": (0.07461073057540868, 0.5566915199964182, -0.5034378768692127, 18.002635964442558),
    "gelu": (0.07043253126531114, 0.259489297927707, -0.15815378961903598, 20.21158902315857),
}
PUBLISHED_TAT = {
    "softplus": (0.15011489794748328, 0.5374599901127068, -0.996481014465811, 10.54880187880574),
    "tanh": (0.0580205218578313, 0.5218639804099805, -0.4796430704354356, 22.36066261763117),
}
PUBLISHED_RELU = 0.3685360046708044, 1.0, -1.000373858553784, 2.721729988761473
PUBLISHED_LEAKY_DKS = 0.8761257073473065, -0.049418692997275034, 1.0651832705682147
PUBLISHED_LEAKY_TAT = 0.6291800290346146, 1.196996549778802

PUBLISHED_TOLERANCE = 2e-6
"""Relative; β is known to the residuals over the curvature, and these parameters are not far from linear."""


def residual_network(local, start: float) -> float:
    """A quantity carried through the 33 blocks: three activations on a branch with weight 1 − 0.36."""
    x = start
    for group in (3, 4, 23, 3):
        for block in range(group):
            skip = local(x) if block == 0 else x
            x = 0.36 * skip + 0.64 * local(local(local(x)))
    return local(x)


LOCAL_SLOPE = optimize.brentq(lambda s: residual_network(lambda x: s * x, 1.0) - 1.2, 1.0, 1.2, xtol=1e-15)
LOCAL_CURVATURE = 0.2 / residual_network(lambda x: x + 1.0, 0.0)


@pytest.mark.sweep("tanh")
@pytest.mark.parametrize("name", PUBLISHED_DKS)
def test_published_dks(name):
    shape = shaped(name, "dks", slope=LOCAL_SLOPE)
    np.testing.assert_allclose(parameters(shape), PUBLISHED_DKS[name], rtol=PUBLISHED_TOLERANCE)


@pytest.mark.parametrize("name", PUBLISHED_TAT)
def test_published_tat(name):
    shape = shaped(name, "tat", curvature=LOCAL_CURVATURE)
    np.testing.assert_allclose(parameters(shape), PUBLISHED_TAT[name], rtol=PUBLISHED_TOLERANCE)


def test_published_relu_is_centred():
    """Of ReLU, for which only β/α counts, it leaves out χ∥ = 1. Its quadrature overlooks the kink."""
    shape = shaped("relu", "centred", slope=LOCAL_SLOPE)
    np.testing.assert_allclose(parameters(shape), PUBLISHED_RELU, rtol=3e-5)
    assert abs(shape.residuals["chi_parallel"]) > 1e-3
    assert abs(relu_chi_perp(*parameters(shape)[:2]) - LOCAL_SLOPE) < 1e-12
    assert abs(relu_chi_perp(*PUBLISHED_RELU[:2]) - LOCAL_SLOPE) > 1e-7


def relu_chi_perp(alpha: float, beta: float) -> float:
    """χ⊥ = ⟨σ̂′²⟩ of max(0, αz + β), less its mean and over its standard deviation, in closed form."""
    r = mp.mpf(beta) / mp.mpf(alpha)
    normal, density = mp.ncdf(r), mp.npdf(r)
    return float(normal / ((1 + r * r) * normal + r * density - (density + r * normal) ** 2))


def test_published_leaky_relu():
    slope, shift, scale = PUBLISHED_LEAKY_DKS
    shape = shaped("leaky_relu", "dks", slope=LOCAL_SLOPE)
    found = shape.negative_slope, shape.output_shift, shape.output_scale
    np.testing.assert_allclose(found, (slope, shift, scale), rtol=PUBLISHED_TOLERANCE)
    slope, scale = PUBLISHED_LEAKY_TAT
    assert abs(residual_network(lambda c: mp_correlation(slope, c), 0.0) - 0.75) < PUBLISHED_TOLERANCE
    shape = shaped("relu", "tat", C0=mp_correlation(slope, 0.0))
    np.testing.assert_allclose((shape.negative_slope, shape.output_scale), (slope, scale), rtol=1e-7)


def test_other_targets_are_not_the_published():
    """The control: the wrong network, a plain one of 33 blocks of three."""
    shape = shaped("tanh", "dks", slope=1.2, depth=100)
    assert not np.allclose(parameters(shape), PUBLISHED_DKS["tanh"], rtol=1e-2)


# --- what the targets mean ----------------------------------------------------------------------


def pair(act, gap: float, depth: int):
    """Two inputs of ‖x‖² = n₀ with correlation 1 − gap."""
    rho = 1 - gap
    x, y = (
        np.array([1.0, 1.0]),
        np.array([rho + math.sqrt(gap * (2 - gap)), rho - math.sqrt(gap * (2 - gap))]),
    )
    return eft.pair_flow(act, 1.0, depth, x, y)


@pytest.mark.sweep
def test_slope_and_curvature_are_those_of_the_whole_network():
    gap, depth = 1e-3, 5
    dks, tat = (pair(shaped("gelu", kind, depth=depth).act, gap, depth) for kind in ("dks", "tat"))
    assert dks.K_perp[-1] / dks.K_perp[0] == pytest.approx(1.5, abs=gap)
    bend = (1 - tat.K_perp[-1] / tat.K_perp[0]) * 2 / gap
    assert bend == pytest.approx(0.3, abs=5 * gap)


def mp_correlation(a: float, c: float) -> float:
    """C(c) of the leaky ReLU, from arc-cosines."""
    c = mp.mpf(c)
    share = (1 - mp.mpf(a)) ** 2 / (mp.pi * (1 + mp.mpf(a) ** 2))
    return float(c + share * (mp.sqrt(1 - c * c) - c * mp.acos(c)))


@pytest.mark.sweep("2-0.2")
@pytest.mark.parametrize(("depth", "C0"), [(2, 0.2), (51, 0.9)])
def test_leaky_relu_brings_independent_inputs_to_C0(depth, C0):
    shape = shaped("leaky_relu", "tat", depth=depth, C0=C0, K=2.0)
    c = nearby = 0.0
    for _ in range(depth - 1):
        c, nearby = (
            mp_correlation(shape.negative_slope, c),
            mp_correlation(shape.negative_slope * (1 - 1e-6), nearby),
        )
    assert abs(c - C0) < TOLERANCE < abs(nearby - C0)
    assert max(map(abs, shape.residuals.values())) < TOLERANCE
    assert shape.act.kinks == (0.0,)


def test_leaky_relu_without_its_mean():
    shape = shaped("leaky_relu", "dks", depth=11, K=3.0)
    assert max(map(abs, shape.residuals.values())) < TOLERANCE
    mean = eft.gaussian_expectation(shape.act.fn, 3.0, shape.act.kinks)
    assert abs(float(mean)) < TOLERANCE


def test_tat_makes_the_kernel_critical():
    found = eft.classify(shaped("softplus", "tat", depth=11).act)
    assert found.kind == "half-stable"
    assert abs(found.K - 1) < 1e-9
    assert (found.cw, found.cb) == (pytest.approx(1, abs=1e-12), pytest.approx(0, abs=1e-12))
    assert eft.classify("softplus").kind == "none"


# --- K* = 0 -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "a1", "b1"),
    [("tanh", -0.7, -0.7), ("gelu", -0.5, -0.1), ("softplus", -1.0, 0.2), ("mrepu", -0.25, -0.25)],
)
def test_stable_at_zero(name, a1, b1):
    shape = shaped(name, "stable", a1=a1, b1=b1)
    assert max(map(abs, shape.residuals.values())) < TOLERANCE
    best = next(each for each in eft.classify(shape.act).candidates if each.K == 0)
    assert best.stability == "stable" and best.cw == pytest.approx(1, abs=TOLERANCE)
    np.testing.assert_allclose((best.a1, best.b1), (a1, b1), rtol=0, atol=1e-9)
    K = eft.kernel_flow(shape.act, 1.0, 2000, K1=1e-4).K
    assert float(1 / K[-1] - 1 / K[0]) / 1999 == pytest.approx(-a1, rel=1e-2)


@pytest.mark.more
def test_the_top_of_a_bump_is_passed_over():
    """cos, whose slope is 0 at 0: the shift lies elsewhere, and meets the conditions."""
    shape = eft.shape(jnp.cos, "stable", depth=6, a1=-0.25)
    assert max(map(abs, shape.residuals.values())) < TOLERANCE and abs(parameters(shape)[1]) > 0.1


@pytest.mark.parametrize("which", range(4))
def test_stable_fails_beside_the_solution(which):
    """The control: with a parameter changed by 1e-6 of itself another a1, σ̂(0) or σ̂′(0) comes out."""
    shape = shaped("gelu", "stable", a1=-0.5, b1=-0.1)
    changed = parameters(shape)
    changed[which] *= 1 + 1e-6
    with mp.workdps(50):
        alpha, beta, delta, gamma = map(mp.mpf, changed)
        s = [mp.diff(lambda y: y * mp.ncdf(y), beta, k) for k in range(4)]
        found = (
            gamma * (s[0] + delta),
            gamma * alpha * s[1] - 1,
            alpha**2 * (s[3] / s[1] + (s[2] / s[1]) ** 2) + 0.1,
        )
    assert max(map(abs, found)) > 10 * TOLERANCE


def test_mrepu_is_turned_about_its_inflection():
    """At −2/3, where σ″ = 0, σ′ < 0 < σ‴; what explodes is α² times farther away."""
    shapes = [shaped(MREPU, "stable", a1=a1) for a1 in (-0.18, -0.72)]
    for shape, alpha in zip(shapes, (0.1, 0.2), strict=True):
        np.testing.assert_allclose(parameters(shape), (alpha, -2 / 3, 2 / 27, -3 / alpha), rtol=1e-12)
        assert shape.act.kinks == (pytest.approx(-1 / (3 * alpha)),)
    thresholds = [float(eft.threshold(shape.act, 1.0)) for shape in shapes]
    assert thresholds[0] / thresholds[1] == pytest.approx(4, rel=1e-9)
    assert thresholds[0] > 1 > float(eft.threshold(MREPU, 1.0))


# --- the activation -----------------------------------------------------------------------------


def test_kinks_move_with_the_input():
    shape = shaped(REPU, "centred", depth=11)
    (kink,) = shape.act.kinks
    assert kink == pytest.approx(-shape.input_shift / shape.input_scale)
    with mp.workdps(30):
        alpha, beta, delta, gamma = map(mp.mpf, parameters(shape))
        K = 4.0
        fourth = mp.quad(
            lambda z: (gamma * (max(alpha * z + beta, 0) ** 2 + delta)) ** 4 * mp.npdf(z, 0, 2),
            [-30, kink, 0, 30],
        )
    assert float(eft.moments(shape.act, K).g4) == pytest.approx(float(fourth), rel=1e-11)


@pytest.mark.more
def test_networks_agree_with_the_flow():
    act = shaped(MREPU, "tat", depth=6).act
    flow, width = eft.kernel_flow(act, 1.0, 6), 256
    seen = nets.measure(act, 1.0, 6, width, 400, seed=1, progress=False)
    assert not seen.n_overflowed.any() and flow.valid.all()
    np.testing.assert_allclose(flow.K, 1.0, rtol=1e-9)
    expected = np.asarray(flow.K + flow.G1 / width)
    assert np.all(abs(seen.K.mean - expected)[1:] < 4 * seen.K.stderr[1:])
    plain = nets.measure(MREPU, 1.0, 6, width, 100, seed=1, progress=False)
    assert plain.n_overflowed[-1] == 100


@pytest.mark.more
def test_every_flow_takes_it():
    act = shaped("gelu", "dks", depth=4).act
    V = eft.kernel_flow(act, 1.0, 4).V
    np.testing.assert_allclose(
        np.ravel(eft.vertex_flow(act, 1.0, 4, np.ones((1, 2))).V), V, rtol=1e-9, atol=1e-15
    )
    np.testing.assert_allclose(eft.expand(act, 1.0, 4, 1).V[:, -1], V, rtol=1e-9, atol=1e-15)
    assert eft.ntk_flow(act, 1.0, 4).valid.all()


def test_any_function_and_either_precision():
    mine = eft.Activation(lambda z: jnp.tanh(z) + jnp.maximum(z - 1, 0.0) ** 2, name="mine")
    with jax.enable_x64(False):
        narrow = eft.shape(mine, "dks", depth=11)
        assert narrow.act(jnp.float32(0.3)).dtype == jnp.float32
    wide = eft.shape(mine, "dks", depth=11)
    np.testing.assert_allclose(parameters(narrow), parameters(wide), rtol=1e-12)
    assert max(map(abs, wide.residuals.values())) < TOLERANCE
    assert wide.act.kinks == (pytest.approx((1 - wide.input_shift) / wide.input_scale),)


# --- refusals -----------------------------------------------------------------------------------

REFUSED = [
    ("gelu", "foo", {}, "conditions must be one of"),
    ("gelu", "dks", {"depth": 1}, "depth must be an integer ≥ 2"),
    ("gelu", "dks", {"slope": 1.0}, "slope must be a finite number > 1"),
    ("gelu", "dks", {"K": 0.0}, "K must be a finite number > 0"),
    ("gelu", "dks", {"curvature": 0.3}, "curvature must be None"),
    ("gelu", "tat", {"curvature": -0.3}, "curvature must be a finite number > 0"),
    ("gelu", "tat", {"C0": 0.5}, "C0 must be None unless"),
    ("relu", "tat", {"curvature": 0.3}, "curvature must be None for relu"),
    ("relu", "tat", {"C0": 1.0}, "C0 must be between 0 and 1"),
    ("relu", "tat", {"C0": 0.9}, "C0 = 0.9 is out of reach"),
    ("relu", "dks", {"slope": 4.0}, "slope: χ⊥ = 4 in each layer is out of reach"),
    ("hard_tanh", "tat", {}, "act must have a continuous derivative"),
    ("perceptron", "dks", {}, "act must be continuous"),
    ("gelu", "stable", {}, "a1 must be a finite number < 0"),
    ("gelu", "stable", {"a1": 1.0}, "a1 must be a finite number < 0"),
    ("gelu", "stable", {"a1": -1.0, "b1": -2.0}, "b1 must be ≥ a1"),
    ("gelu", "stable", {"a1": -1.0, "K": 1.0}, "K must be None"),
    ("softplus", "stable", {"a1": -1.0}, "b1/a1 is between"),
    ("elu", "stable", {"a1": -1.0}, "a1 ≥ 0 at every"),
    (REPU, "dks", {"depth": 11}, "misses chi_parallel by 0.021.*three parameters for four conditions"),
    (REPU, "tat", {"depth": 11}, "The nearest found.*misses"),
    (REPU, "stable", {"a1": -1.0}, "a1 ≥ 0 at every"),
    ("linear", "centred", {}, "no scale of linear"),
]  # fmt: skip


@pytest.mark.parametrize(("act", "kind", "settings", "message"), REFUSED)
def test_refusals_say_why(act, kind, settings, message):
    with pytest.raises(eft.ArgumentError, match=message):
        eft.shape(act, kind, **settings)


@pytest.mark.parametrize("width", [0.1, 0.01])
def test_conditions_with_poles_raise_no_error_of_the_solver(width):
    """The shifts next to places where a1 changes its sign are left out, or solved for."""
    try:
        found = eft.shape(lambda z: z + jnp.exp(-(((z - 2.0) / width) ** 2)), "stable", a1=-0.25)
    except eft.ArgumentError as error:
        assert "was found" in str(error)
    else:
        assert max(abs(r) for r in found.residuals.values()) < 1e-6
