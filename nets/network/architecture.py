"""What a network is: its static architecture, and the numbers that it is drawn with."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from eft import arguments
from eft.activations.definition import Activation
from eft.arguments import ArgumentError
from eft.flows.block import NORMS, WEIGHTS
from nets.network.normals import Normal, standard_normal
from nets.runtime.settings import check_representable

FLOAT32 = np.dtype(np.float32)


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A fully connected network, apart from the numbers that may be traced; hashable.

    `act`: σ. `sizes`: (n₀, n₁, …, n_L). `own_K1`: K1 sets the first kernel, and the first layer has no bias.
    `biased`: the biases are drawn from N(0, C_b); otherwise they are zeros. `dtype`: of parameters and
    arithmetic. `normal`: the function that draws the numbers of variance 1.

    `skip`: whether hidden layers are added to the next one, z^{l+1} = γz^l + …. `norm`: of the neurons before
    σ, None, "rms" or "layer". `weights`: "gaussian" or "orthogonal", of all layers but the first. `readout`:
    whether the last layer is without skip.
    """

    act: Activation
    sizes: tuple[int, ...]
    own_K1: bool = False
    biased: bool = True
    dtype: np.dtype = FLOAT32
    normal: Normal = standard_normal
    skip: bool = False
    norm: str | None = None
    weights: str = "gaussian"
    readout: bool = True

    @property
    def depth(self) -> int:
        """L, the number of layers."""
        return len(self.sizes) - 1

    @property
    def n_weights(self) -> int:
        """Σ n_{l−1} n_l, without biases."""
        return sum(n_in * n for n_in, n in itertools.pairwise(self.sizes))

    @property
    def without_act(self) -> tuple[Any, ...]:
        """All but σ, for programs that compare activations by what they compute."""
        return tuple(getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "act")

    @property
    def plain(self) -> bool:
        """Whether it has no skip, no norm, and Gaussian weights."""
        return not self.skip and self.norm is None and self.weights == "gaussian"

    @property
    def remembers(self) -> bool:
        """Whether the neurons of a layer are not independent, given the layer before: by skip or weights."""
        return self.skip or self.weights != "gaussian"

    def skips(self, layer: int) -> bool:
        """Whether there is a skip into layer l = `layer`, 1 … L."""
        return self.skip and layer > 1 and not (self.readout and layer == self.depth)

    @property
    def unit_settings(self) -> "Settings":
        """Settings of its kind that are all 1, for tracing."""
        one = np.ones((), self.dtype)
        first = (one, one) if self.own_K1 else (None, None)
        return Settings(one, one, *first, one if self.skip else None)


class Settings(NamedTuple):
    """The numbers that a network is drawn with; scalars, or traced.

    `cw`: C_W. `cb`: C_b. `K1`, `x2`: the first kernel K¹ of an input with ‖x‖²/n₀ = x2; None unless the
    architecture has `own_K1`. `skip`: γ; None unless the architecture has a skip.
    """

    cw: Any
    cb: Any
    K1: Any = None
    x2: Any = None
    skip: Any = None

    def first_kernel(self, x2: Any) -> Any:
        """Ĝ¹ = C_b + C_W‖x‖²/n₀ of inputs with ‖x‖²/n₀ = `x2`, or K1 (‖x‖²/n₀)/x2."""
        return self.cb + self.cw * x2 if self.K1 is None else self.K1 / self.x2 * x2

    def cast(self, dtype: np.dtype) -> "Settings":
        """The same numbers as arrays of that dtype."""
        return jax.tree.map(lambda number: np.asarray(number, dtype), self)


def checked_settings(cw: Any, cb: Any, K1: Any, x2: Any, dtype: np.dtype, skip: Any = 0.0) -> Settings:
    """The settings as floats; `x2` counts only where `K1` is given, and `skip` = 0 is None.

    Raises TypeError or ValueError for anything but finite numbers ≥ 0, x2 > 0, that `dtype` can represent.
    """
    numbers = {"cw": arguments.number("cw", cw), "cb": arguments.number("cb", cb)}
    if K1 is not None:
        numbers |= {
            "K1": arguments.number("K1", K1),
            "x2": arguments.number("x2", arguments.positive("x2", x2)),
        }
    if (skip := arguments.number("skip", skip)) > 0:
        numbers["skip"] = skip
    check_representable(dtype, numbers)
    return Settings(**numbers)


def check_layers(
    hidden: Sequence[int], n_out: int, *, skip: bool, norm: Any, weights: Any, readout: Any
) -> None:
    """Raises ArgumentError or ArgumentTypeError unless layers of these widths can be of this kind."""
    arguments.one_of("norm", norm, NORMS)
    arguments.one_of("weights", weights, WEIGHTS)
    arguments.true_or_false("readout", readout)
    shown = arguments.shown(tuple(hidden))
    if skip and len(set(hidden)) > 1:
        raise ArgumentError(f"skip needs equal hidden widths; got {shown}")
    if not readout and hidden and n_out != hidden[-1]:
        raise ArgumentError(
            f"readout=False needs as many outputs as the last hidden layer has neurons, {hidden[-1]:,}; got "
            f"{n_out:,}"
        )
    if 1 in hidden and norm is not None:
        raise ArgumentError(f"norm needs hidden widths ≥ 2; got {norm!r} and {shown}")
    if 1 in hidden and weights == "orthogonal":
        raise ArgumentError(f"weights='orthogonal' needs hidden widths ≥ 2; got {shown}")
