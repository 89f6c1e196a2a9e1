"""Figures of panels: legends, symbols, titles; and that the checks of figures find what they look for."""

import numpy as np
import pytest
from pictures import alike, complaints, covered, cut, overlapping

from eft.arguments import ArgumentError
from eft.figures import Drawing
from nets.plots.panels import BLACK, COLORS, STYLES, Panel, Series, figure

X = np.linspace(0, 1, 9)


def test_panels_name_each_curve_once_and_typeset_symbols():
    line = Series([1, 2], [1, 2], "line", "#000000", "theory, C_W = 1")
    made = figure("a title " * 20 + "C_W", [[Panel("x", "y", [line, line], "C_b = 0")]], legend="each")
    (axis,) = made.axes
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["theory, $C_W$ = 1"]
    assert axis.get_title() == "$C_b$ = 0"
    title = made._suptitle.get_text()
    assert title.endswith("$C_W$") and max(map(len, title.split("\n"))) <= 12 * made.get_figwidth()
    below = figure("both", [[Panel("x", "y", [line]), Panel("x", "y", [line])]])
    assert len(below.legends[0].get_texts()) == 1


@pytest.mark.parametrize("style", ["line", "marked", "points", "squares"])
def test_colours_are_never_all_that_tells_series_apart(style):
    """The control: solid lines, which only their colours tell apart."""
    colors = COLORS[:6]
    many = [Series(X, X + i, style, color, f"series {i}") for i, color in enumerate(colors)]
    made = figure("", [[Panel("x", "y", many)]])
    assert not complaints(made)
    solid = figure("", [[Panel("x", "y", [each._replace(style="solid") for each in many])]])
    assert len(alike(solid)) == 5 + 5  # on the axes, and in the legend


def test_a_line_and_its_points_share_an_entry_of_the_legend():
    cases = [
        (Series(X, X + i, "line", c, f"case {i}"), Series(X, X + i, "points", c, f"case {i}", 0.1 + 0 * X))
        for i, c in enumerate(COLORS[:3])
    ]
    made = figure("", [[Panel("x", "y", [series for case in cases for series in case])]])
    (legend,) = made.legends
    assert [text.get_text() for text in legend.get_texts()] == ["case 0", "case 1", "case 2"]
    assert not complaints(made)


@pytest.mark.parametrize("legend", ["below", "each"])
def test_legends_lie_beside_the_data(legend):
    """The control: a legend within the axes, upon a line that is everywhere."""
    wave = Series(np.linspace(0, 1, 999), np.sin(300 * np.linspace(0, 1, 999)), "line", BLACK, "a wave")
    made = figure("", [[Panel("x", "y", [wave]), Panel("x", "y", [wave])]], legend=legend)
    assert not complaints(made)
    made.axes[0].legend(loc="center")
    assert covered(made)


def test_names_of_heights_are_beside_the_panel():
    made = figure("", [[Panel("x", "y", [Series(X, X, "line", BLACK)], at=[(0.5, "a half")])]])
    assert not complaints(made)
    made.axes[0].text(0.5, 0.5, "upon the line")
    assert covered(made)


def test_what_is_cut_and_what_overlaps_is_found():
    made = Drawing(figsize=(3, 2))
    axis = made.add_axes((0.3, 0.3, 0.6, 0.6))
    axis.plot(X, X)
    assert not cut(made) and not overlapping(made)
    axis.set_xlabel("a name much longer than three inches can hold, and then some more of it")
    assert cut(made)
    axis.set_xlabel("")
    axis.text(0.1, 0.9, "one")
    axis.text(0.1, 0.92, "two")
    assert overlapping(made) == ["'one' and 'two' overlap"]


def test_every_style_can_be_drawn():
    series = [Series(X, X + i, style, COLORS[i % 6]) for i, style in enumerate(STYLES)]
    made = figure("", [[Panel("x", "y", [*series, Series(X, X - 2, "band", BLACK, "a band", X - 1)])]])
    assert len(made.axes[0].lines) == len(STYLES) and not cut(made)


@pytest.mark.parametrize(
    ("style", "words", "said"),
    [
        ("line", {"legend": "above"}, "legend must be one of below, each, none; got 'above'"),
        ("line", {"share": True}, "share must be one of all, row, none; got True"),
        ("dashes", {}, "style must be one of line, marked, .*, band; got 'dashes'"),
    ],
)
def test_a_word_that_means_nothing_is_refused(style, words, said):
    with pytest.raises(ArgumentError, match=said):
        figure("", [[Panel("x", "y", [Series(X, X, style, BLACK)])]], **words)
