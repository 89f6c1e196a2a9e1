"""What the experiments have in common: options, results that are kept, files that they write."""

import argparse
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax

jax.config.update("jax_enable_x64", True)

from matplotlib.figure import Figure  # noqa: E402

from nets.files import archive, output  # noqa: E402
from nets.plots import figures  # noqa: E402
from nets.results import saving  # noqa: E402
from nets.statistics.chi_squared import ChiSquared  # noqa: E402

STARTED = time.perf_counter()


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
    **more: Any,
) -> Any:
    """make(*given, **more), or what it made before with the same settings."""
    path = args.out / "kept" / f"{name}.npz"
    settings = {**settings, "seed": args.seed}
    if path.exists():
        saved = saving.load(path)
        if saved.arguments == settings:
            return saved.result
    made = make(*given, **more)
    path.parent.mkdir(parents=True, exist_ok=True)
    saving.save(made, path, settings)
    return made


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
