"""Training to order 1/n agrees with toy models whose kernels move by known laws, and with networks."""

import itertools

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import eft
from eft.training import corrections
from eft.training.corrections import Kernels, shifts

X, Y, X_TEST = np.array([[1.0, -0.5], [0.2, 0.8]]), np.array([1.0, -0.5]), np.array([[0.7, 0.1]])
SETTINGS = {"cb": 0.1, "lambda_w": 0.7, "lambda_b": 0.3}
CW, DEPTH = 1.4, 3

# --- a toy: Θ̂ that moves by given laws, started from one Gaussian number and one sign ----------

TIMES = np.array([0.3, 1.5, 6.0])


def toy(seed: int) -> dict[str, np.ndarray]:
    """f = g(k + hsκ), Θ̂ = Θ + hsξ + h²Θ1, D_cΘ̂ = h²gZ, D_dD_cΘ̂ = h²W, with a Gaussian g and a sign s."""
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(3, 3))
    xi, one = rng.normal(size=(2, 3, 3))
    Z, W = rng.normal(size=(3, 3, 3)), rng.normal(size=(3, 3, 3, 3))
    both = [a + np.swapaxes(a, 0, 1) for a in (xi, one, Z, W)]
    laws = dict(zip(("xi", "Theta1", "Z", "W"), both, strict=True))
    return laws | {"k": rng.normal(size=3), "kappa": rng.normal(size=3), "Theta": A @ A.T + np.eye(3) / 2}


def kernels_of(m: dict[str, np.ndarray]) -> Kernels:
    product = np.einsum
    k, kappa = m["k"], m["kappa"]
    found = (
        np.outer(k, k),
        np.outer(kappa, kappa),
        m["Theta"],
        m["Theta1"],
        product("ab,cd->abcd", m["xi"], m["xi"]),
        product("ab,cd->abcd", np.outer(k, kappa) + np.outer(kappa, k), m["xi"]),
        product("abc,d->abcd", m["Z"], k),
        m["W"],
    )
    return Kernels(*map(jnp.asarray, found))


