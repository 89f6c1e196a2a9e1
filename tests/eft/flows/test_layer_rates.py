"""Rates of each layer: Θ is linear in them, and those of a recipe make all layers equal."""

import jax.numpy as jnp
import numpy as np
import pytest

import eft

DEPTH, X = 4, np.array([[1.0, 0.3], [-0.2, 0.9]])
SETTINGS = {"cb": 0.1, "lambda_w": 0.7, "lambda_b": 0.3}
ONES = np.ones(DEPTH)


def theta(weights, biases, **settings):
    rates = (weights, biases)
    return eft.gram_flow("relu", 1.5, DEPTH, X, **SETTINGS, layer_rates=rates, **settings).Theta


@pytest.mark.parametrize("kind", [{}, {"skip": 0.6, "norm": "rms", "readout": True}])
def test_the_kernel_is_the_sum_of_those_of_each_layer(kind):
    """All ones is none at all; the control: the layers differ."""
    whole = eft.gram_flow("relu", 1.5, DEPTH, X, **SETTINGS, **kind).Theta
    assert np.array_equal(theta(ONES, ONES, **kind), whole)
    parts = [theta(w, 0 * ONES, **kind) for w in np.eye(DEPTH)]
    parts += [theta(0 * ONES, b, **kind) for b in np.eye(DEPTH)]
    np.testing.assert_allclose(sum(parts), whole, rtol=1e-14)
    np.testing.assert_allclose(theta(2 * ONES, 3 * ONES, **kind), 2 * sum(parts[:4]) + 3 * sum(parts[4:]))
    assert len({float(part[0, 1]) for part in parts}) == 2 * DEPTH


def test_one_input():
    """`ntk_flow` at every layer, and Θ1, A … of unequal rates against equal ones of another λ."""
    rates = (np.array([0.5, 2.0, 0.0, 3.0]), np.array([1.0, 0.0, 2.0, 0.4]))
    flow = eft.ntk_flow("relu", 1.5, DEPTH, x2=float(np.mean(X[0] ** 2)), **SETTINGS, layer_rates=rates)
    gram = eft.gram_flow("relu", 1.5, DEPTH, X, **SETTINGS, layer_rates=rates, all_layers=True)
    np.testing.assert_allclose(flow.Theta, gram.Theta[:, 0, 0], rtol=1e-12)
    doubled = eft.ntk_flow(
        "relu", 1.5, DEPTH, cb=0.1, lambda_w=0.7, lambda_b=0.3, layer_rates=(2 * ONES, ONES)
    )
    same = eft.ntk_flow("relu", 1.5, DEPTH, cb=0.1, lambda_w=1.4, lambda_b=0.3)
    for name in ("Theta", "Theta1", "A", "B", "D", "F", "P", "Q"):
        np.testing.assert_allclose(getattr(doubled, name), getattr(same, name), rtol=1e-13, err_msg=name)


def test_rates_of_a_recipe_make_all_layers_equal():
    """λ_W^l and λ_b^l of `recipe` give Θ = 1, of which every layer's weights, and its biases, give 1/(2L)."""
    recipe = eft.recipe("relu", depth=DEPTH, width=64, x2=4.0)
    weights, biases = recipe.rates.lambda_w, recipe.rates.lambda_b

    def of(w, b):
        flow = eft.ntk_flow("relu", recipe.cw, DEPTH, cb=recipe.cb, x2=4.0, layer_rates=(w, b))
        return float(flow.Theta[-1])

    assert of(weights, biases) == pytest.approx(1, rel=1e-12)
    for one in np.eye(DEPTH):
        assert of(one * weights, 0 * ONES) == pytest.approx(1 / (2 * DEPTH), rel=1e-12)
        assert of(0 * ONES, one * biases) == pytest.approx(1 / (2 * DEPTH), rel=1e-12)
    assert of(ONES, 0 * ONES) > 1.5 * of(0 * ONES, ONES)


@pytest.mark.parametrize(
    ("rates", "says"),
    [
        (ONES, r"layer_rates must be \(rates of weights, rates of biases\)"),
        ((ONES, ONES[:2]), r"layer_rates\[1\] must have shape \(4,\); got shape \(2,\)"),
        ((-ONES, ONES), r"layer_rates\[0\] must be finite and ≥ 0"),
        ((1.0, 1.0), r"layer_rates\[0\] must have shape"),
    ],
)
def test_bad_rates(rates, says):
    for call in (
        lambda: eft.gram_flow("relu", 1.5, DEPTH, X, layer_rates=rates),
        lambda: eft.ntk_flow("relu", jnp.array(1.5), DEPTH, layer_rates=rates),
    ):
        with pytest.raises((eft.ArgumentError, eft.ArgumentTypeError), match=says):
            call()
    with pytest.raises(eft.ArgumentError, match="layer_rates must be left out of ntk_flow with a skip"):
        eft.ntk_flow("relu", 1.5, DEPTH, skip=0.5, layer_rates=(ONES, ONES))
