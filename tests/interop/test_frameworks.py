"""Networks of Equinox, Haiku and PyTorch at the critical point have K and χ⊥ as predicted; `make interop`."""

import itertools
import math
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from measured_layers import DEPTH, N0, N_OUT, WIDTH, compared, expected, first_kernel, input_of, observed

import eft
import nets
from eft.arguments import ArgumentError, ArgumentTypeError

N_NETS = 1000
SIZES = (N0, *[WIDTH] * (DEPTH - 1), N_OUT)
LAYERS = ("first", *["hidden"] * (DEPTH - 2), "output")
SURELY = 1e-6
ACTS = ("tanh", "gelu")
OFF = 1.05**2
"""C_W of the controls, in units of the critical one: gains that are 5 % off."""


def chi_squared(act, samples) -> float:
    point = eft.classify(act)
    return compared(samples, expected(act, point.cw, point.cb, first_kernel(act), WIDTH))[0].p


def drawn_by_jax(act, layers):
    """K̂ and χ̂⊥ of N_NETS networks; `layers`: key ↦ pre-activations."""
    cw = eft.classify(act).cw
    keys = jax.random.split(jax.random.key(1), N_NETS)
    return np.asarray(jax.vmap(lambda key: observed(act, cw, layers(key)))(keys))


def off(act, layer):
    """The critical initializer with a gain that is 5 % off."""
    return nets.initializers.critical(act, layer, cw=OFF * nets.initializers.critical(act, layer).cw)


@pytest.mark.promotes
@pytest.mark.parametrize("act", ACTS)
def test_haiku(act):
    hk = pytest.importorskip("haiku")
    adapted = pytest.importorskip("nets.interop.haiku").initializer
    sigma = eft.activation(act)

    def layers(weights):
        def forward(s):
            z = []
            for n, layer in zip(SIZES[1:], LAYERS, strict=True):
                bias = adapted(nets.initializers.critical_bias(act, layer))
                z.append(hk.Linear(n, w_init=adapted(weights(act, layer)), b_init=bias)(s))
                s = sigma(z[-1]).astype(jnp.float32)
            return z

        network = hk.transform(forward)
        return lambda key: network.apply(network.init(key, input_of(N0)), None, input_of(N0))

    good, wrong = (drawn_by_jax(act, layers(w)) for w in (nets.initializers.critical, off))
    assert chi_squared(act, good) > 1e-3
    assert chi_squared(act, wrong) < SURELY


@pytest.mark.sweep("tanh")
@pytest.mark.promotes
@pytest.mark.parametrize("act", ACTS)
def test_equinox(act):
    eqx = pytest.importorskip("equinox")
    initialized = pytest.importorskip("nets.interop.equinox").initialized
    sigma = eft.activation(act)
    empty = eqx.nn.MLP(
        N0, N_OUT, WIDTH, DEPTH - 1, activation=sigma, key=jax.random.key(0), dtype=jnp.float32
    )

    def layers(**settings):
        def of(key):
            net, s, z = initialized(empty, act, key=key, **settings), input_of(N0), []
            for layer in net.layers:
                z.append(layer(s))
                s = sigma(z[-1]).astype(jnp.float32)
            return z

        return of

    point = eft.classify(act)
    wrong = {"cw": OFF * point.cw, "K1": first_kernel(act), "cb": point.cb}
    assert chi_squared(act, drawn_by_jax(act, layers())) > 1e-3
    assert chi_squared(act, drawn_by_jax(act, layers(**wrong))) < SURELY


@pytest.mark.parametrize("act", ACTS)
def test_torch(act):
    torch = pytest.importorskip("torch")
    initialize_ = pytest.importorskip("nets.interop.torch").initialize_
    torch.set_num_threads(1)  # small matrices: threads would wait for each other
    sigma = {"tanh": torch.nn.Tanh, "gelu": torch.nn.GELU}[act]
    parts = [torch.nn.Linear(a, b) for a, b in itertools.pairwise(SIZES)]
    net = torch.nn.Sequential(*[part for layer in parts for part in (layer, sigma())][:-1])
    generator = torch.Generator().manual_seed(0)
    x = torch.tensor(np.asarray(input_of(N0)))
    point = eft.classify(act)
    wrong = {"cw": OFF * point.cw, "K1": first_kernel(act), "cb": point.cb}

    def layers(**settings):
        assert initialize_(net, act, generator=generator, **settings) is net
        s, z = x, []
        with torch.no_grad():
            for part in net:
                s = part(s)
                if isinstance(part, torch.nn.Linear):
                    z.append(s.numpy())
        return z

    for settings, likely in (({}, True), (wrong, False)):
        drawn = zip(*(layers(**settings) for _ in range(N_NETS)), strict=True)
        p = chi_squared(act, observed(act, point.cw, [jnp.asarray(np.stack(z)) for z in drawn]))
        assert p > 1e-3 if likely else p < SURELY


