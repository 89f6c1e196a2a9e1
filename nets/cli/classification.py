"""`eft classify`: where activations are critical."""

import math
from typing import Annotated, Any

import tyro

import eft
from eft.arguments import ArgumentError
from nets.cli.options import SUFFIXES, Acts, Format, Out, Overwrite, Skip, stem
from nets.cli.show import opened, publish
from nets.cli.tables import Table
from nets.files import output
from nets.results.rows import rows_content

NUMBERS = {
    "K*": "K", "C_W": "cw", "C_b": "cb", "a₁": "a1", "c": "c", "K ~ l^": "exponent_K",
    "K_[2] ~ l^": "exponent_K2",
}  # fmt: skip
MAX_COLUMNS = 4
"""Up to so many activations are side by side, a column for each; more of them have a row each."""


def classify(
    act: Acts = (),
    all: Annotated[bool, tyro.conf.arg(help="the whole catalogue; so too without --act")] = False,
    skip: Skip = 0.0,
    format: Format = "table",
    out: Out = None,
    overwrite: Overwrite = False,
) -> int:
    """Where activations are critical, to which universality class they belong, and how to initialize them."""
    if all and act:
        raise ArgumentError(f"all must be left out where act is given; got act {' '.join(act)}")
    names = act or eft.activation_names()
    name = stem("classify", names if act else ["catalogue"], skip=skip or None)
    sheet = opened(name, format, out, overwrite, SUFFIXES[:2], (".nc",))
    acts = [eft.activation(each) for each in names]
    with sheet.aside.status("classifying"):
        classes = [eft.classify(each, skip=skip) for each in acts]
    title = f"universality classes{f', skip γ = {skip:g}' if skip else ''}"
    blocks: list[Table | str] = []
    if len(classes) <= MAX_COLUMNS:
        blocks += [_side_by_side(title, classes), *_reasons(classes)]
    else:
        blocks += _catalogue(title, classes)
    rows = [_class_row(u, skip) for u in classes]
    flat = [{**row, "notes": "; ".join(row["notes"])} for row in rows]
    words = {"title": title}
    return publish(
        sheet,
        blocks,
        value={"activations": rows},
        rows=flat,
        writers={".nc": lambda path: output.write(path, rows_content(flat, ("name",), words))},
    )


def _side_by_side(title: str, classes: list[eft.Universality]) -> Table:
    rows = [("class", *map(_kind, classes)), ("stability", *map(_stability, classes))]
    rows += [(head, *(_number(getattr(u, field)) for u in classes)) for head, field in NUMBERS.items()]
    return Table(title, ("", *(u.name for u in classes)), rows)


def _catalogue(title: str, classes: list[eft.Universality]) -> list[Table | str]:
    """How to initialize each, first; the numbers that say why, after it."""
    start = [(u.name, u.advice) for u in classes]
    why = [
        (u.name, _kind(u), _stability(u), *(_number(getattr(u, field)) for field in NUMBERS.values()))
        for u in classes
    ]
    head = ("activation", "class", "stability", *NUMBERS)
    return [
        Table(title, ("activation", "initialize with"), start, words=frozenset({0, 1})),
        Table("critical points", head, why, words=frozenset({0, 1, 2})),
    ]


def _kind(u: eft.Universality) -> str:
    return u.kind if u.decided else f"{u.kind} (not sure)"


def _stability(u: eft.Universality) -> str:
    return u.stability if u.candidates else "–"


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.6g}"


def _reasons(classes: list[eft.Universality]) -> list[str]:
    """What to initialize each with, why, and what else is critical."""
    lines = [f"{u.name}: initialize with {u.advice}" for u in classes]
    for u in classes:
        lines.append(f"{u.name}: {u.reason}")
        lines += [
            f"also critical: {other.kind}, {other.stability}, K* = {other.K:.6g}, C_W = {other.cw:.6g}, "
            f"C_b = {other.cb:.6g}"
            for other in u.candidates[1:]
        ]
        lines += [f"note: {note}" for note in u.notes]
    return lines


def _class_row(universality: eft.Universality, skip: float) -> dict[str, Any]:
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
