"""A PyTorch module has the diagnosis of the same network in JAX, and is mended like it; `make interop`."""

import math

import framework_models as frameworks
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nets
from eft.arguments import ArgumentError, ArgumentTypeError

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from nets.interop.torch import diagnose, to_jax, tune_  # noqa: E402

torch.set_num_threads(1)


def random(*shape):
    return torch.tensor(np.random.default_rng(0).normal(size=shape), dtype=torch.float32)


TOKENS = torch.tensor([[1, 4, 2], [0, 0, 3]])
WIDTH, N0 = 64, 16
X = random(8, N0)


def network(cws, act=nn.ReLU):
    """Gaussian weights with these C_W, and no biases."""
    rng, parts = np.random.default_rng(2), []
    for i, cw in enumerate(cws):
        n = WIDTH if i else N0
        parts += [nn.Linear(n, WIDTH), act()]
        parts[-2].weight.data = torch.tensor(np.float32(rng.normal(size=(WIDTH, n)) * math.sqrt(cw / n)))
        parts[-2].bias.data.zero_()
    return nn.Sequential(*parts[:-1])


def arrays(module):
    return {name: jnp.asarray(parameter.detach().numpy()) for name, parameter in module.named_parameters()}


def kinds(found):
    return [(verdict.kind, verdict.layer) for verdict in found.verdicts]


class Residual(nn.Module):
    """z′ = z + W₂ relu(W₁ normalized z)."""

    def __init__(self, blocks=2):
        super().__init__()
        self.first = nn.Linear(N0, WIDTH)
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(blocks))
        self.up = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(blocks))
        self.down = nn.ModuleList(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(blocks))

    def forward(self, x):
        z = self.first(x)
        for norm, up, down in zip(self.norms, self.up, self.down, strict=True):
            z = z + down(F.relu(up(norm(z))))
        return z


def residual_in_jax(p, x):
    def linear(name, x):
        y = x @ p[f"{name}.weight"].T
        return y + p[f"{name}.bias"][None] if f"{name}.bias" in p else y

    z = linear("first", x)
    for i in range(2):
        centred = z - z.mean(-1, keepdims=True)
        normal = centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        normal = normal * p[f"norms.{i}.weight"][None] + p[f"norms.{i}.bias"][None]
        z = z + linear(f"down.{i}", jax.nn.relu(linear(f"up.{i}", normal)))
    return z


class Convolutional(nn.Module):
    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(n, 16, 3, padding=1) for n in (3, 16, 16))
        self.last = nn.Linear(16, 4)

    def forward(self, x):
        for i, conv in enumerate(self.convs):
            x = conv(F.relu(x) if i else x)
        return self.last(F.adaptive_avg_pool2d(F.relu(x), 1).flatten(1))


def convolutional_in_jax(p, x):
    for i in range(3):
        x = jax.nn.relu(x) if i else x
        x = jax.lax.conv_general_dilated(x, p[f"convs.{i}.weight"], (1, 1), "SAME")
        x = x + p[f"convs.{i}.bias"][None, :, None, None]
    return jax.nn.relu(x).mean((2, 3)) @ p["last.weight"].T + p["last.bias"][None]


def test_the_report_of_an_mlp_is_that_of_jax():
    found = diagnose(frameworks.torch_module(), torch.tensor(np.asarray(frameworks.inputs())), n_probes=16)
    assert [layer.path for layer in found.layers] == [f"{i}.weight" for i in (0, 2, 4, 6, 8)]
    assert kinds(found)[0][0] == "chaotic"
    f, params = frameworks.plain()
    assert frameworks.same_report(nets.diagnose(f, params, frameworks.inputs(), n_probes=16), found)
    params[2] = (1.01 * params[2][0], params[2][1])  # the control
    other = nets.diagnose(f, params, frameworks.inputs(), n_probes=16)
    assert not frameworks.same_report(other, found)


@pytest.mark.parametrize(
    ("make", "in_jax", "x", "before"),
    [
        (Residual, residual_in_jax, X, ["layer norm", "relu", "layer norm", "relu"]),
        (Convolutional, convolutional_in_jax, random(2, 3, 6, 6), ["relu", "relu"]),
    ],
    ids=["residual and normalized", "convolutional"],
)
def test_the_report_of_other_networks_is_that_of_jax(make, in_jax, x, before):
    torch.manual_seed(0)
    module = make()
    found, plain = diagnose(module, x), nets.diagnose(in_jax, arrays(module), jnp.asarray(x.numpy()))
    assert [layer.before for layer in found.layers[1 : 1 + len(before)]] == before
    assert all(np.isfinite(layer.theory.K) for layer in found.layers[1 : 1 + len(before)])
    # the theory's own words for what is left, pooling, depend on how it is written
    rest = (
        [layer._replace(before="") for layer in found.layers],
        [layer._replace(before="") for layer in plain.layers],
    )
    assert frameworks.same_report(plain._replace(layers=rest[1]), found._replace(layers=rest[0]))
    with torch.no_grad():
        next(module.parameters()).mul_(1.01)
    assert not frameworks.same_report(plain, diagnose(module, x))