def test_torch_orthogonal():
    torch = pytest.importorskip("torch")
    initialize_ = pytest.importorskip("nets.interop.torch").initialize_
    nn = torch.nn
    sizes = (5, 8, 8, 4, 8)
    net = nn.Sequential(*(nn.Linear(a, b, dtype=torch.float64) for a, b in itertools.pairwise(sizes)))
    initialize_(net, "relu", weights="orthogonal")
    square, down, up = (layer.weight.detach() for layer in list(net)[1:])
    for gram, length2 in ((square @ square.T, 2.0), (down @ down.T, 2.0), (up.T @ up, 2.0 * 8 / 4)):
        assert (gram - length2 * torch.eye(len(gram), dtype=gram.dtype)).abs().max() < 1e-13
    half = initialize_(
        nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64)).bfloat16(), "tanh", weights="orthogonal"
    )
    assert half[1].weight.dtype == torch.bfloat16


def test_torch_output_and_seed():
    torch = pytest.importorskip("torch")
    initialize_ = pytest.importorskip("nets.interop.torch").initialize_
    net = torch.nn.Sequential(torch.nn.Linear(3, 500), torch.nn.GELU(), torch.nn.Linear(500, 500))

    def weights(**settings):
        initialize_(net, "gelu", generator=torch.Generator().manual_seed(3), **settings)
        return net[2].weight.detach().clone(), net[2].bias.detach().clone()

    own, plain = weights(output_cw=0.5, output_cb=0.0), weights()
    torch.testing.assert_close(own[0] * math.sqrt(eft.classify("gelu").cw / 0.5), plain[0])
    assert not own[1].any() and plain[1].any()


@pytest.mark.promotes
def test_torch_refuses():
    torch = pytest.importorskip("torch")
    initialize_ = pytest.importorskip("nets.interop.torch").initialize_
    nn = torch.nn
    tied = nn.Linear(3, 3)
    other = nn.Linear(3, 3)
    other.weight = tied.weight
    bad = {
        "Conv2d": nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2, 1)),
        "LayerNorm": nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3, elementwise_affine=False)),
        "MultiheadAttention": nn.MultiheadAttention(4, 2),
        "Parametrized": nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 3))),
        "got none": nn.Tanh(),
        "3 outputs before 1": nn.Sequential(nn.Linear(2, 3), nn.Linear(4, 1)),
        "biases": nn.Sequential(nn.Linear(2, 3, bias=False)),
        "share": nn.Sequential(tied, other),
    }
    for says, module in bad.items():
        before = [p.detach().clone() for p in module.parameters()]
        with pytest.raises(ArgumentError, match=says):
            initialize_(module, "gelu")
        assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))
    for module, act in ((3, "tanh"), (nn.Linear(2, 2), torch.tanh)):
        with pytest.raises(ArgumentTypeError):
            initialize_(module, act)
    with pytest.raises(ArgumentError, match="sigmoid"):
        initialize_(nn.Linear(2, 2), "sigmoid")
    initialize_(nn.Sequential(nn.Linear(2, 3, bias=False), nn.PReLU(), nn.Linear(3, 1)), "prelu")


@pytest.mark.promotes
def test_equinox_refuses():
    eqx = pytest.importorskip("equinox")
    initialized = pytest.importorskip("nets.interop.equinox").initialized
    key = jax.random.key(0)
    linear = eqx.nn.Linear(3, 3, key=key)
    bad = {
        "Conv2d": eqx.nn.Conv2d(1, 2, 3, key=key),
        "LayerNorm": eqx.nn.Sequential([linear, eqx.nn.LayerNorm(3, use_weight=False, use_bias=False)]),
        "got none": eqx.nn.Lambda(jnp.tanh),
        "3 outputs before": eqx.nn.Sequential([linear, eqx.nn.Linear(2, 3, key=key)]),
        "biases": eqx.nn.MLP(2, 2, 4, 1, use_bias=False, key=key),
    }
    for says, model in bad.items():
        with pytest.raises(ArgumentError, match=says):
            initialized(model, "gelu", key=key)
    net = initialized(eqx.nn.MLP(2, "scalar", 4, 2, key=key), "tanh", key=key, weights="orthogonal")
    W = net.layers[1].weight
    np.testing.assert_allclose(W @ W.T, np.eye(4), atol=1e-5)


def test_frameworks_are_imported_only_when_asked_for():
    """`import nets` imports none of them; the control: `nets.interop` does."""
    import subprocess

    names = {"torch": "torch", "equinox": "equinox", "haiku": "haiku"}
    for module, name in names.items():
        pytest.importorskip(name)
        for line, found in (("import nets", "False"), (f"import nets.interop.{module}", "True")):
            code = f"import sys; {line}; print({name!r} in sys.modules)"
            out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
            assert out.stdout.strip() == found, (line, name)
