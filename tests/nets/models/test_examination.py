"""What a diagnosis measures, says of models that it does not understand, and refuses."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from faulty_models import affine, gain, inputs, mlp, weights
from flax import linen

import eft
import nets
from nets.models.forms import pointwise
from nets.models.layers import along, layers_of
from nets.models.program import evaluate, traced

pytestmark = pytest.mark.promotes


def test_susceptibilities_against_the_jacobian():
    """χ̂⊥ = ‖J‖²/n and χ̂∥ = mean(z·Jz′)/mean(z′²) with J by `jax.jacobian`, for one input; with a skip too."""
    for gamma in (0.0, 0.7):
        params, x = weights([1.5, 1.5, 1.5], cb=0.1), inputs()[:1]

        def step(p, z, gamma=gamma):
            return gamma * z + affine(p, jnp.tanh(z))

        def f(params, x):
            return step(params[2], step(params[1], affine(params[0], x)))

        found = nets.diagnose(f, params, x, n_probes=150)
        z = affine(params[0], x)
        for p, report in zip(params[1:], found.layers[1:], strict=True):
            J = jax.jacobian(lambda z, p=p: step(p, z[None])[0])(z[0])
            after = step(p, z)
            chi = float((J**2).sum() / len(J))
            assert abs(float(report.chi_perp.mean) - chi) < 4 * float(report.chi_perp.stderr) < 0.15 * chi
            parallel = float((after[0] * (J @ z[0])).mean() / (z**2).mean())
            assert float(report.chi_parallel.mean) == pytest.approx(parallel, rel=1e-4)
            assert float(report.K.mean) == pytest.approx(float((after**2).mean()), rel=1e-5)
            z = after


def test_probes_know_nothing_of_the_model():
    """Weights and inputs drawn by the generator of the same seed, in the order of the probes."""
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(16, 64)), rng.normal(size=(64, 256)) / 8
    f = mlp(jax.nn.relu)
    params = [{"w": jnp.asarray(w, "float32"), "b": jnp.zeros(256, "float32")}, *weights([2.0, 2.0])[1:]]
    found = nets.diagnose(f, params, jnp.asarray(x, "float32"), seed=0)
    assert float(found.layers[1].chi_perp.mean) == pytest.approx(1, abs=0.1)


def test_gradients_are_those_of_the_whole_model():
    """The gradient of a layer is the product of the χ⊥ that follow, which are all near 2 here."""
    found = nets.diagnose(mlp(jax.nn.relu), weights([4.0] * 5), inputs(), n_probes=32)
    whole = found.layers[0].gradient
    product = np.prod([float(r.chi_perp.mean) for r in found.layers[1:]])
    assert whole == pytest.approx(product, rel=0.2) and 10 < product < 25
    assert found.layers[-1].gradient == pytest.approx(1, rel=1e-6)


def test_variances_and_correlation():
    params, x = weights([1.5, 2.0], cb=0.3), inputs()
    found = nets.diagnose(mlp(jnp.tanh), params, x)
    for p, report in zip(params, found.layers, strict=True):
        assert float(report.cw.mean) == pytest.approx(float(len(p["w"]) * (p["w"] ** 2).mean()), rel=1e-5)
        assert float(report.cb.mean) == pytest.approx(float((p["b"] ** 2).mean()), rel=1e-5)
    z = np.asarray(affine(params[0], x))
    rho = np.mean([z[a] @ z[b] / np.sqrt((z[a] @ z[a]) * (z[b] @ z[b])) for a in range(16) for b in range(a)])
    assert found.layers[0].rho == pytest.approx(rho, rel=1e-4)


def test_the_program_computes_the_model():
    """Programs that are followed give the function's values and gradients: scan, remat and others."""

    def f(params, x):
        def layer(z, w):
            return jax.nn.relu(z @ w), z.sum()

        z, sums = jax.lax.scan(layer, x, params["stack"], reverse=True)
        z = jax.checkpoint(lambda z: jax.nn.silu(z @ params["w"]))(z)
        z = jax.lax.cond(z.sum() > 0, lambda z: z @ params["w"], lambda z: z, z)
        return z, jax.nn.softplus(sums)

    rng = np.random.default_rng(0)
    params = {"stack": jnp.asarray(rng.normal(size=(3, 5, 5))), "w": jnp.asarray(rng.normal(size=(5, 5)))}
    x = jnp.asarray(rng.normal(size=(4, 5)))
    program = traced(f, params, x)

    def by_program(x):
        values = evaluate(program.operations, {**program.values, program.inputs[0]: x})
        return [values[v] for v in program.outputs]

    for mine, theirs in zip(by_program(x), f(params, x), strict=True):
        assert np.allclose(mine, theirs, rtol=1e-12)
    gradients = [
        jax.grad(lambda x, g=g: g(x)[0].sum())(x) for g in (by_program, functools.partial(f, params))
    ]
    assert np.allclose(*gradients, rtol=1e-10)
    network = layers_of(program)
    assert [layer.steps for layer in network.layers] == [(2,), (1,), (0,), ()]
    assert any("cond" in note for note in network.notes)


