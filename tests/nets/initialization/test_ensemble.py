"""Ensembles: reproducible to the bit, honest about what overflowed, and the two methods agree."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import eft
from nets import measure
from nets.initialization import drawing
from nets.initialization.ensemble import prepare
from nets.network.architecture import Architecture
from nets.runtime import memory

SMALL = {"depth": 4, "width": 16}


def arrays(m, N):
    return m.G[:N], m.log_G[:N]


@pytest.mark.sweep("metric")
@pytest.mark.parametrize("method", ["networks", "metric"])
def test_same_bits_whatever_the_number_of_networks_and_the_chunk(method, monkeypatch):
    """One block at a time, three, sixteen: the networks are the same."""
    few = measure("tanh", 1.5, n_nets=20, method=method, **SMALL)
    many = measure("tanh", 1.5, n_nets=2500, method=method, **SMALL)
    for a, b in zip(arrays(few, 20), arrays(many, 20), strict=True):
        np.testing.assert_array_equal(a, b)
    for chunk in (1, 3, 16):
        monkeypatch.setattr(drawing, "CALL", chunk)
        cut = measure("tanh", 1.5, n_nets=2500, method=method, **SMALL)
        for a, b in zip(
            jax.tree.leaves(many._replace(seconds=0)), jax.tree.leaves(cut._replace(seconds=0)), strict=True
        ):
            np.testing.assert_array_equal(a, b)


def test_a_budget_decides_how_many_blocks_are_in_flight():
    """As much as fits, a power of two of blocks; what does not fit at all is refused with its bytes."""
    ample = prepare("tanh", 1.5, 4, 512, 2000, method="metric").plan
    assert ample.in_flight == drawing.CALL and ample.needed < ample.budget
    tight = prepare("tanh", 1.5, 4, 512, 2000, method="metric", memory_budget=ample.needed - 1).plan
    assert 1 <= tight.in_flight < ample.in_flight and tight.needed <= tight.budget
    with pytest.raises(ValueError, match="memory_budget must be at least") as refused:
        prepare("tanh", 1.5, 4, 512, 2000, method="metric", memory_budget=memory.OVERHEAD)
    asked = int(re.search(r"at least ([\d,]+) bytes", str(refused.value))[1].replace(",", ""))
    assert memory.OVERHEAD < asked <= tight.needed
    assert str(ample).startswith("2,000 networks in 16 blocks of 128, up to 16 at a time; ")


def test_other_seeds_and_other_members_are_other_networks():
    G = [measure("tanh", 1.5, n_nets=40, method="metric", seed=seed, **SMALL).G[:, -1] for seed in (0, 1)]
    assert len(np.unique(G)) == 80


@pytest.mark.sweep
def test_same_bits_without_float64():
    found = []
    for x64 in (True, False):
        drawing.compiled.cache_clear()
        with jax.enable_x64(x64):
            found.append(measure("tanh", 1.5, n_nets=16, cb=0.1, **SMALL))
    drawing.compiled.cache_clear()
    np.testing.assert_array_equal(found[0].G, found[1].G)
    assert found[1].K.mean.dtype == np.float64


def test_float64_networks_are_the_same_networks():
    single, double = (measure("tanh", 1.5, n_nets=8, dtype=d, **SMALL).G for d in (jnp.float32, jnp.float64))
    assert abs(single / double - 1).max() < 1e-5


@pytest.mark.sweep("settings1")
@pytest.mark.parametrize("settings", [{}, {"cb": 0.3}, {"K1": 0.05}, {"x2": 0.25}, {"x": [1.0, -2.0, 0.5]}])
def test_networks_and_metric_agree_in_distribution(settings):
    """Ĝ of the last layer, by Kolmogorov and Smirnov; both exact at this small width."""
    shared = {"act": "tanh", "cw": 1.5, "depth": 3, "width": 16, **settings}
    networks = measure(n_nets=1000, seed=1, **shared)
    metric = measure(n_nets=10_000, seed=2, method="metric", **shared)
    assert networks.K.mean[0] == metric.K.mean[0]
    assert stats.ks_2samp(networks.G[:, -1], metric.G[:, -1]).pvalue > 1e-3
    for name in ("K", "V", "K_z", "V_z", "chi_parallel", "chi_perp"):
        a, b = getattr(networks, name), getattr(metric, name)
        error = np.hypot(a.stderr, b.stderr)
        assert (abs(a.mean - b.mean) <= 4.5 * error).all(), name


@pytest.mark.sweep
def test_negative_control_truncated_weights_are_told_apart():
    """The same variance, another kurtosis: one weight carries the input, and Ĝ shows it."""

    def truncated(key, shape):
        return jax.random.truncated_normal(key, -2, 2, shape, jnp.float32) / 0.8796256610342398

    shared = {"act": "tanh", "cw": 1.5, "depth": 3, "width": 128, "x": [1.0]}
    metric = measure(n_nets=10_000, seed=2, method="metric", **shared)
    gaussian, control = (
        measure(n_nets=1000, seed=1, **given, **shared).G[:, -1] for given in ({}, {"normal": truncated})
    )
    assert stats.ks_2samp(gaussian, metric.G[:, -1]).pvalue > 1e-3
    assert stats.ks_2samp(control, metric.G[:, -1]).pvalue < 1e-9


def test_the_correlators_of_the_neurons_measure_the_same_vertex():
    m = measure("relu", 2.0, 4, 8, 40_000, method="metric")
    product = np.cumprod([1, *(1 + 5 / 8,) * 3])
    exact = 4 * (product - 1) * np.array([2, 8, 8, 8])
    for estimate in (m.V, m.V_z):
        assert (abs(estimate.mean - exact) <= 4 * estimate.stderr).all()
    assert m.V.mean[0] == m.V.stderr[0] == 0 < m.V_z.stderr[0]


def test_susceptibilities_are_those_of_theory():
    m = measure("tanh", 1.5, 5, 256, 2000, method="metric", cb=0.1)
    flow = eft.kernel_flow("tanh", 1.5, 5, cb=0.1)
    hidden = slice(0, 4)  # of the output there is one neuron, whose ratio is not the ratio of the means
    for measured, theory in ((m.chi_parallel, flow.chi_parallel), (m.chi_perp, flow.chi_perp)):
        assert abs(measured.mean / np.asarray(theory) - 1)[hidden].max() < 0.01


@pytest.mark.sweep("metric")
@pytest.mark.parametrize("method", ["networks", "metric"])
def test_overflow_is_counted_and_left_out(method):
    """RePU explodes: some networks leave float32 at a layer, all of them some layers later."""
    N = 400
    m = measure(eft.activation("repu", p=2), 2.0, 9, 8, N, method=method, dtype=jnp.float32)
    assert (m.n_nets + m.n_overflowed == N).all()
    assert (np.diff(m.n_overflowed) >= 0).all()
    assert m.n_overflowed[0] == 0 and m.n_overflowed[-1] > 0.5 * N
    assert ((m.n_overflowed > 0) & (m.n_overflowed < N)).any()
    for layer, used in enumerate(m.n_nets):
        assert np.isfinite(m.K.mean[layer]) == (used > 0)
        assert np.isfinite(m.K.stderr[layer]) == (used > 1)
    np.testing.assert_allclose(m.K.mean[1], m.G[:, 1].mean(), rtol=1e-12)


def test_a_spread_of_exactly_zero():
    m = measure("perceptron", 1.7, 5, 10, 50, cb=0.1)
    np.testing.assert_array_equal(m.K.stderr, 0)
    np.testing.assert_array_equal(tuple(m.V), 0)
    np.testing.assert_allclose(m.K.mean, 1.8, rtol=1e-6)


def test_unequal_widths_and_a_single_layer():
    m = measure("tanh", 1.0, 4, None, 30, widths=(4, 9, 2), x=np.ones(3))
    assert m.widths.tolist() == [3, 4, 9, 2, 1] and m.G.shape == (30, 4)
    single = measure("tanh", 2.0, 1, 5, 30)
    assert single.K.mean == [2.0] and single.V.mean == [0.0]


def test_progress_goes_to_stderr_and_only_when_asked(capfd):
    measure("tanh", 1.0, n_nets=20, progress=True, **SMALL)
    shown = capfd.readouterr()
    assert "20/20" in shown.err and shown.out == ""
    measure("tanh", 1.0, n_nets=20, **SMALL)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("bad", "error", "words"),
    [
        ({"n_nets": 0}, ValueError, "n_nets must be an integer ≥ 1"),
        ({"n_nets": 2.5}, ValueError, "n_nets must be an integer ≥ 1"),
        ({"depth": 0}, ValueError, "depth must be an integer ≥ 1"),
        ({"depth": 10**9}, ValueError, "depth must be .* got 1,000,000,000"),
        ({"depth": 501}, ValueError, "depth must be ≤ 500"),
        ({"width": 0}, ValueError, "width must be an integer ≥ 1; got 0"),
        ({"width": None}, TypeError, "width must be an integer ≥ 1"),
        ({"width": 10**12}, ValueError, "memory_budget must be at least"),
        ({"width": 10**12, "method": "metric"}, ValueError, "memory_budget must be at least"),
        ({"widths": (3, 3, 3)}, ValueError, "width must be None where widths is given"),
        ({"width": None, "widths": (3, 3)}, ValueError, "widths must hold one integer for each hidden layer"),
        ({"cw": -1.0}, ValueError, "cw must be finite and ≥ 0; got -1"),
        ({"cw": float("nan")}, ValueError, "cw must be finite"),
        ({"cw": [1.0, 2.0]}, ValueError, "cw must be one number"),
        ({"cw": 1e39}, ValueError, "must be finite in float32"),
        ({"cb": float("inf")}, ValueError, "cb must be finite"),
        ({"x2": -1}, ValueError, "x2 must be finite and ≥ 0; got -1"),
        ({"x": [[[1.0]]]}, ValueError, "x must be one input of shape"),
        ({"x": []}, ValueError, "x must be one input of shape"),
        ({"x": [float("nan")]}, ValueError, "x must be one input of shape"),
        ({"x": [1.0, 1.0], "x2": 3.0}, ValueError, "x2 must be left out"),
        ({"x": [0.0], "K1": 1.0}, ValueError, "x must not be 0"),
        ({"K1": -1}, ValueError, "K1 must be finite and ≥ 0"),
        ({"method": "magic"}, ValueError, "method must be one of networks, metric; got 'magic'"),
        ({"seed": -1}, ValueError, "seed must be an integer"),
        ({"seed": 2**32}, ValueError, "seed must be an integer"),
        ({"dtype": "int32"}, ValueError, "dtype must be float32 or float64"),
        ({"dtype": "nonsense"}, ValueError, "dtype must be float32 or float64"),
        ({"memory_budget": 0}, ValueError, "memory_budget must be an integer ≥ 1"),
        ({"memory_budget": 1000}, ValueError, "memory_budget must be at least .* got 1,000"),
        ({"memory_budget": "1 kB"}, ValueError, "memory_budget must be at least .* got 1,000"),
        ({"memory_budget": "2 gigs"}, ValueError, "memory_budget must be .* text such as"),
        ({"act": "tnah"}, ValueError, "tanh"),
        ({"act": 1}, TypeError, "act must be"),
    ],
    ids=str,
)
def test_bad_arguments(bad, error, words):
    with pytest.raises(error, match=words):
        measure(**{"act": "tanh", "cw": 1.0, "n_nets": 4, **SMALL, **bad})


def test_float64_without_x64_is_refused():
    with jax.enable_x64(False), pytest.raises(ValueError, match="jax_enable_x64"):
        measure("tanh", 1.0, n_nets=4, dtype="float64", **SMALL)


def test_the_block_depends_on_the_architecture_and_the_kind_of_device_alone():
    def sizes(accelerator):
        architectures = {
            width: Architecture(eft.activation("tanh"), (2, *(width,) * 10, 1))
            for width in (16, 256, 512, 1024)
        }
        return {
            width: drawing.block_size(drawing.Program(architecture, "networks", accelerator=accelerator))
            for width, architecture in architectures.items()
        }

    assert sizes(accelerator=False) == {16: 8, 256: 8, 512: 2, 1024: 1}
    assert sizes(accelerator=True) == {16: 512, 256: 512, 512: 128, 1024: 32}


@pytest.mark.sweep("metric")
@pytest.mark.parametrize("method", ["networks", "metric"])
def test_the_first_layer_is_known_to_all_digits(method):
    """K¹ = C_b + C_W x2 and Θ¹ do not fluctuate: exactly what theory has, though networks are float32."""
    m = measure("tanh", 1.1, cb=0.3, x2=1.7, n_nets=5, method=method, **SMALL)
    assert (m.K.mean[0], m.K.stderr[0]) == (0.3 + 1.1 * 1.7, 0)
    assert eft.kernel_flow("tanh", 1.1, 4, cb=0.3, x2=1.7).K[0] == m.K.mean[0]
    assert np.float32(m.K.mean[0]) != m.K.mean[0]  # a number that float32 does not have
    x = np.array([[0.1, 0.7], [1.3, -0.4]])
    gram = measure("tanh", 1.1, cb=0.3, x=x, n_nets=5, method=method, **SMALL)
    np.testing.assert_array_equal(gram.K.mean[0], 0.3 + 1.1 * x @ x.T / 2)
    if method == "networks":
        tangent = measure("tanh", 1.1, cb=0.3, n_nets=5, ntk=True, lambda_b=0.2, lambda_w=0.9, **SMALL)
        assert tangent.ntk.Theta.mean[0] == pytest.approx(1.1, rel=1e-15) and tangent.ntk.Theta.stderr[0] == 0


@pytest.mark.sweep
def test_an_interval_of_the_vertex():
    """Of 20 networks; the control: 1000 have a narrower one. Where networks overflowed there is none."""
    few, many = (measure("relu", 2.0, n_nets=n, method="metric", **SMALL).V_interval() for n in (20, 1000))
    product = np.cumprod([1, *(1 + 5 / 16,) * 3])
    exact = 4 * (product - 1) * np.array([2, 16, 16, 16])
    for low, high in (few, many):
        assert ((low <= exact) & (exact <= high)).all()
        assert low[0] == high[0] == 0
    assert ((many[1] - many[0])[1:] < (few[1] - few[0])[1:]).all()
    lost = measure(eft.activation("repu", p=2), 2.0, 9, 8, 50, method="metric")
    assert (np.isnan(lost.V_interval()[0]) == (lost.n_overflowed > 0)).all()
