"""`eft compare`: theory compared with experiment."""

from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np
import tyro
from rich.text import Text

import eft
from eft import arguments
from eft.arguments import ArgumentError
from nets.cli.options import (
    K1,
    SUFFIXES,
    Depth,
    Format,
    MemoryBudget,
    Norm,
    Out,
    Overwrite,
    Readout,
    Skip,
    Weights,
    kind_of,
    per_activation,
    stem,
)
from nets.cli.show import few, number, opened, publish, score, with_error
from nets.cli.tables import Table
from nets.comparison import cases, rows
from nets.comparison.cases import Case
from nets.comparison.comparison import Comparison
from nets.comparison.orders import SIGNIFICANT, missing_order
from nets.files import output
from nets.plots import figures
from nets.results.rows import rows_content
from nets.statistics.chi_squared import ChiSquared
from nets.statistics.estimators import Estimate

Compared = list[tuple[Case, Comparison]]


def compare(
    act: Annotated[
        tuple[str, ...],
        tyro.conf.arg(
            help='one or several: "tanh" (default), "mrepu:p=2", or a function of yours as "module:name" '
            'or "file.py:name"'
        ),
    ] = (),
    cw: Annotated[
        tuple[float, ...], tyro.conf.arg(help="C_W, by default 1; one, or one for each --act")
    ] = (),
    cb: Annotated[
        tuple[float, ...], tyro.conf.arg(help="C_b, by default 0; one, or one for each --act")
    ] = (),
    x2: Annotated[
        float | None, tyro.conf.arg(name="x2", aliases=["--X2"], help="the input's ‖x‖²/n₀, by default 1")
    ] = None,
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
    control_variates: Annotated[
        bool, tyro.conf.arg(help="K and V far more exactly from the same networks, if they are plain")
    ] = False,
    memory_budget: MemoryBudget = None,
    format: Format = "table",
    out: Out = None,
    overwrite: Overwrite = False,
) -> int:
    """Compare theory with an ensemble of real networks: K with its 1/n corrections, and V, of every layer."""
    given = {"act": act, "cw": cw, "cb": cb, "x2": x2, "K1": k1}
    given = {name: value for name, value in given.items() if value not in (None, ())}
    said = {} if preset else {"cw": cw or (1.0,), "cb": cb or None}
    named = (f"{preset}-preset",) if preset else act or ("tanh",)
    name = stem(
        "compare", named, **said, x2=x2, K1=k1, depth=depth, width=widths or width, nets=nets,
        **kind_of(skip, norm, weights),
    )  # fmt: skip
    sheet = opened(name, format, out, overwrite, SUFFIXES, (".nc",))
    if preset is not None and given:
        first = {name: " ".join(map(str, v)) if isinstance(v, tuple) else v for name, v in given.items()}
        raise ArgumentError(f"{', '.join(given)} must be left out where preset is given; got {first}")
    if widths and (preset is not None or len(act) > 1):
        reason = "preset is given" if preset else "there are several activations"
        raise ArgumentError(f"widths must be left out where {reason}")
    budget = None if memory_budget is None else arguments.byte_count("memory_budget", memory_budget)
    chosen = cases.PRESETS[preset] if preset else _cases(act or ("tanh",), cw, cb, x2, k1)
    chosen = [case._replace(width=n) for case in chosen for n in widths or (width,)]
    of_all = {
        "depth": depth, "n_nets": nets, "method": method, "order": order,
        "skip": skip, "norm": norm, "weights": weights, "readout": readout,
        "control_variates": control_variates,
    }  # fmt: skip
    with sheet.aside.status("compiling"):
        prepared = [
            cases.prepare(case._replace(seed=seed + i, **of_all), memory_budget=budget)
            for i, case in enumerate(chosen)
        ]
    compared = [(each.case, cases.run(each)) for each in prepared]
    with sheet.aside.status("judging"):
        blocks = list(_widths_blocks(compared) if widths else _blocks(compared))
    figure = figures.width_figure if widths else figures.comparison_figure
    flat = rows.csv_rows(compared)
    axes = ("width", "layer") if widths else ("case", "layer")
    numbered = [{"case": i + 1, **row} for i, each in enumerate(compared) for row in rows.csv_rows([each])]
    words = {"cases": [case.title for case, _ in compared]}
    return publish(
        sheet,
        blocks,
        value=rows.json_value(compared),
        rows=flat,
        writers={
            ".nc": lambda path: output.write(path, rows_content(numbered, axes, words)),
            ".png": lambda path: output.write(path, figures.png(figure(compared))),
        },
    )


