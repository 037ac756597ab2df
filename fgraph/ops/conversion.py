"""Conversion of arguments, dtypes and axes to torch's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..graph import SymbolicSize, SymbolicTensor
from ..graph.recording.input import as_dtype

Axis = int | Sequence[int] | None
DType = torch.dtype | str | type | None

__all__ = [
    "cast", "convert_to_numpy", "convert_to_tensor", "copy", "dtype", "is_tensor", "ndim",
    "saturate_cast", "shape", "size", "stop_gradient", "view",
]  # fmt: skip

_OF_PYTHON = {bool: torch.bool, int: torch.int32}


def to_dtype(given: DType) -> torch.dtype:
    """Return the torch dtype that a name, a type of Python or numpy, or `None` stands for."""
    if isinstance(given, type):
        if given is float:
            return torch.get_default_dtype()
        given = _OF_PYTHON.get(given) or np.dtype(given).name
    return as_dtype(given)


def is_number(x: Any) -> bool:
    """Return whether `x` is a Python number, or a size that is known at run time."""
    return isinstance(x, (bool, int, float, complex, SymbolicSize))


def tensor(x: Any, dtype: DType = None) -> Tensor:
    """Return `x` as a tensor; whole numbers of Python become int32, others torch's default."""
    if isinstance(x, (Tensor, SymbolicTensor)):
        return x if dtype is None or x.dtype == to_dtype(dtype) else x.to(to_dtype(dtype))
    if isinstance(x, SymbolicSize):
        return torch.full((), x, dtype=torch.int32 if dtype is None else to_dtype(dtype))  # type: ignore[call-overload]
    if isinstance(x, (list, tuple)) and any(
        isinstance(v, (Tensor, SymbolicTensor, SymbolicSize)) for v in x
    ):
        return torch.stack([tensor(v, dtype) for v in x])
    if dtype is not None:
        return torch.as_tensor(x, dtype=to_dtype(dtype))
    if isinstance(x, (np.ndarray, np.generic)):
        return torch.as_tensor(x)
    kept = np.asarray(x)
    if kept.dtype.kind == "i" and np.all(np.abs(kept) < 2**31):
        return torch.as_tensor(kept, dtype=torch.int32)
    if kept.dtype.kind == "f":
        return torch.as_tensor(kept, dtype=torch.get_default_dtype())
    return torch.as_tensor(kept, dtype=torch.complex64 if kept.dtype.kind == "c" else None)


def tensors(*values: Any) -> list[Tensor]:
    """Return all values as tensors, on the device of the first real tensor among them."""
    device = next((x.device for x in values if isinstance(x, Tensor)), None)
    made = [tensor(x) for x in values]
    return [
        x if device is None or isinstance(given, (Tensor, SymbolicTensor)) else x.to(device)
        for x, given in zip(made, values, strict=True)
    ]


def beside(x: Any, value: Any, dtype: DType = None) -> Tensor:
    """Return `value` as a tensor, on the device of a real tensor `x` unless it has one."""
    return tensor(tensors(x, value)[1], dtype)


def operands(x1: Any, x2: Any) -> tuple[Any, Any]:
    """Return two values as torch's operators take them: a number stays one beside a tensor."""
    if is_number(x1) is is_number(x2):
        first, second = tensors(x1, x2)
        return first, second
    return (x1, tensor(x2)) if is_number(x1) else (tensor(x1), x2)


def promoted(*values: Any) -> list[Tensor]:
    """Return all values as tensors of the dtype that they have in common."""
    made = tensors(*values)
    common = made[0].dtype
    for x in made[1:]:
        common = torch.promote_types(common, x.dtype)
    return [tensor(x, common) for x in made]


def floating(x: Any) -> Tensor:
    """Return `x` as a tensor of floating-point or complex numbers."""
    x = tensor(x)
    return x if x.dtype.is_floating_point or x.dtype.is_complex else x.to(to_dtype(None))


def unbool(x: Any) -> Tensor:
    """Return `x` as a tensor of numbers: truth values become int32."""
    x = tensor(x)
    return x.to(torch.int32) if x.dtype == torch.bool else x


def axes(axis: Axis) -> Any:
    """Return axes as torch takes them: one number, a tuple, or `None`."""
    return tuple(axis) if isinstance(axis, Sequence) else axis


