"""The catalogue: activations by name, and whatever else a caller may give as an activation."""

import difflib
import functools
import inspect
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from eft import arguments
from eft.activations import formulas, references
from eft.activations.definition import Activation
from eft.activations.derivatives import Function
from eft.activations.families import GELU, Erf, Homogeneous, MRePU, Sine, Snake
from eft.arguments import ArgumentError, ArgumentTypeError

NAMED, WRAPPED = 128, 64
"""Activations that are cached: from the catalogue, and made from functions."""


def _positive(name: str, value: object) -> float:
    number = arguments.real_number(name, value)
    if number <= 0:
        raise ArgumentError(f"{name} must be a finite real number > 0; got {arguments.shown(value)}")
    return number


def _smooth(taylor, name, *, kinks=(), fn=None, family=None) -> Activation:
    fn = fn or (lambda z: taylor(z)[0])
    return Activation(fn, kinks, name, resolved=True, taylor=taylor, family=family)


def _homogeneous(
    name: str, fn: Function, *, degree: int, plus: float = 1.0, minus: float = 0.0
) -> Activation:
    """σ = a₊zᵖ for z > 0, a₋|z|ᵖ for z < 0."""
    kinks = () if degree == 1 and plus == -minus else (0.0,)
    return Activation(fn, kinks, name, resolved=True, family=Homogeneous(degree, plus, minus))


def _moderate(name: str, value: object) -> float:
    """The value as a number whose fourth power must be finite too."""
    number = arguments.real_number(name, value)
    if abs(number) > 1e60:
        raise ArgumentError(f"{name} must be between -1e60 and 1e60; got {arguments.shown(value)}")
    return number


def _rectified(name: str, slope: ArrayLike) -> Activation:
    a = _moderate("slope", slope)
    return _homogeneous(name, lambda z: jnp.where(z > 0, z, a * z), degree=1, minus=-a)


def _sin(frequency: ArrayLike = 1.0) -> Activation:
    w = _moderate("frequency", frequency)
    if w == 0:
        raise ArgumentError("frequency must be a finite real number other than 0; got 0")
    return Activation(
        lambda z: jnp.sin(w * z),
        name="sin" if w == 1 else f"sin(frequency={w:g})",
        resolved=True,
        taylor=lambda z: formulas.sine(z, w),
        family=Sine(w),
    )


def _repu(p: ArrayLike = 2) -> Activation:
    q = arguments.positive_int("p", p, maximum=32)
    return _homogeneous(f"repu(p={q})", lambda z: jnp.maximum(z, 0.0) ** q, degree=q)


def _mrepu(p: ArrayLike = 2) -> Activation:
    q = arguments.positive_int("p", p, maximum=16)
    return Activation(
        lambda z: z * jnp.maximum(z + 1, 0.0) ** q,
        (-1.0,),
        f"mrepu(p={q})",
        resolved=True,
        family=MRePU(q),
    )


def _elu_family(name: str, alpha: float, scale: float) -> Activation:
    return _smooth(functools.partial(formulas.elu, alpha=alpha, scale=scale), name, kinks=(0.0,))


def _piecewise(name: str, kinks: tuple[float, ...], *pieces, fn: Function | None = None) -> Activation:
    """Polynomials between the kinks; see `formulas.piecewise`."""
    return _smooth(
        functools.partial(formulas.piecewise, kinks=kinks, pieces=pieces), name, kinks=kinks, fn=fn
    )


_ZERO, _LINE, _ONE = (0.0, ()), (0.0, (0.0, 1.0)), (0.0, (1.0,))
"""Pieces: 0, z and 1."""


def _soft_shrink(lam: ArrayLike = 0.5) -> Activation:
    c = _positive("lam", lam)
    return _piecewise(f"soft_shrink(lam={c:g})", (-c, c), (-c, (0.0, 1.0)), _ZERO, (c, (0.0, 1.0)))


def _hard_shrink(lam: ArrayLike = 0.5) -> Activation:
    c = _positive("lam", lam)
    fn = lambda z: jnp.where(jnp.abs(z) > c, z, 0.0)  # noqa: E731
    return _piecewise(f"hard_shrink(lam={c:g})", (-c, c), _LINE, _ZERO, _LINE, fn=fn)


def _celu(alpha: ArrayLike = 1.0) -> Activation:
    a = _positive("alpha", alpha)
    return _smooth(functools.partial(formulas.celu, alpha=a), f"celu(alpha={a:g})", kinks=(0.0,))


def _squareplus(b: ArrayLike = 4.0) -> Activation:
    c = _positive("b", b)
    return _smooth(functools.partial(formulas.squareplus, b=c), f"squareplus(b={c:g})")


def _snake(a: ArrayLike = 1.0) -> Activation:
    w = _positive("a", a)
    return Activation(
        lambda z: z + jnp.sin(w * z) ** 2 / w,
        name=f"snake(a={w:g})",
        taylor=functools.partial(formulas.snake, a=w),
        family=Snake(w),
    )


