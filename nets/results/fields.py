"""The fields of results: their axes, their data types, and their names in a file."""

import functools
from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np

from eft.records import DESCRIPTIONS, Description, Field, Part, Tree
from eft.records.descriptions import flat, of_leaf
from nets.initialization.control_variates import ControlledMeasurement
from nets.initialization.gram_measurement import GramMeasurement
from nets.initialization.inputs import InputMeasurement
from nets.initialization.measurement import Measurement
from nets.initialization.ntk_measurement import NTKMeasurement
from nets.statistics.estimators import Estimate
from nets.training.run import TrainingRun

KINDS = {kind.__name__: kind for kind in (Measurement, GramMeasurement, InputMeasurement, TrainingRun)}
"""The kinds of results that a file can hold."""

RECORDS = {kind.__name__: kind for kind in (NTKMeasurement, ControlledMeasurement)}
"""The kinds of records within them."""


LAYER, MEMBERS, SNAPSHOTS = ("layer",), ("member", "layer"), ("snapshot", "layer", "input")
PAIRS = ("layer", "pair", "pair_2")

_SHARED = {
    "n_nets": Field(LAYER, "networks that the estimates at this layer average over", "int64"),
    "n_overflowed": Field(LAYER, "networks left out, a number of which was not finite", "int64"),
    "widths": Field(("place",), "width n_l of layer l, l = 0 (the input) to L", "int64"),
    "seconds": Field((), "wall-clock time", units="s"),
}

