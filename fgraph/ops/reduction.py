"""Functions that take values along axes together: sums, extremes, statistics."""

from __future__ import annotations

import builtins
from typing import Any

import torch
from torch import Tensor

from .conversion import (
    Axis,
    DType,
    axes,
    axis_list,
    beside,
    floating,
    known_shape,
    promoted,
    tensor,
    tensors,
    unbool,
)

__all__ = [
    "all", "amax", "amin", "any", "argmax", "argmin", "average", "corrcoef", "count_nonzero",
    "cumprod", "cumsum", "logsumexp", "max", "mean", "median", "min", "moments", "nanargmax",
    "nanargmin", "nancumprod", "nancumsum", "nanmax", "nanmean", "nanmedian", "nanmin",
    "nanpercentile", "nanprod", "nanquantile", "nanstd", "nansum", "nanvar", "percentile", "prod",
    "ptp", "quantile", "std", "sum", "trace", "trapezoid", "var",
]  # fmt: skip

_SMALL = (torch.bool, torch.uint8, torch.int8, torch.int16)


def _is_empty(axis: Axis) -> bool:
    """Return whether the axes are an empty list: every element is then reduced by itself."""
    return not isinstance(axis, int) and axis is not None and len(axis) == 0


def _along(function: Any, x: Tensor, axis: Axis, keepdims: bool, **settings: Any) -> Tensor:
    """Call a function of torch that takes `dim` and `keepdim`, without them where it can be."""
    if axis is None and not keepdims:
        return function(x, **settings)  # type: ignore[no-any-return]
    dim = tuple(range(x.ndim)) if axis is None else axes(axis)
    return function(x, dim=dim, keepdim=keepdims, **settings)  # type: ignore[no-any-return]


def _widened(x: Any) -> Tensor:
    """Return `x`, small whole numbers as int32, in which they are added up and multiplied."""
    x = tensor(x)
    return x.to(torch.int32) if x.dtype in _SMALL else x


def _summed(function: Any, x: Tensor, axis: Axis, keepdims: bool) -> Tensor:
    made = _along(function, x, axis, keepdims)
    return made if made.dtype == x.dtype else made.to(x.dtype)


