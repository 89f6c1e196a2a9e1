"""`eft recipe`: how to initialize a network, how deep it may be, and at which rate to train it."""

from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import tyro

import eft
from nets.cli.options import X2, Act, Norm, Skip, Weights, activation_of
from nets.cli.show import terminal, write_files
from nets.files import output


def recipe(
    act: Act,
    width: Annotated[int | None, tyro.conf.arg(help="neurons of a hidden layer")] = None,
    depth: Annotated[
        int | None,
        tyro.conf.arg(help="layers of pre-activations, the output's included; default: the depth limit"),
    ] = None,
    x2: X2 = 1.0,
    inputs: Annotated[int | None, tyro.conf.arg(help="n₀, the number of inputs; default: the width")] = None,
    outputs: Annotated[int, tyro.conf.arg(help="the number of outputs")] = 1,
    skip: Skip = 0.0,
    norm: Norm = None,
    weights: Weights = "gaussian",
    bound: Annotated[float, tyro.conf.arg(help="V/(nK²) at which a network is called too deep")] = 1.0,
    out: Annotated[Path | None, tyro.conf.arg(help="a .json file, or a directory for it")] = None,
) -> int:
    """How to initialize a network, how deep it may be at a width, and at which rate to train it."""
    console = terminal(width=80)
    files = output.targets(out, "recipe", (".json",))
    with console.status("computing"):
        found = eft.recipe(
            activation_of(act), width=width, depth=depth, x2=x2, n_in=inputs, n_out=outputs, skip=skip,
            norm=norm, weights=weights, bound=bound,
        )  # fmt: skip
    console.print(str(found))
    return write_files(
        console, files, {".json": lambda path: output.write(path, output.json_text(_as_json(found)))}
    )


def _as_json(recipe: eft.Recipe) -> dict:
    """Every field, records as objects and arrays as lists."""
    return {**_plain(recipe), "act": recipe.act.name}


def _plain(value: Any) -> Any:
    if hasattr(value, "_asdict"):
        return {name: _plain(item) for name, item in value._asdict().items()}
    return value.tolist() if isinstance(value, jax.Array | np.ndarray) else value
