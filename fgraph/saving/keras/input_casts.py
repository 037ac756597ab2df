"""Casts of inputs that Keras does by itself."""

from __future__ import annotations

from typing import Any

import torch

from ...graph import Input, SymbolicTensor
from ...graph.nested import map_leaves
from ...layers import Lambda
from ...layers.base import Layer
from ...layers.core import cast, same_mask
from ...layers.masks import attach_masks

# layers of Keras that take floating-point numbers as they come
_AS_THEY_COME = ("CategoryEncoding", "Embedding", "Hashing", "IntegerLookup", "Pipeline",
                 "RandomCrop", "RandomFlip", "ReversibleEmbedding")  # fmt: skip


def cast_arguments(layer: Layer, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """Cast the arguments of a call: numbers for ids to whole ones, and the reverse."""
    if type(layer).__name__ not in _AS_THEY_COME:
        args, kwargs = map_leaves(lambda leaf: _of_one_dtype(layer, leaf), (args, kwargs))
    return [_cast(layer, arg) if k == 0 else arg for k, arg in enumerate(args)], kwargs


def compute_dtype(layer: Layer) -> torch.dtype:
    """Return the dtype in which a layer computes."""
    return layer.dtype or torch.get_default_dtype()


def _of_one_dtype(layer: Layer, value: Any) -> Any:
    """Cast a floating-point input to the dtype in which the layer computes."""
    wanted = compute_dtype(layer)
    if not isinstance(value, SymbolicTensor) or not value.dtype.is_floating_point:
        return value
    return _to(value, wanted) if wanted.is_floating_point and value.dtype != wanted else value


def _cast(layer: Layer, value: Any) -> Any:
    """Cast an input to the kind of numbers that the layer takes."""
    wanted = _wanted(layer, value)
    return value if wanted is None else _to(value, wanted)


def _wanted(layer: Any, value: Any) -> torch.dtype | None:
    if not isinstance(value, SymbolicTensor):
        return None
    if layer.expects.dtype == "integer" and value.dtype.is_floating_point:
        return torch.int64
    if layer.expects.dtype == "floating" and not value.dtype.is_floating_point:
        return compute_dtype(layer)
    return None


def input_of(layer: Any, shape: list[int | None]) -> SymbolicTensor:
    """Return an input that a layer takes."""
    ids = getattr(getattr(layer, "expects", None), "dtype", "") == "integer"
    return Input(batch_shape=shape, dtype=torch.int64 if ids else None)


def with_casts(stack: list[Any]) -> list[Any]:
    """Put the casts that Keras does by itself between the layers of a stack.

    Args:
        stack: an input, and what is called on it in turn.
    """
    found, value = stack[:1], stack[0]
    for part in stack[1:]:
        if isinstance(part, Layer):
            (made,), _ = cast_arguments(part, [value], {})
            if made is not value:
                found.append(Lambda(cast, None, same_mask, {"dtype": made.dtype}))
                value = made
        found.append(part)
        value = part(value)
    return found


def _to(value: SymbolicTensor, dtype: torch.dtype) -> SymbolicTensor:
    """Record a cast, which a mask passes."""
    made: Any = value.to(dtype)
    attach_masks(made, value.mask)
    return made  # type: ignore[no-any-return]
