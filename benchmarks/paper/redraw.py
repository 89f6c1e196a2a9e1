"""Draws the figures of the paper's experiments again from results that were kept; nothing is trained.

Each experiment writes a JSON with its settings, and keeps what it measured in a folder `kept` beside it. The
figures are drawn from these by the experiment's own function, into docs/paper: r01.png, r09_cubic.png, …

Where results are missing, or are those of other settings than the JSON records, the experiment is named and
left out, and the command ends with 1. So are results of `--quick`, which are not what the pages describe,
unless this has `--quick` too.

Run: python benchmarks/paper/redraw.py [r01 r09 …] [--results results] [--figures docs/paper] [--quick]
"""

import argparse
import contextlib
import importlib
import io
import sys
from pathlib import Path

import experiment
from experiment import Kept, Missing

from nets.files import output
from nets.files.checkpoints import CheckpointError
from nets.plots import figures

EXPERIMENTS = {
    "r01": "r01_repu_initialization",
    "r02": "r02_repu_training",
    "r03": "r03_mrepu_susceptibility",
    "r04": "r04_mrepu_initialization",
    "r05": "r05_mrepu_vertex",
    "r06": "r06_mrepu_training",
    "r09": "r09_polynomial_regression",
    "r10": "r10_function_regression",
    "r11": "r11_burgers",
}
"""The experiments whose figures are in docs/paper, and their modules."""


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("experiments", nargs="*", metavar="experiment", help=", ".join(EXPERIMENTS))
    parser.add_argument("--results", type=Path, default=Path("results"), help="has a folder for each")
    parser.add_argument("--figures", type=Path, default=Path("docs/paper"), help="a folder")
    parser.add_argument("--quick", action="store_true", help="also results of --quick")
    args = parser.parse_args()
    for name in args.experiments:
        if name not in EXPERIMENTS:
            parser.error(f"experiment must be one of {', '.join(EXPERIMENTS)}; got {name!r}")
    try:
        output.targets(args.figures, "any", (".png",))
    except (ValueError, OSError) as error:
        parser.error(str(error))
    return args


def redraw(name: str, results: Path, target: Path, quick: bool) -> list[Path]:
    """Draw the figures of one experiment; returns the files.

    Raises Missing if it lacks what they are drawn from.
    """
    module, folder = importlib.import_module(EXPERIMENTS[name]), results / name
    try:
        settings = experiment.of_before(folder, module.NAME)
        if settings.quick and not quick:
            raise Missing("these are results of --quick")
        drawn = drawn_of(module, settings)
    except (Missing, CheckpointError) as error:
        raise Missing(f"{name} cannot be drawn from {folder}: {error}") from error
    files = []
    for suffix, picture in module.pictures(settings, drawn).items():
        files.append(target / f"{name}{suffix}.png")
        output.write(files[-1], figures.png(picture))
    return files


def drawn_of(module, settings: Kept):
    """What the figures of an experiment show, without the words that it prints."""
    with contextlib.redirect_stdout(io.StringIO()):
        return module.results(settings).drawn


def main() -> int:
    args, refused = options(), 0
    for name in args.experiments or EXPERIMENTS:
        try:
            files = redraw(name, args.results, args.figures, args.quick)
        except Missing as error:
            print(error, file=sys.stderr)
            refused += 1
        else:
            print(f"{name}: " + ", ".join(map(str, files)))
    return min(refused, 1)


if __name__ == "__main__":
    sys.exit(main())
