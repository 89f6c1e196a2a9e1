"""Theory beside experiment: scores that are right for right theory, and large for wrong theory."""

import csv
import io
import json

import numpy as np
import pytest

import eft
from nets import measure
from nets.comparison import cases, rows
from nets.comparison.cases import Case
from nets.comparison.comparison import compare
from nets.files import output
from nets.initialization import ensemble as ensembles

SETTINGS = {"cw": 1.3, "depth": 6, "width": 64, "n_nets": 20_000, "seed": 3, "method": "metric"}


@pytest.fixture(scope="module")
def ensemble():
    return measure("tanh", **SETTINGS)


def theory(**settings):
    return eft.kernel_flow("tanh", **{"cw": 1.3, "depth": 6, **settings})


def test_right_theory_has_small_scores(ensemble):
    c = compare(theory(), ensemble)
    for z in (c.z_K, c.z_V, c.z_K_z, c.z_V_z):
        assert np.isfinite(z).all() and abs(z).max() < 4
    assert c.z_K[0] == c.z_V[0] == 0
    assert c.chi2_K.dof == c.chi2_V.dof == 5
    assert c.chi2_K.p > 1e-3
    np.testing.assert_allclose(c.K_finite, c.K + np.asarray(theory().G1) / c.n)


def test_negative_control_without_the_correction_K_is_wrong(ensemble):
    c = compare(theory()._replace(G1=np.zeros(6)), ensemble)
    assert abs(c.z_K).max() > 6 and c.chi2_K.p < 1e-9


def test_negative_control_another_C_W_is_told_apart(ensemble):
    c = compare(theory(cw=1.33), ensemble)
    assert c.chi2_K.p < 1e-12 and abs(c.z_V).max() > 4


@pytest.mark.more
def test_the_next_orders_are_what_narrow_networks_need():
    """n = 16: the leading variance is rejected, that of order 3 is not; nor with real networks."""
    case = Case("tanh", 1.3, depth=6, width=16, n_nets=200_000, seed=5, method="metric", order=3)
    prepared = cases.prepare(case)
    c = cases.run(prepared)
    assert abs(np.concatenate([c.z_K, c.z_V])).max() < 4 and c.chi2_V.p > 1e-3
    assert c.converges.all() and (abs(c.V_last) < 0.02 * c.V_finite.max()).all()
    leading = cases.run(prepared._replace(series=None))
    assert abs(leading.z_V).max() > 5 and leading.chi2_V.p < 1e-9
    np.testing.assert_array_equal(leading.V_finite, leading.V)


def test_control_variates_see_the_next_order():
    """Networks of width 64 reject V of order 1 and agree with order 4; without, they do not reject it."""
    settings = {"depth": 6, "width": 64, "n_nets": 10_000, "method": "metric"}
    case = Case("tanh", 1.3, **settings, order=4, control_variates=True)
    prepared = cases.prepare(case)
    c = cases.run(prepared)
    assert abs(np.concatenate([c.z_K, c.z_V])).max() < 4 and min(c.chi2_K.p, c.chi2_V.p) > 1e-3
    assert c.chi2_K.dof == c.chi2_V.dof == 4  # layer 2 is exact
    leading = cases.run(prepared._replace(series=None))
    assert leading.chi2_V.p < 1e-6
    without = compare(theory(), measure("tanh", 1.3, **settings))
    assert min(without.chi2_K.p, without.chi2_V.p) > 1e-3


def test_control_variates_of_what_is_exact():
    """ReLU's K does not fluctuate: theory is right to 1e-12 of itself, and no χ² is left."""
    m = measure("relu", 2.0, 4, 32, 200, method="metric", control_variates=True)
    c = compare(eft.kernel_flow("relu", 2.0, 4), m)
    assert abs(c.z_K).max() < 1 and c.chi2_K.dof == 0
    assert abs(compare(eft.kernel_flow("relu", 2.0 * (1 + 1e-9), 4), m).z_K).max() > 100  # the control


def test_real_networks():
    m = measure("relu", 2.0, 5, 64, 500)
    c = compare(eft.kernel_flow("relu", 2.0, 5), m)
    assert abs(np.concatenate([c.z_K, c.z_V])).max() < 4
    assert c.chi2_K.p > 1e-3


