"""`eft diagnose`: what is wrong with a model."""

import math
from typing import Annotated, Any

import jax
import tyro

import nets
from eft import arguments
from eft.activations.references import imported
from eft.arguments import ArgumentError, ArgumentTypeError, shown
from nets.cli.options import SUFFIXES, Format, Out, Overwrite, stem
from nets.cli.show import opened, publish, score, short
from nets.cli.tables import Table
from nets.files import output
from nets.models import Diagnosis, LayerReport
from nets.plots import diagnosis_figure, figures
from nets.results.rows import rows_content
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
    format: Format = "table",
    out: Out = None,
    overwrite: Overwrite = False,
) -> int:
    """What the layers of a JAX model do, what the theory predicts, and what is wrong.

    The function `make` takes no arguments; f(params, x) is the model, x a batch of inputs. Exit status 0
    whatever is found.
    """
    sheet = opened(stem("diagnosis", [make]), format, out, overwrite, SUFFIXES, (".nc",))
    probes = arguments.positive_int("probes", probes)
    with jax.enable_x64(x64):
        made = _made(make)
        with sheet.aside.status("examining"):
            found = nets.diagnose(*made, n_probes=probes, seed=seed)
        advised = found.recipe() if recipe else None
    blocks = _blocks(found)
    if recipe:
        fault = "what is wrong is not the initialization of all layers"
        none = f"no recipe: {'nothing needs mending' if found.healthy else fault}"
        blocks.append(f"\n{none if advised is None else advised}")
    rows = [_row(report) for report in found.layers]
    verdicts = [{"kind": v.kind, "layer": v.layer, "words": v.words} for v in found.verdicts]
    value = {"model": make, "layers": rows, "verdicts": verdicts, "notes": list(found.notes)}
    words = {name: each for name, each in value.items() if name != "layers"}
    return publish(
        sheet,
        blocks,
        value=value,
        rows=rows,
        writers={
            ".nc": lambda path: output.write(path, rows_content(rows, ("number",), words)),
            ".png": lambda path: output.write(path, figures.png(diagnosis_figure(make, found))),
        },
    )


def _blocks(found: Diagnosis) -> list[Table | str]:
    """What `str(found)` says, as tables that fit any terminal."""
    several = found.n_nets > 1
    title = f"{len(found.layers)} layers, {found.n_inputs} input{'s' * (found.n_inputs != 1)}"
    weights = [
        (str(r.number), r.path, _source(r), f"{r.before}{_skip(r)}", str(r.fan_in), _with_error(r.cw),
         _with_error(r.cb))
        for r in found.layers
    ]  # fmt: skip
    signals = [_signals(r, several) for r in found.layers]
    last = ("V", "theory") if several else ("flat", "dead")
    head = ("l", "K", "theory", "z", "χ⊥", "theory", "χ∥", "theory", "ρ", "theory", *last)
    return [
        Table(
            title + (f", {found.n_nets} networks" if several else ""),
            ("l", "weights", "from", "what stands between", "fan-in", "C_W", "C_b"),
            weights,
            words=frozenset({1, 3}),
        ),
        Table("", head, signals, breaks=(4, 8)),
        "",
        *(f"{verdict.kind}: {verdict.words}" for verdict in found.verdicts),
        *(f"note: {note}" for note in found.notes),
        *([] if found.setting is None else [f"recipe(): how to initialize {found.setting}"]),
    ]


def _signals(r: LayerReport, several: bool) -> tuple[str, ...]:
    t = r.theory
    last = (float(r.V.mean), t.V) if several else (r.flat, r.dead)
    return (
        str(r.number),
        *(_with_error(r.K), "start" if t.started else short(t.K), _score(r)),
        *(_with_error(r.chi_perp, 3), short(t.chi_perp, 3)),
        *(short(float(r.chi_parallel.mean), 3), short(t.chi_parallel, 3)),
        *(short(r.rho, 2), "" if t.started else short(t.rho, 2)),
        *(short(each, 2) for each in last),
    )


def _source(r: LayerReport) -> str:
    return "several" if r.source is None else "x" if r.source == 0 else str(r.source)


def _skip(r: LayerReport) -> str:
    if not r.gamma:
        return ""
    start = "" if r.skip == r.source else f" from {r.skip or 'x'}"
    return f"; skip{start}" if r.gamma == 1 else f"; skip{start} γ={r.gamma:.3g}"


def _score(r: LayerReport) -> str:
    return "" if math.isnan(r.score) else str(score(r.score))


def _with_error(estimate: Estimate, digits: int = 4) -> str:
    """Text such as 5.73 ±0.1: the value, and its error with one digit where it has one."""
    value, error = float(estimate.mean), float(estimate.stderr)
    known = math.isfinite(value) and math.isfinite(error) and error != 0
    shown = f"{error:.0f}" if 1 <= error < 1e4 else short(error, 1)
    return f"{short(value, digits)} ±{shown}" if known else short(value, digits)


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
