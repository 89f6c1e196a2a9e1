"""Tables 4 and 5 of arXiv:2408.02697: what networks with this or that activation make of a function."""

import argparse
from collections.abc import Mapping
from typing import Any, NamedTuple

import experiment
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from scipy import stats

import eft
import nets
from nets.paper.targets import Regression

ACTIVATIONS = {
    "MRePU 2": eft.activation("mrepu", p=2),
    "MRePU 3": eft.activation("mrepu", p=3),
    "ReLU": eft.activation("relu"),
    "GELU": eft.activation("gelu"),
    "tanh": eft.activation("tanh"),
}


class Setting(NamedTuple):
    """Of a target: C_W and learning rate of MRePU, learning rate of the others (their C_W is 1)."""

    cw: float
    rate: float
    rate_others: float


def options(description: str, out: str, targets: list[str]) -> argparse.Namespace:
    args = experiment.options(
        description, out, targets=targets, both=targets[:1], nets=25, hidden=5, width=32, steps=10_000,
        steps_several=10_000, batch=0, points2=101, points3=51,
        choices={"targets": targets, "both": targets},
    )  # fmt: skip
    if args.quick:
        args.nets, args.steps, args.steps_several, args.batch = 8, 300, 100, 64
        args.points2, args.points3, args.hidden = 21, 9, 3
        args.targets, args.both = [args.targets[0], args.targets[-1]], []
    return args


def drawn(act, cw: float, target: Regression, args, first: str) -> Any:
    """Networks at C_b = 0 whose first layer has the variance C_W/n₀ (fan_in), C_W/n₁ (fan_out), or one with
    which K¹ is half of the threshold of explosion at the corners of the grid (below)."""
    n0, widths = target.n0, [args.width] * args.hidden

    def one(key):
        return nnx.to_pure_dict(nnx.state(nets.FCN(n0, widths, act=act, cw=cw, rngs=key)))

    made = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(args.seed), args.nets))
    variance = {"fan_in": cw / n0, "fan_out": cw / args.width}.get(first)
    if variance is None:
        variance = float(eft.threshold(act, cw)) / 2 / (n0 * target.side**2)
    made["layers"][0]["kernel"] *= np.float32(np.sqrt(variance * n0 / cw))
    return jax.tree.map(np.asarray, made)


