"""Tuned weights have χ⊥ = 1 in every layer, or what a skip connection leaves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from faulty_models import affine, inputs, mlp, scanned, weights

import nets

pytestmark = pytest.mark.promotes


def test_plain():
    f, params, x = mlp(jnp.tanh), weights([3.0, 0.2, 7.0, 1.0, 3.0], cb=0.05), inputs()
    tuned = nets.tune(f, params, x)
    found = nets.diagnose(f, tuned.params, x, n_probes=16)
    for report in found.layers[1:]:
        assert abs(float(report.chi_perp.mean) - 1) < 5 * float(report.chi_perp.stderr) + 0.02
    before = nets.diagnose(f, params, x)
    assert max(abs(float(r.chi_perp.mean) - 1) for r in before.layers[1:]) > 0.5  # the control
    assert tuned.factors[0].factor == 1 and "input" in tuned.factors[0].note
    for old, new, each in zip(params, tuned.params, tuned.factors, strict=True):
        assert np.allclose(new["w"], each.factor * old["w"], rtol=1e-6)
        assert np.array_equal(new["b"], old["b"])
    assert "factor" in str(tuned)


@pytest.mark.parametrize("gamma", [0.8, 1.0])
def test_residual(gamma):
    def f(params, x):
        z = affine(params[0], x)
        for p in params[1:]:
            z = gamma * z + affine(p, jax.nn.relu(z))
        return z

    params, x = weights([2.0] * 5), inputs()
    target = 1.0 if gamma < 1 else 1 + 1 / 4
    found = nets.diagnose(f, nets.tune(f, params, x).params, x, n_probes=16)
    for report in found.layers[1:]:
        assert float(report.chi_perp.mean) == pytest.approx(target, abs=0.03)


def test_stacked_weights_of_a_scan():
    f, params, x = scanned(True)
    tuned = nets.tune(f, params, x)
    factors = [each.factor for each in tuned.factors]
    assert factors[5] == pytest.approx(0.5, rel=0.05)
    assert np.allclose(tuned.params["stack"]["w"][4], factors[5] * params["stack"]["w"][4])
    assert all(each == pytest.approx(1, abs=0.1) for i, each in enumerate(factors) if i != 5)


def test_shared_weights_stay():
    params = weights([2.0, 3.0])

    def f(params, x):
        z = affine(params[0], x)
        for _ in range(3):
            z = affine(params[1], jnp.tanh(z))
        return z

    tuned = nets.tune(f, params, inputs())
    assert [each.factor for each in tuned.factors] == [1.0] * 4
    assert all("shared" in each.note for each in tuned.factors[1:])
    assert np.array_equal(tuned.params[1]["w"], params[1]["w"])


def test_what_is_merged_before_a_layer_is_not_made_up_for():
    """The mean over 16 positions makes χ⊥ 16 times smaller. The control: all positions kept."""
    random = np.random.default_rng(0)
    params = [random.normal(size=(n, 64)).astype("float32") * np.float32(np.sqrt(2 / n)) for n in [64] * 4]
    x = random.normal(size=(8, 16, 64)).astype("float32")

    def network(merge):
        def f(p, x):
            for w in p[:-1]:
                x = jax.nn.relu(x @ w)
            return merge(x) @ p[-1]

        return f

    pooled, kept = network(lambda s: s.mean(1)), network(lambda s: s)
    *others, last = nets.tune(pooled, params, x).factors
    assert last.factor == 1 and "merged" in last.note and last.before < 0.2
    assert all(each.factor != 1 for each in others[1:])
    assert "merged" not in nets.tune(kept, params, x).factors[-1].note
    found, whole = nets.diagnose(pooled, params, x), nets.diagnose(kept, params, x)
    assert found.healthy and whole.healthy
    assert ["merged" in " ".join(each.notes) for each in (found, whole)] == [True, False]


@pytest.mark.parametrize("merged", [False, True])
def test_gates_and_convolutions(merged):
    """Half of the features gate the others, where they are. The control: the mean of 2 × 2 positions."""
    random = np.random.default_rng(0)
    draw = lambda *shape: random.normal(size=shape).astype("float32") / 24  # noqa: E731
    first, last, x = draw(3, 3, 8, 64), draw(3, 3, 32, 16), random.normal(size=(4, 8, 8, 8)).astype("float32")

    def convolution(w, x):
        return jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    def f(p, x):
        z = convolution(p[0], x)
        s = z[..., :32] * jax.nn.sigmoid(z[..., 32:])
        return convolution(p[1], s.reshape(4, 4, 2, 4, 2, 32).mean((2, 4)) if merged else s)

    note = nets.tune(f, [first, last], x).factors[1].note
    assert ("merged" in note) == merged
