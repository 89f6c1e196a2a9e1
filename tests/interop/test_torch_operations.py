"""Every operation of PyTorch that is known in JAX has PyTorch's values; `make interop`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nets.interop.aten import OPERATIONS

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from nets.interop.torch import to_jax  # noqa: E402

torch.set_num_threads(1)
ROUNDING = 1e-10
"""Of the largest entry, in float64: sums of up to 100 terms, and functions that are right to 1e-14."""
DIFFERENT = 1e-6
"""Of the largest entry: what is another function differs by more."""


class Of(nn.Module):
    """A function of an input, scaled by a parameter, and of modules."""

    def __init__(self, function, *parts):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.function, self.parts = function, nn.ModuleList(parts)

    def forward(self, x):
        return self.function(self.scale.to(x.dtype) * x if x.is_floating_point() else x, *self.parts)


def random(*shape):
    return torch.tensor(np.random.default_rng(0).normal(size=shape))


VECTORS, ROWS, IMAGES, VOLUMES = random(4, 8), random(2, 3, 9), random(2, 3, 9, 9), random(2, 3, 7, 7, 7)
TOKENS = torch.tensor([[1, 4, 2], [0, 0, 3]])


def case(name, module, x):
    """A module of which the name says what it is; a function is one of x."""
    module = module if isinstance(module, nn.Module) else Of(module)
    return pytest.param((name, module.double().eval(), x), id=name)


def layer(name, x=VECTORS, **settings):
    """A layer without parameters."""
    made = getattr(nn, name)(**settings)
    label = "-".join([name, *(f"{key}={value}" for key, value in settings.items())])
    return case(label, Of(lambda x, part: part(x), made), x)


NAMES = """ReLU LeakyReLU PReLU ELU SELU CELU GELU SiLU Mish Softplus Hardtanh Hardswish Hardsigmoid ReLU6
Tanh Sigmoid LogSigmoid Softshrink Hardshrink Tanhshrink Softsign GLU"""
ACTIVATIONS = [layer(name) for name in NAMES.split()]
ACTIVATIONS += [
    layer("GELU", approximate="tanh"),
    layer("LeakyReLU", negative_slope=0.3),
    layer("ELU", alpha=0.5),
    layer("CELU", alpha=2.0),
    layer("Softplus", beta=2.0),
    layer("Threshold", threshold=0.1, value=-2.0),
    layer("PReLU", IMAGES, num_parameters=3, init=0.4),
    layer("Softmax", dim=-1),
    layer("LogSoftmax", dim=0),
    layer("Softmin", dim=-1),
    case("erf", torch.erf, VECTORS),
    case("sin and cos", lambda x: torch.sin(x) * torch.cos(2 * x), VECTORS),
]
LAYERS = [
    case("linear", nn.Linear(8, 3), VECTORS),
    case("linear without bias", nn.Linear(9, 3, bias=False), ROWS),
    case("weight norm", nn.utils.parametrizations.weight_norm(nn.Linear(8, 3)), VECTORS),
    case("embedding", nn.Embedding(5, 4, padding_idx=0), TOKENS),
    case(
        "attention", nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True), random(2, 5, 8)
    ),
    case("conv1d", nn.Conv1d(3, 4, 3, padding="same"), ROWS),
    case("conv2d", nn.Conv2d(3, 6, 3, stride=2, groups=3, padding=(1, 2), dilation=2), IMAGES),
    case("conv2d of one image", nn.Conv2d(3, 6, 3, bias=False), IMAGES[0]),
    case("conv3d", nn.Conv3d(3, 2, 3), VOLUMES),
    case("circular conv2d", nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"), IMAGES),
    case("dropout", nn.Sequential(nn.Linear(8, 3), nn.Dropout(0.5)), VECTORS),
    case("dropout of channels", nn.Sequential(nn.Conv2d(3, 3, 1), nn.Dropout2d(0.5)), IMAGES),
    layer("MaxPool1d", ROWS, kernel_size=2),
    layer("MaxPool2d", IMAGES, kernel_size=3, stride=2, padding=1, ceil_mode=True),
    layer("MaxPool3d", VOLUMES, kernel_size=2, dilation=2),
    layer("AvgPool1d", ROWS, kernel_size=2, stride=3, ceil_mode=True),
    layer("AvgPool2d", IMAGES, kernel_size=(3, 2), stride=2, padding=1, ceil_mode=True),
    layer("AvgPool2d", IMAGES, kernel_size=3, padding=1, count_include_pad=False, ceil_mode=True, stride=2),
    layer("AvgPool2d", IMAGES, kernel_size=3, divisor_override=5),
    layer("AvgPool3d", VOLUMES, kernel_size=3),
    layer("AdaptiveAvgPool1d", ROWS, output_size=4),
    layer("AdaptiveAvgPool2d", IMAGES, output_size=(1, 3)),
    layer("AdaptiveAvgPool2d", IMAGES, output_size=5),
    layer("AdaptiveAvgPool3d", VOLUMES, output_size=2),
    layer("InstanceNorm2d", IMAGES, num_features=3),
    layer("GroupNorm", IMAGES, num_groups=3, num_channels=3, affine=False),
]


def drawn(module):
    """With parameters and averages that are not those at the start."""
    rng = np.random.default_rng(1)
    for tensor in [*module.parameters(), *(b for b in module.buffers() if b.is_floating_point())]:
        tensor.data = torch.tensor(rng.uniform(0.5, 1.5, tensor.shape))
    return module


NORMS = [
    case("layer norm", drawn(nn.LayerNorm((3, 9))), ROWS),
    case("rms norm", drawn(nn.RMSNorm(8)), VECTORS),
    case("rms norm with eps", drawn(nn.RMSNorm(8, eps=0.1)), VECTORS),
    case("group norm", drawn(nn.GroupNorm(2, 4)), random(2, 4, 5)),
    case("batch norm", drawn(nn.BatchNorm1d(8)), VECTORS),
    case("batch norm 2d", drawn(nn.BatchNorm2d(3)), IMAGES),
    case("instance norm", drawn(nn.InstanceNorm2d(3, affine=True, track_running_stats=True)), IMAGES),
]
SHIFT = torch.arange(8.0, dtype=torch.float64)
FUNCTIONS = {
    "matmul": lambda x: x @ x.mT + x.t().T @ x.t(),
    "mm": lambda x: torch.mm(x, x.t()),
    "bmm": lambda x: torch.bmm(x[None], x.t()[None]),
    "addmm": lambda x: torch.addmm(x[0], x, x.t() @ x, beta=0.5, alpha=2),
    "einsum": lambda x: torch.einsum("ij,kj->ik", x, x),
    "sdpa": lambda x: F.scaled_dot_product_attention(x[None], x[None], x[None], is_causal=True, scale=0.3),
    "sdpa with a mask": lambda x: F.scaled_dot_product_attention(x[None], x[None], x[None], x @ x.t()),
    "shapes": lambda x: x.view(2, 2, -1).permute(2, 0, 1).reshape(8, 4).transpose(0, 1).flatten(0),
    "unsqueeze": lambda x: x.unsqueeze(1).squeeze().unsqueeze(0).squeeze(0).expand(2, -1, 8),
    "slice": lambda x: x[1:, -5:7:2] * x[0, 2],
    "cat": lambda x: torch.cat([x, x[:2]]) @ torch.stack([x[0], x[1]], 1),
    "split": lambda x: x.split(3, 1)[2] + x.chunk(4, -1)[1] + x.split([1, 2, 5], 1)[1],
    "unbind": lambda x: x.unbind(1)[3],
    "arithmetic": lambda x: (2 - x) / 3 - torch.sub(x, x * x, alpha=0.3) + torch.add(x, -x, alpha=2) - 1 / x,
    "powers": lambda x: x**2 + 2**x + x.abs() ** 0.5 + x.square().sqrt() + (x.abs() + 1).rsqrt(),
    "exp": lambda x: x.exp() + x.abs().log() + torch.expm1(x) + torch.log1p(x.abs()),
    "clamp": lambda x: x.clamp(-0.5, 1) + x.clamp(max=0.3) + x.clamp_min(0.1) + x.clamp_max(0.2),
    "maximum": lambda x: torch.maximum(x, -0.5 * x) + torch.minimum(x, SHIFT),
    "mean": lambda x: x.mean() + x.mean(1) + x.mean((0, 1)) + x.sum(-1) + x.sum(),
    "float16 summed in float64": lambda x: (300 * x).half().sum(dtype=torch.float64),
    "var": lambda x: x.var() + x.var(1) + x.std(1, unbiased=False) + x.var(1, correction=3) + x.var(False),
    "largest": lambda x: x.amax(1, keepdim=True) + x.amin(0) + x.logsumexp(1, keepdim=True),
    "normalize": lambda x: F.normalize(x),
    "where": lambda x: torch.where((x > 0) & (x <= 1) == (x < 0.5), x, SHIFT),
    "comparisons": lambda x: x.masked_fill((x >= 0) | ~(x != 1), 3.0) + x.tril() + x.triu(1),
    "logic": lambda x: (
        torch.where(
            torch.logical_or(x > 1, torch.logical_not(x > 0) & torch.logical_and(x < 0, x > -1)), x, 0
        )
        + torch.bitwise_and(x > 0, torch.bitwise_or(x > 1, x > 2))
    ),
    "copies": lambda x: x.clone().contiguous().detach().float().double() + torch.tensor([1.0] * 8),
    "made": lambda x: x + torch.arange(8) + torch.ones(8) + torch.zeros(4, 1) + torch.full((8,), 2.5),
    "in place": lambda x: torch.relu_(x.clone()).add_(1),
    "padded": lambda x: F.pad(x, (1, 2, 0, 1), value=2.0) + F.pad(F.pad(x, (1, 2), "reflect"), (0, 0, 0, 1)),
    "float16": lambda x: F.layer_norm(x.half(), (8,)),
}
CASES = [*ACTIVATIONS, *LAYERS, *NORMS, *(case(name, f, VECTORS) for name, f in FUNCTIONS.items())]


@functools.cache
def both(index):
    """What PyTorch and JAX make of a case, and which operations it consists of."""
    _, module, x = CASES[index].values[0]
    with torch.no_grad():
        ours = module(x).numpy()
    f, params = to_jax(module, x)
    graph = torch.export.export(module, (x,), strict=False).graph
    names = {node.target._schema.name for node in graph.nodes if hasattr(node.target, "_schema")}
    return (
        ours,
        np.asarray(jax.jit(f)(params, jnp.asarray(x.numpy()))),
        {name.split("::")[1] for name in names},
    )


def distance(one, other):
    """Relative to the largest entry."""
    one, other = np.float64(one), np.float64(other)
    return np.abs(one - other).max() / np.abs(one).max()


@pytest.mark.parametrize("index", range(len(CASES)), ids=[each.id for each in CASES])
def test_values_are_those_of_pytorch(index):
    ours, theirs, _ = both(index)
    assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
    assert distance(ours, theirs) < (2e-3 if ours.dtype == np.float16 else ROUNDING)


DIRECTLY = {
    "_native_batch_norm_legit_no_training": (IMAGES, None, SHIFT[:3], SHIFT[2:5], SHIFT[3:6], 0.1, 1e-3),
    "_to_copy": (VECTORS,),
    "_unsafe_view": (VECTORS, [2, -1]),
    "alias": (VECTORS,),
    "batch_norm": (IMAGES, SHIFT[1:4], SHIFT[:3], SHIFT[2:5], SHIFT[3:6], False, 0.1, 1e-3, True),
    "chunk": (VECTORS, 3, 1),
    "contiguous": (VECTORS,),
    "expand_as": (SHIFT, VECTORS),
    "flatten": (IMAGES, 1, -2),
    "mT": (IMAGES,),
    "numpy_T": (VECTORS,),
    "relu6": (VECTORS,),
    "reshape": (VECTORS, [8, -1]),
    "to": (VECTORS, torch.float64),
    "type_as": (VECTORS, SHIFT),
    "unflatten": (IMAGES, -2, [3, -1]),
    "view_as": (VECTORS, VECTORS.reshape(2, 16)),
}
"""Arguments of the operations that are in the graphs of some versions of PyTorch only."""


@pytest.mark.parametrize("name", DIRECTLY)
def test_operation_is_that_of_pytorch(name):
    args = DIRECTLY[name]
    results = getattr(torch.ops.aten, name)(*args)
    ours = results if isinstance(results, list | tuple) else [results]
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        found = OPERATIONS[name](*(jnp.asarray(a.numpy()) if torch.is_tensor(a) else a for a in args))
    theirs = found if isinstance(found, list | tuple) else [found]
    pairs = [pair for pair in zip(ours, theirs, strict=True) if pair[1] is not None]
    assert pairs and max(distance(*pair) for pair in pairs) < ROUNDING


def test_every_operation_is_tested():
    met = set().union(*(both(i)[2] for i in range(len(CASES))))
    assert OPERATIONS.keys() <= met | DIRECTLY.keys()
    assert "relu" in met and "relu6" not in met  # the control


def without_padding(x, *args):
    return OPERATIONS["avg_pool2d"](x, *args, False, False)


def not_centred(x, shape, *_):
    return OPERATIONS["rms_norm"](x, shape)


@pytest.mark.parametrize(
    ("module", "x", "operations"),
    [
        (nn.GELU(), VECTORS, {"aten.gelu": lambda x, approximate="none": jax.nn.gelu(x)}),
        (nn.LayerNorm(8, elementwise_affine=False), VECTORS, {"aten.layer_norm": not_centred}),
        (nn.AvgPool2d(3, padding=1), IMAGES, {"aten.avg_pool2d": without_padding}),
        (nn.Softplus(2.0), VECTORS, {"aten.softplus.default": lambda x, *_: jax.nn.softplus(x)}),
    ],
    ids=["gelu_tanh", "rms norm", "padding not counted", "softplus"],
)  # fmt: skip
def test_another_operation_has_other_values(module, x, operations):
    """The control: operations of the user's own, which are not PyTorch's."""
    net = Of(lambda x, part: part(x), module).double()
    values = [
        f(params, jnp.asarray(x.numpy()))
        for f, params in (to_jax(net, x), to_jax(net, x, operations=operations))
    ]
    assert distance(*values) > DIFFERENT
