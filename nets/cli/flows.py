"""`eft flow`: the theory as a table."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from rich.text import Text

import eft
from eft import arguments
from eft.arguments import ArgumentError
from nets.cli.options import (
    K1,
    SUFFIXES,
    X2,
    Acts,
    CBs,
    CWs,
    Depth,
    Format,
    Norm,
    Out,
    Overwrite,
    Readout,
    Skip,
    Weights,
    kind_of,
    per_activation,
    start_of,
    stem,
)
from nets.cli.show import few, number, opened, publish
from nets.cli.tables import Table
from nets.comparison.cases import Case
from nets.files import output
from nets.plots import figures
from nets.results.rows import rows_content

LETTERS = {"chi_parallel": "χ∥", "chi_perp": "χ⊥", "log_K": "log K"}


def flow(
    act: Acts = ("tanh",),
    cw: CWs = (1.0,),
    depth: Depth = 11,
    cb: CBs = (0.0,),
    x2: X2 = 1.0,
    k1: K1 = None,
    width: Annotated[int | None, tyro.conf.arg(help="show K + G1/n too, for this width")] = None,
    skip: Skip = 0.0,
    norm: Norm = None,
    weights: Weights = "gaussian",
    readout: Readout = False,
    format: Format = "table",
    out: Out = None,
    overwrite: Overwrite = False,
) -> int:
    """Kernel, susceptibilities and four-point vertex of every layer, from theory.

    Several activations are shown side by side: eft flow --act tanh gelu --cw 1 1.98.
    """
    if not act:
        raise ArgumentError("act must be one activation or several; got none")
    name = stem(
        "flow", act, cw=cw, cb=cb if any(cb) else None, depth=depth, width=width, **start_of(x2, k1),
        **kind_of(skip, norm, weights),
    )  # fmt: skip
    sheet = opened(name, format, out, overwrite, SUFFIXES, (".nc",))
    settings = zip(act, per_activation("cw", cw, len(act)), per_activation("cb", cb, len(act)), strict=True)
    cases = [
        Case(
            eft.activation(each), cw, depth, cb=cb, x2=x2, K1=k1, skip=skip, norm=norm, weights=weights,
            readout=readout,
        )
        for each, cw, cb in settings
    ]  # fmt: skip
    n = None if width is None else arguments.positive_int("width", width)
    flows = [eft.kernel_flow(case.activation, case.cw, depth, **case.given, **case.kind) for case in cases]
    rows = [_flow_rows(kernel, case, n) for kernel, case in zip(flows, cases, strict=True)]
    shown = ["K", *(["K + G1/n"] if n else []), "chi_parallel", "chi_perp", "V", "G1", "log_K"]
    blocks = [_table(cases[0], rows[0], shown)] if len(cases) == 1 else _side_by_side(cases, rows, shown)
    notes = [_range_note(case, each) for case, each in zip(cases, rows, strict=True)]
    title = "; ".join(case.title for case in cases)
    flat = [row for each in rows for row in each]
    value = {"title": title, "layers": flat}
    axes = ("activation", "layer")

    def figure(path: Path) -> None:
        drawn = (
            figures.flow_figure(title, flows[0])
            if len(cases) == 1
            else figures.flows_figure([case.title for case in cases], flows)
        )
        output.write(path, figures.png(drawn))

    return publish(
        sheet,
        [*blocks, *filter(None, notes)],
        value=value,
        rows=flat,
        writers={
            ".nc": lambda path: output.write(path, rows_content(flat, axes, {"title": title})),
            ".png": figure,
        },
    )


def _cell(case: Case, row: dict, name: str) -> str:
    """A number; none where theory is out of range, unless it is known all the same."""
    always = name == "log_K" and case.activation.degree and case.plain
    return number(row[name]) if row["valid"] or always else "–"


def _table(case: Case, rows: list[dict], shown: Sequence[str]) -> Table:
    cells = [[str(row["layer"]), *(_cell(case, row, name) for name in shown)] for row in rows]
    return Table(case.title, ["layer", *(LETTERS.get(name, name) for name in shown)], few(cells))


def _side_by_side(cases: list[Case], rows: list[list[dict]], shown: Sequence[str]) -> list[Table | str]:
    """A table with a column for each quantity and activation, below what the settings are."""
    names = _distinct([case.activation.name for case in cases])
    head = ["layer", *(f"{LETTERS.get(name, name)}: {act}" for name in shown for act in names)]
    cells = [
        [
            str(each[0]["layer"]),
            *(_cell(case, row, name) for name in shown for case, row in zip(cases, each, strict=True)),
        ]
        for each in zip(*rows, strict=True)
    ]
    breaks = tuple(range(1, len(head), len(names)))
    return ["\n".join(case.title for case in cases), Table("", head, few(cells), breaks=breaks)]


def _distinct(names: list[str]) -> list[str]:
    """The names, numbered where one occurs twice."""
    return [
        name if names.count(name) == 1 else f"{name} #{names[: i + 1].count(name)}"
        for i, name in enumerate(names)
    ]


def _range_note(case: Case, rows: list[dict]) -> Text | None:
    if rows[-1]["valid"]:
        return None
    first = next(row["layer"] for row in rows if not row["valid"])
    words = f"{case.activation.name}: from layer {first} on K is out of the float range, or not resolved"
    return Text(words, style="red")


def _flow_rows(kernel: eft.KernelFlow, case: Case, n: int | None) -> list[dict]:
    columns = {
        "layer": range(1, case.depth + 1),
        **{name: np.asarray(getattr(kernel, name)).tolist() for name in kernel._fields},
    }
    start = {"activation": case.activation.name, "cw": case.cw, "cb": case.cb}
    rows = [{**start, **dict(zip(columns, row, strict=True))} for row in zip(*columns.values(), strict=True)]
    if n is not None:
        for row in rows:
            row["K + G1/n"] = row["K"] + row["G1"] / n
    return rows
