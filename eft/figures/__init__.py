"""Figures of the theory, by matplotlib. Nothing is saved; `draw` is the method `plot` of every record."""

from eft.figures import special as special
from eft.figures.drawing import draw
from eft.figures.phases import phase_figure
from eft.figures.style import (
    BLUE,
    COLOURS,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    Drawing,
    png,
)
from eft.figures.susceptibilities import susceptibility_figure

__all__ = [
    "BLUE",
    "COLOURS",
    "GREEN",
    "GREY",
    "ORANGE",
    "PURPLE",
    "SKY",
    "VERMILLION",
    "Drawing",
    "draw",
    "phase_figure",
    "png",
    "susceptibility_figure",
]
