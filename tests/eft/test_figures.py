"""The phase diagram names its regions and marks the critical point; labels are not cut and do not overlap."""

import numpy as np
import pytest
from pictures import alike, complaints

import eft
from eft.figures import phase_figure, susceptibility_figure
from eft.figures.phases import _box, _cells


def drawn(figure):
    """The texts of the first axes and their positions, as fractions of the figure."""
    figure.savefig("/dev/null", format="png")
    axes = figure.axes[0]
    boxes = {text.get_text(): text.get_window_extent() for text in axes.texts}
    return {name: box.transformed(axes.transAxes.inverted()) for name, box in boxes.items()}


def mixed(cells, box):
    """Whether there is a boundary of phases beneath a label."""
    at, size = ((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2), (box.width, box.height)
    return len(np.unique(cells[_box(at, size)])) > 1


@pytest.mark.parametrize(
    ("name", "cw", "cb", "regions"),
    [
        ("tanh", 3.0, 0.3, ["ordered", "chaotic"]),
        ("gelu", 3.0, 0.43, ["ordered", "chaotic", "exploding"]),
        ("mrepu", 1.3, 0.02, ["ordered", "exploding"]),
        ("relu", 3.0, 0.3, ["ordered", "exploding"]),
    ],
)
def test_phase_figure(name, cw, cb, regions):
    diagram = eft.phase_diagram(name, np.linspace(0, cw, 100), np.linspace(0, cb, 100), x2=1e-3)
    found = eft.classify(name)
    made = phase_figure(diagram, eft.critical_curve(name), found, name)
    labels = drawn(made)
    assert not complaints(made)
    assert sorted(label.split("\n")[0] for label in labels if "critical" not in label) == sorted(regions)
    critical = [label for label in labels if "critical" in label]
    assert f"{found.cw:.4g}" in critical[0] and len(critical) == sum(p.cw <= cw for p in found.candidates)
    boxes = list(labels.values())
    cells = _cells(diagram.phase)
    assert not any(mixed(cells, box) for box in boxes)
    assert any(mixed(cells, box.translated(dx, 0)) for box in boxes for dx in np.linspace(-0.9, 0.9, 19))
    for i, box in enumerate(boxes):
        assert min(box.x0, box.y0) >= -0.02 and max(box.x1, box.y1) <= 1.02
        assert not any(box.overlaps(other) for other in boxes[:i])


def test_phase_figure_of_little():
    """One point, one phase and no critical point."""
    diagram = eft.phase_diagram("softplus", [1.0], [0.1])
    labels = drawn(phase_figure(diagram, eft.critical_curve("softplus"), eft.critical_point("softplus"), ""))
    assert not any("critical" in label for label in labels)
    diagram = eft.phase_diagram("tanh", np.linspace(0, 0.5, 9), [0.0, 0.1])
    drawn(phase_figure(diagram, None, eft.critical_point("tanh"), ""))


def test_a_critical_point_that_is_not_in_view_is_named_below():
    """The control: in view, it is within the axes."""
    for cw, inside in ((0.5, False), (1.5, True)):
        diagram = eft.phase_diagram("mrepu", np.linspace(0, cw, 50), np.linspace(0, 0.05, 50))
        made = phase_figure(diagram, eft.critical_curve("mrepu"), eft.critical_point("mrepu"), "")
        (box,) = [box for text, box in drawn(made).items() if "critical" in text]
        assert (box.y0 > 0) == inside and not complaints(made)


def test_susceptibility_figure():
    K = np.geomspace(1e-3, 1e3, 20)
    curves = {f"p = {p}": (K**p, K ** (2 * p)) for p in range(8)}
    figure = susceptibility_figure(K, curves, "title")
    left, right = figure.axes
    (legend,) = figure.legends  # outside the axes, where it covers no curve
    assert not alike(figure)
    assert len(legend.get_texts()) == 16 and left.get_legend() is None and right.get_legend() is None
    np.testing.assert_allclose(right.lines[3].get_ydata(), K**-3.0)
    drawn(figure)
