"""`eft flow`: the theory as a table."""

from typing import Annotated

import numpy as np
import tyro
from rich.table import Table

import eft
from eft import arguments
from nets.cli.options import (
    CB,
    CW,
    K1,
    SUFFIXES,
    X2,
    Act,
    Depth,
    Norm,
    Out,
    Readout,
    Skip,
    Weights,
    activation_of,
)
from nets.cli.show import few, number, terminal, write_files
from nets.comparison.cases import Case
from nets.files import output
from nets.plots import figures


def flow(
    act: Act = "tanh",
    cw: CW = 1.0,
    depth: Depth = 11,
    cb: CB = 0.0,
    x2: X2 = 1.0,
    k1: K1 = None,
    width: Annotated[int | None, tyro.conf.arg(help="show K + G1/n too, for this width")] = None,
    skip: Skip = 0.0,
    norm: Norm = None,
    weights: Weights = "gaussian",
    readout: Readout = False,
    out: Out = None,
) -> int:
    """Kernel, susceptibilities and four-point vertex of every layer, from theory."""
    console = terminal()
    files = output.targets(out, "flow", SUFFIXES)
    case = Case(
        activation_of(act), cw, depth, cb=cb, x2=x2, K1=k1, skip=skip, norm=norm, weights=weights,
        readout=readout,
    )  # fmt: skip
    n = None if width is None else arguments.positive_int("width", width)
    kernel = eft.kernel_flow(case.activation, cw, depth, cb=cb, x2=x2, K1=k1, **case.kind)
    rows = _flow_rows(kernel, case, n)
    table = Table(title=case.title, title_style="bold", title_justify="left")
    shown = ["K", *(["K + G1/n"] if n else []), "chi_parallel", "chi_perp", "V", "G1", "log_K"]
    for name in ("layer", *shown):
        table.add_column(name, justify="right")
    for row in few(rows):
        if row is None:
            table.add_row(*("…" for _ in table.columns))
        else:
            always = {"log_K"} if case.activation.degree and case.plain else set()
            known = [name if row["valid"] or name in always else None for name in shown]
            table.add_row(str(row["layer"]), *(number(row[name]) if name else "–" for name in known))
    console.print(table)
    if not rows[-1]["valid"]:
        first = next(row["layer"] for row in rows if not row["valid"])
        console.print(f"from layer {first} on K is out of the float range, or not resolved", style="red")
    return write_files(
        console,
        files,
        {
            ".json": lambda path: output.write(path, output.json_text({"title": case.title, "layers": rows})),
            ".csv": lambda path: output.write(path, output.csv_text(rows)),
            ".png": lambda path: output.write(path, figures.png(figures.flow_figure(case.title, kernel))),
        },
    )


def _flow_rows(kernel: eft.KernelFlow, case: Case, n: int | None) -> list[dict]:
    layers = range(1, case.depth + 1)
    columns = {
        "layer": layers,
        **{name: np.asarray(getattr(kernel, name)).tolist() for name in kernel._fields},
    }
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    if n is not None:
        for row in rows:
            row["K + G1/n"] = row["K"] + row["G1"] / n
    return rows
