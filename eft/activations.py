"""Activation functions: the catalogue, and any function of the user's."""

import dataclasses
import difflib
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from eft import arguments
from eft.gaussian import Function, checked_function, jump_at
from eft.moments import Moments, erf_moments, homogeneous_moments, mrepu_moments, sine_moments
from eft.pair_forms import Form, error_function, piecewise_linear, sine
from eft.slopes import SlopeMoments, SlopeTable, homogeneous_slopes, sine_slopes, slope_moments, slope_table
from eft.table import Table, leibniz, nested_derivatives, table, table_moments

Derivatives = tuple[jax.Array, ...]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Activation:
    """An activation σ and what is known of it.

    `fn`: elementwise JAX function. `kinks`: where σ or one of its derivatives jumps (0 need not be
    named); also the centre of structure far from 0. `name`: for tables. The rest has a default
    that always holds. `degree`: p if σ(λz) = λᵖσ(z) for λ > 0. `frequency`: ω if σ = sin ωz.
    `resolved`: one quadrature rule is known to be accurate, no others are run.
    `taylor`: z → (σ, σ′, σ″, σ‴, σ⁗); else by nested differentiation. `closed_form`: K → Moments.
    `slope_form`: K → SlopeMoments. `pair_form`: of two variables, see `pair_forms`.

    Raises TypeError or ValueError if `fn` is not an elementwise real function that is finite on [−8, 8].
    """

    fn: Function
    kinks: tuple[float, ...] = ()
    name: str = ""
    _: dataclasses.KW_ONLY
    degree: int | None = None
    frequency: float | None = None
    resolved: bool = False
    taylor: Callable[[jax.Array], Derivatives] | None = None
    closed_form: Callable[[jax.Array], Moments] | None = None
    slope_form: Callable[[jax.Array], SlopeMoments] | None = None
    pair_form: Form | None = None
    _tables: dict[str, Any] = dataclasses.field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "kinks", arguments.kink_positions(self.kinks))
        if not self.name:
            object.__setattr__(self, "name", getattr(self.fn, "__name__", type(self.fn).__name__))
        if not self.resolved:
            _check_function(self.fn)

    def __repr__(self) -> str:
        return f"Activation({self.name!r}, kinks={self.kinks})"

    def __call__(self, z: jax.Array) -> jax.Array:
        return self.fn(z)

    def derivatives(self, z: jax.Array) -> Derivatives:
        """σ, σ′, σ″, σ‴, σ⁗ at z; at a kink one side's."""
        return self.taylor(z) if self.taylor else nested_derivatives(self.fn, z)

    @property
    def jumps(self) -> tuple[float, ...]:
        """[σ]_c = σ(c⁺) − σ(c⁻) at each kink."""
        return tuple(float(jump_at(self.fn, c, jnp.result_type(float))) for c in self.kinks)

    def table(self, dtype) -> Table | None:
        """What `moments` needs besides K, made once a dtype; None where there is a closed form."""
        return None if self.closed_form else self.nodes(dtype)

    def nodes(self, dtype) -> Table:
        """σ at the nodes of the quadrature, made once a dtype, also where there is a closed form."""
        return self._kept(table, dtype)

    def slope_table(self, dtype) -> SlopeTable | None:
        """What `slopes` needs besides σ′ and K, likewise."""
        return None if self.slope_form else self._kept(slope_table, dtype)

    def _kept(self, make: Callable, dtype) -> Any:
        key = f"{make.__name__} {jnp.dtype(dtype).name}"
        if key in self._tables:
            return self._tables[key]
        made = make(self, dtype)
        if not any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(made)):
            self._tables[key] = made
        return made

    def moments(self, K: jax.Array) -> Moments:
        """The Gaussian expectations of σ at K ≥ 0, in closed form or from the table."""
        return moments(self.closed_form, self.table(K.dtype), K)

    def slopes(self, K: jax.Array) -> SlopeMoments:
        """Those of σ′², by itself and with σ², at K ≥ 0; σ must be continuous."""
        return slopes(self.slope_form, self.slope_table(K.dtype), K)