def test_normalization_and_skips_have_their_theory():
    torch.manual_seed(0)
    found = diagnose(Residual(), X)
    assert [(layer.gamma, layer.skip) for layer in found.layers] == [
        (0, None),
        (0, None),
        (1, 1),
        (0, None),
        (1, 3),
    ]
    assert all(abs(layer.score) < 4 for layer in found.layers[1:])


def test_integer_inputs():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Embedding(5, N0), nn.Linear(N0, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 3))
    found = diagnose(net, TOKENS)

    def f(p, x):
        z = p["0.weight"][x] @ p["1.weight"].T + p["1.bias"][None, None]
        return jax.nn.relu(z) @ p["3.weight"].T + p["3.bias"][None, None]

    plain = nets.diagnose(f, arrays(net), jnp.asarray(TOKENS.numpy()))
    assert [layer.path for layer in found.layers] == ["1.weight", "3.weight"]
    assert frameworks.same_report(plain, found)
    assert any("not floating-point" in note for note in found.notes)


# --- faults -------------------------------------------------------------------------------------

SOUND = (2.0,) * 6


def test_a_wrong_gain_is_found():
    net = network(SOUND)
    assert diagnose(net, X).healthy
    net[6].weight.data.mul_(2)
    found = diagnose(net, X)
    assert kinds(found)[0] == ("gain", 4) and "6.weight" in found.verdicts[0].words


def test_dead_relus_are_found():
    net = network(SOUND)
    net[4].bias.data.fill_(-10)
    assert ("dead", 3) in kinds(diagnose(net, X))


def test_overflow_is_found_in_the_precision_of_the_module():
    net = network((2e4,) * 6)
    assert "overflow" not in dict(kinds(diagnose(net, X)))
    found = diagnose(net.half(), X.half())
    assert "overflow" in dict(kinds(found))
    assert "float16" in next(verdict.words for verdict in found.verdicts if verdict.kind == "overflow")


def test_float64_is_kept_where_jax_has_it_switched_off():
    net = network((2.0, 2.0)).double()
    K = (net(X.double()) ** 2).mean().item()
    with jax.enable_x64(False):
        double, single = diagnose(net, X.double()), diagnose(net.float(), X)
        assert not jax.config.jax_enable_x64
    assert abs(float(double.layers[-1].K.mean) / K - 1) < 1e-13
    assert 1e-12 < abs(float(single.layers[-1].K.mean) / K - 1) < 1e-6  # the control


# --- tuning -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_tuned(dtype):
    net, x = network((1.0, 0.3, 3.0, 1.0)).to(dtype), X.to(dtype)
    before = [parameter.detach().clone() for parameter in net.parameters()]
    tuned = tune_(net, x)
    assert (
        max(abs(float(layer.chi_perp.mean) - 1) for layer in diagnose(net, x, n_probes=32).layers[1:]) < 0.1
    )
    assert [each.path for each in tuned.factors] == ["0.weight", "2.weight", "4.weight", "6.weight"]
    assert all(parameter.dtype == dtype and parameter.requires_grad for parameter in net.parameters())
    for old, (name, new), factor in zip(
        before[::2], list(net.named_parameters())[::2], tuned.factors, strict=True
    ):
        np.testing.assert_allclose(
            new.detach().double(),
            factor.factor * old.double(),
            rtol=1e-2 if dtype == torch.bfloat16 else 1e-6,
        )
        assert np.array_equal(np.float64(tuned.params[name]), new.detach().double().numpy())
    assert abs(tuned.factors[2].before - 1) > 0.3  # the control: it was not so before


def test_shared_weights_stay():
    net = network((1.0, 0.3, 3.0, 1.0))
    net[4].weight = net[2].weight
    old = net[2].weight.detach().clone()
    tuned = tune_(net, X)
    assert torch.equal(net[2].weight, old) and not torch.equal(net[6].weight, old)
    assert [("shared" in each.note) for each in tuned.factors] == [False, True, True, False]
    _, params = to_jax(net, X)
    assert list(params) == [
        f"{i}.{name}" for i in (0, 2, 4, 6) for name in ("weight", "bias") if (i, name) != (4, "weight")
    ]


