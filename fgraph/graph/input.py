"""`Input`: where a graph begins."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch

from .node import Node, Ref
from .shapes import spec_of
from .symbolic import SymbolicTensor


def Input(
    shape: Sequence[int | None] | None = None,
    batch_size: int | None = None,
    dtype: torch.dtype | str | None = None,
    name: str | None = None,
    *,
    batch_shape: Sequence[int | None] | None = None,
) -> SymbolicTensor:
    """Make a symbolic tensor that stands for an input of a model, as `keras.Input`.

    Args:
        shape: the sizes without the batch dimension, `None` where unknown: `(140, 256)`.
        batch_size: the batch size; unknown by default.
        dtype: a torch dtype or its name, `"int64"`; torch's default dtype by default.
        name: the name of the input; models count `input_1`, `input_2`, ... by default.
        batch_shape: all sizes, the batch dimension included, in place of `shape`.

    Returns:
        A symbolic tensor of shape `(batch_size, *shape)`.

    Raises:
        TypeError: `shape` is not a sequence of whole numbers and `None`.
        ValueError: a size is negative, both or neither of the shapes are given, or the dtype
            is not known.

    Example:
        >>> Input((784,)).shape
        (None, 784)
    """
    if (shape is None) == (batch_shape is None):
        raise ValueError(
            "Input expects either shape=, without the batch dimension, or batch_shape=, with it; "
            f"got shape={shape!r}, batch_shape={batch_shape!r}"
        )
    if batch_shape is not None:
        sizes = _checked("batch_shape", batch_shape)
        if not sizes:
            raise ValueError("Input: batch_shape=() has no batch dimension")
    else:
        sizes = _checked("shape", (batch_size, *_checked("shape", shape)))
    if name is not None and (not isinstance(name, str) or not name):
        raise TypeError(f"Input: name= expects a non-empty string, got {name!r}")
    node = Node("input", None, (), {}, [spec_of(sizes, as_dtype(dtype))], name=name)
    return SymbolicTensor(Ref(node))


def _checked(argument: str, shape: Any) -> tuple[int | None, ...]:
    """Return `shape` as a tuple of non-negative ints and `None`."""
    if isinstance(shape, int):
        raise TypeError(
            f"Input: {argument}={shape!r} is a number, a tuple of sizes is expected: ({shape},)"
        )
    try:
        sizes = tuple(None if size is None else operator.index(size) for size in shape)
    except TypeError:
        raise TypeError(
            f"Input: {argument}={shape!r} is not a tuple of whole numbers and None"
        ) from None
    if any(size is not None and size < 0 for size in sizes):
        raise ValueError(f"Input: {argument}={shape!r} has a negative size; unknown sizes are None")
    return sizes


def as_dtype(dtype: torch.dtype | str | None) -> torch.dtype:
    """Return the torch dtype of that name, or torch's default dtype for `None`.

    Raises:
        ValueError: there is no such dtype.
    """
    if dtype is None:
        return torch.get_default_dtype()
    if isinstance(dtype, torch.dtype):
        return dtype
    found = getattr(torch, "bool" if dtype == "bool" else str(dtype), None)
    if not isinstance(found, torch.dtype):
        raise ValueError(f"dtype {dtype!r} is not known to torch; write torch.float32 or 'float32'")
    return found