NOT_PLAIN = {  # the kind of networks, and theory that is wrong for them
    "skip": ({"skip": 0.8}, {"skip": 0.7}),
    "readout": ({"skip": 0.8, "readout": True}, {"skip": 0.8}),
    "rms": ({"norm": "rms"}, {}),
    "layer": ({"norm": "layer"}, {}),
    "orthogonal": ({"weights": "orthogonal"}, {}),
    "all": ({"skip": 0.8, "norm": "rms", "weights": "orthogonal"}, {"skip": 0.7, "norm": "rms"}),
}


@pytest.mark.sweep("layer", "skip", "readout")
@pytest.mark.parametrize(("kind", "wrong"), NOT_PLAIN.values(), ids=NOT_PLAIN)
def test_networks_that_are_not_plain(kind, wrong):
    """Theory of the same kind has small scores; the control, of another kind, is rejected.

    χ² is at least the square of each score, as it is where both use the same deviations.
    """
    case = Case("tanh", 1.3, depth=4, width=32, n_nets=200, cb=0.1, method="metric", **kind)
    prepared = cases.prepare(case)
    measured = ensembles.run(prepared.job)
    c = compare(prepared.flow, measured)
    for z in (c.z_K, c.z_V, c.z_K_z, c.z_V_z):
        assert np.isfinite(z).all() and abs(z).max() < 4
    assert c.z_K[0] == c.z_V[0] == 0
    for chi2, z in ((c.chi2_K, c.z_K), (c.chi2_V, c.z_V)):
        assert chi2.dof == 3 and chi2.p > 1e-3 and chi2.value >= (1 - 1e-9) * (z**2).max()
    w = compare(theory(depth=4, cb=0.1, **wrong), measured)
    assert min(w.chi2_K.p, w.chi2_V.p) < 1e-9


def test_real_networks_with_a_skip():
    """The control: another γ."""
    prepared = cases.prepare(Case("tanh", 1.3, depth=4, width=32, n_nets=200, skip=0.8))
    measured = ensembles.run(prepared.job)
    c = compare(prepared.flow, measured)
    assert abs(np.concatenate([c.z_K, c.z_V])).max() < 4 and min(c.chi2_K.p, c.chi2_V.p) > 1e-3
    assert compare(theory(depth=4, skip=0.83), measured).chi2_K.p < 1e-6


def test_the_spread_is_that_of_the_whole_second_moment():
    """Without weights nothing fluctuates but the first layer: K̂² = γ²K̂¹ with K̂¹ of 4 neurons."""
    c = cases.run(cases.prepare(Case("tanh", 0.0, 3, 4, 4000, K1=1.0, method="metric", skip=0.5)))
    chi2_log_variance = np.pi**2 / 6 - 1  # of log χ² with 4 degrees of freedom, ψ′(2)
    np.testing.assert_allclose(c.spread, [0, *[chi2_log_variance**0.5] * 2], rtol=0.05)


@pytest.mark.parametrize("kind", [{"skip": 0.8}, {"norm": "rms"}, {"weights": "orthogonal"}], ids=str)
def test_a_series_is_of_plain_networks(kind):
    case = Case("tanh", 1.3, depth=4, width=8, n_nets=4, method="metric", order=2)
    with pytest.raises(ValueError, match=r"order must be 1 where there is a skip, a norm.*; got 2"):
        cases.prepare(case._replace(**kind))


def test_a_series_beside_networks_that_are_not_plain_is_refused(ensemble):
    series = eft.expand("tanh", 1.3, 6, 2)
    assert compare(theory(), ensemble, series).converges.all()
    with pytest.raises(ValueError, match="series must be left out for networks that are not plain"):
        compare(theory(), ensemble._replace(z2=ensemble.G), series)


def test_theory_at_several_widths():
    """Order 1 is the flow, and the same as the first term of a series; with a skip it is what is compared."""
    n, case = np.array([8.0, 32.0]), Case("tanh", 1.3, depth=4, n_nets=4, method="metric")
    (first,), (one, two) = cases.totals(case, n), cases.totals(case._replace(order=2), n)
    np.testing.assert_allclose(first, one, rtol=1e-9)
    assert (abs(two - one) > 1e-5).all()
    residual = case._replace(skip=0.8, width=32)
    c = cases.run(cases.prepare(residual))
    (found,) = cases.totals(residual, n)
    np.testing.assert_allclose(found[:, 1], [c.K_finite[-1], c.V_finite[-1]], rtol=1e-12)


