"""`eft compare`: theory compared with experiment."""

from typing import Annotated, Literal

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from eft.arguments import ArgumentError
from nets.cli.options import K1, SUFFIXES, Depth, Norm, Out, Readout, Skip, Weights, activation_of
from nets.cli.show import few, number, score, terminal, with_error, write_files
from nets.comparison import cases, rows
from nets.comparison.cases import Case
from nets.comparison.comparison import Comparison
from nets.files import output
from nets.plots import figures
from nets.statistics.estimators import Estimate


def compare(
    act: Annotated[
        str | None,
        tyro.conf.arg(help='"tanh" (default), "mrepu:p=2", or a function of yours as "module:name"'),
    ] = None,
    cw: Annotated[float | None, tyro.conf.arg(help="C_W, by default 1")] = None,
    cb: Annotated[float | None, tyro.conf.arg(help="C_b, by default 0")] = None,
    x2: Annotated[float | None, tyro.conf.arg(name="x2", help="the input's ‖x‖²/n₀, by default 1")] = None,
    k1: K1 = None,
    preset: Annotated[
        Literal["paper"] | None,
        tyro.conf.arg(help="several cases: tanh at C_W = 1, ReLU at 2, MRePU (p = 2) at 1 from K¹ = 1e-3"),
    ] = None,
    depth: Depth = 11,
    width: Annotated[int, tyro.conf.arg(help="of every hidden layer")] = 512,
    nets: Annotated[int, tyro.conf.arg(help="how many networks are drawn")] = 1000,
    seed: Annotated[int, tyro.conf.arg(help="of the first case; the next ones count on")] = 0,
    method: Annotated[
        Literal["networks", "metric"],
        tyro.conf.arg(help="draw every weight, or the same distribution without (hundreds of times faster)"),
    ] = "networks",
    order: Annotated[int, tyro.conf.arg(help="in 1/n, of theory: K + G1/n and V, or up to 5")] = 1,
    widths: Annotated[
        tuple[int, ...],
        tyro.conf.arg(help="several, such as 8 16 32: the last layer against 1/n in place of all layers"),
    ] = (),
    skip: Skip = 0.0,
    norm: Norm = None,
    weights: Weights = "gaussian",
    readout: Readout = False,
    out: Out = None,
) -> int:
    """Compare theory with an ensemble of real networks: K with its 1/n corrections, and V, of every layer."""
    console = terminal()
    given = {"act": act, "cw": cw, "cb": cb, "x2": x2, "K1": k1}
    given = {name: value for name, value in given.items() if value is not None}
    files = output.targets(out, "compare", SUFFIXES)
    if preset is None:
        chosen = (Case(**{"cw": 1.0, **given, "act": activation_of(act or "tanh")}),)
    elif given:
        raise ArgumentError(f"{', '.join(given)} must be left out where preset is given; got {given}")
    else:
        chosen = cases.PRESETS[preset]
    if widths and preset is not None:
        raise ArgumentError("widths must be left out where preset is given")
    chosen = [case._replace(width=n) for case in chosen for n in widths or (width,)]
    of_all = {
        "depth": depth, "n_nets": nets, "method": method, "order": order,
        "skip": skip, "norm": norm, "weights": weights, "readout": readout,
    }  # fmt: skip
    with console.status("compiling"):
        prepared = [cases.prepare(case._replace(seed=seed + i, **of_all)) for i, case in enumerate(chosen)]
    compared = []
    for each in prepared:
        compared.append((each.case, cases.run(each)))
        if not widths:
            _print_comparison(console, *compared[-1])
    if widths:
        _print_widths(console, compared)
    figure = figures.width_figure if widths else figures.comparison_figure
    return write_files(
        console,
        files,
        {
            ".json": lambda path: output.write(path, output.json_text(rows.json_value(compared))),
            ".csv": lambda path: output.write(path, output.csv_text(rows.csv_rows(compared))),
            ".png": lambda path: output.write(path, figures.png(figure(compared))),
        },
    )


def _cells(c: Comparison, i: int) -> tuple:
    K_measured, V_measured = (Estimate(e.mean[i], e.stderr[i]) for e in (c.K_measured, c.V_measured))
    K, K_finite, V, z_K, z_V = (float(a[i]) for a in (c.K, c.K_finite, c.V_finite, c.z_K, c.z_V))
    mark = "" if c.converges[i] else " ?"
    return (
        str(c.layer[i]),
        *(text if c.valid[i] else "–" for text in (number(K), number(K_finite) + mark)),
        with_error(K_measured),
        score(z_K),
        number(V) + mark if c.valid[i] else "–",
        with_error(V_measured),
        score(z_V),
    )


def _print_widths(console: Console, compared: list[tuple[Case, Comparison]]) -> None:
    """The last layer at each width."""
    case = compared[0][0]
    title = (
        f"{case.title}; layer {case.depth}, {case.n_nets:,} networks a width, theory to order {case.order}"
    )
    table = Table(title=title, title_style="bold", title_justify="left")
    V_name = "n·Var" if case.plain else "V"
    for name in ("n", "K", "K finite", "K measured", "z", V_name, "measured", "z"):
        table.add_column(name, justify="right")
    for each, c in compared:
        table.add_row(str(each.width), *_cells(c, -1)[1:])
    console.print()
    console.print(table)
    if not all(c.converges[-1] for _, c in compared):
        console.print(DIVERGES, style="yellow")


DIVERGES = (
    "where there is a ?, the terms of the series no longer fall: it is of no use at this depth and width"
)


def _print_comparison(console: Console, case: Case, c: Comparison) -> None:
    drawn = "networks" if case.method == "networks" else "networks by their metric"
    title = f"{case.title}; n = {case.width}, {case.n_nets:,} {drawn}"
    table = Table(title=title, title_style="bold", title_justify="left")
    finite = "K + G1/n" if case.order == 1 else f"K to 1/n^{case.order}"
    V_name = "V" if case.order == 1 else f"n·Var to 1/n^{case.order}"
    for name in ("layer", "K", finite, "K measured", "z", V_name, "V measured", "z"):
        table.add_column(name, justify="right")
    for i in few(list(range(len(c.layer)))):
        table.add_row(*("…" for _ in table.columns)) if i is None else table.add_row(*_cells(c, i))
    console.print()
    console.print(table)
    for name, chi2 in (("K", c.chi2_K), ("V", c.chi2_V)):
        if chi2.dof:
            text = f"χ² = {chi2.value:.1f} for {chi2.dof} degrees of freedom, p = {chi2.p:.2g}"
            console.print(f"{name}, all layers: {text}")
    console.print(f"{case.n_nets:,} networks in {c.seconds:.1f} s, {case.n_nets / c.seconds:,.0f} a second")
    lost = np.flatnonzero(c.n_overflowed)
    if lost.size:
        console.print(
            f"{c.n_overflowed[-1]:,} networks overflowed, the first at layer {c.layer[lost[0]]}: "
            "from there on they are left out, and no z is given",
            style="red",
        )
    wide = c.layer[c.spread > 1]
    if wide.size:
        console.print(
            f"from layer {wide[0]} on log Ĝ has a standard deviation above 1: rare networks carry the means "
            "of Ĝ and Ĝ², and an ensemble that lacks them shows too small an error",
            style="red",
        )
    if not c.converges[c.valid].all():
        console.print(DIVERGES, style="yellow")
    if not c.valid[-1]:
        first = c.layer[~c.valid][0]
        console.print(f"theory is out of range from layer {first} on", style="red")
