"""TensorFlow's functions of shapes, which it treats as tensors, in graphs of Keras 2."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ... import ops


class Sizes:
    """The sizes of a tensor, as `tf.shape` returns them.

    Args:
        sizes: a number for each axis, symbolic where it is not known.
    """

    def __init__(self, sizes: Any) -> None:
        self.sizes = tuple(sizes)

    def __getitem__(self, key: Any) -> Any:
        found = self.sizes[key]
        return Sizes(found) if isinstance(found, tuple) else found


def _shape(input: Any, out_type: Any = None) -> Sizes:
    return Sizes(input.shape)


def _of_sizes(shape: Any) -> Any:
    return shape.sizes if isinstance(shape, Sizes) else tuple(shape)


def _reshape(tensor: Any, shape: Any) -> Any:
    return ops.reshape(tensor, _of_sizes(shape))


def _broadcast_to(input: Any, shape: Any) -> Any:
    return ops.broadcast_to(input, _of_sizes(shape))


def _fill(dims: Any, value: Any) -> Any:
    return ops.full(_of_sizes(dims), value)


def _zeros(shape: Any, dtype: Any = "float32") -> Any:
    return ops.zeros(_of_sizes(shape), dtype)


def _ones(shape: Any, dtype: Any = "float32") -> Any:
    return ops.ones(_of_sizes(shape), dtype)


def _range(start: Any, limit: Any = None, delta: Any = 1, dtype: Any = None) -> Any:
    return ops.arange(start, limit, delta, dtype)


def _tile(input: Any, multiples: Any) -> Any:
    return ops.tile(input, _of_sizes(multiples))


# by their names in TensorFlow
ON_SHAPES: dict[str, Callable[..., Any]] = {
    "shape": _shape, "compat.v1.shape": _shape, "broadcast_to": _broadcast_to, "fill": _fill,
    "zeros": _zeros, "ones": _ones, "range": _range, "reshape": _reshape, "tile": _tile,
}  # fmt: skip
