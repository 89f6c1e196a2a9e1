"""Small records of every public kind, made from arrays without any computation."""

import inspect
import types
import typing
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import eft
import nets
from eft.criticality.candidates import Candidate
from eft.recipes.learning_rates import Rates
from eft.recipes.start import StartingPoint
from eft.records import DESCRIPTIONS, Field, Part, Rows, Tree
from nets.comparison import Comparison
from nets.initialization import ControlledMeasurement, NTKMeasurement
from nets.models import Factor, LayerReport
from nets.models.theory import Prediction

SIZES = {
    "layer": 4, "input": 3, "input_2": 3, "input_3": 3, "input_4": 3, "pair": 6, "pair_2": 6, "place": 5,
    "moment": 3, "power": 2, "term": 3, "output": 2, "test_input": 3, "test_input_2": 3, "train_input": 3,
    "sample": 2, "member": 6, "snapshot": 3, "width": 4, "cw": 5, "cb": 3, "point": 4, "end": 2,
    "condition": 4,
}  # fmt: skip
"""Lengths of axes."""

PUBLIC = {
    f"{package.__name__}.{name}": getattr(package, name)
    for package in (eft, nets)
    for name in package.__all__
    if inspect.isclass(getattr(package, name)) and hasattr(getattr(package, name), "_fields")
}
PARTS = (Candidate, Rates, StartingPoint, Comparison, LayerReport, Prediction, Factor)
PARTS = (*PARTS, ControlledMeasurement, NTKMeasurement)
PUBLIC |= {f"{kind.__module__.split('.')[0]}.{kind.__name__}": kind for kind in PARTS}
"""Every public record, and those that are fields of others."""


def made(kind: type, batch: tuple[int, ...] = (), seed: int = 0) -> Any:
    """A record of this kind, with these axes "..." and without what may be missing of other axes."""
    if kind is nets.TrainingComparison:
        batch = (SIZES["snapshot"],)
    rng, about = np.random.default_rng(seed), DESCRIPTIONS[kind.__name__]
    hints = typing.get_type_hints(kind, include_extras=True)
    return kind(**{name: _value(rng, hints[name], about.fields[name], batch) for name in kind._fields})


def _value(rng: np.random.Generator, hint: Any, entry: Any, batch: tuple[int, ...]) -> Any:
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    record = next((each for each in kinds if hasattr(each, "_fields")), None)
    if isinstance(entry, Part):
        return made(record, batch)
    if isinstance(entry, Rows):
        (each, *_) = typing.get_args(hint)
        return tuple(made(each, seed=seed) for seed in range(3))
    if isinstance(entry, Tree):
        return {"layers": {0: {"kernel": rng.random((SIZES["member"], 2, 4))}}}
    if record is eft.Activation or eft.Activation in kinds:
        return eft.activation("tanh")
    if entry is None:
        return made(record) if record else ()
    if str in kinds:
        return "words"
    if bool in kinds:
        return True
    if int in kinds:
        return 3
    if typing.get_origin(kinds[0]) is dict or Mapping in kinds:
        return {f"{i}": 0.1 * i for i in range(SIZES["condition"])}
    shape = _shape(entry, batch)
    array = next((each for each in kinds if hasattr(each, "array_type")), None)
    if array is not None and "int" in array.dtypes[0]:
        return np.asarray(rng.integers(0, 2, shape), array.dtypes[0])
    if array is not None and array.array_type is jax.Array:
        return jnp.asarray(_numbers(rng, entry, shape))
    if record is nets.Estimate:
        return nets.Estimate(1 + rng.random(shape), 0.1 * rng.random(shape))
    if float in kinds:
        return float(rng.random())
    return _numbers(rng, entry, shape)


def _numbers(rng: np.random.Generator, entry: Field, shape: tuple[int, ...]) -> np.ndarray:
    if "whether" in entry.long_name:
        return np.ones(shape, bool)
    values = 1 + rng.random(shape)
    return np.sort(values) if len(shape) == 1 else values


def _shape(entry: Field, batch: tuple[int, ...]) -> tuple[int, ...]:
    fixed = tuple(SIZES[axis] for axis in entry.axes if axis != "..." and not axis.endswith("?"))
    return (*batch, *fixed) if "..." in entry.axes else fixed
