"""R11: Burgers' equation from its residual: MRePU beside ReLU, GELU and tanh, against the exact solution.

The experiment of Figs. 15–17 of arXiv:2408.02697. Stated there: seven hidden layers of 64, 10,000 random
collocation points, 100 points of the boundary, Adam at 1e-3 without decay, C_W = 0.45 for MRePU and 1 else.
Ours: viscosity 0.01/π, x in [−1, 1], t in [0, 1], u(x, 0) = −sin πx, u(±1, t) = 0; 50 boundary points at
t = 0, 25 each at x = ±1; the sum of the two mean squares; MRePU with p = 2 and 3; several networks
each; steps; and the first layer: C_W/n₁ for all (fan_out), or C_W/n₀ with --first fan_in.

What came out (2321 s on two cores that other work shared; --batch 1000 --nets 3: all of the steps, a tenth
of the points in each): relative error in u of each network after 10,000 steps, on 2026-11-25, and on
2026-11-28 with the same networks and points, but programs that round otherwise

    GELU      0.021  0.048  0.050      0.031  0.032  0.044
    tanh      0.18   0.26   0.31       0.19   0.19   0.34
    MRePU 2   0.35   lost   lost       0.54   lost   lost
    MRePU 3   0.36   0.54   lost       0.54   lost   lost
    ReLU      0.71   0.72   0.72       0.71   0.72   0.72

GELU and tanh come before MRePU, as in the paper, but not near each other: tanh's front stands a little beside
the true one. ReLU learns what the boundary says, since its u_xx is 0. More than half of the MRePU networks
diverge ("lost": they overflow, or end worse than u = 0), at any time in the first half of the training. Where
a network ends depends on rounding, and errors go up and down from one snapshot to the next: one with p = 2
was at 0.07 after 7000 steps in the first run, better than tanh there. With all 10,000 points in each step one
network with p = 2 (--nets 1 --activations "MRePU 2", 650 s) ends at 0.43 and does not diverge. Fan-in weights
(--first fan_in) were not run at this size.

At full size (10,000 points in every step) ten GELU networks on an NVIDIA H200 (2026-11-27) end at 0.0074,
0.010, 0.010, 0.017, 0.020, 0.021, 0.022, 0.028, 0.031 and 0.11, with a residual of 5.6e-5 and a boundary
loss of 1.5e-5 in the median. The others were not run there.

At full size a step of a tanh network takes 56 ms on these cores when free: four hours or more for all.

Run: python benchmarks/paper/r11_burgers.py [--quick] [--out results/r11] [--steps 10000] [--batch 1000] …
Stopped, it goes on from the last checkpoint when it is run again.
"""

import argparse
import sys
from pathlib import Path

import experiment
import numpy as np
from regression import ACTIVATIONS, spread

from nets.files import archive
from nets.paper import burgers, pinn
from nets.plots.panels import BLACK, COLORS, PALE, Panel, Series, figure

NAME = "burgers"
MEASURES = ("residual", "boundary", "error", "slope_error")
TIMES = {0.25: ("solid", COLORS[0]), 0.5: ("dashed", COLORS[1]), 1.0: ("dotted", BLACK)}
"""When u is drawn, and how."""


def options():
    args = experiment.options(
        __doc__.split("\n")[0], "r11", nets=5, hidden=7, width=64, interior=10_000, batch=0, steps=10_000,
        first="fan_out", activations=list(ACTIVATIONS),
        choices={"first": ("fan_out", "fan_in"), "activations": list(ACTIVATIONS)},
    )  # fmt: skip
    if args.quick:
        args.nets, args.interior, args.steps, args.hidden, args.width = 2, 200, 60, 4, 32
    return args


def trained(args, label: str) -> pinn.PinnRun:
    """A run that was kept, or what is left of it in the folder of its checkpoints, or a new one."""
    cw = 0.45 if label.startswith("MRePU") else 1.0
    first = cw / {"fan_out": args.width, "fan_in": 2}[args.first]
    settings = {
        "hidden": args.hidden, "width": args.width, "first": first, "interior": args.interior,
        "batch_size": args.batch or None, "steps": args.steps,
    }  # fmt: skip
    case = settings | {"nets": args.nets, "cw": cw}
    folder = experiment.checkpoint(args, label, case)
    may_train = argparse.Namespace(**vars(args)) if over(folder, args.steps) else args
    return experiment.kept(
        may_train, label, case, pinn.train, ACTIVATIONS[label], cw, args.nets, **settings, seed=args.seed,
        checkpoint=folder, record=pinn.PinnRun,
    )  # fmt: skip


