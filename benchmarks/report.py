"""Runs the speed benchmarks, each in a process of its own, and writes a table of what they measured.

    python benchmarks/report.py [--only flow gram] [--repeats 5] [--out docs/speed.md] [--note TEXT]

The table is Markdown; a JSON file of the same name beside it holds every repetition. A benchmark that fails,
or misses a claim, is named below the table and the others go on; the exit status is then 1. Both files are
written anew after each benchmark, so that a report that is interrupted keeps what it has.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
SCRIPTS = ROOT / "benchmarks" / "speed"
PACKAGES = ("jax", "jaxlib", "numpy")
Record = dict[str, Any]


class Ran(NamedTuple):
    """One repetition of a benchmark: its records, and why it failed, or ""."""

    records: list[Record]
    failure: str


def main(arguments: Sequence[str] | None = None) -> int:
    args = parsed(arguments)
    report: dict[str, Any] = {"machine": machine(), "repeats": args.repeats, "note": args.note}
    report["benchmarks"] = {}
    for script in chosen(args.scripts, args.only):
        print(f"{script.stem} …", flush=True)
        runs = [ran(script) for _ in range(args.repeats)]
        failures = [run.failure for run in runs if run.failure]
        for failure in dict.fromkeys(failures):
            print(f"  {script.stem} failed: {failure}")
        report["benchmarks"][script.stem] = {"runs": [run.records for run in runs], "failures": failures}
        written(report, args.out)
    print(f"wrote {args.out} and {args.out.with_suffix('.json')}")
    return int(any(each["failures"] for each in report["benchmarks"].values()))


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", help="benchmarks by name; default: all")
    parser.add_argument("--repeats", type=int, default=5, help="processes for each benchmark; default: 5")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "speed.md", help="the Markdown file")
    parser.add_argument("--scripts", type=Path, default=SCRIPTS, help="the folder of the benchmarks")
    parser.add_argument("--note", default="", help="a sentence about the conditions, such as other load")
    args = parser.parse_args(arguments)
    if args.repeats < 1:
        parser.error(f"--repeats must be at least 1; got {args.repeats}")
    known = [path.stem for path in chosen(args.scripts, None)]
    if unknown := [name for name in args.only or () if name not in known]:
        parser.error(f"--only must be among {', '.join(known)}; got {', '.join(unknown)}")
    return args


def written(report: dict[str, Any], out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    out.write_text(page(report), encoding="utf-8")


def chosen(folder: Path, only: Sequence[str] | None) -> list[Path]:
    """The scripts with these names, in this order; default: all; files that start with _ are none."""
    found = {path.stem: path for path in sorted(folder.glob("[!_]*.py"))}
    return [found[name] for name in only] if only else list(found.values())


def ran(script: Path) -> Ran:
    """What the benchmark records in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "records")
        environment = {**os.environ, "EFT_RECORDS": str(file)}
        done = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True)
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return Ran([json.loads(line) for line in lines], reason(done) if done.returncode else "")


def reason(done: subprocess.CompletedProcess) -> str:
    """The claims that were missed, or the last line of the error."""
    missed = [line.split("MISSED", 1)[1].strip() for line in done.stdout.splitlines() if "MISSED" in line]
    error = done.stderr.strip().splitlines()
    return "missed: " + "; ".join(missed) if missed else (error or [f"exit status {done.returncode}"])[-1]


def machine() -> dict[str, Any]:
    """Where and when, and the versions."""
    packages = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {
        "date": datetime.date.today().isoformat(),
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        **packages,
    }


def processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


# --- the page -----------------------------------------------------------------------------------


def page(report: dict[str, Any]) -> str:
    where = report["machine"]
    versions = ", ".join(f"{name} {where[name]}" for name in ("python", *PACKAGES))
    lines = [
        "# Speed",
        "",
        "Times by the wall clock, in float64, measured by `make report` (`benchmarks/report.py`), which runs",
        "the scripts of `benchmarks/speed` in fresh processes. Each figure is the median over the processes,",
        "with the smallest and the largest in parentheses. The first call includes compilation; the ratio is",
        "that of the plain way or the peer to the warm call.",
        "",
        f"{where['date']}, {where['processor']}, {where['cores']} cores, {where['system']}; {versions};"
        f" {report['repeats']} processes for each benchmark.",
    ]  # fmt: skip
    if report["note"]:
        lines += [report["note"]]
    lines += ["", "| benchmark | quantity | first call | warm | plain way or peer | ratio |"]
    lines += ["|---|---|---|---|---|---|"]
    failed = []
    for name, each in report["benchmarks"].items():
        lines += [row(name, quantity, found) for quantity, found in by_quantity(each["runs"]).items()]
        failures = dict.fromkeys(each["failures"])
        failed += [
            f"- `{name}`, {each['failures'].count(f)} of {report['repeats']} times: {f}" for f in failures
        ]
    if failed:
        lines += ["", "Benchmarks that failed, or whose own claims were missed:", "", *failed]
    return "\n".join(lines) + "\n"


def by_quantity(runs: list[list[Record]]) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = {}
    for record in (record for run in runs for record in run):
        found.setdefault(record["quantity"], []).append(record)
    return found


def row(name: str, quantity: str, found: list[Record]) -> str:
    def column(key: str) -> list[float]:
        return [record[key] for record in found if record.get(key) is not None]

    peers = [r for r in found if r.get("peer_seconds") is not None and r.get("warm")]
    peer = f"{peers[0]['peer']}: {spread(column('peer_seconds'))}" if peers else ""
    ratio = f"{statistics.median(r['peer_seconds'] / r['warm'] for r in peers):.3g}" if peers else ""
    return (
        f"| {name} | {quantity} | {spread(column('first'))} | {spread(column('warm'))} | {peer} | {ratio} |"
    )


def spread(seconds: list[float]) -> str:
    """The median, and the smallest and the largest, in a unit that suits them."""
    if not seconds:
        return ""
    middle = statistics.median(seconds)
    unit, scale = ("s", 1.0) if middle >= 0.1 else ("ms", 1e3)
    if len(seconds) == 1:
        return f"{middle * scale:.3g} {unit}"
    return f"{middle * scale:.3g} {unit} ({min(seconds) * scale:.3g} to {max(seconds) * scale:.3g})"


if __name__ == "__main__":
    raise SystemExit(main())
