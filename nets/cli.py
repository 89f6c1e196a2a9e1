"""The command `eft`: the theory as a table, and theory beside experiment."""

import importlib
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import jax
import numpy as np
import tyro
from rich.console import Console
from rich.table import Table
from rich.text import Text

import eft
from eft import arguments
from eft.activations import as_activation
from eft.figures import phase_figure
from eft.phases import PHASES
from nets import compare as comparing
from nets import figures, output
from nets.compare import Case, Comparison
from nets.estimators import Estimate

SUFFIXES = (".json", ".csv", ".png")
LONGEST = 40
"""Rows of a table that are printed; a longer one shows its first and last."""

Out = Annotated[
    Path | None,
    tyro.conf.arg(help="a .json, .csv or .png file, or a directory for one of each; made if missing"),
]
Act = Annotated[str, tyro.conf.arg(help='the activation: "tanh", or with parameters "mrepu:p=2"')]
CW = Annotated[float, tyro.conf.arg(help="C_W, the variance of the weights times their fan-in")]
CB = Annotated[float, tyro.conf.arg(help="C_b, the variance of the biases")]
X2 = Annotated[float, tyro.conf.arg(name="x2", help="the input's ‖x‖²/n₀")]
K1 = Annotated[float | None, tyro.conf.arg(name="K1", help="the first kernel, in place of C_b + C_W·x2")]
Depth = Annotated[int, tyro.conf.arg(help="layers of pre-activations, the output's included")]


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is 0, or 2 for a bad argument."""
    jax.config.update("jax_enable_x64", True)
    commands = {"flow": flow, "compare": compare, "classify": classify, "phase": phase}
    try:
        return tyro.extras.subcommand_cli_from_dict(
            commands, prog="eft", description="Effective theory of neural networks.", args=args
        )
    except BadArgument as error:
        Console(stderr=True, soft_wrap=True, highlight=False).print(Text(f"eft: {error}", style="red"))
        return 2
    except KeyboardInterrupt:
        return 130


class BadArgument(Exception):
    """What the user typed cannot be done; the message is one line."""


class _checking:
    """Inside, a ValueError or TypeError is the user's: it comes from the check of an argument."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind, error, traceback) -> None:
        if isinstance(error, ValueError | TypeError):
            raise BadArgument(" ".join(str(error).split())) from error


# --- eft flow -------------------------------------------------------------------------------------


def flow(
    act: Act = "tanh",
    cw: CW = 1.0,
    depth: Depth = 11,
    cb: CB = 0.0,
    x2: X2 = 1.0,
    k1: K1 = None,
    width: Annotated[int | None, tyro.conf.arg(help="show K + G1/n too, for this width")] = None,
    out: Out = None,
) -> int:
    """Kernel, susceptibilities and four-point vertex of every layer, from theory."""
    console = _console()
    with _checking():
        files = output.targets(out, "flow", SUFFIXES)
        case = Case(act, cw, depth, cb=cb, x2=x2, K1=k1)
        n = None if width is None else arguments.positive_int("width", width)
        found = eft.kernel_flow(case.activation, cw, depth, cb=cb, x2=x2, K1=k1)
    rows = _flow_rows(found, case, n)
    table = Table(title=case.title, title_style="bold", title_justify="left")
    shown = ["K", *(["K + G1/n"] if n else []), "chi_parallel", "chi_perp", "V", "G1", "log_K"]
    for name in ("layer", *shown):
        table.add_column(name, justify="right")
    for row in _few(rows):
        if row is None:
            table.add_row(*("…" for _ in table.columns))
        else:
            always = {"log_K"} if case.activation.degree else set()
            known = [name if row["valid"] or name in always else None for name in shown]
            table.add_row(str(row["layer"]), *(_number(row[name]) if name else "–" for name in known))
    console.print(table)
    if not rows[-1]["valid"]:
        first = next(row["layer"] for row in rows if not row["valid"])
        console.print(f"from layer {first} on K is out of the float range, or not resolved", style="red")
    if ".json" in files:
        output.write(files[".json"], output.json_text({"title": case.title, "layers": rows}))
    if ".csv" in files:
        output.write(files[".csv"], output.csv_text(rows))
    if ".png" in files:
        output.write(files[".png"], figures.png(figures.flow_figure(case.title, found)))
    _say(console, files)
    return 0


def _flow_rows(found: eft.KernelFlow, case: Case, n: int | None) -> list[dict]:
    layers = range(1, case.depth + 1)
    columns = {"layer": layers, **{name: np.asarray(getattr(found, name)).tolist() for name in found._fields}}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    if n is not None:
        for row in rows:
            row["K + G1/n"] = row["K"] + row["G1"] / n
    return rows


# --- eft compare ----------------------------------------------------------------------------------


