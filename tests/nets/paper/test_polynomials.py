"""Networks of MRePU units are the polynomials that they were built for, as large as the formulas say.

Tolerances: 1e-9 of max|P| for one layer, 1e-8 for several; rounding reaches a hundredth of that at p = 6.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from numpy.polynomial import chebyshev, polynomial

import nets
from eft import activation
from nets.paper import circuits, polynomials

ONE_LAYER, SEVERAL = 1e-9, 1e-8
RNG = np.random.default_rng(8)


def by_flax(network, x):
    return np.asarray(polynomials.module(network)(jnp.asarray(x)))[:, 0]


def value(network, x):
    """The forward pass in NumPy, with nothing to compile."""
    *hidden, last = network.parameters["layers"].values()
    for layer in hidden:
        z = x @ layer["kernel"] + layer["bias"]
        x = z * np.maximum(z + 1, 0) ** network.p
    return (x @ last["kernel"] + last["bias"])[:, 0]


def relative_error(network, x, expected, forward=value):
    return np.abs(forward(network, x) - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("p", [2, 3, 4, 5, 6])
def test_one_layer_is_the_polynomial(p):
    """200 random polynomials of degree ≤ p on [−2, 2]."""
    x = np.linspace(-2, 2, 401)[:, None]
    worst, amplification = 0.0, 0.0
    for i in range(200):
        P = RNG.normal(size=1 + i % (p + 1))
        network = polynomials.polynomial_network(P, p, interval=(-2, 2))
        worst = max(worst, relative_error(network, x, polynomial.polyval(x[:, 0], P)))
        amplification = max(amplification, network.amplification)
    assert worst <= ONE_LAYER
    assert worst <= 16 * np.finfo(float).eps * amplification, "no worse than rounding of the terms"
    assert network.counts == (1, p + 1, p + 1, 3 * p + 4)


@pytest.mark.parametrize("p", [1, 2, 3, 6, 12])
def test_as_a_flax_network(p):
    """Through nets.FCN in float64; off the interval a unit goes off, and the polynomial is lost."""
    P = RNG.normal(size=p + 1)
    network = polynomials.polynomial_network(P, p, interval=(-1, 3))
    x = np.linspace(-1, 3, 101)[:, None]
    assert relative_error(network, x, polynomial.polyval(x[:, 0], P), by_flax) <= ONE_LAYER
    beyond = np.linspace(20, 30, 11)[:, None]
    assert relative_error(network, beyond, polynomial.polyval(beyond[:, 0], P)) > 1e-3


def test_weights_are_those_of_the_linear_system():
    """The inverse by Lagrange polynomials beside a solver; and rational by hand for p = 1, τ = ±1/√2."""
    for p in range(1, 9):
        block = circuits.Block.of(p)
        system = [block.tau**k * circuits.math.comb(p, k - 1) for k in range(1, p + 2)]
        np.testing.assert_allclose(
            block.powers, np.linalg.inv(system).T[:p], rtol=1e-9, atol=1e-9 * np.abs(block.powers).max()
        )
    np.testing.assert_allclose(circuits.Block.of(1, [0.5, -0.5]).powers, [[1.0, -1.0]], rtol=1e-15)


@pytest.mark.parametrize("p", [2, 4, 6])
def test_the_choice_of_nodes(p):
    """Chebyshev points against units of one side, and against shifts of one unit, which are far worse."""
    P = RNG.normal(size=p + 1)
    own = polynomials.polynomial_network(P, p, interval=(-2, 2))
    one_side = polynomials.polynomial_network(P, p, interval=(-2, 2), nodes=np.arange(1, p + 2) / (p + 1))
    shifted = polynomials.polynomial_network(P, p, interval=(-2, 2), shifts=2 + np.arange(p + 1) / p)
    x = np.linspace(-2, 2, 101)[:, None]
    for network in (own, one_side, shifted):
        assert relative_error(network, x, polynomial.polyval(x[:, 0], P)) < 1e-13 * network.amplification
    assert own.condition < one_side.condition < shifted.condition
    assert own.amplification < one_side.amplification < shifted.amplification


@pytest.mark.sweep("2-3", "3-2")
@pytest.mark.parametrize(("n", "p"), [(2, 2), (2, 3), (2, 4), (3, 2), (3, 3)], ids=lambda value: str(value))
def test_total_degree_four(n, p):
    shape = (5,) * n
    C = RNG.normal(size=shape) * (np.sum(np.indices(shape), 0) <= 4)
    box = [(-2.0, 1.0), (0.5, 2.0), (-1.0, 1.0)][:n]
    network = polynomials.multivariate_network(C, p, box=box)
    x = RNG.uniform(*np.transpose(box), (2000, n))
    expected = getattr(polynomial, f"polyval{n}d")(*x.T, C)
    assert relative_error(network, x, expected, by_flax) <= SEVERAL
    wrong = C.copy()
    wrong[(1, *[0] * (n - 1))] += 1e-6
    assert relative_error(network, x, getattr(polynomial, f"polyval{n}d")(*x.T, wrong)) > SEVERAL


@pytest.mark.parametrize("degrees", [(1,), (5,), (1, 1), (4, 1), (2, 3), (1, 1, 1), (3, 2, 1), (1, 1, 1, 2)])
@pytest.mark.parametrize("p", [2, 3])
def test_counts_are_those_of_the_formulas(degrees, p):
    C = RNG.uniform(0.5, 1, [d + 1 for d in degrees])
    network = polynomials.multivariate_network(C, p)
    assert network.counts == polynomials.horner_counts(degrees, p)
    leaves = jax.tree.leaves(network.parameters)
    assert network.counts.parameters == sum(leaf.size for leaf in leaves)
    assert network.counts.neurons == sum(network.widths)
    x = RNG.uniform(-1, 1, (100, len(degrees)))
    monomials = [np.prod(x**j, axis=1) for j in np.ndindex(C.shape)]
    assert relative_error(network, x, C.ravel() @ np.array(monomials)) <= SEVERAL


@pytest.mark.parametrize("n", [1, 2, 3])
def test_every_monomial(n):
    """Also those without some of the variables, the constant and zero; zeros make networks smaller."""
    x = RNG.uniform(-1, 1, (50, n))
    full = polynomials.horner_counts((3,) * n, 2)
    for j in itertools.product(range(4), repeat=n):
        C = np.zeros((4,) * n)
        C[j] = -2.5
        network = polynomials.multivariate_network(C, 2)
        assert network.counts.neurons <= full.neurons
        np.testing.assert_allclose(value(network, x), -2.5 * np.prod(x ** np.array(j), 1), atol=1e-10)
    np.testing.assert_array_equal(value(polynomials.multivariate_network(0 * C, 2), x), 0)


@pytest.mark.parametrize("p", [2, 3])
@pytest.mark.parametrize("degree", [1, 2, 3, 4, 9, 24])
def test_function_network_is_the_interpolant(p, degree):
    found = polynomials.function_network(lambda x: jnp.exp(jnp.sin(2 * x)), p, degree, interval=(-1, 2))
    x = np.linspace(-1, 2, 301)
    expected = chebyshev.chebval((x - 0.5) / 1.5, found.chebyshev)
    assert relative_error(found.network, x[:, None], expected) <= SEVERAL
    assert found.network.counts.layers == max(1, degree - p + 1)
    by_network = np.abs(value(found.network, x[:, None]) - np.exp(np.sin(2 * x))).max()
    assert by_network <= 1.001 * found.error + 1e-9


def test_rates_of_approximation():
    """|x|³ is C² with a jump of the third derivative: degree^{−3}; exp falls geometrically."""
    error = [polynomials.function_network(lambda x: jnp.abs(x) ** 3, 2, d).error for d in (8, 16, 32, 64)]
    np.testing.assert_allclose(np.log2(np.divide(error[:-1], error[1:])), 3, atol=0.35)
    smooth = [polynomials.function_network(jnp.exp, 2, d) for d in (4, 8, 12)]
    assert smooth[1].error < 1e-3 * smooth[0].error
    assert smooth[2].error < 1e-12
    assert all(each.slope_error > each.error for each in smooth)
    assert np.isnan(polynomials.function_network(np.exp, 2, 4).slope_error)  # NumPy has no derivative


def test_fine_tuned_by_train():
    """The network starts at a loss of rounding, and from there it learns a polynomial that is another."""
    network = polynomials.polynomial_network([0.5, -1, 0, 0.25], 3, interval=(-2, 2))
    x = np.linspace(-2, 2, 51)
    exact, other = (polynomial.polyval(x, [0.5, slope, 0, 0.25]) for slope in (-1, -0.9))
    settings = {"snapshots": (0, 200), "dtype": np.float64, "progress": False}
    run = nets.train(
        activation("mrepu", p=3), 1.0, 2, None, 2, (x[:, None], np.stack([exact, other]).T[:, 1:]), steps=200,
        optimizer=optax.adam(1e-3), widths=network.widths, initial=network.parameters, **settings,
    )  # fmt: skip
    start = np.mean((exact - other) ** 2) / 2
    np.testing.assert_allclose(run.loss[0], start, rtol=1e-10)
    assert (run.loss[1] < 0.05 * start).all()


def test_a_deep_network_starts_exact_in_train():
    deep = polynomials.multivariate_network(np.ones((2, 2, 2)), 2)
    X = RNG.uniform(-1, 1, (40, 3))
    run = nets.train(
        "mrepu", 1.0, len(deep.widths) + 1, None, 1, (X, np.prod(1 + X, 1)), initial=deep.parameters,
        widths=deep.widths, steps=1, snapshots=(0,), progress=False,
    )  # fmt: skip
    assert run.loss[0, 0] < 1e-6  # float32


def test_a_deep_network_is_tuned_to_another_target():
    deep = polynomials.multivariate_network(np.ones((2, 2, 2)), 2)
    X = RNG.uniform(-1, 1, (40, 3))
    run = nets.train(
        "mrepu", 1.0, len(deep.widths) + 1, None, 1, (X, np.prod(1 + X, 1) + 0.1 * np.sin(3 * X[:, 0])),
        initial=deep.parameters, widths=deep.widths, optimizer=optax.adam(1e-3), steps=200,
        snapshots=(0, 200), progress=False,
    )  # fmt: skip
    assert run.loss[1, 0] < 0.2 * run.loss[0, 0]


@pytest.mark.parametrize("p", [2, 3, 5])
def test_two_slopes_are_exact_on_the_whole_line(p):
    """xᵖ of units ±sx − 1, s = 1 and 2. The control: no weights of s = 1 alone do."""
    x = np.linspace(-100, 100, 2001)
    unit = lambda s: (s * x - 1) * np.maximum(s * x, 0.0) ** p  # noqa: E731
    units = np.stack([unit(s) for s in (1, -1, 2, -2)], 1) / 100.0 ** (p + 1)
    power = (x / 100.0) ** p
    left = lambda A: abs(A @ np.linalg.lstsq(A, power)[0] - power).max()  # noqa: E731
    assert left(units) < 1e-10
    assert left(units[:, :2]) > 0.01


def test_module_has_the_parameters():
    network = polynomials.multivariate_network([[1.0, 2.0]], 2)
    assert isinstance(polynomials.module(network), nets.FCN)
    found = nnx.to_pure_dict(nnx.state(polynomials.module(network)))
    assert jax.tree.all(jax.tree.map(np.array_equal, found, network.parameters))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: polynomials.polynomial_network([1, 2, 3, 4], 2), r"degree .* must be ≤ p = 2 .* got 3"),
        (lambda: polynomials.polynomial_network([1, 2], 1, nodes=[0.5, 0.5]), "differ from one another"),
        (lambda: polynomials.polynomial_network([1e308] * 3, 2), "weights overflow"),
        (lambda: polynomials.horner_counts((2, 2), 0), "p must be"),
        (lambda: polynomials.polynomial_network([1, 2], 1, nodes=[0.5, 0]), "must not be 0"),
        (lambda: polynomials.polynomial_network([1, 2], 1, nodes=[0.5, 1.1]), r"\[−1, 1\]"),
        (lambda: polynomials.polynomial_network([1, 2], 1, nodes=[0.5]), "2 numbers"),
        (lambda: polynomials.polynomial_network([1, 2], 1, shifts=[3, 3]), "differ from one another"),
        (lambda: polynomials.polynomial_network([1, 2], 1, shifts=[1, 3]), "must not be 1: .* no constant"),
        (lambda: polynomials.polynomial_network([1, 2], 1, shifts=[0.5, 3]), "is off"),
        (lambda: polynomials.polynomial_network([1, 2], 1, shifts=[2, 3], nodes=[1, 0.5]), "not both"),
        (lambda: polynomials.polynomial_network([1, np.nan], 2), "finite"),
        (lambda: polynomials.polynomial_network([1], 2, interval=(1, 1)), "low < high"),
        (lambda: polynomials.multivariate_network(np.ones((2, 2)), 1), "p must be ≥ 2"),
        (lambda: polynomials.multivariate_network(np.ones((2, 2)), 2, box=[(0, 1)]), "each of 2 variables"),
        (lambda: polynomials.multivariate_network(np.ones(70), 2), "1 to 65"),
        (lambda: polynomials.function_network(lambda x: 1 / x, 2, 2), "f must be finite"),
        (lambda: polynomials.function_network(jnp.exp, 1, 2), "p must be ≥ 2"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_bad_input_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_text_is_refused():
    with pytest.raises(TypeError, match="coefficients"):
        polynomials.polynomial_network("x²", 2)
    with pytest.raises(TypeError, match="interval"):
        polynomials.polynomial_network([1], 2, interval=3)
