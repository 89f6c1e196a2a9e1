"""Expectations at one neuron in two layers agree with another rule, and with closed forms, by every rule."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import residual_networks as reference

import eft
from eft.gaussian.layer_pairs import (
    GRADED,
    MAX_EVEN_KERNEL,
    PANEL,
    Neuron,
    Rule,
    TwoLayers,
    TwoSlopes,
    jumps_of_products,
    quick_rule,
    two_layers,
)

K_P, K, CARRY = 0.9, 1.4, 0.8
RULES = {"even": Rule(step=0.2), "panel": Rule(panel=PANEL), "graded": GRADED}
FIELDS = TwoLayers._fields[:-1], TwoSlopes._fields[:-1]

ACCURACY = 1e-11
"""Absolute; the values are of order 1."""


@functools.cache
def compiled(act, rule):
    return jax.jit(functools.partial(two_layers, act, rule))


def found(name, rule, *, carry=CARRY, K=K, with_slopes=True):
    act = eft.activation(name)
    fresh = K - carry**2 * K_P
    before, here = eft.moments(act, K_P), eft.moments(act, K)
    numbers = [K_P, K, carry, fresh, before.g, here.g, here.dg]
    if with_slopes:
        numbers += [eft.slopes(act, K_P).s, eft.slopes(act, K).s, eft.slopes(act, K).ds]
    return compiled(act, rule)(Neuron(*(jnp.asarray(a, float) for a in numbers)))


def numbers(records):
    return np.array([getattr(r, f) for r, fields in zip(records, FIELDS, strict=True) for f in fields])


def by_quadrature(name):
    """Every field, in the order of the records, by the rule of `residual_networks`."""
    sigma, slope = reference.SIGMAS[name]

    def F(z):
        return sigma(z) ** 2

    def S(z):
        return slope(z) ** 2

    def u(z):
        return sigma(z) * slope(z)

    def with_p(f, h, mean=0.0):
        return reference.two_layers(lambda z: f(z) - mean, h, K_P, K, CARRY)

    g, s = reference.mean(F, K_P), reference.mean(S, K_P)
    FF, FS = with_p(F, F, g), with_p(F, S, g)
    return np.array(
        [FF.value, FF.bent, with_p(u, u).value, FS.value, with_p(S, F, s).value, with_p(S, S, s).value,
         FS.bent, with_p(u, S).slope]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "rule"),
    [*(("tanh", r) for r in RULES), ("gelu", "even"), *(("relu", r) for r in ("panel", "graded"))],
)
def test_by_another_rule(name, rule):
    """All fields. The control: Γ changed by 1 %."""
    want, records = by_quadrature(name), found(name, RULES[rule])
    np.testing.assert_allclose(numbers(records), want, rtol=ACCURACY, atol=ACCURACY)
    assert max(float(r.error) for r in records) < 1e-12
    other = numbers(found(name, RULES[rule], carry=1.01 * CARRY))
    assert (np.abs(other - want) > 1e-4).all()
    signal, none = found(name, RULES[rule], with_slopes=False)
    assert none is None
    np.testing.assert_allclose(list(signal), list(records[0]), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("rule", RULES)
def test_sines(rule):
    """σ² = (1 − cos 2z)/2, σ′² = (1 + cos 2z)/2, σσ′ = ½ sin 2z, with C = ΓK_p. The control: another Γ."""
    want = []
    for carry in (CARRY, 1.01 * CARRY):
        C, size = carry * K_P, np.exp(-2 * (K_P + K))  # ⟨cos 2z_p⟩⟨cos 2z⟩
        cos, sin = size * (np.cosh(4 * C) - 1), size * np.sinh(4 * C)
        want.append(np.array([cos / 4, -cos / 2, sin / 4, -cos / 4, -cos / 4, cos / 4, cos / 2, -sin / 2]))
    records = found("sin", RULES[rule])
    np.testing.assert_allclose(numbers(records), want[0], rtol=ACCURACY)
    assert (np.abs(want[1] / want[0] - 1) > 1e-2).all()


@pytest.mark.parametrize("rule", RULES)
def test_linear(rule):
    """Cov(z_p², z²) = 2Γ²K_p², ⟨z_p z⟩ = ΓK_p; ½F″ and S are constants."""
    want = [2 * CARRY**2 * K_P**2, 0.0, CARRY * K_P, *5 * (0.0,)]
    np.testing.assert_allclose(numbers(found("linear", RULES[rule])), want, atol=ACCURACY)


def test_a_rule_that_is_too_coarse_says_so():
    """`error` shows what the quick rules do not resolve; the control is one that does."""
    for rule, good in ((Rule(step=1.5), False), (Rule(step=0.2), True)):
        records = found("tanh", rule)
        right = np.max(np.abs(numbers(records) - by_quadrature("tanh"))) < ACCURACY
        assert right == good
        assert (max(float(r.error) for r in records) < 1e-12) == good


def test_which_rule_is_quick():
    tanh, relu = eft.activation("tanh"), eft.activation("relu")
    assert quick_rule(tanh, 0.5).step == quick_rule(tanh, 1.0).step == 2 * quick_rule(tanh, 4.0).step
    assert quick_rule(tanh, 2 * MAX_EVEN_KERNEL) == quick_rule(relu, 1.0) == Rule(panel=PANEL)
    assert quick_rule(tanh, np.inf) == quick_rule(tanh, np.nan) == quick_rule(relu, np.inf) == GRADED


@pytest.mark.parametrize(("name", "largest", "fine"), [("tanh", 30.0, True), ("gelu", 100.0, False)])
def test_quick_rules_of_large_kernels(name, largest, fine):
    """They agree with the graded one, or say that they do not."""
    quick, exact = (
        found(name, rule, K=largest) for rule in (quick_rule(eft.activation(name), largest), GRADED)
    )
    assert (max(float(record.error) for record in quick) < 1e-12) == fine
    if fine:
        np.testing.assert_allclose(numbers(quick), numbers(exact), rtol=1e-10, atol=1e-11)


def test_what_jumps():
    """σσ′ and σ′² of each; derivatives of what jumps are not finite, rather than wrong."""
    jumps = {"tanh": (False, False), "relu": (False, True), "selu": (False, True), "hard_tanh": (True, True)}
    for name, want in jumps.items():
        assert jumps_of_products(eft.activation(name)) == want

    def of_carry(name, pick):
        act = eft.activation(name)
        m, p = eft.moments(act, K), eft.slopes(act, K)
        before = eft.moments(act, K_P).g, eft.slopes(act, K_P).s

        def value(carry):
            n = Neuron(K_P, K, carry, K - carry**2 * K_P, before[0], m.g, m.dg, before[1], p.s, p.ds)
            return pick(two_layers(act, GRADED, jax.tree.map(jnp.asarray, n)))

        return jax.jit(jax.jacfwd(value))(CARRY)

    assert not np.isfinite(of_carry("relu", lambda r: r[1].cov_SS))
    slope, h = of_carry("relu", lambda r: r[0].cov), 1e-5
    up, down = (found("relu", GRADED, carry=CARRY + s)[0].cov for s in (h, -h))
    assert slope == pytest.approx(float((up - down) / (2 * h)), rel=1e-8)
