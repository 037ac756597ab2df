"""torch functions that compute numbers, as Keras's operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ....errors import SaveError
from ....graph import Node, Ref
from ....graph.torch_functions import torch_name
from .keras_op import Found, KerasOp, cast_op, dtype_of_value, first_spec, numpy_op, shape_of


def _truth(kind: str, other: str) -> Callable[..., Found]:
    """Choose between the operations on truth values and on bits."""

    def made(node: Node, *xs: Any) -> KerasOp:
        if all(dtype_of_value(x) in (torch.bool, None) for x in xs):
            return numpy_op(kind, *xs)
        return numpy_op(other, *xs)

    return made


def _clamped(node: Node, x: Any, *args: Any, **kwargs: Any) -> KerasOp:
    low = kwargs.get("min", args[0] if args else None)
    high = kwargs.get("max", args[1] if len(args) > 1 else None)
    if all(isinstance(bound, (int, float)) for bound in (low, high)):
        return numpy_op("Clip", x, x_min=low, x_max=high)
    made = x if low is None else numpy_op("Maximum", x, low)
    return made if high is None else numpy_op("Minimum", made, high)


def _scaled(kind: str) -> Callable[..., Found]:
    """Return `x + alpha * y`, or with a minus."""

    def made(node: Node, x: Any, other: Any, alpha: Any = 1) -> KerasOp:
        return numpy_op(kind, x, other if alpha == 1 else numpy_op("Multiply", other, alpha))

    return made


def _reversed(kind: str) -> Callable[..., Found]:
    return lambda node, x, other: numpy_op(kind, other, x)


def _divided(node: Node, x: Any, other: Any, rounding_mode: str | None = None) -> KerasOp:
    if rounding_mode == "trunc":
        made = numpy_op("Trunc", numpy_op("TrueDivide", x, other))
        return (
            made
            if (dtype_of_value(x) or torch.int64).is_floating_point
            else cast_op(made, first_spec(node).dtype)
        )
    return numpy_op("FloorDivide" if rounding_mode else "TrueDivide", x, other)


def _where(node: Node, condition: Any, *values: Any, **kwargs: Any) -> KerasOp:
    values = (*values, *(kwargs[key] for key in ("input", "self", "other") if key in kwargs))
    if len(values) != 2:
        raise SaveError("with a condition alone, the size of its result is known at run time only")
    return numpy_op("Where", condition, *values)


def _masked(node: Node, x: Any, mask: Any, value: Any) -> KerasOp:
    return numpy_op("Where", mask, value, x)


def _einsum(node: Node, equation: str, *operands: Any) -> KerasOp:
    given = (
        operands[0] if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else operands
    )
    if not isinstance(equation, str):
        raise SaveError("einsum with lists of axes: write the equation as a text")
    return KerasOp("numpy", "Einsum", {"subscripts": equation}, *given)


def _gelu(node: Node, x: Any, approximate: str = "none") -> KerasOp:
    return KerasOp("nn", "Gelu", {"approximate": approximate == "tanh"}, x)


def _hardtanh(node: Node, x: Any, min_val: float = -1.0, max_val: float = 1.0, inplace: Any = None
              ) -> KerasOp:  # fmt: skip
    return numpy_op("Clip", x, x_min=float(min_val), x_max=float(max_val))


def _extreme(kind: str, pair: str) -> Callable[..., Found]:
    """Return `x.max()`, `torch.max(x, y)`, or the values and indices of `x.max(dim)`."""

    def made(node: Node, x: Any, *args: Any, **kwargs: Any) -> Found:
        second = args[0] if args else kwargs.get("other", kwargs.get("dim"))
        if second is None:
            return numpy_op(kind, x)
        if type(second) is Ref or isinstance(second, Tensor):
            return numpy_op(pair, x, second)
        kept = args[1] if len(args) > 1 else kwargs.get("keepdim", False)
        return [
            numpy_op(name, x, axis=second, keepdims=kept) for name in (kind, f"Arg{kind.lower()}")
        ]

    return made


def _sorted(node: Node, x: Any, dim: int = -1, descending: bool = False, **kwargs: Any) -> Found:
    values = numpy_op("Sort", x, axis=dim)
    if not descending:
        return [values, numpy_op("Argsort", x, axis=dim)]
    return [numpy_op("Flip", values, axis=dim), "Keras sorts upwards: use ops.argsort(-x)"]


def _both(second: str, first: str = "Mean") -> Callable[..., Found]:
    """Return the result of `torch.var_mean` or `torch.std_mean`."""

    def made(node: Node, x: Any, *args: Any, **kwargs: Any) -> Found:
        dim = args[0] if args else kwargs.get("dim")
        spread = _deviation(second)(node, x, *args, **kwargs)
        return [spread, numpy_op(first, x, axis=dim, keepdims=kwargs.get("keepdim", False))]  # type: ignore[list-item]

    return made


def _deviation(kind: str) -> Callable[..., Found]:
    """Return variance or standard deviation, which Keras does not correct."""

    def made(node: Node, x: Any, dim: Any = None, unbiased: Any = True, keepdim: bool = False,
             correction: Any = None) -> KerasOp:  # fmt: skip
        if isinstance(dim, bool):
            dim, unbiased = None, dim
        by = correction if correction is not None else int(bool(unbiased))
        plain_config = {"axis": list(dim) if isinstance(dim, (tuple, list)) else dim,
                        "keepdims": keepdim}  # fmt: skip
        found = KerasOp("numpy", kind, plain_config, x)
        if by == 0:
            return found
        shape = shape_of(x)
        axes = range(len(shape)) if dim is None else [dim] if isinstance(dim, int) else dim
        count = 1
        for axis in axes:
            if shape[axis] is None:
                raise SaveError("it divides by a size of run time less one: pass correction=0")
            count *= shape[axis] or 0
        if count <= by:
            raise SaveError(f"it divides by {count - by}: pass correction=0")
        factor = count / (count - by)
        return numpy_op("Multiply", found, factor if kind == "Var" else factor**0.5)

    return made


def _product(
    node: Node, x: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None
) -> KerasOp:
    return numpy_op("Prod", x, axis=dim, keepdims=keepdim, dtype=dtype)


def _linear(node: Node, x: Any, weight: Any, bias: Any = None) -> KerasOp:
    other = numpy_op("Transpose", weight, axes=None) if type(weight) is Ref else weight.mT
    made = numpy_op("Matmul", x, other)
    return made if bias is None else numpy_op("Add", made, bias)


def _one_hot(node: Node, x: Any, num_classes: int = -1) -> KerasOp:
    if num_classes < 0:
        raise SaveError("without num_classes= it depends on the values")
    return KerasOp("nn", "OneHot", {"num_classes": num_classes, "axis": -1, "dtype": "int32"}, x)


def _full(node: Node, x: Any, fill_value: Any, **kwargs: Any) -> KerasOp:
    wanted = str(first_spec(node).dtype).removeprefix("torch.")
    return KerasOp("numpy", "FullLike", {"dtype": wanted}, x, fill_value)


def _rounded(node: Node, x: Any, decimals: int = 0) -> KerasOp:
    return numpy_op("Round", x, decimals=decimals)


def _top(node: Node, x: Any, k: Any, dim: int = -1, largest: bool = True, sorted: bool = True
         ) -> KerasOp:  # fmt: skip
    if not isinstance(k, int) or not largest or dim not in (-1, len(shape_of(x)) - 1):
        raise SaveError("Keras's top_k takes the largest along the last axis")
    return KerasOp("math", "TopK", {"k": k, "sorted": sorted}, x)


def _norm(node: Node, x: Any, p: Any = "fro", dim: Any = None, keepdim: bool = False,
          **kwargs: Any) -> KerasOp:  # fmt: skip
    order = kwargs.get("ord", p)
    if (
        torch_name(node.target) == "torch.linalg.norm"
        and order is not None
        and (isinstance(dim, (tuple, list)) or (dim is None and len(shape_of(x)) == 2))
    ):
        raise SaveError("Keras has no norm of matrices that is torch's")
    if order not in (2, 2.0, "fro", None):
        raise SaveError(f"Keras has no norm of order {order!r} that is torch's")
    axis = list(dim) if isinstance(dim, (tuple, list)) else dim
    return numpy_op("Sqrt", numpy_op("Sum", numpy_op("Square", x), axis=axis, keepdims=keepdim))


def _vector_norm(node: Node, x: Any, ord: Any = 2, dim: Any = None, keepdim: bool = False,
                 dtype: Any = None) -> KerasOp:  # fmt: skip
    if dtype is not None:
        raise SaveError("dtype= is not written")
    return _norm(node, x, ord, dim, keepdim)


def _normalized(node: Node, x: Any, p: float = 2.0, dim: int = 1, eps: float = 1e-12,
                out: Any = None) -> KerasOp:  # fmt: skip
    size = _norm(node, x, p, dim, True)
    return numpy_op("TrueDivide", x, numpy_op("Maximum", size, eps))


def _addmm(node: Node, x: Any, first: Any, second: Any, **kwargs: Any) -> KerasOp:
    if any(value != 1 for value in kwargs.values()):
        raise SaveError("beta= and alpha= are not written")
    return numpy_op("Add", x, numpy_op("Matmul", first, second))


def _fused(kind: str) -> Callable[..., Found]:
    """Return `x + value * first * second`, or by a quotient."""

    def made(node: Node, x: Any, first: Any, second: Any, value: Any = 1) -> KerasOp:
        found = numpy_op(kind, first, second)
        return numpy_op("Add", x, found if value == 1 else numpy_op("Multiply", found, value))

    return made


def _layer_norm(node: Node, x: Any, shape: Any, weight: Any = None, bias: Any = None,
                eps: float = 1e-5) -> KerasOp:  # fmt: skip
    sizes = [shape] if isinstance(shape, int) else list(shape)
    axes = list(range(-len(sizes), 0))
    mean = numpy_op("Mean", x, axis=axes, keepdims=True)
    variance = numpy_op("Var", x, axis=axes, keepdims=True)
    shifted = numpy_op("Subtract", x, mean)
    made = numpy_op(
        "Multiply", shifted, KerasOp("math", "Rsqrt", {}, numpy_op("Add", variance, eps))
    )
    if weight is not None:
        made = numpy_op("Multiply", made, weight)
    return made if bias is None else numpy_op("Add", made, bias)


def _lerped(node: Node, x: Any, end: Any, weight: Any) -> KerasOp:
    return numpy_op("Add", x, numpy_op("Multiply", weight, numpy_op("Subtract", end, x)))


def _quantile(kind: str) -> Callable[..., Found]:
    def made(node: Node, x: Any, q: Any, dim: Any = None, keepdim: bool = False,
             interpolation: str = "linear") -> KerasOp:  # fmt: skip
        if interpolation != "linear":
            raise SaveError("Keras's operation in a graph takes method='linear' for every other")
        config = {"axis": dim, "keepdims": keepdim, "method": interpolation}
        return KerasOp("numpy", kind, config, x, q)

    return made


def _mish(node: Node, x: Any, inplace: Any = None) -> KerasOp:
    return numpy_op("Multiply", x, numpy_op("Tanh", KerasOp("nn", "Softplus", {}, x)))


def _real_numbers(node: Node, x: Any, **kwargs: Any) -> KerasOp:
    return numpy_op("Real" if (dtype_of_value(x) or torch.float32).is_complex else "Copy", x)


def _attended(
    node: Node, query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: Any = None, enable_gqa: bool = False,
) -> KerasOp:  # fmt: skip
    if len(shape_of(query)) != 4 or dropout_p != 0.0 or enable_gqa:
        raise SaveError("Keras has attention without dropout, of (batch, heads, steps, features)")
    parts = [numpy_op("Swapaxes", part, axis1=1, axis2=2) for part in (query, key, value)]
    masks = (None, attn_mask) if dtype_of_value(attn_mask) == torch.bool else (attn_mask, None)
    found = KerasOp("nn", "DotProductAttention", {"is_causal": is_causal}, *parts, *masks, scale)
    return numpy_op("Swapaxes", found, axis1=1, axis2=2)


def _pairs(value: Any, rank: int) -> list[int]:
    return [value] * rank if isinstance(value, int) else list(value)


def _convolved(rank: int) -> Callable[..., Found]:
    """Return a convolution of channels-first images by a kernel that is a value of the graph."""

    def made(node: Node, x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
             dilation: Any = 1, groups: int = 1) -> KerasOp:  # fmt: skip
        if len(shape_of(x)) != rank + 2:
            raise SaveError("Keras's convolution needs an axis for the batch")
        if groups != 1:
            raise SaveError("Keras's operation has no groups: use a layer")
        order = [*range(2, rank + 2), 1, 0]
        kernel = (numpy_op("Transpose", weight, axes=order) if type(weight) is Ref
                  else weight.permute(order))  # fmt: skip
        if not isinstance(padding, str) and any(_pairs(padding, rank)):
            x = numpy_op("Pad", x, 0.0, pad_width=[[0, 0], [0, 0], *([p, p] for p in
                       _pairs(padding, rank))], mode="constant")  # fmt: skip
        config = {
            "strides": _pairs(stride, rank), "dilation_rate": _pairs(dilation, rank),
            "padding": padding if isinstance(padding, str) else "valid",
            "data_format": "channels_first",
        }  # fmt: skip
        found = KerasOp("nn", "Conv", config, x, kernel)
        if bias is None:
            return found
        column = [-1, *[1] * rank]
        other = (numpy_op("Reshape", bias, newshape=column) if type(bias) is Ref
                 else bias.reshape(column))  # fmt: skip
        return numpy_op("Add", found, other)

    return made


def _pooled(kind: str, rank: int) -> Callable[..., Found]:
    def made(node: Node, x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0,
             *args: Any, **kwargs: Any) -> KerasOp:  # fmt: skip
        known = {"dilation": (1,), "ceil_mode": (False,), "return_indices": (False,),
                 "count_include_pad": (True, False), "divisor_override": (None,)}  # fmt: skip
        odd = [k for k, v in kwargs.items() if v not in known[k] and v != (1,) * rank]
        if args or odd or any(_pairs(padding, rank)) or len(shape_of(x)) != rank + 2:
            raise SaveError("Keras's pooling has no padding by numbers, dilation or ceil_mode")
        sizes = _pairs(kernel_size, rank)
        steps = sizes if stride is None or stride == [] else _pairs(stride, rank)
        config = {"pool_size": sizes, "strides": steps, "padding": "valid",
                  "data_format": "channels_first"}  # fmt: skip
        return KerasOp("nn", kind, config, x)

    return made


TABLE: dict[str, Callable[..., Found]] = {
    "and": _truth("LogicalAnd", "BitwiseAnd"), "or": _truth("LogicalOr", "BitwiseOr"),
    "xor": _truth("LogicalXor", "BitwiseXor"), "invert": _truth("LogicalNot", "BitwiseInvert"),
    "add": _scaled("Add"), **dict.fromkeys(("sub", "subtract"), _scaled("Subtract")),
    "rsub": _reversed("Subtract"), "rdiv": _reversed("TrueDivide"), "rpow": _reversed("Power"),
    **dict.fromkeys(("div", "divide"), _divided),
    **dict.fromkeys(("contiguous", "real", ".real", "alias", "pos"), _real_numbers),
    **dict.fromkeys(("clamp", "clip"), _clamped),
    "clamp_min": lambda node, x, min: _clamped(node, x, min),
    "clamp_max": lambda node, x, max: _clamped(node, x, None, max),
    "where": _where, "masked_fill": _masked, "einsum": _einsum, "gelu": _gelu,
    "hardtanh": _hardtanh, "max": _extreme("Max", "Maximum"), "min": _extreme("Min", "Minimum"),
    "sort": _sorted, "var_mean": _both("Var"), "std_mean": _both("Std"),
    "var": _deviation("Var"), "std": _deviation("Std"), "prod": _product, "linear": _linear,
    "one_hot": _one_hot, "full_like": _full, "round": _rounded, "topk": _top, "norm": _norm,
    "vector_norm": _vector_norm, "normalize": _normalized,
    **dict.fromkeys(("addmm", "baddbmm"), _addmm), "layer_norm": _layer_norm, "lerp": _lerped,
    "quantile": _quantile("Quantile"), "nanquantile": _quantile("Nanquantile"), "mish": _mish,
    "addcmul": _fused("Multiply"), "addcdiv": _fused("TrueDivide"),
    "scaled_dot_product_attention": _attended,
    **{f"conv{rank}d": _convolved(rank) for rank in (1, 2, 3)},
    **{f"max_pool{rank}d": _pooled("MaxPool", rank) for rank in (1, 2, 3)},
    **{f"avg_pool{rank}d": _pooled("AveragePool", rank) for rank in (1, 2, 3)},
}  # fmt: skip