def test_while_is_named():
    def f(params, x):
        body = lambda c: (c[0] + 1, jnp.tanh(c[1] @ params["w"]))  # noqa: E731
        z = jax.lax.while_loop(lambda c: c[0] < 3, body, (0, x @ params["w"]))[1]
        return z @ params["w"]

    found = nets.diagnose(f, {"w": jnp.eye(8)}, jnp.ones((3, 8)))
    assert len(found.layers) == 2 and np.isnan(found.layers[1].chi_perp.mean)
    assert any("no derivative" in note for note in found.notes)
    assert any("`while`" in note and "not followed" in note for note in found.notes)


def test_attention_is_measured_and_said_not_to_be_understood():
    class Net(linen.Module):
        @linen.compact
        def __call__(self, x):
            x = linen.Dense(32)(x)
            x = x + linen.MultiHeadDotProductAttention(num_heads=4)(linen.LayerNorm()(x))
            return linen.Dense(4)(jnp.tanh(linen.Dense(32)(x)))

    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 6, 16)), "float32")
    found = nets.diagnose(Net().apply, Net().init(jax.random.key(0), x), x)
    assert len(found.layers) == 7
    assert any("attention" in note for note in found.notes)
    out = next(r for r in found.layers if "'out'" in r.path)
    assert out.source is None and np.isnan(out.theory.chi_perp) and np.isfinite(float(out.K.mean))
    assert out.skip == 1 and float(out.chi_block.mean) > 1
    assert found.layers[-1].theory.chi_perp == pytest.approx(float(found.layers[-1].chi_perp.mean), rel=0.3)


def test_the_function_between_two_layers():
    """σ as found in a program, evaluated at another shape and precision, is the function that was written."""

    def act(z, slope):
        return jnp.where(z > 0, jax.nn.softplus(z), slope * jax.nn.relu6(-z)) ** 2

    params = {"w": weights([1.0])[0], "v": weights([1.0, 1.0])[1], "slope": jnp.asarray(0.3, "float32")}
    program = traced(lambda p, x: affine(p["v"], act(affine(p["w"], x), p["slope"])), params, inputs())
    network = layers_of(program)
    first, second = network.layers
    assert second.sources == (first.z,)
    z = jnp.linspace(-7, 9, 11, dtype="float64").reshape(11, 1)
    found = pointwise(along(program, first.z, second.data), first.z, second.data, network.fixed, z)
    assert found.dtype == jnp.float64 and found.shape == (11, 1)
    assert np.allclose(found, act(z, 0.3), rtol=1e-7)
    assert not np.allclose(found, act(z, 0.31), rtol=1e-3)


