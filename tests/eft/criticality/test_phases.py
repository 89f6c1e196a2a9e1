"""Fixed points are fixed and attract as stated, and phase diagrams agree with deep flows."""

import subprocess
import sys
import warnings

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import eft
from eft.criticality import moment_grid
from eft.criticality.basins import first_above
from eft.criticality.phases import (
    CHAOTIC,
    EXPLODING,
    ORDERED,
    critical_curve,
    fixed_points,
    phase_diagram,
    threshold,
)
from eft.criticality.universality import classify

EXACT = 1e-12
"""Relative error of a fixed point that is not close to another one."""


@pytest.mark.parametrize(
    ("name", "cw", "cb", "stabilities"),
    [
        ("mrepu", 0.5, 0.0, ["stable", "unstable"]),
        ("mrepu", 0.9, 1e-4, ["stable", "unstable"]),
        ("mrepu", 1.0, 1e-4, []),
        ("repu", 1.0, 0.0, ["stable", "unstable"]),
        ("tanh", 0.9, 0.0, ["stable"]),
        ("tanh", 1.0, 0.0, ["stable"]),
        ("tanh", 1.5, 0.0, ["unstable", "stable"]),
        ("tanh", 1.5, 0.05, ["stable"]),
        ("tanh", 0.0, 0.3, ["stable"]),
        ("relu", 2.0, 0.0, ["neutral"]),
        ("relu", 1.9, 0.1, ["stable"]),
        ("relu", 2.1, 0.1, []),
        ("perceptron", 1.0, 0.2, ["stable"]),
    ],
)
def test_fixed_points(name, cw, cb, stabilities):
    points = fixed_points(name, cw, cb)
    assert [p.stability for p in points] == stabilities
    act = eft.activation(name)
    for p in points:
        m = eft.moments(act, jnp.asarray(p.K))
        np.testing.assert_allclose(cb + cw * m.g, p.K, rtol=EXACT, atol=0)
        if cw:
            np.testing.assert_allclose((p.chi_parallel, p.chi_perp), (cw * m.dg, cw * m.slope2), rtol=EXACT)
        if p.K > 0 and p.stability in ("stable", "unstable"):
            for start in (0.99, 1.01):
                end = float(eft.kernel_flow(name, cw, 30, cb=cb, K1=start * p.K).K[-1])
                assert (abs(end / p.K - 1) < 0.01) == (p.stability == "stable")


def test_closed_forms():
    """RePU p = 2: K_u = 2/3C_W. ReLU: K* = C_b/(1 − C_W/2). sign: K* = C_W + C_b."""
    np.testing.assert_allclose(
        threshold("repu", [0.1, 1.0, 30.0]), 2 / (3 * np.array([0.1, 1.0, 30.0])), rtol=EXACT
    )
    np.testing.assert_allclose(fixed_points("relu", 1.5, 0.3)[0].K, 1.2, rtol=EXACT)
    np.testing.assert_allclose(fixed_points("perceptron", 0.7, 0.1)[0].K, 0.8, rtol=EXACT)


def test_two_fixed_points_that_meet():
    """At the critical point of GELU and SWISH two solutions coincide; a stable one lies near them."""
    for name, side, neighbour in (("gelu", "from above", 3.0350), ("swish", "from below", 14.5931)):
        found = classify(name)
        points = fixed_points(name, found.cw, found.cb)
        stability = {round(p.K, 4): p.stability for p in points}
        assert stability[round(found.K, 4)] == side
        assert stability[neighbour] == "stable" and len(points) == 2


def test_thresholds_of_mrepu():
    """The basin of K = 0: flows that start just below the threshold vanish, just above they explode."""
    cw = np.array([0.5, 0.6, 0.8, 0.9, 0.95])
    found = threshold("mrepu", cw)
    np.testing.assert_allclose(found, [0.0532, 0.0360, 0.0137, 0.00614, 0.00292], rtol=4e-3)
    below, above = (eft.kernel_flow("mrepu", cw, 2000, K1=found * s).K[:, -1] for s in (0.999, 1.001))
    assert (below < 1e-10).all() and (above > 1e10).all()
    np.testing.assert_array_equal(threshold("mrepu", [1.0, 1.2]), 0)