def compare(
    act: Annotated[str | None, tyro.conf.arg(help='the activation: "tanh" (default), or "mrepu:p=2"')] = None,
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
    out: Out = None,
) -> int:
    """Theory beside an ensemble of real networks: K with its 1/n correction, and V, of every layer."""
    console = _console()
    given = {"act": act, "cw": cw, "cb": cb, "x2": x2, "K1": k1}
    given = {name: value for name, value in given.items() if value is not None}
    with _checking():
        files = output.targets(out, "compare", SUFFIXES)
        if preset is None:
            cases = (Case(**{"act": "tanh", "cw": 1.0, **given}),)
        elif given:
            raise ValueError(f"{', '.join(given)} must be left out where preset is given; got {given}")
        else:
            cases = comparing.PRESETS[preset]
        with console.status("compiling"):
            prepared = [
                comparing.prepare(
                    case._replace(depth=depth, width=width, n_nets=nets, seed=seed + i, method=method)
                )
                for i, case in enumerate(cases)
            ]
    compared = []
    for each in prepared:
        compared.append((each.case, comparing.run(each)))
        _print_comparison(console, *compared[-1])
    if ".json" in files:
        output.write(files[".json"], output.json_text(comparing.json_value(compared)))
    if ".csv" in files:
        output.write(files[".csv"], output.csv_text(comparing.csv_rows(compared)))
    if ".png" in files:
        output.write(files[".png"], figures.png(figures.comparison_figure(compared)))
    _say(console, files)
    return 0


def _print_comparison(console: Console, case: Case, c: Comparison) -> None:
    drawn = "networks" if case.method == "networks" else "networks by their metric"
    title = f"{case.title}; n = {case.width}, {case.n_nets:,} {drawn}"
    table = Table(title=title, title_style="bold", title_justify="left")
    for name in ("layer", "K", "K + G1/n", "K measured", "z", "V", "V measured", "z"):
        table.add_column(name, justify="right")
    for i in _few(list(range(len(c.layer)))):
        if i is None:
            table.add_row(*("…" for _ in table.columns))
            continue
        K_measured, V_measured = (Estimate(e.mean[i], e.stderr[i]) for e in (c.K_measured, c.V_measured))
        K, K_finite, V, z_K, z_V = (float(a[i]) for a in (c.K, c.K_finite, c.V, c.z_K, c.z_V))
        table.add_row(
            str(c.layer[i]),
            *(_number(k) if c.valid[i] else "–" for k in (K, K_finite)),
            with_error(K_measured),
            _score(z_K),
            _number(V) if c.valid[i] else "–",
            with_error(V_measured),
            _score(z_V),
        )
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
    if not c.valid[-1]:
        first = c.layer[~c.valid][0]
        console.print(f"theory is out of range from layer {first} on", style="red")


# --- eft classify, eft phase ----------------------------------------------------------------------


def classify(
    act: Annotated[
        str | None,
        tyro.conf.arg(help='one activation: "tanh", "mrepu:p=2", or your own as "module:function"'),
    ] = None,
    all: Annotated[bool, tyro.conf.arg(help="the whole catalogue; so too without --act")] = False,
    out: Annotated[Path | None, tyro.conf.arg(help="a .json or .csv file, or a directory for both")] = None,
) -> int:
    """Where activations are critical, to which universality class they belong, and how to initialize them."""
    console = _console(width=220)
    with _checking():
        if all and act is not None:
            raise ValueError(f"all must be left out where act is given; got act {act!r}")
        files = output.targets(out, "classify", SUFFIXES[:2])
        acts = [eft.activation(name) for name in eft.activation_names()] if act is None else [_found(act)]
        with console.status("classifying"):
            found = [eft.classify(each) for each in acts]
    table = Table(title="universality classes", title_style="bold", title_justify="left")
    for name in ("activation", "class", "stability", "K*", "C_W", "C_b", "a₁", "c", "K ~ l^", "K_[2] ~ l^"):
        table.add_column(name, no_wrap=True)
    table.add_column("initialize with")
    for u in found:
        numbers = (u.K, u.cw, u.cb, u.a1, u.c, u.exponent_K, u.exponent_K2)
        shown = ("–" if math.isnan(a) else f"{a:.6g}" for a in numbers)
        kind = u.kind if u.sure else f"{u.kind} (not sure)"
        table.add_row(u.name, kind, u.stability if u.candidates else "–", *shown, u.advice)
    console.print(table)
    if act is not None:
        _print_reasons(console, found[0])
    rows = [_class_row(u) for u in found]
    if ".json" in files:
        output.write(files[".json"], output.json_text({"activations": rows}))
    if ".csv" in files:
        output.write(
            files[".csv"], output.csv_text([{**row, "notes": "; ".join(row["notes"])} for row in rows])
        )
    _say(console, files)
    return 0


