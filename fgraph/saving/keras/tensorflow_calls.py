"""TensorFlow's functions in graphs of Keras 2, with TensorFlow's argument names."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Mapping
from typing import Any

from ... import activations, ops
from ...errors import LoadError
from ...graph import SymbolicSize
from .tensorflow_shapes import ON_SHAPES, Sizes

_CLASSES = ("TFOpLambda", "SlicingOpLambda")

# name in TensorFlow, or "name=function" where this package has another name for it
_ELEMENTWISE = """
    abs=absolute acos=arccos acosh=arccosh asin=arcsin asinh=arcsinh atan=arctan atanh=arctanh
    ceil cos cosh exp expm1 floor log log1p logical_not
    negative rsqrt sigmoid sign sin sinh softplus sqrt square tan tanh erf is_nan=isnan is_inf=isinf
    is_finite=isfinite reciprocal round zeros_like ones_like
"""
_OF_TWO = """
    add subtract multiply divide truediv=true_divide floordiv=floor_divide floormod=mod mod=mod
    pow=power maximum minimum equal not_equal greater greater_equal less less_equal logical_and
    logical_or logical_xor atan2=arctan2 squared_difference
"""
_REDUCTIONS = "mean sum max min prod any all logsumexp std variance=var"
_UNITS = "relu relu6 elu selu sigmoid tanh softplus softsign"


def is_call(written: Mapping[str, Any]) -> bool:
    """Return whether an object in a graph is a call of a TensorFlow function."""
    return written.get("class_name") in _CLASSES


def function_of(written: Mapping[str, Any], where: str) -> Callable[..., Any]:
    """Return the equivalent of a TensorFlow function.

    Raises:
        LoadError: it is not in the table.
    """
    config = written.get("config")
    name = config.get("function") if isinstance(config, dict) else None
    found = _TABLE.get(name) if isinstance(name, str) else None
    if found is None:
        raise LoadError(
            f"{where}: TensorFlow's function {name!r:.60} is not known here; known are "
            f"{', '.join(sorted(_TABLE))}"
        )
    parameters = inspect.signature(found).parameters

    def call(*args: Any, **kwargs: Any) -> Any:
        given = {key: value for key, value in kwargs.items() if key != "name" and (
            key in parameters or value is not None)}  # fmt: skip
        unknown = [key for key in given if key not in parameters]
        if unknown:
            raise LoadError(f"{where}: {name} with the argument {unknown[0]!r:.40} is not known")
        return found(*args, **given)

    return call


def _names(written: str) -> list[tuple[str, str]]:
    pairs = [word.partition("=") for word in written.split()]
    return [(name, own or name) for name, _, own in pairs]


def _of_one(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(x: Any, dtype: Any = None, optimize: Any = None) -> Any:
        return function(x)

    return call


def _of_two(function: Callable[..., Any]) -> Callable[..., Any]:
    on_sizes = _ON_SIZES.get(function.__name__)

    def call(x: Any, y: Any) -> Any:
        if on_sizes is not None and all(isinstance(v, (int, SymbolicSize)) for v in (x, y)):
            return on_sizes(x, y)
        return function(x, y)

    return call


def _reduction(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(input_tensor: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return function(input_tensor, axis=_axes(axis), keepdims=keepdims)

    return call


def _unit(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(features: Any) -> Any:
        return function(features)

    return call


def _axes(axis: Any) -> Any:
    return tuple(axis) if isinstance(axis, list) else axis


def _transpose(a: Any, perm: Any = None, conjugate: bool = False) -> Any:
    return ops.transpose(a, axes=perm)


def _expand_dims(input: Any, axis: Any) -> Any:
    return ops.expand_dims(input, axis)


def _squeeze(input: Any, axis: Any = None, squeeze_dims: Any = None) -> Any:
    return ops.squeeze(input, axis=_axes(axis if squeeze_dims is None else squeeze_dims))


def _concat(values: Any, axis: int) -> Any:
    return ops.concatenate(values, axis=axis)


def _stack(values: Any, axis: int = 0) -> Any:
    return ops.stack(values, axis=axis)


def _unstack(value: Any, num: int | None = None, axis: int = 0) -> Any:
    return ops.unstack(value, num=num, axis=axis)


def _split(value: Any, num_or_size_splits: Any, axis: int = 0, num: int | None = None) -> Any:
    if isinstance(num_or_size_splits, int):
        return ops.split(value, num_or_size_splits, axis=axis)
    ends = [sum(num_or_size_splits[: k + 1]) for k in range(len(num_or_size_splits) - 1)]
    return ops.split(value, ends, axis=axis)


def _repeat(input: Any, repeats: Any, axis: int | None = None) -> Any:
    return ops.repeat(input, repeats, axis=axis)


def _reverse(tensor: Any, axis: Any) -> Any:
    return ops.flip(tensor, axis=_axes(axis))


def _pad(tensor: Any, paddings: Any, mode: str = "CONSTANT", constant_values: Any = 0) -> Any:
    if mode.upper() == "CONSTANT":
        return ops.pad(tensor, paddings, constant_values=constant_values)
    return ops.pad(tensor, paddings, mode=mode.lower())


def _gather(
    params: Any, indices: Any, validate_indices: Any = None, axis: int | None = None,
    batch_dims: int = 0,
) -> Any:  # fmt: skip
    if batch_dims:
        raise LoadError(f"gather with batch_dims={batch_dims} is not known here")
    return ops.take(params, indices, axis=axis or 0)


def _cast(x: Any, dtype: Any) -> Any:
    return ops.cast(x, dtype)


def _where(condition: Any, x: Any = None, y: Any = None) -> Any:
    return ops.where(condition, x, y)


def _clip(t: Any, clip_value_min: Any, clip_value_max: Any) -> Any:
    return ops.clip(t, clip_value_min, clip_value_max)


def _matmul(a: Any, b: Any, transpose_a: bool = False, transpose_b: bool = False) -> Any:
    a, b = (ops.swapaxes(x, -1, -2) if swap else x
            for x, swap in ((a, transpose_a), (b, transpose_b)))  # fmt: skip
    return ops.matmul(a, b)


def _softmax(logits: Any, axis: int | None = None, dim: int | None = None) -> Any:
    return ops.softmax(logits, axis=-1 if axis is None else axis)


def _log_softmax(logits: Any, axis: int | None = None, dim: int | None = None) -> Any:
    return ops.log_softmax(logits, axis=-1 if axis is None else axis)


def _leaky_relu(features: Any, alpha: float = 0.2) -> Any:
    return activations.leaky_relu(features, alpha)


def _gelu(features: Any, approximate: bool = False) -> Any:
    return activations.gelu(features, approximate)


def _silu(features: Any, beta: float = 1.0) -> Any:
    return activations.silu(features) if beta == 1 else features * activations.sigmoid(
        beta * features)  # fmt: skip


def _l2_normalize(x: Any, axis: Any = None, epsilon: float = 1e-12, dim: Any = None) -> Any:
    squares = ops.sum(ops.square(x), axis=_axes(axis if dim is None else dim), keepdims=True)
    return x * ops.rsqrt(ops.maximum(squares, epsilon))


def _divide_no_nan(x: Any, y: Any) -> Any:
    return ops.divide_no_nan(x, y)


def _argmax(input: Any, axis: int | None = None, output_type: Any = None) -> Any:
    return ops.cast(ops.argmax(input, axis=axis or 0), output_type or "int64")


def _argmin(input: Any, axis: int | None = None, output_type: Any = None) -> Any:
    return ops.cast(ops.argmin(input, axis=axis or 0), output_type or "int64")


def _cumsum(x: Any, axis: int = 0, exclusive: bool = False, reverse: bool = False) -> Any:
    x = ops.flip(x, axis=axis) if reverse else x
    found = ops.cumsum(x, axis=axis) - (x if exclusive else 0)
    return ops.flip(found, axis=axis) if reverse else found


def _one_hot(
    indices: Any, depth: int, on_value: Any = None, off_value: Any = None,
    axis: int | None = None, dtype: Any = None,
) -> Any:  # fmt: skip
    if on_value is not None or off_value is not None:
        raise LoadError("one_hot with on_value= or off_value= is not known here")
    return ops.one_hot(indices, depth, axis=-1 if axis is None else axis, dtype=dtype)


def _identity(input: Any) -> Any:
    return +input


def _stop_gradient(input: Any) -> Any:
    return ops.stop_gradient(input)


def _norm(tensor: Any, ord: Any = "euclidean", axis: Any = None, keepdims: bool = False) -> Any:
    if ord != "euclidean":
        raise LoadError(f"norm with ord={ord!r} is not known here")
    squares = ops.sum(ops.square(tensor), axis=_axes(axis), keepdims=bool(keepdims))
    return ops.sqrt(squares)


def _resize(
    images: Any, size: Any, method: str = "bilinear", preserve_aspect_ratio: bool = False,
    antialias: bool = False,
) -> Any:  # fmt: skip
    if preserve_aspect_ratio or method not in ("bilinear", "nearest", "bicubic"):
        raise LoadError(f"image.resize with method={method!r} is not known here")
    return ops.image.resize(images, size, interpolation=method, antialias=antialias,
                            data_format="channels_last")  # fmt: skip


def _item(tensor: Any, slice_spec: Any) -> Any:
    given = slice_spec if isinstance(slice_spec, (list, tuple)) else [slice_spec]
    parts = [
        slice(part.get("start"), part.get("stop"), part.get("step")) if isinstance(part, dict)
        else part for part in given
    ]  # fmt: skip
    if isinstance(tensor, Sizes):
        return tensor[parts[0]]
    return ops.get_item(tensor, tuple(parts))


_ON_SIZES = {"add": operator.add, "subtract": operator.sub, "multiply": operator.mul,
             "floor_divide": operator.floordiv, "mod": operator.mod}  # fmt: skip


def _table() -> dict[str, Callable[..., Any]]:
    found: dict[str, Callable[..., Any]] = {}
    for name, own in _names(_ELEMENTWISE):
        found[name] = found[f"math.{name}"] = _of_one(getattr(ops, own))
    for name, own in _names(_OF_TWO):
        made = _of_two(_squared_difference if own == "squared_difference" else getattr(ops, own))
        found[name] = found[f"math.{name}"] = found[f"__operators__.{name}"] = made
    for name, own in _names(_REDUCTIONS):
        made = _reduction(getattr(ops, own))
        found[f"reduce_{name}"] = found[f"math.reduce_{name}"] = made
    for name, own in _names(_UNITS):
        found[f"nn.{name}"] = _unit(getattr(activations, own))
    return found | ON_SHAPES | {
        "transpose": _transpose, "compat.v1.transpose": _transpose,
        "expand_dims": _expand_dims, "squeeze": _squeeze, "compat.v1.squeeze": _squeeze,
        "concat": _concat, "stack": _stack, "unstack": _unstack, "split": _split, 
        "repeat": _repeat, "reverse": _reverse, "pad": _pad, "compat.v1.pad": _pad,
        "gather": _gather, "compat.v1.gather": _gather, "cast": _cast, "where": _where,
        "clip_by_value": _clip, "linalg.matmul": _matmul, "nn.softmax": _softmax,
        "nn.log_softmax": _log_softmax, "nn.leaky_relu": _leaky_relu, "nn.gelu": _gelu,
        "nn.silu": _silu, "nn.swish": _silu, "math.l2_normalize": _l2_normalize,
        "nn.l2_normalize": _l2_normalize, "linalg.l2_normalize": _l2_normalize,
        "math.divide_no_nan": _divide_no_nan, "math.argmax": _argmax, "argmax": _argmax,
        "math.argmin": _argmin, "math.cumsum": _cumsum, "one_hot": _one_hot,
        "identity": _identity, "stop_gradient": _stop_gradient, "norm": _norm,
        "linalg.norm": _norm, "image.resize": _resize, "__operators__.getitem": _item,
        "_slice_helper": _item,
    }  # fmt: skip


def _squared_difference(x: Any, y: Any) -> Any:
    return ops.square(x - y)


_TABLE = _table()