def moments_of(m: dict[str, np.ndarray], h: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance at every time, (times, 3), the equations of motion solved for each start."""
    x, w = np.polynomial.hermite_e.hermegauss(6)
    values, weights = [], []
    for (g, weight), s in itertools.product(zip(x, w / w.sum(), strict=True), (-1, 1)):
        f = g * (m["k"] + h * s * m["kappa"])
        Theta = m["Theta"] + h * s * m["xi"] + h * h * m["Theta1"]
        start = np.concatenate([f, Theta.ravel(), (h * h * g * m["Z"]).ravel()])

        def moved(t, state):
            f, Theta, first = state[:3], state[3:12].reshape(3, 3), state[12:].reshape(3, 3, 3)
            e = f[:2] - Y
            second = h * h * m["W"][..., :2] @ e
            return -np.concatenate([Theta[:, :2] @ e, (first[..., :2] @ e).ravel(), second.ravel()])

        found = solve_ivp(moved, (0, TIMES[-1]), start, "DOP853", TIMES, rtol=1e-11, atol=1e-13)
        values.append(found.y[:3].T)
        weights.append(weight / 2)
    mean = np.tensordot(weights, values, 1)
    return mean, np.tensordot(weights, np.square(values), 1) - mean**2


def measured(m: dict[str, np.ndarray]) -> np.ndarray:
    """The coefficient of h² of mean and variance: a polynomial in h² through four values."""
    h = np.array([0.0, 0.01, 0.015, 0.02])
    values = np.array([moments_of(m, each) for each in h])
    return np.linalg.solve(np.vander(h**2, increasing=True), values.reshape(4, -1))[1].reshape(2, 3, 3)


@pytest.mark.sweep("1")
@pytest.mark.parametrize("seed", [0, 1])
def test_a_toy_whose_kernel_moves(seed):
    """The control: each tensor in turn left out."""
    m = toy(seed)
    k, want = kernels_of(m), measured(m)
    found = np.array(shifts(k, jnp.asarray(Y), jnp.asarray(TIMES)))
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-4)
    for name in ("K1", "Theta1", "pairs", "mixed", "first", "second"):
        without = k._replace(**{name: 0 * getattr(k, name)})
        assert abs(np.array(shifts(without, jnp.asarray(Y), jnp.asarray(TIMES))) - want).max() > 0.01, name


# --- the flow, of one training and one test input ------------------------------------------------

ONE, ITS_Y = X[:1], Y[:1]


def flow(t, x=X_TEST, **more):
    return eft.finite_width_training(
        "gelu", CW, DEPTH, ONE, ITS_Y, x, t=t, **{"width": 32, **SETTINGS, **more}
    )


@pytest.mark.sweep
def test_at_order_zero_it_is_train_flow():
    t = np.array([[0.0, 1.0], [30.0, np.inf]])
    wide = eft.train_flow("gelu", CW, DEPTH, ONE, ITS_Y, X_TEST, t=t, **SETTINGS)
    zero, one = flow(t, order=0), flow(t)
    for a, b, c in ((wide.train, zero.train, one.train), (wide.test, zero.test, one.test)):
        for name in ("mean", "variance"):
            want = getattr(a, name)
            np.testing.assert_allclose(getattr(b, name), want, rtol=1e-9, atol=1e-12)
            assert not getattr(b, f"{name}_shift").any()
            shift = getattr(c, f"{name}_shift")
            np.testing.assert_allclose(getattr(c, name) - shift, want, rtol=1e-9, atol=1e-12)
            assert shift.shape == want.shape and abs(shift).max() > 1e-3
    assert one.valid.all()
    at_first, at_last = one.train.mean_shift[0, 0], one.train.mean_shift[1, 1]
    assert not at_first.any() and not at_last.any()  # the prior has mean 0, and data are fitted in the end
    assert not one.train.variance_shift[1, 1].any()
    np.testing.assert_allclose(flow(1e4).test.mean_shift, one.test.mean_shift[1, 1], rtol=1e-9)


@pytest.mark.more
def test_the_start():
    """Var f = K + G1/n at t = 0, and the mean begins as tΘ1Y/(n n_D). The control: at twice the width."""
    both = np.concatenate([ONE, X_TEST])
    vertex = eft.vertex_flow("gelu", CW, DEPTH, both, cb=0.1)
    ntk = eft.ntk_gram_flow("gelu", CW, DEPTH, both, **SETTINGS)
    found, half = flow(np.array([0.0, 1e-6])), flow(0.0, width=64)
    np.testing.assert_allclose(found.test.variance_shift[0], vertex.G1[-1, 1, 1] / 32, rtol=1e-9)
    first = ntk.Theta1[-1][1, :1] @ ITS_Y / 32
    np.testing.assert_allclose(found.test.mean_shift[1] / 1e-6, first, rtol=1e-4)
    np.testing.assert_allclose(half.test.variance_shift, found.test.variance_shift[0] / 2, rtol=1e-12)


@pytest.mark.sweep
def test_test_inputs_come_in_groups(monkeypatch):
    """As many as one likes, also those of training. The control: other inputs have other shifts."""
    monkeypatch.setattr(corrections, "MAX_INPUTS", 2)
    x = np.concatenate([X_TEST, ONE, [[-0.3, 0.4]]])
    together, alone = flow(2.0, x), flow(2.0)
    np.testing.assert_allclose(together.test.mean_shift[0], alone.test.mean_shift[0], rtol=1e-8)
    np.testing.assert_allclose(together.test.variance_shift[1], alone.train.variance_shift[0], rtol=1e-7)
    assert abs(together.test.mean_shift[2] / alone.test.mean_shift[0] - 1) > 0.01


@pytest.mark.more
def test_repeated_inputs_learn_as_one():
    """At the mean of their targets. The control: other targets."""
    t = np.array([1.0, 5.0, np.inf])
    once = flow(t)
    twice, other = (
        eft.finite_width_training("gelu", CW, DEPTH, X[[0, 0]], y, X_TEST, t=t, width=32, **SETTINGS)
        for y in ([0.4, 1.6], [0.4, 2.6])
    )
    assert twice.valid.all()
    for name in once.test._fields:
        np.testing.assert_allclose(getattr(twice.test, name), getattr(once.test, name), rtol=1e-6, atol=1e-9)
    assert abs(other.test.mean_shift - once.test.mean_shift).max() > 1e-3


def test_one_layer_is_exact_at_infinite_width():
    shallow = eft.finite_width_training("gelu", 1.0, 1, ONE, ITS_Y, X_TEST, t=1.0, width=4)
    assert not shallow.test.mean_shift.any() and not shallow.test.variance_shift.any()


# --- networks -----------------------------------------------------------------------------------

AT, STEP, WIDTHS, PAIRS = np.array([0.5, 1.5, 4.0]), 0.25, (16, 32), 12_000


def of_networks(act, n):
    """Mean and second moment of f − its mean at infinite width, over pairs of networks that differ in the
    sign of the last layer."""
    shape = (2, n, n, 1)
    x, y = (jnp.asarray(a, jnp.float32) for a in (np.concatenate([X, X_TEST]), Y))
    rates = [(0.7 / a, 0.3) for a in shape[:-1]]

    def forward(theta):
        z = x
        for layer, (W, b) in enumerate(theta):
            z = (act(z) if layer else z) @ W.T + b[None]
        return z[:, 0]

    def velocity(t, theta, args):
        gradient = jax.grad(lambda theta: jnp.mean((forward(theta)[:2] - y) ** 2) / 2)(theta)
        return jax.tree.map(lambda g, rate: -rate * g, gradient, rates)

    def one(key):
        keys = jax.random.split(key, (DEPTH, 2))
        *hidden, (W, b) = [
            (
                jnp.float32(np.sqrt(CW / a)) * jax.random.normal(of_W, (b, a), jnp.float32),
                jnp.float32(np.sqrt(0.1)) * jax.random.normal(of_b, (b,), jnp.float32),
            )
            for (of_W, of_b), (a, b) in zip(keys, itertools.pairwise(shape), strict=True)
        ]
        saved = diffrax.SaveAt(ts=jnp.asarray(AT), fn=lambda t, theta, args: forward(theta))
        term, solver = diffrax.ODETerm(velocity), diffrax.Tsit5()
        starts = ([*hidden, (W, b)], [*hidden, (-W, -b)])
        solve = lambda theta: diffrax.diffeqsolve(term, solver, 0.0, AT[-1], STEP, theta, saveat=saved).ys  # noqa: E731
        return jnp.stack([solve(theta) for theta in starts])

    found = jax.jit(lambda key: jax.lax.map(one, jax.random.split(key, PAIRS), batch_size=32))
    return np.asarray(found(jax.random.key(n)), float)


@pytest.mark.long
@pytest.mark.promotes
def test_networks():
    """48,000 GELU networks of widths 16 and 32, extrapolated. The control: Θ̂ that does not move."""
    k, sound = corrections.kernels("gelu", CW, DEPTH, np.concatenate([X, X_TEST]), **SETTINGS)
    assert sound
    theory = np.array(shifts(k, jnp.asarray(Y), jnp.asarray(AT) / 2))
    still = k._replace(first=0 * k.first, second=0 * k.second)
    control = np.array(shifts(still, jnp.asarray(Y), jnp.asarray(AT) / 2))
    wide = eft.train_flow("gelu", CW, DEPTH, X, Y, X_TEST, t=AT, **SETTINGS)
    mean, variance = (
        np.concatenate([getattr(wide.train, name), getattr(wide.test, name)], -1)
        for name in ("mean", "variance")
    )
    values, errors = [], []
    for n in WIDTHS:
        shift = of_networks(eft.activation("gelu").fn, n) - mean
        each = np.stack([shift.mean(1), (shift**2).mean(1)], 1)
        average = each.mean(0)
        values.append(n * (average - np.stack([0 * mean, variance + average[0] ** 2])))
        errors.append(n * each.std(0) / np.sqrt(PAIRS))
    limit, error = 2 * values[1] - values[0], np.hypot(2 * errors[1], errors[0])
    assert (abs(limit - theory) < 4 * error + 0.1 * abs(values[1] - values[0])).all()
    assert (abs(limit - control) > 6 * error + 0.1 * abs(values[1] - values[0])).any()


@pytest.mark.more
def test_a_negative_variance_is_marked():
    """At the times at which it is; the width is too small for order 1."""
    x, y, t = np.array([[1.0, 0.0, 0.3], [0.5, 1.0, -0.2]]), np.array([1.0, -0.5]), [0.0, 1.0, np.inf]
    found = eft.finite_width_training("erf", 2.0, 3, x, y, [[-1.0, 0.2, 0.4]], width=2, t=t)
    assert found.valid.tolist() == (found.test.variance[:, 0] > 0).tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Y": np.ones((2, 2))}, r"Y must have one output, shape \(2,\)"),
        ({"Y": np.ones(3)}, "Y must have shape"),
        ({"X": np.eye(5), "Y": np.ones(5), "X_test": None}, "X must hold at most 4 different inputs"),
        ({"X": np.eye(4), "Y": np.ones(4), "X_test": np.ones((1, 4))}, "or 3 with other test inputs; got 4"),
        ({"X_test": [[1.0]]}, "the same n0"),
        ({"t": -1.0}, "t must be ≥ 0; got -1.0"),
        ({"width": None}, "width must be an integer"),
        ({"widths": (4, 4)}, "width must be None where widths is given"),
        ({"order": 2}, "order must be 0 or 1; got 2"),
        ({"act": "relu"}, "act must be smooth"),
        ({"cb": -1.0}, "cb must be finite and ≥ 0"),
    ],
)
def test_bad_arguments(change, message):
    settings = {"act": "tanh", "cw": CW, "depth": 3, "X": X, "Y": Y, "X_test": X_TEST, "t": 1.0, "width": 8}
    with pytest.raises((ValueError, TypeError), match=message):
        eft.finite_width_training(**settings | change)
