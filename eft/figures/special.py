"""Records whose figure is not that of a field: points and curves of the plane, series, recipes, shapes."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes

from eft.arguments import ArgumentError
from eft.criticality.phases import CriticalCurve, FixedPoint, PhaseDiagram
from eft.criticality.universality import CriticalPoint, Universality
from eft.figures.curves import Curve
from eft.figures.drawing import SPECIAL, finish, legend, put
from eft.figures.phases import draw_phases
from eft.figures.style import GREY, ORANGE
from eft.finite_width.correlators import at_width
from eft.finite_width.expansion import Expansion
from eft.recipes.advice import Recipe
from eft.recipes.shaping import Shape

Line = Mapping[str, Any]

PLANE = ("$C_W$   (variance of the weights × fan-in)", "$C_b$   (variance of the biases)")
SYMBOLS = {"stable": "o", "unstable": "X", "neutral": "D"}
LARGE = 10.0
"""K up to which a critical curve is in view."""
WIDTHS = (16.0, 1024.0)
"""Widths between which a series is drawn."""


def phases(record: PhaseDiagram, ax: Axes, line: Line, curve: Any = None, critical: Any = None) -> None:
    """The phases by names and colours. `curve`, `critical`: of `critical_curve` and of `classify`."""
    draw_phases(ax, record, curve, critical)


def critical_curve(record: CriticalCurve, ax: Axes, line: Line) -> None:
    """C_b against C_W: solid where the fixed point attracts, dashed where it does not."""
    if not record.cw.size:
        raise ArgumentError("CriticalCurve is empty: nothing to draw")
    attracts = np.abs(record.chi_parallel) <= 1 + 1e-9
    for kept, dash, words in ((attracts, "-", ""), (~attracts, ":", ", $K^*$ repels")):
        if kept.any():
            cb = np.where(kept, record.cb, np.nan)
            style = {"lw": 1.8, "ls": dash, "color": "black", "label": rf"$\chi_\perp = 1${words}", **line}
            ax.plot(record.cw, cb, **style)
    shown = record.K <= LARGE
    if not ax.collections and len(ax.get_lines()) < 3 and shown.sum() > 1:
        ax.set(xlim=(0, 1.05 * record.cw[shown].max()), ylim=(0, 1.05 * record.cb[shown].max() or None))
    _plane(ax)


def critical_point(record: CriticalPoint, ax: Axes, line: Line) -> None:
    """A star in the plane of C_W and C_b."""
    _star(ax, record.cw, record.cb, {"label": "critical point", **line})
    _plane(ax)


def universality(record: Universality, ax: Axes, line: Line) -> None:
    """All critical points in the plane of C_W and C_b, the preferred one as a star."""
    ax.margins(0.15)
    if not record.candidates:
        raise ArgumentError(f"{record.name} has no critical point: nothing to draw")
    for i, point in enumerate(record.candidates):
        words = f"{record.name}: $K^*$ = {point.K:.4g}, {point.stability}"
        style = {"label": words, **line}
        if i == 0:
            _star(ax, point.cw, point.cb, style)
        else:
            marker = SYMBOLS.get(point.stability, "s")
            own = {"ls": "", "marker": marker, "ms": 9, "mfc": "white", "mec": "black"}
            ax.plot(point.cw, point.cb, **{**own, **style})
    _plane(ax)


def _star(ax: Axes, cw: float, cb: float, style: Line) -> None:
    own = {"ls": "", "marker": "*", "ms": 17, "color": ORANGE, "mec": "black", "zorder": 5, "clip_on": False}
    ax.plot(cw, cb, **{**own, **style})


def _plane(ax: Axes) -> None:
    for name, label in zip("xy", PLANE, strict=True):
        if not getattr(ax, f"get_{name}label")():
            ax.set(**{f"{name}label": label})
    ax.spines[["top", "right"]].set_visible(False)
    legend(ax)


def fixed_point(record: FixedPoint, ax: Axes, line: Line) -> None:
    """A level at K*, for a figure of K against the layers."""
    words = f"$K^*$ = {record.K:.4g}, {record.stability}"
    style = {"color": GREY, "lw": 1.2, "ls": "-" if record.stability == "stable" else ":", "label": words}
    ax.axhline(record.K, **{**style, **line})
    finish(ax, "", "kernel $K$")


def expansion(record: Expansion, ax: Axes, line: Line, quantity: str = "G", layer: int | None = None) -> None:
    """E[Ĝ] or n Var(Ĝ) of a layer against the width, summed to each order of 1/n.

    `quantity`: "G" or "V". `layer`: from 1; default: the last.
    """
    if np.ndim(record.K) != 1:
        raise ArgumentError("field must be given for an Expansion of several settings, such as 'K'")
    depth = len(record.K)
    layer = depth if layer is None else layer
    if quantity not in ("G", "V") or layer not in range(1, depth + 1):
        raise ArgumentError(
            f"quantity must be 'G' or 'V', and layer between 1 and {depth}; got {quantity!r}, {layer!r}"
        )
    n = np.geomspace(*WIDTHS, 60)
    drawn = []
    for order in range(1, record.order + 1):
        part = record.truncated(order)._replace(n=None)
        wide = jax.tree.map(lambda a: np.repeat(np.asarray(a)[layer - 1][None], len(n), 0), part)
        total = at_width(wide, n)
        mean, variance = (np.asarray(total.value)[:, r] for r in (1, 2))
        good = np.asarray(total.converges)[:, 1 if quantity == "G" else 2]
        values = np.where(good, mean if quantity == "G" else n * variance, np.nan)
        drawn.append(Curve(n, values, f"to order $1/n{f'^{order}' if order > 1 else ''}$"))
    put(ax, drawn, line)
    name = r"mean of the metric, $E[\hat G]$" if quantity == "G" else r"$n$ times its variance"
    finish(ax, "width $n$", f"{name}, layer {layer}")


def recipe(record: Recipe, ax: Axes, line: Line) -> None:
    """V/(nK²), by which networks differ from one another, and the bound that limits the depth."""
    K, V = (np.asarray(a, float) for a in (record.flow.K, record.flow.V))
    n = record.width or record.width_needed
    size = np.abs(V) / (n * K**2)
    layer = np.arange(1, len(K) + 1)
    words = f"{record.act.name}, width {n:,}"
    put(ax, [Curve(layer, size, words)], line)
    ax.axhline(record.bound, color=GREY, lw=1.2, ls="--", label=f"bound {record.bound:g}")
    if record.depth_limit is not None and record.depth_limit <= len(K):
        ax.axvline(record.depth_limit, color=GREY, lw=1.2, ls=":", label=f"depth limit {record.depth_limit}")
    finish(ax, "layer $\\ell$", "fluctuation between networks $|V|/(nK^2)$")


def shape(record: Shape, ax: Axes, line: Line) -> None:
    """The activation, from −3 to 3."""
    z = np.linspace(-3.0, 3.0, 241)
    put(ax, [Curve(z, np.asarray(record.act(jnp.asarray(z)), float), record.act.name)], line)
    finish(ax, "pre-activation $z$", r"activation $\sigma(z)$")


SPECIAL |= {
    "PhaseDiagram": phases,
    "CriticalCurve": critical_curve,
    "CriticalPoint": critical_point,
    "Universality": universality,
    "FixedPoint": fixed_point,
    "Expansion": expansion,
    "Recipe": recipe,
    "Shape": shape,
}
