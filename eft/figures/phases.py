"""The figure of a phase diagram."""

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, TwoSlopeNorm
from matplotlib.figure import Figure

from eft.criticality.candidates import Candidate
from eft.criticality.phases import CHAOTIC, EXPLODING, ORDERED, CriticalCurve, PhaseDiagram
from eft.criticality.universality import CriticalPoint, Universality
from eft.figures.style import BLUE, GREY, ORANGE, VERMILLION, Drawing

ANGLES = LinearSegmentedColormap.from_list(
    "angles", [BLUE, "#8fc1e0", "#e6f1f8", "#fbe9df", "#eba57c", VERMILLION]
)
"""Colours of χ⊥: blue where inputs converge, red where they diverge."""

NAMES = {
    ORDERED: "ordered\nall inputs become alike",
    CHAOTIC: "chaotic\nnear inputs drift apart",
    EXPLODING: "exploding\nK → ∞",
}

BOX = {"boxstyle": "round,pad=0.3", "facecolor": "white", "alpha": 0.9, "edgecolor": "none"}
LABEL = (0.34, 0.12)
"""Width and height of a label as fractions of the axes; generous."""


def phase_figure(
    diagram: PhaseDiagram,
    curve: CriticalCurve | None,
    critical: CriticalPoint | Universality | None,
    title: str,
) -> Figure:
    """The phases in the (C_W, C_b) plane, labelled, and coloured by χ⊥ at the K* that the flow tends to.

    `curve`: drawn as the boundary between order and chaos, if the diagram has both. `critical`: marked;
    for a Universality, all its candidates are.
    """
    figure = Drawing(figsize=(7.2, 5.0), layout="constrained")
    axes = figure.add_subplot()
    draw_phases(axes, diagram, curve, critical)
    axes.set_title(title, fontsize=11)
    return figure


def draw_phases(
    axes: Axes,
    diagram: PhaseDiagram,
    curve: CriticalCurve | None,
    critical: CriticalPoint | Universality | None,
) -> None:
    """The phases on these axes, as in `phase_figure`."""
    _shade(axes.figure, axes, diagram)
    if curve is not None and (diagram.phase == CHAOTIC).any():
        attracts = np.abs(curve.chi_parallel) <= 1 + 1e-9
        axes.plot(
            *(np.where(attracts, a, np.nan) for a in (curve.cw, curve.cb)), color="black", linewidth=1.4
        )
    _name(axes, diagram, _points(critical))
    axes.set(
        xlabel="$C_W$   (variance of the weights × fan-in)",
        ylabel="$C_b$   (variance of the biases)",
        xlim=_span(diagram.cw),
        ylim=_span(diagram.cb),
    )


def _points(critical: CriticalPoint | Universality | None) -> list[tuple[float, float, str]]:
    """C_W, C_b and stability of what is to be marked, the preferred point first."""
    if critical is None:
        return []
    if isinstance(critical, CriticalPoint):
        return [(critical.cw, critical.cb, "")]
    return [(p.cw, p.cb, _stability(p)) for p in critical.candidates]


def _stability(point: Candidate) -> str:
    return ", half-stable" if point.stability.startswith("from") else f", {point.stability}"


def _span(axis: np.ndarray) -> tuple[float, float]:
    """From the first to the last value, widened if they are equal."""
    low, high = float(axis[0]), float(axis[-1])
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _shade(figure, axes, diagram: PhaseDiagram) -> None:
    exploding = diagram.phase == EXPLODING
    perp = np.where(exploding, np.nan, diagram.chi_perp)
    largest = float(np.max(perp[np.isfinite(perp)], initial=1.0))
    top = float(np.clip(largest, 1.1, 2.0))
    plane = diagram.cw, diagram.cb
    norm = TwoSlopeNorm(1.0, 0.0, top)
    mesh = axes.pcolormesh(
        *plane, np.clip(perp, 0.0, top), cmap=ANGLES, norm=norm, shading="nearest", rasterized=True
    )
    bar = figure.colorbar(mesh, ax=axes, pad=0.02, extend="max" if largest > top else "neither")
    bar.set_label("χ⊥: what a layer multiplies small angles by")
    bar.set_ticks(
        [0, 0.25, 0.5, 0.75, 1, (1 + top) / 2, top],
        labels=["0", "0.25", "0.5", "0.75", "1", f"{(1 + top) / 2:.3g}", f"{top:.3g}"],
    )
    bar.ax.axhline(1, color="black", linewidth=1.4)
    if exploding.any():
        soft = _softened(exploding)
        with rc_context({"hatch.color": "#bdbdbd"}):
            axes.contourf(*plane, soft, levels=[0.5, 1.5], colors=["#e3e3e3"], hatches=["//"])
        if not exploding.all():
            axes.contour(*plane, soft, levels=[0.5], colors=GREY, linewidths=1.4)