def _print_reasons(console: Console, found: eft.Universality) -> None:
    console.print(f"{found.name}: {found.reason}")
    for other in found.candidates[1:]:
        console.print(
            f"also critical: {other.kind}, {other.stability}, K* = {other.K:.6g}, C_W = {other.cw:.6g}, "
            f"C_b = {other.cb:.6g}"
        )
    for note in found.notes:
        console.print(f"note: {note}")


def _class_row(found: eft.Universality) -> dict:
    plain = {k: v for k, v in found._asdict().items() if k not in ("candidates", "basin", "notes")}
    return {**plain, "K1_from": found.basin[0], "K1_to": found.basin[1], "notes": list(found.notes)}


def _found(text: str) -> eft.Activation:
    """The activation of a name, or the function that "module:function" imports."""
    module, colon, name = text.partition(":")
    if not colon or "=" in name or module in eft.activation_names():
        return comparing.parse_activation(text)
    sys.path.insert(0, "")
    try:
        function = importlib.import_module(module)
        for part in name.split("."):
            function = getattr(function, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"act must be a name, or module:function; {text!r} cannot be imported: {error}"
        ) from None
    finally:
        sys.path.remove("")
    return as_activation(function)  # type: ignore[arg-type]


def phase(
    act: Act = "tanh",
    cw: Annotated[
        tuple[float, float] | None, tyro.conf.arg(help="C_W from, to; default: about criticality")
    ] = None,
    cb: Annotated[tuple[float, float] | None, tyro.conf.arg(help="C_b from, to; default likewise")] = None,
    x2: X2 = 1.0,
    k1: K1 = None,
    points: Annotated[int, tyro.conf.arg(help="on each axis")] = 200,
    out: Annotated[Path, tyro.conf.arg(help="the .png file, or a directory for it")] = Path("results"),
) -> int:
    """The phase diagram in the plane of C_W and C_b, as a figure."""
    console = _console()
    with _checking():
        files = output.targets(out, "phase", (".png",))
        points = arguments.positive_int("points", points, maximum=2000)
        found = _found(act)
        with console.status("computing"):
            critical = eft.critical_point(found)
            about = critical or eft.CriticalPoint(0.0, 1.0, 0.0)
            axes = [
                np.linspace(*(given or (0.0, most)), points)
                for given, most in ((cw, 2 * about.cw), (cb, max(2.5 * about.cb, 0.2 * about.cw)))
            ]
            diagram = eft.phase_diagram(found, axes[0], axes[1], x2=x2, K1=k1)
            curve = eft.critical_curve(found)
    start = f"$x^2/n_0 = {x2:g}$" if k1 is None else f"$K^1 = {k1:g}$"
    picture = phase_figure(diagram, curve, critical, f"{found.name}, from {start}")
    output.write(files[".png"], figures.png(picture))
    for number, name in enumerate(PHASES):
        share = float((diagram.phase == number).mean())
        if share:
            console.print(f"{name}: {100 * share:.1f} % of the plane shown")
    _say(console, files)
    return 0


# --- how numbers are shown ------------------------------------------------------------------------


def _console(width: int = 140) -> Console:
    """A console; where nobody reads it live, at least that wide."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=max(console.width, width))
    return console


def _say(console: Console, files: dict[str, Path]) -> None:
    if files:
        console.print("written: " + ", ".join(map(str, files.values())))


def _few(rows: list) -> list:
    """The rows, or the first and last of them with None between."""
    if len(rows) <= LONGEST:
        return rows
    return [*rows[: LONGEST // 2], None, *rows[-(LONGEST // 2) :]]


def _number(value: float) -> str:
    return f"{value:.5g}"


def _score(z: float) -> Text:
    style = "" if not abs(z) > 2 else ("yellow" if abs(z) <= 3 else "bold red")
    return Text("–" if math.isnan(z) else f"{z:+.1f}" if abs(z) < 1e3 else f"{z:+.0e}", style=style)


def with_error(estimate: Estimate) -> str:
    """Such as 0.3941 ± 0.0012: the error to two digits, and the number as far as that goes."""
    value, error = float(estimate.mean), float(estimate.stderr)
    if math.isnan(value):
        return "–"
    if not math.isfinite(error) or error == 0:
        return f"{value:.6g} ± {error:.2g}"
    largest = max(abs(value), error)
    power = 0 if 1e-3 <= largest < 1e6 else math.floor(math.log10(largest))
    value, error = value / 10.0**power, error / 10.0**power
    digits = max(0, 1 - math.floor(math.log10(error)))
    text = f"{value:.{digits}f} ± {error:.{digits}f}"
    return text if power == 0 else f"({text})e{power:+03d}"


if __name__ == "__main__":
    sys.exit(main())
