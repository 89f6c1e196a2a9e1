"""16-bit numbers become float32; kinks that no rule resolves are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eft
from eft import arguments

HALF = [np.float16, jnp.bfloat16, jnp.float8_e4m3fn]
VALUES = [1.5, 2.0]  # exact in all of them

CALLS = {
    "cw": lambda a: eft.kernel_flow("tanh", a, 3).V,
    "K1": lambda a: eft.kernel_flow("gelu", a[0], 3, K1=a, cb=a[1]).K,
    "K": lambda a: eft.gaussian_expectation(jnp.tanh, a),
    "gap": lambda a: eft.pair_expectation("relu", a, a, a).product,
    "X": lambda a: eft.gram_flow("relu", 2.0, 3, a[None]).Theta,
    "xa": lambda a: eft.pair_flow("relu", a[1], 3, a, a[::-1]).K_ab,
    "series": lambda a: eft.at_width(a, 3).value,
    "order": lambda a: eft.expand("relu", a, 3, 2).M,
    "NTK": lambda a: eft.ntk_flow("relu", a, 3).Theta,
    "Y": lambda a: eft.regress("relu", 2.0, 3, a[:, None], a, a[:, None], cb=a[0]).nngp.mean,
    "moments": lambda a: eft.moments(eft.activation("tanh"), a).g,
}


@pytest.mark.sweep("cw", "K1", "X", "order")
@pytest.mark.parametrize("name", CALLS)
def test_half_precision_is_computed_in_float32(name):
    """The results are those of float32, to the bit."""
    exact = CALLS[name](jnp.asarray(VALUES, jnp.float32))
    for dtype in HALF:
        found = CALLS[name](jnp.asarray(VALUES, dtype))
        assert found.dtype == jnp.float32
        np.testing.assert_array_equal(found, exact)
    traced = jax.eval_shape(lambda c: eft.kernel_flow("tanh", c, 3), jax.ShapeDtypeStruct((), jnp.float16))
    assert traced.K.dtype == jnp.float32


def test_other_precisions_are_kept():
    for dtype in (np.float32, np.float64):
        assert eft.kernel_flow("tanh", dtype(1.0), 3).K.dtype == dtype
    assert eft.kernel_flow("tanh", 1, 3).K.dtype == eft.kernel_flow("tanh", 1.0, 3).K.dtype == np.float64


@pytest.mark.parametrize("kinks", [5e-324, (1e-31,), (1e308,), 10**53, (0.5, -(10**400))])
def test_kinks_that_no_rule_resolves_are_refused(kinks):
    for call in (
        lambda: eft.Activation(jnp.tanh, kinks),
        lambda: eft.gaussian_expectation(jnp.tanh, 1.0, kinks),
    ):
        with pytest.raises(ValueError, match="kinks must be 0 or between 1e-30 and 1e\\+30 in size; got"):
            call()


@pytest.mark.parametrize("kinks", [[[1.0]], np.ones((2, 2)), ["1"], "1", [True], [None], 1j])
def test_nested_kinks_are_refused(kinks):
    with pytest.raises(TypeError, match="kinks must be a flat sequence"):
        eft.Activation(jnp.tanh, kinks)


@pytest.mark.sweep("1e-30-True")
@pytest.mark.parametrize("x64", [True, False])
@pytest.mark.parametrize("kink", arguments.KINK_SIZES)
def test_kinks_at_the_ends_are_resolved(kink, x64):
    """A step of height 0.1 at the ends: E[f] = 0.05 or 0."""
    with jax.enable_x64(x64):
        found = eft.gaussian_expectation(lambda z: jnp.tanh(z) + jnp.where(z > kink, 0.1, 0.0), 1.0, (kink,))
        np.testing.assert_allclose(found, 0.05 if kink < 1 else 0.0, atol=1e-6)
        act = eft.Activation(lambda z: jnp.tanh(z) + 0 * jnp.where(z > kink, 0.1, 0.0), (kink,))
        flow, plain = eft.kernel_flow(act, 1.3, 3), eft.kernel_flow("tanh", 1.3, 3)
        assert flow.valid.all()
        np.testing.assert_allclose(flow.V, plain.V, rtol=1e-12 if x64 else 1e-5)


def test_errors_name_values_without_a_repr():
    class Mute:
        def __repr__(self):
            raise RuntimeError

    assert arguments.shown(Mute()) == "an object of type Mute"
    assert "int" in arguments.shown(10**5000)
    with pytest.raises(TypeError, match=r"cw must be .* got an object of type Mute"):
        eft.kernel_flow("tanh", Mute(), 3)
    with pytest.raises(ValueError, match=r"depth must be .* got an object of type int"):
        eft.kernel_flow("tanh", 1.0, 10**5000)
    for widths in ((10**30, 4), (10**400, 4)):
        with pytest.raises(ValueError, match=r"widths\[0\] must be an integer ≥ 1 and ≤ 1,000,000,"):
            eft.kernel_flow("tanh", 1.0, 3, widths=widths)
    with pytest.raises(ValueError, match=r"width must be ≤ 1,000,000"):
        eft.log_flow("relu", 2.0, 3, 10**30)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("2GB", 2 * 10**9),
        ("500 MiB", 500 * 2**20),
        ("1.5 gib", 3 * 2**29),
        (" 10kB ", 10_000),
        ("1TB", 10**12),
        ("7", 7),
        ("12 b", 12),
        (np.int64(8), 8),
    ],
)
def test_memory_with_units(text, count):
    assert arguments.byte_count("memory_budget", text) == count


@pytest.mark.parametrize(
    "text", ["", "GB", "2 G", "2GBit", "-1GB", "0", "1e9", "nan GB", "0.5B", "9" * 30, "2 GB 3"]
)
def test_memory_that_is_no_amount(text):
    with pytest.raises(eft.ArgumentError, match=r"memory_budget must be .*2GB.*GiB or TiB; got"):
        arguments.byte_count("memory_budget", text)


@pytest.mark.parametrize("budget", ["1kB", "2 gigs"])
def test_budgets_as_text(budget):
    """Too little, and not an amount; the control: enough."""
    X = np.ones((4, 2))
    with pytest.raises(eft.ArgumentError, match="memory_budget must be"):
        eft.gram_flow("relu", 2.0, 3, np.ones((400, 2)), memory_budget=budget)
    assert eft.gram_flow("relu", 2.0, 3, X, memory_budget="1 GB").K.shape == (4, 4)


NAMED = [
    (eft.gram_flow, {}),
    (eft.vertex_flow, {}),
    (eft.ntk_gram_flow, {}),
    (eft.log_marginal_likelihood, {"Y": [1.0, 2.0], "noise": 0.1}),
    (eft.regress, {"Y": [1.0, 2.0], "x_test": [[0.3, 0.1]]}),
]


@pytest.mark.sweep("gram_flow-", "vertex_flow-", "regress-")
@pytest.mark.parametrize(("call", "more"), NAMED, ids=lambda value: getattr(value, "__name__", ""))
def test_inputs_may_be_called_x_or_X(call, more):
    """And not both; what is no name of an argument is refused as before."""
    X = [[1.0, 0.5], [0.2, -1.0]]
    given = {"act": "relu", "cw": 2.0, "depth": 2, **more}
    one, other, by_place = call(X=X, **given), call(x=X, **given), None
    if not more:
        by_place = call("relu", 2.0, 2, X)
    for found in (other, by_place or one):
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(found), strict=True):
            np.testing.assert_array_equal(a, b)
    with pytest.raises(eft.ArgumentTypeError, match="X must be given once; got X and x"):
        call(x=X, X=X, **given)
    with pytest.raises(TypeError):
        call(z=X, **given)
