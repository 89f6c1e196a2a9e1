"""`eft recipe`: how to initialize a network, how deep it may be, and at which rate to train it."""

from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import tyro

import eft
from nets.cli.options import X2, Act, Format, Norm, Overwrite, Skip, Weights, kind_of, start_of, stem
from nets.cli.show import number, opened, publish
from nets.cli.tables import Table
from nets.files import output
from nets.results.rows import rows_content


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
    format: Format = "table",
    out: Annotated[
        Path | None,
        tyro.conf.arg(help="a .json, .csv or .nc file, or a directory for the first two"),
    ] = None,
    overwrite: Overwrite = False,
) -> int:
    """How to initialize a network, how deep it may be at a width, and at which rate to train it."""
    kind = kind_of(skip, norm, weights)
    name = stem("recipe", [act], width=width, depth=depth, **start_of(x2, None), **kind)
    sheet = opened(name, format, out, overwrite, (".json", ".csv"), (".nc",))
    with sheet.aside.status("computing"):
        found = eft.recipe(
            eft.activation(act), width=width, depth=depth, x2=x2, n_in=inputs, n_out=outputs, skip=skip,
            norm=norm, weights=weights, bound=bound,
        )  # fmt: skip
    rows, value = _rows(found), _as_json(found)
    words = {name: each for name, each in value.items() if not isinstance(each, dict | list)}
    return publish(
        sheet,
        _tables(found, rows) if format == "md" else [str(found)] if format == "table" else [],
        value=value,
        rows=rows,
        writers={".nc": lambda path: output.write(path, rows_content(rows, ("layer",), words))},
    )


def _as_json(recipe: eft.Recipe) -> dict[str, Any]:
    """Every field, records as objects and arrays as lists."""
    return {**_plain(recipe), "act": recipe.act.name}


def _plain(value: Any) -> Any:
    if hasattr(value, "_asdict"):
        return {name: _plain(item) for name, item in value._asdict().items()}
    return value.tolist() if isinstance(value, jax.Array | np.ndarray) else value


def _rows(recipe: eft.Recipe) -> list[dict[str, Any]]:
    """A row for each layer: how it is drawn, what is expected of it, and its rates."""
    flow = {name: np.asarray(getattr(recipe.flow, name)) for name in recipe.flow._fields}
    rates = {} if recipe.rates is None else recipe.rates._asdict()
    by_layer = {f"rate_{name}": np.asarray(a) for name, a in rates.items() if np.ndim(a)}
    return [
        {
            "layer": i + 1,
            "gain": float(recipe.first_gain if i == 0 else recipe.gain),
            "bias_std": float(recipe.bias_std),
            **{name: a[i].item() for name, a in (flow | by_layer).items()},
        }
        for i in range(recipe.depth)
    ]


def _tables(recipe: eft.Recipe, rows: list[dict[str, Any]]) -> list[Table | str]:
    """The page as tables: the network, and its layers."""
    start = recipe.start
    network: dict[str, Any] = {
        "class": start.kind, "C_W": start.cw, "C_b": start.cb, "K¹": start.K1, "depth": recipe.depth,
        "width": recipe.width, "depth limit": recipe.depth_limit, "width needed": recipe.width_needed,
    }  # fmt: skip
    if recipe.rates is not None:
        network |= {"rate of gradient descent": recipe.rates.sgd, "rate of Adam": recipe.rates.adam}
    shown = ("gain", "bias_std", "K", "chi_parallel", "chi_perp", "V", *(k for k in rows[0] if "rate" in k))
    layers = [[str(row["layer"]), *(number(row[name]) for name in shown)] for row in rows]
    return [
        Table(f"{recipe.act.name}", ("", "recipe"), [(k, _text(v)) for k, v in network.items()]),
        start.reason,
        Table("layers", ("layer", *shown), layers),
    ]


def _text(value: Any) -> str:
    return "–" if value is None else number(value) if isinstance(value, float) else str(value)