@functools.partial(jax.jit, static_argnums=0)
def moments(closed_form: Callable[[jax.Array], Moments] | None, table: Table | None, K: jax.Array) -> Moments:
    """`Activation.moments` as a function of arrays: one compiled flow serves every tabulated activation."""
    return closed_form(K) if closed_form else table_moments(table, K)


@functools.partial(jax.jit, static_argnums=0)
def slopes(slope_form: Callable[[jax.Array], SlopeMoments] | None, table: Any, K: jax.Array) -> SlopeMoments:
    """`Activation.slopes` as a function of arrays, likewise."""
    return slope_form(K) if slope_form else slope_moments(table, K)  # type: ignore[arg-type]


def _check_function(fn: object) -> None:
    checked_function(fn, jnp.result_type(float), "the activation")
    z = jnp.linspace(-8.0, 8.0, 257)
    values = fn(z)  # type: ignore[operator]
    if isinstance(values, Tracer):
        return
    bad = ~np.isfinite(np.asarray(values))
    if bad.any():
        at = int(bad.argmax())
        raise ValueError(f"the activation must be finite on [-8, 8]; at z = {z[at]:g} it is {values[at]}")


# --- the catalogue ------------------------------------------------------------------------------


def _tanh(z):
    t, e = jnp.tanh(z), jnp.exp(-2 * jnp.abs(z))
    t1 = 4 * e / (1 + e) ** 2
    t2 = -2 * t * t1
    t3 = -2 * (t1 * t1 + t * t2)
    return t, t1, t2, t3, -2 * (3 * t1 * t2 + t * t3)


def _sigmoid(z):
    s, r = jax.nn.sigmoid(z), jax.nn.sigmoid(-z)
    s1 = s * r
    s2 = s1 * (r - s)
    s3 = s1 * (1 - 6 * s1)
    return s, s1, s2, s3, s2 * (1 - 12 * s1)


def _softplus(z):
    return jax.nn.softplus(z), *_sigmoid(z)[:4]


def _gauss(z):
    """φ = e^{−z²/2}/√2π and three derivatives."""
    p = jnp.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return p, -z * p, (z * z - 1) * p, (3 - z * z) * z * p


def _identity(z):
    zero = jnp.zeros_like(z)
    return z, jnp.ones_like(z), zero, zero, zero


def _swish(z):
    return leibniz(_identity(z), _sigmoid(z))


def _gelu(z):
    return leibniz(_identity(z), (jax.scipy.stats.norm.cdf(z), *_gauss(z)))


def _erf(z):
    y = math.sqrt(2) * z
    return jax.lax.erf(z), *(2 * math.sqrt(2) ** k * d for k, d in enumerate(_gauss(y), start=1))


def _elu(z, alpha=1.0, scale=1.0):
    y = jnp.minimum(z, 0.0)
    e, zero = scale * alpha * jnp.exp(y), jnp.zeros_like(z)
    value = jnp.where(z > 0, scale * z, scale * alpha * jnp.expm1(y))
    return value, jnp.where(z > 0, jnp.asarray(scale, z.dtype), e), *(3 * (jnp.where(z > 0, zero, e),))


def _softsign(z):
    r = 1 / (1 + jnp.abs(z))
    side = jnp.where(z < 0, -1.0, 1.0).astype(z.dtype)
    return z * r, r**2, -2 * side * r**3, 6 * r**4, -24 * side * r**5


def _arctan(z):
    r = 1 / (1 + z * z)
    return (
        jnp.arctan(z),
        r,
        -2 * z * r**2,
        (6 * z * z - 2) * r**3,
        24 * z * (1 - z * z) * r**4,
    )


def _hard_tanh(z):
    zero = jnp.zeros_like(z)
    return jnp.clip(z, -1.0, 1.0), jnp.where(jnp.abs(z) < 1, 1.0, zero), zero, zero, zero