@pytest.mark.parametrize(
    ("name", "cw", "expected"), [("tanh", 3.0, np.inf), ("relu", 2.1, 0.0), ("gelu", 1.9, np.inf)]
)
def test_trivial_thresholds(name, cw, expected):
    assert threshold(name, cw) == expected


def test_threshold_broadcasts():
    assert threshold("mrepu", np.full((2, 1), 0.9), np.array([0.0, 1e-4, 2e-4])).shape == (2, 3)
    assert threshold("repu", 1.0).shape == ()


@pytest.mark.parametrize("name", ["tanh", "gelu", "mrepu", "perceptron"])
def test_phase_diagram_against_flows(name):
    """On a coarse grid, away from phase boundaries, the flow at depth 3000 is at K* or has exploded."""
    diagram = phase_diagram(name, np.linspace(0.05, 3, 9), np.linspace(0.0, 0.4, 5))
    flow = eft.kernel_flow(name, diagram.cw, 3000, cb=diagram.cb[:, None])
    end, perp = flow.K[..., -1], flow.chi_perp[..., -1]
    exploding = diagram.phase == EXPLODING
    np.testing.assert_array_equal(exploding, end > 1e10)
    settled = ~exploding & (np.abs(diagram.chi_parallel) < 0.98)
    np.testing.assert_allclose(diagram.K[settled], end[settled], rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(diagram.chi_perp[settled], perp[settled], rtol=1e-9)
    np.testing.assert_array_equal(diagram.phase[settled] == CHAOTIC, perp[settled] > 1)
    assert np.isinf(diagram.K[exploding]).all() and settled.sum() > 1


def test_phase_diagram_of_relu_in_closed_form():
    diagram = phase_diagram("relu", np.linspace(0, 3, 7), [0.0, 0.1])
    np.testing.assert_array_equal(diagram.phase[0] == EXPLODING, diagram.cw > 2)
    np.testing.assert_array_equal(diagram.phase[1] == EXPLODING, diagram.cw >= 2)
    ordered = diagram.phase[1] == ORDERED
    np.testing.assert_allclose(diagram.K[1][ordered], 0.1 / (1 - diagram.cw[ordered] / 2), rtol=EXACT)
    np.testing.assert_allclose(diagram.chi_perp[1], diagram.cw / 2, rtol=EXACT)


def test_start_matters():
    """MRePU at C_W = 0.9 explodes from inputs of size 1 and is ordered from K¹ = 1e-3."""
    assert phase_diagram("mrepu", [0.9], [0.0]).phase == EXPLODING
    assert phase_diagram("mrepu", [0.9], [0.0], K1=1e-3).phase == ORDERED
    assert phase_diagram("mrepu", [0.9], [0.0], x2=1e-3).phase == ORDERED


@pytest.mark.parametrize("name", ["tanh", "mrepu"])
def test_a_phase_diagram_evaluates_the_moments_once_per_point(name, monkeypatch, compilations):
    """And compiles nothing the second time."""
    evaluated = []

    def counting(moments):
        def counted(source, K):
            evaluated.append(K.size)
            return moments(source, K)

        return counted

    for way in ("evaluated", "evaluated_by_numpy"):  # compiled, and for few values on the host
        monkeypatch.setattr(moment_grid, way, counting(getattr(moment_grid, way)))
    grids = np.linspace(0, 3, 200), np.linspace(0, 0.5, 200)
    diagram = phase_diagram(name, *grids)
    evaluated.clear()
    assert compilations(lambda: phase_diagram(name, *grids)) == 0
    assert 0 < sum(evaluated) <= diagram.phase.size + moment_grid.BLOCK_SIZE
    assert diagram.phase.shape == (200, 200) and not np.isnan(diagram.K).any()
    assert not np.isnan(diagram.chi_perp).any()


@pytest.mark.parametrize("name", ["tanh", "gelu", "softsign"])
def test_critical_curve(name):
    """On the curve χ⊥ = 1 at a fixed point; it ends at the critical point."""
    curve = critical_curve(name)
    some = slice(None, None, 97)
    m = eft.moments(eft.activation(name), jnp.asarray(curve.K[some]))
    np.testing.assert_allclose(curve.cw[some] * m.slope2, 1, rtol=EXACT)
    np.testing.assert_allclose(curve.cb[some] + curve.cw[some] * m.g, curve.K[some], rtol=1e-9)
    found = classify(name)
    nearest = np.argmin(np.hypot(curve.cw - found.cw, curve.cb - found.cb))
    assert abs(curve.cw[nearest] - found.cw) < 1e-2 and abs(curve.chi_parallel[nearest] - 1) < 2e-3
    at = critical_curve("tanh", K=[1.0, 0.1])
    np.testing.assert_array_equal(at.K, [0.1, 1.0])
    assert not len(critical_curve("perceptron").K)
    assert critical_curve("sigmoid").cb[0] == 0  # the curve is followed to its end between two nodes


@pytest.mark.parametrize(
    ("call", "arguments", "says"),
    [
        (fixed_points, ("tanh", -1.0), "cw"),
        (fixed_points, ("tanh", [1.0, 2.0]), "cw must be one number"),
        (fixed_points, ("tanh", 1.0, float("nan")), "cb"),
        (threshold, ("tanh", -1.0), "cw"),
        (threshold, ("tanh", [1.0, 2.0], [1.0, 2.0, 3.0]), "broadcast"),
        (critical_curve, ("tanh", 0.0), "K"),
        (phase_diagram, ("tanh", 1.0, [1.0]), "cw must be an array of one axis"),
        (phase_diagram, ("tanh", [1.0], []), "cb must be an array of one axis"),
        (phase_diagram, ("tanh", [1.0], [-1.0]), "cb"),
        (phase_diagram, ("tanhh", [1.0], [1.0]), "tanhh"),
    ],
)
def test_bad_input(call, arguments, says):
    with pytest.raises(ValueError, match=says):
        call(*arguments)


# --- functions of the user's ----------------------------------------------------------------------


def naive_swish(z):
    return z / (1 + jnp.exp(-z))


def test_careless_functions():
    """Their derivatives are NaN where their values are finite."""
    assert eft.threshold(naive_swish, 1.9, 0.1) == np.inf
    zero, one = eft.fixed_points(lambda z: jnp.maximum(z, 0) ** 1.5, 1.0)
    assert zero.K == 0 and zero.stability == "stable"
    np.testing.assert_allclose(one.K, np.pi / 2, rtol=1e-12)  # K = C_W √(2/π) K^{3/2}
    np.testing.assert_allclose(one.chi_parallel, 1.5, rtol=1e-12)
    for named, written in (("swish", naive_swish), ("sigmoid", lambda z: 1 / (1 + jnp.exp(-z)))):
        for a, b in zip(eft.fixed_points(named, 2.5, 0.1), eft.fixed_points(written, 2.5, 0.1), strict=True):
            np.testing.assert_allclose(a[:3], b[:3], rtol=1e-9)


def test_unresolved_phases_are_marked():
    """⌊z⌋ has a kink at every integer, of which those near 0 are used."""
    with pytest.warns(eft.QuadratureWarning, match="more kinks than are taken into account"):
        (point,) = eft.fixed_points(jnp.floor, 0.5)
    k = np.arange(-30, 30)
    mass = np.diff(scipy.stats.norm.cdf(np.append(k, 30) / np.sqrt(point.K)))
    np.testing.assert_allclose(0.5 * np.sum(k**2 * mass), point.K, rtol=1e-12)
    assert point.error < 1e-14
    with pytest.warns(eft.QuadratureWarning, match="the threshold at C_W = 0.5"):
        assert np.isnan(eft.threshold(jnp.floor, 0.5))
    with pytest.warns(eft.QuadratureWarning, match="the phase at"):
        found = eft.phase_diagram(jnp.floor, np.array([0.2, 2.0]), np.array([0.0, 30.0]))
    assert found.error[0, 0] < 1e-12 and (found.error[1] > 1e-9).all()
    with pytest.warns(eft.QuadratureWarning, match="the curve at K = 1e"):
        eft.critical_curve(lambda z: z * jnp.cos(20 * z), K=np.array([1e-3, 1e5]))
    assert eft.critical_curve(lambda z: z * jnp.cos(20 * z)).K.max() < 1e4, "by default they are left out"


def test_no_fixed_point_below_the_bias():
    steep = lambda z: 1 + jnp.tanh(1e4 * (z - 1.1))  # noqa: E731
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", eft.QuadratureWarning)  # χ⊥ ~ 10⁴ is known to 1e-10 only
        (point,) = eft.fixed_points(steep, 0.5, 0.1)
    # all but a step of height 2 at 1.1
    np.testing.assert_allclose(
        0.1 + 0.5 * 4 * scipy.stats.norm.sf(1.1 / np.sqrt(point.K)), point.K, rtol=1e-5
    )


@pytest.mark.more
def test_float64_whatever_the_switch():
    """With float64 off, classes and phases are those with it on, to the bit."""
    code = (
        "import jax, sys\n"
        "jax.config.update('jax_enable_x64', sys.argv[1] == '1')\n"
        "import jax.numpy as jnp, numpy as np, eft\n"
        "nsw = lambda z: z / (1 + jnp.exp(-z))\n"
        "for act in ('hard_tanh', 'sigmoid', nsw):\n"
        "    u = eft.classify(act)\n"
        "    print(u.kind, u.K, u.cw, u.cb, u.a1, u.basin, u.sure, u.reason, u.advice)\n"
        "    print(eft.fixed_points(act, 1.9, 0.1), eft.threshold(act, 1.9, 0.1))\n"
        "phases = eft.phase_diagram(nsw, np.array([1.0, 3.0]), np.array([0.1]))\n"
        "print([list(map(float, np.ravel(a))) for a in phases])\n"
    )
    off, on = (
        subprocess.run([sys.executable, "-c", code, x64], check=True, capture_output=True, text=True).stdout
        for x64 in "01"
    )
    assert off == on and "K* = 0, flat" in on


@pytest.mark.parametrize("name", ["tanh", "gelu", "soft_shrink"])
def test_a_large_phase_diagram_is_that_of_its_rows(name):
    """From polynomials and from the nodes. The control: other C_W give other K*."""
    cw, cb = np.linspace(0.5, 3.0, 150), np.linspace(0.0, 1.0, 140)
    whole, moved = phase_diagram(name, cw, cb), False
    for i in (0, 1, 70, 139):
        row = phase_diagram(name, cw, cb[i : i + 1])
        assert (whole.phase[i] == row.phase[0]).all()
        for field in ("K", "chi_parallel", "chi_perp"):
            np.testing.assert_allclose(getattr(whole, field)[i], getattr(row, field)[0], rtol=1e-9)
        other = phase_diagram(name, cw * (1 + 1e-6), cb[i : i + 1]).K[0]
        finite = np.isfinite(whole.K[i]) & np.isfinite(other)
        moved |= (abs(other[finite] - whole.K[i][finite]) > 1e-8 * whole.K[i][finite]).any()
    assert moved


def test_the_first_node_above():
    """Against a loop over the columns, with numbers that are not finite, and from every start."""
    random = np.random.default_rng(0)
    for columns in (1, 2, 7, 64, 100):
        a = random.normal(size=(5, columns))
        a[random.random(a.shape) < 0.1] = np.nan
        a[random.random(a.shape) < 0.1] = np.inf
        row, start = random.integers(0, 5, 300), random.integers(0, columns + 1, 300)
        level = random.normal(size=300) + 1
        places = (
            (j for j in range(i, columns) if a[r, j] > c) for r, i, c in zip(row, start, level, strict=True)
        )
        np.testing.assert_array_equal(first_above(a, row, start, level), [next(p, columns) for p in places])
