"""The figure of the susceptibilities."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from eft.figures.style import COLOURS, GREY, MARKERS, Drawing


def susceptibility_figure(
    K: np.ndarray, curves: Mapping[str, tuple[np.ndarray, np.ndarray]], title: str
) -> Figure:
    """χ∥ and χ⊥ against K on the left; on the right their ratio, in which C_W cancels.

    `curves`: name → (χ∥, χ⊥), each of K's shape. At a critical K* both are 1, hence so is their ratio.
    """
    figure = Drawing(figsize=(9.6, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    colours = COLOURS * (1 + len(curves) // len(COLOURS))
    for i, ((name, (parallel, perp)), colour) in enumerate(zip(curves.items(), colours, strict=False)):
        style = {
            "color": colour,
            "marker": MARKERS[i % len(MARKERS)],
            "mfc": "white" if i // len(MARKERS) % 2 else colour,
            "markevery": max(1, len(K) // 8),
            "ms": 4,
        }
        left.loglog(K, parallel, label=f"χ∥  {name}", **style)
        left.loglog(K, perp, "--", label=f"χ⊥  {name}", **style)
        right.semilogx(K, np.divide(parallel, perp), **style)
    for axes in (left, right):
        axes.axhline(1, color=GREY, linewidth=0.8, zorder=0)
        axes.set_xlabel("$K$   (variance of the pre-activations)")
        axes.set_xlim(np.min(K), np.max(K))
        axes.spines[["top", "right"]].set_visible(False)
    left.set_title("what one layer multiplies sizes (χ∥) and angles (χ⊥) by", fontsize=10)
    right.set_title("χ∥/χ⊥, which criticality needs to be 1", fontsize=10)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 6), frameon=False)
    figure.suptitle(title, fontsize=11)
    return figure
