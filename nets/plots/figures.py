"""Figures that compare theory with experiment."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

import eft
from eft.figures import BLUE, COLOURS, GREEN, GREY, SKY, VERMILLION, Drawing
from eft.figures import png as png
from eft.figures.style import DASHES, MARKERS, MAX_SHOWN
from nets.comparison import cases
from nets.comparison.cases import Case
from nets.comparison.comparison import Comparison
from nets.plots.panels import BLACK, typeset
from nets.statistics.estimators import Estimate
from nets.training.run import TrainingRun

LABEL = "theory, leading order"

LEADING, FINITE, MEASURED = BLACK, SKY, VERMILLION
"""The colours of theory at leading order, of theory at finite width, and of experiment."""


def comparison_figure(compared: Sequence[tuple[Case, Comparison]]) -> Figure:
    """One column per case: K and V of every layer, theory as lines, networks as points, z-scores below."""
    n = len(compared)
    figure = Drawing(figsize=(1.2 + 3.7 * n, 7.2), layout="constrained")
    axes = figure.subplots(
        4, n, sharex="col", squeeze=False, height_ratios=[3, 1.1, 3, 1.1], gridspec_kw={"hspace": 0.04}
    )
    for (case, c), column in zip(compared, axes.T, strict=True):
        _title(column[0], case)
        label = "theory with $1/n$" if case.order == 1 else f"theory to $1/n^{case.order}$"
        _quantity(column[0], c, {LEADING: c.K, FINITE: c.K_finite}, c.K_measured, label)
        _scores(column[1], c.layer, c.z_K)
        corrected = {} if case.order == 1 else {FINITE: c.V_finite}
        _quantity(column[2], c, {LEADING: c.V, **corrected}, c.V_measured, label)
        _scores(column[3], c.layer, c.z_V)
        column[3].set_xlabel("layer $\\ell$")
        column[3].xaxis.set_major_locator(MaxNLocator(integer=True))
    labels = ("kernel $K$", "$z$ of $K$", "four-point vertex $V$", "$z$ of $V$")
    for axis, label in zip(axes[:, 0], labels, strict=True):
        axis.set_ylabel(label)
    figure.align_ylabels(axes[:, 0])
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3 if n > 1 else 2, frameon=False)
    return figure


def width_figure(compared: Sequence[tuple[Case, Comparison]]) -> Figure:
    """K and V of the last layer against 1/n: a line for each order of theory, the ensembles as points.

    `compared`: one case at several widths. A line ends where theory is out of range, or where the terms of
    its series no longer decrease.
    """
    case = compared[0][0]
    n = np.array([each.width for each, _ in compared], float)
    fine = np.geomspace(n.min() / 1.2, n.max() * 1.2, 200)
    figure = Drawing(figsize=(9.2, 4.3), layout="constrained")
    axes = figure.subplots(1, 2)
    labels = ("mean of the metric, $E[\\hat G]$", "$n$ times its variance")
    if not case.plain:
        labels = ("$E[z_i^2]$", "$n$ times $E[z_i^2 z_j^2] - E[z_i^2]^2$")
    styles = list(zip((LEADING, BLUE, FINITE, GREEN, GREY), ("--", "-.", "-", ":", "-"), strict=True))
    totals = cases.totals(case, fine)
    for which, (axis, label, field) in enumerate(
        zip(axes, labels, ("K_measured", "V_measured"), strict=True)
    ):
        measured = [getattr(c, field) for _, c in compared]
        mean, error = np.array([(e.mean[-1], e.stderr[-1]) for e in measured]).T
        for order, (total, (color, style)) in enumerate(zip(totals, styles, strict=False), start=1):
            axis.plot(1 / fine, total[which], style, color=color, lw=1.8, label=f"theory, order {order}")
        axis.errorbar(
            1 / n, mean, error, fmt="o", ms=4.5, color=MEASURED, capsize=2.5, zorder=3,
            label=f"{case.n_nets:,} networks",
        )  # fmt: skip
        low, high = (mean - error).min(), (mean + error).max()
        axis.set_ylim(low - 0.35 * (high - low), high + 0.35 * (high - low))
        axis.set(xscale="log", xlabel="$1/n$", ylabel=label)
        ticks = 2.0 ** np.arange(np.ceil(np.log2(n.min())), np.floor(np.log2(n.max())) + 1)
        axis.set_xticks(1 / ticks, [f"1/{int(t)}" for t in ticks], rotation=45)
        axis.minorticks_off()
        _tidy(axis)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.suptitle(typeset(f"{case.title}; layer {case.depth}"))
    return figure


def flow_figure(title: str, flow: eft.KernelFlow) -> Figure:
    """K, V and the susceptibilities of one flow against the layer."""
    figure = Drawing(figsize=(10.5, 3.4), layout="constrained")
    axes = figure.subplots(1, 3)
    layer = np.arange(1, flow.K.shape[-1] + 1)
    for axis, values, label in (
        (axes[0], flow.K, "kernel $K$"),
        (axes[1], flow.V, "four-point vertex $V$"),
    ):
        shown = _shown(values, flow.valid)
        _log_if_wide(axis, shown)
        axis.plot(layer, _seen(axis, shown), ".-", color=BLUE)
        axis.set_ylabel(label)
    for values, color, style, label in (
        (flow.chi_parallel, BLUE, "o-", r"$\chi_\parallel$"),
        (flow.chi_perp, MEASURED, "s--", r"$\chi_\perp$"),
    ):
        axes[2].plot(layer, _shown(values, flow.valid), style, ms=4, color=color, label=label)
    axes[2].axhline(1, color=GREY, linewidth=0.8)
    axes[2].set_ylabel("susceptibility")
    axes[2].legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    for axis in axes:
        _tidy(axis)
        axis.set_xlabel("layer $\\ell$")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.suptitle(typeset(title))
    return figure


def flows_figure(titles: Sequence[str], flows: Sequence[eft.KernelFlow]) -> Figure:
    """K, V, χ∥ and χ⊥ of several flows of one depth against the layer, a line for each."""
    figure = Drawing(figsize=(12.5, 3.6 + 0.2 * len(flows)), layout="constrained")
    axes = figure.subplots(1, 4)
    layer = np.arange(1, flows[0].K.shape[-1] + 1)
    labels = ("kernel $K$", "four-point vertex $V$", r"$\chi_\parallel$", r"$\chi_\perp$")
    for axis, name, label in zip(axes, ("K", "V", "chi_parallel", "chi_perp"), labels, strict=True):
        shown = [_shown(getattr(flow, name), flow.valid) for flow in flows]
        _log_if_wide(axis, np.concatenate(shown))
        for i, (title, values) in enumerate(zip(titles, shown, strict=True)):
            look = {"color": COLOURS[i % len(COLOURS)], "ls": DASHES[i % len(DASHES)]}
            look["marker"] = MARKERS[(i + i // len(MARKERS)) % len(MARKERS)]
            axis.plot(layer, _seen(axis, values), ms=4, label=typeset(title), **look)
        axis.set(xlabel="layer $\\ell$", ylabel=label)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        _tidy(axis)
    for axis in axes[2:]:
        axis.axhline(1, color=GREY, linewidth=0.8)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", frameon=False)
    return figure


def training_figure(title: str, run: TrainingRun, start: eft.KernelFlow) -> Figure:
    """K, χ⊥ and V of every layer at the snapshots, with theory at initialization as a line; and the loss.

    `start`: the flow of the probe inputs, as a batch. Averages over the probe inputs are shown, with the mean
    of their errors, since all inputs share the same networks.
    """
    figure = Drawing(figsize=(14, 3.6), layout="constrained")
    axes = figure.subplots(1, 4)
    layer = np.arange(1, start.K.shape[-1] + 1)
    shades = colormaps["viridis"](np.linspace(0.85, 0.0, len(run.steps)))
    for axis, theory, estimate, label in (
        (axes[0], np.asarray(start.K) + np.asarray(start.G1) / run.widths[:-1], run.K, r"kernel $\hat K$"),
        (axes[1], start.chi_perp, run.chi_perp, r"$\hat\chi_\perp$"),
        (axes[2], start.V, run.V, "four-point vertex $V$"),
    ):
        _log_if_wide(axis, estimate.mean.mean(-1))
        known = _shown(np.mean(theory, axis=0), np.all(start.valid, axis=0))
        axis.plot(layer, _seen(axis, known), color=LEADING, label="theory, at the start")
        for i, (step, mean, error) in enumerate(zip(run.steps, estimate.mean, estimate.stderr, strict=True)):
            axis.errorbar(
                layer + 0.07 * (i - (len(run.steps) - 1) / 2),
                _seen(axis, mean.mean(-1)),
                error.mean(-1),
                fmt=f"{MARKERS[i % len(MARKERS)]}-",
                ms=4,
                lw=0.7,
                color=shades[i],
                label=f"after {step:,} steps",
            )
        axis.set(xlabel="layer $\\ell$", ylabel=label)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    loss = np.where(run.alive, run.loss, np.nan)
    kept = run.alive.any(axis=1)
    low, middle, high = np.nanquantile(loss[kept], [0.16, 0.5, 0.84], axis=1)
    axes[3].fill_between(run.steps[kept], low, high, color=FINITE, alpha=0.5, lw=0, label="16 % to 84 %")
    axes[3].plot(run.steps[kept], middle, "o-", color=BLUE, label="median")
    axes[3].set(xlabel="steps", ylabel="loss", yscale="log")
    for axis in axes:
        _tidy(axis)
    handles, labels = axes[0].get_legend_handles_labels()
    of_loss = axes[3].get_legend_handles_labels()
    handles, labels = [*handles, *of_loss[0]], [*labels, *(f"loss, {words}" for words in of_loss[1])]
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 4), frameon=False)
    figure.suptitle(typeset(title))
    return figure


def _shown(values, valid) -> np.ndarray:
    values = np.asarray(values, np.float64)
    return np.where(np.asarray(valid) & (np.abs(values) < MAX_SHOWN), values, np.nan)


def _log_if_wide(axis: Axes, values: np.ndarray) -> None:
    positive = values[values > 0]
    if positive.size and positive.max() > 1e4 * positive.min():
        axis.set_yscale("log")


def _seen(axis: Axes, values: np.ndarray) -> np.ndarray:
    """Without what a logarithmic axis cannot show, V of the first layer, to which a line would fall."""
    return np.where(values > 0, values, np.nan) if axis.get_yscale() == "log" else values


def _title(axis: Axes, case: Case) -> None:
    first = f"$\\Vert x\\Vert^2/n_0 = {case.x2:g}$" if case.K1 is None else f"$K^1 = {_number(case.K1)}$"
    bias = f", $C_b = {case.cb:g}$" if case.cb else ""
    settings = f"$C_W = {case.cw:g}${bias}, {first}, $n = {case.width}$"
    name = ", ".join([case.activation.name, *case.kind_in_words])
    axis.set_title(f"{name}\n{settings}", fontsize=11)


def _number(value: float) -> str:
    """1e-3 as 10⁻³, in TeX."""
    mantissa, exponent = f"{value:e}".split("e")
    if -3 < int(exponent) < 4:
        return f"{value:g}"
    factor = "" if float(mantissa) == 1 else f"{float(mantissa):g} \\times "
    return f"{factor}10^{{{int(exponent)}}}"


def _quantity(
    axis: Axes, c: Comparison, lines: dict[str, np.ndarray], measured: Estimate, finite: str
) -> None:
    styles = {
        LEADING: {"linestyle": (0, (4, 2)), "linewidth": 1.1, "zorder": 2.5, "label": LABEL},
        FINITE: {"linestyle": "-", "linewidth": 2.8, "label": finite},
    }
    for color, values in lines.items():
        axis.plot(c.layer, _shown(values, c.valid), color=color, **styles[color])
    axis.errorbar(
        c.layer,
        *(_shown(a, np.isfinite(measured.stderr)) for a in measured),
        fmt="o",
        markersize=3.8,
        color=MEASURED,
        capsize=2.5,
        elinewidth=1.2,
        label=f"{int(c.n_nets.max()):,} networks",
        zorder=3,
    )
    _tidy(axis)
    axis.ticklabel_format(axis="y", scilimits=(-2, 4), useMathText=True)
    _log_if_wide(axis, [*lines.values()][-1])


def _scores(axis: Axes, layer: np.ndarray, z: np.ndarray) -> None:
    shown = np.isfinite(z)
    axis.axhspan(-2, 2, color=GREY, alpha=0.15, linewidth=0)
    axis.axhline(0, color=GREY, linewidth=0.8)
    axis.vlines(layer[shown], 0, z[shown], color=MEASURED, linewidth=1.2)
    axis.plot(layer[shown], z[shown], "o", markersize=3.5, color=MEASURED)
    limit = min(max(3.3, 1.15 * np.abs(z[shown]).max(initial=0)), 12)
    axis.set_ylim(-limit, limit)
    axis.yaxis.set_major_locator(MaxNLocator(4, symmetric=True, integer=True, steps=[1, 2, 5, 10]))
    _tidy(axis)


def _tidy(axis: Axes) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", alpha=0.25, linewidth=0.6)
