"""`eft train`: an ensemble in training, measured layer by layer."""

from pathlib import Path
from typing import Annotated, Literal

import jax.numpy as jnp
import numpy as np
import tyro
from rich.text import Text

import eft
from eft import arguments
from eft.arguments import ArgumentError
from nets.cli.options import (
    CB,
    CW,
    K1,
    X2,
    Act,
    Depth,
    Format,
    MemoryBudget,
    Norm,
    Out,
    Overwrite,
    Skip,
    Weights,
    kind_of,
    start_of,
    stem,
)
from nets.cli.show import number, opened, publish, score, with_error
from nets.cli.tables import Table
from nets.comparison.cases import Case
from nets.comparison.in_training import TrainingComparison, compare_training
from nets.files import output
from nets.paper import targets
from nets.plots import figures, training_comparison_figure
from nets.results import saving
from nets.statistics.estimators import Estimate
from nets.training.ensemble import train as train_ensemble
from nets.training.run import TrainingRun

SUFFIXES = (".json", ".csv", ".png", ".npz")
MORE = (".nc",)
"""Written only if `out` ends in it."""


def train(
    act: Act = "tanh",
    cw: CW = 1.0,
    depth: Depth = 6,
    width: Annotated[int, tyro.conf.arg(help="of every hidden layer")] = 64,
    nets: Annotated[int, tyro.conf.arg(help="how many networks are trained")] = 100,
    cb: CB = 0.0,
    x2: X2 = 1.0,
    k1: K1 = None,
    skip: Skip = 0.0,
    norm: Norm = None,
    weights: Weights = "gaussian",
    target: Annotated[str, tyro.conf.arg(help=f"what is learned: {', '.join(targets.TARGETS)}")] = "waves",
    samples: Annotated[int, tyro.conf.arg(help="inputs, uniform in [−1, 1]")] = 100,
    n0: Annotated[int, tyro.conf.arg(help="components of an input")] = 2,
    optimizer: Annotated[Literal["sgd", "adam"], tyro.conf.arg(help="gradient descent, or Adam")] = "adam",
    learning_rate: Annotated[float, tyro.conf.arg(help="of the optimizer")] = 1e-3,
    steps: Annotated[int, tyro.conf.arg(help="how many")] = 1000,
    snapshots: Annotated[
        tuple[int, ...] | None, tyro.conf.arg(help="steps after which to measure; default: every quarter")
    ] = None,
    batch_size: Annotated[int | None, tyro.conf.arg(help="samples a step; default: all")] = None,
    parametrization: Annotated[
        Literal["standard", "ntk", "mup"], tyro.conf.arg(help="how rates depend on the width")
    ] = "standard",
    theory: Annotated[
        bool, tyro.conf.arg(help="compare with infinitely wide networks; for --optimizer sgd, all samples")
    ] = False,
    seed: Annotated[int, tyro.conf.arg(help="of the networks and the data")] = 0,
    checkpoint: Annotated[
        str | None, tyro.conf.arg(help="a folder; the same command goes on from it")
    ] = None,
    memory_budget: MemoryBudget = None,
    format: Format = "table",
    out: Annotated[
        Out, tyro.conf.arg(help="a .json, .csv, .png, .npz or .nc file, or a directory for the first four")
    ] = None,
    overwrite: Overwrite = False,
) -> int:
    """Train an ensemble and measure kernel, susceptibility, vertex and loss at snapshots."""
    name = stem(
        "train", [act], cw=cw, cb=cb or None, depth=depth, width=width, nets=nets, target=target,
        optimizer=optimizer, steps=steps, **start_of(x2, k1), **kind_of(skip, norm, weights),
    )  # fmt: skip
    sheet = opened(name, format, out, overwrite, SUFFIXES, MORE)
    activation = eft.activation(act)
    data = targets.samples(target, samples, n0, seed)
    same = {
        "steps": steps, "snapshots": snapshots, "seed": seed, "cb": cb, "checkpoint": checkpoint,
        "skip": skip, "norm": norm, "weights": weights, "parametrization": parametrization,
        "memory_budget": memory_budget,
    }  # fmt: skip
    compared = None
    if theory:
        _check_theory(optimizer, batch_size, parametrization)
        compared = compare_training(
            activation, cw, depth, width, nets, data, learning_rate=learning_rate, K1=k1, x2=x2, **same
        )
        run = compared.run
    else:
        run = train_ensemble(
            activation,
            cw,
            depth,
            width,
            nets,
            data,
            optimizer=optimizer,
            learning_rate=learning_rate,
            batch_size=batch_size,
            x2=x2,
            K1=k1,
            **same,
        )
    case = Case(activation, cw, depth, cb=cb, skip=skip, norm=norm, weights=weights, readout=True)
    settings = ", ".join([f"C_W = {cw:g}", f"C_b = {cb:g}", *case.kind_in_words, f"n = {width}"])
    title = f"{activation.name}: {settings}, {nets:,} networks learn {target}"
    rows = _rows(run)
    blocks: list[Table | str | Text] = [_table(title, run)]
    if compared is not None:
        blocks += _beside_theory(compared)
    if run.n_overflowed[-1]:
        blocks.append(Text(f"{run.n_overflowed[-1]:,} networks overflowed and are left out", style="red"))
    blocks.append(f"{steps:,} steps in {run.seconds:,.2f} s")
    given = {
        "act": act, "cw": cw, "cb": cb, "depth": depth, "width": width, "nets": nets, "x2": x2, "K1": k1,
        "skip": skip, "norm": norm, "weights": weights, "target": target, "samples": samples, "n0": n0,
        "optimizer": optimizer, "learning_rate": learning_rate, "steps": steps, "batch_size": batch_size,
        "parametrization": parametrization, "theory": theory, "seed": seed,
    }  # fmt: skip

    def figure(path: Path) -> None:
        if compared is not None:
            output.write(path, figures.png(training_comparison_figure(title, compared)))
            return
        x2_of = jnp.asarray(np.mean(data[0][:16] ** 2, axis=1))
        start = {"x2": x2_of, "K1": None if k1 is None else k1 * x2_of / x2}
        flow = eft.kernel_flow(activation, cw, depth, cb=cb, **start, **case.kind)
        if skip or weights != "gaussian":  # the vertex that is measured, n Var(Ĝ), is not that of theory
            flow = flow._replace(V=jnp.full_like(flow.V, jnp.nan))
        if skip or norm is not None:  # what would follow an output of one neuron is not that of theory
            flow = flow._replace(chi_perp=flow.chi_perp.at[:, -1].set(jnp.nan))
        output.write(path, figures.png(figures.training_figure(title, run, flow)))

    saved = {suffix: lambda path: saving.save(run, path, given) for suffix in (".npz", ".nc")}
    return publish(
        sheet,
        blocks,
        value={"arguments": given, "layers": rows},
        rows=rows,
        writers={**saved, ".png": figure},
    )


