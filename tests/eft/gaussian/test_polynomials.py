"""Functions of K from polynomials are as right as from the nodes, which are summed where they are not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
from references import FLOAT64, PROMISED

import eft
from eft.activations.analysis import analysed
from eft.gaussian import polynomials as module
from eft.gaussian.cumulants import TabulatedSeries, cumulant_source
from eft.gaussian.polynomials import LARGEST_ADDED_ERROR, MANY, Polynomials, fitted
from eft.gaussian.series import needed
from eft.gaussian.sources import (
    Closed,
    Tabulated,
    TabulatedSlopes,
    evaluated,
    evaluated_by_numpy,
    slope_source,
    source,
    source_for,
)
from eft.gaussian.tabulated import sampled_moments, units

FAILING = {"soft_shrink", "hard_shrink", "user_kink_1e3"}
"""Moments of the first two vanish at small K like e^{−λ²/2K}; those of the last feel its kink."""

NO_SLOPES = {*FAILING, "snake", "mrepu_3"}
"""The slope of snake is not resolved at large K; ⟨σ²σ′²⟩ of the MRePU of degree 3 grows like K⁵."""

NO_SERIES = {*FAILING, "mrepu_3"}
"""F⁴ of the MRePU of degree 3 is beyond the range of floating-point numbers in the window."""

ROUND_OFF = 1e-13
CATALOGUED = list(dict.fromkeys([*references.table(), *eft.activation_names()]))
K = np.exp(np.random.default_rng(0).uniform(np.log(1e-16), np.log(1e16), 4000))
PROMISED_K = 10 ** np.random.default_rng(1).uniform(-12, 12, 200)


def activation(key: str) -> eft.Activation:
    return analysed(references.activation(key))


def tabulated(key: str, slopes: bool = False):
    """The activation and its source from polynomials and from the nodes; None in closed form."""
    act = activation(key)
    if slopes:
        both = slope_source(act, jnp.float64, MANY), slope_source(act, jnp.float64)
        return (act, *both) if isinstance(both[0], TabulatedSlopes) else None
    both = source_for(act, jnp.float64, MANY), source(act, jnp.float64)
    return (act, *both) if both[0].table is not None else None


@pytest.mark.sweep("tanh", "gelu", "erf", "hard_tanh", "user_kink_0p3", "soft_shrink")
@pytest.mark.parametrize("key", [*references.table(), "soft_shrink", "hard_shrink"])
def test_moments_against_the_oracles(key):
    """As accurate as the table is, and the error that is stated covers the difference from it."""
    sources = tabulated(key)
    if sources is None:
        pytest.skip("in closed form")
    _, found_by, direct_by = sources
    assert (found_by.polynomials is None) == (key in FAILING)
    if found_by.polynomials is None:
        return
    at = references.table()[key].K
    for moments in (evaluated(found_by, jnp.asarray(at)), evaluated_by_numpy(found_by, at)):
        errors = references.relative_errors(key, moments)
        for q in PROMISED:
            assert errors[q].max() <= FLOAT64, q
    found, direct = evaluated(found_by, jnp.asarray(K)), evaluated(direct_by, jnp.asarray(K))
    off = np.max(abs(np.stack(found[:6]) - np.stack(direct[:6])) / units(np.stack(direct[:6]), K), axis=0)
    assert (off <= found.error - direct.error * (1 - 1e-9) + ROUND_OFF).all() and off.max() <= ROUND_OFF
    assert (found.error >= direct.error).all()


@pytest.mark.sweep("elu", "tanh")
@pytest.mark.parametrize("key", CATALOGUED)
def test_slope_moments_against_the_nodes(key):
    """Of σ′², at 200 K of the range that is promised; infinite where those of the table are."""
    sources = tabulated(key, slopes=True)
    if sources is None or sources[1].polynomials is None:
        assert sources is None or key in NO_SLOPES
        return
    _, found_by, direct_by = sources
    found, direct = (evaluated(each, jnp.asarray(PROMISED_K)) for each in (found_by, direct_by))
    natural = (direct.s, direct.s4, direct.s4, direct.s / PROMISED_K, direct.s / PROMISED_K**2)
    natural = np.stack([*natural, direct.cross, direct.cross, direct.s4])
    f, d = np.stack(found[:8]), np.stack(direct[:8])
    infinite = np.isinf(d)
    assert (np.isinf(f) == infinite).all()
    unit = np.maximum(abs(np.where(infinite, 0.0, d)), np.where(infinite, 0.0, natural))
    off = abs(np.where(infinite, 0.0, f) - np.where(infinite, 0.0, d)) / np.where(unit > 0, unit, 1.0)
    assert off.max() <= ROUND_OFF
    assert (off.max(0) <= found.error).all() and (found.error >= direct.error).all()
    assert found.error.max() <= FLOAT64


@pytest.mark.sweep("3-tanh", "3-mrepu_2", "3-soft_shrink")
@pytest.mark.parametrize("key", [key for key in CATALOGUED if key != "snake"])
@pytest.mark.parametrize("order", [3])
def test_series_against_the_nodes(key, order):
    """Every ĉ within the error that is stated, which is that of the nodes and little more."""
    act = activation(key)
    direct_by = cumulant_source(act, order, jnp.float64)
    if not isinstance(direct_by, TabulatedSeries):
        pytest.skip("in closed form")
    found_by = cumulant_source(act, order, jnp.float64, MANY)
    assert (found_by.polynomials is None) == (key in NO_SERIES)
    if found_by.polynomials is None:
        return
    at = jnp.asarray(PROMISED_K)
    m = evaluated(source(act, jnp.float64), at)
    run = jax.jit(lambda series, K, m: series(K, m, order))
    found, direct = (run(each, at, m) for each in (found_by, direct_by))
    assert (found.valid == direct.valid).all()
    assert (abs(found.c - direct.c) <= found.error * (1 + 1e-9)).all()
    of_terms = np.asarray(direct.error)
    assert (found.error <= 2 * of_terms + LARGEST_ADDED_ERROR * of_terms.max(1, keepdims=True) / 1e-15).all()


@pytest.mark.parametrize("key", ["tanh", "gelu"])
def test_series_against_fifty_digits(key):
    """ĉ_10 … ĉ_12 and ĉ_20 by the moments of the oracles: Kʲ/j! g⁽ʲ⁾/g and Var/g²."""
    act, (at, values) = activation(key), references.table()[key]
    inside = (at >= 1e-12) & (at <= 1e12)
    at, values = at[inside], {q: v[inside] for q, v in values.items()}
    by_polynomials = cumulant_source(act, 3, jnp.float64, MANY)
    c, error = by_polynomials.polynomials(at)
    places = {tuple(place): i for i, place in enumerate(np.argwhere(needed(3, float)[..., 0]))}
    g = values["g"]
    exact = {
        (0, 1): at * values["dg"] / g,
        (0, 2): at**2 * values["d2g"] / g / 2,
        (1, 0): values["var"] / g**2,
    }
    for place, value in exact.items():
        i = places[place]
        assert (abs(c[i] - value) <= error[i] + ROUND_OFF * abs(value)).all(), place
        assert (abs(c[i] * (1 + 1e-3) - value) > error[i] + ROUND_OFF * abs(value)).any(), "the control"


def test_the_error_of_the_table_is_kept():
    """Of a steep function it is the larger part."""
    act = analysed(lambda z: jnp.tanh(30 * z))
    sources = source_for(act, jnp.float64, MANY), source(act, jnp.float64)
    assert sources[0].polynomials is not None
    found, of_table = (evaluated(each, jnp.asarray(K)).error for each in sources)
    assert (found >= of_table).all() and of_table.max() > module.LARGEST_ERROR


@pytest.mark.parametrize("changed", ["INTERVALS", "POINTS"])
def test_too_few_are_refused(changed, monkeypatch):
    """The control: the measured error says if intervals are too long, or coefficients too few."""
    table = jax.tree.map(np.asarray, source(analysed("tanh"), jnp.float64).table)
    n = 4
    assert fitted(sampled_moments(table), n) is not None
    if changed == "POINTS":
        monkeypatch.setattr(module, "POINTS", 6)
    else:
        n = 1
    assert fitted(sampled_moments(table), n) is None
    monkeypatch.setattr(module, "LARGEST_ERROR", np.inf)
    rough = fitted(sampled_moments(table), n)
    found, direct = Tabulated(table, rough)(K), Tabulated(table)(K)
    off = np.max(abs(np.stack(found[:6]) - np.stack(direct[:6])) / units(np.stack(direct[:6]), K), axis=0)
    assert off.max() > 10 * module.LARGEST_ADDED_ERROR
    assert found.error.max() >= off.max() / 2 and (off <= 10 * found.error).all()


def test_a_function_that_is_infinite_somewhere():
    """No polynomials go through it; through one that is infinite everywhere they do."""

    def sample(K, everywhere):
        values = np.stack([K, np.where((K > 1) | everywhere, np.inf, 1.0)])
        return values, np.abs(values), np.zeros((1, K.size))

    assert fitted(lambda K: sample(K, False), 4) is None
    found = fitted(lambda K: sample(K, True), 4)
    assert found is not None
    assert np.isinf(found(K)[0][1]).all()
    np.testing.assert_allclose(found(K)[0][0], K, rtol=1e-14)


@pytest.mark.parametrize("name", ["tanh", "elu", "erf"])
@pytest.mark.parametrize("slopes", [False, True])
def test_beyond_the_window(name, slopes):
    """As from the table: 0, numbers that no power law reaches, nan and negative ones; by NumPy too."""
    far = jnp.array([0.0, 1e-300, 1e-20, 1e17, 1e300, np.inf, 1.0, -1.0, np.nan])
    _, found_by, direct_by = tabulated(name, slopes)
    assert found_by.polynomials is not None
    found, direct = evaluated(found_by, far), evaluated(direct_by, far)
    fields = 8 if slopes else 6
    for a, b in zip(found[:fields], direct[:fields], strict=True):
        np.testing.assert_allclose(a, b, rtol=ROUND_OFF)
    assert (found.error >= direct.error)[:7].all()
    if not slopes:
        for a, b in zip(evaluated_by_numpy(found_by, np.asarray(far)), found, strict=True):
            np.testing.assert_allclose(a[:8], b[:8], rtol=1e-14)


def test_the_ends_of_intervals():
    """The neighbours of every end of an interval are its own, or lie within round-off of it."""
    table = jax.tree.map(np.asarray, source(analysed("tanh"), jnp.float64).table)
    found = fitted(sampled_moments(table), 4)
    assert isinstance(found, Polynomials)
    ends = module.WINDOW[0] * 2.0 ** (np.arange(4 * module.OCTAVES) / 4)
    near = [np.nextafter(ends, way) for way in (0, np.inf)]
    below, at, above = (found(each)[0] for each in (near[0], ends, near[1]))
    for a, b in ((below, at), (above, at)):
        assert np.max(abs(a - b) / abs(at)) <= 10 * module.LARGEST_ERROR


@pytest.mark.sweep("tanh")
@pytest.mark.parametrize("name", ["tanh", "gelu", "hard_swish", "erf"])
def test_a_large_flow(name):
    """A grid is that of its points one by one; polynomials serve it, and nothing smaller or traced."""
    cw = jnp.linspace(0.3, 3.0, 500)
    grid = eft.kernel_flow(name, cw, 50, cb=0.1)
    some = jax.jit(lambda cw: eft.kernel_flow(name, cw, 50, cb=0.1))(cw)
    for field in ("K", "chi_parallel", "chi_perp", "V"):
        np.testing.assert_allclose(getattr(grid, field), getattr(some, field), rtol=1e-11)
    assert (grid.valid == some.valid).all() and grid.valid.all()
    for make in (source_for, slope_source, lambda act, *about: cumulant_source(act, 3, *about)):
        assert make(analysed(name), cw.dtype, MANY).polynomials is not None
        assert make(analysed(name), cw.dtype, MANY - 1).polynomials is None
        assert make(analysed(name), jnp.float32, MANY).polynomials is None


@pytest.mark.sweep("tanh")
@pytest.mark.parametrize("name", ["tanh", "hard_swish"])
def test_a_large_ntk(name):
    cw = jnp.linspace(0.3, 3.0, 500)
    grid = eft.ntk_flow(name, cw, 50, cb=0.1, lambda_b=0.3)
    some = jax.jit(lambda cw: eft.ntk_flow(name, cw, 50, cb=0.1, lambda_b=0.3))(cw)
    for field in grid._fields[:-2]:
        a, b = (np.asarray(getattr(each, field)) for each in (grid, some))
        assert np.max(abs(a - b)) <= 1e-10 * np.max(abs(b)), field
        np.testing.assert_allclose(a, b, rtol=1e-8, err_msg=field)
    assert (grid.valid == some.valid).all() and grid.valid.all() and (grid.error >= some.error).all()


@pytest.mark.more
@pytest.mark.parametrize("name", ["tanh", "swish", "hard_tanh"])
def test_a_large_expansion(name):
    """Each moment within the errors that both state."""
    cw = jnp.linspace(0.5, 3.0, 450)
    grid = eft.expand(name, cw, 50, 3, cb=0.1)
    some = jax.jit(lambda cw: eft.expand(name, cw, 50, 3, cb=0.1)._replace(n=None))(cw)
    assert (abs(grid.M - some.M) <= grid.error + some.error).all()
    assert (grid.valid == some.valid).all() and grid.valid.all()
    near, off = grid.G[..., 1:] / grid.K[..., None], some.G[..., 1:] / some.K[..., None]
    assert np.max(abs(near - off)) <= 1e-9 * np.max(abs(off))
    assert not (abs(grid.M * (1 + 1e-6) - some.M) <= grid.error + some.error).all(), "the control"


@pytest.mark.sweep
def test_gradients_of_a_large_flow():
    """Traced values are summed over the nodes: the derivative by C_W is that of every flow by itself."""
    cw = jnp.linspace(0.5, 3.0, 420)
    eft.kernel_flow("tanh", cw, 50)  # polynomials are there
    slope = jax.grad(lambda cw: eft.kernel_flow("tanh", cw, 50).K[:, -1].sum())(cw)
    alone = jax.grad(lambda c: eft.kernel_flow("tanh", c, 50).K[-1])(cw[77])
    np.testing.assert_allclose(slope[77], alone, rtol=1e-12)
    by_rate = jax.grad(lambda lw: eft.ntk_flow("tanh", cw, 50, lambda_w=lw).Theta[:, -1].sum())(1.0)
    h = 1e-5
    sides = [eft.ntk_flow("tanh", cw, 50, lambda_w=1.0 + s * h).Theta[:, -1].sum() for s in (1, -1)]
    np.testing.assert_allclose(by_rate, (sides[0] - sides[1]) / (2 * h), rtol=1e-8)


def test_a_function_that_changes():
    """What a function closes over is part of it: other numbers, other polynomials."""
    scale = [1.0]
    act = eft.Activation(lambda z: jnp.tanh(scale[0] * z), (), "scaled")
    cw = jnp.linspace(0.5, 2.0, 1000)
    first = eft.kernel_flow(act, cw, 20)
    scale[0] = 0.5
    second = eft.kernel_flow(act, cw, 20)
    assert abs(second.K[:, -1] - first.K[:, -1]).max() > 0.1
    np.testing.assert_allclose(second.K[7], eft.kernel_flow(act, cw[7], 20).K, rtol=1e-11)


def test_what_a_function_closes_over_is_traced():
    """Then the table serves a large grid too."""

    def g(scale):
        direct = source_for(analysed(lambda z: jnp.tanh(scale * z)), jnp.float64, MANY)
        assert not isinstance(direct, Closed) and direct.polynomials is None
        return direct(jnp.ones(())).g

    jax.make_jaxpr(g)(1.0)
