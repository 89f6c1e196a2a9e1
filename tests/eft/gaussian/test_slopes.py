"""⟨σ′²⟩, ⟨σ′⁴⟩, ⟨σ²σ′²⟩, variances, covariances and K-derivatives agree with another rule in 30 digits."""

import itertools

import jax
import jax.numpy as jnp
import mp_activations
import numpy as np
import oracles
import pytest
import references
from mpmath import mp, mpf

import eft
from eft.gaussian.records import SlopeMoments

K_VALUES = (1e-10, 0.03, 1.0, 1e3)
NAMES = ("tanh", "gelu", "elu", "selu", "hard_tanh", "mrepu_1", "mrepu_2", "relu", "user_kink_0p3")


def expected(key: str, K: float) -> SlopeMoments:
    """By Gauss–Legendre between breaks uniformly spaced in log|z|; dʲ⟨S⟩/dKʲ = ⟨S He_2j(u)⟩/(2K)ʲ."""
    kinks, pieces = mp_activations.ACTIVATIONS[key]
    with mp.workdps(50):
        K = mpf(K)
        root = mp.sqrt(K)
        ends = {14 * root, *(root * mpf(2) ** k for k in range(-6, 4))}
        ends |= {mpf(2) ** k for k in range(-30, 12) if root / 1000 < mpf(2) ** k < 14 * root}
        near = {c + sign * 4 ** -mpf(k) for c in kinks if c for k in range(12) for sign in (-1, 1)}
        breaks = sorted({mpf(0), *ends, *(-e for e in ends), *kinks, *near})
        breaks = [z for z in breaks if abs(z) <= 14 * root]

        def integrand(z):
            s, s1, _ = pieces[sum(c < z for c in kinks)](z)
            F, S, v = s * s, s1 * s1, z * z / K
            p = mp.exp(-v / 2) / (root * mp.sqrt(2 * mp.pi))
            return [p * a for a in (S, S * S, F * S, F, S * (v - 1), S * ((v - 6) * v + 3), z * s * s1**3)]

        total = [mpf(0)] * 7
        nodes = [(mpf(x), mpf(w)) for x, w in RULE]
        for a, b in itertools.pairwise(breaks):
            for x, w in nodes:
                row = integrand((a + b + (b - a) * x) / 2)
                total = [t + (b - a) / 2 * w * r for t, r in zip(total, row, strict=True)]
        S, SS, FS, F, D, DD, H = total
        found = (S, SS, SS - S * S, D / (2 * K), DD / (4 * K * K), FS, FS - F * S, (H / K - SS) / 3, 0)
        return SlopeMoments(*map(float, found))


def _rule():
    with mp.workdps(50):
        return oracles.GaussLegendre(mp).calc_nodes(4, mp.prec)


RULE = _rule()


def units(m: SlopeMoments, K: float) -> SlopeMoments:
    """The scale to which errors are relative."""
    size = SlopeMoments(*map(abs, m))
    return size._replace(
        ds=max(size.ds, 1e-3 * size.s / K),
        d2s=max(size.d2s, size.s / K**2),
        cov=max(size.cov, 1e-4 * m.cross),
        cross_slopes=max(size.cross_slopes, m.s4),
    )


@pytest.mark.parametrize("key", NAMES)
def test_against_high_precision(key):
    act = references.activation(key)
    found = eft.slopes(act, jnp.asarray(K_VALUES))
    for i, K in enumerate(K_VALUES):
        reference = expected(key, K)
        for name, value, unit in zip(SlopeMoments._fields[:-1], reference, units(reference, K), strict=False):
            error = abs(float(getattr(found, name)[i]) - value)
            assert error <= 2e-12 * unit + 1e-36, (name, K, float(getattr(found, name)[i]), value)
    assert (np.asarray(found.error) < 1e-12).all()


@pytest.mark.parametrize("name", ["relu", "prelu", "linear", "sin", "repu"])
def test_tables_give_the_closed_forms(name):
    """The table built for the same function agrees at 60 K over 20 decades."""
    act = eft.activation(name)
    mine = eft.Activation(act.fn, act.kinks, taylor=act.taylor)
    K = jnp.logspace(-10, 0 if name == "sin" else 10, 60)
    for field, a, b in zip(SlopeMoments._fields, eft.slopes(act, K), eft.slopes(mine, K), strict=True):
        if field != "error":
            # a variance of order K² beside ⟨S⟩² of order 1 keeps 1e-10 where the table does not know S − S(0)
            np.testing.assert_allclose(b, a, rtol=1e-10, atol=1e-300, err_msg=field)


def test_derivatives_are_those_of_the_mean():
    """ds and d2s against automatic differentiation of ⟨σ′²⟩; the control: another activation's."""
    for name in ("gelu", "selu"):
        act = eft.activation(name)
        s = lambda K, act=act: eft.slopes(act, K).s  # noqa: E731
        K = jnp.asarray(1.7)
        np.testing.assert_allclose(eft.slopes(act, K).ds, jax.grad(s)(K), rtol=1e-10)
        np.testing.assert_allclose(eft.slopes(act, K).d2s, jax.grad(jax.grad(s))(K), rtol=1e-9)
    assert abs(jax.grad(s)(K) - eft.slopes(eft.activation("gelu"), K).ds) > 1e-3


def test_undeclared_kinks_are_marked():
    act = eft.Activation(lambda z: jnp.maximum(z - 0.777, 0.0), (), "shifted relu")
    assert float(eft.slopes(act, jnp.asarray(1.0)).error) > 1e-6
    declared = eft.Activation(act.fn, (0.777,))
    assert float(eft.slopes(declared, jnp.asarray(1.0)).error) < 1e-12


def test_a_function_with_a_step_at_zero_has_its_variance():
    """⟨σ⁴⟩ − ⟨σ²⟩² of the step function is ¼ at every K, and its `error` is small."""
    step = eft.Activation(lambda z: jnp.where(z > 0, 1.0, 0.0) + 0 * z, (0.0,))
    m = eft.moments(step, jnp.logspace(-12, 12, 25))
    np.testing.assert_allclose(m.var, 0.25, rtol=1e-12)
    assert (np.asarray(m.error) < 1e-12).all()


def test_float32():
    act, K = eft.activation("gelu"), jnp.asarray([0.01, 1.0, 10.0])
    with jax.enable_x64(False):
        found = eft.slopes(act, K.astype(jnp.float32))
    for field, a, b in zip(SlopeMoments._fields, found, eft.slopes(act, K), strict=True):
        if field not in ("error", "ds", "d2s"):
            np.testing.assert_allclose(a, b, rtol=2e-5, err_msg=field)
    np.testing.assert_allclose(found.ds, eft.slopes(act, K).ds, atol=1e-6)
