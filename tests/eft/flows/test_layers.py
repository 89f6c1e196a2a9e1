"""Skip connections and normalization at infinite width: by quadrature, and in networks that are drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eft
from eft.flows import kernel
from eft.flows.block import checked_block

rng = np.random.default_rng(4)
X = rng.normal(size=(3, 4)) * np.array([[1.0], [1.5], [0.7]])
SETTINGS: dict = {"cb": 0.2, "lambda_w": 0.7, "lambda_b": 0.3}
KINDS = [
    {"skip": 0.8},
    {"skip": 1.0, "readout": True},
    {"skip": 1.0, "norm": "rms"},
    {"skip": 0.6, "norm": "layer", "readout": True, "weights": "orthogonal"},
    {"norm": "rms"},
]
QUADRATURE = 1e-10
"""Relative error allowed to the trapezoidal rule in steps of 0.1, which for tanh at K < 5 is round-off."""


def diagonal(act, cw, depth, *, skip=0.0, norm=None, readout=False, **start):
    return kernel.diagonal(act, cw, depth, *checked_block(skip, norm, "gaussian", readout), **start)


def tanh_pair(a, b, rho):
    """⟨σ_aσ_b⟩ and ⟨σ′_aσ′_b⟩ for tanh by the trapezoidal rule, at a = √K_a and b = √K_b."""
    x = np.arange(-95, 96) / 10
    w = np.exp(-x * x / 2) / np.sqrt(2 * np.pi) / 10
    s, t = np.tanh(a * x)[:, None], np.tanh(b * (rho * x[:, None] + np.sqrt(1 - rho**2) * x))
    return w @ (s * t) @ w, w @ ((1 - s**2) * (1 - t**2)) @ w


def relu_pair(a, b, rho):
    theta = np.arccos(rho)
    return (
        a * b * (np.sin(theta) + (np.pi - theta) * rho) / (2 * np.pi),
        (np.pi - theta) / (2 * np.pi),
    )


PAIRS = {"tanh": tanh_pair, "relu": relu_pair}


def literal(name, cw, depth, *, cb, lambda_w, lambda_b, skip=0.0, norm=None, readout=False, **_):
    """K and Θ of every layer, (depth, 3, 3) each."""
    overlap = X @ X.T / X.shape[1]
    layers = [(cb + cw * overlap, lambda_b + lambda_w * overlap)]
    for layer in range(2, depth + 1):
        K, Theta = layers[-1]
        after = np.zeros_like(K), np.zeros_like(K)
        gamma2 = 0.0 if readout and layer == depth else skip**2
        for i, j in np.ndindex(K.shape):
            a, b = np.sqrt(K[i, i]), np.sqrt(K[j, j])
            rho = 1.0 if i == j else K[i, j] / (a * b)
            product, slopes = PAIRS[name](*((1.0, 1.0) if norm else (a, b)), rho)
            slopes = slopes / (a * b) if norm else slopes
            after[0][i, j] = gamma2 * K[i, j] + cb + cw * product
            after[1][i, j] = lambda_b + lambda_w * product + (gamma2 + cw * slopes) * Theta[i, j]
        layers.append(after)
    return np.swapaxes(np.array(layers), 0, 1)


@pytest.mark.sweep("relu-kind0", "relu-kind2")
@pytest.mark.parametrize(
    ("name", "kind"), [*(("relu", k) for k in KINDS), ("tanh", KINDS[0]), ("tanh", KINDS[2])]
)
def test_the_recursion_in_numpy(name, kind):
    """By the trapezoidal rule, and for ReLU in closed form. The control: plain layers."""
    K, Theta = literal(name, 1.3, 5, **SETTINGS, **kind)
    found = eft.gram_flow(name, 1.3, 5, X, all_layers=True, **SETTINGS, **kind)
    pair = eft.pair_flow(name, 1.3, 5, X[0], X[1], cb=0.2, **kind)
    assert found.valid.all() and pair.valid.all()
    np.testing.assert_allclose(found.K, K, rtol=QUADRATURE)
    np.testing.assert_allclose(found.Theta, Theta, rtol=QUADRATURE)
    for field, at in (("K_aa", (0, 0)), ("K_ab", (0, 1)), ("K_bb", (1, 1))):
        np.testing.assert_allclose(getattr(pair, field), K[:, *at], rtol=QUADRATURE)
    np.testing.assert_allclose(pair.K_perp, (pair.K_aa + pair.K_bb - 2 * pair.K_ab) / 4, rtol=1e-12)
    block = eft.gram_flow(name, 1.3, 5, X[:1], X[1:], **SETTINGS, **kind)
    np.testing.assert_allclose(block.Theta, found.Theta[-1, :1, 1:], rtol=1e-12)
    plain = literal(name, 1.3, 5, **SETTINGS)
    assert np.max(np.abs(plain[1][-1] / Theta[-1] - 1)) > 0.1


# --- networks that are drawn --------------------------------------------------------------------

WIDTH, NETWORKS, OUTPUTS = 600, 12, 300


def drawn(
    random, cw, depth, *, cb, lambda_w, lambda_b, skip=0.0, norm=None, readout=False, weights="gaussian"
):
    """K̂ and Θ̂ of the last layer of one tanh network, averaged over its outputs, by backpropagation."""
    n, x = WIDTH, X.T
    z = np.sqrt(cb) * random.normal(size=(n, 1)) + np.sqrt(cw / len(x)) * random.normal(size=(n, len(x))) @ x
    kept, W = [], np.zeros(0)
    for layer in range(2, depth + 1):
        unit, size = z, np.ones((1, z.shape[1]))
        if norm:
            unit = z - z.mean(0) if norm == "layer" else z
            size = np.sqrt(np.mean(unit**2, 0, keepdims=True))
            unit = unit / size
        last = readout and layer == depth
        W = np.sqrt(cw / n) * random.normal(size=(n, n))
        if weights == "orthogonal":
            Q, R = np.linalg.qr(W)
            W = np.sqrt(cw) * Q * np.sign(np.diag(R))
        W = W[:OUTPUTS] if last else W
        s = np.tanh(unit)
        kept.append((W, unit, size, s, 0.0 if last else skip))
        z = (0.0 if last else skip * z) + np.sqrt(cb) * random.normal(size=(len(W), 1)) + W @ s
    K = z.T @ z / len(z)

    J = np.repeat(np.eye(len(z))[:OUTPUTS, :, None], x.shape[1], 2)  # ∂(outputs)/∂z^l for each input
    Theta = np.zeros_like(K)
    for W, unit, size, s, gamma in reversed(kept):
        Theta += np.einsum("oia,oib->ab", J, J) / OUTPUTS * (lambda_b + lambda_w * s.T @ s / n)
        back = np.einsum("oia,ij->oja", J, W, optimize=True) * (1 - s**2)
        if norm:
            back -= unit * np.mean(unit * back, 1, keepdims=True)
            back -= np.mean(back, 1, keepdims=True) if norm == "layer" else 0.0
        J = (gamma * J if gamma else 0.0) + back / size
    Theta += np.einsum("oia,oib->ab", J, J) / OUTPUTS * (lambda_b + lambda_w * x.T @ x / len(x))
    return K, Theta


@pytest.mark.more
@pytest.mark.parametrize("kind", KINDS)
def test_wide_networks(kind):
    """K_ab and Θ_ab of networks of width 600. The controls: no skip, and no normalization."""
    random = np.random.default_rng(11)
    samples = np.array([drawn(random, 1.3, 4, **SETTINGS, **kind) for _ in range(NETWORKS)])
    mean, stderr = samples.mean(0), samples.std(0, ddof=1) / np.sqrt(NETWORKS)
    upper = np.triu_indices(3)

    def deviations(kind):
        flow = eft.gram_flow("tanh", 1.3, 4, X, **SETTINGS, **kind)
        for got, error, want in zip(mean, stderr, (flow.K, flow.Theta), strict=True):
            rounding = 4 / WIDTH * np.abs(want)  # the next order in 1/n
            yield (np.abs(got - want) / (error + rounding))[upper]

    assert np.max(list(deviations(kind))) < 4.5
    for part in ("skip", "norm"):
        if kind.get(part):
            without = {**kind, part: 0.0 if part == "skip" else None}
            assert np.max(list(deviations(without))) > 10


# --- limits, distances, derivatives -------------------------------------------------------------


def same_bits(one, other):
    leaves = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in leaves)


@pytest.mark.more
def test_without_a_skip_layers_are_plain(compilations):
    """The same bits and no other program; a skip of 1e-8, as an array too, is as good as none."""
    calls = [
        lambda **kind: eft.pair_flow("erf", 1.3, 4, X[0], X[1], cb=0.1, **kind),
        lambda **kind: eft.expanded_pair_flow("erf", 1.3, 4, X[0], X[1], cb=0.1, **kind),
        lambda **kind: eft.gram_flow("erf", 1.3, 4, X, cb=0.1, **kind),
        lambda **kind: eft.regress("erf", 1.3, 4, X[:2], [0.1, 0.2], X[2:], cb=0.1, **kind),
    ]
    for call in calls:
        plain = call()
        for kind in ({"skip": 0, "readout": True}, {"skip": 0.0, "norm": None, "weights": "orthogonal"}):
            other = []
            assert compilations(lambda kind=kind: other.append(call(**kind))) == 0  # noqa: B023
            assert same_bits(plain, other[0])
        for tiny in (1e-8, jnp.asarray(0.0)):
            for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(call(skip=tiny)), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("kind", KINDS)
def test_small_distances(kind):
    """1e-8 apart, K_perp agrees with its expansion after 100 layers, to which its subtraction would not."""
    near = X[0] + 1e-8 * X[1]
    exact = eft.pair_flow("gelu", 1.3, 100, X[0], near, cb=0.1, **kind)
    expanded = eft.expanded_pair_flow("gelu", 1.3, 100, X[0], near, cb=0.1, **kind)
    assert exact.valid.all()
    np.testing.assert_allclose(exact.K_perp, expanded.K_perp, rtol=1e-6)
    naive = (exact.K_aa + exact.K_bb - 2 * exact.K_ab) / 4
    assert np.max(np.abs(naive / expanded.K_perp - 1)) > 1e-2


@pytest.mark.sweep("kind1", "kind2")
@pytest.mark.parametrize("kind", [{"skip": 0.8}, {"skip": 0.8, "norm": "rms"}, {"norm": "layer"}])
def test_errors_of_the_expansion(kind):
    """They fall as δ² and δ⁴ in K_mid and K_perp; with 2h, that of K_perp only as δ²."""
    errors, controls = [], []
    for delta in (0.04, 0.02, 0.01):
        step = delta * (X[0] + X[1]) / 2
        apart = X[0] - step, X[0] + step
        exact = eft.pair_flow("gelu", 1.5, 6, *apart, cb=0.1, **kind)
        expanded = eft.expanded_pair_flow("gelu", 1.5, 6, *apart, cb=0.1, **kind)
        errors.append(
            [float(jnp.abs(getattr(exact, k) - getattr(expanded, k))[-1]) for k in ("K_mid", "K_perp")]
        )
        K2 = last = expanded.K_perp[0]
        for chi_perp, h, K1 in zip(expanded.chi_perp, expanded.h, expanded.K_parallel, strict=True):
            last, K2 = K2, chi_perp * K2 + 2 * h * K1**2
        controls.append(float(abs(last - exact.K_perp[-1])))
    np.testing.assert_allclose(np.log2(np.array(errors)[:-1] / np.array(errors)[1:]), [[2, 4]] * 2, atol=0.25)
    np.testing.assert_allclose(np.log2(np.array(controls)[:-1] / np.array(controls)[1:]), 2, atol=0.25)


@pytest.mark.sweep("relu-rms")
@pytest.mark.parametrize("norm", [None, "rms"])
@pytest.mark.parametrize("name", [pytest.param("tanh", marks=pytest.mark.more), "erf", "relu"])
def test_derivatives_by_the_skip(name, norm):
    """Against central differences; the control is a derivative that is 0.1 % off."""

    @jax.jit
    def run(gamma):
        kind = {"skip": gamma, "norm": norm}
        pair = eft.pair_flow(name, 1.3, 4, X[0], X[1], cb=0.1, **kind)
        expanded = eft.expanded_pair_flow(name, 1.3, 4, X[0], X[0] + 0.1 * X[1], cb=0.1, **kind)
        gram = eft.gram_flow(name, 1.3, 4, X, cb=0.1, **kind)
        return jnp.stack(
            [pair.K_ab[-1], pair.K_perp[-1], expanded.K_perp[-1], gram.K[0, 1], gram.Theta[0, 1]]
        )

    found, h = np.asarray(jax.jacfwd(run)(0.7)), 1e-5
    expected = np.asarray(run(0.7 + h) - run(0.7 - h)) / (2 * h)
    np.testing.assert_allclose(found, expected, rtol=1e-7)
    assert np.all(np.abs(1.001 * found - expected) > 1e-7 * np.abs(expected))


@pytest.mark.parametrize("act", ["tanh", "relu"])
def test_finite_derivatives_where_inputs_coincide(act):
    run = jax.jit(
        jax.grad(lambda y: eft.pair_flow(act, 1.3, 3, X[0], y, cb=0.1, skip=0.8, norm="rms").K_ab[-1])
    )
    for y in (X[0], 2 * X[0], -X[0], 0 * X[0]):
        assert np.isfinite(run(jnp.asarray(y))).all()


def test_skips_broadcast():
    flow = eft.pair_flow("relu", jnp.array([1.0, 2.0]), 3, X[0], X[1], skip=jnp.array([[0.0], [0.5], [1.0]]))
    assert flow.K_ab.shape == (3, 2, 3)
    one = eft.pair_flow("relu", 2.0, 3, X[0], X[1], skip=0.5)
    np.testing.assert_allclose(flow.K_ab[1, 1], one.K_ab, rtol=1e-14)


def test_the_input_0_cannot_be_normalized():
    """It is not valid, whatever is said of the others, and nothing is NaN. The control: without norm."""
    inputs = np.stack([X[0], X[1], 0 * X[0]])
    for norm, expected in (("rms", False), (None, True)):
        found = eft.gram_flow("erf", 1.3, 3, inputs, skip=0.5, norm=norm)
        assert found.valid[:2, :2].all() and (found.valid[2] == expected).all()
        assert np.isfinite(found.Theta).all()
        pair = eft.pair_flow("erf", 1.3, 3, inputs[0], inputs[2], skip=0.5, norm=norm)
        assert (pair.valid == expected).all() and np.isfinite(pair.K_ab).all()


def test_overflow_is_marked():
    """ReLU with γ = 1: K doubles in each layer, C_W = 2."""
    flow = eft.pair_flow("relu", 2.0, 1200, X[0], X[1], skip=1.0)
    np.testing.assert_allclose(flow.K_aa[:100], flow.K_aa[0] * 2.0 ** np.arange(100), rtol=1e-12)
    assert not flow.valid[-1] and flow.valid[:1000].all()
    one = diagonal("relu", 2.0, 1200, skip=1.0)
    assert not one.valid[-1] and one.valid[:1000].all() and np.isfinite(one.K).all()


@pytest.mark.sweep
def test_a_regression_network_has_no_skip_into_its_outputs():
    """At each depth by itself. The control: with a skip there."""
    data = X[:2], [0.5, -0.3], X[2:]
    found = eft.regress("tanh", 1.3, [2, 4], *data, cb=0.2, skip=0.8, noise=0.1)
    for i, depth in enumerate((2, 4)):
        K, Theta = (
            a[-1]
            for a in literal("tanh", 1.3, depth, cb=0.2, lambda_w=1.0, lambda_b=1.0, skip=0.8, readout=True)
        )
        nngp = K[2, :2] @ np.linalg.solve(K[:2, :2] + 0.1 * np.eye(2), data[1])
        ntk = Theta[2, :2] @ np.linalg.solve(Theta[:2, :2], data[1])
        np.testing.assert_allclose(found.nngp.mean[i, 0], nngp, rtol=1e-9)
        np.testing.assert_allclose(found.ntk.mean[i, 0], ntk, rtol=1e-9)
        other = eft.regress("tanh", 1.3, depth, *data, cb=0.2, skip=0.8, noise=0.1, readout=False)
        assert abs(other.nngp.mean[0] - nngp) > 1e-3 and abs(other.ntk.mean[0] - ntk) > 1e-3
    both = [eft.regress("tanh", 1.3, d, *data, skip=0.8, readout=False).ntk.mean for d in ([2, 4], 4)]
    np.testing.assert_allclose(both[0][1], both[1], rtol=1e-12)


@pytest.mark.parametrize("call", [eft.pair_flow, eft.expanded_pair_flow, eft.gram_flow, eft.regress])
@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ({"skip": -0.1}, "skip must be finite and ≥ 0; got -0.1"),
        ({"skip": float("nan")}, "skip must be finite"),
        ({"skip": False}, "skip must be a real number"),
        ({"norm": "batch"}, "norm must be one of None, rms, layer; got 'batch'"),
        ({"weights": "sparse"}, "weights must be one of gaussian, orthogonal; got 'sparse'"),
        ({"readout": 1}, "readout must be True or False; got 1"),
    ],
)
def test_bad_input(call, kind, says):
    inputs = {eft.gram_flow: (X,), eft.regress: (X, [1.0, 2.0, 3.0], X)}.get(call, (X[0], X[1]))
    with pytest.raises((eft.ArgumentError, eft.ArgumentTypeError), match=says):
        call("tanh", 1.3, 3, *inputs, **kind)


@pytest.mark.sweep("rms")
@pytest.mark.parametrize("norm", ["rms", "layer"])
def test_a_batch_of_normalized_networks(norm):
    """V and G1 of each are those of one alone. GELU, where the mean that "layer" subtracts counts."""
    cw, settings = [1.2, 1.9], {"cb": 0.2, "skip": 0.6, "norm": norm}
    batch = eft.kernel_flow("gelu", jnp.array(cw), 3, **settings)
    for i in range(2):
        alone = eft.kernel_flow("gelu", cw[i], 3, **settings)
        for name in ("K", "V", "G1", "chi_perp"):
            found, expected = getattr(batch, name)[i], getattr(alone, name)
            np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14, err_msg=name)
    assert (abs(batch.V[0] - batch.V[1])[1:] > 1e-3).all()