def learned(act, parameters: Any, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Outputs (nets, m) and gradients (nets, m, n₀)."""

    def output(layers, x):
        z = x @ layers[0]["kernel"] + layers[0]["bias"]
        for i in range(1, len(layers)):
            z = act(z) @ layers[i]["kernel"] + layers[i]["bias"]
        return z[0]

    both = jax.jit(
        lambda p: jax.lax.map(lambda one: jax.vmap(jax.value_and_grad(output, 1), (None, 0))(one, X), p)
    )
    return tuple(np.asarray(a, np.float64) for a in both(parameters["layers"]))


def run(args, target: Regression, name: str, label: str, setting: Setting, first: str) -> dict[str, Any]:
    """One cell of the table."""
    act, ours = ACTIVATIONS[label], label.startswith("MRePU")
    cw, rate = (setting.cw, setting.rate) if ours else (1.0, setting.rate_others)
    limit = {1: target.points, 2: args.points2, 3: args.points3}[target.n0]
    X = target.grid(min(target.points, limit))
    y = target.fn(X)
    steps = args.steps if target.n0 == 1 else args.steps_several
    batch = args.batch if 0 < args.batch < len(X) and target.n0 > 1 else None
    marks = tuple(steps * tenth // 10 for tenth in range(11))
    case = {"cw": cw, "rate": rate, "steps": steps, "batch": batch, "points": len(X), "first": first}
    case |= {"nets": args.nets, "width": args.width, "hidden": args.hidden}
    stem = f"{name} {label} {first}"

    def trained() -> nets.TrainingRun:
        return nets.train(
            act, cw, args.hidden + 1, args.width, args.nets, (X, y), optimizer=optax.adam(rate),
            loss=optax.squared_error, steps=steps, snapshots=marks, batch_size=batch, x_probe=X[:1],
            x_test=X[:1], initial=drawn(act, cw, target, args, first), every=1000,
            checkpoint=experiment.checkpoint(args, stem, case),
        )  # fmt: skip

    result = experiment.kept(args, stem, case, trained)
    alive = result.alive[-1]
    shown = target.grid({1: 401, 2: 41, 3: 15}[target.n0])
    u, slope = learned(act, result.parameters, jnp.asarray(shown, jnp.float32))
    true, true_slope = target.fn(shown), target.gradient(shown)
    error = np.sqrt(np.mean((u - true) ** 2, 1) / np.mean(true**2))
    slope_error = np.sqrt(np.mean((slope - true_slope) ** 2, (1, 2)) / np.mean(true_slope**2))
    loss = np.where(result.alive, result.loss, np.inf)
    return {
        "steps": result.steps, "loss": loss, "final": loss[-1], "error": np.where(alive, error, np.inf),
        "slope error": np.where(alive, slope_error, np.inf), "lost": int((loss[-1] > np.var(y)).sum()),
        "seconds": result.seconds, "x": shown, "u": u, "slope": slope, "variance": np.var(y),
    }  # fmt: skip


def quantiles(values: np.ndarray) -> np.ndarray:
    """At 0.16, 0.5 and 0.84, along the last axis; ∞ where a network overflowed counts as any value does."""
    return np.quantile(values, [0.16, 0.5, 0.84], axis=-1, method="inverted_cdf")


def spread(values: np.ndarray) -> dict[str, float]:
    """Mean and its error of the values that are finite, quantiles of all."""
    if not values.size:
        return dict.fromkeys(("mean", "error of it", "median", "low", "high"), float("nan"))
    left = values[np.isfinite(values)]
    mean = left.mean() if left.size else float("nan")
    error = left.std(ddof=1) / np.sqrt(left.size) if left.size > 1 else float("nan")
    low, middle, high = map(float, quantiles(values))
    return {"mean": mean, "error of it": error, "median": middle, "low": low, "high": high}


def beside(cells: Mapping[tuple[str, str], Mapping[str, Any]]) -> dict[str, Any]:
    """MRePU 2 below the threshold beside the others: the share of pairs in which it has less, and Mann and
    Whitney's p that there is no difference."""
    found = {}
    for label in ("ReLU", "GELU", "tanh"):
        for what in ("final", "slope error"):
            ours, theirs = cells["MRePU 2", "below"][what], cells[label, "fan_out"][what]
            test = stats.mannwhitneyu(ours, theirs)
            less = 1 - test.statistic / (len(ours) * len(theirs))
            found[f"{label}, {what}"] = {"less": less, "p": test.pvalue}
    return found


def cells(args, name: str, target: Regression, setting: Setting) -> dict[tuple[str, str], dict[str, Any]]:
    """All cells of one target, printed as they come."""
    variants = [(label, "fan_out") for label in ACTIVATIONS]
    variants += [(label, "below") for label in ACTIVATIONS if label.startswith("MRePU")]
    variants += [(label, "fan_in") for label in ACTIVATIONS if name in args.both]
    found = {}
    for label, first in variants:
        cell = found[label, first] = run(args, target, name, label, setting, first)
        f, e, d = (spread(cell[k]) for k in ("final", "error", "slope error"))
        print(
            f"{name:8s}{label:8s} {first:8s}{f['mean']:9.2g} ± {f['error of it']:7.1g}"
            + "".join(f"{q['median']:9.2g} ({q['low']:.2g} … {q['high']:.2g})" for q in (f, e, d))
            + f"   lost {cell['lost']} of {args.nets}, {cell['seconds']:.0f} s",
            flush=True,
        )
    return found


def results(args, known: Mapping[str, Regression], settings: Mapping[str, Setting]) -> experiment.Results:
    """All cells of all targets."""
    summary, arrays, drawn = {}, {}, {}
    print("final loss: mean ± error of those left; median (16 % … 84 %) of loss, error of f, of f′")
    for name in args.targets:
        drawn[name] = cells(args, name, known[name], settings[name])
        for (label, first), cell in drawn[name].items():
            found = {k: spread(cell[k]) for k in ("final", "error", "slope error")}
            summary[f"{name}, {label}, {first}"] = found | {k: cell[k] for k in ("lost", "seconds")}
            arrays |= {
                f"{name} {label} {first} {k}": cell[k] for k in ("final", "error", "slope error", "loss")
            }
        summary[f"{name}, MRePU 2 below beside the others"] = found = beside(drawn[name])
        for other, test in found.items():
            print(f"{name:8s}MRePU 2 below beside {other}: less in {test['less']:.0%}, p = {test['p']:.1g}")
    return experiment.Results(summary, arrays, drawn)
