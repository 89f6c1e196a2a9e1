"""`eft classify`: where activations are critical."""

import math
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

import eft
from eft.arguments import ArgumentError
from nets.cli.options import SUFFIXES, Skip, activation_of
from nets.cli.show import terminal, write_files
from nets.files import output


def classify(
    act: Annotated[
        str | None,
        tyro.conf.arg(help='"tanh", "mrepu:p=2", or a function of yours as "module:name" or "file.py:name"'),
    ] = None,
    all: Annotated[bool, tyro.conf.arg(help="the whole catalogue; so too without --act")] = False,
    skip: Skip = 0.0,
    out: Annotated[Path | None, tyro.conf.arg(help="a .json or .csv file, or a directory for both")] = None,
) -> int:
    """Where activations are critical, to which universality class they belong, and how to initialize them."""
    console = terminal(width=220)
    if all and act is not None:
        raise ArgumentError(f"all must be left out where act is given; got act {act!r}")
    files = output.targets(out, "classify", SUFFIXES[:2])
    acts = [eft.activation(name) for name in eft.activation_names()] if act is None else [activation_of(act)]
    with console.status("classifying"):
        classes = [eft.classify(each, skip=skip) for each in acts]
    title = f"universality classes{f', skip γ = {skip:g}' if skip else ''}"
    table = Table(title=title, title_style="bold", title_justify="left")
    for name in ("activation", "class", "stability", "K*", "C_W", "C_b", "a₁", "c", "K ~ l^", "K_[2] ~ l^"):
        table.add_column(name, no_wrap=True)
    table.add_column("initialize with")
    for u in classes:
        numbers = (u.K, u.cw, u.cb, u.a1, u.c, u.exponent_K, u.exponent_K2)
        shown = ("–" if math.isnan(a) else f"{a:.6g}" for a in numbers)
        kind = u.kind if u.decided else f"{u.kind} (not sure)"
        table.add_row(u.name, kind, u.stability if u.candidates else "–", *shown, u.advice)
    console.print(table)
    if act is not None:
        _print_reasons(console, classes[0])
    rows = [_class_row(u, skip) for u in classes]
    flat = [{**row, "notes": "; ".join(row["notes"])} for row in rows]
    return write_files(
        console,
        files,
        {
            ".json": lambda path: output.write(path, output.json_text({"activations": rows})),
            ".csv": lambda path: output.write(path, output.csv_text(flat)),
        },
    )


def _print_reasons(console: Console, universality: eft.Universality) -> None:
    console.print(f"{universality.name}: {universality.reason}")
    for other in universality.candidates[1:]:
        console.print(
            f"also critical: {other.kind}, {other.stability}, K* = {other.K:.6g}, C_W = {other.cw:.6g}, "
            f"C_b = {other.cb:.6g}"
        )
    for note in universality.notes:
        console.print(f"note: {note}")


def _class_row(universality: eft.Universality, skip: float) -> dict:
    of_best = ("kind", "K", "cw", "cb", "a1", "b1", "c", "stable", "stability", "exponent_K", "exponent_K2")
    return {
        "name": universality.name,
        "skip": skip,
        **{field: getattr(universality, field) for field in of_best},
        "reason": universality.reason,
        "advice": universality.advice,
        "sure": universality.decided,
        "K1_from": universality.basin[0],
        "K1_to": universality.basin[1],
        "notes": list(universality.notes),
    }
