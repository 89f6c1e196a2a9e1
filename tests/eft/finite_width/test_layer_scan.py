"""Rules that are careful, or finer, are used where they are needed and nowhere else."""

import jax.numpy as jnp
import pytest

import eft
from eft.finite_width.input_products import rules_for
from eft.finite_width.layer_scan import ACCURACY, MAX_DOUBT, by_rules

SMOOTH, LINEAR = (rules_for(eft.activation(name), 1.0) for name in ("tanh", "relu"))


def used(rules, value, error, doubt) -> tuple[bool, bool]:
    """Whether the last rules were careful and whether finer; error and doubt in units of what is allowed."""
    asked = []

    def flow_by(rules):
        asked.append(rules)
        return [jnp.array([a, 0.0]) for a in (value, error * ACCURACY[8], doubt * MAX_DOUBT[8])]

    assert len(by_rules(flow_by, rules)) == 2
    return asked[-1].pairs != rules.pairs, asked[-1].products != rules.products


@pytest.mark.parametrize("value", [0.0, 1e9])
@pytest.mark.parametrize("error", [0.5, 2.0])
@pytest.mark.parametrize("doubt", [0.5, 2.0])
def test_which_rules_are_used(value, error, doubt):
    """Careful ones for doubt, finer ones for an error, whatever the values are; neither for closed forms."""
    assert used(SMOOTH, value, error, doubt) == (doubt > 1, error > 1)
    assert used(LINEAR, value, error, doubt) == (False, False)