def _beside_theory(compared: TrainingComparison) -> list[Table | str]:
    """The loss and the outputs beside those of infinitely wide networks."""
    theory = np.asarray(compared.flow.train.loss)
    rows = []
    for s, step in enumerate(compared.run.steps):
        loss = Estimate(compared.loss.mean[s], compared.loss.stderr[s])
        mean, variance = (np.sqrt(np.mean(z[s] ** 2)) for z in (compared.z_mean, compared.z_variance))
        z = score(float(compared.z_loss[s]))
        rows.append((f"{step:,}", with_error(loss), number(theory[s]), z, f"{mean:.2f}", f"{variance:.2f}"))
    rate = f"the largest rate of infinitely wide networks is {float(compared.flow.max_rate):.4g}"
    return [
        Table(
            "Beside infinitely wide networks, z in standard errors (of the outputs: root mean square)",
            ("steps", "mean loss", "theory", "z", "z of mean", "z of variance"),
            rows,
        ),
        rate if compared.flow.stable else f"{rate}: this one diverges",
    ]


def _check_theory(optimizer: str, batch_size: int | None, parametrization: str) -> None:
    """Raise where the theory of infinite width does not describe the training."""
    for name, value, needed in (
        ("optimizer", optimizer, "sgd"),
        ("batch_size", batch_size, None),
    ):
        if value != needed:
            raise ArgumentError(f"{name} must be {needed} with theory; got {value}")
    arguments.one_of("parametrization", parametrization, ("ntk", "standard"))


def _rows(run: TrainingRun) -> list[dict]:
    """A row for each snapshot and layer, averaged over the probe inputs."""
    return [
        {
            "step": int(step),
            "layer": layer + 1,
            "n_overflowed": int(run.n_overflowed[s]),
            **{
                f"{name}{suffix}": float(getattr(getattr(run, name), field)[s, layer].mean())
                for name in ("K", "V", "chi_parallel", "chi_perp")
                for suffix, field in (("", "mean"), ("_stderr", "stderr"))
            },
        }
        for s, step in enumerate(run.steps)
        for layer in range(run.K.mean.shape[1])
    ]


def _table(title: str, run: TrainingRun) -> Table:
    head = ("steps", "median loss", "two thirds", "overflowed", "K, last layer", "χ⊥, last hidden",
            "V, last layer")  # fmt: skip
    hidden = max(-2, -run.K.mean.shape[1])
    rows = []
    for s, step in enumerate(run.steps):
        losses = run.loss[s][run.alive[s]]
        middle, span = "–", "–"
        if losses.size:
            low, median, high = np.quantile(losses, [0.16, 0.5, 0.84])
            middle, span = number(median), f"{number(low)} to {number(high)}"

        def layer(estimate: Estimate, which: int, s: int = s) -> str:
            return with_error(Estimate(estimate.mean[s, which].mean(), estimate.stderr[s, which].mean()))

        measured = (layer(run.K, -1), layer(run.chi_perp, hidden), layer(run.V, -1))
        rows.append((f"{step:,}", middle, span, str(run.n_overflowed[s]), *measured))
    return Table(title, head, rows, breaks=(4,))