def test_no_spread_has_defined_scores():
    m = measure("perceptron", 1.7, 4, 10, 20, cb=0.1)
    right = compare(eft.kernel_flow("perceptron", 1.7, 4, cb=0.1), m)
    for z in (right.z_K, right.z_V):
        np.testing.assert_array_equal(z, 0)
    assert right.chi2_K.dof == 0 and np.isnan(right.chi2_K.p)
    wrong = compare(eft.kernel_flow("perceptron", 1.6, 4, cb=0.1), m)
    np.testing.assert_array_equal(wrong.z_K, np.inf)


def test_overflow_and_invalid_theory_have_no_score():
    act = eft.activation("repu", p=2)
    m = measure(act, 2.0, 14, 16, 200, method="metric")
    c = compare(eft.kernel_flow(act, 2.0, 14), m)
    bad = (c.n_overflowed > 0) | ~c.valid
    assert bad.any() and not bad.all()
    np.testing.assert_array_equal(np.isnan(c.z_K), bad)
    assert c.chi2_K.dof <= (~bad).sum()
    assert c.spread[0] == 0 and c.spread[-1] > 1


def test_a_batch_of_flows_is_refused(ensemble):
    with pytest.raises(ValueError, match=r"flow must be of one network of depth 6"):
        compare(eft.kernel_flow("tanh", [1.0, 1.3], 6), ensemble)
    with pytest.raises(ValueError, match="flow must be of one network of depth 6"):
        compare(eft.kernel_flow("tanh", 1.3, 5), ensemble)


def test_preset_cases_are_those_of_the_paper():
    tanh, relu, mrepu = cases.PRESETS["paper"]
    assert (tanh.cw, relu.cw, mrepu.cw) == (1.0, 2.0, 1.0)
    assert (tanh.K1, relu.K1, mrepu.K1) == (None, None, 1e-3)
    assert {(c.depth, c.width, c.n_nets, c.cb, c.x2) for c in (tanh, relu, mrepu)} == {
        (11, 512, 1000, 0.0, 1.0)
    }
    assert mrepu.activation is eft.activation("mrepu", p=2)
    assert len({c.seed for c in (tanh, relu, mrepu)}) == 3


@pytest.mark.parametrize(
    ("text", "name"),
    [("tanh", "tanh"), ("mrepu:p=3", "mrepu(p=3)"), ("sin: frequency = 0.5", "sin(frequency=0.5)")],
)
def test_activations_as_text(text, name):
    assert cases.parse_activation(text).name == name


@pytest.mark.parametrize(
    "text", ["mrepu:p", "mrepu:p=x", "mrepu:q=2", "tnah", "mrepu:p=2.5", "", "sin:frequency=(1"]
)
def test_bad_text(text):
    with pytest.raises((ValueError, TypeError)):
        cases.parse_activation(text)


def test_rows_json_and_csv_hold_the_same_numbers():
    case = Case("mrepu:p=2", 1.0, depth=4, width=16, n_nets=30, K1=1e-3, method="metric")
    c = cases.run(cases.prepare(case))
    table = rows.layer_rows(c)
    assert list(table[0]) == list(rows.COLUMNS) and len(table) == 4
    assert table[2]["V_measured"] == c.V_measured.mean[2] and table[2]["V_z_stderr"] == c.V_z.stderr[2]
    read = json.loads(output.json_text(rows.json_value([(case, c)])))["cases"][0]
    assert read["layers"] == table
    assert read["settings"]["act"] == "mrepu(p=2)" and read["settings"]["K1"] == 1e-3
    lines = list(csv.DictReader(io.StringIO(output.csv_text(rows.csv_rows([(case, c)] * 2)))))
    assert len(lines) == 8 and lines[0]["act"] == "mrepu(p=2)"
    assert [float(line["K_measured"]) for line in lines[:4]] == [row["K_measured"] for row in table]


def test_json_has_no_numbers_that_json_does_not_know():
    text = output.json_text({"a": [float("nan"), float("inf"), -float("inf"), 1.5, True, None, "x"]})
    assert json.loads(text) == {"a": [None, "inf", "-inf", 1.5, True, None, "x"]}