def _number(name: str, value: object) -> float:
    number = np.asarray(arguments.real_array(name, value))
    if number.ndim or not np.isfinite(number):
        raise ValueError(f"{name} must be a finite real number; got {arguments.shown(value)}")
    return float(value)  # type: ignore[arg-type]


def _smooth(taylor, name, *, kinks=(), fn=None) -> Activation:
    fn = fn or (lambda z: taylor(z)[0])
    return Activation(fn, kinks, name, resolved=True, taylor=taylor)


def _homogeneous(
    name: str, fn: Function, *, degree: int, plus: float = 1.0, minus: float = 0.0
) -> Activation:
    """σ = a₊zᵖ for z > 0, a₋|z|ᵖ for z < 0."""
    return Activation(
        fn,
        () if degree == 1 and plus == -minus else (0.0,),
        name,
        degree=degree,
        resolved=True,
        closed_form=functools.partial(homogeneous_moments, degree=degree, plus=plus, minus=minus),
        slope_form=functools.partial(homogeneous_slopes, degree=degree, plus=plus, minus=minus)
        if degree
        else None,
        pair_form=piecewise_linear(plus, -minus) if degree == 1 else None,
    )


def _rectified(name: str, slope: object) -> Activation:
    a = _number("slope", slope)
    return _homogeneous(name, lambda z: jnp.where(z > 0, z, a * z), degree=1, minus=-a)


def _sin(frequency: object = 1.0) -> Activation:
    w = _number("frequency", frequency)
    if w == 0:
        raise ValueError("frequency must be a finite real number other than 0; got 0")
    return Activation(
        lambda z: jnp.sin(w * z),
        name="sin" if w == 1 else f"sin(frequency={w:g})",
        frequency=w,
        resolved=True,
        taylor=lambda z: _sine_derivatives(z, w),
        closed_form=functools.partial(sine_moments, frequency=w),
        slope_form=functools.partial(sine_slopes, frequency=w),
        pair_form=sine(w),
    )


def _sine_derivatives(z, w):
    s, c = jnp.sin(w * z), jnp.cos(w * z)
    return s, w * c, -(w**2) * s, -(w**3) * c, w**4 * s


def _erf_activation() -> Activation:
    tabulated = _smooth(_erf, "erf")
    return dataclasses.replace(
        tabulated, closed_form=lambda K: erf_moments(K, tabulated.moments(K)), pair_form=error_function()
    )


def _repu(p: object = 2) -> Activation:
    q = arguments.positive_int("p", p, maximum=32)
    return _homogeneous(f"repu(p={q})", lambda z: jnp.maximum(z, 0.0) ** q, degree=q)


def _mrepu(p: object = 2) -> Activation:
    q = arguments.positive_int("p", p, maximum=16)
    return Activation(
        lambda z: z * jnp.maximum(z + 1, 0.0) ** q,
        (-1.0,),
        f"mrepu(p={q})",
        resolved=True,
        closed_form=functools.partial(mrepu_moments, power=q),
    )


def _elu_family(name: str, alpha: float, scale: float) -> Activation:
    return _smooth(functools.partial(_elu, alpha=alpha, scale=scale), name, kinks=(0.0,))


_SELU = (1.6732632423543772848170429916717, 1.0507009873554804934193349852946)

