"""A recipe as a page to read."""

import textwrap
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from eft.recipes.advice import Recipe

LINE = 79
SHOWN_LAYERS = 6
UNCERTAIN = 0.5
"""Relative spread of a learning rate from which it is called an order of magnitude."""


def page(recipe: "Recipe") -> str:
    """Plain words and two tables, at most 79 columns wide."""
    parts = [_title(recipe), _start(recipe), _weights(recipe), _layers(recipe), _depth(recipe)]
    return "\n\n".join([*parts, *_rates(recipe)])


def _words(*sentences: str) -> str:
    return textwrap.fill(" ".join(sentences), LINE)


def _table(rows: list[list[str]]) -> str:
    """Columns aligned: the first to the left, the others to the right."""
    width = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = (
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(row, width, strict=True))
        )
        for row in rows
    )
    return "\n".join("  " + line.rstrip() for line in lines)


def _title(recipe: "Recipe") -> str:
    size = f"{recipe.depth} layers" + ("" if recipe.width is None else f" of width {recipe.width:,}")
    kind = [f"skip γ = {recipe.skip:g}"] if recipe.skip else []
    kind += [f"norm {recipe.norm}"] if recipe.norm else []
    kind += ["orthogonal weights"] if recipe.weights == "orthogonal" else []
    title = ", ".join([f"{recipe.act.name}, {size}", *kind])
    return f"{title}\n{'=' * len(title)}"


def _start(recipe: "Recipe") -> str:
    start = recipe.start
    at = f"Initialization ({start.kind}): C_W = {start.cw:.6g}, C_b = {start.cb:.6g}, K¹ = {start.K1:.6g}."
    first = "The first layer is rescaled" if start.rescaled else "The first layer is plain"
    return _words(at, f"{first}: {start.reason}.")


def _weights(recipe: "Recipe") -> str:
    hidden = "√C_W" if recipe.weights == "gaussian" else "√C_W, orthogonal"
    rows = [["layer", "fan-in", "gain", "std of weights", "std of biases"]]
    for name, fan_in, gain in (
        ("first", recipe.n_in, recipe.first_gain),
        ("hidden", recipe.width, recipe.gain),
        ("output", recipe.width, recipe.gain),
    ):
        std = "gain/√fan-in" if fan_in is None else f"{gain / np.sqrt(fan_in):.6g}"
        rows.append(
            [name, "–" if fan_in is None else f"{fan_in:,}", f"{gain:.6g}", std, f"{recipe.bias_std:.6g}"]
        )
    return f"Gaussian, not truncated, with std = gain/√fan-in (hidden gain {hidden}):\n" + _table(rows)


def _layers(recipe: "Recipe") -> str:
    depth = recipe.depth
    shown = sorted({1, 2, depth, *np.geomspace(1, depth, SHOWN_LAYERS).round().astype(int)})
    flow, index = recipe.flow, np.array(shown) - 1
    rows = [["layer", *map(str, shown)]]
    for name, values in (("K", flow.K), ("χ∥", flow.chi_parallel), ("χ⊥", flow.chi_perp)):
        rows.append([name, *(f"{v:.4g}" for v in np.asarray(values, float)[index])])
    size = np.asarray(flow.V / flow.K**2, float)[index]
    if recipe.width is not None:
        rows.append(["V/(nK²)", *(f"{v:.3g}" for v in size / recipe.width)])
    else:
        rows.append(["V/K²", *(f"{v:.3g}" for v in size)])
    gradients = (
        f"The mean square of a gradient changes by a factor of {recipe.gradient:.3g} from the last hidden "
        "layer to the first."
    )
    return _table(rows) + "\n" + _words(gradients)


def _depth(recipe: "Recipe") -> str:
    words = []
    if recipe.width is not None:
        if recipe.depth_limit is None:
            words.append(
                f"Depth: V/(nK²), by which networks differ from one another, stays below {recipe.bound:g} in "
                f"the first {recipe.searched:,} layers."
            )
        else:
            words.append(
                f"Depth: at width {recipe.width:,} the limit is {recipe.depth_limit} layers, where V/(nK²), "
                f"by which networks differ from one another, reaches {recipe.bound:g}."
            )
    words.append(f"{recipe.depth} layers need a width of {recipe.width_needed:,}.")
    if np.isfinite(recipe.log_spread):
        words.append(
            f"In the last layer the size of the signal, Ĝ, differs between networks by a typical factor of "
            f"{np.exp(recipe.log_spread):.3g} (log Ĝ has the standard deviation {recipe.log_spread:.3g})."
        )
    words.append(
        "This is a limit, not an optimum: fewer layers always fluctuate less, and no ratio of depth to width "
        "is best by this theory."
    )
    return _words(*words)


def _rates(recipe: "Recipe") -> list[str]:
    found = recipe.rates
    if found is None:
        return []
    outputs = "" if recipe.n_out == 1 else f" and {recipe.n_out} outputs"
    words = [
        f"Learning rate, for the loss ½(z − y)² averaged over samples{outputs}: gradient descent with one "
        f"rate for all parameters is stable below {found.sgd:.4g} at infinite width."
    ]
    if np.isfinite(recipe.rate_spread):
        words.append(f"Networks of this width differ by {100 * recipe.rate_spread:.0f} % in it.")
        if recipe.rate_spread > UNCERTAIN:
            words.append("Take it as an order of magnitude only.")
    if np.isfinite(found.adam):
        words.append(
            f"Adam moves every parameter by its rate, whatever the gradient: at {found.adam:.3g} the first "
            "step already changes the output by 1; start well below."
        )
    words.append(
        "With rates per layer, so that each layer's weights and each layer's biases contribute equally:"
    )
    shown = sorted({1, 2, recipe.depth, *np.geomspace(1, recipe.depth, SHOWN_LAYERS).round().astype(int)})
    index = np.array(shown) - 1
    rows = [["layer", *map(str, shown)]]
    for name, values in (
        ("NTK share, one rate", found.share),
        ("max rate, weights", found.weights),
        ("max rate, biases", found.biases),
    ):
        rows.append([name, *(f"{v:.2g}" for v in values[index])])
    return [_words(*words) + "\n" + _table(rows)]
