"""What a network is: its static architecture, and the numbers that it is drawn with."""

import dataclasses
import itertools
from typing import Any, NamedTuple

import jax
import numpy as np

from eft import arguments
from eft.activations.definition import Activation
from nets.network.normals import Normal, standard_normal
from nets.runtime.settings import check_representable

FLOAT32 = np.dtype(np.float32)


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A fully connected network, apart from the numbers that may be traced; hashable.

    `act`: σ. `sizes`: (n₀, n₁, …, n_L). `own_K1`: K1 sets the first kernel, and the first layer has no bias.
    `biased`: the biases are drawn from N(0, C_b); otherwise they are zeros. `dtype`: of parameters and
    arithmetic. `normal`: the function that draws the numbers of variance 1.
    """

    act: Activation
    sizes: tuple[int, ...]
    own_K1: bool = False
    biased: bool = True
    dtype: np.dtype = FLOAT32
    normal: Normal = standard_normal

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
        return self.sizes, self.own_K1, self.biased, self.dtype, self.normal

    @property
    def unit_settings(self) -> "Settings":
        """Settings of its kind that are all 1, for tracing."""
        one = np.ones((), self.dtype)
        return Settings(one, one, one, one) if self.own_K1 else Settings(one, one)


class Settings(NamedTuple):
    """The numbers that a network is drawn with; scalars, or traced.

    `cw`: C_W. `cb`: C_b. `K1`, `x2`: the first kernel K¹ of an input with ‖x‖²/n₀ = x2; None unless the
    architecture has `own_K1`.
    """

    cw: Any
    cb: Any
    K1: Any = None
    x2: Any = None

    def first_kernel(self, x2: Any) -> Any:
        """Ĝ¹ = C_b + C_W‖x‖²/n₀ of inputs with ‖x‖²/n₀ = `x2`, or K1 (‖x‖²/n₀)/x2."""
        return self.cb + self.cw * x2 if self.K1 is None else self.K1 / self.x2 * x2

    def cast(self, dtype: np.dtype) -> "Settings":
        """The same numbers as arrays of that dtype."""
        return jax.tree.map(lambda number: np.asarray(number, dtype), self)


def checked_settings(cw: Any, cb: Any, K1: Any, x2: Any, dtype: np.dtype) -> Settings:
    """The settings as floats; `x2` counts only where `K1` is given.

    Raises TypeError or ValueError for anything but finite numbers ≥ 0, x2 > 0, that `dtype` can represent.
    """
    numbers = {"cw": arguments.number("cw", cw), "cb": arguments.number("cb", cb)}
    if K1 is not None:
        numbers |= {
            "K1": arguments.number("K1", K1),
            "x2": arguments.number("x2", arguments.positive("x2", x2)),
        }
    check_representable(dtype, numbers)
    return Settings(**numbers)
