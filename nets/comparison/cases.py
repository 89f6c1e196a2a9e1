"""Cases: settings that theory and experiment share."""

import ast
from typing import Any, NamedTuple

import eft
from eft import arguments
from eft.activations.catalogue import as_activation
from eft.arguments import ArgumentError
from eft.finite_width.expansion import MAX_ORDER
from nets.comparison.comparison import Comparison, compare
from nets.initialization import ensemble


class Case(NamedTuple):
    """The arguments of an ensemble and of its theory, as for `nets.measure` and `eft.kernel_flow`.

    `order`: of theory, in 1/n.
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

    @property
    def activation(self) -> eft.Activation:
        """`act`, where text may be "name" or "name:parameter=value,…"."""
        return parse_activation(self.act) if isinstance(self.act, str) else as_activation(self.act)

    @property
    def title(self) -> str:
        """The activation's name, C_W, C_b if it is not 0, and what determines the first kernel."""
        parts = [f"C_W = {self.cw:g}"]
        if self.cb:
            parts.append(f"C_b = {self.cb:g}")
        parts.append(f"‖x‖²/n₀ = {self.x2:g}" if self.K1 is None else f"K¹ = {self.K1:g}")
        return f"{self.activation.name}: {', '.join(parts)}"


def parse_activation(text: str) -> eft.Activation:
    """The activation named by a text such as "tanh", "mrepu:p=2" or "sin:frequency=0.5".

    Raises TypeError or ValueError for an unknown name or parameter, or a bad value.
    """
    name, _, rest = text.partition(":")
    parameters = {}
    for item in filter(None, rest.split(",")):
        key, equals, value = item.partition("=")
        try:
            parameters[key.strip()] = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError):
            equals = ""
        if not equals:
            raise ArgumentError(f'act must be a name, or one with numbers as "mrepu:p=2"; got {text!r}')
    return eft.activation(name, **parameters)


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
    act, given = case.activation, {"cb": case.cb, "x2": case.x2, "K1": case.K1}
    flow = eft.kernel_flow(act, case.cw, case.depth, **given)
    order = arguments.positive_int("order", case.order, maximum=MAX_ORDER)
    series = eft.expand(act, case.cw, case.depth, order, **given) if order > 1 else None
    job = ensemble.prepare(
        act, case.cw, case.depth, case.width, case.n_nets,
        seed=case.seed, method=case.method, **given, **settings,
    )  # fmt: skip
    return Prepared(case, flow, series, job)


def run(prepared: Prepared, *, progress: bool | None = None) -> Comparison:
    """Draw the networks of a prepared case and compare them with its theory."""
    return compare(prepared.flow, ensemble.run(prepared.job, progress=progress), prepared.series)
