"""Theory beside measurement: within the spread of one network at its width, which a wrong C_W is not."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

import eft
import nets
from nets.models.layers import layers_of
from nets.models.probe import probed
from nets.models.program import traced
from nets.models.theory import Kind, deep, predicted
from nets.statistics.estimators import Estimate

WIDTH, N0, DEPTH, INPUTS = 512, 64, 7, 4

SIGMAS = 4.0
"""Standard deviations that no number may be off, of about 20 in each of ten networks."""

GELU = {"cw": 1.983058257437552, "cb": 0.172922390756069}

KINDS = {
    "plain tanh": dict(act="tanh", cw=1.4, cb=0.1),
    "plain gelu": dict(act="gelu", **GELU),
    "orthogonal relu": dict(act="relu", cw=2.0, weights="orthogonal"),
    "residual tanh": dict(act="tanh", cw=0.5, skip=0.9),
    "residual relu": dict(act="relu", cw=0.3, cb=0.05, skip=1.0),
    "rms norm": dict(act="tanh", cw=1.0, norm="rms"),
    "layer norm": dict(act="gelu", cw=1.5, cb=0.2, norm="layer"),
    "rms norm and skip": dict(act="relu", cw=1.0, norm="rms", skip=1.0),
}


LONG_FLOWS = [
    pytest.param(name, marks=pytest.mark.long)
    for name in ("residual relu", "rms norm and skip", "layer norm")
]


def inputs(m: int = INPUTS) -> jax.Array:
    """Inputs of mean square 1 and correlation about 0.6."""
    rng = np.random.default_rng(3)
    return jnp.asarray(np.sqrt(0.6) * rng.normal(size=N0) + np.sqrt(0.4) * rng.normal(size=(m, N0)))


def fcn(seed: int = 0, width: int = WIDTH, **kind):
    net = nets.FCN(N0, (width,) * (DEPTH - 1), width, rngs=jax.random.key(seed), dtype=jnp.float64, **kind)
    graph, params = nnx.split(net)
    return lambda p, x: nnx.merge(graph, p)(x), params


def worst(found: nets.Diagnosis) -> float:
    """The largest deviation of K̂ and χ̂⊥ from theory, in standard deviations."""
    scores = [abs(r.score) for r in found.layers if not r.theory.started]
    for r in found.layers:
        if not r.theory.started:
            error = np.hypot(r.theory.chi_spread, float(r.chi_perp.stderr))
            scores.append(abs(float(r.chi_perp.mean) - r.theory.chi_perp) / error)
    assert len(scores) == 2 * (len(found.layers) - 1)
    return max(scores)


QUICK = ("plain tanh", "residual relu", "layer norm")
"""The others take long."""


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.long) for name in KINDS]
)
def test_networks_of_one_kind(name):
    width = 128 if "weights" in KINDS[name] else WIDTH  # orthogonal weights take long to draw
    found = nets.diagnose(*fcn(**KINDS[name], width=width), inputs())
    assert worst(found) < SIGMAS
    rho = np.array([(r.rho, r.theory.rho) for r in found.layers[1:]])
    assert np.abs(rho[:, 0] - rho[:, 1]).max() < 0.1
    skip = KINDS[name].get("skip", 0.0)
    assert all(r.gamma == pytest.approx(skip, abs=1e-12) for r in found.layers[1:-1])


@pytest.mark.long
@pytest.mark.promotes
def test_blocks_of_two_layers():
    """z′ = z + W₂ gelu(W₁N(z)), with the layer norm of Flax and its ε; and a read-out."""

    class Net(linen.Module):
        @linen.compact
        def __call__(self, x):
            dense = functools.partial(linen.Dense, WIDTH, param_dtype=jnp.float64)
            z = dense()(x)
            for _ in range(3):
                h = linen.LayerNorm(param_dtype=jnp.float64)(z)
                z = z + dense()(jax.nn.gelu(dense()(h)))
            return dense()(linen.LayerNorm(param_dtype=jnp.float64)(z))

    x = inputs()
    found = nets.diagnose(Net().apply, Net().init(jax.random.key(0), x), x)
    assert [r.before for r in found.layers[1:3]] == ["layer norm", "gelu_tanh"]
    assert [r.skip for r in found.layers] == [None, None, 1, None, 3, None, 5, None]
    assert worst(found) < SIGMAS
    block, first, second = found.layers[2].chi_block, found.layers[1].chi_perp, found.layers[2].chi_perp
    product = 1 + float(first.mean) * float(second.mean)
    assert float(block.mean) == pytest.approx(product, rel=0.05)
    assert found.healthy


def test_a_wrong_variance_is_seen():
    """The control: weights that are 20 % larger in variance than the theory is told."""
    f, params = fcn(**KINDS["plain tanh"])
    network = layers_of(traced(f, params, inputs()))
    probes = probed(network, inputs(), 8, 0)
    wrong = [probe._replace(cw=Estimate(probe.cw.mean / 1.2, probe.cw.stderr)) for probe in probes]
    for told, seen in ((probes, False), (wrong, True)):
        theory = predicted(network, told, INPUTS)
        off = [
            abs(float(p.K.mean) - t.K) / t.K_spread
            for p, t in zip(probes, theory, strict=True)
            if not t.started
        ]
        assert (max(off) > SIGMAS) == seen


@pytest.mark.sweep("plain tanh")
@pytest.mark.parametrize("name", ["plain tanh", "residual tanh", *LONG_FLOWS])
def test_the_flow_is_that_of_the_theory(name):
    """With one C_W and C_b in all layers: K, χ and ρ are those of `kernel_flow` and `pair_flow`."""
    kind = dict(KINDS[name])
    f, params = fcn(**kind, width=32)
    network = layers_of(traced(f, params, inputs(2)))
    act, cw, cb = kind.pop("act"), kind.pop("cw"), kind.pop("cb", 0.0)
    given = {"cw": Estimate(np.asarray(cw), np.asarray(0.0)), "cb": Estimate(np.asarray(cb), np.asarray(0.0))}
    probes = [probe._replace(**given) for probe in probed(network, inputs(2), 1, 0)]
    K1, rho1 = float(probes[0].K.mean), probes[0].rho
    theory = predicted(network, probes, 2)
    kind["readout"] = "skip" in kind
    flow = eft.kernel_flow(act, cw, DEPTH, cb=cb, K1=K1, **kind)
    assert [t.K for t in theory] == pytest.approx(np.asarray(flow.K), rel=1e-9)
    assert [t.chi_perp for t in theory[1:]] == pytest.approx(np.asarray(flow.chi_perp[:-1]), rel=1e-9)
    assert [t.chi_parallel for t in theory[1:]] == pytest.approx(
        np.asarray(flow.chi_parallel[:-1]), rel=1e-9, abs=1e-9
    )
    a = np.sqrt(2 * (K1 - cb) / cw)
    rho = (rho1 * K1 - cb) / (K1 - cb)
    xa, xb = np.array([a, 0.0]), np.array([a * rho, a * np.sqrt(1 - rho**2)])
    kind.pop("weights", None)
    pair = eft.pair_flow(act, cw, DEPTH, xa, xb, cb=cb, **kind)
    assert [t.rho for t in theory] == pytest.approx(1 - np.asarray(pair.gap), abs=1e-7)


def test_the_deep_flow():
    """Its χ⊥ is that of `kernel_flow` far down."""
    f, params = fcn(act="tanh", cw=2.0, width=32)
    network = layers_of(traced(f, params, inputs(2)))
    forms = probed(network, inputs(2), 1, 0)[1].forms
    flow = deep([Kind(forms, 2.0, 0.0, 0.0)], 1.0)
    far = eft.kernel_flow("tanh", 2.0, 200)
    assert pytest.approx(float(far.K[-1]), rel=1e-3) == flow.K
    assert np.exp(flow.log_chi) == pytest.approx(float(far.chi_perp[-1]), rel=1e-3)
    K = deep([Kind(forms, 1.0, 0.0, 0.0)], 1.0, gamma2=0.25).K
    assert pytest.approx(0.25 * K + float(eft.moments("tanh", K).g), rel=1e-4) == K


def test_normalization_after_the_activation():
    """W N(σ(z)): C_W⟨σ′²⟩/⟨σ²⟩, for layer norm over ⟨σ²⟩ − ⟨σ⟩²; against networks."""
    rng = np.random.default_rng(5)
    for kind, n in (("rms", 0.0), ("layer", 1.0)):
        W = [jnp.asarray(rng.normal(size=(WIDTH, WIDTH)) / np.sqrt(WIDTH)) for _ in range(3)]

        def f(params, x, n=n):
            z = x @ params[0]
            for w in params[1:]:
                s = jax.nn.relu(z)
                s = s - n * s.mean(1, keepdims=True)
                z = (s / jnp.sqrt((s**2).mean(1, keepdims=True))) @ w
            return z

        x = jnp.asarray(rng.normal(size=(INPUTS, WIDTH)))
        found = nets.diagnose(f, W, x)
        assert found.layers[2].before == f"relu, {kind} norm"
        assert worst(found) < SIGMAS


@pytest.mark.long
def test_scores_are_standard():
    """(K̂ − K)/spread of 24 networks of width 96 has a variance of about 1, corrections of 1/n aside."""
    x = inputs(1)
    scores = []
    for seed in range(24):
        found = nets.diagnose(*fcn(seed, width=96, act="tanh", cw=1.5), x, n_probes=1)
        scores.append([r.score for r in found.layers[1:]])
    assert 0.6 < np.sqrt(np.mean(np.square(scores))) < 1.4


@pytest.mark.long
def test_an_ensemble():
    """Means and V over 40 networks of width 64 agree with theory, n Var(Ĝ) with the V of `kernel_flow`."""
    kind = dict(act="tanh", cw=1.5, cb=0.1)
    found = nets.diagnose(lambda seed: fcn(seed, width=64, **kind), x=inputs(2), n_nets=40, n_probes=1)
    assert found.n_nets == 40 and "40 networks" in str(found)
    flow = eft.kernel_flow("tanh", 1.5, DEPTH, cb=0.1, K1=float(found.layers[0].K.mean))
    for r, V in zip(found.layers[1:], np.asarray(flow.V[1:]).tolist(), strict=True):
        assert abs(float(r.V.mean) - V) < SIGMAS * float(r.V.stderr)
        assert pytest.approx(V, rel=0.1) == r.theory.V
        assert abs(r.score) < SIGMAS + 2
    assert not abs(float(found.layers[3].V.mean) - 3 * flow.V[3]) < SIGMAS * float(found.layers[3].V.stderr)
