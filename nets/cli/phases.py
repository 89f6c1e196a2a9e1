"""`eft phase`: the phase diagram."""

from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

import eft
from eft import arguments
from eft.criticality.phases import PHASES
from eft.figures import phase_figure
from nets.cli.options import K1, X2, Act, Skip, activation_of
from nets.cli.show import terminal, write_files
from nets.files import output
from nets.plots import figures


def phase(
    act: Act = "tanh",
    cw: Annotated[
        tuple[float, float] | None, tyro.conf.arg(help="C_W from, to; default: about criticality")
    ] = None,
    cb: Annotated[tuple[float, float] | None, tyro.conf.arg(help="C_b from, to; default likewise")] = None,
    x2: X2 = 1.0,
    k1: K1 = None,
    skip: Skip = 0.0,
    points: Annotated[int, tyro.conf.arg(help="on each axis")] = 200,
    out: Annotated[Path, tyro.conf.arg(help="the .png file, or a directory for it")] = Path("results"),
) -> int:
    """The phase diagram in the plane of C_W and C_b, as a figure."""
    console = terminal()
    files = output.targets(out, "phase", (".png",))
    points = arguments.positive_int("points", points, maximum=2000)
    activation = activation_of(act)
    with console.status("computing"):
        critical = eft.critical_point(activation, skip=skip)
        about = critical or eft.CriticalPoint(0.0, 1.0, 0.0)
        axes = [
            np.linspace(*(given or (0.0, limit)), points)
            for given, limit in ((cw, 2 * about.cw), (cb, max(2.5 * about.cb, 0.2 * about.cw)))
        ]
        diagram = eft.phase_diagram(activation, axes[0], axes[1], x2=x2, K1=k1, skip=skip)
        curve = eft.critical_curve(activation, skip=skip)
    start = f"$x^2/n_0 = {x2:g}$" if k1 is None else f"$K^1 = {k1:g}$"
    residual = f", $\\gamma = {skip:g}$" if skip else ""
    picture = phase_figure(diagram, curve, critical, f"{activation.name}{residual}, from {start}")
    for number, name in enumerate(PHASES):
        share = float((diagram.phase == number).mean())
        if share:
            console.print(f"{name}: {100 * share:.1f} % of the plane shown")
    return write_files(console, files, {".png": lambda path: output.write(path, figures.png(picture))})
