"""The tests check the annotations of `eft`; what users pass, `eft` checks."""

import jax.numpy as jnp
import pytest
from jaxtyping import TypeCheckError

import eft
from eft.activations.catalogue import activation
from eft.activations.one_sided import jump_at
from eft.flows.layers import saturated
from eft.gaussian.tabulated import moment_table, table_moments


def test_a_wrong_type_is_refused():
    assert float(saturated(jnp.ones(()))) == 1
    with pytest.raises(TypeCheckError):
        saturated(1.0)
    assert float(jump_at(jnp.tanh, 0, jnp.float64)) == 0
    with pytest.raises(TypeCheckError):
        jump_at(jnp.tanh, "0", jnp.float64)


@pytest.mark.parametrize(
    "change",
    [
        lambda table: {"v": table.v[:, 1:]},  # not so many nodes as z
        lambda table: {"v": table.v > 0},
        lambda table: {"rough": 0.0},
    ],
)
def test_a_record_whose_fields_do_not_agree_is_refused(change):
    table, K = moment_table(activation("tanh"), jnp.float64), jnp.ones(())
    assert float(table_moments(table, K).g) > 0
    with pytest.raises(TypeCheckError):
        table_moments(table._replace(**change(table)), K)


@pytest.mark.parametrize(("cw", "depth"), [("1", 3), (1.0, "3"), (1.0, 3.0), (None, 3), (1j, 3)])
def test_users_see_the_errors_of_the_package(cw, depth):
    with pytest.raises((eft.ArgumentError, eft.ArgumentTypeError)):
        eft.kernel_flow("tanh", cw, depth)
