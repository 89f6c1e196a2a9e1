"""Derivatives of kernels of several inputs are right, and finite where inputs coincide or vanish."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eft

X = jnp.array([0.5, -0.3, 0.8])
CONTROL = 1e-3
"""Relative error of a derivative that the comparison must detect."""


def differences(f, x, h=1e-5):
    """Central differences of f with respect to each component of x."""
    steps = h * np.eye(x.size).reshape(-1, *x.shape)
    return np.array([(f(x + s) - f(x - s)) / (2 * h) for s in steps]).reshape(x.shape)


def differences_of_rows(f, x, h=1e-5):
    return np.array([(f(x + s) - f(x - s)) / (2 * h) for s in h * np.eye(x.size)])


def check(found, expected):
    assert np.isfinite(found).all()
    scale = np.max(np.abs(expected))
    assert np.max(np.abs(found - expected)) <= 1e-7 * scale + 1e-9
    assert np.max(np.abs(found * (1 + CONTROL) - expected)) > 1e-7 * scale + 1e-9 or scale == 0


def test_by_the_weights_at_one_input_twice():
    """K_ab of an input with itself is the kernel of one input, and so are its derivatives."""
    pair = jax.jit(jax.grad(lambda cw: eft.pair_flow("tanh", cw, 3, X, X, cb=0.1).K_ab[-1]))(1.3)
    x2 = jnp.mean(X**2)
    one = jax.jit(jax.grad(lambda cw: eft.kernel_flow("tanh", cw, 3, x2=x2, cb=0.1).K[-1]))(1.3)
    assert float(pair) == pytest.approx(0.446393, abs=1e-6)
    assert float(pair) == pytest.approx(float(one), rel=1e-12)


@pytest.mark.sweep("apart-tanh", "apart-sin", "one-relu", "opposite-erf", "zero-sin")
@pytest.mark.parametrize("name", ["tanh", "elu", "erf", "sin", "relu"])
@pytest.mark.parametrize("place", ["apart", "one", "opposite", "zero"])
def test_by_an_input(name, place):
    y = {"apart": jnp.array([0.1, 0.2, 0.3]), "one": X, "opposite": -X, "zero": 0 * X}[place]
    cb = 0.0 if place == "zero" else 0.1
    run = jax.jit(lambda y: eft.pair_flow(name, 1.3, 3, X, y, cb=cb).K_ab[-1])
    found = jax.grad(run)(y)
    if name == "relu" and place == "zero":  # a cone: ⟨σ′σ′⟩ is ¼ a layer
        np.testing.assert_allclose(found, 1.3**3 * X / 3 / 16, rtol=1e-12)
    elif name == "elu" and place == "zero":  # σ″ jumps at 0: the difference is right to its step
        np.testing.assert_allclose(found, differences(run, y, 1e-7), rtol=1e-6)
    else:
        check(np.asarray(found), differences(run, y))


@pytest.mark.sweep("pair_flow-gelu", "pair_flow-relu", "expanded_pair_flow-relu")
@pytest.mark.parametrize("name", ["gelu", "relu", "erf"])
@pytest.mark.parametrize("flow", [eft.pair_flow, eft.expanded_pair_flow])
def test_all_fields_have_finite_derivatives(name, flow):
    run = jax.jit(jax.jacfwd(lambda y: flow(name, 1.3, 3, X, y)[:-1]))
    for y in (X, 0 * X, 2 * X, -X):
        assert all(np.isfinite(row).all() for row in run(y)), y


@pytest.mark.more
def test_by_a_parameter_of_the_activation():
    def run(a):
        return eft.pair_flow(eft.Activation(lambda z: jnp.tanh(a * z)), 1.3, 2, X, X + 0.1, cb=0.1).K_ab[-1]

    a = jnp.asarray(1.2)
    check(np.asarray(jax.grad(run)(a)), differences(run, a))


@pytest.mark.sweep("erf-jacfwd-jacrev")
@pytest.mark.parametrize(
    ("name", "outer", "inner"),
    [
        ("tanh", jax.jacfwd, jax.jacrev),
        pytest.param("tanh", jax.jacrev, jax.jacfwd, marks=pytest.mark.more),
        ("erf", jax.jacfwd, jax.jacrev),
        ("erf", jax.jacrev, jax.jacfwd),
    ],
)
def test_second_derivatives(name, outer, inner):
    """In either order of modes: in a scan JAX drops a custom rule when it differentiates a backward pass."""

    def run(y):
        return eft.pair_flow(name, 1.3, 3, X, y, cb=0.1).K_ab[-1]

    expected = differences_of_rows(jax.jit(jax.grad(run)), X + 0.1)
    check(np.asarray(jax.jit(outer(inner(run)))(X + 0.1)), expected)


@pytest.mark.more
def test_second_derivatives_with_kinks_are_not_finite():
    """They are not known, and no wrong number is returned."""
    run = jax.jit(jax.hessian(lambda y: eft.pair_flow("elu", 1.3, 2, X, y, cb=0.1).K_ab[-1]))
    assert not np.isfinite(run(X + 0.1)).any()


@pytest.mark.sweep
@pytest.mark.parametrize("name", [pytest.param("tanh", marks=pytest.mark.more), "relu"])
def test_second_derivatives_of_many_inputs(name):
    def run(y):
        return eft.gram_flow(name, 1.3, 3, jnp.stack([X, y]), cb=0.1).Theta[0, 1]

    y = X * jnp.array([1.0, 0.9, -0.3])
    check(np.asarray(jax.jit(jax.hessian(run))(y)), differences_of_rows(jax.jit(jax.grad(run)), y))


@pytest.mark.sweep("tanh", "relu")
@pytest.mark.parametrize(
    "name",
    [
        "tanh",
        "elu",
        "erf",
        "relu",
        *(pytest.param(n, marks=pytest.mark.more) for n in ("gelu", "hard_tanh", "sin")),
    ],
)
def test_of_expectations(name):
    """With respect to K1, K2 and 1 − ρ in the interior; finite on the boundary."""

    def run(v):
        return jnp.stack(eft.pair_expectation(name, *v)[:3])

    v = jnp.array([0.7, 1.3, 0.4])
    found = np.asarray(jax.jacrev(run)(v))
    h = 1e-5
    expected = np.stack([(run(v + s) - run(v - s)) / (2 * h) for s in h * jnp.eye(3)], -1)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)
    for edge in ([0.7, 0.7, 0.0], [0.7, 0.7, 2.0], [0.0, 1.0, 1.0], [0.0, 0.0, 0.0]):
        assert np.isfinite(jax.jacfwd(run)(jnp.array(edge))).all(), edge


# --- many inputs --------------------------------------------------------------------------------

MANY = jnp.array([[0.4, -1.0], [0.4, -1.0], [0.0, 0.0], [0.8, -2.0], [-0.3, 0.7]])
"""Two equal inputs, one that is 0, one parallel to the first, and another."""
WEIGHTS = jnp.asarray(np.random.default_rng(0).normal(size=(5, 5)))


def total(name, X, cw, cb):
    flow = eft.gram_flow(name, cw, 3, X, cb=cb)
    return jnp.sum(WEIGHTS * (flow.K + 0.3 * flow.Theta))


@pytest.mark.promotes
@pytest.mark.parametrize(
    ("name", "cb"),
    [
        pytest.param("tanh", 0.0, marks=pytest.mark.more),
        pytest.param("gelu", 0.1, marks=pytest.mark.more),
        ("erf", 0.0),
        ("erf", 0.1),
    ],
)
def test_of_many_inputs(name, cb):
    run = jax.jit(total, static_argnums=0)
    by_X, by_cw, by_cb = jax.jit(jax.grad(total, argnums=(1, 2, 3)), static_argnums=0)(name, MANY, 1.5, cb)
    check(np.asarray(by_X), differences(lambda X: run(name, X, 1.5, cb), MANY))
    check(np.asarray(by_cw), differences(lambda c: run(name, MANY, c, cb), jnp.asarray(1.5)))
    if cb:
        check(np.asarray(by_cb), differences(lambda c: run(name, MANY, 1.5, c), jnp.asarray(cb)))
    else:  # one-sided, since C_b ≥ 0
        h = 1e-4 * jnp.arange(4)
        f = [float(run(name, MANY, 1.5, c)) for c in h]
        expected = (-11 * f[0] + 18 * f[1] - 9 * f[2] + 2 * f[3]) / 6e-4
        assert float(by_cb) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["relu", pytest.param("elu", marks=pytest.mark.more)])
def test_of_many_inputs_with_a_kink(name):
    """Away from the cusps, where two inputs are parallel or one is 0; at the cusps they are finite."""
    apart = jnp.array([[0.4, -1.0], [0.4, 1.0], [1.0, 0.1], [-0.7, 0.2], [-0.3, 0.7]])
    run = jax.jit(lambda X: total(name, X, 1.5, 0.1))
    check(np.asarray(jax.grad(run)(apart)), differences(run, apart))
    assert np.isfinite(jax.grad(run)(MANY)).all()


@pytest.mark.more
def test_of_a_parameter_of_the_activation():
    def run(a):
        return eft.gram_flow(eft.Activation(lambda z: jnp.tanh(a * z)), 1.5, 2, MANY).Theta.sum()

    a = jnp.asarray(0.9)
    check(np.asarray(jax.grad(run)(a)), differences(run, a))


@pytest.mark.sweep("relu")
@pytest.mark.parametrize("name", ["tanh", "relu", "sin"])
def test_jit_and_vmap(name):
    plain = eft.gram_flow(name, 1.5, 3, MANY)
    jitted = jax.jit(eft.gram_flow, static_argnums=(0, 2))(name, 1.5, 3, MANY)
    inputs = jax.jit(lambda X: eft.gram_flow(name, 1.5, 3, X))(MANY)
    mapped = jax.vmap(lambda cw, X: eft.gram_flow(name, cw, 3, X))(
        jnp.array([1.5, 1.5]), jnp.stack([MANY] * 2)
    )
    for other in (jitted, inputs, jax.tree.map(lambda a: a[0], mapped)):
        np.testing.assert_allclose(other.K, plain.K, rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(other.Theta, plain.Theta, rtol=1e-12, atol=1e-15)
        assert other.valid.all()


@pytest.mark.sweep
@pytest.mark.parametrize("name", ["erf", pytest.param("tanh", marks=pytest.mark.more)])
def test_of_a_posterior(name):
    """With respect to C_W, of both posteriors. The control, in `check`: a derivative that is 0.1 % off."""
    Y, test = jnp.array([0.3, -0.2, 0.5]), jnp.array([[0.2, 0.4]])

    @jax.jit
    def run(cw):
        found = eft.regress(name, cw, 2, MANY[2:], Y, test, cb=0.1, noise=0.1)
        return sum(p.mean[0] + p.variance[0] for p in found)

    cw = jnp.asarray(1.5)
    check(np.asarray(jax.jit(jax.grad(run))(cw)), differences(run, cw))