_CATALOGUE: dict[str, Callable[..., Activation]] = {
    "perceptron": lambda: _homogeneous("perceptron", jnp.sign, degree=0, minus=-1.0),
    "sigmoid": lambda: _smooth(_sigmoid, "sigmoid", fn=jax.nn.sigmoid),
    "tanh": lambda: _smooth(_tanh, "tanh", fn=jnp.tanh),
    "sin": _sin,
    "relu": lambda: _homogeneous("relu", jax.nn.relu, degree=1),
    "leaky_relu": lambda slope=0.01: _rectified(f"leaky_relu(slope={slope:g})", slope),
    "prelu": lambda slope=0.25: _rectified(f"prelu(slope={slope:g})", slope),
    "softplus": lambda: _smooth(_softplus, "softplus", fn=jax.nn.softplus),
    "swish": lambda: _smooth(_swish, "swish", fn=jax.nn.swish),
    "gelu": lambda: _smooth(_gelu, "gelu", fn=lambda z: jax.nn.gelu(z, approximate=False)),
    "elu": lambda: _elu_family("elu", 1.0, 1.0),
    "selu": lambda: _elu_family("selu", *_SELU),
    "erf": _erf_activation,
    "mish": lambda: Activation(jax.nn.mish, (), "mish", resolved=True),
    "softsign": lambda: _smooth(_softsign, "softsign", kinks=(0.0,)),
    "arctan": lambda: _smooth(_arctan, "arctan", fn=jnp.arctan),
    "hard_tanh": lambda: _smooth(_hard_tanh, "hard_tanh", kinks=(-1.0, 1.0)),
    "linear": lambda: _homogeneous("linear", lambda z: z, degree=1, minus=-1.0),
    "repu": _repu,
    "mrepu": _mrepu,
}
_ALIASES = {"silu": "swish", "sine": "sin", "identity": "linear", "sign": "perceptron", "atan": "arctan"}


def activation_names() -> tuple[str, ...]:
    """The names in the catalogue, `activation(name)` for each; `repu` and `mrepu` take `p`."""
    return tuple(_CATALOGUE)


@functools.lru_cache(maxsize=512)
def _named(name: str, parameters: tuple) -> Activation:
    return _CATALOGUE[name](**dict(parameters))


def activation(name: str, **parameters) -> Activation:
    """The catalogued activation of that name, the same object each time.

    Parameters: `sin(frequency=1)`, `leaky_relu(slope=0.01)`, `prelu(slope=0.25)`, `repu(p=2)`,
    `mrepu(p=2)` = z·max(0, z+1)ᵖ. `gelu` is the exact one, `perceptron` the sign.

    Raises TypeError if the name is not text or a parameter is unknown, ValueError if the name or a
    parameter's value is; near names are listed.
    """
    if not isinstance(name, str):
        raise TypeError(f"the activation's name must be text; got {arguments.shown(name)}")
    key = name.strip().lower().replace("-", "_")
    key = _ALIASES.get(key, key)
    if key not in _CATALOGUE:
        near = difflib.get_close_matches(key, [*_CATALOGUE, *_ALIASES], n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise ValueError(
            f"unknown activation {name!r}; {hint}Known are {', '.join(_CATALOGUE)}, "
            "and any function of an array, through eft.Activation(fn, kinks=(...))"
        )
    allowed = _CATALOGUE[key].__code__.co_varnames[: _CATALOGUE[key].__code__.co_argcount]
    for parameter, value in parameters.items():
        if parameter not in allowed:
            raise TypeError(f"{key} takes {', '.join(allowed) or 'no parameters'}; got {parameter}={value!r}")
        if parameter != "p":
            _number(parameter, value)
    try:
        return _named(key, tuple(sorted(parameters.items())))
    except TypeError as error:
        if "unhashable" not in str(error):
            raise
        raise TypeError(f"the parameters of {key} must be plain numbers; got {parameters}") from None


@functools.lru_cache(maxsize=512)
def _wrapped(fn: Function) -> Activation:
    return Activation(fn)


def as_activation(act: "str | Activation | Function") -> Activation:
    """A name, an Activation or a function, as an Activation."""
    if isinstance(act, Activation):
        return act
    if isinstance(act, str):
        return activation(act)
    if not callable(act):
        raise TypeError(
            "act must be the name of an activation, an eft.Activation or a function of an array; "
            f"got {arguments.shown(act)}"
        )
    try:
        return _wrapped(act)
    except TypeError as error:
        if "unhashable" not in str(error):
            raise
        return Activation(act)


def as_activations(acts: "Sequence[str | Activation | Function]") -> tuple[Activation, ...]:
    """Several, from any sequence of what `as_activation` takes."""
    if isinstance(acts, str | Activation) or not isinstance(acts, Sequence) or not len(acts):
        raise TypeError(f"acts must be a non-empty sequence of activations; got {arguments.shown(acts)}")
    return tuple(map(as_activation, acts))
