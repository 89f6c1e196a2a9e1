"""What the experiments have in common: options, results that are kept, files that they write."""

import argparse
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax

jax.config.update("jax_enable_x64", True)

import numpy as np  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from nets.files import archive, output  # noqa: E402
from nets.plots import figures  # noqa: E402
from nets.results import saving  # noqa: E402
from nets.statistics.chi_squared import ChiSquared  # noqa: E402

STARTED = time.perf_counter()


class Results(NamedTuple):
    """What an experiment found.

    `summary`: numbers, for the JSON. `arrays`: what they were made from, for the .npz. `drawn`: what its
    figures show.
    """

    summary: Mapping[str, Any]
    arrays: Mapping[str, Any]
    drawn: Any


class Kept(argparse.Namespace):
    """The settings of a run that is over: its results are read, and no network is drawn or trained."""


class Missing(RuntimeError):
    """Results that should have been kept are not there, or are those of other settings."""


def options(
    description: str, out: str, *, choices: Mapping[str, Iterable[str]] = MappingProxyType({}), **more: Any
) -> argparse.Namespace:
    """--quick, --out, --seed, and options with these defaults; a list's default takes several values.

    `choices`: of an option, what it may be.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="smaller, in a minute")
    parser.add_argument("--out", type=Path, default=Path("results") / out, help="a folder")
    parser.add_argument("--seed", type=int, default=0)
    for name, default in more.items():
        kind: dict[str, Any] = {"type": type(default)}
        if isinstance(default, list):
            kind = {"type": type(default[0]), "nargs": "+"}
        elif default is None:
            kind = {"type": float}
        parser.add_argument(
            "--" + name.replace("_", "-"),
            default=default,
            help=f"default: {default}",
            choices=choices.get(name),
            **kind,
        )
    args = parser.parse_args()
    try:
        output.targets(args.out, "any", (".json",))  # can it be written to?
    except (ValueError, OSError) as error:
        parser.error(str(error))
    return args


def checkpoint(args: argparse.Namespace, name: str, settings: Mapping[str, Any]) -> Path:
    """A folder of the checkpoints of one run; other settings have another."""
    words = json.dumps({**settings, "seed": args.seed}, sort_keys=True, default=str)
    return args.out / "kept" / f"steps of {name}, {hashlib.sha256(words.encode()).hexdigest()[:8]}"


def kept(
    args: argparse.Namespace,
    name: str,
    settings: Mapping[str, Any],
    make: Callable[..., Any],
    *given: Any,
    record: type | None = None,
    **more: Any,
) -> Any:
    """make(*given, **more), or what it made before with the same settings.

    `record`: what `make` returns, if `nets.results` does not save it: a NamedTuple of arrays; what else it
    has is not kept, and None when it is read.

    Raises Missing if `args` are those of a run that is over, and it has not kept this.
    """
    path = args.out / "kept" / f"{name}.npz"
    settings = {**settings, "seed": args.seed}
    found = None
    if path.exists():
        found, result = _read(path, record)
        if found == settings:
            return result
    if isinstance(args, Kept):
        raise Missing(f"{path} {_difference(settings, found)}")
    made = make(*given, **more)
    path.parent.mkdir(parents=True, exist_ok=True)
    if record is None:
        saving.save(made, path, settings)
    else:
        content = {k: np.asarray(v) for k, v in made._asdict().items() if not isinstance(v, Mapping)}
        archive.save(path, content, {"arguments": settings})
    return made


def _read(path: Path, record: type | None) -> tuple[dict[str, Any], Any]:
    """The settings in a file of kept results, and the results."""
    try:
        if record is None:
            saved = saving.load(path)
            return saved.arguments, saved.result
        arrays, words = archive.load(path)
    except archive.ArchiveError as error:
        raise Missing(f"{path} cannot be read: {error}") from error
    return words["arguments"], record(**dict.fromkeys(record._fields) | arrays)


def _difference(wanted: Mapping[str, Any], found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "is missing"
    other = [k for k in wanted | found if k not in wanted or k not in found or wanted[k] != found[k]]
    words = ", ".join(f"{k} {found.get(k)!r} in place of {wanted.get(k)!r}" for k in sorted(other))
    return f"has other settings: {words}"


def of_before(folder: Path, name: str) -> Kept:
    """The settings of the run whose results are in this folder.

    Raises Missing if there are none.
    """
    path = folder / f"{name}.json"
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))["settings"]
        return Kept(**settings | {"out": folder})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Missing(f"{path} is missing, or no summary of an experiment ({error})") from error


def run(
    args: argparse.Namespace,
    name: str,
    results: Callable[[argparse.Namespace], Results],
    pictures: Callable[[argparse.Namespace, Any], Mapping[str, Figure]],
) -> int:
    """Compute, draw and write; returns 0."""
    found = results(args)
    return write(args, name, found.summary, found.arrays, pictures(args, found.drawn))


def write(
    args: argparse.Namespace,
    name: str,
    summary: Mapping[str, Any],
    arrays: Mapping[str, Any],
    pictures: Mapping[str, Figure],
) -> int:
    """A JSON of what came out, an .npz of what it was made from, and PNGs; returns 0."""
    seconds = time.perf_counter() - STARTED
    settings = {key: value for key, value in vars(args).items() if key != "out"}
    about = {"settings": settings, "seconds": seconds, "jax": jax.__version__}
    output.write(args.out / f"{name}.json", output.json_text({**about, "summary": summary}))
    archive.save(args.out / f"{name}.npz", arrays, {"settings": settings})
    for suffix, picture in pictures.items():
        output.write(args.out / f"{name}{suffix}.png", figures.png(picture))
    print(
        f"{seconds:.0f} s; written: {args.out}/{name}.json, .npz, {', '.join(f'{s}.png' for s in pictures)}"
    )
    return 0


def words(chi2: ChiSquared) -> str:
    return f"χ² = {chi2.value:.1f} of {chi2.dof}, p = {chi2.p:.2g}"