def _softened(mask: np.ndarray) -> np.ndarray:
    """The mask with its steps smoothed."""
    soft = mask.astype(float)
    for _ in range(3):
        wide = np.pad(soft, 1, mode="edge")
        soft = (wide[1:-1, 1:-1] + wide[:-2, 1:-1] + wide[2:, 1:-1] + wide[1:-1, :-2] + wide[1:-1, 2:]) / 5
    return soft


def _name(axes, diagram: PhaseDiagram, points: list[tuple[float, float, str]]) -> None:
    """Label the regions and mark the critical points, without overlaps of the labels."""
    taken: list[tuple[float, float]] = []
    outside = []
    for phase, text in NAMES.items():
        place = _widest(diagram.phase == phase)
        if place and place[2] >= 0.12:
            x, y = (min(max(a, size / 2), 1 - size / 2) for a, size in zip(place[:2], LABEL, strict=True))
            axes.text(x, y, text, transform=axes.transAxes, **_centred())
            taken.append((x, y))
        elif place:  # a narrow region is labelled from beside it
            outside.append((text, place[:2]))
    for i, (cw, cb, kind) in enumerate(points):
        target = _fraction(diagram, cw, cb)
        if not all(0 <= a <= 1 for a in target):
            continue
        style = {"marker": "o", "color": "white"} if i else {"marker": "*", "markersize": 17, "color": ORANGE}
        axes.plot(cw, cb, markeredgecolor="black", clip_on=False, zorder=5, **style)
        outside.append((f"critical{kind}\n$C_W$ = {cw:.4g}, $C_b$ = {cb:.4g}", target))
    for text, target in outside:
        at = _free(taken, target)
        axes.annotate(
            text,
            target,
            xycoords="axes fraction",
            xytext=at,
            textcoords="axes fraction",
            arrowprops={"arrowstyle": "-", "color": "black", "linewidth": 0.8, "shrinkB": 6},
            **_centred(),
        )
        taken.append(at)


def _centred() -> dict:
    return {"ha": "center", "va": "center", "fontsize": 10, "linespacing": 1.4, "bbox": BOX, "zorder": 6}


def _fraction(diagram: PhaseDiagram, cw: float, cb: float) -> tuple[float, float]:
    """A point of the plane in fractions of the axes."""
    (left, right), (bottom, top) = _span(diagram.cw), _span(diagram.cb)
    return (cw - left) / (right - left), (cb - bottom) / (top - bottom)


def _free(taken: list[tuple[float, float]], target: tuple[float, float]) -> tuple[float, float]:
    """The position for a label that is nearest to its target and clear of the others."""
    grid = [(x, y) for x in np.linspace(0.18, 0.82, 17) for y in np.linspace(0.09, 0.91, 17)]

    def covers(at, x, y):
        return abs(at[0] - x) < LABEL[0] and abs(at[1] - y) < LABEL[1] * 1.2

    def cost(at):
        hidden = 10.0 * sum(covers(at, *other) for other in taken)
        hidden += 5.0 * (
            abs(at[0] - target[0]) < LABEL[0] / 2 + 0.03 and abs(at[1] - target[1]) < LABEL[1] / 2 + 0.04
        )
        return hidden + np.hypot(at[0] - target[0], at[1] - target[1])

    return min(grid, key=cost)


def _widest(region: np.ndarray) -> tuple[float, float, float] | None:
    """Where a region is widest, and half its width there, in fractions of the axes; None if it is empty."""
    if not region.any():
        return None
    left, steps = region, 0
    while True:
        wide = np.pad(left, 1)
        inner = left & wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:]
        if not inner.any() or steps > max(region.shape):
            break
        left, steps = inner, steps + 1
    rows, columns = np.nonzero(left)
    middle = len(rows) // 2
    y, x = rows[middle] / (region.shape[0] - 1 or 1), columns[middle] / (region.shape[1] - 1 or 1)
    return float(x), float(y), steps / min(region.shape)
