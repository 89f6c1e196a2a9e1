"""The figure of a coordinate check."""

import numpy as np
import pytest

from eft.figures.style import MARKERS
from nets import CoordinateCheck, Estimate
from nets.plots import coordinate_figure

WIDTHS = np.array([32, 64, 128, 256])


def check(depth: int) -> CoordinateCheck:
    """Exact powers of n, without noise."""
    powers = np.linspace(-0.5, 1, depth)
    change = 0.01 * WIDTHS[:, None] ** powers
    size = np.full_like(change, 0.7)
    return CoordinateCheck(
        WIDTHS, Estimate(size, 0.1 * size), Estimate(change, 0.1 * change), Estimate(powers, 0 * powers),
        0 * powers, powers, False, "standard", "sgd", 1e-3, 1,
    )  # fmt: skip


@pytest.mark.parametrize(("depth", "layers"), [(3, 3), (20, 6)])
def test_lines_pass_through_exact_powers(depth, layers):
    """Of the layers shown, the first and the last among them. The control: a theory that is off by 0.1."""
    made = coordinate_figure(check(depth))
    names = [text.get_text() for text in made.legends[0].get_texts()]
    assert len(names) == layers and names[0] == "layer 1" and names[-1] == f"layer {depth}"

    def ratios(found):
        _, axis = coordinate_figure(found).axes
        theory = [line for line in axis.lines if line.get_marker() == "None"]
        points = [line for line in axis.lines if line.get_marker() in MARKERS]
        return [a.get_ydata() / b.get_ydata() for a, b in zip(theory, points, strict=True)]

    exact = check(depth)
    np.testing.assert_allclose(ratios(exact), 1, rtol=1e-12)
    assert np.max(np.abs(np.log(ratios(exact._replace(change_exponent=exact.change_exponent + 0.1))))) > 0.05


def test_a_point_with_a_large_error_counts_little():
    """The control: with the errors of the others, it moves the line."""
    exact = check(3)
    wrong = np.array(exact.change.mean)
    wrong[-1] *= 2
    certain = exact._replace(change=Estimate(wrong, exact.change.stderr))
    large = np.array(exact.change.stderr)
    large[-1] *= 1e3
    uncertain = exact._replace(change=Estimate(wrong, large))

    def heights(found):
        _, axis = coordinate_figure(found).axes
        return np.array([line.get_ydata()[0] for line in axis.lines if line.get_marker() == "None"])

    np.testing.assert_allclose(heights(uncertain), heights(exact), rtol=1e-4)
    assert (heights(certain) > 1.1 * heights(exact)).all()