_SELU = (1.6732632423543772848170429916717, 1.0507009873554804934193349852946)

_CATALOGUE: dict[str, Callable[..., Activation]] = {
    "perceptron": lambda: _homogeneous("perceptron", jnp.sign, degree=0, minus=-1.0),
    "sigmoid": lambda: _smooth(formulas.sigmoid, "sigmoid", fn=jax.nn.sigmoid),
    "tanh": lambda: _smooth(formulas.tanh, "tanh", fn=jnp.tanh),
    "sin": _sin,
    "relu": lambda: _homogeneous("relu", jax.nn.relu, degree=1),
    "leaky_relu": lambda slope=0.01: _rectified(f"leaky_relu(slope={slope:g})", slope),
    "prelu": lambda slope=0.25: _rectified(f"prelu(slope={slope:g})", slope),
    "softplus": lambda: _smooth(formulas.softplus, "softplus", fn=jax.nn.softplus),
    "swish": lambda: _smooth(formulas.swish, "swish", fn=jax.nn.swish),
    "gelu": lambda: _smooth(
        formulas.gelu, "gelu", fn=lambda z: jax.nn.gelu(z, approximate=False), family=GELU()
    ),
    "elu": lambda: _elu_family("elu", 1.0, 1.0),
    "selu": lambda: _elu_family("selu", *_SELU),
    "erf": lambda: _smooth(formulas.erf, "erf", family=Erf()),
    "mish": lambda: Activation(jax.nn.mish, (), "mish", resolved=True),
    "softsign": lambda: _smooth(formulas.softsign, "softsign", kinks=(0.0,)),
    "arctan": lambda: _smooth(formulas.arctan, "arctan", fn=jnp.arctan),
    "hard_tanh": lambda: _piecewise("hard_tanh", (-1.0, 1.0), (0.0, (-1.0,)), _LINE, _ONE),
    "linear": lambda: _homogeneous("linear", lambda z: z, degree=1, minus=-1.0),
    "repu": _repu,
    "mrepu": _mrepu,
    "squared_relu": lambda: _homogeneous("squared_relu", lambda z: jnp.maximum(z, 0.0) ** 2, degree=2),
    "relu6": lambda: _piecewise("relu6", (0.0, 6.0), _ZERO, _LINE, (0.0, (6.0,)), fn=jax.nn.relu6),
    "hard_sigmoid": lambda: _piecewise(
        "hard_sigmoid", (-3.0, 3.0), _ZERO, (0.0, (0.5, 1 / 6)), _ONE, fn=jax.nn.hard_sigmoid
    ),
    "hard_swish": lambda: _piecewise(
        "hard_swish", (-3.0, 3.0), _ZERO, (0.0, (0.0, 0.5, 1 / 6)), _LINE, fn=jax.nn.hard_swish
    ),
    "soft_shrink": _soft_shrink,
    "hard_shrink": _hard_shrink,
    "sparse_plus": lambda: _piecewise(
        "sparse_plus", (-1.0, 1.0), _ZERO, (-1.0, (0.0, 0.0, 0.25)), _LINE, fn=jax.nn.sparse_plus
    ),
    "sparse_sigmoid": lambda: _piecewise(
        "sparse_sigmoid", (-1.0, 1.0), _ZERO, (-1.0, (0.0, 0.5)), _ONE, fn=jax.nn.sparse_sigmoid
    ),
    "celu": _celu,
    "squareplus": _squareplus,
    "quick_gelu": lambda: _smooth(formulas.quick_gelu, "quick_gelu"),
    "gelu_tanh": lambda: _smooth(formulas.gelu_tanh, "gelu_tanh"),
    "log_sigmoid": lambda: _smooth(formulas.log_sigmoid, "log_sigmoid", fn=jax.nn.log_sigmoid),
    "snake": _snake,
}
_ALIASES = {
    "silu": "swish",
    "sine": "sin",
    "identity": "linear",
    "sign": "perceptron",
    "atan": "arctan",
    "soft_sign": "softsign",
    "hard_silu": "hard_swish",
    "hardtanh": "hard_tanh",
    "softshrink": "soft_shrink",
    "hardshrink": "hard_shrink",
    "gelu_new": "gelu_tanh",
    "relu2": "squared_relu",
}
_NOT_ELEMENTWISE = (
    *("softmax", "log_softmax", "softmin", "sparsemax", "logsumexp", "standardize"),
    *("maxout", "crelu", "glu", "bilinear", "reglu", "geglu", "swiglu"),
)


def activation_names() -> tuple[str, ...]:
    """The names in the catalogue, `activation(name)` for each; some take parameters.

    >>> "gelu" in eft.activation_names()
    True
    """
    return tuple(_CATALOGUE)


@functools.lru_cache(maxsize=NAMED)
def _named(name: str, parameters: tuple) -> Activation:
    return _CATALOGUE[name](**dict(parameters))