# --- errors -------------------------------------------------------------------------------------


class Returning(nn.Module):
    """A function of what a linear layer gives."""

    def __init__(self, function):
        super().__init__()
        self.linear, self.function = nn.Linear(8, 3), function

    def forward(self, x):
        return self.function(self.linear(x))


def after_linear(part):
    return nn.Sequential(nn.Linear(8, 3), part)


V = random(4, 8)
REFUSED = {
    "no module": (abs, V, "module must be a torch.nn.Module"),
    "x of NumPy": (nn.Linear(8, 3), V.numpy(), "x must be a torch.Tensor"),
    "complex x": (nn.Linear(8, 3), V + 1j, "real numbers.*; got torch.complex64"),
    "without parameters": (nn.Tanh(), V, "must have parameters; got Tanh"),
    "without values": (nn.LazyLinear(3), V, "weight has none"),
    "on meta": (nn.Linear(8, 3).to("meta"), V, "weight has none"),
    "dropout": (after_linear(nn.Dropout(0.1)), V, r"1: Dropout; call module.eval\(\)"),
    "batch norm": (after_linear(nn.BatchNorm1d(3)), V, r"1: BatchNorm1d; call module.eval\(\)"),
    "functional dropout": (Returning(F.dropout), V, r"aten.dropout in itself: Returning .* module.eval\(\)"),
    "unknown": (after_linear(nn.RReLU()), V, r"aten.rrelu in 1: RReLU.*\{\"aten.rrelu\": function\}"),
    "unknown form": (Returning(lambda y: y // 2), V, "aten.floor_divide in itself: Returning"),
    "unknown setting": (
        Returning(lambda y: torch.div(y, 2, rounding_mode="floor")), V,
        "aten.div in itself: Returning with rounding_mode='floor'",
    ),
    "shape": (nn.Linear(5, 3), V, r"module must take x, of shape \(4, 8\)"),
    "dtype": (nn.Linear(8, 3).double(), V, "must take x, of shape .* torch.float32"),
    "a value is asked for": (Returning(lambda y: y if y.sum() > 0 else -y), V, "torch.export can trace"),
    "a tuple": (Returning(lambda y: (y, y)), V, "must return a tensor; got tuple"),
    "a dict": (Returning(lambda y: {"y": y}), V, "must return a tensor; got dict"),
    "a number": (Returning(lambda y: 3), V, "must return a tensor; got"),
    "nothing": (Returning(lambda y: None), V, "must return a tensor; got"),
    "no layer": (nn.LayerNorm(8), V, "linear layer"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    module, x, says = REFUSED[name]
    kind = ArgumentTypeError if name in ("no module", "x of NumPy") else ArgumentError
    for function in (diagnose, tune_):
        with pytest.raises(kind, match=says):
            function(module, x)


def test_what_is_refused_in_training_mode_is_not_in_evaluation():
    for part in (nn.Dropout(0.1), nn.BatchNorm1d(3)):
        assert len(diagnose(nn.Sequential(nn.Linear(8, 3), part).eval(), V).layers) == 1
    assert len(diagnose(nn.Sequential(nn.Linear(8, 3), nn.Dropout(0.0)), V).layers) == 1


def test_operations_of_the_users_own():
    net = nn.Sequential(nn.Linear(8, 3), nn.RReLU(0.1, 0.3), nn.Linear(3, 3)).eval()

    def rrelu(x, lower=1 / 8, upper=1 / 3, training=False):
        return jax.nn.leaky_relu(x, (lower + upper) / 2)

    found = diagnose(net, V, operations={"aten.rrelu": rrelu})
    assert found.layers[1].before == "leaky_relu(slope=0.2)"
    for operations, kind, says in (
        ({"aten.rrelu": 3}, ArgumentTypeError, "operations must be a dict of functions"),
        ([rrelu], ArgumentTypeError, "operations must be a dict of functions"),
        ({"aten.rrelu": lambda x: x}, ArgumentError, "aten.rrelu in 1: RReLU: TypeError"),
        ({"aten.rrelu": lambda x, *_: x[0]}, ArgumentError, r"of shape \(4, 3\); got \(3,\)"),
    ):
        with pytest.raises(kind, match=says):
            diagnose(net, V, operations=operations)
