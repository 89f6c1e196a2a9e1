"""Cases: settings that theory and experiment share."""

from typing import Any, NamedTuple

import jax
import numpy as np

import eft
from eft import arguments
from eft.activations.catalogue import as_activation
from eft.arguments import ArgumentError
from eft.finite_width.expansion import MAX_ORDER
from eft.flows.block import checked_block
from nets.comparison.comparison import Comparison, compare
from nets.initialization import ensemble


class Case(NamedTuple):
    """The arguments of an ensemble and of its theory, as for `nets.measure` and `eft.kernel_flow`.

    `order`: of theory, in 1/n; 1 unless the networks are plain.
    """

    act: Any
    cw: float
    depth: int = 11
    width: int = 512
    n_nets: int = 1000
    seed: int = 0
    cb: float = 0.0
    x2: float = 1.0
    K1: float | None = None
    method: str = "networks"
    order: int = 1
    skip: float = 0.0
    norm: str | None = None
    weights: str = "gaussian"
    readout: bool = False
    control_variates: bool = False

    @property
    def activation(self) -> eft.Activation:
        """`act`, where text is as for `eft.activation`."""
        return as_activation(self.act)

    @property
    def given(self) -> dict[str, Any]:
        """The keywords that determine the first kernel."""
        return {"cb": self.cb, "x2": self.x2, "K1": self.K1}

    @property
    def kind(self) -> dict[str, Any]:
        """The keywords that say what the layers are."""
        return {name: getattr(self, name) for name in ("skip", "norm", "weights", "readout")}

    @property
    def plain(self) -> bool:
        """Whether there is no skip, no normalization, and Gaussian weights; raises for a bad one."""
        block, _ = checked_block(**self.kind)
        return not block.remembers and block.weights == "gaussian"

    @property
    def kind_in_words(self) -> list[str]:
        """What is not plain about it."""
        but = " except at the output" if self.readout else ""
        words = [f"skip γ = {self.skip:g}{but}"] if self.skip else []
        if self.norm is not None:
            words.append(f"{self.norm} norm")
        return words if self.weights == "gaussian" else [*words, f"{self.weights} weights"]

    @property
    def title(self) -> str:
        """The activation's name, C_W, C_b if it is not 0, what determines the first kernel, and its kind."""
        parts = [f"C_W = {self.cw:g}"]
        if self.cb:
            parts.append(f"C_b = {self.cb:g}")
        parts.append(f"‖x‖²/n₀ = {self.x2:g}" if self.K1 is None else f"K¹ = {self.K1:g}")
        parts += self.kind_in_words
        return f"{self.activation.name}: {', '.join(parts)}"


def parse_activation(text: str) -> eft.Activation:
    """`eft.activation(text)`, for text such as "tanh", "mrepu:p=2" or "sin:frequency=0.5"."""
    return eft.activation(text)


PRESETS = {
    "paper": (
        Case("tanh", cw=1.0, seed=0),
        Case("relu", cw=2.0, seed=1),
        Case("mrepu:p=2", cw=1.0, K1=1e-3, seed=2),
    )
}
"""Three activations at their critical C_W, ten hidden layers of width 512, 1000 networks.

MRePU starts at K¹ = 1e-3: with an input of size 1 its kernel explodes within a few layers."""


class Prepared(NamedTuple):
    """A case whose arguments have been checked, with its theory; only the networks remain to be drawn.

    `series`: None at order 1. `job`: its program, compiled.
    """

    case: Case
    flow: eft.KernelFlow
    series: eft.Expansion | None
    job: ensemble.Job


def prepare(case: Case, **settings) -> Prepared:
    """The theory of a case, and its ensemble ready to be drawn; `settings` as for `nets.measure`.

    Raises TypeError or ValueError for a bad argument.
    """
    act, given = case.activation, case.given
    order = arguments.positive_int("order", case.order, maximum=MAX_ORDER)
    if order > 1 and not case.plain:
        raise ArgumentError(
            f"order must be 1 where there is a skip, a normalization or orthogonal weights; got {order}"
        )
    flow = kernel_flow(case)
    series = eft.expand(act, case.cw, case.depth, order, **given) if order > 1 else None
    job = ensemble.prepare(
        act, case.cw, case.depth, case.width, case.n_nets,
        seed=case.seed, method=case.method, control_variates=case.control_variates, **given, **case.kind,
        **settings,
    )  # fmt: skip
    return Prepared(case, flow, series, job)


def kernel_flow(case: Case) -> eft.KernelFlow:
    """`eft.kernel_flow` of a case."""
    return eft.kernel_flow(case.activation, case.cw, case.depth, **case.given, **case.kind)


def totals(case: Case, n: np.ndarray) -> list[np.ndarray]:
    """Theory of the last layer at widths n to each order from 1 to that of the case: [K + …, V + …].

    nan where theory is out of range, or where the terms of the series no longer decrease.
    """
    if case.order == 1:
        flow = kernel_flow(case)
        K, V, G1, valid = (np.asarray(a)[-1] for a in (flow.K, flow.V, flow.G1, flow.valid))
        return [np.where(valid, [K + G1 / n, np.full_like(n, V)], np.nan)]
    series = eft.expand(case.activation, case.cw, case.depth, case.order, **case.given)
    last = jax.tree.map(lambda a: a[-1:], series)
    sums = [eft.at_width(last.truncated(order), n) for order in range(1, case.order + 1)]
    mean, variance = 1, 2  # the cumulants
    return [
        np.where(each.converges.T, each.value.T, np.nan)[[mean, variance]] * [np.ones_like(n), n]
        for each in sums
    ]


def run(prepared: Prepared, *, progress: bool | None = None) -> Comparison:
    """Draw the networks of a prepared case and compare them with its theory."""
    return compare(prepared.flow, ensemble.run(prepared.job, progress=progress), prepared.series)
