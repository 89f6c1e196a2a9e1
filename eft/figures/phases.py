"""The figure of a phase diagram."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, TwoSlopeNorm
from matplotlib.figure import Figure

from eft.criticality.candidates import Candidate
from eft.criticality.phases import CHAOTIC, EXPLODING, ORDERED, CriticalCurve, PhaseDiagram
from eft.criticality.universality import CriticalPoint, Universality
from eft.figures.style import BLUE, ORANGE, VERMILLION, Drawing

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
LETTER, LINE, ROOM = 0.0122, 0.046, 0.035
"""Width of a letter, height of a line and room about a label, as fractions of the axes; generous."""
CELLS = 100
"""Cells on each axis by which labels are placed."""


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
        axes.contourf(*plane, soft, levels=[0.5, 1.5], colors=["#dedede"])
        if not exploding.all():
            axes.contour(*plane, soft, levels=[0.5], colors="#555555", linewidths=1.4, linestyles="dashed")


def _softened(mask: np.ndarray) -> np.ndarray:
    """The mask with its steps smoothed."""
    soft = mask.astype(float)
    for _ in range(min(soft.shape) // 16):
        wide = np.pad(soft, 1, mode="edge")
        soft = (wide[1:-1, 1:-1] + wide[:-2, 1:-1] + wide[2:, 1:-1] + wide[1:-1, :-2] + wide[1:-1, 2:]) / 5
    return soft


def _name(axes, diagram: PhaseDiagram, points: list[tuple[float, float, str]]) -> None:
    """Label the regions and mark the critical points; labels cover neither one another nor a boundary."""
    cells = _cells(diagram.phase)
    bounds = _bounds(cells)
    labels = []
    for phase, text in NAMES.items():
        place = _widest(cells == phase)
        if place is not None:
            labels.append((text, place, phase))
    for i, (cw, cb, kind) in enumerate(points):
        target = _fraction(diagram, cw, cb)
        text = f"critical{kind}\n$C_W$ = {cw:.4g}, $C_b$ = {cb:.4g}"
        if not all(0 <= a <= 1 for a in target):
            if i == 0:
                _say_outside(axes, text)
            continue
        style = {"marker": "o", "color": "white"} if i else {"marker": "*", "markersize": 17, "color": ORANGE}
        axes.plot(cw, cb, markeredgecolor="black", clip_on=False, zorder=5, **style)
        bounds[_box(target, (0.05, 0.05))] = True
        labels.append((text, target, None))
    for text, target, phase in labels:
        size = _size(text)
        at = _free(bounds, size, target, None if phase is None else cells == phase)
        inside = phase is not None and (cells == phase)[_box(at, (0.02, 0.02))].all()
        arrow = {"arrowstyle": "-", "color": "black", "linewidth": 0.8, "shrinkB": 6}
        axes.annotate(
            text, target, xycoords="axes fraction", xytext=at, textcoords="axes fraction",
            arrowprops=None if inside else arrow, **_centred(),
        )  # fmt: skip
        bounds[_box(at, size)] = True


def _say_outside(axes, text: str) -> None:
    """A critical point that is not in view is named below the axes' names."""
    words = text.replace("\n", " at ") + ": not in view"
    axes.annotate(
        words, (1.0, -0.13), xycoords="axes fraction", ha="right", va="top", fontsize=9, annotation_clip=False
    )


def _cells(phase: np.ndarray) -> np.ndarray:
    """The phases at the centres of CELLS × CELLS cells."""
    middle = (np.arange(CELLS) + 0.5) / CELLS
    rows, columns = ((middle * n).astype(int).clip(max=n - 1) for n in phase.shape)
    return phase[np.ix_(rows, columns)]


def _bounds(cells: np.ndarray) -> np.ndarray:
    """Whether a cell has a neighbour of another phase."""
    wide = np.pad(cells, 1, mode="edge")
    around = wide[:-2, 1:-1], wide[2:, 1:-1], wide[1:-1, :-2], wide[1:-1, 2:]
    return np.any([each != cells for each in around], axis=0)


def _size(text: str) -> tuple[float, float]:
    """Width and height of a label as fractions of the axes."""
    lines = text.replace("$", "").replace("_", "").split("\n")
    return LETTER * max(map(len, lines)) + ROOM, LINE * len(lines) + ROOM


def _box(at: tuple[float, float], size: tuple[float, float]) -> tuple[slice, slice]:
    """The cells that a box about a place covers: rows, columns."""
    (x, y), (w, h) = at, size
    first = [max(0, int(np.floor(CELLS * (a - b / 2)))) for a, b in ((y, h), (x, w))]
    last = [int(np.ceil(CELLS * (a + b / 2))) for a, b in ((y, h), (x, w))]
    return slice(first[0], last[0]), slice(first[1], last[1])


def _centred() -> dict:
    return {"ha": "center", "va": "center", "fontsize": 10, "linespacing": 1.4, "bbox": BOX, "zorder": 6}


def _fraction(diagram: PhaseDiagram, cw: float, cb: float) -> tuple[float, float]:
    """A point of the plane in fractions of the axes."""
    (left, right), (bottom, top) = _span(diagram.cw), _span(diagram.cb)
    return (cw - left) / (right - left), (cb - bottom) / (top - bottom)


def _free(
    taken: np.ndarray, size: tuple[float, float], target: tuple[float, float], region: np.ndarray | None
) -> tuple[float, float]:
    """The place for a label that covers nothing taken, in its region and near its target where it can."""
    w, h = size
    grid = [(x, y) for x in np.linspace(w / 2, 1 - w / 2, 41) for y in np.linspace(h / 2, 1 - h / 2, 41)]

    def cost(at):
        box = _box(at, (w + 0.01, h + 0.01))
        elsewhere = 0.0 if region is None else 1.0 - region[box].mean()
        return (
            20.0 * taken[box].any()
            + 10.0 * taken[box].mean()
            + elsewhere
            + np.hypot(*np.subtract(at, target))
        )

    return min(grid, key=cost)


def _widest(region: np.ndarray) -> tuple[float, float] | None:
    """Where a region is widest, in fractions of the axes; None if it is empty."""
    if not region.any():
        return None
    left = region
    for _ in range(CELLS):
        wide = np.pad(left, 1)
        inner = left & wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:]
        if not inner.any():
            break
        left = inner
    rows, columns = np.nonzero(left)
    middle = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
    return float(columns[middle] + 0.5) / CELLS, float(rows[middle] + 0.5) / CELLS
