"""What to do about a fault: the words in which the theory's advice is given."""

import functools

import eft


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
    return f"{act.name} is critical at C_W = {found.cw:.5g}, C_b = {found.cb:.5g}"


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