def _cases(
    acts: tuple[str, ...], cw: tuple[float, ...], cb: tuple[float, ...], x2: float | None, k1: float | None
) -> tuple[Case, ...]:
    first = 1.0 if x2 is None else x2
    numbers = (per_activation(name, a, len(acts)) for name, a in (("cw", cw or (1.0,)), ("cb", cb or (0.0,))))
    return tuple(
        Case(eft.activation(act), cw=w, cb=b, x2=first, K1=k1)
        for act, w, b in zip(acts, *numbers, strict=True)
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


V_COLUMN = 5
"""The first column about V, where tables are folded."""
DIVERGES = (
    "where there is a ?, the terms of the series no longer fall: it is of no use at this depth and width"
)


def _widths_blocks(compared: Compared) -> Iterator[Table | Text]:
    """The last layer at each width."""
    case = compared[0][0]
    drawn = f"{case.n_nets:,} networks a width{_controls(case)}"
    title = f"{case.title}; layer {case.depth}, {drawn}, theory to order {case.order}"
    V_name = "n·Var" if case.plain else "V"
    head = ("n", "K", "K finite", "K measured", "z", V_name, "measured", "z")
    yield Table(
        title, head, [(str(each.width), *_cells(c, -1)[1:]) for each, c in compared], breaks=(V_COLUMN,)
    )
    if not all(c.converges[-1] for _, c in compared):
        yield Text(DIVERGES, style="yellow")
    yield from _order_notes(compared)


def _blocks(compared: Compared) -> Iterator[Table | str | Text]:
    for case, c in compared:
        yield _table(case, c)
        yield from _judgement(case, c)
        yield from _order_notes([(case, c)])
        yield f"{case.n_nets:,} networks in {c.seconds:.1f} s, {case.n_nets / c.seconds:,.0f} a second"
        yield from _warnings(c)
    if len(compared) > 1:
        cells = [
            (case.activation.name, *_chi2_cells(c.chi2_K), *_chi2_cells(c.chi2_V)) for case, c in compared
        ]
        head = ("activation", "χ² of K", "dof", "p", "χ² of V", "dof", "p")
        yield Table("all layers at once", head, cells)


def _controls(case: Case) -> str:
    return ", with control variates" if case.control_variates else ""


def _table(case: Case, c: Comparison) -> Table:
    drawn = "network" if case.n_nets == 1 else "networks"
    drawn += " by their metric" if case.method == "metric" else ""
    title = f"{case.title}; n = {case.width}, {case.n_nets:,} {drawn}{_controls(case)}"
    finite = "K + G1/n" if case.order == 1 else f"K to 1/n^{case.order}"
    V_name = "V" if case.order == 1 else f"n·Var to 1/n^{case.order}"
    head = ("layer", "K", finite, "K measured", "z", V_name, "V measured", "z")
    return Table(title, head, few([_cells(c, i) for i in range(len(c.layer))]), breaks=(V_COLUMN,))


def _chi2_cells(chi2: ChiSquared) -> tuple[str, str, str]:
    return (f"{chi2.value:.1f}", str(chi2.dof), f"{chi2.p:.2g}") if chi2.dof else ("–", "0", "–")


def _judgement(case: Case, c: Comparison) -> Iterator[Text]:
    """K and V of all layers at once: layers are correlated, and many rows have a large z by chance."""
    for name, chi2 in (("K", c.chi2_K), ("V", c.chi2_V)):
        if chi2.dof:
            off = chi2.p < SIGNIFICANT
            verdict = "significantly off" if off else "in agreement"
            numbers = f"χ² = {chi2.value:.1f} for {chi2.dof} degrees of freedom, p = {chi2.p:.2g}"
            yield Text(f"{name}, all layers: {verdict}, {numbers}", style="bold red" if off else "")


def _order_notes(compared: Compared) -> Iterator[Text]:
    """Where theory lacks the next order in 1/n."""
    for case, c in compared:
        found = missing_order(case, c)
        if found is None:
            continue
        name, order = found.quantity, "leading order" if case.order == 1 else f"order {case.order}"
        deviation = with_error(found.deviation).replace("± ", "±")
        at = f"n = {case.width}" if len(compared) > 1 else f"layer {found.layer}"
        end = "" if found.z <= 3 else ", where it is still off"
        yield Text(
            f"{name} is of {order}; try --order {found.order}{end}: at {at} measured − theory = {deviation}, "
            f"and the next term in 1/n is {number(found.term)}",
            style="yellow",
        )


def _warnings(c: Comparison) -> Iterator[Text]:
    lost = np.flatnonzero(c.n_overflowed)
    if lost.size:
        yield Text(
            f"{c.n_overflowed[-1]:,} networks overflowed, the first at layer {c.layer[lost[0]]}: "
            "from there on they are left out, and no z is given",
            style="red",
        )
    wide = c.layer[c.spread > 1]
    if wide.size:
        yield Text(
            f"from layer {wide[0]} on log Ĝ has a standard deviation above 1: rare networks carry the means "
            "of Ĝ and Ĝ², and an ensemble that lacks them shows too small an error",
            style="red",
        )
    if not c.converges[c.valid].all():
        yield Text(DIVERGES, style="yellow")
    if not c.valid[-1]:
        first = c.layer[~c.valid][0]
        yield Text(f"theory is out of range from layer {first} on", style="red")
