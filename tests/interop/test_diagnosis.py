"""One network written in several frameworks has one diagnosis. What is not installed is left out.

Equinox, Haiku and PyTorch are no dependencies: `pip install equinox dm-haiku torch` in an environment of your
own.
"""

import framework_models as frameworks
import jax
import pytest

import nets

pytestmark = pytest.mark.promotes

PACKAGES = {"flax_linen": "flax", "flax_nnx": "flax", "equinox": "equinox", "haiku": "haiku",
            "torch": "torch"}  # fmt: skip
PATHS = {
    "flax_linen": "['params']['Dense_2']['kernel']",
    "flax_nnx": "['layers'][2]['kernel'].value",
    "equinox": ".layers[2].weight",
    "haiku": "['mlp/~/linear_2']['w']",
    "torch": "4.weight",
}


@pytest.mark.parametrize("name", PACKAGES)
def test_the_report_is_that_of_plain_jax(name):
    pytest.importorskip(PACKAGES[name])
    plain = nets.diagnose(*frameworks.plain(), frameworks.inputs(), n_probes=16)
    found = nets.diagnose(*getattr(frameworks, name)(), frameworks.inputs(), n_probes=16)
    assert found.layers[2].path == PATHS[name]
    assert frameworks.same_report(plain, found)
    assert found.verdicts[0].kind == "chaotic"


@pytest.mark.parametrize("name", PACKAGES)
def test_tuned_parameters_fit_the_model(name):
    pytest.importorskip(PACKAGES[name])
    f, params = getattr(frameworks, name)()
    tuned = nets.tune(f, params, frameworks.inputs())
    assert jax.tree.structure(tuned.params) == jax.tree.structure(params)
    assert f(tuned.params, frameworks.inputs()).shape == (8, 4)
    reference = nets.tune(*frameworks.plain(), frameworks.inputs())
    factors = [each.factor for each in tuned.factors]
    assert factors == pytest.approx([each.factor for each in reference.factors], rel=1e-3)


def test_another_network_has_another_report():
    """The control of the comparison."""
    f, params = frameworks.plain()
    plain = nets.diagnose(f, params, frameworks.inputs())
    params[2] = (1.01 * params[2][0], params[2][1])
    assert not frameworks.same_report(plain, nets.diagnose(f, params, frameworks.inputs()))