def _key(name: str) -> str:
    key = name.strip().lower().replace("-", "_")
    return _ALIASES.get(key, key)


def activation(name: str, **parameters) -> Activation:
    """The catalogued activation of that name, the same object each time.

    Parameters: `sin(frequency=1)`, `leaky_relu(slope=0.01)`, `prelu(slope=0.25)`, `repu(p=2)`,
    `mrepu(p=2)` = z·max(0, z+1)ᵖ, `celu(alpha=1)`, `soft_shrink(lam=0.5)`, `hard_shrink(lam=0.5)`,
    `squareplus(b=4)`, `snake(a=1)` = z + sin²(az)/a. `gelu` is the exact one, zΦ(z), and `gelu_tanh` its
    approximation, which is what `jax.nn.gelu` computes unless called with `approximate=False` (they differ by
    up to 5e-4); the function `jax.nn.gelu` itself, given as an activation, is `gelu_tanh`. `perceptron` is
    the sign, `quick_gelu` z·sigmoid(1.702z), `squared_relu` max(0, z)². Other common names, such as `silu`,
    `identity` and `hardtanh`, are accepted too.

    The parameters may stand in the text, "name:key=value,key=value", as on the command line; there too,
    "module:function" and "file.py:function" are a function of yours, which is imported.

    Raises ArgumentTypeError if the name is not text or a parameter is unknown, ArgumentError if a parameter's
    value is not allowed, the name is unknown, in which case similar names are listed, or the function cannot
    be imported. Names of functions that mix the entries of a layer, such as `softmax` and `glu`, are refused
    for that reason.

    >>> mrepu = eft.activation("mrepu", p=2)
    >>> print(mrepu.name, mrepu(1.0), eft.activation("mrepu:p=2") is mrepu)
    mrepu(p=2) 4.0 True
    """
    if not isinstance(name, str):
        raise ArgumentTypeError(f"the activation's name must be text; got {arguments.shown(name)}")
    first, colon, rest = name.partition(":")
    key = _key(first)
    if colon and key not in _CATALOGUE and "=" not in rest and rest.strip():
        if parameters:
            raise ArgumentTypeError(f"{name} takes no parameters; got {arguments.shown(parameters)}")
        return as_activation(references.imported("act", name))
    if colon:
        given = references.parameters(name, rest)
        if twice := given.keys() & parameters.keys():
            raise ArgumentTypeError(f"{', '.join(sorted(twice))} must be given once; got {name!r} and more")
        parameters, name = {**given, **parameters}, first
    if key in _NOT_ELEMENTWISE:
        raise ArgumentError(
            f"{name!r} is not a function of one number: it mixes the entries of a layer, and this theory "
            "treats activations that act on each entry alone"
        )
    if key not in _CATALOGUE:
        near = difflib.get_close_matches(key, [*_CATALOGUE, *_ALIASES], n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise ArgumentError(
            f"unknown activation {name!r}; {hint}Known are {', '.join(_CATALOGUE)}, "
            "and any function of an array, through eft.Activation(fn, kinks=(...))"
        )
    allowed = inspect.signature(_CATALOGUE[key]).parameters
    for parameter, value in parameters.items():
        if parameter not in allowed:
            parameter_names = ", ".join(allowed) or "no parameters"
            raise ArgumentTypeError(
                f"{key} takes {parameter_names}; got {parameter}={arguments.shown(value)}"
            )
        if parameter != "p":
            arguments.real_number(parameter, value)
    try:
        return _named(key, tuple(sorted(parameters.items())))
    except TypeError as error:
        if "unhashable" not in str(error):
            raise
        raise ArgumentTypeError(
            f"the parameters of {key} must be plain numbers; got {arguments.shown(parameters)}"
        ) from None


@functools.lru_cache(maxsize=WRAPPED)
def _wrapped(fn: Function) -> Activation:
    # under its own name it would be taken for the exact one
    return activation("gelu_tanh") if fn is jax.nn.gelu else Activation(fn)


def as_activation(act: object) -> Activation:
    """A name, an Activation or a function, as an Activation."""
    if isinstance(act, Activation):
        return act
    if isinstance(act, str):
        return activation(act)
    if not callable(act):
        raise ArgumentTypeError(
            "act must be the name of an activation, an eft.Activation or a function of an array; "
            f"got {arguments.shown(act)}"
        )
    try:
        return _wrapped(act)
    except TypeError as error:
        if "unhashable" not in str(error):
            raise
        return Activation(act)


def as_activations(acts: object) -> tuple[Activation, ...]:
    """Several activations, from a sequence of anything that `as_activation` accepts."""
    if isinstance(acts, str | Activation) or not isinstance(acts, Sequence) or not len(acts):
        raise ArgumentTypeError(
            f"acts must be a non-empty sequence of activations; got {arguments.shown(acts)}"
        )
    return tuple(map(as_activation, acts))