def sum(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Return the sum along axes, over all axes for `None`."""
    x = _widened(x)
    return x if _is_empty(axis) else _summed(torch.sum, x, axis, keepdims)


def mean(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Return the mean along axes, over all axes for `None`; in floating point."""
    x = floating(x)
    return x if _is_empty(axis) else _along(torch.mean, x, axis, keepdims)


def prod(x: Any, axis: Axis = None, keepdims: bool = False, dtype: DType = None) -> Tensor:
    """Return the product along axes, over all axes for `None`."""
    x = _widened(x) if dtype is None else tensor(x, dtype)
    if axis is None and not keepdims:
        return tensor(torch.prod(x), x.dtype)
    for a in reversed(axis_list(axis, x.ndim)):
        x = torch.prod(x, dim=a, keepdim=keepdims, dtype=x.dtype)
    return x


def max(x: Any, axis: Axis = None, keepdims: bool = False, initial: Any = None) -> Tensor:
    """Return the largest element along axes, over all axes for `None`.

    Args:
        x: Values, of any shape.
        axis: Axis, or several.
        keepdims: Whether the axes stay, with size 1.
        initial: The least that is returned; without it, an empty tensor is an error.
    """
    x = tensor(x)
    if initial is not None:
        x = _with_initial(x, axis, initial, torch.maximum)
    return x if _is_empty(axis) else _along(torch.amax, x, axis, keepdims)


def min(x: Any, axis: Axis = None, keepdims: bool = False, initial: Any = None) -> Tensor:
    """Return the smallest element along axes, over all axes for `None`.

    Args:
        x: Values, of any shape.
        axis: Axis, or several.
        keepdims: Whether the axes stay, with size 1.
        initial: The most that is returned; without it, an empty tensor is an error.
    """
    x = tensor(x)
    if initial is not None:
        x = _with_initial(x, axis, initial, torch.minimum)
    return x if _is_empty(axis) else _along(torch.amin, x, axis, keepdims)


def _with_initial(x: Tensor, axis: Axis, initial: Any, function: Any) -> Tensor:
    """Return `x` cut off at `initial`, or one row of `initial` where there is nothing to reduce."""
    dims = axis_list(axis, x.ndim)
    if builtins.any(known_shape(x)[dim] == 0 for dim in dims):
        return x.new_full([1 if i in dims else n for i, n in enumerate(x.shape)], initial)
    return function(x, tensor(initial, x.dtype))  # type: ignore[no-any-return]


def amax(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Return the largest element along axes, over all axes for `None`."""
    return max(x, axis, keepdims)


def amin(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Return the smallest element along axes, over all axes for `None`."""
    return min(x, axis, keepdims)


def all(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Return whether all elements along axes are true."""
    x = tensor(x, torch.bool)
    return x if _is_empty(axis) else _along(torch.all, x, axis, keepdims)


def any(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Return whether one element along axes is true."""
    x = tensor(x, torch.bool)
    return x if _is_empty(axis) else _along(torch.any, x, axis, keepdims)


def count_nonzero(x: Any, axis: Axis = None) -> Tensor:
    """Return the number of elements along axes that are not 0, as int32."""
    x = tensor(x)
    if _is_empty(axis):
        return torch.ne(x, 0).to(torch.int32)
    return torch.count_nonzero(x, dim=axes(axis)).to(torch.int32)


def var(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Return the variance along axes: the mean squared distance from the mean."""
    x = floating(x)
    if _is_empty(axis):
        return torch.zeros_like(x)
    return _along(torch.var, x, axis, keepdims, correction=0)


def std(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Return the standard deviation along axes: the root of the variance."""
    x = floating(x)
    if _is_empty(axis):
        return torch.zeros_like(x)
    return _along(torch.std, x, axis, keepdims, correction=0)


def moments(
    x: Any, axes: Axis, keepdims: bool = False, synchronized: bool = False
) -> tuple[Tensor, Tensor]:
    """Return mean and variance along axes.

    Raises:
        ValueError: `synchronized` is true: wrap the model by
            `nn.SyncBatchNorm.convert_sync_batchnorm` to share statistics between processes.
    """
    if synchronized:
        raise ValueError(
            "moments: synchronized=True is not supported; nn.SyncBatchNorm.convert_sync_batchnorm "
            "makes batch normalizations share their statistics"
        )
    return mean(x, axes, keepdims), var(x, axes, keepdims)


def average(x: Any, axis: Axis = None, weights: Any = None) -> Tensor:
    """Return the mean along axes, weighted by `weights` of the shape of `x` or of the axis.

    Raises:
        ValueError: The weights have another shape.
    """
    if weights is None:
        return mean(x, axis)
    x, weights = promoted(*map(floating, tensors(x, weights)))
    if weights.ndim == 1 and x.ndim > 1:
        if not isinstance(axis, int):
            raise ValueError("average expects one axis beside weights of one axis")
        weights = weights.reshape([-1 if i == axis % x.ndim else 1 for i in range(x.ndim)])
    total = sum(weights * torch.ones_like(x), axis)
    return sum(x * weights, axis) / total


def ptp(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Return the range along axes: the largest element less the smallest."""
    x = tensor(x)
    return max(x, axis, keepdims) - min(x, axis, keepdims)


def logsumexp(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Return `log(sum(exp(x)))` along axes, safe from overflow."""
    x = floating(x)
    dim = tuple(range(x.ndim)) if axis is None else axes(axis)
    return torch.logsumexp(x, dim=dim, keepdim=keepdims)


def quantile(
    x: Any, q: Any, axis: Axis = None, method: str = "linear", keepdims: bool = False
) -> Tensor:
    """Return quantiles along axes.

    Args:
        x: Values, of any shape.
        q: Quantiles between 0 and 1, a number or a sequence; its axis is the first of the result.
        axis: Axis, or several; everything for `None`.
        method: How to interpolate: `"linear"`, `"lower"`, `"higher"`, `"midpoint"`, `"nearest"`.
        keepdims: Whether the axes stay, with size 1.
    """
    return _quantile(torch.quantile, x, q, axis, method, keepdims)


def nanquantile(
    x: Any, q: Any, axis: Axis = None, method: str = "linear", keepdims: bool = False
) -> Tensor:
    """Return quantiles along axes, ignoring NaNs; see `quantile`."""
    return _quantile(torch.nanquantile, x, q, axis, method, keepdims)


def _quantile(function: Any, x: Any, q: Any, axis: Axis, method: str, keepdims: bool) -> Tensor:
    x = floating(x)
    dtype = x.dtype
    x = x.float() if dtype.itemsize < 4 else x  # torch has none of 16 bits
    q = beside(x, q, x.dtype)
    dims = axis_list(axis, x.ndim)
    kept = [dim for dim in range(x.ndim) if dim not in dims]
    flat = x.permute(*kept, *dims).flatten(len(kept)) if x.ndim else x
    made: Tensor = function(flat, q, dim=-1, interpolation=method)
    if keepdims:
        for dim in dims:
            made = made.unsqueeze(dim + q.ndim)
    return made if made.dtype == dtype else made.to(dtype)


def percentile(
    x: Any, q: Any, axis: Axis = None, method: str = "linear", keepdims: bool = False
) -> Tensor:
    """Return percentiles along axes: quantiles, with `q` between 0 and 100."""
    return quantile(x, beside(x, q, torch.get_default_dtype()) / 100, axis, method, keepdims)


def nanpercentile(
    x: Any, q: Any, axis: Axis = None, method: str = "linear", keepdims: bool = False
) -> Tensor:
    """Return percentiles along axes, ignoring NaNs."""
    return nanquantile(x, beside(x, q, torch.get_default_dtype()) / 100, axis, method, keepdims)


def median(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Return the median along axes: the mean of the two in the middle where there are two."""
    return quantile(x, 0.5, axis, keepdims=keepdims)


def nanmedian(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Return the median along axes, ignoring NaNs."""
    return nanquantile(x, 0.5, axis, keepdims=keepdims)


def nansum(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Return the sum along axes, ignoring NaNs."""
    return sum(_filled(_widened(x), 0.0), axis, keepdims)


def nanprod(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Return the product along axes, ignoring NaNs."""
    return prod(_filled(tensor(x), 1.0), axis, keepdims)


def nanmean(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Return the mean along axes, ignoring NaNs."""
    x = floating(x)
    return x if _is_empty(axis) else _along(torch.nanmean, x, axis, keepdims)


def nanvar(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Return the variance along axes, ignoring NaNs."""
    x = floating(x)
    return nanmean((x - nanmean(x, axis, True)) ** 2, axis, keepdims)


def nanstd(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Return the standard deviation along axes, ignoring NaNs."""
    return torch.sqrt(nanvar(x, axis, keepdims))


def nanmax(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Return the largest element along axes, ignoring NaNs."""
    return _nan_extreme(max, x, axis, keepdims, -float("inf"))


def nanmin(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Return the smallest element along axes, ignoring NaNs."""
    return _nan_extreme(min, x, axis, keepdims, float("inf"))


def _nan_extreme(function: Any, x: Any, axis: Axis, keepdims: bool, value: float) -> Tensor:
    x = tensor(x)
    made: Tensor = function(_filled(x, value), axis, keepdims)
    if not x.dtype.is_floating_point:
        return made
    return torch.where(all(torch.isnan(x), axis, keepdims), float("nan"), made)


def _filled(x: Tensor, value: float) -> Tensor:
    """Return `x` with a value where it is not a number."""
    return torch.where(torch.isnan(x), value, x) if x.dtype.is_floating_point else x


def argmax(x: Any, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Return the index of the largest element along an axis, or of the flattened tensor."""
    return torch.argmax(_ordered(x), dim=axis, keepdim=keepdims).to(torch.int32)


def argmin(x: Any, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Return the index of the smallest element along an axis, or of the flattened tensor."""
    return torch.argmin(_ordered(x), dim=axis, keepdim=keepdims).to(torch.int32)


def nanargmax(x: Any, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Return the index of the largest number along an axis, and -1 where there is none."""
    return _nan_index(argmax, x, axis, keepdims, -float("inf"))


def nanargmin(x: Any, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Return the index of the smallest number along an axis, and -1 where there is none."""
    return _nan_index(argmin, x, axis, keepdims, float("inf"))


def _nan_index(function: Any, x: Any, axis: int | None, keepdims: bool, value: float) -> Tensor:
    x = tensor(x)
    found: Tensor = function(_filled(x, value), axis, keepdims)
    if not x.dtype.is_floating_point:
        return found
    return found.masked_fill(all(torch.isnan(x), axis, keepdims), -1)


def _ordered(x: Any) -> Tensor:
    """Return `x`, truth values as numbers, which torch can order."""
    x = tensor(x)
    return x.to(torch.uint8) if x.dtype == torch.bool else x


def cumsum(x: Any, axis: int | None = None, dtype: DType = None) -> Tensor:
    """Return the sums of all elements up to each, along an axis or of the flattened tensor."""
    return _accumulated(torch.cumsum, x, axis, dtype)


def cumprod(x: Any, axis: int | None = None, dtype: DType = None) -> Tensor:
    """Return the products of all elements up to each, along an axis or of the flattened tensor."""
    return _accumulated(torch.cumprod, x, axis, dtype)


def nancumsum(x: Any, axis: int | None = None, dtype: DType = None) -> Tensor:
    """Return the sums up to each element, with 0 for what is not a number."""
    return cumsum(_filled(tensor(x), 0.0), axis, dtype)


def nancumprod(x: Any, axis: int | None = None, dtype: DType = None) -> Tensor:
    """Return the products up to each element, with 1 for what is not a number."""
    return cumprod(_filled(tensor(x), 1.0), axis, dtype)


def _accumulated(function: Any, x: Any, axis: int | None, dtype: DType) -> Tensor:
    x = unbool(x) if dtype is None else tensor(x, dtype)
    x, axis = (x.flatten(), 0) if axis is None else (x, axis)
    made: Tensor = function(x, dim=axis, dtype=x.dtype)
    return made


def trapezoid(y: Any, x: Any = None, dx: float = 1.0, axis: int = -1) -> Tensor:
    """Return the integral along an axis by the trapezoidal rule, at points `x` or `dx` apart."""
    y = floating(y)
    return (
        torch.trapezoid(y, dx=dx, dim=axis)
        if x is None
        else torch.trapezoid(y, tensor(x), dim=axis)
    )


def trace(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """Return the sum along a diagonal of matrices."""
    return sum(torch.diagonal(tensor(x), offset, axis1, axis2), -1)


def corrcoef(x: Any) -> Tensor:
    """Return the matrix of Pearson's correlation coefficients between the rows."""
    x = floating(x)
    rows = x.reshape(-1, x.shape[-1])
    rows = rows - rows.mean(1, keepdim=True)
    lengths = torch.linalg.vector_norm(rows, dim=1)
    return (rows @ rows.mT / lengths / lengths.unsqueeze(1)).clamp(-1, 1)