FIELDS = {
    "Measurement": {
        **_SHARED,
        "K": Field(LAYER, "kernel E[G^l] from the metric"),
        "V": Field(LAYER, "four-point vertex n_(l-1) Var(G^l)"),
        "K_z": Field(LAYER, "kernel E[z_i^2] from the pre-activations"),
        "V_z": Field(LAYER, "four-point vertex n_(l-1) (E[z_i^2 z_j^2] - E[z_i^2]^2)"),
        "chi_parallel": Field(LAYER, "parallel susceptibility, from layer l to l+1"),
        "chi_perp": Field(LAYER, "perpendicular susceptibility, from layer l to l+1"),
        "G": Field(MEMBERS, "metric G^l of every network"),
        "log_G": Field(MEMBERS, "logarithm of the metric of every network"),
        "z2": Field(MEMBERS, "E[z_i^2] given layer l-1, of every network"),
        "z2z2": Field(MEMBERS, "E[z_i^2 z_j^2] given layer l-1, i and j distinct, of every network"),
        "M": Field(MEMBERS, "G^l + gamma^2 M^(l-1), whose mean is K, of every network"),
        "ntk": Part("neural tangent kernel"),
        "controlled": Part("with control variates"),
    },
    "ControlledMeasurement": {
        "K": Field(LAYER, "kernel E[G^l]"),
        "V": Field(LAYER, "four-point vertex n_(l-1) Var(G^l)"),
        "K_gain": Field(LAYER, "variance of K without control variates over that with them"),
        "V_gain": Field(LAYER, "variance of V without control variates over that with them"),
        "innovation": Field(LAYER, "mean of G^l - E[G^l | G^(l-1)]"),
        "K_each": Field(MEMBERS, "numbers of every network, whose mean is K"),
        "V_each": Field(MEMBERS, "numbers of every network, whose mean is V"),
    },
    "NTKMeasurement": {
        "Theta": Field(LAYER, "neural tangent kernel E[Theta_ii^l]"),
        "A": Field(LAYER, "n_(l-1) Cov(Theta_ii^l, Theta_jj^l), i and j distinct"),
        "B": Field(LAYER, "n_(l-1) E[(Theta_ij^l)^2], i and j distinct"),
        "D": Field(LAYER, "n_(l-1) Cov(z_i^2, Theta_jj^l), i and j distinct"),
        "F": Field(LAYER, "n_(l-1) E[z_i z_j Theta_ij^l], i and j distinct"),
        "H": Field(MEMBERS, "mean of Theta_ii^l given the layers before, of every network"),
        "B_hat": Field(MEMBERS, "n_(l-1) E[(Theta_ij^l)^2 | layer l-1] of every network"),
        "F_hat": Field(MEMBERS, "n_(l-1) E[z_i z_j Theta_ij^l | layer l-1] of every network"),
        "Theta_hat": Field(MEMBERS, "mean of Theta_ii^l over the neurons of every network"),
    },
    "GramMeasurement": {
        **_SHARED,
        "K": Field(("layer", "input", "input_2"), "kernel E[G^l] of two inputs"),
        "V": Field(PAIRS, "four-point vertex n_(l-1) Cov(G^l_12, G^l_34) of pairs of inputs"),
        "Theta": Field(("input", "input_2"), "neural tangent kernel of the output at two inputs"),
        "G": Field(("member", "layer", "input", "input_2"), "metric G^l of every network"),
        "Theta_hat": Field(("member", "input", "input_2"), "neural tangent kernel of every network"),
    },
    "InputMeasurement": {
        "log_K": Field(("member", "layer", "input"), "logarithm of the kernel (1/n_l) sum of z_i^2"),
        "x2": Field(("input",), "squared length of the input over n_0"),
        "widths": _SHARED["widths"],
    },
    "TrainingRun": {
        "steps": Field(("snapshot",), "steps done before the snapshot", "int64"),
        "loss": Field(("snapshot", "member"), "loss of every network over all data"),
        "alive": Field(("snapshot", "member"), "whether all its numbers were finite so far", "bool"),
        "n_overflowed": _SHARED["n_overflowed"]._replace(axes=("snapshot",)),
        "K": Field(SNAPSHOTS, "kernel (1/n_l) sum of z_i^2"),
        "G": Field(SNAPSHOTS, "metric C_b + (C_W/n_(l-1)) sum of sigma(z_i)^2, with the initial C_W and C_b"),
        "V": Field(SNAPSHOTS, "four-point vertex n_(l-1) Var(G^l)"),
        "chi_parallel": Field(SNAPSHOTS, "parallel susceptibility, from layer l to l+1"),
        "chi_perp": Field(SNAPSHOTS, "perpendicular susceptibility, from layer l to l+1"),
        "K_inputs": Field(("snapshot", "layer", "member"), "kernel of every network, mean over inputs"),
        "outputs": Field(("snapshot", "test_input", "output"), "mean output over networks"),
        "outputs_variance": Field(("snapshot", "test_input", "output"), "variance of the output"),
        "widths": _SHARED["widths"],
        "parameters": Tree("parameter {}, of every network", ("member",)),
        "seconds": _SHARED["seconds"],
    },
}

SYMBOLS = {
    "K": "K",
    "V": "V",
    "chi_parallel": r"\chi_\parallel",
    "chi_perp": r"\chi_\perp",
    "Theta": r"\Theta",
}

TITLES = {
    "Measurement": ("networks at initialization, one input", "K V chi_parallel chi_perp"),
    "NTKMeasurement": ("measured neural tangent kernel of one input", "Theta A B D F"),
    "ControlledMeasurement": ("networks at initialization with control variates", "K V K_gain V_gain"),
    "GramMeasurement": ("networks at initialization, several inputs", "K Theta V"),
    "InputMeasurement": ("networks at many inputs", "log_K"),
    "TrainingRun": ("networks in training", "loss alive n_overflowed"),
}
"""What the results are, and their main fields."""

for _kind, (_title, _main) in TITLES.items():
    _fields = {
        name: field._replace(symbol=SYMBOLS.get(name, "")) if isinstance(field, Field) else field
        for name, field in FIELDS[_kind].items()
    }
    DESCRIPTIONS[_kind] = Description(_title, _fields, tuple(_main.split()), figures="nets.plots")

SAME_SIZE = {"input_2": ("input", 0), "pair_2": ("pair", 0), "place": ("layer", 1)}
"""Axes whose length is that of another axis plus a number."""