@pytest.mark.long
def test_an_activation_of_ones_own():
    """The function that was found has the moments of the one that was written, trained slopes included."""

    def act(z, slope):
        return jnp.where(z > 0, z, slope * jnp.expm1(z)) + 0.1 * jnp.sin(3 * z)

    def f(params, x):
        z = affine(params["layers"][0], x)
        for p in params["layers"][1:]:
            z = affine(p, act(z, params["slope"]))
        return z

    params = {"layers": weights([1.5] * 4), "slope": jnp.asarray(0.3, "float32")}
    found = nets.diagnose(f, params, inputs())
    assert [r.before for r in found.layers] == ["the input", *3 * ["a function"]]
    K1, cw = float(found.layers[0].K.mean), float(found.layers[1].cw.mean)
    K2 = cw * float(eft.moments(eft.Activation(lambda z: act(z, 0.3), kinks=(0.0,)), K1).g)
    assert pytest.approx(K2, rel=1e-5) == found.layers[1].theory.K
    assert all(abs(r.score) < 4 for r in found.layers[1:])


def test_scaled_by_the_square_root_of_the_width():
    """Weights of variance 1 in (Wx + b)/√n, or with the factor in front of W only."""
    ours, x = weights([2.0] * 4, cb=0.1), inputs()
    theirs = [{"w": p["w"] * np.sqrt(len(p["w"])), "b": p["b"]} for p in ours]

    def f(params, x):
        z = x
        for i, p in enumerate(params):
            s = jnp.tanh(z) if i else z
            z = s @ p["w"] / np.sqrt(s.shape[1]) + p["b"]
        return z

    plain, scaled = nets.diagnose(mlp(jnp.tanh), ours, x), nets.diagnose(f, theirs, x)
    for a, b in zip(plain.layers, scaled.layers, strict=True):
        assert float(a.cw.mean) == pytest.approx(float(b.cw.mean), rel=1e-4)
        assert float(a.cb.mean) == pytest.approx(float(b.cb.mean), rel=1e-4)
        assert a.before == b.before