def axis_list(axis: Axis, rank: int) -> list[int]:
    """Return axes as ascending numbers from 0; all of them for `None`."""
    if axis is None:
        return list(range(rank))
    given = list(axis) if isinstance(axis, Sequence) else [axis]
    for a in given:
        if not -rank <= a < rank:
            raise ValueError(f"axis {a} is out of range for a tensor of rank {rank}")
    return sorted(a % rank for a in given)


def known_shape(x: Tensor | SymbolicTensor) -> tuple[int | None, ...]:
    """Return the shape, with `None` for sizes that are known only at run time."""
    return x.spec.shape if isinstance(x, SymbolicTensor) else tuple(x.shape)


def convert_to_tensor(
    x: Any, dtype: DType = None, sparse: bool | None = None, ragged: bool | None = None
) -> Tensor:
    """Return `x`, a tensor, array, number or sequence, as a tensor.

    Args:
        x: The values.
        dtype: Data type of the result. Defaults to int32 for Python's whole numbers and torch's
            default for its other numbers, else to that of `x`.
        sparse: Only `None` or false: torch has other functions for sparse tensors.
        ragged: Only `None` or false.

    Raises:
        ValueError: `sparse` or `ragged` is true.
    """
    if sparse or ragged:
        raise ValueError("convert_to_tensor: tensors are dense; write sparse=None, ragged=None")
    return tensor(x, dtype)


def convert_to_numpy(x: Any) -> np.ndarray[Any, Any]:
    """Return the values of a real tensor as an array, without its gradient.

    Raises:
        TypeError: `x` is symbolic: it has no values yet.
    """
    if isinstance(x, SymbolicTensor):
        raise TypeError(
            "convert_to_numpy expects a real tensor, and a symbolic one has no values yet; put "
            "code of numpy into `fgraph.apply(function, x, output_shape=...)`"
        )
    return np.asarray(x.numpy(force=True) if isinstance(x, Tensor) else x)


def is_tensor(x: Any) -> bool:
    """Return whether `x` is a tensor, real or symbolic."""
    return isinstance(x, (Tensor, SymbolicTensor))


def cast(x: Any, dtype: DType) -> Tensor:
    """Return `x` with another data type."""
    if isinstance(x, SymbolicTensor):
        return x.to(to_dtype(dtype))  # a step of the graph, as in Keras, whatever the dtype of x
    return tensor(x, to_dtype(dtype))


def saturate_cast(x: Any, dtype: DType) -> Tensor:
    """Return `x` with another data type, whose range cuts off what does not fit."""
    x, wanted = tensor(x), to_dtype(dtype)
    if wanted == torch.bool or x.dtype == torch.bool:
        return tensor(x, wanted)
    info = torch.finfo(wanted) if wanted.is_floating_point else torch.iinfo(wanted)
    own = torch.finfo(x.dtype) if x.dtype.is_floating_point else torch.iinfo(x.dtype)
    low, high = max(info.min, own.min), min(info.max, own.max)
    if x.dtype.is_floating_point and not wanted.is_floating_point and high == info.max:
        # floating point may not represent the largest integer: use the next smaller number
        top = torch.tensor(float(high), dtype=x.dtype)
        if top.item() > info.max:
            high = torch.nextafter(top, torch.zeros_like(top)).item()
    return torch.clamp(x, low, high).to(wanted)


def dtype(x: Any) -> str:
    """Return the name of the data type: `"float32"`."""
    return str(tensor(x).dtype).removeprefix("torch.")


def shape(x: Any) -> tuple[Any, ...]:
    """Return the sizes; those that are known only at run time are symbolic numbers."""
    return tuple(tensor(x).shape)


def ndim(x: Any) -> int:
    """Return the number of axes."""
    return tensor(x).ndim


def size(x: Any) -> int:
    """Return the number of elements; it is symbolic where a size is known only at run time."""
    return tensor(x).shape.numel()


def copy(x: Any) -> Tensor:
    """Return a copy."""
    return torch.clone(tensor(x))


def view(x: Any, dtype: DType = None) -> Tensor:
    """Return the same bytes, seen as another data type."""
    return tensor(x).view(to_dtype(dtype))


def stop_gradient(variable: Any) -> Tensor:
    """Return the values, through which no gradient flows."""
    return tensor(variable).detach()
