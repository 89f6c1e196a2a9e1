"""docs/initialize.md: its examples print what it shows, and its tables are those of the theory."""

from decimal import Decimal

import jax.numpy as jnp
import numpy as np
import pytest
from guides import examples, report, tables

import eft
import nets

GUIDE = "initialize.md"
OURS = ("Flax NNX", "Flax Linen", "Plain JAX")
ROUNDED = 0.006
"""Relative error of three digits, in a logarithm to base e."""


@pytest.mark.promotes
@pytest.mark.parametrize("section", OURS)
def test_example(section):
    assert report(examples(GUIDE)[section]) == ""


def test_an_example_can_fail():
    code = examples(GUIDE)["Plain JAX"]
    assert "Expected" in report(code.replace("[3.7", "[3.5"))


def gains(names):
    for row in tables(GUIDE)[0]:
        if row["activation"] in names:
            found = eft.classify(row["activation"])
            shown = np.array([float(row[name]) for name in ("gain", "C_W", "C_b", "K*")])
            gain = nets.initializers.critical(row["activation"]).gain
            np.testing.assert_allclose(shown, [gain, found.cw, found.cb, found.K], rtol=0, atol=6e-7)
            assert (row["class"], row["stability"]) == (found.kind, found.stability)
            yield row["activation"]


def test_gains():
    assert list(gains(("tanh", "gelu", "selu"))) == ["tanh", "gelu", "selu"]


@pytest.mark.long
def test_gains_of_the_whole_catalogue():
    names = eft.activation_names()
    critical = [name for name in names if eft.critical_point(name)]
    assert list(gains(names)) == critical and len(critical) > 20


def test_gains_over_depth():
    """K after 50 layers, and Π χ⊥ over 50 and 500."""
    rows = tables(GUIDE)[1]
    assert len(rows) == 10
    for row in rows:
        act, settings = row["activation"], {"cw": float(row["gain"]) ** 2}
        if "critical" in row["origin"]:
            point = eft.classify(act)
            assert abs(float(row["gain"]) ** 2 / point.cw - 1) < 3e-6
            settings = {"cw": point.cw, "cb": point.cb} | ({"K1": point.K} if point.K else {})
        flow = eft.kernel_flow(act, settings.pop("cw"), 501, **settings)
        assert flow.valid.all()
        gradients = np.cumsum(np.log(flow.chi_perp))
        for name, value in {
            "K after 50 layers": jnp.log(flow.K[50]),
            "gradient², 50 layers": gradients[49],
            "gradient², 500 layers": gradients[499],
        }.items():
            # six digits of a gain say 500 factors to 3e-4
            assert abs(float(Decimal(row[name]).ln()) - float(value)) < ROUNDED, (row, name)


def test_what_the_text_says_of_tanh_and_selu():
    keeps = 1 / np.sqrt(float(eft.moments(eft.activation("tanh"), jnp.ones(())).g))
    assert abs(keeps - 1.592537) < 1e-6
    for act, gain, chi_perp in (
        ("tanh", keeps, 1.18),
        ("tanh", 5 / 3, 1.21),
        ("selu", 1.0, 1.07),
        ("selu", 0.75, 1.0037),
    ):
        flow = eft.kernel_flow(act, gain**2, 501)
        digits = 4 if act == "selu" and gain < 1 else 2
        assert round(float(flow.chi_perp[-1]), digits) == chi_perp
