"""Activations with their undeclared kinks found, cached by the function that they compute."""

import copy
from collections import OrderedDict

import numpy as np

from eft.activations.catalogue import as_activation
from eft.activations.definition import Activation
from eft.activations.derivatives import Function, Sampler, nested_derivatives
from eft.activations.fingerprints import fingerprint
from eft.activations.kinks import Kinks, apart, find_kinks
from eft.activations.one_sided import limits, points

MAX_ACTIVATIONS = 64
"""Activations that are cached."""

_activations: OrderedDict[tuple, Activation] = OrderedDict()

MAX_SAMPLERS = 4
"""Samplers that are kept, with what is compiled for them: those of the activations used last."""

_samplers: OrderedDict[tuple, Sampler] = OrderedDict()


def analysed(act: object) -> Activation:
    """A name, an Activation or a function, as an Activation that knows all its kinks.

    Undeclared kinks are searched for once per function, unless it closes over traced values or is known to be
    resolved. The same function yields the same object; once a function, such as a module with parameters, has
    changed, it yields another.
    """
    act = as_activation(act)
    if act.resolved:
        return act
    key_of_fn = fingerprint(act.fn)
    if key_of_fn is None:
        return act
    key = (key_of_fn, act.kinks, act.name, act.degree, act.family, id(act.taylor))
    kept = _activations.get(key)
    # that of another function that computed the same then may compute something else by now, or nothing
    if kept is None or not (kept.fn is act.fn or _computes(kept.fn, key_of_fn)):
        _activations[key] = _with_found_kinks(act, key_of_fn)
        while len(_activations) > MAX_ACTIVATIONS:
            _activations.popitem(last=False)
    _activations.move_to_end(key)
    return _activations[key]


def _computes(fn: Function, key: tuple) -> bool:
    try:
        return fingerprint(fn) == key
    except Exception:  # of a function that is not the caller's
        return False


def _with_found_kinks(act: Activation, state: tuple) -> Activation:
    sampler = Sampler(act.fn, lambda z: nested_derivatives(act.fn, z), act.kinks)
    # a function that rounds z to float32 is a staircase; the spread of the rules shows what this hides
    coarse = sampler.resolution != np.float64
    result = Kinks((), np.inf, ()) if coarse else find_kinks(sampler)
    places = (*result.places, *result.steep, *((0.0,) if _bends_at_zero(sampler) else ()))
    new = [c for c in places if c not in act.kinks and all(abs(c - d) > 1e-9 * abs(d) for d in act.kinks)]
    kinks = apart((*act.kinks, *new))
    # always a new object: what is compiled for it is specific to this state of the function
    complete = copy.copy(act)
    fields = {
        "kinks": kinks,
        "found": tuple(c for c in kinks if c not in act.kinks),
        "reach": min(act.reach, result.reach),
        "state": state,
    }
    for name, value in fields.items():
        object.__setattr__(complete, name, value)
    if not act.taylor:
        _keep((complete, state), sampler.between_cuts(kinks))
    return complete


def _bends_at_zero(sampler: Sampler) -> bool:
    """Whether σ or σ′ jumps at 0, which need not be declared but gives δ functions at two variables."""
    at = points(np.zeros(1), sampler.resolution)
    orders = np.stack(sampler.between(at.z, (0.0,)))
    with np.errstate(all="ignore"):
        jumps = limits(at, orders, np.abs(sampler.between(np.array([-1.0, 1.0]), (0.0,))[0]).max()).jumps
    return bool((jumps[:2] != 0).any())


def sampler_of(act: Activation) -> Sampler:
    """σ, σ′, … at any z, by NumPy: that of the search for kinks, or of an earlier call, if it is kept."""
    key = act, None if act.resolved else act.state or fingerprint(act.fn)
    if key not in _samplers:
        return _keep(key, Sampler(act.fn, act.derivatives, act.kinks))
    _samplers.move_to_end(key)
    return _samplers[key]


def _keep(key: tuple, sampler: Sampler) -> Sampler:
    _samplers[key] = sampler
    while len(_samplers) > MAX_SAMPLERS:
        _samplers.popitem(last=False)
    return sampler
