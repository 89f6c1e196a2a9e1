"""The operations of PyTorch's graphs, ATen, as functions of JAX arrays.

Each takes what the operation of its name takes in PyTorch, in that order. The graph itself says of which
precision each result is. What PyTorch has and a function here does not is a NotImplementedError, in words.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

TRAINING = "in training mode: call module.eval() first"


def _same(x, *_, **__):
    return x


def _axes(dim) -> tuple[int, ...] | None:
    """The axes that PyTorch means: none given are all."""
    given = (dim,) if isinstance(dim, int) else tuple(dim or ())
    return given or None


def _wide(x):
    """In at least 32 bits, in which PyTorch normalizes what has 16."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


# --- arithmetic ---------------------------------------------------------------------------------


def _add(x, y, *, alpha=1):
    return jnp.add(x, y if alpha == 1 else alpha * y)


def _sub(x, y, *, alpha=1):
    return jnp.subtract(x, y if alpha == 1 else alpha * y)


def _rsub(x, y, alpha=1):
    return _sub(y, x, alpha=alpha)


def _div(x, y, *, rounding_mode=None):
    if rounding_mode:
        raise NotImplementedError(f"with rounding_mode={rounding_mode!r}")
    return jnp.true_divide(x, y)


def _linear(x, W, b=None):
    y = jnp.matmul(x, W.T)
    return y if b is None else y + b


def _addmm(b, x, y, *, beta=1, alpha=1):
    product = jnp.matmul(x, y)
    return (b if beta == 1 else beta * b) + (product if alpha == 1 else alpha * product)


def _attention(q, k, v, mask=None, dropout_p=0.0, is_causal=False, *, scale=None, enable_gqa=False):
    """softmax(QKᵀ/√d) V."""
    if dropout_p or enable_gqa:
        raise NotImplementedError(TRAINING if dropout_p else "with enable_gqa=True")
    scores = jnp.matmul(q, jnp.swapaxes(k, -1, -2)) * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    if is_causal:
        mask = jnp.tril(jnp.ones(scores.shape[-2:], bool))
    if mask is not None:
        scores = jnp.where(mask, scores, -jnp.inf) if mask.dtype == bool else scores + mask
    return jnp.matmul(jax.nn.softmax(scores, axis=-1), v)


# --- reductions ---------------------------------------------------------------------------------


def _reduced(function: Callable) -> Callable:
    return lambda x, dim=None, keepdim=False: function(x, axis=_axes(dim), keepdims=keepdim)


def _var(x, dim=None, unbiased=True, keepdim=False, *, correction=1):
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    n = 1 if correction is None else correction
    return jnp.var(x, axis=_axes(dim), ddof=n if unbiased else 0, keepdims=keepdim)


def _std(*args, **settings):
    return jnp.sqrt(_var(*args, **settings))


def _vector_norm(x, ord=2, dim=None, keepdim=False):
    if ord != 2:
        raise NotImplementedError(f"of order {ord}")
    return jnp.sqrt(jnp.sum(x * x, axis=_axes(dim), keepdims=keepdim))


# --- shapes -------------------------------------------------------------------------------------


def _flatten(x, start=0, end=-1):
    start, end = start % x.ndim, end % x.ndim
    return x.reshape(*x.shape[:start], -1, *x.shape[end + 1 :])


def _unflatten(x, dim, shape):
    dim %= x.ndim
    return x.reshape(*x.shape[:dim], *shape, *x.shape[dim + 1 :])


def _expand(x, shape, *, implicit=False):
    old = (1,) * (len(shape) - x.ndim) + x.shape
    return jnp.broadcast_to(x, tuple(m if n == -1 else n for n, m in zip(shape, old, strict=True)))


def _squeeze(x, dim=None):
    given = _axes(dim) if dim is not None else range(x.ndim)
    return jnp.squeeze(x, tuple(axis for axis in given or () if x.shape[axis] == 1))


def _slice(x, dim=0, start=None, end=None, step=1):
    start, end, step = slice(start, end, step).indices(x.shape[dim])
    if (start, end, step) == (0, x.shape[dim], 1):
        return x
    return lax.slice_in_dim(x, start, max(start, end), step, dim)


def _select(x, dim, index):
    return lax.index_in_dim(x, index, dim, keepdims=False)