def over(folder: Path, steps: int) -> bool:
    """Whether the folder holds the state after the last step, so that nothing would be trained."""
    try:
        return bool(archive.load(folder / f"step-{steps:012d}.npz"))
    except (OSError, archive.ArchiveError):
        return False


def sound(run: pinn.PinnRun) -> np.ndarray:
    """The networks that are left, and better than u = 0."""
    return run.alive[-1] & (run.error[-1] < 1)


def middle(run: pinn.PinnRun) -> int:
    """The network of median error of those that are sound, if any is."""
    order = np.argsort(np.where(sound(run), run.error[-1], np.inf))
    return order[max(sound(run).sum() - 1, 0) // 2]


def results(args) -> experiment.Results:
    runs, summary, arrays = {}, {}, {}
    for label in args.activations:
        run = runs[label] = trained(args, label)
        kept = sound(run)
        last = {k: spread(getattr(run, k)[-1][kept]) for k in MEASURES}
        summary[label] = last | {"lost": int((~kept).sum()), "seconds": float(run.seconds)}
        summary[label]["errors"] = run.error[-1].tolist()
        arrays |= {f"{label} {k}": getattr(run, k) for k in MEASURES}
        print(
            f"{label:8s} residual {last['residual']['median']:.2g}, "
            f"boundary {last['boundary']['median']:.2g}, "
            f"relative error {last['error']['median']:.3g} "
            f"({last['error']['low']:.2g} … {last['error']['high']:.2g}), "
            f"of u_x {last['slope_error']['median']:.3g}; lost {summary[label]['lost']}; {run.seconds:.0f} s",
            flush=True,
        )
    return experiment.Results(summary, arrays, runs)


def pictures(args, runs: dict) -> dict:
    title = f"Burgers: {args.nets} networks each, {args.steps:,} steps"
    rows = [[curves(label, runs, what) for label in runs] for what in LIMITS]
    at = [slices(label, run) for label, run in runs.items()]
    words = f"{title}; a line for each network, the other activations in grey; those above the frame diverge"
    middle_words = "the network of median error of those that did not diverge"
    return {
        "_loss": figure(words, rows, width=2.4, height=2.4, share="row", legend="none"),
        "_slices": figure(f"{title}: u of {middle_words}; grey: exact", [at], width=2.6, share="all"),
        "_fields": fields(runs, f"Burgers: error of {middle_words}"),
    }  # fmt: skip


LIMITS = {"residual + boundary": (1e-4, 10.0), "‖u − exact‖/‖exact‖": (0.01, 10.0)}
"""What is drawn against the step, and between which limits."""


def curves(label: str, runs: dict, what: str) -> Panel:
    """A line for each network of one activation, those of the others behind."""
    series = []
    for other, run in sorted(runs.items(), key=lambda each: each[0] == label):
        values = run.error if what.startswith("‖") else run.residual + run.boundary
        for each in np.where(run.alive, values, np.nan).T:
            own = ("solid", BLACK) if other == label else ("behind", PALE)
            series.append(Series(run.steps, each, *own))
    return Panel("step", what, series, label, yscale="log", ylim=LIMITS[what])


def slices(label: str, run: pinn.PinnRun) -> Panel:
    """u at three times, on the exact solution."""
    series = [Series(run.x, burgers.solution(run.x, t).u, "beneath", PALE) for t in TIMES]
    if sound(run).any():
        for t, own in TIMES.items():
            u = run.fields[middle(run)][:, round(t * 100)]
            series.append(Series(run.x, u, *own, f"t = {t:g}"))
    title = label if sound(run).any() else f"{label}: all diverged"
    return Panel("x", "u", series, title, ylim=(-1.3, 1.3))


def fields(runs: dict[str, pinn.PinnRun], title: str):
    """|u − exact| of the median network of each activation, on one scale that grows darker with it."""
    made = figure(title, [[Panel("t", "x", []) for _ in runs]], width=2.5, height=3.0, share="all")
    shown = None
    for axis, (label, run) in zip(made.axes, runs.items(), strict=True):
        exact, whole = burgers.solution(run.x[:, None], run.t).u, sound(run)
        error = run.error[-1, middle(run)]
        words = f"error {error:.2g}\n{whole.sum()} of {len(whole)} left" if whole.any() else "all diverged\n"
        off = abs(run.fields[middle(run)] - exact) if whole.any() else np.full_like(exact, np.nan)
        shown = axis.pcolormesh(run.t, run.x, off, vmin=0, vmax=1, cmap="magma_r", rasterized=True)
        axis.set_title(f"{label}: {words}", fontsize=10)
        axis.grid(False)
    made.colorbar(shown, ax=made.axes, label="|u − exact|", extend="max")
    return made


def main() -> int:
    return experiment.run(options(), NAME, results, pictures)


if __name__ == "__main__":
    sys.exit(main())
