"""Which layers of a model are first, hidden and last, and what each is initialized with."""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

from eft.arguments import ArgumentError
from nets.models.initializers import Biases, Weights, critical, critical_bias


class Linear(NamedTuple):
    """A linear layer: its name in the model, its size, and whether it has a bias."""

    name: str
    n_in: int
    n_out: int
    biased: bool


def initializers(
    layers: Sequence[Linear],
    act: Any,
    *,
    weights: str = "gaussian",
    cw: object = None,
    cb: object = None,
    output_cw: object = None,
    output_cb: object = None,
    K1: object = None,
    skip: object = 0.0,
    **settings: Any,
) -> list[tuple[Weights, Biases]]:
    """Those of each layer, for arrays (out, in): first, hidden …, output; a single layer is the first.

    `weights`: of all layers but the first, which is Gaussian, as in `nets.FCN`. `cw`, `cb`: C_W and C_b of
    all layers, and `output_cw`, `output_cb` those of the output, in place of the critical ones. The others:
    as for `nets.initializers.critical`.

    Raises ArgumentError if there are no layers, if one does not take what the one before it gives, or has no
    bias where C_b > 0.
    """
    if not layers:
        raise ArgumentError("the network must have linear layers; got none")
    for before, after in itertools.pairwise(layers):
        if before.n_out != after.n_in:
            raise ArgumentError(
                f"the network must be a chain of linear layers, in their order; got {before.name} with "
                f"{before.n_out} outputs before {after.name} with {after.n_in} inputs"
            )
    found = []
    for i, linear in enumerate(layers):
        layer, own_cw, own_cb = "hidden" if i else "first", cw, cb
        if 0 < i == len(layers) - 1:
            layer = "output"
            own_cw, own_cb = cw if output_cw is None else output_cw, cb if output_cb is None else output_cb
        biases = critical_bias(act, layer, skip=skip, cb=own_cb)
        if biases.cb > 0 and not linear.biased:
            raise ArgumentError(
                f"the network must have biases, since C_b = {biases.cb:.6g}; {linear.name} has none. Without "
                "biases set cb=0, and the cw that you want"
            )
        first = {} if i else {"K1": K1}
        kernels = critical(
            act, layer, weights=weights if i else "gaussian", skip=skip, cw=own_cw, cb=own_cb, in_axis=-1,
            out_axis=-2, **first, **settings,
        )  # fmt: skip
        found.append((kernels, biases))
    return found