def _split(x, size, dim=0):
    """Pieces of one size, the last with what is left, or of these sizes."""
    n = x.shape[dim]
    sizes = size if not isinstance(size, int) else [min(size, n - i) for i in range(0, n, size)]
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    return [_slice(x, dim, end - m, end) for m, end in zip(sizes, ends, strict=True)]


def _chunk(x, chunks, dim=0):
    return _split(x, -(-x.shape[dim] // chunks), dim)


def _unbind(x, dim=0):
    return [_select(x, dim, i) for i in range(x.shape[dim])]


def _pad(x, pad, mode="constant", value=None):
    pairs = list(zip(pad[::2], pad[1::2], strict=True))
    widths = [(0, 0)] * (x.ndim - len(pairs)) + pairs[::-1]
    if any(n < 0 for pair in widths for n in pair):
        raise NotImplementedError("that takes away")
    if mode == "constant":
        return jnp.pad(x, widths, constant_values=value or 0)
    return jnp.pad(x, widths, mode={"reflect": "reflect", "replicate": "edge", "circular": "wrap"}[mode])


# --- activations --------------------------------------------------------------------------------


def _prelu(x, slope):
    per_channel = slope.size > 1 and x.ndim > 1
    return jax.nn.leaky_relu(x, slope.reshape(-1, *(1,) * (x.ndim - 2)) if per_channel else slope)


def _elu(x, alpha=1.0, scale=1.0, input_scale=1.0):
    if scale != 1 or input_scale != 1:
        raise NotImplementedError("with a scale: it is selu or celu")
    return jax.nn.elu(x, alpha)


def _softplus(x, beta=1.0, threshold=20.0):
    return jax.nn.softplus(x) if beta == 1 else jax.nn.softplus(beta * x) / beta


def _threshold(x, threshold, value):
    return jnp.where(x > threshold, x, value)


def _dropout(x, p, train):
    if train and p:
        raise NotImplementedError(TRAINING)
    return x


# --- normalization ------------------------------------------------------------------------------


def _normalized(x, axes, eps):
    """(x − mean)/√(variance + ε) over these axes."""
    x = x - x.mean(axes, keepdims=True)
    return x * lax.rsqrt((x * x).mean(axes, keepdims=True) + eps)


def _scaled(x, scale, shift):
    x = x if scale is None else x * scale
    return x if shift is None else x + shift


def _by_channel(weight: Any, ndim: int) -> Any:
    """An array of one number for each channel, the second axis of what it is combined with."""
    return None if weight is None else weight.reshape(-1, *(1,) * (ndim - 2))


def _layer_norm(x, shape, scale=None, shift=None, eps=1e-5, cudnn_enable=True):
    return _scaled(_normalized(_wide(x), tuple(range(-len(shape), 0)), eps), scale, shift)


def _rms_norm(x, shape, scale=None, eps=None):
    eps = float(jnp.finfo(x.dtype).eps) if eps is None else eps
    y = _wide(x)
    mean2 = (y * y).mean(tuple(range(-len(shape), 0)), keepdims=True)
    return _scaled(y * lax.rsqrt(mean2 + eps), scale, None)


def _group_norm(x, groups, scale=None, shift=None, eps=1e-5, cudnn_enabled=True):
    y = _normalized(_wide(x).reshape(x.shape[0], groups, -1), -1, eps).reshape(x.shape)
    return _scaled(y, _by_channel(scale, x.ndim), _by_channel(shift, x.ndim))


def _instance_norm(x, scale, shift, mean, variance, use_input_stats, momentum, eps, cudnn_enabled):
    if not use_input_stats:
        return _batch_norm(x, scale, shift, mean, variance, False, momentum, eps)
    return _group_norm(x, x.shape[1], scale, shift, eps)


def _batch_norm(x, scale, shift, mean, variance, training, momentum, eps, cudnn_enabled=True):
    """With the averages from training."""
    if training:
        raise NotImplementedError(TRAINING)
    mean, variance = (_by_channel(a, x.ndim) for a in (mean, variance))
    y = (_wide(x) - mean) * lax.rsqrt(variance + eps)
    return _scaled(y, _by_channel(scale, x.ndim), _by_channel(shift, x.ndim))


def _batch_norm_no_training(x, scale, shift, mean, variance, momentum, eps):
    return _batch_norm(x, scale, shift, mean, variance, False, momentum, eps), None, None


def _weight_norm(v, g, dim=0):
    """g v/‖v‖, the length over all other axes."""
    return v * (g / _vector_norm(v, dim=[i for i in range(v.ndim) if i != dim], keepdim=True))


# --- convolutions and pooling -------------------------------------------------------------------


def _each(value, n: int, default: Any = None) -> tuple[int, ...]:
    """One number for each of n axes."""
    given = [value] if isinstance(value, int) else list(value)
    given = given or list(_each(default, n))
    return tuple(given * n if len(given) == 1 else given)


def _batched(function: Callable, n: int) -> Callable:
    """The function of (batch, channels, n axes) for (channels, n axes) as well."""

    def of(x, *args, **settings):
        return function(n, x, *args, **settings) if x.ndim == n + 2 else function(n, x[None], *args)[0]

    return of


def _conv(n, x, W, b=None, stride=1, padding=0, dilation=1, groups=1):
    pads = padding.upper() if isinstance(padding, str) else [(p, p) for p in _each(padding, n)]
    y = lax.conv_general_dilated(
        x, W, _each(stride, n), pads, rhs_dilation=_each(dilation, n), feature_group_count=groups
    )
    return y if b is None else y + _by_channel(b, n + 2)


def _windows(n, x, kernel, stride, padding, dilation, ceil_mode):
    """Sizes, strides and dilations of the windows, and the padding before and behind, on all axes."""
    sizes, pads, steps = _each(kernel, n), _each(padding, n), _each(dilation, n)
    strides = _each(stride, n, kernel)
    edges = []
    for length, k, s, p, d in zip(x.shape[2:], sizes, strides, pads, steps, strict=True):
        left = length + 2 * p - d * (k - 1) - 1
        count = left // s + 1
        if ceil_mode and left % s and count * s < length + p:  # a window more, if it starts inside
            count += 1
        edges.append((p, max(p, (count - 1) * s + d * (k - 1) + 1 - length - p)))
    ones = (1, 1)
    return (*ones, *sizes), (*ones, *strides), (*ones, *steps), [(0, 0), (0, 0), *edges]


def _max_pool(n, x, kernel, stride=(), padding=0, dilation=1, ceil_mode=False):
    sizes, strides, steps, edges = _windows(n, x, kernel, stride, padding, dilation, ceil_mode)
    return lax.reduce_window(x, -jnp.inf, lax.max, sizes, strides, edges, window_dilation=steps)


def _avg_pool(n, x, kernel, stride=(), padding=0, ceil_mode=False, include_pad=True, divisor=None):
    sizes, strides, _, edges = _windows(n, x, kernel, stride, padding, 1, ceil_mode)
    total = lax.reduce_window(x, 0.0, lax.add, sizes, strides, edges)
    if divisor:
        return total / divisor
    pads = [(0, 0), (0, 0), *((p, p) for p in _each(padding, n))]
    counted = jnp.pad(jnp.ones((1, 1, *x.shape[2:])), pads, constant_values=float(include_pad))
    behind = [(0, b - a) for (_, b), (a, _) in zip(edges, pads, strict=True)]
    return total / lax.reduce_window(counted, 0.0, lax.add, sizes, strides, behind).astype(x.dtype)


def _adaptive_avg_pool(n, x, shape):
    """Means over the n last axes, of as many pieces of about one length as the result has entries."""
    for axis, m in zip(range(x.ndim - n, x.ndim), _each(shape, n), strict=True):
        length = x.shape[axis]
        if length % m == 0:
            x = x.reshape(*x.shape[:axis], m, length // m, *x.shape[axis + 1 :]).mean(axis + 1)
        else:  # pieces that overlap
            ends = [(i * length // m, -(-(i + 1) * length // m)) for i in range(m)]
            x = jnp.stack([_slice(x, axis, *both).mean(axis) for both in ends], axis)
    return x


def _embedding(weight, indices, padding_idx=-1, scale_grad_by_freq=False, sparse=False):
    return jnp.take(weight, indices, axis=0, mode="clip")


def _spatial(name: str, function: Callable, sizes: Sequence[int] = (1, 2, 3)) -> dict[str, Callable]:
    return {f"{name}{n}d": _batched(function, n) for n in sizes}


def _named(module: Any, names: str) -> dict[str, Callable]:
    """Functions of a module by name; "ours=theirs" where that is another one."""
    pairs = ((name.split("=") * 2)[:2] for name in names.split())
    return {ours: getattr(module, theirs) for ours, theirs in pairs}


OPERATIONS: dict[str, Callable] = {
    **_named(jnp, "abs cos exp expm1 log log1p maximum minimum reciprocal sin sqrt square tanh mul=multiply"),
    **_named(jnp, "matmul bmm=matmul mm=matmul neg=negative pow=power tril triu where arange full ones"),
    **_named(jnp, "eq=equal ge=greater_equal gt=greater le=less_equal lt=less ne=not_equal bitwise_and"),
    **_named(jnp, "bitwise_not bitwise_or logical_and logical_not logical_or zeros __and__=bitwise_and"),
    **_named(jnp, "__or__=bitwise_or permute=transpose t=transpose transpose=swapaxes unsqueeze=expand_dims"),
    **_named(jnp, "mT=matrix_transpose numpy_T=transpose"),
    **_named(jax.nn, "celu glu hardsigmoid=hard_sigmoid hardswish=hard_swish log_sigmoid mish relu relu6"),
    **_named(jax.nn, "selu sigmoid silu"),
    **_named(lax, "erf rsqrt"),
    **dict.fromkeys(["alias", "clone", "contiguous", "detach", "lift_fresh_copy"], _same),
    **dict.fromkeys(["_to_copy", "to", "type_as"], _same),
    **dict.fromkeys(["view", "reshape", "_unsafe_view"], jnp.reshape),
    **_spatial("conv", _conv),
    **_spatial("max_pool", _max_pool),
    **_spatial("avg_pool", _avg_pool),
    **{f"adaptive_avg_pool{n}d": functools.partial(_adaptive_avg_pool, n) for n in (1, 2, 3)},
    "_native_batch_norm_legit_no_training": _batch_norm_no_training,
    "_weight_norm": _weight_norm,
    "add": _add,
    "addmm": _addmm,
    "amax": _reduced(jnp.max),
    "amin": _reduced(jnp.min),
    "batch_norm": _batch_norm,
    "cat": lambda xs, dim=0: jnp.concatenate(xs, dim),
    "chunk": _chunk,
    "clamp": lambda x, min=None, max=None: jnp.clip(x, min, max),
    "clamp_max": lambda x, max: jnp.minimum(x, max),
    "clamp_min": lambda x, min: jnp.maximum(x, min),
    "div": _div,
    "dropout": _dropout,
    "einsum": lambda equation, xs: jnp.einsum(equation, *xs),
    "elu": _elu,
    "embedding": _embedding,
    "expand": _expand,
    "expand_as": lambda x, y: jnp.broadcast_to(x, y.shape),
    "feature_dropout": _dropout,
    "flatten": _flatten,
    "gelu": lambda x, *, approximate="none": jax.nn.gelu(x, approximate=approximate == "tanh"),
    "group_norm": _group_norm,
    "hardshrink": lambda x, lambd=0.5: jnp.where(jnp.abs(x) > lambd, x, 0),
    "hardtanh": lambda x, low=-1.0, high=1.0: jnp.clip(x, low, high),
    "instance_norm": _instance_norm,
    "layer_norm": _layer_norm,
    "leaky_relu": lambda x, slope=0.01: jax.nn.leaky_relu(x, slope),
    "linalg_vector_norm": _vector_norm,
    "linear": _linear,
    "log_softmax": lambda x, dim, dtype=None: jax.nn.log_softmax(x, axis=dim),
    "logsumexp": _reduced(jax.nn.logsumexp),
    "masked_fill": lambda x, mask, value: jnp.where(mask, value, x),
    "mean": _reduced(jnp.mean),
    "pad": _pad,
    "prelu": _prelu,
    "rms_norm": _rms_norm,
    "rsub": _rsub,
    "scaled_dot_product_attention": _attention,
    "select": _select,
    "slice": _slice,
    "softmax": lambda x, dim, dtype=None: jax.nn.softmax(x, axis=dim),
    "softplus": _softplus,
    "softshrink": lambda x, lambd=0.5: x - jnp.clip(x, -lambd, lambd),
    "split": _split,
    "split_with_sizes": _split,
    "squeeze": _squeeze,
    "stack": lambda xs, dim=0: jnp.stack(xs, dim),
    "std": _std,
    "sub": _sub,
    "sum": _reduced(jnp.sum),
    "threshold": _threshold,
    "unbind": _unbind,
    "unflatten": _unflatten,
    "var": _var,
    "view_as": lambda x, y: x.reshape(y.shape),
}
"""By the names of ATen, whatever the overload."""