@functools.cache
def hints(kind: str) -> dict[str, tuple[Any, ...]]:
    """The types that each field of a kind of result or record may have."""
    types = get_type_hints((KINDS | RECORDS)[kind]).items()
    unions = {name: get_args(hint) if get_origin(hint) is UnionType else (hint,) for name, hint in types}
    return {name: tuple(get_origin(hint) or hint for hint in union) for name, union in unions.items()}


def of(kind: str, name: str, ndim: int) -> Field:
    """The field of an array, whose name may have parts, such as "K/mean" or "parameters/layers/0/kernel"."""
    top, *parts = name.split("/")
    if record := _record(hints(kind).get(top, ())):
        return of(record, "/".join(parts), ndim)
    about = FIELDS[kind].get(top)
    if isinstance(about, Tree):
        return of_leaf(name, ndim, about)
    if not isinstance(about, Field):
        return Field(tuple(f"{flat(name)}_{i}" for i in range(ndim)), top, "")
    part = {"mean": "", "stderr": "standard error of "}.get(parts[0] if parts else "mean", "")
    return about._replace(long_name=part + about.long_name)


def _record(allowed: tuple[Any, ...]) -> str | None:
    """The kind of record among the types that a field may have."""
    return next((name for name, kind in RECORDS.items() if kind in allowed), None)


def complaints(kind: str, arrays: Mapping[str, np.ndarray]) -> Iterator[str]:
    """What is wrong with the arrays of a result: missing, superfluous, or of the wrong type or shape."""
    yield from _names(kind, arrays)
    sizes: dict[str, int] = {}
    for name, array in arrays.items():
        field = of(kind, name, array.ndim)
        if not field.dtype and array.dtype.kind not in "fiub":
            yield f"{name} is of {array.dtype}"
        if field.dtype and array.dtype != np.dtype(field.dtype):
            yield f"{name} is of {array.dtype}, not {field.dtype}"
        if array.ndim != len(field.axes):
            yield f"{name} has {array.ndim} axes, not {len(field.axes)}"
            continue
        for axis, size in zip(field.axes, array.shape, strict=True):
            if sizes.setdefault(axis, size) != size:
                yield f"{name} has {size} along {axis}, where others have {sizes[axis]}"
    for axis, (other, more) in SAME_SIZE.items():
        if axis in sizes and other in sizes and sizes[axis] != sizes[other] + more:
            yield f"there are {sizes[axis]} along {axis} and {sizes[other]} along {other}"
    if "pair" in sizes and sizes["pair"] != sizes["input"] * (sizes["input"] + 1) // 2:
        yield f"there are {sizes['pair']} pairs of {sizes['input']} inputs"


def _names(kind: str, arrays: Mapping[str, np.ndarray]) -> Iterator[str]:
    expected: set[str] = set()
    for name, allowed in hints(kind).items():
        if dict in allowed:
            parts = {each for each in arrays if each.startswith(f"{name}/")}
        else:
            parts = {f"{name}{part}" for part in _parts(allowed)}
        if not parts or (not parts <= set(arrays) and (type(None) not in allowed or parts & set(arrays))):
            yield f"{name} is missing"
        expected |= parts
    for name in sorted(set(arrays) - expected):
        yield f"{name} is none of its fields"


def _parts(allowed: tuple[Any, ...]) -> set[str]:
    """What the names of the arrays of a field of these types end in."""
    if Estimate in allowed:
        return {f"/{part}" for part in Estimate._fields}
    if record := _record(allowed):
        return {f"/{name}{part}" for name, types in hints(record).items() for part in _parts(types)}
    return {""}


def value(allowed: tuple[Any, ...], content: Any) -> Any:
    """The value of a field of these types, from its array or nested dictionary of arrays."""
    if content is None:
        return None
    if Estimate in allowed:
        return Estimate(**content)
    if record := _record(allowed):
        return RECORDS[record](**{name: value(types, content[name]) for name, types in hints(record).items()})
    return float(content) if float in allowed else content
