"""Prepare arrays for a model: one-hot rows, padded sequences, vectors of norm one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

Array = np.ndarray[Any, np.dtype[Any]]


def to_categorical(x: Any, num_classes: int | None = None) -> Array:
    """Convert class indices to one-hot rows, like `keras.utils.to_categorical`.

    Args:
        x: integers from 0, of any shape; a last dimension of size 1 is dropped.
        num_classes: the number of classes; the largest number plus one by default.

    Returns:
        A float32 array of shape `(*x.shape, num_classes)`.

    Raises:
        ValueError: a number is negative, or not below `num_classes`.

    Example:
        >>> to_categorical([0, 2])
        array([[1., 0., 0.],
               [0., 0., 1.]], dtype=float32)
    """
    labels = np.asarray(x, dtype="int64")
    if labels.ndim > 1 and labels.shape[-1] == 1:
        labels = labels[..., 0]
    classes = num_classes if num_classes is not None else int(labels.max(initial=-1)) + 1
    if labels.size and not (0 <= labels.min() and labels.max() < classes):
        raise ValueError(
            f"to_categorical: labels run from {labels.min()} to {labels.max()}, but with "
            f"num_classes={classes} they must lie between 0 and {classes - 1}"
        )
    rows = np.zeros((labels.size, classes), dtype="float32")
    rows[np.arange(labels.size), labels.reshape(-1)] = 1.0
    return rows.reshape(*labels.shape, classes)


def pad_sequences(
    sequences: Iterable[Sequence[Any]],
    maxlen: int | None = None,
    dtype: Any = "int32",
    padding: str = "pre",
    truncating: str = "pre",
    value: Any = 0.0,
) -> Array:
    """Return sequences of different lengths as one array, like `keras.utils.pad_sequences`.

    Args:
        sequences: sequences of steps; every step has the same shape.
        maxlen: the length of all rows; by default that of the longest sequence.
        dtype: the numpy dtype of the result.
        padding: `"pre"` or `"post"`: where `value` is added to shorter sequences.
        truncating: `"pre"` or `"post"`: where longer sequences lose steps.
        value: what is added.

    Returns:
        An array of shape `(len(sequences), maxlen, *step shape)`.

    Raises:
        TypeError: an item is not a sequence.
        ValueError: an option is neither `"pre"` nor `"post"`, or steps have different shapes.

    Example:
        >>> pad_sequences([[1, 2, 3], [4]])
        array([[1, 2, 3],
               [0, 0, 4]], dtype=int32)
    """
    for name, option in (("padding", padding), ("truncating", truncating)):
        if option not in ("pre", "post"):
            raise ValueError(f"pad_sequences: {name}= expects 'pre' or 'post', got {option!r}")
    rows = list(sequences)
    for position, row in enumerate(rows):
        if not hasattr(row, "__len__"):
            raise TypeError(f"pad_sequences: item {position} is no sequence, but {row!r}")
    length = max(map(len, rows), default=0) if maxlen is None else maxlen
    step = next((np.asarray(row).shape[1:] for row in rows if len(row)), ())
    if (
        isinstance(value, str)
        and not np.issubdtype(np.dtype(dtype), np.str_)
        and dtype is not object
    ):
        raise ValueError(f"pad_sequences: value={value!r} is text, but dtype={dtype!r} is not")
    made = np.full((len(rows), length, *step), value, dtype=dtype)
    for position, row in enumerate(rows):
        if not len(row) or not length:
            continue
        kept = np.asarray(row[-length:] if truncating == "pre" else row[:length], dtype=dtype)
        if kept.shape[1:] != step:
            raise ValueError(
                f"pad_sequences: the steps of item {position} have the shape {kept.shape[1:]}, "
                f"those before {step}"
            )
        made[position, slice(-len(kept), None) if padding == "pre" else slice(len(kept))] = kept
    return made


def normalize(x: Any, axis: int = -1, order: int = 2) -> Any:
    """Return `x` divided by its norm along an axis, like `keras.utils.normalize`.

    Args:
        x: a tensor, or anything that numpy takes for an array.
        axis: the axis along which the norm is taken.
        order: the order of the norm.

    Returns:
        A tensor for a tensor, else an array; vectors of zeros stay zeros.

    Raises:
        ValueError: `order` is not a positive whole number.

    Example:
        >>> normalize([[3.0, 4.0]])
        array([[0.6, 0.8]])
    """
    if isinstance(order, bool) or not isinstance(order, int) or order < 1:
        raise ValueError(f"normalize: order= expects a whole number of at least 1, got {order!r}")
    if isinstance(x, torch.Tensor):
        return torch.nn.functional.normalize(x, p=order, dim=axis)
    norm = np.atleast_1d(np.linalg.norm(x, order, axis))
    norm[norm == 0] = 1
    return np.asarray(x) / np.expand_dims(norm, axis)
