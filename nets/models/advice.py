"""What to do about a fault: the theory's advice, in words and as a recipe."""

import functools
import math
from typing import NamedTuple

import eft
from eft.recipes.start import starting_point


class Setting(NamedTuple):
    """The network that a recipe is for: `eft.recipe` explains its arguments."""

    act: eft.Activation
    depth: int
    width: int
    n_in: int
    x2: float
    skip: float
    norm: str | None

    def recipe(self) -> eft.Recipe:
        """How to initialize this network."""
        return eft.recipe(
            self.act, depth=self.depth, width=self.width, n_in=self.n_in, x2=self.x2, skip=self.skip,
            norm=self.norm,
        )  # fmt: skip

    @property
    def has_start(self) -> bool:
        """Whether its activation has a starting point, so that there is a recipe."""
        try:
            starting_point(self.act, self.depth, self.x2, self.skip, self.norm)
        except eft.ArgumentError:
            return False
        return True

    def __str__(self) -> str:
        kind = f", skip γ = {self.skip:.3g}" if self.skip else ""
        kind += f", norm {self.norm}" if self.norm else ""
        return f"{self.act.name}, {self.depth} layers of width {self.width:,}{kind}"


@functools.lru_cache(maxsize=64)
def universality(act: eft.Activation) -> eft.Universality:
    """The class of an activation."""
    return eft.classify(act)


def initialization(act: eft.Activation) -> str:
    """How to initialize a plain network of this activation."""
    found = universality(act)
    if not found.candidates:
        instead = found.advice.removeprefix("none: ").removeprefix("no critical point; ")
        return f"{act.name} has no critical point: {instead}"
    std = f"weights of std {math.sqrt(found.cw):.4g}/√fan-in"
    if found.cb > 0:
        std += f", biases of std {math.sqrt(found.cb):.4g}"
    return f"{act.name} is critical at C_W = {found.cw:.5g}, C_b = {found.cb:.5g} ({std})"


def residual(blocks: int) -> str:
    """How to scale the branches of a residual network."""
    return (
        f"multiply every branch by 1/√{blocks} ≈ {blocks**-0.5:.2g} (or start its last weights near 0), "
        "or normalize its input"
    )


def normalized(skip: bool) -> str:
    """What to do about a normalized network whose gradients grow."""
    if skip:
        return "let the skip connection keep more: γ² + the branch's χ⊥ should be 1"
    return (
        "with normalization χ⊥ does not depend on C_W: add a skip connection, or take an activation with "
        "⟨σ′²⟩ = ⟨σ²⟩ at unit variance, such as relu"
    )
