"""Checks of the arguments of `fit` and `compile`, before anything is done with them."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

from ..errors import unknown_name
from ..graph.nested import map_leaves
from .arrays import common_length
from .data import is_loader

# what torch.compile takes; `model` is the module itself
TORCH_COMPILE_OPTIONS = [
    name for name in inspect.signature(torch.compile).parameters if name != "model"
]


def names_of(function: Callable[..., Any]) -> list[str]:
    """Returns the names of a method's arguments, for suggestions."""
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.kind is not p.VAR_KEYWORD and p.name != "self"]


def check_options(options: Mapping[str, Any], known: list[str]) -> None:
    """Refuses keywords of `compile` that neither Keras nor torch knows.

    Raises:
        TypeError: One is unknown.
    """
    for name in options:
        if name not in TORCH_COMPILE_OPTIONS:
            names = [*known, *TORCH_COMPILE_OPTIONS]
            raise TypeError("compile: " + unknown_name("argument", name, names))


def check_counts(epochs: Mapping[str, Any], steps: Mapping[str, Any]) -> None:
    """Refuses numbers of epochs and steps that are none.

    Args:
        epochs: Argument name to an integer of at least 0.
        steps: Argument name to an integer of at least 1, or to None.

    Raises:
        TypeError: One is no integer.
        ValueError: One is too small.
    """
    for least, counts in ((0, epochs), (1, steps)):
        for name, value in counts.items():
            if value is None and least:
                continue
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name} must be an integer, got {value!r}")
            if value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")


def split_validation(
    x: Any, y: Any, sample_weight: Any, fraction: float
) -> tuple[tuple[Any, Any, Any], tuple[Any, Any, Any]]:
    """Divides arrays into training data and, from their end, validation data, as Keras does.

    Args:
        x: Nested arrays.
        y: Nested arrays, or None.
        sample_weight: Nested arrays, or None.
        fraction: Share of the samples for validation.

    Returns:
        Two triples `(x, y, sample_weight)`; slices, not copies.

    Raises:
        ValueError: The data is no array, the fraction is out of range, or one part is empty.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"validation_split must be in [0, 1), got {fraction}")
    if is_loader(x):
        raise ValueError(
            f"validation_split needs arrays, but x is a {type(x).__name__}: pass validation_data"
        )
    length = common_length({"x": x, "y": y, "sample_weight": sample_weight})
    at = math.floor(length * (1 - fraction))
    if at in (0, length):
        raise ValueError(f"validation_split={fraction} of {length} samples leaves one part empty")

    def cut(part: Any, where: slice) -> Any:
        return None if part is None else map_leaves(lambda leaf: leaf[where], part)

    parts = (x, y, sample_weight)
    head, tail = (
        tuple(cut(part, where) for part in parts) for where in (slice(at), slice(at, None))
    )
    return (head[0], head[1], head[2]), (tail[0], tail[1], tail[2])


def unpack_validation(data: Any) -> tuple[Any, Any, Any]:
    """Returns `(x, y, sample_weight)` of `validation_data`: a tuple of arrays, or a loader.

    Raises:
        ValueError: A tuple that is neither `(x, y)` nor `(x, y, sample_weight)`.
    """
    if is_loader(data):
        return data, None, None
    if not isinstance(data, list | tuple) or len(data) not in (2, 3):
        raise ValueError(
            "validation_data must be (x, y), (x, y, sample_weight) or a loader, got "
            f"{type(data).__name__}" + (f" of {len(data)}" if hasattr(data, "__len__") else "")
        )
    return (*data, None)[:3] if len(data) == 2 else (data[0], data[1], data[2])


def validates(epoch: int, frequency: Any) -> bool:
    """Says whether validation follows an epoch.

    Args:
        epoch: Number of the epoch, from 0.
        frequency: Every so many epochs, or a list of epochs counted from 1.
    """
    if isinstance(frequency, int):
        return (epoch + 1) % frequency == 0
    return epoch + 1 in frequency
