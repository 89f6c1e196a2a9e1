"""How one layer makes the next: z′ = γz + b + Wσ(N(z)), with a skip γ, a normalization N, and W."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from eft import arguments
from eft.activations.derivatives import Array
from eft.arguments import ArgumentError

NORMS = (None, "rms", "layer")
WEIGHTS = ("gaussian", "orthogonal")


class Block(NamedTuple):
    """What is static about it; hashable.

    `residual`: whether there is a skip. `norm`: None, "rms" or "layer". `weights`: "gaussian" or
    "orthogonal". `readout`: whether the last layer has no skip.
    """

    residual: bool
    norm: str | None
    weights: str
    readout: bool

    @property
    def remembers(self) -> bool:
        """Whether the flow is not that of a plain network."""
        return self.residual or self.norm is not None

    def by_layer(self, skip: Array, depth: int) -> jax.Array:
        """γ of the steps l → l + 1, l = 1 … L, along a leading axis; that of l = L as if another followed."""
        skips = jnp.broadcast_to(skip, (depth, *skip.shape))
        return skips.at[depth - 2].set(0.0) if self.readout and depth > 1 else skips


PLAIN = Block(False, None, "gaussian", False)
"""That of a plain network."""


def checked_block(skip: object, norm: object, weights: object, readout: object) -> tuple[Block, jax.Array]:
    """The block, and γ as an array."""
    readout = arguments.true_or_false("readout", readout)
    number = arguments.nonnegative("skip", skip)
    residual = not (isinstance(skip, int | float) and skip == 0)
    norm, weights = arguments.one_of("norm", norm, NORMS), arguments.one_of("weights", weights, WEIGHTS)
    return Block(residual, norm, str(weights), readout), number


def check_widths(block: Block, widths: object, depth: int) -> None:
    """Raise if the widths are given, and differ, for a block that needs equal ones."""
    needs_equal = block.residual or (block.norm is not None and block.weights == "orthogonal")
    if widths is not None and len(set(arguments.widths_of(widths, depth))) > 1 and needs_equal:
        raise ArgumentError(
            "widths must be equal where there is a skip, or a normalization before orthogonal weights; "
            f"got {arguments.shown(widths)}"
        )


def refuse(
    function: str, supported: str, skip: object = 0.0, norm: object = None, weights: object = "gaussian"
) -> None:
    """Raise, in `function`, for layers that are not plain; `supported`: the functions that do take them."""
    block, _ = checked_block(skip, norm, weights, False)
    for name, value, plain in zip(("skip", "norm", "weights"), (skip, norm, weights), PLAIN[:3], strict=True):
        given = block.residual if name == "skip" else value != plain
        if given:
            raise ArgumentError(
                f"{name} must be left out in {function}; got {arguments.shown(value)}; {supported}"
            )


WITH_NORM = "kernel_flow, pair_flow, gram_flow and regress take norm"
PLAIN_SERIES = (
    "kernel_flow, ntk_flow and vertex_flow take skip and weights, kernel_flow also norm, to order 1/n"
)


def fixed_shares(block: Block, widths: Sequence[int] | None, depth: int) -> np.ndarray:
    """κ = n_l/max(n_l, n_{l+1}), the share in which orthogonal weights fix Σ_i h_i², h = Wσ(z^l); l = 1 … L.

    h has n_{l+1} components. For n_{l+1} ≤ n_l they are some of those of a vector of n_l components and known
    length.
    """
    shares = np.ones(depth)
    if block.weights == "orthogonal" and widths is not None:
        n = np.array(widths, float)
        shares[:-2] = n[:-1] / np.maximum(n[:-1], n[1:])
    return shares
