"""Colours, lines and markers of all figures; a Figure that a notebook shows."""

import io

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, VERMILLION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, GREY = "#CC79A7", "#56B4E9", "#8c8c8c"
COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY)
"""The palette of Okabe and Ito: distinguishable with any colour vision."""


DASHES = ("-", (0, (5, 2)), (0, (5, 1.5, 1, 1.5)), (0, (1, 1.4)), (0, (8, 2, 1, 2, 1, 2)), (0, (3, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P")
"""Curves differ in these too, so that they can be told apart without colours."""

MAX_SHOWN = 1e290
"""The largest value that an axis can show with a margin."""


class Drawing(Figure):
    """A Figure made without pyplot, which a notebook shows all the same."""

    def _repr_png_(self) -> bytes:
        return png(self)


def png(figure: Figure, dpi: float = 150) -> bytes:
    """The figure as the bytes of a PNG file."""
    FigureCanvasAgg(figure)
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=dpi)
    return data.getvalue()
