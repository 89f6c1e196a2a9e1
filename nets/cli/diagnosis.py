"""`eft diagnose`: what is wrong with a model."""

from typing import Annotated, Any

import jax
import tyro

import nets
from eft import arguments
from eft.arguments import ArgumentError, ArgumentTypeError, shown
from nets.cli.options import SUFFIXES, Out, imported
from nets.cli.show import terminal, write_files
from nets.files import output
from nets.models import LayerReport
from nets.plots import diagnosis_figure, figures
from nets.statistics.estimators import Estimate


def diagnose(
    make: Annotated[
        tyro.conf.Positional[str],
        tyro.conf.arg(help='"module:make" or "file.py:make", a function that returns (f, params, x)'),
    ],
    probes: Annotated[int, tyro.conf.arg(help="random directions for each χ⊥")] = 8,
    seed: int = 0,
    recipe: Annotated[
        bool, tyro.conf.arg(help="print how to initialize such a network, where that helps")
    ] = False,
    x64: Annotated[bool, tyro.conf.arg(help="switch float64 on before the model is made")] = False,
    out: Out = None,
) -> int:
    """What the layers of a JAX model do, what the theory predicts, and what is wrong.

    The function `make` takes no arguments; f(params, x) is the model, x a batch of inputs. Exit status 0
    whatever is found.
    """
    console = terminal(width=100)
    files = output.targets(out, "diagnosis", SUFFIXES)
    probes = arguments.positive_int("probes", probes)
    with jax.enable_x64(x64):
        made = _made(make)
        with console.status("examining"):
            found = nets.diagnose(*made, n_probes=probes, seed=seed)
        advised = found.recipe() if recipe else None
    console.print(str(found), soft_wrap=True)
    if recipe:
        page = (
            "no recipe: what is wrong is not the initialization of all layers" if advised is None else advised
        )
        console.print(f"\n{page}", soft_wrap=True)
    rows = [_row(report) for report in found.layers]
    verdicts = [{"kind": v.kind, "layer": v.layer, "words": v.words} for v in found.verdicts]
    table = {"model": make, "layers": rows, "verdicts": verdicts, "notes": list(found.notes)}
    return write_files(
        console,
        files,
        {
            ".json": lambda path: output.write(path, output.json_text(table)),
            ".csv": lambda path: output.write(path, output.csv_text(rows)),
            ".png": lambda path: output.write(path, figures.png(diagnosis_figure(make, found))),
        },
    )


def _made(text: str) -> tuple[Any, Any, Any]:
    """The model that the function named by the text makes."""
    make = imported("make", text)
    if not callable(make):
        raise ArgumentTypeError(f"make must name a function; {text} is {shown(make)}")
    try:
        made = make()
    except Exception as error:  # whatever the user-defined function raises
        raise ArgumentError(
            f"make must return (f, params, x); it raised {type(error).__name__}: {error}"
        ) from error
    if not (isinstance(made, tuple) and len(made) == 3):
        raise ArgumentTypeError(f"make must return (f, params, x); it returned {shown(made)}")
    return made


def _row(report: LayerReport) -> dict[str, Any]:
    """A layer as plain numbers: estimates with their errors, predictions by "theory_"."""
    row: dict[str, Any] = {}
    for name, value in report._asdict().items():
        if name == "theory":
            row |= {f"theory_{key}": entry for key, entry in value._asdict().items()}
        elif isinstance(value, Estimate):
            row |= {name: float(value.mean), f"{name}_stderr": float(value.stderr)}
        else:
            row[name] = value
    return row
