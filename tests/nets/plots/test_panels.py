"""Figures of panels: their legends, symbols and titles."""

from nets.plots.panels import Panel, Series, figure


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
