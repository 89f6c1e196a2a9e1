"""Take a model apart."""

from collections.abc import Callable
from typing import Any

from eft.arguments import ArgumentError
from nets.models.layers import Network, layers_of
from nets.models.program import traced


def read(f: Callable, params: Any, x: Any) -> Network:
    """The linear layers of f(params, x).

    Raises ArgumentError or ArgumentTypeError if f cannot be traced, params contain no floating-point numbers,
    or there is no linear layer.
    """
    network = layers_of(traced(f, params, x))
    if not network.layers:
        raise ArgumentError(
            "f must contain a linear layer, a product of data with parameters; none was found"
            + "".join(f"; {note}" for note in network.notes)
        )
    return network
