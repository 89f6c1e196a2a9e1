"""Moments from polynomials in log K are as right as those of the table, which is used where they are not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
from references import FLOAT64, PROMISED

import eft
from eft.activations.analysis import analysed
from eft.gaussian import polynomials as module
from eft.gaussian.polynomials import MANY, Interpolated, interpolated
from eft.gaussian.sources import Tabulated, evaluated, source, source_for
from eft.gaussian.tabulated import units

FAILING = {"soft_shrink", "hard_shrink", "user_kink_1e3"}
"""Moments of the first two vanish at small K like e^{−λ²/2K}; those of the last feel its kink."""

ROUND_OFF = 1e-13
K = np.exp(np.random.default_rng(0).uniform(np.log(1e-16), np.log(1e16), 4000))


def tabulated_activation(key: str):
    act = analysed(references.activation(key))
    return act if isinstance(source(act, jnp.float64), Tabulated) else None


@pytest.mark.parametrize("key", references.table())
def test_against_the_oracles(key):
    """As accurate as the table is, and the error that is stated covers the difference from it."""
    act = tabulated_activation(key)
    if act is None:
        pytest.skip("in closed form")
    by_polynomials = interpolated(act, source(act, jnp.float64).table)
    assert (by_polynomials is None) == (key in FAILING)
    if by_polynomials is None:
        return
    errors = references.relative_errors(
        key, evaluated(by_polynomials, jnp.asarray(references.table()[key].K))
    )
    for q in PROMISED:
        assert errors[q].max() <= FLOAT64, q
    found, direct = (
        evaluated(by_polynomials, jnp.asarray(K)),
        evaluated(source(act, jnp.float64), jnp.asarray(K)),
    )
    size = units(np.stack(direct[:6]), K)
    off = np.max(abs(np.stack(found[:6]) - np.stack(direct[:6])) / size, axis=0)
    assert (off <= found.error - direct.error * (1 - 1e-9) + ROUND_OFF).all() and off.max() <= ROUND_OFF
    assert (found.error >= direct.error).all()


def test_the_error_of_the_table_is_kept():
    """Of a steep function it is the larger part."""
    act = analysed(lambda z: jnp.tanh(30 * z))
    direct = source(act, jnp.float64)
    by_polynomials = interpolated(act, direct.table)
    found, of_table = (evaluated(each, jnp.asarray(K)).error for each in (by_polynomials, direct))
    assert (found >= of_table).all() and of_table.max() > module.LARGEST_ERROR


def test_with_fewer_intervals_they_are_refused(monkeypatch):
    """The control: the error of an interval eight times as long is noticed, and is there."""
    act = analysed("tanh")
    table = jax.tree.map(np.asarray, source(act, jnp.float64).table)
    assert module._of_intervals(table, 400) is not None
    assert module._of_intervals(table, 50) is None
    monkeypatch.setattr(module, "LARGEST_ERROR", np.inf)
    rough = Interpolated(source(act, jnp.float64).table, *map(jnp.asarray, module._of_intervals(table, 50)))
    found, direct = evaluated(rough, jnp.asarray(K)), evaluated(source(act, jnp.float64), jnp.asarray(K))
    assert np.max(abs(found.var / direct.var - 1)) > ROUND_OFF


@pytest.mark.parametrize("name", ["tanh", "elu"])
def test_beyond_the_window(name):
    """As from the table: 0, numbers that no power law reaches, nan and negative ones."""
    far = jnp.array([0.0, 1e-300, 1e-20, 1e17, 1e300, np.inf, 1.0, -1.0, np.nan])
    act = analysed(name)
    table = source(act, jnp.float64)
    found, direct = (evaluated(s, far) for s in (interpolated(act, table.table), table))
    for a, b in zip(found[:6], direct[:6], strict=True):
        np.testing.assert_allclose(a, b, rtol=ROUND_OFF)
    assert (found.error >= direct.error)[:7].all()


@pytest.mark.parametrize("name", ["tanh", "gelu", "hard_swish"])
def test_a_large_flow(name):
    """A grid is that of its points one by one; polynomials serve it, and nothing smaller or traced."""
    cw = jnp.linspace(0.3, 3.0, 500)
    grid = eft.kernel_flow(name, cw, 50, cb=0.1)
    assert isinstance(source_for(analysed(name), cw.dtype, cw.size * 50), Interpolated)
    some = jax.jit(lambda cw: eft.kernel_flow(name, cw, 50, cb=0.1))(cw)
    for field in ("K", "chi_parallel", "chi_perp", "V"):
        np.testing.assert_allclose(getattr(grid, field), getattr(some, field), rtol=1e-11)
    assert (grid.valid == some.valid).all() and grid.valid.all()
    assert not isinstance(source_for(analysed(name), cw.dtype, MANY - 1), Interpolated)
    assert not isinstance(source_for(analysed(name), jnp.float32, MANY), Interpolated)


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
        assert isinstance(direct, Tabulated)
        return direct(jnp.ones(())).g

    jax.make_jaxpr(g)(1.0)
