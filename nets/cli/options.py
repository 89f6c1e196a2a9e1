"""The options that commands share."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from eft.arguments import ArgumentError

SUFFIXES = (".json", ".csv", ".png")
Out = Annotated[
    Path | None,
    tyro.conf.arg(
        help="a .json, .csv, .png or .nc file, or a directory for the first three; made if missing"
    ),
]
Overwrite = Annotated[
    bool, tyro.conf.arg(help="replace files of the same names; else the new ones get a number")
]
MemoryBudget = Annotated[
    str | None,
    tyro.conf.arg(help='how much memory may be used, such as "2GB" or "500 MiB"; default: half of it'),
]
Format = Annotated[
    Literal["table", "json", "csv", "nc", "md"],
    tyro.conf.arg(help="of what is printed: a table to read, in Markdown or for programs; nc needs --out"),
]
Act = Annotated[
    str,
    tyro.conf.arg(help='"tanh", "mrepu:p=2", or a function of yours as "module:name" or "file.py:name"'),
]
Acts = Annotated[
    tuple[str, ...],
    tyro.conf.arg(
        help='one or several: "tanh", "mrepu:p=2", or a function of yours as "module:name" or "file.py:name"'
    ),
]
CWs = Annotated[
    tuple[float, ...],
    tyro.conf.arg(help="C_W, the variance of the weights times their fan-in; one, or one for each --act"),
]
CBs = Annotated[
    tuple[float, ...], tyro.conf.arg(help="C_b, the variance of the biases; one, or one for each --act")
]
CW = Annotated[float, tyro.conf.arg(help="C_W, the variance of the weights times their fan-in")]
CB = Annotated[float, tyro.conf.arg(help="C_b, the variance of the biases")]
X2 = Annotated[float, tyro.conf.arg(name="x2", aliases=["--X2"], help="the input's ‖x‖²/n₀")]
K1 = Annotated[
    float | None,
    tyro.conf.arg(name="K1", aliases=["--k1"], help="the first kernel, in place of C_b + C_W·x2"),
]
Depth = Annotated[int, tyro.conf.arg(help="layers of pre-activations, the output's included")]
Skip = Annotated[float, tyro.conf.arg(help="γ ≥ 0 of residual networks, z′ = γz + b + Wσ(z)")]
Norm = Annotated[
    Literal["rms", "layer"] | None, tyro.conf.arg(help="of the neurons of a layer, before the activation")
]
Weights = Annotated[
    Literal["gaussian", "orthogonal"], tyro.conf.arg(help="of all layers but the first, which is Gaussian")
]
Readout = Annotated[bool, tyro.conf.arg(help="the last layer has no skip")]


def per_activation(name: str, values: Sequence[float], n: int) -> tuple[float, ...]:
    """The values of an option for n activations: one for all, or one for each; raises ArgumentError."""
    if len(values) not in (1, n):
        allowed = "one number" if n == 1 else f"one number, or one for each of the {n} activations"
        raise ArgumentError(f"{name} must be {allowed}; got {' '.join(f'{value:g}' for value in values)}")
    return tuple(values) * n if len(values) == 1 else tuple(values)


MAX_NAMED = 4
"""The largest number of activations that the name of a file lists."""


def stem(command: str, acts: Sequence[str], **settings: Any) -> str:
    """The name of a file after what it shows: the activations, and those settings that are not None.

    >>> stem("flow", ["mrepu:p=2"], cw=1.0, depth=11, norm=None)
    'flow_mrepu-p=2_cw=1_depth=11'
    """
    named = acts if len(acts) <= MAX_NAMED else [f"{len(acts)}-activations"]
    words = [f"{name}={_short(value)}" for name, value in settings.items() if value is not None]
    parts = [command, *(text.rpartition("/")[2] for text in named), *words]
    return "_".join(re.sub(r"[^\w.=+-]+", "-", part).strip("-.") for part in parts)[:MAX_STEM]


MAX_STEM = 160


def _short(value: Any) -> str:
    if isinstance(value, tuple):
        return "-".join(_short(each) for each in (value if len(set(value)) > 1 else value[:1]))
    return f"{value:g}" if isinstance(value, float) else str(value)


def start_of(x2: float, k1: float | None) -> dict[str, float]:
    """Of x2 and K1, what a file's name says: K1 if it is given, x2 if it is not 1."""
    return {"K1": k1} if k1 is not None else {} if x2 == 1 else {"x2": x2}


def kind_of(skip: float, norm: str | None, weights: str) -> dict[str, Any]:
    """Of the kind of layers, what a file's name says: all that is not plain."""
    return {"skip": skip or None, "norm": norm, "weights": None if weights == "gaussian" else weights}
