"""`eft phase`: the phase diagram."""

from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

import eft
from eft import arguments
from eft.criticality.phases import PHASES
from eft.figures import phase_figure
from nets.cli.options import K1, X2, Act, Format, Overwrite, Skip, start_of, stem
from nets.cli.regions import region
from nets.cli.show import opened, publish
from nets.cli.tables import Table
from nets.files import output
from nets.plots import figures
from nets.results.rows import rows_content


def phase(
    act: Act = "tanh",
    cw: Annotated[
        tuple[float, float] | None, tyro.conf.arg(help="C_W from, to; default: where all phases are seen")
    ] = None,
    cb: Annotated[tuple[float, float] | None, tyro.conf.arg(help="C_b from, to; default likewise")] = None,
    x2: X2 = 1.0,
    k1: K1 = None,
    skip: Skip = 0.0,
    points: Annotated[int, tyro.conf.arg(help="on each axis")] = 200,
    format: Format = "table",
    out: Annotated[
        Path | None,
        tyro.conf.arg(
            help="a .png, .json, .csv or .nc file, or a directory for the .png; default where a table is "
            "printed: results"
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> int:
    """The phase diagram in the plane of C_W and C_b: a figure, or its points."""
    if out is None and format in ("table", "md"):
        out = Path("results")
    name = stem("phase", [act], cw=cw, cb=cb, **start_of(x2, k1), skip=skip or None)
    sheet = opened(name, format, out, overwrite, (".png",), (".nc", ".json", ".csv"))
    points = arguments.positive_int("points", points, maximum=2000)
    activation = eft.activation(act)
    with sheet.aside.status("computing"):
        critical = eft.critical_point(activation, skip=skip)
        about = region(activation, critical, x2=x2, K1=k1, skip=skip, cw=cw, cb=cb)
        axes = [np.linspace(*limits, points) for limits in about]
        diagram = eft.phase_diagram(activation, axes[0], axes[1], x2=x2, K1=k1, skip=skip)
        curve = eft.critical_curve(activation, skip=skip)
    start = f"x²/n₀ = {x2:g}" if k1 is None else f"K¹ = {k1:g}"
    residual = f", γ = {skip:g}" if skip else ""
    title = f"{activation.name}{residual}, from {start}"
    shares = {name: float((diagram.phase == i).mean()) for i, name in enumerate(PHASES)}
    plane = f"C_W from {axes[0][0]:g} to {axes[0][-1]:g}, C_b from {axes[1][0]:g} to {axes[1][-1]:g}"
    blocks: list[Table | str] = [
        f"{title}: the plane of {plane}",
        *(f"{name}: {100 * share:.1f} % of the plane shown" for name, share in shares.items() if share),
    ]
    if critical is not None:
        blocks.append(
            f"critical at C_W = {critical.cw:.6g}, C_b = {critical.cb:.6g}, with K* = {critical.K:.6g}"
        )
    rows = _rows(diagram)
    value = {
        "title": title,
        "critical": None if critical is None else critical._asdict(),
        "shares": shares,
        "curve": None if curve is None else {name: a.tolist() for name, a in curve._asdict().items()},
        "points": rows,
    }

    def figure(path: Path) -> None:
        first = f"$x^2/n_0 = {x2:g}$" if k1 is None else f"$K^1 = {k1:g}$"
        gamma = f", $\\gamma = {skip:g}$" if skip else ""
        picture = phase_figure(diagram, curve, critical, f"{activation.name}{gamma}, from {first}")
        output.write(path, figures.png(picture))

    words = {"title": title, "phases": list(PHASES)}
    return publish(
        sheet,
        blocks,
        value=value,
        rows=rows,
        writers={
            ".nc": lambda path: output.write(path, rows_content(rows, ("cb", "cw"), words)),
            ".png": figure,
        },
    )


def _rows(diagram: eft.PhaseDiagram) -> list[dict]:
    """A row for each point of the plane."""
    fields = ("K", "chi_parallel", "chi_perp", "error")
    return [
        {
            "cb": float(cb),
            "cw": float(cw),
            "phase": PHASES[diagram.phase[i, j]],
            **{name: float(getattr(diagram, name)[i, j]) for name in fields},
        }
        for i, cb in enumerate(diagram.cb)
        for j, cw in enumerate(diagram.cw)
    ]
