"""The layers of a flow at several inputs, one after another."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from eft.finite_width.input_products import Rules

MAX_DOUBT = {8: 1e-10, 4: 1e-5}
"""Error of expectations at two inputs beyond which careful rules are used, by bytes per number."""


ACCURACY = {8: 1e-4, 4: 1e-3}
"""Estimated relative error of the expectations up to which a layer counts as valid, by bytes per number."""


def by_rules(flow_by: Callable, rules: Rules) -> Any:
    """The fields of `flow_by(rules)`, the last but one the error, without the last, the doubt.

    If the doubt is large, by careful rules; if then the error is too large, by finer ones, as for a steep σ.
    """
    *fields, doubt = flow_by(rules)
    size = doubt.dtype.itemsize
    if rules.pairs is not None and not doubt.max() <= MAX_DOUBT[size]:
        rules = rules.careful()
        *fields, doubt = flow_by(rules)
    if rules.products is not None and not fields[-1].max() <= ACCURACY[size]:
        *fields, doubt = flow_by(rules.finer())
    return fields


def along_layers(layer: Callable, record: Callable, start: Any, along: Any) -> Any:
    """What is recorded of the state at each layer, with what is known of it, `along`.

    `layer` makes the state at the next layer; it is not evaluated at the last, after which none comes.
    """

    def step(now, at):
        return layer(now, at), record(now, at)

    last, flow = lax.scan(step, start, jax.tree.map(lambda a: a[:-1], along))
    output = record(last, jax.tree.map(lambda a: a[-1], along))
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b[None]]), flow, output)
