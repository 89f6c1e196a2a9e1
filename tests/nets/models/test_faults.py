"""A diagnosis names the fault of a model and the layer; of the same model without it, it names none."""

import jax
import pytest
from faulty_models import CASES, DEPTH, N0, WIDTH, convolutional, inputs, mlp, residual, weights

import nets

pytestmark = pytest.mark.promotes


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.make.__name__)
def test_the_fault_and_its_layer(case):
    found = nets.diagnose(*case.make(True), n_probes=2)
    assert (case.kind, case.layer) in [(verdict.kind, verdict.layer) for verdict in found.verdicts]
    assert not found.healthy
    assert all(len(line) <= 100 for line in str(found).splitlines())


LIKE_ANOTHER = ("sigmoid", "softplus")
"""Without their fault these are tanh networks, as that without `nan` is."""


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            case, id=case.make.__name__, marks=[pytest.mark.long] * (case.make.__name__ in LIKE_ANOTHER)
        )
        for case in CASES
    ],
)
def test_without_the_fault(case):
    found = nets.diagnose(*case.make(False), n_probes=2)
    assert found.healthy and found.verdicts


SETTINGS = {
    "bias_variance": ("gelu", 0.0, None),
    "sigmoid": ("sigmoid", 0.0, None),
    "softplus": None,
    "residual": ("relu", 1.0, None),
    "normalized": None,
    "gain": None,
    "dead": None,
}


@pytest.mark.sweep("bias_variance", "sigmoid", "residual", "gain", "dead")
@pytest.mark.parametrize("name", SETTINGS)
def test_the_network_whose_recipe_mends_it(name):
    """None where no recipe does: softplus has none, and one odd layer is mended by itself."""
    case = next(case for case in CASES if case.make.__name__ == name)
    setting = nets.diagnose(*case.make(True), n_probes=2).setting
    if SETTINGS[name] is None:
        assert setting is None
    else:
        assert (setting.act.name, setting.skip, setting.norm) == SETTINGS[name]
        assert (setting.depth, setting.width, setting.n_in) == (DEPTH, WIDTH, N0)
        assert setting.x2 == pytest.approx(1.0, abs=0.1)


def test_there_is_no_recipe_for_convolutions_and_unequal_widths():
    """Networks that explode; the control has equal widths and dense layers."""
    f, params, x = convolutional(False)
    found = nets.diagnose(f, [2 * w for w in params], x, n_probes=2)
    assert found.verdicts[0].kind == "exploding" and found.setting is None
    for narrow in (WIDTH, WIDTH // 2):
        layers = weights([4.0] * DEPTH)
        layers[3] = {"w": layers[3]["w"][:, :narrow], "b": layers[3]["b"][:narrow]}
        layers[4]["w"] = layers[4]["w"][:narrow] * (WIDTH / narrow) ** 0.5
        found = nets.diagnose(mlp(jax.nn.relu), layers, x=inputs(), n_probes=2)
        assert found.verdicts[0].kind == "exploding"
        assert (found.setting is None) == (narrow < WIDTH)


def test_the_recipe_mends_it():
    """The faulty residual network, drawn by its recipe, is healthy."""
    f, faulty, x = residual(True)
    found = nets.diagnose(f, faulty, x, n_probes=2)
    recipe = found.recipe()
    assert "recipe(): how to initialize relu, 9 layers of width 256, skip γ = 1" in str(found)
    params = weights([recipe.first_gain**2] + [recipe.cw] * (DEPTH - 1), recipe.cb)
    assert not found.healthy and nets.diagnose(f, params, x, n_probes=2).healthy
