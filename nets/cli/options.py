"""The options that commands share, and the check of what was typed."""

import importlib
import sys
from pathlib import Path
from typing import Annotated

import tyro

import eft
from eft.activations import as_activation
from nets import compare as comparing

SUFFIXES = (".json", ".csv", ".png")
Out = Annotated[
    Path | None,
    tyro.conf.arg(help="a .json, .csv or .png file, or a directory for one of each; made if missing"),
]
Act = Annotated[str, tyro.conf.arg(help='the activation: "tanh", or with parameters "mrepu:p=2"')]
CW = Annotated[float, tyro.conf.arg(help="C_W, the variance of the weights times their fan-in")]
CB = Annotated[float, tyro.conf.arg(help="C_b, the variance of the biases")]
X2 = Annotated[float, tyro.conf.arg(name="x2", help="the input's ‖x‖²/n₀")]
K1 = Annotated[float | None, tyro.conf.arg(name="K1", help="the first kernel, in place of C_b + C_W·x2")]
Depth = Annotated[int, tyro.conf.arg(help="layers of pre-activations, the output's included")]


class BadArgument(Exception):
    """What the user typed cannot be done; the message is one line."""


class checking:
    """Inside, a ValueError or TypeError is the user's: it comes from the check of an argument."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind, error, traceback) -> None:
        if isinstance(error, ValueError | TypeError):
            raise BadArgument(" ".join(str(error).split())) from error


def activation_of(text: str) -> eft.Activation:
    """The activation of a name, or the function that "module:function" imports."""
    module, colon, name = text.partition(":")
    if not colon or "=" in name or module in eft.activation_names():
        return comparing.parse_activation(text)
    sys.path.insert(0, "")
    try:
        function = importlib.import_module(module)
        for part in name.split("."):
            function = getattr(function, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"act must be a name, or module:function; {text!r} cannot be imported: {error}"
        ) from None
    finally:
        sys.path.remove("")
    return as_activation(function)  # type: ignore[arg-type]