NOTES = {
    "tokens": (
        lambda p, x: affine(p["a"], jnp.tanh(p["table"][x])),
        {"a": weights([1.0])[0], "table": jnp.ones((10, 64))},
        jnp.arange(5),
        "not floating-point",
    ),
    "unused": (
        lambda p, x: affine(p["a"], x),
        {"a": weights([1.0])[0], "b": jnp.ones(3)},
        inputs(),
        "does not depend on: ['b']",
    ),
    "tied": (
        lambda p, x: x @ jnp.tanh(p) @ p @ p,
        jnp.eye(64, dtype=jnp.float32),
        inputs(),
        "layers 2, 3 have the same weights",
    ),
    "one input": (mlp(jnp.tanh), weights([1.0] * 2), inputs()[:1], "one input"),
    "a vector": (
        lambda p, x: jnp.tanh(x @ p) @ p,
        jnp.eye(64, dtype=jnp.float32),
        inputs()[0],
        "one input",
    ),
    "a constant": (
        lambda p, x: (x @ jnp.full((64, 64), 0.1)) @ p,
        jnp.eye(64, dtype=jnp.float32),
        inputs(),
        "constant",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NOTES)
def test_notes(name):
    f, params, x, words = NOTES[name]
    found = nets.diagnose(f, params, x)
    assert words in " ".join(found.notes) and words in " ".join(str(found).split())
    assert not any(words in note for note in nets.diagnose(*gain(False), n_probes=1).notes)


REFUSED = {
    "no function": (3, {}, jnp.ones((2, 3)), "f must be a function"),
    "no parameters": (lambda p, x: x, {}, jnp.ones((2, 3)), "params must contain at least one array"),
    "integers only": (
        lambda p, x: x,
        jnp.arange(3),
        jnp.ones((2, 3)),
        "params must contain at least one array",
    ),
    "text": (lambda p, x: "a", jnp.ones(3), jnp.ones((2, 3)), "must return an array"),
    "nothing": (lambda p, x: None, jnp.ones(3), jnp.ones((2, 3)), "must return an array"),
    "shapes": (lambda p, x: x @ p, jnp.ones((4, 4)), jnp.ones((2, 3)), "dot_general"),
    "no layer": (lambda p, x: x * p, jnp.ones(3), jnp.ones((2, 3)), "f must contain a linear layer"),
    "no inputs": (lambda p, x: p, jnp.ones(3), [], "x must contain"),
    "text in params": (lambda p, x: x, {"a": "b", "c": jnp.ones(2)}, jnp.ones(3), "params must be a pytree"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name):
    f, params, x, words = REFUSED[name]
    for function in (nets.diagnose, nets.tune):
        with pytest.raises((eft.ArgumentError, eft.ArgumentTypeError), match=words):
            function(f, params, x)


def test_bad_settings():
    f, params, x = mlp(jnp.tanh), weights([1.0] * 2), inputs()
    with pytest.raises(ValueError, match="n_probes"):
        nets.diagnose(f, params, x, n_probes=0)
    with pytest.raises(TypeError, match="x must be given"):
        nets.diagnose(f, params)
    with pytest.raises(TypeError, match="params must be given"):
        nets.diagnose(f, x=x)
    with pytest.raises(TypeError, match="params must not be given"):
        nets.diagnose(f, params, x, n_nets=2)
    with pytest.raises(TypeError, match=r"must return \(f, params\)"):
        nets.diagnose(lambda seed: 3, x=x, n_nets=2)
    with pytest.raises(ValueError, match="one architecture"):
        nets.diagnose(lambda seed: (mlp(jnp.tanh), weights([1.0] * (2 + seed))), x=x, n_nets=2)


def test_squares_that_overflow():
    """K grows by 1e30 a layer: the theory starts anew where ⟨σ⁴⟩ would overflow, and the trend is named."""
    rng = np.random.default_rng(5)
    params = [jnp.asarray(rng.normal(size=(32, 32)) * np.sqrt(1e30 / 32)) for _ in range(7)]

    def f(params, x):
        z = x @ params[0]
        for w in params[1:]:
            z = jax.nn.relu(z) @ w
        return z

    found = nets.diagnose(f, params, jnp.asarray(rng.normal(size=(4, 32))), n_probes=2)
    assert [report.theory.started for report in found.layers] == [True, *[False] * 5, True]
    assert float(found.layers[-1].K.mean) > 1e180
    assert [verdict.kind for verdict in found.verdicts] == ["exploding"]


OVER = {
    "the batch": (lambda z: (z - z.mean(0)) / jnp.sqrt(z.var(0) + 1e-5), False),
    "squares of the batch": (lambda z: z / jnp.sqrt((z * z).mean(0)), False),
    "everything": (lambda z: (z - z.mean()) / z.std(), False),
    "neurons": (lambda z: (z - z.mean(1, keepdims=True)) / z.std(1, keepdims=True), True),
}


@pytest.mark.parametrize("over", OVER)
def test_what_is_normalized_over_inputs_is_not_predicted(over):
    """The control: layer normalization."""
    normalized, known = OVER[over]
    random = np.random.default_rng(0)
    params = [random.normal(size=(32, 32)).astype("float32") / 4 for _ in range(4)]

    def f(params, x):
        z = x @ params[0]
        for w in params[1:]:
            z = jax.nn.relu(normalized(z)) @ w
        return z

    found = nets.diagnose(f, params, random.normal(size=(64, 32)).astype("float32"))
    assert bool(found.notes) != known
    assert all((layer.before == "layer norm, relu") == known for layer in found.layers[1:])
    batch_norm = [layer.before == "other: batch norm, relu" for layer in found.layers[1:]]
    assert batch_norm == [not known] * len(batch_norm)
