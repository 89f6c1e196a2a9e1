"""The options that commands share."""

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

import eft
from eft.activations.catalogue import as_activation
from eft.arguments import ArgumentError
from nets.comparison.cases import parse_activation

SUFFIXES = (".json", ".csv", ".png")
Out = Annotated[
    Path | None,
    tyro.conf.arg(help="a .json, .csv or .png file, or a directory for one of each; made if missing"),
]
Act = Annotated[
    str,
    tyro.conf.arg(help='"tanh", "mrepu:p=2", or a function of yours as "module:name" or "file.py:name"'),
]
CW = Annotated[float, tyro.conf.arg(help="C_W, the variance of the weights times their fan-in")]
CB = Annotated[float, tyro.conf.arg(help="C_b, the variance of the biases")]
X2 = Annotated[float, tyro.conf.arg(name="x2", help="the input's ‖x‖²/n₀")]
K1 = Annotated[float | None, tyro.conf.arg(name="K1", help="the first kernel, in place of C_b + C_W·x2")]
Depth = Annotated[int, tyro.conf.arg(help="layers of pre-activations, the output's included")]
Skip = Annotated[float, tyro.conf.arg(help="γ ≥ 0 of residual networks, z′ = γz + b + Wσ(z)")]
Norm = Annotated[
    Literal["rms", "layer"] | None, tyro.conf.arg(help="of the neurons of a layer, before the activation")
]
Weights = Annotated[
    Literal["gaussian", "orthogonal"], tyro.conf.arg(help="of all layers but the first, which is Gaussian")
]
Readout = Annotated[bool, tyro.conf.arg(help="the last layer has no skip")]


def activation_of(text: str) -> eft.Activation:
    """The activation of that name, or the function imported from "module:name" or "file.py:name".

    Raises ArgumentError or ArgumentTypeError for any other text.
    """
    _, colon, name = text.rpartition(":")
    if not colon or "=" in name or text.partition(":")[0] in eft.activation_names():
        return parse_activation(text)
    return as_activation(imported("act", text))  # type: ignore[arg-type]


def imported(option: str, text: str) -> Any:
    """What "module:name" or "file.py:name" names; `option`: that it was given for.

    Raises ArgumentError if it cannot be imported.
    """
    place, colon, name = text.rpartition(":")
    folder = str(Path(place).parent) if place.endswith(".py") else ""
    sys.path.insert(0, folder)
    try:
        if not colon:
            raise ImportError("there is no colon")
        thing = _imported(place)
        for part in name.split("."):
            thing = getattr(thing, part)
    except (Exception, SystemExit) as error:  # whatever the user-defined file raises
        also = "a name, " if option == "act" else ""
        raise ArgumentError(
            f"{option} must be {also}module:name or file.py:name; "
            f"{text!r} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    finally:
        sys.path.remove(folder)
    return thing


def _imported(place: str) -> Any:
    """A module by its name, or by the path of its file."""
    if not place.endswith(".py"):
        return importlib.import_module(place)
    path = Path(place).absolute()
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None  # it ends in .py
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
