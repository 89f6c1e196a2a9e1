"""An activation: a function σ, and what is known about it."""

import dataclasses
import math
from collections.abc import Callable
from weakref import WeakKeyDictionary

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from eft import arguments
from eft.activations.derivatives import Function, nested_derivatives
from eft.activations.elementwise import checked_function, evaluated
from eft.activations.families import Family, Homogeneous
from eft.activations.one_sided import jumps_at
from eft.arguments import ArgumentError, ArgumentTypeError

Derivatives = tuple[jax.Array, ...]


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Activation:
    """An activation σ and what is known about it.

    `fn`: elementwise JAX function. `kinks`: where σ or one of its derivatives jumps (0 need not be
    declared), and the centre of any structure far from 0. Flows, `classify` and similar functions find
    undeclared kinks. `name`: for tables. The other fields have defaults that are valid for every activation.
    `degree`: p if σ(λz) = λᵖσ(z) for λ > 0. `resolved`: a single quadrature rule is known to be accurate and
    `kinks` is complete; no others are searched for. `reach`: |z| up to which `kinks` is complete. `taylor`:
    z → (σ, σ′, σ″, σ‴, σ⁗); default: nested differentiation. `family`: that of `eft.activations.families` to
    which σ belongs, for its closed forms. `found`: those of the kinks that were found rather than declared.
    `state`: the key of what `fn` computes, where kinks have been searched for.

    In a program of JAX an activation is static: it has no leaves.

    Raises ArgumentError or ArgumentTypeError (a ValueError and a TypeError) if `fn` is not a real elementwise
    function of an array, or is not finite on [−8, 8].

    >>> mine = eft.Activation(lambda z: jnp.tanh(z) + jnp.maximum(z - 1, 0), kinks=(1.0,), name="mine")
    >>> print(eft.kernel_flow(mine, 1.0, depth=4).K.round(4))
    [1.     0.6256 0.4076 0.2779]
    """

    fn: Function
    kinks: tuple[float, ...] = ()
    name: str = ""
    _: dataclasses.KW_ONLY
    degree: int | None = None
    resolved: bool = False
    reach: float = math.inf
    taylor: Callable[[jax.Array], Derivatives] | None = None
    family: Family | None = None
    found: tuple[float, ...] = dataclasses.field(default=(), init=False)
    state: tuple | None = dataclasses.field(default=None, init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "kinks", arguments.kink_positions(self.kinks))
        if not isinstance(self.name, str):
            raise ArgumentTypeError(f"name must be text; got {arguments.shown(self.name)}")
        if not self.name:
            object.__setattr__(self, "name", str(getattr(self.fn, "__name__", type(self.fn).__name__)))
        if self.family is not None and not isinstance(self.family, Family):
            raise ArgumentTypeError(
                f"family must be one of eft.activations.families; got {arguments.shown(self.family)}"
            )
        if isinstance(self.family, Homogeneous):
            object.__setattr__(self, "degree", self.family.degree)
        if not self.resolved:
            _check_function(self.fn)

    def __repr__(self) -> str:
        return f"Activation({self.name!r}, kinks={self.kinks})"

    def __call__(self, z: jax.Array) -> jax.Array:
        return self.fn(z)

    def derivatives(self, z: jax.Array) -> Derivatives:
        """σ, σ′, σ″, σ‴, σ⁗ at z; at a kink, those of one side."""
        return self.taylor(z) if self.taylor else nested_derivatives(self.fn, z)

    @property
    def jumps(self) -> tuple[float, ...]:
        """[σ]_c = σ(c⁺) − σ(c⁻) at each kink; computed once of a function that is known not to change."""
        dtype = jnp.result_type(float)
        if not (self.resolved or self.state):
            return jumps_at(self.fn, self.kinks, dtype)
        jumps = _jumps.setdefault(self, {})
        if dtype not in jumps:
            jumps[dtype] = jumps_at(self.fn, self.kinks, dtype)
        return jumps[dtype]


_jumps: WeakKeyDictionary[Activation, dict] = WeakKeyDictionary()

ActivationLike = str | Activation | Function
"""What may be given as an activation: a name, an Activation, or a function of an array."""


def _check_function(fn: object) -> None:
    dtype = jnp.result_type(float)
    checked_function(fn, dtype, "the activation", single=True)
    z = np.linspace(-8.0, 8.0, 257).astype(dtype)
    values = evaluated(jax.jit(lambda z: fn(z)), z)  # type: ignore[operator]
    if isinstance(values, Tracer):
        return
    bad = ~np.isfinite(np.asarray(values))
    if bad.any():
        at = int(bad.argmax())
        raise ArgumentError(f"the activation must be finite on [-8, 8]; at z = {z[at]:g} it is {values[at]}")
