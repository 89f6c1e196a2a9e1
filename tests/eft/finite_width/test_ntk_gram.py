"""The NTK of several inputs at finite width agrees with that of one input, direct sums, and networks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eft
import nets
from eft.finite_width import layer_scan
from eft.finite_width.input_products import Rules, rules_for
from eft.finite_width.layer_expectations import layer_moments, layer_slopes
from eft.finite_width.ntk_gram import slope_of
from eft.gaussian.bivariate import pair_source
from nets.statistics import estimators

X = np.array([[1.0, -0.5, 0.3], [0.2, 0.8, -1.1], [-0.4, 0.1, 0.6], [0.9, 0.4, 0.2]])
SETTINGS = {"cb": 0.1, "lambda_w": 0.7, "lambda_b": 0.3}
FIELDS = ("K", "V", "Theta", "Theta1", "A", "B", "D", "F")


@functools.cache
def flow(act: str, inputs: int = 2, depth: int = 4) -> eft.NTKGramFlow:
    return eft.ntk_gram_flow(act, 1.6, depth, X[:inputs], **SETTINGS)


@pytest.mark.parametrize("act", ["gelu", "relu"])
def test_of_each_input_it_is_the_flow_of_one(act):
    found = flow(act)
    for i in range(2):
        one = eft.ntk_flow(act, 1.6, 4, x2=np.mean(X[i] ** 2), **SETTINGS)
        pair = (0, 2)[i]
        for name in FIELDS:
            axes = getattr(found, name).ndim - 1
            at = (slice(None), *axes * ((pair if name in "VAD" else i),))
            np.testing.assert_allclose(
                getattr(found, name)[at], getattr(one, name), rtol=1e-8, atol=1e-9, err_msg=name
            )
    assert found.valid.all()


def test_close_inputs_have_nearly_the_ntk_of_one():
    """Entries off the diagonal come from other integrals. The control: inputs that are not close."""
    near = eft.ntk_gram_flow("gelu", 1.6, 4, np.stack([X[0], X[0] * 1.001]), **SETTINGS)
    for found, close in ((near, True), (flow("gelu"), False)):
        for field, one, two in (("Theta1", (0, 0), (0, 1)), ("A", (0, 0), (1, 1)), ("D", (0, 0), (1, 1))):
            a, b = (np.asarray(getattr(found, field))[-1][at] for at in (one, two))
            assert (abs(b / a - 1) < 0.01) == close, field
        for field in ("B", "F"):
            a, b = (np.asarray(getattr(found, field))[-1][at] for at in ((0, 0, 0, 0), (0, 1, 1, 0)))
            assert (abs(b / a - 1) < 0.01) == close, field


def test_repeated_inputs_have_equal_entries():
    twice, once = eft.ntk_gram_flow("gelu", 1.6, 4, X[[0, 1, 0]], **SETTINGS), flow("gelu")
    np.testing.assert_array_equal(twice.B[:, 2, 1, 0, 2], once.B[:, 0, 1, 0, 0])
    np.testing.assert_array_equal(twice.Theta1[:, 2, 1], once.Theta1[:, 0, 1])
    alone = eft.ntk_gram_flow("selu", 1.6, 3, X[[0, 0]], **SETTINGS)  # its slope jumps: no matter here
    assert alone.valid.all() and np.ptp(alone.A[-1]) == 0


@pytest.mark.more
@pytest.mark.parametrize("act", ["gelu", "tanh"])
def test_careful_rules_for_pairs_agree_with_smooth_ones(act, monkeypatch):
    settings = {"act": act, "cw": 1.6, "depth": 3, "X": X[:2], **SETTINGS}
    smooth = eft.ntk_gram_flow(**settings)
    monkeypatch.setattr(layer_scan, "MAX_DOUBT", {8: -1.0})
    careful = eft.ntk_gram_flow(**settings)
    for name in FIELDS:
        a, b = np.asarray(getattr(smooth, name)), np.asarray(getattr(careful, name))
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    assert 0 < smooth.error.max() < 1e-9
    assert (smooth.Theta1 != careful.Theta1).any()  # they are not the same sums


@pytest.mark.more
def test_a_steep_function_is_integrated_by_careful_rules(monkeypatch):
    """The control: the smooth ones are wrong, and their error says by how much."""
    settings = {"act": lambda z: jnp.tanh(8 * z) / 8, "cw": 1.6, "depth": 3, "X": X[:2], **SETTINGS}
    chosen = eft.ntk_gram_flow(**settings)
    monkeypatch.setattr(layer_scan, "MAX_DOUBT", {8: np.inf})
    smooth = eft.ntk_gram_flow(**settings)
    off = np.max(np.abs(np.asarray(smooth.Theta1 / chosen.Theta1)[2] - 1))
    assert chosen.error.max() < 1e-10 < 1e-7 < off < smooth.error.max()


def gauss_hermite(K: np.ndarray, f, count: int = 24) -> np.ndarray:
    """⟨f⟩ in z ~ N(0, K), f of an array (r, points)."""
    x, w = np.polynomial.hermite_e.hermegauss(count)
    r = len(K)
    u = np.stack(np.meshgrid(*r * [x], indexing="ij")).reshape(r, -1)
    weight = np.prod(np.stack(np.meshgrid(*r * [w / w.sum()], indexing="ij")).reshape(r, -1), 0)
    return f(np.linalg.cholesky(K) @ u) @ weight


@pytest.mark.sweep("False")
@pytest.mark.parametrize("nested", [False, True])
def test_expectations_of_four_inputs(nested):
    """⟨σσσ′σ′⟩ of all index combinations at four inputs against Gauss–Hermite, for σ = sin."""
    act = eft.activation("sin", frequency=0.5)
    K = 0.1 + 0.5 * X @ X.T
    I, J = np.triu_indices(4)  # noqa: E741
    kernel = [jnp.asarray(a) for a in (K[I, J], np.diag(K), K[I, I] + K[J, J] - 2 * K[I, J])]
    rules = rules_for(act, float(K.max()))
    rules = Rules(rules.grids) if nested else rules
    sources = tuple(pair_source(each, kernel[0].dtype) for each in (act, slope_of(act)))

    @jax.jit
    def of(*kernel):
        moments = [source.moments(kernel[1]) for source in sources]
        made = layer_slopes(sources, rules, kernel, *moments, eft.slopes(act, kernel[1]))
        return made.cross, made.error, made.doubt

    found, error, doubt = of(*kernel)
    s = lambda z: np.sin(z / 2)  # noqa: E731
    d = lambda z: np.cos(z / 2) / 2  # noqa: E731
    expected = gauss_hermite(
        K,
        lambda z: np.stack(
            [
                [s(z[a]) * s(z[b]) * d(z[e]) * d(z[f]) for e, f in zip(I, J, strict=True)]
                for a, b in zip(I, J, strict=True)
            ]
        ),
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
    if not nested:
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-13)
        assert error < 1e-10 and doubt < 1e-11
    assert error < 1e-4
    assert abs(found - found.T).max() > 1e-3  # the pair of values and the pair of slopes are told apart


def test_slopes_of_relu_are_those_of_the_arcsine():
    """⟨σ′₁σ′₂⟩ = (π − θ)/2π and its K-derivatives by automatic differentiation."""
    act = slope_of(eft.activation("relu"))
    K = jnp.asarray([0.7, 0.3, 1.1])

    def exact(K):
        return (jnp.pi - jnp.arccos(K[1] / jnp.sqrt(K[0] * K[2]))) / (2 * jnp.pi)

    apart, diagonal = jnp.asarray([0.0, K[0] + K[2] - 2 * K[1], 0.0]), K[jnp.asarray([0, 2])]
    rules, moments = rules_for(act, 1.1), eft.moments(act, diagonal)
    found = layer_moments(pair_source(act, K.dtype), rules, K, diagonal, apart, moments)
    np.testing.assert_allclose(found.g, [0.5, exact(K), 0.5], rtol=1e-9)
    np.testing.assert_allclose(found.J[1], jax.grad(exact)(K), rtol=1e-9)
    V = jnp.asarray([[1.0, 0.2, 0.1], [0.2, 0.8, 0.3], [0.1, 0.3, 0.9]])
    second = jnp.sum(jax.hessian(exact)(K) * V) / 2
    np.testing.assert_allclose(found.second_order(V)[1], second, rtol=1e-9)


def test_the_error_of_two_inputs_is_relative():
    """⟨σ₁²⟩ + ⟨σ₂²⟩ = 2⟨σ₁σ₂⟩ + ⟨(σ₁−σ₂)²⟩, here of size 0.02: moments that are 1 % larger show as 1 %."""
    act = eft.activation("tanh")
    K = 0.01 * jnp.asarray([0.7, 0.3, 1.1])
    apart, diagonal = jnp.asarray([0.0, K[0] + K[2] - 2 * K[1], 0.0]), K[jnp.asarray([0, 2])]
    of = functools.partial(layer_moments, pair_source(act, K.dtype), rules_for(act, 1.1), K, diagonal, apart)
    m = eft.moments(act, diagonal)
    assert of(m).error < 1e-10
    assert float(of(m._replace(g=1.01 * m.g)).error) == pytest.approx(0.01 / 1.01)


WIDTHS = (16, 32, 64)


def extrapolated(values, errors):
    n = np.array(WIDTHS, float)
    weights = np.array([np.prod([a / (a - b) for b in n if b != a]) for a in n])
    return np.tensordot(weights, values, 1), np.sqrt(np.tensordot(weights**2, np.square(errors), 1))


@pytest.mark.more
@pytest.mark.parametrize("act", ["gelu", "relu"])
def test_networks_at_two_inputs(act):
    """At the output n Cov(Θ̂_12, Θ̂_34) = A_(12)(34) + B_1324 + B_1423 and the mean of Θ̂, extrapolated in 1/n.

    The control: without B. The mean is too noisy here to reject 0: that is done below, for ReLU.
    """
    theory, depth = flow(act), 4
    covariances, errors, means, mean_errors = [], [], [], []
    a, b = np.triu_indices(2)
    for n, N in zip(WIDTHS, (40_000, 30_000, 16_000), strict=True):
        m = nets.measure(act, 1.6, depth, n, N, x=X[:2], seed=n, ntk=True, progress=False, **SETTINGS)
        found = estimators.covariance_matrix(m.Theta_hat[:, a, b])
        covariances.append(n * found.mean)
        errors.append(n * found.stderr)
        means.append(n * (m.Theta.mean - theory.Theta[-1])[a, b])
        mean_errors.append(n * m.Theta.stderr[a, b])
    B = np.asarray(theory.B[-1])
    crossed = B[a[:, None], a, b[:, None], b] + B[a[:, None], b, b[:, None], a]
    found, error = extrapolated(covariances, errors)
    assert (abs(found - theory.A[-1] - crossed) < 4 * error).all()
    assert (abs(found - theory.A[-1]) > 4 * error).any()
    found, error = extrapolated(means, mean_errors)
    assert (abs(found - np.asarray(theory.Theta1[-1])[a, b]) < 4 * error).all()


@pytest.mark.more
def test_two_inputs_of_relu_have_a_correction_of_the_mean():
    """A single input has none. That of Θ̂_12 is measured to 0.04 and differs from 0.

    Control variates, of mean 0 at every width: Θ̂_αα − Θ_αα and Ĝ_αα − K_αα. Extrapolated linearly in 1/n.
    """
    theory = flow("relu")
    K, Theta = np.asarray(theory.K), np.asarray(theory.Theta[-1])
    values, errors = [], []
    for n, N in ((16, 80_000), (32, 60_000)):
        m = nets.measure("relu", 1.6, 4, n, N, x=X[:2], seed=n, ntk=True, progress=False, **SETTINGS)
        shift = m.Theta_hat - Theta
        own = [shift[:, [0, 1], [0, 1]], *((m.G - K)[:, layer, [0, 1], [0, 1]] for layer in (1, 2, 3))]
        columns = np.column_stack([np.ones(N), *own])
        fitted, *_ = np.linalg.lstsq(columns, shift[:, 0, 1], rcond=None)
        values.append(n * fitted[0])
        errors.append(n * (shift[:, 0, 1] - columns @ fitted).std() / np.sqrt(N))
    found, error = 2 * values[1] - values[0], np.hypot(2 * errors[1], errors[0])
    assert abs(found - theory.Theta1[-1, 0, 1]) < 4 * error
    assert found > 5 * error and error < 0.05
    assert theory.Theta1[-1, 0, 0] == 0


@pytest.mark.parametrize(
    ("bad", "error", "words"),
    [
        ({"act": "perceptron"}, ValueError, "act must be continuous"),
        ({"act": "selu"}, ValueError, "act must have a continuous derivative where X holds different inputs"),
        ({"X": np.eye(5)}, ValueError, "X must hold at most 4 different inputs; got 5"),
        ({"lambda_w": [1.0, 2.0]}, ValueError, "lambda_w must be one number"),
        ({"depth": 0}, ValueError, "depth must be an integer"),
    ],
    ids=str,
)
def test_bad_arguments(bad, error, words):
    with pytest.raises(error, match=words):
        eft.ntk_gram_flow(**{"act": "tanh", "cw": 1.0, "depth": 3, "X": X[:2], **bad})
